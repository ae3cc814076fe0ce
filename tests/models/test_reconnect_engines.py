"""Two engines, one truth: SimPy's run and the run in arrays are the same bytes, whatever the storm."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labsupport.backoff import (
    GRPC,
    NAMED_CLIENTS,
    Decorrelated,
    EqualJitter,
    Exponential,
    Fixed,
    FullJitter,
    PageSample,
    Policy,
    Polly,
    RandomFirst,
    SignalR,
    UniformWindow,
)
from labsupport.models import reconnect_numpy
from labsupport.models.reconnect import Login, RetryAfter, Storm, StormRun, SynDrops, simulate
from labsupport.models.reconnect_admit import admit_all
from labsupport.models.reconnect_storm import Queue

ARRAYS = (
    "connected_at_s",
    "arrival_times_ns",
    "arrival_client",
    "arrival_attempt",
    "arrival_outcome",
    "accepted_ns",
)

POLICIES: dict[str, Policy] = {
    "fixed": Fixed(2),
    "exponential": Exponential(),
    "without a cap": Exponential(cap_s=math.inf),
    "page": PageSample(),
    "equal": EqualJitter(),
    "full": FullJitter(),
    "full, short": FullJitter(base_s=0.01, cap_s=0.5),
    "decorrelated": Decorrelated(),
    "decorrelated from 0.1": Decorrelated(base_s=0.1, cap_s=2),
    "random first": RandomFirst(),
    "window": UniformWindow(5),
    "polly without a cap": Polly(median_s=0.2, cap_s=math.inf),
    **NAMED_CLIENTS,
}
STORMS: dict[str, Storm] = {
    "one client": Storm(1, 10, 1),
    "a queue of one": Storm(50, 10, 1),
    "room for all at once": Storm(60, 1e6, 7),
    "a slow server": Storm(40, 1, 2, 0, 0.01),
    "outage and spread": Storm(80, 20, 5, 1.5, 0.3),
    "the first attempt at once": Storm(50, 10, 3, first_at_once=True),
    "at once, with outage and spread": Storm(50, 10, 3, 1, 0.2, first_at_once=True),
    "a login behind": Storm(60, 10, 5, 1, 0.1, login=Login(5, 4)),
    "dropped SYNs": Storm(60, 10, 5, 1, 0.1, syn_drops=SynDrops(5)),
    "told at least": Storm(60, 10, 5, 0.5, 0.1, admission=RetryAfter(8)),
    "told instead": Storm(60, 10, 5, 0.5, admission=RetryAfter(8, "instead")),
    "all of it": Storm(
        60,
        10,
        5,
        0.5,
        0.1,
        login=Login(5, 4),
        syn_drops=SynDrops(0.5),
        admission=RetryAfter(3),
        first_at_once=True,
    ),
}


def assert_same(one: StormRun, other: StormRun) -> None:
    for name in ARRAYS:
        mine, its = getattr(one, name), getattr(other, name)
        assert mine.dtype == its.dtype, name
        assert mine.tobytes() == its.tobytes(), name


def both(storm: Storm, policy: Policy, seed: int) -> StormRun:
    one = simulate(storm, policy, seed, engine="simpy")
    assert_same(one, simulate(storm, policy, seed, engine="numpy"))
    return one


@pytest.mark.parametrize("storm", STORMS.values(), ids=STORMS)
@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_both_engines_give_the_same_bytes(policy: Policy, storm: Storm) -> None:
    both(storm, policy, seed=20)


@pytest.mark.parametrize("name", ["page", "full", "decorrelated", "gRPC", "SignalR", "Phoenix.js 1.8"])
@pytest.mark.parametrize("spread_s", [0.0, 0.5])
def test_both_engines_agree_on_two_thousand_clients(name: str, spread_s: float) -> None:
    run = both(Storm(2000, 333, 20, 0.25, spread_s), POLICIES[name], seed=4)
    assert run.attempts > 2000


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    policy=st.sampled_from(sorted(POLICIES)),
    clients=st.integers(1, 120),
    accepts_per_s=st.sampled_from([3.0, 10.0, 77.7, 1000.0]),
    accept_queue=st.integers(1, 12),
    outage_s=st.sampled_from([0.0, 0.3, 4.0]),
    spread_s=st.sampled_from([0.0, 1e-9, 0.4]),
    first_at_once=st.booleans(),
    admission=st.sampled_from([None, RetryAfter(2.0), RetryAfter(2.0, "instead")]),
    login=st.sampled_from([None, Login(20.0, 3)]),
    syn_drops=st.sampled_from([None, SynDrops(0.3), SynDrops(8.0)]),
    seed=st.integers(-5, 2**64),
)
def test_both_engines_agree_on_storms_that_nobody_thought_of(policy: str, seed: int, **storm: object) -> None:
    both(Storm(**storm), POLICIES[policy], seed)  # type: ignore[arg-type]


def test_the_length_of_a_window_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    storm = Storm(300, 30, 5, 1, 0.2)
    expected = simulate(storm, FullJitter(), 3)
    for length_ns in (1_000_000, 300_000_000, 40_000_000_000):
        monkeypatch.setattr(reconnect_numpy.Rules, "first_window_ns", lambda self, t, ns=length_ns: ns)
        monkeypatch.setattr(reconnect_numpy.Rules, "next_window_ns", lambda self, *_, ns=length_ns: ns)
        assert_same(expected, simulate(storm, FullJitter(), 3))


def test_times_too_long_to_be_packed_into_one_number_are_sorted_all_the_same() -> None:
    slow = Fixed(100_000.0)
    assert both(Storm(9, 1e-4, 1, 0, 100_000.0), slow, 1).storm.lower_bound_s == 90_000


def test_real_clients_and_both_engines_draw_the_same_waits() -> None:
    """The waits between a client's attempts are those that its `Waits` give, draw for draw."""
    policy = Decorrelated()
    run = both(Storm(40, 2, 1), policy, seed=7)
    for client in range(40):
        times_ns = run.arrival_times_ns[run.arrival_client == client]
        waits = policy.waits(seed=7, client=client)
        assert np.diff(times_ns, prepend=0).tolist() == [round(waits.next() * 1e9) for _ in times_ns]


def test_grpc_counts_its_wait_from_the_start_of_the_failed_attempt() -> None:
    storm = Storm(5, 100, 1, outage_s=8, syn_drops=SynDrops(3))
    waits = GRPC().waits(seed=1, client=0)
    run = both(storm, GRPC(), seed=1)
    mine = run.arrival_times_ns[(run.arrival_client == 0) & (run.arrival_outcome == 1)]
    assert np.diff(mine, prepend=0).tolist() == [round(waits.next() * 1e9) for _ in mine]
    spread = both(replace(storm, spread_s=0.5, syn_drops=None), GRPC(), seed=1)
    first_two = spread.arrival_times_ns[spread.arrival_client == 0][:2] / 1e9
    assert 1.0 <= first_two[0] <= 1.5
    assert 1.0 + 0.8 * 1.6 <= first_two[1] <= 1.0 + 1.2 * 1.6 + 0.5, (
        "not from its end, which the spread delays"
    )


def test_who_comes_in_the_same_nanosecond_is_served_by_number() -> None:
    run = both(Storm(6, 1, 3, first_at_once=True), Fixed(5), seed=0)
    assert np.flatnonzero(run.connected_at_s <= 3).tolist() == [0, 1, 2]
    again = both(Storm(6, 1, 3, first_at_once=True), SignalR(), seed=0)
    assert again.arrival_client.tolist()[:9] == [0, 1, 2, 3, 3, 4, 4, 5, 5], (
        "a wait of 0 comes before the next"
    )


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    gaps=st.lists(st.integers(0, 40), max_size=300),
    per_s=st.sampled_from([1e8, 5e7]),
    places=st.integers(1, 9),
)
def test_a_crowd_is_admitted_as_one_after_the_other_would_be(
    gaps: list[int], per_s: float, places: int
) -> None:
    times_ns = np.cumsum(np.array(gaps, dtype=np.int64))
    one, many = Queue(per_s, places), Queue(per_s, places)
    done = [one.admit(int(time_ns)) for time_ns in times_ns]
    who, done_ns = admit_all(many, times_ns)
    assert who.tolist() == [n for n, ns in enumerate(done) if ns is not None]
    assert done_ns.tolist() == [ns for ns in done if ns is not None]
    assert many.busy_ns == one.busy_ns


@dataclass(frozen=True)
class LateMemory(Policy):
    """A policy of the reader's own, whose state is new on each step."""

    def first_state(self, u_once: object) -> object:
        return 0.0 * u_once  # type: ignore[operator]

    def step(self, attempt: object, u: object, state: object) -> tuple[object, object]:
        return 1.0 + u + 0.1 * state, state + u  # type: ignore[operator]


def test_a_policy_of_ones_own_with_memory_runs_in_both() -> None:
    both(Storm(80, 10, 3), LateMemory(), seed=5)
