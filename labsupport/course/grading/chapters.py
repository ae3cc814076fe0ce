"""What a chapter asks: the exercises that the instructor's edition checks, and the names of their answers."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from labsupport.course.cells import Notebook, code_cells
from labsupport.course.notebooks import CHAPTERS, read


@dataclass(frozen=True)
class Question:
    """One exercise of a chapter: its number ("3.2") and the name that the answer must have."""

    id: str
    answer: str


def asked(notebook: Notebook) -> list[Question]:
    """The questions of a notebook, in order: each `check("3.2", parse)` in one of its cells."""
    found = []
    for _, cell in code_cells(notebook):
        if 'check("' not in cell.source:
            continue
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "check" and len(node.args) == 2:
                number, answer = node.args
                if isinstance(number, ast.Constant) and isinstance(answer, ast.Name):
                    found.append(Question(str(number.value), answer.id))
    return found


def questions(paths: Sequence[Path] | None = None) -> dict[str, list[Question]]:
    """Chapter (the file's stem) -> its questions, from the instructor's edition. Raises NotebookFailed."""
    chapters = sorted(CHAPTERS.glob("*.ipynb")) if paths is None else paths
    return {path.stem: asked(read(path)) for path in chapters}
