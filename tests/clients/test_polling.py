"""What both polling clients promise, against a server that misbehaves by script."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from labsupport.backoff import Exponential, FullJitter, SignalR
from labsupport.clients import (
    Delivery,
    Gap,
    GaveUp,
    LongPollingClient,
    MaybeSent,
    NotSent,
    Refused,
    ShortPollingClient,
    polling,
)
from tests.clients.conftest import ScriptedServer, Time, answer, gap, until

KINDS: dict[str, Callable[..., Any]] = {
    "short": lambda url, **more: ShortPollingClient(url, **{"interval_s": 1.0, **more}),
    "long": lambda url, **more: LongPollingClient(url, **{"wait_s": 5.0, **more}),
}


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest) -> Callable[..., Any]:
    return KINDS[request.param]


def ids(items: list[Any]) -> list[str]:
    return [item.message.id for item in items]


# ---- failures ----


async def test_failures_wait_as_the_policy_says_and_a_healthy_answer_starts_it_afresh(
    server: ScriptedServer, time: Time, make: Callable[..., Any]
) -> None:
    broken = [
        lambda _: web.json_response({"error": "broken"}, status=500),
        lambda _: web.Response(text="<html>a proxy's page</html>"),
        lambda _: web.json_response({"error": "a JSON error with status 200"}),
        lambda _: web.json_response({"messages": "none", "position": "a-1"}),
        lambda _: web.json_response({"messages": [{"id": 7}], "position": "a-1"}),
        lambda _: web.Response(text="[" * 100_000),
        lambda _: web.Response(status=302, headers={"Location": "/elsewhere"}),
        lambda _: web.Response(status=204),
    ]
    server.script = [*broken, lambda _: answer("a-1"), broken[0], lambda _: answer("a-2")]
    async with make(server.url, backoff=Exponential(0.5, 8), **time.given) as client:
        assert ids(await client.take(2)) == ["a-1", "a-2"]
    failures = [0.5, 1, 2, 4, 8, 8, 8, 8]
    assert time.slept[: len(failures)] == failures
    assert time.slept[-1] == 0.5  # afresh
    assert client.stats.errors == 9
    assert client.stats.requests == 11
    assert "500: broken" in client.stats.last_error


async def test_the_waits_are_the_policys_own_draws_for_this_seed_and_client(
    server: ScriptedServer, time: Time
) -> None:
    server.script = [lambda _: web.Response(status=503)] * 5 + [lambda _: answer("a-1")]
    async with LongPollingClient(server.url, seed=20, client=7, **time.given) as client:
        await client.take(1)
    expected = FullJitter().waits(seed=20, client=7)
    assert time.slept == pytest.approx([expected.next() for _ in range(5)])


async def test_two_clients_without_a_seed_do_not_wait_in_step(server: ScriptedServer) -> None:
    one, other = (LongPollingClient(server.url) for _ in range(2))
    assert one._waits.next() != other._waits.next()


async def test_a_policy_that_gives_up_ends_the_loop_with_the_last_reason(
    server: ScriptedServer, time: Time, make: Callable[..., Any]
) -> None:
    server.script = [lambda _: web.json_response({"error": "out of order"}, status=500)]
    async with make(server.url, backoff=SignalR(), **time.given) as client:
        with pytest.raises(GaveUp, match="after 5 failures.*out of order"):
            await anext(client)
    assert sum(time.slept) == pytest.approx(2 + 10 + 30)


async def test_a_question_that_can_never_be_answered_is_not_asked_again(
    server: ScriptedServer, time: Time, make: Callable[..., Any]
) -> None:
    server.script = [
        lambda _: web.json_response(
            {"error": "bad position", "detail": "Not of this log.", "try": "leave since out"}, status=400
        )
    ]
    async with make(server.url, **time.given) as client:
        with pytest.raises(Refused, match="400: bad position: Not of this log. .try: leave since out."):
            await anext(client)
    assert len(server.asked) == 1
    assert client.stats.errors == 1


async def test_the_wait_that_a_busy_server_asks_for_is_granted(server: ScriptedServer, time: Time) -> None:
    server.script = [
        lambda _: web.Response(status=429, headers={"Retry-After": "17"}),
        lambda _: web.Response(status=503, headers={"Retry-After": "999999999"}),
        lambda _: web.Response(status=503, headers={"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"}),
        lambda _: answer("a-1"),
    ]
    async with LongPollingClient(server.url, backoff=Exponential(1, 2), **time.given) as client:
        await client.take(1)
    assert time.slept == [17, 300, 2]


async def test_the_dead_man_timer_ends_a_question_that_nobody_answers(
    server: ScriptedServer, make: Callable[..., Any]
) -> None:
    async def never(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    server.script = [never, lambda _: answer("a-1")]
    short = {"limit_s": 0.05} if make is KINDS["short"] else {"wait_s": 0.02, "margin_s": 0.03}
    async with make(server.url, backoff=Exponential(0.001, 0.001), **short) as client:
        assert ids(await client.take(1)) == ["a-1"]
        await server.one_gone.wait()  # the connection of the dead question is not kept
    assert client.stats.timeouts == client.stats.errors > 0
    assert client.stats.last_error == "no answer in 0.05 s"


async def test_an_answer_without_end_is_cut_off(
    server: ScriptedServer, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling, "MAX_ANSWER", 1 << 20)
    server.script = [lambda _: web.Response(body=b"x" * (2 << 20)), lambda _: answer("a-1")]
    async with LongPollingClient(server.url, **time.given) as client:
        await client.take(1)
    assert "longer than 1 MiB" in client.stats.last_error


async def test_a_server_that_repeats_its_messages_does_not_make_doubles(
    server: ScriptedServer, time: Time
) -> None:
    server.script = [lambda _: answer("a-1"), lambda _: answer("a-1"), lambda _: answer("a-2")]
    async with LongPollingClient(server.url, **time.given) as client:
        assert ids(await client.take(2)) == ["a-1", "a-2"]
    assert "repeats" in client.stats.last_error


async def test_no_server_at_all_is_an_error_without_an_address_in_it(
    time: Time, make: Callable[..., Any]
) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    async with make(url, backoff=SignalR(), **time.given) as client:
        with pytest.raises(GaveUp, match=r"no connection \(Connection refused\)"):
            await anext(client)
        assert "127.0.0.1" not in client.stats.last_error


@pytest.mark.parametrize("answered_before", [0, 1])
async def test_each_cut_is_one_error_with_one_wait_and_no_repeat_behind_the_policys_back(
    server: ScriptedServer, time: Time, make: Callable[..., Any], answered_before: int
) -> None:
    def cut(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    server.script = [lambda _: answer("a-1")] * answered_before + [cut] * 4 + [lambda _: answer("a-2")]
    async with make(server.url, backoff=Exponential(1, 8), **time.given) as client:
        await client.take(answered_before + 1)
    assert (client.stats.errors, client.stats.requests, len(server.asked)) == (4, *[answered_before + 5] * 2)
    assert time.slept[-4:] == [1, 2, 4, 8]
    assert "cut before the answer" in client.stats.last_error


# ---- pace ----


async def test_a_server_that_answers_with_nothing_at_once_cannot_make_a_long_poll_spin(
    server: ScriptedServer, time: Time
) -> None:
    server.script = [lambda _: answer(position="a-0")] * 50 + [lambda _: answer("a-1")]
    async with LongPollingClient(server.url, min_gap_s=1.0, **time.given) as client:
        await client.take(1)
    assert time.slept == [1.0] * 50


async def test_nothing_at_once_is_no_healthy_answer_so_the_waits_go_on_growing(
    server: ScriptedServer, time: Time
) -> None:
    broken, empty = lambda _: web.Response(status=500), lambda _: answer(position="a-0")
    server.script = [broken, empty, broken, empty, broken, lambda _: answer("a-1")]
    async with LongPollingClient(server.url, backoff=Exponential(2, 100), **time.given) as client:
        await client.take(1)
    assert time.slept == [2, 1, 4, 1, 8]


async def test_a_held_question_and_a_message_are_followed_by_the_next_question_at_once(
    server: ScriptedServer, time: Time
) -> None:
    def held(_: web.Request) -> web.Response:
        time.now_s += 5.0
        return answer(position="a-0")

    server.script = [held, held, lambda _: answer("a-1"), lambda _: answer("a-2")]
    async with LongPollingClient(server.url, wait_s=5.0, **time.given) as client:
        assert ids(await client.take(2)) == ["a-1", "a-2"]
    assert time.slept == []
    assert [request.query["wait"] for request in server.asked] == ["5"] * 4
    assert [request.query.get("since") for request in server.asked] == [None, "a-0", "a-0", "a-1"]


async def test_short_polls_keep_the_interval_give_or_take_the_jitter_by_seeded_draws(
    server: ScriptedServer, time: Time
) -> None:
    server.script = [lambda _: answer(position="a-0")] * 300 + [lambda _: answer("a-1")]
    async with ShortPollingClient(server.url, interval_s=5, jitter=0.2, seed=1, **time.given) as client:
        await client.take(1)
    waits = time.slept
    assert all(4.0 <= wait <= 6.0 for wait in waits)
    assert min(waits) < 4.1 < 5.9 < max(waits)
    again = Time()
    server.asked.clear()
    async with ShortPollingClient(server.url, interval_s=5, jitter=0.2, seed=1, **again.given) as client:
        await client.take(1)
    assert again.slept == waits
    other = Time()
    server.asked.clear()
    async with ShortPollingClient(server.url, interval_s=5, seed=1, client=1, **other.given) as client:
        await client.take(1)
    assert other.slept != waits


async def test_a_first_wait_spreads_a_crowd_before_its_first_question(
    server: ScriptedServer, time: Time
) -> None:
    server.script = [lambda _: answer("a-1")]
    async with ShortPollingClient(server.url, interval_s=5, first_wait_s=3.5, **time.given) as client:
        (item,) = await client.take(1)
    assert time.slept == [3.5]
    assert item.received_at_s == 103.5


async def test_slow_answers_never_overlap_so_none_can_move_the_position_back(
    server: ScriptedServer, make: Callable[..., Any]
) -> None:
    async def slow(request: web.Request) -> web.Response:
        await asyncio.sleep(0.01)
        return answer(f"a-{int(request.query.get('since', 'a-0')[2:]) + 1}")

    server.script = [slow]
    short = {"interval_s": 0.001} if make is KINDS["short"] else {}
    async with make(server.url, **short) as client:
        assert ids(await client.take(8)) == [f"a-{n}" for n in range(1, 9)]
    assert server.most == 1


# ---- 304 ----


async def test_a_tag_is_sent_back_only_to_the_address_that_it_came_from(
    server: ScriptedServer, time: Time
) -> None:
    server.script = [
        lambda _: answer("a-1", ETag='"one"'),
        lambda _: answer(position="a-1", ETag='"two"'),
        lambda _: web.Response(status=304, headers={"ETag": '"two"'}),
        lambda _: web.Response(status=304, headers={"ETag": '"two"'}),
        lambda _: answer("a-2", ETag='"three"'),
        lambda _: answer("a-3"),
    ]
    async with ShortPollingClient(server.url, interval_s=1, **time.given) as client:
        assert ids(await client.take(3)) == ["a-1", "a-2", "a-3"]
    sent = [request.headers.get("If-None-Match") for request in server.asked]
    assert sent == [None, None, '"two"', '"two"', '"two"', None]
    assert (client.stats.requests, client.stats.empty, client.stats.not_modified) == (6, 3, 2)


async def test_revalidation_can_be_left_out(server: ScriptedServer, time: Time) -> None:
    server.script = [lambda _: answer(position="a-0", ETag='"x"')] * 3 + [lambda _: answer("a-1")]
    async with ShortPollingClient(server.url, interval_s=1, revalidate=False, **time.given) as client:
        await client.take(1)
    assert not any("If-None-Match" in request.headers for request in server.asked)


# ---- gaps ----


@pytest.mark.parametrize("reason", ["too old", "other epoch"])
async def test_a_gap_is_an_item_of_its_own_before_what_is_left(
    server: ScriptedServer, time: Time, make: Callable[..., Any], reason: str
) -> None:
    server.script = [lambda _: answer("a-1"), lambda _: gap(reason, "b-7", "b-8"), lambda _: answer("b-9")]
    async with make(server.url, **time.given) as client:
        first, told, *rest = await client.take(5)
    assert (first.message.id, ids(rest)) == ("a-1", ["b-7", "b-8", "b-9"])
    assert isinstance(told, Gap)
    assert (told.reason, told.detail, told.since, told.position) == (reason, f"It is {reason}.", "a-1", None)
    assert client.stats.gaps == 1
    assert client.stats.deliveries == 4
    assert server.asked[2].query["since"] == "b-8"


async def test_a_gap_with_nothing_left_is_told_at_once(
    server: ScriptedServer, time: Time, make: Callable[..., Any]
) -> None:
    server.script = [lambda _: gap("other epoch"), lambda _: answer("b-1")]
    async with make(server.url, position="a-5", **time.given) as client:
        (told,) = await client.take(1)
        assert len(server.asked) == 1
        assert isinstance(told, Gap)
        assert (told.since, told.position, client.position) == ("a-5", "b-0", "b-0")
        assert ids(await client.take(1)) == ["b-1"]


async def test_gaps_without_end_do_not_make_a_long_poll_spin(server: ScriptedServer, time: Time) -> None:
    server.script = [lambda _: gap("other epoch")]
    async with LongPollingClient(server.url, position="a-1", **time.given) as client:
        await client.take(5)
    assert time.slept == [1.0] * 4


async def test_a_410_without_a_snapshot_is_a_gap_and_all_that_is_left_is_asked_for(
    server: ScriptedServer, time: Time, make: Callable[..., Any]
) -> None:
    server.script = [lambda _: web.json_response({"error": "too old"}, status=410), lambda _: answer("a-7")]
    async with make(server.url, position="a-1", **time.given) as client:
        told, item = await client.take(2)
    assert isinstance(told, Gap)
    assert told.position is None
    assert item.message.id == "a-7"
    assert "since" not in server.asked[1].query


async def test_a_410_that_is_not_of_this_protocol_is_a_failure(server: ScriptedServer, time: Time) -> None:
    server.script = [lambda _: web.Response(status=410, text="gone"), lambda _: answer("a-7")]
    async with LongPollingClient(server.url, position="a-1", **time.given) as client:
        assert ids(await client.take(1)) == ["a-7"]
    assert (client.stats.errors, client.stats.gaps) == (1, 0)


def test_a_loop_that_overlooks_a_gap_stops_with_a_sentence() -> None:
    told: Any = Gap("too old", "The history begins at a-9.", "a-1", None, 0.0)
    with pytest.raises(AttributeError, match="a Gap, not a Delivery.*begins at a-9"):
        print(told.message.data)


# ---- position, leaving, coming back ----


async def test_a_later_client_goes_on_behind_the_last_item_that_was_handed_out(
    server: ScriptedServer, time: Time, make: Callable[..., Any]
) -> None:
    server.script = [lambda _: answer("a-1", "a-2", "a-3", position="a-4")]
    async with make(server.url, **time.given) as client:
        assert client.position is None
        async for item in client:
            if item.message.id == "a-2":
                break
        assert (client.position, item.position) == ("a-2", "a-2")
        await anext(client)
        assert client.position == "a-4"  # the answer's own position stands for its last message
    server.asked.clear()
    async with make(server.url, position="a-2", **time.given) as client:
        await client.take(1)
    assert server.asked[0].query["since"] == "a-2"


async def test_an_empty_log_gives_a_position_to_go_on_from(server: ScriptedServer) -> None:
    async def parked(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    server.script = [lambda _: answer(position="a-0"), parked]
    async with LongPollingClient(server.url, min_gap_s=0.001) as client:
        reader = asyncio.create_task(anext(client))  # type: ignore[arg-type]
        await until(lambda: len(server.asked) == 2)
        assert client.position == "a-0"
        reader.cancel()
        await asyncio.wait([reader])


async def test_cancelling_a_reader_loses_nothing_and_leaves_no_task(
    server: ScriptedServer, make: Callable[..., Any]
) -> None:
    go = asyncio.Event()

    async def held(_: web.Request) -> web.Response:
        await go.wait()
        return answer("a-1", "a-2")

    server.script = [held]
    async with make(server.url) as client:
        for asked in (1, 2, 3):
            reader = asyncio.create_task(anext(client))
            await until(lambda asked=asked: len(server.asked) == asked)
            reader.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reader
            await until(lambda asked=asked: len(server.gone) == asked)
        go.set()
        assert ids(await client.take(2)) == ["a-1", "a-2"]


async def test_a_reader_that_is_cancelled_while_it_waits_goes_on_with_the_rest_of_the_wait(
    server: ScriptedServer, time: Time, make: Callable[..., Any]
) -> None:
    async def sleep(seconds: float) -> None:
        time.slept.append(seconds)
        await asyncio.Event().wait()

    server.script = [lambda _: web.Response(status=500), lambda _: answer("a-1")]
    async with make(server.url, backoff=Exponential(10, 10), clock=time.clock, sleep=sleep) as client:
        for passed_s in (4, 7):
            reader = asyncio.create_task(anext(client))
            before = len(time.slept)
            await until(lambda before=before: len(time.slept) > before)
            reader.cancel()
            await asyncio.wait([reader])
            time.now_s += passed_s
        item = await anext(client)
    assert item.message.id == "a-1"
    assert time.slept == [10, 6]
    assert client.stats.errors == 1


async def test_close_from_another_task_ends_the_loop_in_order_and_frees_the_servers_slot(
    server: ScriptedServer, make: Callable[..., Any]
) -> None:
    async def parked(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    server.script = [lambda _: answer("a-1"), parked]
    short = {"interval_s": 0.001} if make is KINDS["short"] else {}
    client = make(server.url, **short)
    got: list[Any] = []

    async def read() -> str:
        got.extend([item async for item in client])
        return "ended"

    before = asyncio.all_tasks()
    async with client:
        reader = asyncio.create_task(read())
        await until(lambda: len(server.asked) == 2)
        await client.close()
        left = [task for task in asyncio.all_tasks() - before if "Client._step" in repr(task.get_coro())]
        assert left == []  # close() returns when all is at rest, and not some time later
        assert await reader == "ended"
        await client.close()
    assert ids(got) == ["a-1"]
    await server.one_gone.wait()
    with pytest.raises(StopAsyncIteration):
        await anext(client)


async def test_closing_during_a_wait_between_questions_is_just_as_quick(server: ScriptedServer) -> None:
    server.script = [lambda _: answer("a-1")]
    async with ShortPollingClient(server.url, interval_s=3600) as client:
        await client.take(1)
        reader = asyncio.create_task(client.take(1))
        await asyncio.sleep(0)
        await client.close()
        assert await reader == []


async def test_an_error_in_the_loops_body_closes_the_client_and_comes_through(server: ScriptedServer) -> None:
    server.script = [lambda _: answer("a-1")]
    client = LongPollingClient(server.url)

    async def stumble() -> None:
        async with client:
            async for item in client:
                raise KeyError(item.message.id)

    with pytest.raises(KeyError, match="a-1"):
        await stumble()
    assert "closed" in repr(client)


async def test_take_gives_back_what_had_come_when_its_time_is_over(server: ScriptedServer) -> None:
    async def parked(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    server.script = [lambda _: answer("a-1", "a-2"), parked]
    async with LongPollingClient(server.url) as client:
        assert ids(await client.take(1)) == ["a-1"]
        with pytest.raises(TimeoutError, match="1 of 2 items came in 0.05 s"):
            await client.take(2, within_s=0.05)
        assert (client.position, client.stats.deliveries) == ("a-1", 1)
        assert ids(await client.take(1)) == ["a-2"]
        assert client.stats.deliveries == 2


async def test_take_gives_back_what_had_come_when_it_is_cancelled(server: ScriptedServer) -> None:
    async def parked(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    server.script = [lambda _: answer("a-1", "a-2"), parked]
    async with LongPollingClient(server.url) as client:
        reader = asyncio.create_task(client.take(3))
        await until(lambda: len(server.asked) == 2)
        reader.cancel()
        await asyncio.wait([reader])
        assert reader.cancelled()
        assert (client.position, client.stats.deliveries) == (None, 0)
        assert ids(await client.take(2)) == ["a-1", "a-2"]


async def test_two_loops_on_one_client_are_refused(server: ScriptedServer) -> None:
    async def parked(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    server.script = [parked]
    async with LongPollingClient(server.url) as client:
        reader = asyncio.create_task(client.take(1))
        await until(lambda: server.asked)
        with pytest.raises(RuntimeError, match="another loop is reading"):
            await anext(client)
        await client.close()
        assert await reader == []


async def test_misuse_is_answered_with_a_sentence() -> None:
    client = LongPollingClient("http://127.0.0.1:9")
    with pytest.raises(RuntimeError, match="async with LongPollingClient"):
        await anext(client)
    with pytest.raises(RuntimeError, match="async with LongPollingClient"):
        await client.send(1)
    async with client:
        pass
    with pytest.raises(RuntimeError, match="make a new one"):
        await client.__aenter__()
    for url in ("127.0.0.1:9", "ws://127.0.0.1:9", None):
        with pytest.raises(ValueError, match="expected a server, or its address"):
            LongPollingClient(url)
    for wrong in ({"interval_s": 0}, {"interval_s": float("nan")}, {"interval_s": 1, "jitter": 2}):
        with pytest.raises(ValueError, match="expected"):
            ShortPollingClient("http://127.0.0.1:9", **wrong)
    for wrong in ({"wait_s": 0}, {"wait_s": float("inf")}, {"min_gap_s": 0}, {"margin_s": -1}):
        with pytest.raises(ValueError, match="expected"):
            LongPollingClient("http://127.0.0.1:9", **wrong)


# ---- sending ----


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_sending_gives_the_position_and_uses_the_channel(
    server: ScriptedServer, make: Callable[..., Any]
) -> None:
    server.script = [lambda _: answer(position="a-0")]
    async with make(server.url, channel="news") as client:
        assert await client.send({"text": "hé"}, event="note") == "a-1"
    assert server.posted == [({"channel": "news"}, {"event": "note", "data": {"text": "hé"}})]
    assert client.stats.sent == 1


async def test_a_refused_connection_means_surely_not_sent() -> None:
    async with LongPollingClient(f"http://127.0.0.1:{free_port()}") as client:
        with pytest.raises(NotSent, match="never left, so sending again is safe"):
            await client.send("hi")


async def test_a_cut_before_the_answer_means_maybe_sent(server: ScriptedServer) -> None:
    def cut(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    server.on_post = cut
    async with LongPollingClient(server.url) as client:
        with pytest.raises(MaybeSent, match="may be in the log or not"):
            await client.send("hi")
    assert client.stats.sent == 0


async def test_no_answer_in_time_means_maybe_sent(server: ScriptedServer) -> None:
    async def never(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    server.on_post = never
    async with LongPollingClient(server.url) as client:
        with pytest.raises(MaybeSent, match="no answer in 1 s"):
            await client.send("hi", limit_s=1.0)


@pytest.mark.parametrize("status", [400, 403, 413, 429])
async def test_a_refusal_means_surely_not_in_the_log_and_says_why(
    server: ScriptedServer, status: int
) -> None:
    server.on_post = lambda _: web.json_response({"error": "no", "detail": "too long"}, status=status)
    async with LongPollingClient(server.url) as client:
        with pytest.raises(NotSent, match=f"{status}: no: too long. It is not in the log"):
            await client.send("hi")


@pytest.mark.parametrize(
    "response", [web.Response, lambda: web.Response(status=500), lambda: web.Response(status=201)]
)
async def test_an_answer_that_confirms_nothing_means_maybe_sent(
    server: ScriptedServer, response: Callable[[], web.Response]
) -> None:
    server.on_post = lambda _: response()
    async with LongPollingClient(server.url) as client:
        with pytest.raises(MaybeSent, match="does not tell"):
            await client.send("hi")


@pytest.mark.parametrize("data", [object(), float("nan"), {1j: 2}, b"bytes"], ids=range(4))
async def test_data_without_a_json_form_is_refused_before_anything_is_sent(
    server: ScriptedServer, data: object
) -> None:
    async with LongPollingClient(server.url) as client:
        with pytest.raises(TypeError, match="no JSON form"):
            await client.send(data)
    assert server.posted == []


async def test_headers_of_ones_own_travel_with_each_request(server: ScriptedServer) -> None:
    server.script = [lambda _: answer("a-1")]
    async with LongPollingClient(server, headers={"Cookie": "a=b", "X-Long": "y" * 400}) as client:
        await client.take(1)
    assert server.asked[0].headers["Cookie"] == "a=b"


async def test_a_delivery_carries_message_position_and_the_time_on_the_given_clock(
    server: ScriptedServer, time: Time
) -> None:
    server.script = [lambda _: answer("a-1")]
    async with LongPollingClient(server.url, **time.given) as client:
        (item,) = await client.take(1)
    assert isinstance(item, Delivery)
    assert (item.message.id, item.message.event, item.message.data) == ("a-1", "message", "a-1")
    assert (item.position, item.received_at_s) == ("a-1", 100.0)
    assert client.stats.body_bytes > 0
