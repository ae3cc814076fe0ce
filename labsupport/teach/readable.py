"""Numbers as a reader wants them."""

from __future__ import annotations


def readable(number: float, digits: int = 3) -> str:
    """A number in at most `digits` significant digits, whole numbers in full: 12 000, 0.92, 3.5."""
    if number == round(number) and abs(number) < 1e15:
        return f"{round(number):,}".replace(",", "\N{NO-BREAK SPACE}").replace("-", "−")
    text = f"{number:.{digits}g}"
    if "e" in text and 1e-4 < abs(number) < 1e15:
        text = f"{float(text):,.0f}".replace(",", "\N{NO-BREAK SPACE}")
    return text.replace("-", "−")


def with_unit(number: float, unit: str = "", digits: int = 3) -> str:
    """The number and its unit, if it has one."""
    return f"{readable(number, digits)}{chr(160) if unit else ''}{unit}"
