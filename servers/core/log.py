"""The message log: what every transport in the lab pushes from.

    epoch      the name of one log's life, random: after a restart it is another one
    offset     the number of a message in its log: 1, 2, 3 ...
    position   "EPOCH-OFFSET": a place in a log. Clients hand it back as it is and never look inside.
    history    the newest messages, as many as the log keeps
    follower   one reader who gets the history after its position, and then each message as it comes

Whoever asks "what came after this position?" gets all of it, or an error that says why not: the position is
no position (BadPosition), it belongs to a log that is gone (OtherEpoch), or the history has moved past it
(TooOld). What a reader never gets is a part that looks like the whole.

A log belongs to one event loop. append() never waits: not for a disk, not for a reader.
"""

import asyncio
import itertools
import json
import re
import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

KEEP = 1000  # messages of history: at 10 messages/s, a client may be away for 100 s and lose nothing
KEEP_BYTES = 8 << 20  # bytes of history: 128 messages of the largest size that the servers take (64 KiB)
POLICIES = ("disconnect", "drop oldest", "drop newest", "keep latest", "wait")

# Made once: json.dumps() makes a new encoder for each call that asks for more than its defaults.
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_MESSAGE = b'{"id":"%b","event":%b,"data":%b}'
_POSITION = re.compile(r"([A-Za-z0-9]{1,64})-(0|[1-9][0-9]{0,14})")


class PositionError(ValueError):
    """A position that cannot be read from. `name` is short, for programs; the message is for people."""

    name = "position"


class BadPosition(PositionError):
    """Not a position this log has ever given out: a mistake in the client."""

    name = "bad position"


class OtherEpoch(PositionError):
    """A position of another log, as after a restart: the client has to start afresh, and has to know it."""

    name = "other epoch"


class TooOld(PositionError):
    """Some of the messages after this position have left the history."""

    name = "too old"


class SlowFollower(Exception):
    """A follower with the policy "disconnect" left more than its limit unread."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One message. `json` is its data as JSON text (UTF-8): encoded once, however many readers there are."""

    offset: int
    event: str
    json: bytes
    id: str

    @property
    def data(self) -> Any:
        """The data, a new copy each time: no reader can change what another one reads."""
        return json.loads(self.json)

    def message(self) -> bytes:
        """The whole message as JSON text: {"id": ..., "event": ..., "data": ...}."""
        return _MESSAGE % (self.id.encode(), to_json(self.event), self.json)

    @property
    def size(self) -> int:
        """Bytes of message(), without making it."""
        return len(_MESSAGE % (b"", b"", b"")) + len(self.id) + len(to_json(self.event)) + len(self.json)


def to_json(value: Any) -> bytes:
    """Compact JSON in UTF-8. Raises TypeError or ValueError for what JSON has no words for: a set, NaN."""
    return _encode(value).encode()


class MessageLog:
    """An append-only list of messages, of which the newest are kept: at most `keep`, at most `keep_bytes`.

    The very newest message is kept however large it is. `newest` is for a copy of another log (with its
    epoch) that begins behind that offset.
    """

    def __init__(
        self, keep: int = KEEP, epoch: str | None = None, keep_bytes: int = KEEP_BYTES, newest: int = 0
    ) -> None:
        if keep < 1:
            raise ValueError(f"expected a history of at least 1 message, got keep={keep}")
        if epoch is not None and not _POSITION.fullmatch(f"{epoch}-0"):
            raise ValueError(f"expected an epoch of 1 to 64 letters and digits, got {epoch!r}")
        self.epoch = epoch or secrets.token_hex(6)
        self._keep = keep
        self._keep_bytes = keep_bytes
        self._entries: deque[Entry] = deque()
        self._bytes = 0
        self._newest = newest  # offset of the newest message
        self._closed = False
        self._waiters: dict[asyncio.Future[None], None] = {}  # dicts, to wake readers in the order they came
        self._followers: dict[Follower, None] = {}

    @property
    def position(self) -> str:
        """The id of the newest message, "EPOCH-0" before the first one."""
        return f"{self.epoch}-{self._newest}"

    @property
    def oldest(self) -> str:
        """The oldest position that can be read from: after(oldest) is all of the history."""
        return f"{self.epoch}-{self._newest - len(self._entries)}"

    @property
    def waiting(self) -> int:
        """How many wait_after() are waiting now."""
        return len(self._waiters)

    @property
    def followers(self) -> int:
        """How many followers are open now."""
        return len(self._followers)

    def __len__(self) -> int:
        return len(self._entries)

    def append(self, event: str, data: Any) -> Entry:
        """Add a message and wake all who wait for one. If to_json() raises, nothing is added."""
        return self.append_json(event, to_json(data))

    def append_json(self, event: str, raw: bytes) -> Entry:
        """The same with data that is compact JSON text already."""
        offset = self._newest + 1
        entry = Entry(offset, event, raw, f"{self.epoch}-{offset}")
        self._entries.append(entry)
        self._newest = offset
        self._bytes += len(entry.json)
        self._trim()
        self._wake()
        for follower in tuple(self._followers):
            follower._grew(entry)
        return entry

    def after(self, position: str | None) -> list[Entry]:
        """All messages after `position`, oldest first; None: all of the history. Raises PositionError."""
        missing = self._newest - self._offset(position)
        # From the newest end backwards: most readers lack only the last few.
        newest_first = list(itertools.islice(reversed(self._entries), missing))
        return newest_first[::-1]

    async def wait_after(self, position: str | None, seconds: float) -> list[Entry]:
        """The same, but when there is none, wait up to `seconds` for one; [] when the time is over.

        More than one message may come back: all that arrived before this reader's turn.
        """
        entries = self.after(position)
        if entries or self._closed or not seconds > 0:  # `not >`, so that NaN does not wait either
            return entries
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(seconds, _settle, waiter)
        self._waiters[waiter] = None
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiters.pop(waiter, None)
        return self.after(position)

    def follow(
        self,
        after: str | None = None,
        limit: int = 100,
        policy: str = "disconnect",
        on_slow: Callable[[], None] | None = None,
    ) -> "Follower":
        """A reader of the history after `after` (None: all of it; log.position: none of it), and then live.

        `policy` says what happens when more than `limit` live messages are unread (see Follower).
        `on_slow` is called when "disconnect" strikes: a handler that is stuck in a write does not come back
        for the next message, so this is the place to cut its connection. It must neither wait nor raise.
        Raises PositionError.
        """
        if policy not in POLICIES:
            raise ValueError(f"expected a policy out of {', '.join(POLICIES)}; got {policy!r}")
        if limit < 1:
            raise ValueError(f"expected a limit of at least 1 message, got {limit}")
        follower = Follower(self, self._offset(after), min(limit, self._keep), policy, on_slow)
        if not self._closed:
            self._followers[follower] = None
        return follower

    def close(self) -> None:
        """Let every reader go: waiting ones get [], followers end when they have read what there is."""
        self._closed = True
        self._wake()
        followers, self._followers = self._followers, {}
        for follower in followers:
            follower._wake()

    def resize(self, keep_bytes: int) -> None:
        """Change how many bytes of history are kept, at once."""
        self._keep_bytes = keep_bytes
        self._trim()

    def _trim(self) -> None:
        while len(self._entries) > self._keep or (self._bytes > self._keep_bytes and len(self._entries) > 1):
            self._bytes -= len(self._entries.popleft().json)

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, {}
        for waiter in waiters:
            _settle(waiter)

    def _offset(self, position: str | None) -> int:
        """The offset that a position names. Raises PositionError if not all that came after it is at hand."""
        oldest = self._newest - len(self._entries)
        if position is None:
            return oldest
        match = _POSITION.fullmatch(position)
        if match is None:
            raise BadPosition(f"expected a position like {self.position}, got {position[:80]!r}")
        epoch, offset = match[1], int(match[2])
        if epoch != self.epoch:
            raise OtherEpoch(
                f"position {position} belongs to another log, this one is {self.epoch}: "
                "the server was restarted since, or the position comes from elsewhere"
            )
        if offset > self._newest:
            raise BadPosition(f"position {position} is ahead of the newest message, {self.position}")
        if offset < oldest:
            raise self._too_old(offset)
        return offset

    def _entry(self, offset: int) -> Entry:
        """The message with this offset, which must not be newer than the newest. Raises TooOld."""
        if offset <= self._newest - len(self._entries):
            raise self._too_old(offset - 1)
        return self._entries[offset - self._newest - 1]

    def _too_old(self, offset: int) -> TooOld:
        return TooOld(
            f"the history begins after {self.oldest}; what came after {self.epoch}-{offset} is not all here"
        )


class Follower:
    """One reader of a log: `async with log.follow(...) as follower: async for entry in follower: ...`

    It is a place in the log's history and not a copy of it, so a follower that lags costs no memory. When
    more than `limit` messages that came since it began are unread, its policy decides:

        disconnect    reading raises SlowFollower from then on
        drop oldest   the newest `limit` messages stay, older unread ones are skipped
        drop newest   the oldest `limit` messages stay (the one queue here), newer ones are skipped
        keep latest   like drop oldest with a limit of 1, the history included
        wait          no limit; once the history has moved past it, reading raises TooOld

    What is skipped is counted in `dropped`, before the message behind the gap is handed over. Without a skip
    there is no gap and no message twice, also where history ends and live begins. If the history itself is
    shorter than the lag, a policy that drops skips that too, and the others raise TooOld.
    """

    def __init__(
        self, log: MessageLog, offset: int, limit: int, policy: str, on_slow: Callable[[], None] | None
    ) -> None:
        self.dropped = 0
        self._log = log
        self._cursor = offset  # everything up to here has been handed over, or counted as dropped
        self._start = log._newest  # where live begins: what is older does not count against the limit
        self._limit = limit
        self._policy = policy
        self._on_slow = on_slow
        self._queue: list[Entry] = []  # short, and an empty list is a tenth of an empty deque
        self._waiter: asyncio.Future[None] | None = None
        self._failure: Exception | None = None
        self._open = True
        if policy == "keep latest":
            self._limit, self._start = 1, 0
            self._skip_to(log._newest - 1)

    @property
    def position(self) -> str:
        """Where to resume: all messages up to here have been handed over, or counted as dropped."""
        return f"{self._log.epoch}-{self._cursor}"

    def close(self) -> None:
        """Stop following. A reader that waits is let go."""
        self._open = False
        self._queue.clear()
        self._log._followers.pop(self, None)
        self._wake()

    async def batch(self) -> list[Entry]:
        """All unread messages, at most `limit`; waits until there is one. [] when the follower has ended."""
        try:
            entries = [await self.__anext__()]
        except StopAsyncIteration:
            return []
        while len(entries) < self._limit and (entry := self._take()) is not None:
            entries.append(entry)
        return entries

    def __aiter__(self) -> "Follower":
        return self

    async def __anext__(self) -> Entry:
        while True:
            if not self._open:
                raise StopAsyncIteration
            if self._failure is not None:
                raise self._failure
            entry = self._take()
            if entry is not None:
                return entry
            if self._log._closed:
                raise StopAsyncIteration
            if self._waiter is not None:
                raise RuntimeError("two tasks read one follower: give each its own")
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    async def __aenter__(self) -> "Follower":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _grew(self, entry: Entry) -> None:
        """The log has one more message. Called inside append(), so it must be quick."""
        if self._policy == "drop newest":
            if len(self._queue) < self._limit:
                self._queue.append(entry)
            else:
                self.dropped += 1
        elif entry.offset - max(self._cursor, self._start) > self._limit:
            if self._policy == "disconnect":
                self._fail(SlowFollower(f"more than {self._limit} messages unread after {self.position}"))
                if self._on_slow is not None:
                    self._on_slow()
            elif self._policy != "wait":
                self._skip_to(entry.offset - self._limit)
        self._wake()

    def _take(self) -> Entry | None:
        """The next unread message; None when there is none. Raises TooOld."""
        log = self._log
        history_end = self._start if self._policy == "drop newest" else log._newest
        if self._cursor < history_end and self._policy not in ("disconnect", "wait"):
            self._skip_to(min(log._newest - len(log._entries), history_end))
        if self._cursor < history_end:
            try:
                entry = log._entry(self._cursor + 1)
            except TooOld as error:
                self._fail(error)
                raise
        elif self._queue:
            entry = self._queue.pop(0)
        else:
            return None
        self._cursor = entry.offset
        return entry

    def _skip_to(self, offset: int) -> None:
        """Count what is unread up to this offset as dropped."""
        if offset > self._cursor:
            self.dropped += offset - self._cursor
            self._cursor = offset

    def _fail(self, error: Exception) -> None:
        self._failure = error
        self._log._followers.pop(self, None)

    def _wake(self) -> None:
        if self._waiter is not None:
            _settle(self._waiter)


def _settle(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)
