"""metrics over the wire: whole or as differences, with versions, and what becomes of gaps."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from servers import metrics
from servers.metrics import FORMS, THE_GAUGES, Gauges
from tests.servers.conftest import Process, Running, until
from tests.servers.streams import Reader, counters, listen, run


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as inside:
        yield inside


@pytest.fixture
async def server(stack: AsyncExitStack) -> Running:
    return (await run(stack, metrics, "--still", "--seed", "7", "--keep", "50"))[0]


async def told(reader: Reader) -> tuple[str, Any, str]:
    event = await reader.next()
    return event.type, json.loads(event.data), event.last_event_id


def step(server: Running, times: int = 1) -> None:
    for _ in range(times):
        server.app[THE_GAUGES].step()


@pytest.mark.parametrize("form", FORMS)
async def test_a_reader_gets_a_snapshot_first_and_then_each_version_in_its_form(server: Running, form: str):
    gauges = server.app[THE_GAUGES]
    reader = await listen(server, "/stream", form=form)
    kind, data, id = await told(reader)
    assert (kind, data, id) == ("snapshot", gauges.snapshot(), gauges.log.position)
    assert len(data["metrics"]) == 200
    before = dict(gauges.metrics)
    step(server)
    changed = {name: value for name, value in gauges.metrics.items() if before[name] != value}
    assert 3 <= len(changed) <= 4
    kind, data, id = await told(reader)
    assert (kind, id) == (form, gauges.log.position)
    if form == "full":
        assert data == gauges.snapshot()
    elif form == "merge-patch":
        assert data == {"from": 0, "version": 1, "patch": changed}
    else:
        assert {each["path"][1:]: each["value"] for each in data["patch"]} == changed
        assert {each["op"] for each in data["patch"]} == {"replace"}


async def test_differences_are_much_smaller_than_the_whole(server: Running):
    entry = server.app[THE_GAUGES].step()
    size = {form: len(server.app[THE_GAUGES].once[form](entry)) for form in FORMS}
    assert size["full"] > 15 * size["json-patch"] > 15 * size["merge-patch"]


async def test_a_reader_that_comes_back_gets_what_it_missed_and_no_snapshot(server: Running):
    reader = await listen(server, "/stream", form="merge-patch")
    place = (await told(reader))[2]
    reader.close()
    step(server, 3)
    again = await listen(server, "/stream", place, form="merge-patch")
    assert [(await told(again))[1]["version"] for _ in range(3)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("place", "name"), [("{epoch}-0", "too old"), ("ab-1", "other epoch"), ("?", "bad position")]
)
async def test_a_place_of_no_use_is_told_and_a_snapshot_follows(server: Running, place: str, name: str):
    step(server, 60)
    gauges = server.app[THE_GAUGES]
    reader = await listen(server, "/stream", place.format(epoch=gauges.log.epoch), form="json-patch")
    assert (await told(reader))[0] == name
    kind, data, _ = await told(reader)
    assert (kind, data) == ("snapshot", gauges.snapshot())
    step(server)
    assert (await told(reader))[1]["from"] == 60


async def test_all_gauges_can_be_asked_for_with_an_etag(server: Running):
    status, body = await server.get("/metrics")
    assert (status, body) == (200, server.app[THE_GAUGES].snapshot())
    tag = f'"{server.app[THE_GAUGES].log.position}"'
    assert (await server.get("/metrics", {"If-None-Match": tag}))[0] == 304
    step(server)
    assert (await server.get("/metrics", {"If-None-Match": tag}))[0] == 200


async def test_a_version_is_encoded_once_for_all_readers(server: Running, monkeypatch: pytest.MonkeyPatch):
    readers = [await listen(server, "/stream", form="merge-patch") for _ in range(5)]
    encoded: list[Any] = []
    plain = metrics.to_json
    monkeypatch.setattr(metrics, "to_json", lambda value: encoded.append(value) or plain(value))
    step(server)
    for reader in readers:
        assert [(await told(reader))[0], (await told(reader))[0]] == ["snapshot", "merge-patch"]
    assert len(encoded) == 1


async def test_a_slow_reader_of_the_whole_gets_the_newest_and_is_told_what_it_skipped(server: Running):
    reader = await listen(server, "/stream", form="full")
    assert (await told(reader))[0] == "snapshot"
    step(server, 5)  # in one turn of the loop
    kind, data, _ = await told(reader)
    assert (kind, data) == ("dropped", {"messages": 4})
    assert (await told(reader))[1] == server.app[THE_GAUGES].snapshot()
    assert counters(server).slow == 0


async def test_an_unknown_form_is_refused_with_those_that_there_are(server: Running):
    status, body = await server.get("/stream", form="xml")
    assert status == 400
    assert "merge-patch" in body["try"]


async def test_the_gauges_change_by_themselves_unless_they_are_still(stack: AsyncExitStack):
    server, _ = await run(stack, metrics, "--step", "0.01", "--seed", "7")
    await until(lambda: server.app[THE_GAUGES].version >= 3)


def test_the_same_seed_gives_the_same_gauges_and_every_change_is_one():
    one, two = Gauges(7), Gauges(7)
    for _ in range(200):
        before = dict(one.metrics)
        assert one.step().data == two.step().data
        assert 3 <= sum(before[name] != value for name, value in one.metrics.items()) <= 4


def test_as_a_process_it_steps_when_told_and_ends_with_its_parent(process: Callable[..., Process]):
    server = process("-m", "servers.metrics", "--port", "0", "--still")
    assert server.url.startswith("http://127.0.0.1:")
    assert server.popen.stdin is not None
    server.popen.stdin.close()
    server.popen.stdin = None
    assert server.ended() == (0, "")
