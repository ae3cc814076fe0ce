"""What a worker does: call the function for one point and one seed, and take the numbers out of the result.

The numbers are taken out where they are computed, so that a worker sends back a few floats and no arrays.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Numbers = dict[str, float]


def call(
    function: Callable[..., Any],
    arguments: dict[str, Any],
    figures: tuple[str, ...] | None,
    ticket: str = "",
) -> Numbers:
    """Call the function and return its figures by name; what it raises goes to whoever asked.

    The ticket only tells the calls of one sweep from the same calls of another.
    """
    return numbers(function(**arguments), figures)


def numbers(result: Any, figures: tuple[str, ...] | None) -> Numbers:
    """Return the named numbers of a result: the `figures` asked for; of a mapping all, if none are."""
    if isinstance(result, Mapping):
        names = tuple(result) if figures is None else figures
        missing = [name for name in names if name not in result]
        found = {str(name): result.get(name) for name in names}
        there = ", ".join(map(repr, result))
    elif figures is not None:
        missing = [name for name in figures if not hasattr(result, name)]
        found = {name: getattr(result, name, None) for name in figures}
        there = ", ".join(repr(name) for name in dir(result) if not name.startswith("_"))
    else:
        raise TypeError(
            f"the function returned {_short(result)}: return a dict of numbers, such as {{'calls': 796}}, or "
            "say which attributes are meant, such as figures=('mean_calls',)"
        )
    if missing:
        raise ValueError(f"the result has no figure {missing[0]!r}: there are {there}")
    if not found:
        raise ValueError("the function returned no figure at all: expected a dict of numbers")
    return {name: _number(name, value) for name, value in found.items()}


def _number(name: str, value: Any) -> float:
    """Return a figure as a float, if it is a number."""
    if not isinstance(value, int | float | np.number | np.bool_) or isinstance(value, np.complexfloating):
        raise TypeError(
            f"figure {name!r} must be one number, got {_short(value)}: take its mean, or leave it out"
        )
    return float(value)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
