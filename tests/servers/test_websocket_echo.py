"""The echo server over real sockets: what comes back, and what a client cannot do to it."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress

import pytest

from labsupport.wire.frames import Frame, Opcode, encode_frame
from servers import websocket_echo
from servers.core import websocket_connection
from servers.core.websocket_connection import WRITE_AHEAD
from tests.servers.conftest import until
from tests.servers.sockets import MASK, Server, farewell, run_echo

Start = Callable[..., Awaitable[Server]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    async with AsyncExitStack() as stack:
        yield lambda *arguments: run_echo(stack, *arguments)


@pytest.fixture
async def server(start: Start) -> Server:
    return await start()


async def works(server: Server) -> None:
    """Another client is unharmed."""
    link = await server.connect()
    await link.send("still here")
    assert await link.recv() == "still here"
    await link.close()


# ---------------------------------------------------------------- what comes back


@pytest.mark.parametrize("target", ["/", "/echo", "/any/path?with=query"])
async def test_messages_come_back_as_they_came_in_the_same_order(server: Server, target):
    link = await server.connect(target)
    messages = ["hello", b"hello", "", b"", "grüße \U0001f600", bytes(range(256)), "x" * 70_000]
    for message in messages:
        await link.send(message)
    assert [await link.recv() for _ in messages] == messages


async def test_a_message_in_fragments_comes_back_whole(server: Server):
    link = await server.connect()
    await link.send(["he", "ll", "o"])
    assert await link.recv() == "hello"


@pytest.mark.parametrize(("arguments", "agreed"), [((), False), (("--compression",), True)])
async def test_compression_is_off_unless_asked_for_at_the_start(start: Start, arguments, agreed):
    server = await start(*arguments)
    link = await server.connect(compression="deflate")
    assert link.response is not None
    assert ("Sec-WebSocket-Extensions" in link.response.headers) is agreed
    await link.send("x" * 1000)
    assert await link.recv() == "x" * 1000


async def test_the_counters_tell_connections_messages_and_bytes(server: Server):
    link = await server.connect()
    for message in ("ü", b"123"):
        await link.send(message)
        await link.recv()
    expected = {"connections": 1, "messages": 2, "bytes": 5, "pid": os.getpid()}
    assert await server.get("/stats") == (200, expected)
    await link.close()
    await until(lambda: not server.inside)
    assert (await server.get("/stats"))[1]["connections"] == 0


async def test_a_thousand_connections_are_held_at_once_and_each_is_answered(server: Server):
    links = await asyncio.gather(*(server.connect(open_timeout=60) for _ in range(1000)))
    assert len(server.inside) == 1000
    for number, link in enumerate(links):
        await link.send(str(number))
    assert [await link.recv() for link in links] == [str(number) for number in range(1000)]


# ---------------------------------------------------------------- what RFC 6455 forbids


async def test_a_frame_without_a_mask_is_a_protocol_error(server: Server):
    bare = await (await server.bare()).open()
    await bare.send(encode_frame(Frame(Opcode.TEXT, b"Hello")))
    assert (await bare.closed()).code == 1002
    await works(server)


@pytest.mark.parametrize("parts", [[b"\xff"], [b"gr\xc3", b"(e"], [b"gr\xc3"]])
async def test_text_that_is_not_utf_8_is_refused_also_across_fragments(server: Server, parts):
    bare = await (await server.bare()).open()
    for number, part in enumerate(parts):
        opcode = Opcode.CONTINUATION if number else Opcode.TEXT
        await bare.frame(opcode, part, fin=number == len(parts) - 1)
    assert (await bare.closed()).code == 1007
    await works(server)


async def test_a_message_of_the_limit_is_taken_and_one_byte_more_is_1009(start: Start):
    server = await start("--max-bytes", "1000")
    link = await server.connect()
    await link.send("x" * 1000)
    assert await link.recv() == "x" * 1000
    await link.send("x" * 1001)
    await link.wait_closed()
    assert farewell(link)[0] == 1009
    await works(server)


async def test_fragments_that_are_too_large_together_are_1009(start: Start):
    server = await start("--max-bytes", "1000")
    bare = await (await server.bare()).open()
    for number in range(3):
        await bare.frame(Opcode.CONTINUATION if number else Opcode.BINARY, bytes(400), fin=False)
    assert (await bare.closed()).code == 1009
    await works(server)


async def test_a_length_that_is_only_announced_is_refused_before_it_is_sent(server: Server):
    bare = await (await server.bare()).open()
    await bare.send(b"\x82\xff" + (1 << 40).to_bytes(8, "big") + MASK)
    assert (await bare.closed()).code == 1009


def test_the_limit_is_a_mebibyte_and_pings_are_20_s_if_not_told_otherwise():
    options = websocket_echo.arguments().parse_args([])
    assert (options.max_bytes, options.ping_interval, options.ping_timeout) == (1 << 20, 20, 20)


# ---------------------------------------------------------------- clients that do not play their part


async def test_a_ping_that_stays_unanswered_closes_with_1011(start: Start):
    server = await start("--ping-interval", "0.02", "--ping-timeout", "0.02")
    bare = await (await server.bare()).open()
    frames = await bare.rest()
    assert frames[0].opcode is Opcode.PING
    assert (frames[-1].opcode, frames[-1].payload[:2]) == (Opcode.CLOSE, (1011).to_bytes(2, "big"))


async def test_a_client_that_reads_nothing_is_made_to_wait_and_fills_no_memory(server: Server):
    bare = await (await server.bare(receive_buffer=4096)).open()
    [connection] = server.inside
    message = encode_frame(Frame(Opcode.BINARY, bytes(100_000), masking_key=MASK))
    flood = asyncio.create_task(bare.send(message * 100))
    await until(lambda: not connection.transport.is_reading())
    assert connection.behind < 100_000 + WRITE_AHEAD
    assert server.door.counters.messages < 10
    await works(server)
    flood.cancel()


async def test_a_client_that_takes_nothing_for_too_long_is_let_go(server: Server, monkeypatch):
    monkeypatch.setattr(websocket_connection, "STUCK_S", 0.01)
    bare = await (await server.bare(receive_buffer=4096)).open()
    message = encode_frame(Frame(Opcode.BINARY, bytes(500_000), masking_key=MASK))
    await bare.send(message)
    await until(lambda: server.door.counters.slow == 1)
    assert (await bare.closed()).code == 4408
    await works(server)


async def test_pongs_for_a_client_that_reads_none_do_not_pile_up(start: Start):
    server = await start("--max-bytes", "1000")
    bare = await (await server.bare(receive_buffer=4096)).open()
    [connection] = server.inside
    # What one read of the socket may bring (256 KiB at most) comes on top.
    limit = server.door.shared.most_behind + (256 << 10)
    pings = encode_frame(Frame(Opcode.PING, bytes(125), masking_key=MASK)) * 100
    with suppress(ConnectionError):
        while server.inside:
            await bare.send(pings)
            assert connection.behind <= limit
    await until(lambda: not server.inside)
    assert server.door.counters.slow == 1
    await works(server)


async def test_messages_after_the_servers_close_are_not_read_and_do_not_hold_up_the_end(server: Server):
    bare = await (await server.bare()).open()
    [connection] = server.inside
    connection.cut(1012)
    for _ in range(50):
        await bare.frame(Opcode.TEXT, b"too late")
    await bare.frame(Opcode.CLOSE, (1012).to_bytes(2, "big"))
    frames = await bare.rest()
    assert [frame.opcode for frame in frames] == [Opcode.CLOSE]
    bare.close()
    await until(lambda: not server.inside)


async def test_a_client_that_vanishes_leaves_nothing(server: Server):
    bare = await (await server.bare()).open()
    assert len(server.inside) == 1
    bare.close()
    await until(lambda: not server.inside and not server.door.shared.open)
