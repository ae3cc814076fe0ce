"""Cuts at random places, against the real chat: nothing lost, nothing twice, all in order, both ways."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest

from labsupport.backoff import FullJitter
from labsupport.clients import DeliveryChecker, Gap, MaybeSent, WebSocketClient, websocket
from labsupport.processes import Middlebox, Server, middlebox, serve
from servers.websocket_chat import Chat
from tests.clients.conftest import until
from tests.clients.cutting import cutting, drawn
from tests.servers import sockets

QUICK = FullJitter(base_s=0.002, cap_s=0.02)  # seconds; a real client waits a thousand times longer
SCHEDULES, BLOCK = 200, 20  # schedules in all, and those that run side by side
MESSAGES = 12  # of each client in a schedule
UNHINDERED = ("--rate", "100000")  # so many messages in so short a time would be refused


@pytest.fixture
async def chat() -> AsyncIterator[tuple[sockets.Server, Chat]]:
    """The chat in this loop."""
    async with AsyncExitStack() as stack:
        yield await sockets.run_chat(stack, *UNHINDERED)


async def talk(client: WebSocketClient, draws: random.Random) -> dict[str, str]:
    """Say MESSAGES things, some at once and some after another; gives their positions."""
    sending: dict[str, asyncio.Task[str]] = {}
    for number in range(MESSAGES):
        text = f"{client._join['user']} {number}"
        sending[text] = asyncio.create_task(client.send(text))
        await asyncio.sleep(0)  # so that tasks begin in this order, which is the order of the outbox
        if draws.random() < 0.4:
            await sending[text]
    return {text: await task for text, task in sending.items()}


async def read(client: WebSocketClient, number: int) -> list[str]:
    """What came, until so many different things have. A Gap has no place in here."""
    texts: list[str] = []
    while len(set(texts)) < number:
        item = await anext(client)
        assert not isinstance(item, Gap), item
        texts.append(item.message.data["text"])
    return texts


def offset(position: str) -> int:
    return int(position.rpartition("-")[2])


async def one_schedule(seed: int, server: sockets.Server, chat: Chat) -> tuple[int, int]:
    """Two clients, each behind a relay that cuts. Gives the cuts that happened, and messages sent again."""
    room, users = f"schedule-{seed}", ("alice", "bob")
    positions: dict[str, str] = {}
    checker = DeliveryChecker()
    async with AsyncExitStack() as stack:
        clients, relays = {}, []
        for number, user in enumerate(users):
            relay = await stack.enter_async_context(
                cutting(server.port, drawn(f"{seed} {user}", most=8, reach=1200))
            )
            relays.append(relay)
            clients[user] = await stack.enter_async_context(
                WebSocketClient(
                    relay.url, room=room, user=user, backoff=QUICK, seed=seed, client=number, rate=None
                )
            )
        draws = random.Random(seed)
        reading = [asyncio.create_task(read(client, MESSAGES * 2)) for client in clients.values()]
        for said in await asyncio.gather(*(talk(client, draws) for client in clients.values())):
            positions.update(said)
        for text in sorted(positions, key=lambda text: offset(positions[text])):
            checker.published(text)
        for user, texts in zip(users, await asyncio.gather(*reading), strict=True):
            for text in texts:
                checker.received(user, text)
        assert all(client.unacked == 0 for client in clients.values()), seed
        # Resumed just where it was: what came twice would have been dropped, but it did not come.
        assert all(client.stats.repeated == 0 for client in clients.values()), seed
    report = checker.report()
    assert report, f"seed {seed}: {report}"
    log = [entry.data["text"] for entry in chat.rooms.room(room).log.after(None)]
    assert log == sorted(positions, key=lambda text: offset(positions[text])), f"seed {seed}"
    for user in users:
        own = [text for text in log if text.startswith(user)]
        assert own == [f"{user} {number}" for number in range(MESSAGES)], f"seed {seed}"
    return sum(relay.done for relay in relays), sum(client.stats.resent for client in clients.values())


async def test_two_hundred_schedules_of_cuts_lose_nothing_double_nothing_and_keep_the_order(
    chat: tuple[sockets.Server, Chat],
) -> None:
    cuts = resent = 0
    for first in range(0, SCHEDULES, BLOCK):
        for done, again in await asyncio.gather(
            *(one_schedule(seed, *chat) for seed in range(first, first + BLOCK))
        ):
            cuts += done
            resent += again
    print(f"{cuts} cuts, {resent} messages sent again, {chat[1].counters.duplicates} of them known")
    assert cuts > 3 * SCHEDULES
    assert resent > SCHEDULES
    # Without this, the outbox's promise would not have been tried: confirmations that were lost.
    assert chat[1].counters.duplicates > SCHEDULES // 4


# ---- the real server in its own process, behind the real middlebox ----


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serve("websocket_chat", *UNHINDERED, "--keep", "100000", instance="clients") as running:
        yield running


@pytest.fixture(scope="module")
def running_box(server: Server) -> Iterator[Middlebox]:
    with middlebox(server, instance="chat") as running:
        yield running


@pytest.fixture
def box(running_box: Middlebox) -> Middlebox:
    running_box.clear()
    running_box.cut()
    running_box.forget_recording()
    return running_box


@pytest.mark.parametrize("seed", range(4))
async def test_cuts_and_resets_by_the_middlebox_lose_nothing_double_nothing_and_keep_the_order(
    server: Server, box: Middlebox, seed: int
) -> None:
    room, draws, count = f"box-{seed}", random.Random(seed), 120
    moments = set(draws.sample(range(count), 20))
    box.set(delay_s=0.001, jitter_s=0.002)  # so that a cut finds bytes on their way
    checker = DeliveryChecker()
    more = {"room": room, "backoff": QUICK, "rate": None}
    async with (
        WebSocketClient(box.url, user="alice", **more) as alice,
        WebSocketClient(box.url, user="bob", **more) as bob,
        WebSocketClient(server, user="carol", **more) as carol,
    ):
        reading = [asyncio.create_task(read(client, count)) for client in (alice, bob, carol)]
        for number in range(count):
            alice.post(str(number))
            checker.published(str(number))
            if number in moments:
                await until(lambda: alice.joined)
                await asyncio.to_thread(box.cut if draws.random() < 0.5 else box.reset)
        await alice.drained()
        for name, texts in zip(("alice", "bob", "carol"), await asyncio.gather(*reading), strict=True):
            for text in texts:
                checker.received(name, text)
    report = checker.report()
    assert report, str(report)
    assert alice.stats.errors > 0
    assert bob.stats.errors > 0


@pytest.mark.parametrize("fault", [{"forget": True}, {"half_open": "up"}, {"half_open": "down"}], ids=str)
async def test_a_link_that_died_in_silence_is_noticed_by_the_timer_and_nothing_is_lost_either_way(
    server: Server, box: Middlebox, fault: dict[str, object]
) -> None:
    more = {"room": "-".join(map(str, fault.values())), "backoff": QUICK, "rate": None}
    async with (
        WebSocketClient(box.url, user="alice", dead_after_s=0.3, **more) as alice,
        WebSocketClient(server, user="bob", **more) as bob,
    ):
        await alice.send("1")
        box.set(**fault)
        alice.post("2")
        await bob.send("3")
        await until(lambda: alice.stats.timeouts)
        box.clear()
        await alice.drained()
        assert sorted(await read(alice, 3)) == sorted(await read(bob, 3)) == ["1", "2", "3"]
        assert alice.stats.repeated == bob.stats.repeated == 0


async def test_messages_that_were_maybe_sent_came_at_most_once(
    server: Server, box: Middlebox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket, "CLOSE_S", 0.05)  # the closing handshake is lost, too
    checker = DeliveryChecker()
    more = {"room": "maybe", "backoff": QUICK, "rate": None}
    outcomes: set[str] = set()
    async with WebSocketClient(server, user="bob", **more) as bob:
        await bob.ready()
        reading = asyncio.create_task(read_until(bob, "last"))
        for number in range(12):
            lost = "down" if number % 3 == 0 else "up" if number % 3 == 1 else None
            async with WebSocketClient(box.url, user="alice", **more) as alice:
                await alice.ready()
                before = bob.stats.deliveries
                box.set(half_open=lost)
                sending = asyncio.create_task(alice.send(str(number)))
                await until(
                    lambda before=before, lost=lost, alice=alice, sending=sending: (
                        sending.done()
                        or (bob.stats.deliveries > before if lost == "down" else lost and went_out(alice))
                    )
                )
            box.clear()
            try:
                await sending
                outcomes.add("sent")
                checker.published(str(number))
            except MaybeSent:
                outcomes.add("maybe")
                checker.published(str(number), surely=False)
        async with WebSocketClient(server, user="alice", **more) as alice:
            await alice.send("last")
            checker.published("last")
        for text in await reading:
            checker.received("bob", text)
    report = checker.report()
    assert report, str(report)
    assert outcomes == {"sent", "maybe"}


def went_out(client: WebSocketClient) -> bool:
    return any(letter.left for letter in client._outbox._letters.values())


async def read_until(client: WebSocketClient, last: str) -> list[str]:
    texts: list[str] = []
    async for item in client:
        assert not isinstance(item, Gap)
        texts.append(item.message.data["text"])
        if texts[-1] == last:
            break
    return texts
