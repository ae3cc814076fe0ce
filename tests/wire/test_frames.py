"""Frames: the examples of RFC 6455, every split, every fault by its first byte."""

import os
import tracemalloc
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labsupport.wire.frames import (
    Frame,
    FrameParser,
    Opcode,
    ProtocolError,
    TooBig,
    WebSocketError,
    apply_mask,
    encode_frame,
)

KEY = bytes.fromhex("37fa213d")  # the key of the RFC's examples
TEXT, BINARY, CONTINUATION = Opcode.TEXT, Opcode.BINARY, Opcode.CONTINUATION
CLOSE, PING, PONG = Opcode.CLOSE, Opcode.PING, Opcode.PONG


def parse(*chunks: bytes, **options) -> list[Frame]:
    parser = FrameParser(**options)
    return [frame for chunk in chunks for frame in parser.feed(chunk)]


def outcome(chunks, **options) -> tuple[list[Frame], int | None]:
    """The frames of a stream, and the close code that its fault deserves (None without one)."""
    parser = FrameParser(**options)
    frames: list[Frame] = []
    try:
        for chunk in chunks:
            frames += parser.feed(chunk)
    except WebSocketError as error:
        return frames + error.frames, error.close_code
    return frames, None


# The RFC's own examples, section 5.7

RFC_EXAMPLES = [
    ("810548656c6c6f", Frame(TEXT, b"Hello")),
    ("818537fa213d7f9f4d5158", Frame(TEXT, b"Hello", masking_key=KEY)),
    ("010348656c", Frame(TEXT, b"Hel", fin=False)),
    ("80026c6f", Frame(CONTINUATION, b"lo")),
    ("890548656c6c6f", Frame(PING, b"Hello")),
    ("8a8537fa213d7f9f4d5158", Frame(PONG, b"Hello", masking_key=KEY)),
    ("827e0100" + "ab" * 256, Frame(BINARY, b"\xab" * 256)),
    ("827f0000000000010000" + "ab" * 65536, Frame(BINARY, b"\xab" * 65536)),
]


@pytest.mark.parametrize(("wire", "frame"), RFC_EXAMPLES, ids=[row[0][:8] for row in RFC_EXAMPLES])
def test_the_examples_of_section_5_7_are_read_and_written_to_the_byte(wire, frame):
    assert FrameParser().feed(bytes.fromhex(wire)) == [frame]
    assert encode_frame(frame) == bytes.fromhex(wire)


@pytest.mark.parametrize(
    ("payload", "masked", "overhead"),
    [
        *((0, False, 2), (5, False, 2), (125, False, 2), (126, False, 4), (256, False, 4), (65535, False, 4)),
        *((65536, False, 10), (0, True, 6), (5, True, 6), (125, True, 6), (126, True, 8), (65535, True, 8)),
        (65536, True, 14),
    ],
)
def test_a_frame_costs_2_to_14_bytes_by_the_length_of_its_payload(payload, masked, overhead):
    frame = Frame(BINARY, bytes(payload), masking_key=KEY if masked else None)
    wire = encode_frame(frame)
    assert len(wire) - payload == overhead
    assert parse(wire) == [frame]


# Round trips and every split

keys = st.none() | st.binary(min_size=4, max_size=4)
data_frames = st.builds(
    Frame,
    st.sampled_from([TEXT, BINARY, CONTINUATION]),
    st.one_of(st.binary(max_size=20), st.integers(120, 300).map(bytes), st.integers(65530, 65540).map(bytes)),
    fin=st.booleans(),
    rsv1=st.booleans(),
    rsv2=st.booleans(),
    rsv3=st.booleans(),
    masking_key=keys,
)
control_frames = st.builds(
    Frame, st.sampled_from([CLOSE, PING, PONG]), st.binary(max_size=125), masking_key=keys
)
frames_of_all_kinds = st.lists(data_frames | control_frames, max_size=5)


def cut_at(stream: bytes, places) -> list[bytes]:
    places = sorted(place % (len(stream) + 1) for place in places)
    return [stream[a:b] for a, b in zip([0, *places], [*places, len(stream)], strict=True)]


places = st.lists(st.integers(0, 1 << 20), max_size=10)


roles = st.sampled_from(["server", "client", None])


@settings(max_examples=200, deadline=None)
@given(frames_of_all_kinds, places)
def test_what_is_encoded_is_parsed_again_wherever_the_chunks_are_cut(frames, places):
    wire = b"".join(encode_frame(frame) for frame in frames)
    assert parse(*cut_at(wire, places), allowed_rsv=(1, 2, 3)) == frames


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=60), places, roles, st.sets(st.integers(1, 3)))
def test_random_bytes_end_in_frames_or_one_documented_error_the_same_for_every_split(
    stream, places, role, allowed_rsv
):
    options = {"role": role, "allowed_rsv": allowed_rsv, "max_payload": 1 << 16}
    whole = outcome([stream], **options)
    assert outcome(cut_at(stream, places), **options) == whole
    assert outcome([stream[i : i + 1] for i in range(len(stream))], **options) == whole
    for frame in whole[0]:  # what was accepted may be sent again, and is the same
        assert parse(encode_frame(frame), **options) == [frame]


def test_a_long_connection_keeps_only_the_frame_that_is_still_on_the_way():
    parser = FrameParser()
    wire = encode_frame(Frame(BINARY, bytes(1000), masking_key=KEY))
    chunk = (wire * 3)[:-1]  # ends inside a frame, so that there is always something to keep
    tracemalloc.start()
    try:
        parser.feed(wire[:1])
        for _ in range(1000):
            parser.feed(wire[1:] + chunk + wire[-1:] + wire[:1])
        kept = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert kept < 100_000  # of four megabytes that went through


def test_a_mebibyte_in_one_byte_chunks_is_work_in_proportion():
    frame = Frame(BINARY, os.urandom(1 << 20), masking_key=KEY)
    parser = FrameParser()
    frames = [found for byte in encode_frame(frame) for found in parser.feed(bytes([byte]))]
    assert frames == [frame]


@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 64, 1001])
def test_masking_is_the_xor_of_section_5_3_and_undoes_itself(size):
    payload = os.urandom(size)
    assert apply_mask(payload, KEY) == bytes(byte ^ KEY[i % 4] for i, byte in enumerate(payload))
    assert apply_mask(apply_mask(payload, KEY), KEY) == payload


# (what, first bytes in hex, close code); more bytes are never needed to know
FAULTS = [
    *((f"2.5 {opcode.name} of 126 bytes", f"{0x80 | opcode:02x}7e", 1002) for opcode in (CLOSE, PING, PONG)),
    ("2.5 ping with a 64-bit length", "897f", 1002),
    *((f"3 rsv {bits:03b}", f"{0x81 | bits << 4:02x}", 1002) for bits in range(1, 8)),
    *((f"3 rsv {bits:03b} on a ping", f"{0x89 | bits << 4:02x}", 1002) for bits in range(1, 8)),
    *((f"4 opcode {code:#x}", f"{0x80 | code:02x}", 1002) for code in (*range(3, 8), *range(11, 16))),
    *((f"5 fragmented {opcode.name}", f"{opcode:02x}", 1002) for opcode in (CLOSE, PING, PONG)),
    ("length 125 in 16 bits", "817e007d", 1002),
    ("length 0 in 16 bits", "817e0000", 1002),
    ("length 65535 in 64 bits", "827f000000000000ffff", 1002),
    ("length 5 in 64 bits", "827f0000000000000005", 1002),
    ("length with the top bit", "827f8000000000000000", 1002),
    ("length of all ones", "827fffffffffffffffff", 1002),
    ("2^63 - 1 bytes", "827f7fffffffffffffff", 1009),
    ("one byte over 16 MiB", "827f0000000001000001", 1009),
]


@pytest.mark.parametrize(("head", "code"), [row[1:] for row in FAULTS], ids=[row[0] for row in FAULTS])
def test_a_forbidden_header_is_refused_at_the_byte_that_proves_it(head, code):
    wire = bytes.fromhex(head)
    assert outcome([wire[:-1]]) == ([], None)
    assert outcome([wire]) == ([], code)
    assert outcome([bytes([byte]) for byte in wire]) == ([], code)


def test_an_error_keeps_the_frames_before_it_and_the_parser_stays_failed():
    parser = FrameParser()
    good = Frame(TEXT, b"Hello")
    with pytest.raises(ProtocolError, match="reserved") as caught:
        parser.feed(encode_frame(good) * 2 + b"\x83")
    assert caught.value.frames == [good, good]
    assert caught.value.close_code == 1002
    with pytest.raises(ProtocolError, match="already failed") as again:
        parser.feed(encode_frame(good))
    assert again.value.frames == []


@pytest.mark.parametrize("payload", [b"", b"Hello"])
def test_a_server_insists_on_the_mask_and_a_client_on_none(payload):
    masked, bare = Frame(TEXT, payload, masking_key=KEY), Frame(TEXT, payload)
    assert parse(encode_frame(masked), role="server") == [masked]
    assert parse(encode_frame(bare), role="client") == [bare]
    assert outcome([encode_frame(bare)[:2]], role="server") == ([], 1002)
    assert outcome([encode_frame(masked)[:2]], role="client") == ([], 1002)
    assert parse(encode_frame(masked) + encode_frame(bare)) == [masked, bare]


def test_a_reserved_bit_is_taken_when_an_extension_uses_it_and_only_that_one():
    compressed = replace(Frame(TEXT, b"\xf2\x48\xcd\xc9\xc9\x07\x00"), rsv1=True)
    assert parse(encode_frame(compressed), allowed_rsv={1}) == [compressed]
    assert outcome([encode_frame(replace(compressed, rsv2=True))], allowed_rsv={1}) == ([], 1002)


def test_a_frame_over_the_limit_is_refused_before_its_payload_is_held():
    parser = FrameParser(max_payload=1000)
    assert parser.feed(encode_frame(Frame(BINARY, bytes(1000)))) == [Frame(BINARY, bytes(1000))]
    with pytest.raises(TooBig, match="announces 1001 bytes, and the limit is 1000") as caught:
        parser.feed(b"\x82\x7e\x03\xe9")
    assert caught.value.close_code == 1009


@pytest.mark.parametrize(
    ("frame", "sentence"),
    [
        (Frame(PING, bytes(126)), "at most 125 bytes, not 126"),
        (Frame(CLOSE, fin=False), "CLOSE frame may not be fragmented"),
        (Frame(TEXT, b"x", masking_key=b"abc"), "A masking key is 4 bytes; got 3"),
    ],
)
def test_a_frame_that_may_not_be_sent_is_refused_with_a_sentence(frame, sentence):
    with pytest.raises(ValueError, match=sentence):
        encode_frame(frame)


def test_plain_numbers_do_as_opcodes():
    assert Frame(1, b"Hello") == Frame(Opcode.TEXT, b"Hello")
    assert Frame(8).opcode.is_control
    with pytest.raises(ValueError, match="3 is not a valid Opcode"):
        Frame(3)


def test_a_role_that_does_not_exist_is_named():
    with pytest.raises(ValueError, match='"server", "client" or None; got \'browser\''):
        FrameParser(role="browser")
