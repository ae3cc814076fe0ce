"""What crossed the middlebox: every byte each way and when, and the HTTP exchanges read out of it.

    capture = Capture.from_recording(box.recording())
    capture.bytes_up, capture.bytes_down              exact totals, heads and framing included
    for exchange in capture.exchanges():
        exchange.request.wire_bytes, exchange.waited_s
    print(capture.table())                            one line per exchange, like a browser's network tab
    print(capture.hexdump(1))                         the bytes of connection 1 themselves

"up" is from the client, "down" from the server. Times are seconds since the recording began, taken where the
middlebox stands; bytes count what came to it, also those that a fault then kept from passing.
"""

import base64
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from labsupport.wire.http import HttpError, HttpMessage, HttpParser, RequestHead, ResponseHead

HEXDUMP_LIMIT = 4096  # bytes of one connection shown unless told otherwise: about 256 lines

Direction = Literal["up", "down"]
End = Literal["close", "reset"]


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes as they came to the middlebox in one read; `dropped` if a fault kept them there."""

    t_s: float
    direction: Direction
    data: bytes
    dropped: bool = False


@dataclass
class Connection:
    """One TCP connection.

    opened_s, closed_s   when it opened, and when both sides had ended; closed_s is None while it is open
    ends                 how each direction ended: "close" (orderly) or "reset"
    """

    number: int
    opened_s: float
    closed_s: float | None = None
    ends: dict[Direction, End] = field(default_factory=dict)
    pieces: list[Piece] = field(default_factory=list)

    @property
    def up(self) -> bytes:
        """All that the client sent."""
        return b"".join(piece.data for piece in self.pieces if piece.direction == "up")

    @property
    def down(self) -> bytes:
        """All that the server sent."""
        return b"".join(piece.data for piece in self.pieces if piece.direction == "down")

    @cached_property
    def reading(self) -> "Reading":
        """Its bytes read as HTTP."""
        return _Reader(self).read()


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and its answer on one connection.

    response        None if none came; `response.complete` is False for one that was cut or still runs
    interim         answers before the answer, such as 100 Continue
    sent_s          when the request's first byte came to the middlebox
    first_byte_s    when the answer's first byte came, None if none did
    done_s          when the answer's last byte came, None if it never did
    """

    connection: int
    request: HttpMessage
    response: HttpMessage | None
    sent_s: float
    first_byte_s: float | None
    done_s: float | None
    interim: tuple[HttpMessage, ...] = ()

    @property
    def method(self) -> str:
        assert isinstance(self.request.head, RequestHead)
        return self.request.head.method

    @property
    def target(self) -> str:
        assert isinstance(self.request.head, RequestHead)
        return self.request.head.target

    @property
    def status(self) -> int | None:
        """The answer's status; None without an answer."""
        if self.response is None:
            return None
        assert isinstance(self.response.head, ResponseHead)
        return self.response.head.status

    @property
    def bytes_up(self) -> int:
        """Every byte of the request."""
        return self.request.wire_bytes

    @property
    def bytes_down(self) -> int:
        """Every byte of the answer as far as it came, interim answers included."""
        final = self.response.wire_bytes if self.response else 0
        return final + sum(message.wire_bytes for message in self.interim)

    @property
    def waited_s(self) -> float | None:
        """Seconds from the request's first byte to the answer's first byte."""
        return None if self.first_byte_s is None else self.first_byte_s - self.sent_s


@dataclass(frozen=True, slots=True)
class Reading:
    """What a connection's bytes say.

    problem                     a sentence if they could not be read as HTTP to their end, else ""
    switched_up, switched_down  the bytes after a switch to another protocol (101, CONNECT), else empty
    """

    exchanges: list[Exchange]
    problem: str = ""
    switched_up: bytes = b""
    switched_down: bytes = b""


class Capture:
    """A recording, sorted by connection. `ended_s` is the time of its last record."""

    def __init__(self, connections: list[Connection], *, target: str = "", truncated: bool = False) -> None:
        self.connections = connections
        self.target = target
        self.truncated = truncated
        times = [0.0]
        for connection in connections:
            times += [connection.opened_s, connection.closed_s or 0.0, *(p.t_s for p in connection.pieces)]
        self.ended_s = max(times)

    @classmethod
    def from_recording(cls, recording: Mapping[str, Any]) -> "Capture":
        """Read what `Middlebox.recording()` returns. ValueError says what does not fit."""
        if not isinstance(recording, Mapping) or not isinstance(recording.get("records"), list):
            raise ValueError('expected a recording like {"records": […]}: try box.recording()')
        connections: dict[int, Connection] = {}
        for place, record in enumerate(recording["records"]):
            try:
                _add(connections, record)
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"record {place} of the recording does not fit: {error!r}") from error
        return cls(
            list(connections.values()),
            target=str(recording.get("target", "")),
            truncated=bool(recording.get("truncated", False)),
        )

    @property
    def bytes_up(self) -> int:
        """Bytes that the clients sent."""
        return self._bytes("up")

    @property
    def bytes_down(self) -> int:
        """Bytes that the server sent."""
        return self._bytes("down")

    def _bytes(self, direction: Direction) -> int:
        pieces = (piece for connection in self.connections for piece in connection.pieces)
        return sum(len(piece.data) for piece in pieces if piece.direction == direction)

    def connection(self, number: int) -> Connection:
        """The connection of this number. KeyError lists those there are."""
        for connection in self.connections:
            if connection.number == number:
                return connection
        there = ", ".join(str(connection.number) for connection in self.connections) or "none"
        raise KeyError(f"no connection {number} in this capture; there are: {there}")

    def exchanges(self) -> list[Exchange]:
        """All HTTP exchanges, in the order in which they were asked."""
        found = [exchange for connection in self.connections for exchange in connection.reading.exchanges]
        return sorted(found, key=lambda exchange: exchange.sent_s)

    def table(self, *, times: bool = True) -> str:
        """One line per exchange. Without times, the text is the same at every run of the same lesson."""
        names = ("connection", "request", "answer", "bytes up", "bytes down", "sent s", "wait ms", "all ms")
        rows = [names, *(self._row(exchange) for exchange in self.exchanges())]
        columns = list(zip(*rows, strict=True))[: None if times else 5]
        widths = [max(map(len, column)) for column in columns]
        lines = [
            "  ".join(
                text.ljust(width) if name in ("request", "answer") else text.rjust(width)
                for name, text, width in zip(names, row, widths, strict=False)
            ).rstrip()
            for row in rows
        ]
        return "\n".join([*lines, self._sums(), *self._warnings()])

    def _row(self, exchange: Exchange) -> tuple[str, ...]:
        closed = self.connection(exchange.connection).closed_s is not None
        answer = "" if exchange.status is None else str(exchange.status)
        if exchange.done_s is None:
            answer += (
                " cut" if answer and closed else " under way" if answer else "none" if closed else "waiting"
            )
        took_s = None if exchange.done_s is None else exchange.done_s - exchange.sent_s
        return (
            str(exchange.connection),
            f"{exchange.method} {exchange.target}",
            answer,
            str(exchange.bytes_up),
            str(exchange.bytes_down),
            f"{exchange.sent_s:.3f}",
            *("-" if seconds is None else f"{1000 * seconds:.1f}" for seconds in (exchange.waited_s, took_s)),
        )

    def _sums(self) -> str:
        exchanges = len(self.exchanges())
        return (
            f"{exchanges} exchange{'s' * (exchanges != 1)} on {len(self.connections)} connection"
            f"{'s' * (len(self.connections) != 1)}: {self.bytes_up} bytes up, {self.bytes_down} bytes down"
        )

    def _warnings(self) -> Iterator[str]:
        if self.truncated:
            yield "The recording was full before the end: later bytes are missing."
        for connection in self.connections:
            if connection.reading.problem:
                yield f"Connection {connection.number}: {connection.reading.problem}"

    def hexdump(self, n: int | None = None, *, limit: int = HEXDUMP_LIMIT) -> str:
        """The first `limit` bytes of connection `n` (of the only one, if there is one), as they came."""
        if n is None and len(self.connections) != 1:
            raise ValueError(
                f"this capture holds {len(self.connections)} connections: say which, as hexdump(1)"
            )
        if limit < 0:
            raise ValueError(f"limit counts bytes: expected 0 or more, got {limit}")
        connection = self.connections[0] if n is None else self.connection(n)
        lines: list[str] = []
        offsets = {"up": 0, "down": 0}
        room = limit
        for piece in connection.pieces:
            if shown := piece.data[:room]:
                arrow = "-> server" if piece.direction == "up" else "<- server"
                lines += [arrow + " (dropped)" * piece.dropped, hexdump(shown, offsets[piece.direction])]
            room -= len(shown)
            offsets[piece.direction] += len(piece.data)
        if hidden := sum(offsets.values()) - (limit - room):
            lines.append(f"… and {hidden} more bytes")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<capture: {self._sums()}>"


def hexdump(data: bytes, start: int = 0) -> str:
    """Bytes as `hexdump -C` shows them: offset, sixteen bytes in hexadecimal, the same as text."""
    lines = []
    for at in range(0, len(data), 16):
        row = data[at : at + 16]
        left, right = row[:8].hex(" "), row[8:].hex(" ")
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        lines.append(f"{start + at:08x}  {left:<23}  {right:<23}  |{text}|")
    return "\n".join(lines)


def _add(connections: dict[int, Connection], record: Mapping[str, Any]) -> None:
    """Sort one record in. KeyError, TypeError or ValueError if it is not one."""
    number, kind, t_s = int(record["connection"]), record["kind"], float(record["t"])
    direction: Direction = record["direction"]
    if direction not in ("up", "down") or kind not in ("open", "data", "close", "reset"):
        raise ValueError(f"unknown direction or kind: {direction!r}, {kind!r}")
    connection = connections.setdefault(number, Connection(number, t_s))
    if kind == "data":
        data = base64.b64decode(record["data"], validate=True)
        connection.pieces.append(Piece(t_s, direction, data, bool(record.get("dropped", False))))
    elif kind != "open":
        connection.ends.setdefault(direction, kind)
        if kind == "reset" or len(connection.ends) == 2:
            connection.closed_s = t_s if connection.closed_s is None else connection.closed_s


class _Clock:
    """When the byte at an offset came."""

    def __init__(self) -> None:
        self._ends: list[int] = []  # offset behind each piece
        self._times: list[float] = []

    def add(self, piece: Piece) -> None:
        self._ends.append((self._ends[-1] if self._ends else 0) + len(piece.data))
        self._times.append(piece.t_s)

    def at(self, offset: int) -> float:
        return self._times[bisect_right(self._ends, offset)]


class _Reader:
    """Reads both directions in the order in which the bytes came, since each tells how to read the other."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.requests, self.responses = HttpParser("request"), HttpParser("response")
        self.clocks: dict[Direction, _Clock] = {"up": _Clock(), "down": _Clock()}
        self.asked: list[HttpMessage] = []
        self.answers: list[tuple[HttpMessage, tuple[HttpMessage, ...]]] = []
        self.interim: list[HttpMessage] = []
        self.failed: set[Direction] = set()
        self.problems: list[str] = []

    def read(self) -> Reading:
        for piece in self.connection.pieces:
            # A dropped request was asked all the same; a dropped answer is none.
            if piece.direction not in self.failed and not (piece.dropped and piece.direction == "down"):
                self.clocks[piece.direction].add(piece)
                parser = self.requests if piece.direction == "up" else self.responses
                self._take(piece.direction, parser.feed, piece.data)
        if self.connection.ends.get("down") == "close" and "down" not in self.failed:
            self._take("down", self.responses.end)
        return Reading(
            self._exchanges(),
            " ".join(self.problems),
            self.requests.rest if self.requests.switched else b"",
            self.responses.rest if self.responses.switched else b"",
        )

    def _take(self, direction: Direction, step: Callable[..., list[HttpMessage]], *data: bytes) -> None:
        try:
            messages = step(*data)
        except HttpError as error:
            messages = error.messages
            self.failed.add(direction)
            self.problems.append(f"{'the client' if direction == 'up' else 'the server'}'s bytes: {error}.")
        for message in messages:
            if isinstance(message.head, RequestHead):
                self.asked.append(message)
                self.responses.expect(message.head.method)
            elif message.head.interim:
                self.interim.append(message)
            else:
                self._answer(message, message.head)

    def _answer(self, message: HttpMessage, head: ResponseHead) -> None:
        if len(self.answers) >= len(self.asked) + (self.requests.partial() is not None):
            self.problems.append(f"an answer ({head.status}) came whose request is not in the recording.")
            return
        self.answers.append((message, tuple(self.interim)))
        self.interim = []
        if self.requests.switched and not self.responses.switched:
            self._take("up", self.requests.resume)

    def _exchanges(self) -> list[Exchange]:
        asked = [*self.asked, *filter(None, [self.requests.partial()])]
        answers: list[tuple[HttpMessage | None, tuple[HttpMessage, ...]]] = [*self.answers]
        if len(answers) < len(asked):
            answers.append((self.responses.partial(), tuple(self.interim)))
        answers += [(None, ())] * (len(asked) - len(answers))
        return [self._exchange(*pair) for pair in zip(asked, answers, strict=True)]

    def _exchange(
        self, request: HttpMessage, answer: tuple[HttpMessage | None, tuple[HttpMessage, ...]]
    ) -> Exchange:
        response, interim = answer
        up, down = self.clocks["up"], self.clocks["down"]
        return Exchange(
            connection=self.connection.number,
            request=request,
            response=response,
            sent_s=up.at(request.start),
            first_byte_s=down.at(response.start) if response else None,
            done_s=down.at(response.end - 1) if response and response.complete else None,
            interim=interim,
        )
