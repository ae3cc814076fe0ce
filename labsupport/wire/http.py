"""HTTP/1.1 messages read from the bytes of a connection, as RFC 9112 cuts them.

Made for captures: every byte is accounted for. What no careful receiver should guess at (two lengths, a
folded field line, a bare line feed) is refused with a sentence: request smuggling lives on such guesses.

    parse_request_head(b"GET / HTTP/1.1\\r\\nHost: lab\\r\\n\\r\\n").method     -> "GET"

    parser = HttpParser("response")
    for piece in pieces:                    # cut anywhere: the messages are the same
        for message in parser.feed(piece):
            print(message.head.status, message.wire_bytes)
    parser.end()                            # the connection closed
"""

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from labsupport.wire.http_heads import (
    MAX_HEAD,
    TOKEN,
    Field,
    Head,
    HttpError,
    RequestHead,
    ResponseHead,
    field_line,
    parse_request_head,
    parse_response_head,
    request_line,
    shown,
    status_line,
    without_crlf,
)

__all__ = [
    "MAX_BODY",
    "MAX_HEAD",
    "HttpError",
    "HttpMessage",
    "HttpParser",
    "RequestHead",
    "ResponseHead",
    "parse_request_head",
    "parse_response_head",
]

MAX_CHUNK_LINE = 4096  # bytes; a chunk's size is a few digits, extensions are rare and short
MAX_BODY = 64 * 1024 * 1024  # bytes; twice what the middlebox records

Kind = Literal["request", "response"]
# A body ends after so many more bytes, with its last chunk, or with the connection.
BodyEnd = int | Literal["chunked", "close"]

_QUOTED = rb'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"'  # RFC 9110 section 5.6.4
_CHUNK_LINE = re.compile(
    rb"([0-9A-Fa-f]+)(?:[ \t]*;[ \t]*%b(?:[ \t]*=[ \t]*(?:%b|%b))?)*" % (TOKEN, TOKEN, _QUOTED)
)


@dataclass(frozen=True, slots=True)
class HttpMessage:
    """One message, and what it weighed: wire_bytes = head_bytes + body_bytes + framing_bytes.

    body           the content without its chunk framing; a Content-Encoding stays as it came
    head_bytes     start line, field lines and the empty line
    wire_bytes     every byte of the message, and of empty lines before a request
    start          offset of its first byte in its direction of the connection
    complete       False for what a cut or a running stream has left unfinished
    """

    head: Head
    body: bytes
    head_bytes: int
    wire_bytes: int
    start: int = 0
    trailers: list[Field] = field(default_factory=list)
    complete: bool = True

    @property
    def body_bytes(self) -> int:
        """Bytes of content: what the message was sent for."""
        return len(self.body)

    @property
    def framing_bytes(self) -> int:
        """Chunk sizes, their line ends, trailers, and empty lines before a request."""
        return self.wire_bytes - self.head_bytes - len(self.body)

    @property
    def end(self) -> int:
        """Offset just behind its last byte, in its direction of the connection."""
        return self.start + self.wire_bytes


def _body_end(head: Head, method: str, max_body: int) -> BodyEnd:
    """How the body ends (RFC 9112 section 6.3, in its order); `method` is what the response answers."""
    if isinstance(head, ResponseHead):
        if head.status < 200 or head.status in (204, 304) or method == "HEAD":
            return 0
        if method == "CONNECT" and head.status < 300:
            return 0
    if head.get("Transfer-Encoding") is not None:
        return _transfer_coded(head, head.members("Transfer-Encoding"))
    if head.get("Content-Length") is None:
        return 0 if isinstance(head, RequestHead) else "close"
    lengths = set(head.members("Content-Length"))
    if len(lengths) > 1:
        raise HttpError(f"Content-Length says {' and '.join(sorted(lengths))[:60]}: expected one length")
    text = lengths.pop() if lengths else ""
    if not re.fullmatch("[0-9]{1,15}", text):
        raise HttpError(f"expected digits in Content-Length, got {text[:40]!r}")
    if int(text) > max_body:
        raise HttpError(f"a body of {int(text)} bytes is announced; this reader stops at {max_body}")
    return int(text)


def _transfer_coded(head: Head, codings: Sequence[str]) -> BodyEnd:
    if head.get("Content-Length") is not None:
        raise HttpError("both Transfer-Encoding and Content-Length are given: expected one of them")
    if head.version == "1.0":
        raise HttpError("Transfer-Encoding came with HTTP/1.0, which does not know it (RFC 9112 section 6.1)")
    if codings.count("chunked") > 1:
        raise HttpError("chunked is applied twice: expected it once, as the last transfer coding")
    if codings[-1:] == ["chunked"]:
        return "chunked"
    if isinstance(head, RequestHead):
        raise HttpError(
            f"the transfer coding of a request must end in chunked, got {', '.join(codings)[:40]!r}"
        )
    return "close"


def _asks_to_switch(head: RequestHead) -> bool:
    """Whether bytes behind this request may belong to another protocol (RFC 9110 sections 7.8 and 9.3.6)."""
    upgrade = head.get("Upgrade") is not None and "upgrade" in head.members("Connection")
    return head.method == "CONNECT" or upgrade


class HttpParser:
    """Messages of one direction of one connection, from pieces cut anywhere.

    A response needs to know what was asked (the answer to HEAD has no body): call `expect(method)` for each
    request, in order; without it GET is assumed. When the protocol is switched (101, CONNECT), the bytes that
    follow gather in `rest`. A request parser stops there once a switch is *asked for*: call `resume()`
    if the answer refuses it.
    """

    def __init__(self, kind: Kind, *, max_head: int = MAX_HEAD, max_body: int = MAX_BODY) -> None:
        if kind not in ("request", "response"):
            raise ValueError(f'expected "request" or "response", got {kind!r}')
        self.kind = kind
        self.switched = False
        self._max_head, self._max_body = max_head, max_body
        self._asked: deque[str] = deque()
        self._buffer = bytearray()
        self._searched = 0  # bytes at the buffer's start known to hold no line feed
        self._consumed = 0  # bytes taken from the buffer since the connection opened
        self._error: HttpError | None = None
        self._closed = False
        self._new_message()

    def _new_message(self) -> None:
        self._start = self._consumed
        self._head: Head | None = None
        self._head_bytes = 0
        self._head_complete = False
        self._left: BodyEnd = 0
        self._body = bytearray()
        self._chunk: int | None = None  # bytes of the current chunk still to come; None before its size line
        self._trailers: list[Field] | None = None  # None before the last chunk
        self._trailer_room = 0

    @property
    def rest(self) -> bytes:
        """Bytes that no message has taken yet; after a switch, the other protocol's."""
        return bytes(self._buffer)

    def expect(self, method: str) -> None:
        """Say which method the next answer answers."""
        self._asked.append(method)

    def feed(self, data: bytes) -> list[HttpMessage]:
        """Take the next bytes; return the messages they complete. HttpError, again at every later call."""
        if self._error is not None:
            raise HttpError(str(self._error))
        if self._closed:
            raise HttpError("bytes came after the end of the connection")
        self._buffer += data
        return self._run()

    def end(self) -> list[HttpMessage]:
        """The connection closed: return the message this completes. HttpError if one is left half-way."""
        if self._error is not None:
            raise HttpError(str(self._error))
        self._closed = True
        if self.switched:
            return []
        if self._head_complete and self._left == "close":
            return [self._finish()]
        if self._head is not None or self._buffer:
            self._error = HttpError(f"the connection closed in the middle of a {self.kind}")
            raise self._error
        return []

    def resume(self) -> list[HttpMessage]:
        """The switch that a request asked for was refused: read on as HTTP."""
        self.switched = False
        return self._run()

    def partial(self) -> HttpMessage | None:
        """The message under way, as far as it has come; None before its head is complete."""
        return self._message(complete=False) if self._head_complete else None

    def _run(self) -> list[HttpMessage]:
        done: list[HttpMessage] = []
        try:
            while not self.switched and self._step():
                if self._head_complete and self._left == 0:
                    done.append(self._finish())
        except HttpError as error:
            error.messages = done
            self._error = error
            raise
        return done

    def _step(self) -> bool:
        """Take one line or one run of body bytes; False when more bytes are needed."""
        if not self._head_complete:
            return self._read_head_line()
        if self._left != "chunked":
            return self._read_body(self._left)
        if self._trailers is not None:
            return self._read_trailer(self._trailers)
        return self._read_chunk()

    def _read_head_line(self) -> bool:
        line = self._take_line(
            self._max_head - self._head_bytes, f"the head is longer than {self._max_head} bytes"
        )
        if line is None:
            return False
        self._head_bytes += len(line) + 2
        if self._head is not None and not line:
            self._begin_body(self._head)
        elif self._head is not None:
            self._head.fields.append(field_line(line))
        elif self.kind == "response":
            self._head = status_line(line)
        elif line:
            self._head = request_line(line)
        else:
            self._head_bytes = 0  # RFC 9112 section 2.2: empty lines before a request are skipped
        return True

    def _begin_body(self, head: Head) -> None:
        self._left = _body_end(head, self._asked[0] if self._asked else "GET", self._max_body)
        self._head_complete = True

    def _read_body(self, left: int | Literal["close"]) -> bool:
        if not self._buffer:
            return False
        size = len(self._buffer) if left == "close" else min(left, len(self._buffer))
        self._take_body(size)
        self._left = left if left == "close" else left - size
        return True

    def _read_chunk(self) -> bool:
        """A size line, a run of data, or the line end behind the data (RFC 9112 section 7.1)."""
        if self._chunk is None:
            line = self._take_line(
                MAX_CHUNK_LINE, f"a chunk's size line is longer than {MAX_CHUNK_LINE} bytes"
            )
            if line is None:
                return False
            self._begin_chunk(line)
            return True
        if self._chunk > 0:
            size = min(self._chunk, len(self._buffer))
            self._take_body(size)
            self._chunk -= size
            return size > 0
        if len(self._buffer) < 2:
            return False
        if (behind := self._take(2)) != b"\r\n":
            raise HttpError(rf"expected \r\n behind a chunk, got {shown(behind)}: is the chunk's size right?")
        self._chunk = None
        return True

    def _begin_chunk(self, line: bytes) -> None:
        match = _CHUNK_LINE.fullmatch(line)
        if not match:
            raise HttpError(f"expected a chunk's size in hexadecimal digits, got {shown(line)}")
        size = int(match[1], 16)
        if len(self._body) + size > self._max_body:
            raise HttpError(f"the chunks add up to more than {self._max_body} bytes, where this reader stops")
        if size == 0:
            self._trailers = []
            self._trailer_room = self._max_head
        else:
            self._chunk = size

    def _read_trailer(self, trailers: list[Field]) -> bool:
        line = self._take_line(self._trailer_room, f"the trailers are longer than {self._max_head} bytes")
        if line is None:
            return False
        self._trailer_room -= len(line) + 2
        if line:
            trailers.append(field_line(line))
        else:
            self._left = 0
        return True

    def _take_line(self, room: int, too_long: str) -> bytes | None:
        """The next line without its end, None if it has not come whole. HttpError beyond `room` bytes."""
        end = self._buffer.find(b"\n", self._searched)
        if (len(self._buffer) if end < 0 else end + 1) > room:
            raise HttpError(too_long)
        if end < 0:
            self._searched = len(self._buffer)
            return None
        return without_crlf(self._take(end + 1))

    def _take_body(self, size: int) -> None:
        if len(self._body) + size > self._max_body:
            raise HttpError(f"the body is longer than {self._max_body} bytes, where this reader stops")
        self._body += self._take(size)

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._searched = 0
        self._consumed += size
        return taken

    def _message(self, *, complete: bool) -> HttpMessage:
        assert self._head is not None
        wire_bytes = self._consumed - self._start
        trailers = list(self._trailers or [])
        return HttpMessage(
            self._head, bytes(self._body), self._head_bytes, wire_bytes, self._start, trailers, complete
        )

    def _finish(self) -> HttpMessage:
        message = self._message(complete=True)
        if isinstance(message.head, RequestHead):
            self.switched = _asks_to_switch(message.head)
        elif not message.head.interim:
            method = self._asked.popleft() if self._asked else "GET"
            self.switched = message.head.status == 101 or (method == "CONNECT" and message.head.status < 300)
        self._new_message()
        return message
