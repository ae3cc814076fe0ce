"""Amounts that say their unit, and ranges of them: "50 KB", "16 GiB", "10 Gbit/s", "25 s", "2/min".

Sizes come in two families, and a plan keeps to one: decimal (KB = 1 000 B, MB, GB, TB) or binary (KiB =
1 024 B, MiB, GiB, TiB). Between "16 GB / 50 KB" and "16 GiB / 50 KiB" lie 5 %, and between the mixtures
10 %: enough to buy the wrong number of servers. Plain bytes ("200 B") belong to both. Network rates are bits
a second and always decimal, as the whole trade writes them.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

Dimension = Literal["bytes", "bit/s", "s", "1/s"]
Family = Literal["decimal", "binary"]

DECIMAL = {"KB": 1e3, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
BINARY = {"KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30, "TiB": 2.0**40}
UNITS: dict[Dimension, dict[str, float]] = {
    "bytes": {"B": 1.0, **DECIMAL, **BINARY},
    "bit/s": {"bit/s": 1.0, "kbit/s": 1e3, "Mbit/s": 1e6, "Gbit/s": 1e9, "Tbit/s": 1e12},
    "s": {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0},
    "1/s": {"/s": 1.0, "/min": 1 / 60, "/h": 1 / 3600},
}
EXPECTED: dict[Dimension, str] = {
    "bytes": 'a size in bytes such as "50 KB" (1 KB = 1 000 B) or "16 GiB" (1 KiB = 1 024 B)',
    "bit/s": 'a rate in bits a second such as "10 Gbit/s"',
    "s": 'a time such as "25 s", "500 ms" or "5 min"',
    "1/s": 'a rate such as "3/s", "2/min" or "10/h"',
}
_WRITTEN = re.compile(r"(?P<number>\d[\d_]*(?:\.\d+)?(?:e[+-]?\d+)?)\s*(?P<unit>[^\d\s]\S*)?")
NBSP = "\N{NO-BREAK SPACE}"


class UnitError(ValueError):
    """An amount without a unit, with the wrong one, or of the other family. The text says what to write."""


@dataclass(frozen=True)
class Quantity:
    """An amount in base units (bytes, bit/s, seconds, per second), as it was written, and its family."""

    value: float
    dimension: Dimension
    text: str
    family: Family | None = None

    @classmethod
    def parse(cls, name: str, given: object, dimension: Dimension) -> "Quantity":
        """Read `given`; UnitError names the argument, what was expected, and what came."""
        if isinstance(given, cls):
            if given.dimension != dimension:
                raise UnitError(f"{name} must be {EXPECTED[dimension]}, got {given.text!r}")
            return given
        if not isinstance(given, str):
            raise UnitError(f"{name} must say its unit: expected {EXPECTED[dimension]}, got {given!r}")
        found = _WRITTEN.fullmatch(given.strip().replace(NBSP, " "))
        if found is None:
            hint = " (it may not be negative)" if given.strip().startswith(("-", "−")) else ""
            hint = " (write a point, not a comma)" if "," in given else hint
            raise UnitError(f"{name} must be {EXPECTED[dimension]}, got {given!r}{hint}")
        unit = found["unit"] or ""
        if unit not in UNITS[dimension]:
            hint = _way_out(unit, dimension, found["number"])
            raise UnitError(f"{name} must be {EXPECTED[dimension]}, got {given!r}{hint}")
        value = float(found["number"].replace("_", "")) * UNITS[dimension][unit]
        if not math.isfinite(value):
            raise UnitError(f"{name} must be finite, got {given!r}")
        return cls(value, dimension, given.strip(), _family(unit))


def _family(unit: str) -> Family | None:
    return "decimal" if unit in DECIMAL else "binary" if unit in BINARY else None


def _way_out(unit: str, dimension: Dimension, written: str) -> str:
    """Why this unit is none, and what was probably meant."""
    if not unit:
        return ": the unit is missing"
    if dimension == "bytes":
        if (prefix := unit[0].upper()) in "KMGT" and unit[1:] == "":
            first, second = f"{prefix}B", f"{prefix}iB"
            decimal, binary = number(DECIMAL[first]), number(BINARY[second])
            return f": is {unit} {first} ({decimal} B) or {second} ({binary} B)?"
        if "bit" in unit or unit.endswith("b"):
            return ": these are bits, and 8 bits are a byte"
    if dimension == "bit/s":
        if unit in ("kbit", "Mbit", "Gbit", "Tbit", "bit"):
            return f': a rate is per second, "{written} {unit}/s"'
        if unit.endswith(("B/s", "Bps")) and (size := UNITS["bytes"].get(unit[:-2].rstrip("B") + "B")):
            return f": these are bytes a second, which are {bit_rate(float(written) * size * 8)}"
        if unit.endswith("bps"):
            return f': write "{written} {unit[:-3]}bit/s"'
    known = next((d for d, units in UNITS.items() if unit in units), None)
    if known:
        kinds = {"bytes": "a size", "bit/s": "bits a second", "s": "a time", "1/s": "a rate"}
        return f": that is {kinds[known]}"
    return f": {unit!r} is none of {', '.join(UNITS[dimension])}"


def one_family(sizes: Iterable[tuple[str, Quantity]]) -> Family | None:
    """The family that all sizes of a plan share; UnitError names two that do not, and the way out."""
    seen: dict[Family, tuple[str, Quantity]] = {}
    for name, size in sizes:
        if size.family:
            seen.setdefault(size.family, (name, size))
    if len(seen) == 2:
        (a, one), (b, other) = seen["decimal"], seen["binary"]
        raise UnitError(
            f"{a} is decimal ({one.text}) and {b} is binary ({other.text}), and one plan keeps to one family:"
            f" write {b} as {size_text(other.value, 'decimal')}, or {a} as {size_text(one.value, 'binary')}"
        )
    return next(iter(seen), None)


# ---- ranges ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Between:
    """An input that is not known exactly: `low` is its 5 % quantile, `high` its 95 % quantile.

    Amounts are lognormal: they cannot go below zero, and "half or double" is as likely down as up; the middle
    is √(low·high). Shares are logit-normal, for the same reason at both ends (0 and 1).
    """

    low: object
    high: object
    why: str = field(default="", kw_only=False)


def between(low: object, high: object, why: str = "") -> Between:
    """The 5 % and the 95 % quantile of an input, and where they come from.

    between("5 KB", "20 KB", "own load test")   nine times out of ten it lies in there
    """
    return Between(low, high, why)


# ---- how numbers are written -------------------------------------------------------------------------------


def number(value: float, digits: int = 3) -> str:
    """At most `digits` significant digits below 1 000, whole numbers above: 0.92, 31.2, 320 000."""
    if not math.isfinite(value):
        return "∞"
    if value == round(value) or abs(value) >= 1000:
        return f"{round(value):,}".replace(",", NBSP)
    text = f"{value:.{digits}g}"
    if "e" in text:
        text = f"{value:.{max(0, digits - 1 - math.floor(math.log10(abs(value))))}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _scaled(value: float, units: dict[str, float], digits: int = 3) -> str:
    """In the largest unit that leaves at least 1 before the point."""
    name, factor = next(
        ((u, f) for u, f in sorted(units.items(), key=lambda item: -item[1]) if abs(value) >= 0.9995 * f),
        min(units.items(), key=lambda item: item[1]),
    )
    return f"{number(value / factor, digits)}{NBSP}{name}"


def size_text(value: float, family: Family | None = None) -> str:
    """Bytes in the family of the plan: 14.7 KB, 14.4 KiB."""
    chosen = BINARY if family == "binary" else {u: f for u, f in DECIMAL.items() if u != "kB"}
    return _scaled(value, {"B": 1.0, **chosen})


def bit_rate(value: float) -> str:
    """Bits a second: 2 Gbit/s."""
    return _scaled(value, UNITS["bit/s"])


def time_text(value: float) -> str:
    """Seconds: 25 s, 8.7 µs."""
    return _scaled(value, {"µs": 1e-6, "ms": 1e-3, "s": 1.0}) if value < 600 else f"{number(value)}{NBSP}s"


def per_second(value: float) -> str:
    """A rate a person can read and go on with: 40 000/s, 10/min and not 0.167/s."""
    ways = {unit: value / factor for unit, factor in UNITS["1/s"].items()}
    if 0 < value < 1:
        for unit, times in ways.items():
            if times >= 0.1 and math.isclose(times, float(f"{times:.3g}"), rel_tol=1e-9):
                return f"{number(times)}{unit}"
    large = next((unit for unit, times in ways.items() if times >= 0.1), "/h")
    return f"{number(ways[large])}{large}" if value else "0/s"


def share_text(value: float) -> str:
    """A share in per cent: 60 %, 2 %, 0.004 %."""
    return f"{number(100 * value)}{NBSP}%"
