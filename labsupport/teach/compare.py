"""Theory, simulation and measurement side by side, with the gaps between them.

    shares = compare(theory=0.920, simulated=0.919, measured=0.93, tolerance=0.05, what="empty share")
    shares             # the table: measured numbers differ from run to run, so tag this cell
    shares.verdict()   # only which lies inside its tolerance: the same at each run

`theory` is the reference if there is one, else `simulated`.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass

from labsupport.teach.readable import readable, with_unit

INSIDE, OUTSIDE = "✓ yes", "✗ no"
NEGLIGIBLE = 0.0005  # of the reference: a gap that would round to 0.0 % is shown as none


def _signed(text: str) -> str:
    """A signed figure as people write it: a true minus, and no sign on zero."""
    return text[1:] if float(text[:-2]) == 0 else text.replace("-", "−")


@dataclass(frozen=True)
class Gap:
    """One source against the reference. `inside` is the verdict; `allowed` says the tolerance in words."""

    source: str
    value: float
    reference: float
    allowed: str
    inside: bool

    @property
    def difference(self) -> float:
        return self.value - self.reference

    @property
    def relative(self) -> float | None:
        """As a share of the reference; None where that is zero."""
        return self.difference / self.reference if self.reference else None


class Verdict(str):
    """The verdicts, a line each; true if everything lies inside its tolerance."""

    def __new__(cls, lines: list[str], holds: bool) -> Verdict:
        verdict = super().__new__(cls, "\n".join(lines))
        verdict.holds = holds
        return verdict

    holds: bool

    def __bool__(self) -> bool:
        return self.holds

    def __repr__(self) -> str:
        return str(self)


@dataclass(frozen=True)
class Comparison:
    """What `compare` found; as the last line of a cell it is shown as a table."""

    what: str
    unit: str
    reference_name: str
    reference: float
    gaps: tuple[Gap, ...]

    @property
    def holds(self) -> bool:
        """Whether every source lies inside its tolerance."""
        return all(gap.inside for gap in self.gaps)

    def verdict(self) -> Verdict:
        """Which sources lie inside their tolerance, without any number that differs from run to run."""
        of = f"{self.what}: " if self.what else ""
        lines = [
            f"{of}{gap.source} lies within {gap.allowed} of {self.reference_name}: "
            + ("yes" if gap.inside else "no")
            for gap in self.gaps
        ]
        return Verdict(lines, self.holds)

    def _rows(self) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = [
            (self.reference_name, with_unit(self.reference, self.unit), "", "", "")
        ]
        for gap in self.gaps:
            relative = "" if gap.relative is None else _signed(f"{100 * gap.relative:+.1f} %")
            negligible = abs(gap.difference) < NEGLIGIBLE * abs(gap.reference)
            sign = "+" if gap.difference >= 0 and not negligible else ""
            difference = f"{sign}{with_unit(0 if negligible else gap.difference, self.unit, 2)}"
            verdict = f"{INSIDE if gap.inside else OUTSIDE} ({gap.allowed})"
            rows.append((gap.source, with_unit(gap.value, self.unit), difference, relative, verdict))
        return rows

    def _head(self) -> tuple[str, ...]:
        return (
            self.what or "source",
            "value",
            f"gap to {self.reference_name}",
            "relative",
            "inside the tolerance?",
        )

    def __repr__(self) -> str:
        rows = [self._head(), *self._rows()]
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        return "\n".join(
            "  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows
        )

    def _repr_html_(self) -> str:
        head = "".join(
            f'<th scope="col" style="text-align:left">{html.escape(cell)}</th>' for cell in self._head()
        )
        body = "".join(
            f'<tr><th scope="row" style="text-align:left">{html.escape(name)}</th>'
            + "".join(f'<td style="text-align:left">{html.escape(cell)}</td>' for cell in cells)
            + "</tr>"
            for name, *cells in self._rows()
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def compare(
    *, theory: float | None = None, simulated: float | None = None, measured: float | None = None,
    tolerance: float | Mapping[str, float] | None = None, within: float | Mapping[str, float] | None = None,
    unit: str = "", what: str = "",
) -> Comparison:  # fmt: skip
    """Hold up to three answers to one question against each other.

    tolerance: relative to the reference, 0.05 for 5 %; within: absolute, in `unit`. Either one number for
    all, or one per source: {"simulated": 0.01, "measured": 0.05}. The model's docstring gives the reason.
    """
    given = {"theory": theory, "simulated": simulated, "measured": measured}
    sources = {name: float(value) for name, value in given.items() if value is not None}
    if len(sources) < 2:
        raise ValueError(
            f"compare needs two of theory, simulated and measured; it got {', '.join(sources) or 'none'}"
        )
    reference_name, *others = sources
    reference = sources[reference_name]
    gaps = []
    for source in others:
        allowed, reach = _allowance(source, reference, tolerance, within, unit)
        gaps.append(
            Gap(source, sources[source], reference, allowed, abs(sources[source] - reference) <= reach)
        )
    return Comparison(what, unit, reference_name, reference, tuple(gaps))


def _allowance(
    source: str, reference: float, tolerance: float | Mapping[str, float] | None,
    within: float | Mapping[str, float] | None, unit: str,
) -> tuple[str, float]:  # fmt: skip
    """The tolerance in words, and how far from the reference it reaches."""
    relative = tolerance.get(source) if isinstance(tolerance, Mapping) else tolerance
    absolute = within.get(source) if isinstance(within, Mapping) else within
    if (relative is None) == (absolute is None):
        raise ValueError(
            f"Say how far {source} may lie from the reference: either tolerance=0.05 (5 % of it) "
            f"or within=0.02 (in {unit or 'its unit'})"
        )
    if absolute is not None:
        return with_unit(absolute, unit), absolute
    assert relative is not None
    if reference == 0:
        raise ValueError(
            f"5 % of zero is zero: give within=… (in {unit or 'its unit'}) instead of tolerance for {source}"
        )
    return f"{readable(100 * relative)} %", relative * abs(reference)
