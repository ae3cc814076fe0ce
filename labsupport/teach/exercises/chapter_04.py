"""Exercises of chapter 04, WebSocket. The answer to the first is a server, and the check is its client."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import websockets

from labsupport.teach.exercise import Exercise, Mistake, case
from labsupport.teach.server_exercise import Conversation, Dial, ServerExercise, conversed

# 4.1, the echo server


async def echo_server(port: int) -> None:
    """Send every message back, to whoever sent it, until cancelled."""

    async def echo(connection: Any) -> None:
        async for message in connection:
            await connection.send(message)

    await _serve(echo, port)


async def _serve(handler: Callable[[Any], Awaitable[None]], port: int) -> None:
    async with websockets.serve(handler, "127.0.0.1", port) as server:
        await server.serve_forever()


async def _one_message(port: int) -> None:
    async def echo(connection: Any) -> None:
        await connection.send(await connection.recv())

    await _serve(echo, port)


async def _all_text(port: int) -> None:
    async def echo(connection: Any) -> None:
        async for message in connection:
            await connection.send(str(message))

    await _serve(echo, port)


async def _ends_at_empty(port: int) -> None:
    async def echo(connection: Any) -> None:
        while message := await connection.recv():
            await connection.send(message)

    await _serve(echo, port)


async def _own_words(port: int) -> None:
    async def echo(connection: Any) -> None:
        async for message in connection:
            await connection.send(f"echo: {message}")

    await _serve(echo, port)


async def _to_everybody(port: int) -> None:
    everybody: dict[Any, None] = {}

    async def echo(connection: Any) -> None:
        everybody[connection] = None
        async for message in connection:
            for each in everybody:
                await each.send(message)

    await _serve(echo, port)


async def _one_at_a_time(port: int) -> None:
    turn = asyncio.Lock()

    async def echo(connection: Any) -> None:
        async with turn:
            async for message in connection:
                await connection.send(message)

    await _serve(echo, port)


async def _ends_with_its_first(port: int) -> None:
    gone = asyncio.Event()

    async def echo(connection: Any) -> None:
        try:
            async for message in connection:
                await connection.send(message)
        finally:
            gone.set()

    async with websockets.serve(echo, "127.0.0.1", port):
        await gone.wait()


async def _ends_at_once(port: int) -> None:
    async with websockets.serve(lambda connection: connection.wait_closed(), "127.0.0.1", port):
        pass


async def _elsewhere(port: int) -> None:
    await echo_server(0)


async def _texts(dial: Dial) -> list[Any]:
    line = await dial()
    return [await line.say(text) for text in ("hello", "grüße", "", "again")]


async def _binary(dial: Dial) -> list[Any]:
    line = await dial()
    return [await line.say(data) for data in (b"\x00\xff", b"")]


async def _two_at_once(dial: Dial) -> list[Any]:
    alice, bob = await dial(), await dial()
    return [await alice.say("from Alice"), await bob.say("from Bob"), await alice.say("Alice again")]


async def _a_close(dial: Dial) -> list[Any]:
    line = await dial()
    return [await line.say("bye"), await line.leave(), await (await dial()).say("next, please")]


async def _a_vanished_client(dial: Dial) -> list[Any]:
    (await dial()).vanish()
    return [await (await dial()).say("next, please")]


async def _a_long_text(dial: Dial) -> list[Any]:
    return [await (await dial()).say("x" * 70_000)]


# 4.2, the outbox

Event = tuple[Any, ...]
Letter = tuple[int, str]


def outbox(
    events: Sequence[Event],
    *,
    keeps: bool = True,
    forgets_sent: bool = False,
    forgets_acked: bool = True,
    same_id: bool = True,
    newest_first: bool = False,
    blind: bool = False,
    resends: bool = True,
) -> list[Letter]:
    """What a client writes: each message until it is acknowledged. A switch for each mistake made in it."""
    waiting: dict[int, str] = {}
    written: list[Letter] = []
    is_open, number = False, 0
    for what, *about in events:
        if what == "say" and (keeps or is_open):
            number += 1
            waiting[number] = about[0]
            if is_open or blind:
                written.append((number, about[0]))
                if forgets_sent:
                    del waiting[number]
        elif what == "ack" and forgets_acked:
            waiting.pop(about[0], None)
        elif what == "cut":
            is_open = False
        elif what == "open":
            is_open = True
            again = list(waiting.items()) if resends else []
            if not same_id:
                again = [(number + place, text) for place, (_, text) in enumerate(again, 1)]
                waiting = dict(again)
                number += len(again)
            written += reversed(again) if newest_first else again
            if forgets_sent:
                waiting.clear()
    return written


def _slip(**switches: bool) -> Callable[[Sequence[Event]], list[Letter]]:
    return lambda events: outbox(events, **switches)


# 4.3, after the close


def wait_s(
    code: int,
    failures: int,
    u: float,
    *,
    stop: Sequence[int] = (1000, 1002, 1003, *range(1007, 1011), *range(4400, 4408)),
    back_off: Sequence[int] = (1013, *range(4408, 4500)),
    least_s: float = 5.0,
    cap_s: float = 30.0,
) -> float | None:
    """Seconds until the next attempt after this close code; None: there is none. Switches for mistakes."""
    if code in stop:
        return None
    return least_s * (code in back_off) + u * min(cap_s, 2**failures)


def _unlike(**slip: Any) -> Callable[[int, int, float], float | None]:
    return lambda code, failures, u: wait_s(code, failures, u, **slip)


def _known_only(code: int, failures: int, u: float) -> float | None:
    known = (1001, 1005, 1006, 1011, 1012, 1013, 1014, *range(4200, 4300), *range(4408, 4500))
    return wait_s(code, failures, u) if code in known else None


def _no_draw(code: int, failures: int, u: float) -> float | None:
    return wait_s(code, failures, 1.0)


def _always_three(code: int, failures: int, u: float) -> float | None:
    return None if wait_s(code, failures, u) is None else 3.0


_SAID = [("open",), ("say", "a"), ("say", "b")]

EXERCISES: tuple[Exercise, ...] = (
    ServerExercise(
        id="4.1",
        title="An echo server",
        reference=conversed(echo_server),
        cases=(
            case(Conversation("four texts", _texts), hint="one connection carries many messages"),
            case(Conversation("two binary messages", _binary), hint="binary comes back as binary"),
            case(Conversation("two clients at once", _two_at_once), hint="each gets its own words"),
            case(Conversation("a close, and a newcomer", _a_close), hint="1000 is an ordinary goodbye"),
            case(
                Conversation("one that vanishes, and a newcomer", _a_vanished_client),
                hint="a client may go without a word; who comes next must not feel it",
            ),
            case(Conversation("a long text", _a_long_text), hint="one of 70 000 characters", hidden=True),
        ),
        mistakes=(  # the slow ones last: a wrong answer is compared with each, down to the one it looks like
            Mistake(
                "one message, then the end",
                conversed(_one_message),
                "a connection ends when its handler returns: stay in it, and wait for the next message.",
            ),
            Mistake(
                "everything as text",
                conversed(_all_text),
                "str of bytes is a text about bytes. The library gives str for text and bytes for binary.",
            ),
            Mistake(
                "an empty message ends it",
                conversed(_ends_at_empty),
                "an empty message is a message, and in a condition it counts as false.",
            ),
            Mistake("words of its own", conversed(_own_words), "an echo adds nothing."),
            Mistake(
                "everybody hears it",
                conversed(_to_everybody),
                "this is a chat already; an echo goes to the one who called.",
            ),
            Mistake(
                "the first to leave ends it",
                conversed(_ends_with_its_first),
                "clients come and go; the server stays: serve_forever().",
            ),
            Mistake(
                "the end of the block",
                conversed(_ends_at_once),
                "leaving the block `async with serve(…)` ends the server: wait inside of it.",
            ),
            Mistake(
                "one at a time",
                conversed(_one_at_a_time),
                "the second client waits until the first one leaves, which may be tomorrow.",
            ),
            Mistake(
                "another port",
                conversed(_elsewhere),
                "listen on the port that you are given; the check connects there.",
            ),
        ),
    ),
    Exercise(
        id="4.2",
        title="An outbox",
        reference=outbox,
        cases=(
            case(_SAID, hint="while it is open, each message is written at once"),
            case([("say", "a"), ("open",)], hint="what was said before waits for the connection"),
            case([*_SAID, ("cut",), ("say", "c"), ("open",)], hint="no ack came: was anything received?"),
            case([*_SAID, ("ack", 1), ("cut",), ("open",)], hint="what is acknowledged has arrived"),
            case(
                [*_SAID, ("cut",), ("open",), ("ack", 1), ("ack", 1), ("cut",), ("open",)],
                hint="written twice, a message may be acknowledged twice",
            ),
            case([*_SAID, ("cut",), ("open",), ("say", "c")], hint="ids go on where they were"),
            case(
                [("open",), ("say", "a"), ("cut",), ("say", "a"), ("open",), ("ack", 2), ("cut",), ("open",)],
                hint="two messages with one text are two messages",
                hidden=True,
            ),
        ),
        mistakes=(
            Mistake(
                "lost while away",
                _slip(keeps=False),
                "what is said without a connection is said to nobody: keep it for the next one.",
            ),
            Mistake(
                "written is done",
                _slip(forgets_sent=True),
                "to be written means to be on its way. Only the ack says that it has arrived.",
            ),
            Mistake(
                "nothing goes again",
                _slip(resends=False),
                "a new connection knows nothing of the old one: write again whatever is not acknowledged.",
            ),
            Mistake(
                "everything goes again",
                _slip(forgets_acked=False),
                "an ack takes its message out; else each reconnect sends the whole past.",
            ),
            Mistake(
                "a new id each time",
                _slip(same_id=False),
                "the server tells a double by its id: the same message keeps it for ever.",
            ),
            Mistake(
                "the newest first",
                _slip(newest_first=True),
                "the answer would come before the question: write again in the old order.",
            ),
            Mistake(
                "written into the cut line",
                _slip(blind=True),
                "without a connection there is nothing to write on.",
            ),
        ),
    ),
    Exercise(
        id="4.3",
        title="After the close",
        reference=wait_s,
        cases=(
            case(1012, 0, 0.5, hint="a restart: come back, and not all at once"),
            case(1006, 3, 0.5, hint="cut, for the fourth time in a row: 8 s at most"),
            case(1006, 20, 0.5, hint="is the ceiling of 30 s applied?"),
            case(4429, 0, 0.5, hint="too fast: not within 5 s"),
            case(1013, 2, 0.25, hint="try again later"),
            case(4401, 0, 0.5, hint="who are you? asking again does not change the answer"),
            case(1008, 5, 0.5, hint="a rule was broken, and would be again"),
            case(4217, 1, 0.5, hint="the range 4200 to 4299"),
            case(3999, 0, 0.5, hint="a code that nobody has told you about"),
            case(1000, 0, 0.5, hint="goodbye means goodbye", hidden=True),
            case(4408, 6, 0.75, hint="the first of the second range", hidden=True),
        ),
        mistakes=(
            Mistake(
                "4000 and above is final",
                _unlike(stop=(1000, 1002, 1003, *range(1007, 1011), *range(4000, 5000))),
                "4000 to 4999 belong to each application; here only 4400 to 4407 say stop.",
            ),
            Mistake(
                "no word from RFC 6455 stops it",
                _unlike(stop=range(4400, 4408)),
                "1000, 1002, 1003 and 1007 to 1010 say stop, too.",
            ),
            Mistake(
                "always back",
                _unlike(stop=()),
                "a client that nobody lets in will knock all night: some codes say stop.",
            ),
            Mistake(
                "unknown is final",
                _known_only,
                "a server may get new codes one day. A client that stops at them has to be replaced first.",
            ),
            Mistake(
                "no breath",
                _unlike(least_s=0.0),
                "1013 and 4408 to 4499 say that it was too much: add 5 s.",
            ),
            Mistake("no cap", _unlike(cap_s=float("inf")), "the ceiling doubles for ever; stop it at 30 s."),
            Mistake(
                "no draw",
                _no_draw,
                "without a random share, all clients of a server that fell come back at the same moments.",
            ),
            Mistake(
                "always three seconds",
                _always_three,
                "a constant wait neither spreads the crowd nor gives a server in trouble more room.",
            ),
        ),
    ),
)
