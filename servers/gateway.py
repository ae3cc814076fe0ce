"""The gateway: holds connections and forwards bytes, nothing else. One client costs one descriptor and 2 kB.

client -> server   GET /events[?last_event_id=POSITION], or the same with a header Last-Event-ID
server -> client   an event stream, as servers/sse.py has it: retry, ids, comments; "too old" and "other
                   epoch" are events, and a snapshot follows
client -> server   GET /ws[?last_event_id=POSITION] with a WebSocket's handshake
server -> client   each event as one text frame {"id": POSITION, "event": NAME, "data": ANY}; the same
                   events for positions of no use. What the client says is read and thrown away.
client -> server   POST /messages {"event": "message", "data": ANY}; event may be left out. With Content-Type
                   application/x-ndjson, one such object in each line, and all or none are taken
server -> client   201 {"id": POSITION}, of the last one
client -> server   GET /messages[?since=POSITION][&wait=SECONDS], as servers/long_polling.py has it
client -> server   GET /stats

Why it carries a multiple of what the other servers do:

    an event is encoded once for each transport, and the same bytes are written to all     core/crowd.py
    what comes in one turn of the loop goes out in one write                      core/gateway_crowds.py
    a follower is one small object: no task, queue or timer, no HTTP library        core/gateway_door.py
    several processes share the port, and one order of events                  core/gateway_processes.py

A follower too slow to be given all is cut off, or skips to the newest event (--policy): nobody waits for it.
At the end of the process, streams end and WebSockets close with 1012, a tenth of them at a time.

Run it   python -m servers.gateway --port 8007 [--processes 4]
Try it   curl -N http://127.0.0.1:8007/events         and python -m websockets ws://127.0.0.1:8007/ws
         curl -d '{"data": "hello"}' http://127.0.0.1:8007/messages
"""

import argparse
import asyncio
import gc
import importlib.util
import os
import random
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from servers.core import board, gateway_processes, http, lifeline
from servers.core.crowd import POLICIES
from servers.core.event_stream import (
    BUSY_RETRY_MS,
    HEAD,
    HEARTBEAT_S,
    SEND_BUFFER,
    asked_position,
    encode_event,
    encode_retry,
    head_only,
    seconds,
    whole,
)
from servers.core.gateway_crowds import Crowds
from servers.core.gateway_door import RESERVE, Door, Visitor
from servers.core.gateway_processes import Member, Parent
from servers.core.http import Refusal
from servers.core.log import MessageLog, PositionError, to_json

KEEP = 10_000  # messages of history, of 8 MiB at most: 2 s at 5 000 events/s
UNREAD = 5_000  # events that a follower may be behind
PING_S = 20.0  # seconds between pings, and for a pong: a dead client is noticed after 40 s at most
ACCEPTS = 100  # connections accepted in one turn of the loop; RESERVE has room for them
RESERVED = (
    "bad position",
    "other epoch",
    "too old",
    "snapshot",
    "dropped",
    "busy",
)  # about the stream itself
MOST_LINES = 1_000  # messages in one POST
LINES = "application/x-ndjson"


class Gateway:
    """The pages of one process of the gateway. `member` is its place among several."""

    def __init__(self, options: argparse.Namespace, member: Member | None = None) -> None:
        self.options = options
        self.member = member
        self.crowds = Crowds(options, member.log if member else MessageLog(options.keep))
        self.door: Door
        self.refused = 0  # followers turned away
        self._board = board.Board(board.Channels())  # how pages of messages look, and their counters
        if member is not None:
            member.on_entry = lambda event, raw: self.crowds.publish(event, raw).id
            member.figures = self.figures

    def application(self) -> web.Application:
        """What aiohttp serves: all but the followers."""
        app = http.application(self.options)
        app.add_routes(
            [
                web.post("/messages", self.post_messages),
                web.get("/messages", self.get_messages),
                web.get("/stats", self.get_stats),
                web.get("/events", self.get_events),
                web.get("/ws", self.get_socket),
            ]
        )
        app.on_shutdown.append(self.let_go)
        return app

    async def post_messages(self, request: web.Request) -> web.Response:
        """Publish. The answer does not wait until the followers have it."""
        if request.content_type == LINES:
            values = parse_lines(await http.read_body(request))
        else:
            values = [await http.read_json(request)]
        messages = [encode_message(value) for value in values]
        if self.member is not None:
            position = await self.member.publish(messages)
        else:
            position = [self.crowds.publish(event, raw).id for event, raw in messages][-1]
        return http.reply({"id": position}, 201)

    async def get_messages(self, request: web.Request) -> web.StreamResponse:
        """The same log for those who ask: at once, or held for `wait` seconds."""
        since, log = request.query.get("since"), self.crowds.log
        with self._board.poll():
            wait_s = board.wait_seconds(request.query.get("wait"), since is not None)
            try:
                entries = await log.wait_after(since, wait_s)
            except PositionError as error:
                return self._board.position_error(request, log, error)
            return self._board.answer(request, log, since, entries)

    async def get_stats(self, request: web.Request) -> web.Response:
        """The counters of all processes together."""
        figures = await self.member.total() if self.member else self.figures()
        return http.reply({"messages": int(self.crowds.log.position.rpartition("-")[2]), **figures})

    def figures(self) -> dict[str, Any]:
        this = {"pid": os.getpid(), "open": self.crowds.open}
        return {**self.crowds.stats(), "refused": self.refused, "processes": [this]}

    async def get_events(self, request: web.Request) -> web.StreamResponse:
        """GET /events that the door did not take: why not."""
        if request.method == "HEAD":
            return head_only()
        if self.door.take_over(request):
            await asyncio.sleep(0)  # the library cancels this handler here
        if not (self.door.full or self.door.draining):
            raise Refusal(400, "this request cannot be followed", "GET /events, with one Host and no body")
        # Not a 503: an EventSource would never come back. It keeps its place, for it has missed nothing yet.
        self.refused += 1
        position = asked_position(request) or ""
        id = position if position.isascii() and position.isprintable() and len(position) <= 128 else ""
        problem = {"error": "busy", "try": "later", "detail": f"there are {self.crowds.open} followers"}
        event = encode_event(to_json(problem), "busy", id)
        body = encode_retry(random.randint(*BUSY_RETRY_MS), id) + event
        response = web.Response(body=body, headers=HEAD)
        response.force_close()
        return response

    async def get_socket(self, request: web.Request) -> web.StreamResponse:
        """The same for GET /ws."""
        if request.method == "GET" and self.door.take_over(request):
            await asyncio.sleep(0)
        origin, host = request.headers.get("Origin", ""), request.headers.get("Host", "")
        advice = f"python -m websockets ws://{host[:80]}/ws"
        if origin and not self.door.may_read(origin, host):
            more = "a page of http://localhost, or start the server with --allow-origin ORIGIN"
            raise Refusal(403, f"pages of {origin[:80]} may not do this", more)
        if request.headers.get("Upgrade", "").lower() != "websocket":
            raise Refusal(426, "this is a WebSocket, and no page", advice, {"Upgrade": "websocket"})
        if request.headers.get("Sec-WebSocket-Version") != "13":
            raise Refusal(426, "the version is 13", advice, {"Sec-WebSocket-Version": "13"})
        if not (self.door.full or self.door.draining):
            raise Refusal(400, "this is no handshake of a WebSocket (RFC 6455, 4.2.1)", advice)
        self.refused += 1
        why = f"there are {self.crowds.open} connections already" if self.door.full else "this server ends"
        raise Refusal(503, why, "later", {"Retry-After": "10"})

    async def let_go(self, app: web.Application) -> None:
        self.crowds.log.close()


def parse_lines(raw: bytes) -> list[Any]:
    """The JSON values of a body with one in each line. Raises Refusal."""
    lines = [line for line in raw.split(b"\n") if line.strip()]
    if not 1 <= len(lines) <= MOST_LINES:
        raise Refusal(400, f"expected 1 to {MOST_LINES} lines, got {len(lines)}", '{"data": "hello"} in each')
    return [http.parse_json(line) for line in lines]


def encode_message(value: Any) -> tuple[str, bytes]:
    """(event, data as JSON text) of a posted message. Raises Refusal."""
    event, data = board.parse_message(value)
    if event in RESERVED:
        raise Refusal(400, f"{event!r} is an event of the server's own", "another name")
    try:
        return event, to_json(data)
    except ValueError as error:  # 1e999, or half of a surrogate pair: JSON to read, but not to write
        raise Refusal(400, f"this data cannot be passed on: {error}", "ordinary numbers and text") from None


@asynccontextmanager
async def serving(gateway: Gateway, sock: socket.socket) -> AsyncIterator[str]:
    """Serve on a listening socket inside the block; gives the URL. At the end, drains."""
    app, loop = gateway.application(), asyncio.get_running_loop()
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=http.ENDING_S)
    await runner.setup()
    assert runner.server is not None
    door = gateway.door = Door(gateway.options, gateway.crowds, runner.server)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)  # what it accepts inherits that
    server = await loop.create_server(lambda: Visitor(door), sock=sock, backlog=ACCEPTS)
    sock.listen(lifeline.BACKLOG)  # asyncio has one number for both
    sweep = asyncio.create_task(gateway.crowds.sweep())
    try:
        yield lifeline.url_of(sock)
    finally:
        door.draining = True
        server.close()
        await gateway.crowds.drain()
        sweep.cancel()
        await runner.cleanup()


async def serve_alone(options: argparse.Namespace, sock: socket.socket) -> None:
    async with serving(Gateway(options), sock) as url:
        stop = asyncio.Event()
        lifeline.watch(stop)
        lifeline.announce(url)
        await stop.wait()


async def serve_as_worker(options: argparse.Namespace) -> None:
    line, sock = gateway_processes.inherited(options.worker)
    stop = asyncio.Event()
    member = Member(stop.set)
    await member.connect(line, options.keep)
    async with serving(Gateway(options, member), sock):
        lifeline.watch(stop)
        member.ready()
        await stop.wait()


async def serve_as_parent(options: argparse.Namespace) -> None:
    socks = gateway_processes.listeners(options.host, options.port, options.processes)
    command = [sys.executable, "-m", "servers.gateway", *sys.argv[1:]]
    parent = Parent(MessageLog(options.keep), command, socks)
    stop = asyncio.Event()
    lifeline.watch(stop)
    await parent.start()
    if not parent.failed.is_set():
        lifeline.announce(lifeline.url_of(socks[0]), processes=options.processes)
        waits = [asyncio.create_task(event.wait()) for event in (stop, parent.failed)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    await parent.end()
    if parent.failed.is_set():
        raise SystemExit(1)


def arguments() -> argparse.ArgumentParser:
    parser = http.arguments(__doc__)
    add = parser.add_argument
    add("--processes", type=whole(1, 64), default=1, help="that share the port (%(default)s)")
    add("--keep", type=whole(1, 1_000_000), default=KEEP, help="messages remembered (%(default)s)")
    add("--unread", type=whole(1, 1_000_000), default=UNREAD, help="events that make slow (%(default)s)")
    add("--policy", choices=POLICIES, default=POLICIES[0], help="for slow followers (%(default)s)")
    add("--heartbeat", type=seconds, default=HEARTBEAT_S, help="seconds between comments (%(default)g)")
    add("--ping", type=seconds, default=PING_S, help="seconds between pings, and for a pong (%(default)g)")
    most = "followers of each process (as many as descriptors allow)"
    add("--most-connections", type=whole(1, 1_000_000), default=most_connections(), help=most)
    add("--loop", choices=("asyncio", "uvloop"), default="asyncio", help="the event loop (%(default)s)")
    add("--seed", type=int, help="make everything that is drawn the same each time")
    add("--worker", help=argparse.SUPPRESS)
    return parser


def most_connections() -> int:
    """How many followers the descriptors of a process are enough for."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return 10_000
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return max(1, min(limit, 1_000_000) - RESERVE)


def new_loop(name: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if name == "asyncio":
        return None
    if importlib.util.find_spec(name) is None:
        raise SystemExit("uvloop is not installed. Leave --loop out, or try: pip install uvloop")
    made: Callable[[], asyncio.AbstractEventLoop] = importlib.import_module(name).new_event_loop
    return made


def main() -> None:
    lifeline.raise_descriptor_limit()
    options = arguments().parse_args()
    # A full search for rings of garbage goes through all objects, ten for each follower, and takes 20 ms or
    # more in the middle of a write to all. Followers make no rings; what does is young, and found early on.
    gc.freeze()
    gc.set_threshold(20_000, 50, 1_000)
    with asyncio.Runner(loop_factory=new_loop(options.loop)) as runner:
        if options.worker:
            runner.run(serve_as_worker(options))
        elif options.processes > 1:
            runner.run(serve_as_parent(options))
        else:
            sock = lifeline.listener(options.host, options.port)
            runner.run(serve_alone(options, sock))


if __name__ == "__main__":
    main()
