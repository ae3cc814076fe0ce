"""The exercises of chapter 15: what test_exercise.py asks of all of them, and what is true of these alone."""

from __future__ import annotations

from typing import Any

import pytest

from labsupport.course.ledger import RUNS, load
from labsupport.teach.exercise import check, exercise
from labsupport.teach.exercises import chapter_15

IDS = [one.id for one in chapter_15.EXERCISES]


@pytest.mark.parametrize("id", IDS)
def test_the_reference_passes_and_the_exercise_has_no_problem(id: str) -> None:
    assert exercise(id).problems() == []


@pytest.mark.parametrize(
    ("id", "name"), [(one.id, mistake.name) for one in chapter_15.EXERCISES for mistake in one.mistakes]
)
def test_each_wrong_answer_is_called_by_its_name(id: str, name: str) -> None:
    [mistake] = [mistake for mistake in exercise(id).mistakes if mistake.name == name]
    assert f"looks like “{name}”" in repr(check(id, mistake.answer))


@pytest.mark.parametrize("id", IDS)
def test_a_stub_is_not_started_yet(id: str) -> None:
    def stub(*arguments: Any) -> Any: ...

    assert repr(check(id, stub)) == "not started yet"


def test_what_runs_is_what_the_ledger_says_but_for_exercises() -> None:
    assert chapter_15.RUNS | {"exercise"} == RUNS
    rows = [(claim.verdict, claim.evidence) for claim in load().claims]
    assert 0.5 < (chapter_15.runnable_share(rows) or 0) < 1


def test_a_client_without_a_fault_is_passed_whatever_the_length_of_its_log() -> None:
    log = [(0.0, "open"), *((float(at), str(at)) for at in range(1, 200))]
    assert chapter_15.review(log) == []
