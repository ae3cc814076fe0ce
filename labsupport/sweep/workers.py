"""The processes that a sweep starts itself, one per core."""

import functools
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any


class Workers(ProcessPoolExecutor):
    """Processes that leave interrupts to the one that sweeps.

    A terminal sends an interrupt to all of them, and they are to end the call that they are at. A signal that
    is held back here while a process starts is held back in that process for good.
    """

    def __init__(self, calls: int) -> None:
        super().__init__(
            min(calls, _cores()), multiprocessing.get_context("spawn"), initializer=_leave_interrupts
        )

    def submit(self, function: Any, /, *arguments: Any, **named: Any) -> "Future[Any]":
        if not hasattr(signal, "pthread_sigmask"):
            return super().submit(function, *arguments, **named)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return super().submit(function, *arguments, **named)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _leave_interrupts() -> None:
    """Ignore interrupts in a worker, for systems that cannot hold them back from its start."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _cores() -> int:
    """Return how many cores this process may use; 61 is the most that a pool takes on Windows."""
    return min(61, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def refuse_what_no_process_finds(function: Callable[..., Any]) -> None:
    """Refuse a function that another process could not import, with what to do about it."""
    while isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__qualname__", type(function).__qualname__)
    module = getattr(function, "__module__", None)
    here = module == "__main__" and not hasattr(sys.modules["__main__"], "__file__")
    if here or "<" in name:
        raise TypeError(
            f"{name} exists in this session only, and other processes cannot import it: put it at the top "
            "level of a file, or give executor=ThreadPoolExecutor() (from concurrent.futures), which needs "
            "no import and shares one core"
        )
