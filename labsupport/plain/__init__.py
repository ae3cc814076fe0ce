"""What the model chapters need where only a browser's Python is: no numpy, no sockets, no processes.

JupyterLite runs Python in the browser (Pyodide). The models of polling, storms, liveness and capacity run
there as they are. `prepare()` is called when labsupport is imported, and does two things:

    where numpy is missing   `import numpy` gives plain.numbers: what the models need of numpy, in plain
                             Python, with the same draws and the same results; what it lacks says so
    in the browser           the rooms that start servers and open connections say that they need a real
                             machine, and what to do instead, before they fail in a way that explains nothing

Where numpy is there and sockets work, it changes nothing.
"""

import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import NoReturn

# The rooms that start servers, threads or processes, or open connections; and what they do it with.
ON_A_MACHINE = ("labsupport.processes", "labsupport.clients", "labsupport.measure", "labsupport.bench_page",
                "labsupport.sweep", "servers")  # fmt: skip
LIBRARIES = ("aiohttp", "websockets", "redis")
BUILT_ON_NUMPY = ("matplotlib",)


class NeedsAMachine(ImportError):
    """Something was asked for that a browser's Python can never do."""


class NumpyIsMissing(ImportError):
    """A library was asked for that is built on numpy."""


class Refusal(MetaPathFinder):
    """Answers for modules that cannot work here."""

    def __init__(self, refuse: Callable[[str], NoReturn], *names: str) -> None:
        self.refuse, self.names = refuse, names

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if any(name == room or name.startswith(f"{room}.") for room in self.names):
            self.refuse(name)
        return None


def in_a_browser(name: str) -> NoReturn:
    """Say why this cannot be had in a browser, and what to do."""
    raise NeedsAMachine(
        f"{name} is for servers, connections or processes: expected a machine that lets Python have them, "
        "and this is Python in a browser. Here run the cells that simulate and compute (labsupport.models, "
        "labsupport.capacity); the measured figures that are stored in the chapter stay readable. To "
        "measure, install the lab on a machine (make lab)",
        name=name,
    )


def without_numpy(name: str) -> NoReturn:
    """Say that a library needs numpy, and what runs without."""
    from labsupport.plain.array import needs_numpy

    raise NumpyIsMissing(needs_numpy(name), name=name)


def prepare() -> None:
    """Put in what is missing. Called by labsupport/__init__.py; a second call changes nothing."""
    if sys.platform == "emscripten" and not any(isinstance(finder, Refusal) for finder in sys.meta_path):
        sys.meta_path.insert(0, Refusal(in_a_browser, *ON_A_MACHINE))
        sys.meta_path.append(Refusal(in_a_browser, *LIBRARIES))  # last: only if nobody has installed it
    if find_spec("numpy") is None:
        from labsupport.plain import numbers, typing

        sys.meta_path.insert(0, Refusal(without_numpy, *BUILT_ON_NUMPY))
        sys.modules["numpy"], sys.modules["numpy.typing"] = numbers, typing
