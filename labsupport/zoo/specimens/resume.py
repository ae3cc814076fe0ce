"""An event stream that a client can leave and take up again: the log behind it, and what a client is sent.

    id: EPOCH-OFFSET        the position of an event; the client sends its last one as Last-Event-ID
    event: message          one more
    event: snapshot         forget what you have: here begins all that there is

The log lives in memory, the last KEEP events of it. Offsets count from 1.
"""

from __future__ import annotations

import asyncio
import secrets

KEEP = 40  # events that are remembered

Reply = tuple[str, list[tuple[str, str]]]  # "message" or "snapshot"; (position, data) of each event


class Log:
    """What has happened, since this server was started."""

    def __init__(self) -> None:
        self.epoch = secrets.token_hex(4)  # a new one with each start
        self.newest = 0
        self._events: list[str] = []

    @property
    def oldest(self) -> int:
        """Offset of the first event that is remembered."""
        return self.newest - len(self._events) + 1

    def append(self, data: str) -> None:
        """One more event."""
        self.newest += 1
        self._events = [*self._events, data][-KEEP:]

    def after(self, offset: int) -> list[tuple[str, str]]:
        """Position and data of each remembered event behind that offset."""
        first = max(offset + 1, self.oldest)
        data = self._events[first - self.oldest :]
        return [(f"{self.epoch}-{n}", one) for n, one in enumerate(data, first)]


def resume(log: Log, position: str) -> Reply:
    """What to send to a client whose last position is `position`; "" for one that is new."""
    if not position:
        return "snapshot", log.after(0)
    offset = int(position.partition("-")[2])
    if offset + 1 < log.oldest:
        return "snapshot", log.after(0)
    return "message", log.after(offset)


async def serve(log: Log, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One request: what the client has missed. The stream ends there, so that it is easy to follow."""
    request = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    position = request.partition("Last-Event-ID: ")[2].partition("\r\n")[0]
    kind, events = resume(log, position)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
    for number, (id, data) in enumerate(events):
        name = kind if number == 0 else "message"
        writer.write(f"id: {id}\nevent: {name}\ndata: {data}\n\n".encode())
    await writer.drain()
