"""The exercises of chapter 08: what test_exercise.py asks of all of them, and what is true of these alone."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from labsupport.backoff import EqualJitter, Exponential, FullJitter, PageSample, Policy, SocketIO
from labsupport.models.reconnect_closed_forms import window_needed_s
from labsupport.teach.exercise import check, exercise
from labsupport.teach.exercises import chapter_08


@pytest.mark.parametrize(
    ("id", "name"), [(one.id, mistake.name) for one in chapter_08.EXERCISES for mistake in one.mistakes]
)
def test_each_wrong_answer_is_called_by_its_name(id: str, name: str) -> None:
    [mistake] = [mistake for mistake in exercise(id).mistakes if mistake.name == name]
    assert f"looks like “{name}”" in repr(check(id, mistake.answer))


@pytest.mark.parametrize("name", ["no cap", "no jitter", "jitter before cap"])
def test_the_three_famous_mistakes_of_full_jitter_are_known(name: str) -> None:
    assert name in [mistake.name for mistake in exercise("8.1").mistakes]


@pytest.mark.parametrize("id", ["8.1", "8.2", "8.3"])
def test_an_endless_loop_is_ended_and_named(id: str) -> None:
    def endless(*arguments: Any) -> None:
        while True:
            pass

    assert "is there an endless loop" in repr(replace(exercise(id), limit_s=0.2).check(endless))


@pytest.mark.parametrize("id", ["8.1", "8.2", "8.3"])
def test_a_stub_is_not_started_yet(id: str) -> None:
    def stub(*arguments: Any) -> Any: ...

    assert repr(check(id, stub)) == "not started yet"


@pytest.mark.parametrize("seed", range(20))
def test_full_jitter_waits_as_the_lab_s_own_policy_does(seed: int) -> None:
    rng = random.Random(seed)
    attempt, u = rng.randrange(40), rng.random()
    base_s, cap_s = rng.uniform(0.1, 2), rng.uniform(3, 60)
    expected_s = FullJitter(base_s, cap_s).wait_s(attempt, u)
    assert chapter_08.full_jitter(attempt, u, base_s, cap_s) == pytest.approx(expected_s)


@pytest.mark.parametrize("clients", [50, 2_000, 50_000])
def test_the_window_of_one_server_is_the_closed_form(clients: int) -> None:
    assert chapter_08.window_s(clients, 1, 500.0, 100) == pytest.approx(window_needed_s(clients, 500.0, 100))


@pytest.mark.parametrize(
    ("policy", "name"),
    [(Exponential(), "none"), (PageSample(), "page"), (EqualJitter(), "equal"), (FullJitter(), "full")],
)
@pytest.mark.parametrize("client", range(10))
def test_a_policy_is_recognised_by_its_waits(policy: Policy, name: str, client: int) -> None:
    waits = policy.waits(seed=20, client=client)
    trace = [(attempt, wait_s) for attempt in range(12) if (wait_s := waits.next()) is not None]
    assert chapter_08.name_policy(trace) == name


def test_a_policy_that_is_none_of_the_four_is_not_forced_into_one() -> None:
    waits = SocketIO().waits(seed=20, client=0)
    trace = [(attempt, wait_s) for attempt in range(12) if (wait_s := waits.next()) is not None]
    assert chapter_08.name_policy(trace) == "unknown"
