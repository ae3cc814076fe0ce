"""One WebSocket connection: the library's, with bounds on heads, on waiting, and on what lies unread.

Close codes say why, and what to do now, in three ranges (4000-4999 are free for all: RFC 6455, 7.4.2):

    connect again, at a random moment       1001, 1005, 1006, 1011, 1012, 1014, 4200-4299, and unknown ones
    connect again, but not within 5 s       1013, 4408-4499
    stay away, asking again will not help   1000, 1002, 1003, 1007-1010, 4400-4407

The library sees to the frames: 1002 for what the RFC forbids (a client's frame without a mask), 1007 for
text that is not UTF-8, 1009 for a message over the limit, 1011 when a ping stays unanswered.
"""

import asyncio
import json
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, cast

from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.http11 import Response

from servers.core.connection import HEAD_S, LINGER_S, MAX_FIELD
from servers.core.http import MAX_HEAD

WRITE_AHEAD = 32 * 1024  # bytes written ahead of the client; then a send waits
SEND_BUFFER = 64 * 1024  # bytes in the kernel; left alone, Linux keeps 4 MiB for a reader that never reads
STUCK_S = 60.0  # seconds for a client to take a message
CLOSE_S = 5.0  # seconds for the closing handshake; then the connection is cut

UNSUPPORTED, BUG, RESTART = 1003, 1011, 1012
NOT_AUTHENTICATED, SLOW_READER, TOO_FAST = 4401, 4408, 4429
REASONS = {  # what the close frame says besides the code; at most 123 bytes
    UNSUPPORTED: "binary messages mean nothing here: send JSON as text",
    BUG: "the server has a bug",
    RESTART: "the server restarts: connect again, at a random moment",
    NOT_AUTHENTICATED: "not authenticated: join with a valid token",
    SLOW_READER: "too slow: more was waiting for you than the server keeps; resume from your position",
    TOO_FAST: "too many messages: wait before you connect again, and send fewer",
}


def reply(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer instead of a WebSocket. The connection ends with it."""
    body = json.dumps(content, ensure_ascii=False).encode() + b"\n"
    fields = {"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close"}
    return Response(status, HTTPStatus(status).phrase, Headers({**fields, **(headers or {})}), body)


def refuse(status: int, error: str, advice: str, headers: Mapping[str, str] | None = None) -> Response:
    """An answer that is an error."""
    return reply({"error": error, "try": advice}, status, headers)


@dataclass
class Counters:
    connections: int = 0  # open now
    most_connections: int = 0
    opened: int = 0
    refused: int = 0  # requests that did not become a WebSocket, and were no page
    messages: int = 0  # received
    bytes: int = 0  # of these
    slow: int = 0  # closed with 4408
    too_fast: int = 0  # closed with 4429


@dataclass
class Shared:
    """What all connections of one server have in common."""

    most_behind: int  # bytes that a client may leave unread, before it is cut without a word
    close_s: float = CLOSE_S
    send_buffer: int = SEND_BUFFER  # bytes asked for in the kernel; 0: left alone
    at_once: Callable[[bytes], bytes | None] | None = None  # refuses a head before anything is made of it
    counters: Counters = field(default_factory=Counters)
    open: dict["Connection", None] = field(default_factory=dict)  # also before their head has come


class Connection(ServerConnection):
    """What a handler gets: receive() and push() messages, and cut() to end it."""

    def __init__(self, shared: Shared, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.shared = shared
        self.ending: asyncio.Task[None] | None = None
        self._begun = self._deaf = False
        self._head_bytes = self._line_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None

    @property
    def path(self) -> str:
        """The path that was asked for, without its query."""
        return self.request.path.partition("?")[0] if self.request else ""

    @property
    def behind(self) -> int:
        """Bytes that the client has not taken, beyond what the kernel holds."""
        return self.transport.get_write_buffer_size()

    async def receive(self) -> str | bytes:
        """The next message, counted. Raises ConnectionClosed."""
        message = await self.recv()
        counters = self.shared.counters
        counters.messages += 1
        counters.bytes += len(message) if isinstance(message, bytes) else len(message.encode())
        return message

    async def push(self, message: str | bytes, text: bool | None = None) -> None:
        """Send a message; waits while the client's buffers are full, STUCK_S at most.

        `text` sends bytes, which must be UTF-8, as a text message. Raises ConnectionClosed.
        """
        if self.behind + len(message) < WRITE_AHEAD:
            await self.send(message, text=text)
            return
        try:
            async with asyncio.timeout(STUCK_S):
                await self.send(message, text=text)
        except TimeoutError:
            self.cut(SLOW_READER)
            await self.wait_closed()

    def cut(self, code: int, reason: str = "") -> None:
        """Close with this code, now and without waiting; by force if the client does not play its part.

        The library's close() waits until its frame is written: for a client that does not read, for ever.
        """
        if self.ending is None:
            self.shared.counters.slow += code == SLOW_READER
            self.shared.counters.too_fast += code == TOO_FAST
            self.ending = self.loop.create_task(self._end(code, reason or REASONS[code]))
            self.transport.resume_reading()  # a full queue may have stopped it before the client's close

    async def _end(self, code: int, reason: str) -> None:
        timer = self.loop.call_later(self.shared.close_s, self.transport.abort)
        try:
            await self.close(code, reason)
        finally:
            timer.cancel()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.shared.open[self] = None
        sock = transport.get_extra_info("socket")
        if sock is not None and self.shared.send_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.shared.send_buffer)
        self._head_timer = self.loop.call_later(HEAD_S, self.head_is_late)
        self.transport = cast(asyncio.Transport, transport)
        if self.shared.at_once is None:
            self._begin()

    def _begin(self) -> None:
        """Tell the library of this connection: not before its head comes, if that may be refused at once."""
        self._begun = True
        super().connection_made(self.transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.shared.open.pop(self, None)
        self._head_arrived()
        if self._begun:
            super().connection_lost(exc)

    def eof_received(self) -> None:
        if self._begun:
            super().eof_received()

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        # All of it is head: a client must wait for the answer before it sends frames (RFC 6455, 4.1).
        if self.request is None and (not self._head_goes_on(data) or self._is_turned_away(data)):
            return
        if not self._begun:
            self._begin()
        super().data_received(data)
        # Pongs are written at once, also to a client that sends pings and reads nothing.
        if self.behind > self.shared.most_behind:
            self.cut(SLOW_READER)
            self.transport.abort()

    def _head_goes_on(self, data: bytes) -> bool:
        """Whether the head may go on after this part of it; if not, the client has been told why."""
        if not self._head_bytes and not data.startswith(b"GET "[: len(data)]):
            self._last_word(405, "a WebSocket begins with GET", "python -m websockets ws://127.0.0.1:PORT")
            return False
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD:
            self._last_word(431, f"the head is larger than {MAX_HEAD} bytes", "send less")
            return False
        begun, *lines = data.split(b"\n")
        self._line_bytes += len(begun)
        if max(self._line_bytes, *map(len, lines), 0) > MAX_FIELD:
            self._last_word(431, f"the head has a line of more than {MAX_FIELD} bytes", "send less")
            return False
        self._line_bytes = len(lines[-1]) if lines else self._line_bytes
        return True

    def _is_turned_away(self, data: bytes) -> bool:
        if self._begun or self.shared.at_once is None:
            return False
        refusal = self.shared.at_once(data)
        if refusal is None:
            return False
        self._deaf = True
        self._head_arrived()
        self.transport.write(refusal)
        self.transport.close()  # all that it sent has been read, so that it can read the answer
        return True

    def process_event(self, event: Any) -> None:
        self._head_arrived()
        if self.ending is None:  # nobody reads messages any more
            super().process_event(event)

    def head_is_late(self) -> None:
        """Browsers open spare connections and stay silent: nobody waits for an answer there."""
        if self._head_bytes:
            self._last_word(408, f"no complete request head in {HEAD_S:g} s", "send it in one go")
        else:
            self.transport.abort()

    def _head_arrived(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _last_word(self, status: int, error: str, advice: str) -> None:
        """Answer what never became a request, and read on a little, so that the client can read the answer.

        Closing while it still sends would reset the connection, and destroy what it has not read yet.
        """
        self._deaf = True
        self._head_arrived()
        self.shared.counters.refused += 1
        self.transport.write(refuse(status, error, advice).serialize())
        self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.abort)
