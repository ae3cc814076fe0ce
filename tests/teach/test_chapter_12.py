"""The exercises of chapter 12: what test_exercise.py asks of all of them, and what is true of these alone."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from labsupport.clients.order_book import OrderBook
from labsupport.teach.exercise import check, exercise
from labsupport.teach.exercises import chapter_12

IDS = [one.id for one in chapter_12.EXERCISES]


@pytest.mark.parametrize(
    ("id", "name"), [(one.id, mistake.name) for one in chapter_12.EXERCISES for mistake in one.mistakes]
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


def test_a_book_that_is_changed_in_place_does_not_spoil_the_other_cases() -> None:
    def in_place(bids: dict[str, str], last: int, event: dict[str, Any]) -> Any:
        if event["u"] <= last:
            return bids, last
        if event["U"] > last + 1:
            return "gap"
        for price, quantity in event["b"]:
            bids[price] = quantity
            if not float(quantity):
                del bids[price]
        return bids, event["u"]

    assert repr(check("12.1", in_place)) == "✓ 6 of 6 cases right"


@pytest.mark.parametrize("seed", range(20))
def test_the_answer_agrees_with_the_labs_own_book(seed: int) -> None:
    rng = random.Random(seed)
    book, bids, last = OrderBook(), {"1.0": "1.0"}, 10
    book.take({"lastUpdateId": last, "bids": list(bids.items()), "asks": []})
    for _ in range(30):
        first = max(1, last + rng.choice([-3, 0, 1, 1, 1, 1, 2]))
        changes = [[f"{rng.randint(1, 5)}.0", f"{rng.randint(0, 3)}.0"]]
        event = {"U": first, "u": first + rng.randint(0, 3), "b": changes, "a": []}
        answer = chapter_12.apply(bids, last, event)
        assert (answer == "gap") == (book.feed(event) == "gap")
        if answer == "gap":
            break
        bids, last = answer
        assert (book.bids, book.last_update) == (bids, last)


@pytest.mark.parametrize("seed", range(10))
def test_the_owner_agrees_with_walking_around_the_ring_step_by_step(seed: int) -> None:
    rng = random.Random(seed)
    points = [(place, rng.choice("abc")) for place in rng.sample(range(100), 8)]
    at = dict(points)
    for place in range(100):
        walk = next(step % 100 for step in range(place, place + 100) if step % 100 in at)
        assert chapter_12.owner(points, place) == at[walk]
