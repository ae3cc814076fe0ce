"""Both clients against the lab's real servers, through a middlebox that cuts, forgets and delays."""

import asyncio
import itertools
import json
import random
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from labsupport.backoff import FullJitter
from labsupport.clients import (
    DeliveryChecker,
    Gap,
    LongPollingClient,
    MaybeSent,
    NotSent,
    Refused,
    ShortPollingClient,
)
from labsupport.processes import Middlebox, Server, middlebox, serve
from labsupport.wire.captures import Capture
from tests.clients.conftest import until

QUICK = FullJitter(base_s=0.002, cap_s=0.02)  # seconds; a real client waits a thousand times longer
MAKERS: dict[str, Callable[..., Any]] = {
    "short_polling": lambda url, **more: ShortPollingClient(
        url, **{"interval_s": 0.005, "backoff": QUICK, **more}
    ),
    "long_polling": lambda url, **more: LongPollingClient(url, **{"wait_s": 2.0, "backoff": QUICK, **more}),
}
CHANNELS = (f"channel-{number}" for number in itertools.count())


@pytest.fixture(params=MAKERS, scope="module")
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def server(name: str) -> Iterator[Server]:
    with serve(name, instance="clients") as running:
        yield running


@pytest.fixture(scope="module")
def fragile(name: str) -> Iterator[Server]:
    """A second server, for tests that restart or freeze it."""
    with serve(name, "--keep", "5", instance="fragile") as running:
        yield running


@pytest.fixture(scope="module")
def running_box(server: Server) -> Iterator[Middlebox]:
    with middlebox(server, instance="clients") as running:
        yield running


@pytest.fixture
def box(running_box: Middlebox) -> Middlebox:
    running_box.clear()
    running_box.cut()
    running_box.forget_recording()
    return running_box


@pytest.fixture
def make(name: str) -> Callable[..., Any]:
    return MAKERS[name]


@pytest.fixture
def channel() -> str:
    """A log of its own for each test, on servers that all tests share."""
    return next(CHANNELS)


def stats(server: Server) -> dict[str, Any]:
    with urllib.request.urlopen(f"{server.url}/stats", timeout=5) as answer:
        return dict(json.load(answer))


@asynccontextmanager
async def following(checker: DeliveryChecker, clients: dict[str, Any], last: object) -> AsyncIterator[None]:
    """Run a reader for each client; leave when each has the message whose data is `last`."""

    async def follow(follower: str, client: Any) -> None:
        checker.follower(follower)
        async for item in client:
            checker.received(follower, item if isinstance(item, Gap) else item.message.data)
            if not isinstance(item, Gap) and item.message.data == last:
                return

    async with AsyncExitStack() as stack, asyncio.TaskGroup() as readers:
        for follower, client in clients.items():
            await stack.enter_async_context(client)
            readers.create_task(follow(follower, client))
        yield


async def test_fifty_cuts_at_random_moments_lose_nothing_double_nothing_and_keep_the_order(
    server: Server, box: Middlebox, make: Callable[..., Any], channel: str
) -> None:
    draws = random.Random(20)
    count = 300
    moments = set(draws.sample(range(count), 50))
    box.set(delay_s=0.001, jitter_s=0.002)  # so that a cut finds bytes on their way
    checker = DeliveryChecker()
    clients = {f"bob {n}": make(box.url, channel=channel, seed=20, client=n) for n in range(3)}
    async with make(server, channel=channel) as alice, following(checker, clients, count - 1):
        for n in range(count):
            await alice.send(n)
            checker.published(n)
            if n in moments:
                await asyncio.to_thread(box.cut if draws.random() < 0.5 else box.reset)
    report = checker.report()
    assert report, str(report)
    assert report.published == count
    assert sum(client.stats.errors for client in clients.values()) > 0


async def came_or_ended(bob: Any, before: int, sending: asyncio.Task[str]) -> None:
    """Wait until bob has one more message, or sending has failed before it came that far."""
    await until(lambda: sending.done() or bob.stats.deliveries > before)


async def outcome(sending: asyncio.Task[str], checker: DeliveryChecker, id: int) -> str:
    """How sending ended, noted as the error's promise has it: what is not noted must not come."""
    try:
        await sending
    except MaybeSent:
        checker.published(id, surely=False)
        return "maybe"
    except NotSent:
        return "not sent"
    checker.published(id)
    return "sent"


async def test_what_is_surely_not_sent_never_comes_and_what_is_maybe_sent_comes_at_most_once(
    server: Server, box: Middlebox, make: Callable[..., Any], channel: str
) -> None:
    draws = random.Random(21)
    checker = DeliveryChecker()
    counts = {"sent": 0, "maybe": 0, "not sent": 0}
    bob = make(server, channel=channel)
    async with following(checker, {"bob": bob}, "last"):
        async with make(box.url, channel=channel) as alice:
            for n in range(40):
                fault = draws.choice(["none", "cut", "reset", "nobody there", "answer lost"])
                before = bob.stats.deliveries
                box.set(
                    refuse=fault == "nobody there",
                    half_open="down" if fault == "answer lost" else None,
                    delay_s=0.001,
                    jitter_s=0.001,
                )
                if fault == "nobody there":
                    await asyncio.to_thread(box.cut)
                sending = asyncio.create_task(alice.send(n))
                if fault == "answer lost":
                    await came_or_ended(bob, before, sending)
                for _ in range(draws.randrange(30)):  # turns of the loop: the cut finds the request anywhere
                    await asyncio.sleep(0)
                if fault in ("cut", "reset", "answer lost"):
                    await asyncio.to_thread(box.reset if fault == "reset" else box.cut)
                counts[await outcome(sending, checker, n)] += 1
        async with make(server, channel=channel) as alice:
            await alice.send("last")
            checker.published("last")
    report = checker.report()
    assert report, str(report)
    assert all(counts.values()), counts


async def test_sending_while_nobody_listens_is_surely_not_sent(
    box: Middlebox, make: Callable[..., Any], channel: str
) -> None:
    box.set(refuse=True)
    async with make(box.url, channel=channel) as alice:
        with pytest.raises(NotSent):
            await alice.send("hello")
    box.set(refuse=False)


async def test_a_restarted_server_is_told_as_a_gap_and_what_it_still_holds_follows(
    fragile: Server, make: Callable[..., Any], channel: str
) -> None:
    checker = DeliveryChecker()
    checker.follower("bob")
    async with make(fragile, channel=channel) as alice, make(fragile, channel=channel) as bob:
        for n in range(5):
            await alice.send(n)
            checker.published(n)
        read = await bob.take(3)
    bob = make(fragile, channel=channel, position=bob.position)
    await asyncio.to_thread(fragile.restart)
    async with make(fragile, channel=channel) as alice, bob:
        for n in range(5, 8):
            await alice.send(n)
            checker.published(n)
        read += await bob.take(4)
    for item in read:
        checker.received("bob", item if isinstance(item, Gap) else item.message.data)
    report = checker.report()
    assert report.honest
    assert report.followers["bob"].faults == {"missed": (3, 4)}
    assert [item.reason for item in read if isinstance(item, Gap)] == ["other epoch"]
    assert isinstance(read[3], Gap)
    assert "restarted" in read[3].detail


async def test_a_client_that_waits_through_a_restart_comes_back_by_itself_and_is_told(
    fragile: Server, make: Callable[..., Any], channel: str
) -> None:
    async with make(fragile, channel=channel) as alice, make(fragile, channel=channel) as bob:
        await alice.send("before")
        (first,) = await bob.take(1)
        reader = asyncio.create_task(bob.take(2))
        await asyncio.to_thread(fragile.restart)
        await until(lambda: bob.stats.gaps)
        await alice.send("after")
        told, second = await reader
    assert isinstance(told, Gap)
    assert (first.message.data, second.message.data) == ("before", "after")
    assert told.since == first.position


async def test_a_history_that_has_moved_on_is_told_as_a_gap(
    fragile: Server, make: Callable[..., Any], channel: str
) -> None:
    async with make(fragile, channel=channel) as alice:
        positions = [await alice.send(n) for n in range(20)]
    async with make(fragile, channel=channel, position=positions[2]) as bob:
        told, *rest = await bob.take(6)
    async with make(fragile, channel=channel, position=positions[14]) as carol:
        in_time = await carol.take(5)
    assert isinstance(told, Gap)
    assert told.reason == "too old"
    assert [item.message.data for item in rest] == [15, 16, 17, 18, 19]
    assert [item.message.data for item in in_time] == [15, 16, 17, 18, 19]


async def test_a_position_that_never_was_is_refused_at_once(
    server: Server, make: Callable[..., Any], channel: str
) -> None:
    async with make(server, channel=channel, position="no position") as bob:
        with pytest.raises(Refused, match="400.*bad position"):
            await anext(bob)


@pytest.mark.parametrize("fault", [{"forget": True}, {"half_open": "up"}, {"half_open": "down"}], ids=str)
async def test_a_link_that_died_in_silence_is_noticed_by_the_timer_and_nothing_is_lost(
    server: Server, box: Middlebox, name: str, channel: str, fault: dict[str, Any]
) -> None:
    quick = {"limit_s": 0.2} if name == "short_polling" else {"wait_s": 0.15, "margin_s": 0.1}
    checker = DeliveryChecker()
    bob = MAKERS[name](box.url, channel=channel, **quick)
    async with MAKERS[name](server, channel=channel) as alice, following(checker, {"bob": bob}, 3):
        for n in range(4):
            await alice.send(n)
            checker.published(n)
            if n == 1:
                box.set(**fault)
                await until(lambda: bob.stats.timeouts)
                box.clear()
    report = checker.report()
    assert report, str(report)


async def test_a_frozen_server_is_noticed_too(fragile: Server, name: str, channel: str) -> None:
    quick = {"limit_s": 0.2} if name == "short_polling" else {"wait_s": 0.15, "margin_s": 0.1}
    async with (
        MAKERS[name](fragile, channel=channel) as alice,
        MAKERS[name](fragile, channel=channel, **quick) as bob,
    ):
        await alice.send("before")
        await bob.take(1)
        fragile.pause()
        reader = asyncio.create_task(bob.take(1))
        await until(lambda: bob.stats.timeouts)
        fragile.resume()
        await alice.send("after")
        (item,) = await reader
    assert item.message.data == "after"


async def test_split_bytes_and_a_buffering_proxy_change_nothing(
    server: Server, box: Middlebox, make: Callable[..., Any], channel: str
) -> None:
    box.set(split=True, buffer=True)
    checker = DeliveryChecker()
    clients = {"bob": make(box.url, channel=channel)}
    async with make(box.url, channel=channel) as alice, following(checker, clients, 9):
        for n in range(10):
            await alice.send(n)
            checker.published(n)
    report = checker.report()
    assert report, str(report)


async def test_leaving_in_the_middle_of_a_question_frees_the_servers_slot(
    server: Server, make: Callable[..., Any], channel: str
) -> None:
    async with make(server, channel=channel) as bob:
        reader = asyncio.create_task(bob.take(1))
        await until(lambda: stats(server)["most_waiting"])
        await bob.close()
        assert await reader == []
        await until(lambda: stats(server)["waiting"] == 0)


async def test_short_polls_that_find_nothing_new_are_answered_304(
    server: Server, name: str, make: Callable[..., Any], channel: str
) -> None:
    before = stats(server)["not_modified"]
    async with make(server, channel=channel, **({"wait_s": 0.02} if name == "long_polling" else {})) as bob:
        reader = asyncio.create_task(bob.take(1))
        await until(lambda: bob.stats.empty >= 4)
        await bob.send("news")
        (item,) = await reader
    assert item.message.data == "news"
    assert stats(server)["not_modified"] - before == bob.stats.not_modified
    assert bool(bob.stats.not_modified) == (name == "short_polling")


async def test_a_capture_of_a_clients_life_counts_what_the_client_counted(
    box: Middlebox, make: Callable[..., Any], channel: str
) -> None:
    async with make(box.url, channel=channel, headers={"Cookie": "session=" + "x" * 300}) as bob:
        for n in range(5):
            await bob.send(n)
            await bob.take(1)
    await until(lambda: not box.connections())
    capture = Capture.from_recording(box.recording())
    exchanges = capture.exchanges()
    asked = [exchange for exchange in exchanges if exchange.method == "GET"]
    assert len(asked) == bob.stats.requests
    assert len(exchanges) - len(asked) == bob.stats.sent == 5
    bodies = sum(exchange.response.body_bytes for exchange in asked if exchange.response)
    assert bodies == bob.stats.body_bytes
    assert sum(exchange.bytes_up for exchange in exchanges) == capture.bytes_up
    assert sum(exchange.bytes_down for exchange in exchanges) == capture.bytes_down
    assert all(connection.reading.problem == "" for connection in capture.connections)
    assert all(exchange.request.head.get("cookie") for exchange in asked)
