"""Events for web pages, with a limit to the number of open streams.

GET /events with a token -> 200, text/event-stream, held open; pages use the browser's EventSource
otherwise                -> a refusal
"""

from __future__ import annotations

import asyncio

RETRY_MS = 100  # milliseconds after which whoever was turned away may come again

Reply = tuple[int, dict[str, str], bytes, bool]  # status, headers, body, whether the stream stays open


class Streams:
    """The open streams; not more than `most`."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.open: set[asyncio.StreamWriter] = set()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request, and its stream."""
        request = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        path = request.split(" ")[1]
        token = request.partition("Authorization: ")[2].partition("\r\n")[0]
        status, headers, body, stays_open = answer(path, token, self.most - len(self.open), RETRY_MS)
        fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(f"HTTP/1.1 {status} .\r\n{fields}Connection: close\r\n\r\n".encode() + body)
        await writer.drain()
        if stays_open:
            self.open.add(writer)
            try:
                await reader.read()  # until the page leaves
            finally:
                self.open.discard(writer)

    def publish(self, data: str) -> None:
        """An event for every open stream."""
        for writer in self.open:
            writer.write(f"data: {data}\n\n".encode())


def answer(path: str, token: str, room: int, retry_ms: int) -> Reply:
    """What to answer. `room`: streams that may still be opened."""
    if path != "/events":
        return 404, {"Content-Type": "text/plain"}, b"no such page\n", False
    if not token:
        return 401, {"Content-Type": "text/plain"}, b"who are you?\n", False
    if room <= 0:
        headers = {"Content-Type": "text/plain", "Retry-After": str(max(1, retry_ms // 1000))}
        return 503, headers, b"too many streams\n", False
    return 200, {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}, b": hello\n\n", True
