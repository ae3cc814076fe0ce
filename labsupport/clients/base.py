"""The one face that every client of the lab has, whatever its transport.

    async with LongPollingClient(url) as client:
        async for item in client:
            match item:
                case Delivery(message=message):
                    show(message.data)
                case Gap():                         # messages were lost, and here you are told
                    start_afresh(item.detail)

A client that was cut asks again, from the position after the last message it has: nothing is lost and nothing
comes twice, as long as the server still holds what follows. Where it does not (its history has moved on, or
it was restarted and has a new log), the next item is a `Gap`, in its place between the deliveries. After it
come all the messages that the server still holds, as deliveries. A loop that takes a Gap for a delivery stops
with a sentence: a loss is never silent.

`client.position` moves as items are handed to you. Keep it, and a later client with `position=` goes on
behind the last item that you have seen.
"""

import asyncio
import secrets
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NoReturn, Protocol, Self

from labsupport.backoff import FullJitter

Clock = Callable[[], float]
Sleep = Callable[[float], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Message:
    """What was published. `id` is its position in the server's log; clients do not look into it."""

    id: str
    event: str
    data: Any


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message that came. A client that starts from `position` gets what follows. Seconds on its clock."""

    message: Message
    position: str
    received_at_s: float


@dataclass(frozen=True, slots=True)
class Gap:
    """Messages after `since` are lost to this client; those that are left follow as deliveries.

    reason      "too old" (the server's history has moved past it) or "other epoch" (the server has a new log)
    detail      the server's own sentence
    position    where to go on from: None means from the oldest message that the server holds
    """

    reason: str
    detail: str
    since: str | None
    position: str | None
    received_at_s: float

    @property
    def message(self) -> NoReturn:
        raise AttributeError(
            f"this item is a Gap, not a Delivery: messages were lost ({self.reason}). {self.detail} "
            "Look at each item first: if isinstance(item, Gap)."
        )


Item = Delivery | Gap


class ClientError(Exception):
    """What a client reports to its user."""


class NotSent(ClientError):
    """The message surely did not reach the server's log: sending it again can't double it."""


class MaybeSent(ClientError):
    """The message left and nothing tells what became of it: sending it again may double it."""


class Refused(ClientError):
    """The server refuses the question itself. Asking again would not help, so the client stops."""


class GaveUp(ClientError):
    """The back-off policy allows no further attempt."""


@dataclass(slots=True)
class Stats:
    """What a client has counted so far.

    requests      questions asked; `send` is not among them
    empty         answers that brought no message, those with 304 included
    not_modified  answers with status 304
    errors        questions that failed: no connection, cut, bad status, unreadable answer, no answer in time
    timeouts      those of the errors that the dead-man timer ended
    gaps          times that the server could not go on from this client's position
    deliveries    messages handed to the reader
    sent          messages that the server confirmed
    body_bytes    bytes of answers without their heads; a middlebox weighs all
    last_error    why the last failed question failed, in words
    """

    requests: int = 0
    empty: int = 0
    not_modified: int = 0
    errors: int = 0
    timeouts: int = 0
    gaps: int = 0
    deliveries: int = 0
    sent: int = 0
    body_bytes: int = 0
    last_error: str = ""


class Waits(Protocol):
    """One client's waits, as `labsupport.backoff` makes them."""

    def next(self) -> float | None: ...

    def reset(self) -> None: ...


class Policy(Protocol):
    """A rule for waiting, as in `labsupport.backoff`."""

    def waits(self, *, seed: int | None = None, client: int = 0) -> Waits: ...


class Client(ABC):
    """Iterate it for items; `send` publishes. Use it in `async with`.

    position    go on from here; None begins with the oldest message that the server holds
    backoff     how long to wait after a failure (labsupport.backoff); it starts afresh after a healthy answer
    seed        of all random waits; None draws one, so that a crowd of clients does not move in step
    client      which client of many this is: each has waits of its own under one seed
    clock       seconds that only go forward; the same clock must serve all clients whose times are compared
    sleep       waits some seconds on that clock
    """

    def __init__(
        self,
        *,
        position: str | None = None,
        backoff: Policy | None = None,
        seed: int | None = None,
        client: int = 0,
        clock: Clock = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.position = position
        self.stats = Stats()
        self.seed = secrets.randbits(64) if seed is None else seed
        self.client = client
        self._clock, self._sleep = clock, sleep
        self._waits = (backoff or FullJitter()).waits(seed=self.seed, client=client)
        self._items: deque[Item] = deque()
        self._opened = self._closed = self._reading = False
        self._task: asyncio.Task[None] | None = None

    # What a transport adds.

    @abstractmethod
    async def _open(self) -> None:
        """Make ready what needs a running loop."""

    @abstractmethod
    async def _step(self) -> None:
        """Do the next thing (wait, ask, read) and put what came into `_items`.

        It may be cancelled at any await: what it has not put into `_items` must come again in the next step.
        """

    @abstractmethod
    async def _shut(self) -> None:
        """Let go of connections."""

    @abstractmethod
    async def send(self, data: object, event: str = "message") -> str:
        """Publish; return the message's position. NotSent or MaybeSent if that did not go well."""

    # What all share.

    async def __aenter__(self) -> Self:
        if self._opened:
            raise RuntimeError("this client has been used already: make a new one, with position= to go on")
        self._opened = True
        await self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End it, from any task: a reader that waits for the next item sees the end of its loop."""
        if self._closed:
            return
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._opened:
            await self._shut()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Item:
        self._check_open()
        if self._reading:
            # RFC 6202 section 2.3: with two questions under way, answers may come in either order.
            raise RuntimeError("another loop is reading this client: give each reader a client of its own")
        self._reading = True
        try:
            while not self._items and not self._closed:
                await self._interruptible(self._step())
        finally:
            self._reading = False
        if self._closed:
            raise StopAsyncIteration
        item = self._items.popleft()
        self.position = item.position
        self.stats.deliveries += isinstance(item, Delivery)
        return item

    async def take(self, count: int, *, within_s: float = 30.0) -> list[Item]:
        """The next `count` items; fewer if it is closed. TimeoutError after `within_s`, and none is lost."""
        items: list[Item] = []
        before, handed = self.position, self.stats.deliveries
        try:
            async with asyncio.timeout(within_s):
                while len(items) < count:
                    items.append(await anext(self))
        except StopAsyncIteration:
            return items
        except BaseException as error:
            self._items.extendleft(reversed(items))
            self.position, self.stats.deliveries = before, handed
            if isinstance(error, TimeoutError):
                why = f"; the last error was: {self.stats.last_error}" if self.stats.last_error else ""
                raise TimeoutError(f"{len(items)} of {count} items came in {within_s:g} s{why}") from None
            raise
        return items

    async def _interruptible(self, step: Coroutine[Any, Any, None]) -> None:
        """Run a step so that `close` can end it without cancelling the reader's own task."""
        self._task = asyncio.create_task(step)
        try:
            await self._task
        except asyncio.CancelledError:
            reader = asyncio.current_task()
            if not self._closed or (reader is not None and reader.cancelling()):
                raise
        finally:
            self._task = None

    def _check_open(self) -> None:
        if not self._opened:
            name = type(self).__name__
            raise RuntimeError(f"open the client first: async with {name}(…) as client:")

    def _back_off(self, why: str, at_least_s: float = 0.0) -> float:
        """Count a failure; return the seconds to wait. GaveUp if the policy allows no further attempt."""
        self.stats.errors += 1
        self.stats.last_error = why
        wait_s = self._waits.next()
        if wait_s is None:
            raise GaveUp(f"The back-off policy gives up after {self.stats.errors} failures; the last: {why}")
        return max(wait_s, at_least_s)

    def __repr__(self) -> str:
        stats = self.stats
        state = "closed" if self._closed else "open" if self._opened else "not opened yet"
        return (
            f"<{type(self).__name__}: {state}, {stats.deliveries} deliveries in {stats.requests} requests, "
            f"{stats.errors} errors>"
        )
