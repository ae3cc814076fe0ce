"""Random numbers that depend on their address only, and arithmetic with the same bits for floats and arrays.

`draw(seed, client, attempt)` is a hash, not a generator with a memory. So every engine sees the same draws in
whatever order it asks, a client's draws do not depend on how many other clients there are, and two policies
can be compared draw for draw. `draws` does the same for numpy arrays, bit for bit.

The arithmetic below takes a float or an array. It uses + − × ÷, √, floor, comparisons and tables only, which
IEEE 754 rounds in one way; a library's own pow or tanh may differ in the last bit between Python and numpy.
"""

import math
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

# Whether numpy is numpy, or the few functions that labsupport/plain puts in its place where it is missing.
NUMPY = np.__name__ == "numpy"

Floats: TypeAlias = Any  # a float, or a numpy array of floats with one element per client
Counts: TypeAlias = Any  # an int, or a numpy array of ints

# What a draw is for: no draw serves two purposes.
WAIT, ONCE, SPREAD, ARRIVAL, PHASE, INTERVAL, LOSS, TRAVEL, LIFETIME, TRANSIT, RUN, PLACE = range(12)

_MASK = (1 << 64) - 1
_GAMMA = 0x9E3779B97F4A7C15  # 2^64 / golden ratio, odd: the step of SplitMix64


def _mix(z: Counts) -> Counts:
    """Return SplitMix64's mix (Steele, Lea, Flood 2014): a bijection of 64-bit numbers."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def stream(seed: int, client: Counts, lane: int = WAIT) -> Counts:
    """Return the 64-bit key of one client's draws for one purpose: hash it once, then use `draw_from`.

    `client` is an int or an array of uint64.
    """
    purpose = _mix((_mix((seed + _GAMMA) & _MASK) + (lane + 1) * _GAMMA) & _MASK)
    return _mix((purpose + (client + 1) * _GAMMA) & _MASK)


def draw_from(key: Counts, attempt: Counts) -> Floats:
    """Return draw number `attempt` of a key, in [0, 1): the upper 53 bits, which a float holds exactly."""
    bits = _mix((key + (attempt + 1) * _GAMMA) & _MASK) >> 11
    return bits * 2.0**-53 if isinstance(bits, int) else bits.astype(np.float64) * 2.0**-53


def draw(seed: int, client: int, attempt: int, lane: int = WAIT) -> float:
    """Return a uniform number in [0, 1) that depends on its arguments only.

    SplitMix64 steps, one inside the other: lane within seed, client within lane, attempt within client. So
    the attempts of one client never collide, nor do the clients' keys. The same on every machine.
    """
    return float(draw_from(stream(seed, client, lane), attempt))


def draws(seed: int, clients: Counts, attempts: Counts, lane: int = WAIT) -> Any:
    """`draw` for arrays of clients and attempts, broadcast together: the same bits, faster."""
    shape = np.broadcast_shapes(np.shape(clients), np.shape(attempts))
    keys = stream(
        seed & _MASK, np.atleast_1d(clients).astype(np.uint64), lane
    )  # 1-d: arrays wrap without a warning
    return draw_from(keys, np.atleast_1d(attempts).astype(np.uint64)).reshape(shape)


def least(a: Floats, b: Floats) -> Floats:
    """Return the smaller one, element by element."""
    return np.minimum(a, b) if isinstance(a, np.ndarray) or isinstance(b, np.ndarray) else min(a, b)


def choose(condition: Any, yes: Floats, no: Floats) -> Floats:
    """Return `yes` where the condition holds, else `no`."""
    return np.where(condition, yes, no) if isinstance(condition, np.ndarray) else (yes if condition else no)


def floor(x: Floats) -> Floats:
    """Return the whole number below, as a float."""
    return np.floor(x) if isinstance(x, np.ndarray) else float(math.floor(x))


def sqrt(x: Floats) -> Floats:
    """Return √x."""
    return np.sqrt(x) if isinstance(x, np.ndarray) else math.sqrt(x)


def entry(table: tuple[float, ...], index: Counts) -> Floats:
    """Return table[index]; the last entry holds for ever."""
    if isinstance(index, np.ndarray):
        return np.asarray(table)[np.minimum(index, len(table) - 1)]
    return table[index] if index < len(table) else table[-1]


@lru_cache(maxsize=256)
def growth(first: float, factor: float, cap: float) -> tuple[float, ...]:
    """Return min(cap, first·factor^a) for a = 0, 1, 2 … until the cap, multiplied up (exact for factor 2)."""
    table = [min(first, cap)]
    while table[-1] < cap and len(table) < 1000:  # 1000: 2^999 still is a float, where the cap is infinite
        table.append(min(table[-1] * factor, cap))
    return tuple(table)


_POWERS_OF_TWO = growth(1.0, 2.0, math.inf)
_EXP2_TERMS = tuple(math.log(2) ** k / math.factorial(k) for k in range(19))  # the next term is below 1e-19


def exp2(x: Floats) -> Floats:
    """Return 2^x for 0 ≤ x < 999, from a table and a series: within 1e-15 of the true value."""
    whole = floor(x)
    fraction, power = x - whole, 0.0
    for term in reversed(_EXP2_TERMS):
        power = power * fraction + term
    return entry(_POWERS_OF_TWO, whole.astype(np.int64) if isinstance(x, np.ndarray) else int(whole)) * power


def tanh(y: Floats) -> Floats:
    """Return tanh(y) = 1 − 2/(e^(2y) + 1) for 0 ≤ y < 346: within 1e-15."""
    return 1.0 - 2.0 / (exp2(y * (2.0 / math.log(2))) + 1.0)
