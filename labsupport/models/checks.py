"""What models refuse, and how they say it: what was expected, what came, what to try."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

MAX_EVENTS = 5_000_000  # requests or deliveries in one run: about half a minute of SimPy and 400 MB


def rate(name: str, value: Any, *, zero: bool = True) -> None:
    """Refuse a rate that is negative, not finite or not a number; arrays are looked at element by element."""
    _number(name, value, "a rate per second", zero=zero, infinite=False)


def amount(name: str, value: Any) -> None:
    """Refuse a number of things that is negative, infinite or no number; formulas take fractions."""
    _number(name, value, "a number", zero=True, infinite=False)


def seconds(name: str, value: Any, *, zero: bool = True, infinite: bool = False, hint: str = "") -> None:
    """Refuse a time that is negative, not a number or (unless allowed) zero or infinite."""
    _number(name, value, "seconds", zero=zero, infinite=infinite, hint=hint)


def share(name: str, value: Any) -> None:
    """Refuse what does not lie between 0 and 1."""
    _number(name, value, "a share", zero=True, infinite=False)
    if np.any(np.asarray(value) > 1):
        raise ValueError(f"{name} is a share: expected 0 to 1, got {value!r} (0.1 means ±10 %)")


def count(name: str, value: Any) -> None:
    """Refuse what is not a whole number from 1 up."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{name} must be a whole number from 1 up, got {value!r}")


def choice(name: str, value: Any, options: Sequence[str]) -> None:
    """Refuse a word that is not one of the options."""
    if value not in options:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, options))}, got {value!r}")


def events(expected: float, what: str) -> None:
    """Refuse a run that would take minutes and gigabytes, before it starts."""
    if expected > MAX_EVENTS:
        raise ValueError(
            f"this run would hold {expected:,.0f} {what}, and {MAX_EVENTS:,} is the limit: "
            "try a shorter horizon_s, fewer clients, or the closed forms, which take any size"
        )


def _number(name: str, value: Any, unit: str, *, zero: bool, infinite: bool, hint: str = "") -> None:
    try:
        numbers = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be {unit}, got {value!r}") from None
    low = numbers >= 0 if zero else numbers > 0
    if not np.all(low & (numbers < math.inf) | (infinite & (numbers == math.inf))):
        bound = "0 or more" if zero else "above 0"
        finite = "" if infinite else " and finite"
        raise ValueError(f"{name} must be {unit}, {bound}{finite}, got {value!r}{hint and ': ' + hint}")
