"""The fluid limit against the simulation: nearer, the more clients there are."""

import math

import numpy as np
import pytest

from labsupport.backoff import (
    NAMED_CLIENTS,
    Decorrelated,
    EqualJitter,
    Exponential,
    Fixed,
    FullJitter,
    PageSample,
    Policy,
    RandomFirst,
    SignalR,
    UniformWindow,
)
from labsupport.models.reconnect import Login, RetryAfter, Storm, SynDrops, fluid, simulate

STORM = Storm(10_000, 200, 100)
POLICIES: dict[str, Policy] = {
    "page": PageSample(),
    "full": FullJitter(),
    "equal": EqualJitter(),
    "decorrelated": Decorrelated(),
    "random first": RandomFirst(),
    "window too short": UniformWindow(20),
    "exponential": Exponential(cap_s=4),
    **NAMED_CLIENTS,
}


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_ten_thousand_clients_are_within_two_percent_of_the_limit(policy: Policy) -> None:
    limit, run = fluid(STORM, policy), simulate(STORM, policy, seed=1)
    assert limit.distance_to(run.connected_at_s) <= 0.02
    assert limit.attempts_per_client == pytest.approx(run.attempts_per_client, rel=0.02)
    if run.lost_clients:
        assert limit.lost_share == pytest.approx(run.lost_clients / STORM.clients, rel=0.01)
    else:
        assert limit.time_until(0.99) == pytest.approx(run.t99_s, rel=0.05)


@pytest.mark.parametrize(
    "storm",
    [Storm(10_000, 200, 100, 5.0, 0.5), Storm(10_000, 200, 100, 0.0, 1.0, first_at_once=True)],
    ids=["outage and spread", "at once, spread"],
)
@pytest.mark.parametrize("policy", [PageSample(), FullJitter(), Fixed(3)], ids=["page", "full", "fixed"])
def test_outage_spread_and_a_first_attempt_at_once_flow_too(policy: Policy, storm: Storm) -> None:
    limit, run = fluid(storm, policy), simulate(storm, policy, seed=1)
    assert limit.distance_to(run.connected_at_s) <= 0.02
    assert limit.attempts_per_client == pytest.approx(run.attempts_per_client, rel=0.02)


def test_a_queue_of_five_is_enough_for_the_limit_and_a_queue_of_one_is_not() -> None:
    def distance(queue: int) -> float:
        storm = Storm(10_000, 200, queue)
        return fluid(storm, PageSample()).distance_to(simulate(storm, PageSample(), seed=1).connected_at_s)

    assert distance(5) <= 0.02
    assert distance(1) > 0.1, "chance fills one place also when the server has time"


def test_the_distance_falls_as_the_crowd_grows() -> None:
    def distance(clients: int) -> float:
        storm = Storm(clients, clients / 50, clients // 100)
        limit = fluid(storm, FullJitter())
        return float(
            np.mean([limit.distance_to(simulate(storm, FullJitter(), s).connected_at_s) for s in range(6)])
        )

    few, many = distance(1_000), distance(100_000)
    assert many < few / 4, "like one over the root of N: a tenth"


def test_the_curve_never_falls_and_attempts_are_the_area_under_the_rate() -> None:
    limit = fluid(STORM, PageSample(), dt_s=0.02)
    assert np.all(np.diff(limit.connected_share) >= 0)
    assert limit.attempts_per_s.sum() * 0.02 == pytest.approx(limit.attempts_per_client)
    assert np.all(np.diff(limit.connected_share) <= 200 / 10_000 * 0.02 + 1e-12), (
        "never faster than the server"
    )
    assert limit.time_until(0.0) <= 0.02
    assert limit.time_until(1.0) == limit.time_until(1 - 0.5 / 10_000)
    assert limit.share_at(limit.time_until(0.5)) == pytest.approx(0.5, abs=0.001)


def test_who_gives_up_never_gets_there() -> None:
    limit = fluid(STORM, SignalR())
    assert limit.lost_share > 0.9
    assert limit.time_until(0.5) == math.inf


def test_a_flow_that_is_not_over_in_time_says_so() -> None:
    assert fluid(STORM, PageSample(), horizon_s=30).time_until(0.99) == math.inf


@pytest.mark.parametrize(
    "extra", [{"login": Login(10, 5)}, {"syn_drops": SynDrops()}, {"admission": RetryAfter(5)}], ids=str
)
def test_what_the_limit_does_not_know_is_refused(extra: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="the fluid limit knows no"):
        fluid(Storm(100, 10, 5, **extra), FullJitter())  # type: ignore[arg-type]
