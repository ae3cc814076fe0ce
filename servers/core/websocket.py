"""What the lab's WebSocket servers share: who may connect, plain pages beside the sockets, and the end.

A server says which handler talks on which path, and hands that to run():

    def main() -> None:
        options = arguments(__doc__).parse_args()
        run(Door(options, sockets={"/chat": chat}, pages={"/stats": stats}), options)

Before a WebSocket opens, its request is checked as a door-keeper would, in this order:

    400, 403   Host: a name that does not belong to this machine (see core/hosts.py)
    403        Origin: a page of elsewhere. A browser lets any page open a WebSocket to anywhere, and sends
               the cookies along: the server alone can refuse (RFC 6455, 10.2). What is no page sends none.
    408, 431   a head that does not end within HEAD_S, or is larger than MAX_HEAD
    404, 426   no such path; or the path is right, but this is a plain request
    503        the server ends, or has too many connections, or the queue of --accepts-per-s is full (see
               core/admission.py): as long as it is, that comes before all of the above

Each is JSON: {"error": what is wrong, "try": what to do about it}. Why a connection is closed later on, its
close code says: see core/websocket_connection.py.
"""

import argparse
import asyncio
import logging
import math
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from servers.core import hosts, http, lifeline
from servers.core.admission import Admission
from servers.core.connection import HEAD_S, LINGER_S
from servers.core.event_stream import seconds, whole
from servers.core.websocket_connection import (
    BUG,
    RESTART,
    WRITE_AHEAD,
    Connection,
    Shared,
    refuse,
)

MAX_MESSAGE = 1 << 20  # bytes of a message; more closes with 1009. The library's own default
PING_S = 20.0  # seconds between pings, and for a pong: a dead client is noticed after 40 s at most
MOST_CONNECTIONS = 10_000  # open at once; each takes a descriptor, and about 15 kB (24 in a chat)
MAX_FRAMES = 4  # frames read ahead of the handler; then TCP makes the client wait
DRAIN_S = 1.0  # seconds over which a server that ends sends its clients away
MOST_DRAIN_S = 1.2  # seconds; lifeline.CLOSING_S is for the draining and for all that follows
QUEUE = 100  # handshakes that wait for their answer, where --accepts-per-s says how fast they get it
BATCHES = 10  # of clients, when draining: they come back to the next server as ten small crowds
MOST_ACCEPTS_PER_S = 1e6  # far beyond what a process reaches
LAST_S = 0.4  # seconds for the last closing handshakes when the server ends

_log = logging.getLogger(__name__)
_library_log = logging.getLogger("servers.websockets")  # each failed handshake of anybody: too much to print
_library_log.addHandler(logging.NullHandler())
_library_log.propagate = False

Handler = Callable[[Connection], Awaitable[None]]
Page = Callable[[Request], Response | Awaitable[Response]]


def arguments(description: str, max_bytes: int = MAX_MESSAGE) -> argparse.ArgumentParser:
    """The arguments of a WebSocket server: those of every server, origins, limits, pings, and the end."""
    parser = http.arguments(description)
    add = parser.add_argument
    size = whole(1, 1 << 30)
    add("--max-bytes", type=size, default=max_bytes, help="of one message; more is 1009 (%(default)s)")
    add("--ping-interval", type=seconds, default=PING_S, help="seconds between pings (%(default)g)")
    add("--ping-timeout", type=seconds, default=PING_S, help="seconds for a pong (%(default)g)")
    add("--most-connections", type=whole(1, 1_000_000), default=MOST_CONNECTIONS, help="(%(default)s)")
    add("--accepts-per-s", type=_rate, help="handshakes to answer a second (no limit)")
    add("--accept-queue", type=whole(1, 65_535), default=QUEUE, help="that may wait for it (%(default)s)")
    add("--retry-after", type=whole(0, 86_400), help="seconds that a full queue's 503 asks for (not said)")
    add("--drain-s", type=_drain, default=DRAIN_S, help="seconds to send all away at the end (%(default)g)")
    return parser


class Door:
    """All connections of one server: who may come in, who is in, and how they leave.

    `sockets` has the handler of each path ("*": of any other path), `pages` what plain requests get;
    `may_enter` says which Origin is let in.
    """

    scheme = "ws"  # of the address that the server announces
    connection_class = Connection

    def __init__(
        self,
        options: argparse.Namespace,
        sockets: Mapping[str, Handler],
        pages: Mapping[str, Page],
        may_enter: Callable[[str], bool] | None = None,
        compression: str | None = None,
    ) -> None:
        # One echo of the largest message may be under way, and what was written ahead of it.
        self.shared = Shared(most_behind=options.max_bytes + 4 * WRITE_AHEAD)
        self.counters = self.shared.counters
        self.inside: dict[Connection, None] = {}  # with a handler, in the order they came
        self.draining = False
        self.sleep = asyncio.sleep  # between two batches; a test has its own
        self.options, self.compression = options, compression
        self._sockets, self._pages = sockets, dict(pages)
        self._may_enter = may_enter or (lambda origin: http.is_allowed(origin, options.allow_origin))
        self._own = hosts.names(options)
        self.admission: Admission | None = None
        self._waiting: dict[asyncio.Future[None], ServerConnection] = {}  # by what their turn sets
        if options.accepts_per_s is not None:
            self.admission = Admission(options.accepts_per_s, options.accept_queue)
            self.shared.at_once = self._at_once
        self._full_raw, self._ends_raw = self._full().serialize(), self._ends().serialize()

    def add_page(self, path: str, page: Page) -> None:
        self._pages[path] = page

    def check(
        self, connection: ServerConnection, request: Request
    ) -> Response | None | Awaitable[Response | None]:
        """The answer to a request, or who will have it; None opens the WebSocket."""
        page = self._pages.get(path_of(request))
        here = connection.transport.get_extra_info("sockname") or ("",)
        answer: Response | Awaitable[Response] | None
        answer = self._refusal(request, str(here[0]), page is not None)
        if answer is not None:
            self.counters.refused += 1
        elif page is not None:
            answer = page(request)
        elif self.admission is not None:
            turn = self.admission.turn_at()
            if turn is not None:
                return self._when_it_is_time(connection, turn - self.admission.clock())
            self.counters.refused += 1
            answer = self._full()
        return answer

    def _at_once(self, head: bytes) -> bytes | None:
        """The 503 of a full queue, or of a server that ends, before anything is made of the request.

        A crowd may come 10 000 a second, and the first who are sent away are back before the last have gone.
        Only for a head that came whole, as nearly all do; the others take the long way, to the same answer.
        """
        assert self.admission is not None
        if not (self.draining or self.admission.is_full) or not head.endswith(b"\r\n\r\n"):
            return None
        target = head.split(b" ", 2)[1].decode("latin-1")
        if target.partition("?")[0] in self._pages:
            return None
        self.counters.refused += 1
        if self.draining:
            return self._ends_raw
        self.admission.refused += 1
        return self._full_raw

    async def _when_it_is_time(self, connection: ServerConnection, wait_s: float) -> Response | None:
        """Hold a handshake until its turn; whoever still waits when the server ends is told so."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting[turn] = connection
        timer = loop.call_later(wait_s, _now, turn)
        try:
            await turn
        finally:
            timer.cancel()
            del self._waiting[turn]
        return self._ends() if self.draining else None

    def _full(self) -> Response:
        after = self.options.retry_after
        fields = {} if after is None else {"Retry-After": str(after)}
        return refuse(503, "the accept queue is full", "again, at a random moment", fields)

    def _ends(self) -> Response:
        return refuse(503, "this server ends", "again, at a random moment", {"Retry-After": "1"})

    def _refusal(self, request: Request, here: str, is_page: bool) -> Response | None:
        fields, origins = request.headers.get_all("Host"), request.headers.get_all("Origin")
        if len(fields) != 1 or len(origins) > 1:
            return refuse(400, "expected one Host field and at most one Origin", "use an HTTP client")
        [host] = fields
        if not hosts.is_own(host, self._own, here):
            advice = "ws://127.0.0.1, or start the server with --allow-host NAME if that name is yours"
            return refuse(403, f"this server is not {host[:80]}", advice)
        if origins and not (self._may_enter(origins[0]) or hosts.is_its_page(origins[0], host)):
            advice = "a page of http://localhost, or start the server with --allow-origin ORIGIN"
            return refuse(403, f"pages of {origins[0][:80]} may not do this", advice)
        if is_page:
            return None
        path = path_of(request)
        if self.handler_of(path) is None:
            return refuse(404, f"there is nothing at {path[:80]}", ", ".join([*self._sockets, *self._pages]))
        if not any(value.strip().lower() == "websocket" for value in request.headers.get_all("Upgrade")):
            advice = f"python -m websockets ws://{host[:80]}{path[:80]}"
            return refuse(426, "this is a WebSocket, and no page", advice, {"Upgrade": "websocket"})
        if self.draining:
            return self._ends()
        if len(self.inside) + len(self._waiting) >= self.options.most_connections:
            full = f"there are {len(self.inside) + len(self._waiting)} connections already"
            return refuse(503, full, "later", {"Retry-After": "10"})
        return None

    def as_json(self, connection: ServerConnection, request: Request, answer: Response) -> Response | None:
        """The library's own refusals, of handshakes that are none, in the words of this module."""
        if answer.status_code < 400 or answer.headers.get("Content-Type") == "application/json":
            return None
        self.counters.refused += 1
        error = (answer.body or b"").decode().strip().splitlines() or ["no WebSocket handshake"]
        advice = "RFC 6455, 4.2.1, says what a handshake must have"
        return refuse(answer.status_code, error[0], advice, {"Sec-WebSocket-Version": "13"})

    def handler_of(self, path: str) -> Handler | None:
        """Who talks on this path; None: there is nothing."""
        return self._sockets.get(path) or self._sockets.get("*")

    async def handle(self, connection: ServerConnection) -> None:
        """Run the path's handler, and count its connection as long as it lasts."""
        assert isinstance(connection, Connection)
        handler = self.handler_of(connection.path)
        assert handler is not None  # _refusal() has asked
        counters = self.counters
        self.inside[connection] = None
        counters.opened += 1
        counters.connections = len(self.inside)
        counters.most_connections = max(counters.most_connections, counters.connections)
        try:
            await handler(connection)
        except ConnectionClosed:
            pass
        except Exception:
            _log.exception("error in the handler of %s", connection.path)
            connection.cut(BUG)
        finally:
            self.inside.pop(connection, None)
            counters.connections = len(self.inside)
            if connection.ending is not None:
                await asyncio.wait([connection.ending])

    async def drain(self) -> None:
        """Send all away with 1012, a batch at a time, so that they do not all come back as one crowd."""
        self.draining = True
        told = [asyncio.ensure_future(connection.wait_closed()) for connection in self._waiting.values()]
        for turn in self._waiting:
            _now(turn)
        leaving = list(self.inside)
        size = math.ceil(len(leaving) / BATCHES) or 1
        for first in range(0, len(leaving), size):
            if first:
                await self.sleep(self.options.drain_s / BATCHES)
            for connection in leaving[first : first + size]:
                connection.cut(RESTART)
        for connection in self.inside:  # who came in while the door was being closed
            connection.cut(RESTART)
        endings = told + [each.ending for each in self.shared.open if each.ending is not None]
        if endings:
            await asyncio.wait(endings, timeout=LAST_S)
        for connection in list(self.shared.open):
            connection.transport.abort()


def _now(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)


def path_of(request: Request) -> str:
    return request.path.partition("?")[0]


@asynccontextmanager
async def serving(door: Door, sock: socket.socket) -> AsyncIterator[str]:
    """Serve on a listening socket inside the block; gives the URL. At the end, drains."""
    options = door.options
    server = await serve(
        door.handle,
        sock=sock,
        backlog=lifeline.BACKLOG,
        compression=door.compression,
        process_request=door.check,
        process_response=door.as_json,
        # A last resort: head_is_late() comes first.
        open_timeout=HEAD_S + LINGER_S + 1 + (door.admission.longest_s if door.admission else 0),
        ping_interval=options.ping_interval,
        ping_timeout=options.ping_timeout,
        close_timeout=door.shared.close_s,
        max_size=options.max_bytes,
        max_queue=MAX_FRAMES,
        write_limit=WRITE_AHEAD,
        logger=_library_log,
        create_connection=lambda *args, **more: door.connection_class(door.shared, *args, **more),  # type: ignore[arg-type]
    )
    try:
        yield lifeline.url_of(sock, door.scheme)
    finally:
        await door.drain()
        # Since Python 3.12 wait_closed() waits for every connection; drain() has left none.
        server.close()
        await server.wait_closed()


Beside = Callable[[], Coroutine[Any, Any, None]]


def run(door: Door, options: argparse.Namespace, beside: Beside | None = None) -> None:
    """Serve until the process should end (see lifeline): everything after parsing the arguments.

    `beside` is what goes on in the meantime whether or not anybody is connected, as markets do.
    """
    lifeline.raise_descriptor_limit()
    sock = lifeline.listener(options.host, options.port)
    asyncio.run(_serve_until_the_end(door, sock, beside))


async def _serve_until_the_end(door: Door, sock: socket.socket, beside: Beside | None) -> None:
    async with serving(door, sock) as url:
        stop = asyncio.Event()
        lifeline.watch(stop)
        task = asyncio.create_task(beside()) if beside else None
        lifeline.announce(url)
        await stop.wait()
        if task is not None:
            task.cancel()


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if 0.1 <= value <= MOST_ACCEPTS_PER_S:
        return value
    raise argparse.ArgumentTypeError(f"expected 0.1 to {MOST_ACCEPTS_PER_S:g} a second, got {text!r}")


def _drain(text: str) -> float:
    value = 0.0 if text in ("0", "0.0") else seconds(text)
    if value > MOST_DRAIN_S:
        raise argparse.ArgumentTypeError(f"expected seconds from 0 to {MOST_DRAIN_S}, got {text!r}")
    return value
