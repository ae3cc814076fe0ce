"""The chat over real sockets: what members get, what a cut costs, who may speak, what harms nobody."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any

import pytest

from labsupport.wire.frames import Frame, Opcode, encode_frame
from servers.core import rooms
from servers.core.tokens import Tokens
from servers.core.websocket_connection import WRITE_AHEAD
from servers.websocket_chat import Bucket, Chat, arguments
from tests.servers.conftest import until
from tests.servers.sockets import Server, Talker, farewell, run_chat

Start = Callable[..., Awaitable[tuple[Server, Chat]]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """start("--keep", "3", …) runs the chat in this loop until the test ends: (server, chat)."""
    async with AsyncExitStack() as stack:
        yield lambda *arguments, **more: run_chat(stack, *arguments, **more)


@pytest.fixture
async def server(start: Start) -> Server:
    return (await start())[0]


async def joined(server: Server, user: str = "alice", **more: Any) -> Talker:
    """A member, whose joining is done."""
    talker = await server.talker(user, **more)
    await talker.hear("joined")
    return talker


def texts(messages: list[dict[str, Any]]) -> list[str]:
    return [message["text"] for message in messages]


# ---------------------------------------------------------------- what members get


async def test_a_message_reaches_all_in_the_room_and_its_writer_is_told_where_it_is(server: Server):
    alice, bob, carol = (
        await joined(server),
        await joined(server, "bob"),
        await joined(server, "carol", room="x"),
    )
    ack = await alice.write("a-1", "hello")
    assert ack == {"type": "ack", "id": "a-1", "position": ack["position"], "duplicate": False}
    for talker in (alice, bob):
        message = await talker.hear("message")
        assert datetime.fromisoformat(message.pop("at")).tzinfo is not None
        assert message == {
            "type": "message",
            "position": ack["position"],
            "id": "a-1",
            "user": "alice",
            "text": "hello",
        }
    other = await carol.write("c-1", "elsewhere")
    assert (await carol.hear("message"))["position"] == other["position"]


async def test_joining_tells_the_newest_position_and_who_is_there(server: Server):
    alice = await server.talker("alice", "tea")
    first = await alice.hear()
    place = first["position"]
    assert place.endswith("-0")
    assert first == {
        "type": "joined",
        "room": "tea",
        "user": "alice",
        "position": place,
        "since": None,
        "online": ["alice"],
        "count": 1,
    }
    ack = await alice.write("1")
    bob = await (await server.talker("bob", since=place)).hear()
    assert (bob["position"], bob["since"], bob["online"]) == (ack["position"], place, ["alice", "bob"])


async def test_all_members_get_all_messages_in_one_order(server: Server):
    talkers = [await joined(server, f"user {number}") for number in range(8)]

    async def write(talker: Talker) -> None:
        for number in range(10):
            await talker.say("message", id=str(number), text=str(number))

    await asyncio.gather(*(write(talker) for talker in talkers))
    heard = [await talker.hear_all(80) for talker in talkers]
    assert all(messages == heard[0] for messages in heard)
    offsets = [int(message["position"].rpartition("-")[2]) for message in heard[0]]
    assert offsets == list(range(1, 81))


async def test_who_joins_without_a_position_gets_what_is_remembered_and_then_what_is_new(start: Start):
    server, _ = await start("--keep", "2")
    alice = await joined(server)
    for number in range(3):
        await alice.write(str(number), f"old {number}")
    bob = await joined(server, "bob")
    await alice.write("3", "new")
    assert texts(await bob.hear_all(3)) == ["old 1", "old 2", "new"]


async def test_typing_is_told_to_the_others_and_not_remembered(server: Server):
    alice, bob = await joined(server), await joined(server, "bob")
    await alice.say("typing")
    assert await bob.hear("typing") == {"type": "typing", "user": "alice"}
    await alice.write("1")
    carol = await joined(server, "carol")
    assert (await carol.hear())["type"] == "message"
    await alice.link.close()
    while (message := await bob.hear())["type"] != "online" or "alice" in message["users"]:
        assert message["type"] != "typing"


async def test_online_is_told_when_it_changes_and_to_whoever_asks(server: Server):
    alice = await joined(server)
    assert await alice.hear("online") == {"type": "online", "users": ["alice"], "count": 1}
    bob = await joined(server, "bob")
    assert (await alice.hear("online"))["users"] == ["alice", "bob"]
    await bob.link.close()
    assert (await alice.hear("online"))["users"] == ["alice"]
    await alice.say("online")
    assert (await alice.hear("online"))["users"] == ["alice"]


async def test_a_user_with_two_connections_is_there_once_until_the_last_is_gone(server: Server):
    watcher = await joined(server, "watcher")
    first, second = await joined(server), await joined(server)
    assert (await watcher.hear("online"))["users"] == ["watcher", "alice"]
    await first.link.close()
    await until(lambda: len(server.inside) == 2)
    await watcher.say("online")
    assert (await watcher.hear("online"))["users"] == ["watcher", "alice"]
    await second.link.close()
    assert (await watcher.hear("online"))["users"] == ["watcher"]


async def test_a_crowd_that_joins_is_not_told_once_for_each(server: Server, monkeypatch):
    monkeypatch.setattr(rooms, "ONLINE_S", 3600)
    crowd = [await joined(server, f"user {number}") for number in range(60)]
    room = server.door._sockets["/chat"].__self__.rooms.room("tea")
    room._timer.cancel()
    room._tell()
    assert [(await talker.hear("online"))["count"] for talker in crowd] == [60] * 60
    assert room._timer is None


async def test_a_long_list_of_names_is_cut_and_says_how_many_there_are(server: Server, monkeypatch):
    monkeypatch.setattr(rooms, "MOST_NAMES", 3)
    talkers = [await joined(server, f"user {number}") for number in range(5)]
    await talkers[-1].say("online")
    message = await talkers[-1].hear("online")
    assert (message["users"], message["count"]) == (["user 0", "user 1", "user 2"], 5)


# ---------------------------------------------------------------- resume


async def test_who_comes_back_gets_what_was_missed_and_nothing_twice(server: Server):
    alice, bob = await joined(server), await joined(server, "bob")
    await alice.write("1", "seen")
    place = (await bob.hear("message"))["position"]
    await bob.link.close()
    await alice.write("2", "missed")
    bob = await joined(server, "bob", since=place)
    await alice.write("3", "live")
    assert texts(await bob.hear_all(2)) == ["missed", "live"]


async def test_cut_anywhere_and_resumed_again_and_again_nothing_is_lost_or_comes_twice(server: Server):
    seen: list[str] = []

    async def follow() -> None:
        place = None
        while len(seen) < 300:
            bob = await joined(server, "bob", since=place)
            for _ in range(min(1 + len(seen) % 7, 300 - len(seen))):
                message = await bob.hear("message")
                place = message["position"]
                seen.append(message["text"])
            bob.link.transport.abort()

    room = server.door._sockets["/chat"].__self__.rooms.room("tea")
    following = asyncio.create_task(follow())
    for number in range(300):
        room.publish("alice", str(number), str(number), "now")
        await asyncio.sleep(0)
    await following
    assert seen == [str(number) for number in range(300)]


@pytest.mark.parametrize(
    ("since", "reason"),
    [
        ("nonsense", "bad position"),
        ("", "bad position"),
        ("\ud800 grüße \0", "bad position"),
        ("x" * 100_000, "bad position"),
        ("0123456789ab-1", "other epoch"),
        ("{epoch}-1", "too old"),
        ("{epoch}-9", "bad position"),
    ],
)
async def test_a_position_of_no_use_is_told_as_a_gap_and_all_that_is_remembered_follows(
    start: Start, since, reason
):
    server, chat = await start("--keep", "2")
    alice = await joined(server)
    for number in range(4):
        ack = await alice.write(str(number), str(number))
    bob = await server.talker("bob", since=since.replace("{epoch}", ack["position"].partition("-")[0]))
    assert (await bob.hear())["type"] == "joined"
    gap = await bob.hear()
    assert (gap["type"], gap["reason"], bool(gap["detail"])) == ("gap", reason, True)
    await alice.write("4", "live")
    assert texts(await bob.hear_all(3)) == ["2", "3", "live"]
    assert chat.counters.gaps == 1


async def test_a_position_of_another_room_is_of_another_epoch(server: Server):
    place = (await (await joined(server)).write("1"))["position"]
    bob = await joined(server, "bob", room="coffee", since=place)
    assert (await bob.hear("gap"))["reason"] == "other epoch"


async def test_a_reader_whom_the_history_overtakes_is_told_and_gets_all_that_is_remembered(start: Start):
    server, chat = await start("--keep", "200")
    room = chat.rooms.room("tea")
    for number in range(200):
        room.publish("alice", str(number), "x" * 4000, "now")
    bare = await (await server.bare(receive_buffer=4096)).open("/chat")
    [connection] = server.inside
    await bare.say(type="join", room="tea", user="bob")
    await until(lambda: connection.paused)
    for number in range(200, 290):
        room.publish("alice", str(number), "x" * 4000, "now")
    seen: list[int] = []
    while not seen or seen[-1] != 289:
        frame = await bare.next()
        assert frame is not None
        message = json.loads(frame.payload)
        if message["type"] == "gap":
            assert message["reason"] == "too old"
            assert message["since"] == f"{room.log.epoch}-{len(seen)}"
            seen.clear()
        elif message["type"] == "message":
            seen.append(int(message["id"]))
    assert seen == list(range(90, 290))
    assert chat.counters.gaps == 1


# ---------------------------------------------------------------- ids and acks


async def test_the_same_id_again_is_the_same_message_also_after_a_cut(server: Server):
    alice = await joined(server)
    first = await alice.write("a-1", "hello")
    alice.link.transport.abort()
    again = await joined(server, since=first["position"])
    assert await again.write("a-1", "hello") == {**first, "duplicate": True}
    assert (await again.write("a-2", "next"))["duplicate"] is False
    assert texts(await again.hear_all(1)) == ["next"]


async def test_the_same_id_of_another_user_or_in_another_room_is_another_message(server: Server):
    acks = [
        await (await joined(server)).write("1"),
        await (await joined(server, "bob")).write("1"),
        await (await joined(server, room="coffee")).write("1"),
    ]
    assert not any(ack["duplicate"] for ack in acks)


async def test_an_id_is_known_as_long_as_its_message_is_remembered(start: Start):
    server, chat = await start("--keep", "2")
    alice = await joined(server)
    for id in ("1", "2", "2", "3", "1"):
        await alice.write(id)
    assert (chat.counters.published, chat.counters.duplicates) == (4, 1)
    room = chat.rooms.room("tea")
    assert len(room._known) == len(room._order) <= 3


# ---------------------------------------------------------------- who may speak


async def test_a_token_says_who_it_is_and_needs_no_name(start: Start):
    server, chat = await start("--require-token")
    token = chat.tokens.issue("alice")
    assert (await (await server.talker(user=None, token=token)).hear("joined"))["user"] == "alice"
    assert (await (await server.talker(user="alice", token=token)).hear("joined"))["user"] == "alice"


@pytest.mark.parametrize(
    "token", ["missing", "wrong", "another's", "expired", "a number", "huge", "not ASCII"]
)
async def test_a_token_that_is_none_is_4401(start: Start, token):
    now = [1000.0]
    tokens = Tokens(60, clock=lambda: now[0], secret=b"secret")
    server, _ = await start("--require-token", tokens=tokens)
    given: dict[str, Any] = {
        "missing": {},
        "wrong": {"token": tokens.issue("alice")[:-2] + "xx"},
        "another's": {"token": tokens.issue("bob")},
        "expired": {"token": tokens.issue("alice")},
        "a number": {"token": 7},
        "huge": {"token": "x." * 10_000},
        "not ASCII": {"token": "grüße.\ud800"},
    }[token]
    now[0] += 61 if token == "expired" else 59
    assert await (await server.talker("alice", **given)).code() == 4401


async def test_without_the_need_for_a_token_a_wrong_one_is_4401_all_the_same_at_any_time(server: Server):
    assert await (await server.talker("alice", token="x.y")).code() == 4401
    alice = await joined(server)
    await alice.say("join", room="tea", token="x.y")
    assert await alice.code() == 4401


async def test_the_log_in_gives_a_token_and_a_cookie_that_stands_for_it(start: Start):
    server, _ = await start("--require-token")
    bare = await server.bare()
    await bare.send(b"GET /login?user=al%20ice HTTP/1.1\r\nHost: localhost\r\n\r\n")
    raw = b""
    while chunk := await bare.read():
        raw += chunk
    head, _, body = raw.decode().partition("\r\n\r\n")
    answer = json.loads(body)
    assert answer["user"] == "al ice"
    cookie = f"chat_session={answer['token']}"
    assert f"Set-Cookie: {cookie}; HttpOnly; SameSite=Lax; Path=/" in head.split("\r\n")
    alice = await server.talker(user=None, headers={"Cookie": f"a=b; {cookie}"})
    assert (await alice.hear("joined"))["user"] == "al ice"
    assert await (await server.talker("bob", headers={"Cookie": cookie})).code() == 4401


@pytest.mark.parametrize("query", ["", "?user=", "?user=%00", "?user=" + "x" * 41, "?name=alice"])
async def test_a_log_in_without_a_name_is_refused(server: Server, query):
    status, answer = await server.get(f"/login{query}")
    assert (status, answer["try"]) == (400, "/login?user=alice")


async def test_a_page_of_elsewhere_cannot_log_in(server: Server):
    assert (await server.get("/login?user=alice", Origin="https://example.org"))[0] == 403


async def test_a_page_of_elsewhere_can_use_the_cookie_where_nobody_looks_at_origin(start: Start):
    for options, hijacked in ((["--any-origin"], True), ([], False)):
        server, chat = await start("--require-token", *options)
        headers = {"Cookie": f"chat_session={chat.tokens.issue('alice')}", "Origin": "https://evil.example"}
        if hijacked:
            evil = await server.talker(user=None, headers=headers)
            assert (await evil.hear("joined"))["user"] == "alice"
        else:
            assert (await server.refused("/chat", additional_headers=headers))[0] == 403


@pytest.mark.parametrize("said", [[], ['{"type": "typing"}'], ["nonsense"]])
async def test_who_does_not_join_in_time_is_4401(start: Start, said):
    server, _ = await start("--auth-deadline", "0.05")
    silent = Talker(await server.connect("/chat"))
    for message in said:
        await silent.link.send(message)
    assert await silent.code() == 4401
    assert farewell(silent.link) == (4401, "no join in time")


async def test_who_has_joined_may_stay_silent_beyond_the_deadline(start: Start):
    server, chat = await start("--auth-deadline", "0.05")
    alice = await joined(server)
    assert await Talker(await server.connect("/chat")).code() == 4401
    assert chat.counters.joined == 1
    await alice.write("1")


# ---------------------------------------------------------------- what cannot be understood


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        ("nonsense", "this is not JSON"),
        ("", "this is not JSON"),
        ("[" * 50_000, "this JSON is larger"),
        ('{"type": ' + "1" * 5000 + "}", "this JSON is larger"),
        ("[]", "expected a JSON object"),
        ("{}", "expected as type one of join, message, typing, online"),
        ('{"type": "shout"}', "expected as type one of"),
        ('{"type": ["join"]}', "expected as type one of"),
        ('{"type": {}}', "expected as type one of"),
        ('{"type": "join", "room": "tea", "user": "alice"}', "you have joined already"),
        ('{"type": "message"}', "expected as id"),
        ('{"type": "message", "id": "a b", "text": "x"}', "expected as id"),
        ('{"type": "message", "id": 1, "text": "x"}', "expected as id"),
        ('{"type": "message", "id": "1"}', "expected as text"),
        ('{"type": "message", "id": "1", "text": ""}', "expected as text"),
        ('{"type": "message", "id": "1", "text": "' + "x" * 4001 + '"}', "expected as text"),
        ('{"type": "message", "id": "1", "text": "\\ud800"}', "this text is not Unicode"),
    ],
)
async def test_what_cannot_be_understood_is_told_and_the_chat_goes_on(server: Server, raw, error):
    alice, bob = await joined(server), await joined(server, "bob")
    await alice.link.send(raw)
    answer = await alice.hear("error")
    assert error in answer["error"]
    assert answer["try"]
    await alice.write("next", "goes on")
    assert texts(await bob.hear_all(1)) == ["goes on"]


async def test_an_error_names_the_message_that_it_is_about(server: Server):
    alice = await joined(server)
    await alice.say("message", id="a-7", text="")
    assert (await alice.hear("error"))["id"] == "a-7"


@pytest.mark.parametrize(
    "fields",
    [
        {"user": "alice"},
        {"room": "two words", "user": "alice"},
        {"room": "x" * 65, "user": "alice"},
        {"room": 7, "user": "alice"},
        {"room": "tea"},
        {"room": "tea", "user": ""},
        {"room": "tea", "user": "   "},
        {"room": "tea", "user": "x" * 41},
        {"room": "tea", "user": "a\nb"},
        {"room": "tea", "user": "\ud800"},
        {"room": "tea", "user": ["alice"]},
        {"room": "tea", "user": "alice", "since": 7},
    ],
)
async def test_a_join_that_cannot_be_understood_is_told_and_may_be_mended(server: Server, fields):
    talker = Talker(await server.connect("/chat"))
    await talker.say("join", **fields)
    assert (await talker.hear())["type"] == "error"
    await talker.say("message", id="1", text="too early")
    assert (await talker.hear())["error"] == "you are in no room yet"
    await talker.say("join", room="tea", user="alice")
    assert (await talker.hear())["type"] == "joined"


async def test_when_there_are_too_many_rooms_the_next_is_refused_and_the_others_go_on(
    server: Server, monkeypatch
):
    chat = server.door._sockets["/chat"].__self__
    monkeypatch.setattr(chat.rooms._channels, "_most", 1)
    alice = await joined(server)
    await alice.write("1")
    bob = await server.talker("bob", "coffee")
    assert "channels already" in (await bob.hear("error"))["error"]
    await bob.say("join", room="tea", user="bob")
    await bob.hear("joined")


async def test_a_room_that_nobody_is_in_and_nothing_was_said_in_is_forgotten(server: Server):
    chat = server.door._sockets["/chat"].__self__
    alice, bob = await joined(server), await joined(server, "bob", room="coffee")
    await bob.write("1")
    assert len(chat.rooms) == 2
    await alice.link.close()
    await bob.link.close()
    await until(lambda: not server.inside)
    assert list(chat.rooms._rooms) == ["coffee"]


async def test_a_binary_message_is_1003(server: Server):
    alice, bob = await joined(server), await joined(server, "bob")
    await alice.link.send(b"{}")
    assert await alice.code() == 1003
    await bob.write("1")


async def test_a_message_over_the_limit_is_1009_and_nobody_else_notices(server: Server):
    alice, bob = await joined(server), await joined(server, "bob")
    await alice.link.send("x" * (128 * 1024 + 1))
    assert await alice.code() == 1009
    await bob.write("1")


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (encode_frame(Frame(Opcode.TEXT, b'{"type": "online"}')), 1002),
        (encode_frame(Frame(Opcode.TEXT, b"\xff", masking_key=b"1234")), 1007),
    ],
)
async def test_what_rfc_6455_forbids_ends_only_who_does_it(server: Server, raw, code):
    bob = await joined(server, "bob")
    bare = await (await server.bare()).open("/chat")
    await bare.say(type="join", room="tea", user="alice")
    await bare.send(raw)
    assert (await bare.closed()).code == code
    await bob.write("1")


# ---------------------------------------------------------------- too fast, too slow


async def test_too_many_messages_are_4429_and_the_others_go_on(start: Start):
    server, chat = await start("--rate", "1")
    alice, bob = await joined(server), await joined(server, "bob")
    for _ in range(10):
        await alice.say("typing")
    assert await alice.code() == 4429
    assert server.door.counters.too_fast == 1
    await bob.write("1")


def test_a_bucket_gives_its_burst_at_once_and_then_its_rate():
    now = [0.0]
    bucket = Bucket(20, 40, clock=lambda: now[0])
    assert [bucket.take() for _ in range(41)] == [True] * 40 + [False]
    now[0] = 0.1
    assert [bucket.take() for _ in range(3)] == [True, True, False]
    now[0] = 100.0
    assert sum(bucket.take() for _ in range(100)) == 40


async def test_a_reader_that_stops_reading_is_4408_and_the_others_neither_wait_nor_lose_anything(
    start: Start,
):
    server, chat = await start()
    bare = await (await server.bare(receive_buffer=4096)).open("/chat")
    [slow] = server.inside
    await bare.say(type="join", room="tea", user="slow")
    await until(lambda: chat.counters.joined == 1)
    room, bob = chat.rooms.room("tea"), await joined(server, "bob")
    most = number = 0
    while not server.door.counters.slow:
        room.publish("alice", str(number), "x" * 4000, "now")
        assert (await bob.hear("message"))["id"] == str(number)
        most, number = max(most, slow.behind), number + 1
        assert number < 900
    assert number > 100
    assert most < WRITE_AHEAD + 5000
    assert (await bare.closed()).code == 4408
    bare.close()
    await until(lambda: chat.counters.joined == 1)


async def test_a_reader_that_was_let_go_comes_back_and_has_lost_nothing(start: Start):
    server, chat = await start("--unread", "5")
    bare = await (await server.bare(receive_buffer=4096)).open("/chat")
    await bare.say(type="join", room="tea", user="slow")
    await until(lambda: chat.counters.joined == 1)
    room = chat.rooms.room("tea")
    while not server.door.counters.slow:
        room.publish("alice", str(len(room.log)), "x" * 4000, "now")
        await asyncio.sleep(0)
    frames, close = await bare.until_closed()
    assert close.code == 4408
    messages = [json.loads(frame.payload) for frame in frames]
    seen = [message for message in messages if message["type"] == "message"]
    bare.close()
    again = await joined(server, "slow", since=seen[-1]["position"])
    seen += await again.hear_all(len(room.log) - len(seen))
    assert [message["id"] for message in seen] == [str(number) for number in range(len(room.log))]


async def test_who_is_behind_misses_typing_and_hears_later_who_is_online(start: Start):
    server, chat = await start()
    bare = await (await server.bare(receive_buffer=4096)).open("/chat")
    [slow] = server.inside
    await bare.say(type="join", room="tea", user="slow")
    await until(lambda: chat.counters.joined == 1)
    room = chat.rooms.room("tea")
    while not slow.paused:
        room.publish("x", str(len(room.log)), "x" * 4000, "now")
        await asyncio.sleep(0)
    bob = await joined(server, "bob")
    await bob.say("typing")
    assert (await bob.hear("online"))["users"] == ["slow", "bob"]
    assert [member.user for member in room._untold] == ["slow"]
    heard: list[dict[str, Any]] = []
    while not heard or heard[-1].get("users") != ["slow", "bob"]:
        frame = await bare.next()
        assert frame is not None
        heard.append(json.loads(frame.payload))
    assert not any(message["type"] == "typing" for message in heard)


# ---------------------------------------------------------------- beside the chat


async def test_echo_is_there_with_the_chats_limit_and_without_its_rate(start: Start):
    server, _ = await start("--rate", "1")
    link = await server.connect("/echo")
    for number in range(50):
        await link.send(str(number))
        assert await link.recv() == str(number)
    await link.send(bytes(128 * 1024 + 1))
    await link.wait_closed()
    assert farewell(link)[0] == 1009


async def test_the_counters_tell_what_has_happened(server: Server):
    alice = await joined(server)
    await alice.write("1")
    await alice.write("1")
    await alice.link.send("nonsense")
    await alice.hear("error")
    status, numbers = await server.get("/stats")
    expected = {"connections": 1, "joined": 1, "rooms": 1, "published": 1, "duplicates": 1, "errors": 1}
    assert status == 200
    assert {name: numbers[name] for name in expected} == expected
    assert (numbers["messages"], numbers["pid"]) == (4, os.getpid())


def test_the_limits_are_those_of_the_docstring():
    options = arguments().parse_args([])
    assert (options.rate, options.unread, options.auth_deadline, options.keep) == (20, 100, 10, 1000)
    assert (options.max_bytes, options.drain_s) == (128 * 1024, 1)


def test_a_token_of_another_server_or_another_life_is_none():
    token = Tokens().issue("alice")
    assert Tokens().user(token) is None


def test_a_token_carries_any_name():
    tokens = Tokens()
    for name in ("alice", "Ünïcode \U0001f600", "a.b,c;d=e", "\\\"'"):
        token = tokens.issue(name)
        assert tokens.user(token) == name
        assert not set(token) & set(' ",;\\=')
