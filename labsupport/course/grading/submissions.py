"""Find what was handed in: whose it is, and of which chapter."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

LARGEST_BYTES = 20_000_000  # a chapter has under 1 MB; pictures of a student's own are welcome


@dataclass(frozen=True)
class Submission:
    """One notebook of one student. `problem`: the sentence that says why it can't be graded."""

    student: str
    path: Path
    chapter: str = ""
    problem: str = ""


def find(named: Iterable[Path], chapters: Collection[str]) -> list[Submission]:
    """The submissions in these files and folders, sorted by student and chapter.

    A folder with notebooks in it is one student's, by its name; any other is looked through for such folders.
    A notebook that is named alone is its file's stem's. What lies in hidden folders, and the new editions
    that were put beside a student's work, are left out. `chapters`: the stems that there are.
    """
    found: list[Submission] = []
    for path in named:
        if not path.is_dir():
            found.append(_read(path, path.stem, chapters))
            continue
        for notebook in sorted(path.rglob("*.ipynb")):
            inside = notebook.relative_to(path)
            if any(part.startswith(".") for part in inside.parts) or notebook.stem.endswith(".new"):
                continue
            student = path.resolve().name if len(inside.parts) == 1 else "/".join(inside.parts[:-1])
            found.append(_read(notebook, student, chapters))
    return sorted(found, key=lambda one: (one.student, one.chapter, str(one.path)))


def _read(path: Path, student: str, chapters: Collection[str]) -> Submission:
    try:
        if path.stat().st_size > LARGEST_BYTES:
            problem = f"is larger than {LARGEST_BYTES / 1e6:g} MB: clear its outputs, and hand it in again"
            return Submission(student, path, problem=problem)
        notebook = json.loads(path.read_bytes())
        known = notebook["metadata"].get("lab", {}).get("chapter", "")
        notebook["cells"]  # a page without cells is no notebook
    except FileNotFoundError:
        return Submission(student, path, problem="is not there")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Submission(student, path, problem="cannot be read as a notebook")
    for name in (known, path.stem):
        if name in chapters:
            return Submission(student, path, name)
    by_number = [name for name in chapters if name[:3] == path.stem[:3]]  # 03_mine.ipynb
    if len(by_number) == 1:
        return Submission(student, path, by_number[0])
    return Submission(student, path, problem="is none of the chapters: start its name with the number, 03_")
