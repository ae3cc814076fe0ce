"""A real server is killed under real clients: they come back by their policy and are counted."""

import asyncio
import math
import os
from collections.abc import Iterator

import numpy as np
import pytest

from labsupport.backoff import Fixed, FullJitter, PageSample, SignalR
from labsupport.draws import SPREAD, draw
from labsupport.measure.sockets import LoadError
from labsupport.measure.storms import accept_rate, crowd, storm
from labsupport.measure.storms_rate import slope
from labsupport.processes import Server, ServerError

SOON = {"outage_s": 0.05, "seconds": 30.0}
SOME = FullJitter(base_s=0.05, cap_s=0.4)


def echo(*arguments: object) -> Server:
    return Server("websocket_echo", *(str(argument) for argument in arguments))


@pytest.fixture
def server() -> Iterator[Server]:
    with echo() as running:
        yield running


def with_knob(server: Server, accepts_per_s: float, accept_queue: int, *more: object) -> Server:
    """The crowd comes in through an open door; the server that is started again has the knob."""
    knob = ("--accepts-per-s", accepts_per_s, "--accept-queue", accept_queue, *more)
    server.arguments = tuple(str(each) for each in knob)
    return server


def descriptors() -> int:
    return len(os.listdir("/dev/fd"))


# ---------------------------------------------------------------- who comes back, and when


async def test_everybody_comes_back_after_a_kill_and_nothing_is_left_behind(server):
    before = descriptors()
    url = server.url
    run = await storm(server, SOME, 60, seed=1, **SOON)
    assert descriptors() <= before
    assert (server.url, server.alive) == (url, True)
    assert run.clients == 60
    assert np.isfinite(run.connected_at_s).all()
    assert (run.lost_clients, run.unfinished_clients) == (0, 0)
    assert sum(run.cuts.values()) == 60
    assert set(run.cuts) <= {"closed", "reset"}
    assert run.outcomes()["connected"] == 60
    assert run.outcomes()["refused"] > 0  # nobody listened yet
    assert run.attempts == len(run.attempt_times_s) == int(run.attempts_of_client.sum())
    assert 0 < run.server_gone_s < run.server_back_s
    assert (run.connected_at_s > run.server_gone_s).all()
    assert run.time_until(1.0) == run.t100_s == run.connected_at_s.max()
    assert run.summary().startswith("60 real clients made ")
    assert run.connected_share([0.0, run.t100_s]).tolist() == [0.0, 1.0]


@pytest.mark.parametrize("spread_s", [0.0, 0.03])
async def test_clients_wait_by_the_draws_that_the_model_has(server, spread_s):
    run = await storm(server, SOME, 30, seed=7, spread_s=spread_s, **SOON)
    for client in range(30):
        mine = np.flatnonzero(run.attempt_client == client)
        since = [run.cut_at_s[client], *run.attempt_answered_s[mine[:-1]]]
        waits = SOME.waits(seed=7, client=client)
        for number, (row, since_s) in enumerate(zip(mine, since, strict=True)):
            wait_s = waits.next() + spread_s * draw(7, client, number, SPREAD)
            assert run.attempt_due_s[row] - since_s == pytest.approx(wait_s, abs=1e-9)
            assert run.attempt_times_s[row] >= run.attempt_due_s[row]


async def test_two_storms_can_pass_over_the_same_crowd(server):
    told = []
    async with crowd(server, 40) as clients:
        first = await clients.storm(SignalR(waits_s=(0.0,)), seed=1, **SOON)
        second = await clients.storm(SOME, seed=2, progress=lambda *now: told.append(now), **SOON)
        await asyncio.sleep(0)  # what the thread has told is called in the loop
    assert first.lost_clients == 40  # nobody listened, and they had one attempt; the second storm let them in
    assert not first.troubles
    assert "Connected: too few; 40 gave up" in first.summary()
    assert second.lost_clients == 0
    assert np.isfinite(second.cut_at_s).all()
    assert told[-1][0] == 40
    with pytest.raises(LoadError, match="open another"):
        await clients.storm(SOME)


async def test_whoever_finds_the_queue_full_waits_again_and_all_come_in_at_the_servers_pace(server):
    run = await storm(with_knob(server, 200, 5), SOME, 60, seed=3, **SOON)
    assert run.outcomes()["status 503"] > 0
    assert run.lost_clients == run.unfinished_clients == 0
    assert run.accept_s > 4 / 200  # the last in the queue waited for four others at least
    in_order_s = np.sort(run.connected_at_s)
    # 5 from the queue, and then one in each 5 ms: the 60th at least 55 · 5 ms after the first
    assert in_order_s[-1] - in_order_s[0] > 0.25


async def test_a_503_ends_a_client_that_takes_it_as_final_but_a_refused_connection_does_not(server):
    run = await storm(with_knob(server, 50, 2), Fixed(0.05), 60, seed=3, final_status=True, **SOON)
    refused, final = run.outcomes()["refused"], run.outcomes()["status 503"]
    assert refused >= 60  # nobody listened when they first came, and all tried again
    assert run.lost_clients == final > 0
    assert run.outcomes()["connected"] + final == 60
    assert np.isinf(run.connected_at_s).sum() == final
    assert math.isinf(run.t100_s)


async def test_a_server_that_drains_sends_its_clients_away_one_batch_after_the_other():
    with echo("--drain-s", "0.5") as server:
        run = await storm(server, Fixed(0.01), 40, kill=False, **SOON)
    assert run.cuts == {"close 1012": 40}
    assert not run.killed
    assert run.attempt_times_s.min() < run.cut_at_s.max()  # the first ones knock before the last ones go
    assert run.cut_at_s.max() < run.server_gone_s
    assert run.outcomes()["status 503"] > 0  # it says that it ends
    assert run.lost_clients == run.unfinished_clients == 0


async def test_clients_that_are_back_answer_pings(server):
    with_knob(server, 25, 25, "--ping-interval", "0.1", "--ping-timeout", "5")
    run = await storm(server, Fixed(0.3), 25, **SOON)
    assert [each for each in run.troubles if "machine did not keep up" not in each] == []
    assert sum(run.cuts.values()) == 25


# ---------------------------------------------------------------- bounds, and what goes wrong


async def test_whoever_still_tries_at_the_end_of_the_time_is_counted_and_said(server):
    run = await storm(with_knob(server, 0.1, 1), Fixed(0.2), 20, outage_s=0.0, seconds=1.5)
    assert run.unfinished_clients == 20
    assert run.lost_clients == 0
    assert "20 clients were still trying when the measurement ended" in run.summary()


async def test_attempts_are_bounded_too(server):
    run = await storm(with_knob(server, 0.1, 1), Fixed(0.02), 10, outage_s=0.0, most_attempts=5)
    assert run.attempts_of_client.max() == 5
    assert run.unfinished_clients >= 9
    assert run.lost_clients == 0


async def test_a_server_that_does_not_come_back_is_an_error_and_the_crowd_goes(server):
    class Broken(Server):
        def __init__(self) -> None:
            self.__dict__ = server.__dict__

        def restart(self) -> None:
            raise ServerError("the port is taken")

    before = descriptors()
    with pytest.raises(ServerError, match="the port is taken"):
        await storm(Broken(), SOME, 10, **SOON)
    assert descriptors() <= before


async def test_an_interrupt_ends_the_storm_and_leaves_a_server_that_runs(server):
    pid = server.pid
    before = descriptors()
    begun = asyncio.Event()
    running = asyncio.ensure_future(
        storm(server, Fixed(20.0), 10, outage_s=20.0, progress=lambda *_: begun.set(), seconds=60)
    )
    async with asyncio.timeout(20):
        await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert server.alive
    assert server.pid != pid
    assert descriptors() <= before


async def test_a_crowd_that_does_not_get_in_says_why():
    with echo("--most-connections", "5") as server:
        clients = crowd(server, 8)
        clients.open_s = 0.3
        with pytest.raises(LoadError, match=r"5 of 8 clients came in within 0.3 s \(\d+ times status 503\)"):
            await clients


@pytest.mark.parametrize("clients", [0, 20_001])
async def test_the_number_of_clients_is_bounded(server, clients):
    with pytest.raises(LoadError, match="expected 1 to 20000 clients"):
        await storm(server, SOME, clients)


@pytest.mark.parametrize(
    ("rules", "says"), [({"seconds": 121}, "at most 120 seconds"), ({"outage_s": 61}, "below 60 s")]
)
async def test_the_time_is_bounded(server, rules, says):
    with pytest.raises(LoadError, match=says):
        await storm(server, SOME, 2, **rules)


# ---------------------------------------------------------------- what the model needs


async def test_rate_and_queue_are_found_from_outside():
    with echo("--accepts-per-s", "200", "--accept-queue", "20") as server:
        for _ in range(3):  # on a full machine, whatever stands still for a moment shows in a single one
            rate = await accept_rate(server, 200)
            if rate.per_s == pytest.approx(200, rel=0.05) and rate.queue == pytest.approx(20, abs=3):
                break
    assert rate.per_s == pytest.approx(200, rel=0.05)
    assert rate.queue == pytest.approx(20, abs=3)
    assert rate.refused > 0
    assert "clients a second (200 came in); " in str(rate)


async def test_a_server_without_the_knob_has_a_rate_and_no_queue_that_shows(server):
    rate = await accept_rate(server, 200)
    assert rate.queue is None
    assert (rate.came_in, rate.refused) == (200, 0)
    assert "never full" in str(rate)


async def test_a_rate_needs_enough_who_come_in():
    too_few = pytest.raises(LoadError, match=r"only \d of 50 came in within 0.5 s")
    with echo("--accepts-per-s", "1", "--accept-queue", "1") as server, too_few:
        await accept_rate(server, 50, seconds=0.5)


def test_one_that_is_late_hardly_changes_a_slope():
    times_s = np.arange(200) / 50
    times_s[120] += 0.2
    assert slope(times_s) == pytest.approx(50, rel=0.01)


def test_a_policy_of_the_lab_is_what_a_storm_wants():
    assert PageSample().waits(seed=1, client=2).next() is not None
