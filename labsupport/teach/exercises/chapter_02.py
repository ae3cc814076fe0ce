"""Exercises of chapter 02, long polling."""

from __future__ import annotations

import math

from labsupport.teach.exercise import Exercise, Mistake, case


def pause_s(ok: bool, messages: int, took_s: float, failures: int, u: float) -> float:
    """Seconds before the next question: a back-off, or what is left of 1 s between two starts."""
    if not ok:
        return u * min(30, 2**failures)
    return 0 if messages else max(0, 1 - took_s)


def _no_cap(ok: bool, messages: int, took_s: float, failures: int, u: float) -> float:
    return pause_s(ok, messages, took_s, failures, u) if ok else u * 2**failures


def _no_draw(ok: bool, messages: int, took_s: float, failures: int, u: float) -> float:
    return pause_s(ok, messages, took_s, failures, 1.0)


def _always_three(ok: bool, messages: int, took_s: float, failures: int, u: float) -> float:
    return pause_s(ok, messages, took_s, failures, u) if ok else 3.0


def _no_gap(ok: bool, messages: int, took_s: float, failures: int, u: float) -> float:
    return 0 if ok else pause_s(ok, messages, took_s, failures, u)


def _gap_on_top(ok: bool, messages: int, took_s: float, failures: int, u: float) -> float:
    return 1 if ok and not messages else pause_s(ok, messages, took_s, failures, u)


def _gap_after_messages(ok: bool, messages: int, took_s: float, failures: int, u: float) -> float:
    return pause_s(ok, 0, took_s, failures, u)


def _negative_gap(ok: bool, messages: int, took_s: float, failures: int, u: float) -> float:
    return 1 - took_s if ok and not messages else pause_s(ok, messages, took_s, failures, u)


Wall = tuple[float, str]


def first_wall(
    memory: int, process_bytes: int, kernel_bytes: int, descriptors: int, answers_per_s: float, hold_s: float
) -> Wall:
    """The most requests that one process can hold in silence, and what stands in the way of one more."""
    return _lowest(memory // (process_bytes + kernel_bytes), descriptors, int(answers_per_s * hold_s))


def _lowest(memory: float, descriptors: float, time_outs: float) -> Wall:
    walls: dict[str, float] = {"memory": memory, "descriptors": descriptors, "time-outs": time_outs}
    return min((most, name) for name, most in walls.items())


def _no_kernel(
    memory: int, process_bytes: int, kernel_bytes: int, descriptors: int, answers_per_s: float, hold_s: float
) -> Wall:
    return _lowest(memory // process_bytes, descriptors, int(answers_per_s * hold_s))


def _no_hold(
    memory: int, process_bytes: int, kernel_bytes: int, descriptors: int, answers_per_s: float, hold_s: float
) -> Wall:
    return _lowest(memory // (process_bytes + kernel_bytes), descriptors, int(answers_per_s))


def _no_descriptors(
    memory: int, process_bytes: int, kernel_bytes: int, descriptors: int, answers_per_s: float, hold_s: float
) -> Wall:
    return _lowest(memory // (process_bytes + kernel_bytes), math.inf, int(answers_per_s * hold_s))


def requests_per_message(rate: float, hold_s: float, round_trip_s: float) -> float:
    """1 / (λ·(L + E[W])), with E[W] = e^(−λL)·(1 − e^(−λH))/λ."""
    wait_s = math.exp(-rate * round_trip_s) * (1 - math.exp(-rate * hold_s)) / rate
    return 1 / (rate * (round_trip_s + wait_s))


def _no_round_trip(rate: float, hold_s: float, round_trip_s: float) -> float:
    return requests_per_message(rate, hold_s, 0.0)


def _no_time_out(rate: float, hold_s: float, round_trip_s: float) -> float:
    return requests_per_message(rate, math.inf, round_trip_s)


def _upside_down(rate: float, hold_s: float, round_trip_s: float) -> float:
    return 1 / requests_per_message(rate, hold_s, round_trip_s)


def _timer(rate: float, hold_s: float, round_trip_s: float) -> float:
    return 1 / (rate * hold_s)


EXERCISES = (
    Exercise(
        id="2.1",
        title="Before the next question",
        reference=pause_s,
        cases=(
            case(True, 0, 25.0, 0, 0.5, hint="it was held for 25 s: is there anything left to wait for?"),
            case(
                True, 0, 0.25, 0, 0.5, hint="empty and early: the next question starts 1 s after this one did"
            ),
            case(True, 3, 0.01, 0, 0.5, hint="messages came, and more may be there already"),
            case(False, 0, 0.01, 0, 0.5, hint="the first failure: the draw times 1 s"),
            case(
                False, 0, 0.01, 3, 0.25, hint="three failures before this one: 1, 2, 4, and now 8 s at most"
            ),
            case(False, 0, 40.0, 10, 0.9, hint="is the ceiling of 30 s applied?"),
            case(False, 2, 5.0, 5, 0.5, hint="a failure is a failure, whatever it carries", hidden=True),
        ),
        mistakes=(
            Mistake("no cap", _no_cap, "the ceiling doubles for ever; after ten failures it is 17 minutes."),
            Mistake(
                "no draw",
                _no_draw,
                "without a random share, all clients of a server that fell come back at the same moments.",
            ),
            Mistake(
                "always three seconds",
                _always_three,
                "a constant wait neither spreads the crowd nor gives a server in trouble more and more room.",
            ),
            Mistake(
                "no least distance",
                _no_gap,
                "a server that answers [] at once is asked again at once: this is the loop that spins.",
            ),
            Mistake(
                "the distance on top",
                _gap_on_top,
                "the second counts from the start of the question; one that was held has kept it already.",
            ),
            Mistake(
                "the distance after messages, too",
                _gap_after_messages,
                "it makes the next message wait for nothing: after messages, ask again at once.",
            ),
            Mistake(
                "negative wait",
                _negative_gap,
                "a question that took longer than the distance leaves nothing to wait for, and no less.",
            ),
        ),
    ),
    Exercise(
        id="2.2",
        title="Which wall comes first",
        reference=first_wall,
        cases=(
            case(1_000_000_000, 9_800, 7_410, 20_000, 13_400, 25, hint="which of the three is the smallest?"),
            case(100_000_000, 9_800, 7_410, 20_000, 13_400, 25, hint="a parked request is paid for twice"),
            case(8_000_000_000, 10_000, 6_000, 1_000_000, 1_000, 25, hint="each comes back once in 25 s"),
            case(8_000_000_000, 10_000, 6_000, 1_000_000, 13_400, 30, hint="the hold decides here"),
            case(500_000_000, 10_000, 10_000, 60_000, 5_000, 20, hint="25 000 fit into the memory"),
            case(
                300_000_000, 9_800, 7_410, 18_000, 700, 25, hint="all three lie close together", hidden=True
            ),
        ),
        mistakes=(
            Mistake(
                "the kernel forgotten",
                _no_kernel,
                "each connection also takes memory outside of the process, where top and htop do not look.",
            ),
            Mistake(
                "the hold forgotten",
                _no_hold,
                "a parked request is answered once in a hold, not once in a second: multiply by the hold.",
            ),
            Mistake(
                "the descriptors forgotten",
                _no_descriptors,
                "each parked request keeps a connection open, and each connection is a descriptor.",
            ),
        ),
    ),
    Exercise(
        id="2.3",
        title="What a message costs",
        reference=requests_per_message,
        cases=(
            case(1 / 60, 25, 0.1, hint="a message a minute, held for 25 s: nearly 3"),
            case(5, 2, 0.2, hint="one message per round trip: fewer requests than messages"),
            case(100, 25, 0.1, hint="a flood: one request per round trip, 0.1 per message"),
            case(1 / 600, 25, 0.05, hint="very rare messages: nearly all holds end empty"),
            case(1, 25, 0.1, hint="once a second: almost exactly one for one", hidden=True),
        ),
        mistakes=(
            Mistake(
                "the round trip forgotten",
                _no_round_trip,
                "during the trip no question is parked; what comes then shares the next answer.",
            ),
            Mistake(
                "the time-outs forgotten",
                _no_time_out,
                "a hold that ends empty was a request as well; without it, no message costs more than 1.",
            ),
            Mistake("upside down", _upside_down, "this is messages per request."),
            Mistake(
                "the timer's formula",
                _timer,
                "1/(λH) counts a request for each hold; but a message ends the hold, and a new one begins.",
            ),
        ),
    ),
)
