"""Whatever an answer does, the notebook lives on: loops, waits, exits, prints, in the main thread or not."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from labsupport.teach import running
from labsupport.teach.running import Outcome, call

LIMIT_S = 0.2  # for what never ends
AMPLE_S = 60  # for what ends

needs_alarm = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs SIGALRM: not on Windows")


def endless() -> None:
    while True:
        pass


def stubborn() -> None:
    while True:
        try:
            print("still here")
        except:  # noqa: E722 - the point
            continue


def shy() -> None:
    while True:
        try:
            sum(range(100))
        except Exception:
            continue


def stubborn_inside() -> None:
    """The loop is in a helper."""
    stubborn()


async def endless_later() -> None:
    while True:
        pass


async def waits() -> None:
    await asyncio.Event().wait()


def in_thread(act: Callable[[], Any]) -> Any:
    """What `act` returns, called in another thread, where there is no alarm."""
    got: list[Any] = []
    thread = threading.Thread(target=lambda: got.append(act()))
    thread.start()
    thread.join()
    return got[0]


@pytest.mark.parametrize("answer", [endless, shy, endless_later, waits])
def test_what_does_not_end_is_ended_and_said(answer: Callable[[], Any]) -> None:
    outcome = call(answer, (), LIMIT_S)
    assert outcome.too_long
    assert outcome.problem == (
        "did not end within 0.2 s: is there an endless loop, or a wait without a limit?"
    )


@needs_alarm
@pytest.mark.parametrize("answer", [stubborn, stubborn_inside])
def test_a_loop_that_swallows_every_exception_is_ended_too(
    answer: Callable[[], Any],
) -> None:
    tracing = sys.gettrace()
    assert call(answer, (), LIMIT_S).too_long
    assert sys.gettrace() is tracing


@needs_alarm
def test_a_sleep_is_ended_too() -> None:
    assert call(time.sleep, (3600,), LIMIT_S).too_long


@pytest.mark.parametrize("answer", [endless, shy])
def test_a_loop_in_another_thread_is_ended_as_well(answer: Callable[[], Any]) -> None:
    assert in_thread(lambda: call(answer, (), LIMIT_S)).too_long


def test_a_loop_is_ended_where_there_is_no_alarm_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(signal, "setitimer", raising=False)
    assert call(endless, (), LIMIT_S).too_long


@needs_alarm
def test_an_alarm_that_somebody_else_has_set_still_rings() -> None:
    rung = threading.Event()
    before = signal.signal(signal.SIGALRM, lambda *_: rung.set())
    others_s, interval_s = signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        assert call(lambda: 1, (), AMPLE_S).value == 1
        assert call(endless, (), LIMIT_S).too_long
        assert rung.wait(30)
    finally:
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, others_s, interval_s)


@needs_alarm
def test_no_alarm_is_left_behind() -> None:
    before = signal.getsignal(signal.SIGALRM)
    call(endless, (), LIMIT_S)
    assert signal.getsignal(signal.SIGALRM) is before


def test_no_thread_is_left_behind() -> None:
    call(waits, (), LIMIT_S)
    for thread in threading.enumerate():
        if thread.name in ("answer", "time limit"):
            thread.join(30)
            assert not thread.is_alive()


def test_exit_ends_the_answer_and_not_the_kernel() -> None:
    def leaves() -> None:
        raise SystemExit("bye")

    assert call(leaves, (), AMPLE_S).problem.startswith("stopped with SystemExit: bye, in line ")


def test_the_interrupt_button_ends_the_check() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        call(interrupted, (), AMPLE_S)


def test_endless_recursion_is_an_exception_like_any_other() -> None:
    def deeper() -> Any:
        return deeper()

    assert call(deeper, (), AMPLE_S).problem.startswith("stopped with RecursionError: ")


def test_what_is_printed_is_kept_and_bounded_and_does_not_flood_the_page(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def chatty() -> None:
        for n in range(100_000):
            print("line", n)

    outcome = call(chatty, (), AMPLE_S)
    assert outcome.printed.startswith("line 0\nline 1\n")
    assert len(outcome.printed) == running.PRINTED_CHARS
    assert capsys.readouterr().out == ""


def test_a_function_that_returns_an_awaitable_is_awaited() -> None:
    async def later() -> int:
        return 5

    assert call(lambda: later(), (), AMPLE_S) == Outcome(value=5)


def test_an_exception_in_a_coroutine_is_shown_with_its_line() -> None:
    async def breaks() -> None:
        raise ValueError("no")

    line = breaks.__code__.co_firstlineno + 1
    assert call(breaks, (), AMPLE_S).problem == (
        f'stopped with ValueError: no, in line {line} of your cell: raise ValueError("no")'
    )


def test_an_answer_gets_copies_of_its_arguments() -> None:
    numbers = [1, 2, 3]
    call(lambda them: them.clear(), (numbers,), AMPLE_S)
    assert numbers == [1, 2, 3]
