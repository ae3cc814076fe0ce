"""The event stream's client against a server that misbehaves by script."""

import asyncio
import json
import time as wall
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from labsupport.backoff import Exponential, Fixed, FullJitter, SignalR
from labsupport.clients import Delivery, Gap, GaveUp, MaybeSent, Refused, SseClient, sse
from labsupport.clients.sse import stream_url
from labsupport.wire.event_stream import EventStreamParser
from tests.clients.conftest import Time, free_port, ids, until
from tests.clients.stream_script import STREAM, Reply, StreamServer, refusal, scripted


@pytest.fixture
async def server() -> AsyncIterator[StreamServer]:
    async with scripted() as running:
        yield running


def block(id: str, data: object = None, event: str = "message") -> bytes:
    return f"event: {event}\nid: {id}\ndata: {json.dumps(id if data is None else data)}\n\n".encode()


def told(name: str, id: str = "b-0") -> bytes:
    return block(id, {"error": name, "try": "the snapshot", "detail": f"It is {name}."}, name)


def snapshot(*ids: str, position: str) -> bytes:
    messages = [{"id": id, "event": "message", "data": id} for id in ids]
    return block(position, {"messages": messages, "position": position}, "snapshot")


def places(server: StreamServer) -> list[str | None]:
    return [request.get("last-event-id") for request in server.asked]


# ---- events ----


async def test_events_come_with_type_id_and_data_and_what_is_no_json_comes_as_text(
    server: StreamServer, time: Time
) -> None:
    body = block("a-1", {"bid": 1.5}, "price") + b"id: a-2\ndata: two\ndata: lines\n\ndata: NaN: no\n\n"
    server.script = [Reply(body, end="stay")]
    async with SseClient(server.url, **time.given) as client:
        items = await client.take(3)
        assert client.connected
    assert [(item.message.event, item.message.data) for item in items] == [
        ("price", {"bid": 1.5}),
        ("message", "two\nlines"),
        ("message", "NaN: no"),
    ]
    assert ids(items) == ["a-1", "a-2", "a-2"]  # an id holds until another one comes
    assert [item.position for item in items] == ["a-1", "a-2", "a-2"]
    assert {item.received_at_s for item in items} == {100.0}
    assert client.stats.body_bytes == len(body)
    assert not client.connected


async def test_it_asks_as_an_event_source_does_and_says_who_it_is(server: StreamServer) -> None:
    server.script = [Reply(block("a-1"), end="stay")]
    async with SseClient(server.url, channel="a b", headers={"user-agent": "me", "Cookie": "a=b"}) as client:
        await client.take(1)
    (asked,) = server.asked
    assert asked[""] == "/events?channel=a+b"
    assert asked["accept"] == "text/event-stream"
    assert asked["accept-encoding"] == "identity"
    assert (asked["user-agent"], asked["cookie"]) == ("me", "a=b")
    assert "last-event-id" not in asked


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("http://127.0.0.1:9", "http://127.0.0.1:9/events"),
        ("http://127.0.0.1:9/", "http://127.0.0.1:9/events"),
        ("http://127.0.0.1:9/v2/stream/recentchange", "http://127.0.0.1:9/v2/stream/recentchange"),
        ("https://a.example/lists/tea.json?auth=1", "https://a.example/lists/tea.json?auth=1"),
    ],
)
def test_a_servers_url_means_its_events_and_a_path_is_taken_as_it_is(given: str, address: str) -> None:
    assert stream_url(given) == address


# ---- coming back ----


async def test_after_a_cut_it_goes_on_behind_the_last_whole_event(server: StreamServer, time: Time) -> None:
    server.script = [
        Reply(block("a-1") + block("a-2") + block("a-3")[:-1]),  # all but the blank line
        Reply(block("a-3") + b"id: a-4\nda", end="reset", chunked=True),
        Reply(block("a-4"), end="stay"),
    ]
    async with SseClient(server.url, **time.given) as client:
        assert ids(await client.take(4)) == ["a-1", "a-2", "a-3", "a-4"]
    assert places(server) == [None, "a-2", "a-3"]
    assert client.stats.errors == 2
    assert client.stats.requests == 3


async def test_a_block_without_data_moves_the_place_also_of_a_later_client(
    server: StreamServer, time: Time
) -> None:
    server.script = [Reply(b"retry: 1\nid: a-7\n\n"), Reply(end="stay")]
    async with SseClient(server.url, position="a-0", **time.given) as client:
        reader = asyncio.create_task(client.take(1))
        stream = await server.stream()
        assert client.position == "a-7"
        stream.write(block("a-8"))
        await reader
    assert places(server) == ["a-0", "a-7"]
    assert client.position == "a-8"


async def test_a_stream_without_ids_never_sends_a_place(server: StreamServer, time: Time) -> None:
    server.script = [Reply(b"data: 1\n\n"), Reply(b"data: 2\n\n"), Reply(b"data: 3\n\n", end="stay")]
    async with SseClient(server.url, **time.given) as client:
        assert [item.message.data for item in await client.take(3)] == [1, 2, 3]
    assert places(server) == [None, None, None]


async def test_an_empty_id_gives_the_place_up(server: StreamServer, time: Time) -> None:
    server.script = [Reply(block("a-1") + b"id\ndata: 2\n\n"), Reply(block("a-3"), end="stay")]
    async with SseClient(server.url, **time.given) as client:
        await client.take(3)
    assert places(server) == [None, None]


async def test_an_id_goes_back_byte_by_byte_as_it_came(server: StreamServer, time: Time) -> None:
    strange = '[{"topic":"é","partition":0}, …]'
    server.script = [Reply(f"id: {strange}\ndata: 1\n\n".encode()), Reply(block("a-2"), end="stay")]
    async with SseClient(server.url, **time.given) as client:
        await client.take(2)
    assert places(server) == [None, strange]


async def test_the_position_moves_as_items_are_handed_out_and_a_later_client_goes_on_there(
    server: StreamServer, time: Time
) -> None:
    server.script = [Reply(block("a-1") + block("a-2") + block("a-3"), end="stay")]
    async with SseClient(server.url, **time.given) as client:
        assert client.position is None
        await client.take(2)
        assert client.position == "a-2"
    async with SseClient(server.url, position=client.position, **time.given) as client:
        await client.take(1)
    assert places(server) == [None, "a-2"]


async def test_cuts_that_come_with_the_bytes_do_not_keep_it_from_getting_on(
    server: StreamServer, time: Time
) -> None:
    def one_more(request: dict[str, str]) -> Reply:
        offset = int(request.get("last-event-id", "a-0")[2:])
        return Reply(block(f"a-{offset + 1}"), chunked=True, end="reset" if offset % 2 else "fin")

    server.script = [one_more]
    async with SseClient(server.url, **time.given) as client:
        assert ids(await client.take(20)) == [f"a-{n}" for n in range(1, 21)]
    assert len(server.asked) < 40


async def test_a_cancelled_reader_loses_nothing_and_keeps_its_stream(server: StreamServer) -> None:
    server.script = [Reply(b": hello\n", end="stay")]
    async with SseClient(server.url) as client:
        for _ in range(3):
            reader = asyncio.create_task(client.take(2))
            stream = await server.stream()
            await until(lambda: client.stats.body_bytes)
            reader.cancel()
            await asyncio.wait([reader])
        stream.write(block("a-1") + block("a-2"))
        assert ids(await client.take(2)) == ["a-1", "a-2"]
    assert len(server.asked) == 1


async def test_close_from_another_task_ends_the_loop_and_lets_go_of_the_stream(server: StreamServer) -> None:
    server.script = [Reply(block("a-1"), end="stay")]
    async with SseClient(server.url) as client:
        await client.take(1)
        reader = asyncio.create_task(client.take(1))
        await asyncio.sleep(0)
        await client.close()
        assert await reader == []
    await until(lambda: server.gone == 1)


# ---- waits ----


async def test_retry_is_the_least_wait_and_the_policys_comes_on_top(server: StreamServer, time: Time) -> None:
    server.script = [
        Reply(b"retry: 3000\n" + block("a-1")),
        Reply(b"retry: soon\nretry: 3000x\n" + block("a-2")),  # neither counts
        refusal(503),  # the wait still holds after an answer that is no stream
        Reply(b"retry: 99999999999999999999\n" + block("a-3")),
        Reply(block("a-4"), end="stay"),
    ]
    async with SseClient(server.url, backoff=Exponential(0.5, 30), **time.given) as client:
        await client.take(4)
    assert time.slept == [3.5, 4.0, 5.0, 300 + 4.0]  # no typing error lasts a day
    assert client.retry_s == 300


async def test_clients_with_the_same_retry_do_not_come_back_at_the_same_moment(server: StreamServer) -> None:
    server.script = [Reply(b"retry: 3000\n" + block("a-1"))]
    waits = set()
    for number in range(5):
        time = Time()
        async with SseClient(server.url, seed=20, client=number, **time.given) as client:
            await client.take(2)
        waits.update(time.slept)
        expected = FullJitter().waits(seed=20, client=number).next()
        assert expected is not None
        assert time.slept == pytest.approx([3 + expected])
    assert len(waits) == 5


async def test_waits_grow_until_a_stream_has_lived_for_a_while(server: StreamServer, time: Time) -> None:
    short_lived = [Reply(block(f"a-{n}")) for n in range(3)]
    server.script = [*short_lived, Reply(block("a-3"), end="stay"), Reply(block("a-5"), end="stay")]
    async with SseClient(server.url, backoff=Exponential(1, 60), healthy_after_s=10, **time.given) as client:
        await client.take(4)
        assert time.slept == [1, 2, 4]
        stream = await server.stream()
        time.now_s += 10
        stream.write(block("a-4"))
        await client.take(1)
        stream.close()
        await client.take(1)
    assert time.slept == [1, 2, 4, 1]


async def test_a_link_that_fell_silent_at_once_was_not_healthy_however_long_nobody_noticed(
    server: StreamServer, time: Time
) -> None:
    server.script = [Reply(block("a-1")), Reply(block("a-2"), end="stay"), Reply(block("a-3"), end="stay")]
    async with SseClient(server.url, backoff=Exponential(1, 60), **time.given) as client:
        await client.take(2)
        stream = await server.stream()
        time.now_s += 1000
        stream.close()
        await client.take(1)
    assert time.slept == [1, 2]


async def test_a_policy_that_gives_up_ends_the_loop_with_the_last_reason(
    server: StreamServer, time: Time
) -> None:
    server.script = [refusal(500)]
    async with SseClient(server.url, backoff=SignalR(), **time.given) as client:
        with pytest.raises(GaveUp, match="after 5 failures.*500: planned"):
            await anext(client)


async def test_nobody_there_is_an_error_with_a_reason_and_tried_again(time: Time) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    async with SseClient(url, backoff=SignalR(), **time.given) as client:
        with pytest.raises(GaveUp, match=r"no connection \(Connection refused\)"):
            await anext(client)


# ---- statuses ----


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
async def test_a_status_that_may_pass_is_waited_out_as_long_as_the_server_asks(
    server: StreamServer, time: Time, status: int
) -> None:
    server.script = [refusal(status), refusal(status, "Retry-After: 7"), Reply(block("a-1"), end="stay")]
    async with SseClient(server.url, position="a-0", backoff=Fixed(1), **time.given) as client:
        assert ids(await client.take(1)) == ["a-1"]
    assert time.slept == [1, 8]
    assert places(server) == ["a-0"] * 3
    assert client.stats.errors == 2


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (refusal(400), "400: planned. Asking the same again would not help"),
        (refusal(401), "401: planned"),
        (refusal(403), "403: planned"),
        (refusal(404), "404: planned"),
        (Reply(status="204 No Content", fields=()), "204: do not come back"),
        (
            Reply(b"<p>", fields=("Content-Type: text/html",)),
            "got text/html: is this the right address",
        ),
        (Reply(b"", fields=()), "text/event-stream, got nothing"),
    ],
    ids=["400", "401", "403", "404", "204", "html", "no type"],
)
async def test_a_refusal_for_good_ends_the_loop_and_says_why(
    server: StreamServer, time: Time, reply: Reply, words: str
) -> None:
    server.script = [reply]
    async with SseClient(server.url, **time.given) as client:
        with pytest.raises(Refused, match=words):
            await anext(client)
    assert len(server.asked) == 1
    assert client.stats.errors == 1
    assert time.slept == []


async def test_a_charset_behind_the_type_is_no_other_type(server: StreamServer) -> None:
    fields = ("Content-Type: text/event-stream; charset=utf-8",)
    server.script = [Reply(block("a-1"), fields=fields, end="stay")]
    async with SseClient(server.url) as client:
        assert ids(await client.take(1)) == ["a-1"]


async def test_a_redirect_is_followed_and_each_return_begins_at_the_first_address(
    server: StreamServer, time: Time
) -> None:
    there = Reply(status="307 Moved", fields=("Location: /elsewhere?x=1",))
    server.script = [there, Reply(block("a-1")), there, Reply(block("a-2"), end="stay")]
    async with SseClient(server.url, **time.given) as client:
        await client.take(2)
    assert [request[""] for request in server.asked] == ["/events", "/elsewhere?x=1"] * 2
    assert places(server) == [None, None, "a-1", "a-1"]


@pytest.mark.parametrize(
    ("location", "words"),
    [("/events", "more than 5 redirects"), ("http://127.0.0.1:9/x", "if you trust that")],
)
async def test_a_redirect_in_a_circle_or_to_a_stranger_is_not_followed(
    server: StreamServer, location: str, words: str
) -> None:
    server.script = [Reply(status="302 Found", fields=(f"Location: {location}",))]
    async with SseClient(server.url, headers={"Cookie": "secret"}) as client:
        with pytest.raises(Refused, match=words):
            await anext(client)


# ---- the dead-man timer ----


async def test_a_stream_that_fell_silent_is_dropped_and_asked_for_again(
    server: StreamServer, time: Time
) -> None:
    server.script = [Reply(block("a-1"), end="stay"), Reply(block("a-2"), end="stay")]
    async with SseClient(server.url, dead_after_s=0.05, **time.given) as client:
        assert ids(await client.take(2)) == ["a-1", "a-2"]
        await until(lambda: server.gone == 1)
    assert client.stats.timeouts == client.stats.errors == 1
    assert "not a byte in 0.05 s" in client.stats.last_error
    assert places(server) == [None, "a-1"]


async def test_a_server_that_never_answers_is_given_up_on(server: StreamServer, time: Time) -> None:
    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    listener = await asyncio.start_server(mute, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    async with SseClient(url, dead_after_s=0.02, backoff=SignalR(), **time.given) as client:
        with pytest.raises(GaveUp, match=r"no answer in 0\.02 s"):
            await anext(client)
    assert client.stats.timeouts == 5
    listener.close()


async def test_heartbeats_alone_keep_a_stream_for_longer_than_the_timer(server: StreamServer) -> None:
    server.script = [Reply(end="stay")]
    async with SseClient(server.url, dead_after_s=0.5) as client:
        reader = asyncio.create_task(client.take(1))
        stream = await server.stream()
        loop = asyncio.get_running_loop()
        began = loop.time()
        while loop.time() - began < 1.0:  # twice the timer, in one silence without a message
            before = client.stats.body_bytes
            stream.write(b":\n\n")
            await until(lambda before=before: client.stats.body_bytes > before)
            await asyncio.sleep(0.05)
        stream.write(block("a-1"))
        assert ids(await reader) == ["a-1"]
    assert (client.stats.requests, client.stats.timeouts, client.stats.errors) == (1, 0, 0)


async def test_bytes_that_came_while_the_loop_was_busy_are_not_taken_for_silence(
    server: StreamServer,
) -> None:
    server.script = [Reply(b":\n", end="stay")]
    async with SseClient(server.url, dead_after_s=0.05) as client:
        reader = asyncio.create_task(client.take(1))
        stream = await server.stream()
        await until(lambda: client.stats.body_bytes)
        stream.write(block("a-1"))
        wall.sleep(0.1)  # noqa: ASYNC251 (nobody can run meanwhile: that is the point)
        assert ids(await reader) == ["a-1"]
    assert client.stats.timeouts == 0


# ---- gaps ----


@pytest.mark.parametrize("name", ["too old", "other epoch", "bad position"])
async def test_a_gap_is_told_in_its_place_and_the_snapshot_follows_as_deliveries(
    server: StreamServer, time: Time, name: str
) -> None:
    server.script = [
        Reply(block("a-1")),
        Reply(
            b"retry: 7\nid: b-0\n\n" + told(name) + snapshot("b-4", "b-5", position="b-5") + block("b-6"),
            end="stay",
        ),
    ]
    async with SseClient(server.url, **time.given) as client:
        first, gap, *rest = await client.take(5)
    assert isinstance(first, Delivery)
    assert gap == Gap(name, f"It is {name}.", since="a-1", position="b-0", received_at_s=time.now_s)
    assert ids(rest) == [item.position for item in rest] == ["b-4", "b-5", "b-6"]
    assert client.stats.gaps == 1


async def test_an_empty_snapshot_moves_the_place(server: StreamServer, time: Time) -> None:
    server.script = [Reply(told("too old") + snapshot(position="b-9")), Reply(block("b-10"), end="stay")]
    async with SseClient(server.url, position="a-1", **time.given) as client:
        gap, item = await client.take(2)
    assert isinstance(gap, Gap)
    assert item.position == "b-10"
    assert places(server) == ["a-1", "b-9"]


async def test_a_gap_whose_snapshot_was_cut_is_told_once(server: StreamServer, time: Time) -> None:
    whole = told("too old") + snapshot("b-4", "b-5", position="b-5")
    server.script = [Reply(whole[:-20]), Reply(whole), Reply(told("too old", "b-9"), end="stay")]
    async with SseClient(server.url, position="a-1", **time.given) as client:
        gap, *rest, again = await client.take(4)
    assert (gap.reason, again.reason) == ("too old", "too old")
    assert (gap.since, again.since) == ("a-1", "b-5")
    assert ids(rest) == ["b-4", "b-5"]
    assert places(server) == ["a-1", "b-0", "b-5"]
    assert client.stats.gaps == 2


async def test_a_gap_without_a_snapshot_is_followed_by_what_there_is(
    server: StreamServer, time: Time
) -> None:
    server.script = [Reply(told("too old", "b-3") + block("b-4"), end="stay")]
    async with SseClient(server.url, position="a-1", **time.given) as client:
        gap, item = await client.take(2)
    assert isinstance(gap, Gap)
    assert gap.position == "b-3"
    assert item.message.id == "b-4"


async def test_what_the_server_left_out_for_a_slow_reader_is_a_gap(server: StreamServer, time: Time) -> None:
    body = block("a-1") + block("a-7", {"messages": 6}, "dropped") + block("a-8")
    server.script = [Reply(body, end="stay")]
    async with SseClient(server.url, **time.given) as client:
        _, gap, item = await client.take(3)
    assert isinstance(gap, Gap)
    assert (gap.reason, gap.since, gap.position) == ("dropped", "a-1", "a-7")
    assert "left out 6" in gap.detail
    assert item.message.id == "a-8"


async def test_events_of_ones_own_by_these_names_are_messages_like_any_other(
    server: StreamServer, time: Time
) -> None:
    names = ("too old", "snapshot", "dropped", "busy", "other epoch")
    body = b"".join(block(f"a-{n}", {"price": n}, name) for n, name in enumerate(names))
    server.script = [Reply(body, end="stay")]
    async with SseClient(server.url, **time.given) as client:
        items = await client.take(5)
    assert [item.message.event for item in items] == list(names)


async def test_a_snapshot_that_cannot_be_read_is_asked_for_again(server: StreamServer, time: Time) -> None:
    server.script = [
        Reply(told("too old") + block("b-5", {"messages": "none"}, "snapshot")),
        Reply(told("too old") + snapshot("b-5", position="b-5"), end="stay"),
    ]
    async with SseClient(server.url, position="a-1", **time.given) as client:
        gap, item = await client.take(2)
    assert isinstance(gap, Gap)
    assert item.message.id == "b-5"
    assert places(server) == ["a-1", "b-0"]


async def test_a_busy_server_is_left_alone_for_as_long_as_it_asks(server: StreamServer, time: Time) -> None:
    busy = b"retry: 20000\nid: a-1\n\n" + told("busy", "a-1")
    server.script = [Reply(busy), Reply(block("a-2"), end="stay")]
    async with SseClient(server.url, position="a-1", backoff=Fixed(1), **time.given) as client:
        assert ids(await client.take(1)) == ["a-2"]
    assert time.slept == [21]
    assert "busy: It is busy" in client.stats.last_error
    assert places(server) == ["a-1", "a-1"]


# ---- too much, sending, misuse ----


async def test_an_event_without_end_is_refused_after_what_came_before_it(
    server: StreamServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "EventStreamParser", partial(EventStreamParser, max_event_bytes=1000))
    server.script = [Reply(block("a-1") + b"data: " + b"x" * 2000, end="stay")]
    async with SseClient(server.url) as client:
        assert ids(await client.take(1)) == ["a-1"]
        with pytest.raises(Refused, match="past 1000 bytes"):
            await anext(client)
        await until(lambda: server.gone == 1)


async def test_sending_goes_to_messages_beside_the_stream(server: StreamServer) -> None:
    fields = ("Content-Type: application/json",)
    server.script = [Reply(b'{"id": "a-1"}', status="201 Created", fields=fields), Reply(end="reset")]
    async with SseClient(server.url + "/lab/events", channel="tea") as client:
        assert await client.send("hi") == "a-1"
        with pytest.raises(MaybeSent):
            await client.send("hi")
    assert server.asked[0][""] == "/lab/messages?channel=tea"
    assert client.stats.sent == 1


@pytest.mark.parametrize(
    "wrong",
    [{"dead_after_s": 0}, {"healthy_after_s": float("nan")}, {"position": "a\nb"}, {"position": "a\0"}],
    ids=str,
)
def test_misuse_is_answered_with_a_sentence(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        SseClient("http://127.0.0.1:9", **wrong)


def test_a_url_that_is_none_is_answered_with_a_sentence() -> None:
    with pytest.raises(ValueError, match="expected a server, or its address"):
        SseClient("127.0.0.1:9")
    assert (f"Content-Type: {sse.MEDIA_TYPE}",) == STREAM
