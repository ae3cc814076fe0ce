"""The ledger: what the field claims, whether it is right, and what shows it.

    ledger = load()
    print(ledger.claim("R12").right)
    print(coverage_table(ledger))                 # rows by verdict and by kind of evidence
    problems(ledger, pages())                     # [] if every row leads to what it says

The rows stand in claims.json, once: id, the claim, a verdict, what is right, the kind of evidence, and where
it is shown. A row leads to

    {"chapter": "00", "prints": "67 ms one way"}  a code cell that ran and whose stored output holds these
                                                  words; the tests compare it: no ignored cell counts
    {"test": "tests/wire/test_frames.py::test_…"} a test that is there and is not skipped
    {"source": "RFC 9112", "at": "§9.3"}          a standard, or one of the file's own sources

A cell is named by what it prints and not by its id, which is a hash of its source and changes with each word.
Chapter 15 shows rows and counts: run it again after a change here (python -m labsupport notebooks PATH).
"""

from __future__ import annotations

import ast
import functools
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labsupport.course.cells import IGNORE_TAGS

CLAIMS = Path(__file__).with_name("claims.json")
ROOT = Path(__file__).resolve().parents[2]

# Verdict -> what it says of the claim.
VERDICTS = {
    "right": "it holds",
    "imprecise": "it holds under conditions that it does not name",
    "wrong": "it does not hold; the row says what does",
    "outdated": "it was so",
    "not verifiable": "no public source says it",
    "open": "a question, an exercise or an opinion: nothing to verify",
}
# Kind of evidence -> what it is.
EVIDENCE = {
    "measured": "a cell or a test runs the real thing",
    "computed": "a cell or a test works it out",
    "simulated": "a model's run, in a cell or a test",
    "exercise": "a cell asks, or checks your answer",
    "cited": "a published source",
    "once": "measured when the course was made; no cell repeats it",
    "none": "nothing but the row's own words",
}
RUNS = frozenset({"measured", "computed", "simulated", "exercise"})  # these have to lead to a cell or a test
SEEN = ("original", "copy", "excerpt", "third party")  # what of a source was in hand

RFC = re.compile(r"RFC (\d+)")
ID = re.compile(r"([A-Z])-?(\d+)")
SKIPS = {"skip", "xfail"}


@dataclass(frozen=True)
class Claim:
    """One row. `said`: patterns of the wrong statement, for the search in the chapters' prose."""

    id: str
    claim: str
    verdict: str
    right: str
    evidence: str
    shown_by: tuple[Mapping[str, str], ...] = ()
    said: tuple[str, ...] = ()
    how: str = ""

    @property
    def section(self) -> str:
        """The letter that the id begins with."""
        return self.id[0]


@dataclass(frozen=True)
class Quoted:
    """A wrong statement that a chapter quotes to refute it: whose, where, the words there, and why it may."""

    claim: str
    chapter: str
    text: str
    why: str


@dataclass(frozen=True)
class Ledger:
    """All rows, the sections' names, the sources, and the places where a wrong claim is quoted."""

    claims: tuple[Claim, ...]
    sections: Mapping[str, str]
    sources: Mapping[str, Mapping[str, str]]
    quoted: tuple[Quoted, ...] = ()

    def claim(self, id: str) -> Claim:
        """The row of that id."""
        for claim in self.claims:
            if claim.id == id:
                return claim
        raise KeyError(
            f"The ledger has no row {id!r}; its ids are {self.claims[0].id} to {self.claims[-1].id}"
        )


@dataclass(frozen=True)
class Page:
    """A stored chapter: "03", its file's stem, and its cells as the file has them."""

    chapter: str
    stem: str
    cells: Sequence[Mapping[str, Any]] = field(repr=False)


@dataclass(frozen=True)
class Place:
    """A cell that prints what a row says: its id, and the heading that it stands under."""

    chapter: str
    stem: str
    cell: str
    heading: str


def load(path: Path = CLAIMS) -> Ledger:
    """The ledger in `path`. Raises ValueError if a row lacks a field or has one that no row has."""
    data = json.loads(path.read_text(encoding="utf-8"))
    try:
        claims = tuple(
            Claim(**{**row, **{key: tuple(row.get(key, ())) for key in ("shown_by", "said")}})
            for row in data["claims"]
        )
        quoted = tuple(Quoted(**row) for row in data["quoted"])
    except TypeError as error:
        raise ValueError(f"{path.name}: {error}") from None
    return Ledger(claims, data["sections"], data["sources"], quoted)


def pages(folder: Path = ROOT / "notebooks") -> list[Page]:
    """The stored chapters, in order."""
    found = []
    for path in sorted(folder.glob("[0-9][0-9]_*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        found.append(Page(path.stem[:2], path.stem, cells))
    return found


def source_of(cell: Mapping[str, Any]) -> str:
    """A cell's text; a file may hold it in pieces."""
    text = cell["source"]
    return text if isinstance(text, str) else "".join(text)


def printed(cell: Mapping[str, Any]) -> str:
    """What a code cell's stored outputs say: streams, plain texts, the name and words of an error."""
    said = []
    for output in cell.get("outputs", ()):
        if output["output_type"] == "error":
            said.append(f"{output['ename']} {output['evalue']}")
        else:
            text = output.get("text") or output.get("data", {}).get("text/plain", "")
            said.append(text if isinstance(text, str) else "".join(text))
    return "\n".join(said)


def place_of(reference: Mapping[str, str], chapters: Sequence[Page]) -> Place | str:
    """The one compared cell that prints the reference's words, or a sentence on why there is none."""
    name, words = reference["chapter"], reference["prints"]
    page = next((page for page in chapters if page.chapter == name), None)
    if page is None:
        return f"there is no chapter {name}"
    heading, found = "", []
    for cell in page.cells:
        if cell["cell_type"] == "markdown":
            headings = re.findall(r"^#+\s+(.+)$", source_of(cell), re.MULTILINE)
            heading = headings[-1] if headings else heading
        elif words in printed(cell):
            found.append((cell, heading))
    if len(found) != 1:
        return f"{len(found)} cells of chapter {name} print {words!r}, and it should be one"
    [(cell, heading)] = found
    if IGNORE_TAGS & set(cell["metadata"].get("tags", ())):
        return f"the cell of chapter {name} that prints {words!r} is not compared"
    if cell["execution_count"] is None:
        return f"the cell of chapter {name} that prints {words!r} was never run"
    return Place(page.chapter, page.stem, cell["id"], heading)


@functools.cache
def _tests(path: Path) -> dict[str, bool]:
    """Each test function of a file -> whether it always runs."""
    found = {}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            names = {
                part.attr
                for one in node.decorator_list
                for part in ast.walk(one)
                if isinstance(part, ast.Attribute)
            }
            found[node.name] = not SKIPS & names
    return found


def problem_of_test(reference: str, root: Path = ROOT) -> str | None:
    """Why tests/FILE.py::NAME shows nothing, or None if it is there and runs."""
    path, _, name = reference.partition("::")
    if not (root / path).is_file():
        return f"there is no file {path}"
    runs = _tests(root / path).get(name)
    if runs is None:
        return f"{path} has no test {name}"
    return None if runs else f"{reference} is skipped, or expected to fail"


def link(source: str, at: str, sources: Mapping[str, Mapping[str, str]]) -> str:
    """Where a source can be read, "" if it is known by name alone. RFCs are known by their number."""
    if standard := RFC.fullmatch(source):
        section = f"#section-{at[1:]}" if at.startswith("§") else ""
        return f"https://www.rfc-editor.org/rfc/rfc{standard[1]}{section}"
    return sources[source].get("link", "")


def problems(ledger: Ledger, chapters: Sequence[Page], root: Path = ROOT) -> list[str]:
    """One sentence for each row, or part of one, that does not lead to what it says; [] if all do."""
    return [
        *_shape_problems(ledger),
        *(
            f"{claim.id}: {problem}"
            for claim in ledger.claims
            for problem in _claim_problems(claim, ledger, chapters, root)
        ),
    ]


def _shape_problems(ledger: Ledger) -> list[str]:
    found = [
        f"{id} stands there {count} times"
        for id, count in Counter(c.id for c in ledger.claims).items()
        if count > 1
    ]
    numbers: dict[str, list[int]] = {section: [] for section in ledger.sections}
    for claim in ledger.claims:
        match = ID.fullmatch(claim.id)
        if not match or match[1] not in numbers:
            found.append(f"{claim.id} is no id: a section's letter and a number")
        else:
            numbers[match[1]].append(int(match[2]))
    found += [
        f"section {section} should count from 1 without a hole, and has {have}"
        for section, have in numbers.items()
        if have != list(range(1, len(have) + 1))
    ]
    used = {
        reference["source"]
        for claim in ledger.claims
        for reference in claim.shown_by
        if "source" in reference
    }
    found += [f"source {name} is used by no row" for name in ledger.sources if name not in used]
    return found + [
        f"source {name}: seen is one of {', '.join(SEEN)}"
        for name, source in ledger.sources.items()
        if source.get("seen") not in SEEN
    ]


def _claim_problems(claim: Claim, ledger: Ledger, chapters: Sequence[Page], root: Path) -> list[str]:
    found = []
    if claim.verdict not in VERDICTS:
        found.append(f"there is no verdict {claim.verdict!r}")
    if claim.evidence not in EVIDENCE:
        found.append(f"there is no kind of evidence {claim.evidence!r}")
    if not claim.claim.strip() or not claim.right.strip():
        found.append("lacks its claim, or what is right")
    runs = [reference for reference in claim.shown_by if "source" not in reference]
    if claim.evidence in RUNS and not runs:
        found.append(f"is called {claim.evidence}, and leads to no cell and no test")
    if claim.evidence in {"once", "none"} and runs:
        found.append(f"leads to a cell or a test, and is called {claim.evidence}")
    if claim.evidence == "cited" and len(runs) == len(claim.shown_by):
        found.append("is called cited, and names no source")
    if (claim.evidence == "once") != bool(claim.how):
        found.append("a row that was measured once says how, and no other does")
    if claim.verdict == "wrong" and not claim.said:
        found.append("is wrong, and has no pattern by which it would be found in a chapter")
    said = [_reference_problem(reference, ledger, chapters, root) for reference in claim.shown_by]
    return found + [problem for problem in said if problem]


def _reference_problem(
    reference: Mapping[str, str], ledger: Ledger, chapters: Sequence[Page], root: Path
) -> str | None:
    if reference.keys() == {"chapter", "prints"}:
        place = place_of(reference, chapters)
        return place if isinstance(place, str) else None
    if reference.keys() == {"test"}:
        return problem_of_test(reference["test"], root)
    if "source" in reference and reference.keys() <= {"source", "at"}:
        known = RFC.fullmatch(reference["source"]) or reference["source"] in ledger.sources
        return None if known else f"there is no source {reference['source']!r}"
    return f"{dict(reference)} is no reference to a cell, a test or a source"


def rows(ledger: Ledger, chapters: Sequence[Page]) -> list[dict[str, Any]]:
    """The ledger as plain data, for a table: each reference as a text, and where it can be read."""
    return [
        {
            "id": claim.id,
            "section": ledger.sections[claim.section],
            "claim": claim.claim,
            "verdict": claim.verdict,
            "right": claim.right,
            "evidence": claim.evidence,
            "shown": [
                *(_as_text(each, ledger, chapters) for each in claim.shown_by),
                *(_shown(how) for how in [claim.how] if how),
            ],
        }
        for claim in ledger.claims
    ]


def _as_text(reference: Mapping[str, str], ledger: Ledger, chapters: Sequence[Page]) -> dict[str, str]:
    """`brief` names the chapter or the file alone, which stay when a heading or a test is renamed."""
    if "test" in reference:
        return _shown(reference["test"], brief=reference["test"].partition("::")[0])
    if "prints" in reference:
        brief = f"chapter {reference['chapter']}"
        href = next((f"{page.stem}.ipynb" for page in chapters if page.chapter == reference["chapter"]), "")
        place = place_of(reference, chapters)  # a sentence while the chapter is being rewritten
        return _shown(brief if isinstance(place, str) else f"{brief}, under “{place.heading}”", href, brief)
    name, at = reference["source"], reference.get("at", "")
    title = name if RFC.fullmatch(name) else ledger.sources[name]["title"]
    return _shown(f"{title} {at}".strip(), link(name, at, ledger.sources))


def _shown(text: str, href: str = "", brief: str = "") -> dict[str, str]:
    return {"text": text, "href": href, "brief": brief or text}


def coverage(ledger: Ledger) -> dict[str, Counter[str]]:
    """Verdict -> kind of evidence -> how many rows."""
    counts: dict[str, Counter[str]] = {verdict: Counter() for verdict in VERDICTS}
    for claim in ledger.claims:
        counts[claim.verdict][claim.evidence] += 1
    return counts


def coverage_table(ledger: Ledger) -> str:
    """The counts as a table of text, with sums."""
    counts = coverage(ledger)
    width = max(map(len, VERDICTS))
    lines = [f"{'':{width}}" + "".join(f"{kind:>11}" for kind in EVIDENCE) + f"{'rows':>7}"]
    for verdict, of in counts.items():
        lines.append(
            f"{verdict:{width}}" + "".join(f"{of[kind] or '–':>11}" for kind in EVIDENCE) + f"{of.total():>7}"
        )
    sums = sum(counts.values(), Counter())
    lines.append(
        f"{'rows':{width}}" + "".join(f"{sums[kind]:>11}" for kind in EVIDENCE) + f"{sums.total():>7}"
    )
    return "\n".join(lines)
