"""Event streams under cuts: 200 schedules by seed behind a cutting relay, some through the real middlebox.

The relay lives in the test's loop, and so do the real server's log and handlers; the client sleeps on a clock
of its own. The relay cuts by bytes, so that a cut falls into heads, ids and data.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from labsupport.backoff import FullJitter
from labsupport.clients import Delivery, DeliveryChecker, Gap, SseClient
from labsupport.processes import Middlebox, Server, middlebox, serve
from servers import recent_changes, sse
from servers.core.log import Entry
from servers.recent_changes import FEED, event_id
from tests.clients.conftest import Time, until
from tests.servers.streams import run

SEEDS = 200
BLOCK = 20  # schedules a test
MESSAGES = 25


class CuttingRelay:
    """Passes bytes on, in pieces, and cuts the first connections after so many bytes of the answer."""

    def __init__(self, port: int, draws: random.Random, cuts: int) -> None:
        self._port, self._draws = port, draws
        self.cuts = cuts  # that are left
        self.url = ""
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "CuttingRelay":
        self._listener = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._listener.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _relay(self, down_in: asyncio.StreamReader, down: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.current_task())  # type: ignore[arg-type]
        left = None
        if self.cuts:
            self.cuts -= 1
            left = self._draws.choice([0, self._draws.randrange(300), self._draws.randrange(3_000)])
        up_in, up = await asyncio.open_connection("127.0.0.1", self._port)
        asking = asyncio.create_task(self._pass(down_in, up, None))
        try:
            with contextlib.suppress(asyncio.CancelledError):  # of the test's end; 3.11 would log it
                await self._pass(up_in, down, left)
        finally:
            asking.cancel()
            reset = self._draws.random() < 0.5
            for writer in (down, up):
                writer.transport.abort() if reset else writer.close()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: int | None
    ) -> None:
        """Pass on what comes, in pieces; return at the end, or after `left` bytes."""
        with contextlib.suppress(OSError):
            while left is None or left > 0:
                chunk = await reader.read(self._draws.choice([1, 7, 60, 4096]) if left else 65_536)
                if not chunk:
                    return
                chunk = chunk[:left]
                writer.write(chunk)
                await writer.drain()
                left = None if left is None else left - len(chunk)


async def follow(client: SseClient, checker: DeliveryChecker, last: Callable[[Any], bool]) -> list[Gap]:
    """Read until the last message is here; note everything. Return the gaps."""
    gaps = []
    async for item in client:
        checker.received("bob", item)
        if isinstance(item, Gap):
            gaps.append(item)
        elif last(item):
            break
    return gaps


async def schedule(
    seed: int, port: int, publish: Callable[[], str], **more: Any
) -> tuple[DeliveryChecker, SseClient, list[Gap]]:
    """Publish, in fits and starts, to a reader who is cut again and again."""
    draws = random.Random(seed)
    checker = DeliveryChecker()
    checker.follower("bob")
    published: list[str] = []

    async def publishing() -> None:
        for _ in range(MESSAGES):
            published.append(publish())
            checker.published(published[-1])
            for _ in range(draws.choice([0, 0, 3, 30])):  # turns of the loop
                await asyncio.sleep(0)

    def last(item: Delivery) -> bool:
        return len(published) == MESSAGES and item.message.id == published[-1]

    async with CuttingRelay(port, draws, cuts=draws.randint(1, 12)) as relay:
        url = relay.url + more.pop("path", "")
        client = SseClient(url, seed=seed, **more, **Time().given)
        async with client, asyncio.timeout(60):
            writer = asyncio.create_task(publishing())
            gaps = await follow(client, checker, last)
            await writer
    return checker, client, gaps


@pytest.mark.parametrize("first", range(0, SEEDS, BLOCK))
async def test_no_schedule_of_cuts_loses_doubles_or_reorders_a_message(first: int) -> None:
    errors = 0
    async with AsyncExitStack() as stack:
        server, _ = await run(stack, sse)
        for seed in range(first, first + BLOCK):
            log = server.board.channels.log(f"seed-{seed}")

            def publish(log: Any = log, text: str = "x" * (seed % 50)) -> str:
                entry: Entry = log.append("message", text)
                return entry.id

            checker, client, gaps = await schedule(seed, server.port, publish, channel=f"seed-{seed}")
            report = checker.report()
            assert report, f"seed {seed}: {report}"
            assert report.published == report.followers["bob"].received == MESSAGES
            assert gaps == []
            errors += client.stats.errors
    assert errors > BLOCK  # the cuts did happen


@pytest.mark.parametrize("first", range(1_000, 1_040, BLOCK))
async def test_where_the_history_is_too_short_for_the_cuts_each_loss_is_told(first: int) -> None:
    told = 0
    async with AsyncExitStack() as stack:
        server, _ = await run(stack, sse, "--keep", "3")
        for seed in range(first, first + BLOCK):
            log = server.board.channels.log(f"seed-{seed}")

            def publish(log: Any = log) -> str:
                return str(log.append("message", "x" * 40).id)

            start = log.position
            checker, _, gaps = await schedule(
                seed, server.port, publish, channel=f"seed-{seed}", position=start
            )
            report = checker.report()
            assert report.honest, f"seed {seed}: {report}"
            missed = len(report.followers["bob"].missed)
            assert (missed > 0) <= (len(gaps) > 0)
            assert report.followers["bob"].received == MESSAGES - missed
            told += missed
    assert told > 0


@pytest.mark.parametrize("first", range(2_000, 2_020, 10))
async def test_recent_changes_are_resumed_by_their_ids_of_topics_and_times(first: int) -> None:
    async with AsyncExitStack() as stack:
        server, _ = await run(stack, recent_changes, "--rate", "0", "--seed", "7")
        feed = server.app[FEED]
        for seed in range(first, first + 10):
            start = event_id(feed.now_ms)

            def publish() -> str:
                feed.publish()
                return event_id(feed.now_ms)

            checker, client, gaps = await schedule(
                seed, server.port, publish, path="/v2/stream/recentchange", position=start
            )
            report = checker.report()
            assert report, f"seed {seed}: {report}"
            assert gaps == []
            assert client.position == event_id(feed.now_ms)


# ---- the real server, through the real middlebox ----


async def briefly(seconds: float) -> None:
    """Sleep a thousandth of what was asked for: the server asks for up to 10 s."""
    await asyncio.sleep(seconds / 1000)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serve("sse", "--heartbeat", "0.05", instance="cuts") as running:
        yield running


@pytest.fixture(scope="module")
def box(server: Server) -> Iterator[Middlebox]:
    with middlebox(server, instance="cuts") as running:
        yield running


@pytest.fixture
async def alice(server: Server, request: pytest.FixtureRequest) -> AsyncIterator[SseClient]:
    channel = "".join(c if c.isalnum() else "-" for c in request.node.name)[-64:]
    async with SseClient(server, channel=channel) as client:
        client.channel = channel  # type: ignore[attr-defined]
        yield client


def to(url: object, alice: Any, **more: Any) -> SseClient:
    return SseClient(url, channel=alice.channel, sleep=briefly, backoff=FullJitter(1, 5), **more)


@pytest.mark.parametrize("seed", range(5))
async def test_cuts_by_the_real_middlebox_lose_nothing_double_nothing_and_keep_the_order(
    box: Middlebox, alice: SseClient, seed: int
) -> None:
    draws = random.Random(seed)
    moments = set(draws.sample(range(100), 10))
    box.clear()
    box.set(delay_s=0.001, jitter_s=0.002, split=seed == 0)  # so that a cut finds bytes on their way
    checker = DeliveryChecker()
    checker.follower("bob")
    async with to(box, alice, seed=seed) as bob, asyncio.timeout(60):
        reader = asyncio.create_task(follow(bob, checker, lambda item: item.message.data == 99))
        for number in range(100):
            checker.published(await alice.send(number))
            if number in moments:
                await asyncio.to_thread(box.cut if draws.random() < 0.5 else box.reset)
        assert await reader == []
    report = checker.report()
    assert report, str(report)
    assert bob.stats.errors > 0


@pytest.mark.parametrize("fault", [{"forget": True}, {"half_open": "down"}], ids=str)
async def test_a_link_that_died_in_silence_is_noticed_by_the_timer_and_nothing_is_lost(
    box: Middlebox, alice: SseClient, fault: dict[str, Any]
) -> None:
    box.clear()
    checker = DeliveryChecker()
    checker.follower("bob")
    async with to(box, alice, dead_after_s=0.5) as bob, asyncio.timeout(60):
        reader = asyncio.create_task(follow(bob, checker, lambda item: item.message.data == 2))
        checker.published(await alice.send(1))
        await until(lambda: bob.stats.deliveries == 1)
        await asyncio.to_thread(lambda: box.set(**fault))
        checker.published(await alice.send(2))
        await until(lambda: bob.stats.timeouts)
        await asyncio.to_thread(box.clear)
        assert await reader == []
    assert checker.report(), str(checker.report())


async def test_a_restarted_server_is_told_as_a_gap_and_what_it_holds_follows() -> None:
    with serve("sse", instance="restarted") as fragile:
        async with SseClient(fragile) as alice, SseClient(fragile, sleep=briefly) as bob:
            position = await alice.send("before")
            (first,) = await bob.take(1)
            reader = asyncio.create_task(bob.take(2))
            await asyncio.to_thread(fragile.restart)
            await until(lambda: bob.stats.gaps)
            await alice.send("after")
            told, second = await reader
    assert isinstance(told, Gap)
    assert (told.reason, told.since) == ("other epoch", position)
    assert "restarted" in told.detail
    assert (first.message.data, second.message.data) == ("before", "after")


async def test_heartbeats_of_the_real_server_keep_a_quiet_stream(server: Server) -> None:
    async with SseClient(server, channel="quiet", dead_after_s=1.0) as bob:
        reader = asyncio.create_task(bob.take(1))
        until_s = time.monotonic() + 1.5  # longer than the timer, and nothing but heartbeats
        await until(lambda: time.monotonic() > until_s and bob.stats.body_bytes)
        assert bob.connected
        assert (bob.stats.timeouts, bob.stats.errors, bob.stats.requests) == (0, 0, 1)
        reader.cancel()
        await asyncio.wait([reader])
