"""Live notifications: one look at the store for all streams of an instance, a place in it for each stream.

Each instance asks its store, ten times a second, what was published after the last one that it knows of: by
itself or by any other instance. That is one question, however many streams there are, and what it publishes
itself it looks for at once. So another instance's write is 0.1 s late at most, and nothing more than the
store connects the instances. PostgreSQL's NOTIFY would be faster by that tenth. But what is notified while a
connection is down never comes, so that one has to ask as well.

A stream is a number: all up to there was handed over. Behind that, it either reads pages from the store, or
waits for what the feed brings. A reader that takes nothing for a while has its `unread` newest thrown away,
and reads them from the store once it is back: the store is its queue, and memory is bounded.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from servers.core.log import Entry
from servers.core.notification_store import EVERYONE, Note, Store, StoreError

POLL_S = 0.1  # seconds between two looks at the store; as late as that is another instance's write at worst
AWAY_S = 1.0  # seconds between two looks at a store that does not answer
PAGE = 100  # notes read at a time, by a stream or by the feed
READERS = 4  # threads that read; each has a connection of its own

P = ParamSpec("P")
T = TypeVar("T")

_log = logging.getLogger(__name__)


class Threads:
    """Where the store is called: one thread that writes, since there is one writer at a time anyway."""

    def __init__(self) -> None:
        self._writer = ThreadPoolExecutor(1, "store-writer")
        self._readers = ThreadPoolExecutor(READERS, "store-reader")
        self.writing = 0  # writes that are under way, or wait for their turn

    async def read(self, call: Callable[P, T], *args: P.args, **more: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._readers, lambda: call(*args, **more))

    async def write(self, call: Callable[P, T], *args: P.args, **more: P.kwargs) -> T:
        self.writing += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._writer, lambda: call(*args, **more))
        finally:
            self.writing -= 1

    def close(self) -> None:
        self._writer.shutdown(wait=False, cancel_futures=True)
        self._readers.shutdown(wait=False, cancel_futures=True)


class Feed:
    """What is new in the store, for all streams of this instance."""

    def __init__(self, store: Store, threads: Threads, unread: int) -> None:
        self.looks = 0  # at the store
        self._store = store
        self._threads = threads
        self._unread = unread
        self._followers: dict[str, dict[Follower, None]] = {}  # by user, in the order they came
        self._changed = asyncio.Event()
        self._closed = False

    def follow(self, user: str, after: int) -> "Follower":
        """What this user gets after this number, and then live. Close it at the end."""
        follower = Follower(self, user, after, self._unread)
        if not self._closed:
            self._followers.setdefault(user, {})[follower] = None
        return follower

    def look(self) -> None:
        """Something was published here: do not wait for the next turn."""
        self._changed.set()

    async def run(self, newest: int) -> None:
        """Hand over what comes after this number, for ever. An error of the store only delays it."""
        while True:
            self._changed.clear()
            wait_s = POLL_S
            try:
                self.looks += 1
                news = await self._threads.read(self._store.news, newest, PAGE)
            except StoreError as error:
                _log.warning("the store does not answer: %s", error)
                news, wait_s = [], AWAY_S
            for note, muted in news:
                newest = note.number
                self._hand_over(note, muted)
            if len(news) < PAGE:
                try:
                    async with asyncio.timeout(wait_s):
                        await self._changed.wait()
                except TimeoutError:
                    pass

    def close(self) -> None:
        """End every follower, behind what it has in hand."""
        self._closed = True
        for followers in self._followers.values():
            for follower in followers:
                follower.end()
        self._followers = {}

    async def page(self, user: str, after: int) -> list[Entry]:
        notes = await self._threads.read(self._store.after, user, after, PAGE)
        return [note.entry() for note in notes]

    def leave(self, follower: "Follower") -> None:
        followers = self._followers.get(follower.user, {})
        followers.pop(follower, None)
        if not followers:
            self._followers.pop(follower.user, None)

    def _hand_over(self, note: Note, muted: frozenset[str]) -> None:
        users = list(self._followers) if note.recipient == EVERYONE else [note.recipient]
        entry: Entry | None = None
        for user in users:
            if user in muted:
                continue
            for follower in self._followers.get(user, ()):
                entry = entry or note.entry()  # encoded once, and not at all if nobody is here
                follower.grew(entry)


class Follower:
    """One stream's place: `anext(follower)` gives what comes next, and StopAsyncIteration at the end."""

    def __init__(self, feed: Feed, user: str, after: int, unread: int) -> None:
        self.dropped = 0  # nothing ever is
        self.user = user
        self._feed = feed
        self._cursor = after
        self._most = unread
        self._ready: deque[Entry] = deque()
        self._behind = True  # there is, or may be, something in the store that nobody will bring
        self._missed = False  # something was brought while it was behind
        self._ended = False
        self._woken = asyncio.Event()

    def grew(self, entry: Entry) -> None:
        """The feed has one more for this user."""
        if self._behind:
            self._missed = True
        elif len(self._ready) >= self._most:
            self._ready.clear()
            self._behind = True
        elif entry.offset > self._last:
            self._ready.append(entry)
        self._woken.set()

    def end(self) -> None:
        self._ended = True
        self._woken.set()

    def close(self) -> None:
        self._feed.leave(self)

    async def __anext__(self) -> Entry:
        """May be cancelled at any await: nothing is taken before the last of them."""
        while not self._ready:
            if self._ended:
                raise StopAsyncIteration
            if self._behind:
                self._missed = False
                page = await self._feed.page(self.user, self._cursor)
                self._ready.extend(page)
                # What came to the store after this page was read has also been brought, or will be.
                self._behind = len(page) == PAGE or self._missed
            else:
                self._woken.clear()
                await self._woken.wait()
        entry = self._ready.popleft()
        self._cursor = entry.offset
        return entry

    @property
    def _last(self) -> int:
        return self._ready[-1].offset if self._ready else self._cursor
