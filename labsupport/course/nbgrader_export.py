"""A course for nbgrader, made from the instructor's edition: its exercises, and no more.

    python -m labsupport nbgrader DIR       write DIR/source/CHAPTER/CHAPTER.ipynb and DIR/nbgrader_config.py

Each chapter with exercises is one assignment. It holds, for each exercise, the prose, the statements of the
chapter that the answer needs, the answer's cell and a locked cell that tests it, for one point: on the cases
that students see, and on the hidden ones, which nbgrader cuts out of what they get and puts back to grade.
Our marks of an answer are nbgrader's own. Left out: what the chapter shows and measures, and its servers; a
server runs where the answer is one (chapter 04), and then in the test alone.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any

import nbformat

from labsupport.course.cells import Cell, Notebook, code_cells, where
from labsupport.course.editions import STUB, BadMarks, cut, has_answer
from labsupport.course.grading.chapters import Question, asked
from labsupport.course.grading.slicing import names_from_outside, needed_for
from labsupport.course.normalise import KERNELSPEC, LANGUAGE, to_bytes
from labsupport.course.notebooks import CHAPTERS, NotebookFailed, read

COURSE = "realtime-web-lab"
POINTS = 1  # for an exercise: all of its cases right, or none
CELL_S = 120  # a case that never ends is ended by the check itself, long before
EXERCISE = re.compile(r"^### Exercise", re.MULTILINE)
PROSE_BETWEEN = 4  # cells at most from an exercise's heading to its answer

CONFIG = f'''"""nbgrader's settings, written once: another export keeps your changes."""

c = get_config()  # noqa: F821
c.CourseDirectory.course_id = "{COURSE}"
c.ClearSolutions.code_stub = {{"python": "{STUB}"}}
c.ExecutePreprocessor.timeout = {CELL_S}
'''

CHECK = "from labsupport.teach import check"
TEST = """from labsupport.teach.exercise import exercise

found = exercise("{id}").check({answer})
assert found.passed, f"exercise {id}\\n{{found!r}}"
### BEGIN HIDDEN TESTS
found = exercise("{id}").check({answer}, hidden=True)
assert found.passed, f"exercise {id}\\n{{found!r}}"
### END HIDDEN TESTS"""


def assignment(notebook: Notebook, chapter: str) -> Notebook | None:
    """The notebook that nbgrader takes as a source; None where the chapter has no exercise of this kind.

    Raises BadMarks.
    """
    cells: list[Cell] = []
    given: set[str] = set()  # no statement twice: the exercises share one kernel
    for index, cell in enumerate(notebook.cells):
        questions = asked(nbformat.from_dict({"cells": [cell]})) if has_answer(cell) else []
        if not questions:
            continue
        try:
            cut(cell.source)
        except BadMarks as error:
            raise BadMarks(f"{where(notebook, index)}, {error}") from None
        [question] = questions
        cells += _prose(notebook, index, question)
        needed = [line for line in _needed(notebook, cell) if line not in given]
        given.update(needed)
        if needed:
            cells.append(_code("given", question, "\n".join(needed), locked=True))
        cells.append(_code("answer", question, cell.source, solution=True))
        test = TEST.format(id=question.id, answer=question.answer)
        cells.append(_code("test", question, test, locked=True, grade=True, points=POINTS))
    if not cells:
        return None
    metadata = {"kernelspec": KERNELSPEC, "language_info": LANGUAGE, "lab": {"chapter": chapter}}
    return nbformat.v4.new_notebook(cells=cells, metadata=metadata)


def _prose(notebook: Notebook, index: int, question: Question) -> list[Cell]:
    """The exercise's text, from its heading on; what else stands in the cell belongs to the chapter."""
    texts: list[str] = []
    for cell in reversed(notebook.cells[max(0, index - PROSE_BETWEEN) : index]):
        if cell.cell_type != "markdown":
            continue
        heading = EXERCISE.search(cell.source)
        texts.insert(0, cell.source[heading.start() :] if heading else cell.source)
        if heading:
            break
    else:
        texts = [f"### Exercise {question.id}"]
    return [
        nbformat.v4.new_markdown_cell(text, id=_name("prose", question, number))
        for number, text in enumerate(texts)
    ]


def _needed(notebook: Notebook, answer: Cell) -> list[str]:
    """The chapter's statements that the answer needs; none of them from a cell that holds a solution."""
    others = [cell.source for _, cell in code_cells(notebook) if not has_answer(cell)]
    names = names_from_outside(answer.source) - {"check"}
    return [CHECK, *needed_for(others, names).statements]


def _name(kind: str, question: Question, number: int = 0) -> str:
    name = f"{kind}-{question.id.replace('.', '-')}"
    return f"{name}-{number}" if number else name


def _code(kind: str, question: Question, source: str, **settings: Any) -> Cell:
    name = _name(kind, question)
    known = {"grade": False, "solution": False, "locked": False, "task": False, **settings}
    metadata = {"nbgrader": {"schema_version": 3, "grade_id": name, **known}}
    return nbformat.v4.new_code_cell(source, id=name, metadata=metadata)


def write(chapters: Path, folder: Path) -> dict[str, int]:
    """Write the course into the folder; chapter -> its exercises. Files of an earlier export are replaced,
    settings that are there are kept. Raises BadMarks, NotebookFailed, OSError.
    """
    written = {}
    for path in sorted(chapters.glob("*.ipynb")):
        try:
            made = assignment(read(path), path.stem)
        except BadMarks as error:
            raise BadMarks(f"{path.name}, {error}") from None
        if made is None:
            continue
        place = folder / "source" / path.stem / path.name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(to_bytes(made))
        written[path.stem] = sum(cell.metadata.get("nbgrader", {}).get("grade", False) for cell in made.cells)
    if not written:
        raise NotebookFailed(f"There is no exercise in the notebooks of {chapters}.")
    settings = folder / "nbgrader_config.py"
    if not settings.exists():
        settings.write_text(CONFIG, "utf-8")
    return written


def main(arguments: list[str]) -> int:
    """The `nbgrader` command."""
    parser = argparse.ArgumentParser(
        prog="python -m labsupport nbgrader", description="Write the exercises as a course for nbgrader."
    )
    parser.add_argument(
        "folder", type=Path, metavar="DIR", help="the course's folder; made if it is not there"
    )
    parser.add_argument("--chapters", type=Path, default=CHAPTERS, help="the instructor's notebooks")
    options = parser.parse_args(arguments)
    try:
        written = write(options.chapters, options.folder)
    except (BadMarks, NotebookFailed, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{len(written)} assignments with {sum(written.values())} exercises in {options.folder / 'source'}")
    return 0
