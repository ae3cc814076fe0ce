"""The middlebox between real sockets: what passes, what each fault does to connections that are open already.

The box's clock is turned by hand, so that "after 10 s" is exact and takes no time. That nothing has come is
never judged by waiting, but by what the box says it did with the bytes: `waiting`, `dropped`, `writes`.
"""

import asyncio
import contextlib
import dataclasses
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from random import Random

import aiohttp
import pytest

from servers import middlebox
from servers.core import http, lifeline, recording
from servers.core.faults import Faults, changed, response_is_whole

PATIENCE_S = 20  # seconds for what must happen; nothing here waits for it to pass


async def becomes(true: Callable[[], object]) -> None:
    """Let the loop turn until `true()`."""
    async with asyncio.timeout(PATIENCE_S):
        while not true():  # noqa: ASYNC110 - the box has no event for each of its inner states
            await asyncio.sleep(0.001)


class End:
    """A socket's end, with the two calls the tests need and a limit on each."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        async with asyncio.timeout(PATIENCE_S):
            await self.writer.drain()

    async def receive(self, size: int) -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.readexactly(size)

    async def rest(self) -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.read()

    def reset(self) -> None:
        middlebox.abort(self.writer)


class Road:
    """A client's place, a box, and a target whose ends the test holds in its hands."""

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self.now = 1000.0
        self.clock = clock or (lambda: self.now)
        self.links: list[middlebox.Link] = []
        self.accepted: asyncio.Queue[End] = asyncio.Queue()
        self.ends: list[End] = []

    async def open(self) -> None:
        self.target = await asyncio.start_server(self.accept, "127.0.0.1", 0)
        port = self.target.sockets[0].getsockname()[1]
        self.box = middlebox.Middlebox("127.0.0.1", port, clock=self.clock)
        await self.box.listen(lifeline.listener("127.0.0.1", 0))
        self.idle = asyncio.create_task(self.box.watch_idle())

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self.accepted.put(End(reader, writer))

    async def connect(self) -> tuple[End, End, middlebox.Link]:
        """A client's end, the target's end, and the link between them."""
        async with asyncio.timeout(PATIENCE_S):
            client = End(*await asyncio.open_connection(*self.box.address[:2]))
            server = await self.accepted.get()
        self.ends += [client, server]
        await becomes(self.unknown)
        (link,) = self.unknown()
        self.links.append(link)
        return client, server, link

    def unknown(self) -> list[middlebox.Link]:
        return [link for link in self.box.links.values() if link not in self.links]

    async def switch(self, **faults: object) -> None:
        await self.box.switch(changed(self.box.faults, faults))

    def turn_clock(self, seconds: float) -> None:
        self.now += seconds
        self.box.poke_all()

    async def close(self) -> None:
        self.idle.cancel()
        self.target.close()
        for end in self.ends:
            end.reset()
        async with asyncio.timeout(PATIENCE_S):
            await self.box.close()


@pytest.fixture
async def road() -> AsyncIterator[Road]:
    road = Road()
    await road.open()
    yield road
    await road.close()


def recorded(road: Road, direction: str, kind: str = "data") -> bytes:
    return b"".join(data for _, _, d, k, data, _ in road.box.recording.records if (d, k) == (direction, kind))


def kinds(road: Road) -> list[tuple[str, str]]:
    return [(direction, kind) for _, _, direction, kind, _, _ in road.box.recording.records]


# What passes


async def test_bytes_pass_unchanged_both_ways_and_each_is_recorded_once(road: Road) -> None:
    client, server, _ = await road.connect()
    up, down = bytes(range(256)) * 3000, bytes(reversed(range(256))) * 2000
    sending = asyncio.gather(client.send(up), server.send(down))
    assert await server.receive(len(up)) == up
    assert await client.receive(len(down)) == down
    await sending
    assert recorded(road, "up") == up
    assert recorded(road, "down") == down


async def test_the_end_of_one_direction_passes_while_the_other_goes_on(road: Road) -> None:
    client, server, _ = await road.connect()
    await client.send(b"question")
    client.writer.write_eof()
    assert await server.rest() == b"question"
    await server.send(b"answer")
    assert await client.receive(6) == b"answer"
    server.writer.write_eof()
    assert await client.rest() == b""
    await becomes(lambda: not road.box.links)
    assert kinds(road) == [
        ("up", "open"),
        ("up", "data"),
        ("up", "close"),
        ("down", "data"),
        ("down", "close"),
    ]


@pytest.mark.parametrize("who", ["client", "server"])
async def test_a_reset_by_one_side_reaches_the_other_as_a_reset(road: Road, who: str) -> None:
    client, server, _ = await road.connect()
    sender, receiver = (client, server) if who == "client" else (server, client)
    sender.reset()
    with pytest.raises(ConnectionResetError):
        await receiver.rest()
    assert ("up" if who == "client" else "down", "reset") in kinds(road)


async def test_a_client_that_leaves_a_stream_is_told_on_to_the_server_that_still_writes(road: Road) -> None:
    client, server, _ = await road.connect()
    client.writer.close()
    assert await server.rest() == b""
    with pytest.raises(ConnectionError):
        await write_for_ever(server)


async def write_for_ever(end: End) -> None:
    while True:
        await end.send(b"x" * 1000)
        await asyncio.sleep(0)


async def test_a_target_that_refuses_shows_as_a_reset(road: Road) -> None:
    road.target.close()
    client = End(*await asyncio.open_connection(*road.box.address[:2]))
    with pytest.raises(ConnectionResetError):
        await client.rest()


async def test_a_reader_that_stops_makes_the_sender_wait_and_not_the_box_grow(road: Road) -> None:
    client, server, link = await road.connect()
    much = 64 << 20
    sending = asyncio.create_task(client.send(b"x" * much))
    most = seen = still = 0
    while still < 100:  # turns of the loop without a byte more
        await asyncio.sleep(0.001)
        still = still + 1 if link.up.read == seen else 0
        seen, most = link.up.read, max(most, link.up.waiting)
    assert most <= 2 * middlebox.CHUNK
    assert not sending.done()
    assert await server.receive(much) == b"x" * much
    await sending


# Delay and throttle


async def test_delay_holds_bytes_of_open_connections_to_the_second_and_in_order(road: Road) -> None:
    client, server, link = await road.connect()
    await road.switch(delay_s=10)
    await client.send(b"one ")
    await becomes(lambda: link.up.waiting == 4)
    road.turn_clock(4)
    await client.send(b"two ")
    await becomes(lambda: link.up.waiting == 8)
    road.turn_clock(6)
    assert await server.receive(4) == b"one "
    await becomes(lambda: link.up.waiting == 4)
    road.turn_clock(3.9)
    await asyncio.sleep(0)
    assert link.up.waiting == 4
    road.turn_clock(0.1)
    assert await server.receive(4) == b"two "


async def test_a_delay_that_is_switched_off_lets_go_of_what_waits_in_order(road: Road) -> None:
    client, server, link = await road.connect()
    await road.switch(delay_s=86_400)
    for number in range(10):
        await server.send(b"%d" % number)
        await becomes(lambda sent=number + 1: link.down.waiting == sent)
    await road.switch(delay_s=0)
    assert await client.receive(10) == b"0123456789"


async def test_a_delay_is_a_pipeline_and_bounded(road: Road) -> None:
    client, server, link = await road.connect()
    await road.switch(delay_s=86_400)
    sending = asyncio.create_task(client.send(b"x" * (64 << 20)))
    await becomes(lambda: link.up.waiting >= middlebox.MAX_DELAYED)
    assert link.up.waiting <= middlebox.MAX_DELAYED + middlebox.CHUNK
    assert not sending.done()
    sending.cancel()


async def test_the_end_of_a_direction_is_delayed_like_its_bytes(road: Road) -> None:
    client, server, link = await road.connect()
    await road.switch(delay_s=10)
    await client.send(b"last")
    client.writer.write_eof()
    await becomes(lambda: link.up.ended)
    assert not server.reader.at_eof()
    road.turn_clock(10)
    assert await server.rest() == b"last"


async def test_jitter_never_changes_the_order(road: Road) -> None:
    client, server, link = await road.connect()
    await road.switch(delay_s=1, jitter_s=100)
    for number in range(50):
        await client.send(b"%2d" % number)
        await becomes(lambda sent=2 * number + 2: link.up.waiting == sent)
    road.turn_clock(101)
    assert await server.receive(100) == b"".join(b"%2d" % number for number in range(50))


async def test_throttle_lets_so_many_bytes_pass_in_so_many_seconds(road: Road) -> None:
    client, server, link = await road.connect()
    await road.switch(bytes_per_s=100)
    await client.send(b"x" * 1000)
    await becomes(lambda: link.up.waiting == 0)
    slices = 50  # of 2 bytes: a second's worth
    before = link.up.writes  # an idle line has its first slice free
    for number in range(1, slices + 1):
        road.turn_clock(middlebox.SLICE_S * 1.001)
        await becomes(lambda number=number: link.up.writes >= before + number)
        assert link.up.writes == before + number
    passed = 2 * link.up.writes
    assert 100 <= passed <= 102
    assert await server.receive(passed) == b"x" * passed
    await road.switch(bytes_per_s=None)
    assert await server.receive(1000 - passed) == b"x" * (1000 - passed)


async def test_however_faults_are_switched_no_byte_is_lost_doubled_or_out_of_place() -> None:
    random = Random(7)
    choices: list[dict[str, object]] = [
        {"delay_s": 0.003},
        {"delay_s": None},
        {"jitter_s": 0.002},
        {"jitter_s": None},
        {"bytes_per_s": 2_000_000},
        {"bytes_per_s": None},
        {"split": True},
        {"split": False},
        {"buffer": True},
        {"buffer": False},
        {"refuse": True},
        {"refuse": False},
    ]
    road = Road(time.monotonic)
    await road.open()
    pairs = [await road.connect() for _ in range(3)]
    ends = [end for client, server, _ in pairs for end in (client, server)]
    receiving = asyncio.gather(*(end.rest() for end in ends))
    sent = random.randbytes(300_000)
    passed = set()
    for start in range(0, len(sent), 3000):
        await road.switch(**random.choice(choices))
        for end in ends:
            end.writer.write(sent[start : start + 3000])
        await asyncio.sleep(0.002)  # a pace, not a wait: something passes under each set of faults
        passed.add(sum(link.up.writes for *_, link in pairs))
    assert len(passed) > 50, "the faults were switched while nothing was under way"
    for end in ends:
        end.writer.write_eof()
    await road.box.switch(Faults())
    assert set(await receiving) == {sent}
    await road.close()


# Silence


async def test_forget_drops_bytes_and_ends_both_ways_and_leaves_both_sides_believing(road: Road) -> None:
    client, server, link = await road.connect()
    await client.send(b"before")
    assert await server.receive(6) == b"before"
    await road.switch(forget=True)
    for number in range(100):
        await client.send(b"%3d" % number)
    await server.send(b"pong")
    client.writer.write_eof()
    await becomes(lambda: (link.up.dropped, link.down.dropped, link.up.ended) == (300, 4, True))
    assert link.up.writes == 1  # "before", and nothing since
    assert link.down.writes == 0
    assert not server.reader.at_eof()
    assert not client.reader.at_eof()
    assert len(road.box.links) == 1


async def test_a_forgotten_connection_stays_lost_and_new_ones_work(road: Road) -> None:
    client, server, link = await road.connect()
    untouched, its_server, _ = await road.connect()
    await road.switch(forget=True)
    await client.send(b"lost")
    await becomes(lambda: link.up.dropped == 4)
    await road.switch(forget=False)
    await client.send(b"lost as well")
    await server.send(b"this too")
    await becomes(lambda: (link.up.dropped, link.down.dropped) == (16, 8))
    for near, far in ((untouched, its_server), (await road.connect())[:2]):
        await near.send(b"hello")
        assert await far.receive(5) == b"hello"


async def test_a_reset_is_forgotten_too(road: Road) -> None:
    client, server, link = await road.connect()
    await road.switch(forget=True)
    client.reset()
    await becomes(lambda: link.up.ended)
    await server.send(b"are you there?")
    await becomes(lambda: link.down.dropped == 14)
    assert not server.reader.at_eof()
    server.writer.close()
    await becomes(lambda: not road.box.links)


@pytest.mark.parametrize("direction", ["up", "down"])
async def test_half_open_drops_one_direction_and_lets_the_other_pass(road: Road, direction: str) -> None:
    client, server, link = await road.connect()
    deaf, heard, pipe = (client, server, link.up) if direction == "up" else (server, client, link.down)
    await road.switch(half_open=direction)
    await deaf.send(b"into the void")
    await becomes(lambda: pipe.dropped == 13)
    await heard.send(b"still here")
    assert await deaf.receive(10) == b"still here"
    deaf.writer.write_eof()
    await becomes(lambda: pipe.ended)
    await heard.send(b"and on")
    assert await deaf.receive(6) == b"and on"
    assert not heard.reader.at_eof()


async def test_a_receiver_that_is_gone_is_not_told_through_a_dead_direction(road: Road) -> None:
    client, server, link = await road.connect()
    await road.switch(half_open="up")
    client.reset()
    await becomes(lambda: link.up.ended)
    for _ in range(20):
        await server.send(b"x")
    await becomes(lambda: link.down.lost)
    assert not server.reader.at_eof()


async def test_what_was_dropped_is_marked_in_the_recording(road: Road) -> None:
    client, server, link = await road.connect()
    await client.send(b"heard")
    await server.receive(5)
    await road.switch(forget=True)
    await client.send(b"lost")
    await becomes(lambda: link.up.dropped == 4)
    assert [(r[4], r[5]) for r in road.box.recording.records if r[3] == "data"] == [
        (b"heard", False),
        (b"lost", True),
    ]


# Buffer and split

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
SIZED = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"


async def test_buffer_holds_a_stream_until_its_last_chunk(road: Road) -> None:
    client, server, link = await road.connect()
    await road.switch(buffer=True)
    events = CHUNKED + b"9\r\ndata: 1\n\n\r\n"
    await server.send(events)
    await becomes(lambda: link.down.held == events)
    assert link.down.writes == 0
    await server.send(b"0\r\n\r\n")
    assert await client.receive(len(events) + 5) == events + b"0\r\n\r\n"


async def test_buffer_holds_a_stream_without_a_length_until_its_connection_ends(road: Road) -> None:
    client, server, link = await road.connect()
    await road.switch(buffer=True)
    await server.send(b"HTTP/1.1 200 OK\r\n\r\ndata: 1\n\n")
    await becomes(lambda: link.down.held)
    server.writer.write_eof()
    assert (await client.rest()).endswith(b"data: 1\n\n")


async def test_buffer_holds_a_stream_that_was_open_before_and_lets_go_when_switched_off(road: Road) -> None:
    client, server, link = await road.connect()
    await server.send(CHUNKED)
    assert await client.receive(len(CHUNKED)) == CHUNKED
    await road.switch(buffer=True)
    await server.send(b"9\r\ndata: 1\n\n\r\n")
    await becomes(lambda: link.down.held)
    await road.switch(buffer=False)
    assert await client.receive(14) == b"9\r\ndata: 1\n\n\r\n"


async def test_buffer_lets_a_whole_response_and_all_requests_pass(road: Road) -> None:
    client, server, _ = await road.connect()
    await road.switch(buffer=True)
    for _ in range(3):
        await client.send(b"GET / HTTP/1.1\r\n\r\n")
        assert await server.receive(18) == b"GET / HTTP/1.1\r\n\r\n"
        await server.send(SIZED)
        assert await client.receive(len(SIZED)) == SIZED


async def test_buffer_leaves_a_websocket_alone(road: Road) -> None:
    client, server, _ = await road.connect()
    await road.switch(buffer=True)
    upgrade = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
    await server.send(upgrade)
    assert await client.receive(len(upgrade)) == upgrade
    await server.send(b"\x81\x02hi")
    assert await client.receive(4) == b"\x81\x02hi"


async def test_buffer_holds_no_more_than_its_limit(road: Road) -> None:
    client, server, link = await road.connect()
    await road.switch(buffer=True)
    sending = asyncio.create_task(server.send(CHUNKED + b"x" * (3 * middlebox.MAX_HELD)))
    assert await client.receive(2 * middlebox.MAX_HELD)
    await sending
    assert len(link.down.held) < middlebox.MAX_HELD


@pytest.mark.parametrize(
    ("held", "whole"),
    [
        (b"", False),
        (SIZED[:-1], False),
        (SIZED, True),
        (SIZED[:20], False),
        (CHUNKED + b"1\r\nx\r\n", False),
        (CHUNKED + b"1\r\nx\r\n0\r\n\r\n", True),
        (CHUNKED + b"0\r\n\r\n", True),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", False),
        (b"data: in the middle of a stream\r\n\r\n", False),
    ],
)
def test_a_response_is_whole_when_its_framing_says_so(held: bytes, whole: bool) -> None:
    assert response_is_whole(bytearray(held)) is whole


async def test_split_writes_each_byte_alone_and_no_algorithm_joins_them(road: Road) -> None:
    client, server, link = await road.connect()
    await road.switch(split=True)
    await client.send(b"x" * 1000)
    await server.send(b"y" * 500)
    assert await server.receive(1000) == b"x" * 1000
    assert await client.receive(500) == b"y" * 500
    assert (link.up.writes, link.down.writes) == (1000, 500)
    for pipe in (link.up, link.down):
        assert pipe.writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


# Ends


async def test_an_idle_connection_is_closed_and_a_busy_one_is_not(road: Road) -> None:
    quiet, its_server, _ = await road.connect()
    busy, busy_server, link = await road.connect()
    road.turn_clock(50)
    await busy.send(b"ping")
    assert await busy_server.receive(4) == b"ping"
    await road.switch(idle_s=60)
    road.turn_clock(10)
    assert await quiet.rest() == b""
    assert await its_server.rest() == b""
    await busy.send(b"ping")
    assert await busy_server.receive(4) == b"ping"
    road.turn_clock(60)
    assert await busy.rest() == b""


async def test_an_idle_limit_that_has_passed_already_acts_at_once(road: Road) -> None:
    client, server, _ = await road.connect()
    road.turn_clock(3600)
    await road.switch(idle_s=60)
    assert await client.rest() == b""


async def test_refuse_turns_new_clients_away_keeps_the_open_ones_and_can_be_undone(road: Road) -> None:
    client, server, _ = await road.connect()
    address = road.box.address
    await road.switch(refuse=True)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*address)
    await client.send(b"still")
    assert await server.receive(5) == b"still"
    await road.switch(refuse=False)
    assert road.box.address == address
    client, server, _ = await road.connect()
    await client.send(b"again")
    assert await server.receive(5) == b"again"


async def test_a_port_that_was_taken_meanwhile_is_said_and_changes_nothing(road: Road) -> None:
    await road.switch(refuse=True)
    with contextlib.closing(lifeline.listener(*road.box.address)):
        with pytest.raises(ValueError, match="Cannot listen on port"):
            await road.switch(refuse=False)
        assert road.box.faults.refuse
    await road.switch(refuse=False)
    await road.connect()


async def test_cut_ends_both_sides_in_order_even_with_bytes_under_way(road: Road) -> None:
    client, server, link = await road.connect()
    await road.switch(delay_s=1000)
    await client.send(b"x" * 1_000_000)
    await becomes(lambda: link.up.waiting == 1_000_000)
    link.cut()
    await client.send(b"more, which nobody reads")
    assert await server.rest() == b""
    assert await client.rest() == b""
    client.writer.close()
    server.writer.close()
    await becomes(lambda: not road.box.links)
    assert kinds(road).count(("up", "close")) == kinds(road).count(("down", "close")) == 1


async def test_a_cut_link_whose_sides_never_close_is_closed_in_the_end(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(middlebox, "LINGER_S", 0.01)
    _, _, link = await road.connect()
    link.cut()
    await becomes(lambda: not road.box.links)


async def test_reset_is_a_reset_to_both_sides(road: Road) -> None:
    client, server, link = await road.connect()
    link.reset()
    for end in (client, server):
        with pytest.raises(ConnectionResetError):
            await end.rest()
    await becomes(lambda: not road.box.links)


async def test_a_box_that_ends_cuts_its_links_and_waits_for_no_side(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(middlebox, "LINGER_S", 1000)
    monkeypatch.setattr(middlebox, "HINT_S", 0.01)
    client, server, _ = await road.connect()
    async with asyncio.timeout(PATIENCE_S):
        await road.box.close()
    assert not road.box.links
    assert await client.rest() == b""
    assert await server.rest() == b""


# Recording


async def test_a_full_recording_stops_and_says_so_and_the_bytes_still_pass(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "MAX_RECORDING", 1000)
    client, server, _ = await road.connect()
    for _ in range(10):
        await client.send(b"x" * 100)
        assert await server.receive(100) == b"x" * 100
    answer = json.loads(road.box.recording.as_json("http://127.0.0.1:9"))
    assert answer["truncated"] is True
    assert [record["kind"] for record in answer["records"]] == ["open", "data", "data"]
    road.box.recording.begin()
    assert json.loads(road.box.recording.as_json(""))["truncated"] is False


async def test_a_new_recording_begins_at_zero_with_what_is_open(road: Road) -> None:
    client, server, link = await road.connect()
    await client.send(b"old")
    await server.receive(3)
    road.turn_clock(5)
    road.box.recording.begin(road.box.links)
    road.turn_clock(2)
    await client.send(b"new")
    await server.receive(3)
    assert json.loads(road.box.recording.as_json("http://127.0.0.1:9")) == {
        "target": "http://127.0.0.1:9",
        "truncated": False,
        "records": [
            {"t": 0, "connection": link.number, "direction": "up", "kind": "open", "data": ""},
            {"t": 2, "connection": link.number, "direction": "up", "kind": "data", "data": "bmV3"},
        ],
    }


# The switchboard


@pytest.fixture
async def switchboard(road: Road) -> AsyncIterator[aiohttp.ClientSession]:
    sock = lifeline.listener("127.0.0.1", 0)
    async with (
        http.serving(middlebox.control(road.box, "http://127.0.0.1:9"), sock) as url,
        aiohttp.ClientSession(url) as session,
    ):
        yield session


async def test_the_switchboard_switches_what_is_named_and_null_is_off(
    road: Road, switchboard: aiohttp.ClientSession
) -> None:
    async with switchboard.put("/faults", json={"delay_s": 2, "forget": True}) as answer:
        assert await answer.json() == {**dataclasses.asdict(Faults()), "delay_s": 2, "forget": True}
    async with switchboard.put("/faults", json={"delay_s": None}) as answer:
        assert answer.status == 200
    assert road.box.faults == Faults(forget=True)
    async with switchboard.delete("/faults") as answer:
        assert answer.status == 200
    assert road.box.faults == Faults()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ('{"delay": 1}', "no fault is called 'delay'; there are: delay_s"),
        ('{"__class__": 1}', "no fault is called"),
        ('{"delay_s": "1"}', 'delay_s: expected a number from 0 to 86400, or null; got "1"'),
        ('{"delay_s": -1}', "got -1"),
        ('{"delay_s": NaN}', "NaN is no JSON number"),
        ('{"delay_s": true}', "got true"),
        ('{"idle_s": 0}', "expected a number from 0.01"),
        ('{"bytes_per_s": 1e999}', "got Infinity"),
        ('{"forget": 1}', "forget: expected true or false"),
        ('{"half_open": "both"}', 'expected "up" or "down"'),
        ('{"half_open": ["up"]}', 'expected "up" or "down"'),
        ("[]", "expected an object"),
        ("delay_s=1", "not JSON"),
        ("\xff", "not UTF-8"),
    ],
)
async def test_a_change_that_does_not_fit_is_refused_and_changes_nothing(
    road: Road, switchboard: aiohttp.ClientSession, change: str, words: str
) -> None:
    async with switchboard.put("/faults", data=change.encode("latin-1")) as answer:
        assert answer.status == 400
        assert words in (await answer.json())["error"]
    assert road.box.faults == Faults()


async def test_the_switchboard_lists_cuts_and_resets(road: Road, switchboard: aiohttp.ClientSession) -> None:
    client, server, _ = await road.connect()
    await client.send(b"hello")
    await server.receive(5)
    async with switchboard.get("/connections") as answer:
        (connection,) = (await answer.json())["connections"]
    assert connection["up"] == {"read": 5, "waiting": 0, "dropped": 0, "writes": 1, "lost": False}
    async with switchboard.post("/cut") as answer:
        assert await answer.json() == {"ended": 1}
    assert await client.rest() == b""
    client, server, _ = await road.connect()
    async with switchboard.post("/reset") as answer:
        assert answer.status == 200
    with pytest.raises(ConnectionResetError):
        await client.rest()


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1.evil.example"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/faults"),
        ("DELETE", "/faults"),
        ("POST", "/cut"),
        ("POST", "/reset"),
        ("DELETE", "/recording"),
    ],
)
async def test_a_foreign_page_can_switch_nothing(
    road: Road, switchboard: aiohttp.ClientSession, origin: str, method: str, path: str
) -> None:
    _, _, link = await road.connect()
    await road.switch(delay_s=1)
    before = len(road.box.recording.records)
    data = '{"forget": true}' if method == "PUT" else None
    async with switchboard.request(method, path, data=data, headers={"Origin": origin}) as answer:
        assert answer.status == 403
    assert road.box.faults == Faults(delay_s=1)
    assert not link.relaying.cancelling()
    assert len(road.box.recording.records) == before


@pytest.mark.parametrize("path", ["/faults", "/recording", "/connections"])
async def test_a_foreign_page_can_read_nothing(switchboard: aiohttp.ClientSession, path: str) -> None:
    async with switchboard.get(path, headers={"Origin": "https://evil.example"}) as answer:
        assert "Access-Control-Allow-Origin" not in answer.headers
    async with switchboard.get(path, headers={"Origin": "http://localhost:8888"}) as answer:
        assert answer.headers["Access-Control-Allow-Origin"] == "http://localhost:8888"
