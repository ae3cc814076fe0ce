"""How long each message of the contention study takes: |N(10, 2)| ms, drawn by address like all draws.

A message's number decides its draw, so both engines see the same times whatever order they ask in. The
normal quantile below takes a float or an array and gives the same bits for both, on every machine: it uses
+ − × ÷ and √ only, and a logarithm made of them. It is algorithm AS 241 (Wichura 1988) in its shorter form,
PPND7, good to about seven digits: here half a nanosecond.
"""

import math
from typing import Any

import numpy as np

from labsupport import draws as bits
from labsupport.draws import TRANSIT, Counts, Floats, draw_from, stream

MEAN_MS = 10.0
SD_MS = 2.0
MESSAGES = 4  # of one attempt: READ, its reply, WRITE, its reply

# Wichura's coefficients from the constant term up, (numerator, denominator): middle, near tail, far tail.
_MIDDLE = (
    (3.3871327179, 50.434271938, 159.29113202, 59.109374720),
    (1.0, 17.895169469, 78.757757664, 67.187563600),
)
_NEAR = ((1.4234372777, 2.7568153900, 1.3067284816, 0.17023821103), (1.0, 0.73700164250, 0.12021132975))
_FAR = ((6.6579051150, 3.0812263860, 0.42868294337, 0.017337203997), (1.0, 0.24197894225, 0.012258202635))

_TINIEST = 2.0**-54  # half of the smallest draw above 0: a draw of exactly 0 stands for this


def message_keys(seed: int, clients: Counts) -> Any:
    """Return the key of one client's messages in one run, or an array of them."""
    return stream(seed, clients, TRANSIT)


def message_ms(key: Counts, number: Counts) -> Floats:
    """Return how long message `number` (0, 1, 2 … of its client) travels, in milliseconds."""
    return abs(MEAN_MS + SD_MS * normal_quantile(draw_from(key, number)))


def normal_quantile(u: Floats) -> Floats:
    """Return z with P(Z < z) = u for a standard normal Z, 0 ≤ u < 1; within 1e-6. Floats or arrays."""
    q = u - 0.5
    if isinstance(u, np.ndarray):
        z = q * _ratio(_MIDDLE, 0.180625 - q * q)
        tail = np.abs(q) > 0.425
        z[tail] = _tail(u[tail], q[tail])
        return z
    return _tail(u, q) if abs(q) > 0.425 else q * _ratio(_MIDDLE, 0.180625 - q * q)


def _tail(u: Floats, q: Floats) -> Floats:
    """Return the quantile in the outer 7.5 % on either side, by r = √(−ln p) of the nearer end's p."""
    below = q < 0.0
    p = bits.choose(below, u, 1.0 - u)
    r = bits.sqrt(_minus_log(bits.choose(p > _TINIEST, p, _TINIEST)))
    z = bits.choose(r <= 5.0, _ratio(_NEAR, r - 1.6), _ratio(_FAR, r - 5.0))
    return bits.choose(below, -z, z)


def _ratio(polynomials: tuple[tuple[float, ...], tuple[float, ...]], x: Floats) -> Floats:
    """Return one polynomial of x over the other."""
    above, below = (_polynomial(one, x) for one in polynomials)
    return above / below


def _polynomial(coefficients: tuple[float, ...], x: Floats) -> Floats:
    total = coefficients[-1]
    for coefficient in reversed(coefficients[:-1]):
        total = total * x + coefficient
    return total


_LOG_TERMS = tuple(2.0 / (2 * k + 1) for k in range(12))  # the next term is below 1e-17


def _minus_log(p: Floats) -> Floats:
    """Return −ln p for 0 < p ≤ 1: p = m·2^e with m near 1, and ln m = 2·artanh((m − 1)/(m + 1)), a series."""
    m, e = np.frexp(p) if isinstance(p, np.ndarray) else math.frexp(p)
    small = m < math.sqrt(0.5)
    m, e = bits.choose(small, 2.0 * m, m), bits.choose(small, e - 1, e)
    s = (m - 1.0) / (m + 1.0)
    return -(s * _polynomial(_LOG_TERMS, s * s) + e * math.log(2.0))
