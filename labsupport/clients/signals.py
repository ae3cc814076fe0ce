"""What comes beside the messages and is worth something only now: who types, who is there."""

import asyncio
from collections import deque
from typing import Any, Self


class Signals:
    """Iterate it for {"type": "typing", "user": …} and {"type": "online", "users": […], …}.

    Nobody has to: it keeps the newest `limit`, and `dropped` counts the others. It ends with its client.
    """

    def __init__(self, limit: int = 100) -> None:
        self.dropped = 0
        self._limit = limit
        self._kept: deque[dict[str, Any]] = deque()
        self._changed = asyncio.Event()
        self._ended = False

    def put(self, signal: dict[str, Any]) -> None:
        """Keep it, and let the oldest go if there are too many."""
        if len(self._kept) == self._limit:
            self._kept.popleft()
            self.dropped += 1
        self._kept.append(signal)
        self._changed.set()

    def end(self) -> None:
        """What is kept can still be read; after that the loop ends."""
        self._ended = True
        self._changed.set()

    def __len__(self) -> int:
        return len(self._kept)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> dict[str, Any]:
        while not self._kept:
            if self._ended:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        return self._kept.popleft()
