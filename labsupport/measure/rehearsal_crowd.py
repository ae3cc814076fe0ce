"""The clients of a deploy rehearsal: in a chat room on several servers, always on their way back to it.

A storm's crowd (storms_crowd.py) that also joins, listens, and chooses its server anew for each attempt from
a list of addresses that the operator keeps, as a load balancer keeps it for everybody.
"""

import functools
import json
import secrets
import socket
import threading
from dataclasses import dataclass, field

from labsupport.clients import DeliveryChecker
from labsupport.clients.spread import life_left_s, place
from labsupport.measure.sockets import LoadError, Target, connect, drop, reason
from labsupport.measure.storms_crowd import Client, Crowd, Records, Rules, State, masked
from labsupport.wire.frames import FrameParser, Opcode
from labsupport.wire.handshake import build_request, check_response, new_key

JOIN_S = 20.0  # seconds for all to be in their room at first
PUBLISHER_LATE_S = 5.0  # seconds for the answers of the publisher's server


@dataclass
class Life:
    """What one client of the rehearsal has seen."""

    position: str | None = None  # of the newest message that it has
    begins_after: int = -1  # a client that does not resume throws away what is older: it begins with now
    joined: bool = False
    away_since_s: float | None = None
    away: list[tuple[float, float]] = field(default_factory=list)


class RollCrowd(Crowd):
    """Clients 0, 2, 4 … resume where they were; 1, 3, 5 … begin anew with what is said from then on."""

    def __init__(self, targets: list[Target], clients: int, room: str, stop: threading.Event) -> None:
        super().__init__(targets[0], clients, stop)
        self.targets = self.first = tuple(targets)  # the list of addresses; the operator replaces it
        self.room = room
        self.seed = 0
        self.lives = [Life() for _ in range(clients)]
        self.checkers = {True: DeliveryChecker(), False: DeliveryChecker()}  # by whether a client resumes
        for number in range(clients):
            self.checkers[resumes(number)].follower(f"client {number}")

    @property
    def joined(self) -> int:
        return sum(life.joined for life in self.lives)

    def join_all(self) -> None:
        """Open every connection, as many to each server, and wait until all are in the room."""
        self.open()
        ends = self.table.now() + JOIN_S
        self.run(lambda: self.joined == len(self.members) or self.table.now() > ends)
        if self.joined < len(self.members):
            raise LoadError(f"{self.joined} of {len(self.members)} clients were let into the room")

    def begin(self, rules: Rules) -> Records:
        self.seed = rules.seed
        return super().begin(rules)

    def target_of(self, client: Client) -> Target:
        if self.records is None:
            return self.first[client.number % len(self.first)]
        targets = self.targets
        return targets[place(self.seed, client.number, client.attempts, len(targets))]

    def move_within(self, life_s: float) -> None:
        """From now on each connection has at most `life_s` left; then its client leaves and comes back."""
        for client in self.members:
            at_s = self.table.now() + life_left_s(self.seed, client.number, life_s)
            self.table.at(at_s, functools.partial(self._move, client))

    def came_in(self, client: Client) -> None:
        """The handshake is done; the client is back when it is in its room again."""
        if self.records is None:
            super().came_in(client)
        else:
            self.records.end(client.row, "connected", self.table.now())
        life = self.lives[client.number]
        since = life.position if resumes(client.number) else None
        join = {"type": "join", "room": self.room, "user": "crowd", "since": since}
        assert client.sock is not None
        client.sock.send(masked(Opcode.TEXT, json.dumps(join).encode()))

    def heard(self, client: Client, text: bytes) -> None:
        life, said = self.lives[client.number], json.loads(text)
        if said["type"] == "joined":
            self._joined(client, life, said["position"])
        elif said["type"] == "message":
            life.position = said["position"]
            if offset(life.position) > life.begins_after:
                self.checkers[resumes(client.number)].received(f"client {client.number}", life.position)

    def went_out(self, client: Client, why: str, was_open: bool, answered: bool) -> None:
        if self.records is None or self.rules is None:
            super().went_out(client, why, was_open, answered)
            return
        now_s = self.table.now()
        if not was_open:
            self.records.end(client.row, why, now_s)
        else:
            self._left(client.number)
            self.records.cuts[why] += 1
        self._plan(client, self.rules, now_s, gives_up=False)

    def _joined(self, client: Client, life: Life, position: str) -> None:
        life.joined = True
        if not resumes(client.number):
            life.begins_after = offset(position)
        if life.away_since_s is not None:
            life.away.append((life.away_since_s, self.table.now()))
            life.away_since_s = None
        if client.waits is not None:
            client.waits.reset()

    def _left(self, number: int) -> None:
        life = self.lives[number]
        life.joined = False
        if life.away_since_s is None:  # else it was let in, and cut off again before it was in its room
            life.away_since_s = self.table.now()

    def _move(self, client: Client) -> None:
        if client.state is State.OPEN and client.target not in self.targets:
            assert self.records is not None
            self.records.cuts["end of its life"] += 1
            self._left(client.number)
            client.leave()
            client.attempt(self.storm, self.table.now())


class Publisher:
    """Says a message every 1/`per_s` seconds on a server that nobody rolls, and notes what became of it."""

    def __init__(self, crowd: RollCrowd, target: Target, per_s: float) -> None:
        self.crowd, self.per_s = crowd, per_s
        self.stored: list[str] = []  # positions
        self.sent = 0
        self._name = secrets.token_hex(4)
        self._parser = FrameParser(role="client")
        self._turn = 0
        self.sock = self._open(target)
        crowd.table.selector.register(self.sock, 1, self)  # 1: EVENT_READ
        self._say(type="join", room=crowd.room, user="publisher")

    def start(self) -> None:
        """From now on. Again, when the table's time has begun anew: what was due by the old one is void."""
        self._turn += 1
        self._publish(self._turn, self.crowd.table.now())

    def end(self) -> None:
        """No more messages from now on."""
        self._turn += 1

    @property
    def all_stored(self) -> bool:
        return len(self.stored) == self.sent

    def close(self) -> None:
        drop(self.sock)

    def read(self) -> None:
        try:
            chunk = self.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError as error:
            raise LoadError(f"the publisher's connection broke: {reason(error)}") from None
        if not chunk:
            raise LoadError("the publisher's server closed its connection")
        for frame in self._parser.feed(chunk):
            if frame.opcode is Opcode.PING:
                self.sock.send(masked(Opcode.PONG, frame.payload))
            elif frame.opcode is Opcode.TEXT and (said := json.loads(frame.payload))["type"] == "ack":
                self.stored.append(said["position"])
                for checker in self.crowd.checkers.values():
                    checker.published(said["position"])

    def _publish(self, turn: int, due_s: float) -> None:
        if turn != self._turn:
            return
        self._say(type="message", id=f"{self._name}-{self.sent}", text=f"price {self.sent}")
        self.sent += 1
        next_s = due_s + 1 / self.per_s
        self.crowd.table.at(next_s, functools.partial(self._publish, turn, next_s))

    def _say(self, **content: object) -> None:
        self.sock.send(masked(Opcode.TEXT, json.dumps(content).encode()))

    def _open(self, target: Target) -> socket.socket:
        sock = connect(target)
        sock.settimeout(PUBLISHER_LATE_S)
        key, head = new_key(), b""
        sock.sendall(build_request(f"{target.host}:{target.port}", target.path, key))
        while not head.endswith(b"\r\n\r\n"):  # nothing follows it before the join
            chunk = sock.recv(4096)
            if not chunk:
                raise LoadError("the publisher was not let in")
            head += chunk
        check_response(head, key)
        sock.setblocking(False)
        return sock


def resumes(number: int) -> bool:
    return number % 2 == 0


def offset(position: str) -> int:
    """The place in the log. Clients do not look into a position; whoever counts what they lost may."""
    return int(position.rpartition("-")[2])
