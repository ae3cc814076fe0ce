"""Several chat servers and one real broker: what crosses, and what cuts, kills and a lost broker cost."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from labsupport.backoff import FullJitter
from labsupport.clients import DeliveryChecker, Gap, WebSocketClient
from labsupport.processes import ServerError, serve, stop_all
from servers.core import chat, lifeline
from servers.core.broker import BrokerError
from tests.servers.conftest import until

redis = pytest.importorskip("redis.asyncio")
from servers import chat_cluster  # noqa: E402 - the server itself needs the package
from tests.servers import clusters  # noqa: E402
from tests.servers.clusters import Lab, Member  # noqa: E402
from tests.servers.test_broker import ask as ask_url  # noqa: E402
from tests.servers.test_broker import gone  # noqa: E402

QUICK: dict[str, Any] = {"backoff": FullJitter(base_s=0.002, cap_s=0.02), "rate": None}


# What a test asks of the broker itself (scripts, streams, keys that end, its file) is asked of both of them;
# what it asks of the servers, of the one that they would take.
ON_EACH = pytest.mark.parametrize("lab", ["valkey", "redis"], indirect=True)


@pytest.fixture
async def lab(request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    async with clusters.lab(getattr(request, "param", "any")) as running:
        yield running


async def ask(lab: Lab, *command: Any) -> Any:
    return await ask_url(lab.broker.url, *command)


async def joined(server: Member, user: str, room: str = "tea", **more: Any) -> Any:
    talker = await server.talker(user, room, **more)
    talker.welcome = await talker.hear("joined")
    return talker


def texts(items: list[Any]) -> list[str]:
    return [item.message.data["text"] for item in items]


# ---------------------------------------------------------------- what crosses


@ON_EACH
async def test_alice_on_one_server_and_bob_on_another_hear_each_other_at_the_same_position(lab: Lab):
    one, two = await lab.server("--rate", "1000"), await lab.server()
    alice, bob, carol = await joined(one, "alice"), await joined(two, "bob"), await joined(two, "c", "x")
    ack = await alice.write("a-1", "hello")
    assert not ack["duplicate"]
    for talker in (alice, bob):
        message = await talker.hear("message")
        assert (message["position"], message["id"], message["text"]) == (ack["position"], "a-1", "hello")
    assert one.cluster.reached == 2  # what PUBLISH answered: the servers that heard it
    other = await carol.write("c-1", "elsewhere")
    assert (await carol.hear("message"))["position"] == other["position"]
    assert two.cluster.reached == 1


@ON_EACH
async def test_a_server_is_subscribed_to_the_union_of_its_rooms_and_to_no_other(lab: Lab):
    one, two = await lab.server(), await lab.server()
    talkers = [await joined(one, "a"), await joined(one, "b"), await joined(one, "c", "coffee")]
    await joined(two, "d")

    async def subscribed(*numbers: int) -> bool:
        answer = await ask(lab, "PUBSUB", "NUMSUB", "chat:{tea}", "chat:{coffee}", "chat:{milk}")
        return tuple(answer[1::2]) == numbers

    assert await subscribed(2, 1, 0)
    for talker in talkers:
        await talker.link.close()
    await clusters.until_so(lambda: subscribed(1, 0, 0))


async def test_typing_reaches_the_others_on_every_server_and_not_the_writer(lab: Lab):
    one, two = await lab.server(), await lab.server()
    alice, bob, carol = await joined(one, "alice"), await joined(two, "bob"), await joined(one, "carol")
    await alice.say("typing")
    assert (await bob.hear("typing"))["user"] == (await carol.hear("typing"))["user"] == "alice"
    await bob.say("typing")
    assert (await alice.hear("typing"))["user"] == "bob"  # the first that it hears


@ON_EACH
async def test_who_is_online_is_told_across_servers_and_the_registry_says_where(lab: Lab):
    one, two = await lab.server(), await lab.server()
    alice, bob = await joined(one, "alice"), await joined(two, "bob")
    for talker in (alice, bob):
        while sorted((await talker.hear("online"))["users"]) != ["alice", "bob"]:
            pass
    status, answer = await one.get("/registry?room=tea")
    assert (status, answer["users"]) == (200, {"alice": [one.url], "bob": [two.url]})
    await bob.link.close()
    while (await alice.hear("online"))["users"] != ["alice"]:
        pass
    assert (await two.get("/registry?room=tea"))[1]["users"] == {"alice": [one.url]}


async def test_a_token_of_one_server_is_good_on_every_other(lab: Lab):
    one, two = await lab.server("--require-token"), await lab.server("--require-token")
    token = (await one.get("/login?user=alice"))[1]["token"]
    assert (await joined(two, "alice", token=token)).welcome["user"] == "alice"


# ---------------------------------------------------------------- what is not lost


async def test_after_a_cut_any_server_goes_on_where_the_other_was_and_the_checker_finds_no_fault(lab: Lab):
    servers = [await lab.server("--rate", "1000"), await lab.server("--rate", "1000")]
    front = await lab.balancer(*servers)
    checker = DeliveryChecker()
    checker.follower("bob")
    async with (
        WebSocketClient(front, user="alice", **QUICK) as alice,
        WebSocketClient(front, user="bob", **QUICK) as bob,
    ):
        await bob.ready()
        for number in range(100):
            checker.published(await alice.send(str(number)))
            if number % 10 == 9:
                for server in servers:
                    for connection in server.inside:
                        connection.transport.abort()
        for item in await bob.take(100):
            checker.received("bob", item)
    assert bob.stats.joined > 2
    assert all(server.door.counters.opened > 2 for server in servers)
    assert checker.report(), str(checker.report())


@ON_EACH
async def test_an_id_that_one_server_has_written_is_a_duplicate_on_another(lab: Lab):
    one, two = await lab.server(), await lab.server()
    alice, bob = await joined(one, "alice"), await joined(two, "bob")
    ack = await alice.write("a-1")
    await alice.link.close()
    again = await (await joined(two, "alice")).write("a-1")
    assert (again["duplicate"], again["position"]) == (True, ack["position"])
    assert not (await bob.write("a-1"))["duplicate"]  # another user's is another message
    assert [message["user"] for message in await bob.hear_all(2)] == ["alice", "bob"]


@ON_EACH
async def test_ids_are_forgotten_with_their_messages_and_the_stream_stays_short(lab: Lab):
    one = await lab.server("--keep", "3", "--rate", "1000")
    alice = await joined(one, "alice")
    for number in range(8):
        await alice.write(str(number))
    assert await ask(lab, "XLEN", "chat:{tea}:log") == await ask(lab, "HLEN", "chat:{tea}:ids") == 3
    assert not (await alice.write("0"))["duplicate"]
    assert (await alice.write("7"))["duplicate"]


@ON_EACH
async def test_a_server_that_missed_what_was_published_notices_and_hands_it_on_in_order(lab: Lab):
    one, two = await lab.server(), await lab.server()
    alice, bob = await joined(one, "alice"), await joined(two, "bob")
    hear_again = two.deafen()
    for text in "123":
        await alice.write(text, text)
    hear_again()
    await alice.write("4", "4")
    assert [message["text"] for message in await bob.hear_all(4)] == ["1", "2", "3", "4"]


async def test_a_position_that_a_server_has_not_reached_yet_is_no_gap(lab: Lab):
    one, two = await lab.server(), await lab.server()
    alice, _ = await joined(one, "alice"), await joined(two, "bob")
    two.deafen()
    acks = [await alice.write(text, text) for text in "123"]
    carol = await two.talker("carol", since=acks[1]["position"])
    await carol.hear("joined")
    assert (await carol.hear("message"))["text"] == "3"
    assert two.chat.counters.gaps == 0


@ON_EACH
async def test_a_server_that_missed_more_than_is_kept_tells_its_members(lab: Lab):
    one, two = await lab.server("--keep", "3"), await lab.server("--keep", "3")
    alice, bob = await joined(one, "alice"), await joined(two, "bob")
    hear_again = two.deafen()
    for text in "12345":
        await alice.write(text, text)
    hear_again()
    await alice.write("6", "6")
    assert (await bob.hear("gap"))["reason"] == "too old"
    heard: list[str] = []
    while heard[-1:] != ["6"]:
        heard += [message["text"] for message in await bob.hear_all(1)]
    assert heard in (
        ["4", "5", "6"],
        ["3", "4", "5", "6"],
    )  # kept when it looked, and since


@ON_EACH
async def test_plain_pubsub_loses_what_is_said_while_somebody_is_away_and_tells_nobody(lab: Lab):
    one, two = await lab.server("--no-streams"), await lab.server("--no-streams")
    away, back = asyncio.Event(), asyncio.Event()

    async def sleep(_: float) -> None:
        away.set()
        await back.wait()

    checker = DeliveryChecker()
    checker.follower("bob")
    alice = await joined(one, "alice")
    async with WebSocketClient(two, room="tea", user="bob", sleep=sleep) as bob:
        await bob.ready()
        for number in range(9):
            if number == 3:
                items = await bob.take(3)  # or the cut would take what is still on its way to him
                two.inside[0].transport.abort()
                await away.wait()
                await until(lambda: not two.cluster.rooms)
            if number == 7:
                back.set()
                await until(lambda: bob.stats.joined == 2)
            checker.published((await alice.write(str(number)))["position"])
        for item in [*items, *await bob.take(2)]:
            checker.received("bob", item)
    report = checker.report().followers["bob"]
    assert (report.received, len(report.lost), len(report.missed), bob.stats.gaps) == (5, 4, 0, 0)


async def test_with_plain_pubsub_too_what_is_said_right_after_the_joined_is_heard(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
):
    one, two = await lab.server("--no-streams"), await lab.server("--no-streams")
    alice = await joined(one, "alice")
    tell = chat.Conversation.say

    async def say(self: chat.Conversation, type: str, **content: Any) -> None:
        await tell(self, type, **content)
        if type == "joined":  # and before the server does anything else
            await alice.write("1", "welcome")
            await until(lambda: len(two.cluster.rooms["tea"].log) == 1)

    monkeypatch.setattr(chat.Conversation, "say", say)
    bob = await joined(two, "bob")
    assert (await bob.hear("message"))["text"] == "welcome"


# ---------------------------------------------------------------- presence


@ON_EACH
async def test_who_was_on_a_server_that_died_is_offline_when_its_key_has_ended(lab: Lab):
    quick = ("--beat", "0.05", "--ttl", "0.125")
    one, two = await lab.server(*quick), await lab.server(*quick)
    alice = await joined(one, "alice")
    await joined(two, "bob")
    while (await alice.hear("online"))["count"] != 2:
        pass
    await two.cluster.stop()  # it neither beats nor says goodbye any more
    while (await alice.hear("online"))["users"] != ["alice"]:
        pass
    assert await ask(lab, "SMEMBERS", "chat:{tea}:here") == {f"{one.cluster.name} alice".encode()}
    assert one.presence.beats > 1  # and alice, whose key has lived as often as that, is still there


async def test_who_is_there_and_whose_beats_are_lost_looks_gone(lab: Lab):
    one = await lab.server("--beat", "0.05", "--ttl", "0.1", "--lose-beat", "1")
    two = await lab.server("--beat", "0.05")
    bob = await joined(two, "bob")
    alice = await joined(one, "alice")
    while (await bob.hear("online"))["users"] != ["bob", "alice"]:
        pass
    while (await bob.hear("online"))["users"] != ["bob"]:
        pass
    await alice.write("1", "I am here")
    assert (await bob.hear("message"))["text"] == "I am here"


@ON_EACH
async def test_a_key_lives_as_long_as_was_said_and_each_beat_gives_it_a_new_life(lab: Lab):
    one = await lab.server()
    await joined(one, "alice")
    await until(lambda: not one.presence._changed)
    key = f"chat:{{tea}}:here:{one.cluster.name} alice"
    assert 74 < await ask(lab, "PTTL", key) / 1000 <= 75
    await ask(lab, "DEL", key)
    await ask(lab, "DEL", "chat:{tea}:here")
    await one.presence.beat_soon()
    await clusters.until_so(lambda: ask(lab, "EXISTS", key))
    await clusters.until_so(lambda: ask(lab, "SCARD", "chat:{tea}:here"))


# ---------------------------------------------------------------- the broker goes away


@ON_EACH
async def test_a_broker_that_is_killed_and_comes_back_costs_nobody_a_message(lab: Lab):
    servers = [await lab.server("--rate", "1000"), await lab.server("--rate", "1000")]
    watcher = await joined(servers[1], "watcher", "main")
    checker = DeliveryChecker()
    checker.follower("bob")
    async with (
        WebSocketClient(servers[0], user="alice", **QUICK) as alice,
        WebSocketClient(servers[1], user="bob", **QUICK) as bob,
    ):
        await bob.ready()
        for kill in range(3):
            for number in range(10):
                checker.published(await alice.send(f"{kill} {number}"))
            os.kill(lab.broker.pid, signal.SIGKILL)
            checker.published(await alice.send(f"{kill} while it is away"))
            assert (await watcher.hear("notice"))["state"] == "away"
            assert (await watcher.hear("notice"))["state"] == "back"
        for item in await bob.take(33):
            checker.received("bob", item)
    assert checker.report(), str(checker.report())
    assert servers[0].cluster.losses == 3
    assert alice.stats.joined == bob.stats.joined == 1


@pytest.mark.parametrize("kind", ["valkey", "redis"])
async def test_a_broker_that_comes_back_empty_is_told_as_a_gap_and_the_chat_goes_on(kind):
    async with clusters.lab(kind, remember=False) as lab:
        one, two = await lab.server(), await lab.server()
        token = (await one.get("/login?user=alice"))[1]["token"]
        async with (
            WebSocketClient(one, user="alice", token=token, **QUICK) as alice,
            WebSocketClient(two, user="bob", **QUICK) as bob,
        ):
            await bob.ready()
            before = await alice.send("before")
            first = await bob.take(1)
            os.kill(lab.broker.pid, signal.SIGKILL)
            await alice.send("after")
            told, *rest = await bob.take(2)
        assert isinstance(told, Gap)
        assert (told.reason, told.since) == ("other epoch", before)
        assert texts(first + rest) == ["before", "after"]


async def test_who_comes_while_the_broker_is_away_is_told_so_and_let_in_when_it_is_back(lab: Lab):
    one = await lab.server()
    lab.broker.back_after_s = 3600
    os.kill(lab.broker.pid, signal.SIGKILL)
    await until(lambda: not one.cluster.here.is_set())
    talker = await one.talker("alice")
    assert (await talker.hear())["state"] == "away"
    assert (await one.get("/registry?room=tea"))[0] == 503
    impatient = await one.talker("bob")
    await impatient.hear("notice")
    await impatient.link.close()
    await until(lambda: len(one.inside) == 1)
    await lab.broker._start()
    await talker.hear("joined")
    await talker.write("1")


# ---------------------------------------------------------------- as processes


@pytest.fixture
def processes() -> Iterator[None]:
    yield
    stop_all()


def test_a_server_that_reaches_no_broker_ends_with_a_sentence_and_what_to_try(processes: None):
    with pytest.raises(ServerError, match="There is no broker at redis://127.0.0.1:1: .* Try redis://"):
        serve("chat_cluster", "--broker", "redis://127.0.0.1:1")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--broker", "nonsense"], "There is no broker at nonsense"),
        (["--broker-program", sys.executable], "was started, but does not answer"),
    ],
)
async def test_what_is_no_broker_is_told(arguments: list[str], sentence: str):
    options = chat_cluster.arguments().parse_args(arguments)
    with lifeline.listener("127.0.0.1", 0) as sock, pytest.raises(BrokerError, match=sentence):
        async with chat_cluster.serving(options, sock):
            pass


async def test_a_server_that_is_killed_takes_its_broker_and_the_folder_with_it(processes: None):
    server = await asyncio.to_thread(serve, "chat_cluster")
    pid = server.info["broker_pid"]
    folder = os.path.dirname((await ask_url(server.info["broker"], "CONFIG", "GET", "dir"))[1].decode())
    assert os.listdir(folder)
    server.kill()
    await until(lambda: gone(pid))
    await until(lambda: os.path.basename(folder) not in os.listdir(os.path.dirname(folder)))


def test_the_servers_share_a_broker_by_its_url_and_a_stop_ends_all(processes: None):
    one = serve("chat_cluster")
    two = serve("chat_cluster", "--broker", one.info["broker"])
    assert one.info["broker"] == two.info["broker"]
    assert "broker_pid" not in two.info
    stop_all()
    assert gone(one.info["broker_pid"])
    assert one.log == two.log == []


ROOMS, READERS, WRITERS = 10, 29, 1  # three servers, 300 clients


async def test_three_servers_are_restarted_one_by_one_under_load_and_no_client_loses_a_message(
    processes: None, tell: Callable[[str, str], None]
):
    broker = await asyncio.to_thread(serve, "broker")
    start = ("chat_cluster", "--broker", broker.url, "--rate", "1000", "--drain-s", "0.3")
    servers = await asyncio.gather(
        *(asyncio.to_thread(serve, *start, instance=str(number)) for number in range(3))
    )
    checker, ends = DeliveryChecker(), asyncio.Event()
    async with AsyncExitStack() as stack:
        front = await stack.enter_async_context(clusters.balancer([server.url for server in servers]))

        async def client(room: int, user: str) -> WebSocketClient:
            client = WebSocketClient(front, room=f"room-{room}", user=user, **QUICK)
            return await stack.enter_async_context(client)

        readers = {(r, n): await client(r, f"r{n}") for r in range(ROOMS) for n in range(READERS)}
        writers = [await client(r, "writer") for r in range(ROOMS)]
        await asyncio.gather(*(each.ready() for each in [*readers.values(), *writers]))
        for room, number in readers:
            checker.follower(f"{room} {number}", str(room))
        loads = [asyncio.create_task(load(writers[r], checker, str(r), ends)) for r in range(ROOMS)]
        for server in servers:
            await asyncio.to_thread(server.restart)
        ends.set()
        said = await asyncio.gather(*loads)
        for (room, number), reader in readers.items():
            for item in await reader.take(said[room]):
                checker.received(f"{room} {number}", item)
        cuts = sum(reader.stats.joined - 1 for reader in readers.values())
    report = checker.report()
    tell("chat cluster", f"rolling restart: {sum(said)} messages, {cuts} cuts of 290 readers: {report}")
    assert cuts >= 290
    assert report, str(report)


async def load(writer: WebSocketClient, checker: DeliveryChecker, channel: str, ends: asyncio.Event) -> int:
    """Say one thing after the other until it ends; how many."""
    number = 0
    while not ends.is_set():
        checker.published(await writer.send(str(number)), channel)
        number += 1
        await asyncio.sleep(0.02)
    return number
