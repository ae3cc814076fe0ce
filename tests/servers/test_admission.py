"""A server lets in as many as it was told to, in their turn, and refuses the rest cheaply and politely."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
import websockets

from labsupport.wire.handshake import build_request
from servers import websocket_echo
from servers.core.admission import Admission
from tests.servers.conftest import PATIENCE_S, until
from tests.servers.sockets import Bare, Server, run_chat, run_echo

Start = Callable[..., Awaitable[Server]]
SLOW = ("--accepts-per-s", "0.1")  # one in ten seconds: nobody's turn comes while a test runs


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    async with AsyncExitStack() as stack:
        yield lambda *arguments: run_echo(stack, *arguments)


async def asking(server: Server, count: int) -> list[Bare]:
    """Connections that wait for their turn."""
    lines = []
    for number in range(count):
        line = await server.bare()
        await line.send(build_request(f"127.0.0.1:{server.port}"))
        await until(lambda number=number: len(server.door._waiting) > number)
        lines.append(line)
    return lines


# ---------------------------------------------------------------- the rule, with a clock of its own


def test_handshakes_are_answered_one_by_one_at_the_rate_and_the_queue_holds_no_more_than_its_size():
    queue = Admission(accepts_per_s=4, accept_queue=3, clock=Clock())
    assert [queue.turn_at() for _ in range(5)] == [100.25, 100.5, 100.75, None, None]
    assert (queue.admitted, queue.refused, queue.is_full, queue.longest_s) == (3, 2, True, 0.75)


def test_a_place_is_free_again_as_soon_as_one_was_answered():
    clock = Clock()
    queue = Admission(4, 3, clock)
    for _ in range(3):
        queue.turn_at()
    clock.now = 100.2499
    assert queue.is_full
    clock.now = 100.25
    assert not queue.is_full
    assert queue.turn_at() == 101.0
    assert queue.is_full


def test_a_queue_of_one_takes_somebody_only_when_nobody_is_being_served():
    clock = Clock()
    queue = Admission(10, 1, clock)
    assert queue.turn_at() == pytest.approx(100.1)
    clock.now = 100.05
    assert queue.turn_at() is None
    clock.now = queue.busy
    assert queue.turn_at() == pytest.approx(100.2)


def test_an_idle_server_saves_nothing_up_for_later():
    clock = Clock()
    queue = Admission(4, 1, clock)
    clock.now = 200.0
    assert [queue.turn_at(), queue.turn_at()] == [200.25, None]


@pytest.mark.parametrize("rate", [0.1, 3, 400, 1e6])
@pytest.mark.parametrize("size", [1, 2, 100])
def test_never_more_are_let_in_than_rate_and_queue_allow(rate, size):
    clock = Clock()
    queue = Admission(rate, size, clock)
    for number in range(500):
        clock.now = 100 + number * 0.003
        queue.turn_at()
        assert queue.admitted <= size + rate * (clock.now - 100) + 1e-6


# ---------------------------------------------------------------- at the door of a real server


async def test_who_waits_is_let_in_when_its_turn_comes(start: Start):
    server = await start("--accepts-per-s", "2000", "--accept-queue", "50")
    links = await asyncio.gather(*(server.connect() for _ in range(50)))
    for link in links:
        await link.send("hello")
        assert await link.recv() == "hello"
    assert server.door.admission.admitted == 50
    assert server.door.counters.refused == 0


async def test_whoever_finds_the_queue_full_is_refused_at_once_and_those_who_wait_stay(start: Start):
    server = await start(*SLOW, "--accept-queue", "2")
    waiting = await asking(server, 2)
    for _ in range(20):
        status, answer = await server.refused()
        assert (status, answer) == (
            503,
            {"error": "the accept queue is full", "try": "again, at a random moment"},
        )
    assert server.door.counters.refused == server.door.admission.refused == 20
    assert len(server.door._waiting) == len(waiting) == 2


async def test_a_refusal_ends_the_connection_in_order_and_leaves_nothing_in_the_server(start: Start):
    server = await start(*SLOW, "--accept-queue", "1")
    [first] = await asking(server, 1)
    bare = await server.bare()
    await bare.send(build_request(f"127.0.0.1:{server.port}"))
    assert (await bare.answer())[0] == 503  # read to its end: a FIN, and no reset
    await until(lambda: len(server.door.shared.open) == 1)
    first.close()
    await until(lambda: not server.door.shared.open)


async def test_a_head_in_pieces_gets_the_same_refusal(start: Start):
    server = await start(*SLOW, "--accept-queue", "1", "--retry-after", "7")
    await asking(server, 1)
    answers = []
    for pieces in (2, 1, 2, 2):
        bare = await server.bare()
        request = build_request(f"127.0.0.1:{server.port}")
        half = len(request) // pieces
        await bare.send(request[:half])
        if request[half:]:
            await until(lambda: any(each._head_bytes == half for each in server.door.shared.open))  # noqa: B023
            await bare.send(request[half:])
        raw = b""
        while chunk := await bare.read():
            raw += chunk
        head, _, body = raw.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 ")
        assert head.count(b"Retry-After: 7") == 1
        assert (
            head.count(b"Server:") <= 1
        )  # the library adds it to what it is given: nothing may be given twice
        answers.append(body)
    assert answers == answers[:1] * 4
    assert server.door.counters.refused == server.door.admission.refused == 4


@pytest.mark.parametrize(
    ("arguments", "said"), [((), None), (("--retry-after", "7"), "7"), (("--retry-after", "0"), "0")]
)
async def test_retry_after_is_said_if_that_is_asked_for(start: Start, arguments, said):
    server = await start(*SLOW, "--accept-queue", "1", *arguments)
    await asking(server, 1)
    with pytest.raises(websockets.InvalidStatus) as refusal:
        await server.connect()
    assert refusal.value.response.headers.get("Retry-After") == said


async def test_pages_are_served_while_the_queue_is_full(start: Start):
    server = await start(*SLOW, "--accept-queue", "1")
    await asking(server, 1)
    status, stats = await server.get("/stats?x=1")
    assert (status, stats["connections"]) == (200, 0)


async def test_what_the_door_refuses_anyway_takes_no_place_in_the_queue(start: Start):
    server = await start(*SLOW, "--accept-queue", "1")
    assert (await server.refused(origin="https://example.org"))[0] == 403
    assert (await server.get("/nothing"))[0] == 426
    assert server.door.admission.admitted == 0


async def test_those_who_wait_count_as_connections(start: Start):
    server = await start(*SLOW, "--accept-queue", "10", "--most-connections", "2")
    await asking(server, 2)
    status, answer = await server.refused()
    assert (status, answer["error"]) == (503, "there are 2 connections already")


async def test_whoever_still_waits_when_the_server_ends_is_told_so(start: Start):
    server = await start(*SLOW, "--accept-queue", "5")
    waiting = await asking(server, 3)
    draining = asyncio.ensure_future(server.door.drain())
    for line in waiting:
        status, answer = await line.answer()
        assert (status, answer["error"]) == (503, "this server ends")
        line.close()
    await draining


async def test_whoever_comes_while_the_server_ends_is_told_so_at_once(start: Start):
    server = await start("--accepts-per-s", "1000")
    server.door.draining = True  # what drain() sets first; it takes its time when there are many to send away
    late = await server.bare()
    await late.send(build_request(f"127.0.0.1:{server.port}"))
    status, answer = await late.answer()
    assert (status, answer["error"]) == (503, "this server ends")
    assert (server.door.counters.refused, server.door.admission.refused) == (1, 0)


async def test_one_who_waited_and_left_harms_nobody(start: Start):
    server = await start("--accepts-per-s", "1000", "--accept-queue", "50")
    for _ in range(20):
        bare = await server.bare()
        await bare.send(build_request(f"127.0.0.1:{server.port}"))
        bare.close()
    await until(lambda: server.door.admission.admitted == 20)
    link = await server.connect()
    await link.send("still here")
    assert await link.recv() == "still here"
    await until(lambda: len(server.door.shared.open) == 1)


async def test_without_the_knob_nobody_waits(start: Start):
    server = await start()
    assert server.door.admission is None
    await server.connect()


async def test_the_chat_has_the_knob_as_well():
    async with AsyncExitStack() as stack:
        server, _ = await run_chat(stack, *SLOW, "--accept-queue", "1")
        bare = await server.bare()
        await bare.send(build_request(f"127.0.0.1:{server.port}", "/chat"))
        await until(lambda: server.door._waiting)
        assert (await server.refused("/chat"))[0] == 503


@pytest.mark.parametrize(
    "arguments",
    [
        ("--accepts-per-s", "0"),
        ("--accepts-per-s", "fast"),
        ("--accepts-per-s", "nan"),
        ("--accepts-per-s", "-1"),
        ("--accept-queue", "0"),
        ("--retry-after", "-1"),
    ],
)
def test_a_knob_turned_beyond_its_range_is_an_error_of_one_line(arguments, capsys):
    with pytest.raises(SystemExit):
        websocket_echo.arguments().parse_args(arguments)
    assert "expected" in capsys.readouterr().err


async def test_the_servers_own_clock_gives_the_turns(process):
    server = process("-m", "servers.websocket_echo", "--accepts-per-s", "500", "--accept-queue", "20")
    async with asyncio.timeout(PATIENCE_S):
        links = await asyncio.gather(
            *(websockets.connect(server.url, compression=None) for _ in range(40)), return_exceptions=True
        )
        opened = [link for link in links if not isinstance(link, BaseException)]
        refused = [link for link in links if isinstance(link, websockets.InvalidStatus)]
        assert len(opened) >= 20
        assert len(opened) + len(refused) == 40
        assert all(json.loads(each.response.body)["error"] == "the accept queue is full" for each in refused)
        for link in opened:
            await link.close()
