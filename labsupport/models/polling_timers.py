"""When a client asks: its first poll, and the intervals after it."""

import math
from collections.abc import Callable

from labsupport.draws import PHASE, draw_from, stream
from labsupport.models import checks


def half_width(jitter: float, interval_law: str) -> float:
    """Return the half width of the uniform intervals as a share of T; 0 for constant ones."""
    checks.share("jitter", jitter)
    if interval_law == "exponential" and jitter:
        raise ValueError("jitter spreads constant intervals; with exponential ones leave it at 0")
    return jitter or (1.0 if interval_law == "uniform" else 0.0)


def first_poll_s(
    number: int,
    clients: int,
    phases: str,
    interval_s: float,
    every_s: float,
    width: float,
    interval_law: str,
    seed: int,
) -> float:
    """Return when a client asks first.

    "random" is the rest of an interval that began before time 0, in a run that had gone on for ever. Time 0
    lies in a long interval more often than in a short one (inspection paradox), so that interval has the
    density x·f(x)/E[X].
    """
    if phases != "random":
        return every_s * number / clients if phases == "equal" else 0.0
    key = stream(seed, number, PHASE)
    u, v, w, pick = (draw_from(key, n) for n in range(4))
    pause_s = every_s - interval_s  # the answer's round trip, where the interval starts after it
    if interval_law == "exponential":
        extra_s = -interval_s * math.log1p(-w) if pick * every_s >= pause_s else 0.0
        return float(u * (-interval_s * math.log1p(-v) + extra_s + pause_s))
    low_s, high_s = every_s - width * interval_s, every_s + width * interval_s
    return float(u * math.sqrt(low_s**2 + v * (high_s**2 - low_s**2)))


def next_intervals(interval_s: float, width: float, interval_law: str, key: int) -> Callable[[], float]:
    """Return a function that gives one client's intervals, one after the other."""
    if interval_law != "exponential" and not width:
        return lambda: interval_s
    taken = 0

    def next_interval_s() -> float:
        nonlocal taken
        u = draw_from(key, taken)
        taken += 1
        if interval_law == "exponential":
            return -interval_s * math.log1p(-u)
        return float(interval_s * (1.0 - width + 2.0 * width * u))

    return next_interval_s
