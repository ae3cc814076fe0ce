"""Listeners by the thousand: connections that stay open in processes of their own, and what reaches them.

    async with listen(server, 10_000) as listeners:       # event streams; transport="WebSocket" for the other
        print(listeners)
        heard = await listeners.write()                   # one message of 100 bytes, and who had it when
        print(heard.last_ms)

A process holds at most some 19 000 of them, so there are as many as it takes. The one that publishes also
stamps the sending, and the clock is the machine's: the same for all its processes. Everything is bounded, in
number and in time; when the notebook's kernel ends, by whatever death, they end too, with a reset for each
connection, so that no port is held by TIME_WAIT.
"""

import asyncio
import base64
import json
import math
import secrets
import threading
from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np

from labsupport.measure.fleet import sentence
from labsupport.measure.helper import START_S, Helpers
from labsupport.measure.sockets import (
    CLIENTS_PER_SOURCE,
    DEFAULT,
    LoadError,
    Origin,
    Target,
    most_connections,
)
from labsupport.measure.threads import in_thread
from labsupport.measure.ways import handshake_for

MESSAGE_BYTES = 100
MAX_LISTENERS = 1_500_000
PER_NUMBER = 2 * CLIENTS_PER_SOURCE  # client numbers that a process has for itself: two source addresses
OPEN_S = 120.0  # seconds to open all; 10 000 need one or two
HEAR_S = 30.0  # seconds for one message to reach all
Progress = Callable[[int], None]


class Running(Protocol):
    """What is listened to: a server of the lab, or the floor."""

    @property
    def url(self) -> str: ...


@dataclass(frozen=True, eq=False)
class Heard:
    """What one message did. `delays_ms`: one per listener that had it, sorted, from the sending on."""

    listeners: int
    delays_ms: np.ndarray
    broken: dict[str, int] = field(default_factory=dict)  # reason -> connections, since they were opened

    @property
    def heard(self) -> int:
        return len(self.delays_ms)

    @property
    def first_ms(self) -> float:
        return float(self.delays_ms[0]) if self.heard else math.nan

    @property
    def last_ms(self) -> float:
        """Until the last listener had it; NaN if one never had."""
        return float(self.delays_ms[-1]) if self.heard == self.listeners else math.nan

    def __str__(self) -> str:
        return sentence(f"{self.heard} of {self.listeners} heard it", 0, self.broken)


class Listening:
    """Held connections. `listen` makes one; `await listeners.grow(n)` opens more."""

    def __init__(self, url: str, handshake: bytes, processes: int, origin: Origin, first: int) -> None:
        self.target = Target.of(url)
        self.listeners = 0  # wanted
        self.listening = 0  # open
        self.broken: dict[str, int] = {}
        self.opened_per_s = math.nan  # of the last grow(): handshakes answered a second
        self._url = url
        self._handshake = handshake
        self._origin = origin
        self._first = first
        self._processes = processes
        self._helpers: Helpers | None = None
        self._states: dict[int, dict[str, Any]] = {}

    async def __aenter__(self) -> Self:
        try:
            if self._helpers is None:
                await in_thread(self.start)
            if self._first:
                await self.grow(self._first)
        except BaseException:
            await asyncio.to_thread(self.close)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)

    async def grow(self, more: int, progress: Progress = lambda listening: None) -> Self:
        """Open so many more, spread over the processes. `progress` is told how many listen."""
        await in_thread(lambda stop: self.open(more, stop, progress))
        return self

    async def write(self, seconds: float = HEAR_S) -> Heard:
        """Post one message of 100 bytes, and wait until all have it."""
        return await in_thread(lambda stop: self.push(stop, seconds))

    async def ping(self, seconds: float = HEAR_S) -> int:
        """A WebSocket ping on each connection: how many pongs came."""

        def work(stop: threading.Event) -> int:
            asked = {number: {"do": "ping", "seconds": seconds} for number in self._states}
            return sum(reply["pongs"] for reply in self._all.ask(asked, stop, seconds + 5).values())

        return await in_thread(work)

    def __str__(self) -> str:
        return sentence(f"{self.listening} of {self.listeners} listen", 0, self.broken)

    # The same without asyncio, for those who are in a thread already.

    def start(self, stop: threading.Event) -> None:
        """Start the processes."""
        self._helpers = Helpers("listener_process", self._processes)
        handshake = self._handshake.decode("latin-1")
        begin = {"do": "begin", "url": self._url, "handshake": handshake, "origin": self._origin}
        commands = {k: {**begin, "first": k * PER_NUMBER} for k in range(self._processes)}
        self._states = {k: {"listening": 0} for k in commands}
        try:
            self._all.ask(commands, stop, START_S)
        except BaseException:
            self.close()
            raise

    def open(
        self,
        more: int,
        stop: threading.Event,
        progress: Progress = lambda listening: None,
        seconds: float = OPEN_S,
    ) -> None:
        """grow(), blocking."""
        if more < 1 or self.listeners + more > MAX_LISTENERS:
            raise LoadError(f"expected 1 to {MAX_LISTENERS - self.listeners} more listeners, got {more}")
        self.listeners += more
        shares = [(more + k) // self._processes for k in range(self._processes)]
        commands = {k: {"do": "grow", "clients": n, "seconds": seconds} for k, n in enumerate(shares) if n}
        before = self.listening
        told = {k: int(state["listening"]) for k, state in self._states.items()}

        def hear(number: int, listening: int) -> None:
            told[number] = listening
            progress(sum(told.values()))

        replies = self._all.ask(commands, stop, seconds + 10, hear)
        self._learn(replies)
        took_s = max(reply["took_s"] for reply in replies.values())
        self.opened_per_s = (self.listening - before) / took_s
        progress(self.listening)

    def look(self, stop: threading.Event) -> None:
        """Learn what has become of the connections meanwhile."""
        self._learn(self._all.ask({number: {"do": "status"} for number in self._states}, stop, START_S))

    def follow(
        self, marker: str, publish: Callable[[], None], stop: threading.Event, seconds: float
    ) -> np.ndarray:
        """Stamps of the clock, one for each listener that has read `marker`. `publish()` sees to it that it
        comes, when all of them read."""
        hear = {number: {"do": "hear", "marker": marker, "seconds": seconds} for number in self._states}
        self._all.ask(hear, stop, START_S)  # armed
        publish()
        replies = self._all.answers(list(hear), stop, seconds + 10)
        self._learn(replies)
        return np.concatenate([_stamps(reply) for reply in replies.values()])

    def push(self, stop: threading.Event, seconds: float = HEAR_S) -> Heard:
        """write(), blocking."""
        marker = f"<{secrets.token_hex(8)}>"
        data = marker.ljust(MESSAGE_BYTES, "x")
        post = self.target.post("/messages", json.dumps({"event": "message", "data": data}).encode())
        common = {"marker": marker, "seconds": seconds}
        others = list(self._states)[1:]
        if others:
            self._all.ask({k: {"do": "hear", **common} for k in others}, stop, START_S)  # armed
        first = {0: {"do": "publish", "post": post.decode("latin-1"), **common}}
        replies = self._all.ask(first, stop, seconds + 10)
        replies |= self._all.answers(others, stop, seconds + 10)
        self._learn(replies)
        stamps = [_stamps(reply) for _, reply in sorted(replies.items())]
        started = stamps[0][0]
        delays_ms = np.sort(np.concatenate([stamps[0][1:], *stamps[1:]]) - started) * 1000
        return Heard(self.listeners, delays_ms, dict(self.broken))

    def close(self) -> None:
        """End the processes, and with them the connections. Closing twice does no harm."""
        if self._helpers is not None:
            self._helpers.close()
        self._helpers = None

    @property
    def _all(self) -> Helpers:
        if self._helpers is None:
            raise LoadError("these listeners are closed, or were not opened yet: async with listen(…) as …")
        return self._helpers

    def _learn(self, replies: dict[int, dict[str, Any]]) -> None:
        self._states |= replies
        self.listening = sum(state["listening"] for state in self._states.values())
        broken: Counter[str] = Counter()
        for state in self._states.values():
            broken.update(state.get("broken", {}))
        self.broken = dict(broken)


def listen(
    server: Running | str,
    listeners: int = 10_000,
    *,
    transport: str | None = None,
    processes: int | None = None,
    handshake: bytes | None = None,
    origin: Origin = DEFAULT,
    opened: int | None = None,
) -> Listening:
    """Open `listeners` connections to `server` (or its URL), and keep them open. Ready when all are answered.

    transport   "SSE" (GET /events) or "WebSocket" (/ws); by default what the server has, streams first. They
                begin at the server's newest position
    processes   that hold them; as many as it takes by default
    handshake   other bytes to begin with, for a server with other paths: Target.of(url).upgrade("/chat")
    origin      where they come from: how many source addresses, which ports
    opened      open only so many at first, and have room for the others
    """
    if not 1 <= listeners <= MAX_LISTENERS:
        raise LoadError(f"expected 1 to {MAX_LISTENERS} listeners, got {listeners}")
    url = server if isinstance(server, str) else server.url
    needed = math.ceil(listeners / most_connections())
    begin = handshake or handshake_for(server, url, transport)
    first = listeners if opened is None else opened
    return Listening(url, begin, processes or max(1, needed), origin, first)


def _stamps(reply: dict[str, Any]) -> np.ndarray:
    return np.array(array("d", base64.b64decode(reply["stamps"])))
