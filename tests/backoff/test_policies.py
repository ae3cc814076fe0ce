"""What all policies keep: bounds, memory, iteration, helpful errors, and equal bits for arrays."""

import dataclasses
import math
import pickle
from itertools import islice

import numpy as np
import pytest

from labsupport import backoff, draws
from labsupport.backoff import (
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
    ReconnectingWebsocket,
    SignalR,
    UniformWindow,
)

TEXTBOOK = [
    Fixed(2),
    Exponential(),
    PageSample(),
    EqualJitter(),
    FullJitter(),
    Decorrelated(),
    RandomFirst(),
    UniformWindow(50),
    FullJitter(base_s=0.005, cap_s=2),
    Decorrelated(base_s=5, cap_s=2),
    Polly(median_s=0.2, cap_s=math.inf),
]
ALL = [*TEXTBOOK, *NAMED_CLIENTS.values()]
every_policy = pytest.mark.parametrize("policy", ALL, ids=repr)


def simulate_step_by_step(policy: Policy, clients: int, attempts: int) -> list[list[float]]:
    rows = []
    for client in range(clients):
        state = policy.first_state(draws.draw(5, client, 0, draws.ONCE))
        row = []
        for attempt in range(attempts):
            wait, state = policy.step(attempt, draws.draw(5, client, attempt), state)
            row.append(wait)
        rows.append(row)
    return rows


@every_policy
def test_arrays_give_the_same_bits_as_floats(policy: Policy) -> None:
    clients = np.arange(500)
    rows = np.array(simulate_step_by_step(policy, 500, 14))
    state = policy.first_state(draws.draws(5, clients, 0, draws.ONCE))
    for attempt in range(14):
        wait, state = policy.step(np.full(500, attempt), draws.draws(5, clients, attempt), state)
        assert wait.shape == (500,)
        assert wait.tobytes() == np.ascontiguousarray(rows[:, attempt]).tobytes()


@every_policy
def test_clients_at_different_attempts_share_one_array_step(policy: Policy) -> None:
    attempts = np.array([0, 1, 2, 5, 9, 30, 899, 1200])
    u = draws.draws(1, np.arange(8), attempts)
    state = policy.first_state(draws.draws(1, np.arange(8), 0, draws.ONCE))
    together = policy.step(attempts, u, state)[0]
    alone = [policy.step(int(a), float(x), float(s))[0] for a, x, s in zip(attempts, u, state, strict=True)]
    assert together.tobytes() == np.array(alone, dtype=float).tobytes()


@every_policy
def test_no_wait_is_below_the_stated_minimum_and_none_is_negative_or_nan(policy: Policy) -> None:
    waits = np.array(simulate_step_by_step(policy, 300, 30))
    assert policy.min_wait_s >= 0
    assert (waits >= policy.min_wait_s).all()


@pytest.mark.parametrize(
    ("policy", "seconds"),
    [
        (Fixed(2), 2.0),
        (Exponential(), 1.0),
        (PageSample(), 1.0),
        (EqualJitter(), 0.5),
        (FullJitter(), 0.0),
        (Decorrelated(base_s=0.5), 0.5),
        (UniformWindow(9), 0.0),
        (NAMED_CLIENTS["gRPC"], 1.0),
        (NAMED_CLIENTS["Socket.IO 4"], 0.5),
        (NAMED_CLIENTS["Phoenix.js 1.8"], 0.01),
        (NAMED_CLIENTS["SignalR"], 0.0),
        (NAMED_CLIENTS["ActionCable"], 6.0),
        (NAMED_CLIENTS["reconnecting-websocket"], 1.0),
        (NAMED_CLIENTS["centrifuge-js"], 0.5),
        (NAMED_CLIENTS["stamina"], 0.1),
    ],
    ids=repr,
)
def test_the_minimum_wait_is_known(policy: Policy, seconds: float) -> None:
    assert policy.min_wait_s == seconds


@every_policy
def test_waits_draw_for_themselves_what_step_would_give(policy: Policy) -> None:
    expected = simulate_step_by_step(policy, 4, policy.gives_up_after or 12)[3]
    assert list(islice(policy.waits(seed=5, client=3), 12)) == expected


def test_signalr_gives_up_after_four_waits_and_says_so_with_none() -> None:
    waits = SignalR().waits(seed=1, client=0)
    assert [waits.next() for _ in range(6)] == [0.0, 2.0, 10.0, 30.0, None, None]
    assert list(SignalR().waits(seed=1)) == [0.0, 2.0, 10.0, 30.0]
    waits.reset()
    assert waits.next() == 0.0


def test_after_a_reset_the_ceiling_starts_again_but_the_draws_go_on() -> None:
    waits = FullJitter(1, 30).waits(seed=3, client=8)
    for _ in range(6):
        waits.next()
    assert waits.attempt == 6
    waits.reset()
    assert waits.attempt == 0
    assert waits.next() == FullJitter(1, 30).wait_s(0, draws.draw(3, 8, 6))


def test_after_a_reset_decorrelated_forgets_its_last_wait() -> None:
    waits = Decorrelated(1, 30).waits(seed=3, client=8)
    for _ in range(6):
        waits.next()
    waits.reset()
    assert waits.next() == 1 + 2 * draws.draw(3, 8, 6)


def test_reconnecting_websocket_keeps_its_one_draw_for_life() -> None:
    waits = ReconnectingWebsocket().waits(seed=3, client=8)
    first = waits.next()
    waits.next()
    waits.reset()
    assert waits.next() == first == 1 + 4 * draws.draw(3, 8, 0, draws.ONCE)


def test_clients_without_a_seed_do_not_wait_alike() -> None:
    assert len({FullJitter().waits().next() for _ in range(50)}) == 50


@every_policy
def test_policies_are_values(policy: Policy) -> None:
    assert pickle.loads(pickle.dumps(policy)) == policy
    assert hash(dataclasses.replace(policy)) == hash(policy)
    assert policy.waits(seed=2, client=1).next() == policy.waits(seed=2, client=1).next()
    first_field = dataclasses.fields(policy)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(policy, first_field, 7.0)


@pytest.mark.parametrize("bad", [-1, -0.001, math.nan, math.inf])
def test_a_delay_that_is_no_number_of_seconds_is_named(bad: float) -> None:
    with pytest.raises(ValueError, match="Fixed: delay_s must be 0 or more and finite"):
        Fixed(bad)


def test_a_delay_that_is_no_number_at_all_is_named() -> None:
    with pytest.raises(TypeError, match="FullJitter: base_s must be a number, got '1'"):
        FullJitter(base_s="1")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="must be a number, got None"):
        backoff.Phoenix(waits_s=(0.1, None))  # type: ignore[arg-type]


def test_jitter_above_the_whole_wait_is_refused() -> None:
    with pytest.raises(ValueError, match="jitter is a share of the wait: expected 0 to 1, got 50"):
        PageSample(jitter=50)


@pytest.mark.parametrize("attempt", [-1, 1.5, True, None])
def test_an_attempt_that_is_no_count_is_refused(attempt: object) -> None:
    with pytest.raises(ValueError, match="attempt counts failures: expected 0, 1, 2"):
        FullJitter().wait_s(attempt, 0.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("u", [-0.1, 1.01, 50, math.nan])
def test_a_draw_outside_0_to_1_is_refused(u: float) -> None:
    with pytest.raises(ValueError, match="u is a draw in"):
        FullJitter().wait_s(0, u)
