"""What breaks first when connections are opened step by step, and that nothing stays of the climb."""

import os
import socket
import sys
import threading

import pytest

from labsupport.measure import climb as room
from labsupport.measure import million
from labsupport.measure.climb import (
    Climb,
    Climber,
    descriptors,
    explanation,
    limit_descriptors,
    open_connections,
)
from labsupport.measure.listening import listen
from labsupport.measure.million import Plan, waiting_ports
from labsupport.measure.sockets import LoadError, Origin, Target
from labsupport.measure.usage import available_bytes, family
from labsupport.processes import serve

LINUX = pytest.mark.skipif(
    sys.platform != "linux", reason="limits of a running process, ports of a socket: Linux"
)


@pytest.fixture(scope="module")
def echo():
    with serve("websocket_echo", instance="tests/measure climb") as server:
        yield server


async def test_where_nothing_breaks_all_are_open_and_each_step_is_told(echo):
    told = []
    climb = await open_connections(echo, 50, step=20, progress=told.append)
    assert (climb.reached, climb.stopped_by, climb.broken) == (50, "", {})
    assert [line.split(" open")[0] for line in told] == ["20", "40", "50"]
    assert str(climb).endswith("nothing broke: all 50 are open")


@LINUX
async def test_without_descriptors_clients_hang_and_none_is_refused_until_there_are_more(echo):
    limit_descriptors(echo, 40)
    try:
        climb = await open_connections(echo, 120, step=120, patience_s=0.5, progress=lambda line: None)
        assert 10 < climb.reached < 40
        assert climb.broken == {"no answer in time": 120 - climb.reached}
        assert "used all of its 40 descriptors" in climb.stopped_by
        assert "nobody is refused" in str(climb)
    finally:
        limit_descriptors(echo, None)
    again = await open_connections(echo, 120, step=120, progress=lambda line: None)
    assert again.reached == 120


@LINUX
async def test_ports_run_out_at_their_number_and_other_ports_are_still_there(echo):
    with socket.socket() as sock:
        try:
            sock.setsockopt(socket.IPPROTO_IP, 51, bytes(4))
        except OSError:
            pytest.skip("this kernel has no range of ports for a socket (Linux 6.3)")
    few = Origin(sources=1, ports=(40_000, 40_029))
    climb = await open_connections(echo, 45, step=45, origin=few, progress=lambda line: None)
    assert climb.broken == {"no local port left": 45 - climb.reached}
    assert 20 <= climb.reached <= 30  # somebody else on this machine may have one of the ports
    assert "local ports" in climb.stopped_by
    async with (
        listen(echo, 20, origin=few) as one,
        listen(echo, 20, origin=Origin(ports=(40_100, 40_129))) as other,
    ):
        assert one.broken == other.broken == {}


async def test_a_server_that_counts_turns_the_others_away():
    with serve("gateway", "--most-connections", "20", instance="tests/measure full") as server:
        climb = await open_connections(server, 80, step=20, progress=lambda line: None)
    assert 20 <= climb.reached < 80
    assert "it is full" in climb.stopped_by


@LINUX
async def test_the_memory_that_is_to_stay_free_ends_a_climb_before_it_is_taken(echo, monkeypatch):
    monkeypatch.setattr(room, "available_bytes", lambda: 3_000_000_000)
    async with listen(echo, 50, opened=0) as held:
        climber = Climber(held, [], spare_bytes=2_999_999_999)
        climber.climb(50, 50, threading.Event(), 10)
        assert climber.stopped_by.startswith("memory: 3.0 GB are left")
        assert held.listening == 0


async def test_the_time_limit_ends_a_climb(echo):
    climb = await open_connections(echo, 50, step=10, seconds=1e-9, progress=lambda line: None)
    assert climb.reached == 0
    assert climb.stopped_by.startswith("time: ")


@pytest.mark.parametrize(
    ("broken", "text"),
    [
        ({"no answer in time": 3}, "does not answer any more"),
        ({"refused": 3}, "refuses"),
        ({"no descriptor left": 3}, "the client's descriptors"),
        ({"status 503": 1}, "503"),
        ({"closed by the server": 1}, "it is full"),
        ({"EPROTO": 1}, "EPROTO"),
    ],
)
def test_each_reason_is_told_in_words(broken, text):
    assert text in explanation(broken, [])


@pytest.mark.parametrize(("most", "step"), [(0, 10), (-1, 10), (2_000_000, 10), (10, 0)])
async def test_a_climb_without_bounds_is_refused(echo, most, step):
    with pytest.raises(LoadError, match="expected 1 to 1500000 connections"):
        await open_connections(echo, most, step=step)


@LINUX
def test_a_limit_that_no_process_may_have_is_refused(echo):
    open_now, allowed = descriptors(echo.pid)
    assert 3 <= open_now < allowed
    with pytest.raises(LoadError, match="expected 1 to"):
        limit_descriptors(echo, 10**9)


def test_memory_for_each_is_told_from_a_thousand_on():
    marks = [(1_000, 50_000_000), (2_000, 60_000_000), (3_000, 70_000_000)]
    assert room._each(marks) == 10_000.0
    assert room._each(marks[:1]) is room._each([(10, 1), (20, 2)]) is room._each([(1, None), (2, 3)]) is None
    climb = Climb(
        most=9,
        reached=3,
        stopped_by="the moon",
        broken={"refused": 6},
        took_s=1.0,
        process_bytes_each=None,
        kernel_bytes_each=None,
    )
    assert str(climb) == "3 of 9 open at once after 1.0 s, 6 refused\nthe moon"


@pytest.mark.parametrize(
    ("available", "per_process", "most", "processes", "why"),
    [
        (24_000_000_000, 19_000, 1_000_000, 59, "as asked for"),
        (8_000_000_000, 19_000, 500_000, 30, "what memory allows"),
        (24_000_000_000, 1_000, 57_600, 64, "descriptors of 64 processes"),
        (None, 19_000, 1_000_000, 59, "as asked for"),
    ],
)
def test_a_plan_goes_as_far_as_memory_and_descriptors_allow(available, per_process, most, processes, why):
    plan = Plan.of(1_000_000, available, per_process)
    assert (plan.most, plan.processes) == (most, processes)
    assert why in plan.why


def test_without_memory_there_is_no_climb():
    with pytest.raises(LoadError, match="1.9 GB of memory are available, and 2 are to stay free"):
        Plan.of(1_000_000, 1_900_000_000, 19_000)


@LINUX
def test_the_command_climbs_pushes_and_leaves_nothing(capfd):
    before = family(os.getpid())
    assert million.main(["--most", "500"]) == 0
    said = capfd.readouterr().out
    assert "500 connections (as asked for)" in said
    assert "500 connections are open at once" in said
    assert "500 of 500 have it" in said
    assert "All closed; ports of it that wait in TIME_WAIT: 0." in said
    assert available_bytes() > 0
    assert family(os.getpid()) == before  # neither a server nor a client has stayed


@LINUX
def test_a_connection_that_was_closed_in_order_waits_and_is_counted():
    with serve("short_polling", instance="tests/measure waiting") as server:
        target = Target.of(server.url)
        assert waiting_ports(server.url) == 0
        with socket.create_connection(target[:2], timeout=5, source_address=("127.0.1.1", 0)) as sock:
            sock.sendall(target.get("/messages", b"Connection: close\r\n"))
            while sock.recv(4096):  # to the server's end of it: the server closes first, and waits
                pass
        assert waiting_ports(server.url) == 1


@pytest.mark.parametrize("most", ["0", "1000001"])
def test_more_than_a_million_is_not_asked_for(most, capsys):
    with pytest.raises(SystemExit):
        million.main(["--most", most])
    assert "expected 1 to 1000000" in capsys.readouterr().err


def test_a_climb_that_cannot_begin_says_why(monkeypatch, capsys):
    monkeypatch.setattr(million, "available_bytes", lambda: 1)
    assert million.main([]) == 1
    assert "The climb ended before it began: 0.0 GB" in capsys.readouterr().err
