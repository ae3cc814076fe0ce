"""The client's end of a connection that mostly rests: prices come when there are any.

client -> server   ping        every INTERVAL_S; the server drops whoever is silent for long
server -> client   pong        at once, or a price that is due anyway

A link that is dead is closed by the client, who then connects again.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

INTERVAL_S = 10.0  # seconds between two pings


class Clock(Protocol):
    """Where a link takes its time from."""

    def now(self) -> float: ...
    async def sleep(self, seconds: float) -> None: ...


class Link:
    """One connection. `heard_s`: when the last line came, whatever it said."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, clock: Clock) -> None:
        self._reader, self._writer, self._clock = reader, writer, clock
        self.heard_s = clock.now()
        self.last_line = ""
        self.open = True

    def now(self) -> float:
        """The time on the link's clock, seconds."""
        return self._clock.now()

    async def sleep(self, seconds: float) -> None:
        """Sleep on the link's clock."""
        await self._clock.sleep(seconds)

    async def send(self, line: str) -> None:
        """Send a line; it succeeds as long as the kernel takes it."""
        self._writer.write(f"{line}\n".encode())
        await self._writer.drain()

    async def listen(self) -> None:
        """Take what comes, until the connection ends."""
        while line := await self._reader.readline():
            self.last_line = line.decode().strip()
            self.heard_s = self.now()
        self.open = False

    async def close(self) -> None:
        """Give the connection up."""
        self.open = False
        self._writer.close()


async def keep_alive(link: Link, interval_s: float) -> None:
    """Run beside `listen` for as long as the link is open."""
    while link.open:
        await link.send("ping")
        await link.sleep(interval_s)
