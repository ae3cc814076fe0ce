"""Exercises whose answer is a server: the check is its client, over real sockets on this machine.

    ServerExercise(
        id="4.1", title="An echo server", reference=conversed(echo_server),
        cases=(case(Conversation("two words", two_words)),), mistakes=(Mistake("…", conversed(wrong), "…"),),
    )

The answer is a coroutine function that serves on 127.0.0.1 and the port that it is given, until it is
cancelled. `two_words(dial)` holds one conversation with it, and returns what it heard, to be compared.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import socket
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import websockets
from websockets.asyncio.client import ClientConnection

from labsupport.teach import running
from labsupport.teach.exercise import Exercise, Result

ANSWER_S = 1.0  # seconds for an answer: a hundred times what it needs
DIALS, REDIAL_S = 15, 0.01  # tries and seconds between them; it listens at the second, if it ever does
TALK_S = 4.0  # seconds for a whole conversation, in which two clients may wait in vain

Server = Callable[[int], Awaitable[None]]
Dial = Callable[[], Awaitable["Line"]]

# Since websockets 15 the library asks the environment for a proxy, which knows no 127.0.0.1 but its own.
_DIRECT: dict[str, Any] = (
    {"proxy": None} if "proxy" in inspect.signature(websockets.connect.__init__).parameters else {}
)


class NoServer(Exception):
    """Nobody to talk to; the text says how it was seen."""


class Line:
    """A client's connection."""

    def __init__(self, link: ClientConnection) -> None:
        self._link = link
        self._silent = False  # it has waited in vain once; no need to do so again

    async def say(self, message: str | bytes) -> str | bytes:
        """What comes back, or in words that nothing does."""
        try:
            async with asyncio.timeout(0 if self._silent else ANSWER_S):
                await self._link.send(message)
                return await self._link.recv()
        except TimeoutError:
            self._silent = True
            return "nothing came back"
        except websockets.ConnectionClosed:
            return f"closed with {self._link.protocol.close_code}"

    async def leave(self) -> int | None:
        """Close in order; gives the code that the server answered."""
        await self._link.close()
        return self._link.protocol.close_code

    def vanish(self) -> None:
        """End without a word, as a phone in a tunnel does."""
        self._link.transport.abort()


@dataclass(frozen=True)
class Conversation:
    """What the check does with the server, and writes down. Shown by its name."""

    name: str
    hold: Callable[[Dial], Coroutine[Any, Any, list[Any]]]

    def __repr__(self) -> str:
        return self.name


def conversed(server: Any) -> Any:
    """The function that talks to `server` and returns what it heard, so that a check can compare it."""
    if hasattr(server, "talks_to") or not callable(server):
        return server

    @functools.wraps(server)
    async def talk(conversation: Conversation) -> Any:
        loop = asyncio.get_running_loop()  # this conversation's own: see running.call
        loop.set_exception_handler(lambda *_: None)  # what it would print is told by the check
        ends = loop.time() + TALK_S
        with _errors_of_handlers() as errors:
            port = _free_port()
            task = asyncio.ensure_future(_served(server, port))
            try:
                async with AsyncExitStack() as lines:
                    heard: Any = await conversation.hold(lambda: _dial(port, task, lines))
            except NoServer as nobody:
                heard = str(nobody)
            finally:
                task.cancel()
                await asyncio.wait([task], timeout=ANSWER_S)
        if loop.time() > ends:
            raise running.TooLong  # a handler that never rests keeps the time-out waiting, too
        if errors:
            raise errors[0]  # the library closes with 1011 and logs it; to a learner the error says more
        return ... if running._is_stub(server) else heard

    talk.__name__ = f"a client of {getattr(server, '__name__', 'your server')}"
    talk.talks_to = server  # type: ignore[attr-defined]
    return talk


async def _served(server: Server, port: int) -> None:
    ending = server(port)
    if inspect.isawaitable(ending):
        await ending


def _free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def _dial(port: int, server: asyncio.Future[None], lines: AsyncExitStack) -> Line:
    """A new client. Raises NoServer, or the error that the server ended with."""
    for _ in range(DIALS):  # counted, so that a machine that stands still for a while is no failure
        try:
            address = f"ws://127.0.0.1:{port}"
            link = await websockets.connect(
                address, compression=None, open_timeout=ANSWER_S, close_timeout=ANSWER_S, **_DIRECT
            )
        except (OSError, EOFError, websockets.InvalidHandshake):
            if server.done():
                server.result()
                raise NoServer("the server has ended") from None
            await asyncio.sleep(REDIAL_S)
        else:
            lines.push_async_callback(link.close)
            return Line(link)
    raise NoServer("nobody listens on the port that was given")


@contextmanager
def _errors_of_handlers() -> Iterator[list[BaseException]]:
    """What the handlers of websockets' servers fail with meanwhile, taken out of its log."""
    errors: list[BaseException] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            error = record.exc_info[1] if record.exc_info else None
            if error is None or record.msg != "connection handler failed":
                return
            if not isinstance(error, websockets.ConnectionClosed):  # that a client has left is no error
                errors.append(error)

    log, collector = logging.getLogger("websockets.server"), Collector()
    log.addHandler(collector)
    propagated, log.propagate = log.propagate, False
    try:
        yield errors
    finally:
        log.propagate = propagated
        log.removeHandler(collector)


@dataclass(frozen=True)
class ServerExercise(Exercise):
    """An exercise whose answer is a server."""

    limit_s: float = TALK_S

    def check(self, answer: Any, *, hidden: bool = False) -> Result:
        return super().check(conversed(answer), hidden=hidden)
