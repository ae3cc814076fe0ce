"""Reconnect storms in formulas: exact where they say so; each is held against the simulation in tests/models.

The world of all of them: N = `clients` lose their server at time 0 and it is back at once (D = 0; add D where
it is not); it accepts C = `accepts_per_s`, holds Q = `accept_queue`, and refuses the rest at once; no spread
(J = 0). Left out: everything that reconnect.py leaves out.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from labsupport.models import checks
from labsupport.models.formula import plain as _plain

Numbers = Any  # a float, or a numpy array of floats


@_plain
def lower_bound_s(clients: Numbers, accepts_per_s: Numbers, outage_s: Numbers = 0.0) -> Numbers:
    """D + N/C: the server has to accept N times, whatever the clients do. 10 000 at 200/s: 50 s."""
    checks.amount("clients", clients)
    checks.rate("accepts_per_s", accepts_per_s, zero=False)
    checks.seconds("outage_s", outage_s)
    return np.asarray(outage_s) + np.asarray(clients) / accepts_per_s


# ---- one window --------------------------------------------------------------------------------------------


@_plain
def window_needed_s(clients: Numbers, accepts_per_s: Numbers, accept_queue: Numbers) -> Numbers:
    """(N − Q)/C: in a window U(0, W) that is shorter, somebody is refused whatever the draws.

    In a longer one it depends on luck: arrivals come in clumps, some √N large. N = 10 000, C = 200, Q = 100:
    49.5 s; there 63 of 10 000 are refused on average, with W = N/C = 50 s 19, and with 51 s 1.
    """
    checks.rate("accepts_per_s", accepts_per_s, zero=False)
    return np.maximum(0.0, np.asarray(clients) - accept_queue) / accepts_per_s


@_plain
def window_refused(
    clients: Numbers, accepts_per_s: Numbers, accept_queue: Numbers, window_s: Numbers
) -> Numbers:
    """N − Q − C·W: refused of N that try once each in a window U(0, W); 0 for a window that is long enough.

    The mean when N is large: the queue fills and stays full, so the server takes C·W, and Q wait at the end.
    Chance adds the few that the queue needs to fill, and some √N when W is near (N − Q)/C.
    """
    checks.rate("accepts_per_s", accepts_per_s, zero=False)
    checks.seconds("window_s", window_s)
    return np.maximum(0.0, np.asarray(clients) - accept_queue - np.asarray(accepts_per_s) * window_s)


# ---- everybody at the same moment --------------------------------------------------------------------------


class Rounds(NamedTuple):
    """A crowd that comes back in step."""

    rounds: int  # times that somebody comes
    attempts: int  # of all clients together
    last_round_s: float  # after the first one


def synchronised_rounds(clients: int, accepts_per_s: float, accept_queue: int, delay_s: float) -> Rounds:
    """A fixed delay without jitter: all come together, Q get in, the rest comes together again. Exact.

    The first time min(N, Q) get in, each later time P = min(Q, C·delay), since so many places are free again:
    ⌈(N − Q)/P⌉ + 1 rounds, and, where P divides N − Q, N + (N − Q)²/(2P) + (N − Q)/2 attempts. P must be a
    whole number, at least 1. 10 000 clients, C = 200, Q = 100, 3 s (Chromium's EventSource): 100 rounds,
    505 000 attempts, the last after 297 s.
    """
    checks.count("clients", clients)
    checks.count("accept_queue", accept_queue)
    checks.rate("accepts_per_s", accepts_per_s, zero=False)
    checks.seconds("delay_s", delay_s, zero=False)
    places = min(float(accept_queue), accepts_per_s * delay_s)
    if abs(places - round(places)) > 1e-9 or places < 1:
        raise ValueError(
            "exact only if min(accept_queue, accepts_per_s·delay_s) is a whole number from 1 up, "
            f"got {places}: try another delay_s, or simulate(…)"
        )
    left, admitted = max(0, clients - accept_queue), round(places)
    more = math.ceil(left / admitted)
    attempts = clients + more * left - admitted * more * (more - 1) // 2
    return Rounds(1 + more, attempts, more * delay_s)


# ---- the page's formula ------------------------------------------------------------------------------------


class Wave(NamedTuple):
    """When the clients that were always refused come for the k-th time."""

    starts_s: float
    ends_s: float
    idle_after_s: float  # nobody comes until the next wave starts; 0 when they overlap


def page_wave(number: int, *, jitter: float = 0.5) -> Wave:
    """Return wave k = 1, 2 … of b + U(0, j·b), b = 1, 2, 4 …, before the cap: [2^k − 1, (1 + j)(2^k − 1)].

    Exact for a server that is up (D = 0, J = 0). With j = 0.5 nobody comes for 0.5·2^k + 0.5 s after it, so
    until the cap (k = 5: 31 s to 46.5 s) a server whose queue is short stands idle about half of the time.
    """
    checks.count("number", number)
    checks.share("jitter", jitter)
    starts_s = 2.0**number - 1.0
    ends_s = (1.0 + jitter) * starts_s
    return Wave(starts_s, ends_s, max(0.0, 2.0 ** (number + 1) - 1.0 - ends_s))


@_plain
def first_wave_per_s(clients: Numbers, window_s: Numbers) -> Numbers:
    """N / window: attempts per second when first waits are uniform over a window (page 0.5 s, full 1 s).

    The busiest tenth of a second has chance's √ on top: 100 000 clients in 0.5 s come at 200 000/s, and the
    busiest bin shows about 201 000/s.
    """
    checks.amount("clients", clients)
    checks.seconds("window_s", window_s, zero=False)
    return np.asarray(clients) / np.asarray(window_s)
