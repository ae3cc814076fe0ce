"""Exercises of chapter 12: a book kept from differences, a first heartbeat, an owner on a ring."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any

from labsupport.teach.exercise import Exercise, Mistake, case

# 12.1, apply a difference or say "gap"

Book = Mapping[str, str]  # price -> quantity
Event = Mapping[str, Any]  # U, u: its first and last update; b: [price, quantity]


def apply(bids: Book, last: int, event: Event) -> tuple[Book, int] | str:
    """The book and its last update after a difference; "gap" if updates are missing in between."""
    if event["u"] <= last:
        return bids, last
    if event["U"] > last + 1:
        return "gap"
    return _changed(bids, event), event["u"]


def _changed(bids: Book, event: Event) -> Book:
    changed = {**bids, **dict(event["b"])}
    return {price: quantity for price, quantity in changed.items() if float(quantity)}


def _never_looks(bids: Book, last: int, event: Event) -> tuple[Book, int]:
    return _changed(bids, event), event["u"]


def _keeps_zeros(bids: Book, last: int, event: Event) -> tuple[Book, int] | str:
    answer = apply(bids, last, event)
    zeros = {price: quantity for price, quantity in event["b"] if not float(quantity)}
    return answer if isinstance(answer, str) or answer[1] == last else ({**answer[0], **zeros}, answer[1])


def _wants_exactly_the_next(bids: Book, last: int, event: Event) -> tuple[Book, int] | str:
    if event["u"] > last and event["U"] != last + 1:
        return "gap"
    return apply(bids, last, event)


def _old_is_a_gap(bids: Book, last: int, event: Event) -> tuple[Book, int] | str:
    return "gap" if event["u"] <= last else apply(bids, last, event)


def _one_may_be_missing(bids: Book, last: int, event: Event) -> tuple[Book, int] | str:
    return (_changed(bids, event), event["u"]) if event["U"] == last + 2 else apply(bids, last, event)


# 12.2, when the heart beats


def beats(hello_s: float, interval_s: float, draw: float, count: int) -> list[float]:
    """The first `count` heartbeats of a connection that was told hello at `hello_s`."""
    first_s = hello_s + draw * interval_s
    return [first_s + number * interval_s for number in range(count)]


def _no_chance(hello_s: float, interval_s: float, draw: float, count: int) -> list[float]:
    return beats(hello_s, interval_s, 1.0, count)


def _a_whole_interval_more(hello_s: float, interval_s: float, draw: float, count: int) -> list[float]:
    return beats(hello_s, interval_s, 1.0 + draw, count)


def _a_short_interval_for_ever(hello_s: float, interval_s: float, draw: float, count: int) -> list[float]:
    return [hello_s + (number + 1) * draw * interval_s for number in range(count)]


def _clock_from_zero(hello_s: float, interval_s: float, draw: float, count: int) -> list[float]:
    return beats(0.0, interval_s, draw, count)


# 12.3, an owner on a ring

Points = Sequence[tuple[int, str]]  # place on the ring, server


def owner(points: Points, place: int) -> str:
    """The server whose point is the first at the place or behind it, and past the end the first of all."""
    ring = sorted(points)
    index = bisect_left([at for at, _ in ring], place)
    return ring[index % len(ring)][1]


def _ends_at_the_end(points: Points, place: int) -> str:
    ring = sorted(points)
    index = bisect_left([at for at, _ in ring], place)
    return ring[min(index, len(ring) - 1)][1]


def _the_one_before(points: Points, place: int) -> str:
    ring = sorted(points)
    index = bisect_left([at for at, _ in ring], place)
    hit = index < len(ring) and ring[index][0] == place
    return ring[index if hit else index - 1][1]


def _the_nearest(points: Points, place: int) -> str:
    return min(points, key=lambda point: abs(point[0] - place))[1]


def _in_the_given_order(points: Points, place: int) -> str:
    return next((server for at, server in points if at >= place), points[0][1])


def _past_a_hit(points: Points, place: int) -> str:
    return owner(points, place + 1)


def _modulo(points: Points, place: int) -> str:
    servers = sorted({server for _, server in points})
    return servers[place % len(servers)]


_BIDS = {"99.0": "5.0", "98.0": "2.0"}
_RING = [(10, "a"), (40, "b"), (70, "c")]

EXERCISES = (
    Exercise(
        id="12.1",
        title="Apply it, or say gap",
        reference=apply,
        cases=(
            case(
                _BIDS,
                10,
                {"U": 11, "u": 12, "b": [["99.0", "4.0"], ["97.0", "1.0"]]},
                hint="the next in line",
            ),
            case(_BIDS, 10, {"U": 11, "u": 11, "b": [["98.0", "0.0"]]}, hint="what does quantity 0 mean?"),
            case(_BIDS, 10, {"U": 12, "u": 13, "b": [["99.0", "4.0"]]}, hint="where is update 11?"),
            case(_BIDS, 10, {"U": 8, "u": 9, "b": [["99.0", "7.0"]]}, hint="that is in the book already"),
            case(
                _BIDS,
                10,
                {"U": 9, "u": 12, "b": [["98.0", "6.0"]]},
                hint="it begins inside the snapshot: nothing is missing",
            ),
            case(
                _BIDS,
                10,
                {"U": 20, "u": 21, "b": []},
                hint="nine updates are missing, in whichever order you ask",
            ),
            case(_BIDS, 10, {"U": 10, "u": 10, "b": [["99.0", "1.0"]]}, hidden=True),
        ),
        mistakes=(
            Mistake(
                "one update may be missing",
                _one_may_be_missing,
                "behind update 10 comes 11; an event that begins with 12 leaves one out.",
            ),
            Mistake(
                "never looks at U and u",
                _never_looks,
                "it applies whatever comes; a book with a hole looks like any other.",
            ),
            Mistake(
                "zeros kept",
                _keeps_zeros,
                "quantity 0 says that nobody is there any more: take the price away.",
            ),
            Mistake(
                "only exactly the next",
                _wants_exactly_the_next,
                "the first event behind a snapshot may begin inside it; nothing is missing while U is at "
                "most last + 1.",
            ),
            Mistake(
                "what is old taken for a gap",
                _old_is_a_gap,
                "an event whose u is in the book already changes nothing, and is no loss.",
            ),
        ),
    ),
    Exercise(
        id="12.2",
        title="The first beat",
        reference=beats,
        cases=(
            case(0.0, 40.0, 0.5, 3, hint="the first beat comes after a share of the interval"),
            case(100.0, 40.0, 0.25, 2, hint="count from the hello"),
            case(7.0, 10.0, 0.0, 2, hint="the smallest draw: at once, and then an interval later"),
            case(0.0, 45.0, 0.9, 1, hint="one beat only"),
            case(3.0, 41.25, 0.1, 4, hidden=True),
        ),
        mistakes=(
            Mistake(
                "no chance in it",
                _no_chance,
                "all who came in one second beat in one second, for ever; the draw spreads them.",
            ),
            Mistake(
                "an interval too late",
                _a_whole_interval_more,
                "the draw shortens the first wait; added to a whole one, the server hears nothing for up to "
                "two intervals.",
            ),
            Mistake(
                "short intervals for ever",
                _a_short_interval_for_ever,
                "chance belongs to the first beat alone; between the others lies a whole interval.",
            ),
            Mistake("the hello forgotten", _clock_from_zero, "the beats are counted from the hello."),
        ),
    ),
    Exercise(
        id="12.3",
        title="Who owns the channel?",
        reference=owner,
        cases=(
            case(_RING, 35, hint="go on from the place to the next point"),
            case(_RING, 12, hint="the next point, not the nearest"),
            case(_RING, 40, hint="a place right on a point belongs to it"),
            case(_RING, 90, hint="a ring has no end"),
            case([(70, "c"), (10, "a"), (40, "b")], 21, hint="nobody said that the points are in order"),
            case([(10, "a"), (30, "b"), (50, "a"), (80, "b")], 45, hint="a server may have several points"),
            case([(5, "x")], 99, hidden=True),
        ),
        mistakes=(
            Mistake("the end of the ring", _ends_at_the_end, "past the last point comes the first again."),
            Mistake("the nearest", _the_nearest, "distance does not count, only who comes next."),
            Mistake("the one before", _the_one_before, "the owner's point lies at the place, or behind it."),
            Mistake("order taken for granted", _in_the_given_order, "sort the points by their place first."),
            Mistake("past a hit", _past_a_hit, "a point at the very place owns it."),
            Mistake(
                "modulo",
                _modulo,
                "the remainder moves nearly every channel when a server comes: use the ring.",
            ),
        ),
    ),
)
