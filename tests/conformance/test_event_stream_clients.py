"""Real clients on the lab's event streams: each streams, is cut, resumes by Last-Event-ID, and loses nothing.

curl, httpx-sse, and the EventSource of npm's undici and of npm's eventsource; Chromium's: tests/browser.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from servers import recent_changes, sse
from servers.core import event_stream, lifeline
from servers.core.faults import Faults
from servers.middlebox import Link, Middlebox
from tests.conformance.conftest import not_here
from tests.conformance.listeners import (
    CLIENTS,
    FROM_NPM,
    Heard,
    Listener,
    missing,
    stays_away_once_refused,
)
from tests.npm import install
from tests.servers import gateways
from tests.servers.conftest import Running, until
from tests.servers.streams import counters, run

TYPES = ("message", "price", "two words", "other epoch", "bad position", "snapshot")
CHANGES = "/v2/stream/recentchange"


@pytest.fixture(scope="session")
def npm(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """npm() gives the folder with the npm packages; they are fetched once, when first asked for."""
    installed: list[tuple[Path, str | None]] = []

    def folder() -> Path:
        if not installed:
            made = tmp_path_factory.mktemp("npm")
            installed.append((made, install(Path(__file__).with_name("npm"), made)))
        if installed[0][1] is not None:
            not_here(installed[0][1])
        return installed[0][0]

    return folder


Listen = Callable[..., Listener]
Start = Callable[..., Awaitable[Running]]


@pytest.fixture
async def stack(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AsyncExitStack]:
    # Clients wait as long as the server tells them to: 1 to 10 s, if it were left alone.
    monkeypatch.setattr(event_stream, "RETRY_MS", (20, 60))
    async with AsyncExitStack() as open_things:
        yield open_things


@pytest.fixture(params=CLIENTS)
async def name(request: pytest.FixtureRequest) -> str:
    if (reason := missing(request.param)) is not None:
        not_here(reason)
    return str(request.param)


@pytest.fixture
async def listen(name: str, stack: AsyncExitStack, npm: Callable[[], Path], tmp_path: Path) -> Listen:
    """listen(url) opens a stream with the client in question."""

    def begin(url: str) -> Listener:
        listener = Listener(name, url, TYPES, npm() if name in FROM_NPM else tmp_path)
        stack.push_async_callback(listener.close)
        return listener

    return begin


async def through_a_box(stack: AsyncExitStack, server: Running) -> tuple[Middlebox, str]:
    """A middlebox in front of the server, in this loop; and its URL."""
    box = Middlebox("127.0.0.1", server.port)
    sock = lifeline.listener("127.0.0.1", 0)
    await box.listen(sock)
    stack.push_async_callback(box.close)
    return box, lifeline.url_of(sock)


# ---------------------------------------------------------------- sse


async def test_each_event_is_heard_while_the_stream_stays_open(stack, listen: Listen):
    server, _ = await run(stack, sse)
    listener = listen(server.url + "/events")
    for kind, data in (("message", "hello"), ("price", 1.5), ("two words", "ü\n\u2028 \U0001f600")):
        position = (await server.post({"event": kind, "data": data}))[1]["id"]
        heard = await listener.next()
        assert (heard.type, json.loads(heard.data), heard.id) == (kind, data, position)
    assert counters(server).open == 1
    assert listener.lost == 0


async def test_a_stream_that_ends_after_every_third_event_is_resumed_until_all_have_come(
    stack, listen: Listen
):
    server, _ = await run(stack, sse)
    await server.put_fault({"cut_after": 3})
    positions = [await server.say(number) for number in range(7)]
    listener = listen(server.url + "/events")
    heard = await listener.take(7)
    positions += [await server.say(number) for number in range(7, 11)]
    heard += await listener.take(4)
    assert [each.id for each in heard] == positions
    assert [json.loads(each.data) for each in heard] == list(range(11))
    assert counters(server).resumed >= 3
    assert counters(server).gaps == 0


async def cut_in_order(box: Middlebox, link: Link, server: Running, say: Callable) -> None:
    link.cut()
    await say(2)


async def cut_at_once(box: Middlebox, link: Link, server: Running, say: Callable) -> None:
    link.reset()
    await say(2)


async def cut_after_a_silence(box: Middlebox, link: Link, server: Running, say: Callable) -> None:
    """The server's messages go nowhere for a while; it thinks that they have arrived."""
    await box.switch(Faults(half_open="down"))
    await say(2)
    await until(lambda: link.down.dropped)
    link.reset()
    await box.switch(Faults())


async def cut_inside_an_event(box: Middlebox, link: Link, server: Running, say: Callable) -> None:
    writes = link.down.writes
    await box.switch(Faults(bytes_per_s=200_000))  # 4 kB a write
    await say(1, size=40_000)
    await until(lambda: link.down.writes >= writes + 3)
    assert link.down.writes < writes + 9
    link.reset()
    await box.switch(Faults())


async def cut_and_not_let_in_for_a_while(box: Middlebox, link: Link, server: Running, say: Callable) -> None:
    await box.switch(Faults(refuse=True))
    link.cut()
    await say(2)


CUTS = [cut_in_order, cut_at_once, cut_after_a_silence, cut_inside_an_event, cut_and_not_let_in_for_a_while]


async def test_cut_on_the_way_in_every_manner_it_resumes_and_loses_nothing(stack, listen: Listen, name: str):
    server, _ = await run(stack, sse)
    box, url = await through_a_box(stack, server)
    listener = listen(url + "/events")
    positions: list[str] = []
    heard: list[Heard] = []

    async def say(number: int, size: int = 1) -> None:
        positions.extend([await server.say("x" * size) for _ in range(number)])

    cuts = CUTS[:-1] if stays_away_once_refused(name) else CUTS
    for cut in cuts:
        await say(2)
        heard += await listener.take(len(positions) - len(heard))
        (link,) = box.links.values()
        lost = listener.lost
        await cut(box, link, server, say)
        if box.faults.refuse:
            await until(lambda lost=lost: listener.lost >= lost + 3)  # the cut, and two attempts
            await box.switch(Faults())
        heard += await listener.take(len(positions) - len(heard))
        await until(lambda: len(box.links) == 1)
    assert [each.id for each in heard] == positions
    assert counters(server).resumed >= len(cuts)
    assert counters(server).gaps == 0


async def test_a_place_of_another_epoch_is_told_and_all_that_is_remembered_follows(stack, listen: Listen):
    server, _ = await run(stack, sse)
    position = await server.say("remembered")
    listener = listen(server.url + "/events?last_event_id=elsewhere-7")
    told, snapshot = await listener.take(2)
    assert (told.type, snapshot.type) == ("other epoch", "snapshot")
    assert json.loads(snapshot.data)["position"] == snapshot.id == position
    assert [each["data"] for each in json.loads(snapshot.data)["messages"]] == ["remembered"]
    position = await server.say("live")
    assert (await listener.next()).id == position


# ---------------------------------------------------------------- gateway


async def test_the_gateway_is_followed_too_and_cut_in_every_manner_it_is_resumed_and_loses_nothing(
    stack, listen: Listen, name: str
):
    server = await stack.enter_async_context(gateways.run())
    box, url = await through_a_box(stack, server)
    listener = listen(url + "/events")
    positions: list[str] = []
    heard: list[Heard] = []

    async def say(number: int, size: int = 1) -> None:
        positions.extend([await server.say("x" * size) for _ in range(number)])

    for cut in CUTS[:-1]:
        await say(2)
        heard += await listener.take(len(positions) - len(heard))
        (link,) = box.links.values()
        await cut(box, link, server, say)
        heard += await listener.take(len(positions) - len(heard))
        await until(lambda: len(box.links) == 1)
    assert [each.id for each in heard] == positions
    stats = (await server.get("/stats"))[1]["sse"]
    assert stats["resumed"] >= len(CUTS) - 1
    assert stats["gaps"] == 0


# ---------------------------------------------------------------- recent_changes


def happen(server: Running, number: int) -> list[str]:
    """Let so many changes happen; their ids."""
    feed = server.app[recent_changes.FEED]
    return [feed.publish().data["meta"]["id"] for _ in range(number)]


async def test_recent_changes_are_resumed_by_the_id_of_the_last_one_and_none_is_lost(stack, listen: Listen):
    server, _ = await run(stack, recent_changes, "--rate", "0", "--seed", "3")
    box, url = await through_a_box(stack, server)
    listener = listen(url + CHANGES)
    await until(lambda: counters(server).open == 1)
    changes: list[str] = []
    heard: list[Heard] = []

    async def say(number: int, size: int = 1) -> None:
        changes.extend(happen(server, number))

    for cut in (cut_in_order, cut_at_once, cut_after_a_silence):
        await say(20)
        heard += await listener.take(len(changes) - len(heard))
        (link,) = box.links.values()
        await cut(box, link, server, say)
        heard += await listener.take(len(changes) - len(heard))
        await until(lambda: len(box.links) == 1)
    assert [json.loads(each.data)["meta"]["id"] for each in heard] == changes
    assert counters(server).resumed >= 3


async def test_streams_of_recent_changes_that_end_after_their_life_are_resumed(stack, listen: Listen):
    server, _ = await run(stack, recent_changes, "--rate", "0", "--life", "0.3")
    listener = listen(server.url + CHANGES)
    await until(lambda: counters(server).open == 1)
    changes: list[str] = []
    heard: list[Heard] = []
    while listener.lost < 2 or not heard:
        changes += happen(server, 1)
        heard += await listener.take(1)
    assert [json.loads(each.data)["meta"]["id"] for each in heard] == changes


# An id in a block without data is the client's place all the same (WHATWG HTML, 9.2.6: "dispatch the event",
# step 1 comes before step 2). The servers here open each stream with such a block. eventsource-parser 3.1.1,
# on which eventsource stands, reads a block without data as nothing at all.
FORGETS_AN_ID_WITHOUT_DATA = {"eventsource"}


async def test_cut_before_its_first_change_a_client_knows_its_place_by_the_id_that_came_without_data(
    stack, listen: Listen, name: str
):
    server, _ = await run(stack, recent_changes, "--rate", "0")
    box, url = await through_a_box(stack, server)
    listener = listen(url + CHANGES)
    await until(lambda: counters(server).open == 1)
    (link,) = box.links.values()

    def opening_was_passed_on() -> bool:
        pieces = [
            data for _, _, way, kind, data, _ in box.recording.records if (way, kind) == ("down", "data")
        ]
        return b"retry: " in b"".join(pieces) and link.down.writes == len(pieces)

    await until(opening_was_passed_on)
    await box.switch(Faults(refuse=True))
    link.cut()
    await until(lambda: listener.lost)
    missed = happen(server, 1)
    await box.switch(Faults())
    await until(lambda: counters(server).opened == 2 and counters(server).open == 1)
    expected = [*missed, *happen(server, 1)]
    if name in FORGETS_AN_ID_WITHOUT_DATA:
        expected = expected[1:]
    heard = await listener.take(len(expected))
    assert [json.loads(each.data)["meta"]["id"] for each in heard] == expected
    assert counters(server).resumed == (name not in FORGETS_AN_ID_WITHOUT_DATA)
