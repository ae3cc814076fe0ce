"""Readers of event streams for the tests: what came, as events and as bytes."""

import argparse
import asyncio
import socket
from collections import deque
from contextlib import AsyncExitStack
from types import ModuleType
from typing import Any

import aiohttp

from labsupport.wire.event_stream import Event, EventStreamParser
from servers.core import http, lifeline
from servers.core.event_stream import STREAMS, Counters
from tests.servers.conftest import PATIENCE_S, Running, Wire


class Reader:
    """One open stream, read with the lab's own parser."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.parser = EventStreamParser()
        self.raw = bytearray()
        self._events: deque[Event] = deque()

    async def more(self) -> bool:
        """Read what comes next; False at the end."""
        async with asyncio.timeout(PATIENCE_S):
            chunk = await self.response.content.readany()
        self.raw += chunk
        self._events.extend(self.parser.feed(chunk))
        return bool(chunk)

    async def opened(self) -> "Reader":
        """Wait for the first block, which tells the place."""
        while b"\n\n" not in self.raw:
            assert await self.more(), "the stream ended"
        return self

    async def next(self) -> Event:
        while not self._events:
            assert await self.more(), "the stream ended"
        return self._events.popleft()

    async def take(self, number: int) -> list[Event]:
        return [await self.next() for _ in range(number)]

    async def rest(self) -> list[Event]:
        """All events until the stream ends by itself."""
        while await self.more():
            pass
        events, self._events = list(self._events), deque()
        return events

    def close(self) -> None:
        self.response.close()


class Chunks:
    """The chunks of an answer on a bare socket (RFC 9112, 7.1), one by one."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.head = b""

    async def next(self) -> bytes:
        """The next chunk; b"" is the end of the answer."""
        async with asyncio.timeout(PATIENCE_S):
            if not self.head:
                self.head = await self.wire.reader.readuntil(b"\r\n\r\n")
            size = int(await self.wire.reader.readuntil(b"\r\n"), 16)
            return (await self.wire.reader.readexactly(size + 2))[:-2]


async def run(
    stack: AsyncExitStack, module: ModuleType, *arguments: str, **more: Any
) -> tuple[Running, argparse.Namespace]:
    """Run a server with event streams in this loop, until the stack ends."""
    lifeline.raise_descriptor_limit()  # both ends of each connection are in this process
    options = module.arguments().parse_args(arguments)
    app = module.application(options, **more)
    url = await stack.enter_async_context(http.serving(app, lifeline.listener("127.0.0.1", 0)))
    session = aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=2 * PATIENCE_S), connector=aiohttp.TCPConnector(limit=0)
    )
    running = Running(url, app, await stack.enter_async_context(session))
    stack.callback(lambda: [wire.close() for wire in running.wires])
    return running, options


async def listen(
    server: Running, target: str = "/events", last_event_id: str | None = None, **query: Any
) -> Reader:
    """Open a stream, and wait until it is there."""
    headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
    response = await server.session.get(server.url + target, params=query, headers=headers)
    assert response.status == 200, await response.text()
    return await Reader(response).opened()


def request(target: str = "/events", method: str = "GET", **fields: object) -> bytes:
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in {"Host": "localhost", **fields}.items()]
    return "\r\n".join([f"{method} {target} HTTP/1.1", *lines, "", ""]).encode()


def counters(server: Running) -> Counters:
    return server.app[STREAMS].counters


class Lazy:
    """A client that asks for a stream and reads as little as it is told to."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    async def read_all(self) -> bytes:
        """All that comes, up to the end."""
        raw = bytearray()
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(PATIENCE_S):
            try:
                while chunk := await loop.sock_recv(self.sock, 1 << 16):
                    raw += chunk
            except ConnectionResetError:
                pass
        return bytes(raw)
