"""The gateway's event streams: the bytes of servers/sse.py, made once and not once for each stream.

Each event is one chunk (RFC 9112, 7.1). What talks HTTP/1.0, as nginx does unless it is told otherwise, knows
no chunks, and gets the same stream without; its end is the end of the connection.
"""

import random
from collections.abc import Iterator

from servers.core import event_stream
from servers.core.crowd import Follower, in_pieces
from servers.core.event_stream import HEAD, HEARTBEAT, encode_event, encode_retry, snapshot
from servers.core.log import Entry

_HEAD = b"".join(b"%b: %b\r\n" % (name.encode(), value.encode()) for name, value in HEAD.items())


class EventStreams:
    """The language of event streams, with chunks or without."""

    def __init__(self, chunks: bool, seed: int | None = None) -> None:
        self.name = "sse"
        self.chunks = chunks
        self.heartbeat = self.wrap(HEARTBEAT)
        self.last = b"0\r\n\r\n" if chunks else b""
        self._random = random.Random(seed)

    def wrap(self, raw: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(raw), raw) if self.chunks else raw

    def event(self, data: bytes, event: str, id: str) -> bytes:
        return self.wrap(encode_event(data, event, id))

    def snapshot(self, entries: list[Entry], position: str) -> Iterator[bytes]:
        return map(self.wrap, in_pieces(snapshot(entries, position)))

    def opening(self, position: str | None, allowed_origin: str) -> bytes:
        """The head of the answer, and how long this client shall wait before it connects again.

        `position` is where its stream begins; without one, an event must follow in the same block.
        """
        head = b"HTTP/1.1 200 OK\r\n" + _HEAD + b"Vary: Origin\r\nConnection: close\r\n"
        if allowed_origin:
            head += b"Access-Control-Allow-Origin: %b\r\n" % allowed_origin.encode("utf-8", "surrogateescape")
        if self.chunks:
            head += b"Transfer-Encoding: chunked\r\n"
        retry_ms = self._random.randint(*event_stream.RETRY_MS)
        return head + b"\r\n" + self.wrap(encode_retry(retry_ms, position))


class StreamFollower(Follower):
    """A client that reads an event stream. What it still sends means nothing."""

    __slots__ = ()

    def keep_alive(self) -> None:
        self.transport.write(self.crowd.language.heartbeat)

    def end(self) -> None:
        """End the stream. The client comes back after the time it was told, and so not with all others."""
        self.crowd.forget(self)
        self.transport.write(self.crowd.language.last)
        self.transport.close()

    def cut(self) -> None:
        self.transport.abort()
