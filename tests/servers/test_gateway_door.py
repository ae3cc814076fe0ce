"""Who gets into the gateway, and what bad clients are told: clearly, and without harm to the others."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress

import aiohttp
import pytest

from labsupport.wire.frames import Opcode
from servers.core import gateway_door, gateway_websocket
from servers.core.gateway_door import parse_head
from tests.servers.conftest import PATIENCE_S, Wire, until
from tests.servers.gateways import Gate, run
from tests.servers.streams import listen, request
from tests.servers.test_frames import BAD, client

Start = Callable[..., Awaitable[Gate]]
KEY = {"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec_WebSocket_Version": 13}
UPGRADE = {"Upgrade": "websocket", "Connection": "keep-alive, Upgrade", **KEY}


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    async with AsyncExitStack() as stack:

        async def begin(*arguments: str) -> Gate:
            return await stack.enter_async_context(run(*arguments))

        yield begin


@pytest.fixture
async def gate(start: Start) -> Gate:
    return await start()


async def told(wire: Wire) -> tuple[int, str]:
    """(status, error) of a refusal."""
    status, _, body = await wire.answer()
    problem = json.loads(body)
    assert problem["try"]
    return status, problem["error"]


# ---------------------------------------------------------------- who comes in


def test_only_a_head_that_is_right_in_every_respect_is_read_here():
    head = parse_head(request("/events?a=b&last_event_id=e-7", Accept="text/event-stream"))
    assert head is not None
    assert (head.path, head.position, head.fields["accept"]) == ("/events", "e-7", "text/event-stream")
    for raw in (
        request("/events", method="POST"),
        request("/elsewhere"),
        request("/events").replace(b"HTTP/1.1", b"HTTP/2.0"),
        request("/events").replace(b"Host:", b"Host :"),
        request("/events", Host_="x").replace(b"Host-:", b"Host:"),
        request("/events", Folded="a\r\n b"),
        request("/events", Content_Length=5),
        request("/events", Transfer_Encoding="chunked"),
        request("/events", **{f"F{number}": 1 for number in range(101)}),
        request("/events", Long="x" * 9000),
        request("/events", Null="\0"),
    ):
        assert parse_head(raw) is None


async def test_a_head_may_come_byte_by_byte(gate: Gate):
    wire = await gate.wire()
    for byte in request("/ws", **UPGRADE):
        wire.send(bytes([byte]))
        await wire.writer.drain()
        await asyncio.sleep(0)
    head = await wire.reader.readuntil(b"\r\n\r\n")
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head  # RFC 6455, 1.3


async def test_a_connection_that_asked_for_pages_can_follow_after_that(gate: Gate):
    for target, more, start in (("/events", {}, b"200 OK"), ("/ws", UPGRADE, b"101 Switching")):
        wire = await gate.wire(request("/stats"))
        assert (await wire.answer())[0] == 200
        wire.send(request(target, **more))
        assert start in await wire.reader.readuntil(b"\r\n\r\n")
    await until(lambda: gate.crowds.open == 2)
    position = await gate.say("to all")
    for wire in gate.wires:
        assert position.encode() in await wire.reader.readuntil(b"to all")
        wire.close()
    await until(lambda: gate.crowds.open == 0)


async def test_frames_that_come_with_the_handshake_are_read(gate: Gate):
    wire = await gate.wire(request("/ws", **UPGRADE) + client(9, b"early"))
    await wire.reader.readuntil(b"\r\n\r\n")
    assert await wire.reader.readexactly(7) == b"\x8a\x05early"


async def test_head_and_options_are_answered_without_following(gate: Gate):
    async with gate.session.head(gate.url + "/events") as response:
        assert (response.status, response.headers["Content-Type"]) == (200, "text/event-stream")
    async with gate.session.options(gate.url + "/messages") as response:
        assert (response.status, response.headers["Allow"]) == (204, "GET, HEAD, OPTIONS, POST")
    assert gate.crowds.open == 0


@pytest.mark.parametrize(
    ("target", "fields", "status"),
    [
        ("/ws", {}, 426),
        ("/ws", {**UPGRADE, "Sec_WebSocket_Version": 8}, 426),
        ("/ws", {**UPGRADE, "Sec_WebSocket_Key": "short"}, 400),
        ("/ws", {**UPGRADE, "Origin": "https://evil.example"}, 403),
        ("/ws", {**UPGRADE, "Origin": "null"}, 403),
        ("/ws", {**UPGRADE, "Host": "evil.example"}, 403),
        ("/events", {"Host": "evil.example"}, 403),
        ("/events", {"Content_Length": 3}, 400),
        ("/elsewhere", {}, 404),
        ("/events", {"Long": "x" * 9000}, 431),
        ("/events", {f"F{number}": "x" * 500 for number in range(60)}, 431),
    ],
)
async def test_who_may_not_follow_is_told_why(gate: Gate, target: str, fields: dict, status: int):
    got, error = await told(await gate.wire(request(target, **fields)))
    assert (got, bool(error)) == (status, True)
    assert gate.crowds.open == 0


async def test_a_page_of_elsewhere_is_kept_out_by_its_browser_and_by_the_gateway(gate: Gate):
    foreign = {"Origin": "https://evil.example"}
    async with gate.session.get(gate.url + "/events", headers=foreign) as response:
        assert "Access-Control-Allow-Origin" not in response.headers
    assert (await gate.post({"data": 1}, foreign))[0] == 403


async def test_a_page_that_was_let_in_by_name_may_follow(start: Start):
    gate = await start("--allow-origin", "https://lab.example")
    page = {"Origin": "https://lab.example"}
    async with gate.session.get(gate.url + "/events", headers=page) as response:
        assert response.headers["Access-Control-Allow-Origin"] == page["Origin"]
    await gate.socket(origin=page["Origin"])


# ---------------------------------------------------------------- full


async def test_when_it_is_full_a_stream_is_told_busy_a_websocket_503_and_pages_still_answer(start: Start):
    gate = await start("--most-connections", "2")
    first, _ = await listen(gate), await gate.socket()
    reader = await listen(gate, last_event_id="e-7")
    (event,) = await reader.rest()
    assert (event.type, event.last_event_id) == ("busy", "e-7")
    assert reader.parser.retry_ms is not None
    assert 10_000 <= reader.parser.retry_ms <= 30_000
    status, error = await told(await gate.wire(request("/ws", **UPGRADE)))
    assert (status, error) == (503, "there are 2 connections already")
    stats = (await gate.get("/stats"))[1]
    assert (stats["open"], stats["refused"]) == (2, 2)
    first.close()
    await until(lambda: gate.crowds.open == 1)
    await gate.socket()


async def test_beyond_that_everybody_is_told_503_at_once_and_nobody_hangs(
    start: Start, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(gateway_door, "SPARE", 4)
    gate = await start("--most-connections", "2")
    silent = [await gate.wire() for _ in range(6)]
    await until(lambda: len(gate.gateway.door.connections) == 6)
    status, error = await told(await gate.wire())
    assert (status, error) == (503, "there are too many connections")
    (await gate.wire()).send(b"GET ")
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await (await gate.wire()).answer()
    for wire in silent:
        wire.close()
    await until(lambda: len(gate.gateway.door.connections) < 6)
    assert (await gate.get("/stats"))[0] == 200


# ---------------------------------------------------------------- bad clients


async def test_a_head_that_does_not_end_in_time_is_told_408_and_a_silent_client_is_cut(
    start: Start, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(gateway_door, "HEAD_S", 0.05)
    gate = await start("--heartbeat", "0.1")
    slow, silent = await gate.wire(request("/events")[:-2]), await gate.wire()
    assert (await told(slow))[0] == 408
    assert await silent.rest() == b""


@pytest.mark.parametrize("raw", [b"hello\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\xfc\x03\x03\r\n"])
async def test_what_is_not_http_is_told_400(gate: Gate, raw: bytes):
    assert (await told(await gate.wire(raw)))[0] == 400


@pytest.mark.parametrize("name", BAD)
async def test_frames_that_break_the_rules_end_with_their_code_and_harm_nobody_else(gate: Gate, name: str):
    raw, code = BAD[name]
    good, bad = await gate.follow("websocket"), await gate.socket()
    await bad.send(raw + b"and whatever comes behind")
    assert (await bad.closed()).code == code
    await gate.say("still here")
    assert await good.take(1) == ["still here"]
    await until(lambda: gate.crowds.open == 1)


async def test_what_a_client_says_is_thrown_away_and_its_pings_are_answered(gate: Gate):
    link = await gate.socket()
    await link.frame(Opcode.TEXT, b"hel", fin=False)
    await link.frame(Opcode.PING, b"1")
    await link.frame(Opcode.CONTINUATION, b"lo")
    await link.frame(Opcode.BINARY, b"\xff")
    await link.frame(Opcode.PING, b"2")
    pongs = [await link.next() for _ in range(2)]
    assert [(pong.opcode, pong.payload) for pong in pongs if pong] == [
        (Opcode.PONG, b"1"),
        (Opcode.PONG, b"2"),
    ]
    (follower,) = gate.crowds.sockets.ready.values()
    assert isinstance(follower, gateway_websocket.SocketFollower)
    assert follower.reader is None  # between frames, nothing is held for it


@pytest.mark.parametrize(("payload", "code"), [(b"\x03\xe8bye", 1000), (b"\x0f\xa1", 4001), (b"", 1005)])
async def test_a_client_that_closes_gets_its_code_back_and_the_connection_ends(gate: Gate, payload, code):
    link = await gate.socket()
    await link.frame(Opcode.CLOSE, payload)
    frames, close = await link.until_closed()
    assert (frames, close.code) == ([], code)
    assert await link.next() is None
    await until(lambda: not gate.gateway.door.connections)


async def test_who_sends_pings_and_reads_no_pongs_is_cut(gate: Gate):
    link = await gate.socket(receive_buffer=4096)
    with suppress(ConnectionError):
        while not gate.crowds.sockets.counters.slow:
            await link.send(client(9, b"x" * 125) * 500)
    assert gate.crowds.sockets.counters.slow == 1
    assert gate.crowds.open == 0


async def test_a_closing_handshake_that_the_client_does_not_end_is_ended(
    start: Start, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(gateway_websocket, "CLOSE_S", 0.05)
    gate = await start("--heartbeat", "0.1")
    link = await gate.socket()
    (follower,) = gate.crowds.sockets.ready.values()
    follower.cut()
    assert (await link.closed()).code == 4408
    assert await link.next() is None  # although it sent no close


async def test_a_crowd_of_half_heads_costs_no_follower_anything(gate: Gate):
    follow = await gate.follow("sse")
    half = [await gate.wire(request()[: 10 + number % 40]) for number in range(200)]
    for number in range(5):
        await gate.say(number)
        assert await follow.take(1) == [number]
    for wire in half:
        wire.close()


async def test_clients_of_a_library_follow_as_well(gate: Gate):
    async with gate.session.ws_connect(gate.url + "/ws") as socket:
        position = await gate.say("hello")
        async with asyncio.timeout(PATIENCE_S):
            message = await socket.receive()
        assert message.type is aiohttp.WSMsgType.TEXT
        assert message.json() == {"id": position, "event": "message", "data": "hello"}
    await until(lambda: gate.crowds.open == 0)
