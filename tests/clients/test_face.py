"""The face that all clients share: gaps, positions, closing, cancelling, taking."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from labsupport.backoff import Exponential
from labsupport.clients import (
    Gap,
    LongPollingClient,
    ShortPollingClient,
)
from tests.clients.conftest import KINDS, ScriptedServer, Time, answer, gap, ids, until


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
