"""A crowd of real WebSocket clients in one selector: each notices that its server is gone, waits, comes back.

Lean on purpose, since the crowd shares the machine with the server that it measures: raw sockets, a handshake
by labsupport.wire, and of the frames only what a client must answer (ping, close).
"""

import collections
import errno
import functools
import os
import selectors
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from labsupport.clients.spread import spread_s
from labsupport.measure.exchange import Timetable
from labsupport.measure.fleet import MAX_CLIENTS
from labsupport.measure.sockets import LoadError, Target, allow_connections, drop, lean_socket, reason
from labsupport.wire.frames import Frame, FrameParser, Opcode, WebSocketError, encode_frame, parse_close
from labsupport.wire.handshake import UpgradeRefused, build_request, check_response, new_key

OPENING = 64  # handshakes under way while the crowd comes in: fewer than a small accept queue holds
OPEN_S = 30.0  # seconds for all to come in
AGAIN_S = 0.05  # seconds before a client that was refused on its way in tries again
_CLOSED = "closed"


class Waits(Protocol):
    """One client's waits, as labsupport.backoff has them: None gives up."""

    def next(self) -> float | None: ...

    def reset(self) -> None: ...


class Policy(Protocol):
    """A rule for waiting: what labsupport.backoff offers."""

    def waits(self, *, seed: int | None = None, client: int = 0) -> Waits: ...


class State(Enum):
    AWAY = "not connected, and nothing planned"
    WAITING = "for its next attempt"
    CONNECTING = "TCP handshake"
    ASKING = "WebSocket handshake"
    OPEN = "connected"
    LOST = "has given up"


@dataclass(frozen=True)
class Rules:
    """What the clients of one storm do."""

    policy: Policy
    seed: int
    spread_s: float
    final_status: bool  # an HTTP answer other than 101 ends a client for good, as it ends an EventSource
    most_attempts: int


class Records:
    """What happened in one storm: a row per attempt, and two numbers per client. Seconds since its time 0."""

    def __init__(self, clients: int) -> None:
        self.client: list[int] = []
        self.due_s: list[float] = []
        self.began_s: list[float] = []
        self.ended_s: list[float] = []
        self.outcome: list[str] = []
        self.cut_at_s = [float("nan")] * clients
        self.cuts: collections.Counter[str] = collections.Counter()
        self.connected_at_s = [float("nan")] * clients
        self.unfinished = clients  # neither connected nor given up
        self.out_of_attempts = 0  # stopped by the bound on attempts, not by their policy

    def begin(self, client: int, due_s: float, now_s: float) -> int:
        """Enter an attempt; gives its row."""
        self.client.append(client)
        self.due_s.append(due_s)
        self.began_s.append(now_s)
        self.ended_s.append(float("nan"))
        self.outcome.append("no answer")
        return len(self.client) - 1

    def end(self, row: int, outcome: str, now_s: float) -> None:
        self.outcome[row] = outcome
        self.ended_s[row] = now_s


class Client:
    """One client, and its connection if it has one."""

    __slots__ = (
        "attempts",
        "buffer",
        "crowd",
        "key",
        "number",
        "parser",
        "row",
        "sock",
        "state",
        "target",
        "waits",
    )

    def __init__(self, crowd: "Crowd", number: int) -> None:
        self.crowd = crowd
        self.number = number
        self.state = State.AWAY
        self.sock: socket.socket | None = None
        self.buffer = bytearray()
        self.parser: FrameParser | None = None
        self.key = ""
        self.target = crowd.target
        self.waits: Waits | None = None
        self.attempts = 0
        self.row = -1

    def attempt(self, storm: int, due_s: float) -> None:
        """Connect. What was planned in an earlier storm is void."""
        crowd = self.crowd
        if storm != crowd.storm or self.state not in (State.AWAY, State.WAITING):
            return
        if crowd.records is not None:
            self.row = crowd.records.begin(self.number, due_s, crowd.table.now())
        self.target = crowd.target_of(self)
        self.attempts += 1
        try:
            self.sock = lean_socket(self.number, self.target.host)
        except OSError as error:
            self._ended(reason(error))
            return
        code = self.sock.connect_ex(self.target[:2])
        if code not in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
            self._ended(reason(code))
            return
        self.state = State.CONNECTING
        crowd.table.selector.register(self.sock, selectors.EVENT_WRITE, self)

    def read(self) -> None:
        """Take what the selector has for it."""
        assert self.sock is not None
        try:
            if self.state is State.CONNECTING:
                self._connected()
                return
            chunk = self.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError as error:
            self._ended(reason(error))
            return
        if not chunk:
            self._ended(_CLOSED)
        elif self.state is State.ASKING:
            self.buffer += chunk
            self._answered()
        else:
            self._frames(chunk)

    def leave(self) -> None:
        """Drop the connection, with a reset."""
        if self.sock is not None:
            if self.sock in self.crowd.table.selector.get_map():
                self.crowd.table.selector.unregister(self.sock)
            drop(self.sock)
        self.sock, self.parser = None, None
        self.buffer.clear()
        self.state = State.AWAY

    def _connected(self) -> None:
        assert self.sock is not None
        code = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, "")
        self.key = new_key()
        self.sock.send(
            self.crowd.request_to(self.target) % self.key.encode()
        )  # some 200 bytes: they fit into any buffer
        self.state = State.ASKING
        self.crowd.table.selector.modify(self.sock, selectors.EVENT_READ, self)

    def _answered(self) -> None:
        end = self.buffer.find(b"\r\n\r\n") + 4
        if end < 4:
            return
        head, rest = bytes(self.buffer[:end]), bytes(self.buffer[end:])
        try:
            check_response(head, self.key)
        except UpgradeRefused as error:
            self._ended(f"status {error.status}" if error.status else "no HTTP", answered=True)
            return
        self.buffer.clear()
        self.state = State.OPEN
        self.crowd.came_in(self)
        if rest:
            self._frames(rest)

    def _frames(self, chunk: bytes) -> None:
        self.parser = self.parser or FrameParser(role="client")
        assert self.sock is not None
        try:
            for frame in self.parser.feed(chunk):
                if frame.opcode is Opcode.PING:
                    self.sock.send(masked(Opcode.PONG, frame.payload))
                elif frame.opcode is Opcode.CLOSE:
                    self.sock.send(masked(Opcode.CLOSE, frame.payload))
                    self._ended(f"close {parse_close(frame.payload).code}")
                    return
                elif frame.opcode is Opcode.TEXT:
                    self.crowd.heard(self, frame.payload)
        except (WebSocketError, OSError) as error:
            self._ended(reason(error) if isinstance(error, OSError) else "no WebSocket")

    def _ended(self, why: str, answered: bool = False) -> None:
        """The attempt was refused, or the connection is gone; `answered`: by HTTP."""
        was_open = self.state is State.OPEN
        self.leave()
        self.crowd.went_out(self, why, was_open, answered)


class Crowd:
    """`clients` connections to a WebSocket server. Blocking: open() it, then let storms() pass over it."""

    def __init__(self, target: Target, clients: int, stop: threading.Event) -> None:
        if not 1 <= clients <= MAX_CLIENTS:
            raise LoadError(f"expected 1 to {MAX_CLIENTS} clients, got {clients}")
        allow_connections(clients)
        self.target = target
        self.table = Timetable(stop)
        self.storm = 0
        self.rules: Rules | None = None
        self.records: Records | None = None
        self._requests: dict[Target, bytes] = {}
        self.members = [Client(self, number) for number in range(clients)]
        self.refused_coming_in: collections.Counter[str] = collections.Counter()

    def open(self, seconds: float = OPEN_S) -> None:
        """Let every client in that is not; LoadError when that does not work out in time."""
        self.storm += 1
        self.rules = self.records = None
        self.refused_coming_in.clear()
        for client in self.members:
            if client.state is not State.OPEN:
                client.leave()
        looked = iter((False, True))
        self.table.run(lambda: next(looked), float("inf"))  # who went since the last storm?
        away = collections.deque(client for client in self.members if client.state is State.AWAY)
        for client in [away.popleft() for _ in range(min(OPENING, len(away)))]:
            client.attempt(self.storm, 0.0)
        self._away = away
        ends = self.table.now() + seconds
        self.table.run(lambda: self._all_open() or self.table.now() > ends, float("inf"))
        if not self._all_open():
            count = sum(client.state is State.OPEN for client in self.members)
            why = ", ".join(f"{n} times {text}" for text, n in self.refused_coming_in.items()) or "no answer"
            raise LoadError(
                f"{count} of {len(self.members)} clients came in within {seconds:g} s ({why}): "
                "try fewer clients, or a server that lets in more a second"
            )

    @property
    def lost(self) -> int:
        """Clients that will not come back."""
        return sum(client.state is State.LOST for client in self.members)

    @property
    def back(self) -> int:
        """Clients that are connected again."""
        return len(self.members) - self.lost - (self.records.unfinished if self.records else 0)

    def begin(self, rules: Rules) -> Records:
        """From now on, whoever is cut off comes back by these rules. Time 0 is in a moment: table.now()."""
        self.storm += 1
        self.rules, self.records = rules, Records(len(self.members))
        for client in self.members:
            client.waits = rules.policy.waits(seed=rules.seed, client=client.number)
            client.attempts = 0
        self.table.start()
        return self.records

    def come(self, rules: Rules) -> Records:
        """All come by these rules, without a cut before it."""
        records = self.begin(rules)
        for client in self.members:
            self._plan(client, rules, 0.0, gives_up=False)
        return records

    def run(self, done: Callable[[], bool]) -> None:
        """Go on until `done()`, which is asked at least every LOOK_S seconds."""
        self.table.run(done, float("inf"))

    def close(self) -> None:
        """Drop every connection. Closing twice does no harm."""
        if self.members:
            for client in self.members:
                client.leave()
            self.members = []
            self.table.close()

    def target_of(self, client: Client) -> Target:
        """Where this client's next attempt goes."""
        return self.target

    def request_to(self, target: Target) -> bytes:
        """A handshake's bytes, but for the key, which goes in by %."""
        if target not in self._requests:
            key = new_key()
            request = build_request(f"{target.host}:{target.port}", target.path, key)
            self._requests[target] = request.replace(b"%", b"%%").replace(key.encode(), b"%b")
        return self._requests[target]

    def heard(self, client: Client, text: bytes) -> None:
        """A storm counts connections only; other crowds listen."""

    def came_in(self, client: Client) -> None:
        records, now_s = self.records, self.table.now()
        if records is not None:
            records.connected_at_s[client.number] = now_s
            records.unfinished -= 1
            records.end(client.row, "connected", now_s)
        elif self._away:
            self._away.popleft().attempt(self.storm, 0.0)

    def went_out(self, client: Client, why: str, was_open: bool, answered: bool) -> None:
        records, rules, now_s = self.records, self.rules, self.table.now()
        if records is None or rules is None:
            if not was_open:
                self.refused_coming_in[why] += 1
                again_s = now_s + AGAIN_S
                self.table.at(again_s, functools.partial(client.attempt, self.storm, again_s))
            return
        if was_open:
            records.cuts[why] += 1
            if client.attempts:  # it was let in, and cut off again
                records.connected_at_s[client.number] = float("nan")
                records.unfinished += 1
            else:
                records.cut_at_s[client.number] = now_s
        else:
            records.end(client.row, why, now_s)
        self._plan(client, rules, now_s, gives_up=answered and rules.final_status)

    def _plan(self, client: Client, rules: Rules, now_s: float, gives_up: bool) -> None:
        assert self.records is not None
        assert client.waits is not None
        wait_s = None if gives_up else client.waits.next()
        if wait_s is None or client.attempts >= rules.most_attempts:
            client.state = State.LOST
            self.records.unfinished -= 1
            self.records.out_of_attempts += wait_s is not None
            return
        client.state = State.WAITING
        due_s = now_s + wait_s
        if rules.spread_s:
            due_s += spread_s(rules.seed, client.number, client.attempts, rules.spread_s)
        self.table.at(due_s, functools.partial(client.attempt, self.storm, due_s))

    def _all_open(self) -> bool:
        return all(client.state is State.OPEN for client in self.members)


def masked(opcode: Opcode, payload: bytes) -> bytes:
    return encode_frame(Frame(opcode, payload, masking_key=os.urandom(4)))
