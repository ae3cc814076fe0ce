"""Numbers as a reader wants them."""

from __future__ import annotations

import math


def readable(number: float, digits: int = 3) -> str:
    """At most `digits` significant digits below 1 000, whole numbers above: 0.92, 3.5, 12 000."""
    if not math.isfinite(number):
        return str(number)
    if number == round(number) or 1000 <= abs(number) < 1e15:
        text = f"{round(number):,}".replace(",", "\N{NO-BREAK SPACE}")
    else:
        text = f"{number:.{digits}g}"
    return text.replace("-", "−")


def with_unit(number: float, unit: str = "", digits: int = 3) -> str:
    """The number and its unit, if it has one."""
    return readable(number, digits) + (f"\N{NO-BREAK SPACE}{unit}" if unit else "")
