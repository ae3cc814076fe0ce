"""Gates on a chapter's shape: how it opens and closes, its headings, its pace, and what every lesson holds.

Each gate is a function from a notebook to a list of findings, empty if all is well. A finding is a
sentence that names the cell and says what to do.
"""

from __future__ import annotations

import re

from labsupport.course.cells import Notebook, code_cells, markdown_cells, tags, where
from labsupport.course.gates.syntax import calls
from labsupport.course.normalise import normalise, to_bytes

MAX_CODE_LINES = 20  # non-blank; a longer cell holds more than one idea
MAX_CODE_CELLS_IN_A_ROW = 2
MAX_FILE_BYTES = 1_000_000  # a page that opens at once, and a diff that can be read

FENCE = re.compile(r"^ {0,3}(```|~~~).*?^ {0,3}\1[`~]*\s*$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^ {0,3}(#{1,6})[ \t]+(\S.*)$", re.MULTILINE)
CHAPTER_TITLE = re.compile(r"\d\d · \S")
MINUTES = re.compile(r"(\d+)\s*min(?:utes?)?\b")
ROAD_STEP = re.compile(r"(?:^|(?<=\s))\d+\.\s")


def without_code(markdown: str) -> str:
    """The text with its fenced code blocks taken out."""
    return FENCE.sub("", markdown)


def every_cell_executed(notebook: Notebook) -> list[str]:
    """Every code cell carries the count of one run from top to bottom.

    nbval passes a cell that was never run without looking at it, so a stripped page would test nothing.
    """
    findings = []
    for count, (index, cell) in enumerate(code_cells(notebook), 1):
        if cell.execution_count is None:
            findings.append(f"{where(notebook, index)} was never run: run `make notebooks`.")
        elif cell.execution_count != count:
            findings.append(
                f"{where(notebook, index)} has count {cell.execution_count}, and a run from the top gives "
                f"{count}: run `make notebooks`."
            )
    empty = [i for i, cell in enumerate(notebook.cells) if not cell.source.strip()]
    return findings + [f"{where(notebook, index)}: delete it." for index in empty]


def stored_in_normal_form(notebook: Notebook) -> list[str]:
    """The page is as `make notebooks` writes it: nothing of one run or one machine, no widget state."""
    normal = normalise(notebook, keep=notebook)
    if to_bytes(normal) == to_bytes(notebook):
        return []
    differ = [i for i, (a, b) in enumerate(zip(normal.cells, notebook.cells, strict=True)) if a != b]
    place = where(notebook, differ[0]) if differ else "the notebook's metadata"
    return [f"{place} is not in normal form: store the chapter with `make notebooks`."]


def small_file(notebook: Notebook) -> list[str]:
    """The file stays under a megabyte."""
    size = len(to_bytes(notebook))
    if size < MAX_FILE_BYTES:
        return []
    largest = max(range(len(notebook.cells)), key=lambda i: len(str(notebook.cells[i].get("outputs", ""))))
    return [
        f"the file has {size:,} bytes, and the limit is {MAX_FILE_BYTES:,}: make the output of "
        f"{where(notebook, largest)} smaller, it is the largest."
    ]


def short_code_cells(notebook: Notebook) -> list[str]:
    """A code cell holds at most twenty non-blank lines."""
    findings = []
    for index, cell in code_cells(notebook):
        lines = sum(1 for line in cell.source.splitlines() if line.strip())
        if lines > MAX_CODE_LINES:
            findings.append(
                f"{where(notebook, index)} has {lines} lines, and {MAX_CODE_LINES} is the limit: "
                "split it where a second idea begins."
            )
    return findings


def prose_before_code(notebook: Notebook) -> list[str]:
    """Words stand before each run of code cells, and a run is at most two cells long."""
    findings = []
    row = 0
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            row = 0
            continue
        row += 1
        if row == 1 and not (index and _says_something(notebook.cells[index - 1].source)):
            findings.append(f"{where(notebook, index)} has no words before it: say what to look at.")
        if row == MAX_CODE_CELLS_IN_A_ROW + 1:
            findings.append(
                f"{where(notebook, index)} is the third code cell in a row: put words between, or join two."
            )
    return findings


def _says_something(markdown: str) -> bool:
    """True if there is more than a heading."""
    return bool(re.search(r"\w", HEADING.sub("", markdown)))


def headings_in_order(notebook: Notebook) -> list[str]:
    """One H1, at the very top; below it no level is skipped on the way down."""
    found = [
        (index, len(hashes), title.strip())
        for index, cell in markdown_cells(notebook)
        for hashes, title in HEADING.findall(without_code(cell.source))
    ]
    if not found or found[0][:2] != (0, 1):
        return ["cell 1 must begin with the chapter's title, the only heading with one #."]
    findings = [
        f"{where(notebook, index)}: '{title}' is a second H1: give it two #."
        for index, level, title in found[1:]
        if level == 1
    ]
    for (_, before, _), (index, level, title) in zip(found, found[1:], strict=False):
        if level > before + 1:
            findings.append(
                f"{where(notebook, index)}: '{title}' jumps from level {before} to {level}: "
                f"give it {before + 1} #."
            )
    return findings


def _markdown(notebook: Notebook, index: int) -> str:
    """The text of that cell, "" if it isn't there or isn't prose."""
    cell = notebook.cells[index] if notebook.cells else None
    return str(cell.source) if cell and cell.cell_type == "markdown" else ""


def opening_cell(notebook: Notebook) -> list[str]:
    """Cell 1 holds title, question, promise, needs with minutes, and a numbered road whose minutes add up."""
    text = _markdown(notebook, 0)
    title = HEADING.search(text)
    needed = {
        "a title like '# 03 · Let the server speak first'": title and CHAPTER_TITLE.match(title[2]),
        "the chapter's question, in a sentence that ends in '?'": "?" in HEADING.sub("", text),
        "a line '**You will** …'": "**You will**" in text,
        "a line '**Afterwards you can** …'": "**Afterwards you can**" in text,
        "a line '**You need** …'": "**You need**" in text,
    }
    findings = [f"cell 1 lacks {what}." for what, there in needed.items() if not there]
    needs = text.partition("**You need**")[2]
    minutes = MINUTES.search(needs)
    if not minutes:
        return [*findings, "cell 1 lacks the minutes: '**You need** chapter 02 and 25 minutes.'"]
    steps = [step for step in ROAD_STEP.split(needs[minutes.end() :])[1:] if step.strip()]
    if len(steps) < 2:
        return [*findings, "cell 1 lacks the numbered road: '1. Read the wire (5 min)  2. Cut it (8 min) …'"]
    parts = [int(found[1]) for step in steps if (found := MINUTES.search(step))]
    if len(parts) < len(steps):
        findings.append("cell 1: each step of the road carries its minutes, as in '(5 min)'.")
    elif sum(parts) != int(minutes[1]):
        findings.append(
            f"cell 1 promises {minutes[1]} minutes and the road's steps add up to {sum(parts)}: mend one."
        )
    return findings


def closing_cell(notebook: Notebook) -> list[str]:
    """The last cell asks three questions and one to reflect on, and says what the chapter left out."""
    last = len(notebook.cells) - 1
    text = (
        notebook.cells[last].source if notebook.cells and notebook.cells[last].cell_type == "markdown" else ""
    )
    head, _, rest = text.partition("Reflect")
    left_out = re.search(r"\*\*Left out:?\*\*:?\s*\S", rest)
    needed = {
        "the heading '## What you can say now'": re.search(
            r"^## What you can say now\s*$", text, re.MULTILINE
        ),
        "three questions before 'Reflect'": head.count("?") >= 3,
        "one *Reflect* question without a single answer": "?" in rest.partition("**Left out")[0],
        "'**Left out:** …', what this chapter does not show": left_out,
    }
    return [f"the last cell (cell {last + 1}) lacks {what}." for what, there in needed.items() if not there]


def lesson_parts(notebook: Notebook) -> list[str]:
    """At least one prediction, one planned failure, and one exercise whose answer is checked."""
    called = {call.name.rsplit(".", 1)[-1] for call in calls(notebook)}
    planned = any("planned-failure" in tags(cell) for _, cell in code_cells(notebook))
    needed = {
        "a prediction before a run: call predict(…)": "predict" in called,
        "a planned failure: tag its code cell 'planned-failure'": planned,
        "a checked exercise: call check(…)": "check" in called,
    }
    return [f"the chapter lacks {what}." for what, there in needed.items() if not there]
