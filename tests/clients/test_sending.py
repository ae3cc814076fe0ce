"""Sending: surely not sent, maybe sent, sent."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from labsupport.clients import (
    Delivery,
    LongPollingClient,
    MaybeSent,
    NotSent,
)
from tests.clients.conftest import ScriptedServer, Time, answer, free_port


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
