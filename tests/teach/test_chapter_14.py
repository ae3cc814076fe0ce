"""The exercises of chapter 14: what test_exercise.py asks of all of them, and what is true of these alone."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from labsupport.capacity import closed_forms as forms
from labsupport.teach.exercise import check, exercise
from labsupport.teach.exercises import chapter_14

IDS = [one.id for one in chapter_14.EXERCISES]


@pytest.mark.parametrize(
    ("id", "name"), [(one.id, mistake.name) for one in chapter_14.EXERCISES for mistake in one.mistakes]
)
def test_each_wrong_answer_is_called_by_its_name(id: str, name: str) -> None:
    [mistake] = [mistake for mistake in exercise(id).mistakes if mistake.name == name]
    assert f"looks like “{name}”" in repr(check(id, mistake.answer))


@pytest.mark.parametrize("id", IDS)
def test_an_endless_loop_is_ended_and_named(id: str) -> None:
    def endless(*arguments: Any) -> None:
        while True:
            pass

    assert "is there an endless loop" in repr(replace(exercise(id), limit_s=0.2).check(endless))


@pytest.mark.parametrize("id", IDS)
def test_a_stub_is_not_started_yet(id: str) -> None:
    def stub(*arguments: Any) -> Any: ...

    assert repr(check(id, stub)) == "not started yet"


@pytest.mark.parametrize("seed", range(10))
def test_page_after_page_everything_is_replayed_once_and_in_order(seed: int) -> None:
    rng = random.Random(seed)
    rows = [(id, rng.choice("ab"), "") for id in rng.sample(range(1, 200), 40)]
    seen: list[int] = []
    while page := chapter_14.replay(rows, "a", str(seen[-1]) if seen else "", 3):
        seen += page
    assert seen == sorted(id for id, user, _ in rows if user == "a")


@pytest.mark.parametrize("seed", range(10))
def test_the_gateways_agree_with_the_planners_closed_forms(seed: int) -> None:
    rng = random.Random(seed)
    users, on_each = rng.randrange(10_000, 10_000_000), rng.randrange(10_000, 500_000)
    accepts, within = rng.randrange(100, 10_000), rng.randrange(5, 90)
    most = max(
        float(forms.whole(forms.servers_to_take_over(users, accepts, within))), -(-users // on_each) + 1, 2
    )
    assert chapter_14.gateways(users, on_each, accepts, within) == most
