"""Small questions that runs, gates and reports all ask of a notebook's cells."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Notebook = Any  # nbformat.NotebookNode: a dictionary that also answers to attributes
Cell = Any

# Tags that let a cell run under nbval without its output being compared (nbval-skip: without being run at
# all).
IGNORE_TAGS = frozenset({"nbval-ignore-output", "nbval-skip"})


def tags(cell: Cell) -> set[str]:
    """The cell's tags."""
    return set(cell.metadata.get("tags", []))


def lab(cell: Cell, key: str) -> str:
    """The text under metadata → lab → key, or "" if there is none."""
    return str(cell.metadata.get("lab", {}).get(key, "")).strip()


def is_ignored(cell: Cell) -> bool:
    """True if the tests do not compare what the cell printed."""
    return bool(IGNORE_TAGS & tags(cell))


def where(notebook: Notebook, index: int) -> str:
    """How a sentence names a cell: its place from 1, markdown counted, and how it begins."""
    lines = [line.strip() for line in notebook.cells[index].source.splitlines() if line.strip()]
    first = lines[0] if lines else ""
    begins = first if len(first) <= 40 else first[:39] + "…"
    return f"cell {index + 1} ({begins})" if begins else f"cell {index + 1} (empty)"


def code_cells(notebook: Notebook) -> Iterator[tuple[int, Cell]]:
    """The code cells that hold anything, each with its place from 0."""
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "code" and cell.source.strip():
            yield index, cell


def markdown_cells(notebook: Notebook) -> Iterator[tuple[int, Cell]]:
    """The markdown cells, each with its place from 0."""
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            yield index, cell


@dataclass(frozen=True, slots=True)
class ComparedShare:
    """How much of a notebook a strict test run holds against the stored page (numbers of code cells)."""

    code_cells: int
    ignored: int
    silent: int  # print nothing: only compared as such

    @property
    def compared(self) -> int:
        """Cells whose stored output must come out again, silence included."""
        return self.code_cells - self.ignored

    @property
    def share(self) -> float:
        """`compared` as a share of all code cells, 1.0 for a notebook without any."""
        return self.compared / self.code_cells if self.code_cells else 1.0


def compared_share(notebook: Notebook) -> ComparedShare:
    """Count the cells of one notebook."""
    cells = [cell for _, cell in code_cells(notebook)]
    ignored = [cell for cell in cells if is_ignored(cell)]
    silent = [cell for cell in cells if not is_ignored(cell) and not cell.outputs]
    return ComparedShare(code_cells=len(cells), ignored=len(ignored), silent=len(silent))
