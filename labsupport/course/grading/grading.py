"""Run each submission in a process of its own, some side by side, and gather what each came to."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labsupport.course.grading import child
from labsupport.course.grading.chapters import Question
from labsupport.course.grading.slicing import needed_for
from labsupport.course.grading.submissions import Submission
from labsupport.course.grading.table import Mark, Report

METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
PROCESSES: Any = multiprocessing.get_context(METHOD)
PROCESSES.set_forkserver_preload([child.__name__])

MESSAGE_BYTES = 100_000

Progress = Callable[[int, int], None]  # graded, in all


@dataclass(frozen=True)
class Limits:
    """What one submission may take: seconds on the clock, and bytes of memory (address space)."""

    seconds: float = 60.0
    memory_bytes: int = 4_000_000_000  # numpy's threads alone reserve one and a half

    def cpu_s(self) -> int:
        """Seconds of processor time, a little more than the clock's: the clock's is the one that is told."""
        return int(self.seconds) + 5


def grade(submission: Submission, asked: Sequence[Question], limits: Limits = Limits()) -> list[Mark]:
    """The marks of one submission, one for each question. Never raises for what a student has handed in."""
    if submission.problem:
        return [
            Mark(
                submission.student, "", "", "unreadable", says=f"{submission.path.name} {submission.problem}"
            )
        ]
    started = time.perf_counter()
    code, unreadable = _code_cells(submission.path)
    part = needed_for(code, [question.answer for question in asked])
    lines, ended = _run(part.source, asked, limits)
    seconds = round(time.perf_counter() - started, 2)
    told = {line["id"]: line for line in lines}
    marks = []
    for question in asked:
        line = told.get(question.id)
        says = "; ".join(filter(None, [line["says"] if line else ended, *unreadable, *part.unreadable]))
        if line is None:
            marks.append(Mark(submission.student, submission.chapter, question.id, "stopped", says=says))
            continue
        if line["verdict"] == "right":
            says = ""
        marks.append(
            Mark(
                submission.student,
                submission.chapter,
                question.id,
                line["verdict"],
                line["right"],
                line["of"],
                says,
                line["seconds"],
            )  # fmt: skip
        )
    return [mark.within(seconds) for mark in marks]


def grade_class(
    submissions: Sequence[Submission],
    chapters: Mapping[str, Sequence[Question]],
    limits: Limits = Limits(),
    at_a_time: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """Grade all of them, `at_a_time` (one for each processor) side by side."""
    workers = at_a_time or os.cpu_count() or 1
    marks: dict[int, list[Mark]] = {}
    with ThreadPoolExecutor(workers) as pool:
        jobs = {
            pool.submit(grade, one, chapters.get(one.chapter, ()), limits): index
            for index, one in enumerate(submissions)
        }
        try:
            for number, job in enumerate(as_completed(jobs), start=1):
                marks[jobs[job]] = job.result()
                if progress:
                    progress(number, len(jobs))
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return Report(tuple(mark for index in sorted(marks) for mark in marks[index]))


def _code_cells(path: Path) -> tuple[list[str], list[str]]:
    """The source of each code cell, and a sentence on each that is not text."""
    found, odd = [], []
    for cell in json.loads(path.read_bytes())["cells"]:
        if not isinstance(cell, dict) or cell.get("cell_type") != "code":
            continue
        source = cell.get("source", "")
        text = "".join(map(str, source)) if isinstance(source, list) else source
        if isinstance(text, str):
            found.append(text)
        else:
            odd.append("a code cell holds no text")
    return found, odd


def _run(source: str, asked: Sequence[Question], limits: Limits) -> tuple[list[dict[str, Any]], str]:
    """What the child process has told, and in words how it ended if it told less than it should."""
    lines: list[dict[str, Any]] = []
    deadline = time.monotonic() + limits.seconds
    with tempfile.TemporaryDirectory(prefix="lab-grade-", ignore_cleanup_errors=True) as folder:
        ours, theirs = PROCESSES.Pipe(duplex=False)
        with ours:
            process = PROCESSES.Process(
                target=child.main,
                args=(source, list(asked), folder, limits.memory_bytes, limits.cpu_s(), theirs),
                daemon=True,
            )
            process.start()
            theirs.close()  # the child alone holds it now: its end is the pipe's end
            try:
                while ours.poll(max(0.0, deadline - time.monotonic())):
                    lines.append(json.loads(ours.recv_bytes(MESSAGE_BYTES)))
                ended = f"did not end within {limits.seconds:g} s"
            except EOFError:
                process.join(max(0.0, deadline - time.monotonic()))
                ended = _how(process.exitcode)
            finally:
                _end(process)
    return lines, ended


def _how(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"its process was ended by {signal.Signals(-exit_code).name}"
    return "its process ended by itself"


def _end(process: Any) -> None:
    """End the process and whatever it has started and left in its session."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join()
