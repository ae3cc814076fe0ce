"""aiohttp's connection, with what it lacks: a deadline for the first head, and errors that can be read.

a head that is not complete in HEAD_S   408 and the end (a slow-loris attack holds connections this way)
what is not HTTP, or beyond the limits  400 or 431 as JSON, and an end that lets the client read it
"""

import asyncio
import json
import logging

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

MAX_FIELDS = 100  # header fields of a request; a browser sends far fewer
MAX_FIELD = 8 * 1024  # bytes of one header field or of the request line; what nginx and Apache allow
HEAD_S = 10.0  # seconds from connecting to the end of the first request's head; a program needs milliseconds
IDLE_S = 75.0  # seconds that an idle connection is kept for the next request; nginx's default
LINGER_S = 1.0  # seconds to go on reading after the last answer, so that the client can read that answer

_log = logging.getLogger(__name__)


class Connection(web.RequestHandler):
    """One client's connection. The deadline of a later head is IDLE_S, which aiohttp counts by itself."""

    __slots__ = ("_deaf", "head_timer", "heard")

    def __init__(self, manager: web.Server, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            manager,
            loop=loop,
            keepalive_timeout=IDLE_S,
            lingering_time=LINGER_S,
            max_line_size=MAX_FIELD,
            max_field_size=MAX_FIELD,
            max_headers=MAX_FIELDS,
            auto_decompress=False,  # or a small body could become a large one
            access_log=None,  # type: ignore[arg-type]
        )
        self.heard = False
        self._deaf = False
        self.head_timer: asyncio.TimerHandle | None = loop.call_later(HEAD_S, self.head_is_late)

    def data_received(self, data: bytes) -> None:
        self.heard = True
        if self._deaf:
            return
        super().data_received(data)
        error = getattr(self._messages[-1][0], "exc", None) if self._messages else None
        if error is not None:
            self._deaf = True  # behind what cannot be read, nothing can
            _forget_where(error)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.head_arrived()
        super().connection_lost(exc)

    def stop_listening(self) -> None:
        """Throw away what the client still sends: behind an answer without an end, it would only pile up.

        That the client goes away is noticed all the same.
        """
        self._deaf = True

    def head_arrived(self) -> None:
        if self.head_timer is not None:
            self.head_timer.cancel()
            self.head_timer = None

    def head_is_late(self) -> None:
        self.head_timer = None
        if self.heard and self.transport is not None:  # browsers open spare connections, and stay silent
            problem = {"error": f"no complete request head in {HEAD_S:g} s", "try": "send it in one go"}
            body = json.dumps(problem)
            head = f"HTTP/1.1 408 Request Timeout\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            self.transport.write(head.encode() + body.encode())
        self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what never became a request: garbage, or a head beyond the limits."""
        if request.writer.output_size > 0 or isinstance(exc, ConnectionError):
            raise ConnectionError("the answer has begun already: nothing but closing can follow")
        if status >= 500:
            _log.error("error in a handler", exc_info=exc)
            return _LastWord(self, status, "the server has a bug", "look at its log")
        if isinstance(exc, LineTooLong):
            return _LastWord(self, 431, f"the head has a line of more than {MAX_FIELD} bytes", "send less")
        if message and message.startswith("Too many headers"):
            return _LastWord(self, 431, f"the head has more than {MAX_FIELDS} fields", "send fewer")
        return _LastWord(self, 400, f"this is not HTTP/1.1: {(message or '')[:200]}", "use an HTTP client")

    async def linger(self) -> None:
        """Say that nothing more will come, and read on a little without listening (RFC 9112, 9.6).

        Closing at once would answer what the client is still sending with a reset, and that can destroy the
        answer before the client has read it. Ends early when the client closes: that cancels the handler.
        """
        self._deaf = True
        if self.transport is not None and self.transport.can_write_eof():
            self.transport.write_eof()
            await asyncio.sleep(LINGER_S)


def _forget_where(error: BaseException | None) -> None:
    """Take the tracebacks off an error, and off those behind it.

    A traceback holds the frames that read the bad bytes, and they hold the error: a ring that only Python's
    garbage collector opens. It comes by the number of objects and not by their size, and a thousand clients
    that send heads without an end would leave 400 MB to it.
    """
    while error is not None:
        error.__traceback__ = None
        error = error.__context__


class _LastWord(web.Response):
    """An error after which the connection is closed, in a way that lets the client read it."""

    def __init__(self, connection: Connection, status: int, error: str, advice: str) -> None:
        body = json.dumps({"error": error, "try": advice}).encode() + b"\n"
        super().__init__(body=body, status=status, content_type="application/json")
        self.force_close()
        self._connection = connection

    async def write_eof(self, data: bytes = b"") -> None:
        await super().write_eof(data)
        await self._connection.linger()
