"""A price feed: whoever connects gets each message, in order, until it leaves.

A reader may be a little behind: up to MOST_BYTES wait for it in this process.
"""

from __future__ import annotations

import asyncio
import socket

MOST_BYTES = 256 * 1024  # bytes that may wait for one reader
SEND_BUFFER = 32 * 1024  # bytes; left alone, Linux keeps 4 MiB for a reader that never reads


class Feed:
    """All readers of one feed."""

    def __init__(self) -> None:
        self.writers: set[asyncio.StreamWriter] = set()

    async def join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one reader until it leaves."""
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        writer.transport.set_write_buffer_limits(high=MOST_BYTES)
        self.writers.add(writer)
        try:
            await reader.read()  # it sends nothing; this ends when it leaves
        finally:
            self.writers.discard(writer)

    async def publish(self, message: bytes) -> None:
        """Send a message to every reader."""
        await broadcast(self.writers, message, MOST_BYTES)


async def broadcast(writers: set[asyncio.StreamWriter], message: bytes, most_bytes: int) -> None:
    """Send `message` to each writer. At most `most_bytes` may wait in `writer.transport`, plus a message."""
    for writer in list(writers):
        try:
            writer.write(message)
            await writer.drain()
        except ConnectionError:
            writers.discard(writer)
