"""A reader that is slower than its messages, in formulas: when it overflows, what is lost, how old it is.

The world of the formulas with λ = `in_per_s` and μ = `out_per_s`: messages come as a Poisson stream, reading
one takes an exponential time with mean 1/μ, and B = `buffer` messages can wait besides the one that is being
read. So K = `places` = B + 1 hold a message, and ρ = λ/μ may be above 1. Sources: M/M/1/K is in every book on
queues (Kleinrock 1975, section 3.6); the age of what a reader sees is from Kaul, Yates and Gruteser (2012)
and Costa, Codreanu and Ephremides (2016).

Left out: messages of different sizes, a reader that stops for a while, the kernel's own buffers (add their
bytes to the room). Functions take numbers or numpy arrays and return the same; each is held against the
simulation in tests/models.
"""

import math
from typing import Any, TypeAlias

import numpy as np

from labsupport.models import checks
from labsupport.models.formula import plain

Numbers: TypeAlias = Any  # a float, or a numpy array of floats


# ---- without chance ----------------------------------------------------------------------------------------


@plain
def overflow_s(room: Numbers, in_per_s: Numbers, out_per_s: Numbers) -> Numbers:
    """Seconds until a buffer is full: room/(in − out); infinite for a reader that keeps up.

    Messages and messages/s, or bytes and bytes/s. 1 MB at 100 kB/s more than the reader takes: 10 s.
    """
    checks.amount("room", room)
    surplus = _rates(in_per_s, out_per_s, zero=True)
    return np.where(surplus > 0, np.asarray(room) / np.where(surplus > 0, surplus, 1.0), math.inf)


@plain
def ping_delay_s(queued_bytes: Numbers, bytes_per_s: Numbers) -> Numbers:
    """Seconds until a ping is read that was put behind data: queued/rate, for it cannot overtake (TCP).

    4.3 MB in the kernel and a reader of 100 kB/s: 43 s. A time-out of 20 s takes that reader for dead.
    """
    checks.amount("queued_bytes", queued_bytes)
    checks.rate("bytes_per_s", bytes_per_s, zero=False)
    return np.asarray(queued_bytes) / np.asarray(bytes_per_s, dtype=float)


@plain
def queue_that_kills_bytes(bytes_per_s: Numbers, timeout_s: Numbers) -> Numbers:
    """Bytes behind which a living reader's answer comes too late: rate × time-out. 100 kB/s, 20 s: 2 MB."""
    checks.rate("bytes_per_s", bytes_per_s)
    checks.seconds("timeout_s", timeout_s)
    return np.asarray(bytes_per_s) * np.asarray(timeout_s)


@plain
def overload_loss_share(in_per_s: Numbers, out_per_s: Numbers) -> Numbers:
    """Share that no policy but waiting can save, however large the buffer: 1 − μ/λ, at least 0."""
    surplus = _rates(in_per_s, out_per_s)
    return np.maximum(0.0, surplus) / np.asarray(in_per_s)


@plain
def overload_delay_s(
    policy: str, in_per_s: Numbers, out_per_s: Numbers, buffer: Numbers, kernel: Numbers = 0
) -> Numbers:
    """Mean delay of what is read when λ is far above μ and the buffer stays full.

    Drop newest and wait: all B ahead are read first, (B + 1)/μ, and for wait one more place, (B + 2)/μ.
    Drop oldest: a message moves up with every arrival, whether those ahead are read or thrown away, so B/λ,
    and 1/μ to be read. Keep latest: the same with B = 1. λ = 100, μ = 50, B = 100: 2.02, 2.04, 1.02, 0.03 s.
    `kernel` messages in the sockets' buffers, out of the policy's reach, add kernel/μ to each of them.
    """
    checks.choice("policy", policy, ("wait", "drop newest", "drop oldest", "keep latest"))
    checks.amount("buffer", buffer)
    checks.amount("kernel", kernel)
    surplus = _rates(in_per_s, out_per_s)
    if np.any(surplus <= 0):
        raise ValueError("overload_delay_s needs in_per_s above out_per_s; below it try full_delay_mean_s")
    places = np.ones_like(surplus) if policy == "keep latest" else np.asarray(buffer, dtype=float)
    if policy in ("wait", "drop newest"):
        behind = places + np.asarray(kernel) + (2.0 if policy == "wait" else 1.0)
        return behind / np.asarray(out_per_s)
    return places / np.asarray(in_per_s) + (np.asarray(kernel) + 1.0) / np.asarray(out_per_s)


# ---- M/M/1/K: a full buffer refuses ------------------------------------------------------------------------


@plain
def full_share(in_per_s: Numbers, out_per_s: Numbers, places: Numbers) -> Numbers:
    """Share of the time, and of the messages, that find all K places taken: (1 − ρ)ρ^K/(1 − ρ^(K+1)).

    What is lost with drop newest and, message for message, with drop oldest. ρ = 1: 1/(K + 1).
    ρ = 0.8 and K = 10: 2.3 %. The same as Σ: 1/(1 + 1/ρ + … + 1/ρ^K), which also serves a large ρ.
    """
    rho, k = _queue(in_per_s, out_per_s, places)
    return _top(rho, k)


@plain
def held_mean(in_per_s: Numbers, out_per_s: Numbers, places: Numbers) -> Numbers:
    """Mean number of messages held, the one being read included: ρ/(1 − ρ) − (K + 1)ρ^(K+1)/(1 − ρ^(K+1)).

    ρ = 1: K/2. ρ = 0.8 and K = 10: 2.97.
    """
    rho, k = _queue(in_per_s, out_per_s, places)
    inverse = rho > 1.0  # seen from the other end, free places are a queue with ρ' = 1/ρ
    below = np.where(inverse, 1.0 / rho, rho)
    near = np.abs(1.0 - below) < 1e-6
    low = np.where(near, 0.5, below)
    mean = low / (1.0 - low) - (k + 1.0) * low ** (k + 1.0) / (1.0 - low ** (k + 1.0))
    mean = np.where(near, k / 2.0, mean)
    return np.where(inverse, k - mean, mean)


@plain
def full_delay_mean_s(in_per_s: Numbers, out_per_s: Numbers, places: Numbers) -> Numbers:
    """Mean seconds from a message's making until it has been read, of those that are not refused.

    Little's law: messages held over messages taken per second, N/(λ(1 − loss)). For drop newest with
    K = B + 1; for wait with K = B + 2, as a producer that has to wait holds one more message in its hand.
    """
    taken_per_s = np.asarray(in_per_s) * (1.0 - np.asarray(full_share(in_per_s, out_per_s, places)))
    return np.asarray(held_mean(in_per_s, out_per_s, places)) / taken_per_s


@plain
def accepted_per_s(in_per_s: Numbers, out_per_s: Numbers, places: Numbers) -> Numbers:
    """Messages per second that get in: λ(1 − loss). For wait (K = B + 2) it is what the producer can make."""
    return np.asarray(in_per_s) * (1.0 - np.asarray(full_share(in_per_s, out_per_s, places)))


@plain
def overflow_mean_s(in_per_s: Numbers, out_per_s: Numbers, room: Numbers) -> Numbers:
    """Mean seconds from an empty buffer until n = `room` messages are held, with chance.

    n/(λ − μ) − μ(1 − (μ/λ)^n)/(λ − μ)²; ρ = 1: n(n + 1)/(2λ). Also for a reader who is fast enough on
    average: λ = 80, μ = 100 and n = 21 take 26 s, and n = 51 take 6 h. Derivation: from i messages the next
    level takes (1 + μ·t(i−1))/λ on average; sum from 0 to n − 1.
    """
    surplus = _rates(in_per_s, out_per_s)
    checks.amount("room", room)
    n, lam = np.asarray(room, dtype=float), np.asarray(in_per_s, dtype=float)
    x = np.asarray(out_per_s) / lam
    near = np.abs(1.0 - x) < 1e-6
    gap = np.where(near, 1.0, surplus)
    with np.errstate(over="ignore"):
        chance = n / gap - np.asarray(out_per_s) * (1.0 - x**n) / gap**2
    return np.where(near, n * (n + 1.0) / (2.0 * lam), chance)


@plain
def disconnects_per_s(
    in_per_s: Numbers, out_per_s: Numbers, buffer: Numbers, reconnect_s: Numbers
) -> Numbers:
    """How often a reader is cut off: 1/(time until B + 2 are held, from the snapshot on, + time away).

    The snapshot is the first message held, so the 1/λ until a first one comes is not needed. λ = 100,
    μ = 50, B = 100 and 1 s away: every 3.0 s.
    """
    checks.seconds("reconnect_s", reconnect_s)
    fills_s = np.asarray(overflow_mean_s(in_per_s, out_per_s, np.asarray(buffer) + 2.0))
    return 1.0 / (fills_s - 1.0 / np.asarray(in_per_s) + np.asarray(reconnect_s))


# ---- keep latest -------------------------------------------------------------------------------------------


@plain
def latest_delay_mean_s(in_per_s: Numbers, out_per_s: Numbers) -> Numbers:
    """Mean delay of what is read with keep latest: who waits and is not replaced waits 1/(λ + μ) on average.

    The reader is free for 1/(1 + ρ + ρ²) of the messages, and μ/(λ + μ) of the others are not replaced.
    """
    _rates(in_per_s, out_per_s)
    lam, mu = np.asarray(in_per_s, dtype=float), np.asarray(out_per_s, dtype=float)
    free = 1.0 / (1.0 + lam / mu + (lam / mu) ** 2)
    stays = (1.0 - free) * mu / (lam + mu)
    return 1.0 / mu + stays / (lam + mu) / (free + stays)


@plain
def latest_age_mean_s(in_per_s: Numbers, out_per_s: Numbers) -> Numbers:
    """Mean age of what the reader sees with keep latest, over time (M/M/1/2*, Costa and others, 2016).

    (1/μ)(1 + 1/ρ + ρ²(1 + 3ρ + ρ²)/((1 + ρ + ρ²)(1 + ρ)²)): never below 2/μ, however fast the messages come:
    the reader reads for 1/μ, and then looks at it for another 1/μ.
    """
    _rates(in_per_s, out_per_s)
    mu = np.asarray(out_per_s, dtype=float)
    rho = np.asarray(in_per_s) / mu
    queue = rho**2 * (1 + 3 * rho + rho**2) / ((1 + rho + rho**2) * (1 + rho) ** 2)
    return (1.0 + 1.0 / rho + queue) / mu


@plain
def queue_age_mean_s(in_per_s: Numbers, out_per_s: Numbers) -> Numbers:
    """Mean age of what the reader sees when all wait their turn, without a bound (Kaul and others, 2012).

    (1/μ)(1 + 1/ρ + ρ²/(1 − ρ)); infinite from ρ = 1 on. Least at ρ = 0.53: more messages make it *older*.
    """
    _rates(in_per_s, out_per_s)
    mu = np.asarray(out_per_s, dtype=float)
    rho = np.asarray(in_per_s) / mu
    waits = np.where(rho < 1, rho**2 / np.where(rho < 1, 1.0 - rho, 1.0), math.inf)
    return (1.0 + 1.0 / rho + waits) / mu


def _rates(in_per_s: Numbers, out_per_s: Numbers, *, zero: bool = False) -> Any:
    """Check the two rates and return their difference."""
    checks.rate("in_per_s", in_per_s, zero=zero)
    checks.rate("out_per_s", out_per_s, zero=zero)
    return np.asarray(in_per_s, dtype=float) - np.asarray(out_per_s, dtype=float)


def _queue(in_per_s: Numbers, out_per_s: Numbers, places: Numbers) -> tuple[Any, Any]:
    """Check what describes a queue, and return ρ and K."""
    _rates(in_per_s, out_per_s)
    checks.amount("places", places)
    if np.any(np.asarray(places) < 1):
        raise ValueError(f"places must be 1 or more (the message being read needs one), got {places!r}")
    return np.asarray(in_per_s, dtype=float) / np.asarray(out_per_s), np.asarray(places, dtype=float)


def _top(rho: Any, k: Any) -> Any:
    """Return the chance of the highest state, from whichever end does not overflow."""
    near = np.abs(1.0 - rho) < 1e-6
    above = rho > 1.0
    x = np.where(near, 0.5, np.where(above, 1.0 / rho, rho))
    low = (1.0 - x) * x**k / (1.0 - x ** (k + 1.0))
    high = (1.0 - x) / (1.0 - x ** (k + 1.0))
    return np.where(near, 1.0 / (k + 1.0), np.where(above, high, low))
