"""Where and how the tests' sweeps run."""

import signal
import threading
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any


class AtOnce(Executor):
    """Runs a call when it is handed in, in this thread."""

    def submit(self, function: Any, /, *arguments: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(function(*arguments, **named))
        except BaseException as error:
            future.set_exception(error)
        return future


class Watched(ThreadPoolExecutor):
    """One thread, and an event that is set as soon as a call is cancelled."""

    def __init__(self, cancelled: threading.Event) -> None:
        super().__init__(1)
        self.cancelled = cancelled

    def submit(self, *arguments: Any, **named: Any) -> Future[Any]:
        future = super().submit(*arguments, **named)
        future.add_done_callback(lambda one: self.cancelled.set() if one.cancelled() else None)
        return future


def press_stop(after: int) -> Any:
    """A progress function during which somebody presses stop, once."""
    pressed: list[int] = []

    def progress(settled: int, total: int) -> None:
        if settled >= after and not pressed:
            pressed.append(settled)
            signal.raise_signal(signal.SIGINT)

    return progress
