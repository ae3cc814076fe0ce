"""A server that stops for a moment, in formulas: how many messages are late, by how much, and who notices.

The world of the formulas: messages come as a Poisson stream, λ = `messages_per_s`; a server serves them in
turn, one in an exponential time with mean 1/μ, μ = `served_per_s`, ρ = λ/μ < 1. At some moment that has
nothing to do with the messages the whole process stops for g = `pause_s` (garbage collection, a full disk, a
stolen CPU, SIGSTOP). Nothing is lost: messages queue up, and the work in hand goes on where it stopped.

"Late" is a message that is done later than it would have been without the pause.

The large picture has no chance in it: the messages of the pause and those that come while it is made up for
are late, by g at first and by nothing at the end. With exact=True the formulas add what is in the server when
it stops: L = ρ/(1 − ρ) messages, W = ρ/(μ − λ) seconds of work.

Left out: several workers, a pause that throws caches away, clients that give up and come again. Functions
take numbers or numpy arrays and return the same; each is held against the simulation in tests/models.
"""

import math
from typing import Any, TypeAlias

import numpy as np

from labsupport.models import checks
from labsupport.models.formula import plain

Numbers: TypeAlias = Any  # a float, or a numpy array of floats


# ---- one pause ---------------------------------------------------------------------------------------------


@plain
def late_messages(
    pause_s: Numbers, messages_per_s: Numbers, served_per_s: Numbers, *, exact: bool = False
) -> Numbers:
    """Mean number of late messages: g·λ·μ/(μ − λ). A second at 80/s with a server of 100/s: 400.

    exact: L + λ(g + W)/(1 − ρ), 420.
    """
    load, held, work_s = _server(pause_s, messages_per_s, served_per_s, exact)
    late = np.asarray(messages_per_s) * (np.asarray(pause_s) + work_s) / (1.0 - load) + held
    return np.where(np.asarray(pause_s) > 0, late, 0.0)


@plain
def late_mean_s(
    pause_s: Numbers, messages_per_s: Numbers, served_per_s: Numbers, *, exact: bool = False
) -> Numbers:
    """Mean seconds by which those are late: g/2, whatever the load. A second at 80/s of 100/s: 0.5 s.

    exact: those in the server, and those that come before it has done their work, are late by all of g, so
    (g·L + λ(g·W + g²/2)/(1 − ρ))/late messages, 0.524 s.
    """
    load, held, work_s = _server(pause_s, messages_per_s, served_per_s, exact)
    g, lam = np.asarray(pause_s, dtype=float), np.asarray(messages_per_s)
    total_s = g * held + lam * (g * work_s + g**2 / 2.0) / (1.0 - load)
    late = lam * (g + work_s) / (1.0 - load) + held
    return np.where(late > 0, total_s / np.where(late > 0, late, 1.0), g / 2.0)


@plain
def caught_up_s(
    pause_s: Numbers, messages_per_s: Numbers, served_per_s: Numbers, *, exact: bool = False
) -> Numbers:
    """Mean seconds from the end of the pause until the queue is empty: g·λ/(μ − λ). 1 s at 80 of 100/s: 4 s.

    exact: (ρ·g + W)/(1 − ρ), 4.2 s. At 95 of 100/s it is 19 s: the busier a server, the longer a pause.
    """
    load, _, work_s = _server(pause_s, messages_per_s, served_per_s, exact)
    return (load * np.asarray(pause_s) + work_s) / (1.0 - load)


# ---- a pause every period ----------------------------------------------------------------------------------


@plain
def late_share(
    pause_s: Numbers,
    period_s: Numbers,
    messages_per_s: Numbers,
    served_per_s: Numbers,
    *,
    exact: bool = False,
) -> Numbers:
    """Share of all messages that are late when a pause comes every T: g/(T(1 − ρ)), 1 at most.

    50 ms every 10 s are half a percent of the time; at 80 of 100/s 2.5 % of the messages are late. It holds
    where a pause is made up for before the next one; where g > T(1 − ρ) the queue grows for ever.
    """
    checks.seconds("period_s", period_s, zero=False)
    late = np.asarray(late_messages(pause_s, messages_per_s, served_per_s, exact=exact))
    return np.minimum(1.0, late / (np.asarray(messages_per_s) * np.asarray(period_s)))


@plain
def delay_quantile_s(share: Numbers, messages_per_s: Numbers, served_per_s: Numbers) -> Numbers:
    """Delay within which this share is done without pauses: −ln(1 − q)/(μ − λ). p99, 80 of 100/s: 230 ms."""
    load, _, _ = _server(0.0, messages_per_s, served_per_s, False)
    checks.share("share", share)
    spare = np.asarray(served_per_s) * (1.0 - load)
    return -np.log1p(-np.asarray(share, dtype=float)) / spare


def paused_quantile_s(
    share: float, pause_s: float, period_s: float, messages_per_s: float, served_per_s: float
) -> float:
    """Delay within which this share is done with a pause every T; takes numbers, not arrays.

    λ·g/(1 − ρ) messages a pause are late by a time that is uniform on (0, g), and L + λW/(1 − ρ) by all of g;
    what comes on top is taken to be the delay without pauses, independent of that. It is not quite: the p99
    of the simulation lies up to some 6 % above. Solved by halving. 0.5 s every 10 s, 60 of 100/s: 506 ms.
    """
    late = late_share(pause_s, period_s, messages_per_s, served_per_s, exact=True)
    checks.share("share", share)
    if late >= 1:
        raise ValueError(
            f"a pause of {pause_s:g} s every {period_s:g} s is more than the server makes up for, so the "
            "queue grows for ever: try a longer period_s, a shorter pause_s or a faster server"
        )
    spare = served_per_s - messages_per_s
    some = pause_s / period_s * served_per_s / spare  # late by a part of the pause
    whole = late - some  # by all of it

    def still_waiting(t: float) -> float:
        """Return the share that waits longer than t."""
        calm, after_pause = math.exp(-spare * t), math.exp(-spare * max(0.0, t - pause_s))
        if not pause_s:
            return calm
        part = (max(0.0, pause_s - t) + (after_pause - calm) / spare) / pause_s
        return (1.0 - late) * calm + some * part + whole * after_pause

    low, high = 0.0, pause_s + delay_quantile_s(share, messages_per_s, served_per_s) + 1.0
    while high - low > 1e-9 * high:
        middle = (low + high) / 2.0
        low, high = (middle, high) if still_waiting(middle) > 1.0 - share else (low, middle)
    return high


# ---- who asks ----------------------------------------------------------------------------------------------


@plain
def asker_late_share(pause_s: Numbers, period_s: Numbers, think_s: Numbers, answer_s: Numbers) -> Numbers:
    """Share of late answers that one asker sees that waits for each before it asks again (closed loop).

    It thinks Z = `think_s` between questions and an answer takes R = `answer_s`. A pause finds it waiting, or
    it asks within the pause: min(1, (g + R)/(Z + R)) late answers a pause, never two, of (T − g')/(Z + R)
    asked, g' the mean time that the pause holds it up, g less what it would have thought through:
    (gR + g²/2)/(Z + R) for g < Z, else g − Z²/(2(Z + R)). A pause of 1 s every 60 s, Z = 90 ms, R = 10 ms:
    0.17 % of its answers, while 1.7 % of the time is gone.
    """
    checks.seconds("pause_s", pause_s)
    checks.seconds("period_s", period_s, zero=False)
    checks.seconds("think_s", think_s)
    checks.seconds("answer_s", answer_s, zero=False)
    g, think, answer = (np.asarray(one, dtype=float) for one in (pause_s, think_s, answer_s))
    turn_s = think + answer
    within = (g * answer + g**2 / 2.0) / turn_s
    held_up_s = np.where(g < think, within, g - think**2 / (2.0 * turn_s))
    if np.any(held_up_s >= np.asarray(period_s)):
        raise ValueError(f"pause_s must be shorter than period_s, got {pause_s!r} of {period_s!r} s")
    asked = (np.asarray(period_s) - held_up_s) / turn_s
    return np.minimum(1.0, np.minimum(1.0, (g + answer) / turn_s) / asked)


def _server(
    pause_s: Numbers, messages_per_s: Numbers, served_per_s: Numbers, exact: bool
) -> tuple[Any, Any, Any]:
    """Check what describes a server; return ρ, and the messages and seconds of work in it, if they count."""
    checks.seconds("pause_s", pause_s)
    checks.rate("messages_per_s", messages_per_s, zero=False)
    checks.rate("served_per_s", served_per_s, zero=False)
    lam, mu = np.asarray(messages_per_s, dtype=float), np.asarray(served_per_s, dtype=float)
    if np.any(lam >= mu):
        raise ValueError(
            f"messages_per_s must be below served_per_s, or no pause is ever made up for; got "
            f"{messages_per_s!r} and {served_per_s!r}"
        )
    load = lam / mu
    return load, exact * load / (1.0 - load), exact * load / (mu - lam)
