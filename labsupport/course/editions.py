"""Two editions, one source: the instructor's notebooks. The student's are derived, and never stored.

    python -m labsupport students [DIR]     write the student's edition to hand out (build/students)
    python -m labsupport start DIR          copy it to where a student works; run it again after an update

An answer stands between two marks, alone in their lines, inside a code cell:

    ### BEGIN SOLUTION
    ### END SOLUTION

The student's edition has a stub in its place, to which every check says "not started yet", and no output
there: it would give the answer away. Everything else is kept, byte for byte. nbgrader knows the same marks.
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Sequence
from pathlib import Path

from labsupport.course.cells import Cell, Notebook, where
from labsupport.course.handing_out import hand_out
from labsupport.course.normalise import to_bytes
from labsupport.course.notebooks import CHAPTERS, NotebookFailed, read

BEGIN = "### BEGIN SOLUTION"
END = "### END SOLUTION"
STUB = "...  # your answer here"
HAND_OUT = CHAPTERS.parent / "build" / "students"


class BadMarks(ValueError):
    """The marks of an answer do not come in pairs; the text names the cell and the line."""


def has_answer(cell: Cell) -> bool:
    """True for a code cell in which an answer is marked."""
    return cell.cell_type == "code" and any(line.strip() in {BEGIN, END} for line in cell.source.splitlines())


def cut(source: str) -> str:
    """The source of a cell with a stub in place of each marked answer.

    Raises BadMarks: a mark without its partner, or one inside another.
    """
    kept: list[str] = []
    opened: int | None = None
    for number, line in enumerate(source.splitlines(), start=1):
        mark = line.strip()
        if mark == BEGIN:
            if opened is not None:
                raise BadMarks(f"line {number}: '{BEGIN}' again; the one in line {opened} has no end yet")
            opened = number
            indent = line[: len(line) - len(line.lstrip())]
            kept.append(indent + STUB)
        elif mark == END:
            if opened is None:
                raise BadMarks(f"line {number}: '{END}' without a beginning")
            opened = None
        elif opened is None:
            kept.append(line)
    if opened is not None:
        raise BadMarks(f"line {opened}: '{BEGIN}' without an end")
    return "\n".join(kept)


def student_edition(notebook: Notebook, chapter: str = "") -> Notebook:
    """A copy for the student: answers cut, their outputs removed, the rest as it is.

    `chapter`: the file's stem, kept in the notebook's metadata, so that a renamed submission is still known.
    Raises BadMarks.
    """
    derived = copy.deepcopy(notebook)
    for index, cell in enumerate(derived.cells):
        if not has_answer(cell):
            continue
        try:
            cell.source = cut(cell.source)
        except BadMarks as error:
            raise BadMarks(f"{where(notebook, index)}, {error}") from None
        cell.outputs = []
        cell.execution_count = None
    derived.metadata["lab"] = {**derived.metadata.get("lab", {}), "edition": "student", "chapter": chapter}
    return derived


# Drift


def drift(instructor: Notebook, student: Notebook) -> list[str]:
    """Where the student's edition is not the instructor's with its answers cut; [] if nowhere."""
    if len(instructor.cells) != len(student.cells):
        return [f"{len(student.cells)} cells, where the instructor's edition has {len(instructor.cells)}"]
    found = []
    for index, (one, other) in enumerate(zip(instructor.cells, student.cells, strict=True)):
        name = where(instructor, index)
        if one.id != other.id or one.cell_type != other.cell_type or one.metadata != other.metadata:
            found.append(f"{name}: not the same cell (id, kind or metadata)")
        elif not has_answer(one):
            if one != other:
                found.append(f"{name}: has no answer, and is not the same in both editions")
        elif other.source != cut(one.source):
            found.append(f"{name}: is not the instructor's cell with its answer cut")
        elif other.outputs:
            found.append(f"{name}: shows what the answer printed")
    return found


# Commands


def derive(chapters: Sequence[Path]) -> dict[str, bytes]:
    """Name of each file of the student's edition -> its bytes. Raises BadMarks, NotebookFailed."""
    derived = {}
    for path in chapters:
        try:
            derived[path.name] = to_bytes(student_edition(read(path), path.stem))
        except BadMarks as error:
            raise BadMarks(f"{path.name}, {error}") from None
    return derived


def _parser(name: str, does: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m labsupport {name}", description=does)
    parser.add_argument("--chapters", type=Path, default=CHAPTERS, help="the instructor's notebooks")
    return parser


def _derived(folder: Path) -> dict[str, bytes]:
    found = sorted(folder.glob("*.ipynb"))
    if not found:
        raise NotebookFailed(f"There is no notebook in {folder}.")
    return derive(found)


def main(arguments: list[str]) -> int:
    """The `students` command: write the edition to hand out; what lies in its folder is replaced."""
    parser = _parser("students", "Derive the student's edition, to hand out.")
    parser.add_argument(
        "folder", nargs="?", type=Path, default=HAND_OUT, help="where to (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    try:
        derived = _derived(options.chapters)
    except (BadMarks, NotebookFailed) as error:
        print(error, file=sys.stderr)
        return 1
    options.folder.mkdir(parents=True, exist_ok=True)
    for name, content in derived.items():
        (options.folder / name).write_bytes(content)
    print(f"{len(derived)} chapters, answers cut, in {options.folder}")
    return 0


def start(arguments: list[str]) -> int:
    """The `start` command: copy the student's edition to DIR, never over what a student has changed."""
    parser = _parser("start", "Copy the student's edition to a folder to work in.")
    parser.add_argument("folder", type=Path, metavar="DIR", help="the folder; made if it is not there")
    options = parser.parse_args(arguments)
    try:
        report = hand_out(_derived(options.chapters), options.folder)
    except (BadMarks, NotebookFailed, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(report)
    return 0
