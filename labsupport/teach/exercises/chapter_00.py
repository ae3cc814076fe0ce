"""Exercises of chapter 00, start here."""

from __future__ import annotations

from labsupport.teach.exercise import Exercise, Mistake, case

KM_PER_S = 299_792.458  # light in vacuum
INDEX = 1.468  # refractive index of the glass in a fibre


def round_trip_ms(distance_km: float) -> float:
    """Milliseconds for light there and back in fibre."""
    return 2 * 1000 * distance_km * INDEX / KM_PER_S


def _one_way(distance_km: float) -> float:
    return 1000 * distance_km * INDEX / KM_PER_S


def _in_vacuum(distance_km: float) -> float:
    return 2 * 1000 * distance_km / KM_PER_S


def _in_seconds(distance_km: float) -> float:
    return 2 * distance_km * INDEX / KM_PER_S


def _faster_in_glass(distance_km: float) -> float:
    return 2 * 1000 * distance_km / INDEX / KM_PER_S


def longest_interval_ms(budget_ms: float, to_server_ms: float, to_bob_ms: float, server_ms: float) -> float:
    """The longest poll interval that keeps the unluckiest message inside the budget; 0 if none does.

    A message that has just missed a poll at the server waits until the next poll is there, one interval later
    (both polls travel the same way), and then travels to Bob.
    """
    return max(0, budget_ms - to_server_ms - server_ms - to_bob_ms)


def _on_average(budget_ms: float, to_server_ms: float, to_bob_ms: float, server_ms: float) -> float:
    return max(0, 2 * (budget_ms - to_server_ms - server_ms - to_bob_ms))


def _forgets_bob(budget_ms: float, to_server_ms: float, to_bob_ms: float, server_ms: float) -> float:
    return max(0, budget_ms - to_server_ms - server_ms)


def _negative(budget_ms: float, to_server_ms: float, to_bob_ms: float, server_ms: float) -> float:
    return budget_ms - to_server_ms - server_ms - to_bob_ms


def _way_twice(budget_ms: float, to_server_ms: float, to_bob_ms: float, server_ms: float) -> float:
    return max(0, budget_ms - to_server_ms - server_ms - 2 * to_bob_ms)


EXERCISES = (
    Exercise(
        id="0.1",
        title="The ocean's share",
        reference=round_trip_ms,
        cases=(
            case(5570, hint="New York to London and back: 54.5 ms"),
            case(0, hint="no distance, no time"),
            case(1000, hint="about 10 ms for each 1 000 km, there and back"),
            case(17_000, hint="half around the world", hidden=True),
        ),
        mistakes=(
            Mistake("one way only", _one_way, "there and back is twice the distance."),
            Mistake("light in vacuum", _in_vacuum, "in glass it is slower by the refractive index."),
            Mistake("seconds for milliseconds", _in_seconds, "a second has 1 000 milliseconds."),
            Mistake(
                "faster in glass",
                _faster_in_glass,
                "the index divides the speed, so it multiplies the time.",
            ),
        ),
    ),
    Exercise(
        id="0.2",
        title="What is left for waiting",
        reference=longest_interval_ms,
        cases=(
            case(300, 30, 30, 10, hint="230 ms are left for the wait"),
            case(300, 0, 0, 0, hint="with no ways at all, the wait may take the whole budget"),
            case(100, 60, 60, 0, hint="the ways alone break the budget: what then?"),
            case(300, 14, 200, 6, hint="Bob is far away: his way counts"),
            case(500, 40, 80, 5, hidden=True),
        ),
        mistakes=(
            Mistake(
                "the average message",
                _on_average,
                "the average message waits half an interval, the unlucky one a whole one.",
            ),
            Mistake("Bob's way forgotten", _forgets_bob, "the answer still has to travel to Bob."),
            Mistake("an interval below zero", _negative, "nobody can poll every −20 ms: return 0."),
            Mistake(
                "the question's way counted in the wait",
                _way_twice,
                "polls leave one interval apart, so they also arrive one interval apart: "
                "the question's way shifts both alike.",
            ),
        ),
    ),
)
