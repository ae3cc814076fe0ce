"""Exercises of chapter 01, short polling."""

from __future__ import annotations

import math

from labsupport.teach.exercise import Exercise, Mistake, case


def next_wait(interval_s: float, share: float, u: float) -> float:
    """Seconds to wait: uniform in interval_s·(1 ± share), for a draw u in [0, 1)."""
    return interval_s * (1 + share * (2 * u - 1))


def _no_jitter(interval_s: float, share: float, u: float) -> float:
    return interval_s


def _only_adds(interval_s: float, share: float, u: float) -> float:
    return interval_s * (1 + share * u)


def _in_seconds(interval_s: float, share: float, u: float) -> float:
    return interval_s + share * (2 * u - 1)


def choose_interval(users: float, mean_delay_s: float, requests_per_s: float) -> float | None:
    """The longest interval in seconds whose mean delay and request rate both fit, or None."""
    longest_s, shortest_s = 2 * mean_delay_s, users / requests_per_s
    return longest_s if longest_s >= shortest_s else None


def _delay_is_interval(users: float, mean_delay_s: float, requests_per_s: float) -> float | None:
    return mean_delay_s if mean_delay_s >= users / requests_per_s else None


def _forgets_the_budget(users: float, mean_delay_s: float, requests_per_s: float) -> float:
    return 2 * mean_delay_s


def _shortest(users: float, mean_delay_s: float, requests_per_s: float) -> float | None:
    shortest_s = users / requests_per_s
    return shortest_s if 2 * mean_delay_s >= shortest_s else None


def rate_from_empty_share(share: float, interval_s: float) -> float:
    """Messages per second that leave this share of the polls empty: −ln(share)/T."""
    return -math.log(share) / interval_s


def _share_is_rate(share: float, interval_s: float) -> float:
    return (1 - share) / interval_s


def _per_interval(share: float, interval_s: float) -> float:
    return -math.log(share)


def _negative_rate(share: float, interval_s: float) -> float:
    return math.log(share) / interval_s


EXERCISES = (
    Exercise(
        id="1.1",
        title="Do not all ask at once",
        reference=next_wait,
        cases=(
            case(5.0, 0.0, 0.5, hint="without jitter, the wait is the interval"),
            case(5.0, 0.2, 0.0, hint="the smallest draw gives the shortest wait"),
            case(5.0, 0.2, 0.75, hint="a draw above one half makes the wait longer than the interval"),
            case(60.0, 0.1, 0.25, hint="is the share taken of the interval?"),
            case(10.0, 0.5, 0.5, hint="the middle draw gives the interval itself"),
            case(1.0, 1.0, 0.0, hint="with a share of 1 the wait may be nothing at all", hidden=True),
        ),
        mistakes=(
            Mistake(
                "no jitter",
                _no_jitter,
                "the draw is not used, so clients that start together ask together for ever.",
            ),
            Mistake(
                "jitter only adds",
                _only_adds,
                "the wait is never shorter than the interval, so the mean interval grows and the rate falls.",
            ),
            Mistake(
                "jitter in seconds, not as a share",
                _in_seconds,
                "0.2 was taken as 0.2 s; it is a fifth of the interval, 12 s of a minute.",
            ),
        ),
    ),
    Exercise(
        id="1.2",
        title="Fast or cheap, in numbers",
        reference=choose_interval,
        cases=(
            case(10_000, 2.5, 2_000, hint="T = 5 s gives 2 000 requests/s and 2.5 s: it just fits"),
            case(10_000, 30.0, 1_000, hint="the longest interval that still keeps the delay is the cheapest"),
            case(10_000, 1.0, 2_000, hint="2 s would be 5 000 requests/s: what if nothing fits?"),
            case(300, 150.0, 1, hint="300 users, one request a second: exactly 300 s"),
            case(1_000_000, 0.5, 999_999, hint="just too expensive", hidden=True),
        ),
        mistakes=(
            Mistake(
                "delay for interval",
                _delay_is_interval,
                "the mean delay is half of the interval, so the interval may be twice as long.",
            ),
            Mistake(
                "the budget forgotten",
                _forgets_the_budget,
                "the delay is kept, but users / interval may be more than you can pay for: return None then.",
            ),
            Mistake(
                "the shortest interval",
                _shortest,
                "it spends the whole budget; the longest interval that keeps the delay costs less.",
            ),
        ),
    ),
    Exercise(
        id="1.3",
        title="How rare is rare?",
        reference=rate_from_empty_share,
        cases=(
            case(0.92, 5.0, hint="about one message a minute"),
            case(0.5, 1.0, hint="half of the intervals are silent: λT = ln 2"),
            case(0.98, 5.0, hint="one message every 247 s"),
            case(1.0, 5.0, hint="if every poll is empty, no message ever came"),
            case(0.02, 60.0, hint="very busy", hidden=True),
        ),
        mistakes=(
            Mistake(
                "full share for rate",
                _share_is_rate,
                "a poll that brings something may bring several messages; turn e^(−λT) around instead.",
            ),
            Mistake(
                "per interval, not per second",
                _per_interval,
                "this is λT, the messages per interval; divide by the interval to get them per second.",
            ),
            Mistake(
                "sign lost",
                _negative_rate,
                "the logarithm of a share below 1 is negative, and a rate is not.",
            ),
        ),
    ),
)
