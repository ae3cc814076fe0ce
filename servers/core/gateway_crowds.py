"""All who are connected to one process of the gateway, and the log that they follow.

What is published goes into the log at once, and to the followers once in a turn of the loop: what came in
between goes out in one write. The one who published is answered before, and waits for nobody.
"""

import argparse
import asyncio
import math
from dataclasses import asdict
from typing import Any

from servers.core.crowd import Crowd
from servers.core.gateway_sse import EventStreams
from servers.core.gateway_websocket import Messages
from servers.core.log import Entry, MessageLog

SWEEP_S = 1.0  # seconds between looks at all deadlines; a timer for each connection would cost it 200 bytes
AT_ONCE = 1000  # connections seen to in one look, and an eighth of all: not everybody in one go
DRAIN_S = 1.0  # seconds over which a process that ends sends its clients away
BATCHES = 10  # of clients, when draining: they come back to the next server as ten small crowds
LAST_S = 0.3  # seconds for the last of them to close


class Crowds:
    """Listeners of event streams, with chunks and without, WebSockets, and everybody else."""

    def __init__(self, options: argparse.Namespace, log: MessageLog) -> None:
        self.log = log
        self.connections: set[Any] = set()  # each has `due`, late() and `transport`
        more: tuple[set[Any], int, str] = (self.connections, options.unread, options.policy)
        self.streams = Crowd(log, EventStreams(True, options.seed), options.heartbeat, *more)
        self.unchunked = Crowd(log, EventStreams(False, options.seed), options.heartbeat, *more)
        self.sockets = Crowd(log, Messages(), options.ping, *more)
        self.sleep = asyncio.sleep  # between two batches; a test has its own
        self._all: list[Crowd[Any]] = [self.streams, self.unchunked, self.sockets]
        self._unwritten: list[Entry] = []
        self._sweep_s = min(SWEEP_S, options.heartbeat / 2, options.ping / 2)

    @property
    def open(self) -> int:
        return sum(len(crowd) for crowd in self._all)

    def publish(self, event: str, raw: bytes) -> Entry:
        """Append a message, `raw` in JSON, and see that everybody gets it, behind what is under way now."""
        entry = self.log.append_json(event, raw)
        if not self._unwritten:
            asyncio.get_running_loop().call_soon(self.flush)
        self._unwritten.append(entry)
        return entry

    def flush(self) -> None:
        """Write all that is published to all who follow."""
        entries, self._unwritten = self._unwritten, []
        if entries:
            for crowd in self._all:
                crowd.write(entries)

    async def sweep(self) -> None:
        """Look after everybody in turn, for ever: signs of life, late heads, closings that take too long."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._sweep_s)
            now = loop.time()
            late = [connection for connection in self.connections if connection.due <= now]
            for connection in late[: AT_ONCE + len(self.connections) // 8]:
                connection.late(now)

    async def drain(self) -> None:
        """Send all followers away, a batch at a time, and cut those who stay."""
        leaving = [f for crowd in self._all for f in (*crowd.ready.values(), *crowd.behind)]
        size = math.ceil(len(leaving) / BATCHES) or 1
        for first in range(0, len(leaving), size):
            if first:
                await self.sleep(DRAIN_S / BATCHES)
            for follower in leaving[first : first + size]:
                if not follower.transport.is_closing():
                    follower.end()
        for _ in range(10):
            if self.connections.intersection(leaving):
                await asyncio.sleep(LAST_S / 10)
        for connection in list(self.connections):
            connection.transport.abort()
        await asyncio.sleep(0)

    def stats(self) -> dict[str, Any]:
        """Counters, which add up over several processes."""
        crowds: dict[str, dict[str, int]] = {}
        for crowd in self._all:
            so_far = crowds.setdefault(crowd.language.name, {})
            for name, number in {**asdict(crowd.counters), "behind": len(crowd.behind)}.items():
                so_far[name] = so_far.get(name, 0) + number
        return {"open": self.open, "connections": len(self.connections), **crowds}
