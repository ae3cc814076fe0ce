"""The load client: thousands of lean connections that ask, wait, and are counted.

    async with park(server.url, 1_000) as parked:       # 1 000 long polls, held by the server
        print(parked)
        woken = await parked.wake()                     # one message for all of them
        print(woken.last_ms)

Raw sockets and one selector, in a thread: the notebook's loop stays free. Everything is bounded, in number
and in time, and ends by itself.
"""

import asyncio
import json
import threading
from collections.abc import Generator
from types import TracebackType
from typing import Any, Self

from labsupport.measure.fleet import OPEN_S, Fleet, Woken, sentence
from labsupport.measure.sockets import Clock, LoadError, Target, ask
from labsupport.measure.threads import in_thread

MAX_SECONDS = 120.0  # no load outlives this, whatever was asked for


class Parking:
    """Parked requests for a notebook: `async with park(…) as parked`, or `parked = await park(…)`."""

    def __init__(self, url: str, clients: int, *, wait_s: float, channel: str, seconds: float) -> None:
        if not 0 < seconds <= MAX_SECONDS:
            raise LoadError(f"expected at most {MAX_SECONDS:.0f} seconds, got {seconds}")
        self._target = Target.of(url)
        self._clients = clients
        self._wait_s = wait_s
        self._channel = channel
        self._seconds = seconds
        self._fleet: Fleet | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._busy = False
        self.closed = False

    def __await__(self) -> Generator[Any, None, Self]:
        return self._open().__await__()

    async def __aenter__(self) -> Self:
        return await self._open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def clients(self) -> int:
        return self._clients

    @property
    def opened(self) -> int:
        """Connections that came up and sent their request."""
        return self._fleet.opened if self._fleet else 0

    @property
    def broken(self) -> dict[str, int]:
        """What became of the others: reason -> connections."""
        return dict(self._fleet.broken) if self._fleet else {}

    def __str__(self) -> str:
        early = len(self._fleet.early) if self._fleet else 0
        return sentence(f"{self.opened} of {self._clients} requests sent", early, self.broken)

    async def wake(self, data: object = None) -> Woken:
        """Publish one message with `data`, and wait for all answers: how many came, and after how many ms."""
        fleet = self._fleet
        if fleet is None or self.closed:
            raise LoadError("these requests are no longer parked: park them again")
        body = json.dumps({"event": "message", "data": data}).encode()
        publish = self._target.post(f"/messages?channel={self._channel}", body)
        self._busy = True
        try:
            return await in_thread(lambda stop: fleet.wake(stop, publish))
        finally:
            self._busy = False

    def close(self) -> None:
        """Drop all connections. Closing twice does no harm."""
        if self._timer:
            self._timer.cancel()
        if self._fleet and not self.closed:
            self._fleet.close()
        self.closed = True

    async def _open(self) -> Self:
        if self._fleet is None:
            self._fleet = await in_thread(self._park)
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._time_is_up)
        return self

    def _time_is_up(self) -> None:
        if self._busy:  # wake() is bounded too, and its thread still uses the sockets
            self._timer = asyncio.get_running_loop().call_later(1, self._time_is_up)
        else:
            self.close()

    def _park(self, stop: threading.Event) -> Fleet:
        start = json.loads(ask(self._target, f"/messages?channel={self._channel}").body)
        path = f"/messages?channel={self._channel}&wait={self._wait_s:g}&since={start['position']}"
        fleet = Fleet(self._target, self._clients, self._target.get(path))
        try:
            waiting_before = parked_at(self._target)
            fleet.open(stop)
            wait_until_parked(self._target, waiting_before, fleet, stop)
        except BaseException:
            fleet.close()
            raise
        return fleet


def park(
    url: str, clients: int = 1_000, *, wait_s: float = 25, channel: str = "main", seconds: float = 60
) -> Parking:
    """Open `clients` connections to the long-polling server at `url`, and leave a held request on each.

    Ready when the server itself counts them as waiting. After `seconds` everything is closed, asked or not.
    Raises LoadError where this system does not allow so many connections.
    """
    return Parking(url, clients, wait_s=wait_s, channel=channel, seconds=seconds)


def parked_at(target: Target) -> int | None:
    """How many requests the server holds now, by its own count; None if it does not count them."""
    waiting = json.loads(ask(target, "/stats").body).get("waiting")
    return waiting if isinstance(waiting, int) else None


def wait_until_parked(target: Target, before: int | None, fleet: Fleet, stop: threading.Event) -> None:
    """Return when the server counts every request that the fleet waits on; LoadError after OPEN_S."""
    ends = Clock() + OPEN_S
    while before is not None and (parked_at(target) or 0) - before < fleet.waiting:
        if Clock() > ends:
            raise LoadError(
                f"sent {fleet.opened} requests, but the server holds only {parked_at(target)} of them"
            )
        fleet.turn(stop, Clock() + 0.01)  # polite towards the server that is just accepting them
