"""The functions of numpy that the models call, for the arrays of array.py: the same names, the same meaning.

Where numpy is missing, `import numpy as np` in a model gives this module (labsupport/plain/__init__.py puts
it there). What is not here says so, and what to try. Elementary functions are those of Python's math, which
may differ from numpy's in the last bit; a sum of n numbers is within n such bits of numpy's.
"""

import builtins
import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import accumulate
from typing import Any

from labsupport.plain import generator as random
from labsupport.plain import typing
from labsupport.plain.array import (
    Array,
    NeedsNumpy,
    Shape,
    array_of,
    cells,
    divided,
    higher,
    joint_shape,
    lower,
    stretched,
    total,
)

__all__ = ["random", "typing"]

ndarray = Array
float64, int64, int32, int8, uint64, bool_ = float, int, int, int, int, bool
inf, nan, pi = math.inf, math.nan, math.pi


class number:
    """numpy's own numbers: there are none here, so nothing is one."""


class integer(number):
    """numpy's own whole numbers: there are none here."""


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    raise NeedsNumpy(f"np.{name}")


@contextmanager
def errstate(**_: str) -> Iterator[None]:
    """Nothing is ever warned of here."""
    yield


# ---- making them -------------------------------------------------------------------------------------------

asarray = array_of


def array(value: Any, dtype: Any = None) -> Array:
    return array_of(value, dtype).copy()


def atleast_1d(value: Any) -> Array:
    made = array_of(value)
    return made if made.shape else made.reshape(1)


def full(shape: int | Shape, value: Any, dtype: Any = None) -> Array:
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    return Array([value if dtype is None else dtype(value)] * cells(sizes), sizes)


def zeros(shape: int | Shape, dtype: Any = float) -> Array:
    return full(shape, dtype(0))


def ones(shape: int | Shape, dtype: Any = float) -> Array:
    return full(shape, dtype(1))


empty = zeros


def zeros_like(value: Any) -> Array:
    like = array_of(value)
    return full(like.shape, like.dtype(0))


def arange(start: int, stop: int | None = None) -> Array:
    return Array(list(range(start) if stop is None else range(start, stop)))


def linspace(start: float, stop: float, num: int = 50) -> Array:
    step = (stop - start) / builtins.max(1, num - 1)
    return Array([*(start + i * step for i in range(num - 1)), *([float(stop)] if num > 1 else [start])])


def logspace(start: float, stop: float, num: int = 50) -> Array:
    return linspace(start, stop, num).each(lambda exponent: 10.0**exponent)


def geomspace(start: float, stop: float, num: int = 50) -> Array:
    return linspace(math.log(start), math.log(stop), num).each(math.exp)


def concatenate(arrays: Any) -> Array:
    made = [array_of(one) for one in arrays]
    return _even(Array([value for one in made for value in one.values]))


def stack(arrays: Any) -> Array:
    rows = [array_of(one) for one in arrays]
    return Array([value for row in rows for value in row.values], (len(rows), *rows[0].shape))


def repeat(value: Any, counts: Any) -> Array:
    made = array_of(value)
    times = stretched(array_of(counts), made.shape)
    return Array([one for one, n in zip(made.values, times, strict=True) for _ in range(n)])


def _even(made: Array) -> Array:
    """All elements of one type."""
    return made.astype(made.dtype) if len(set(map(type, made.values))) > 1 else made


# ---- shapes ------------------------------------------------------------------------------------------------


def shape(value: Any) -> Shape:
    return array_of(value).shape


def ndim(value: Any) -> int:
    return array_of(value).ndim


def size(value: Any) -> int:
    return array_of(value).size


def broadcast_shapes(*shapes: Shape) -> Shape:
    return joint_shape(shapes)


def broadcast_to(value: Any, shape: Shape) -> Array:
    return Array(list(stretched(array_of(value), tuple(shape))), tuple(shape))


def broadcast_arrays(*values: Any) -> list[Array]:
    made = [array_of(value) for value in values]
    together = joint_shape([one.shape for one in made])
    return [broadcast_to(one, together) for one in made]


# ---- element by element ------------------------------------------------------------------------------------


def _each(function: Callable[[float], Any], too_large: float = math.inf) -> Callable[[Any], Array]:
    """A function of math, with numpy's answers where math raises."""

    def one_by_one(x: float) -> Any:
        try:
            return function(x)
        except OverflowError:
            return too_large
        except ValueError:
            return math.nan

    return lambda value: array_of(value).each(one_by_one)


def _log(function: Callable[[float], float], edge: float) -> Callable[[float], float]:
    """A logarithm that is −∞ at its edge."""
    return lambda x: -math.inf if x == edge else function(x)


def _rounded(function: Callable[[float], int]) -> Callable[[float], float]:
    return lambda x: float(function(x)) if math.isfinite(x) else x


exp, expm1, sqrt = _each(math.exp), _each(math.expm1), _each(math.sqrt)
log, log1p = _each(_log(math.log, 0.0)), _each(_log(math.log1p, -1.0))
floor, ceil = _each(_rounded(math.floor)), _each(_rounded(math.ceil))
isfinite, isinf, isnan = _each(math.isfinite), _each(math.isinf), _each(math.isnan)


def abs(value: Any) -> Array:
    return array_of(value).__abs__()


def maximum(a: Any, b: Any) -> Array:
    return _even(array_of(a).with_each(b, higher))


def minimum(a: Any, b: Any) -> Array:
    return _even(array_of(a).with_each(b, lower))


def clip(value: Any, low: float, high: float) -> Array:
    return minimum(maximum(value, low), high)


def where(condition: Any, yes: Any, no: Any) -> Array:
    which, one, other = broadcast_arrays(condition, yes, no)
    picked = zip(which.values, one.values, other.values, strict=True)
    return _even(Array([y if c else n for c, y, n in picked], which.shape))


def vectorize(function: Callable[..., Any]) -> Callable[..., Array]:
    def for_each(*values: Any) -> Array:
        made = broadcast_arrays(*values)
        rows = zip(*(one.values for one in made), strict=True)
        return Array([function(*row) for row in rows], made[0].shape)

    return for_each


# ---- all in one --------------------------------------------------------------------------------------------


def sum(value: Any, axis: int | None = None) -> Any:
    return array_of(value).sum(axis)


def mean(value: Any, axis: int | None = None) -> Any:
    return array_of(value).mean(axis)


def max(value: Any, *more: Any, axis: int | None = None) -> Any:
    return array_of(value).max(axis)


def min(value: Any, axis: int | None = None) -> Any:
    return array_of(value).min(axis)


def argmax(value: Any, axis: int | None = None) -> Any:
    return array_of(value).argmax(axis)


def any(value: Any) -> bool:
    return array_of(value).any()


def all(value: Any) -> bool:
    return array_of(value).all()


def array_equal(a: Any, b: Any) -> bool:
    one, other = array_of(a), array_of(b)
    return one.shape == other.shape and one.values == other.values


def ptp(value: Any) -> Any:
    made = array_of(value)
    return made.max() - made.min()


def median(value: Any) -> float:
    return float(percentile(value, 50))


def percentile(value: Any, percent: Any, method: str = "linear") -> Any:
    """Between the two elements around the place percent/100·(n − 1), or the higher or nearest one."""
    ordered, asked = sorted(array_of(value).values), array_of(percent)

    def at(one: float) -> Any:
        place = one / 100 * (len(ordered) - 1)
        below = math.floor(place)
        if method in ("higher", "nearest"):
            return ordered[math.ceil(place) if method == "higher" else round(place)]
        share, low, high = place - below, ordered[below], ordered[below + (place > below)]
        return high - (high - low) * (1 - share) if share >= 0.5 else low + (high - low) * share

    found = asked.each(at)
    return found if found.shape else found.item()


def corrcoef(a: Any, b: Any) -> Array:
    """Pearson's correlation of two rows, in a table of two by two."""
    x, y = (one - one.mean() for one in (array_of(a), array_of(b)))
    both = divided(total((x * y).values), math.sqrt(total((x * x).values)) * math.sqrt(total((y * y).values)))
    return Array([1.0, both, both, 1.0], (2, 2))


# ---- in order ----------------------------------------------------------------------------------------------


def sort(value: Any) -> Array:
    return Array(sorted(array_of(value).values))


def argsort(value: Any, kind: str | None = None) -> Array:
    values = array_of(value).values
    return Array(sorted(range(len(values)), key=values.__getitem__))


def unique(value: Any, return_inverse: bool = False, return_counts: bool = False) -> Any:
    values = array_of(value).values
    found = sorted(set(values))
    number_of = {one: i for i, one in enumerate(found)}
    where_it_is = [number_of[one] for one in values]
    answers = [Array(found)]
    if return_inverse:
        answers.append(Array(where_it_is))
    if return_counts:
        answers.append(bincount(where_it_is, minlength=len(found)))
    return answers[0] if len(answers) == 1 else tuple(answers)


def searchsorted(ordered: Any, value: Any, side: str = "left") -> Any:
    values, find = array_of(ordered).values, bisect_left if side == "left" else bisect_right
    found = array_of(value).each(lambda one: find(values, one))
    return found if found.shape else found.item()


def bincount(value: Any, minlength: int = 0) -> Array:
    values = array_of(value).values
    counts = [0] * (1 + builtins.max([minlength - 1, *values]))
    for one in values:
        counts[one] += 1
    return Array(counts)


def cumsum(value: Any) -> Array:
    return Array(list(accumulate(array_of(value).values)))


def diff(value: Any, prepend: Any = (), append: Any = ()) -> Array:
    padded = concatenate([atleast_1d(prepend), atleast_1d(value), atleast_1d(append)]).values
    return Array([later - earlier for earlier, later in zip(padded, padded[1:], strict=False)])


def flatnonzero(value: Any) -> Array:
    return Array([i for i, one in enumerate(array_of(value).values) if one])
