"""A follower that knows several addresses: where one server does not answer, the next one is asked.

    async with Roaming([one.url, two.url], make) as bob:      # make(address, position, once) -> a Client
        async for item in bob: …

    def make(address, position, once):
        return SseClient(f"{address}/users/7/events", position=position, backoff=once)

That is what a balancer does for clients that know one address only. It is right where all servers share one
log: the position that one gave is good at any other. `once` is a policy without a second try, so that the
client at one address gives up at its first failure; the waits between the addresses are this class' own.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from labsupport.backoff import FullJitter
from labsupport.clients.base import Client, Clock, GaveUp, Item, Policy, Sleep

HEALTHY_AFTER_S = 10.0  # seconds that an address must have served for the waits to start afresh


class Once:
    """Waits of which there are none: the first failure is the last."""

    def waits(self, *, seed: int | None = None, client: int = 0) -> Self:
        return self

    def next(self) -> None:
        return None

    def reset(self) -> None:
        pass


Make = Callable[[str, str | None, Any], Client]


class Roaming:
    """Iterate it for the items of whichever address serves now.

    addresses   tried in turn, beginning with number `start`
    make        makes the client for one address: make(address, position, once)
    position    where to begin; it moves as items are handed over, and the next address goes on behind it
    backoff     the wait between two addresses; it starts afresh after a link that was healthy
    seed, client, clock, sleep   as for every client (base.py)
    """

    def __init__(
        self,
        addresses: Sequence[str],
        make: Make,
        *,
        start: int = 0,
        position: str | None = None,
        backoff: Policy | None = None,
        seed: int | None = None,
        client: int = 0,
        clock: Clock = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        if not addresses:
            raise ValueError("a roaming client needs at least one address")
        self.addresses, self.position = list(addresses), position
        self.asked: list[str] = []  # addresses, in the order in which they were asked
        self._make, self._at = make, start % len(addresses)
        self._waits = (backoff or FullJitter()).waits(seed=seed, client=client)
        self._clock, self._sleep = clock, sleep
        self._client: Client | None = None
        self._since_s = 0.0

    @property
    def address(self) -> str:
        """The address that serves now, or is asked next."""
        return self.addresses[self._at]

    async def __aenter__(self) -> Self:
        await self._ask()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Item:
        while True:
            if self._client is None:
                raise RuntimeError("open it first: async with Roaming(…) as follower:")
            try:
                item = await anext(self._client)
            except GaveUp as failure:
                await self._move(failure)
                continue
            self.position = item.position
            return item

    async def _ask(self) -> None:
        self.asked.append(self.address)
        self._client = self._make(self.address, self.position, Once())
        await self._client.__aenter__()
        self._since_s = self._clock()

    async def _move(self, failure: GaveUp) -> None:
        """Go on to the next address. GaveUp, if the policy allows no further attempt."""
        assert self._client is not None
        self.position = self._client.position
        await self._client.close()
        if self._clock() - self._since_s >= HEALTHY_AFTER_S:
            self._waits.reset()
        wait_s = self._waits.next()
        if wait_s is None:
            raise failure
        await self._sleep(wait_s)
        self._at = (self._at + 1) % len(self.addresses)
        await self._ask()
