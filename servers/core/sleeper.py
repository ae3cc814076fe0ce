"""Waiting for what may change while one waits: the middlebox's faults are switched under way."""

import asyncio
import contextlib
from collections.abc import Callable


class Sleeper:
    """Waits for a condition or a time, either of which may change under way; poke() makes it look again."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock, self.wake = clock, asyncio.Event()

    def poke(self) -> None:
        self.wake.set()
        self.wake = asyncio.Event()

    async def until(self, ready: Callable[[], object]) -> None:
        while not ready():
            await self.wake.wait()

    async def pause(self, since: float, seconds: Callable[[], float]) -> float:
        """Wait until `seconds()` have passed since `since`. Returns when that was."""
        while (left := since + seconds() - self.clock()) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self.wake.wait()
        return since + seconds()
