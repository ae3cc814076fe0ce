"""Delays by two loops, and events to one reader: what was measured is what was asked for."""

import os

import numpy as np
import pytest

from labsupport.measure.delay import two_loops
from labsupport.measure.reader import reader_rate
from labsupport.measure.sockets import LoadError
from labsupport.processes import serve


@pytest.mark.skipif(os.name != "posix", reason="a server is paused by SIGSTOP")
async def test_the_closed_loop_never_asks_while_the_server_stands_and_the_open_one_counts_all_who_came():
    with serve("short_polling", instance="tests/measure delay") as server:
        run = await two_loops(server, rate_per_s=100, horizon_s=1.2, stall_at_s=0.3, stall_s=0.6)
    stood = (run.open_due_s > run.stall_at_s) & (run.open_due_s < run.stall_at_s + run.stall_s)
    # Nobody who came meanwhile was answered before the server went on; none of this is a wall clock's luck.
    ends_s = run.open_due_s + run.open_ms / 1000
    assert (ends_s[stood] >= run.stall_at_s + run.stall_s).all()
    assert len(run.open_ms) == 120
    assert not np.isnan(run.open_ms).any()
    assert run.missing >= 50
    asked_meanwhile = (run.closed_sent_s > run.stall_at_s + 0.01) & (run.closed_sent_s < 0.9)
    assert asked_meanwhile.sum() <= 2  # the one that was not answered, and one on the way when it stopped
    assert run.open_p99_ms > 500
    assert f"The closed loop never sent {run.missing} of them" in str(run)


@pytest.mark.skipif(os.name != "posix", reason="a server is paused by SIGSTOP")
async def test_without_a_standstill_both_loops_ask_as_often():
    with serve("short_polling", instance="tests/measure delay") as server:
        run = await two_loops(server, rate_per_s=50, horizon_s=0.4, stall_at_s=0.0, stall_s=0.0)
    assert len(run.open_ms) == 20
    assert 0 < len(run.closed_ms) <= 20


@pytest.mark.parametrize(
    "change",
    [
        {"rate_per_s": 0},
        {"rate_per_s": 10_000},
        {"horizon_s": 0},
        {"horizon_s": 600},
        {"stall_at_s": 3.5},
        {"stall_s": -1},
        {"horizon_s": float("nan")},
    ],
)
async def test_what_cannot_be_measured_is_refused(change):
    with serve("short_polling", instance="tests/measure delay") as server, pytest.raises(LoadError):
        await two_loops(server, **change)


async def test_a_reader_gets_all_events_and_their_rate_is_told():
    with serve("gateway", instance="tests/measure reader") as server:
        for transport in ("SSE", "WebSocket"):
            rate = await reader_rate(server, 1_700, transport=transport)
            assert rate.count == 1_700
            assert rate.per_s == rate.count / rate.seconds > 0


@pytest.mark.parametrize("events", [0, 499, 1_000_001])
async def test_the_number_of_events_is_bounded(events):
    with pytest.raises(LoadError, match="expected 500 to 1000000 events"):
        await reader_rate("http://127.0.0.1:1", events)


async def test_a_server_that_takes_no_lines_is_an_error_and_no_rate():
    with serve("short_polling", instance="tests/measure delay") as server, pytest.raises(LoadError):
        await reader_rate(server, 500)
