"""Signalling over real sockets: who hears of whom, which notes are passed on, and what harms nobody."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from servers.webrtc import Signalling, arguments
from tests.servers.conftest import until
from tests.servers.sockets import Server, Talker, run

Start = Callable[..., Awaitable[tuple[Server, Signalling]]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    async with AsyncExitStack() as stack:

        async def start(*options: str) -> tuple[Server, Signalling]:
            signalling = Signalling(arguments().parse_args(options))
            return await run(stack, signalling.door), signalling

        yield start


async def peer(server: Server, name: str, room: str = "call") -> tuple[Talker, dict[str, Any]]:
    talker = Talker(await server.connect("/signal"))
    await talker.say("join", room=room, peer=name)
    return talker, await talker.hear()


async def test_who_comes_is_told_who_is_there_and_the_others_who_comes_and_goes(start: Start):
    server, signalling = await start()
    alice, joined = await peer(server, "alice")
    assert joined == {"type": "joined", "room": "call", "peer": "alice", "peers": []}
    bob, joined = await peer(server, "bob")
    assert joined["peers"] == ["alice"]
    assert await alice.hear() == {"type": "here", "peer": "bob"}
    await bob.link.close()
    assert await alice.hear() == {"type": "gone", "peer": "bob"}
    await alice.link.close()
    await until(lambda: not signalling.rooms)


async def test_a_note_goes_to_the_one_it_is_for_with_all_that_stands_in_it(start: Start):
    server, _ = await start()
    alice, _ = await peer(server, "alice")
    bob, _ = await peer(server, "bob")
    carol, _ = await peer(server, "carol")
    other, _ = await peer(server, "bob", room="elsewhere")
    await alice.say("offer", to="bob", sdp="v=0 …", more=[1, {"a": None}], **{"from": "somebody else"})
    assert await bob.hear("offer") == {
        "type": "offer", "to": "bob", "sdp": "v=0 …", "more": [1, {"a": None}], "from": "alice",
    }  # fmt: skip
    await bob.say("answer", to="alice", sdp="yes")
    assert (await alice.hear("answer"))["from"] == "bob"
    for talker in (carol, other):
        await talker.say("offer", to="nobody")
        assert (await talker.hear("error"))["error"] == "there is no other peer nobody here"
    assert (await server.get("/stats"))[1]["passed"] == 2


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ("offer", "this is not JSON"),
        ("[1]", "expected an object with a type"),
        ('{"type": "shout"}', "expected an object with a type"),
        ('{"type": "offer", "to": "bob"}', "you are in no room yet"),
        ('{"type": "join", "room": "", "peer": "bob"}', "expected as room 1 to 40"),
        ('{"type": "join", "room": "call", "peer": 7}', "expected as peer 1 to 40"),
        ('{"type": "join", "room": "call", "peer": "alice"}', "the name alice is taken in this room"),
    ],
)
async def test_what_cannot_be_understood_is_told_and_the_peer_may_still_join(start: Start, said, what):
    server, _ = await start()
    alice, _ = await peer(server, "alice")
    bob = Talker(await server.connect("/signal"))
    await bob.link.send(said)
    assert (await bob.hear("error"))["error"].startswith(what)
    await bob.say("join", room="call", peer="bob")
    assert (await bob.hear("joined"))["peers"] == ["alice"]


async def test_a_second_join_and_a_note_to_oneself_are_errors(start: Start):
    server, _ = await start()
    alice, _ = await peer(server, "alice")
    await alice.say("join", room="call", peer="alice")
    assert (await alice.hear())["error"] == "you have joined already"
    await alice.say("offer", to="alice")
    assert (await alice.hear())["error"] == "there is no other peer alice here"


async def test_a_full_room_sends_to_a_media_server_and_a_place_that_is_left_is_free(start: Start):
    server, signalling = await start("--most-peers", "2")
    alice, _ = await peer(server, "alice")
    await peer(server, "bob")
    carol, answer = await peer(server, "carol")
    assert (answer["type"], answer["try"]) == ("error", "a media server (SFU)")
    await alice.link.close()
    await until(lambda: len(signalling.rooms["call"]) == 1)
    await carol.say("join", room="call", peer="carol")
    assert (await carol.hear())["peers"] == ["bob"]


async def test_binary_closes_with_1003_and_no_join_in_time_with_4401(start: Start):
    server, _ = await start("--join-deadline", "0.05")
    late = await (await server.bare()).open("/signal")
    assert (await late.closed()).code == 4401
    alice, _ = await peer(server, "alice")
    await alice.link.send(b"\x00")
    await alice.link.wait_closed()
    assert alice.link.close_code == 1003


async def test_a_peer_that_reads_no_notes_is_sent_away_and_the_writer_does_not_wait(start: Start):
    server, signalling = await start()
    alice, _ = await peer(server, "alice")
    bob = await (await server.bare()).open("/signal")
    await bob.say(type="join", room="call", peer="bob")
    await alice.hear("here")
    note = json.dumps({"type": "candidate", "to": "bob", "x": "x" * 60_000})
    while signalling.door.counters.slow == 0:
        await alice.link.send(note)
        await alice.say("bye", to="nobody")  # its answer says that the note before it is dealt with
        await alice.hear()
    carol, joined = await peer(server, "carol")
    assert "alice" in joined["peers"]
    bob.close()


async def test_a_page_of_elsewhere_may_not_signal(start: Start):
    server, _ = await start()
    bare = await server.bare()
    await bare.send(b"GET /signal HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: https://pages.example\r\n\r\n")
    assert (await bare.answer())[0] == 403
