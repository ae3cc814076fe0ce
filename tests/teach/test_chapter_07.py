"""The exercises of chapter 07: what test_exercise.py asks of all of them, and what is true of these alone."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from labsupport.models import liveness
from labsupport.teach.exercise import check, exercise
from labsupport.teach.exercises import chapter_07


@pytest.mark.parametrize(
    ("id", "name"), [(one.id, mistake.name) for one in chapter_07.EXERCISES for mistake in one.mistakes]
)
def test_each_wrong_answer_is_called_by_its_name(id: str, name: str) -> None:
    [mistake] = [mistake for mistake in exercise(id).mistakes if mistake.name == name]
    assert f"looks like “{name}”" in repr(check(id, mistake.answer))


@pytest.mark.parametrize("id", ["7.1", "7.3"])
def test_an_endless_loop_is_ended_and_named(id: str) -> None:
    def endless(*arguments: Any) -> None:
        while True:
            pass

    assert "is there an endless loop" in repr(replace(exercise(id), limit_s=0.2).check(endless))


@pytest.mark.parametrize("id", ["7.1", "7.2", "7.3"])
def test_a_stub_is_not_started_yet(id: str) -> None:
    def stub(*arguments: Any) -> Any: ...

    assert repr(check(id, stub)) == "not started yet"


@pytest.mark.parametrize("budget_s", [21.0, 45.0, 300.0])
def test_the_interval_keeps_its_promise_by_the_formula_of_detection(budget_s: float) -> None:
    interval_s = chapter_07.ping_interval(budget_s, 20.0, 60.0)
    assert interval_s is not None
    assert liveness.detection_max_s(interval_s, 20.0) <= budget_s
    assert 2 * interval_s <= 60.0


@pytest.mark.parametrize("seed", range(20))
def test_who_is_online_agrees_with_asking_each_user_for_the_last_beat(seed: int) -> None:
    rng = random.Random(seed)
    beats = sorted((rng.uniform(0, 100), rng.choice("abc")) for _ in range(20))
    last = {user: at_s for at_s, user in beats}
    online, mistaken = chapter_07.presence(beats, 15.0, 100.0)
    assert online == sorted(user for user, at_s in last.items() if 100.0 - at_s < 15.0)
    gaps = 0
    for user in last:
        own = [at_s for at_s, who in beats if who == user]
        gaps += sum(later - earlier >= 15.0 for earlier, later in zip(own, own[1:], strict=False))
    assert mistaken == gaps


# A class as an answer


class Stub:
    def __init__(self, patience_s: float, clock: Callable[[], float]) -> None: ...
    def heard(self) -> None: ...
    def is_dead(self) -> Any: ...


def test_a_class_of_stubs_is_not_started_yet() -> None:
    assert repr(check("7.2", Stub)) == "not started yet"
    assert repr(check("7.2", ...)) == "not started yet"


def test_a_timer_written_in_another_way_is_right() -> None:
    class Mine:
        def __init__(self, patience_s: float, clock: Callable[[], float]) -> None:
            self.now, self.patience_s = clock, patience_s
            self.heard()

        def heard(self) -> None:
            self.end_s = self.now() + self.patience_s

        def is_dead(self) -> bool:
            return not self.now() < self.end_s

    assert repr(check("7.2", Mine)) == "✓ 6 of 6 cases right"


def test_what_a_method_stops_with_is_told_with_its_line() -> None:
    class Mine(chapter_07.DeadMan):
        def is_dead(self) -> bool:
            return self.last > 3  # type: ignore[attr-defined, no-any-return]

    said = repr(check("7.2", Mine))
    assert "stopped with AttributeError: 'Mine' object has no attribute 'last'" in said
    assert "return self.last > 3" in said


def test_a_method_that_is_missing_is_named() -> None:
    class Mine:
        def __init__(self, patience_s: float, clock: Callable[[], float]) -> None:
            self.patience_s = patience_s

        def is_dead(self) -> bool:
            return False

    assert "'Mine' object has no attribute 'heard'" in repr(check("7.2", Mine))


def test_a_method_that_does_not_end_is_ended_and_named() -> None:
    class Mine(chapter_07.DeadMan):
        def is_dead(self) -> bool:
            while True:
                pass

    said = repr(replace(exercise("7.2"), limit_s=0.2).check(Mine))
    assert "is there an endless loop" in said


def test_an_object_instead_of_the_class_is_explained() -> None:
    timer = chapter_07.DeadMan(3.0, lambda: 0.0)
    assert 'check("7.2", …) needs your function itself' in repr(check("7.2", timer))
