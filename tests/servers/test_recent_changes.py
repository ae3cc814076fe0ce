"""Recent changes: the shape and the mix of the real stream, and that ids and times lose nothing."""

import asyncio
import json
import re
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any
from urllib.parse import unquote

import pytest
import requests
import sseclient

from servers import recent_changes
from servers.core import connection
from servers.core.http import Refusal
from servers.core.log import BadPosition
from servers.core.wiki_changes import (
    BOTS,
    CANARY_EVERY,
    MEASURED_WIKIS,
    TOPICS,
    TYPES,
    WIKIS,
    Changes,
    iso,
    server_name,
    time_ms,
)
from servers.recent_changes import FEED, Feed, event_id, parse_event_id, parse_since
from tests.servers.conftest import PATIENCE_S, Running, until
from tests.servers.streams import Chunks, counters, listen, request, run

PATH = "/v2/stream/recentchange"
NOON_MS = 1_772_536_525_048  # 2026-03-03T11:15:25.048Z

Start = Callable[..., Awaitable[Running]]


class Clock:
    """A clock that the test turns. Seconds since 1970."""

    def __init__(self) -> None:
        self.ms = NOON_MS

    def __call__(self) -> float:
        return (self.ms + 0.5) / 1000


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def start(clock: Clock) -> AsyncIterator[Start]:
    """start("--keep", "3", …) runs a server that lets changes happen when the test says so."""
    async with AsyncExitStack() as stack:

        async def begin(*arguments: str) -> Running:
            given = ("--rate", "0", "--seed", "7", *arguments)
            return (await run(stack, recent_changes, *given, clock=clock))[0]

        yield begin


@pytest.fixture
async def server(start: Start) -> Running:
    return await start()


def happen(server: Running, clock: Clock, number: int = 1, apart_ms: int = 1000) -> list[str]:
    """Let so many changes happen; gives their meta.id."""
    ids = []
    for _ in range(number):
        clock.ms += apart_ms
        ids.append(server.app[FEED].publish().data["meta"]["id"])
    return ids


def meta_ids(events: list) -> list[str]:
    return [json.loads(event.data)["meta"]["id"] for event in events]


def drawn(number: int, seed: int = 7) -> list[dict[str, Any]]:
    source = Changes(seed)
    return [source.next(NOON_MS + n, n) for n in range(number)]


# ---------------------------------------------------------------- the mix


def chi_square(counted: Counter, shares: dict[Any, float]) -> float:
    """Pearson's statistic for these counts, where the shares (percent) are expected."""
    total = sum(counted.values())
    return sum((counted[k] - total * p / 100) ** 2 / (total * p / 100) for k, p in shares.items())


@pytest.fixture(scope="module")
def many() -> list[dict[str, Any]]:
    """As many changes as were captured from the real stream, without the canaries."""
    return [change for change in drawn(22_460) if "type" in change]


# What chi square passes by chance once in a thousand times, by degrees of freedom.
RARE = {1: 10.83, 3: 16.27}


def test_the_types_come_in_the_measured_mix(many):
    assert chi_square(Counter(change["type"] for change in many), TYPES) < RARE[3]


def test_the_wikis_come_in_the_measured_mix(many):
    named = Counter(change["wiki"] if change["wiki"] in MEASURED_WIKIS else "rest" for change in many)
    assert chi_square(named, {**MEASURED_WIKIS, "rest": 31.9}) < RARE[3]
    assert {change["wiki"] for change in many} == set(WIKIS)


def test_robots_have_the_measured_share(many):
    assert chi_square(Counter(change["bot"] for change in many), {True: BOTS, False: 100 - BOTS}) < RARE[1]


def test_the_mix_is_the_captured_one():
    assert TYPES == {"edit": 55.6, "categorize": 37.7, "log": 5.0, "new": 1.7}
    assert MEASURED_WIKIS == {"commonswiki": 42.5, "wikidatawiki": 16.5, "enwiki": 9.1}
    assert BOTS == 41.1
    assert sum(WIKIS.values()) == pytest.approx(100)


def test_a_wrong_mix_would_be_noticed(many):
    counted = Counter(change["type"] for change in many)
    assert chi_square(counted, {"edit": 57.6, "categorize": 35.7, "log": 5.0, "new": 1.7}) > RARE[3]


def test_the_same_seed_gives_the_same_changes_and_another_seed_others():
    assert drawn(1000) == drawn(1000)
    assert drawn(100) != drawn(100, seed=8)


# ---------------------------------------------------------------- the shape (schema recentchange 1.0.0)

TEXT, NUMBER, YES_NO = {str}, {int}, {bool}
SHAPE = {
    **dict.fromkeys(("title", "title_url", "comment", "parsedcomment", "user", "type", "wiki"), TEXT),
    **dict.fromkeys(("server_url", "server_name", "server_script_path", "$schema"), TEXT),
    **dict.fromkeys(("log_type", "log_action", "log_action_comment"), TEXT),
    **dict.fromkeys(("namespace", "timestamp", "log_id"), NUMBER),
    **dict.fromkeys(("bot", "minor", "patrolled"), YES_NO),
    "id": {int, type(None)},
    "log_params": {list, dict},
    "length": {dict},
    "revision": {dict},
    "meta": {dict},
}
ALWAYS = {
    *("$schema", "meta", "id", "type", "namespace", "title", "title_url", "comment", "parsedcomment"),
    *("timestamp", "user", "bot", "server_url", "server_name", "server_script_path", "wiki"),
}
ALSO = {
    "edit": {"minor", "length", "revision"},
    "new": {"minor", "length", "revision", "patrolled"},
    "log": {"log_id", "log_type", "log_action", "log_params", "log_action_comment"},
    "categorize": set(),
}


def test_every_change_has_the_fields_of_its_type_and_each_field_its_type(many):
    for change in many[:3000]:
        fields = set(change)
        assert fields - {"patrolled"} == (ALWAYS | ALSO[change["type"]]) - {"patrolled"}
        assert all(type(value) in SHAPE[name] for name, value in change.items())
        assert change["$schema"] == "/mediawiki/recentchange/1.0.0"
        json.dumps(change)


def test_meta_says_where_and_when_the_change_belongs(many):
    for change in many[:300]:
        meta = change["meta"]
        assert set(meta) == {
            *("uri", "request_id", "id", "dt", "domain", "stream", "topic", "partition", "offset"),
        }
        assert meta["stream"] == "mediawiki.recentchange"
        assert (meta["topic"], meta["partition"]) == ("eqiad.mediawiki.recentchange", 0)
        assert str(uuid.UUID(meta["id"])) == meta["id"]
        assert re.fullmatch(r"2026-03-03T11:15:25\.\d{3}Z", meta["dt"])
        assert time_ms(change) // 1000 == change["timestamp"]
        assert meta["domain"] == change["server_name"] == server_name(change["wiki"])
        assert meta["uri"] == f"{change['server_url']}/wiki/{meta['uri'].rpartition('/wiki/')[2]}"
        assert unquote(meta["uri"]).endswith(change["title"].replace(" ", "_"))
        assert meta["uri"].isascii()


def test_fields_that_a_reader_may_miss_are_really_missing_sometimes(many):
    assert {"patrolled" in change for change in many if change["type"] == "edit"} == {True, False}
    assert any(change["id"] is None for change in many if change["type"] == "log")
    assert all(
        change["length"]["old"] is None is change["revision"]["old"]
        for change in many
        if change["type"] == "new"
    )
    assert {change["namespace"] for change in many if change["type"] == "log"} >= {-1, 0, 2, 6}
    assert {change["namespace"] for change in many if change["type"] == "categorize"} == {14}


def test_comments_hold_what_must_not_be_put_into_a_page_as_it_is(many):
    risky = [change for change in many if "<br>" in change["comment"]]
    assert risky
    assert all("<" not in change["parsedcomment"] for change in many)


def test_a_canary_has_nothing_but_what_the_schema_requires():
    changes = drawn(3 * CANARY_EVERY)
    canaries = [change for change in changes if change["meta"]["domain"] == "canary"]
    assert len(canaries) == 3
    assert all(set(change) == {"$schema", "meta"} for change in canaries)


@pytest.mark.parametrize(
    ("wiki", "server"),
    [
        ("enwiki", "en.wikipedia.org"),
        ("frwiktionary", "fr.wiktionary.org"),
        ("commonswiki", "commons.wikimedia.org"),
    ],
)
def test_each_wiki_has_its_host(wiki, server):
    assert server_name(wiki) == server


def test_times_are_written_to_the_millisecond():
    assert iso(NOON_MS) == "2026-03-03T11:15:25.048Z"
    assert time_ms({"meta": {"dt": iso(NOON_MS)}}) == NOON_MS


# ---------------------------------------------------------------- the stream


async def test_a_change_comes_as_the_real_stream_writes_it(server: Running, clock: Clock):
    chunks = Chunks(await server.wire(request(PATH)))
    opening = await chunks.next()
    assert opening.startswith(b":ok\n\nretry: ")
    happen(server, clock)
    event, id, data, *end = (await chunks.next()).decode().split("\n")
    assert event == "event: message"
    assert id == (
        f'id: [{{"topic":"eqiad.mediawiki.recentchange","partition":0,"timestamp":{clock.ms + 1}}},'
        '{"topic":"codfw.mediawiki.recentchange","partition":0,"offset":-1}]'
    )
    change = json.loads(data.removeprefix("data: "))
    assert time_ms(change) == clock.ms
    assert change["title"] in data, "text is not written as escapes"
    assert end == ["", ""]


async def test_without_since_and_id_the_stream_begins_now(server: Running, clock: Clock):
    happen(server, clock, 3)
    reader = await listen(server, PATH)
    new = happen(server, clock, 2)
    assert meta_ids(await reader.take(2)) == new


async def test_the_streams_name_in_the_schema_works_too(server: Running, clock: Clock):
    reader = await listen(server, "/v2/stream/mediawiki.recentchange")
    new = happen(server, clock)
    assert meta_ids(await reader.take(1)) == new


async def test_a_client_that_comes_back_with_its_last_id_misses_nothing(server: Running, clock: Clock):
    happen(server, clock, 5)
    reader = await listen(server, PATH)
    happen(server, clock, 2)
    last = (await reader.take(2))[-1].last_event_id
    reader.close()
    missed = happen(server, clock, 3)
    again = await listen(server, PATH, last_event_id=last)
    live = happen(server, clock, 1)
    assert meta_ids(await again.take(4)) == missed + live
    assert counters(server).resumed == 1


async def test_a_client_that_was_cut_before_its_first_event_misses_nothing_either(
    server: Running, clock: Clock
):
    for before in (0, 2):
        happen(server, clock, before)
        reader = await listen(server, PATH)
        place = reader.parser.last_event_id or re.search(rb"id: (.*)", reader.raw)[1].decode()
        reader.close()
        missed = happen(server, clock, 2)
        again = await listen(server, PATH, last_event_id=place)
        assert meta_ids(await again.take(2)) == missed


async def test_changes_in_one_millisecond_have_times_of_their_own_so_that_none_is_lost(
    server: Running, clock: Clock
):
    reader = await listen(server, PATH)
    all_of_them = happen(server, clock, 5, apart_ms=0)
    events = await reader.take(5)
    for number, event in enumerate(events):
        again = await listen(server, PATH, last_event_id=event.last_event_id)
        one_more = happen(server, clock, 1, apart_ms=0)
        all_of_them += one_more
        rest = all_of_them[number + 1 :]
        assert meta_ids(await again.take(len(rest))) == rest


async def test_a_clock_that_is_set_back_does_not_turn_the_order(server: Running, clock: Clock):
    reader = await listen(server, PATH)
    first = happen(server, clock, 1)
    clock.ms -= 3_600_000
    second = happen(server, clock, 1)
    events = await reader.take(2)
    times = [json.loads(event.last_event_id)[0]["timestamp"] for event in events]
    assert meta_ids(events) == first + second
    assert times[1] == times[0] + 1


@pytest.mark.parametrize("form", ["{ms}", "{iso}", "{iso_without_zone}", "{other_zone}"])
async def test_since_gives_what_happened_from_then_on(server: Running, clock: Clock, form):
    happen(server, clock, 2)
    wanted = happen(server, clock, 3)
    since_ms = clock.ms - 2000
    when = iso(since_ms)
    since = form.format(
        ms=since_ms,
        iso=when,
        iso_without_zone=when.rstrip("Z"),
        other_zone=when.replace("T11:", "T12:").replace("Z", "+01:00"),
    )
    reader = await listen(server, PATH, since=since)
    wanted += happen(server, clock)
    assert meta_ids(await reader.take(4)) == wanted


async def test_the_id_wins_over_since_for_it_is_newer(server: Running, clock: Clock):
    began = clock.ms
    happen(server, clock, 2)
    place = event_id(clock.ms + 1)
    wanted = happen(server, clock, 1)
    reader = await listen(server, PATH, last_event_id=place, since=str(began))
    assert meta_ids(await reader.take(1)) == wanted


async def test_since_in_the_future_begins_now_and_can_be_resumed_from(server: Running, clock: Clock):
    reader = await listen(server, PATH, since="2100-01-01")
    place = re.search(rb"id: (.*)", reader.raw)[1].decode()
    reader.close()
    missed = happen(server, clock)
    again = await listen(server, PATH, last_event_id=place)
    assert meta_ids(await again.take(1)) == missed


@pytest.mark.parametrize(
    "since", ["", "yesterday", "-1", "1e12", "9" * 15, "2026-13-01", "2026-03-03T11:15:25 01:00", "١", "nan"]
)
async def test_what_is_no_time_is_refused_with_a_sentence(server: Running, since):
    status, answer = await server.get(PATH, since=since)
    assert status == 400
    assert answer["error"] == f"since={since!r} is no time"
    assert "2026-03-03T11:15:25Z" in answer["try"]


def test_times_in_all_forms_are_read_as_milliseconds():
    assert parse_since("0") == 0
    assert parse_since("2026-03-03T11:15:25.048Z") == NOON_MS
    assert parse_since("2026-03-03T11:15:25.048") == NOON_MS
    assert parse_since("2026-03-03") == datetime.fromisoformat("2026-03-03T00:00:00Z").timestamp() * 1000
    for text in ("1969-12-31T23:59:59Z", "9999-12-31"):
        with pytest.raises(Refusal, match="is no time"):
            parse_since(text)


# ---------------------------------------------------------------- where the stream cannot begin as wanted


async def test_a_time_that_is_not_remembered_is_told_and_all_that_is_remembered_follows(
    start: Start, clock: Clock
):
    server = await start("--keep", "3")
    happen(server, clock, 1)
    place = event_id(clock.ms + 1)
    remembered = happen(server, clock, 5)[-3:]
    reader = await listen(server, PATH, last_event_id=place)
    told, *events = await reader.take(4)
    assert told.type == "too old"
    assert "remembers from 2026-03-03T11:15:28.049Z on" in json.loads(told.data)["detail"]
    assert meta_ids(events) == remembered
    again = await listen(server, PATH, last_event_id=told.last_event_id)
    assert meta_ids(await again.take(3)) == remembered
    assert counters(server).gaps == 1


async def test_a_place_from_just_behind_the_forgotten_is_good(start: Start, clock: Clock):
    server = await start("--keep", "3")
    happen(server, clock, 3)
    place = event_id(clock.ms - 3 * 1000 + 1000 + 1)  # behind the first
    wanted = happen(server, clock, 1)
    reader = await listen(server, PATH, last_event_id=place)
    events = await reader.take(3)
    assert [event.type for event in events] == ["message"] * 3
    assert meta_ids(events)[-1:] == wanted


async def test_a_place_from_before_a_restart_is_too_old(start: Start, clock: Clock):
    before = await start()
    happen(before, clock, 3)
    place = event_id(clock.ms + 1)
    happen(before, clock, 2)
    clock.ms += 10
    after = await start()
    reader = await listen(after, PATH, last_event_id=place)
    new = happen(after, clock)
    told, event = await reader.take(2)
    assert (told.type, meta_ids([event])) == ("too old", new)


GOOD = {"topic": TOPICS[0], "partition": 0, "timestamp": NOON_MS}


@pytest.mark.parametrize(
    "asked",
    [
        "x",
        "abc-7",
        "[]",
        "{}",
        "null",
        "[1]",
        "[" * 3000,
        "1" * 5000,
        json.dumps([{**GOOD, "topic": "eqiad.other"}]),
        json.dumps([{**GOOD, "topic": ["x"]}]),
        json.dumps([{**GOOD, "partition": 1}]),
        json.dumps([{**GOOD, "timestamp": -1}]),
        json.dumps([{**GOOD, "timestamp": "1"}]),
        json.dumps([{**GOOD, "timestamp": True}]),
        json.dumps([{**GOOD, "timestamp": 10**20}]),
        json.dumps([{**GOOD, "timestamp": NOON_MS + 1_000_000}]),
        json.dumps([GOOD] * 3),
        json.dumps([{"topic": TOPICS[0], "partition": 0, "offset": 12}]),
        json.dumps([{"topic": TOPICS[0], "partition": 0}]),
    ],
)
async def test_what_is_no_id_of_this_stream_is_told_as_an_event_and_the_stream_begins_now(
    server: Running, clock: Clock, asked
):
    happen(server, clock, 2)
    reader = await listen(server, PATH, last_event_id=asked)
    new = happen(server, clock)
    told, event = await reader.take(2)
    assert told.type == "bad position"
    assert json.loads(told.data)["try"] == "nothing: the stream goes on from now on"
    assert len(told.data) < 600
    assert meta_ids([event]) == new


def test_an_id_is_read_as_the_earliest_of_its_times():
    codfw = {"topic": TOPICS[1], "partition": 0}
    assert parse_event_id(event_id(NOON_MS)) == NOON_MS
    assert parse_event_id(json.dumps([GOOD, {**codfw, "timestamp": NOON_MS - 5}])) == NOON_MS - 5
    assert parse_event_id(json.dumps([{**codfw, "offset": -1}])) is None
    with pytest.raises(BadPosition, match="expected an id like"):
        parse_event_id("1")


# ---------------------------------------------------------------- the life of a stream, and its bounds


async def test_a_stream_is_ended_in_order_after_its_life_and_goes_on_with_the_last_id(
    start: Start, clock: Clock
):
    server = await start("--life", "0.2")
    began = clock.ms
    first = happen(server, clock, 2)
    reader = await listen(server, PATH, since=str(began))
    events = await reader.rest()
    assert meta_ids(events) == first
    assert counters(server).open == 0
    second = happen(server, clock, 2)
    again = await listen(server, PATH, last_event_id=events[-1].last_event_id)
    assert meta_ids(await again.rest()) == second


def test_a_stream_lives_15_minutes_if_not_told_otherwise():
    options = recent_changes.arguments().parse_args([])
    assert (options.life, options.heartbeat, options.policy) == (900, 15, "wait")
    assert options.keep / options.rate > options.life


async def test_cut_again_and_again_while_changes_happen_it_loses_nothing(start: Start, clock: Clock):
    server = await start("--keep", "1000")
    began = event_id(clock.ms)
    seen: list[str] = []
    happened: list[str] = []

    async def follow() -> None:
        place = began
        while len(seen) < 300:
            reader = await listen(server, PATH, last_event_id=place)
            for _ in range(min(1 + len(seen) % 7, 300 - len(seen))):
                event = await reader.next()
                place = event.last_event_id
                seen.extend(meta_ids([event]))
            reader.close()

    follower = asyncio.create_task(follow())
    for number in range(300):
        happened += happen(server, clock, 1, apart_ms=number % 3)
        await asyncio.sleep(0)
    await follower
    assert seen == happened


async def test_a_slow_reader_catches_up_from_what_is_remembered_and_the_others_do_not_wait(
    server: Running, clock: Clock
):
    lazy = Chunks(await server.wire(request(PATH)))
    await lazy.next()
    lazy.wire.writer.transport.pause_reading()
    quick = await listen(server, PATH)
    happened = []
    for _ in range(300):
        happened += happen(server, clock, 1)
        assert meta_ids(await quick.take(1)) == happened[-1:]
    lazy.wire.writer.transport.resume_reading()
    for number in range(300):
        assert happened[number].encode() in await lazy.next()


@pytest.mark.parametrize("policy", ["drop oldest", "keep latest"])
async def test_a_policy_that_skips_tells_a_place_of_this_stream(start: Start, clock: Clock, policy):
    server = await start("--policy", policy, "--unread", "2")
    began = clock.ms
    reader = await listen(server, PATH)
    happened = happen(server, clock, 10)  # all before the stream's turn
    told, event = await reader.take(2)
    assert told.type == "dropped"
    missed = json.loads(told.data)["messages"]
    assert meta_ids([event]) == [happened[missed]]
    again = await listen(server, PATH, last_event_id=told.last_event_id)
    assert (await again.next()).type in ("message", "dropped")
    assert parse_event_id(told.last_event_id) == began + 1000 * (missed + 1)


async def test_the_history_stays_within_its_bounds(clock: Clock):
    feed = Feed(Changes(7), keep=100, clock=clock)
    for _ in range(1000):
        clock.ms += 1
        feed.publish()
    assert len(feed.log) == 100
    assert len(feed._times) == 101
    assert feed.oldest_ms == clock.ms - 99
    feed.log.resize(10_000)  # bytes
    assert 2 < len(feed.log) < 20
    assert feed.position(feed.oldest_ms) == feed.log.oldest


async def test_when_too_many_streams_are_open_the_next_is_told_to_come_back(start: Start, clock: Clock):
    server = await start("--most-streams", "1")
    await listen(server, PATH)
    happen(server, clock)
    place = event_id(clock.ms)
    (busy,) = await (await listen(server, PATH, last_event_id=place)).rest()
    assert (busy.type, busy.last_event_id) == ("busy", place)


async def test_a_thousand_streams_all_get_one_change(server: Running, clock: Clock):
    readers = await asyncio.gather(*(listen(server, PATH) for _ in range(1000)))
    (happened,) = happen(server, clock)
    events = await asyncio.gather(*(reader.next() for reader in readers))
    assert len({(event.data, event.last_event_id) for event in events}) == 1
    assert meta_ids(events[:1]) == [happened]


# ---------------------------------------------------------------- methods, bad input, the end


async def test_head_and_options_and_wrong_methods_are_answered_without_a_stream(server: Running):
    async with server.session.head(server.url + PATH) as response:
        assert (response.status, response.headers["Content-Type"]) == (200, "text/event-stream")
    async with server.session.options(server.url + PATH) as response:
        assert (response.status, response.headers["Allow"]) == (204, "GET, HEAD, OPTIONS")
    async with server.session.post(server.url + PATH) as response:
        assert response.status == 405
    status, answer = await server.get("/v2/stream/page-create")
    assert (status, answer["try"]) == (
        404,
        "/stats, /v2/stream/mediawiki.recentchange, /v2/stream/recentchange",
    )
    assert counters(server).opened == 0


async def test_a_flood_in_the_head_is_refused_and_no_listener_notices(server: Running, clock: Clock):
    reader = await listen(server, PATH)
    wire = await server.wire(request(PATH, Last_Event_ID="[" * 65_536))
    assert (await wire.answer())[0] == 431
    wire = await server.wire(request(PATH).replace(b"\r\n\r\n", b"\r\nLast-Event-ID: \xff\xfe\r\n\r\n"))
    assert b"event: bad position" in await Chunks(wire).next()
    new = happen(server, clock)
    assert meta_ids(await reader.take(1)) == new


async def test_a_head_that_trickles_in_is_cut_off_and_no_listener_notices(
    server: Running, clock: Clock, monkeypatch
):
    reader = await listen(server, PATH)
    monkeypatch.setattr(connection, "HEAD_S", 0.05)
    assert b"408" in await (await server.wire(b"GET /v2/str")).rest()
    new = happen(server, clock)
    assert meta_ids(await reader.take(1)) == new


async def test_changes_happen_by_themselves_at_the_rate_asked_for_with_the_seeds_content(
    start: Start, clock: Clock
):
    server = await start("--rate", "500")
    reader = await listen(server, PATH, since=str(clock.ms))
    changes = [json.loads(event.data) for event in await reader.take(20)]
    same = [Changes(7).next(0, 0)]
    assert changes[0]["title"] == same[0]["title"]
    stats = (await server.get("/stats"))[1]
    assert stats["changes"] >= 20
    assert stats["open"] == 1


@pytest.mark.parametrize(
    "arguments", [["--rate", "501"], ["--rate", "nan"], ["--life", "0"], ["--keep", "0"], ["--seed", "x"]]
)
async def test_a_wrong_argument_ends_the_start_with_a_sentence(start: Start, capsys, arguments):
    with pytest.raises(SystemExit):
        await start(*arguments)
    assert "error: argument --" in capsys.readouterr().err


async def test_after_a_long_pause_what_was_due_is_left_out(monkeypatch, clock: Clock):
    loop = asyncio.get_running_loop()
    feed = Feed(Changes(7), clock=clock)
    jump_s = 0.0
    real = loop.time
    monkeypatch.setattr(loop, "time", lambda: real() + jump_s)
    task = asyncio.create_task(recent_changes.produce(feed, 100.0, 7))
    await until(lambda: feed.count > 2)
    jump_s = 3600.0
    before = feed.count
    await until(lambda: feed.count > before + 50)
    for _ in range(5):
        await asyncio.sleep(0)
    assert feed.count < before + 5000
    task.cancel()
    monkeypatch.undo()


def test_sseclient_over_requests_reads_it_as_a_program_and_it_ends_in_order(process):
    running = process("-m", "servers.recent_changes", "--port", "0", "--rate", "100", "--seed", "7")
    with requests.get(running.url + PATH, stream=True, timeout=PATIENCE_S) as response:
        events = sseclient.SSEClient(response).events()
        changes = [next(events) for _ in range(5)]
        assert {event.event for event in changes} == {"message"}
        assert all(json.loads(event.id)[0]["topic"] == TOPICS[0] for event in changes)
        running.popen.terminate()
        assert all(event.event == "message" for event in events)
    assert running.ended() == (0, "")


def test_a_reader_of_this_room_needs_no_other_clock_than_the_one_it_is_given(clock: Clock):
    feed = Feed(Changes(7), clock=clock)
    assert feed.now_ms == feed.oldest_ms == NOON_MS
    assert time_ms(feed.publish().data) == NOON_MS
