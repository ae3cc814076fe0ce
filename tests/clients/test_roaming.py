"""A follower with several addresses: it goes on where it was, whoever answers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from labsupport.backoff import Fixed, SignalR
from labsupport.clients import Client, Delivery, Message
from labsupport.clients.base import GaveUp
from labsupport.clients.roaming import HEALTHY_AFTER_S, Roaming


class World:
    """Addresses that share one log of ten messages; each serves so many, and then it is cut."""

    def __init__(self, **serves: int) -> None:
        self.serves = dict(serves)
        self.now_s = 0.0
        self.waited_s: list[float] = []
        self.began: list[tuple[str, str | None]] = []

    def make(self, address: str, position: str | None, once: Any) -> Client:
        self.began.append((address, position))
        return Scripted(self, address, position=position, backoff=once)

    def clock(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.waited_s.append(seconds)
        self.now_s += seconds

    def follower(self, **more: Any) -> Roaming:
        more = {"backoff": Fixed(1.0), "clock": self.clock, "sleep": self.sleep, **more}
        return Roaming(list(self.serves), self.make, **more)


class Scripted(Client):
    def __init__(self, world: World, address: str, **more: Any) -> None:
        super().__init__(**more)
        self.world, self.address = world, address

    async def _open(self) -> None: ...

    async def _shut(self) -> None: ...

    async def send(self, data: object, event: str = "message") -> str:
        raise NotImplementedError

    async def _step(self) -> None:
        if self.world.serves[self.address] <= 0:
            self._back_off("cut")
            return
        self.world.serves[self.address] -= 1
        id = str(int(self.position or 0) + 1)
        self._items.append(Delivery(Message(id, "message", id), id, self.world.now_s))


async def taken(follower: Roaming, count: int) -> list[str]:
    found = []
    async with asyncio.timeout(20), follower:
        async for item in follower:
            assert isinstance(item, Delivery)
            found.append(item.message.id)
            if len(found) == count:
                break
    return found


async def test_a_cut_moves_it_to_the_next_address_behind_the_last_message_that_it_has() -> None:
    world = World(a=3, b=4, c=9)
    assert await taken(world.follower(), 10) == [str(number) for number in range(1, 11)]
    assert world.began == [("a", None), ("b", "3"), ("c", "7")]


async def test_it_begins_where_it_is_told_and_goes_around() -> None:
    world = World(a=2, b=0, c=1)
    follower = world.follower(start=2, position="5")
    assert await taken(follower, 3) == ["6", "7", "8"]
    assert follower.asked == ["c", "a"]
    assert follower.position == "8"
    assert follower.address == "a"


async def test_it_waits_by_its_policy_before_each_next_address() -> None:
    world = World(a=1, b=0, c=1)
    await taken(world.follower(), 2)
    assert world.waited_s == [1.0, 1.0]


async def test_when_the_policy_ends_so_does_it() -> None:
    world = World(a=1, b=0)
    with pytest.raises(GaveUp, match="cut"):
        await taken(world.follower(backoff=SignalR()), 2)
    assert world.waited_s == [0.0, 2.0, 10.0, 30.0]


async def test_the_waits_start_afresh_behind_a_link_that_was_healthy() -> None:
    world = World(a=1, b=1, c=9)
    follower = world.follower(backoff=SignalR())
    async with follower:
        assert (await anext(follower)).position == "1"
        assert (await anext(follower)).position == "2"
        world.now_s += HEALTHY_AFTER_S
        assert (await anext(follower)).position == "3"
    assert world.waited_s == [0.0, 0.0]


async def test_it_has_to_be_opened_and_to_know_somebody() -> None:
    with pytest.raises(ValueError, match="at least one address"):
        Roaming([], World(a=1).make)
    with pytest.raises(RuntimeError, match="async with Roaming"):
        await anext(World(a=1).follower())
