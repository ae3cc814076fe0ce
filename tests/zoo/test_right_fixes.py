"""More than one fix is right; and what the zoo shows is what the lab's own parts know."""

from __future__ import annotations

import asyncio
import inspect
import random
from typing import Any

import pytest

from labsupport.backoff import EqualJitter, SocketIO
from labsupport.wire.event_stream import EventStreamParser
from labsupport.zoo import exhibit
from labsupport.zoo.cases import lines, waiting


@pytest.mark.parametrize("end", list(lines.ENDS))
def test_the_lab_s_own_parser_gives_the_events_of_exhibit_2_at_every_cut(end: str) -> None:
    whole = lines.body(lines.ENDS[end])
    for at in range(len(whole) + 1):
        parser = EventStreamParser()
        events = [*parser.feed(whole[:at]), *parser.feed(whole[at:])]
        assert [event.data for event in events] == lines.EVENTS, at


@pytest.mark.parametrize("attempt", range(12))
def test_the_fix_of_exhibit_3_is_equal_jitter(attempt: int) -> None:
    u = random.Random(attempt).random()
    assert waiting.reference(attempt, u, 1.0, 30.0) == pytest.approx(
        EqualJitter(1.0, 30.0).wait_s(attempt, u)
    )


def test_a_widely_used_client_has_the_bug_of_exhibit_3() -> None:
    waits_s = {SocketIO().wait_s(8, random.Random(client).random()) for client in range(50)}
    assert waits_s == {5.0}


def test_a_small_window_mends_exhibit_7_as_well() -> None:
    def deflate() -> Any:
        small = {"server_max_window_bits": 9, "client_max_window_bits": 9}
        takeover = {"server_no_context_takeover": False, "client_no_context_takeover": False}
        return small | takeover | {"compress_settings": {"memLevel": 3}}

    assert exhibit(7).check(deflate).passed, exhibit(7).check(deflate)


def test_a_time_drawn_for_each_client_mends_exhibit_9_as_well() -> None:
    async def drain(links: Any, grace_s: float) -> None:
        chance = random.Random(20)

        async def leave(link: Any) -> None:
            await asyncio.sleep(chance.uniform(0, 0.9 * grace_s))
            await link.close(1012)

        await asyncio.gather(*(leave(link) for link in links))

    assert exhibit(9).check(drain).passed


def test_three_silent_intervals_are_soon_enough_for_exhibit_10_if_asked_before_the_ping() -> None:
    async def keep_alive(link: Any, interval_s: float) -> None:
        while link.open:
            if link.now() - link.heard_s >= 3 * interval_s:
                await link.close()
                return
            await link.send("ping")
            await link.sleep(interval_s)

    assert exhibit(10).check(keep_alive).passed, exhibit(10).check(keep_alive)


async def _checks(number: int) -> bool:
    return exhibit(number).check(exhibit(number).reference).passed


@pytest.mark.parametrize("number", [2, 8])
def test_a_check_works_where_an_event_loop_runs_already_as_in_a_notebook(number: int) -> None:
    assert asyncio.run(_checks(number))


@pytest.mark.parametrize("number", range(1, 11))
def test_no_specimen_speaks_of_its_bug(number: int) -> None:
    one = exhibit(number)
    told = f"{one.story} {one.source} {one.title}".lower()
    assert not any(word in told for word in ("bug", "wrong", "forgot", "herd", "zombie", "broken"))
    assert inspect.getdoc(one.found)
