"""Frames against the websockets library's sans-I/O protocol: each reads what the other writes."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.exceptions import ProtocolError as LibraryProtocolError
from websockets.frames import Close as LibraryClose
from websockets.frames import Frame as LibraryFrame
from websockets.frames import Opcode as LibraryOpcode
from websockets.protocol import OPEN, Protocol
from websockets.server import ServerProtocol
from websockets.uri import parse_uri
from websockets.utils import apply_mask as library_mask

from labsupport.wire.frames import (
    Frame,
    FrameParser,
    MessageAssembler,
    Opcode,
    WebSocketError,
    apply_mask,
    encode_frame,
    may_be_sent,
    parse_close,
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


def cut_at(stream: bytes, places) -> list[bytes]:
    places = sorted(place % (len(stream) + 1) for place in places)
    return [stream[a:b] for a, b in zip([0, *places], [*places, len(stream)], strict=True)]


places = st.lists(st.integers(0, 1 << 20), max_size=10)


def library(role: str, **options) -> Protocol:
    if role == "server":
        return ServerProtocol(state=OPEN, **options)
    return ClientProtocol(parse_uri("ws://127.0.0.1/"), state=OPEN, **options)


def library_frames(protocol: Protocol, *chunks: bytes) -> list[tuple]:
    for chunk in chunks:
        protocol.receive_data(chunk)
    return [(int(frame.opcode), bytes(frame.data), frame.fin) for frame in protocol.events_received()]


def summary(frames_: list[Frame]) -> list[tuple]:
    return [(int(frame.opcode), frame.payload, frame.fin) for frame in frames_]


@st.composite
def conversations(draw):
    """Frames as a right peer sends them: fragments in order, control frames between, no close."""
    result: list[Frame] = []
    for _ in range(draw(st.integers(0, 4))):
        sizes = draw(st.lists(st.sampled_from([0, 1, 125, 126, 65535, 65536]), min_size=1, max_size=3))
        for at, size in enumerate(sizes):
            opcode = CONTINUATION if at else draw(st.sampled_from([TEXT, BINARY]))
            result.append(Frame(opcode, b"*" * size, fin=at == len(sizes) - 1))
            result += draw(st.lists(st.just(Frame(PING, b"p")) | st.just(Frame(PONG, b"")), max_size=1))
    return result


@settings(max_examples=60, deadline=None)
@given(conversations(), places, st.sampled_from(["server", "client"]))
def test_websockets_reads_what_is_encoded_here(sent, places, role):
    key = KEY if role == "server" else None
    wire = b"".join(encode_frame(replace(frame, masking_key=key)) for frame in sent)
    protocol = library(role, max_size=None)
    assert library_frames(protocol, *cut_at(wire, places)) == summary(sent)
    assert protocol.parser_exc is None


@settings(max_examples=60, deadline=None)
@given(conversations(), places, st.booleans())
def test_what_websockets_encodes_is_read_here(sent, places, mask):
    theirs = [LibraryFrame(LibraryOpcode(frame.opcode), frame.payload, frame.fin) for frame in sent]
    wire = b"".join(frame.serialize(mask=mask) for frame in theirs)
    read = parse(*cut_at(wire, places), role="server" if mask else "client")
    assert summary(read) == summary(sent)
    assert all(frame.masked == mask for frame in read)
    if not mask:
        assert b"".join(encode_frame(frame) for frame in read) == wire


def our_verdict(wire: bytes, role: str) -> tuple[list[tuple], int | None]:
    """Frames and close code as an endpoint would end up with; close frames end the reading."""
    assembler = MessageAssembler(max_message=1000)
    read, code = outcome([wire], role=role, max_payload=1000)
    for at, frame in enumerate(read):
        try:
            assembler.feed(frame)
            if frame.opcode is CLOSE:
                parse_close(frame.payload)
        except WebSocketError as error:
            return summary(read[:at]), error.close_code
        if frame.opcode is CLOSE:
            return summary(read[: at + 1]), None
    return summary(read), code


def library_verdict(wire: bytes, role: str) -> tuple[list[tuple], int | None]:
    protocol = library(role, max_size=1000)
    seen = library_frames(protocol, wire)
    code = protocol.close_sent.code if protocol.parser_exc and protocol.close_sent else None
    return seen, code


headers = st.builds(
    lambda first, mask, size: (
        bytes([first, mask << 7 | min(size, 126)])
        + (size.to_bytes(2, "big") if size >= 126 else b"")
        + bytes(4 * mask)
        + b"*" * size
    ),  # whole frames, so that the library, which checks behind the payload, gets there too
    st.sampled_from([0x01, 0x81, 0x02, 0x82, 0x00, 0x80, 0x89, 0x8A, 0x88]) | st.integers(0, 255),
    st.booleans(),
    st.sampled_from([0, 1, 2, 5, 125, 126, 300, 1001]),
)


@settings(max_examples=600, deadline=None)
@given(st.lists(headers, min_size=1, max_size=4), st.sampled_from(["server", "client"]))
def test_good_and_bad_frames_get_the_verdict_that_websockets_gives(wires, role):
    wire = b"".join(wires)
    ours, theirs = our_verdict(wire, role), library_verdict(wire, role)
    if ours[1] == theirs[1]:
        assert ours[0] == theirs[0]
    else:
        # The two differences. A frame with several faults: this parser names the one whose byte came first,
        # the library may name the size. A close inside a message: the library fails, RFC 6455 lets it end.
        inside = ours[1] is None and ours[0] and ours[0][-1][0] == CLOSE and theirs[1] == 1002
        assert {ours[1], theirs[1]} == {1002, 1009} or inside


def test_websockets_agrees_on_every_close_code():
    def library_takes(code: int) -> bool:
        try:
            LibraryClose.parse(code.to_bytes(2, "big"))
        except LibraryProtocolError:
            return False
        return True

    assert [code for code in range(1 << 16) if library_takes(code) != may_be_sent(code)] == []


@settings(max_examples=100, deadline=None)
@given(st.binary(min_size=1, max_size=200), st.binary(min_size=4, max_size=4))
def test_masking_agrees_with_websockets(payload, key):
    assert apply_mask(payload, key) == library_mask(payload, key)
