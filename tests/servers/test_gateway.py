"""The gateway over real sockets: both transports bring the same, encoded once, and none waits for another."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from labsupport.wire.frames import Opcode
from servers import gateway
from servers.core import crowd, event_stream
from tests.servers.conftest import PATIENCE_S, until
from tests.servers.gateways import Gate, run
from tests.servers.sockets import Bare
from tests.servers.streams import Chunks, listen, request

Start = Callable[..., Awaitable[Gate]]
TRANSPORTS = ("sse", "websocket")


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """start("--keep", "3", …) runs a gateway in this loop until the test ends."""
    async with AsyncExitStack() as stack:

        async def begin(*arguments: str) -> Gate:
            return await stack.enter_async_context(run(*arguments))

        yield begin


@pytest.fixture
async def gate(start: Start) -> Gate:
    return await start()


# ---------------------------------------------------------------- what followers get


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_an_event_reaches_a_follower_while_its_connection_stays_open(gate: Gate, transport: str):
    follow = await gate.follow(transport)
    for event, data in (("message", "hello"), ("two words", {"ü\n\0\u2028": [None, 1e100]}), ("price", 7)):
        status, answer = await gate.post({"event": event, "data": data})
        assert status == 201
        assert await follow.next() == (answer["id"], event, data)
    assert gate.crowds.open == 1


async def test_the_head_of_a_stream_says_what_browsers_and_proxies_need(gate: Gate):
    chunks = Chunks(await gate.wire(request(Origin="http://localhost:8888")))
    await chunks.next()
    lines = chunks.head.decode().lower().split("\r\n")
    assert lines[0] == "http/1.1 200 ok"
    for line in (
        "content-type: text/event-stream",
        "cache-control: no-cache",
        "x-accel-buffering: no",
        "transfer-encoding: chunked",
        "access-control-allow-origin: http://localhost:8888",
        "vary: origin",
    ):
        assert line in lines


async def test_each_event_is_one_chunk_behind_the_place_and_the_time_to_wait(gate: Gate):
    chunks = Chunks(await gate.wire(request()))
    assert re.fullmatch(rb"retry: \d+\nid: \w+-0\n\n", await chunks.next())
    for text in ("one", "two"):
        position = await gate.say(text)
        assert await chunks.next() == f'event: message\nid: {position}\ndata: "{text}"\n\n'.encode()


async def test_a_client_of_http_1_0_gets_the_stream_without_chunks(gate: Gate):
    wire = await gate.wire(b"GET /events HTTP/1.0\r\n\r\n")
    head = await wire.reader.readuntil(b"\r\n\r\n")
    assert b"chunked" not in head
    assert re.fullmatch(rb"retry: \d+\nid: \w+-0\n\n", await wire.reader.readuntil(b"\n\n"))
    position = await gate.say("one")
    assert await wire.reader.readuntil(b"\n\n") == f'event: message\nid: {position}\ndata: "one"\n\n'.encode()


async def test_each_client_is_told_another_time_to_wait_between_1_and_10_s(start: Start):
    gate = await start("--seed", "7")
    waits = [(await listen(gate)).parser.retry_ms or 0 for _ in range(40)]
    assert all(1000 <= wait <= 10_000 for wait in waits)
    assert len(set(waits)) > 30


async def test_in_silence_comments_come_that_no_listener_sees(start: Start):
    gate = await start("--heartbeat", "0.01")
    reader = await listen(gate)
    while reader.raw.count(b":\n\n") < 3:
        await reader.more()
    position = await gate.say("one")
    assert (await reader.next()).last_event_id == position


async def test_who_answers_its_pings_stays_and_who_does_not_is_told_1011(gate: Gate):
    living, dead = await gate.socket(), await gate.socket()
    ask = gate.crowds.sockets.look_after
    first, second = gate.crowds.sockets.ready.values()
    for _ in range(3):
        ask(first, 0.0)
        ping = await living.next()
        assert ping is not None
        assert ping.opcode is Opcode.PING
        await living.frame(Opcode.PONG, ping.payload)
        await until(lambda: first.state == "open")
    ask(second, 0.0)
    assert gate.crowds.open == 2
    ask(second, 0.0)
    assert gate.crowds.open == 1
    assert gate.crowds.sockets.counters.dead == 1
    assert (await dead.closed()).code == 1011


def test_comments_come_every_15_s_and_pings_every_20_if_not_told_otherwise():
    options = gateway.arguments().parse_args([])
    assert (options.heartbeat, options.ping) == (15, 20)


# ---------------------------------------------------------------- resume


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_without_a_position_comes_all_that_is_remembered_and_then_what_is_new(start: Start, transport):
    gate = await start("--keep", "2")
    await gate.say("one", "two", "three")
    follow = await gate.follow(transport)
    await gate.say("four")
    assert await follow.take(3) == ["two", "three", "four"]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_client_that_comes_back_gets_what_it_missed_and_nothing_twice(gate: Gate, transport: str):
    follow = await gate.follow(transport)
    await gate.say("one", "two")
    await follow.take(1)
    place = (await follow.next())[0]
    follow.close()
    await until(lambda: gate.crowds.open == 0)
    await gate.say("three", "four")
    again = await gate.follow(transport, place)
    await gate.say("five")
    assert await again.take(3) == ["three", "four", "five"]


async def test_an_event_that_is_published_while_a_client_comes_in_is_neither_lost_nor_doubled(gate: Gate):
    place = await gate.say("one")
    links = [await gate.bare() for _ in range(10)]
    for number, link in enumerate(links):
        gate.crowds.publish("message", b"%d" % number)  # goes out behind this turn of the loop
        await link.send(request(last_event_id=place).replace(b"last_event_id", b"Last-Event-ID"))
    await until(lambda: len(gate.crowds.streams) == 10)
    for link in links:
        raw = b""
        while raw.count(b"data: ") < 10:
            raw += await link.read()
        assert [int(number) for number in re.findall(rb"data: (\d+)", raw)] == list(range(10))


async def test_the_header_wins_over_the_query_since_it_is_newer(gate: Gate):
    old, new = await gate.say("one"), await gate.say("two")
    await gate.say("three")
    reader = await listen(gate, f"/events?last_event_id={old}", last_event_id=new)
    assert json.loads((await reader.next()).data) == "three"


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("name", ["other epoch", "too old", "bad position"])
async def test_a_place_of_no_use_is_told_as_an_event_and_a_snapshot_follows(start: Start, transport, name):
    gate = await start("--keep", "2")
    first = await gate.say("one")
    await gate.say("two", "three")
    epoch = first.partition("-")[0]
    place = {"other epoch": "elsewhere-1", "too old": f"{epoch}-0", "bad position": f"{epoch}-9"}[name]
    follow = await gate.follow(transport, place)
    id, event, problem = await follow.next()
    assert (id, event, problem["error"]) == (f"{epoch}-0", name, name)
    id, event, snapshot = await follow.next()
    assert (id, event) == (snapshot["position"], "snapshot")
    assert [each["data"] for each in snapshot["messages"]] == ["two", "three"]
    position = await gate.say("live")
    assert await follow.next() == (position, "message", "live")


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_large_snapshot_arrives_whole_and_what_is_published_meanwhile_behind_it(
    gate: Gate, transport
):
    large = ["x" * 50_000 + str(number) for number in range(40)]
    for each in large:
        gate.crowds.publish("message", json.dumps(each).encode())
    follow = await gate.follow(transport, "elsewhere-1")
    await gate.say("live")
    assert (await follow.next())[1] == "other epoch"
    assert [each["data"] for each in (await follow.next())[2]["messages"]] == large
    assert (await follow.next())[2] == "live"


async def test_the_messages_can_be_polled_as_well(gate: Gate):
    first = await gate.say("one")
    parked = asyncio.create_task(gate.get(since=first, wait=30))
    await until(lambda: gate.crowds.log.waiting == 1)
    second = await gate.say("two")
    status, answer = await parked
    assert (status, answer["position"]) == (200, second)
    assert [each["data"] for each in answer["messages"]] == ["two"]
    status, answer = await gate.get(since="elsewhere-1")
    assert (status, answer["error"]) == (410, "other epoch")
    assert answer["snapshot"]["position"] == second


# ---------------------------------------------------------------- publishing


async def test_many_messages_can_be_posted_at_once_one_in_a_line(gate: Gate):
    follow = await gate.follow("websocket")
    lines = {"Content-Type": "application/x-ndjson"}
    status, answer = await gate.post(b'{"data": 1}\n\n{"event": "price", "data": 2}\n', lines)
    assert status == 201
    assert await follow.take(2) == [1, 2]
    assert answer["id"] == gate.crowds.log.position
    assert (await gate.post(b'{"data": 3}\n{"event": "message"}\n', lines))[0] == 400
    assert (await gate.post(b"\n", lines))[0] == 400
    assert gate.crowds.log.position == answer["id"]  # of the lines before a wrong one, none was taken


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"\xff", 400),
        ({"event": "message"}, 400),
        ({"event": "a\nb", "data": 1}, 400),
        ({"event": "busy", "data": 1}, 400),
        (b'{"data": 1e999}', 400),
        (b'{"data": "' + b"x" * 70_000 + b'"}', 413),
    ],
)
async def test_what_cannot_be_passed_on_is_refused_with_advice(gate: Gate, body, status):
    got, answer = await gate.post(body)
    assert got == status
    assert answer["try"]


async def test_an_event_is_encoded_once_for_each_transport_and_written_once_to_each_follower(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
):
    written: list[tuple[int, bytes]] = []
    write_each = crowd.write_each

    def spy(fds, raw):
        written.append((len(fds), raw))
        return write_each(fds, raw)

    follows = [await gate.follow(transport) for transport in TRANSPORTS for _ in range(50)]
    monkeypatch.setattr(crowd, "write_each", spy)
    await gate.say("to all")
    assert [await follow.take(1) for follow in follows] == [["to all"]] * 100
    stats = (await gate.get("/stats"))[1]
    assert [stats[transport]["encoded"] for transport in TRANSPORTS] == [1, 1]
    assert [stats[transport]["events"] for transport in TRANSPORTS] == [50, 50]
    assert [number for number, _ in written] == [50, 50]


async def test_what_is_published_in_one_turn_of_the_loop_goes_out_in_one_write(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
):
    writes: list[bytes] = []
    follow = await gate.follow("websocket")
    write_each = crowd.write_each
    monkeypatch.setattr(crowd, "write_each", lambda fds, raw: writes.append(raw) or write_each(fds, raw))
    for number in range(100):
        gate.crowds.publish("message", b"%d" % number)
    assert writes == []
    assert await follow.take(100) == list(range(100))
    assert len(writes) == 1


async def test_a_follower_has_no_task_of_its_own(gate: Gate):
    before = len(asyncio.all_tasks())
    links = [await gate.bare() for _ in range(20)]
    for link in links:
        await link.send(request())
    await until(lambda: gate.crowds.open == 20)
    assert len(asyncio.all_tasks()) == before


# ---------------------------------------------------------------- slow readers

LARGE = json.dumps("x" * 60_000).encode()


BUFFER = 32 * 1024  # bytes that the kernel keeps for a lazy client


async def lazy(gate: Gate, transport: str) -> Bare:
    """A client that does not read until it is told to."""
    if transport == "websocket":
        return await gate.socket(receive_buffer=BUFFER)
    link = await gate.bare(BUFFER)
    await link.send(request())
    await until(lambda: len(gate.crowds.streams))
    return link


async def numbers(link: Bare, most: int) -> list[int]:
    """Read until message `most` has come; the numbers of all that came."""
    raw, last = bytearray(), b'"n":%d,' % most
    while raw.find(last, max(0, len(raw) - BUFFER)) < 0:
        chunk = await link.read(BUFFER // 2)
        assert chunk, "it was dropped"
        raw += chunk
    return [int(number) for number in re.findall(rb'"n":(\d+)', raw)]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_reader_that_stops_reading_is_dropped_and_the_others_do_not_wait(
    start: Start, transport: str
):
    gate = await start("--unread", "5")
    slow = await lazy(gate, transport)
    others = [await gate.follow(each) for each in TRANSPORTS]
    crowds = {"sse": gate.crowds.streams, "websocket": gate.crowds.sockets}
    sent = 0
    while not crowds[transport].counters.slow:
        gate.crowds.publish("message", LARGE)
        sent += 1
        for other in others:
            assert len((await other.next())[2]) == 60_000
        assert sent < 200, "it was never dropped"
    assert crowds[transport].counters.slow == 1
    assert gate.crowds.open == 2
    if transport == "websocket":
        assert (await slow.closed()).code == 4408
    else:
        while await slow.read():
            pass


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_reader_that_does_not_read_costs_one_event_of_memory_and_gets_all_once_it_reads(
    gate: Gate, transport: str
):
    slow = await lazy(gate, transport)
    (follower,) = [f for c in (gate.crowds.streams, gate.crowds.sockets) for f in c.ready.values()]
    for number in range(50):
        gate.crowds.publish("message", b'{"n":%d,"x":%b}' % (number, LARGE))
        if number % 3 == 0:  # one to three events in a write
            await asyncio.sleep(0)
            assert follower.transport.get_write_buffer_size() <= len(LARGE) + 200
    assert follower.crowd.behind
    assert await numbers(slow, 49) == list(range(50))
    await until(lambda: not follower.crowd.behind)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_with_keep_latest_it_is_told_how_many_it_has_missed_and_gets_the_newest(
    start: Start, transport
):
    gate = await start("--policy", "keep latest")
    slow = await lazy(gate, transport)
    for number in range(50):
        gate.crowds.publish("message", b'{"n":%d,"x":%b}' % (number, LARGE))
        await asyncio.sleep(0)
    seen = await numbers(slow, 49)
    assert seen == [*range(len(seen) - 1), 49]
    crowds = {"sse": gate.crowds.streams, "websocket": gate.crowds.sockets}
    assert crowds[transport].counters.dropped == 50 - len(seen) > 0
    assert gate.crowds.open == 1


async def test_who_still_reads_the_history_is_not_slow_however_long_it_is(start: Start):
    gate = await start("--unread", "2")
    for number in range(50):
        gate.crowds.publish("message", b'{"n":%d,"x":%b}' % (number, LARGE))
    link = await lazy(gate, "sse")
    for number in range(50, 52):
        gate.crowds.publish("message", b'{"n":%d,"x":0}' % number)
    assert await numbers(link, 51) == list(range(52))


async def test_a_reader_that_takes_nothing_from_one_sign_of_life_to_the_next_is_dropped(start: Start):
    gate = await start("--heartbeat", "0.05")
    link = await lazy(gate, "sse")
    while not gate.crowds.streams.behind:
        gate.crowds.publish("message", LARGE)
        await asyncio.sleep(0)
    await until(lambda: gate.crowds.open == 0)
    assert gate.crowds.streams.counters.slow == 1
    link.close()


async def test_who_takes_a_little_from_one_sign_of_life_to_the_next_stays(gate: Gate):
    link = await lazy(gate, "sse")
    streams = gate.crowds.streams
    while not streams.behind:
        gate.crowds.publish("message", LARGE)
        await asyncio.sleep(0)
    (follower,) = streams.behind
    for _ in range(3):
        streams.look_after(follower, 0.0)
        before = follower.transport.get_write_buffer_size()
        while follower in streams.behind and follower.transport.get_write_buffer_size() == before:
            await link.read(BUFFER)
            gate.crowds.publish("message", LARGE)
    assert streams.counters.slow == 0
    assert gate.crowds.open == 1


# ---------------------------------------------------------------- the end


async def test_at_the_end_streams_end_in_order_and_websockets_close_with_1012_a_tenth_at_a_time():
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    async with run() as gate:
        gate.crowds.sleep = sleep
        sockets = [await gate.socket() for _ in range(10)]
        streams = [Chunks(await gate.wire(request())) for _ in range(10)]
        for stream in streams:
            await stream.next()
        wires, gate.wires = gate.wires, []
        closes = [asyncio.create_task(socket.closed()) for socket in sockets]
    async with asyncio.timeout(PATIENCE_S):
        assert {(await close).code for close in closes} == {1012}
        assert [await stream.next() for stream in streams] == [b""] * 10
    assert len(pauses) == 9
    for wire in wires:
        wire.close()


def test_the_times_to_wait_are_those_of_the_other_event_streams():
    assert event_stream.RETRY_MS == (1_000, 10_000)
