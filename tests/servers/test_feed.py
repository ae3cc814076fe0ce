"""The feed: what each policy does with a reader who takes nothing, and with those beside it."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from labsupport.wire.frames import Frame, Opcode
from servers import feed
from servers.core.websocket_connection import SLOW_READER
from servers.feed import DONE, Feed
from tests.servers.conftest import until
from tests.servers.sockets import Bare, Server, run

BYTES, BUFFER, MANY = 8192, 10, 60
Start = Callable[..., Awaitable[Server]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    async with AsyncExitStack() as stack:

        async def begin(policy: str, *more: str) -> Server:
            fixed = ("--size", str(BYTES), "--buffer", str(BUFFER), "--send-buffer", "16384")
            options = feed.arguments().parse_args(["--policy", policy, *fixed, *more])
            return await run(stack, Feed(options))

        yield begin


async def stopped(server: Server) -> Bare:
    """A reader who is in, and takes nothing: its buffers hold a few messages."""
    there = len(the(server).readers)
    bare = await (await server.bare(receive_buffer=16_384)).open("/feed")
    await until(lambda: len(the(server).readers) == there + 1)
    return bare


def the(server: Server) -> Feed:
    assert isinstance(server.door, Feed)
    return server.door


def stats(server: Server) -> dict[str, int]:
    return dict(json.loads(the(server).stats(None).body))  # type: ignore[arg-type]


async def publish(server: Server, times: int = MANY) -> None:
    for _ in range(times):
        await the(server).publish()
        await asyncio.sleep(0)  # those who write have their turn


async def numbers(bare: Bare, last: int) -> list[int]:
    """The numbers of all messages up to this one, the snapshot left out."""
    found: list[int] = []
    while not found or found[-1] < last:
        frame = await bare.next()
        assert frame is not None
        if frame.opcode is Opcode.TEXT and (message := told(frame))["kind"] == "message":
            found.append(message["n"])
    return found


def told(frame: Frame) -> dict[str, Any]:
    assert len(frame.payload) == BYTES
    return dict(json.loads(frame.payload))


async def test_a_newcomer_gets_a_snapshot_and_then_each_message_in_order(start: Start):
    server = await start("drop oldest")
    await publish(server, 7)
    link = await server.connect("/feed")
    await until(lambda: the(server).readers)
    await publish(server, 3)
    messages = [json.loads(await link.recv()) for _ in range(4)]
    assert [(each["kind"], each["n"]) for each in messages] == [
        ("snapshot", 7),
        ("message", 8),
        ("message", 9),
        ("message", 10),
    ]


async def test_drop_newest_keeps_what_came_first(start: Start):
    server = await start("drop newest")
    bare = await stopped(server)
    await publish(server)
    known = stats(server)
    assert (known["queued"], known["dropped"] > 0) == (BUFFER, True)
    left = MANY - known["dropped"]
    assert await numbers(bare, left) == list(range(1, left + 1))


async def test_drop_oldest_keeps_what_came_last(start: Start):
    server = await start("drop oldest")
    bare = await stopped(server)
    await publish(server)
    dropped = stats(server)["dropped"]
    found = await numbers(bare, MANY)
    assert found[-BUFFER:] == list(range(MANY - BUFFER + 1, MANY + 1))
    assert len(found) == MANY - dropped < MANY


async def test_keep_latest_holds_one_message_whatever_the_buffer_is(start: Start):
    server = await start("keep latest")
    bare = await stopped(server)
    await publish(server)
    assert stats(server)["queued"] == 1
    assert (await numbers(bare, MANY))[-1] == MANY


async def test_disconnect_cuts_the_slow_one_and_the_others_get_all(start: Start):
    server = await start("disconnect")
    bare, link = await stopped(server), await server.connect("/feed")
    await until(lambda: len(the(server).readers) == 2)
    heard = []
    for number in range(1, MANY + 1):
        await publish(server, 1)
        while not heard or heard[-1] < number:
            heard.append(json.loads(await link.recv())["n"])
    assert heard == list(range(MANY + 1))
    assert (await bare.closed()).code == SLOW_READER
    await until(lambda: stats(server)["readers"] == 1)
    assert (stats(server)["slow"], stats(server)["dropped"]) == (1, 0)


async def test_wait_stops_the_source_for_everybody_and_loses_nothing(start: Start):
    server = await start("wait")
    bare, link = await stopped(server), await server.connect("/feed")
    await until(lambda: len(the(server).readers) == 2)
    publishing = asyncio.create_task(publish(server))
    listening = asyncio.create_task(anext_number(link, MANY))
    await until(lambda: stats(server)["queued"] >= BUFFER and the(server).made < MANY)
    held_at = stats(server)["made"]
    assert not publishing.done()
    assert not listening.done()
    assert held_at < MANY
    assert await numbers(bare, MANY) == list(range(1, MANY + 1))
    await publishing
    assert await listening == MANY


async def anext_number(link: Any, last: int) -> int:
    """Read until this number."""
    while True:
        number = json.loads(await link.recv())["n"]
        if number == last:
            return int(number)


async def test_a_source_that_waits_for_a_reader_goes_on_when_that_one_leaves(start: Start):
    server = await start("wait")
    bare = await stopped(server)
    publishing = asyncio.create_task(publish(server))
    await until(lambda: stats(server)["queued"] == BUFFER)
    bare.close()
    await publishing
    assert stats(server)["made"] == MANY


async def test_without_a_policy_all_that_the_sockets_do_not_take_piles_up_in_the_process(start: Start):
    server = await start("none")
    bare = await stopped(server)
    await publish(server)
    assert stats(server)["queued_bytes"] > (MANY - 15) * BYTES
    assert await numbers(bare, MANY) == list(range(1, MANY + 1))


async def test_not_even_a_lesson_may_eat_the_machine(start: Start, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(feed, "MOST_AHEAD", 20 * BYTES)
    server = await start("none")
    bare = await stopped(server)
    await publish(server)
    assert stats(server)["readers"] == 0
    assert (await bare.closed()).code == SLOW_READER


@pytest.mark.parametrize("rate", ["0", "-1", "1e9", "fast", "nan"])
def test_a_rate_that_is_none_is_refused_with_those_that_are(rate: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        feed.arguments().parse_args(["--rate", rate])
    assert "expected 0.1 to 10000 a second" in capsys.readouterr().err


@pytest.mark.parametrize(("policy", "overtakes"), [("none", False), ("drop newest", True)])
async def test_a_ping_overtakes_the_queue_and_not_what_was_written(
    start: Start, policy: str, overtakes: bool
):
    server = await start(policy)
    bare = await stopped(server)
    await publish(server)
    left = MANY - stats(server)["dropped"]
    [reader] = the(server).readers
    the(server).ping(reader.connection)
    before = 0
    while (frame := await bare.next()) and frame.opcode is not Opcode.PING:
        before += told(frame)["kind"] == "message"
    assert frame
    assert struct.unpack(">d", frame.payload)[0] > 0
    assert (before < left) is overtakes


async def test_who_has_been_given_all_is_sent_away_when_the_feed_is_over(start: Start):
    server = await start("drop oldest", "--seconds", "0.05", "--rate", "1000")
    producing = asyncio.create_task(the(server).produce())
    bare = await stopped(server)
    frames, close = await bare.until_closed()
    await producing
    assert close.code == DONE
    assert told(frames[-1])["n"] == stats(server)["made"] > 0
    assert (await (await stopped(server)).closed()).code == DONE


async def test_the_kernels_buffer_is_left_alone_only_when_asked(start: Start):
    sizes = []
    for more in ((), ("--send-buffer", "0")):
        server = await start("none", *more)
        await stopped(server)
        [reader] = the(server).readers
        sock = reader.connection.transport.get_extra_info("socket")
        sizes.append(sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF))
    assert sizes[0] < sizes[1]
