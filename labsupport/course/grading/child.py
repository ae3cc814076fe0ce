"""The process in which one submission is graded: limits first, then the student's code, then the cases.

It is forked from a server that has imported the lab once (multiprocessing's forkserver; where there is none,
it is a new Python), since importing takes longer than grading. It sends one JSON object for each question, as
soon as it is known: a process that is ended later has still told of those before.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import json
import os
import sys
import time
import types
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

from labsupport.course.grading.chapters import Question
from labsupport.teach.exercise import exercise

SAID_CHARS = 600  # of a sentence


def limit(memory_bytes: int, cpu_s: int) -> None:
    """Bound what this process may take; a system without such limits (Windows) bounds its time alone."""
    try:
        import resource
    except ImportError:
        return
    for what, value in (
        ("RLIMIT_AS", memory_bytes),
        ("RLIMIT_CPU", cpu_s),
        ("RLIMIT_CORE", 0),
        ("RLIMIT_FSIZE", 10_000_000),
    ):
        kind = getattr(resource, what, None)
        if kind is not None:
            with contextlib.suppress(ValueError, OSError):  # macOS knows RLIMIT_AS and refuses it
                resource.setrlimit(kind, (value, value))


def main(
    source: str, asked: Sequence[Question], folder: str, memory_bytes: int, cpu_s: int, results: Connection
) -> None:
    """Grade one submission in `folder`, within the limits, and send what it came to."""
    if hasattr(os, "setsid"):
        os.setsid()  # so that all it starts can be ended with it
    os.chdir(folder)
    nothing = os.open(os.devnull, os.O_RDWR)  # input() in an answer ends at once; what it prints is dropped
    for descriptor in range(3):
        os.dup2(nothing, descriptor)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    known = {question.id: exercise(question.id) for question in asked}
    limit(memory_bytes, cpu_s)
    module = types.ModuleType("__main__")
    stopped = ""
    try:
        _run(source, module.__dict__)
    except MemoryError:
        stopped = "takes more memory than it may"
    except BaseException as error:
        stopped = f"stops before its answers, with {type(error).__name__}: {error}"
    for question in asked:
        began = time.perf_counter()
        mark = _mark(known[question.id], module.__dict__.get(question.answer, ...), stopped)
        mark |= {"id": question.id, "seconds": round(time.perf_counter() - began, 3)}
        results.send_bytes(json.dumps(mark).encode())  # text, not a pickle: who reads it runs nothing of ours
    results.close()
    os._exit(0)  # threads and servers that an answer has left behind end here


def _run(source: str, names: dict[str, Any]) -> None:
    """Run it as a notebook does: with `await` outside of functions, too."""
    code = compile(source, "<submission>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    waiting = types.FunctionType(code, names)()
    if inspect.isawaitable(waiting):
        asyncio.run(waiting)  # type: ignore[arg-type]


def _mark(exercise: Any, answer: Any, stopped: str) -> dict[str, Any]:
    if answer is ... and stopped:
        return {"verdict": "stopped", "right": 0, "of": 0, "says": stopped[:SAID_CHARS]}
    try:
        result = exercise.check(answer, hidden=True)
    except MemoryError:
        return {"verdict": "stopped", "right": 0, "of": 0, "says": "takes more memory than it may"}
    verdict = "not started" if result.not_started else "right" if result.passed else "wrong"
    says = "" if result.passed else repr(result)[:SAID_CHARS]
    return {"verdict": verdict, "right": result.right, "of": result.of, "says": says}
