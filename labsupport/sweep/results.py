"""What a sweep returns: one number per figure, point and seed, and what can be said of the points' means."""

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Failure:
    """A call that raised: with which arguments (the seed is one of them), and what it said."""

    arguments: dict[str, Any]
    error: str

    def __str__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        return f"({given}): {self.error}"


@dataclass(frozen=True, eq=False)
class Line:
    """One line of a figure with its band: the mean at each x, and where the true mean lies."""

    label: str
    x: tuple[Any, ...]
    mean: Array
    low: Array
    high: Array


@dataclass(frozen=True, eq=False, kw_only=True)
class Sweep:
    """A finished sweep.

    axes       the grid: each argument's values
    seeds      of the runs of each point
    values     for each figure an array with one axis per argument, in the grid's order, and a last one
               for the seeds; NaN where a call failed, was not made, or returned NaN
    failures   the calls that raised
    computed   calls that were made now, and `cached` ones that were found

    Means, deviations and bands are taken over the seeds that have a number; `count` tells how many.
    """

    axes: dict[str, tuple[Any, ...]]
    seeds: tuple[Any, ...]
    values: dict[str, Array]
    failures: tuple[Failure, ...] = ()
    computed: int = 0
    cached: int = 0

    @property
    def figures(self) -> tuple[str, ...]:
        """Names of the figures."""
        return tuple(self.values)

    @property
    def points(self) -> list[dict[str, Any]]:
        """The points of the grid, the last argument fastest."""
        return [dict(zip(self.axes, one, strict=True)) for one in itertools.product(*self.axes.values())]

    def count(self, figure: str) -> NDArray[np.int64]:
        """Return for each point how many seeds have a number."""
        return np.sum(~np.isnan(self._of(figure)), axis=-1)

    def mean(self, figure: str) -> Array:
        """Return the mean over the seeds, for each point."""
        return _divided(np.nansum(self._of(figure), axis=-1), self.count(figure))

    def sd(self, figure: str) -> Array:
        """Return the standard deviation from seed to seed; NaN where there are not two."""
        off = self._of(figure) - self.mean(figure)[..., np.newaxis]
        return np.sqrt(_divided(np.nansum(off * off, axis=-1), self.count(figure) - 1))

    def se(self, figure: str) -> Array:
        """Return the standard error of the mean; NaN where there are not two seeds."""
        return _divided(self.sd(figure), np.sqrt(self.count(figure)))

    def band(self, figure: str, level: float = 0.95) -> tuple[Array, Array]:
        """Return low and high of the confidence band of the means, by Student's t over the seeds.

        Right for numbers that vary like a normal law from seed to seed, and for others with many seeds. Each
        point has a band of its own: of twenty points one is expected outside its 95 % band. NaN under two
        seeds.
        """
        count = self.count(figure)
        factor = np.vectorize(lambda n: student_t(level, int(n) - 1) if n > 1 else math.nan, otypes=[float])
        half = factor(count) * self.se(figure)
        return self.mean(figure) - half, self.mean(figure) + half

    def select(self, **fixed: Any) -> "Sweep":
        """Return the part where these arguments have these values; it no longer has their axes."""
        place: list[Any] = [slice(None)] * len(self.axes)
        for name, value in fixed.items():
            self._axis(name)
            place[list(self.axes).index(name)] = self._index(name, value)
        return replace(
            self,
            axes={name: values for name, values in self.axes.items() if name not in fixed},
            values={figure: table[tuple(place)] for figure, table in self.values.items()},
            failures=tuple(
                one
                for one in self.failures
                if all(one.arguments[name] == value for name, value in fixed.items())
            ),
        )

    def lines(self, figure: str, along: str, level: float = 0.95) -> list[Line]:
        """Return a line along one argument for each choice of the others."""
        self._axis(along)
        others = {name: values for name, values in self.axes.items() if name != along}
        lines = []
        for choice in itertools.product(*others.values()):
            fixed = dict(zip(others, choice, strict=True))
            part = self.select(**fixed)
            label = ", ".join(f"{name}={value}" for name, value in fixed.items())
            lines.append(Line(label, self.axes[along], part.mean(figure), *part.band(figure, level)))
        return lines

    def rows(self, level: float = 0.95) -> Iterator[dict[str, Any]]:
        """Yield a dict per point and figure: a table for reading, or for pandas.DataFrame(result.rows())."""
        for figure in self.figures:
            low, high = self.band(figure, level)
            columns = (self.count(figure), self.mean(figure), self.sd(figure), self.se(figure), low, high)
            flat = [column.ravel().tolist() for column in columns]
            for point, *cells in zip(self.points, *flat, strict=True):
                names = ("seeds", "mean", "sd", "se", "low", "high")
                yield {**point, "figure": figure, **dict(zip(names, cells, strict=True))}

    def summary(self) -> str:
        """Return in a sentence what was done."""
        points, seeds = math.prod(map(len, self.axes.values())), len(self.seeds)
        size = f"{points:,} point{'s' * (points != 1)} × {seeds:,} seed{'s' * (seeds != 1)}"
        said = f"{size}: {self.computed:,} computed, {self.cached:,} from the cache"
        return f"{said}, {len(self.failures):,} failed." if self.failures else f"{said}."

    def plot(self, figure: str, along: str, ax: Any = None, level: float = 0.95, **line: Any) -> Any:
        """Draw the means along one argument with their bands, a line per choice of the others."""
        if ax is None:
            from matplotlib import pyplot as plt

            ax = plt.subplots()[1]
        drawn = self.lines(figure, along, level)
        for one in drawn:
            numeric = all(isinstance(x, int | float) and not isinstance(x, bool) for x in one.x)
            x = one.x if numeric else [str(value) for value in one.x]
            (mean,) = ax.plot(x, one.mean, label=one.label or None, **line)
            ax.fill_between(x, one.low, one.high, color=mean.get_color(), alpha=0.2, linewidth=0)
        ax.set_xlabel(along)
        ax.set_ylabel(figure)
        ax.set_title(f"{figure} along {along}: mean and {100 * level:g} % band over {len(self.seeds)} seeds")
        if len(drawn) > 1:
            ax.legend()
        return ax

    def _of(self, figure: str) -> Array:
        if figure not in self.values:
            raise KeyError(f"no figure {figure!r}: there are {', '.join(map(repr, self.values))}")
        return self.values[figure]

    def _axis(self, name: str) -> None:
        if name not in self.axes:
            raise KeyError(f"no argument {name!r} in the grid: there are {', '.join(map(repr, self.axes))}")

    def _index(self, name: str, value: Any) -> int:
        for index, one in enumerate(self.axes[name]):
            if one is value or one == value:
                return index
        raise KeyError(f"{name}={value!r} was not swept: there are {', '.join(map(repr, self.axes[name]))}")


def values_of(
    axes: Mapping[str, tuple[Any, ...]], seeds: tuple[Any, ...], found: Mapping[int, Mapping[str, float]]
) -> dict[str, Array]:
    """Return the arrays of a sweep from the numbers of its calls, by the call's place in the grid."""
    shape = (*map(len, axes.values()), len(seeds))
    values: dict[str, Array] = {}
    for place in sorted(found):
        for name, number in found[place].items():
            table = values.setdefault(name, np.full(math.prod(shape), math.nan))
            table[place] = number
    return {name: table.reshape(shape) for name, table in values.items()}


@lru_cache(maxsize=1024)
def student_t(level: float, degrees: int) -> float:
    """Return t such that Student's T lies within ±t with this probability, for whole degrees of freedom.

    By halving on the angle θ = arctan(t/√ν), for which the probability is a finite sum (Abramowitz and
    Stegun, 26.7.3 and 26.7.4).
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"level is a probability between 0 and 1, such as 0.95; got {level!r}")
    if degrees < 1:
        raise ValueError(f"Student's t needs at least 1 degree of freedom (2 seeds), got {degrees!r}")
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, degrees) < level else (low, middle)
    return math.sqrt(degrees) * math.tan(low)


def _within(angle: float, degrees: int) -> float:
    """Return the probability of −t … t, with t = √ν·tan θ."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees % 2
    term, total = (cosine if odd else 1.0), 0.0
    for k in range(2 + odd, degrees + 1, 2):
        total += term
        term *= (k - 1) / k * cosine * cosine
    return 2 / math.pi * (angle + sine * total) if odd else sine * total


def _divided(a: Array, b: Any) -> Array:
    """Return a/b, and NaN where b is not above 0."""
    return np.divide(a, b, out=np.full(np.shape(a), math.nan), where=np.asarray(b) > 0)
