"""Content as a name, and one small file per point: the same question finds its answer again.

The name of a point is a hash over the function (its name, its source, the values that it closes over, and
the constants, functions and classes of its own module that it uses), the figures asked for, its arguments
(dataclasses with the source of their class), its seed and `version`. Change any of them and it is another
point. What the function calls in *other* modules does not count, nor do the versions of libraries: when such
code changes, give another `version`.

A file is written beside its place and moved there, so none is ever half there, also when two sweeps share a
folder. A file that is broken all the same is told and computed again.
"""

import dis
import enum
import functools
import hashlib
import inspect
import json
import os
import sys
import tempfile
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from labsupport.sweep.point import Numbers

FORM = "sweep 1"  # changes when names or files change their form: old files are then not found


def user_cache() -> Path:
    """Return a folder of this user for caches, outside the repository; it need not exist yet."""
    if sys.platform == "win32":
        folder = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        folder = Path.home() / "Library" / "Caches"
    else:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return folder / "realtime-web-lab" / "sweeps"


# ---- files -------------------------------------------------------------------------------------------------


class Broken(ValueError):
    """A file of the cache that does not say what it should."""


@dataclass(frozen=True)
class Cache:
    """A folder of answers to one question: the function, the figures and the version are the same for all."""

    folder: Path
    question: str  # what all points share, as a text that is hashed

    @classmethod
    def of(
        cls,
        folder: str | os.PathLike[str],
        function: Callable[..., Any],
        figures: tuple[str, ...] | None,
        version: str,
    ) -> "Cache":
        """Return the cache of a function in a folder, which is made if it is not there."""
        question = "\n".join((FORM, content_of(function, version), content_of(figures), content_of(version)))
        path = Path(folder).expanduser()
        path.mkdir(parents=True, exist_ok=True)
        return cls(path, question)

    def place(self, arguments: Mapping[str, Any]) -> Path:
        """Return where the answer for these arguments lies, or will lie."""
        asked = f"{self.question}\n{content_of(dict(arguments))}"
        return self.folder / f"{hashlib.sha256(asked.encode()).hexdigest()}.json"

    def get(self, place: Path) -> Numbers | None:
        """Return what is kept there, None if nothing is. Broken says what is wrong with it."""
        try:
            kept = json.loads(place.read_text("utf-8"))
            figures = {str(name): float(value) for name, value in kept["figures"].items()}
            whole = kept["check"] == _check(figures)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise Broken(f"{type(error).__name__}: {error}") from None
        if not whole:
            raise Broken("its numbers are not those that were written")
        return figures

    def put(self, place: Path, arguments: Mapping[str, Any], figures: Numbers) -> None:
        """Keep an answer. The arguments stand in the file for people; its name is what counts."""
        asked = {name: repr(value) for name, value in arguments.items()}
        text = json.dumps({"arguments": asked, "figures": figures, "check": _check(figures)}, indent=1)
        handle, beside = tempfile.mkstemp(dir=self.folder, prefix=".writing-", suffix=".json")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(beside, place)
        except BaseException:
            Path(beside).unlink(missing_ok=True)
            raise


def _check(figures: Numbers) -> str:
    return hashlib.sha256(content_of(figures).encode()).hexdigest()[:16]


# ---- content -----------------------------------------------------------------------------------------------


def content_of(value: Any, version: str | None = None) -> str:
    """Return a text that is the same exactly for the same content, on every machine and in every process.

    TypeError for what has no content to be named by. With a `version` somebody answers for such things in a
    function; "" means that they could, None that this is no matter of versions.
    """
    return "".join(_content(value, _Told(version, set())))


@dataclass(frozen=True)
class _Told:
    """What has been said on the way, so that functions that call each other come to an end."""

    version: str | None
    functions: set[Any]


def _content(value: Any, told: _Told) -> Iterator[str]:
    value = value.item() if isinstance(value, np.generic) else value
    name = type(value).__name__
    if isinstance(value, enum.Enum):
        yield f"{_named(type(value))}.{value.name}"
    elif value is None or isinstance(value, bool | int | str | bytes):
        yield f"{name}:{value!r}"
    elif isinstance(value, float):
        yield f"float:{value.hex()}"
    elif isinstance(value, range | PurePath | complex):
        yield f"{name}:{value!s}"
    elif isinstance(value, Mapping):
        pairs = sorted(("".join(_content(k, told)), "".join(_content(v, told))) for k, v in value.items())
        yield f"mapping{pairs!r}"
    elif isinstance(value, set | frozenset):
        yield f"set{sorted(''.join(_content(one, told)) for one in value)!r}"
    elif isinstance(value, list | tuple):
        yield f"{name}("
        for one in value:
            yield from _content(one, told)
            yield ","
        yield ")"
    elif isinstance(value, np.ndarray) and not value.dtype.hasobject:
        data = np.ascontiguousarray(value).tobytes()
        yield f"array:{value.dtype.str}{value.shape}{hashlib.sha256(data).hexdigest()}"
    else:
        yield from _content_of_object(value, told)


def _content_of_object(value: Any, told: _Told) -> Iterator[str]:
    value = inspect.unwrap(value) if callable(value) else value
    if isinstance(value, functools.partial):
        yield "partial"
        yield from _content((value.func, value.args, value.keywords), told)
    elif isinstance(value, types.MethodType):
        yield "method"
        yield from _content((value.__self__, value.__func__), told)
    elif isinstance(value, types.FunctionType):
        yield from _content_of_function(value, told)
    elif isinstance(value, type):
        yield _class_source(value)
    elif isinstance(value, types.BuiltinFunctionType | np.ufunc):
        yield _named(value)
    elif is_dataclass(value):
        kind: type = type(value)
        yield _class_source(kind)
        yield from _content({one.name: getattr(value, one.name) for one in fields(value)}, told)
    elif told.version:
        yield _named(type(value))
    else:
        or_version = (
            "" if told.version is None else "give version='1' (and another one whenever it changes), "
        )
        raise TypeError(
            f"a {type(value).__name__} cannot be named by its content, so its results cannot be kept: use "
            "numbers, texts, tuples, dicts, arrays, dataclasses or functions; or "
            f"{or_version}leave the cache out"
        )


def _content_of_function(function: types.FunctionType, told: _Told) -> Iterator[str]:
    """Name and source, and what the source does not tell: defaults, closure, what it uses of its module."""
    yield _named(function)
    if function in told.functions:
        return
    told.functions.add(function)
    plain = inspect.unwrap(function)
    yield _source(plain, told)
    yield from _content((plain.__defaults__, plain.__kwdefaults__), told)
    for cell in plain.__closure__ or ():
        yield from _content(cell.cell_contents, told)
    for name in sorted(_global_names(plain.__code__)):
        if name not in plain.__globals__:
            continue
        used = plain.__globals__[name]
        yield f"{name}="
        if isinstance(used, types.ModuleType):
            yield used.__name__
        elif getattr(used, "__module__", None) != plain.__module__ and callable(used):
            yield _named(used)
        else:
            yield from _content(used, told)


@functools.cache  # finding a class in its file takes milliseconds, and a point may have several
def _class_source(one: type) -> str:
    """Return name and source of a class, and of those in its module that it builds on."""
    return "".join(_own_source(base) for base in one.__mro__ if base.__module__ == one.__module__)


def _own_source(one: type) -> str:
    if one.__module__ == "builtins":
        return _named(one)
    try:
        return _named(one) + inspect.getsource(one)
    except (OSError, TypeError):  # in a notebook only functions have a source: then member by member
        told, said = _Told("members", set()), [_named(one)]
        for name, member in sorted(vars(one).items()):
            plain = getattr(member, "__func__", getattr(member, "fget", member))
            if isinstance(plain, types.FunctionType):
                said += [name, _source(plain, told)]  # "" for what a dataclass has made itself
            elif not name.startswith("__"):
                said += [name, *_content(plain, told)]
        return "".join(said)


def _source(thing: types.FunctionType, told: _Told) -> str:
    """Return the source of a function."""
    try:
        return inspect.getsource(thing)
    except (OSError, TypeError):
        if told.version:
            return ""
        raise TypeError(
            f"the source of {thing.__qualname__} is not to be found, so its results cannot be kept by "
            "content: put it into a file or a cell, or give version='1' (and another one whenever it changes)"
        ) from None


def _global_names(code: types.CodeType) -> set[str]:
    """Return the names that the code, and the code inside it, takes from its module."""
    names = {
        step.argval for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")
    }
    inner = (_global_names(one) for one in code.co_consts if isinstance(one, types.CodeType))
    return names.union(*inner)


def _named(thing: Any) -> str:
    """Return module and name of a function or class."""
    named = thing if hasattr(thing, "__name__") else type(thing)
    return f"{getattr(named, '__module__', '')}.{getattr(named, '__qualname__', named.__name__)}"
