"""Arrays in plain Python: a list of numbers with a shape, and numpy's rules for what one does to all of them.

Elements are bool, int or float. Shapes are broadcast as numpy does it (a missing or single row is repeated),
up to tables of rows and columns. Division by zero and overflow give ∞ or NaN, as IEEE 754 has it and numpy
does, where Python's own numbers raise. Sums are rounded once (math.fsum), so they may differ from numpy's in
the last digits. A whole number has as many digits as it needs; it does not wrap at 64 bits.
"""

import math
import operator
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import Any

Shape = tuple[int, ...]


def needs_numpy(what: str) -> str:
    """What a reader is told: what runs without numpy, what does not, what to try."""
    return (
        f"{what} needs numpy, and this Python has none. Without it run: polling, liveness, storms by SimPy, "
        "and capacity plans; not pictures, the fluid limit or a million clients. In JupyterLite restart the "
        "kernel and try %pip install numpy before you import labsupport; else run this cell on your machine"
    )


class NeedsNumpy(AttributeError):
    """What was asked for is beyond this stand-in."""

    def __init__(self, what: str) -> None:
        super().__init__(needs_numpy(what))


def divided(a: float, b: float) -> float:
    """a/b, with ∞ and NaN where b is 0."""
    try:
        return a / b
    except ZeroDivisionError:
        return math.nan if a == 0 or a != a else math.copysign(math.inf, a) * math.copysign(1.0, b)


def floored(a: Any, b: Any) -> Any:
    """a // b; NaN where b is 0, and 0 for whole numbers."""
    if b == 0:
        return 0 if isinstance(a, int) and isinstance(b, int) else math.nan
    return a // b


def remainder(a: Any, b: Any) -> Any:
    """The rest of a // b; NaN where b is 0, and 0 for whole numbers."""
    if b == 0:
        return 0 if isinstance(a, int) and isinstance(b, int) else math.nan
    return a % b


def power(a: Any, b: Any) -> Any:
    """a to the power b; ∞ where it is too large, NaN for a root of what is negative."""
    if b == 2:
        return a * a
    try:
        result = a**b
    except OverflowError:
        return math.inf
    except ZeroDivisionError:
        return math.inf
    return math.nan if isinstance(result, complex) else result


def lower(a: Any, b: Any) -> Any:
    """The smaller one; NaN if one is NaN."""
    return a if a < b or a != a else b


def higher(a: Any, b: Any) -> Any:
    """The larger one; NaN if one is NaN."""
    return a if a > b or a != a else b


def total(values: Iterable[Any]) -> Any:
    """The sum: exact for whole numbers, rounded once for others."""
    values = list(values) or [0.0]
    if all(isinstance(one, int) for one in values):
        return sum(values)
    try:
        return math.fsum(values)
    except (OverflowError, ValueError):  # ∞ − ∞, or beyond the largest float
        return float(sum(values))


def cells(shape: Shape) -> int:
    """How many elements a shape has."""
    return math.prod(shape)


def joint_shape(shapes: Iterable[Shape]) -> Shape:
    """The shape that all are stretched to."""
    shapes = list(shapes)
    longest = max((len(shape) for shape in shapes), default=0)
    found = []
    for sizes in zip(*((1,) * (longest - len(shape)) + shape for shape in shapes), strict=True):
        several = {size for size in sizes if size != 1}
        if len(several) > 1:
            raise ValueError(f"these shapes do not go together: {', '.join(map(str, shapes))}")
        found.append(several.pop() if several else 1)
    return tuple(found)


def stretched(array: "Array", shape: Shape) -> list[Any]:
    """The elements of an array, repeated so that they fill a larger shape."""
    if array.shape == shape:
        return array.values
    if len(array.values) == 1:
        return array.values * cells(shape)
    if joint_shape([array.shape, shape]) != shape or len(shape) > 2:
        raise NeedsNumpy(f"to stretch an array of shape {array.shape} to {shape}")
    if array.shape in (shape[-1:], (1, *shape[-1:])):
        return array.values * shape[0]
    return [value for value in array.values for _ in range(shape[-1])]  # a column


def array_of(value: Any, dtype: Any = None) -> "Array":
    """A number, a sequence or a sequence of sequences as an array."""
    if isinstance(value, Array):
        return value if dtype is None or dtype is value.dtype else value.astype(dtype)
    if isinstance(value, str | bytes | dict | set) or value is None:
        raise TypeError(f"expected numbers, got {value!r}")
    if not hasattr(value, "__iter__"):
        made = Array([value if isinstance(value, int | float) else float(value)], ())
    else:
        items = list(value)
        if any(hasattr(one, "__iter__") for one in items):
            rows = [array_of(one) for one in items]
            if len({row.shape for row in rows}) > 1:
                raise ValueError("expected rows of one length, got rows of several")
            made = Array([x for row in rows for x in row.values], (len(rows), *rows[0].shape))
        else:
            made = Array([+one if isinstance(one, int) and type(one) is not bool else one for one in items],
                         (len(items),))  # fmt: skip
            if not all(isinstance(one, int | float) for one in made.values):
                made = made.astype(float)
    if dtype is None:
        dtype = made.dtype
    return made.astype(dtype)


class Array:
    """What numpy calls an ndarray, as far as the models need one."""

    __slots__ = ("shape", "values")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, values: list[Any], shape: Shape | None = None) -> None:
        self.values = values
        self.shape = (len(values),) if shape is None else shape

    # ---- what it is ----------------------------------------------------------------------------------------

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return len(self.values)

    @property
    def dtype(self) -> type:
        """bool, int or float: the widest of the elements' types; float where there are none."""
        kinds = set(map(type, self.values))
        return next((kind for kind in (float, int, bool) if kind in kinds), float)

    @property
    def T(self) -> "Array":
        if self.ndim < 2:
            return self
        rows, columns = self.shape
        return Array([x for c in range(columns) for x in self.values[c::columns]], (columns, rows))

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("a single number has no length")
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.values) if self.ndim < 2 else (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        if len(self.values) != 1:
            raise ValueError("an array of several elements is neither true nor false: use all() or any()")
        return bool(self.values[0])

    def item(self) -> Any:
        """The only element."""
        if len(self.values) != 1:
            raise TypeError(f"expected one element, got {len(self.values)}")
        return self.values[0]

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        return operator.index(self.item())

    def __format__(self, how: str) -> str:
        return format(self.item(), how) if not self.shape else str(self)

    def __repr__(self) -> str:
        return repr(self.item()) if not self.shape else f"array({self.tolist()!r})"

    def tolist(self) -> Any:
        """Nested lists of Python's own numbers."""
        if self.ndim < 2:
            return list(self.values) if self.shape else self.values[0]
        return [row.tolist() for row in self]

    # ---- another form --------------------------------------------------------------------------------------

    def astype(self, dtype: Any) -> "Array":
        return Array([dtype(value) for value in self.values], self.shape)

    def copy(self) -> "Array":
        return Array(list(self.values), self.shape)

    def ravel(self) -> "Array":
        return Array(list(self.values))

    def reshape(self, *shape: Any) -> "Array":
        wanted = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], tuple) else shape
        if wanted == (-1,):
            wanted = (self.size,)
        if cells(wanted) != self.size:
            raise ValueError(f"{self.size} elements do not fill the shape {wanted}")
        return Array(list(self.values), wanted)

    # ---- its elements --------------------------------------------------------------------------------------

    def _chosen(self, key: Any) -> list[int]:
        """Which elements of a row are meant."""
        if isinstance(key, slice):
            return list(range(len(self)))[key]
        which = array_of(key)
        if which.dtype is bool:
            if which.shape != self.shape:
                raise IndexError(f"expected a mask of shape {self.shape}, got {which.shape}")
            return [i for i, wanted in enumerate(which.values) if wanted]
        return [operator.index(i) for i in which.values]

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, tuple):
            if len(key) != 2 or not all(isinstance(one, int) for one in key):
                raise NeedsNumpy(f"the index {key!r}")
            return self[key[0]].values[key[1]]
        if isinstance(key, Array) and not key.shape:
            key = operator.index(key)
        if self.ndim > 1:
            if not isinstance(key, int):
                raise NeedsNumpy(f"the index {key!r}")
            width = cells(self.shape[1:])
            start = range(len(self))[key] * width
            return Array(self.values[start : start + width], self.shape[1:])
        if hasattr(key, "__index__") and not isinstance(key, Array):
            return self.values[key]
        shape = key.shape if isinstance(key, Array) and key.dtype is not bool else None
        return Array([self.values[i] for i in self._chosen(key)], shape)

    def __setitem__(self, key: Any, value: Any) -> None:
        if self.ndim != 1:
            raise NeedsNumpy("to set an element of a table")
        if isinstance(key, int):
            self.values[key] = type(self.values[key])(value)
            return
        chosen = self._chosen(key)
        for i, one in zip(chosen, stretched(array_of(value), (len(chosen),)), strict=True):
            self.values[i] = type(self.values[i])(one)  # an array keeps its type

    # ---- all at once ---------------------------------------------------------------------------------------

    def with_each(self, other: Any, function: Callable[[Any, Any], Any]) -> "Array":
        """function(own element, the other's), element by element."""
        if isinstance(other, int | float):
            return Array([function(one, other) for one in self.values], self.shape)
        try:
            other = array_of(other)
        except TypeError:
            return NotImplemented
        shape = self.shape if self.shape == other.shape else joint_shape([self.shape, other.shape])
        pairs = zip(stretched(self, shape), stretched(other, shape), strict=True)
        return Array([function(one, two) for one, two in pairs], shape)

    def each(self, function: Callable[[Any], Any]) -> "Array":
        """function(element), element by element."""
        return Array([function(one) for one in self.values], self.shape)

    def __neg__(self) -> "Array":
        return self.each(operator.neg)

    def __abs__(self) -> "Array":
        return self.each(abs)

    def __invert__(self) -> "Array":
        return self.each(lambda one: not one if isinstance(one, bool) else ~one)

    # ---- all in one ----------------------------------------------------------------------------------------

    def _folded(self, function: Callable[[list[Any]], Any], axis: int | None) -> Any:
        """function(all elements), or with axis 0 that of each column."""
        if axis is None or self.ndim == 1:
            return function(self.values)
        columns = self.reshape(len(self), cells(self.shape[1:])).T if self.ndim != 2 else self.T
        return Array([function(column.values) for column in columns], self.shape[1:])

    def sum(self, axis: int | None = None) -> Any:
        return self._folded(total, axis)

    def mean(self, axis: int | None = None) -> Any:
        return self._folded(lambda all_of: divided(total(all_of), len(all_of)), axis)

    def max(self, axis: int | None = None) -> Any:
        return self._folded(lambda all_of: _extreme(all_of, higher), axis)

    def min(self, axis: int | None = None) -> Any:
        return self._folded(lambda all_of: _extreme(all_of, lower), axis)

    def argmax(self, axis: int | None = None) -> Any:
        return self._folded(lambda all_of: all_of.index(_extreme(all_of, higher)), axis)

    def any(self) -> bool:
        return any(self.values)

    def all(self) -> bool:
        return all(self.values)

    def cumsum(self) -> "Array":
        return Array(list(accumulate(self.values)))


def _extreme(values: list[Any], pick: Callable[[Any, Any], Any]) -> Any:
    """The largest or smallest."""
    if not values:
        raise ValueError("an empty array has no largest and no smallest element")
    return list(accumulate(values, pick))[-1]


def _both(function: Callable[[Any, Any], Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """An operator with the array on the left, and with the array on the right."""
    return (
        lambda self, other: self.with_each(other, function),
        lambda self, other: self.with_each(other, lambda own, left: function(left, own)),
    )


for _name, _function in {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "truediv": divided, "floordiv": floored,
    "mod": remainder, "pow": power, "and": operator.and_, "or": operator.or_, "xor": operator.xor,
    "rshift": operator.rshift, "lshift": operator.lshift,
}.items():  # fmt: skip
    _left, _right = _both(_function)
    setattr(Array, f"__{_name}__", _left)
    setattr(Array, f"__r{_name}__", _right)
for _name in ("lt", "le", "eq", "ne", "gt", "ge"):
    setattr(Array, f"__{_name}__", _both(getattr(operator, _name))[0])
