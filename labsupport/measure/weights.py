"""What a connection that stays open costs, server by server: memory, accepting, a push, a ping.

    weight = await weigh_held("gateway SSE", 5_000)
    print(weight)
    mine = await weigh_connections(await weigh())      a profile with all of them

Each server starts anew and is weighed alone. Memory is the growth between FIRST and FIRST + `connections`
idle ones, so that what a server makes only once does not count; the kernel's is half of what the slab of the
whole machine grew by, for it holds both ends of each connection, and whatever else went on meanwhile.
"""

import asyncio
import dataclasses
import secrets
import statistics
import threading
from collections.abc import Callable
from dataclasses import dataclass

from labsupport.measure.listeners import Listeners
from labsupport.measure.listening import MESSAGE_BYTES, Listening, listen
from labsupport.measure.machine import rounded
from labsupport.measure.memory import growth_each, slab_bytes
from labsupport.measure.rates import requests_per_s
from labsupport.measure.sockets import LoadError, Target, most_connections, post
from labsupport.measure.threads import in_thread
from labsupport.measure.usage import cpu_s, family, resident_bytes
from labsupport.measure.ways import WAYS, Way
from labsupport.processes import Middlebox, Server, middlebox, serve
from labsupport.profile import ConnectionBytes, Profile
from labsupport.wire.captures import Capture

INSTANCE = "weighed connections"  # servers of its own, so that no chapter's server is disturbed
FIRST = 200  # connections that come before the weighing and stay: they pay for what is made once
CONNECTIONS = 4_000
PUSHES = 10  # messages to all
PINGS = 3  # pings of all
POLLS_S = 1.0  # seconds of polling as fast as it goes
MEASURED_MESSAGES = 5  # whose bytes are counted
HEAR_S = 10.0  # seconds for one message to come through the middlebox


@dataclass(frozen=True, kw_only=True)
class HeldWeight:
    """What one way to hold connections costs. None: this system does not tell, or this server cannot."""

    name: str
    connections: int
    bytes_each: ConnectionBytes
    empty_bytes: float | None  # resident memory of the process besides its connections
    connects_per_s: float  # handshakes answered, as fast as one process can
    cpu_us_per_connect: float | None
    cpu_us_per_push: float | None  # a connection, for one message of 100 bytes to all
    cpu_us_per_ping: float | None
    bytes_per_push: float | None  # on the wire, to one connection

    def __str__(self) -> str:
        process, kernel = (
            "(not told here)" if size is None else f"{size / 1000:.1f} kB"
            for size in (self.bytes_each.process, self.bytes_each.kernel)
        )
        return (
            f"{self.name}: {self.connections} idle connections, each {process} (process) + {kernel} (kernel)"
        )


async def weigh_held(name: str, connections: int = CONNECTIONS) -> HeldWeight:
    """Weigh one of WAYS with so many connections, on a server of its own that ends with it."""
    if name not in WAYS:
        raise LoadError(f"expected one of {', '.join(map(repr, WAYS))}, got {name!r}")
    way = WAYS[name]
    if not 1 <= connections <= most_connections() - FIRST:
        raise LoadError(f"expected 1 to {most_connections() - FIRST} connections, got {connections}")
    server = serve(way.server, *way.arguments, instance=INSTANCE)
    try:
        await asyncio.to_thread(server.restart)  # also where one was left: what is known is used again
        async with listen(server, FIRST, handshake=way.handshake(server.url)) as held:
            if way.transport == "WebSocket":
                await held.ping()
            weight = await _weigh(name, way, server, held, connections)
        if way.pushes:
            with middlebox(server, INSTANCE) as box:
                per_push = await in_thread(lambda stop: push_bytes(way, server, box, stop))
            weight = dataclasses.replace(weight, bytes_per_push=per_push)
    finally:
        server.stop()
    return weight


async def weigh_connections(profile: Profile, progress: Callable[[str], None] = print) -> Profile:
    """The profile with what held connections cost, measured now; its other figures stay. Half a minute."""
    progress("the CPU time of a poll")
    weights = {}
    short = serve("short_polling", instance=INSTANCE)
    try:
        before = cpu_s([short.pid])
        polled = await requests_per_s(f"{short.url}/messages", seconds=POLLS_S)
        poll_us = _us(before, cpu_s([short.pid]), polled.count)
    finally:
        short.stop()
    connections = min(CONNECTIONS, most_connections() - FIRST)
    for number, name in enumerate(WAYS, 1):
        progress(f"{number} of {len(WAYS)}  {connections} connections held: {name}")
        weights[name] = await weigh_held(name, connections)

    def told(field: str) -> dict[str, float]:
        found = ((name, getattr(weight, field)) for name, weight in weights.items())
        return {name: rounded(value) for name, value in found if value is not None}

    return dataclasses.replace(
        profile,
        bytes_of_empty_process=told("empty_bytes"),
        bytes_per_idle_connection=_bytes_each(weights),
        connects_per_s=told("connects_per_s"),
        cpu_us_per_connect=told("cpu_us_per_connect"),
        cpu_us_per_push=told("cpu_us_per_push"),
        cpu_us_per_ping=told("cpu_us_per_ping"),
        cpu_us_per_poll=poll_us and rounded(poll_us),
        bytes_per_push=told("bytes_per_push"),
    )


async def _weigh(name: str, way: Way, server: Server, held: Listening, connections: int) -> HeldWeight:
    pids = family(server.pid)
    if way.pushes:
        await held.write()
    memory, slab, cpu = resident_bytes(pids), slab_bytes(), cpu_s(pids)
    await held.grow(connections)
    if held.broken:
        raise LoadError(f"{name}: not all connections came in: {held}")
    connect_us = _us(cpu, cpu_s(pids), connections)
    ping_us = None
    if way.transport == "WebSocket":  # before memory is read: then all have done what they do at first
        cpu = cpu_s(pids)
        pongs = sum([await held.ping() for _ in range(PINGS)])
        ping_us = _us(cpu, cpu_s(pids), pongs)
    process = growth_each(memory, resident_bytes(pids), connections)
    kernel = growth_each(slab, slab_bytes(), connections)
    after = resident_bytes(pids)
    push_us = None
    if way.pushes:
        await held.write()
        cpu = cpu_s(pids)
        heard = sum([(await held.write()).heard for _ in range(PUSHES)])
        push_us = _us(cpu, cpu_s(pids), heard)
    empty = None if process is None or after is None else after - process * held.listening
    return HeldWeight(
        name=name,
        connections=connections,
        bytes_each=ConnectionBytes(process, kernel and kernel / 2),
        empty_bytes=empty,
        connects_per_s=held.opened_per_s,
        cpu_us_per_connect=connect_us,
        cpu_us_per_push=push_us,
        cpu_us_per_ping=ping_us,
        bytes_per_push=None,
    )


def _bytes_each(weights: dict[str, HeldWeight]) -> dict[str, ConnectionBytes]:
    """The process' part of each way; of the kernel's the median of them all.

    An idle connection is the same to the kernel whoever holds it, and its figures differ by what else the
    machine did meanwhile.
    """
    known = [one.bytes_each.kernel for one in weights.values() if one.bytes_each.kernel is not None]
    kernel = rounded(statistics.median(known)) if known else None
    return {
        name: ConnectionBytes(one.bytes_each.process and rounded(one.bytes_each.process), kernel)
        for name, one in weights.items()
    }


def push_bytes(way: Way, server: Server, box: Middlebox, stop: threading.Event) -> float:
    """Bytes that TCP carries to one listener for one message, its wrapping included, as the box counts."""
    through, direct = Target.of(box.url), Target.of(server.url)
    listener = Listeners(through, way.handshake(box.url))
    try:
        listener.grow(1, stop)
        sizes = []
        for _ in range(1 + MEASURED_MESSAGES):  # the first comes with the opening, perhaps
            before = Capture.from_recording(box.recording()).bytes_down
            marker = f"<{secrets.token_hex(8)}>"
            post(direct, "/messages", b'{"data": "%b"}' % marker.ljust(MESSAGE_BYTES, "x").encode())
            if not listener.hear(marker.encode(), stop, HEAR_S):
                raise LoadError(f"a message did not come through the middlebox in {HEAR_S:g} s")
            sizes.append(Capture.from_recording(box.recording()).bytes_down - before)
    finally:
        listener.close()
    return sum(sizes[1:]) / MEASURED_MESSAGES


def _us(before: float | None, after: float | None, count: int) -> float | None:
    return None if before is None or after is None or not count else (after - before) / count * 1e6
