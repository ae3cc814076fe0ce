"""Polling in formulas: exact where they say so, and each held against the simulation in tests/models.

The world of all formulas: messages for one client arrive at the server as a Poisson stream of λ =
`messages_per_s` (the gaps are exponential: no rhythm, no bursts); the client asks every T = `interval_s`; a
request and its answer take L/2 each way (L = `round_trip_s`, constant) and the server no time; a message
counts as seen when the answer arrives. Left out: lost requests, queues, clients that leave. With one topic
shared by all clients the averages still hold, but one run strays from them: see `empty_share_error`.

Every function takes numbers or numpy arrays (for sliders and curves) and returns the same. Under "fixed
delay" a client pauses T after each answer, so its polls are T + L apart: put `period_s(…)` where a formula
asks for T.
"""

import math
from typing import Any, TypeAlias

import numpy as np

from labsupport.models import checks
from labsupport.models.formula import plain as _plain

Numbers: TypeAlias = Any  # a float, or a numpy array of floats

SCHEDULES = ("fixed rate", "fixed delay")
LAWS = ("constant", "uniform", "exponential")
PHASES = ("random", "equal", "together")


# ---- short polling -----------------------------------------------------------------------------------------


@_plain
def period_s(interval_s: Numbers, round_trip_s: Numbers = 0.0, schedule: str = "fixed rate") -> Numbers:
    """Seconds from one poll to the next: T at a fixed rate (a timer), T + L with a fixed delay."""
    checks.seconds("interval_s", interval_s, zero=False)
    checks.seconds("round_trip_s", round_trip_s)
    checks.choice("schedule", schedule, SCHEDULES)
    return np.asarray(interval_s) + (np.asarray(round_trip_s) if schedule == "fixed delay" else 0.0)


@_plain
def empty_share(
    messages_per_s: Numbers, interval_s: Numbers, *, jitter: Numbers = 0.0, interval_law: str = "constant"
) -> Numbers:
    """Share of polls that bring nothing: e^(−λT), the chance that a Poisson stream is silent for T.

    With intervals of T·(1 ± j): e^(−λT)·sinh(jλT)/(jλT); exponential intervals: 1/(1 + λT) (both: the mean
    of e^(−λX) over the intervals X). λ = 1/60 a second and T = 5 s give 0.920.
    """
    checks.rate("messages_per_s", messages_per_s)
    spread = _jitter(interval_s, jitter, interval_law)
    expected = np.asarray(messages_per_s) * interval_s
    if interval_law == "exponential":
        return 1.0 / (1.0 + expected)
    x = spread * expected
    jittered = (np.exp(x - expected) - np.exp(-x - expected)) / np.where(x > 0, 2.0 * x, 1.0)
    return np.where(x > 0, jittered, np.exp(-expected))


@_plain
def polls_per_message(messages_per_s: Numbers, interval_s: Numbers) -> Numbers:
    """Polls that one message costs: 1/(λT), whatever the law of the intervals. λ = 1/60, T = 5 s: 12."""
    checks.rate("messages_per_s", messages_per_s)
    checks.seconds("interval_s", interval_s, zero=False)
    return 1.0 / (np.asarray(messages_per_s) * interval_s)


@_plain
def requests_per_s(
    clients: Numbers, interval_s: Numbers, *, round_trip_s: Numbers = 0.0, schedule: str = "fixed rate"
) -> Numbers:
    """Polls per second of all clients: N/T at a fixed rate, N/(T + L) with a fixed delay.


    10 000 clients at 300 s: 33.3. Times the mean staleness T/2 (L = 0) it is N/2, a constant: fast or cheap,
    but not both.
    """
    checks.amount("clients", clients)
    return np.asarray(clients) / period_s(interval_s, round_trip_s, schedule)


@_plain
def staleness_mean_s(
    interval_s: Numbers,
    *,
    round_trip_s: Numbers = 0.0,
    jitter: Numbers = 0.0,
    interval_law: str = "constant",
) -> Numbers:
    """Mean seconds from a message's arrival at the server to its arrival at the client.

    T/2 + L/2; with intervals of T·(1 ± j): T/2·(1 + j²/3) + L/2; exponential intervals: T + L/2. All three
    are E[X²]/(2 E[X]): a message falls into a long interval more often than into a short one (inspection
    paradox).
    """
    checks.seconds("round_trip_s", round_trip_s)
    spread = _jitter(interval_s, jitter, interval_law)
    shape = 2.0 if interval_law == "exponential" else 1.0 + np.asarray(spread) ** 2 / 3.0
    return np.asarray(interval_s) / 2.0 * shape + np.asarray(round_trip_s) / 2.0


@_plain
def staleness_p95_s(interval_s: Numbers, *, round_trip_s: Numbers = 0.0) -> Numbers:
    """95 of 100 messages are seen within 0.95 T + L/2: with constant intervals the wait is uniform."""
    checks.seconds("round_trip_s", round_trip_s)
    _jitter(interval_s, 0.0, "constant")
    return 0.95 * np.asarray(interval_s) + np.asarray(round_trip_s) / 2.0


@_plain
def staleness_max_s(interval_s: Numbers, *, round_trip_s: Numbers = 0.0, jitter: Numbers = 0.0) -> Numbers:
    """Worst case: T·(1 + j) + L/2, for a message that just missed a poll. Not for exponential intervals."""
    checks.seconds("round_trip_s", round_trip_s)
    return (
        np.asarray(interval_s) * (1.0 + _jitter(interval_s, jitter, "constant"))
        + np.asarray(round_trip_s) / 2.0
    )


@_plain
def stale_share(
    messages_per_s: Numbers,
    interval_s: Numbers,
    *,
    round_trip_s: Numbers = 0.0,
    jitter: Numbers = 0.0,
    interval_law: str = "constant",
) -> Numbers:
    """Share of time in which a client's view lacks a message: 1 − e^(−λL/2)·(1 − P(empty))/(λT).

    With L = 0 and constant intervals: 1 − (1 − e^(−λT))/(λT). Derivation: what the client knows is as old
    as the time since its last answered poll looked (uniform on T, plus L/2 on the way), and the view is
    fresh when no message came in that time. For rare messages about λ·(T + L)/2.
    """
    checks.seconds("round_trip_s", round_trip_s)
    empty = np.asarray(empty_share(messages_per_s, interval_s, jitter=jitter, interval_law=interval_law))
    expected = np.asarray(messages_per_s) * interval_s
    fresh = np.where(expected > 0, (1.0 - empty) / np.where(expected > 0, expected, 1.0), 1.0)
    return 1.0 - np.exp(-np.asarray(messages_per_s) * round_trip_s / 2.0) * fresh


@_plain
def busiest_bin(
    clients: Numbers, interval_s: Numbers, bin_s: Numbers = 1.0, *, phases: str = "random"
) -> Numbers:
    """Requests in the busiest bin of `bin_s` seconds, for B = T/bin bins of mean m = N·bin/T.

    Random phases: the mean of the largest of B Poisson counts, Σ_k 1 − F(k)^B. The rule of thumb m + √(2 m
    ln B) gives 3 % more at m = 33, B = 300 (within 6 % for m ≥ 10 and B from 60 to 86 400). Equal phases
    (evenly spread): ⌈m⌉. Together: N. Intervals are constant, so the same bins return every T: a longer run
    has no more bins to choose from.
    """
    checks.amount("clients", clients)
    checks.seconds("interval_s", interval_s, zero=False)
    checks.seconds("bin_s", bin_s, zero=False)
    checks.choice("phases", phases, PHASES)
    n, mean = np.broadcast_arrays(
        np.asarray(clients, float), np.asarray(clients) * np.asarray(bin_s) / interval_s
    )
    if phases == "together":
        return n
    if phases == "equal":
        return np.ceil(mean - 1e-9)
    bins = np.maximum(np.asarray(interval_s) / np.asarray(bin_s), 1.0) + 0.0 * mean
    return np.vectorize(_largest_of_poisson)(np.minimum(mean, n), bins)


def _largest_of_poisson(mean: float, bins: float) -> float:
    """Return the mean of the largest of `bins` independent Poisson counts: Σ_k P(largest > k)."""
    if mean == 0:
        return 0.0
    top = int(mean + 12.0 * math.sqrt(mean) * math.sqrt(1 + math.log(bins)) + 60)
    k = np.arange(top)
    steps = np.log(mean) - np.log(np.maximum(k, 1))
    steps[0] = -mean
    below = np.minimum(np.cumsum(np.exp(np.cumsum(steps))), 1.0)
    return float(np.sum(1.0 - below**bins))


# ---- what one shared topic does to the averages ------------------------------------------------------------


@_plain
def message_count_error(
    messages_per_s: Numbers, horizon_s: Numbers, *, clients: Numbers = 1, shared_topic: bool = False
) -> Numbers:
    """Relative standard error of the number of messages in a run, and so of polls per message: 1/√(messages).

    Own streams: 1/√(N·λ·horizon). One shared topic: 1/√(λ·horizon), however many clients listen: 10 000
    pollers see the same few messages and repeat the same luck. λ = 1/60 for 500 s: 35 % off, with 1 or with
    10 000 clients.
    """
    checks.rate("messages_per_s", messages_per_s)
    checks.seconds("horizon_s", horizon_s, zero=False)
    streams = 1.0 if shared_topic else np.asarray(clients)
    return 1.0 / np.sqrt(streams * np.asarray(messages_per_s) * horizon_s)


@_plain
def empty_share_error(
    messages_per_s: Numbers,
    interval_s: Numbers,
    horizon_s: Numbers,
    *,
    clients: Numbers = 1,
    shared_topic: bool = False,
) -> Numbers:
    """Standard error of the measured share of empty polls, for constant intervals at random phases.

    Own streams: √(p(1−p)T/(N·horizon)), p = e^(−λT). One shared topic: two clients' polls see the same
    messages, so N pollers average down only to √(c/horizon), c = 2p·((1−p)/λ − T·p), which depends on λ, T
    and the horizon. (c is the integral of the covariance e^(−λ(T+s)) − e^(−2λT), |s| < T, of "silent for T"
    at two times s apart.)
    """
    p = np.asarray(empty_share(messages_per_s, interval_s))
    checks.seconds("horizon_s", horizon_s, zero=False)
    alone = p * (1.0 - p) * interval_s
    if not shared_topic:
        return np.sqrt(alone / (np.asarray(clients) * horizon_s))
    expected = np.asarray(messages_per_s, dtype=float) * interval_s
    seen_s = interval_s * np.where(expected > 0, (1.0 - p) / np.where(expected > 0, expected, 1.0), 1.0)
    common = np.maximum(0.0, 2.0 * p * (seen_s - interval_s * p))
    return np.sqrt((alone / np.asarray(clients) + (1.0 - 1.0 / np.asarray(clients)) * common) / horizon_s)


# ---- long polling ------------------------------------------------------------------------------------------


@_plain
def long_wait_mean_s(messages_per_s: Numbers, hold_s: Numbers, round_trip_s: Numbers = 0.0) -> Numbers:
    """Mean seconds that a request is parked: E[W] = e^(−λL)·(1 − e^(−λH))/λ.

    With probability e^(−λL) nothing came since the last answer left, L ago; then the request waits for a
    message or for the hold H, whichever is first, on average (1 − e^(−λH))/λ. Otherwise it is answered at
    once.
    """
    checks.rate("messages_per_s", messages_per_s)
    checks.seconds("hold_s", hold_s, zero=False, infinite=True)
    checks.seconds("round_trip_s", round_trip_s)
    rate = np.asarray(messages_per_s, dtype=float)
    parked = np.where(rate > 0, -np.expm1(-rate * np.asarray(hold_s)) / np.where(rate > 0, rate, 1.0), hold_s)
    return np.exp(-rate * round_trip_s) * parked


@_plain
def long_requests_per_s(
    messages_per_s: Numbers, hold_s: Numbers, round_trip_s: Numbers = 0.0, *, clients: Numbers = 1
) -> Numbers:
    """Requests per second of all clients: N/(L + E[W])."""
    checks.amount("clients", clients)
    wait = np.asarray(long_wait_mean_s(messages_per_s, hold_s, round_trip_s))
    return np.asarray(clients) / (np.asarray(round_trip_s) + wait)


@_plain
def long_requests_per_message(
    messages_per_s: Numbers, hold_s: Numbers = math.inf, round_trip_s: Numbers = 0.0
) -> Numbers:
    """Requests that one message costs: 1/(λL + e^(−λL)·(1 − e^(−λH))).

    Above 1 when messages are rare (the others time out empty), below 1 when several travel in one answer.
    Without time-outs, H = ∞: 1/(x + e^(−x)) with x = λL; L = 0.1 s: 0.995 at 1 message/s, 0.731 at 10,
    0.100 at 100.
    """
    return np.asarray(long_requests_per_s(messages_per_s, hold_s, round_trip_s)) / messages_per_s


@_plain
def long_empty_share(messages_per_s: Numbers, hold_s: Numbers, round_trip_s: Numbers = 0.0) -> Numbers:
    """Share of answers that are empty, the hold being over: e^(−λ(L + H)), silence in gap and hold."""
    checks.rate("messages_per_s", messages_per_s)
    checks.seconds("hold_s", hold_s, zero=False, infinite=True)
    checks.seconds("round_trip_s", round_trip_s)
    return np.exp(-np.asarray(messages_per_s) * (np.asarray(round_trip_s) + hold_s))


@_plain
def long_transits_mean(
    messages_per_s: Numbers, hold_s: Numbers = math.inf, round_trip_s: Numbers = 0.0
) -> Numbers:
    """Mean latency in one-way transits of L/2: 1 + g, with g = L/(L + E[W]) the share of time in the gap.


    A message that finds a request parked leaves at once: 1 transit. One that falls in the gap waits for the
    next request, up to a whole round trip, so it takes between 1 and 3 transits, 2 on average (RFC 6202
    §2.2: at most 3).
    """
    wait = np.asarray(long_wait_mean_s(messages_per_s, hold_s, round_trip_s))
    trip = np.asarray(round_trip_s, dtype=float)
    return 1.0 + np.where(trip > 0, trip / (trip + wait), 0.0)


@_plain
def long_latency_mean_s(
    messages_per_s: Numbers, hold_s: Numbers = math.inf, round_trip_s: Numbers = 0.0
) -> Numbers:
    """Mean seconds from a message's arrival at the server to its arrival at the client: transits × L/2."""
    return (
        np.asarray(long_transits_mean(messages_per_s, hold_s, round_trip_s)) * np.asarray(round_trip_s) / 2.0
    )


@_plain
def long_latency_p95_s(
    messages_per_s: Numbers, hold_s: Numbers = math.inf, round_trip_s: Numbers = 0.0
) -> Numbers:
    """95 of 100 messages arrive within this: L/2 if g ≤ 5 % fall in the gap, else L/2 + L·(1 − 0.05/g)."""
    gap = np.asarray(long_transits_mean(messages_per_s, hold_s, round_trip_s)) - 1.0
    late = np.maximum(0.0, 1.0 - 0.05 / np.maximum(gap, 0.05))
    return np.asarray(round_trip_s) * (0.5 + late)


@_plain
def long_latency_max_s(round_trip_s: Numbers) -> Numbers:
    """Worst case: 3 one-way transits (the answer that just left, the next request, its answer) = 1.5 L."""
    checks.seconds("round_trip_s", round_trip_s)
    return 1.5 * np.asarray(round_trip_s)


def _jitter(interval_s: Numbers, jitter: Numbers, interval_law: str) -> Numbers:
    """Check the three that describe intervals, and return the half width of a uniform one as a share of T."""
    checks.seconds("interval_s", interval_s, zero=False)
    checks.share("jitter", jitter)
    checks.choice("interval_law", interval_law, LAWS)
    if interval_law == "exponential" and np.any(np.asarray(jitter) > 0):
        raise ValueError("jitter spreads constant intervals; with exponential ones leave it at 0")
    return np.where(np.asarray(jitter) > 0, jitter, 1.0) if interval_law == "uniform" else np.asarray(jitter)
