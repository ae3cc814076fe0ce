"""A crowd: all who follow one log over one transport, and how an event reaches every one of them at once.

    ready     has been given all there is. Most followers are, most of the time.
    behind    has some bytes still to take. It gets nothing new until it has taken them, and then goes on
              from its place in the log.

An event is encoded once. The same bytes are written to every follower that is ready, each with one system
call that never waits. If a client's buffers in the kernel are full, the follower falls behind: the rest of
that one event waits in its transport, and what it still lacks stays in the log, which is there anyway. So a
follower that does not read costs one event of memory, however much is published, and nobody waits for it.

A follower is too slow if it is more than `unread` events behind, if the log has forgotten its place, or if it
has taken nothing from one sign of life to the next. Then the policy decides:

    disconnect    its connection ends; it may come back, with its position
    keep latest   it gets "dropped" with the number of events it has missed, and then the newest one
"""

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from servers.core.event_stream import OncePerEntry
from servers.core.log import Entry, MessageLog, PositionError, to_json

POLICIES = ("disconnect", "keep latest")
PIECE = 32 * 1024  # bytes of history that are given at a time

# Windows writes to a socket by other means than to a file: there, the transports do it.
DIRECT = os.name == "posix"


class Language(Protocol):
    """How events look on one transport."""

    name: str

    def event(self, data: bytes, event: str, id: str) -> bytes:
        """The bytes of one event; `data` is JSON text."""

    def snapshot(self, entries: list[Entry], position: str) -> Iterator[bytes]:
        """The bytes of an event with all these messages, in pieces. Between two, other bytes may go out."""


L = TypeVar("L", bound=Language)


@dataclass
class Counters:
    open: int = 0
    most_open: int = 0
    opened: int = 0
    resumed: int = 0  # of those opened, with a position
    events: int = 0  # given to followers
    encoded: int = 0  # made into bytes: once for each event and transport
    heartbeats: int = 0  # comments and pings
    gaps: int = 0  # positions of no use, told to their clients
    dropped: int = 0  # events skipped by "keep latest"
    slow: int = 0  # followers cut since they were too slow
    dead: int = 0  # followers cut since a ping stayed unanswered


class Follower(asyncio.Protocol):
    """One client's connection. There are many thousands: no task, no timer and no queue, only these slots."""

    __slots__ = ("crowd", "due", "fd", "transport")

    def __init__(self, transport: asyncio.Transport, crowd: "Crowd[Any]") -> None:
        self.transport = transport
        self.crowd = crowd
        self.fd: int = transport.get_extra_info("socket").fileno()
        self.due = 0.0  # when it is to be looked after again, by the loop's clock

    def late(self, now: float) -> None:
        """What was due is due."""
        self.crowd.look_after(self, now)

    def keep_alive(self) -> None:
        """Send a sign of life."""
        raise NotImplementedError

    def end(self) -> None:
        """Say good-bye, as the transport does it: the server ends."""
        raise NotImplementedError

    def cut(self) -> None:
        """End it: this client is too slow."""
        raise NotImplementedError

    def pause_writing(self) -> None:
        self.crowd.fell_behind(self)

    def resume_writing(self) -> None:
        self.crowd.catch_up(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.crowd.forget(self)
        self.crowd.connections.discard(self)


class Crowd(Generic[L]):
    """The followers of `log` that understand `language`."""

    def __init__(
        self,
        log: MessageLog,
        language: L,
        alive_s: float,
        connections: set[Any],
        unread: int,
        policy: str,
    ) -> None:
        self.counters = Counters()
        self.language = language
        self.connections = connections  # all of the server, also those that are no followers any more
        self.ready: dict[int, Follower] = {}  # by descriptor
        self.behind: dict[Follower, int] = {}  # with the offset up to which it has been given all
        self.given = _offset(log.position)  # the same for those who are ready
        self._log, self._unread, self._policy, self._alive_s = log, unread, policy, alive_s
        # Of those who still read what was there when they came: where that ends. It does not make them slow.
        self._starts: dict[Follower, int] = {}
        self._stories: dict[Follower, Iterator[bytes]] = {}  # a snapshot under way
        self._marks: dict[Follower, int] = {}  # bytes that a follower behind had still to take, a while ago
        self._encoded = OncePerEntry(self._encode)

    def __len__(self) -> int:
        return len(self.ready) + len(self.behind)

    def write(self, entries: list[Entry]) -> None:
        """Give these, the newest of the log, to everybody. Returns when each write has been tried."""
        before, self.given = self.given, entries[-1].offset
        assert entries[0].offset == before + 1, "a gap between two writes"
        if self.ready:
            pieces = [self._encoded(entry) for entry in entries]
            raw = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            self.counters.events += len(self.ready) * len(entries)
            for fd, taken in write_each(self.ready, raw):
                self._write_rest(self.ready.pop(fd), taken, entries, pieces)
        if self._policy == "disconnect" and self.behind:
            least, starts = self.given - self._unread, self._starts
            for follower in [f for f, at in self.behind.items() if max(at, starts.get(f, 0)) < least]:
                self.too_slow(follower)

    def join(
        self, follower: Follower, position: str | None, opening: Callable[[str | None], bytes], now: float
    ) -> None:
        """Take in a follower: what comes after `position` (None: all that is remembered), and then live.

        `opening` gives its first bytes, from the place at which it begins; None if that cannot be had, and
        a snapshot follows.
        """
        counters, log = self.counters, self._log
        counters.opened += 1
        counters.resumed += position is not None
        transport = follower.transport
        transport.set_write_buffer_limits(0)  # pause_writing() now means: the kernel has not taken all
        try:
            at = self.given - len(log.after(position))
        except PositionError as error:
            counters.gaps += 1
            at = self.given
            problem = {"error": error.name, "try": "begin again with the snapshot", "detail": str(error)}
            # Should it be cut before the snapshot has arrived, this position makes it be told again.
            told = self.language.event(to_json(problem), error.name, f"{log.epoch}-0")
            first = opening(None) + told
            self._stories[follower] = self.language.snapshot(log.after(None), log.position)
        else:
            first = opening(f"{log.epoch}-{at}")
        self.behind[follower], self._starts[follower] = at, self.given
        counters.open = len(self)
        counters.most_open = max(counters.most_open, counters.open)
        follower.due = now + self._alive_s
        transport.write(first)
        self.catch_up(follower)

    def fell_behind(self, follower: Follower) -> None:
        """Its transport holds bytes that the kernel did not take."""
        if self.ready.pop(follower.fd, None) is not None:
            self.behind[follower] = self.given

    def catch_up(self, follower: Follower) -> None:
        """Give a follower behind what it lacks, as far as the kernel takes it; then it is ready again."""
        transport = follower.transport
        self._marks.pop(follower, None)
        lacking: Iterator[Entry] | None = None
        while (
            follower in self.behind and not transport.get_write_buffer_size() and not transport.is_closing()
        ):
            if (story := self._stories.get(follower)) is not None:
                if piece := next(story, b""):
                    transport.write(piece)
                else:
                    del self._stories[follower]
                continue
            if lacking is None:
                try:
                    lacking = iter(self._lacking(follower))
                except PositionError:
                    return self.too_slow(follower)
            size, parts = 0, []
            while size < PIECE and (entry := next(lacking, None)) is not None:
                parts.append(self._encoded(entry))
                size += len(parts[-1])
                self.behind[follower] = entry.offset
            if parts:
                self.counters.events += len(parts)
                transport.write(b"".join(parts))
            else:
                del self.behind[follower]
                self._starts.pop(follower, None)
                self.ready[follower.fd] = follower
        return None

    def look_after(self, follower: Follower, now: float) -> None:
        """Send a sign of life; or, if it is behind, see that it has taken something since the last time."""
        follower.due = now + self._alive_s
        if follower not in self.behind:
            self.counters.heartbeats += 1
            follower.keep_alive()
            return
        waiting = follower.transport.get_write_buffer_size()
        if self._marks.get(follower) == waiting:
            self.too_slow(follower)
        else:
            self._marks[follower] = waiting

    def too_slow(self, follower: Follower) -> None:
        """Cut it off, whatever the policy."""
        self.counters.slow += 1
        self.forget(follower)
        follower.cut()

    def forget(self, follower: Follower) -> None:
        """It is about to leave: it gets no more events."""
        self.ready.pop(follower.fd, None)
        for known in (self.behind, self._starts, self._stories, self._marks):
            known.pop(follower, None)
        self.counters.open = len(self)

    def _write_rest(self, follower: Follower, taken: int, entries: list[Entry], pieces: list[bytes]) -> None:
        """The kernel took `taken` bytes. The event in which it stopped goes on, the rest can wait."""
        end = number = 0
        while end <= taken:
            end += len(pieces[number])
            number += 1
        self.behind[follower] = entries[number - 1].offset
        self.counters.events -= len(entries) - number
        follower.transport.write(pieces[number - 1][taken - end :])
        self.catch_up(follower)

    def _lacking(self, follower: Follower) -> list[Entry]:
        """What a follower behind has not been given. Raises PositionError if the log has forgotten some."""
        at = self.behind[follower]
        if self._policy == "keep latest" and self.given - at > 1:
            missed, at = self.given - 1 - at, self.given - 1
            self.behind[follower] = at
            self.counters.dropped += missed
            told = self.language.event(to_json({"messages": missed}), "dropped", f"{self._log.epoch}-{at}")
            follower.transport.write(told)
        if at == self.given:
            return []
        # What is in the log already, and not yet written to those who are ready, comes to all together.
        return self._log.after(f"{self._log.epoch}-{at}")[: self.given - at]

    def _encode(self, entry: Entry) -> bytes:
        self.counters.encoded += 1
        return self.language.event(entry.json, entry.event, entry.id)


def write_each(fds: Iterable[int], raw: bytes) -> list[tuple[int, int]]:
    """Write the same bytes to each descriptor. Those that did not take all, and how much they took."""
    if not DIRECT:
        return [(fd, 0) for fd in fds]
    size, write = len(raw), os.write
    short = []
    for fd in fds:
        try:
            taken = write(fd, raw)
        except OSError:  # its buffer is full, or the client has gone: the transport will find out
            taken = 0
        if taken != size:
            short.append((fd, taken))
    return short


def in_pieces(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in fewer parts, of PIECE bytes or somewhat more."""
    piece = bytearray()
    for part in parts:
        piece += part
        if len(piece) >= PIECE:
            yield bytes(piece)
            piece.clear()
    if piece:
        yield bytes(piece)


def _offset(position: str) -> int:
    return int(position.rpartition("-")[2])
