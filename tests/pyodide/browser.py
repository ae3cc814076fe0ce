"""Run within Pyodide by npm/run.mjs: the models' answers, and how what cannot run there says so."""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WATCHED = {"socket": "socket.__init__", "threading": "Thread.start", "subprocess": "Popen.__init__"}


def watched() -> list[str]:
    """From here on, note each socket, thread and process that somebody makes."""
    made: list[str] = []

    def noting(what: str) -> Callable[..., None]:
        def note(*_: object, **__: object) -> None:
            made.append(what)
            raise RuntimeError(f"there is no {what} here")

        return note

    for name, face in WATCHED.items():
        of, method = face.split(".")
        setattr(getattr(importlib.import_module(name), of), method, noting(f"{name}.{of}"))
    return made


def said(call: Callable[[], Any]) -> str:
    """The error of a call: its type and text."""
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def refusals() -> dict[str, str]:
    """What a reader meets in a cell that a browser cannot run."""
    from labsupport.backoff import FullJitter
    from labsupport.models.reconnect import Storm, fluid, simulate

    names = ("labsupport.processes", "labsupport.measure", "labsupport.clients", "servers.sse", "aiohttp")
    found = {name: said(lambda name=name: importlib.import_module(name)) for name in names}
    return found | {
        "fluid": said(lambda: fluid(Storm(100, 10, 5), FullJitter())),
        "picture": said(simulate(Storm(100, 10, 5), FullJitter()).plot),
        "million": said(lambda: simulate(Storm(1_000_000, 20_000, 10_000), FullJitter())),
    }


def told() -> str:
    """Everything as JSON."""
    try:
        has_numpy = bool(importlib.import_module("numpy"))
    except ModuleNotFoundError:
        has_numpy = False
    made = watched()
    seconds, found = {}, {}
    from answers import CHAPTERS, page, plain

    for chapter in CHAPTERS:
        begun_s = time.monotonic()
        found[chapter.__name__] = plain(chapter())
        seconds[chapter.__name__] = time.monotonic() - begun_s
    return json.dumps(
        {
            "platform": sys.platform,
            "python": sys.version.split()[0],
            "numpy": has_numpy,
            "answers": found,
            "made": made,
            "seconds": seconds,
            "page": page(Path(__file__).with_name("no-install.md").read_text("utf-8")),
            "refusals": refusals(),
        }
    )
