"""Does a chapter state what the ledger calls wrong?

    stated(load(), pages())          # [] if none does

Each wrong row carries patterns of its statement. They are looked for in every sentence and every table cell
of the chapters' prose (markdown cells, without code). A hit is a finding, unless it is there to be refuted:

* the table's column is headed as hearsay ("told", "one hears" …);
* the sentence itself says that it is hearsay or wrong ("you may read …", "a widely told tale", "… is wrong");
* the ledger lists the place under "quoted", with the words and the reason. An entry that excuses nothing is a
  finding as well, so that the list stays true.

Left out: quizzes, whose wrong answers are meant, and what is wrong in words that no pattern knows.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from labsupport.course.ledger import Ledger, Page, source_of

HEARSAY_COLUMN = re.compile(
    r"told|one hears|you (may )?(read|hear)|they say|said|the claim|wrong", re.IGNORECASE
)
HEARSAY = re.compile(
    r"\b(widely |often |is |as )?told\b|\btale\b|\bfolklore\b|\bmyth\b|\bpeople say\b|\beverybody says\b|"
    r"\byou (may|will|can) (have )?(read|hear|heard|find)\b|\b(is|are|was) (wrong|mistaken|not true)\b",
    re.IGNORECASE,
)
FENCE = re.compile(r"^ {0,3}(```|~~~).*?^ {0,3}\1[`~]*\s*$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
TAG = re.compile(r"</?[A-Za-z][^>]*>")
LIST_ITEM = re.compile(r"^\s*(?:[-*+]|\d+[.)])\s+")
SENTENCE_END = re.compile(r"(?<=[.!?])[\"”’)]*\s+(?=[A-Z\"“(0-9])")
HEADING = re.compile(r"^#{1,6}\s+")


@dataclass(frozen=True)
class Sentence:
    """A sentence or a table cell, without markup; `hearsay`: its column or its own words call it that."""

    text: str
    hearsay: bool = False


@dataclass(frozen=True)
class Finding:
    """Where a wrong row's statement was found."""

    claim: str
    chapter: str
    cell: str
    sentence: str

    def __str__(self) -> str:
        where = f"chapter {self.chapter}, cell {self.cell}"
        return f"{where}, states what row {self.claim} calls wrong: “{self.sentence}”"


def plain(markdown: str) -> str:
    """The words without emphasis, code marks, links, tags, and with one blank for each run of them."""
    text = html.unescape(TAG.sub(" ", LINK.sub(r"\1", markdown)))
    return " ".join(re.sub(r"[*`]|(?<!\w)_|_(?!\w)", "", text).split())


def sentences(markdown: str) -> Iterator[Sentence]:
    """The sentences and table cells of a markdown text, in order."""
    paragraph: list[str] = []
    columns: list[bool] | None = None
    for line in [*FENCE.sub("\n", markdown).splitlines(), ""]:
        in_table = line.lstrip().startswith("|")
        if in_table or not line.strip() or LIST_ITEM.match(line) or HEADING.match(line):
            yield from _split(paragraph)
            paragraph = []
        if in_table:
            cells = [plain(cell) for cell in line.strip().strip("|").split("|")]
            if columns is None:
                columns = [bool(HEARSAY_COLUMN.search(cell)) for cell in cells]
            for cell, hearsay in zip(cells, [*columns, *[False] * len(cells)], strict=False):
                yield Sentence(cell, hearsay or bool(HEARSAY.search(cell)))
        else:
            columns = None
            paragraph.append(LIST_ITEM.sub("", HEADING.sub("", line)))


def _split(lines: list[str]) -> Iterator[Sentence]:
    for text in SENTENCE_END.split(plain("\n".join(lines))):
        if text:
            yield Sentence(text, bool(HEARSAY.search(text)))


def stated(ledger: Ledger, chapters: Sequence[Page]) -> list[str]:
    """One line for each wrong claim that a chapter states, and for each excuse that excuses nothing."""
    there = {page.chapter for page in chapters}
    unused = {one for one in ledger.quoted if one.chapter in there}
    found = []
    for finding in search(ledger, chapters):
        excuses = {
            one
            for one in ledger.quoted
            if (one.claim, one.chapter) == (finding.claim, finding.chapter) and one.text in finding.sentence
        }
        unused -= excuses
        if not excuses:
            found.append(str(finding))
    return found + [
        f"“{one.text}” is excused in chapter {one.chapter} for row {one.claim}, and is not found there"
        for one in sorted(unused, key=lambda one: (one.chapter, one.claim))
    ]


def search(ledger: Ledger, chapters: Sequence[Page]) -> Iterator[Finding]:
    """Every hit of a wrong row's patterns that is not called hearsay where it stands."""
    patterns = [
        (claim.id, re.compile("|".join(claim.said), re.IGNORECASE))
        for claim in ledger.claims
        if claim.verdict == "wrong" and claim.said
    ]
    for page in chapters:
        for cell in page.cells:
            if cell["cell_type"] != "markdown":
                continue
            for sentence in sentences(source_of(cell)):
                if sentence.hearsay:
                    continue
                for id, pattern in patterns:
                    if pattern.search(sentence.text):
                        yield Finding(id, page.chapter, cell["id"], sentence.text)
