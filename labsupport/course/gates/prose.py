"""The gate on numbers in prose: each is printed by a cell, set in the code, or cited.

A number in a markdown cell is fine if one of these holds; otherwise it is a finding.

* **Printed**: a cell whose output is compared prints it. Rounding down to the digits of the prose is allowed:
  `27 ms` for a printed 27.3. A number that only an uncompared cell prints doesn't count: the next machine
  prints another.
* **Set**: a code cell holds it, as a number (`60 * 60` counts as 3 600 too) or inside a string; exactly.
* **Cited**: its paragraph, list item or table row has a link to a page on the web, an `RFC 9112`, `WHATWG`, a
  DOI, or a source with its year in parentheses, `(Nielsen, 1993)`. A paragraph that ends in a colon lends its
  citation to the list or table that follows.
* **A name**: chapter, exercise, section, status, code, port, version, year, date, time of day, a list's own
  number, the opening cell's minutes; digits grown into a word (p99, HTTP/2, UTF-8, 2xx).
* **A counting word**: 0, 1 and 2 without a unit.

Code blocks and code spans are left out, as they quote code and bytes; a span that holds nothing but a
number is prose in disguise and counts, unless it is an HTTP status. Formulas are left out, but for a
number that stands alone after a relation sign: in $e^{-5/60} = 0.92$ that is a result, and has to be
printed like any other.

Spelling doesn't matter (1 000, 1,000, 1000), nor does a unit's prefix (92 % and 0.92, 300 ms and 0.3):
numbers.py.
"""

from __future__ import annotations

import ast
import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from http import HTTPStatus
from typing import Any

from labsupport.course.cells import Notebook, code_cells, is_ignored, markdown_cells, where
from labsupport.course.gates.numbers import Figure, all_values, figures, names_removed
from labsupport.course.gates.shape import MINUTES, without_code
from labsupport.course.gates.syntax import trees

COUNTING = {0.0, 1.0, 2.0}
LARGEST_EXPONENT = 64  # of a constant expression that is worked out here; 2**64 is the largest anyone writes

CITATION = re.compile(
    r"\]\(https?://|<https?://|\bRFC\s?\d{3,5}\b|\bWHATWG\b|\bdoi:|"
    r"\([^()]*\b[A-Z][^()]*\b(?:19|20)\d\d\b[^()]*\)"
)
LIST_ITEM = re.compile(r"^[ \t>]*(?:[-*+]|\d+[.)])[ \t]|^[ \t>]*\|")
CHAPTER_NUMBER = re.compile(r"^#{1,6}\s+\d\d\s+·", re.MULTILINE)
CHAPTER_LINK = re.compile(r"\[[^\]]*\]\([^)\s]*\.ipynb[^)]*\)")
LINK_TARGET = re.compile(r"\]\([^)]*\)|<https?://[^>]*>|https?://\S+")
TAG = re.compile(r"<!--.*?-->|</?[A-Za-z][^>]*>", re.DOTALL)
EMPHASIS = re.compile(r"[*_]{1,3}(?=\S)|(?<=\S)[*_]{1,3}")
CODE_SPAN = re.compile(r"(`+)(.+?)\1", re.DOTALL)
FORMULA = re.compile(r"\$\$(.+?)\$\$|(?<![\\$])\$(?!\s)([^$\n]+?)(?<!\s)\$(?!\d)", re.DOTALL)
RELATION = re.compile(r"=|≈|<|>|≤|≥|\\(?:approx|simeq|sim|leq?|geq?|lt|gt|to|in)\b")
LATEX_SPACE = re.compile(r"\\[,;:! ]|~|\\q?quad\b")
LATEX_TEXT = re.compile(r"\\(?:text|mathrm|mathit)\{([^}]*)\}")


@dataclass(frozen=True, slots=True)
class Known:
    """The numbers that a notebook accounts for."""

    printed: frozenset[float]
    set_in_code: frozenset[float]
    uncompared: frozenset[float]  # printed, but only where no test looks

    def accounts_for(self, figure: Figure) -> bool:
        """True if some compared output prints the number or some code cell sets it."""
        return any(map(figure.is_exactly, self.set_in_code)) or any(map(figure.rounds, self.printed))


def numbers_in_prose(notebook: Notebook) -> list[str]:
    """Every number in prose is printed, set or cited (the module's docstring says how this is read)."""
    known = known_numbers(notebook)
    findings = []
    for index, cell in markdown_cells(notebook):
        text = MINUTES.sub("", cell.source) if index == 0 else cell.source
        for figure in uncited_numbers(text):
            if known.accounts_for(figure):
                continue
            seen = any(map(figure.rounds, known.uncompared))
            findings.append(
                f"{where(notebook, index)}: '{figure.text}' is printed only where the output isn't compared, "
                "and the next machine prints another: take it from a model or the reference profile."
                if seen
                else f"{where(notebook, index)}: '{figure.text}' comes from nowhere: print it in a cell, set "
                "it in the code, or cite its source in the same paragraph."
            )
    return findings


def known_numbers(notebook: Notebook) -> Known:
    """What the notebook's cells print and set."""
    printed: set[float] = set()
    uncompared: set[float] = set()
    for _, cell in code_cells(notebook):
        into = uncompared if is_ignored(cell) else printed
        for output in cell.outputs:
            into |= all_values(_words(output))
    constants: set[float] = set()
    for _, tree in trees(notebook):
        for node in ast.walk(tree):
            constants |= _constants(node)
    return Known(frozenset(printed), frozenset(constants), frozenset(uncompared))


class _ReadAloud(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.text += [value for name, value in attrs if name in {"alt", "aria-label"} and value]


def _words(output: Any) -> str:
    """What an output says, alt texts included, without the markup and its numbers (`width: 100%`)."""
    reader = _ReadAloud()
    data = output.get("data", {})
    reader.feed(data.get("text/html", ""))
    reader.close()
    texts = [str(data.get(kind, "")) for kind in ("text/plain", "text/markdown")]
    return "\n".join([output.get("text", ""), output.get("evalue", ""), *texts, *reader.text])


def _constants(node: ast.AST) -> set[float]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return all_values(node.value)
    if isinstance(node, ast.Constant) and isinstance(node.value, bytes):
        return all_values(node.value.decode("latin-1"))
    value = _worked_out(node) if isinstance(node, ast.Constant | ast.BinOp) else None
    return set() if value is None else {abs(value)}


def _worked_out(node: ast.AST) -> float | None:
    """The value of a constant or of an expression of constants alone, else None."""
    if isinstance(node, ast.Constant):
        number = isinstance(node.value, int | float) and not isinstance(node.value, bool)
        return float(node.value) if number else None  # type: ignore[arg-type]
    if not isinstance(node, ast.BinOp):
        return None
    left, right = _worked_out(node.left), _worked_out(node.right)
    if left is None or right is None:
        return None
    match node.op:
        case ast.Add():
            return left + right
        case ast.Sub():
            return left - right
        case ast.Mult():
            return left * right
        case ast.Div() if right:
            return left / right
        case ast.Pow() if 0 <= right <= LARGEST_EXPONENT:
            return float(left**right)
        case ast.LShift() if 0 <= right <= LARGEST_EXPONENT:
            return left * 2**right
    return None


def uncited_numbers(markdown: str) -> Iterator[Figure]:
    """The numbers in a markdown cell that stand in no cited paragraph and neither name nor count."""
    for paragraph in _uncited(without_code(markdown)):
        text = FORMULA.sub(lambda found: f" {_results(found[1] or found[2])} ", paragraph)
        text = CODE_SPAN.sub(lambda found: f" {_lone_number(found[2])} ", text)
        text = CHAPTER_NUMBER.sub("", CHAPTER_LINK.sub("", text))
        text = html.unescape(TAG.sub(" ", LINK_TARGET.sub("]", text)))
        for figure in figures(names_removed(EMPHASIS.sub("", text))):
            if figure.unit or figure.value not in COUNTING:
                yield figure


def _uncited(markdown: str) -> Iterator[str]:
    """Paragraphs, list items and table rows without a citation of their own or lent by the line before."""
    lent = False
    for piece in _pieces(markdown):
        cited = bool(CITATION.search(piece))
        listed = bool(LIST_ITEM.match(piece))
        if not cited and not (listed and lent):
            yield piece
        if not listed:
            lent = cited and piece.rstrip().endswith(":")


def _pieces(markdown: str) -> list[str]:
    """The text cut at blank lines and before each list item and table row; other lines stay with theirs."""
    pieces: list[str] = []
    begins = True
    for line in markdown.splitlines():
        if not line.strip(" \t>"):
            begins = True
        elif begins or LIST_ITEM.match(line):
            pieces.append(line)
            begins = False
        else:
            pieces[-1] += "\n" + line
    return pieces


def _lone_number(span: str) -> str:
    """The span if it is nothing but a number (and no HTTP status), else nothing."""
    found = figures(span.strip())
    lone = len(found) == 1 and found[0].text == span.strip()
    return span if lone and found[0].value not in {status.value for status in HTTPStatus} else ""


def _results(formula: str) -> str:
    """The numbers that stand alone after a relation sign: a formula's result, not its parts."""
    text = LATEX_TEXT.sub(r" \1", LATEX_SPACE.sub(" ", formula.replace("{,}", ",").replace(r"\%", "%")))
    after = [re.sub(r"\s+", " ", part).strip(" .") for part in RELATION.split(text)[1:]]
    return " ; ".join(part for part in after if _lone_number(part))
