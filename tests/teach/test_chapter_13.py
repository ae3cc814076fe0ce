"""The exercises of chapter 13: what test_exercise.py asks of all of them, and what is true of these alone."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from labsupport.models.reconnect_closed_forms import window_needed_s
from labsupport.teach.exercise import check, exercise
from labsupport.teach.exercises import chapter_13

IDS = [one.id for one in chapter_13.EXERCISES]


@pytest.mark.parametrize(
    ("id", "name"), [(one.id, mistake.name) for one in chapter_13.EXERCISES for mistake in one.mistakes]
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


@pytest.mark.parametrize("id", IDS)
def test_the_reference_passes(id: str) -> None:
    assert repr(check(id, exercise(id).reference)).startswith("✓")


def test_an_answer_that_goes_through_the_address_piece_by_piece_is_right_as_well() -> None:
    def by_pieces(line: str) -> str:
        words = []
        for word in line.split(" "):
            if "?" in word:
                path, _, query = word.partition("?")
                pairs = [pair.partition("=") for pair in query.split("&")]
                hidden = [
                    f"{name}={'...' if name in ('token', 'ticket') else value}" for name, _, value in pairs
                ]
                word = f"{path}?{'&'.join(hidden)}"
            words.append(word)
        return " ".join(words)

    assert check("13.1", by_pieces).passed


@pytest.mark.parametrize("seed", range(10))
def test_no_secret_is_left_in_the_address_and_nothing_else_is_gone(seed: int) -> None:
    rng = random.Random(seed)
    pairs = [
        (rng.choice(["token", "ticket", "room", "since", "tokens"]), f"{rng.random():.9f}") for _ in range(6)
    ]
    address = "/events?" + "&".join(f"{name}={value}" for name, value in pairs)
    left = parse_qsl(urlsplit(chapter_13.redact(f'"GET {address} HTTP/1.1" 200').split(" ")[1]).query)
    assert left == [(name, "..." if name in ("token", "ticket") else value) for name, value in pairs]


def test_the_seconds_of_a_drain_are_those_of_the_window_without_a_queue() -> None:
    """chapter 08: W = (N − Q)/C, of what one server holds and what the others let in."""
    assert chapter_13.drain_s(3_000, 3, 100.0, 0.5) == pytest.approx(window_needed_s(1_000, 2 * 100 * 0.5, 0))


@pytest.mark.parametrize("seed", range(10))
def test_the_rate_counts_each_event_once_however_often_the_counter_restarts(seed: int) -> None:
    rng = random.Random(seed)
    happened, at_s = 0, 3.0
    readings: list[tuple[float, int]] = []
    for _ in range(5):  # lives of the server; each counts less than the one before, or the fall is not seen
        rises = [rng.randint(0, 9) for _ in range(5)] if not readings else [0] + [rng.randint(0, 1)] * 2
        total = 0
        for rise in rises:
            total += rise
            happened += rise if readings else 0  # what came before the first reading is not seen
            readings.append((at_s, total))
            at_s += 2
    assert chapter_13.rate_per_s(readings) == pytest.approx(happened / (readings[-1][0] - 3.0))
