"""The exercises of chapter 11: what test_exercise.py asks of all of them, and what is true of these alone."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from labsupport.clients.deltas import DeltaState
from labsupport.models import slow_consumer
from labsupport.teach.exercise import check, exercise
from labsupport.teach.exercises import chapter_11

IDS = [one.id for one in chapter_11.EXERCISES]


@pytest.mark.parametrize(
    ("id", "name"), [(one.id, mistake.name) for one in chapter_11.EXERCISES for mistake in one.mistakes]
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


def test_a_queue_that_is_changed_in_place_does_not_spoil_the_other_cases() -> None:
    def in_place(waiting: list[tuple[str, Any]], key: str, value: Any) -> Any:
        for place, (name, _) in enumerate(waiting):
            if name == key:
                waiting[place] = (key, value)
                return waiting
        waiting.append((key, value))
        return waiting

    assert repr(check("11.1", in_place)) == "✓ 5 of 5 cases right"


@pytest.mark.parametrize("seed", range(10))
def test_the_queue_agrees_with_a_dictionary_which_keeps_the_order_of_first_coming(seed: int) -> None:
    rng = random.Random(seed)
    waiting: list[tuple[str, Any]] = []
    known: dict[str, int] = {}
    for value in range(40):
        key = rng.choice("abcde")
        waiting, known[key] = chapter_11.put(waiting, key, value), value
        if waiting and rng.random() < 0.3:
            known.pop(waiting.pop(0)[0])
        assert waiting == list(known.items())


@pytest.mark.parametrize("seed", range(20))
def test_the_answer_agrees_with_the_labs_own_state(seed: int) -> None:
    rng = random.Random(seed)
    kept, state, version = DeltaState(), {"a": 1, "b": {"c": 2}}, 10
    kept.take({"version": version, "metrics": state})
    for _ in range(30):
        start = max(0, version + rng.choice([-2, 0, 0, 0, 0, 1]))
        patch = {rng.choice("abc"): rng.choice([None, 1, {"c": rng.randint(0, 9)}])}
        delta = {"from": start, "version": start + rng.randint(1, 2), "patch": patch}
        answer = chapter_11.apply(state, version, delta)
        assert (answer == "resync") == (not kept.feed("merge-patch", delta))
        if answer == "resync":
            break
        state, version = answer
        assert (kept.metrics, kept.version) == (state, version)


@pytest.mark.parametrize(
    ("in_per_s", "out_per_s", "timeout_s"), [(200, 100, 20), (110, 100, 5), (900, 3, 45)]
)
def test_the_reader_is_declared_dead_when_the_models_ping_comes_too_late(
    in_per_s: float, out_per_s: float, timeout_s: float
) -> None:
    after_s = chapter_11.declared_dead_s(in_per_s, out_per_s, timeout_s)
    assert after_s is not None
    waiting = (in_per_s - out_per_s) * after_s
    assert slow_consumer.ping_delay_s(waiting, out_per_s) == pytest.approx(timeout_s)
