"""Polling servers to test: inside the test's own loop, or as processes of their own."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from servers import long_polling, short_polling
from servers.core import board, http, lifeline

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 60  # seconds for what must happen; nothing here waits for it to pass


async def until(true: Callable[[], object]) -> None:
    """Let the loop turn until something is so that has no event of its own."""
    async with asyncio.timeout(PATIENCE_S):
        while not true():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.001)


class Wire:
    """A client's bare socket: sends any bytes, reads one answer at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
        """(status, header fields in lower case, body) of the next answer."""
        async with asyncio.timeout(PATIENCE_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            fields = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])
            }
            status = int(head[0].split()[1])
            size = 0 if method == "HEAD" or status in (204, 304) else int(fields["content-length"])
            return status, fields, await self.reader.readexactly(size)

    async def rest(self) -> bytes:
        """All that comes until the server closes."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.read()

    def close(self) -> None:
        self.writer.transport.abort()


class Running:
    """A server in this loop, a client for it, and a look inside."""

    def __init__(self, url: str, app: web.Application, session: aiohttp.ClientSession) -> None:
        self.url, self.app, self.session = url, app, session
        self.port = int(url.rpartition(":")[2])
        self.wires: list[Wire] = []

    @property
    def board(self) -> board.Board:
        return self.app[board.BOARD]

    @property
    def waiting(self) -> int:
        return self.board.counters.waiting

    async def wire(self, data: bytes = b"") -> Wire:
        wire = Wire(*await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 24))
        self.wires.append(wire)
        wire.send(data)
        return wire

    async def get(self, path: str = "/messages", headers: dict[str, str] | None = None, **query: Any) -> Any:
        """(status, JSON) of a GET."""
        async with self.session.get(self.url + path, params=query, headers=headers) as response:
            return response.status, json.loads(await response.read() or b"null")

    async def post(self, body: Any, headers: dict[str, str] | None = None, **query: Any) -> Any:
        """(status, JSON) of a POST /messages; bytes go out as they are."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with self.session.post(
            self.url + "/messages", data=raw, params=query, headers=headers
        ) as response:
            return response.status, await response.json()

    async def say(self, *texts: Any, **query: Any) -> str:
        """Post these and give the last position."""
        for text in texts:
            status, answer = await self.post({"data": text}, **query)
            assert status == 201
        return str(answer["id"])

    async def put_fault(self, body: Any) -> Any:
        async with self.session.put(self.url + "/fault", json=body) as response:
            return response.status, await response.json()


Start = Callable[..., Awaitable[Running]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """start(module, "--keep", "3", …) runs that polling server in this loop until the test ends."""
    lifeline.raise_descriptor_limit()  # both ends of each connection are in this process
    async with AsyncExitStack() as stack:

        async def begin(module: ModuleType, *arguments: str) -> Running:
            options = board.arguments("a test").parse_args(arguments)
            app = board.application(options, module.get_messages)
            url = await stack.enter_async_context(http.serving(app, lifeline.listener("127.0.0.1", 0)))
            limits = aiohttp.ClientTimeout(total=PATIENCE_S)
            connector = aiohttp.TCPConnector(limit=0)
            session = aiohttp.ClientSession(timeout=limits, connector=connector)
            running = Running(url, app, await stack.enter_async_context(session))
            stack.callback(lambda: [wire.close() for wire in running.wires])
            return running

        yield begin


@pytest.fixture
async def short(start: Start) -> Running:
    return await start(short_polling)


@pytest.fixture
async def long(start: Start) -> Running:
    return await start(long_polling)


class Process:
    """A program of its own: its ready line is read, and the rest of its output kept for the end."""

    def __init__(self, *command: str, **options: Any) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            text=True,
            **{"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
        )
        assert self.popen.stdout is not None
        line = self.popen.stdout.readline()
        assert line, self.popen.communicate()[1]
        self.ready: dict[str, Any] = json.loads(line)
        self.url: str = self.ready["url"]

    def ended(self) -> tuple[int, str]:
        """(exit code, standard error), once it has ended by itself."""
        error = self.popen.communicate(timeout=PATIENCE_S)[1]
        return self.popen.returncode, error

    def end(self) -> None:
        self.popen.kill()
        self.popen.wait()
        for pipe in (self.popen.stdin, self.popen.stdout, self.popen.stderr):
            if pipe is not None:
                pipe.close()


@pytest.fixture
def process() -> Iterator[Callable[..., Process]]:
    """process("-m", "servers.x", …) starts a Python program and waits for its ready line."""
    started: list[Process] = []

    def begin(*command: str, **options: Any) -> Process:
        started.append(Process(*command, **options))
        return started[-1]

    yield begin
    for each in started:
        each.end()
