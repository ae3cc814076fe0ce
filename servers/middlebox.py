"""A box in the middle: a TCP relay that records every byte and, on command, behaves as badly as networks do.

client -> box -> target   direction "up"          target -> box -> client   direction "down"

The bytes pass unchanged, whatever they mean, and so does the end of one direction (FIN) or of both (RST).
On its second port the box speaks HTTP and JSON. What it is told there acts at once, on open connections too:

    GET    /faults        what is switched on
    PUT    /faults        {"delay_s": 0.2, "forget": true}   what is not named stays; null is "off"
    DELETE /faults        everything off
    POST   /cut           end all connections in order (FIN to both sides)
    POST   /reset         end all connections at once (RST to both sides)
    GET    /connections   what is open, with the bytes read, waiting and dropped each way
    GET    /recording     every byte, its direction, and when it came        DELETE /recording   begin anew

Run it   python -m servers.middlebox --target http://127.0.0.1:8000 --port 8001 --control-port 8002
Try it   curl -X PUT -d '{"delay_s": 1}' http://127.0.0.1:8002/faults
"""

import asyncio
import contextlib
import dataclasses
import functools
import itertools
import os
import random
import socket
import struct
import time
import urllib.parse
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from aiohttp import web

from servers.core import http, lifeline
from servers.core.faults import Faults, changed, response_is_whole
from servers.core.recording import Recording
from servers.core.sleeper import Sleeper

CHUNK = 65_536  # bytes read at once, and what may wait in one direction; beyond, the sender waits
MAX_DELAYED = 4 << 20  # bytes that may be on their way in one direction during a delay: 4 MiB/s at 1 s
MAX_HELD = 1 << 20  # bytes of a response that `buffer` holds back; more of it passes in pieces of this size
MAX_CONNECTIONS = 8_000  # two descriptors each, of the 20 000 that a process may have on some machines
SLICE_S = 0.02  # seconds' worth of a throttled line in one write: smoother than an eye can see
LINGER_S = 1.0  # seconds that a cut connection goes on swallowing: to close with bytes unread sends a RST
HINT_S = 0.2  # seconds that both sides have to close, when the box itself ends
RST = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)  # SO_LINGER: close at once, with a RST


class Piece(NamedTuple):
    came: float  # when it was read
    luck: float  # its share of the jitter, in [0, 1)
    data: bytes | None  # b"" is the end of its direction (FIN), None that of the connection (RST)


class Pipe(Sleeper):
    """One direction of a connection: `take` reads and queues, `give` sends each piece on when it is due."""

    back: "Pipe"  # the other direction

    def __init__(
        self, link: "Link", direction: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        super().__init__(link.box.clock)
        self.link, self.box, self.direction = link, link.box, direction
        self.reader, self.writer = reader, writer
        self.queue: deque[Piece] = deque()
        self.held = bytearray()  # by `buffer`
        self.read = self.waiting = self.dropped = self.writes = 0
        self.line_free = 0.0  # when a throttled line has sent what came before
        self.ended = self.lost = self.is_tunnel = False

    def counts(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in ("read", "waiting", "dropped", "writes", "lost")}

    def silent(self) -> bool:
        """Whether nothing passes. What was lost stays lost: TCP never shows a stream that has a hole."""
        faults = self.box.faults
        return self.lost or faults.forget or faults.half_open == self.direction

    def lose(self) -> None:
        self.lost = True
        self.back.lost = self.back.lost or self.box.faults.forget

    def has_room(self) -> bool:
        delayed = self.box.faults.delay_s or self.box.faults.jitter_s
        return self.waiting < (MAX_DELAYED if delayed else CHUNK)

    async def take(self) -> None:
        while not self.ended:
            await self.until(self.has_room)
            data: bytes | None = None
            with contextlib.suppress(OSError):
                data = await self.reader.read(CHUNK)
            kind = "data" if data else "reset" if data is None else "close"
            self.ended = not data
            self.link.last_byte = self.clock()
            self.box.recording.add(self.link.number, self.direction, kind, data or b"", self.silent())
            if self.silent():
                self.lose()
            self.read += len(data or b"")
            self.waiting += len(data or b"")
            self.queue.append(Piece(self.clock(), self.box.random.random(), data))
            self.poke()

    async def give(self) -> None:
        while not self.ended or self.queue:
            await self.until(lambda: self.queue or (self.held and not self.box.faults.buffer))
            data: bytes | None = b""
            ended = False
            if self.queue:
                await self.pause(self.queue[0].came, functools.partial(self.delay, self.queue[0].luck))
                data = self.queue.popleft().data
                ended = not data
                self.waiting -= len(data or b"")
                self.poke()
            if self.silent():
                self.lose()
                self.dropped += len(data or b"") + len(self.held)
                self.held.clear()
            elif data is None:
                self.link.reset()
            else:
                await self.pass_on(data, ended)

    def delay(self, luck: float) -> float:
        return 0 if self.silent() else self.box.faults.delay_s + luck * self.box.faults.jitter_s

    async def pass_on(self, data: bytes, ended: bool) -> None:
        try:
            await self.write(self.let_go(data, ended))
            if ended and not self.silent():
                self.writer.write_eof()
        except OSError:  # the receiver has gone, and this news travels the other way
            if self.back.silent():
                self.lost = self.back.lost = True
            else:
                self.link.reset()

    def let_go(self, data: bytes, ended: bool) -> bytes:
        """What may leave, now that `data` has come: all of it, but for what `buffer` holds."""
        self.held += data
        # After a 101 the connection speaks no HTTP any more, and proxies pass what comes.
        self.is_tunnel = self.is_tunnel or self.held.startswith((b"HTTP/1.1 101", b"HTTP/1.0 101"))
        holds = self.box.faults.buffer and self.direction == "down" and not self.is_tunnel and not ended
        if holds and len(self.held) < MAX_HELD and not response_is_whole(self.held):
            return b""
        whole, self.held = bytes(self.held), bytearray()
        return whole

    async def write(self, data: bytes) -> None:
        """Write `data`: at once, at the line's rate, or byte by byte."""
        rest = memoryview(data)
        while rest:
            size = self.step(len(rest))
            self.line_free = max(self.line_free, self.clock() - SLICE_S)  # an idle line saves no time up
            self.line_free = await self.pause(self.line_free, functools.partial(self.sending, size))
            if self.silent():
                self.lose()
                self.dropped += len(rest)
                return
            self.writer.write(rest[:size])
            self.writes += 1
            await self.writer.drain()
            if size == 1:
                await asyncio.sleep(0)  # a moment for the other side to read this byte alone
            rest = rest[size:]

    def step(self, size: int) -> int:
        faults = self.box.faults
        if faults.split:
            return 1
        return min(size, max(1, int(faults.bytes_per_s * SLICE_S))) if faults.bytes_per_s else size

    def sending(self, size: int) -> float:
        return size / self.box.faults.bytes_per_s if self.box.faults.bytes_per_s and not self.silent() else 0


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Link:
    """A client's connection and the one to the target that belongs to it."""

    def __init__(self, box: "Middlebox", number: int, client: Streams, target: Streams) -> None:
        self.box, self.number = box, number
        self.opened = self.last_byte = box.clock()
        self.up = Pipe(self, "up", client[0], target[1])
        self.down = Pipe(self, "down", target[0], client[1])
        self.up.back, self.down.back = self.down, self.up
        self.was_cut = False
        self.relaying = asyncio.create_task(self.relay())

    async def run(self) -> None:
        """Until both directions have ended, or the link is cut or reset."""
        try:
            await asyncio.wait([self.relaying])
            if self.was_cut:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LINGER_S):
                        await asyncio.gather(swallow(self.up.reader), swallow(self.down.reader))
        finally:
            self.relaying.cancel()
            self.up.writer.close()
            self.down.writer.close()

    async def relay(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for pipe in (self.up, self.down):
                tasks.create_task(pipe.take())
                tasks.create_task(pipe.give())

    def cut(self) -> None:
        self.end("close")
        self.was_cut = True
        for pipe in (self.up, self.down):
            with contextlib.suppress(OSError):
                pipe.writer.write_eof()

    def reset(self) -> None:
        self.end("reset")
        for pipe in (self.up, self.down):
            abort(pipe.writer)

    def end(self, kind: str) -> None:
        for pipe in (self.up, self.down):
            if not pipe.ended:
                pipe.ended = True
                self.box.recording.add(self.number, pipe.direction, kind)
        self.relaying.cancel()

    def summary(self) -> dict[str, Any]:
        now = self.box.clock()
        ages = {"age_s": now - self.opened, "idle_s": now - self.last_byte}
        return {"connection": self.number, **ages, "up": self.up.counts(), "down": self.down.counts()}


async def swallow(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(OSError):
        while await reader.read(CHUNK):
            pass


def abort(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
    writer.transport.abort()


class Middlebox(Sleeper):
    """All links to one target, and what goes wrong on them."""

    def __init__(
        self, host: str, port: int, seed: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(clock)
        self.host, self.port = host, port
        self.faults = Faults()
        self.random = random.Random(seed)
        self.recording = Recording(clock)
        self.links: dict[int, Link] = {}
        self.numbers = itertools.count(1)

    async def listen(self, sock: socket.socket) -> None:
        self.address = sock.getsockname()
        self.listening = await asyncio.start_server(self.accept, sock=sock, backlog=lifeline.BACKLOG)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = next(self.numbers)
        self.recording.add(number, "up", "open")
        try:
            if len(self.links) >= MAX_CONNECTIONS:
                raise OSError("too many connections")
            target = await asyncio.open_connection(self.host, self.port)
        except OSError:
            self.recording.add(number, "down", "reset")
            abort(writer)
            return
        link = self.links[number] = Link(self, number, (reader, writer), target)
        try:
            await link.run()
        finally:
            del self.links[number]
            self.poke()

    async def switch(self, faults: Faults) -> None:
        if faults.refuse and not self.faults.refuse:
            self.listening.close()
        elif self.faults.refuse and not faults.refuse:
            try:
                await self.listen(lifeline.listener(*self.address[:2]))
            except SystemExit as error:  # someone else has the port by now
                raise ValueError(str(error)) from None
        self.faults = faults
        self.poke_all()

    def poke_all(self) -> None:
        for sleeper in (self, *(pipe for link in self.links.values() for pipe in (link.up, link.down))):
            sleeper.poke()

    async def close(self) -> None:
        """Cut all links, and reset those whose sides do not take the hint."""
        self.listening.close()
        for link in self.links.values():
            link.cut()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HINT_S):
                await self.until(lambda: not self.links)
        for link in self.links.values():
            link.reset()
        await self.until(lambda: not self.links)

    async def watch_idle(self) -> None:
        while True:
            await self.until(lambda: self.faults.idle_s is not None)
            links = [link for link in self.links.values() if not link.was_cut]
            oldest = min((link.last_byte for link in links), default=self.clock())
            await self.pause(oldest, lambda: self.faults.idle_s or 0)
            for link in links:
                if self.faults.idle_s is not None and self.clock() - link.last_byte >= self.faults.idle_s:
                    link.cut()


def control(box: Middlebox, target: str) -> web.Application:
    """The switchboard, as the docstring above has it."""

    async def faults(request: web.Request) -> web.Response:
        try:
            if request.method == "PUT":
                await box.switch(changed(box.faults, await http.read_json(request)))
            elif request.method == "DELETE":
                await box.switch(Faults())
        except ValueError as error:
            raise http.Refusal(400, str(error), '{"delay_s": 0.2}') from None
        return http.reply(dataclasses.asdict(box.faults))

    async def end(request: web.Request) -> web.Response:
        links = list(box.links.values())
        for link in links:
            link.cut() if request.path == "/cut" else link.reset()
        return http.reply({"ended": len(links)})

    async def connections(request: web.Request) -> web.Response:
        return http.reply({"connections": [link.summary() for link in box.links.values()]})

    async def recording(request: web.Request) -> web.Response:
        if request.method == "DELETE":
            box.recording.begin(box.links)
            return http.reply({})
        return http.reply(await asyncio.to_thread(box.recording.as_json, target))

    app = http.application()
    app.add_routes([web.route(method, "/faults", faults) for method in ("GET", "PUT", "DELETE")])
    app.add_routes([web.post("/cut", end), web.post("/reset", end), web.get("/connections", connections)])
    app.add_routes([web.route(method, "/recording", recording) for method in ("GET", "DELETE")])
    return app


async def run(box: Middlebox, target: str, relay: socket.socket, switchboard: socket.socket) -> None:
    async with http.serving(control(box, target), switchboard) as control_url:
        await box.listen(relay)
        watching = asyncio.create_task(box.watch_idle())
        stop = asyncio.Event()
        lifeline.watch(stop)
        where = urllib.parse.urlsplit(target)
        lifeline.announce(lifeline.url_of(relay, where.scheme) + where.path, control=control_url)
        await stop.wait()
        watching.cancel()
        await box.close()


def main() -> None:
    parser = lifeline.arguments(__doc__)
    parser.add_argument("--target", required=True, help="where to relay to: http://127.0.0.1:8000")
    parser.add_argument("--control-port", type=int, default=0, help="port of the switchboard (default: any)")
    parser.add_argument("--seed", type=int, default=0, help="of the jitter (default: %(default)s)")
    options = parser.parse_args()
    url = urllib.parse.urlsplit(options.target)
    if not url.port or not lifeline.is_loopback(url.hostname or ""):
        parser.error(f"--target: expected an address of this machine with a port, got {options.target!r}")
    lifeline.raise_descriptor_limit()
    box = Middlebox(url.hostname, url.port, options.seed)
    relay = lifeline.listener(options.host, options.port)
    switchboard = lifeline.listener("127.0.0.1", options.control_port)
    asyncio.run(run(box, options.target, relay, switchboard))


if __name__ == "__main__":
    main()
