"""The chat client and the real chat: who is let in, restarts, histories that move on, and its limits."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from labsupport.backoff import FullJitter
from labsupport.clients import DeliveryChecker, Gap, NotSent, Refused, WebSocketClient, connect
from labsupport.processes import Server, serve
from servers.core.tokens import Tokens
from tests.clients.conftest import until
from tests.servers import sockets

QUICK = FullJitter(base_s=0.002, cap_s=0.02)  # seconds; a real client waits a thousand times longer
Start = Callable[..., Any]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """start("--keep", "3", …) runs the chat in this loop until the test ends: (server, chat)."""
    async with AsyncExitStack() as stack:
        yield lambda *arguments, **more: sockets.run_chat(stack, *arguments, **more)


@pytest.fixture(scope="module")
def fragile() -> Iterator[Server]:
    """A server that tests restart."""
    with serve(
        "websocket_chat", "--keep", "5", "--rate", "1000", "--drain-s", "0.1", instance="fragile"
    ) as running:
        yield running


def texts(items: list[Any]) -> list[str]:
    return [item.message.data["text"] for item in items]


async def test_what_one_says_all_in_the_room_hear_and_know_who_is_there(start: Start) -> None:
    server, _ = await start()
    more = {"room": "tea", "rate": None}
    async with (
        WebSocketClient(server, user="alice", **more) as alice,
        WebSocketClient(server, user="bob", **more) as bob,
        WebSocketClient(server, user="carol", room="x") as carol,
    ):
        await bob.ready()
        position = await alice.send("hello")
        for client in (alice, bob):
            (item,) = await client.take(1)
            assert (item.position, item.message.id, item.message.event) == (position, position, "message")
            assert (item.message.data["user"], item.message.data["text"]) == ("alice", "hello")
        assert await bob.typing()
        assert await seen(alice, "typing") == {"type": "typing", "user": "bob"}
        await until(lambda: sorted(alice.online) == ["alice", "bob"])
        await bob.close()
        await until(lambda: alice.online == ["alice"])
        await carol.ready()
        assert carol.online == ["carol"]


async def seen(client: WebSocketClient, kind: str) -> dict[str, Any]:
    async for signal in client.signals:
        if signal["type"] == kind:
            return signal
    raise AssertionError(f"no {kind} came")


async def test_a_token_proves_who_one_is_and_a_wrong_one_ends_it(start: Start) -> None:
    server, chat = await start("--require-token")
    async with WebSocketClient(server, user="alice", token=chat.tokens.issue("alice")) as alice:
        await alice.send("it is me")
    for wrong in (
        {"token": "x.y"},
        {},
        {"token": Tokens().issue("alice")},
        {"token": chat.tokens.issue("bob")},
    ):
        async with WebSocketClient(server, user="alice", **wrong) as mallory:
            with pytest.raises(Refused, match=r"4401 \(not authenticated.*/login"):
                await anext(mallory)


async def test_a_token_that_has_ended_meanwhile_stops_the_client_at_its_next_join(start: Start) -> None:
    now_s = 0.0
    server, chat = await start(tokens=Tokens(lifetime_s=60, clock=lambda: now_s))
    async with WebSocketClient(
        server, user="alice", token=chat.tokens.issue("alice"), backoff=QUICK
    ) as alice:
        await alice.ready()
        now_s = 100.0
        server.inside[0].transport.abort()
        with pytest.raises(Refused, match="it ends after a while and at a restart"):
            await anext(alice)


async def test_a_page_of_elsewhere_is_refused_and_told_so(start: Start) -> None:
    server, _ = await start()
    async with WebSocketClient(server, origin="http://evil.example") as mallory:
        with pytest.raises(Refused, match="403: pages of http://evil.example may not do this"):
            await anext(mallory)
        with pytest.raises(NotSent, match="403"):
            await mallory.send("hi")
    async with WebSocketClient(server, origin="http://localhost:8888") as alice:
        await alice.ready()


async def test_a_name_that_is_none_is_refused_with_the_servers_words(start: Start) -> None:
    server, _ = await start()
    for wrong in ({"user": ""}, {"user": "x" * 41}, {"room": "no room!"}):
        async with WebSocketClient(server, **wrong) as client:
            with pytest.raises(Refused, match="does not let this client join: .*try:"):
                await anext(client)


async def test_a_text_that_is_too_long_is_surely_not_sent_and_the_next_one_is(start: Start) -> None:
    server, _ = await start()
    async with WebSocketClient(server) as alice:
        with pytest.raises(NotSent, match="1 to 4000 characters"):
            await alice.send("x" * 4001)
        await alice.send("🙂" * 4000)  # the longest of all, as JSON
        await alice.send("short")


async def test_a_restart_in_the_middle_is_told_as_a_gap_and_the_outbox_goes_on(fragile: Server) -> None:
    checker = DeliveryChecker()
    checker.follower("bob")
    more = {"room": "restart", "backoff": QUICK, "rate": None}
    async with (
        WebSocketClient(fragile, user="alice", **more) as alice,
        WebSocketClient(fragile, user="bob", **more) as bob,
    ):
        await alice.send("1")
        first = await bob.take(1)
        reader = asyncio.create_task(bob.take(3))
        restarting = asyncio.create_task(asyncio.to_thread(fragile.restart))
        await until(lambda: alice.stats.errors)
        alice.post("2")
        alice.post("3")
        await restarting
        await alice.drained()
        told, *rest = await reader
    assert isinstance(told, Gap)
    assert (told.reason, told.since) == ("other epoch", first[0].position)
    assert texts(first + rest) == ["1", "2", "3"]


async def test_an_empty_room_that_was_restarted_is_told_as_a_gap_too(fragile: Server) -> None:
    async with WebSocketClient(fragile, room="nothing-yet", backoff=QUICK) as bob:
        await bob.ready()
        await asyncio.to_thread(fragile.restart)
        (told,) = await bob.take(1)
        assert isinstance(told, Gap)
        assert told.reason == "other epoch"
        assert bob.position == told.position
        async with WebSocketClient(fragile, room="nothing-yet") as alice:
            await alice.send("hello")
        assert texts(await bob.take(1)) == ["hello"]
    assert bob.stats.gaps == 1


async def test_a_history_that_has_moved_on_is_told_as_a_gap(fragile: Server) -> None:
    more = {"room": "moved-on", "rate": None}
    async with WebSocketClient(fragile, user="alice", **more) as alice:
        positions = [await alice.send(str(n)) for n in range(20)]
    async with WebSocketClient(fragile, position=positions[2], **more) as bob:
        told, *rest = await bob.take(6)
    async with WebSocketClient(fragile, position=positions[14], **more) as carol:
        in_time = await carol.take(5)
    assert isinstance(told, Gap)
    assert (told.reason, told.since, told.position) == ("too old", positions[2], None)
    assert texts(rest) == texts(in_time) == ["15", "16", "17", "18", "19"]
    assert bob.position == positions[-1]


async def test_who_was_in_an_empty_room_is_told_when_it_missed_more_than_is_remembered(start: Start) -> None:
    server, _ = await start("--keep", "3", "--rate", "1000")
    back = asyncio.Event()

    async def sleep(_: float) -> None:
        await back.wait()

    async with WebSocketClient(server, sleep=sleep) as bob:
        await bob.ready()
        server.inside[0].transport.abort()
        await until(lambda: not bob.joined)
        async with WebSocketClient(server, rate=None) as alice:
            for n in range(9):
                await alice.send(str(n))
        back.set()
        told, *rest = await bob.take(4)
    assert isinstance(told, Gap)
    assert told.reason == "too old"
    assert texts(rest) == ["6", "7", "8"]


async def test_a_position_that_never_was_is_told_and_all_that_is_remembered_follows(start: Start) -> None:
    server, _ = await start()
    async with WebSocketClient(server, position="no position") as bob:
        await bob.send("hello")
        told, item = await bob.take(2)
    assert isinstance(told, Gap)
    assert (told.reason, texts([item])) == ("bad position", ["hello"])


async def test_as_fast_as_its_own_pace_allows_it_is_never_too_fast_for_the_server(start: Start) -> None:
    server, chat = await start()
    async with WebSocketClient(server) as alice:
        for n in range(42):  # with the join, more than the server takes at once
            alice.post(str(n))
        await alice.drained()
    assert alice.stats.errors == 0
    assert chat.door.counters.too_fast == 0


async def test_who_is_too_fast_is_sent_away_for_a_while_and_nothing_is_lost(start: Start) -> None:
    server, chat = await start()
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async with WebSocketClient(server, rate=None, sleep=sleep) as alice:
        for n in range(100):
            alice.post(str(n))
        await alice.drained()
        assert texts(await alice.take(100)) == [str(n) for n in range(100)]
    assert chat.door.counters.too_fast > 0
    assert min(waits) >= 5.0
    assert "4429 (too many messages" in alice.stats.last_error


async def test_a_server_that_ends_sends_its_clients_away_and_they_come_back_to_the_next_one(
    fragile: Server,
) -> None:
    clients = [WebSocketClient(fragile, room="drain", user=f"user {n}", backoff=QUICK) for n in range(10)]
    async with AsyncExitStack() as stack:
        for client in clients:
            await stack.enter_async_context(client)
            await client.ready()
        await asyncio.to_thread(fragile.restart)
        await until(lambda: all(client.stats.joined == 2 for client in clients))
        await clients[0].send("all here?")
        for client in clients:
            *_, last = [await anext(client) for _ in range(2)]
            assert texts([last]) == ["all here?"]


async def test_a_frozen_server_is_noticed_and_nothing_is_lost(fragile: Server) -> None:
    more = {"room": "frozen", "backoff": QUICK, "rate": None}
    async with WebSocketClient(fragile, dead_after_s=0.2, **more) as alice:
        await alice.send("before")
        fragile.pause()
        alice.post("during")
        await until(lambda: alice.stats.timeouts)
        fragile.resume()
        await alice.drained()
        assert texts(await alice.take(2)) == ["before", "during"]


async def test_the_labs_connection_echoes_text_and_binary(start: Start) -> None:
    server, _ = await start()
    async with connect(server.url + "/echo") as link:
        for message in ("hé", b"\x00\xff", "", "x" * 100_000):
            await link.send(message)
            assert await link.recv() == message
