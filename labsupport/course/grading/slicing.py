"""The part of a notebook that an answer needs: its definition, and the definitions that this one uses.

A chapter starts servers, measures and draws; a grader wants none of it. So from the answer's name we go back:
the statements that define it, the names these use, the statements that define those, and so on. Imports,
constants and helpers of the student's come along, wherever they stand; `server = serve(...)` only if an
answer uses it.
"""

from __future__ import annotations

import ast
import symtable
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

# The parser of Python 3.11 counts its depth for all threads together (python/cpython#106905): one at a time.
_PARSING = threading.Lock()


@dataclass(frozen=True)
class Slice:
    """Statements to run, in the notebook's order, and the cells that can't be read as Python."""

    statements: list[str]
    unreadable: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """All of it."""
        return "\n".join(self.statements)


@dataclass
class _Statement:
    node: ast.stmt
    text: str
    gives: set[str] = field(default_factory=set)
    uses: set[str] = field(default_factory=set)

    @property
    def makes_new(self) -> set[str]:
        """The names to which it gives a new value for certain (a loop or a branch may not)."""
        node = self.node
        if isinstance(
            node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom
        ):
            return self.gives
        if isinstance(node, ast.Assign):
            return {target.id for target in node.targets if isinstance(target, ast.Name)}
        return set()


def needed_for(cells: Iterable[str], wanted: Iterable[str]) -> Slice:
    """The statements of these cells that the wanted names need, each cell's IPython lines left out.

    A name that is defined more than once has its last definition, as for the student who runs the notebook
    from top to bottom; with those before it where the last may not happen, or builds on them.
    """
    statements: list[_Statement] = []
    unreadable = []
    for number, source in enumerate(cells, start=1):
        plain = "\n".join(
            "" if line.lstrip().startswith(("%", "!")) else line for line in source.splitlines()
        )
        try:
            tree = _parsed(plain)
        except (SyntaxError, ValueError, RecursionError) as error:
            where = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
            unreadable.append(f"code cell {number}{where}: {getattr(error, 'msg', error)}")
            continue
        for node in tree.body:
            segment = ast.get_source_segment(plain, node, padded=True) or ""
            decorators = "".join(
                f"@{ast.get_source_segment(plain, one)}\n" for one in getattr(node, "decorator_list", [])
            )
            statements.append(_Statement(node, decorators + segment, set(_gives(node)), _uses(node)))
    chosen: set[int] = set()
    waiting, seen = list(wanted), set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for index in reversed(range(len(statements))):
            statement = statements[index]
            if name not in statement.gives:
                continue
            if index not in chosen:
                chosen.add(index)
                waiting += statement.uses
            if name in statement.makes_new and name not in statement.uses:
                break  # what stood under this name before is gone
    stars = {i for i, s in enumerate(statements) if "*" in s.gives}
    return Slice([statements[index].text for index in sorted(chosen | stars)], tuple(unreadable))


def names_from_outside(source: str) -> set[str]:
    """The names that a cell's definitions read and do not give: what must stand before it.

    A bare expression at the top, such as `check("3.2", parse)`, is not counted. Raises SyntaxError.
    """
    nodes = [node for node in _parsed(source).body if not isinstance(node, ast.Expr)]
    return set().union(*map(_uses, nodes)) - {name for node in nodes for name in _gives(node)}


def _parsed(source: str) -> ast.Module:
    with _PARSING:
        return ast.parse(source)


def _gives(node: ast.AST) -> Iterator[str]:
    """The names that a statement gives to the notebook; "*" for an import of everything."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
        return
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)
        return
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    if isinstance(node, ast.Assign | ast.AugAssign):  # x.y = …, x["y"] = …: they change what x names
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            while isinstance(target, ast.Attribute | ast.Subscript):
                target = target.value
            if isinstance(target, ast.Name):
                yield target.id
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            yield from _gives(child)


def _uses(node: ast.stmt) -> set[str]:
    """The notebook's names that a statement reads: of a function or class, those that are not its own."""
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Del)}
    return set(_from_outside(symtable.symtable(ast.unparse(node), "<cell>", "exec")))


def _from_outside(scope: symtable.SymbolTable) -> Iterator[str]:
    outermost = scope.get_type() == "module"
    for symbol in scope.get_symbols():
        if symbol.is_referenced() and (outermost or symbol.is_global()):
            yield symbol.get_name()
    for inner in scope.get_children():
        yield from _from_outside(inner)
