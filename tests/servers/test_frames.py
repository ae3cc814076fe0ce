"""Frames from clients, in any pieces, and what is no frame; held against the lab's own codec."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labsupport.wire.frames import Frame, FrameParser, Opcode
from labsupport.wire.frames import encode_frame as encode_by_client
from servers.core import frames
from servers.core.frames import ClientFrames, FrameError, close_code, encode_close, encode_frame

MASK = b"\xa1\x00\xff\x5e"


def client(opcode: int, payload: bytes = b"", fin: bool = True) -> bytes:
    return encode_by_client(Frame(Opcode(opcode), payload, fin, masking_key=MASK))


def read(raw: bytes, most: int = 1 << 20, step: int = 1 << 20) -> Iterator[tuple[int, bytes]]:
    reader = ClientFrames(most)
    for start in range(0, len(raw), step):
        yield from reader.feed(raw[start : start + step])


messages = st.one_of(
    st.tuples(st.just(frames.TEXT), st.text(max_size=200).map(str.encode)),
    st.tuples(st.just(frames.BINARY), st.binary(max_size=70_000)),
    st.tuples(st.sampled_from((frames.PING, frames.PONG)), st.binary(max_size=125)),
)


@given(st.lists(messages, max_size=5), st.integers(1, 300), st.integers(1, 5000))
def test_what_a_client_sends_arrives_whole_in_whatever_pieces(sent, fragment, step):
    raw = b""
    for opcode, payload in sent:
        if opcode >= frames.CLOSE or len(payload) > 5 * fragment:
            raw += client(opcode, payload)
            continue
        parts = [payload[at : at + fragment] for at in range(0, len(payload), fragment)] or [b""]
        for number, part in enumerate(parts):
            kind = frames.CONTINUATION if number else opcode
            raw += client(kind, part, fin=number == len(parts) - 1) + client(frames.PING, b"between")
    got = [each for each in read(raw, step=step) if each != (frames.PING, b"between")]
    assert got == [each for each in sent if each != (frames.PING, b"between")]


@given(st.sampled_from((frames.TEXT, frames.BINARY, frames.PONG)), st.binary(max_size=70_000))
def test_what_a_server_sends_is_read_by_the_other_codec(opcode, payload):
    payload = payload[:125] if opcode == frames.PONG else payload
    (frame,) = FrameParser(role="client").feed(encode_frame(opcode, payload))
    assert (frame.opcode, frame.payload, frame.fin) == (opcode, payload, True)


BAD = {
    "no mask": (b"\x81\x02hi", 1002),
    "a reserved bit": (b"\xc1", 1002),
    "an opcode that is none": (b"\x83", 1002),
    "a ping in two frames": (client(9)[:1].replace(b"\x89", b"\x09") + client(9)[1:], 1002),
    "a ping of 126 bytes": (b"\x89\xfe", 1002),
    "a fragment of nothing": (client(0, b"x"), 1002),
    "a message inside another one": (client(1, b"x", fin=False) + client(1, b"y"), 1002),
    "a length with its top bit set": (b"\x82\xff" + b"\x80" + bytes(7), 1002),
    "text that is not UTF-8": (client(1, b"\xff"), 1007),
    "text that ends inside a character": (client(1, b"\xc3"), 1007),
    "text whose second half is wrong": (client(1, b"\xc3", fin=False) + client(0, b"x"), 1007),
    "a frame that is too large": (b"\x82\xfe\x10\x01", 1009),
    "fragments that are too large": (client(2, bytes(4000), fin=False) + client(0, bytes(97)), 1009),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("step", [1, 1 << 20])
def test_what_breaks_the_rules_is_told_with_its_code_behind_all_that_came_before(name: str, step: int):
    raw, code = BAD[name]
    came = read(client(9, b"1") + raw, 4096, step)
    assert next(came) == (frames.PING, b"1")
    with pytest.raises(FrameError) as caught:
        next(came)
    assert caught.value.code == code


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000])
def test_a_code_that_nobody_may_send_is_refused(code: int):
    with pytest.raises(FrameError):
        close_code(code.to_bytes(2, "big"))


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1007, 1011, 1014, 3000, 4999])
def test_a_code_that_may_be_sent_is_read(code: int):
    assert close_code(encode_close(code, "why")[2:]) == code


def test_a_close_without_a_code_is_read_and_one_of_half_a_code_or_a_broken_reason_is_not():
    assert close_code(b"") == frames.NO_CODE
    assert encode_close(frames.NO_CODE) == b"\x88\x00"
    for payload, code in ((b"\x03", 1002), (b"\x03\xe8\xff", 1007)):
        with pytest.raises(FrameError) as caught:
            close_code(payload)
        assert caught.value.code == code


def test_a_reason_is_cut_to_what_a_close_frame_can_carry_between_two_characters():
    raw = encode_close(1000, "ü" * 100)
    assert len(raw) == 2 + 2 + 122
    raw[4:].decode()


def test_a_reader_is_idle_only_between_messages():
    reader = ClientFrames(100)
    assert reader.idle
    for byte in client(1, b"hello", fin=False):
        list(reader.feed(bytes([byte])))
        assert not reader.idle
    assert list(reader.feed(client(0, b"!"))) == [(frames.TEXT, b"hello!")]
    assert reader.idle
