"""What `make bench` found, as data: a dated file beside the profiles, and the table that a chapter shows.

found = latest()
print(found.day, found.table())
found.ratio("gateway, SSE", "one write")       how many times its floor
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "profiles"


@dataclass(frozen=True)
class Row:
    """One figure. `ratio`: how many times `against`, measured in the same run; 1 for what is the measure."""

    what: str
    who: str
    value: float
    unit: str
    ratio: float
    against: str


@dataclass(frozen=True)
class Bench:
    """One run of the bench: its day, the machine, its rows."""

    day: str
    machine: dict[str, Any]
    rows: tuple[Row, ...]

    def table(self) -> str:
        """Return the rows as text."""
        return table(self.rows)

    def about(self, what: str) -> list[Row]:
        """Return the rows of one question, named by how it begins."""
        return [row for row in self.rows if row.what.startswith(what)]

    def ratio(self, who: str, what: str) -> float:
        """Return the ratio of one row. Raises LookupError, with what there is."""
        for row in self.about(what):
            if row.who == who:
                return row.ratio
        there = ", ".join(sorted({row.who for row in self.about(what)})) or "nothing"
        raise LookupError(f"the bench has no {who!r} for {what!r}; it has {there}")


def latest(folder: Path = FOLDER) -> Bench:
    """Return the newest stored run. Raises LookupError where there is none."""
    files = sorted(folder.glob("bench-*.json"))
    if not files:
        raise LookupError("no bench is stored: run make bench")
    content = json.loads(files[-1].read_text("utf-8"))
    rows = tuple(Row(**row) for row in content["rows"])
    return Bench(files[-1].stem.removeprefix("bench-"), content["machine"], rows)


def table(rows: Sequence[Row]) -> str:
    """Return the rows as text, a heading for each question."""
    lines: list[str] = []
    asked = ""
    width = max((len(row.who) for row in rows), default=0)
    for row in rows:
        if row.what != asked:
            asked = row.what
            lines += ["", asked]
        times = (
            f"{row.ratio:8.3g} x {row.against}" if row.against else f"{'':8} (what the others are held to)"
        )
        lines.append(f"    {row.who:<{width}}  {row.value:9,.0f} {row.unit:<5} {times}")
    return "\n".join(lines).strip()
