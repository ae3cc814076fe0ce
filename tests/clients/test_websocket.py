"""The chat client against a scripted server: sending, hearing, resuming, and how it is used."""

import asyncio
from typing import Any

import pytest

from labsupport.clients import (
    ClientError,
    Gap,
    MaybeSent,
    NotSent,
    WebSocketClient,
    connect,
    websocket,
)
from labsupport.clients.outbox import Outbox
from labsupport.clients.signals import Signals
from labsupport.clients.websocket_link import MAX_MESSAGE, Pace, chat_url
from tests.clients.chat_script import Peer, Script, client, hanging, refusal, script, staying
from tests.clients.conftest import free_port, ids, until

__all__ = ["script"]  # the fixture

# ---- sending ----


async def test_send_returns_the_position_when_the_server_has_confirmed(script: Script) -> None:
    async def act(peer: Peer) -> None:
        join = await peer.let_in()
        assert join == {"type": "join", "room": "tea", "user": "alice", "token": "t"}
        message = await peer.hear()
        assert (message["type"], message["text"]) == ("message", "hé")
        await peer.confirm(message, "a-1")
        await peer.stay()

    script.acts = [act]
    async with client(script, room="tea", user="alice", token="t") as alice:
        assert await alice.send("hé") == "a-1"
        assert (alice.unacked, alice.stats.sent, alice.stats.resent) == (0, 1, 0)


async def test_what_was_not_confirmed_goes_again_in_the_old_order_with_the_old_ids(script: Script) -> None:
    heard: list[list[dict[str, Any]]] = []

    async def deaf(peer: Peer) -> None:
        await peer.let_in()
        heard.append([await peer.hear() for _ in range(3)])
        await peer.confirm(heard[0][0], "a-1")

    async def kind(peer: Peer) -> None:
        await peer.let_in()
        heard.append([await peer.hear() for _ in range(2)])
        for number, message in enumerate(heard[1]):
            await peer.confirm(message, f"a-{2 + number}", duplicate=number == 0)
        await peer.stay()

    script.acts = [deaf, kind]
    async with client(script) as alice:
        positions = await asyncio.gather(*(alice.send(text) for text in "abc"))
    assert positions == ["a-1", "a-2", "a-3"]
    assert heard[1] == heard[0][1:]
    assert [message["text"] for message in heard[0]] == ["a", "b", "c"]
    assert (alice.stats.sent, alice.stats.resent, alice.stats.duplicates) == (3, 2, 1)


async def test_what_was_posted_while_nobody_was_there_goes_out_once_somebody_is(script: Script) -> None:
    got: list[str] = []

    async def act(peer: Peer) -> None:
        await peer.let_in()
        while True:
            message = await peer.hear()
            got.append(message["text"])
            await peer.confirm(message, f"a-{len(got)}")

    script.acts = [act]
    script.answers = [refusal(503)] * 3
    async with client(script) as alice:
        names = [alice.post(str(n)) for n in range(5)]
        assert alice.unacked == 5
        assert len(set(names)) == 5
        await alice.drained()
        assert alice.unacked == 0
    assert got == list("01234")
    assert alice.stats.resent == 0


async def test_who_waits_for_an_empty_outbox_waits_for_what_another_adds_meanwhile() -> None:
    outbox = Outbox(9, 9)
    first = outbox.add("a")

    async def refill() -> str:
        await outbox.drained()
        return outbox.add("b").id

    refilling = asyncio.create_task(refill())
    await asyncio.sleep(0)
    draining = asyncio.create_task(outbox.drained())
    await asyncio.sleep(0)
    outbox.settle(first.id)
    second = await refilling
    await asyncio.sleep(0)
    assert not draining.done()
    outbox.settle(second)
    await draining


async def test_an_id_is_never_used_again_by_another_client_whatever_its_seed() -> None:
    one, two = Outbox(9, 9), Outbox(9, 9)
    assert {one.add("a").id, one.add("a").id}.isdisjoint({two.add("a").id, two.add("a").id})


async def test_a_second_confirmation_of_one_message_changes_nothing(script: Script) -> None:
    async def act(peer: Peer) -> None:
        await peer.let_in()
        message = await peer.hear()
        await peer.confirm(message, "a-1")
        await peer.confirm(message, "a-1", duplicate=True)
        await peer.confirm(await peer.hear(), "a-2")
        await peer.stay()

    script.acts = [act]
    async with client(script) as alice:
        assert [await alice.send("a"), await alice.send("b")] == ["a-1", "a-2"]
        assert (alice.stats.sent, alice.stats.duplicates) == (2, 0)


async def test_closing_before_a_message_was_on_a_connection_means_surely_not_sent() -> None:
    async with WebSocketClient(f"ws://127.0.0.1:{free_port()}") as alice:
        sending = asyncio.create_task(alice.send("hi"))
        await until(lambda: alice.stats.errors)
    with pytest.raises(NotSent, match=r"never on a connection, and the client was closed\. Sending again is"):
        await sending
    assert alice.unacked == 1


async def test_closing_after_a_message_was_on_a_connection_means_maybe_sent(script: Script) -> None:
    came = asyncio.Event()

    async def act(peer: Peer) -> None:
        await peer.let_in()
        await peer.hear()
        came.set()
        await peer.stay()

    script.acts = [act]
    async with client(script) as alice:
        sending = asyncio.create_task(alice.send("hi"))
        draining = asyncio.create_task(alice.drained())
        await came.wait()
    with pytest.raises(MaybeSent, match="but the client was closed before the server confirmed it"):
        await sending
    with pytest.raises(MaybeSent, match="may be in the log or not"):
        await draining
    with pytest.raises(NotSent, match="the client was closed"):
        await alice.send("more")


async def test_a_confirmation_that_is_under_way_when_the_client_closes_still_counts(script: Script) -> None:
    confirmed = asyncio.Event()

    async def act(peer: Peer) -> None:
        await peer.let_in()
        await peer.confirm(await peer.hear(), "a-1")
        confirmed.set()
        await peer.stay()

    script.acts = [act]
    async with client(script) as alice:
        sending = asyncio.create_task(alice.send("hi"))
        await confirmed.wait()
    assert await sending == "a-1"


async def test_a_message_that_the_server_refuses_is_surely_not_sent_and_the_others_go_on(
    script: Script,
) -> None:
    async def act(peer: Peer) -> None:
        await peer.let_in()
        while True:
            message = await peer.hear()
            if message["text"].startswith("bad"):
                await peer.say("error", error="too bad", **{"try": "good", "id": message["id"]})
            else:
                await peer.confirm(message, "a-1")

    script.acts = [act]
    async with client(script) as alice:
        with pytest.raises(NotSent, match=r"refused it: too bad \(try: good\)\. It is not in the log"):
            await alice.send("bad")
        alice.post("bad, too")
        alice.post("good")
        with pytest.raises(NotSent, match="too bad"):
            await alice.drained()
        await alice.drained()
        assert await alice.send("good") == "a-1"
    assert alice.stats.sent == 2


async def test_a_full_outbox_says_so_and_nothing_is_lost() -> None:
    async with WebSocketClient(f"ws://127.0.0.1:{free_port()}", outbox=2) as alice:
        alice.post("1")
        alice.post("2")
        with pytest.raises(NotSent, match="2 messages wait to be confirmed.*drained"):
            alice.post("3")
        with pytest.raises(NotSent, match="never left"):
            await alice.send("3")
        assert alice.unacked == 2


async def test_whoever_stops_waiting_does_not_take_the_message_back(script: Script) -> None:
    go = asyncio.Event()

    async def act(peer: Peer) -> None:
        await peer.let_in()
        await go.wait()
        await peer.confirm(await peer.hear(), "a-1")
        await peer.stay()

    script.acts = [act]
    async with client(script) as alice:
        sending = asyncio.create_task(alice.send("hi"))
        await until(lambda: alice.unacked)
        sending.cancel()
        await asyncio.wait([sending])
        assert alice.unacked == 1
        go.set()
        await alice.drained()
    assert alice.stats.sent == 1


async def test_no_more_than_the_window_is_under_way_unconfirmed(script: Script) -> None:
    heard: list[dict[str, Any]] = []

    async def act(peer: Peer) -> None:
        await peer.let_in()
        while len(heard) < websocket.WINDOW:
            heard.append(await peer.hear())
        pong = await peer.ping()  # the client answers after all that it has written
        await pong
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await peer.hear()
        for number, message in enumerate(heard):
            await peer.confirm(message, f"a-{number + 1}")
        while True:
            await peer.confirm(await peer.hear(), "a-99")

    script.acts = [act]
    async with client(script) as alice:
        for n in range(websocket.WINDOW + 5):
            alice.post(str(n))
        await alice.drained()


def test_the_pace_lets_a_burst_go_and_then_so_many_a_second() -> None:
    now_s = 0.0
    pace = Pace(2.0, 3, lambda: now_s)
    waits = []
    for _ in range(6):
        waits.append(pace.wait_s())
        now_s += waits[-1]
        pace.take()
    assert waits == [0, 0, 0, 0.5, 0.5, 0.5]
    now_s += 100
    waits = []
    for _ in range(4):
        waits.append(pace.wait_s())
        pace.take()
    assert waits == [0, 0, 0, 0.5]  # no more than a burst, however long it was quiet
    assert Pace(None, 0).wait_s() == 0.0


# ---- hearing, resuming ----


async def test_after_a_cut_it_joins_with_the_position_of_the_last_message(script: Script) -> None:
    joins: list[dict[str, Any]] = []

    def telling(*positions: str, at: str) -> Any:
        async def act(peer: Peer) -> None:
            joins.append(await peer.let_in(at))
            for position in positions:
                await peer.write(position)
            if at == "a-9":
                await peer.stay()

        return act

    script.acts = [telling("a-1", "a-2", at="a-2"), telling(at="a-5"), telling("a-8", "a-9", at="a-9")]
    async with client(script) as bob:
        assert ids(await bob.take(4)) == ["a-1", "a-2", "a-8", "a-9"]
        assert bob.position == "a-9"
    assert [join.get("since") for join in joins] == [None, "a-2", "a-2"]
    assert (bob.stats.requests, bob.stats.joined, bob.stats.errors) == (3, 3, 2)
    assert "cut: 1006" in bob.stats.last_error


async def test_what_comes_twice_is_handed_out_once(script: Script) -> None:
    async def again(peer: Peer) -> None:
        await peer.let_in("a-2")
        for position in ("a-1", "a-2", "a-2"):
            await peer.write(position)

    async def last(peer: Peer) -> None:
        await again(peer)
        await peer.write("a-3")
        await peer.stay()

    script.acts = [again, last]
    async with client(script) as bob:
        assert ids(await bob.take(3)) == ["a-1", "a-2", "a-3"]
    assert bob.stats.repeated == 4


async def test_a_gap_is_an_item_in_its_place_and_all_that_is_left_follows(script: Script) -> None:
    joins: list[dict[str, Any]] = []

    async def act(peer: Peer) -> None:
        joins.append(await peer.let_in("b-8"))
        await peer.say("gap", reason="other epoch", detail="It was restarted.", since=joins[-1].get("since"))
        if len(joins) == 1:
            return
        await peer.write("b-7")
        await peer.write("b-8")
        await peer.stay()

    script.acts = [act]
    async with client(script, position="a-5") as bob:
        told, again, *rest = await bob.take(4)
    assert isinstance(told, Gap)
    assert isinstance(again, Gap)
    assert (told.reason, told.detail, told.since, told.position) == (
        "other epoch",
        "It was restarted.",
        "a-5",
        None,
    )
    assert ids(rest) == ["b-7", "b-8"]
    assert [join.get("since") for join in joins] == ["a-5", None]
    assert bob.stats.gaps == 2


async def test_an_empty_room_gives_a_position_to_go_on_from_also_after_a_gap(script: Script) -> None:
    joins: list[dict[str, Any]] = []

    async def act(peer: Peer) -> None:
        joins.append(await peer.let_in("a-0" if len(joins) < 2 else "b-0"))
        if joins[-1].get("since") == "a-0" and len(joins) > 2:
            await peer.say("gap", reason="other epoch", detail="It was restarted.", since="a-0")
        elif len(joins) > 3:
            await peer.write("b-1")
            await peer.stay()

    script.acts = [act]
    async with client(script) as bob:
        told, item = await bob.take(2)
    assert isinstance(told, Gap)
    assert (told.position, item.message.id) == ("b-0", "b-1")
    assert [join.get("since") for join in joins] == [None, "a-0", "a-0", "b-0"]


async def test_a_later_client_goes_on_behind_the_last_item_that_was_handed_out(script: Script) -> None:
    joins: list[dict[str, Any]] = []

    async def act(peer: Peer) -> None:
        joins.append(await peer.let_in("a-3"))
        for n in (1, 2, 3):
            await peer.write(f"a-{n}")
        await peer.stay()

    script.acts = [act]
    async with client(script) as bob:
        async for item in bob:
            if item.message.id == "a-2":
                break
        assert bob.position == "a-2"
    async with client(script, position=bob.position) as bob:
        await bob.ready()
    assert joins[1]["since"] == "a-2"


async def test_who_reads_nothing_still_sends_and_later_gets_all_with_bounded_memory(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket, "MOST_UNREAD", 5)
    log: list[tuple[str, str]] = []
    joins: list[dict[str, Any]] = []

    async def act(peer: Peer) -> None:
        joins.append(await peer.let_in(f"a-{len(log)}"))
        since = joins[-1].get("since") or "a-0"
        for position, id in log[int(since.removeprefix("a-")) :]:
            await peer.write(position, id=id)
        while True:
            message = await peer.hear()
            log.append((f"a-{len(log) + 1}", message["id"]))
            await peer.write(log[-1][0], id=message["id"])
            await peer.confirm(message, log[-1][0])

    script.acts = [act]
    async with client(script) as alice:
        sent = [await alice.send(str(n)) for n in range(23)]
        assert len(joins) == 1
        got = []
        while len(got) < 23:
            got += ids(await alice.take(1))
            assert len(alice._items) <= 5
    assert got == sent
    assert [join.get("since") for join in joins[1:]] == ["a-5", "a-10", "a-15", "a-20"]
    assert (alice.stats.errors, alice.stats.repeated) == (0, 0)


async def test_cancelling_a_reader_loses_nothing(script: Script) -> None:
    go = asyncio.Event()

    async def act(peer: Peer) -> None:
        await peer.let_in()
        await go.wait()
        await peer.write("a-1")
        await peer.write("a-2")
        await peer.stay()

    script.acts = [act]
    async with client(script) as bob:
        await bob.ready()
        for _ in range(3):
            reader = asyncio.create_task(anext(bob))  # type: ignore[arg-type]
            await asyncio.sleep(0)
            reader.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reader
        go.set()
        assert ids(await bob.take(2)) == ["a-1", "a-2"]


async def test_a_message_that_comes_between_the_readers_look_and_its_wait_wakes_it(script: Script) -> None:
    script.acts = [staying]
    async with client(script) as bob:
        await bob.ready()
        reader = asyncio.create_task(bob.take(1))
        await asyncio.sleep(0)  # it has looked, and its step has not begun
        assert bob._link is not None
        bob._understand(
            '{"type": "message", "position": "a-1", "id": "1", "user": "u", "text": "t", "at": ""}', bob._link
        )
        assert ids(await reader) == ["a-1"]


async def test_closing_from_another_task_ends_the_loops_in_order_and_leaves_no_task(script: Script) -> None:
    script.acts = [staying]
    before = asyncio.all_tasks()
    async with client(script) as bob:
        await bob.ready()
        reader = asyncio.create_task(bob.take(1))
        listener = asyncio.create_task(anext(bob.signals, None))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        await bob.close()
        assert await reader == []
        assert await listener is None
        names = [repr(task) for task in asyncio.all_tasks() - before]
        assert [name for name in names if "clients/" in name and "test_" not in name] == []
        await bob.close()
    assert "closed" in repr(bob)
    with pytest.raises(StopAsyncIteration):
        await anext(bob)


async def test_closing_ends_soon_though_the_server_never_answers(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket, "CLOSE_S", 0.05)
    stuck = asyncio.Event()

    async def act(peer: Peer) -> None:
        await peer.let_in()
        stuck.set()
        await hanging(peer)

    script.acts = [act]
    bob = client(script)
    async with bob:
        await stuck.wait()
        for _ in range(websocket.WINDOW):
            bob.post("x" * 50_000)  # more than the kernel's buffers take: even a close frame must wait
    assert bob.unacked == websocket.WINDOW


async def test_what_the_server_says_in_an_unknown_way_ends_the_connection_and_unknown_types_do_not(
    script: Script,
) -> None:
    def saying(text: str) -> Any:
        async def act(peer: Peer) -> None:
            await peer.let_in()
            await peer.send(text)
            await peer.stay()

        return act

    async def good(peer: Peer) -> None:
        await peer.let_in()
        await peer.say("weather", sky="blue")
        await peer.write("a-1")
        await peer.stay()

    bad = ["no JSON", "[]", "7", '{"type": []}', '{"type": "message"}', "[" * 100_000]
    script.acts = [*map(saying, bad), good]
    async with client(script) as bob:
        assert ids(await bob.take(1)) == ["a-1"]
    assert bob.stats.errors == len(bad)
    assert "no message of this chat" in bob.stats.last_error


# ---- typing and online ----


async def test_typing_and_online_come_as_signals_and_the_newest_list_is_kept(script: Script) -> None:
    async def act(peer: Peer) -> None:
        await peer.let_in(online=["bob"])
        assert await peer.hear() == {"type": "typing"}
        await peer.say("typing", user="alice")
        await peer.say("online", users=["alice", "bob"], count=2)
        await peer.stay()

    script.acts = [act]
    async with client(script, user="bob") as bob:
        assert await bob.typing() is False  # nobody could hear it yet
        await bob.ready()
        assert bob.online == ["bob"]
        assert await bob.typing() is True
        assert await anext(bob.signals) == {"type": "typing", "user": "alice"}
        assert (await anext(bob.signals))["users"] == bob.online == ["alice", "bob"]
    assert [signal async for signal in bob.signals] == []


async def test_signals_that_nobody_reads_keep_the_newest() -> None:
    signals = Signals(limit=3)
    for n in range(10):
        signals.put({"n": n})
    signals.end()
    assert signals.dropped == 7
    assert [signal["n"] async for signal in signals] == [7, 8, 9]


# ---- using it ----


async def test_connect_is_the_librarys_without_compression_and_without_a_proxy(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def echo(peer: Peer) -> None:
        while True:
            await peer.send(await peer.recv())

    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    script.acts = [echo]
    async with connect(script.url, origin="http://localhost:8888") as link:
        await link.send("x" * MAX_MESSAGE)
        assert len(await link.recv()) == MAX_MESSAGE
        assert link.request is not None
        assert link.request.headers["Origin"] == "http://localhost:8888"
        assert "Sec-WebSocket-Extensions" not in link.request.headers


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("ws://127.0.0.1:9", "ws://127.0.0.1:9/chat"),
        ("ws://127.0.0.1:9/", "ws://127.0.0.1:9/chat"),
        ("ws://127.0.0.1:9/chat", "ws://127.0.0.1:9/chat"),
        ("http://127.0.0.1:9", "ws://127.0.0.1:9/chat"),
        ("wss://chat.example/rooms?x=1", "wss://chat.example/rooms?x=1"),
    ],
)
def test_the_address_may_be_a_servers_or_a_middleboxs_or_whole(given: str, url: str) -> None:
    assert chat_url(given) == url


async def test_misuse_is_answered_with_a_sentence(script: Script) -> None:
    script.acts = [staying]
    bob = client(script)
    for use in (bob.send("x"), bob.typing(), bob.ready(), bob.drained(), anext(bob)):
        with pytest.raises(RuntimeError, match="async with WebSocketClient"):
            await use
    with pytest.raises(RuntimeError, match="async with WebSocketClient"):
        bob.post("x")
    async with bob:
        for data in ({"a": 1}, b"bytes", None, ""):
            with pytest.raises(TypeError, match="takes text"):
                await bob.send(data)
        with pytest.raises(ValueError, match=r'"message".*typing\(\)'):
            await bob.send("x", event="typing")
        with pytest.raises(ValueError, match="split this text"):
            bob.post("x" * 60_000)
    with pytest.raises(RuntimeError, match="make a new one"):
        await bob.__aenter__()
    for url in ("127.0.0.1:9", "ftp://127.0.0.1", None, 7):
        with pytest.raises(ValueError, match="expected a server, or its address"):
            WebSocketClient(url)
    for wrong in ({"dead_after_s": 0}, {"healthy_after_s": -1}, {"rate": 0}):
        with pytest.raises(ValueError, match="expected"):
            WebSocketClient(script.url, **wrong)


async def test_waiting_for_a_room_that_is_never_reached_ends_when_the_client_does() -> None:
    async with WebSocketClient(f"ws://127.0.0.1:{free_port()}") as bob:
        waiting = asyncio.create_task(bob.ready())
        await until(lambda: bob.stats.errors)
    with pytest.raises(ClientError, match="closed before it was in the room"):
        await waiting


async def test_a_mistake_in_the_client_itself_is_told_to_all_who_wait(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    script.acts = [staying]
    monkeypatch.setattr(WebSocketClient, "_understand", lambda *_: 1 / 0)
    async with client(script) as bob:
        with pytest.raises(ClientError, match="a bug.*division"):
            await anext(bob)
        with pytest.raises(NotSent):
            await bob.send("x")
