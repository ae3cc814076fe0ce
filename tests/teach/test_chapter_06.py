"""The exercises of chapter 06: what test_exercise.py asks of all of them, and what is true of these alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labsupport.teach.exercise import check, exercise
from labsupport.teach.exercises import chapter_06

IDS = [one.id for one in chapter_06.EXERCISES]


@pytest.mark.parametrize(
    ("id", "name"), [(one.id, mistake.name) for one in chapter_06.EXERCISES for mistake in one.mistakes]
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


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.integers(1, 10**4))
def test_the_largest_calls_fit_and_one_more_person_does_not(up: int, down: int, stream: int) -> None:
    def fits(people: int, streams_up: int) -> bool:
        return people == 1 or (streams_up * stream <= up and (people - 1) * stream <= down)

    mesh, sfu = chapter_06.largest_call(up, down, stream)
    assert fits(mesh, mesh - 1)
    assert not fits(mesh + 1, mesh)
    assert fits(sfu, 1)
    assert not fits(sfu + 1, 1)
    assert mesh <= sfu


def test_the_bill_of_the_chapters_ten_thousand_users() -> None:
    polls = 10_000 / 5 * 30 * 24 * 3600  # 2 000 a second
    assert chapter_06.egress_per_month(10_000, 5, 226, 0.09) == pytest.approx(polls * 226e-9 * 0.09)


def test_a_wrong_name_for_a_transport_is_shown_beside_the_expected_one() -> None:
    said = repr(check("6.1", lambda media, writes_per_min, age_s, same_for_all: "sse"))
    assert "expected 'SSE', got 'sse'" in said
