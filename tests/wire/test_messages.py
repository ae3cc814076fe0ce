"""Messages and close codes: Autobahn-like tables of fragments, UTF-8 and closing, and random bytes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labsupport.wire.frames import (
    CLOSE_CODES,
    Close,
    Frame,
    FrameParser,
    InvalidText,
    MessageAssembler,
    Opcode,
    ProtocolError,
    TooBig,
    WebSocketError,
    encode_close,
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


def receive(frames) -> list[str | bytes | Close | Frame]:
    """What an endpoint sees: messages and control frames in order, then the error, as its close code."""
    assembler = MessageAssembler()
    seen: list = []
    try:
        for frame in frames:
            if frame.opcode is CLOSE:
                seen.append(parse_close(frame.payload))
            elif frame.opcode.is_control:
                seen.append(frame)
            if (message := assembler.feed(frame)) is not None:
                seen.append(message)
    except WebSocketError as error:
        seen.append(error.close_code)
    return seen


def cut_at(stream: bytes, places) -> list[bytes]:
    places = sorted(place % (len(stream) + 1) for place in places)
    return [stream[a:b] for a, b in zip([0, *places], [*places, len(stream)], strict=True)]


places = st.lists(st.integers(0, 1 << 20), max_size=10)


def test_the_fragmented_example_is_the_message_hello():
    assert receive(parse(bytes.fromhex("010348656c80026c6f"))) == ["Hello"]


any_frames = st.builds(Frame, st.sampled_from(Opcode), st.binary(max_size=8), fin=st.booleans())


@settings(max_examples=300, deadline=None)
@given(st.lists(any_frames, max_size=8))
def test_random_frames_never_break_the_assembler(frames):
    for item in receive(frames):
        assert isinstance(item, (str, bytes, Close, Frame)) or item in (1002, 1007)


# Autobahn-like tables. Groups as in the test suite's numbering.

LENGTHS = [0, 1, 124, 125, 126, 127, 128, 65534, 65535, 65536, 70000]


@pytest.mark.parametrize("size", LENGTHS)
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_group_1_messages_of_every_length_class_arrive(opcode, size):
    expected = "*" * size if opcode is TEXT else b"*" * size
    wire = encode_frame(Frame(opcode, b"*" * size, masking_key=KEY))
    assert receive(parse(wire, role="server")) == [expected]
    chopped = [wire[at : at + 997] for at in range(0, len(wire), 997)]
    assert receive(parse(*chopped, role="server")) == [expected]


def frames(*parts: tuple) -> list[Frame]:
    return [Frame(opcode, payload, fin=bool(fin)) for opcode, payload, fin in parts]


ping = (PING, b"p", 1)
PING_SEEN = Frame(PING, b"p")

FRAGMENTS = [
    ("5.3 text in two", [(TEXT, b"a", 0), (CONTINUATION, b"b", 1)], ["ab"]),
    ("5.6 a ping between", [(TEXT, b"a", 0), ping, (CONTINUATION, b"b", 1)], [PING_SEEN, "ab"]),
    ("5.9 continuation first", [(CONTINUATION, b"x", 1), (TEXT, b"a", 1)], [1002]),
    ("5.12 unfinished continuation first", [(CONTINUATION, b"x", 0), (TEXT, b"a", 1)], [1002]),
    ("5.15 a continuation too many", [(TEXT, b"a", 0), (CONTINUATION, b"b", 1), (CONTINUATION, b"c", 0)],
     ["ab", 1002]),
    ("5.18 text inside text", [(TEXT, b"a", 0), (TEXT, b"b", 1)], [1002]),
    ("binary inside text", [(TEXT, b"a", 0), (BINARY, b"b", 1)], [1002]),
    ("5.19 two messages with pings",
     [(TEXT, b"1", 0), (CONTINUATION, b"2", 0), ping, (CONTINUATION, b"3", 0), ping, (CONTINUATION, b"4", 1)],
     [PING_SEEN, PING_SEEN, "1234"]),
    ("binary in three",
     [(BINARY, b"\xff", 0), (CONTINUATION, b"", 0), (CONTINUATION, b"\xfe", 1)], [b"\xff\xfe"]),
    ("6.1 an empty text", [(TEXT, b"", 1)], [""]),
    ("6.1 an empty text in three", [(TEXT, b"", 0), (CONTINUATION, b"", 0), (CONTINUATION, b"", 1)], [""]),
    ("an empty binary", [(BINARY, b"", 1)], [b""]),
    ("two messages in a row", [(TEXT, b"a", 0), (CONTINUATION, b"b", 1), (BINARY, b"c", 1)], ["ab", b"c"]),
    ("7.1.3 a ping behind the close is not ours to judge", [(CLOSE, b"", 1), ping], [Close(1005), PING_SEEN]),
    ("7.1.4 text behind the close is ignored", [(CLOSE, b"\x03\xe8", 1), (TEXT, b"a", 1)], [Close(1000)]),
    ("7.1.5 a close inside a message",
     [(TEXT, b"a", 0), (CLOSE, b"", 1), (CONTINUATION, b"b", 1)], [Close(1005)]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("parts", "expected"), [row[1:] for row in FRAGMENTS], ids=[row[0] for row in FRAGMENTS]
)
def test_group_5_fragments_are_joined_or_refused(parts, expected):
    assert receive(frames(*parts)) == expected


def test_a_message_over_the_limit_is_refused_at_the_fragment_that_passes_it():
    assembler = MessageAssembler(max_message=10)
    assert assembler.feed(Frame(BINARY, bytes(6), fin=False)) is None
    assert assembler.feed(Frame(CONTINUATION, bytes(4), fin=False)) is None
    with pytest.raises(TooBig, match="grew to 11 bytes, and the limit is 10") as caught:
        assembler.feed(Frame(CONTINUATION, bytes(1), fin=False))
    assert caught.value.close_code == 1009
    assert assembler.feed(Frame(CONTINUATION, bytes(1))) is None  # a failed connection says nothing more


# Group 6: UTF-8, checked as early as a byte can prove the fault

UTF_8_ROWS = [  # Unicode's table 3-7: first byte, then the range of each byte that follows
    *(((0xC2, 0xDF), (0x80, 0xBF)), ((0xE0, 0xE0), (0xA0, 0xBF), (0x80, 0xBF))),
    *(((0xE1, 0xEC), (0x80, 0xBF), (0x80, 0xBF)), ((0xED, 0xED), (0x80, 0x9F), (0x80, 0xBF))),
    *(((0xEE, 0xEF), (0x80, 0xBF), (0x80, 0xBF)), ((0xF0, 0xF0), (0x90, 0xBF), (0x80, 0xBF), (0x80, 0xBF))),
    ((0xF1, 0xF3), (0x80, 0xBF), (0x80, 0xBF), (0x80, 0xBF)),
    ((0xF4, 0xF4), (0x80, 0x8F), (0x80, 0xBF), (0x80, 0xBF)),
]


def first_fault(data: bytes) -> int | None:
    """Index of the first byte that no valid UTF-8 can have there; len(data) if it only ends too early."""
    awaited: tuple = ()
    for index, byte in enumerate(data):
        if awaited:
            if not awaited[0][0] <= byte <= awaited[0][1]:
                return index
            awaited = awaited[1:]
        elif byte >= 0x80:
            rows = [row[1:] for row in UTF_8_ROWS if row[0][0] <= byte <= row[0][1]]
            if not rows:
                return index
            awaited = rows[0]
    return len(data) if awaited else None


def fault_of_the_assembler(data: bytes) -> int | None:
    """The same, by feeding one byte a fragment and an empty last one."""
    assembler = MessageAssembler()
    pieces = [data[at : at + 1] for at in range(len(data))] + [b""]
    for index, piece in enumerate(pieces):
        frame = Frame(CONTINUATION if index else TEXT, piece, fin=index == len(data))
        try:
            message = assembler.feed(frame)
        except InvalidText:
            return index
    assert message == data.decode()
    return None


UTF_8_CASES = [
    *(("Hello-µ@ßöäüàá-UTF-8!!".encode(), None), ("κόσμε".encode(), None), ("😀".encode(), None)),
    *((b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited", 12), (b"\xf4\x90\x80\x80", 1)),
    *((b"\xf8\x88\x80\x80\x80", 0), (b"\xfc\x84\x80\x80\x80\x80", 0), (b"\x80", 0), (b"\xbf", 0)),
    *((b"\xc0\xaf", 0), (b"\xc1\xbf", 0), (b"\xe0\x80\xaf", 1), (b"\xf0\x80\x80\xaf", 1), (b"\xff", 0)),
    *((b"\xed\xa0\x80", 1), (b"\xed\xbf\xbf", 1), (b"\xed\x9f\xbf", None), (b"\xef\xbf\xbf", None)),
    *((b"\xf4\x8f\xbf\xbf", None), (b"\xc2\x80", None), (b"\xe0\xa0\x80", None), (b"\xf0\x90\x80\x80", None)),
    *((b"\xc3", 1), (b"\xe2\x82", 2), (b"\xf0\x9f\x98", 3), (b"a\xe2\x82b", 3), (b"\x00\x7f", None)),
]


@pytest.mark.parametrize(("data", "fault"), UTF_8_CASES, ids=[data.hex() for data, _ in UTF_8_CASES])
def test_group_6_text_that_is_not_utf_8_fails_at_the_first_impossible_byte(data, fault):
    assert first_fault(data) == fault
    assert fault_of_the_assembler(data) == fault
    assert receive([Frame(TEXT, data)]) == ([data.decode()] if fault is None else [1007])
    assert receive([Frame(BINARY, data)]) == [data]


WHOLE = [text.encode() for text in "aé€😀"]
PARTS = [b"\xc3", b"\xe2\x82", b"\xf0\x9f", b"\xed", b"\xe0", b"\xf4", b"\x8f", b"\x9f", b"\xa0"]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(WHOLE + PARTS) | st.binary(max_size=2), max_size=8).map(b"".join))
def test_any_bytes_fail_exactly_where_unicode_s_table_says(data):
    assert fault_of_the_assembler(data) == first_fault(data)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=20), places)
def test_text_cut_anywhere_into_fragments_arrives_whole(text, places):
    pieces = cut_at(text.encode(), places)
    parts = [(CONTINUATION if at else TEXT, piece, at == len(pieces) - 1) for at, piece in enumerate(pieces)]
    assert receive(frames(*parts)) == [text]


# Group 7: close codes

VALID = [*range(1000, 1004), *range(1007, 1015), 3000, 3999, 4000, 4401, 4999]
INVALID = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535]


@pytest.mark.parametrize("code", VALID)
def test_group_7_a_code_that_may_be_sent_arrives(code):
    assert may_be_sent(code)
    assert parse_close(encode_close(code, "why €")) == Close(code, "why €")


@pytest.mark.parametrize("code", INVALID)
def test_group_7_a_code_that_may_not_be_sent_is_refused_both_ways(code):
    assert not may_be_sent(code)
    with pytest.raises(ValueError, match=f"{code}.*may not be sent"):
        encode_close(code)
    with pytest.raises(ProtocolError, match=f"{code}.*may not be sent"):
        parse_close(code.to_bytes(2, "big"))


def test_the_table_of_codes_says_never_sent_for_exactly_those_that_never_are():
    assert {code for code, text in CLOSE_CODES.items() if "never sent" in text} == {1004, 1005, 1006, 1015}
    assert all(may_be_sent(code) == ("never sent" not in text) for code, text in CLOSE_CODES.items())


def test_an_empty_close_is_read_as_1005_and_one_byte_as_a_fault():
    assert parse_close(b"") == Close(1005, "")
    assert encode_close() == b""
    with pytest.raises(ProtocolError, match="carries 1 byte"):
        parse_close(b"\x03")


def test_a_reason_that_is_not_utf_8_deserves_1007():
    with pytest.raises(InvalidText) as caught:
        parse_close(b"\x03\xe8\xce\xba\xe1\xbd\xb9\xcf\x83\xed\xa0\x80")
    assert caught.value.close_code == 1007


def test_a_reason_has_123_bytes_of_room():
    assert len(encode_close(1000, "*" * 123)) == 125
    with pytest.raises(ValueError, match="at most 123 bytes of UTF-8; this one has 124"):
        encode_close(1000, "€" * 41 + "*")
    with pytest.raises(ValueError, match="needs a code"):
        encode_close(None, "why")
