"""The code cells of a notebook as Python's syntax trees, and every call in them under its full name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from IPython.core.inputtransformer2 import TransformerManager

from labsupport.course.cells import Cell, Notebook, code_cells


@dataclass(frozen=True, slots=True)
class Call:
    """One call: the place of its cell from 0, the full name of what is called, and what it is given."""

    index: int
    name: str
    node: ast.Call
    inner: tuple[str, ...]  # full names of the calls inside its arguments

    def text(self, position: int, *keywords: str) -> str:
        """The argument at `position` or under one of `keywords`, if it is written out as a string; else
        "".
        """
        given = [k.value for k in self.node.keywords if k.arg in keywords]
        given += self.node.args[position : position + 1]
        return next((a.value for a in given if isinstance(a, ast.Constant) and isinstance(a.value, str)), "")


def parse(cell: Cell) -> ast.Module:
    """The cell's code as Python's syntax tree, magics and `!` lines as calls of get_ipython().

    Raises SyntaxError.
    """
    return ast.parse(TransformerManager().transform_cell(cell.source))


def trees(notebook: Notebook) -> Iterator[tuple[int, ast.Module]]:
    """Each code cell that can be parsed, with its place from 0 (`code_is_python` names the others)."""
    for index, cell in code_cells(notebook):
        try:
            yield index, parse(cell)
        except SyntaxError:
            continue


def calls(notebook: Notebook) -> Iterator[Call]:
    """Every call in the notebook: with `import random as rnd`, `rnd.random()` is `random.random`.

    Imports of all cells count for all cells, as they do in a kernel.
    """
    parsed = list(trees(notebook))
    names: dict[str, str] = {}
    for _, tree in parsed:
        names |= _imported(tree)
    for index, tree in parsed:
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and (name := _dotted(node.func, names)):
                yield Call(index, name, node, _inner(node, names))


def _inner(call: ast.Call, names: dict[str, str]) -> tuple[str, ...]:
    given = [*call.args, *(keyword.value for keyword in call.keywords)]
    return tuple(
        _dotted(node.func, names)
        for argument in given
        for node in ast.walk(argument)
        if isinstance(node, ast.Call)
    )


def _imported(tree: ast.Module) -> dict[str, str]:
    """What each imported name stands for: {"np": "numpy", "choice": "random.choice"}."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                whole = alias.name if alias.asname else alias.name.split(".")[0]
                names[alias.asname or whole] = whole
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _dotted(node: ast.expr, names: dict[str, str]) -> str:
    """`np.random.rand` as `numpy.random.rand`; a method of anything but a name as `.method`."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value, names)}.{node.attr}"
    return ""
