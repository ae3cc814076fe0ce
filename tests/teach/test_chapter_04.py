"""The exercises of chapter 04: what test_exercise.py asks of all of them, and what is true of these alone."""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
import websockets

from labsupport.backoff import FullJitter
from labsupport.clients.closing import LATER_S, verdict
from labsupport.clients.outbox import Outbox
from labsupport.teach import server_exercise
from labsupport.teach.exercise import check, exercise
from labsupport.teach.exercises import chapter_04


@pytest.mark.parametrize(("failures", "u"), [(0, 0.25), (3, 0.5), (12, 0.75)])
def test_the_small_wait_is_what_the_labs_own_client_does(failures: int, u: float) -> None:
    wait_s = FullJitter(base_s=1, cap_s=30).wait_s(failures, u)
    for code in (*range(1000, 1016), 3000, *range(4000, 5000)):
        own = {"stop": None, "back off": wait_s + LATER_S, "reconnect": wait_s}[verdict(code)]
        assert chapter_04.wait_s(code, failures, u) == pytest.approx(own), code


@pytest.mark.parametrize("seed", range(50))
def test_the_small_outbox_writes_what_the_labs_own_writes(seed: int) -> None:
    rng = random.Random(seed)
    own, is_open, events, said, written = Outbox(1000, 1000), False, [], [], []

    def write() -> None:
        while is_open and (letter := own.next()) is not None:
            written.append((said.index(letter.id) + 1, letter.text))

    for _ in range(40):
        what = rng.choice(("say", "say", "ack", "close or open"))
        if what == "say":
            events.append((what, text := rng.choice("abc")))
            said.append(own.add(text).id)
        elif what == "ack" and written:
            id, _ = rng.choice(written)
            events.append((what, id))
            own.settle(said[id - 1])
        elif what == "close or open":
            is_open = not is_open
            events.append(("open",) if is_open else ("cut",))
            own.rewind()
        write()
    assert chapter_04.outbox(events) == written


@pytest.mark.parametrize(
    ("id", "name"),
    [(one.id, mistake.name) for one in chapter_04.EXERCISES[1:] for mistake in one.mistakes],
)
def test_each_wrong_answer_is_called_by_its_name(id: str, name: str) -> None:
    [mistake] = [mistake for mistake in exercise(id).mistakes if mistake.name == name]
    assert f"looks like “{name}”" in repr(check(id, mistake.answer))


@pytest.mark.parametrize("id", ["4.2", "4.3"])
def test_an_endless_loop_is_ended_and_named(id: str) -> None:
    def endless(*arguments: Any) -> None:
        while True:
            pass

    assert "is there an endless loop" in repr(replace(exercise(id), limit_s=0.2).check(endless))


@pytest.mark.parametrize("id", ["4.2", "4.3"])
def test_a_stub_is_not_started_yet(id: str) -> None:
    def stub(*arguments: Any) -> Any: ...

    assert repr(check(id, stub)) == "not started yet"


def test_an_ack_that_comes_twice_and_stops_an_answer_is_told_with_its_line() -> None:
    def strict(events: list[Any]) -> Any:
        waiting = dict(enumerate((about[0] for what, *about in events if what == "say"), 1))
        for what, *about in events:
            if what == "ack":
                del waiting[about[0]]
        return chapter_04.outbox(events)

    assert "stopped with KeyError: 1, in line" in repr(check("4.2", strict))


# A server as an answer


async def serve(handler: Any, port: int) -> None:
    async with websockets.serve(handler, "127.0.0.1", port) as server:
        await server.serve_forever()


def test_an_echo_written_in_another_way_is_right() -> None:
    async def mine(port: int) -> None:
        async def echo(connection: Any) -> None:
            while True:
                await connection.send(await connection.recv())

        async with websockets.serve(echo, "localhost", port):
            await asyncio.Future()

    assert repr(check("4.1", mine)) == "✓ 5 of 5 cases right"


async def stub(port: int) -> None: ...


async def stub_that_raises(port: int) -> None:
    raise NotImplementedError


@pytest.mark.parametrize("answer", [stub, stub_that_raises, ...])
def test_a_server_that_is_a_stub_is_not_started_yet(answer: Any) -> None:
    assert repr(check("4.1", answer)) == "not started yet"


def test_a_value_instead_of_a_server_is_explained() -> None:
    assert 'check("4.1", …) needs your function itself' in repr(check("4.1", 8765))


def test_what_a_handler_stops_with_is_told_with_its_line() -> None:
    async def mine(port: int) -> None:
        async def echo(connection: Any) -> None:
            async for _ in connection:
                await connection.send(mesage)  # type: ignore[name-defined]  # noqa: F821

        await serve(echo, port)

    said = repr(check("4.1", mine))
    assert "stopped with NameError: name 'mesage' is not defined, in line" in said
    assert "await connection.send(mesage)" in said


def test_a_server_that_starts_a_loop_of_its_own_is_told_so() -> None:
    def mine(port: int) -> None:
        nothing = asyncio.sleep(0)
        try:
            asyncio.run(nothing)
        finally:
            nothing.close()

    assert "asyncio.run() cannot be called from a running event loop" in repr(check("4.1", mine))


def test_a_server_that_forgets_to_wait_for_anything_has_ended() -> None:
    def mine(port: int) -> None:
        websockets.serve(lambda connection: connection.wait_closed(), "127.0.0.1", port)

    said = repr(check("4.1", mine))
    assert "got 'the server has ended'" in said
    assert "looks like “the end of the block”" in said


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Exercise 4.1 with a short limit."""
    monkeypatch.setattr(server_exercise, "TALK_S", 0.3)
    return replace(exercise("4.1"), limit_s=0.3)


def test_an_endless_loop_instead_of_a_server_is_ended_and_named(brief: Any) -> None:
    def endless(port: int) -> None:
        while True:
            pass

    assert "is there an endless loop" in repr(brief.check(endless))


def test_a_handler_that_swallows_the_end_of_its_connection_is_ended_and_named(brief: Any) -> None:
    async def mine(port: int) -> None:
        async def echo(connection: Any) -> None:
            while True:
                with suppress(Exception):
                    await connection.send(await connection.recv())

        await serve(echo, port)

    assert "is there an endless loop" in repr(brief.check(mine))


def test_after_a_check_the_librarys_log_is_as_it_was() -> None:
    log = logging.getLogger("websockets.server")
    before = [*log.handlers], log.propagate
    assert check("4.1", chapter_04.echo_server).passed
    assert ([*log.handlers], log.propagate) == before
