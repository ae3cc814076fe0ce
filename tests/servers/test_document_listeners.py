"""document_listeners over the wire: reading, writing, and what listeners hear of it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from servers import document_listeners
from servers.document_listeners import DOCUMENTS, Documents
from tests.servers.conftest import Process, Running, until
from tests.servers.streams import Reader, counters, run


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as inside:
        yield inside


@pytest.fixture
async def server(stack: AsyncExitStack) -> Running:
    return (await run(stack, document_listeners))[0]


async def ask(
    server: Running, method: str, path: str, body: Any = ..., **headers: str
) -> tuple[int, Any, Any]:
    """(status, JSON, headers)."""
    raw = None if body is ... else body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    async with server.session.request(method, server.url + path, data=raw, headers=fields) as response:
        return response.status, json.loads(await response.read() or b"null"), response.headers


async def listen(server: Running, path: str) -> Reader:
    response = await server.session.get(server.url + path, headers={"Accept": "text/event-stream"})
    assert response.status == 200, await response.text()
    assert response.content_type == "text/event-stream"
    return await Reader(response).opened()


async def heard(reader: Reader) -> tuple[str, Any]:
    event = await reader.next()
    return event.type, json.loads(event.data)


async def test_what_was_put_is_read_and_what_is_not_there_is_null(server: Running):
    assert (await ask(server, "PUT", "/rooms/one.json", {"topic": "lunch"}))[:2] == (200, {"topic": "lunch"})
    assert (await ask(server, "GET", "/rooms/one/topic.json"))[:2] == (200, "lunch")
    assert (await ask(server, "GET", "/nowhere.json"))[:2] == (200, None)
    assert (await ask(server, "DELETE", "/rooms.json"))[:2] == (200, None)
    assert (await ask(server, "GET", "/.json"))[:2] == (200, None)


async def test_a_patch_changes_the_named_children_only(server: Running):
    await ask(server, "PUT", "/rooms/one.json", {"topic": "lunch", "open": True})
    assert (await ask(server, "PATCH", "/rooms/one.json", {"topic": "dinner"}))[:2] == (
        200,
        {"topic": "dinner"},
    )
    assert (await ask(server, "GET", "/rooms/one.json"))[1] == {"topic": "dinner", "open": True}


async def test_posted_children_have_keys_that_sort_in_the_order_of_their_posting(server: Running):
    names = [(await ask(server, "POST", "/list.json", number))[1]["name"] for number in range(20)]
    assert names == sorted(names)
    assert list((await ask(server, "GET", "/list.json"))[1].values()) == list(range(20))


def test_keys_rise_within_one_millisecond_and_when_the_clock_is_set_back():
    now = [1_000.0]
    documents = Documents(lambda: now[0])
    keys = [documents.push_id() for _ in range(100)]
    now[0] = 900.0
    keys += [documents.push_id() for _ in range(100)]
    now[0] = 2_000.0
    keys.append(documents.push_id())
    assert keys == sorted(set(keys))
    assert {len(key) for key in keys} == {20}


async def test_a_listener_gets_the_value_first_and_then_each_write(server: Running):
    await ask(server, "PUT", "/rooms/one.json", {"topic": "lunch"})
    reader = await listen(server, "/rooms/one.json")
    assert await heard(reader) == ("put", {"path": "/", "data": {"topic": "lunch"}})
    await ask(server, "PATCH", "/rooms/one.json", {"topic": "dinner"})
    await ask(server, "PUT", "/rooms/one/who/alice.json", True)
    await ask(server, "DELETE", "/rooms/one.json")
    assert await heard(reader) == ("patch", {"path": "/", "data": {"topic": "dinner"}})
    assert await heard(reader) == ("put", {"path": "/who/alice", "data": True})
    assert await heard(reader) == ("put", {"path": "/", "data": None})


async def test_a_write_reaches_listeners_of_its_path_its_parents_and_its_children_and_no_others(
    server: Running,
):
    paths = ["/.json", "/rooms.json", "/rooms/one.json", "/rooms/one/topic.json", "/rooms/two.json"]
    readers = [await listen(server, path) for path in paths]
    for reader in readers:
        assert await heard(reader) == ("put", {"path": "/", "data": None})
    await ask(server, "PUT", "/rooms/one.json", {"topic": "lunch"})
    await ask(server, "PUT", "/rooms/two.json", 2)  # the only one that the last reader hears
    got = [await heard(reader) for reader in readers]
    assert got == [
        ("put", {"path": "/rooms/one", "data": {"topic": "lunch"}}),
        ("put", {"path": "/one", "data": {"topic": "lunch"}}),
        ("put", {"path": "/", "data": {"topic": "lunch"}}),
        ("put", {"path": "/", "data": "lunch"}),
        ("put", {"path": "/", "data": 2}),
    ]


async def test_writes_of_several_clients_reach_all_listeners_in_one_order(server: Running):
    readers = [await listen(server, "/.json"), await listen(server, "/n.json")]
    for reader in readers:
        await heard(reader)

    async def writer(name: int) -> None:
        for number in range(20):
            await ask(server, "PUT", "/n.json", [name, number])

    await asyncio.gather(*(writer(name) for name in range(1, 6)))
    first, second = [[(await heard(reader))[1]["data"] for _ in range(100)] for reader in readers]
    assert first == second
    for name in range(1, 6):
        assert [number for who, number in first if who == name] == list(range(20))
    assert (await ask(server, "GET", "/n.json"))[1] == first[-1]


async def test_events_carry_no_id_and_silence_is_broken_by_keep_alive(stack: AsyncExitStack):
    server, _ = await run(stack, document_listeners, "--heartbeat", "0.05")
    reader = await listen(server, "/a.json")
    assert await heard(reader) == ("put", {"path": "/", "data": None})
    assert await heard(reader) == ("keep-alive", None)
    assert b"\nid:" not in b"\n" + reader.raw


async def test_whoever_listens_where_reading_is_forbidden_is_told_and_let_go(server: Running):
    inside, outside = await listen(server, "/secret/plan.json"), await listen(server, "/open.json")
    await heard(inside)
    await heard(outside)
    async with server.session.put(server.url + "/fault", json={"deny": ["/secret"]}) as response:
        assert await response.json() == {"deny": ["/secret"]}
    assert await heard(inside) == ("cancel", "permission denied")
    assert await inside.rest() == []
    assert (await ask(server, "GET", "/secret/plan.json"))[0] == 401
    await ask(server, "PUT", "/open.json", 1)
    assert await heard(outside) == ("put", {"path": "/", "data": 1})


async def test_a_listener_that_falls_behind_the_history_gets_the_whole_value_again(
    server: Running, monkeypatch: pytest.MonkeyPatch
):
    reader = await listen(server, "/n.json")
    await heard(reader)
    documents = server.app[DOCUMENTS]
    monkeypatch.setattr(documents.log, "_keep", 5)
    for number in range(1, 101):  # in one turn of the loop: the listener cannot follow
        documents.write("put", ("n",), number)
    got = [(await heard(reader))[1]["data"]]
    while got[-1] != 100:
        got.append((await heard(reader))[1]["data"])
    assert len(got) < 100
    assert got == sorted(got)
    assert counters(server).gaps == 1


async def test_an_event_is_encoded_once_for_all_who_listen_at_one_path(server: Running):
    readers = [await listen(server, "/a.json") for _ in range(5)]
    await ask(server, "PUT", "/a.json", 1)
    for reader in readers:
        await reader.take(2)
    assert len(server.app[DOCUMENTS]._encoded) == 1


async def test_if_match_writes_only_over_what_was_seen(server: Running):
    _, _, headers = await ask(server, "GET", "/n.json", X_Firebase_ETag="true")
    assert headers["ETag"] == "null_etag"
    assert (await ask(server, "PUT", "/n.json", 1, If_Match="null_etag"))[0] == 200
    status, value, headers = await ask(server, "PUT", "/n.json", 2, If_Match="null_etag")
    assert (status, value) == (412, 1)
    assert (await ask(server, "PUT", "/n.json", 2, If_Match=headers["ETag"]))[0] == 200


async def test_silent_and_shallow_answers_say_less(server: Running):
    assert (await ask(server, "PUT", "/a.json?print=silent", {"b": {"c": 1}}))[:2] == (204, None)
    assert (await ask(server, "GET", "/a.json?shallow=true"))[1] == {"b": True}


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/rooms", ..., 404),
        ("PUT", "/a.json", b"{", 400),
        ("PUT", "/a.json", b"\xff", 400),
        ("PUT", "/a.json", b'{"a.b": 1}', 400),
        ("PUT", "/a%2Fb.json", b"1", 400),
        ("PUT", "/a%00.json", b"1", 400),
        ("PATCH", "/a.json", b"[1]", 400),
        ("PATCH", "/a.json", b'{"x": 1, "x/y": 2}', 400),
        ("PUT", "/" + "a/" * 40 + ".json", b"1", 400),
        ("PUT", "/a.json", b'"' + b"x" * 70_000 + b'"', 413),
        ("PUT", "/fault", b'{"deny": "all"}', 400),
    ],
)
async def test_what_cannot_be_done_is_refused_with_advice_and_changes_nothing(
    server: Running, method: str, path: str, body: Any, status: int
):
    reader = await listen(server, "/.json")
    got, answer, _ = await ask(server, method, path, body)
    assert got == status
    assert answer["error"]
    assert answer["try"]
    await ask(server, "PUT", "/last.json", 1)
    assert [await heard(reader), await heard(reader)] == [
        ("put", {"path": "/", "data": None}),
        ("put", {"path": "/last", "data": 1}),
    ]


async def test_a_listener_that_leaves_is_let_go(server: Running):
    reader = await listen(server, "/a.json")
    assert counters(server).open == 1
    reader.close()
    await until(lambda: counters(server).open == 0)
    assert server.app[DOCUMENTS].log.followers == 0


def test_as_a_process_it_says_where_it_is_and_ends_with_its_parent(process: Callable[..., Process]):
    server = process("-m", "servers.document_listeners", "--port", "0")
    assert server.ready["ready"] is True
    assert server.url.startswith("http://127.0.0.1:")
    assert server.popen.stdin is not None
    server.popen.stdin.close()
    server.popen.stdin = None
    assert server.ended() == (0, "")
