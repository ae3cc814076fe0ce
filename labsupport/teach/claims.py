"""The ledger as a table that a reader filters: by words, by section, by verdict, by what shows a claim.

    claims_table(rows)                      # the widget, for a cell's last line
    still(rows, verdict="wrong")            # the same rows as a table that needs no kernel

The rows come from labsupport.course.ledger.rows: plain dictionaries with id, section, claim, verdict, right,
evidence and shown, a list of {"text", "href", "brief"}. `matching` decides for both which rows are seen.
"""

from __future__ import annotations

import html
import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import anywidget
import traitlets as T

from labsupport.teach import theme

HERE = pathlib.Path(__file__).parent
FILTERS = ("section", "verdict", "evidence")
ALL = "all"

Row = Mapping[str, Any]


def matching(rows: Sequence[Row], words: str = "", **chosen: str) -> list[Row]:
    """The rows that hold all of the words, whole or in part, and agree with each filter that is not "all"."""
    for name in chosen:
        if name not in FILTERS:
            raise ValueError(f"There is no filter {name!r}; there are {', '.join(FILTERS)}, and words")
    wanted = words.lower().split()
    return [
        row
        for row in rows
        if all(value in (ALL, row[name]) for name, value in chosen.items())
        and all(word in f"{row['id']} {row['claim']} {row['right']}".lower() for word in wanted)
    ]


@dataclass(frozen=True)
class Still:
    """Some rows as a plain table; as text they are the same, one below the other."""

    rows: Sequence[Row]

    def __repr__(self) -> str:
        return "\n".join(
            f"{row['id']:<4} {row['verdict']}, {row['evidence']}: {row['claim']}\n     → {row['right']}"
            for row in self.rows
        )

    def _repr_html_(self) -> str:
        head = "".join(
            f'<th scope="col" style="text-align:left">{name}</th>'
            for name in ("row", "what is said", "what is right", "shown by")
        )
        body = "".join(
            f'<tr><th scope="row" style="text-align:left;vertical-align:top">{html.escape(row["id"])}</th>'
            f"{_cell(row['claim'])}{_cell(row['right'])}"
            f"{_cell(row['evidence'], _shown(row))}</tr>"
            for row in self.rows
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(text: str, more: str = "") -> str:
    words = html.escape(text) + (f": {more}" if more else "")
    return f'<td style="text-align:left;vertical-align:top">{words}</td>'


def _shown(row: Row) -> str:
    """What shows a row, each thing once and in brief, with its link."""
    parts = {
        f'<a href="{html.escape(each["href"], quote=True)}">{html.escape(each["brief"])}</a>'
        if each["href"]
        else html.escape(each["brief"]): None
        for each in row["shown"]
    }
    return "; ".join(parts)


def still(rows: Sequence[Row], words: str = "", **chosen: str) -> Still:
    """The rows that match, as a static table."""
    return Still(matching(rows, words, **chosen))


class ClaimsTable(anywidget.AnyWidget):
    """A search field and three lists to choose from, over a table that can be scrolled by keyboard.

    `.words` and `.chosen` hold what is asked for; set them from a cell, or use Tab, letters and arrow keys.
    `.seen` is what matches.
    """

    _esm = T.Unicode((HERE / "claims.js").read_text(encoding="utf-8")).tag(sync=True)
    _css = T.Unicode(
        f".lab-claims{{{theme.variables(theme.LIGHT)}}}"
        + theme.on_dark_pages(".lab-claims", theme.variables(theme.DARK))
        + (HERE / "claims.css").read_text(encoding="utf-8")
    ).tag(sync=True)
    rows: Any = T.List().tag(sync=True)
    options: Any = T.Dict().tag(sync=True)
    words = T.Unicode().tag(sync=True)
    chosen: Any = T.Dict().tag(sync=True)
    seen_ids: Any = T.List().tag(sync=True)

    def __init__(self, rows: Sequence[Row]) -> None:
        options = {name: [ALL, *dict.fromkeys(str(row[name]) for row in rows)] for name in FILTERS}
        super().__init__(
            rows=[dict(row) for row in rows],
            options=options,
            chosen=dict.fromkeys(FILTERS, ALL),
            seen_ids=[row["id"] for row in rows],
        )
        self.observe(self._asked, names=["words", "chosen"])

    @property
    def seen(self) -> list[Row]:
        """The rows that are seen now."""
        return matching(self.rows, self.words, **self.chosen)

    def _asked(self, change: Any) -> None:
        self.seen_ids = [row["id"] for row in self.seen]

    def __repr__(self) -> str:
        sections, verdicts, evidence = (len(self.options[name]) - 1 for name in FILTERS)
        return (
            f"A table of {len(self.rows)} claims, to be searched by words, or by {sections} sections, "
            f"{verdicts} verdicts and {evidence} kinds of evidence."
        )

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:  # type: ignore[override]
        view = {"version_major": 2, "version_minor": 0, "model_id": self._model_id}
        return {
            "application/vnd.jupyter.widget-view+json": view,
            "text/plain": repr(self),
            "text/html": f"<p>{html.escape(repr(self))}</p>",
        }


def claims_table(rows: Sequence[Row]) -> ClaimsTable:
    """The widget over these rows; put it last in a cell."""
    return ClaimsTable(rows)
