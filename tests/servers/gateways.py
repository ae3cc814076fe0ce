"""A gateway inside the test's loop, and clients for both of its transports."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from labsupport.wire.frames import Opcode
from servers import gateway
from servers.core import lifeline
from servers.core.gateway_crowds import Crowds
from tests.servers.conftest import PATIENCE_S, Running
from tests.servers.sockets import Bare
from tests.servers.streams import Reader, listen


class Gate(Running):
    """A gateway in this loop."""

    def __init__(self, url: str, this: gateway.Gateway, session: aiohttp.ClientSession) -> None:
        super().__init__(url, None, session)  # type: ignore[arg-type]
        self.gateway = this

    @property
    def crowds(self) -> Crowds:
        return self.gateway.crowds

    async def bare(self, receive_buffer: int | None = None) -> Bare:
        """A bare socket; with `receive_buffer`, the kernel keeps only so many bytes for it."""
        sock = socket.socket()
        sock.setblocking(False)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
        self.wires.append(sock)  # type: ignore[arg-type]
        return Bare(sock, self.port)

    async def socket(self, query: str = "", receive_buffer: int | None = None, **more: Any) -> Bare:
        """A WebSocket."""
        return await (await self.bare(receive_buffer)).open("/ws" + query, **more)

    async def follow(self, transport: str, position: str | None = None) -> Follow:
        """A client of "sse" or "websocket"."""
        if transport == "sse":
            return Follow(await listen(self, last_event_id=position))
        return Follow(await self.socket(f"?last_event_id={position}" if position else ""))


class Follow:
    """What comes on a stream or a WebSocket, in one shape: (id, event, data)."""

    def __init__(self, link: Reader | Bare) -> None:
        self.link = link

    async def next(self) -> tuple[str, str, Any]:
        if isinstance(self.link, Reader):
            event = await self.link.next()
            return event.last_event_id, event.type, json.loads(event.data)
        raw, last = b"", False
        while not last:
            frame = await self.link.next()
            assert frame is not None, "the WebSocket ended"
            if frame.opcode in (Opcode.TEXT, Opcode.CONTINUATION):
                raw, last = raw + frame.payload, frame.fin
        message = json.loads(raw)
        assert list(message) == ["id", "event", "data"]
        return message["id"], message["event"], message["data"]

    async def take(self, number: int) -> list[Any]:
        """The data of so many events."""
        return [(await self.next())[2] for _ in range(number)]

    def close(self) -> None:
        self.link.close()


@asynccontextmanager
async def run(*arguments: str) -> AsyncIterator[Gate]:
    """Run a gateway until the block ends."""
    lifeline.raise_descriptor_limit()  # both ends of each connection are in this process
    this = gateway.Gateway(gateway.arguments().parse_args(arguments))
    this.crowds.sleep = no_sleep
    limits = aiohttp.ClientTimeout(total=PATIENCE_S)
    async with (
        gateway.serving(this, lifeline.listener("127.0.0.1", 0)) as url,
        aiohttp.ClientSession(timeout=limits, connector=aiohttp.TCPConnector(limit=0)) as session,
    ):
        gate = Gate(url, this, session)
        try:
            yield gate
        finally:
            for wire in gate.wires:
                wire.close()


async def no_sleep(seconds: float) -> None:
    await asyncio.sleep(0)
