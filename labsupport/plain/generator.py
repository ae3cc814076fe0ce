"""The random numbers of numpy's default_rng(seed).standard_normal(n), in plain Python.

The capacity planner samples its ranges with them, so that a plan's spread is the same with and without numpy:
the bits are equal, and a normal number is within 1e-14 of numpy's. Sources: the seed is mixed as in M. E.
O'Neill's seed_seq_fe128, as numpy's SeedSequence does it; the bits are her PCG XSL RR 128/64 ("PCG: A Family
of Simple Fast Space-Efficient Statistically Good Algorithms for Random Number Generation", 2014); normal
numbers by the ziggurat of Marsaglia and Tsang (Journal of Statistical Software 5(8), 2000) with 256 layers,
their edges computed here and not copied.
"""

import math
from collections.abc import Iterator
from functools import cache
from itertools import cycle, islice
from typing import NamedTuple

from labsupport.plain.array import Array

_32, _64, _128 = ((1 << bits) - 1 for bits in (32, 64, 128))
_PCG_MULTIPLIER = 0x2360ED051FC65DA44385DF649FCCF645
_LAYERS = 256
_EDGE = 3.6541528853610088  # where the tail begins, for 256 layers of equal area
_STEPS = 2.0**52  # of a number within its layer


# ---- from a seed to a state --------------------------------------------------------------------------------


class _Hash:
    """A hash of 32-bit words whose constant moves on with each word."""

    def __init__(self, constant: int, multiplier: int) -> None:
        self.constant, self.multiplier = constant, multiplier

    def __call__(self, word: int) -> int:
        word ^= self.constant
        self.constant = self.constant * self.multiplier & _32
        word = word * self.constant & _32
        return word ^ word >> 16


def _mixed(one: int, other: int) -> int:
    word = (0xCA01F9DD * one - 0x4973F715 * other) & _32
    return word ^ word >> 16


def _words(number: int) -> list[int]:
    """A number as 32-bit words, the lowest first."""
    found = [number & _32]
    while number := number >> 32:
        found.append(number & _32)
    return found


def seed_words(seeds: list[int], count: int) -> list[int]:
    """So many 64-bit words from whole numbers of any size: each bit depends on all of them."""
    entropy = [word for seed in seeds for word in _words(seed)]
    hashed = _Hash(0x43B0D7E5, 0x931E8875)
    pool = [hashed(word) for word in (*entropy, 0, 0, 0, 0)[:4]]
    for source in range(4):
        for target in range(4):
            if source != target:
                pool[target] = _mixed(pool[target], hashed(pool[source]))
    for word in entropy[4:]:
        for target in range(4):
            pool[target] = _mixed(pool[target], hashed(word))
    out = _Hash(0x8B51F9DD, 0x58F38DED)
    halves = [out(word) for word in islice(cycle(pool), 2 * count)]
    return [low | high << 32 for low, high in zip(halves[::2], halves[1::2], strict=True)]


# ---- normal numbers ----------------------------------------------------------------------------------------


class _Ziggurat(NamedTuple):
    """Per layer: width of a step, up to which step a number is inside for sure, and the curve at its edge."""

    width: list[float]
    inside: list[int]
    height: list[float]


@cache
def _ziggurat() -> _Ziggurat:
    """The layers under exp(−x²/2), from the tail up; layer 0 is the lowest, with the tail."""
    at_edge = math.exp(-_EDGE * _EDGE / 2.0)
    area = _EDGE * at_edge + math.sqrt(math.pi / 2.0) * math.erfc(_EDGE / math.sqrt(2.0))
    edges = [0.0] * _LAYERS
    edges[-1] = _EDGE
    for i in range(_LAYERS - 1, 1, -1):
        edges[i - 1] = math.sqrt(-2.0 * math.log(area / edges[i] + math.exp(-edges[i] * edges[i] / 2.0)))
    base = area / at_edge
    return _Ziggurat(
        [base / _STEPS, *(edge / _STEPS for edge in edges[1:])],
        [int(_EDGE / base * _STEPS), *(int(a / b * _STEPS) for a, b in zip(edges, edges[1:], strict=False))],
        [math.exp(-edge * edge / 2.0) for edge in edges],
    )


class Generator:
    """PCG64 with numpy's way to normal numbers."""

    def __init__(self, seeds: list[int]) -> None:
        first, second, third, fourth = seed_words(seeds, 4)
        self._increment = ((third << 64 | fourth) << 1 | 1) & _128
        self._state = (self._increment + (first << 64 | second)) & _128
        self._bits()

    def _bits(self) -> int:
        """The next 64 bits."""
        self._state = state = (self._state * _PCG_MULTIPLIER + self._increment) & _128
        word, turn = (state >> 64) ^ (state & _64), state >> 122
        return (word >> turn | word << (64 - turn)) & _64

    def _uniform(self) -> float:
        """A number in [0, 1)."""
        return (self._bits() >> 11) * 2.0**-53

    def _normals(self) -> Iterator[float]:
        width, inside, height = _ziggurat()
        while True:
            bits = self._bits()
            layer, negative, step = bits & 0xFF, bits >> 8 & 1, bits >> 9 & 0xFFFFFFFFFFFFF
            x = -step * width[layer] if negative else step * width[layer]
            if step < inside[layer]:
                yield x
            elif layer == 0:
                yield self._tail(bool(step >> 8 & 1))
            elif (height[layer - 1] - height[layer]) * self._uniform() + height[layer] < math.exp(-x * x / 2):
                yield x

    def _tail(self, negative: bool) -> float:
        """A number beyond the outermost edge (Marsaglia 1964)."""
        while True:
            beyond = -math.log1p(-self._uniform()) / _EDGE
            if -2.0 * math.log1p(-self._uniform()) > beyond * beyond:
                return -(_EDGE + beyond) if negative else _EDGE + beyond

    def standard_normal(self, size: int) -> Array:
        """So many normal numbers with mean 0 and deviation 1."""
        return Array(list(islice(self._normals(), size)))


def default_rng(seed: int | list[int]) -> Generator:
    """The generator that numpy.random.default_rng gives for these seeds."""
    return Generator(list(seed) if isinstance(seed, list) else [seed])
