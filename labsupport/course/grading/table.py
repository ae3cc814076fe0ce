"""The results of a class: one row for each student, exercise by exercise; as HTML, CSV and JSON."""

from __future__ import annotations

import csv
import html
import io
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

SIGNS = {"right": "✓", "wrong": "✗", "not started": "○", "stopped": "!", "unreadable": "?"}
STYLE = """
body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem}
:root{color-scheme:light dark}
table{border-collapse:collapse;display:block;overflow-x:auto}
th,td{padding:.3rem .7rem;border-bottom:1px solid #8886;text-align:left;white-space:nowrap}
td.says{white-space:pre-line;min-width:20rem}
"""


@dataclass(frozen=True)
class Mark:
    """What one answer came to. `verdict`: a key of SIGNS; `seconds`: that its cases took."""

    student: str
    chapter: str
    exercise: str
    verdict: str
    right: int = 0
    of: int = 0
    says: str = ""
    seconds: float = 0.0
    submission_seconds: float = 0.0

    def within(self, seconds: float) -> Mark:
        """The same, with the time that the whole submission took."""
        return replace(self, submission_seconds=seconds)


@dataclass(frozen=True)
class Report:
    """All marks of a class, in the order of the submissions."""

    marks: tuple[Mark, ...]

    @property
    def students(self) -> list[str]:
        """Everybody who has handed something in."""
        return list(dict.fromkeys(mark.student for mark in self.marks))

    @property
    def exercises(self) -> list[str]:
        """Every exercise that was graded, in the course's order."""
        there = {mark.exercise for mark in self.marks if mark.exercise}
        return sorted(there, key=lambda number: [int(part) for part in number.split(".")])

    def of_student(self, student: str) -> list[Mark]:
        """The marks of one student."""
        return [mark for mark in self.marks if mark.student == student]

    def to_json(self) -> str:
        """A list of all marks."""
        return json.dumps([asdict(mark) for mark in self.marks], indent=1, ensure_ascii=False)

    def to_csv(self) -> str:
        """A row for each student, a column for each exercise ("4/5" cases), and how many are right."""
        sheet = io.StringIO()
        write = csv.writer(sheet, lineterminator="\n")
        write.writerow(["student", *self.exercises, "right", "of"])
        for student in self.students:
            marks = {mark.exercise: mark for mark in self.of_student(student)}
            cells = [_cell(marks.get(number)) for number in self.exercises]
            right = sum(mark.verdict == "right" for mark in marks.values())
            write.writerow([_harmless(student), *cells, right, len(self.exercises)])
        return sheet.getvalue()

    def to_html(self) -> str:
        """A page of its own: the class at a glance, then what each wrong answer was told."""
        head = "".join(f'<th scope="col">{number}</th>' for number in self.exercises)
        rows = []
        for student in self.students:
            marks = {mark.exercise: mark for mark in self.of_student(student)}
            cells = "".join(f"<td>{html.escape(_shown(marks.get(number)))}</td>" for number in self.exercises)
            right = sum(mark.verdict == "right" for mark in marks.values())
            rows.append(f'<tr><th scope="row">{html.escape(student)}</th>{cells}<td>{right}</td></tr>')
        said = [
            f'<tr><th scope="row">{html.escape(mark.student)}</th><td>{mark.exercise}</td>'
            f'<td>{mark.verdict}</td><td class="says">{html.escape(mark.says)}</td></tr>'
            for mark in self.marks
            if mark.says and mark.verdict != "not started"
        ]
        key = " · ".join(f"{sign} {verdict}" for verdict, sign in SIGNS.items())
        return (
            '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Grades</title>'
            f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>'
            f"<h1>Grades</h1><p>{key}; the numbers are cases right, of all, hidden ones too.</p>"
            f'<table><thead><tr><th scope="col">student</th>{head}<th scope="col">right</th></tr></thead>'
            f"<tbody>{''.join(rows)}</tbody></table><h2>What the checks said</h2>"
            '<table><thead><tr><th scope="col">student</th><th scope="col">exercise</th>'
            '<th scope="col">verdict</th><th scope="col">the check</th></tr></thead>'
            f"<tbody>{''.join(said)}</tbody></table></body></html>\n"
        )

    def to_text(self) -> str:
        """A line for each student, for the terminal."""
        width = max([len(student) for student in self.students], default=0)
        return "\n".join(
            f"{student:<{width}}  {' '.join(_summary(self.of_student(student)))}" for student in self.students
        )


def _summary(marks: Iterable[Mark]) -> list[str]:
    return [f"{mark.exercise or mark.says} {SIGNS[mark.verdict]}" for mark in marks]


def _cell(mark: Mark | None) -> str:
    if mark is None:
        return ""
    return f"{mark.right}/{mark.of}" if mark.of else mark.verdict


def _shown(mark: Mark | None) -> str:
    return "" if mark is None else f"{SIGNS[mark.verdict]} {_cell(mark)}"


def _harmless(text: str) -> str:
    """A name that a spreadsheet would take for a formula, made a text."""
    return "'" + text if text[:1] in {"=", "+", "-", "@", "\t"} else text
