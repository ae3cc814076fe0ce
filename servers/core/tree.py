"""A tree of JSON under paths: what it may hold, how it is written, and what a write means to a listener.

    put      this is the value at a path now; null takes it away, and with it every parent left empty
    patch    these children have these values now, their brothers stay; a child may be a path: "a/b"

There are no empty objects, and there are no lists: [x, y] is kept as {"0": x, "1": y}, and shown as a list
where the keys are whole numbers and more than half of those up to the largest are there. That is the rule of
the database whose shape this is (Firebase Realtime Database), and it surprises everybody once.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from servers.core.log import to_json

MAX_DEPTH = 32  # keys from the root to a value; the published limit
MAX_KEY = 768  # bytes of a key in UTF-8; the published limit
MAX_TREE = 4 << 20  # bytes of JSON in all: a listener at the root gets that much when it begins

Path = tuple[str, ...]

_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f.$#\[\]/]")
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")


class TreeError(ValueError):
    """A path or a value that the tree cannot hold. The message is for people."""


class TreeFull(TreeError):
    """More than MAX_TREE bytes."""


@dataclass(frozen=True, slots=True)
class Change:
    """One write: `data` is the value (put), or values by path below `path` (patch)."""

    kind: str
    path: Path
    data: Any


def parse_path(text: str) -> Path:
    """The keys of "/a/b". Raises TreeError."""
    path = tuple(key for key in text.split("/") if key)
    for key in path:
        check_key(key)
    if len(path) > MAX_DEPTH:
        raise TreeError(f"expected at most {MAX_DEPTH} keys in a path, got {len(path)}")
    return path


def check_key(key: str) -> None:
    if not key or _FORBIDDEN.search(key):
        raise TreeError(f"a key may be empty nowhere, and without . $ # [ ] / or control signs: {key[:40]!r}")
    if len(key.encode()) > MAX_KEY:
        raise TreeError(f"expected a key of at most {MAX_KEY} bytes, got {len(key.encode())}")


def text_of(path: Path) -> str:
    """ "/a/b"; "/" is the root."""
    return "/" + "/".join(path)


def kept(value: Any, depth: int = 0) -> Any:
    """The value as the tree keeps it: no lists, no nulls inside, no empty objects. Raises TreeError."""
    if isinstance(value, list):
        value = {str(index): item for index, item in enumerate(value)}
    if not isinstance(value, dict):
        return value
    if depth >= MAX_DEPTH:
        raise TreeError(f"expected at most {MAX_DEPTH} keys from the root to a value, got more")
    inside = {}
    for key, item in value.items():
        check_key(key)
        below = kept(item, depth + 1)
        if below is not None:
            inside[key] = below
    return inside or None


def shown(value: Any) -> Any:
    """The value as a reader gets it: a list where the keys are nearly those of one."""
    if not isinstance(value, dict):
        return value
    inside = {key: shown(item) for key, item in value.items()}
    if not all(_INDEX.fullmatch(key) for key in inside):
        return inside
    length = max(map(int, inside)) + 1
    return [inside.get(str(index)) for index in range(length)] if 2 * len(inside) > length else inside


def at(value: Any, path: Path) -> Any:
    """What lies at `path` inside a kept value; None where nothing does."""
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


class Tree:
    """The whole tree. A write either happens as a whole or raises TreeError and changes nothing."""

    def __init__(self) -> None:
        self.root: Any = None
        self._bytes = 0  # of JSON, near enough: the keys on the way to a value are not counted

    def get(self, path: Path) -> Any:
        return at(self.root, path)

    def put(self, path: Path, value: Any) -> Change:
        """Set the value at `path`."""
        value = kept(value, len(path))
        self._write({path: value})
        return Change("put", path, value)

    def patch(self, path: Path, children: Mapping[str, Any]) -> Change:
        """Set these children of `path`, all at once. A key may be a path of several keys."""
        parts: dict[Path, Any] = {}
        for text, value in children.items():
            below = parse_path(text)
            if not below:
                raise TreeError("a patch names children, and an empty key names none")
            if any(below[: len(other)] == other or other[: len(below)] == below for other in parts):
                raise TreeError(f"a patch may name each place once, and {text_of(below)} lies within another")
            parts[below] = kept(value, len(path) + len(below))
        self._write({path + below: value for below, value in parts.items()})
        return Change("patch", path, {"/".join(below): value for below, value in parts.items()})

    def _write(self, values: Mapping[Path, Any]) -> None:
        grown = sum(len(to_json(value)) - len(to_json(self.get(path))) for path, value in values.items())
        if grown > 0 and self._bytes + grown > MAX_TREE:
            raise TreeFull(f"the tree would hold more than {MAX_TREE} bytes of JSON")
        self._bytes += grown
        for path, value in values.items():
            self.root = _with(self.root, path, value)


def _with(tree: Any, path: Path, value: Any) -> Any:
    """A copy of the tree with this value at this path; what is not on the way is shared, not copied."""
    if not path:
        return value
    key, *rest = path
    inside = dict(tree) if isinstance(tree, dict) else {}  # a plain value gives way to what lies below it
    below = _with(inside.get(key), tuple(rest), value)
    if below is None:
        inside.pop(key, None)
    else:
        inside[key] = below
    return inside or None


def seen_from(change: Change, listener: Path) -> tuple[str, str, Any] | None:
    """What a write is to whoever listens at a path: (put or patch, path from there, data); None: nothing.

    A write reaches listeners of its own path, of every path above it, and of every path below it.
    """
    here = change.path
    if here[: len(listener)] == listener:  # written at the listener's path, or below it
        return change.kind, text_of(here[len(listener) :]), _shown(change)
    if listener[: len(here)] != here:
        return None
    rest = listener[len(here) :]  # written above it: only a part concerns it
    if change.kind == "put":
        return "put", "/", shown(at(change.data, rest))
    inside = {}
    for text, value in change.data.items():
        below = tuple(text.split("/"))
        if rest[: len(below)] == below:
            return "put", "/", shown(at(value, rest[len(below) :]))
        if below[: len(rest)] == rest:
            inside["/".join(below[len(rest) :])] = shown(value)
    return ("patch", "/", inside) if inside else None


def _shown(change: Change) -> Any:
    if change.kind == "put":
        return shown(change.data)
    return {key: shown(value) for key, value in change.data.items()}
