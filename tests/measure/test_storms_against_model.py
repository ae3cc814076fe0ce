"""2 000 real clients lose a real server: the model says when they are back, and it is right within 5 %."""

import numpy as np
import pytest

from labsupport.backoff import FullJitter, PageSample, Policy
from labsupport.measure.storms import AcceptRate, StormCrowd, StormRun, accept_rate, crowd
from labsupport.models.reconnect import Gap, Storm, gap, simulate
from labsupport.processes import Server

CLIENTS = 2_000
# Slow enough that neither the crowd nor the server is short of a processor, even if another program has one;
# the spread makes the waves broad. And with these waits, 99 of 100 are not reached just at the end of a wave,
# where one client more or less would shift t99 to the next one.
KNOB = ("--accepts-per-s", "400", "--accept-queue", "100")
QUEUE_S = 100 / 400  # seconds in a full queue
POLICIES = (PageSample(0.4, 3.2), FullJitter(0.4, 3.2))  # as base 1 s and cap 8 s at 160 accepts a second
STORM = {"outage_s": 0.6, "spread_s": 1.0, "seed": 20, "seconds": 60}


def was_disturbed(run: StormRun) -> bool:
    """Whether crowd or server stood still for a tenth of a second: at 400 a second that alone is 2 %."""
    return run.machine_was_busy or run.accept_s > QUEUE_S + 0.1


async def a_storm(clients: StormCrowd, policy: Policy) -> StormRun:
    """One storm; a second one if the crowd itself was kept waiting: then it measured the machine."""
    run = await clients.storm(policy, **STORM)
    if was_disturbed(run):
        print(f"Again, since the machine was busy: {run.summary()}")
        run = await clients.storm(policy, **STORM)
    return run


def against_model(run: StormRun, rate: AcceptRate) -> Gap:
    assert rate.queue is not None
    what = Storm(CLIENTS, rate.per_s, rate.queue, outage_s=run.server_back_s, spread_s=run.spread_s)
    found = gap(simulate(what, run.policy, seed=run.seed), run.connected_at_s, run.attempts_of_client)
    print(f"{type(run.policy).__name__}: {found.summary()} {run.summary()}")
    return found


def is_close(found: Gap) -> bool:
    return found.sup_distance <= 0.05 and abs(found.t99_error) <= 0.10 and abs(found.attempts_error) <= 0.10


async def test_a_measured_storm_lies_on_the_simulated_one():
    with Server("websocket_echo") as server:
        async with crowd(server, CLIENTS) as clients:
            server.arguments = KNOB  # they come in through an open door, and come back to a narrow one
            runs = [await a_storm(clients, policy) for policy in POLICIES]
        for _ in range(3):  # a single one shows whatever stood still for a moment
            rate = await accept_rate(server, 400)
            if rate.per_s == pytest.approx(400, rel=0.05):
                break
    assert rate.per_s == pytest.approx(400, rel=0.05)
    for run in runs:
        found = against_model(run, rate)
        if was_disturbed(run) and not is_close(found):
            pytest.skip(f"something else had the processors, twice: {run.summary()}")
        assert run.lost_clients == run.unfinished_clients == 0
        assert np.isfinite(run.connected_at_s).all()
        assert is_close(found), found.summary()
        # Nobody is let in beyond what rate and queue allow, whatever the crowd does.
        in_order_s = np.sort(run.connected_at_s) - run.server_back_s
        most = rate.queue + 1.05 * rate.per_s * (in_order_s + 0.1)
        assert (np.arange(1, CLIENTS + 1) <= most).all()
    page, full = runs
    assert full.t99_s < page.t99_s
