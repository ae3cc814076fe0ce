"""The event stream parser against sseclient-py: the same by the standard, and each departure."""

import pytest
import sseclient
from hypothesis import given, settings
from hypothesis import strategies as st

from labsupport.wire.event_stream import Event, EventStreamParser, encode_event

BOM = b"\xef\xbb\xbf"


def parse(*chunks: bytes) -> tuple[list[Event], str, int | None]:
    parser = EventStreamParser()
    events = [event for chunk in chunks for event in parser.feed(chunk)]
    return events, parser.last_event_id, parser.retry_ms


def message(data: str, last_event_id: str = "", type: str = "message") -> Event:
    return Event(type, data, last_event_id)


@st.composite
def cut(draw, values):
    """A byte string, and the same bytes in chunks."""
    stream = draw(values)
    places = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    return stream, [stream[a:b] for a, b in zip([0, *places], [*places, len(stream)], strict=True)]


def sseclient_events(*chunks: bytes) -> list[tuple[str, str, str | None]]:
    class Source(list):
        def close(self):
            pass

    return [(event.event, event.data, event.id) for event in sseclient.SSEClient(Source(chunks)).events()]


plain = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0\ufeff"), max_size=12)
blocks = st.tuples(
    plain.filter(bool),  # an id on each event, since sseclient-py does not carry it on
    st.none() | plain,
    st.lists(plain, min_size=1, max_size=3),
)


def block_bytes(block):
    id, event, lines = block
    return encode_event("\n".join(lines), event=event, id=id)


@settings(max_examples=300, deadline=None)
@given(cut(st.lists(blocks.map(block_bytes), max_size=5).map(b"".join)))
def test_sseclient_py_agrees_on_streams_with_lf_and_an_id_in_each_event(case):
    _, chunks = case
    ours = [(event.type, event.data, event.last_event_id) for event in parse(*chunks)[0]]
    assert sseclient_events(*chunks) == ours


# (what, chunks, by the standard, what sseclient-py gives). Chapter 03 shows these.
DEPARTURES = [
    ("the BOM stays on the first line", [BOM + b"data:1\n\n"], [("message", "1", "")], []),
    ("the id is not carried on", [b"id:1\ndata:a\n\ndata:b\n\n"],
     [("message", "a", "1"), ("message", "b", "1")], [("message", "a", "1"), ("message", "b", None)]),
    ("an id in a block without data is lost", [b"id:1\n\ndata:b\n\n"],
     [("message", "b", "1")], [("message", "b", None)]),
    ("an id with NUL is taken", [b"id:a\0\ndata:x\n\n"], [("message", "x", "")], [("message", "x", "a\0")]),
    ("an unfinished event is delivered", [b"data:half"], [], [("message", "half", None)]),
    ("mixed line ends join two events", [b"data:a\n\r\ndata:b\n\n"],
     [("message", "a", ""), ("message", "b", "")], [("message", "a\nb", None)]),
    ("a CR and its LF in two chunks are fine, a CR CR LF is not", [b"data:a\r\r\ndata:b\n\n"],
     [("message", "a", ""), ("message", "b", "")], [("message", "a\nb", None)]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("chunks", "standard", "theirs"), [row[1:] for row in DEPARTURES], ids=[r[0] for r in DEPARTURES]
)
def test_sseclient_py_departs_from_the_standard_here_and_this_parser_does_not(chunks, standard, theirs):
    assert [(event.type, event.data, event.last_event_id) for event in parse(*chunks)[0]] == standard
    assert sseclient_events(*chunks) == theirs
    assert theirs != standard


def test_sseclient_py_stops_with_an_error_at_bytes_that_are_not_utf_8():
    with pytest.raises(UnicodeDecodeError):
        sseclient_events(b"data:\xff\n\n")
    assert parse(b"data:\xff\n\n")[0] == [message("\ufffd")]


def test_sseclient_py_hands_on_a_retry_that_is_not_a_number():
    (event,) = sseclient.SSEClient([b"retry:soon\ndata:x\n\n"]).events()
    assert event.retry == "soon"
    assert parse(b"retry:soon\ndata:x\n\n")[2] is None
