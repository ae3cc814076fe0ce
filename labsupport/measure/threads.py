"""A measurement runs in a thread, so that the notebook's event loop stays free, and ends when asked to."""

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

LOOK_S = 0.05  # a working thread looks at least this often whether it should stop


class Stopped(Exception):
    """The one who waited has gone away."""


async def in_thread(work: Callable[[threading.Event], T]) -> T:
    """Run `work(stop)` in a thread and wait. An interrupt sets `stop`, and waits for the thread's end."""
    stop = threading.Event()
    running = asyncio.ensure_future(asyncio.to_thread(work, stop))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([running])
        if not running.cancelled():
            running.exception()  # seen: asyncio would otherwise report it as lost
        raise
