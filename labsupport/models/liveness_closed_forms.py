"""Silent death in formulas: how late it is noticed, who looks online meanwhile, and what asking costs.

The world of all formulas: a connection dies without a word. From one moment on no packet passes, either way,
and neither end is told. That moment has nothing to do with any timer, so the time since the last heartbeat is
uniform on one interval. One end asks every P = `interval_s` and waits D = `timeout_s` for the answer; from
then on its library may wait C = `close_wait_s` for a closing handshake that cannot come, before the
application hears of it. Answers take no time and clocks are exact.

The other question is asked by whoever only listens: a presence table, or a dead-man timer. It hears a beat
every P and gives up Q = `ttl_s` after the last one. `ghost_…` and `false_offline_share` serve both.

Left out: round trips (with L, a death is noticed L earlier: the last ping was answered L after it left), a
line that comes back, several servers, the death of the server itself. Every function takes numbers or numpy
arrays (for sliders and curves) and returns the same. Each is held against the simulation in tests/models.
"""

import math
from typing import Any, TypeAlias

import numpy as np

from labsupport.models import checks
from labsupport.models.formula import plain

Numbers: TypeAlias = Any  # a float, or a numpy array of floats

TCP_FIRST_RTO_S = 0.2  # Linux's least retransmission time-out
TCP_LAST_RTO_S = 120.0  # and its largest
TCP_RETRIES = 15  # net.ipv4.tcp_retries2, as Linux has it


# ---- whoever asks ------------------------------------------------------------------------------------------


@plain
def detection_mean_s(
    interval_s: Numbers, timeout_s: Numbers, close_wait_s: Numbers = 0.0, *, lifetime_s: Numbers = math.inf
) -> Numbers:
    """Mean seconds from a silent death until it is known: P/2 + D + C. For 20, 20 and 10 s: 40 s.

    The next ping is P/2 away on average, it is the first that stays unanswered, and D later that is clear.

    `lifetime_s` L: where connections live for an exponential time with this mean, and the first ping leaves P
    after the opening, a little more die early in an interval than late, and the next ping is further away:
    P·(1 − 1/x + 1/(e^x − 1)) with x = P/L, about P/2·(1 + x/6). For P = 20 s and L = 5 min: 10.1 s.
    """
    _asking(interval_s, timeout_s, close_wait_s)
    checks.seconds("lifetime_s", lifetime_s, zero=False, infinite=True)
    x = np.asarray(interval_s) / np.asarray(lifetime_s, dtype=float)
    far = np.maximum(x, 1e-3)  # nearer to zero the difference loses its digits, and the series is exact
    share = np.where(x > 1e-3, 1.0 - 1.0 / far + np.exp(-far) / -np.expm1(-far), 0.5 + x / 12.0)
    return np.asarray(interval_s) * share + timeout_s + close_wait_s


@plain
def detection_p95_s(interval_s: Numbers, timeout_s: Numbers, close_wait_s: Numbers = 0.0) -> Numbers:
    """95 of 100 deaths are known after 0.95 P + D + C: the time to the next ping is uniform."""
    _asking(interval_s, timeout_s, close_wait_s)
    return 0.95 * np.asarray(interval_s) + timeout_s + close_wait_s


@plain
def detection_max_s(interval_s: Numbers, timeout_s: Numbers, close_wait_s: Numbers = 0.0) -> Numbers:
    """Worst case: P + D + C, for a line that dies right after it has answered. For 20, 20 and 10 s: 50 s."""
    _asking(interval_s, timeout_s, close_wait_s)
    return np.asarray(interval_s) + timeout_s + close_wait_s


@plain
def pings_per_s(connections: Numbers, interval_s: Numbers, *, pongs: bool = False) -> Numbers:
    """Pings per second of all connections: N/P; twice that with the pongs. A million at 25 s: 40 000."""
    checks.amount("connections", connections)
    checks.seconds("interval_s", interval_s, zero=False)
    return np.asarray(connections) / interval_s * (2.0 if pongs else 1.0)


@plain
def ghosts(deaths_per_s: Numbers, detection_s: Numbers) -> Numbers:
    """Mean number of dead connections that still count as alive: rate of silent deaths × detection time.

    That is Little's law (Little, 1961): arrivals per second times the mean stay, whatever the distributions.
    """
    checks.rate("deaths_per_s", deaths_per_s)
    checks.seconds("detection_s", detection_s)
    return np.asarray(deaths_per_s) * detection_s


# ---- whoever listens ---------------------------------------------------------------------------------------


@plain
def ghost_mean_s(interval_s: Numbers, ttl_s: Numbers) -> Numbers:
    """Mean seconds that somebody who has died silently still looks alive: Q − P/2. For 30 and 60 s: 45 s.

    The last beat was P/2 ago on average. Uniform on (Q − P, Q]. No beat lost before the death; Q ≥ P.
    """
    _listening(interval_s, ttl_s)
    return np.asarray(ttl_s) - np.asarray(interval_s) / 2.0


@plain
def ghost_min_s(interval_s: Numbers, ttl_s: Numbers) -> Numbers:
    """The shortest time as a ghost: Q − P, for one who died just before the next beat. 30 and 60 s: 30 s."""
    _listening(interval_s, ttl_s)
    return np.asarray(ttl_s) - np.asarray(interval_s)


@plain
def ghost_max_s(interval_s: Numbers, ttl_s: Numbers) -> Numbers:
    """The longest time as a ghost: Q, for one who died right after a beat."""
    _listening(interval_s, ttl_s)
    return np.asarray(ttl_s) + 0.0 * np.asarray(interval_s)


@plain
def false_offline_share(
    interval_s: Numbers, ttl_s: Numbers, loss: Numbers, *, delay_spread_s: Numbers = 0.0
) -> Numbers:
    """Share of beats sent after which a living user is taken for gone, before the next beat brings them back.

    `loss` p: each beat is lost with this chance, independently. Between two whole intervals, kP < Q < (k+1)P,
    a beat must arrive and the next k be lost: (1 − p)·p^k. On the whole interval, Q = kP, the k-th beat and
    the expiry meet, and either may be first: the chance that a beat which was not lost comes too late is 1/2,
    so (1 − p)·p^(k−1)·(p + (1 − p)/2). P = 30 s, 1 % lost: 0.5 % of beats at Q = 60 s, 0.01 % at 75 s.

    `delay_spread_s` d: beats take a time that is uniform on [0, d], each its own. Then the one before the
    expiry, s = Q − kP ahead of it, is late with probability (1 − s/d)²/2 for s < d. Exact for d ≤ P − s.
    """
    _listening(interval_s, ttl_s)
    checks.share("loss", loss)
    checks.seconds("delay_spread_s", delay_spread_s)
    p, spread = np.asarray(loss, dtype=float), np.asarray(delay_spread_s, dtype=float)
    beats = np.floor(np.asarray(ttl_s) / interval_s + 1e-9)
    ahead_s = np.maximum(np.asarray(ttl_s) - beats * interval_s, 0.0)
    if np.any(spread > np.asarray(interval_s) - ahead_s + 1e-9):
        raise ValueError(
            "delay_spread_s is so long that a later beat could still come in time, and this formula leaves "
            f"that out: expected at most interval_s − (ttl_s − {beats}·interval_s); try simulate_presence"
        )
    margin = np.where(
        spread > 0, ahead_s / np.where(spread > 0, spread, 1.0), np.where(ahead_s > 0, 1.0, 0.0)
    )
    late = np.maximum(0.0, 1.0 - margin) ** 2 / 2.0
    return (1.0 - p) * p ** (beats - 1.0) * (p + (1.0 - p) * late)


# ---- whoever stands between --------------------------------------------------------------------------------


@plain
def first_expiry_mean_s(packets_per_s: Numbers, idle_limit_s: Numbers) -> Numbers:
    """Mean seconds until a box forgets a connection that carries Poisson traffic: (e^(λT) − 1)/λ.

    The box forgets after T = `idle_limit_s` without a packet; λ = `packets_per_s`, both directions together,
    gaps exponential. A packet a minute: 103 s at T = 60 s, 5.7 h at 350 s. Without traffic: T. Derivation:
    W is T if the next gap is longer than T, else that gap and then W anew; solve for the mean of W.
    """
    checks.rate("packets_per_s", packets_per_s)
    checks.seconds("idle_limit_s", idle_limit_s, zero=False)
    rate = np.asarray(packets_per_s, dtype=float)
    with np.errstate(over="ignore"):  # e^1000 is infinite, and so is the wait for all who ask
        busy = np.expm1(rate * np.asarray(idle_limit_s)) / np.where(rate > 0, rate, 1.0)
    return np.where(rate > 0, busy, idle_limit_s)


def tcp_gives_up_s(
    retries: int = TCP_RETRIES, first_rto_s: float = TCP_FIRST_RTO_S, last_rto_s: float = TCP_LAST_RTO_S
) -> float:
    """Seconds until TCP itself gives up on data that nobody acknowledges: Σ min(RTO·2^k, 120 s), k = 0 … 15.

    924.6 s with Linux's numbers and the shortest time-out, 0.2 s; more on a slow path, where it begins larger
    (Linux, ip-sysctl, tcp_retries2). Only for an end that has sent something: one that only listens never
    learns.
    """
    if retries < 0:
        raise ValueError(f"retries must be 0 or more, got {retries!r}")
    checks.seconds("first_rto_s", first_rto_s, zero=False)
    checks.seconds("last_rto_s", last_rto_s, zero=False)
    return math.fsum(min(first_rto_s * 2.0**k, last_rto_s) for k in range(retries + 1))


def _asking(interval_s: Numbers, timeout_s: Numbers, close_wait_s: Numbers) -> None:
    checks.seconds("interval_s", interval_s, zero=False)
    checks.seconds("timeout_s", timeout_s)
    checks.seconds("close_wait_s", close_wait_s)


def _listening(interval_s: Numbers, ttl_s: Numbers) -> None:
    checks.seconds("interval_s", interval_s, zero=False)
    checks.seconds("ttl_s", ttl_s, zero=False)
    if np.any(np.asarray(ttl_s) < np.asarray(interval_s)):
        raise ValueError(
            f"ttl_s is shorter than the beat ({ttl_s!r} against {interval_s!r} s), so everybody would be "
            "offline between two beats: expected ttl_s ≥ interval_s; try two and a half beats"
        )
