"""Listeners in processes of their own: counted, reached, and gone with the one who opened them."""

import asyncio
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from labsupport.measure.fan_out import FanOut, fan_out
from labsupport.measure.floor import Floor
from labsupport.measure.helper import Helpers
from labsupport.measure.listeners import Listeners
from labsupport.measure.listening import listen
from labsupport.measure.sockets import LoadError, Target, ask
from labsupport.measure.usage import cpu_s, family, resident_bytes
from labsupport.processes import serve

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")


@pytest.fixture(scope="module")
def floor():
    one = Floor()
    yield one
    one.close()


@pytest.fixture(scope="module")
def sse():
    with serve("sse", instance="tests/measure listening") as server:
        yield server


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def until(true):
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110 - nothing tells of the end of another's child
            await asyncio.sleep(0.01)


async def test_one_write_reaches_every_listener_in_every_process(floor):
    async with listen(floor, 300, processes=2) as listeners:
        assert str(listeners) == "300 of 300 listen"
        first, second = await listeners.write(), await listeners.write()
    for heard in (first, second):
        assert (heard.heard, heard.broken) == (300, {})
        assert 0 < heard.first_ms <= heard.last_ms
        assert (np.diff(heard.delays_ms) >= 0).all()
    assert str(second) == "300 of 300 heard it"


async def test_listeners_may_come_in_later_and_the_progress_is_told(floor):
    told = []
    async with listen(floor, 10) as listeners:
        await listeners.grow(90, told.append)
        assert (listeners.listening, told[-1]) == (100, 100)
        assert (await listeners.write()).heard == 100


async def test_a_real_server_is_listened_to_from_its_newest_position_on(sse):
    async with listen(sse, 20) as listeners:
        assert (await listeners.write()).heard == 20
    async with listen(sse, 20) as listeners:  # what was posted before does not come again
        assert (await listeners.write()).heard == 20


async def test_whoever_is_turned_away_is_counted_with_the_reason(sse):
    missing = Target.of(sse.url).get("/nothing-here")
    async with listen(sse, 15, handshake=missing) as listeners:
        assert str(listeners) == "0 of 15 listen, 15 status 404"


@LINUX
async def test_a_server_that_dies_leaves_listeners_that_say_so():
    floor = Floor()
    async with listen(floor, 25) as listeners:
        floor.close()
        with pytest.raises(LoadError, match="refused"):
            await listeners.write(seconds=1)


async def test_no_process_stays_when_the_listeners_are_closed(floor):
    async with listen(floor, 5, processes=2) as listeners:
        pids = [helper.pid for helper in listeners._all.all]
        assert all(map(alive, pids))
    assert not any(map(alive, pids))
    with pytest.raises(LoadError, match="are closed"):
        await listeners.write()


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX'")
async def test_the_processes_end_with_their_parent_whatever_death_it_dies(floor):
    program = (
        "import asyncio, sys\n"
        "from labsupport.measure.listening import listen\n"
        "async def main():\n"
        "    async with listen(sys.argv[1], 20, processes=2) as listeners:\n"
        "        print(*[helper.pid for helper in listeners._all.all], flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    command = [sys.executable, "-c", program, floor.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:  # noqa: ASYNC220 - short
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        parent.send_signal(signal.SIGKILL)
    await until(lambda: not any(map(alive, pids)))


async def test_fan_out_gives_a_row_for_each_write_and_a_column_for_each_listener(floor):
    result = await fan_out(floor, 100, writes=3)
    assert result.delays_ms.shape == (3, 100)
    assert 0 < result.first_ms <= result.p50_ms <= result.p99_ms <= result.last_ms.max()
    assert result.p99_last_ms <= result.last_ms.max()
    assert result.times(result) == 1.0
    assert result.opened_per_s > 0
    assert (result.cpu_us_per_push is None) == (sys.platform != "linux")
    assert str(result).startswith("floor, 100 listeners (SSE), 3 writes: first after ")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"writes": 0}, "expected 1 to 1000 writes, got 0"),
        ({"listeners": 0}, "expected 1 to 1500000 listeners, got 0"),
        ({"listeners": 2_000_000}, "to 1500000 listeners, got 2000000"),
        ({"processes": 500}, "expected 1 to 100 processes, got 500"),
        ({"transport": "carrier pigeon"}, "expected as transport 'SSE' or 'WebSocket', got 'carrier pigeon'"),
    ],
)
async def test_what_makes_no_sense_is_refused(floor, change, text):
    with pytest.raises(LoadError, match=text):
        await fan_out(floor, **({"listeners": 10, "writes": 1, "processes": 1} | change))


def test_a_fan_out_is_as_many_times_the_floor_as_its_median_last_listener():
    def one(*last_ms):
        rows = np.array([[1.0, last] for last in last_ms])
        return FanOut(
            server="x",
            transport="SSE",
            listeners=2,
            delays_ms=rows,
            opened_per_s=1.0,
            cpu_us_per_push=None,
        )

    assert one(20, 30, 1_000).times(one(10, 15, 15)) == 2.0


async def test_a_websocket_is_pinged_and_the_pongs_are_counted():
    with serve("websocket_echo", instance="tests/measure listening") as server:
        handshake = Target.of(server.url).upgrade("/")
        async with listen(server.url, 12, handshake=handshake) as listeners:
            assert (await listeners.ping(), await listeners.ping()) == (12, 12)


class Scripted:
    """A listener's socket that has these chunks to give, one after another, and keeps what it is sent."""

    def __init__(self, *chunks):
        self.chunks = list(chunks)
        self.sent = []

    def recv(self, size):
        return self.chunks.pop(0) if self.chunks else b""

    def send(self, raw):
        self.sent.append(raw)


def scripted(request, *chunks):
    listeners = Listeners(Target("127.0.0.1", 1, "/"), request)
    sock = listeners._socks[7] = Scripted(*chunks)
    listeners._poll.ready = lambda seconds: [7]
    return listeners, sock


@pytest.mark.parametrize("cut", range(1, 8))
def test_a_marker_that_comes_in_two_pieces_is_found(cut):
    whole = b"data: <marker>\n\n"
    listeners, _ = scripted(b"", b": beat\n\n", whole[: 6 + cut], whole[6 + cut :])
    assert len(listeners.hear(b"<marker>", threading.Event(), 5)) == 1


def test_pings_before_and_behind_a_message_are_answered():
    text = b"\x81\x08<marker>"
    listeners, sock = scripted(b"\r\nUpgrade: websocket\r\n", b"\x89\x02hi", b"\x81\x03one\x89\x00", text)
    assert len(listeners.hear(b"<marker>", threading.Event(), 5)) == 1
    assert sock.sent == [b"\x8a\x82\0\0\0\0hi", b"\x8a\x80\0\0\0\0"]


def test_a_helper_that_falls_over_is_an_error_with_what_it_said():
    with Helpers("no_such_module", 1) as helpers, pytest.raises(LoadError, match="No module named"):
        helpers.ask({0: {"do": "begin"}}, threading.Event(), 20)


@LINUX
def test_a_family_is_a_process_and_all_that_descend_from_it():
    program = (
        "import subprocess, sys; p = subprocess.Popen(['sleep', '60']); print(p.pid, flush=True); p.wait()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        child = int(parent.stdout.readline())
        assert family(parent.pid) == [parent.pid, child]
        assert resident_bytes([parent.pid, child]) > resident_bytes([child]) > 0
        assert cpu_s([parent.pid, child]) >= cpu_s([parent.pid]) > 0
        os.kill(child, signal.SIGTERM)


def test_the_floor_answers_where_it_stands(floor):
    assert ask(Target.of(floor.url), "/messages").status == 200
