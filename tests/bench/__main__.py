"""Measure the lab's speeds side by side with their peers and floors; print one table, and store it by date.

    make bench              all of it, about three minutes on two cores
    make bench BENCH=quick  the same with fewer connections: does it run at all? Stores nothing

Every figure stands beside a floor or a peer that was measured in the same run on the same machine, with the
same load client. A figure alone says what machine it was; the ratio is what may be compared.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

import numpy as np

from labsupport.backoff import FullJitter, PageSample
from labsupport.measure.bench import FOLDER, Row, table
from labsupport.measure.fan_out import FanOut, fan_out
from labsupport.measure.floor import Floor
from labsupport.measure.listening import listen
from labsupport.measure.machine import about_this_machine
from labsupport.measure.sockets import Target
from labsupport.measure.usage import family, resident_bytes
from labsupport.models import reconnect
from labsupport.processes import serve

DEFLATE = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"  # what Chromium offers
COMPRESSED = "websockets, compression on"
FIRST = 200  # connections that are open before weighing begins: they pay for what is made once


@dataclass(frozen=True)
class Size:
    listeners: int
    writes: int
    weighed: int
    clients: int  # of the models


SIZES = {"whole": Size(10_000, 20, 3_000, 10_000), "quick": Size(300, 3, 300, 500)}


class Peer:
    """A server of tests/bench/peers.py, in a process of its own."""

    def __init__(self, kind: str) -> None:
        self.name = kind
        command = [sys.executable, "-m", "tests.bench.peers", kind]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.url: str = json.loads(self._process.stdout.readline())["url"]
        self.pid = self._process.pid

    def stop(self) -> None:
        with self._process as process:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(20)


def gateway(*arguments: str) -> Any:
    return serve("gateway", *arguments, instance=f"bench {' '.join(arguments)}")


# name -> how to start it, and by which transport it is listened to
SERVERS: dict[str, tuple[Callable[[], Any], str]] = {
    "gateway, SSE": (gateway, "SSE"),
    "gateway, WebSocket": (gateway, "WebSocket"),
    "gateway, SSE, two processes": (lambda: gateway("--processes", "2"), "SSE"),
    "websockets, broadcast()": (lambda: Peer("websockets"), "WebSocket"),
    COMPRESSED: (lambda: Peer("websockets-compressed"), "WebSocket"),
    "aiohttp, await write": (lambda: Peer("aiohttp"), "SSE"),
    "Starlette, sse-starlette": (lambda: Peer("starlette"), "SSE"),
}


@asynccontextmanager
async def running(name: str) -> Any:
    start, transport = SERVERS[name]
    server = await asyncio.to_thread(start)
    try:
        yield server, transport
    finally:
        await asyncio.to_thread(server.stop)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


async def fan_outs(size: Size) -> list[Row]:
    """One write to all listeners, until the last one has it; the floor before and after, against drift."""
    results: dict[str, FanOut] = {}
    floors = []

    async def floor() -> None:
        say("fan-out: the floor")
        async with Floor() as bottom:
            floors.append(await fan_out(bottom, size.listeners, size.writes))

    await floor()
    for name in SERVERS:
        if name == COMPRESSED:
            continue  # the load client looks for the message's own bytes, and does not inflate
        say(f"fan-out: {name}")
        async with running(name) as (server, transport):
            results[name] = await fan_out(server, size.listeners, size.writes, transport)
    await floor()
    bottom_ms = float(np.median(np.concatenate([each.last_ms for each in floors])))
    what = f"one write to {size.listeners:,} listeners, the last has it"
    rows = [Row(what, "floor: a loop of send()", bottom_ms, "ms", 1.0, "")]
    for name, result in results.items():
        last_ms = float(np.median(result.last_ms))
        rows.append(Row(what, name, last_ms, "ms", last_ms / bottom_ms, "the floor"))
    slowest = results["gateway, SSE"]
    rows.append(
        Row(f"{what}, 99 of 100 writes", "gateway, SSE", slowest.p99_last_ms, "ms",
            slowest.p99_last_ms / bottom_ms, "the floor")
    )  # fmt: skip
    return rows


async def weight(server: Any, transport: str, connections: int, compressed: bool) -> float | None:
    """Bytes of the server's process for each of so many idle connections."""
    handshake = Target.of(server.url).upgrade("/ws", DEFLATE) if compressed else None
    async with listen(server, FIRST, transport=transport, handshake=handshake) as held:
        before = resident_bytes(family(server.pid))
        await held.grow(connections)
        after = resident_bytes(family(server.pid))
    return None if before is None or after is None else (after - before) / connections


async def weights(size: Size) -> list[Row]:
    """Growth of the process for each idle connection."""
    found: dict[str, float | None] = {}
    for name in SERVERS:
        if "two processes" in name:
            continue
        say(f"memory: {name}")
        async with running(name) as (server, transport):
            found[name] = await weight(server, transport, size.weighed, name == COMPRESSED)
    if None in found.values():
        say("this system does not tell how large a process is: no figures")
        return []
    base = found["gateway, SSE"]
    what = "process memory of an idle connection"
    return [Row(what, name, each, "bytes", each / base, "the gateway's SSE") for name, each in found.items()]


def models(size: Size) -> list[Row]:
    """The same storm in SimPy and in arrays."""
    rows = []
    storm = reconnect.Storm(size.clients, size.clients / 50, 100, 0.0, 0.0)
    large = reconnect.Storm(100 * size.clients, 2 * size.clients, 100, 0.0, 0.0)
    for name, policy in (("the page's sample", PageSample()), ("full jitter", FullJitter())):
        say(f"models: {name}")
        slow_s = timed(lambda policy=policy: reconnect.simulate(storm, policy, 1, "simpy"), 1)
        fast_s = timed(lambda policy=policy: reconnect.simulate(storm, policy, 1, "numpy"), 5)
        large_s = timed(lambda policy=policy: reconnect.simulate(large, policy, 1, "numpy"), 3)
        fluid_s = timed(lambda policy=policy: reconnect.fluid(storm, policy), 3)
        what = f"a storm of {size.clients:,} clients, {name}"
        rows.append(Row(what, "SimPy, a process a client", 1000 * slow_s, "ms", 1.0, ""))
        rows.append(Row(what, "arrays, the same bits", 1000 * fast_s, "ms", fast_s / slow_s, "SimPy"))
        rows.append(Row(what, "fluid limit", 1000 * fluid_s, "ms", fluid_s / slow_s, "SimPy"))
        many = f"a storm of {100 * size.clients:,} clients, {name}"
        rows.append(Row(many, "arrays", 1000 * large_s, "ms", large_s / slow_s, "SimPy with a hundredth"))
    return rows


def timed(run: Callable[[], object], times: int) -> float:
    """Median seconds."""
    took = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        took.append(time.perf_counter() - start)
    return float(np.median(took))


async def measured(size: Size) -> list[Row]:
    return [*await fan_outs(size), *await weights(size), *models(size)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__.splitlines()[0])
    parser.add_argument("size", nargs="?", choices=SIZES, default="whole")
    name = parser.parse_args().size
    rows = asyncio.run(measured(SIZES[name]))
    print(table(rows))
    if name == "whole":
        path = FOLDER / f"bench-{date.today().isoformat()}.json"
        content = {"machine": about_this_machine(), "rows": [asdict(row) for row in rows]}
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        print(f"\nwritten to {path.name}, beside the profiles")


if __name__ == "__main__":
    main()
