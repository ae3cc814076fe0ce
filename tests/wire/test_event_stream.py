"""The event stream parser against the standard's rules, a second implementation."""

import re
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labsupport.wire.event_stream import (
    Event,
    EventStreamParser,
    EventTooLong,
    encode_comment,
    encode_event,
)

BOM = b"\xef\xbb\xbf"


def parse(*chunks: bytes) -> tuple[list[Event], str, int | None]:
    parser = EventStreamParser()
    events = [event for chunk in chunks for event in parser.feed(chunk)]
    return events, parser.last_event_id, parser.retry_ms


def reference(stream: bytes) -> tuple[list[Event], str, int | None]:
    """Section 9.2.6 over a whole stream at once, as plainly as it can be written."""
    text = stream.decode("utf-8", "replace").removeprefix("\ufeff")
    lines = re.split("\r\n|\n|\r", text)[:-1]  # what follows the last line end never became a line
    events: list[Event] = []
    data = event_type = id_buffer = last_event_id = ""
    retry_ms = None
    for line in lines:
        if line == "":
            last_event_id = id_buffer
            if data != "":
                events.append(Event(event_type or "message", data[:-1], last_event_id))
            data = event_type = ""
        elif not line.startswith(":"):
            field, _, value = line.partition(":")
            value = value[1:] if value.startswith(" ") else value
            if field == "data":
                data += value + "\n"
            elif field == "event":
                event_type = value
            elif field == "id" and "\0" not in value:
                id_buffer = value
            elif field == "retry" and re.fullmatch("[0-9]+", value):
                retry_ms = int(value)
    return events, last_event_id, retry_ms


def message(data: str, last_event_id: str = "", type: str = "message") -> Event:
    return Event(type, data, last_event_id)


# (name, stream, events). Where the browsers' own tests (web-platform-tests, eventsource/format-*) have the
# case, its name is theirs.
CASES = [
    ("one event", b"data: hello\n\n", [message("hello")]),
    ("format-bom", BOM + b"data:1\n\ndata:2\n\n", [message("1"), message("2")]),
    ("format-bom-2, a second BOM is text", BOM + BOM + b"data:1\n\ndata:2\n\n", [message("2")]),
    ("a BOM in a later line is text", b"data:1\n\n" + BOM + b"data:2\n\ndata:3\n\n",
     [message("1"), message("3")]),
    ("a BOM alone on the first line leaves it blank", BOM + b"\ndata:1\n\n", [message("1")]),
    ("two thirds of a BOM are text", BOM[:2] + b"data:1\n\ndata:2\n\n", [message("2")]),
    ("format-comments", b"data:1\r:\0\n:\r\ndata:2\n:" + b"x" * 500 + b"\rdata:3\n:data:fail\r:\ndata:4\n\n",
     [message("1\n2\n3\n4")]),
    ("format-data-before-final-empty-line", b"retry:1000\ndata:test1\n\nid:test\ndata:test2",
     [message("test1")]),
    ("format-field-data", b"data:\n\ndata\ndata\n\ndata:test\n\n",
     [message(""), message("\n"), message("test")]),
    ("format-field-event", b"event:test\ndata:x\n\ndata:x\n\n", [message("x", type="test"), message("x")]),
    ("format-field-event-empty", b"event: \ndata:data\n\n", [message("data")]),
    ("the last event field of a block counts", b"event:a\nevent:b\ndata:x\n\n", [message("x", type="b")]),
    ("an event field without data is forgotten at the blank line", b"event:a\n\ndata:x\n\n", [message("x")]),
    ("format-field-id-3, persists", b"id: 1\ndata: 1\n\ndata:2\n\n", [message("1", "1"), message("2", "1")]),
    ("format-field-id-3, changes", b"id: 1\ndata: 1\n\nid: 2\ndata:2\n\ndata:3\n\n",
     [message("1", "1"), message("2", "2"), message("3", "2")]),
    ("format-field-id-3, resets", b"id: 1\ndata: 1\n\nid:\ndata:2\n\ndata:3\n\n",
     [message("1", "1"), message("2", ""), message("3", "")]),
    ("an id without a colon resets too", b"id: 1\ndata: 1\n\nid\ndata:2\n\n",
     [message("1", "1"), message("2", "")]),
    ("format-field-id-null", b"id: a\ndata:1\n\nid: \0\ndata:2\n\nid: b\0b\ndata:3\n\n",
     [message("1", "a"), message("2", "a"), message("3", "a")]),
    ("an id behind the data counts for its block", b"data:1\nid:7\n\n", [message("1", "7")]),
    ("the last id of a block counts", b"id:1\nid:2\ndata:x\n\n", [message("x", "2")]),
    ("a block with an id only moves the id", b"id:9\n\ndata:x\n\n", [message("x", "9")]),
    ("format-field-parsing",
     b"data:\0\ndata:  2\rData:1\ndata\0:2\ndata:1\r\0data:4\nda-ta:3\rdata_5\n"
     b"data:3\rdata:\r\n data:32\ndata:4\n\n",
     [message("\0\n 2\n1\n3\n\n4")]),
    ("format-field-retry", b"retry:03000\ndata:x\n\n", [message("x")]),
    ("format-field-retry-bogus", b"retry:3000\nretry:1000x\ndata:x\n\n", [message("x")]),
    ("format-field-retry-empty", b"retry\nretry:\ndata:test\n\n", [message("test")]),
    ("retry knows no sign, space or point", b"retry:+1\nretry:  1\nretry:1.5\nretry:-1\nretry:1_0\n\n", []),
    ("retry knows ASCII digits only", "retry:١٢\nretry:²\n\n".encode(), []),
    ("format-field-unknown",
     b"data:test\n data\ndata\nfoobar:xxx\njustsometext\n:thisisacommentyay\ndata:test\n\n",
     [message("test\n\ntest")]),
    ("format-leading-space", b"data:\ttest\rdata: \ndata:test\n\n", [message("\ttest\n\ntest")]),
    ("only one space is taken off", b"data:  two\n\n", [message(" two")]),
    ("format-newlines", b"data:test\r\ndata\ndata:test\r\n\r", [message("test\n\ntest")]),
    ("CR alone ends lines and events", b"data:a\r\rdata:b\r\r", [message("a"), message("b")]),
    ("CRLF ends lines and events", b"data:a\r\n\r\ndata:b\r\n\r\n", [message("a"), message("b")]),
    ("mixed line ends", b"data:a\n\r\ndata:b\r\n\ndata:c\r\r\n", [message("a"), message("b"), message("c")]),
    ("LF CR is two line ends", b"data:a\n\rdata:b\n\r", [message("a"), message("b")]),
    ("format-null-character", b"data:\0\n\n\n\n", [message("\0")]),
    ("format-utf-8", "data:ok…\n\n".encode(), [message("ok…")]),
    ("broken UTF-8 is replaced, and the event lives", b"data:\xff\xc3\n\n", [message("\ufffd\ufffd")]),
    ("a cut character is replaced once", b"data:\xe2\x82\xe2\x82\xac\n\n", [message("\ufffd€")]),
    ("each byte of a surrogate is replaced", b"data:\xed\xa0\x80\n\n", [message("\ufffd" * 3)]),
    ("a character that is too long is replaced by byte", b"data:\xf0\x80\x80\n\n", [message("\ufffd" * 3)]),
    ("line ends of other scripts are text", "data:a\u2028b\x85c\x0bd\x0ce\x1cf\n\n".encode(),
     [message("a\u2028b\x85c\x0bd\x0ce\x1cf")]),
    ("only the first colon separates", b"data:a:b: c\n\n", [message("a:b: c")]),
    ("field names are exact", b"DATA:1\ndata :2\n data:3\ndata\0:4\n\n", []),
    ("an empty stream", b"", []),
    ("blank lines only", b"\n\n\r\n\r", []),
    ("one line, no blank line", b"data:x\n", []),
    ("the standard's stocks", b"data: YHOO\ndata: +2\ndata: 10\n\n", [message("YHOO\n+2\n10")]),
    ("the standard's four blocks",
     b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
     [message("first event", "1"), message("second event", ""), message(" third event", "")]),
    ("the standard's two events, the third is not ended", b"data\n\ndata\ndata\n\ndata:",
     [message(""), message("\n")]),
]  # fmt: skip
CASE_IDS = [name for name, _, _ in CASES]


@pytest.mark.parametrize(("stream", "events"), [case[1:] for case in CASES], ids=CASE_IDS)
class TestEachCase:
    def test_whole_gives_the_events_of_the_standard(self, stream, events):
        assert parse(stream)[0] == events

    def test_the_reference_in_this_file_agrees(self, stream, events):
        assert reference(stream) == parse(stream)

    def test_every_cut_in_two_gives_the_same(self, stream, events):
        whole = parse(stream)
        for at in range(len(stream) + 1):
            assert parse(stream[:at], stream[at:]) == whole

    def test_byte_by_byte_with_empty_chunks_between_gives_the_same(self, stream, events):
        pieces = [piece for at in range(len(stream)) for piece in (stream[at : at + 1], b"")]
        assert parse(*pieces) == parse(stream)


FRAGMENTS = [
    *(b"data", b"event", b"id", b"retry", b"x", b"12", b":", b": ", b" ", b"\0"),
    *(b"\n", b"\n\n", b"\r", b"\r\n"),
    *(BOM, BOM[:1], BOM[1:], b"\xff", b"\xc3", b"\xa9", b"\xe2\x82", b"\xed\xa0", b"\xf0\x9f\x99", b"\x82"),
    *(b"data: y\n", b"id: 1\n", b"id:\0\n", b"event: e\n", b"retry: 7\n"),
]
streams = st.one_of(st.lists(st.sampled_from(FRAGMENTS), max_size=40).map(b"".join), st.binary(max_size=80))


@st.composite
def cut(draw, values):
    """A byte string, and the same bytes in chunks."""
    stream = draw(values)
    places = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    return stream, [stream[a:b] for a, b in zip([0, *places], [*places, len(stream)], strict=True)]


@settings(max_examples=400, deadline=None)
@given(cut(streams))
def test_any_bytes_in_any_chunks_give_what_the_reference_gives(case):
    stream, chunks = case
    assert parse(*chunks) == reference(stream)


def test_a_cr_at_the_end_of_a_chunk_dispatches_at_once_and_its_lf_changes_nothing():
    parser = EventStreamParser()
    assert parser.feed(b"data: a\r\n\r") == [message("a")]
    assert parser.feed(b"\n") == []
    assert parser.feed(b"\ndata: b\n\n") == [message("b")]


def test_an_id_inside_an_unfinished_event_does_not_move_last_event_id():
    parser = EventStreamParser()
    parser.feed(b"id: 1\ndata: a\n\nid: 2\ndata: b\n")
    assert parser.last_event_id == "1"
    parser.feed(b"\n")
    assert parser.last_event_id == "2"


def test_an_event_without_data_moves_last_event_id_and_delivers_nothing():
    parser = EventStreamParser()
    assert parser.feed(b"event: x\nid: 5\n\n") == []
    assert parser.last_event_id == "5"


def test_a_new_connection_goes_on_from_the_id_of_the_one_before():
    parser = EventStreamParser(last_event_id="41")
    assert parser.last_event_id == "41"
    assert parser.feed(b"data: a\n\nid: 42\ndata: b\n\n") == [message("a", "41"), message("b", "42")]


@pytest.mark.parametrize(
    ("lines", "retry_ms"),
    [
        (b"", None),
        (b"retry: 3000\n", 3000),  # no blank line needed: the field takes effect at once
        (b"retry: 0\n", 0),
        (b"retry: 007\n", 7),
        (b"retry: 1\nretry: soon\n", 1),
        (b"retry: 1\nretry: \n", 1),
        (b"retry: 18446744073709551616\n", 1 << 64),
        (b"retry: " + b"0" * 5000 + b"9\n", 9),
        (b"retry: 1\nretry: " + b"9" * 5000 + b"\n", 1),
    ],
    ids=range(9),
)
def test_retry_takes_ascii_digits_only_and_survives_absurd_ones(lines, retry_ms):
    assert parse(lines)[2] == retry_ms


def test_feed_says_that_it_wants_bytes():
    with pytest.raises(TypeError, match=r"expected bytes, got str.*body as it came from the network"):
        EventStreamParser().feed("data: a\n\n")


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_feed_takes_every_kind_of_bytes(kind):
    assert EventStreamParser().feed(kind(b"data: a\n\n")) == [message("a")]


# Too much of it


@pytest.mark.parametrize(
    "endless",
    [b"x" * 200, b"data: " + b"x" * 200, b"data: x\n" * 60, b": comment" + b"x" * 100, b"data\n" * 101],
    ids=["no line end", "one long data line", "many data lines", "a comment", "many empty data lines"],
)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_an_event_past_the_limit_ends_the_parser_and_keeps_what_came_before(endless, size):
    parser = EventStreamParser(max_event_bytes=100)
    stream = b"data: a\n\n" + endless
    events: list[Event] = []

    def feed_all():
        for at in range(0, len(stream), size):
            events.extend(parser.feed(stream[at : at + size]))

    with pytest.raises(EventTooLong, match=r"past 100 bytes.*max_event_bytes") as caught:
        feed_all()
    assert [*events, *caught.value.events] == [message("a")]
    with pytest.raises(EventTooLong, match="already passed the limit"):
        parser.feed(b"\n\ndata: b\n\n")


def test_the_limit_counts_one_event_and_not_the_stream():
    parser = EventStreamParser(max_event_bytes=100)
    assert len(parser.feed(b"data: " + b"x" * 60 + b"\n\n")) == 1
    assert len(parser.feed((b"data: " + b"x" * 60 + b"\n\n") * 500)) == 500


def test_an_event_exactly_at_the_limit_is_delivered():
    assert EventStreamParser(max_event_bytes=10).feed(b"data: 1234\n\n") == [message("1234")]


def test_a_server_that_never_ends_its_event_fills_no_more_memory_than_the_limit():
    limit = 1 << 18
    parser = EventStreamParser(max_event_bytes=limit)
    chunk = b"data: ab\n" * 100

    def feed_for_ever():
        while True:
            parser.feed(chunk)

    tracemalloc.start()
    try:
        with pytest.raises(EventTooLong):
            feed_for_ever()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * limit


def test_a_line_of_a_mebibyte_byte_by_byte_is_work_in_proportion():
    # A parser that copies its line at each byte would move 550 GB here.
    parser = EventStreamParser()
    parser.feed(b"data: ")
    for _ in range(1 << 20):
        parser.feed(b"x")
    assert parser.feed(b"\n\n") == [message("x" * (1 << 20))]


# Encoding

texts = st.text(st.characters(codec="utf-8"), max_size=30)
one_line = texts.filter(lambda text: not set("\r\n") & set(text))


@settings(max_examples=300, deadline=None)
@given(texts, one_line, one_line.filter(lambda text: "\0" not in text), st.integers(0, 10**9))
def test_what_is_encoded_arrives_as_it_was_given(data, event, id, retry_ms):
    block = encode_event(data, event=event, id=id, retry_ms=retry_ms)
    arrived = data.replace("\r\n", "\n").replace("\r", "\n")
    assert parse(encode_comment("hi") + block) == ([Event(event or "message", arrived, id)], id, retry_ms)


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (encode_event("a\nb"), b"data: a\ndata: b\n\n"),
        (encode_event(""), b"data: \n\n"),
        (encode_event(" a", event="e", id="1", retry_ms=9), b"id: 1\nevent: e\nretry: 9\ndata:  a\n\n"),
        (encode_event(id="7"), b"id: 7\n\n"),
        (encode_comment(), b":\n"),
        (encode_comment("keep"), b": keep\n"),
    ],
)
def test_the_bytes_of_a_block_are_these(block, expected):
    assert block == expected


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"data": "x", "id": "a\nb"}, r"The id field holds '\\n'"),
        ({"data": "x", "id": "a\0b"}, r"The id field holds '\\x00'"),
        ({"data": "x", "event": "a\rb"}, r"The event field holds '\\r'"),
        ({"data": "x", "retry_ms": -1}, "expected whole milliseconds"),
        ({"data": "x", "retry_ms": 1.5}, "expected whole milliseconds"),
        ({"data": "\ud800"}, "half of a surrogate pair"),
        ({}, "Nothing to send"),
    ],
)
def test_a_field_that_could_not_arrive_is_refused_with_a_sentence(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        encode_event(**arguments)


def test_a_comment_can_not_smuggle_in_an_event():
    with pytest.raises(ValueError, match="comment field"):
        encode_comment("x\n\ndata: forged")
