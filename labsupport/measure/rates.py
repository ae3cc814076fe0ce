"""How fast a polling server answers: one after another, as many as it can, and from new connections only."""

import selectors
import socket
import threading
from dataclasses import dataclass

import numpy as np

from labsupport.measure.fleet import Fleet
from labsupport.measure.sockets import (
    Clock,
    LoadError,
    Target,
    allow_connections,
    drop,
    lean_socket,
    read_answer,
    take_answer,
)
from labsupport.measure.threads import LOOK_S, Stopped, in_thread

WARM_UP = 100  # requests: the first ones pay for imports, arenas and caches
MAX_SECONDS = 20.0


@dataclass(frozen=True)
class Rate:
    """`count` things in `seconds`."""

    count: int
    seconds: float

    @property
    def per_s(self) -> float:
        return self.count / self.seconds


async def round_trips(url: str, count: int = 1_000) -> np.ndarray:
    """`count` round trips (ms) of GET `url`, one after another on one open connection."""
    target = Target.of(url)
    request = target.get(target.path)
    return await in_thread(lambda stop: _round_trips(target, request, count, stop))


async def requests_per_s(url: str, connections: int = 64, seconds: float = 1.5) -> Rate:
    """What one server answers to `connections` clients that ask again as soon as they have their answer."""
    target = Target.of(url)
    request = target.get(target.path)
    return await in_thread(
        lambda stop: _saturate(target, request, connections, min(seconds, MAX_SECONDS), stop)
    )


async def accepts_per_s(url: str, connections: int = 3_000) -> Rate:
    """New connections a second whose first request is answered. They stay open until all are through."""
    target = Target.of(url)
    request = target.get(target.path)

    def work(stop: threading.Event) -> Rate:
        fleet = Fleet(target, connections, request)
        try:
            started = Clock()
            fleet.open(stop, MAX_SECONDS, answered=True)
            took = Clock() - started
        finally:
            fleet.close()
        if fleet.broken:
            raise LoadError(f"of {connections} connections some did not get through: {dict(fleet.broken)}")
        return Rate(connections, took)

    return await in_thread(work)


def _round_trips(target: Target, request: bytes, count: int, stop: threading.Event) -> np.ndarray:
    times_ms = np.empty(count)
    with socket.create_connection(target[:2], timeout=5) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number in range(-WARM_UP, count):
            started = Clock()
            sock.sendall(request)
            read_answer(sock)
            if number >= 0:
                times_ms[number] = (Clock() - started) * 1000
            if stop.is_set():
                raise Stopped
    return times_ms


def _saturate(
    target: Target, request: bytes, connections: int, seconds: float, stop: threading.Event
) -> Rate:
    allow_connections(connections)
    buffers: dict[socket.socket, bytearray] = {}
    answered = 0
    with selectors.DefaultSelector() as selector:
        try:
            for number in range(connections):
                sock = lean_socket(number, target.host)
                buffers[sock] = bytearray()
                sock.setblocking(True)  # loopback connects at once; only the asking has to be non-blocking
                sock.connect(target[:2])
                sock.setblocking(False)
                selector.register(sock, selectors.EVENT_READ)
                sock.send(request)
            started: float | None = None
            while started is None or Clock() - started < seconds:
                for key, _ in selector.select(LOOK_S):
                    answered += _ask_again(key.fileobj, buffers, request)  # type: ignore[arg-type]
                if started is None and answered >= WARM_UP:
                    started, answered = Clock(), 0
                if stop.is_set():
                    raise Stopped
            return Rate(answered, Clock() - started)
        finally:
            for sock in buffers:
                drop(sock)


def _ask_again(sock: socket.socket, buffers: dict[socket.socket, bytearray], request: bytes) -> int:
    """Read what is there; ask again if the answer is whole. Returns the number of answers: 0 or 1."""
    chunk = sock.recv(65536)
    if not chunk:
        raise LoadError("the server closed a connection while it was asked")
    buffers[sock] += chunk
    answer = take_answer(buffers[sock])
    if answer is None:
        return 0
    if answer.status >= 400:
        raise LoadError(f"the server answered {answer.status}: {answer.body[:200].decode(errors='replace')}")
    sock.send(request)
    return 1
