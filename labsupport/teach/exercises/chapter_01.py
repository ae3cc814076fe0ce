"""Exercises of chapter 01, short polling."""

from __future__ import annotations

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
)
