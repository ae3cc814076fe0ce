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

PUBLISHERS = 32  # connections for messages
LEAD_S = 0.02  # seconds between the opened connections and time 0

OnAnswer = Callable[[Answer, float], None]


class Timetable:
    """Actions at times (seconds since start()), and answers as they come."""

    def __init__(self, stop: threading.Event) -> None:
        self.selector: selectors.BaseSelector = selectors.DefaultSelector()
        self.lines: list[Line] = []
        self.stop = stop
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
            if self.stop.is_set():
                raise Stopped
            if self.now() > ends:
                raise LoadError("the answers did not come in time: fewer clients, or a longer interval?")

    def close(self) -> None:
        for line in self.lines:
            drop(line.sock)
        self.selector.close()


class Line:
    """One open connection. Requests may follow each other before the answers come (HTTP pipelining)."""

    def __init__(self, table: Timetable, target: Target, number: int) -> None:
        self.sock = lean_socket(number, target.host)
        table.lines.append(self)
        self._table = table
        self._buffer = bytearray()
        self._on_answer: deque[OnAnswer] = deque()
        self.sock.settimeout(5)  # seconds; only to connect, which loopback does at once
        try:
            self.sock.connect(target[:2])
        except OSError as error:
            where = f"{target.host}:{target.port}"
            raise LoadError(f"no connection to {where} ({reason(error)}): does the server run?") from None
        self.sock.setblocking(False)
        table.selector.register(self.sock, selectors.EVENT_READ, self)

    def send(self, request: bytes, on_answer: OnAnswer) -> None:
        """Send a request; `on_answer(answer, seconds)` is called when its answer is whole."""
        self._on_answer.append(on_answer)
        try:
            sent = self.sock.send(request)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise LoadError(
                f"the server closed a connection between two requests ({reason(error)})"
            ) from None
        if sent < len(request):
            raise LoadError("a request did not fit into the send buffer: is the server stopped?")

    def read(self) -> None:
        """Take what has come, and hand on each answer that is whole."""
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
        while self._on_answer and (answer := take_answer(self._buffer)) is not None:
            if not 200 <= answer.status < 300:
                text = answer.body[:200].decode(errors="replace")
                raise LoadError(f"the server answered {answer.status}: {text}")
            self._on_answer.popleft()(answer, now)


class Publisher:
    """Publishes message k of client c at `arrivals_s[c][k]`, whether or not earlier answers are there.

    All messages of a client take the same connection, since only there the order in which they were sent is
    the order in which the server gets them.
    """

    def __init__(self, table: Timetable, target: Target, channels: Sequence[str]) -> None:
        self._table = table
        self._target = target
        self._channels = channels
        self._lines: dict[
            int, Line
        ] = {}  # opened when first needed: a server closes one that asks for nothing
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
        client = int(self._client[index])
        slot = client % PUBLISHERS
        line = self._lines.get(slot)
        if line is None:
            line = self._lines[slot] = Line(self._table, self._target, len(self._channels) + slot)
        body = json.dumps({"event": "message", "data": int(self._number[index])}).encode()
        request = self._target.post(f"/messages?channel={self._channels[client]}", body)
        self._sent_s[index] = self._table.now()
        line.send(request, functools.partial(self._answered, index))

    def _answered(self, index: int, _: Answer, now: float) -> None:
        self._stored_s[index] = now
        self.unanswered -= 1
