"""Exercises whose answer speaks through a broker: the check starts a real one, and sits at the terminals.

    BrokerExercise(
        id="9.1", title="Two terminals", reference=at_terminals(room_chat),
        cases=(case(Evening("two in a room", two)),), mistakes=(Mistake("…", at_terminals(wrong), "…"),),
    )

The answer is a coroutine function: one terminal in a room, with a connection to the broker of its own. The
evening `two(enter)` lets people enter rooms, type and look, and returns what they saw, to be compared.

The broker is `python -m servers.broker`: one for all checks of this process, and it ends with the process.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import importlib.util
import inspect
import json
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labsupport.teach import running
from labsupport.teach.exercise import Case, Exercise, Result

ROUNDS, ROUND_S = (
    15,
    0.004,
)  # a wait, in rounds through the loop and the broker: it stretches with the machine
TRIES = 3  # evenings with the reference: a machine that stands still spoils one
TALK_S = 5.0  # seconds for a whole evening; one in which everything works takes a hundredth of it

Terminal = Callable[[Any, str, str, AsyncIterator[str], Callable[[str], None]], Awaitable[None]]
Enter = Callable[[str, str], Awaitable["Seat"]]


class NoBroker(Exception):
    """There is none, and none could be started. The text says what to try."""


class NoTerminal(Exception):
    """Nobody is in the room, or nobody shows anything; the text says how that was seen."""


_EXPECTED: dict[Case, Any] = {}
_lock = threading.Lock()
_broker: tuple[int, subprocess.Popen[bytes], str] | None = None  # of which process, and its address


def broker_url() -> str:
    """The address of this process' broker for checks; it is started if need be. Raises NoBroker."""
    global _broker
    with _lock:
        if _broker is None or _broker[0] != os.getpid() or _broker[1].poll() is not None:
            _broker = (os.getpid(), *_start())
        return _broker[2]


def _start() -> tuple[subprocess.Popen[bytes], str]:
    if importlib.util.find_spec("redis") is None:
        raise NoBroker('This needs the package redis. Try: pip install "realtime-web-lab[broker]"')
    root = str(Path(__file__).resolve().parents[2])  # the folder that holds servers/
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "servers.broker", "--port", "0"],
        stdin=subprocess.PIPE,  # its life-line: when this process ends, however it ends, so does the broker
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=os.name == "posix",
    )
    assert process.stdin is not None
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line.startswith(b'{"ready"'):
        said = (line + process.stdout.read()).decode("utf-8", "replace").strip()
        process.wait()
        raise NoBroker(said or "servers.broker has ended without a word")
    atexit.register(process.stdin.close)
    return process, str(json.loads(line)["url"])


@dataclass(frozen=True)
class Evening:
    """What the check does at the terminals, and writes down. Shown by its name."""

    name: str
    spend: Callable[[Enter], Coroutine[Any, Any, list[Any]]]

    def __repr__(self) -> str:
        return self.name


class Seat:
    """Somebody at a terminal: a task that runs the answer, what is typed, and what was shown."""

    def __init__(self, room: Room, answer: Terminal, name: str) -> None:
        self.name, self._room = name, room
        self._typed: asyncio.Queue[str | None] = asyncio.Queue()
        self._shown: list[str] = []
        self.broker = room.connect()
        self.task = asyncio.ensure_future(
            answer(self.broker, room.name, name, self._lines(), self._shown.append)
        )

    async def _lines(self) -> AsyncIterator[str]:
        while (line := await self._typed.get()) is not None:
            yield line

    def types(self, line: str) -> None:
        self._typed.put_nowait(line)
        self._room.last = f"{self.name} typed {line!r}"

    async def sees(self) -> str:
        """The next line on the screen. Raises NoTerminal if there is none."""
        if not await self._room.rounds(lambda: bool(self._shown) or self.failed):
            raise NoTerminal(f"{self.name}'s screen stays empty after {self._room.last}")
        if self.failed:
            self.task.result()
        return self._shown.pop(0)

    async def leaves(self) -> str:
        """Type no more; says whether the terminal ends."""
        self._typed.put_nowait(None)
        ended = await self._room.rounds(self.task.done)
        if self.failed:
            self.task.result()
        return "left" if ended else "still running"

    @property
    def failed(self) -> bool:
        return self.task.done() and not self.task.cancelled() and self.task.exception() is not None


class Room:
    """A room of the evening, seen from the broker's side."""

    def __init__(self, name: str, rooms: dict[str, Room], watch: Any, connect: Callable[[], Any]) -> None:
        self.name, self.rooms, self.watch, self.connect = name, rooms, watch, connect
        self.seats: list[Seat] = []
        self.last = "entering"  # what was done last

    async def enter(self, answer: Terminal, name: str) -> Seat:
        seat = Seat(self, answer, name)
        self.seats.append(seat)
        channel, wanted = f"chat:{self.name}", len([one for one in self.seats if not one.task.done()])
        there = 0
        for _ in range(ROUNDS):
            [(_, there)] = await self.watch.pubsub_numsub(channel)
            if there >= wanted or seat.task.done() or await self._elsewhere():
                break
            await asyncio.sleep(ROUND_S)
        if seat.failed:
            seat.task.result()
        if seat.task.done():
            raise NoTerminal("the terminal has ended, and nobody had typed anything")
        if there < wanted:
            others = await self._elsewhere()
            where = f"it is to {', '.join(others)}" if others else "nothing else is, either"
            raise NoTerminal(f"{name}'s terminal is not subscribed to {channel}; {where}")
        return seat

    async def _elsewhere(self) -> list[str]:
        """The channels of no room that somebody is subscribed to."""
        names = [name.decode() for name in await self.watch.pubsub_channels()]
        return [name for name in names if name.removeprefix("chat:") not in self.rooms]

    async def rounds(self, true: Callable[[], bool]) -> bool:
        """Whether this comes true while some rounds go through the loop and the broker."""
        for _ in range(ROUNDS):
            if true():
                return True
            await self.watch.ping()
            await asyncio.sleep(ROUND_S)
        return true()


def at_terminals(answer: Any) -> Any:
    """The function that sits people down at `answer` and returns what they saw, to be compared."""
    if hasattr(answer, "sits_at") or not callable(answer):
        return answer

    @functools.wraps(answer)
    async def spend(evening: Evening) -> Any:
        if running._is_stub(answer):
            return ...
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # what it says is told by the check
        clients: list[Any] = []
        rooms: dict[str, Room] = {}
        watch = _connection(clients)
        await watch.client_kill_filter(_type="pubsub")  # whoever is left over from a case before

        async def enter(room: str, name: str) -> Seat:
            if room not in rooms:
                rooms[room] = Room(room, rooms, watch, lambda: _connection(clients))
            return await rooms[room].enter(answer, name)

        try:
            return await evening.spend(enter)
        except NoTerminal as nobody:
            return str(nobody)
        finally:
            await _end([seat.task for room in rooms.values() for seat in room.seats], clients)

    spend.__name__ = f"two terminals with {getattr(answer, '__name__', 'your function')}"
    spend.sits_at = answer  # type: ignore[attr-defined]
    return spend


def _connection(clients: list[Any]) -> Any:
    """A connection to the broker, as a process of its own would have it."""
    from redis.asyncio import Redis

    client = Redis.from_url(broker_url())
    clients.append(client)
    return client


async def _end(tasks: list[asyncio.Future[None]], clients: list[Any]) -> None:
    for _ in range(ROUNDS):  # a cancellation that meets a time limit in the library may get lost there
        for task in tasks:
            task.cancel()
        if not tasks or not (await asyncio.wait(tasks, timeout=ROUND_S))[1]:
            break
    for client in clients:
        with suppress(Exception):
            await client.aclose()


@dataclass(frozen=True)
class BrokerExercise(Exercise):
    """An exercise whose answer is a terminal at a broker."""

    limit_s: float = TALK_S

    def expected(self, case: Case) -> Any:
        """What the reference gives; an evening takes its time, so it is asked once it has gone well."""
        for _ in range(TRIES):
            if case not in _EXPECTED and isinstance(seen := super().expected(case), list):
                _EXPECTED[case] = seen
        return _EXPECTED.get(case, "an evening for which this machine is too slow just now")

    def check(self, answer: Any, *, hidden: bool = False) -> Result:
        if callable(answer) and not inspect.isclass(answer):
            try:
                broker_url()
            except NoBroker as error:
                return Result(self, failures=(str(error),))
        return super().check(at_terminals(answer), hidden=hidden)
