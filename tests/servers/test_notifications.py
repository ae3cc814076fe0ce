"""The notifications over real sockets: what is answered, listed, streamed, and refused.

All of it on SQLite. On PostgreSQL as well what the database has a part in: keys, order, marks, preferences.
"""

import asyncio
import json
import os
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import requests

from servers import notifications
from servers.core import notification_feed
from servers.core.notification_store import Store, StoreError, database_url
from tests.servers.conftest import PATIENCE_S, Process, Running, until
from tests.servers.databases import PostgreSQL, postgresql
from tests.servers.streams import Reader, counters, listen, request, run

Start = Callable[..., Awaitable[Running]]
BOTH = pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgreSQL]:
    with postgresql() as running:
        yield running


@pytest.fixture
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The path or URL of an empty database: SQLite's, and PostgreSQL's where a test says BOTH."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return str(tmp_path / "shop.db")
    return request.getfixturevalue("postgres").database()


@pytest.fixture
async def start(database: str) -> AsyncIterator[Start]:
    """start("--unread", "3", …) runs an instance in this loop until the test ends; all share one store."""
    async with AsyncExitStack() as stack:

        async def begin(*arguments: str) -> Running:
            options = notifications.arguments().parse_args(arguments)
            store = Store(database_url(database), options.most_per_minute)
            stack.callback(store.close)
            return (await run(stack, notifications, *arguments, store=store))[0]

        yield begin


@pytest.fixture
async def server(start: Start) -> Running:
    return await start()


async def ask(server: Running, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    """(status, JSON); the names of header fields with _ for -."""
    raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    async with server.session.request(method, server.url + path, data=raw, headers=fields) as response:
        return response.status, await response.json()


async def publish(server: Running, data: Any = "x", user: str | None = "alice", kind: str = "order") -> str:
    """Publish; gives the id."""
    body = {"user": user, "kind": kind, "data": data}
    status, answer = await ask(server, "POST", "/notifications", body)
    assert status == 201, answer
    return str(answer["id"])


async def sale(server: Running, data: Any = "half price") -> str:
    return await publish(server, data, None, "flash_sale")


async def listed(server: Running, user: str = "alice", query: str = "") -> Any:
    status, answer = await ask(server, "GET", f"/users/{user}/notifications{query}")
    assert status == 200, answer
    return answer


async def datas(server: Running, user: str = "alice", query: str = "") -> list[Any]:
    return [note["data"] for note in (await listed(server, user, query))["notifications"]]


async def stream(server: Running, user: str = "alice", place: str | None = None, query: str = "") -> Reader:
    return await listen(server, f"/users/{user}/events{query}", place)


def data(event: Any) -> Any:
    return json.loads(event.data)["data"]


# ---------------------------------------------------------------- publishing


@BOTH
async def test_a_notification_is_answered_listed_and_streamed_as_the_same_thing(server: Running):
    reader = await stream(server)
    body = {"user": "alice", "kind": "price_alert", "data": {"eur": 3}}
    status, answer = await ask(server, "POST", "/notifications", body)
    assert status == 201
    assert {**answer, "at": 0} == {
        "id": answer["id"], "kind": "price_alert", "everyone": False, "at": 0, "data": {"eur": 3},
    }  # fmt: skip
    event = await reader.next()
    assert (event.type, event.last_event_id) == ("price_alert", answer["id"])
    assert json.loads(event.data) == answer
    assert (await listed(server))["notifications"] == [{**answer, "read": False}]
    assert (await listed(server, "bob"))["notifications"] == []


@BOTH
@pytest.mark.parametrize("form", ["quoted", "bare", "body"])
async def test_the_same_key_again_gets_the_same_answer_and_stores_nothing(server: Running, form: str):
    body = {"user": "alice", "kind": "order", "data": {"a": 1, "b": 2}}
    again = {"data": {"b": 2, "a": 1}, "kind": "order", "user": "alice"}  # the same in another order
    key = {"quoted": '"8e03978e"', "bare": "8e03978e", "body": ""}[form]
    headers = {"Idempotency_Key": key} if key else {}
    if form == "body":
        body["idempotency_key"] = again["idempotency_key"] = "8e03978e"
    first = await ask(server, "POST", "/notifications", body, **headers)
    second = await ask(server, "POST", "/notifications", again, Idempotency_Key="8e03978e")
    assert first[0] == second[0] == 201
    assert first == second
    assert len((await listed(server))["notifications"]) == 1
    assert (await ask(server, "GET", "/stats"))[1]["repeated"] == 1


@BOTH
@pytest.mark.parametrize(
    "change", [{"data": 2}, {"user": "bob"}, {"kind": "price_alert"}, {"data": True}], ids=str
)
async def test_the_same_key_with_another_notification_is_refused(server: Running, change: dict):
    body = {"user": "alice", "kind": "order", "data": 1}
    await ask(server, "POST", "/notifications", body, Idempotency_Key="1")
    status, answer = await ask(server, "POST", "/notifications", {**body, **change}, Idempotency_Key="1")
    assert status == 422
    assert "key" in answer["try"]
    assert (await listed(server))["unread"] == 1


@BOTH
async def test_many_who_send_one_key_at_once_store_one_notification(start: Start):
    one, other = await start(), await start()
    body = {"user": "alice", "kind": "order", "data": 1}
    answers = await asyncio.gather(
        *(ask(each, "POST", "/notifications", body, Idempotency_Key="1") for each in [one, other] * 8)
    )
    assert answers[0][0] == 201
    assert answers == answers[:1] * len(answers)
    assert [note["id"] for note in (await listed(one))["notifications"]] == [answers[0][1]["id"]]


ORDER = '{"user": "alice", "kind": "order", "data": %s}'
BAD = {
    "no JSON": (b"{", 400, "not JSON"),
    "not UTF-8": (b'"\xff"', 400, "UTF-8"),
    "a list": (b"[]", 400, "expected an object"),
    "no data": (b'{"user": "alice", "kind": "order"}', 400, "expected an object with data"),
    "a field too many": (b'{"user": "a", "kind": "order", "data": 1, "key": "1"}', 400, "idempotency_key"),
    "another kind": (
        b'{"user": "alice", "kind": "advert", "data": 1}',
        400,
        "order, price_alert, flash_sale",
    ),
    "kind is no text": (b'{"user": "alice", "kind": ["order"], "data": 1}', 400, "expected as kind"),
    "an order for nobody": (b'{"kind": "order", "data": 1}', 400, "whose order?"),
    "no user": (b'{"user": "al/ice", "kind": "order", "data": 1}', 400, "is no user"),
    "empty user": (b'{"user": "", "kind": "flash_sale", "data": 1}', 400, "is no user"),
    "user is a number": (b'{"user": 7, "kind": "order", "data": 1}', 400, "is no user"),
    "much data": ((ORDER % ('"' + "x" * 4095 + '"')).encode(), 413, "4097 bytes"),
    "a large body": (b" " * (64 * 1024 + 1), 413, "larger than"),
    "deep": ((ORDER % ("[" * 200 + "]" * 200)).encode(), 400, "levels deep"),
    "half a character": ((ORDER % '"\\ud83d"').encode(), 400, "half a character"),
    "NaN": ((ORDER % "NaN").encode(), 400, "NaN"),
    "empty key": ((ORDER % '1, "idempotency_key": ""').encode(), 400, "expected as key"),
    "key is a number": ((ORDER % '1, "idempotency_key": 7').encode(), 400, "expected as key"),
    "long key": ((ORDER % ('1, "idempotency_key": "%s"' % ("k" * 256))).encode(), 400, "expected as key"),
}


@pytest.mark.parametrize("what", BAD)
async def test_bad_input_gets_a_clear_error_and_stores_nothing(server: Running, what: str):
    body, expected, words = BAD[what]
    status, answer = await ask(server, "POST", "/notifications", body)
    assert (status, words in answer["error"]) == (expected, True), answer
    assert answer["try"]
    assert (await listed(server))["unread"] == 0


async def test_two_keys_that_differ_are_refused(server: Running):
    body = {"user": "alice", "kind": "order", "data": 1, "idempotency_key": "1"}
    assert (await ask(server, "POST", "/notifications", body, Idempotency_Key="2"))[0] == 400
    wire = await server.wire(
        request("/notifications", "POST", Idempotency_Key="1\r\nIdempotency-Key: 2", Content_Length=2) + b"{}"
    )
    assert (await wire.answer())[0] == 400


@BOTH
async def test_odd_data_comes_back_as_it_was_sent(server: Running):
    odd = {"text": 'Ünïcode 🎉 " \\ \n \r \0 \u2028', "none": None, "list": [1.5, -0.0, True, {}]}
    reader = await stream(server)
    await publish(server, odd)
    assert data(await reader.next()) == odd
    assert await datas(server) == [odd]


@BOTH
async def test_a_recipient_gets_no_more_than_its_share_of_a_minute_over_all_instances(start: Start):
    one, other = await start("--most-per-minute", "3"), await start("--most-per-minute", "3")
    for each in (one, other, one):
        await publish(each)
    body = {"user": "alice", "kind": "order", "data": 1}
    status, answer = await ask(other, "POST", "/notifications", body)
    assert (status, "alice had as many" in answer["error"]) == (429, True)
    await publish(other, user="bob")


async def test_a_page_of_another_origin_may_not_publish_and_another_host_gets_nothing(server: Running):
    body = {"user": "alice", "kind": "order", "data": 1}
    evil = await ask(server, "POST", "/notifications", body, Origin="https://evil.example")
    assert evil[0] == 403
    own = await ask(server, "POST", "/notifications", body, Origin="http://localhost:8888")
    assert own[0] == 201
    for path in ("/users/alice/notifications", "/users/alice/events"):
        assert (await ask(server, "GET", path, Host="evil.example"))[0] == 403


# ---------------------------------------------------------------- lists, read marks, preferences


@BOTH
async def test_a_long_list_is_read_in_pages_that_fit_together(server: Running):
    ids = [await publish(server, number) for number in range(7)]
    await publish(server, "not mine", "bob")
    first = await listed(server, query="?limit=3")
    second = await listed(server, query=f"?limit=3&since={first['position']}")
    third = await listed(server, query=f"?limit=3&since={second['position']}")
    pages = [first, second, third]
    assert [note["id"] for page in pages for note in page["notifications"]] == ids
    assert [page["more"] for page in pages] == [True, True, False]
    assert [page["unread"] for page in pages] == [7, 7, 7]
    reader = await stream(server, place=third["position"])
    await publish(server, "new")
    assert data(await reader.next()) == "new"


@BOTH
async def test_reading_is_noted_once_and_for_one_user_only(server: Running):
    await publish(server, "mine")
    nid = await sale(server)
    first = await ask(server, "POST", f"/users/alice/notifications/{nid}/read")
    again = await ask(server, "POST", f"/users/alice/notifications/{nid}/read")
    assert first == again
    assert first[0] == 200
    alice, bob = await listed(server), await listed(server, "bob")
    assert [note["read"] for note in alice["notifications"]] == [False, True]
    assert (alice["unread"], bob["unread"]) == (1, 1)
    assert await datas(server, query="?unread=true") == ["mine"]
    assert (await listed(server, query="?unread=true"))["position"] == nid


@BOTH
async def test_nobody_can_read_what_is_not_there_or_not_theirs(server: Running):
    nid = await publish(server)
    epoch = nid.partition("-")[0]
    for user, what in [("bob", nid), ("alice", f"{epoch}-2"), ("alice", "other-1"), ("alice", "nonsense")]:
        status, answer = await ask(server, "POST", f"/users/{user}/notifications/{what}/read")
        assert (status, "has no notification" in answer["error"]) == (404, True)
    assert (await listed(server))["unread"] == 1


@BOTH
async def test_what_is_muted_is_in_no_list_stream_or_count_until_it_is_wanted_again(start: Start):
    one, other = await start(), await start()
    reader, bob = await stream(one), await stream(one, "bob")
    muted = {"order": True, "price_alert": True, "flash_sale": False}
    assert await ask(other, "PUT", "/users/alice/preferences", {"flash_sale": False}) == (200, muted)
    await sale(one, "sale")
    await publish(one, "order")
    assert data(await reader.next()) == "order"
    assert data(await bob.next()) == "sale"
    page = await listed(other)
    assert ([note["data"] for note in page["notifications"]], page["unread"]) == (["order"], 1)
    assert data(await (await stream(other)).next()) == "order"
    wanted = {"order": True, "price_alert": True, "flash_sale": True}
    assert await ask(one, "PUT", "/users/alice/preferences", {"flash_sale": True}) == (200, wanted)
    assert await ask(other, "GET", "/users/alice/preferences") == (200, wanted)
    assert await datas(one) == ["sale", "order"]


async def test_a_user_who_mutes_orders_still_gets_price_alerts(server: Running):
    reader = await stream(server)
    await ask(server, "PUT", "/users/alice/preferences", {"order": False})
    await publish(server, "order")
    await publish(server, "price", kind="price_alert")
    assert data(await reader.next()) == "price"


BAD_PREFERENCES = [b"[]", b'{"advert": true}', b'{"order": 1}', b'{"order": null}']


@pytest.mark.parametrize("body", BAD_PREFERENCES, ids=str)
async def test_bad_preferences_are_refused_and_change_nothing(server: Running, body: bytes):
    status, answer = await ask(server, "PUT", "/users/alice/preferences", body)
    assert (status, "order" in answer["error"]) == (400, True)
    assert set((await ask(server, "GET", "/users/alice/preferences"))[1].values()) == {True}


BAD_QUESTIONS = ["since=nonsense", "since=other-1", "limit=0", "limit=1001", "limit=x", "unread=1"]


@pytest.mark.parametrize("query", BAD_QUESTIONS)
async def test_a_bad_question_is_a_400_with_advice(server: Running, query: str):
    status, answer = await ask(server, "GET", f"/users/alice/notifications?{query}")
    assert status == 400
    assert answer["try"]
    assert (await ask(server, "GET", "/users/al%20ice/notifications"))[0] == 400


@BOTH
async def test_after_all_that_is_bad_the_same_instance_takes_what_is_good(server: Running):
    bad = [("POST", "/notifications", body, expected) for body, expected, _ in BAD.values()]
    bad += [("PUT", "/users/alice/preferences", body, 400) for body in BAD_PREFERENCES]
    bad += [("GET", f"/users/alice/notifications?{query}", None, 400) for query in BAD_QUESTIONS]
    answers = [await ask(server, method, path, body) for method, path, body, _ in bad]
    assert [status for status, _ in answers] == [expected for *_, expected in bad]
    assert all(answer["try"] for _, answer in answers)
    await publish(server, "good")
    assert await datas(server) == ["good"]


# ---------------------------------------------------------------- streams


async def test_a_stream_without_a_place_begins_with_all_and_goes_on_live(server: Running):
    await publish(server, 1)
    reader = await stream(server)
    assert data(await reader.next()) == 1
    await sale(server, 2)
    assert data(await reader.next()) == 2


@BOTH
async def test_whoever_comes_back_gets_what_came_meanwhile_from_any_instance(start: Start):
    one, other = await start(), await start()
    first = await publish(one, 1)
    for number in (2, 3):
        await publish(other, number)
    by_header = await stream(other, place=first, query="?last_event_id=nonsense")
    by_query = await stream(one, query=f"?last_event_id={first}")
    for reader in (by_header, by_query):
        assert [data(event) for event in await reader.take(2)] == [2, 3]
    await publish(other, 4)
    for reader in (by_header, by_query):
        assert data(await reader.next()) == 4


async def test_a_place_of_another_instance_that_is_further_on_is_no_bad_place(start: Start, monkeypatch):
    one, other = await start(), await start()
    held = threading.Event()
    news = Store.news

    def late(self: Store, *arguments: Any) -> Any:
        assert held.wait(PATIENCE_S)
        return news(self, *arguments)

    monkeypatch.setattr(Store, "news", late)  # no instance hears of anything for now
    place = await publish(one, 1)
    reader = await stream(other, place=place)
    await publish(one, 2)
    held.set()
    assert data(await reader.next()) == 2
    assert counters(other).gaps == 0


@BOTH
@pytest.mark.parametrize("place", ["nonsense", "other-1", "ahead"])
async def test_a_place_of_no_use_is_told_and_all_follows(server: Running, place: str):
    nid = await publish(server, 1)
    epoch = nid.partition("-")[0]
    expected = "other epoch" if place == "other-1" else "bad position"
    reader = await stream(server, place=f"{epoch}-9" if place == "ahead" else place)
    told, first = await reader.take(2)
    assert (told.type, json.loads(told.data)["error"], told.last_event_id) == (
        expected,
        expected,
        f"{epoch}-0",
    )
    assert (data(first), counters(server).gaps) == (1, 1)


async def test_a_long_absence_is_read_in_pages_while_more_comes_in(server: Running, monkeypatch):
    monkeypatch.setattr(notification_feed, "PAGE", 5)
    for number in range(12):
        await publish(server, number)
    reader = await stream(server)
    later = asyncio.gather(*(publish(server, number) for number in range(12, 40)))
    events = await reader.take(40)
    await later
    assert [int(event.last_event_id.rpartition("-")[2]) for event in events] == list(range(1, 41))


@BOTH
async def test_streams_that_open_while_two_instances_publish_miss_nothing_and_get_nothing_twice(start: Start):
    servers = [await start(), await start()]
    users = ("alice", "bob")

    async def follow(number: int) -> list[str]:
        user, ids = users[number % 2], []
        reader = await stream(servers[number % 3 % 2], user)
        while True:
            event = await reader.next()
            ids.append(event.last_event_id)
            if data(event) == "end":
                return ids
            if len(ids) == 1 + number:  # and once, from here to the other instance
                reader.close()
                reader = await stream(servers[number % 3 % 2 - 1], user, event.last_event_id)

    async def fill(server: Running) -> None:
        for number in range(15):
            await publish(server, number, users[number % 2])
            await sale(server, number)

    filling = asyncio.gather(*map(fill, servers))
    following = [asyncio.create_task(follow(number)) for number in range(12)]
    await filling
    await sale(servers[0], "end")
    for number, task in enumerate(following):
        listing = (await listed(servers[1], users[number % 2]))["notifications"]
        assert await task == [note["id"] for note in listing]


async def test_a_reader_that_lags_is_held_in_the_store_and_not_in_memory(start: Start):
    server = await start("--unread", "3")
    shop = server.app[notifications.SHOP]
    follower = shop.feed.follow("alice", 0)
    await publish(server, 0)
    first = await anext(follower)
    for number in range(1, 30):
        await publish(server, number)
    await until(lambda: follower._missed or follower._behind)
    assert len(follower._ready) <= 3
    rest = [await anext(follower) for _ in range(29)]
    assert [entry.offset for entry in [first, *rest]] == list(range(1, 31))
    follower.close()
    assert shop.feed._followers == {}


async def test_silence_is_broken_by_heartbeats(start: Start):
    server = await start("--heartbeat", "0.02")
    reader = await stream(server)
    while reader.raw.count(b"\n:\n") < 2:
        await reader.more()
    await publish(server, 1)
    assert data(await reader.next()) == 1


async def test_too_many_streams_are_told_to_come_later_and_keep_their_place(start: Start):
    server = await start("--most-streams", "1")
    place = await publish(server)
    await stream(server)
    late = await stream(server, place=place)
    [event] = await late.rest()
    assert (event.type, event.last_event_id) == ("busy", place)


async def test_a_client_that_leaves_is_forgotten(server: Running):
    reader = await stream(server)
    shop = server.app[notifications.SHOP]
    assert list(shop.feed._followers) == ["alice"]
    reader.close()
    await until(lambda: not shop.feed._followers and counters(server).open == 0)


# ---------------------------------------------------------------- a store that does not answer


def broken(*arguments: Any) -> Any:
    raise StoreError("database is locked")


async def test_while_the_store_is_away_writers_get_503_and_streams_go_on_afterwards(
    server: Running, monkeypatch
):
    reader = await stream(server)
    body = {"user": "alice", "kind": "order", "data": 1}
    with monkeypatch.context() as patch:
        for name in ("publish", "news", "page", "newest"):
            patch.setattr(Store, name, broken)
        patch.setattr(notification_feed, "AWAY_S", 0.001)
        looks = server.app[notifications.SHOP].feed.looks
        status, answer = await ask(server, "POST", "/notifications", body)
        assert (status, "Idempotency-Key" in answer["try"]) == (503, True)
        assert (await ask(server, "GET", "/users/alice/notifications"))[0] == 503
        [event] = await (await stream(server, place="x-1")).rest()
        assert (event.type, event.last_event_id) == ("busy", "x-1")
        await until(lambda: server.app[notifications.SHOP].feed.looks > looks + 2)
    await publish(server, "back")
    assert data(await reader.next()) == "back"


async def test_a_stream_whose_store_fails_ends_so_that_its_client_comes_again(server: Running, monkeypatch):
    await publish(server)
    with monkeypatch.context() as patch:
        patch.setattr(Store, "after", broken)
        reader = await stream(server)
        assert await reader.rest() == []
    assert data(await (await stream(server)).next()) == "x"


async def test_more_writes_than_can_wait_are_refused_and_the_others_are_stored(server: Running, monkeypatch):
    monkeypatch.setattr(notifications, "MOST_WRITING", 2)
    go = threading.Event()
    publish_now = Store.publish

    def slowly(self: Store, *arguments: Any) -> Any:
        assert go.wait(PATIENCE_S)
        return publish_now(self, *arguments)

    monkeypatch.setattr(Store, "publish", slowly)
    waiting = [asyncio.create_task(publish(server)) for _ in range(2)]
    await until(lambda: server.app[notifications.SHOP].threads.writing == 2)
    status, answer = await ask(server, "POST", "/notifications", {"user": "a", "kind": "order", "data": 1})
    assert (status, "wait already" in answer["error"]) == (503, True)
    go.set()
    await asyncio.gather(*waiting)
    assert (await listed(server))["unread"] == 2


# ---------------------------------------------------------------- as a process


def test_sigterm_ends_streams_in_order_and_leaves_nothing_behind(
    process: Callable[..., Process], tmp_path: Path
):
    running = process("-m", "servers.notifications", env={**os.environ, "TMPDIR": str(tmp_path)})
    assert len(list(tmp_path.iterdir())) == 1
    body = {"user": "alice", "kind": "order", "data": 1}
    assert requests.post(f"{running.url}/notifications", json=body, timeout=PATIENCE_S).status_code == 201
    with requests.get(f"{running.url}/users/alice/events", stream=True, timeout=PATIENCE_S) as response:
        lines = response.iter_lines()
        while not next(lines).startswith(b"data: "):
            pass
        running.popen.send_signal(signal.SIGTERM)
        assert list(lines) == [b""]  # the last chunk came; a stream that is cut raises
    assert running.ended() == (0, "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("database", "words"),
    [
        ("mysql://x", "expected a file"),
        ("sqlite://", "gone with the process"),
        ("no/such/folder/shop.db", "Cannot open the store"),
    ],
)
def test_a_database_that_cannot_be_had_ends_the_server_with_a_sentence(
    database: str, words: str, monkeypatch, capsys
):
    monkeypatch.setattr("sys.argv", ["notifications", "--database", database])
    with pytest.raises(SystemExit) as ended:
        notifications.main()
    assert words in str(ended.value) + capsys.readouterr().err
