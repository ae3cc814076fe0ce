"""Start lines and fields: what is kept as it came, and what is refused with a sentence."""

import pytest

from labsupport.wire.http import (
    HttpError,
    RequestHead,
    parse_request_head,
    parse_response_head,
)


def test_a_request_head_keeps_names_values_and_order_as_they_came() -> None:
    head = parse_request_head(b"GET /a?b HTTP/1.1\r\nHost: lab\r\nX-One:\t1 \r\nx-one: 2\r\nEmpty:\r\n\r\n")
    assert head == RequestHead(
        "GET", "/a?b", "1.1", [("Host", "lab"), ("X-One", "1"), ("x-one", "2"), ("Empty", "")]
    )
    assert head.get("HOST") == "lab"
    assert head.get("x-ONE") == "1, 2"
    assert head.get_all("X-One") == ["1", "2"]
    assert head.get("missing") is None
    assert head.get("missing", "-") == "-"


@pytest.mark.parametrize("line", [b"HTTP/1.1 404 Not Found", b"HTTP/1.1 404 ", b"HTTP/1.1 404"])
def test_a_reason_may_be_missing(line: bytes) -> None:
    head = parse_response_head(line + b"\r\nServer: lab\r\n\r\n<p>")
    assert (head.version, head.status) == ("1.1", 404)
    assert head.reason in ("Not Found", "")


def test_bytes_above_ascii_in_a_field_are_kept_one_to_one() -> None:
    value = parse_request_head(b"GET / HTTP/1.1\r\nX: \xe9\xff\r\n\r\n").get("X")
    assert value is not None
    assert value.encode("latin-1") == b"\xe9\xff"


REFUSED_HEADS = {
    b"GET / HTTP/1.1\nHost: lab\n\n": "bare",
    b"GET / HTTP/1.1\r\nHost: lab\r\n folded\r\n\r\n": "starts with a space",
    b"GET / HTTP/1.1\r\n Host: lab\r\n\r\n": "starts with a space",
    b"GET / HTTP/1.1\r\nHost : lab\r\n\r\n": "no space before",
    b"GET / HTTP/1.1\r\nHost\r\n\r\n": "field line",
    b"GET / HTTP/1.1\r\n: lab\r\n\r\n": "field line",
    b"GET / HTTP/1.1\r\nHost: l\x00b\r\n\r\n": "field line",
    b"GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n": "carriage return",
    b"GET /a b HTTP/1.1\r\n\r\n": "request line",
    b"GET  / HTTP/1.1\r\n\r\n": "request line",
    b"GET / http/1.1\r\n\r\n": "request line",
    b"GET /\r\n\r\n": "request line",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n": "HTTP/2.0",
    b"\x16\x03\x01\x02\r\n\r\n": "request line",
    b"GET / HTTP/1.1\r\nHost: lab\r\n": "does not end",
    b"": "does not end",
    b"\r\n\r\n": "empty line",
    b"GET / HTTP/1.1\r\nX: " + b"y" * 70_000 + b"\r\n\r\n": "longer than 65536",
}


@pytest.mark.parametrize(("data", "says"), REFUSED_HEADS.items(), ids=range(len(REFUSED_HEADS)))
def test_a_head_that_can_be_read_in_two_ways_is_refused_with_a_sentence(data: bytes, says: str) -> None:
    with pytest.raises(HttpError, match=says):
        parse_request_head(data)


@pytest.mark.parametrize(
    "line", [b"HTTP/1.1 20 OK", b"HTTP/1.1 2000 OK", b"HTTP/1.1  200", b"200 OK", b"HTTP/1.1 099 x"]
)
def test_a_status_line_has_one_three_digit_status(line: bytes) -> None:
    with pytest.raises(HttpError, match="status line"):
        parse_response_head(line + b"\r\n\r\n")
