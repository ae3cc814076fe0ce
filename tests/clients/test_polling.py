"""Failures, pace and 304: both polling clients against a server that misbehaves by script."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from labsupport.backoff import Exponential, FullJitter, SignalR
from labsupport.clients import (
    GaveUp,
    LongPollingClient,
    Refused,
    ShortPollingClient,
    http,
)
from tests.clients.conftest import KINDS, ScriptedServer, Time, answer, free_port, ids

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
    monkeypatch.setattr(http, "MAX_ANSWER", 1 << 20)
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
