"""The fleet: thousands of lean connections that each ask once, wait, and are counted, by one selector."""

import collections
import errno
import selectors
import socket
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from labsupport.measure.sockets import (
    DEFAULT,
    Clock,
    LoadError,
    Origin,
    Target,
    allow_connections,
    connect,
    drop,
    lean_socket,
    read_answer,
    reason,
    take_answer,
)
from labsupport.measure.threads import LOOK_S, Stopped

if TYPE_CHECKING:  # a helper of the load client has no use for numpy, and starts without it in half the time
    import numpy as np

MAX_CLIENTS = 20_000  # connections of one process: the hard limit that small systems set
IN_FLIGHT = 512  # connects at a time: a listener's backlog is 2 048, and a dropped SYN costs a whole second
OPEN_S = 20.0  # seconds to open everything
WAKE_S = 30.0  # seconds for all answers after a publish


@dataclass(frozen=True)
class Woken:
    """What one publish did. `answers_ms`: a delay per answer, sorted, from the publish to its last byte."""

    clients: int
    answers_ms: "np.ndarray"
    early: int  # had their answer before the publish
    broken: dict[str, int] = field(default_factory=dict)  # reason -> connections

    @property
    def answered(self) -> int:
        return len(self.answers_ms)

    @property
    def first_ms(self) -> float:
        return float(self.answers_ms[0]) if self.answered else float("nan")

    @property
    def last_ms(self) -> float:
        return float(self.answers_ms[-1]) if self.answered else float("nan")

    def __str__(self) -> str:
        return sentence(f"{self.answered} of {self.clients} answered", self.early, self.broken)


class Line:
    """One connection of the fleet."""

    __slots__ = ("buffer", "number", "sock", "status")

    def __init__(self, number: int, sock: socket.socket) -> None:
        self.number = number
        self.sock = sock
        self.buffer = bytearray()
        self.status = 0  # 0 until the answer is there


class Fleet:
    """Connections that each send one request and wait for its answer. Blocking; `park()` is its async face.

    `request` goes out on every connection as it is. The clients are numbered from `first` on, and a number
    stands for a source address: fleets side by side must not share them. After open(): `opened` connections
    have sent it, and `broken` says what became of the others, by reason.
    """

    def __init__(
        self, target: Target, clients: int, request: bytes, *, first: int = 0, origin: Origin = DEFAULT
    ) -> None:
        if not 1 <= clients <= MAX_CLIENTS:
            raise LoadError(f"expected 1 to {MAX_CLIENTS} clients, got {clients}")
        self.target = target
        self.clients = clients
        self.request = request
        self.first = first
        self.origin = origin
        self.opened = 0
        self.broken: collections.Counter[str] = collections.Counter()
        self.early: list[Line] = []
        self._waiting: set[Line] = set()
        self._opening: set[Line] = set()
        self._answered: list[tuple[float, Line]] = []
        self._selector: selectors.BaseSelector = selectors.DefaultSelector()
        self._lines: set[Line] = set()
        self._started = 0

    def open(self, stop: threading.Event, seconds: float = OPEN_S, *, answered: bool = False) -> None:
        """Open all connections and send the request on each, until all are through or `seconds` are over.

        With `answered`, a connection is through when its answer is there; else when its request is sent.
        """
        allow_connections(self.clients - self._started)
        ends = Clock() + seconds
        while self._started < self.clients or self._opening or (answered and self._waiting):
            busy = self._waiting if answered else ()
            while self._started < self.clients and len(self._opening) + len(busy) < IN_FLIGHT:
                self._start(self.first + self._started)
                self._started += 1
            self.turn(stop, ends)
            if Clock() >= ends:
                for line in list(self._opening):
                    self._break(line, "no connection in time")
                self.broken["not started in time"] += self.clients - self._started
                self._started = self.clients
                if answered:
                    self._give_up()
                break
        self.broken += collections.Counter()  # drops the zero counts
        self.early, self._answered = [line for _, line in self._answered], []

    def wake(self, stop: threading.Event, publish: bytes, seconds: float = WAKE_S) -> Woken:
        """Send `publish` on a connection of its own, and time every answer from then on."""
        self.turn(stop, Clock())  # what came since open() was not caused by this publish
        self.early += [line for _, line in self._answered]
        self._answered = []
        with connect(self.target) as publisher:
            started = Clock()
            publisher.sendall(publish)
            ends = started + seconds
            while self._waiting and Clock() < ends:
                self.turn(stop, ends)
            answer = read_answer(publisher)
        import numpy as np

        self._give_up()
        if answer.status != 201:
            raise LoadError(f"the server did not take the message: {answer.status} {answer.body[:200]!r}")
        delays_ms = np.array(sorted((at - started) * 1000 for at, _ in self._answered))
        self._answered = []
        return Woken(self.clients, delays_ms, len(self.early), dict(self.broken))

    @property
    def waiting(self) -> int:
        """Connections that have asked and have no answer yet."""
        return len(self._waiting)

    def close(self) -> None:
        """Drop every connection, with a reset."""
        for line in self._lines:
            drop(line.sock)
        self._lines.clear()
        self._waiting.clear()
        self._opening.clear()
        self._selector.close()

    def _give_up(self) -> None:
        for line in list(self._waiting):
            self._break(line, "no answer in time")

    def _start(self, number: int) -> None:
        try:
            line = Line(number, lean_socket(number, self.target.host, self.origin))
        except OSError as error:
            self.broken[reason(error)] += 1
            return
        self._lines.add(line)
        code = line.sock.connect_ex(self.target[:2])
        if code not in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
            drop(line.sock)
            self.broken[reason(code)] += 1
            return
        self._opening.add(line)
        self._selector.register(line.sock, selectors.EVENT_WRITE, line)

    def turn(self, stop: threading.Event, ends: float) -> None:
        """Handle what is ready now, or whatever comes first."""
        for key, _ in self._selector.select(max(0.0, min(LOOK_S, ends - Clock()))):
            line: Line = key.data
            if line in self._opening:
                self._connected(line)
            else:
                self._readable(line)
        if stop.is_set():
            raise Stopped

    def _connected(self, line: Line) -> None:
        code = line.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._break(line, reason(code))
            return
        try:
            sent = line.sock.send(self.request)
        except OSError as error:
            self._break(line, reason(error))
            return
        if sent < len(self.request):
            self._break(line, "request did not fit into the send buffer")
            return
        self._opening.discard(line)
        self._waiting.add(line)
        self.opened += 1
        self._selector.modify(line.sock, selectors.EVENT_READ, line)

    def _readable(self, line: Line) -> None:
        try:
            chunk = line.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError as error:
            self._break(line, reason(error))
            return
        now = Clock()
        if not chunk:
            self._break(line, "closed without an answer")
            return
        line.buffer += chunk
        self._heard(line, now)

    def _heard(self, line: Line, now: float) -> None:
        """Bytes have come, and lie in the buffer."""
        answer = take_answer(line.buffer)
        if answer is None:
            return
        line.status = answer.status
        if answer.status >= 400:
            self._break(line, f"status {answer.status}")
            return
        self._waiting.discard(line)
        self._selector.unregister(line.sock)
        self._answered.append((now, line))

    def _break(self, line: Line, reason: str) -> None:
        self.broken[reason] += 1
        self._opening.discard(line)
        self._waiting.discard(line)
        self._lines.discard(line)
        self._selector.unregister(line.sock)
        drop(line.sock)


def sentence(text: str, early: int, broken: dict[str, int]) -> str:
    parts = [text]
    if early:
        parts.append(f"{early} had an answer before the publish")
    parts += [f"{count} {reason}" for reason, count in sorted(broken.items())]
    return ", ".join(parts)
