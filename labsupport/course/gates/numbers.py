"""Numbers in a text: what they are worth, whatever their spelling, and which of them only name something.

`1 000`, `1,000`, `1_000` and `1000` are one number; `92 %` is also 0.92, `27 ms` also 0.027, `5 million`
also 5 000 000. `figures()` finds them; `names_removed()` takes out what looks like a number and is a
name: a chapter, an exercise, an RFC, a status, a version, a year, an address.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from http import HTTPStatus

SPACES = "  \u2009\u202f"  # plain, no-break, thin, narrow no-break: all separate thousands
GROUPED = rf"\d{{1,3}}(?:[{SPACES},_]\d{{3}})+(?:\.\d+)?"
PLAIN = r"\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"
POWER = "⁰¹²³⁴⁵⁶⁷⁸⁹"

# What a unit makes of the number before it, beside the number itself.
FACTORS = {
    "%": 0.01,
    "per cent": 0.01,
    "percent": 0.01,
    "µs": 1e-6,
    "us": 1e-6,
    "ms": 1e-3,
    "s": 1e3,
    "seconds": 1e3,
    "second": 1e3,
    "min": 60.0,
    "minutes": 60.0,
    "minute": 60.0,
    "h": 3600.0,
    "hours": 3600.0,
    "hour": 3600.0,
    "k": 1e3,
    "thousand": 1e3,
    "M": 1e6,
    "million": 1e6,
    "G": 1e9,
    "billion": 1e9,
    "kB": 1e3,
    "KB": 1e3,
    "MB": 1e6,
    "GB": 1e9,
    "KiB": 2.0**10,
    "MiB": 2.0**20,
    "GiB": 2.0**30,
}
_UNITS = "|".join(sorted(map(re.escape, FACTORS), key=len, reverse=True))

# A digit after a letter belongs to a name (p99, IPv4), as it does after "letter-" and "letter/" (UTF-8,
# HTTP/2).
NUMBER = re.compile(
    rf"(?<![\w.])(?<![^\W\d_][-/])(?P<digits>{GROUPED}(?![\d])|{PLAIN})"
    rf"(?:(?P<power>[{POWER}]+)|(?:[{SPACES}\n]?(?P<unit>{_UNITS})(?![^\W_]))?)"
    r"(?P<tail>[^\W\d_]*)"
)
JOINED = re.compile(r"\s*(?:–|-|−|to|or|and|,|/|×)\s*")  # "25–30 s": the unit belongs to both

LABELS = (
    r"chapters?|exercises?|steps?|sections?|§§?|figures?|fig\.|tables?|RFCs?|status(?:es)?(?: codes?)?|"
    r"codes?|HTTP|ports?|Python|versions?|questions?|levels?|parts?|cells?|rows?|pages?|rules?|cases?|no\.|№"
)
MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
PHRASES = "|".join(rf"{status.value}\s+{re.escape(status.phrase)}" for status in HTTPStatus)
NAMES = re.compile(
    rf"(?:\b|(?=§))(?:{LABELS})\s*\d[\d.]*(?:\s*(?:,|and|or|to|–|-|/)\s*\d[\d.]*)*"  # chapter 02, RFC 9112
    rf"|\b(?:{PHRASES})"  # 304 Not Modified
    r"|(?m:^[ \t>]*\d+[.)][ \t])"  # 1. a list's own numbers
    r"|\b0\d\b(?!\.\d)"  # 02, a chapter
    r"|\b\d{4}-\d\d-\d\d\b|\b\d{1,2}:\d\d(?::\d\d)?\b"  # dates and times of day
    r"|\b\d+(?:\.\d+){2,}\b"  # versions, IPv4 addresses
    rf"|(?:\b(?:in|since|until|year|early|late|{MONTHS})\s+|\()(?:19|20)\d\d\b"
    rf"(?!\s*(?:{_UNITS})\b)(?=\W|$)",  # in 2008, (2015)
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Figure:
    """A number as it stands in a text."""

    text: str
    value: float
    decimals: int  # digits written after the point
    unit: str

    @property
    def factors(self) -> tuple[float, ...]:
        """1, and what the unit makes of it."""
        return (1.0, FACTORS[self.unit]) if self.unit else (1.0,)

    @property
    def values(self) -> set[float]:
        """All that the number may be worth: `92 %` is 92 and 0.92."""
        return {self.value * factor for factor in self.factors}

    def is_exactly(self, known: float) -> bool:
        """True if the number is `known`, in its own unit or converted."""
        return any(math.isclose(value, known, rel_tol=1e-9) for value in self.values)

    def rounds(self, known: float) -> bool:
        """True if `known` rounded to the digits written here is this number (27 for a printed 27.3)."""
        half = 0.5 * 10**-self.decimals
        return any(abs(known / factor - self.value) <= half * (1 + 1e-9) for factor in self.factors)


def names_removed(text: str) -> str:
    """`text` without the numbers that only name something."""
    return NAMES.sub(" ", text)


def figures(text: str) -> list[Figure]:
    """The numbers in `text`, in order. A number that goes on in letters (2xx, 3D, 99th) is a name, unless the
    letters are a unit. Signs are left out: a range and a minus look alike.
    """
    found = [match for match in NUMBER.finditer(text) if not match["tail"]]
    units = [match["unit"] or "" for match in found]
    for i in range(len(found) - 2, -1, -1):
        if not units[i] and JOINED.fullmatch(text, found[i].end(), found[i + 1].start()):
            units[i] = units[i + 1]
    return [_figure(match, unit) for match, unit in zip(found, units, strict=True)]


def _figure(match: re.Match[str], unit: str) -> Figure:
    digits = re.sub(rf"[{SPACES},_]", "", match["digits"])
    decimals = len(digits.partition(".")[2]) if "e" not in digits.lower() else 0
    value = float(digits)
    if match["power"]:
        value **= int("".join(str(POWER.index(digit)) for digit in match["power"]))
    return Figure(match[0].strip(), value, decimals, unit)


def all_values(text: str) -> set[float]:
    """Every value that a printed text can be read as; `1 000` and `1,000` also as a 1 beside a 0."""
    apart = re.sub(rf"(?<=\d)[{SPACES},](?=\d)", " | ", text)
    return {value for figure in [*figures(text), *figures(apart)] for value in figure.values}
