"""The notifications on both databases, held against what goes wrong: slow commits, kills, crashes."""

import asyncio
import contextlib
import itertools
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import sqlalchemy as sa

from labsupport.clients.checker import DeliveryChecker
from labsupport.clients.sse import SseClient
from labsupport.measure.front import nginx_program, open_front
from servers.core import notification_store
from servers.core.notification_store import EVERYONE, KeyTaken, Store, StoreError, TooMany, database_url
from tests.conformance.conftest import not_here
from tests.servers.conftest import PATIENCE_S, ROOT, Process
from tests.servers.databases import PostgreSQL, postgresql

SECTION = "notifications: faults survived"
Tell = Callable[[str, str], None]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQL]:
    with postgresql() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/shop.db"
    return request.getfixturevalue("server").database()


@pytest.fixture
def opened(database: str) -> Iterator[Callable[..., Store]]:
    """opened() is another store on this test's database, as another instance has."""
    with contextlib.ExitStack() as stack:

        def begin(**more: Any) -> Store:
            store = Store(database_url(database), **more)
            stack.callback(store.close)
            return store

        yield begin


def numbers(store: Store, after: int = 0) -> list[int]:
    return [note.number for note, _ in store.news(after, 100_000)]


def test_where_a_port_is_taken_the_database_is_started_on_another(server: PostgreSQL):
    server.stop()
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        server.start([taken, server.port])
    assert server.port != taken
    assert f"@127.0.0.1:{server.port}/" in server.database()


# ---------------------------------------------------------------- numbers, and the order of commits


def test_a_writer_that_is_slow_to_commit_leaves_no_gap_behind_a_readers_place(opened: Callable[..., Store]):
    slow, quick, reader = opened(), opened(), opened()
    taken, go = threading.Event(), threading.Event()
    insert = sa.insert

    def wait(table: sa.Table) -> Any:  # between the number and the commit
        taken.set()
        assert go.wait(PATIENCE_S)
        return insert(table)

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(2) as threads:
        patch.setattr(notification_store.sa, "insert", wait)
        first = threads.submit(slow.publish, "alice", "order", "first")
        assert taken.wait(PATIENCE_S)
        patch.setattr(notification_store.sa, "insert", insert)
        second = threads.submit(quick.publish, "alice", "order", "second")
        until_it_waits(reader, second)
        assert not second.done()
        assert numbers(reader) == []
        go.set()
        assert [each.result(PATIENCE_S)[0].number for each in (first, second)] == [1, 2]
    assert numbers(reader) == [1, 2]


def until_it_waits(store: Store, write: Any) -> None:
    """PostgreSQL tells who waits for a lock. SQLite does not: there, look 100 times at what must not be."""
    waiting = sa.text(
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype IN ('transactionid', 'tuple')"
    )
    for _ in range(100 if store.dialect == "sqlite" else 1_000_000):
        assert not write.done()
        assert numbers(store) == []
        if store.dialect == "postgresql":
            with store._engine.connect() as db:
                if db.execute(waiting).scalar_one():
                    return


def test_with_a_sequence_the_same_two_writers_do_leave_a_gap(server: PostgreSQL):
    """Why the store does not use one: the reader has seen 2, and 1 comes afterwards."""
    engine = sa.create_engine(server.database())
    with engine.begin() as db:
        db.execute(sa.text("CREATE TABLE notes (number BIGSERIAL)"))
    with engine.connect() as slow, engine.begin() as quick, engine.connect() as reader:
        slow.execute(sa.text("INSERT INTO notes DEFAULT VALUES"))
        quick.execute(sa.text("INSERT INTO notes DEFAULT VALUES"))
        quick.commit()
        place = reader.execute(sa.text("SELECT max(number) FROM notes")).scalar_one()
        slow.commit()
        after = reader.execute(sa.text(f"SELECT number FROM notes WHERE number > {place}")).all()
        assert (place, after) == (2, [])
        assert reader.execute(sa.text("SELECT count(*) FROM notes")).scalar_one() == 2
    engine.dispose()


def test_a_reader_that_follows_four_writers_meets_every_number_once_and_in_order(
    opened: Callable[..., Store],
):
    each = 4
    stores, reader, seen = [opened(), opened()], opened(), []
    with ThreadPoolExecutor(4) as threads:
        writing = [
            threads.submit(stores[writer % 2].publish, "alice", "order", writer, f"{writer}-{number}")
            for number in range(each)
            for writer in range(4)
        ]
        while not all(write.done() for write in writing):
            seen += numbers(reader, seen[-1] if seen else 0)
            time.sleep(0)  # the writers are in this process, and want to run as well
        given = [write.result() for write in writing]
    seen += numbers(reader, seen[-1] if seen else 0)
    assert seen == list(range(1, 4 * each + 1))
    assert sorted(note.number for note, _ in given) == seen


def test_a_publish_that_is_refused_gives_its_number_back(opened: Callable[..., Store]):
    now = iter(range(0, 1000, 10))
    store = opened(most_per_minute=3, clock=lambda: next(now))
    store.publish("alice", "order", 0, "key")
    with pytest.raises(KeyTaken):
        store.publish("alice", "order", "another", "key")
    assert not store.publish("alice", "order", 0, "key")[1]
    store.publish("alice", "order", 1)
    store.publish("alice", "order", 2)
    with pytest.raises(TooMany):
        store.publish("alice", "order", 3)  # 50 s after the first
    store.publish("alice", "order", 3)  # 60 s after it
    assert numbers(store) == [1, 2, 3, 4]


def test_instances_that_make_a_new_store_at_once_make_one(opened: Callable[..., Store]):
    with ThreadPoolExecutor(4) as threads:
        stores = list(threads.map(lambda _: opened(), range(4)))
    assert len({store.epoch for store in stores}) == 1


def test_a_mark_a_preference_and_a_number_hold_in_every_instance_and_after_a_restart(
    opened: Callable[..., Store],
):
    one, other = opened(), opened()
    note, _ = one.publish(EVERYONE, "flash_sale", {"off": "50 %"})
    at = one.mark_read("alice", note.number)
    other.prefer("bob", {"flash_sale": False})
    one.close()
    assert other.mark_read("alice", note.number) == at
    again = opened()
    alice, bob = again.page("alice", 0, 10), again.page("bob", 0, 10)
    assert [(each.id, each.read) for each in alice.notes] == [(note.id, True)]
    assert (alice.unread, alice.position) == (0, note.id)
    assert (bob.notes, bob.unread) == ([], 0)
    assert [muted for _, muted in again.news(0, 10)] == [{"bob"}]


def test_an_instance_that_freezes_inside_a_transaction_holds_the_others_up_for_a_while_only(
    server: PostgreSQL, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(notification_store, "IDLE_S", 1)
    url = database_url(server.database())
    frozen, other = Store(url), Store(url)

    def stand_still_inside() -> None:
        with frozen._begin() as db:
            db.execute(sa.update(notification_store.store).values(newest=7))
            given.append(other.publish("alice", "order", 1)[0].number)  # PostgreSQL has ended the frozen one

    given: list[int] = []
    with pytest.raises(StoreError):
        stand_still_inside()
    assert given == [1]
    assert numbers(other) == [1]
    frozen.close()
    other.close()


# ---------------------------------------------------------------- kill -9 at any moment


def test_what_was_acknowledged_before_a_kill_is_there_and_there_once(
    database: str, opened: Callable[..., Store], tell: Tell
):
    rounds = 24
    command = [sys.executable, "-m", "tests.servers.killing", database, str(rounds), "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr
    killed, acknowledged = json.loads(done.stdout).values()
    assert killed == 2 * rounds
    assert len(acknowledged) >= rounds
    store = opened()
    there = numbers(store)
    assert there == list(range(1, len(there) + 1))
    with store._begin() as db:
        keys = list(db.execute(sa.select(notification_store.notifications.c.key)).scalars())
    assert len(set(keys)) == len(keys)
    assert set(acknowledged) <= set(keys)
    for key in keys:  # whoever got no answer sends it again, and nothing is stored twice
        assert not store.publish("alice", "order", int(key.rpartition("-")[2]), key)[1]
    unknown = len(keys) - len(acknowledged)
    line = f"{store.dialect}: {killed} writers killed in the midst of publishing"
    tell(
        SECTION,
        f"{line}, {len(acknowledged)} acknowledged, all there once; {unknown} stored without an answer",
    )


# ---------------------------------------------------------------- a sale, and instances that die in it

USERS = [f"user{number}" for number in range(12)]


class Sale:
    """Publishes through the balancer, sends again what failed, and notes what was acknowledged."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.known: dict[str, str] = {}  # id -> user, "" for everyone
        self.again = 0
        self._numbers = itertools.count()

    async def publish(self, session: aiohttp.ClientSession, body: dict[str, Any]) -> None:
        key = {"Idempotency-Key": str(next(self._numbers))}
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.post(f"{self.url}/notifications", json=body, headers=key) as answer:
                    if answer.status == 201:
                        self.known[(await answer.json())["id"]] = body.get("user", "")
                        return
                    assert answer.status in (502, 503, 504), await answer.text()
            self.again += 1
            await asyncio.sleep(0.05)

    async def hour(self, fault: Callable[[], None], many: int = 48) -> None:
        """Publish so many, four at a time, with a fault in the middle."""
        bodies = iter([self.body(number) for number in range(many)])
        before = len(self.known)

        async def one(session: aiohttp.ClientSession) -> None:
            nonlocal fault
            for body in bodies:
                await self.publish(session, body)
                if len(self.known) - before >= many // 3:
                    now, fault = fault, lambda: None
                    now()

        async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(one(session))

    @staticmethod
    def body(number: int) -> dict[str, Any]:
        if number % 3 == 0:
            return {"kind": "flash_sale", "data": number}
        return {"kind": "order", "user": USERS[number % len(USERS)], "data": number}


async def follow(url: str, user: str, checker: DeliveryChecker, met: list[int]) -> None:
    """One user's page, from the first notification to the one that says "end"."""

    async def soon(seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.1))  # the server's own `retry:` is up to 10 s

    async with SseClient(f"{url}/users/{user}/events", sleep=soon) as client:
        async for item in client:
            checker.received(user, item)
            if item.message.data["data"] == "end":
                met.append(client.stats.errors)
                return


async def test_a_sale_reaches_everybody_once_and_in_order_while_instances_die(
    database: str,
    process: Callable[..., Process],
    request: pytest.FixtureRequest,
    tmp_path: Path,
    tell: Tell,
):
    if nginx_program() is None:
        not_here("nginx is not installed")
    command = ["-m", "servers.notifications", "--database", database]
    here = {**os.environ, "TMPDIR": str(tmp_path)}
    begin = [asyncio.to_thread(process, *command, env=here) for _ in range(2)]
    one, other = await asyncio.gather(*begin)
    checker, cuts = DeliveryChecker(), []
    front = await open_front([one.url, other.url], nginx=True)
    try:
        sale, url = Sale(front.url), front.url
        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
            for user in USERS:
                checker.follower(user, user)
                group.create_task(follow(url, user, checker, cuts))
            await sale.hour(one.popen.kill)
            again = [*command, "--port", one.url.rpartition(":")[2]]
            await asyncio.to_thread(process, *again, env=here)
            await sale.hour(other.popen.terminate)
            if database.startswith("postgresql"):
                crashing: PostgreSQL = request.getfixturevalue("server")
                await sale.hour(lambda: (crashing.crash(), crashing.start()))
            async with aiohttp.ClientSession() as session:
                await sale.publish(session, {"kind": "flash_sale", "data": "end"})
                lists = [await listed(session, url, user) for user in USERS]
    finally:
        await front.close()
    stored = sorted(sale.known, key=lambda nid: int(nid.rpartition("-")[2]))
    for nid in stored:
        for user in [sale.known[nid]] if sale.known[nid] else USERS:
            checker.published(nid, user)
    report = checker.report()
    assert report, str(report)
    assert lists == [[nid for nid in stored if sale.known[nid] in ("", user)] for user in USERS]
    assert sum(cuts) >= len(USERS)
    assert left_behind(tmp_path) == []
    faults = "one instance killed, one drained" + (", the database crashed" if "post" in database else "")
    kind = database.partition(":")[0].partition("+")[0]
    line = f"{kind}: {faults}; {len(sale.known)} published, {sale.again} sent"
    tell(
        SECTION,
        f"{line} again, {len(USERS)} streams cut {sum(cuts)} times: nothing lost or twice, all in order",
    )


def left_behind(folder: Path) -> list[Path]:
    """Whoever is killed cannot tidy up: a server that was given its store must make no folder for one."""
    return list(folder.glob("notifications-*"))


async def listed(session: aiohttp.ClientSession, url: str, user: str) -> list[str]:
    async with session.get(f"{url}/users/{user}/notifications") as answer:
        return [note["id"] for note in (await answer.json())["notifications"]]
