"""Two ways to measure a delay, side by side: one of them forgets the moments that matter.

    run = await two_loops(server)               the server stands still for a second in the middle
    print(run)
    run.open_ms, run.closed_ms                  a delay for each request, in milliseconds

Closed loop: a client asks, waits for the answer, and asks again when it is due. While the server stands still
it asks nothing, so a second of silence is one slow answer among hundreds ("coordinated omission"). Open loop:
a request is due at its time whatever became of the ones before, as users come who know nothing of each other,
and its delay counts from then: everybody who comes during that second is counted.

Both ask the same server at the same time, from this process, with one clock.
"""

import functools
import threading
from dataclasses import dataclass

import numpy as np

from labsupport.measure.exchange import Line, Timetable
from labsupport.measure.sockets import Answer, LoadError, Target
from labsupport.measure.threads import in_thread
from labsupport.processes import Server

MAX_RATE = 1_000.0  # requests a second of either client: more, and this process measures itself
MAX_HORIZON_S = 60.0
LINES = 8  # connections of the open loop, in turn
PATIENCE_S = 10.0  # seconds after the last request for all answers


@dataclass(frozen=True, eq=False, kw_only=True)
class TwoLoops:
    """What both clients saw. Times in seconds from the beginning; one element for each request."""

    path: str
    rate_per_s: float  # of the open loop; the closed one asks as often while it is answered
    stall_at_s: float
    stall_s: float  # as long the server stood still, from stall_at_s on
    open_due_s: np.ndarray
    open_ms: np.ndarray  # from the moment a request was due to its answer
    closed_sent_s: np.ndarray
    closed_ms: np.ndarray  # from the moment it was sent to its answer

    @property
    def open_p99_ms(self) -> float:
        return float(np.percentile(self.open_ms, 99))

    @property
    def closed_p99_ms(self) -> float:
        return float(np.percentile(self.closed_ms, 99))

    @property
    def missing(self) -> int:
        """Requests that the closed loop never sent, since it waited."""
        return len(self.open_ms) - len(self.closed_ms)

    def __str__(self) -> str:
        return (
            f"{self.stall_s:g} s of standstill. Closed loop: {len(self.closed_ms)} requests, 99 of 100 "
            f"within {self.closed_p99_ms:.1f} ms; open loop: {len(self.open_ms)} requests, 99 of 100 within "
            f"{self.open_p99_ms:.0f} ms. The closed loop never sent {self.missing} of them."
        )


async def two_loops(
    server: Server,
    *,
    path: str = "/messages",
    rate_per_s: float = 200.0,
    horizon_s: float = 4.0,
    stall_at_s: float = 1.5,
    stall_s: float = 1.0,
) -> TwoLoops:
    """Ask `server` (GET `path`) in both ways for `horizon_s`, while it is paused for `stall_s` in between.

    Requests are due at equal distances, so that two runs differ by the server alone. Needs SIGSTOP: POSIX.
    """
    if not 0 < horizon_s <= MAX_HORIZON_S or not 0 < rate_per_s <= MAX_RATE:
        raise LoadError(f"expected at most {MAX_HORIZON_S:g} s and {MAX_RATE:g} requests/s, both above 0")
    if min(stall_s, stall_at_s) < 0 or not stall_at_s + stall_s <= horizon_s:
        raise LoadError(f"expected a standstill within the {horizon_s:g} s of the run")
    run = functools.partial(_Run, server, path, rate_per_s, horizon_s)
    return await in_thread(lambda stop: run(stop).play(stall_at_s, stall_s))


class _Run:
    def __init__(
        self, server: Server, path: str, rate_per_s: float, horizon_s: float, stop: threading.Event
    ) -> None:
        self._server = server
        self._path = path
        self._interval_s = 1 / rate_per_s
        self._due_s = np.arange(int(horizon_s * rate_per_s)) * self._interval_s
        self._horizon_s = horizon_s
        self._table = Timetable(stop)
        self._request = Target.of(server.url).get(path)
        self._open_ms = np.full(len(self._due_s), np.nan)
        self._unanswered = len(self._due_s)
        self._closed: list[tuple[float, float]] = []  # when sent, and the delay in ms
        self._ends = False

    def play(self, stall_at_s: float, stall_s: float) -> TwoLoops:
        table, target = self._table, Target.of(self._server.url)
        try:
            lines = [Line(table, target, number) for number in range(LINES)]
            self._line = Line(table, target, LINES)
            for number, due_s in enumerate(self._due_s):
                table.at(due_s, functools.partial(self._ask, lines[number % LINES], number))
            table.at(0.0, self._ask_closed)
            if stall_s:
                table.at(stall_at_s, self._server.pause)
                table.at(stall_at_s + stall_s, self._server.resume)
            table.start()
            table.run(lambda: self._unanswered == 0 and self._ends, self._horizon_s + PATIENCE_S)
        finally:
            self._server.resume()
            table.close()
        sent_s, closed_ms = np.array(self._closed).T
        return TwoLoops(
            path=self._path,
            rate_per_s=1 / self._interval_s,
            stall_at_s=stall_at_s,
            stall_s=stall_s,
            open_due_s=self._due_s,
            open_ms=self._open_ms,
            closed_sent_s=sent_s,
            closed_ms=closed_ms,
        )

    def _ask(self, line: Line, number: int) -> None:
        line.send(self._request, functools.partial(self._answered, number))

    def _answered(self, number: int, _: Answer, now: float) -> None:
        self._open_ms[number] = (now - self._due_s[number]) * 1000
        self._unanswered -= 1

    def _ask_closed(self) -> None:
        self._line.send(self._request, functools.partial(self._answered_closed, self._table.now()))

    def _answered_closed(self, sent_s: float, _: Answer, now: float) -> None:
        self._closed.append((sent_s, (now - sent_s) * 1000))
        next_s = (np.floor(now / self._interval_s) + 1) * self._interval_s
        self._ends = bool(next_s >= self._horizon_s)
        if not self._ends:
            self._table.at(float(next_s), self._ask_closed)
