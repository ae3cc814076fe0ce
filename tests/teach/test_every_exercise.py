"""What holds for every exercise of the course: its check knows right, wrong, endless and broken answers."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from labsupport.teach.exercise import Exercise, all_exercises

EXERCISES = all_exercises()
SHORT_S = 0.1  # an endless answer need not run for as long as a learner's may


@pytest.fixture(params=EXERCISES, ids=[one.id for one in EXERCISES])
def exercise(request: pytest.FixtureRequest) -> Exercise:
    return request.param


def endless(*_: Any) -> Any:
    while True:
        pass


def broken(*_: Any) -> Any:
    raise LookupError("no such thing")


def test_it_knows_two_typical_mistakes_at_least(exercise: Exercise) -> None:
    assert len(exercise.mistakes) >= 2  # that each is named is test_exercise.py's


def test_one_case_at_least_is_kept_for_grading(exercise: Exercise) -> None:
    assert any(case.hidden for case in exercise.cases)
    assert not all(case.hidden for case in exercise.cases)


def test_an_endless_answer_is_ended_and_told_so(exercise: Exercise) -> None:
    result = dataclasses.replace(exercise, limit_s=SHORT_S).check(endless)
    assert not result.passed
    assert "did not end within" in repr(result)


def test_an_answer_that_raises_is_told_what_and_where(exercise: Exercise) -> None:
    result = exercise.check(broken)
    assert not result.passed
    assert "LookupError: no such thing" in repr(result)


def test_the_next_answer_is_checked_as_if_nothing_had_been(exercise: Exercise) -> None:
    exercise.check(broken)
    assert exercise.check(exercise.reference).passed
