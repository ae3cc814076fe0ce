"""Several processes of the gateway behind one port: one order of events, and no death goes unmended."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from servers.core import lifeline
from tests.servers.conftest import PATIENCE_S, Process, Running
from tests.servers.streams import Reader, listen, request

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a worker inherits descriptors")


class Several(Running):
    """A gateway of several processes."""

    def __init__(self, program: Process, session: aiohttp.ClientSession) -> None:
        super().__init__(program.url, None, session)  # type: ignore[arg-type]
        self.program = program

    async def figures(self) -> dict[str, Any]:
        async with self.session.get(self.url + "/stats") as response:
            return await response.json()

    async def workers(self) -> dict[int, int]:
        """How many followers each worker has, by its pid."""
        return {each["pid"]: each["open"] for each in (await self.figures())["processes"]}

    async def spread(self, last_event_id: str | None = None) -> list[Reader]:
        """Open streams until every worker has two or more."""
        readers = []
        while min((await self.workers()).values()) < 2:
            readers.append(await listen(self, last_event_id=last_event_id))
            assert len(readers) < 200
        return readers


@pytest.fixture
async def start(process: Callable[..., Process]) -> AsyncIterator[Callable[..., Any]]:
    async with AsyncExitStack() as stack:

        async def begin(*arguments: str) -> Several:
            program = process("-m", "servers.gateway", "--port", "0", *arguments)
            # Each request on a connection of its own, so that it may go to any worker.
            connector = aiohttp.TCPConnector(limit=0, force_close=True)
            limits = aiohttp.ClientTimeout(total=PATIENCE_S)
            session = aiohttp.ClientSession(timeout=limits, connector=connector)
            return Several(program, await stack.enter_async_context(session))

        yield begin


def alive(pid: int) -> bool:
    """Whether a process is there, and no zombie."""
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        status = Path(f"/proc/{pid}/stat")
        return not status.exists() or status.read_text("ascii").rpartition(")")[2].split()[0] != "Z"
    return False


async def last_word(reader: Reader) -> str | None:
    """The id of the next event; None if the stream is cut."""
    with suppress(aiohttp.ClientError, AssertionError):
        return (await reader.next()).last_event_id
    return None


async def gone(*pids: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while any(map(alive, pids)):  # noqa: ASYNC110 - the end of a grandchild has no event
            await asyncio.sleep(0.01)


async def test_what_is_posted_anywhere_reaches_the_followers_of_all_in_one_order_and_is_resumed_anywhere(
    start,
):
    gate = await start("--processes", "2")
    readers = await gate.spread()
    posted = await asyncio.gather(*(gate.post({"data": number}) for number in range(40)))
    assert {status for status, _ in posted} == {201}
    got = [[event.last_event_id for event in await reader.take(40)] for reader in readers]
    assert got == [got[0]] * len(readers)
    assert sorted(got[0]) == sorted(answer["id"] for _, answer in posted)
    assert [int(id.partition("-")[2]) for id in got[0]] == list(range(1, 41))

    for reader in readers:  # a cut, and whoever comes back lands on either worker
        reader.close()
    again = await gate.spread(last_event_id=got[0][29])
    await gate.say("live")
    for reader in again:
        assert [event.last_event_id for event in await reader.take(10)] == got[0][30:]
        assert json.loads((await reader.next()).data) == "live"

    stats = await gate.figures()
    assert (stats["messages"], stats["open"]) == (41, len(again))
    assert stats["sse"]["encoded"] <= 2 * 41
    lines = {"Content-Type": "application/x-ndjson"}
    status, answer = await gate.post(b'{"data": 1}\n{"data": 2}\n{"data": 3}', lines)
    assert (status, answer["id"].partition("-")[2]) == (201, "44")


async def test_a_worker_that_dies_is_replaced_the_others_go_on_and_its_clients_resume(start):
    gate = await start("--processes", "2")
    readers = await gate.spread()
    position = await gate.say("before")
    for reader in readers:
        await reader.next()
    first, second = await gate.workers()
    os.kill(first, signal.SIGKILL)
    await gone(first)
    # Whoever the kernel deals to the dead worker's socket waits there until the next one has started.
    after = await gate.say("after")
    heard = [await last_word(reader) for reader in readers]
    assert set(heard) == {after, None}
    assert min(heard.count(after), heard.count(None)) >= 2
    while len(await gate.workers()) < 2:
        pass
    assert second in await gate.workers()
    for reader in await gate.spread(last_event_id=position):
        event = await reader.next()
        assert (event.type, event.last_event_id) == ("message", after)


async def test_workers_that_die_again_and_again_end_the_gateway_with_a_word(start):
    gate = await start("--processes", "2")
    seen: set[int] = set()
    with suppress(aiohttp.ClientError):
        while gate.program.popen.poll() is None:
            for pid in (await gate.workers()).keys() - seen:
                seen.add(pid)
                os.kill(pid, signal.SIGKILL)
    code, said = await asyncio.to_thread(gate.program.ended)
    assert code == 1
    assert "5 workers have died" in said
    await gone(*seen)


@pytest.mark.parametrize("how", ["stdin", "SIGTERM", "SIGKILL"])
async def test_no_worker_outlives_the_gateway_however_that_ends(start, how: str):
    gate = await start("--processes", "2")
    workers = await gate.workers()
    wire = await gate.wire(request())
    await wire.reader.readuntil(b"\n\n\r\n")
    if how == "stdin":
        gate.program.popen.stdin.close()
        gate.program.popen.stdin = None
    else:
        gate.program.popen.send_signal(signal.Signals[how])
    code, said = await asyncio.to_thread(gate.program.ended)
    assert (code, said) == ((-signal.SIGKILL, "") if how == "SIGKILL" else (0, ""))
    await gone(*workers)
    assert await wire.rest() == b"0\r\n\r\n"  # the stream ended in order
    wire.close()


def test_a_second_gateway_on_the_same_port_is_refused_and_does_not_take_half_of_the_clients(process):
    first = process("-m", "servers.gateway", "--port", "0", "--processes", "2")
    port = first.url.rpartition(":")[2]
    with pytest.raises(AssertionError, match="Cannot listen on port"):
        process("-m", "servers.gateway", "--port", port, "--processes", "2")


def bytes_of(pid: int) -> int:
    """What a process has in memory of its own."""
    found = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text("ascii"))
    assert found
    return int(found[1]) * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_three_thousand_idle_followers_cost_little_memory_and_one_write_reaches_all(start):
    lifeline.raise_descriptor_limit()
    gate = await start()
    (pid,) = await gate.workers()
    for _ in range(20):
        await gate.figures()  # what the first requests need is not the followers'
    before = bytes_of(pid)
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec_WebSocket_Version": 13}
    key = {"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    for _ in range(10):
        wires = [await gate.wire(request()) for _ in range(150)]
        wires += [await gate.wire(request("/ws", **upgrade, **key)) for _ in range(150)]
        for number, wire in enumerate(wires):
            await wire.reader.readuntil(b"\n\n\r\n" if number < 150 else b"\r\n\r\n")
    assert (bytes_of(pid) - before) / 3000 < 4000
    await gate.say("to all")
    for wire in gate.wires:
        await wire.reader.readuntil(b"to all")
        wire.close()
