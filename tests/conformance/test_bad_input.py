"""A crowd of bad clients at once: each is told why, the good ones notice nothing, and memory stays bounded.

Each kind has its own tests in tests/servers, down to the sentence. Here the server is a program, and the bad
clients come together, in numbers, as slowly or as fast as they like.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from labsupport.processes import Server
from tests.servers.conftest import PATIENCE_S, Wire
from tests.servers.streams import Reader

SERVERS = ("sse", "gateway")
OF_EACH = 40  # clients of each kind
# bytes that each bad client may cost the server while it is there: its body, which may be 64 KiB, and what
# asyncio reads at once, 256 KiB at most; the kernel makes a client wait that sends more
COST = (64 + 256) * 1024


def head(method: str, target: str, **fields: object) -> bytes:
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in {"Host": "localhost", **fields}.items()]
    return "\r\n".join([f"{method} {target} HTTP/1.1", *lines, "", ""]).encode()


def post(body: bytes) -> bytes:
    return head("POST", "/messages", Content_Length=len(body)) + body


# What is sent, whether it goes on without end, and the status that answers it.
CROWD: dict[str, tuple[bytes, bytes, int]] = {
    "an oversize body": (post(b'{"data": "' + b"x" * 100_000 + b'"}'), b"", 413),
    "a body without end": (
        head("POST", "/messages", Transfer_Encoding="chunked"),
        b"8000\r\n" + b"x" * 0x8000 + b"\r\n",
        413,
    ),
    "a body announced as a terabyte": (
        head("POST", "/messages", Content_Length=10**12),
        b"x" * 0x8000,
        413,
    ),
    "no UTF-8": (post(b'{"data": "\xff"}'), b"", 400),
    "no JSON": (post(b"hello"), b"", 400),
    "deep JSON": (post(b"[" * 60_000), b"", 400),
    "an unknown type": (post(b'{"event": {"a": 1}, "data": 1}'), b"", 400),
    "a header of 64 KiB": (head("GET", "/events", X="x" * 65_536), b"", 431),
    "a header without end": (b"GET /events HTTP/1.1\r\nHost: localhost\r\nX: ", b"x" * 0x8000, 431),
    "fields without end": (b"GET /events HTTP/1.1\r\nHost: localhost\r\n", b"X: y\r\n" * 1000, 431),
    "no HTTP": (b"hello\r\n\r\n", b"", 400),
    "a foreign host": (head("GET", "/events").replace(b"localhost", b"evil.example"), b"", 403),
    "a foreign page": (
        post(b'{"data": 1}').replace(b"\r\n", b"\r\nOrigin: https://evil.example\r\n", 1),
        b"",
        403,
    ),
    "an unknown fault": (post(b'{"tea": 1}').replace(b"POST /messages", b"PUT /fault"), b"", 400),
}
PLACES = ("x", "elsewhere-7", "1" * 5000, "[" * 3000)  # these are told as an event, since a page cannot know


async def misbehave(stack: AsyncExitStack, port: int, kind: str) -> None:
    """Be one client of the crowd, and check what it is told."""
    first, more, expected = CROWD[kind]
    wire = await connect(stack, port, first)
    answer = asyncio.create_task(wire.answer())
    with suppress(ConnectionError):
        while more and not answer.done():
            wire.send(more)
            await wire.writer.drain()
            await asyncio.sleep(0)
    status, _, body = await answer
    assert (kind, status) == (kind, expected)
    assert json.loads(body)["try"]


async def ask_from_nowhere(stack: AsyncExitStack, port: int, place: str) -> None:
    """Open a stream at a place that does not exist, and stay."""
    wire = await connect(stack, port, head("GET", "/events", Last_Event_ID=place))
    async with asyncio.timeout(PATIENCE_S):
        told = await wire.reader.readuntil(b"event: snapshot")
    assert re.search(rb"event: (bad position|other epoch)", told)


async def connect(stack: AsyncExitStack, port: int, data: bytes) -> Wire:
    wire = Wire(*await asyncio.open_connection("127.0.0.1", port, limit=1 << 20))
    stack.callback(wire.close)
    wire.send(data)
    return wire


def most_bytes(pid: int) -> int:
    """The most memory that a process has had so far; 0 where there is no /proc."""
    if sys.platform != "linux":
        return 0
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text("ascii"))
    assert found
    return int(found[1]) * 1024


@pytest.mark.parametrize("name", SERVERS)
async def test_a_crowd_of_bad_clients_is_told_why_costs_little_and_no_listener_notices(name: str):
    kinds = [kind for kind in CROWD if name == "sse" or kind != "an unknown fault"]  # only sse has faults
    with Server(name) as server:
        port = urlsplit(server.url).port
        assert port
        async with AsyncExitStack() as stack:
            session = await stack.enter_async_context(aiohttp.ClientSession())

            async def say(number: int) -> str:
                async with session.post(server.url + "/messages", json={"data": number}) as response:
                    assert response.status == 201
                    return str((await response.json())["id"])

            response = await stack.enter_async_context(session.get(server.url + "/events"))
            listener = await Reader(response).opened()
            positions = [await say(0)]
            # Half a head from each of these, and then nothing, until the end: a slow-loris attack.
            for _ in range(OF_EACH):
                await connect(stack, port, head("GET", "/events")[:-9])
            before = most_bytes(server.pid)
            bad = [misbehave(stack, port, kind) for _ in range(OF_EACH) for kind in kinds]
            bad += [ask_from_nowhere(stack, port, place) for _ in range(OF_EACH) for place in PLACES]
            tasks = [asyncio.create_task(each) for each in bad]
            while not all(task.done() for task in tasks):
                positions.append(await say(len(positions)))
            await asyncio.gather(*tasks)
            positions.append(await say(len(positions)))
            heard = await listener.take(len(positions))
            assert [event.last_event_id for event in heard] == positions
            assert most_bytes(server.pid) - before < COST * len(tasks)
        assert server.log == []


@pytest.mark.parametrize("name", SERVERS)
async def test_of_heads_that_cannot_be_read_nothing_is_kept(name: str):
    with Server(name) as server:
        port = urlsplit(server.url).port
        assert port
        before = most_bytes(server.pid)
        for _ in range(10):
            async with AsyncExitStack() as stack:
                unreadable = ("a header without end", "fields without end")
                await asyncio.gather(*(misbehave(stack, port, kind) for kind in unreadable * (OF_EACH // 2)))
        # One after the other they have cost no more than one crowd may cost that is there at once.
        assert most_bytes(server.pid) - before < COST * OF_EACH
