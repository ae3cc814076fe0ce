"""A recording of the middlebox becomes connections, exchanges, totals and text, byte for byte."""

import base64
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labsupport.wire.captures import Capture, hexdump

ASK = b"GET /messages?since=a1-1 HTTP/1.1\r\nHost: lab\r\n\r\n"
SAY = b"POST /messages HTTP/1.1\r\nHost: lab\r\nContent-Length: 11\r\n\r\n" + b'{"data": 1}'
EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]"
CREATED = b"HTTP/1.1 201 Created\r\nContent-Length: 13\r\n\r\n" + b'{"id":"a1-2"}'
STREAM = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

Record = tuple[float, int, str, str, bytes] | tuple[float, int, str, str, bytes, bool]


def capture(*records: Record, truncated: bool = False) -> Capture:
    """A capture from (t, connection, direction, kind, data[, dropped])."""
    made = []
    for t, number, direction, kind, data, *dropped in records:
        made.append({"t": t, "connection": number, "direction": direction, "kind": kind})
        made[-1]["data"] = base64.b64encode(data).decode()
        if dropped:
            made[-1]["dropped"] = dropped[0]
    return Capture.from_recording({"target": "http://lab", "truncated": truncated, "records": made})


def opened(number: int = 1, at: float = 0.0) -> Record:
    return (at, number, "up", "open", b"")


def closed(number: int = 1, at: float = 9.0, kind: str = "close") -> Iterable[Record]:
    return (at, number, "up", kind, b""), (at, number, "down", kind, b"")


def test_two_requests_on_one_connection_are_two_exchanges_with_their_own_times_and_bytes() -> None:
    lesson = capture(
        opened(),
        (0.1, 1, "up", "data", ASK),
        (0.3, 1, "down", "data", EMPTY[:10]),
        (0.4, 1, "down", "data", EMPTY[10:]),
        (0.5, 1, "up", "data", SAY),
        (0.7, 1, "down", "data", CREATED),
        *closed(),
    )
    first, second = lesson.exchanges()
    assert (first.method, first.target, first.status) == ("GET", "/messages?since=a1-1", 200)
    assert (first.sent_s, first.first_byte_s, first.done_s) == (0.1, 0.3, 0.4)
    assert first.waited_s == pytest.approx(0.2)
    assert (first.bytes_up, first.bytes_down) == (len(ASK), len(EMPTY))
    assert (second.method, second.status, second.sent_s, second.done_s) == ("POST", 201, 0.5, 0.7)
    assert second.request.body == b'{"data": 1}'
    assert second.response is not None
    assert second.response.body == b'{"id":"a1-2"}'
    assert (lesson.bytes_up, lesson.bytes_down) == (len(ASK + SAY), len(EMPTY + CREATED))
    (connection,) = lesson.connections
    assert (connection.up, connection.down) == (ASK + SAY, EMPTY + CREATED)
    assert (connection.opened_s, connection.closed_s, lesson.ended_s) == (0.0, 9.0, 9.0)
    assert connection.reading.problem == ""


def test_pipelined_requests_in_one_piece_are_paired_in_order() -> None:
    lesson = capture(opened(), (1, 1, "up", "data", ASK + SAY), (2, 1, "down", "data", EMPTY + CREATED))
    assert [(e.method, e.status, e.sent_s, e.done_s) for e in lesson.exchanges()] == [
        ("GET", 200, 1, 2),
        ("POST", 201, 1, 2),
    ]


def test_exchanges_of_many_connections_come_in_the_order_in_which_they_were_asked() -> None:
    lesson = capture(
        opened(1),
        opened(2),
        (0.2, 2, "up", "data", ASK),
        (0.5, 1, "up", "data", SAY),
        (0.6, 1, "down", "data", CREATED),
    )
    assert [(e.connection, e.status, e.done_s) for e in lesson.exchanges()] == [
        (2, None, None),
        (1, 201, 0.6),
    ]


def test_an_answer_that_was_cut_is_kept_as_far_as_it_came_and_named() -> None:
    lesson = capture(
        opened(), (1, 1, "up", "data", ASK), (2, 1, "down", "data", EMPTY[:-1]), *closed(kind="reset")
    )
    (exchange,) = lesson.exchanges()
    assert exchange.response is not None
    assert (exchange.response.complete, exchange.response.body) == (False, b"[")
    assert (exchange.first_byte_s, exchange.done_s) == (2, None)
    assert "200 cut" in lesson.table()


def test_a_stream_that_still_runs_is_an_exchange_under_way() -> None:
    lesson = capture(
        opened(),
        (1, 1, "up", "data", ASK),
        (2, 1, "down", "data", STREAM),
        (3, 1, "down", "data", b"5\r\nhello\r\n"),
    )
    (exchange,) = lesson.exchanges()
    assert exchange.response is not None
    assert exchange.response.body == b"hello"
    assert exchange.bytes_down == len(STREAM) + 10
    assert "200 under way" in lesson.table()


def test_an_answer_without_length_ends_when_the_server_closes() -> None:
    lesson = capture(
        opened(), (1, 1, "up", "data", ASK), (2, 1, "down", "data", b"HTTP/1.0 200 OK\r\n\r\nhi"), *closed()
    )
    (exchange,) = lesson.exchanges()
    assert exchange.response is not None
    assert (exchange.response.complete, exchange.response.body, exchange.done_s) == (True, b"hi", 2)


def test_a_request_that_was_dropped_counts_as_asked_and_has_no_answer() -> None:
    lesson = capture(opened(), (1, 1, "up", "data", ASK, True))
    (exchange,) = lesson.exchanges()
    assert (exchange.status, exchange.first_byte_s) == (None, None)
    assert lesson.bytes_up == len(ASK)
    assert "waiting" in lesson.table()
    assert "-> server (dropped)" in lesson.hexdump()


def test_an_answer_that_was_dropped_is_counted_in_bytes_but_never_came() -> None:
    lesson = capture(opened(), (1, 1, "up", "data", ASK), (2, 1, "down", "data", EMPTY, True), *closed())
    (exchange,) = lesson.exchanges()
    assert exchange.response is None
    assert lesson.bytes_down == len(EMPTY)
    assert "none" in lesson.table()


def test_an_interim_answer_belongs_to_the_exchange_that_it_announces() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\n"
    lesson = capture(
        opened(),
        (1, 1, "up", "data", SAY[:-5]),
        (2, 1, "down", "data", interim),
        (3, 1, "up", "data", SAY[-5:]),
        (4, 1, "down", "data", CREATED),
    )
    (exchange,) = lesson.exchanges()
    assert [m.head.status for m in exchange.interim] == [100]  # type: ignore[union-attr]
    assert (exchange.status, exchange.first_byte_s, exchange.bytes_down) == (201, 4, len(interim + CREATED))


def test_an_early_answer_to_a_request_still_being_sent_is_its_answer() -> None:
    lesson = capture(opened(), (1, 1, "up", "data", SAY[:-5]), (2, 1, "down", "data", CREATED), *closed())
    (exchange,) = lesson.exchanges()
    assert (exchange.request.complete, exchange.status, exchange.done_s) == (False, 201, 2)


def test_an_answer_whose_request_was_before_the_recording_is_told_and_not_paired_wrongly() -> None:
    lesson = capture(
        opened(), (1, 1, "down", "data", CREATED), (2, 1, "up", "data", ASK), (3, 1, "down", "data", EMPTY)
    )
    (exchange,) = lesson.exchanges()
    assert (exchange.method, exchange.status) == ("GET", 200)
    assert "not in the recording" in lesson.table()


def test_the_bytes_after_an_upgrade_are_handed_on_untouched() -> None:
    ask = b"GET /ws HTTP/1.1\r\nHost: lab\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    lesson = capture(
        opened(),
        (1, 1, "up", "data", ask),
        (2, 1, "down", "data", switch + b"\x81\x01a"),
        (3, 1, "up", "data", b"\x88\x80"),
    )
    (exchange,) = lesson.exchanges()
    reading = lesson.connection(1).reading
    assert (exchange.status, reading.switched_up, reading.switched_down) == (101, b"\x88\x80", b"\x81\x01a")


def test_a_refused_upgrade_goes_on_as_http() -> None:
    ask = b"GET /ws HTTP/1.1\r\nHost: lab\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    lesson = capture(
        opened(),
        (1, 1, "up", "data", ask + ASK),
        (2, 1, "down", "data", EMPTY),
        (3, 1, "down", "data", EMPTY),
    )
    assert [(e.target, e.status, e.done_s) for e in lesson.exchanges()] == [
        ("/ws", 200, 2),
        ("/messages?since=a1-1", 200, 3),
    ]


def test_bytes_that_are_not_http_are_counted_shown_and_told() -> None:
    lesson = capture(
        opened(), (1, 1, "up", "data", b"\x16\x03\x01\r\n"), (2, 1, "down", "data", b"\x15\x03\n")
    )
    assert lesson.exchanges() == []
    assert (lesson.bytes_up, lesson.bytes_down) == (5, 3)
    assert "Connection 1: the client's bytes: expected a request line" in lesson.table()
    assert "16 03 01 0d 0a" in lesson.hexdump(1)


def test_a_full_recording_says_that_it_is_cut_short() -> None:
    assert "later bytes are missing" in capture(opened(), truncated=True).table()


def test_a_table_without_times_is_the_same_at_any_speed() -> None:
    slow = capture(opened(), (1, 1, "up", "data", ASK), (7, 1, "down", "data", EMPTY))
    fast = capture(opened(), (0, 1, "up", "data", ASK), (0, 1, "down", "data", EMPTY))
    assert slow.table() != fast.table()
    assert slow.table(times=False) == fast.table(times=False)
    assert slow.table(times=False).splitlines() == [
        "connection  request                   answer  bytes up  bytes down",
        f"         1  GET /messages?since=a1-1  200     {len(ASK):8}  {len(EMPTY):10}",
        f"1 exchange on 1 connection: {len(ASK)} bytes up, {len(EMPTY)} bytes down",
    ]
    assert repr(slow) == f"<capture: {slow.table().splitlines()[-1]}>"


def test_a_hexdump_shows_both_directions_and_says_how_much_it_leaves_out() -> None:
    lesson = capture(
        opened(), (1, 1, "up", "data", b"GET / HTTP/1.1\r\n\r\n"), (2, 1, "down", "data", b"\x00\xff")
    )
    assert lesson.hexdump().splitlines() == [
        "-> server",
        "00000000  47 45 54 20 2f 20 48 54  54 50 2f 31 2e 31 0d 0a  |GET / HTTP/1.1..|",
        "00000010  0d 0a                                             |..|",
        "<- server",
        "00000000  00 ff                                             |..|",
    ]
    assert lesson.hexdump(limit=16).splitlines()[2:] == ["… and 4 more bytes"]
    assert lesson.hexdump(limit=18).splitlines()[3:] == ["… and 2 more bytes"]
    with pytest.raises(KeyError, match="there are: 1"):
        lesson.hexdump(7)
    with pytest.raises(ValueError, match="say which"):
        capture(opened(1), opened(2)).hexdump()


def test_a_hexdump_of_bytes_goes_on_from_an_offset() -> None:
    assert hexdump(b"~\x7f", 0x20).startswith("00000020  7e 7f ")
    assert hexdump(b"") == ""


@pytest.mark.parametrize(
    "recording",
    [
        None,
        {},
        {"records": [{}]},
        {"records": [{"t": 0, "connection": 1, "direction": "up", "kind": "data", "data": "%"}]},
        {"records": [{"t": 0, "connection": 1, "direction": "left", "kind": "open"}]},
    ],
    ids=range(5),
)
def test_what_is_not_a_recording_is_refused_with_a_sentence(recording: object) -> None:
    with pytest.raises(ValueError, match="recording"):
        Capture.from_recording(recording)  # type: ignore[arg-type]


@given(st.lists(st.integers(0, 400), max_size=10), st.lists(st.integers(0, 400), max_size=10))
def test_how_the_bytes_were_cut_into_pieces_changes_no_exchange(
    cuts_up: list[int], cuts_down: list[int]
) -> None:
    up, down = ASK + SAY + ASK, EMPTY + CREATED + EMPTY

    def pieces(data: bytes, cuts: list[int], direction: str, at: float) -> list[Record]:
        edges = [0, *sorted(c % len(data) for c in cuts), len(data)]
        return [
            (at, 1, direction, "data", data[a:b]) for a, b in zip(edges, edges[1:], strict=False) if b > a
        ]

    whole = capture(opened(), (1, 1, "up", "data", up), (2, 1, "down", "data", down))
    split = capture(opened(), *pieces(up, cuts_up, "up", 1), *pieces(down, cuts_down, "down", 2))
    assert split.exchanges() == whole.exchanges()
    assert split.table() == whole.table()


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["up", "down"]),
            st.sampled_from(["data", "close", "reset"]),
            st.binary(max_size=40),
        )
    )
)
def test_any_bytes_make_a_capture_and_none_is_lost(records: list[tuple[str, str, bytes]]) -> None:
    lesson = capture(opened(), *((float(i), 1, d, k, data) for i, (d, k, data) in enumerate(records)))
    lesson.table()
    lesson.hexdump(1)
    sent = sum(len(data) for _, kind, data in records if kind == "data")
    assert lesson.bytes_up + lesson.bytes_down == sent
