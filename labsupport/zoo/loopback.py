"""Real connections for a run: servers on loopback that end with it, and whose handlers' errors are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

HOST = "127.0.0.1"
ENDS_S = 1.0  # seconds for handlers to end; they are cancelled, so each needs a moment only

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def listening(handler: Handler) -> AsyncIterator[int]:
    """The port of a server that calls `handler` for each connection, until it is left.

    Raises what a handler failed with, unless that was only a connection's end.
    """
    errors: list[Exception] = []
    tasks: set[asyncio.Task[None]] = set()
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # the check tells it

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await handler(reader, writer)
        except (ConnectionError, EOFError):  # the other end has left
            pass
        except Exception as error:
            errors.append(error)
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(handle, HOST, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(list(tasks), timeout=ENDS_S)
        if errors:
            raise errors[0]


async def dial(port: int) -> Ends:
    """A connection to that port."""
    return await asyncio.open_connection(HOST, port)


async def until(happened: Callable[[], bool], changed: asyncio.Event, limit_s: float) -> bool:
    """Wait until `happened()`, looking again whenever `changed` is set; False if the limit comes first."""
    try:
        async with asyncio.timeout(limit_s):
            while not happened():
                changed.clear()
                await changed.wait()
    except TimeoutError:
        return happened()
    return True


async def soon(happened: Callable[[], bool], limit_s: float = 0.5) -> bool:
    """Look every 2 ms whether it has happened, where nothing tells."""
    for _ in range(round(limit_s / 0.002)):
        if happened():
            return True
        await asyncio.sleep(0.002)
    return happened()
