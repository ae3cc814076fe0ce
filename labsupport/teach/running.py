"""Run a learner's function once: whatever it does, the notebook lives on and says what happened."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import ctypes
import inspect
import io
import linecache
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any

REPEAT_S = 0.1  # a loop that swallows every exception is interrupted again and again
GRACE_S = 0.5  # an await is cancelled first; code that will not end is interrupted this much later
LINES_AT_MOST = 7  # counted before it is interrupted; more than a usual loop around a `try` has
PRINTED_CHARS = 400  # of what the function prints; an endless loop may print megabytes


class TooLong(BaseException):
    """The time is up. Not an Exception, so that `except Exception: pass` in an answer does not swallow it."""


@dataclass(frozen=True)
class Outcome:
    """What one call came to: a value, or the sentence that says why there is none."""

    value: Any = None
    problem: str = ""
    too_long: bool = False
    not_started: bool = False
    printed: str = ""


def call(answer: Callable[..., Any], arguments: tuple[Any, ...], limit_s: float) -> Outcome:
    """Call `answer` with copies of `arguments`, for at most `limit_s` seconds.

    A coroutine function (or a function that returns an awaitable) runs in an event loop of its own in another
    thread, since the notebook's loop is busy with the cell that asks.
    """
    printed = _Bounded()
    copies = copy.deepcopy(arguments)
    try:
        with contextlib.redirect_stdout(printed):
            if inspect.iscoroutinefunction(answer):
                value = _await(lambda: answer(*copies), limit_s)
            else:
                value = _limited(lambda: answer(*copies), limit_s)
                if inspect.isawaitable(value):
                    pending = value
                    value = _await(lambda: pending, limit_s)
    except NotImplementedError:
        return Outcome(not_started=True)
    except (TooLong, TimeoutError):
        problem = f"did not end within {limit_s:g} s: is there an endless loop, or a wait without a limit?"
        return Outcome(problem=problem, too_long=True, printed=printed.text)
    except KeyboardInterrupt:  # the interrupt button means the check, too
        raise
    except BaseException as error:  # also exit() in an answer: only that answer ends
        return Outcome(problem=f"stopped with {describe(error, answer)}", printed=printed.text)
    not_started = value is ... or (value is None and _is_stub(answer))
    return Outcome(value=value, not_started=not_started, printed=printed.text)


def describe(error: BaseException, answer: Callable[..., Any]) -> str:
    """The error, and the line of the learner's own code where it happened."""
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    frame = _own_frame(error.__traceback__, getattr(inspect.unwrap(answer), "__code__", None))
    if frame is None:
        return said
    line = linecache.getline(frame.tb_frame.f_code.co_filename, frame.tb_lineno).strip()
    return f"{said}, in line {frame.tb_lineno} of your cell" + (f": {line}" if line else "")


def _own_frame(traceback: TracebackType | None, code: Any) -> TracebackType | None:
    """The innermost frame in the file (or cell) that the answer comes from."""
    found = None
    while traceback is not None:
        if code is not None and traceback.tb_frame.f_code.co_filename == code.co_filename:
            found = traceback
        traceback = traceback.tb_next
    return found


# Not started


def _stubs() -> frozenset[bytes]:
    """The byte code of a function whose body is only `...` or `pass`, with and without a docstring."""

    def bare() -> None: ...
    def told() -> None:
        """Told."""

    async def bare_later() -> None: ...
    async def told_later() -> None:
        """Told."""

    return frozenset(stub.__code__.co_code for stub in (bare, told, bare_later, told_later))


_STUBS = _stubs()


def _is_stub(answer: Callable[..., Any]) -> bool:
    code = getattr(answer, "__code__", None)
    return code is not None and code.co_code in _STUBS


# Time


def _limited(run: Callable[[], Any], limit_s: float) -> Any:
    """`run()`, or TooLong.

    On the main thread of a POSIX system (a notebook's cells) an alarm interrupts everything, also a sleep or
    a blocking read. Elsewhere (Windows, another thread) Python is asked to raise in the running thread: that
    ends loops, but a blocking call only once it returns.
    """
    on_main = threading.current_thread() is threading.main_thread()
    guard = _alarm if on_main and hasattr(signal, "setitimer") else _raise_in_thread
    with guard(limit_s):
        return run()


@contextlib.contextmanager
def _alarm(limit_s: float) -> Iterator[None]:
    """SIGALRM after `limit_s`; a timer that somebody else had set goes on afterwards."""
    armed, rings = True, 0
    traced = sys.gettrace()

    def ring(_: int, frame: FrameType | None) -> None:
        nonlocal rings
        rings += armed
        if armed and rings == 1:
            raise TooLong
        if armed and frame is not None:
            _raise_at_a_line(frame, rings)

    before = signal.signal(signal.SIGALRM, ring)
    began = time.monotonic()
    remaining_s, interval_s = signal.setitimer(signal.ITIMER_REAL, limit_s, REPEAT_S)
    try:
        try:
            yield
        finally:
            armed = False
    finally:  # a second alarm may have hit the line above: never two within REPEAT_S
        armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        if rings > 1:
            sys.settrace(traced)
        signal.signal(signal.SIGALRM, before)
        if remaining_s:
            left_s = max(0.001, remaining_s - (time.monotonic() - began))
            signal.setitimer(signal.ITIMER_REAL, left_s, interval_s)


def _raise_at_a_line(innermost: FrameType, rings: int) -> None:
    """Raise TooLong a few lines further on, in one of the answer's frames.

    A loop around `try: … except: pass` spends nearly all of its time where an exception is swallowed. Its
    line `try:`, and the handler, are outside of that. So each ring counts another number of lines, and after
    some rings in another frame, from the answer's own inwards: one of them is not inside the `try`.
    """
    frames: list[FrameType] = []
    frame: FrameType | None = innermost
    while frame is not None and frame.f_code is not _limited.__code__:
        if frame.f_code.co_filename != __file__:
            frames.insert(0, frame)
        frame = frame.f_back
    if not frames:
        return
    left = rings % LINES_AT_MOST

    def count(_: FrameType, event: str, __: Any) -> Any:
        nonlocal left
        left -= event == "line"
        if left < 0:
            raise TooLong
        return count

    frames[rings // LINES_AT_MOST % len(frames)].f_trace = count
    sys.settrace(lambda *_: None)  # switches tracing on, and leaves every new frame alone


@contextlib.contextmanager
def _raise_in_thread(limit_s: float) -> Iterator[None]:
    """After `limit_s`, raise TooLong in this thread from another one, until it has gone through."""
    thread_id = ctypes.c_ulong(threading.get_ident())
    raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
    over, lock = threading.Event(), threading.Lock()

    def watch() -> None:
        wait_s = limit_s
        while not over.wait(wait_s):
            with lock:
                if not over.is_set():
                    raise_in(thread_id, ctypes.py_object(TooLong))
            wait_s = REPEAT_S

    threading.Thread(target=watch, daemon=True, name="time limit").start()
    try:
        try:
            yield
        finally:
            over.set()
    finally:
        over.set()
        with lock:
            pass  # from here on, nothing is asked for any more
        # One that was asked for may still be on its way: it arrives at a jump back. (To take it back instead,
        # with NULL, leaves CPython 3.11 with a flag that nobody clears, and then tracing never ends.)
        with contextlib.suppress(TooLong):
            for _ in range(3):
                pass


def _await(make: Callable[[], Any], limit_s: float) -> Any:
    """The result of the awaitable that `make()` gives, from an event loop in a thread of its own."""
    got: list[Any] = []
    failed: list[BaseException] = []

    async def within() -> Any:
        return await asyncio.wait_for(make(), limit_s)

    def work() -> None:
        try:
            with _raise_in_thread(limit_s + GRACE_S):
                got.append(asyncio.run(within()))
        except BaseException as error:  # carried over to the thread that waits
            failed.append(error)

    thread = threading.Thread(target=work, daemon=True, name="answer")
    thread.start()
    thread.join(limit_s + 4 * GRACE_S)
    if failed:
        raise failed[0]
    if not got:
        raise TooLong
    return got[0]


class _Bounded(io.TextIOBase):
    """Keeps the beginning of what is printed."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        if len(self.text) < PRINTED_CHARS:
            self.text += text[: PRINTED_CHARS - len(self.text)]
        return len(text)
