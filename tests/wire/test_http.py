"""HTTP/1.1 messages cut out of bytes: framing, exact counts, refusals, every split, random bytes."""

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labsupport.wire.http import (
    HttpError,
    HttpMessage,
    HttpParser,
    ResponseHead,
)

GET = b"GET /messages?since=a1-7 HTTP/1.1\r\nHost: lab\r\nAccept: */*\r\n\r\n"
POST = b"POST /messages HTTP/1.1\r\nHost: lab\r\nContent-Length: 13\r\n\r\n" + b'{"data": "x"}'
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Count\r\n\r\n"
    b'5;size=small;note="a \\" b"\r\nhello\r\n006\r\n world\r\n0\r\nCount: 2\r\n\r\n'
)
NOT_MODIFIED = b'HTTP/1.1 304 Not Modified\r\nETag: "7"\r\nContent-Length: 40\r\n\r\n'
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nuntil the end"


def read(
    kind: str, *pieces: bytes, methods: tuple[str, ...] = (), end: bool = False
) -> tuple[list[HttpMessage], str | None]:
    """All messages in the pieces, and the fault that ended the reading, if any."""
    parser = HttpParser(kind)  # type: ignore[arg-type]
    for method in methods:
        parser.expect(method)
    messages: list[HttpMessage] = []
    try:
        for piece in pieces:
            messages += parser.feed(piece)
        if end:
            messages += parser.end()
    except HttpError as error:
        return messages + error.messages, str(error)
    return messages, None


def one(kind: str, data: bytes, **how: object) -> HttpMessage:
    messages, fault = read(kind, data, **how)  # type: ignore[arg-type]
    assert fault is None
    assert len(messages) == 1
    return messages[0]


# --- framing and counts ------------------------------------------------------------------------------------


def test_pipelined_requests_are_told_apart_and_every_byte_is_counted_once() -> None:
    messages, fault = read("request", GET + POST + b"\r\n\r\n" + GET, end=True)
    assert fault is None
    assert [m.head.method for m in messages] == ["GET", "POST", "GET"]  # type: ignore[union-attr]
    assert [m.wire_bytes for m in messages] == [len(GET), len(POST), len(GET) + 4]
    assert [m.start for m in messages] == [0, len(GET), len(GET) + len(POST)]
    assert messages[1].body == b'{"data": "x"}'
    assert (messages[1].head_bytes, messages[1].body_bytes, messages[1].framing_bytes) == (
        len(POST) - 13,
        13,
        0,
    )
    assert messages[2].framing_bytes == 4  # RFC 9112 section 2.2: empty lines before a request


def test_a_chunked_body_is_joined_and_its_framing_weighed() -> None:
    message = one("response", CHUNKED)
    assert message.body == b"hello world"
    assert message.trailers == [("Count", "2")]
    assert message.wire_bytes == len(CHUNKED)
    assert message.head_bytes == CHUNKED.index(b"\r\n\r\n") + 4
    assert message.framing_bytes == len(CHUNKED) - message.head_bytes - 11


@pytest.mark.parametrize("data", [NOT_MODIFIED, NO_CONTENT], ids=["304", "204"])
def test_204_and_304_end_with_their_head_whatever_length_they_name(data: bytes) -> None:
    messages, fault = read("response", data + OK)
    assert fault is None
    assert [m.body for m in messages] == [b"", b"hello"]


def test_the_answer_to_head_has_no_body_and_the_next_answer_has() -> None:
    head_only = b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"
    messages, fault = read("response", head_only + OK, methods=("HEAD", "GET"))
    assert fault is None
    assert [m.body_bytes for m in messages] == [0, 5]


def test_an_interim_answer_does_not_use_up_what_was_asked() -> None:
    messages, fault = read(
        "response", CONTINUE + b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", methods=("HEAD",)
    )
    assert fault is None
    assert [(m.head.status, m.head.interim, m.body_bytes) for m in messages] == [  # type: ignore[union-attr]
        (100, True, 0),
        (200, False, 0),
    ]


def test_a_body_without_length_ends_with_the_connection() -> None:
    parser = HttpParser("response")
    assert parser.feed(UNTIL_CLOSE) == []
    partial = parser.partial()
    assert partial is not None
    assert (partial.complete, partial.body) == (False, b"until the end")
    (message,) = parser.end()
    assert (message.complete, message.body, message.wire_bytes) == (True, b"until the end", len(UNTIL_CLOSE))


def test_a_cut_in_the_middle_of_a_body_is_told_and_what_came_is_kept() -> None:
    parser = HttpParser("response")
    parser.feed(OK[:-2])
    with pytest.raises(HttpError, match="closed in the middle of a response"):
        parser.end()
    partial = parser.partial()
    assert partial is not None
    assert (partial.body, partial.complete) == (b"hel", False)


def test_bytes_after_an_upgrade_are_left_alone() -> None:
    upgrade = (
        b"GET /ws HTTP/1.1\r\nHost: lab\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n"
    )
    requests = HttpParser("request")
    assert len(requests.feed(upgrade + b"\x81\x80")) == 1
    assert (requests.switched, requests.rest) == (True, b"\x81\x80")
    responses = HttpParser("response")
    assert len(responses.feed(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\x00")) == 1
    assert (responses.switched, responses.rest) == (True, b"\x81\x00")
    assert responses.end() == []


def test_a_refused_upgrade_reads_on_as_http() -> None:
    upgrade = b"GET /ws HTTP/1.1\r\nHost: lab\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    parser = HttpParser("request")
    assert len(parser.feed(upgrade + GET)) == 1
    assert len(parser.resume()) == 1
    assert not parser.switched


def test_a_tunnel_begins_behind_a_successful_answer_to_connect() -> None:
    parser = HttpParser("response")
    parser.expect("CONNECT")
    assert len(parser.feed(b"HTTP/1.1 200 OK\r\n\r\n\x16\x03")) == 1
    assert (parser.switched, parser.rest) == (True, b"\x16\x03")


REFUSED_BODIES = {
    b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n": "expected one length",
    b"Content-Length: 5, 6\r\n\r\n": "expected one length",
    b"Content-Length: -5\r\n\r\n": "digits",
    b"Content-Length: +5\r\n\r\n": "digits",
    b"Content-Length: 0x5\r\n\r\n": "digits",
    b"Content-Length:\r\n\r\n": "digits",
    b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n": "digits",
    b"Content-Length: 99999999999\r\n\r\n": "stops at",
    b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n": "both",
    b"Transfer-Encoding: chunked, chunked\r\n\r\n": "twice",
    b"Transfer-Encoding: gzip\r\n\r\n": "end in chunked",
    b"Transfer-Encoding: chunked, gzip\r\n\r\n": "end in chunked",
    b"Transfer-Encoding:\r\n\r\n": "end in chunked",
    b"Transfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n": "hexadecimal",
    b"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n": "hexadecimal",
    b"Transfer-Encoding: chunked\r\n\r\n\r\nhello\r\n": "hexadecimal",
    b"Transfer-Encoding: chunked\r\n\r\n5;a=b c\r\nhello\r\n": "hexadecimal",
    b"Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n": "bare",
    b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello!\r\n": "behind a chunk",
    b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\n\n": "behind a chunk",
    b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n": "add up",
    b"Transfer-Encoding: chunked\r\n\r\n" + b"0" * 5000: "size line",
    b"Transfer-Encoding: chunked\r\n\r\n0\r\nBad trailer\r\n\r\n": "field line",
}


@pytest.mark.parametrize(("fields", "says"), REFUSED_BODIES.items(), ids=range(len(REFUSED_BODIES)))
def test_a_body_whose_end_is_in_doubt_is_refused_with_a_sentence(fields: bytes, says: str) -> None:
    messages, fault = read("request", GET + b"POST / HTTP/1.1\r\nHost: lab\r\n" + fields)
    assert [m.wire_bytes for m in messages] == [len(GET)]  # the whole message before the fault is not lost
    assert fault is not None
    assert says in fault


def test_the_same_length_twice_is_one_length() -> None:
    assert (
        one("response", b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\nContent-Length: 2\r\n\r\nhi").body
        == b"hi"
    )


def test_transfer_encoding_in_http_1_0_is_refused() -> None:
    _, fault = read("response", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
    assert fault is not None
    assert "HTTP/1.0" in fault


def test_a_response_in_another_coding_runs_until_the_connection_closes() -> None:
    assert (
        one("response", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n5\r\n", end=True).body == b"5\r\n"
    )


def test_a_parser_that_failed_stays_failed() -> None:
    parser = HttpParser("request")
    for _ in range(2):
        with pytest.raises(HttpError, match="request line"):
            parser.feed(b"nonsense\r\n")
    with pytest.raises(HttpError, match="request line"):
        parser.end()


def test_limits_hold_for_bodies_that_name_no_length() -> None:
    parser = HttpParser("response", max_body=10)
    parser.feed(b"HTTP/1.0 200 OK\r\n\r\n0123456789")
    with pytest.raises(HttpError, match="longer than 10"):
        parser.feed(b"x")


def test_a_head_without_end_is_refused_before_it_fills_the_memory() -> None:
    parser = HttpParser("request", max_head=1000)
    parser.feed(b"GET / HTTP/1.1\r\nX: ")
    with pytest.raises(HttpError, match="longer than 1000"):
        parser.feed(b"y" * 1000)


# --- properties --------------------------------------------------------------------------------------------

REQUESTS = [
    GET,
    POST,
    b"\r\n" + GET,
    b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\n\r\n",
]
RESPONSES = [OK, CHUNKED, NOT_MODIFIED, NO_CONTENT, CONTINUE]
FAULTY = [
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello!!",
    b"HTTP/1.1 200 OK\nX: y\n\n",
    b"\r\n",
]

streams = st.one_of(
    st.tuples(st.just("request"), st.lists(st.sampled_from(REQUESTS), max_size=5).map(b"".join)),
    st.tuples(st.just("response"), st.lists(st.sampled_from(RESPONSES + FAULTY), max_size=5).map(b"".join)),
    st.tuples(
        st.just("response"),
        st.lists(st.sampled_from(RESPONSES), max_size=3).map(lambda m: b"".join([*m, UNTIL_CLOSE])),
    ),
)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in zip(edges, edges[1:], strict=False)]


@given(streams, st.lists(st.integers(0, 2000), max_size=12))
def test_every_split_gives_the_same_messages_and_the_same_fault(
    stream: tuple[str, bytes], places: list[int]
) -> None:
    kind, data = stream
    assert read(kind, *cut(data, places), end=True) == read(kind, data, end=True)


@pytest.mark.parametrize(
    ("kind", "data"), [("request", b"".join(REQUESTS)), ("response", b"".join([*RESPONSES, UNTIL_CLOSE]))]
)
def test_one_byte_at_a_time_and_both_sides_of_every_place_give_the_same(kind: str, data: bytes) -> None:
    whole = read(kind, data, end=True)
    assert whole[1] is None
    assert read(kind, *(bytes([byte]) for byte in data), end=True) == whole
    for place in range(len(data)):
        assert read(kind, data[:place], data[place:], end=True) == whole


@given(st.sampled_from(["request", "response"]), st.lists(st.binary(max_size=60), max_size=6))
def test_random_bytes_raise_the_documented_error_or_nothing(kind: str, pieces: list[bytes]) -> None:
    read(kind, *pieces, end=True)


tokens = st.sampled_from(
    [
        b"GET / HTTP/1.1",
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 101 x",
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b":",
        b"5",
        b"0",
        b";",
        b'"',
        b"Transfer-Encoding: chunked",
        b"Content-Length: 5",
        b"Content-Length: 0",
        b"Upgrade: x",
        b"Connection: upgrade",
        b"hello",
        b"CONNECT a:1 HTTP/1.1",
        b"\x00",
        b"\xff",
    ]
)


@settings(max_examples=300)
@given(
    st.sampled_from(["request", "response"]),
    st.lists(tokens, max_size=30),
    st.lists(st.integers(0, 400), max_size=5),
)
def test_scrambled_http_is_read_the_same_at_every_split(
    kind: str, parts: list[bytes], places: list[int]
) -> None:
    data = b"".join(parts)
    assert read(kind, *cut(data, places), end=True) == read(kind, data, end=True)


@given(streams)
def test_the_messages_weights_add_up_to_the_bytes_on_the_wire(stream: tuple[str, bytes]) -> None:
    kind, data = stream
    messages, fault = read(kind, data, end=True)
    if fault is None:
        assert sum(message.wire_bytes for message in messages) == len(data)
        assert all(m.head_bytes + m.body_bytes + m.framing_bytes == m.wire_bytes for m in messages)


names = st.text("abcXYZ-09", min_size=1, max_size=12).filter(
    lambda n: n.lower() not in ("content-length", "transfer-encoding")
)
values = st.text("abc XYZ;,=\t\"'é", max_size=20).map(str.strip)


@given(
    st.sampled_from([200, 404, 500]),
    st.lists(st.tuples(names, values), max_size=5),
    st.lists(st.binary(min_size=1, max_size=200), max_size=5),
    st.booleans(),
)
def test_what_the_reference_library_writes_is_read_back_the_same(
    status: int, fields: list[tuple[str, str]], pieces: list[bytes], chunked: bool
) -> None:
    body = b"".join(pieces)
    framing = ("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(len(body)))
    connection = h11.Connection(our_role=h11.SERVER)
    connection.receive_data(GET)
    connection.next_event()
    raw = [(name.encode(), value.encode("latin-1")) for name, value in [*fields, framing]]
    wire = connection.send(h11.Response(status_code=status, headers=raw, reason=b"So")) or b""
    for piece in pieces:
        wire += connection.send(h11.Data(data=piece)) or b""
    wire += connection.send(h11.EndOfMessage()) or b""
    message = one("response", wire)
    assert isinstance(message.head, ResponseHead)
    assert (message.head.status, message.body, message.wire_bytes) == (status, body, len(wire))
    assert message.head.fields[: len(fields)] == fields
