"""Amounts as people type them: "80 000/s", "1.6 Gbit/s", "19 GB", "40k"."""

from __future__ import annotations

import math
import re

from labsupport.teach.readable import readable

NBSP = "\N{NO-BREAK SPACE}"

# Units that can be converted into each other, each with what it is worth.
GROUPS: tuple[dict[str, float], ...] = (
    {"B": 1, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "PB": 1e15,
     "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40},
    {"bit/s": 1, "kbit/s": 1e3, "Mbit/s": 1e6, "Gbit/s": 1e9, "Tbit/s": 1e12},
    {"ms": 1e-3, "s": 1, "min": 60, "h": 3600},
    {"/s": 1, "/min": 1 / 60, "/h": 1 / 3600},
)  # fmt: skip
PREFIXES = {"k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "thousand": 1e3, "million": 1e6,
            "billion": 1e9}  # fmt: skip
_TYPED = re.compile(
    r"(?:~|≈|about)?\s*(?P<number>\d{1,3}(?:[ ,_']\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?(?:e\d+)?|\.\d+)"
    r"\s*(?P<rest>\D.*)?",
    re.IGNORECASE,
)


class AmountError(ValueError):
    """What was typed is no amount in this unit. The text says what to type."""


def parse(typed: object, unit: str) -> float:
    """The amount in `unit`. A number alone counts as given in it; `unit` may be a count ("servers")."""
    if isinstance(typed, int | float) and not isinstance(typed, bool):
        return _finite(float(typed), typed, unit)
    text = str(typed).strip().replace(NBSP, " ").replace("\N{THIN SPACE}", " ")
    found = _TYPED.fullmatch(text)
    if found is None:
        raise AmountError(_expected(typed, unit))
    number = float(re.sub("[ ,_']", "", found["number"]))
    return _finite(number * _factor((found["rest"] or "").strip(), typed, unit), typed, unit)


def _factor(rest: str, typed: object, unit: str) -> float:
    """What the letters behind the number make of it."""
    group = next((one for one in GROUPS if unit in one), {})
    if rest in ("", unit):
        return 1.0
    if rest in group:
        return group[rest] / group[unit]
    for prefix, worth in PREFIXES.items():
        if rest.startswith(prefix) and rest.removeprefix(prefix).strip() in ("", unit):
            return worth
    raise AmountError(_expected(typed, unit))


def _finite(value: float, typed: object, unit: str) -> float:
    if not math.isfinite(value) or value <= 0:
        raise AmountError(_expected(typed, unit))
    return value


def _expected(typed: object, unit: str) -> str:
    return f"expected an amount above 0 such as “{write(1234, unit)}”, got {str(typed)!r}"


def write(value: float, unit: str) -> str:
    """Three digits and the unit: "80 000/s", "19 GB"."""
    shown = value if abs(value) >= 1000 or value == 0 else float(f"{value:.3g}")
    if abs(value) >= 1000:
        shown = round(value, 2 - math.floor(math.log10(abs(value))))
    return readable(shown) + (unit if unit.startswith("/") else f"{NBSP}{unit}" if unit else "")
