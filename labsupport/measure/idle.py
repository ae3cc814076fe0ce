"""What an idle connection weighs in a server's process, for any request that keeps one open."""

import asyncio
from collections.abc import Sequence
from urllib.parse import urlsplit

from labsupport.measure.memory import process_bytes
from labsupport.measure.sockets import allow_connections
from labsupport.processes import Server

FIRST = 20  # connections opened before weighing begins: they pay for what is made once
HEAD_S = 20.0  # seconds for all answers


async def idle_bytes(
    server: Server, request: bytes, *, then: bytes = b"", awaits: bytes = b"\r\n\r\n", connections: int = 200
) -> float | None:
    """Growth of the server's resident memory for each idle connection, in bytes; None without Linux' /proc.

    request   goes out on each connection; HOST stands for the server's address
    then      what follows when the head of the answer is there, such as a join
    awaits    the last bytes of what must come back before a connection counts as idle

    The server is restarted first: memory that an earlier crowd left would be used again, and hide the cost.
    What is weighed is the growth between FIRST and FIRST + `connections`.
    """
    await asyncio.to_thread(server.restart)
    allow_connections(connections + FIRST)
    host = urlsplit(server.url).netloc
    head = request.replace(b"HOST", host.encode())
    writers: list[asyncio.StreamWriter] = []
    try:
        async with asyncio.timeout(HEAD_S):
            writers += await _opened(FIRST, host, head, then, awaits)
            before = process_bytes(server.pid)
            writers += await _opened(connections, host, head, then, awaits)
            after = process_bytes(server.pid)
    finally:
        for writer in writers:
            writer.transport.abort()
    return None if before is None or after is None else max(0, after - before) / connections


async def _opened(
    count: int, host: str, head: bytes, then: bytes, awaits: bytes
) -> Sequence[asyncio.StreamWriter]:
    """So many connections, opened one after the other: a crowd would make the server's buffers grow."""
    writers = []
    name, _, port = host.rpartition(":")
    for _ in range(count):
        reader, writer = await asyncio.open_connection(name, int(port))
        writer.write(head)
        await reader.readuntil(b"\r\n\r\n")
        if then:
            writer.write(then)
            await reader.readuntil(awaits)
        writers.append(writer)
    return writers
