"""Requests on a time-table: whatever is due goes out in the order of its time, from one thread, by one clock.

Because polls and messages leave through the same loop, they keep their order even when the machine is late:
a poll that was due before a message also reaches the server before it. Open loop: a message never waits for
an answer.
"""

import functools
import heapq
import itertools
import json
import selectors
import threading
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np

from labsupport.measure.sockets import (
    Answer,
    Clock,
    LoadError,
    Target,
    drop,
    lean_socket,
    reason,
    take_answer,
)
from labsupport.measure.threads import LOOK_S, Stopped

PUBLISHERS = 32  # connections for messages; more are never in flight at the rates of a lesson
LEAD_S = 0.02  # seconds between the opened connections and time 0

OnAnswer = Callable[[Answer, float], None]


class Timetable:
    """Actions at times (seconds since start()), and answers as they come."""

    def __init__(self, stop: threading.Event) -> None:
        self.selector: selectors.BaseSelector = selectors.DefaultSelector()
        self.lines: list[Line] = []
        self._stop = stop
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()  # equal times keep the order in which they were entered
        self._zero = Clock()

    def at(self, seconds: float, action: Callable[[], None]) -> None:
        """Do `action` at this time, or at once when it is past."""
        heapq.heappush(self._due, (seconds, next(self._order), action))

    def start(self) -> None:
        """Time 0 comes in a moment."""
        self._zero = Clock() + LEAD_S

    def now(self) -> float:
        return Clock() - self._zero

    def run(self, done: Callable[[], bool], ends: float) -> None:
        """Until `done()`; LoadError when that is not so at `ends`."""
        while not done():
            while self._due and self._due[0][0] <= self.now():
                heapq.heappop(self._due)[2]()
            wait = self._due[0][0] - self.now() if self._due else LOOK_S
            for key, _ in self.selector.select(max(0.0, min(wait, LOOK_S))):
                key.data.read()
            if self._stop.is_set():
                raise Stopped
            if self.now() > ends:
                raise LoadError("the answers did not come in time: fewer clients, or a longer interval?")

    def close(self) -> None:
        for line in self.lines:
            drop(line.sock)
        self.selector.close()


class Line:
    """One open connection that carries one request at a time."""

    def __init__(self, table: Timetable, target: Target, number: int) -> None:
        self.sock = lean_socket(number, target.host)
        table.lines.append(self)
        self._table = table
        self._buffer = bytearray()
        self._on_answer: OnAnswer | None = None
        self.sock.settimeout(5)  # seconds; only to connect, which loopback does at once
        try:
            self.sock.connect(target[:2])
        except OSError as error:
            where = f"{target.host}:{target.port}"
            raise LoadError(f"no connection to {where} ({reason(error)}): does the server run?") from None
        self.sock.setblocking(False)
        table.selector.register(self.sock, selectors.EVENT_READ, self)

    @property
    def busy(self) -> bool:
        return self._on_answer is not None

    def send(self, request: bytes, on_answer: OnAnswer) -> None:
        """Send a request; `on_answer(answer, seconds)` is called when its answer is whole."""
        self._on_answer = on_answer
        try:
            sent = self.sock.send(request)
        except OSError as error:
            raise LoadError(
                f"the server closed a connection between two requests ({reason(error)})"
            ) from None
        if sent < len(request):
            raise LoadError("a request did not fit into the send buffer: is the server stopped?")

    def read(self) -> None:
        try:
            chunk = self.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError as error:
            raise LoadError(f"a connection broke: {reason(error)}") from None
        if not chunk:
            raise LoadError("the server closed a connection: was it stopped?")
        self._buffer += chunk
        now = self._table.now()
        answer = take_answer(self._buffer)
        if answer is None or self._on_answer is None:
            return
        if not 200 <= answer.status < 300:
            raise LoadError(
                f"the server answered {answer.status}: {answer.body[:200].decode(errors='replace')}"
            )
        on_answer, self._on_answer = self._on_answer, None
        on_answer(answer, now)


class Publisher:
    """Publishes message k of client c at `arrivals_s[c][k]`, whether or not earlier answers are there."""

    def __init__(self, table: Timetable, target: Target, channels: Sequence[str]) -> None:
        self._table = table
        self._target = target
        self._channels = channels
        self._idle: list[Line] = []
        self._open = 0
        self._queue: deque[int] = deque()  # only when all PUBLISHERS connections are busy
        self._client = self._number = np.empty(0, dtype=np.int64)
        self._due_s = self._sent_s = self._stored_s = np.empty(0)
        self.unanswered = 0

    def enter(self, arrivals_s: Sequence[np.ndarray]) -> None:
        """Put every message on the time-table."""
        self._client = np.repeat(np.arange(len(arrivals_s)), [len(times) for times in arrivals_s])
        self._number = np.concatenate([np.arange(len(times)) for times in arrivals_s])
        self._due_s = np.concatenate([np.asarray(times, dtype=float) for times in arrivals_s])
        self._sent_s = np.full(len(self._due_s), np.nan)
        self._stored_s = np.full(len(self._due_s), np.nan)
        self.unanswered = len(self._due_s)
        for index, due_s in enumerate(self._due_s):
            self._table.at(float(due_s), functools.partial(self._send, index))

    def by_client(self) -> dict[str, np.ndarray]:
        """When each message was due, left, and was stored: by client, then by time."""
        return {
            "message_client": self._client,
            "published_s": self._due_s,
            "sent_s": self._sent_s,
            "stored_s": self._stored_s,
        }

    def _send(self, index: int) -> None:
        if not self._idle and self._open == PUBLISHERS:
            self._queue.append(index)
            return
        if not self._idle:
            self._idle.append(Line(self._table, self._target, len(self._channels) + self._open))
            self._open += 1
        line = self._idle.pop()
        body = json.dumps({"event": "message", "data": int(self._number[index])}).encode()
        path = f"/messages?channel={self._channels[self._client[index]]}"
        self._sent_s[index] = self._table.now()
        line.send(self._target.post(path, body), lambda _, now: self._answered(index, line, now))

    def _answered(self, index: int, line: Line, now: float) -> None:
        self._stored_s[index] = now
        self.unanswered -= 1
        self._idle.append(line)
        if self._queue:
            self._send(self._queue.popleft())
