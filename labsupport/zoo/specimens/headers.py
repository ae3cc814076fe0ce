"""A clock for web pages: one event a tick, as an event stream. It works on every developer's machine.

In production it stands behind the company's reverse proxy, like every other service.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

TICKS = 6  # events; then the stream ends


def head() -> dict[str, str]:
    """The response's headers."""
    return {
        "Content-Type": "text/event-stream",
        "Cache-Control": "no-cache",
        "Access-Control-Allow-Origin": "https://shop.example",
    }


async def stream(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ticks: AsyncIterator[int]
) -> None:
    """Answer one request with an event for each tick."""
    await reader.readuntil(b"\r\n\r\n")
    fields = "".join(f"{name}: {value}\r\n" for name, value in head().items())
    writer.write(f"HTTP/1.1 200 OK\r\n{fields}Connection: close\r\n\r\n".encode())
    await writer.drain()
    async for tick in ticks:
        writer.write(f"id: {tick}\ndata: tick {tick}\n\n".encode())
        await writer.drain()
