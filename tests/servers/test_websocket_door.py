"""Who may open a WebSocket, what a bad head gets, and how a server sends its clients away."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
import websockets

from servers import websocket_chat, websocket_echo
from servers.core import lifeline, websocket
from servers.core.connection import MAX_FIELD
from servers.core.http import MAX_HEAD
from servers.core.websocket_connection import REASONS
from tests.servers.conftest import PATIENCE_S, until
from tests.servers.sockets import Bare, Server, farewell, run_chat, run_echo

Start = Callable[..., Awaitable[Server]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    async with AsyncExitStack() as stack:
        yield lambda *arguments: run_echo(stack, *arguments)


@pytest.fixture
async def start_chat() -> AsyncIterator[Start]:
    async with AsyncExitStack() as stack:

        async def begin(*arguments: str) -> Server:
            return (await run_chat(stack, *arguments))[0]

        yield begin


@pytest.fixture
async def server(start: Start) -> Server:
    return await start()


async def works(server: Server) -> None:
    link = await server.connect()
    await link.send("still here")
    assert await link.recv() == "still here"
    await link.close()


# ---------------------------------------------------------------- pages of elsewhere


@pytest.mark.parametrize("origin", [None, "http://localhost:8888", "http://127.0.0.1", "https://[::1]:1"])
async def test_programs_and_pages_of_this_machine_may_connect(server: Server, origin):
    link = await server.connect(origin=origin)
    await link.send("hello")
    assert await link.recv() == "hello"


@pytest.mark.parametrize(
    "origin", ["https://example.org", "null", "http://localhost.example.org", "http://127.0.0.1.nip.io", ""]
)
async def test_a_page_of_elsewhere_is_refused(server: Server, origin):
    status, answer = await server.refused(origin=origin)
    assert status == 403
    assert "may not do this" in answer["error"]
    assert "--allow-origin" in answer["try"]
    assert server.door.counters.refused == 1


async def test_an_origin_that_was_named_at_the_start_may_connect(start: Start):
    server = await start("--allow-origin", "https://example.org")
    await server.connect(origin="https://example.org")
    assert (await server.refused(origin="https://example.com"))[0] == 403


async def test_only_origin_keeps_even_this_machines_other_pages_out(start_chat: Start):
    server = await start_chat("--only-origin", "http://127.0.0.1:8001")
    await server.connect("/chat", origin="http://127.0.0.1:8001")
    await server.connect("/chat")
    assert (await server.refused("/chat", origin="http://127.0.0.1:8002"))[0] == 403


async def test_any_origin_is_the_mistake_that_it_says(start_chat: Start):
    server = await start_chat("--any-origin")
    await server.connect("/chat", origin="https://example.org")


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "[::1]:80", "LOCALHOST", "127.9.9.9:5"])
async def test_a_name_of_this_machine_is_fine_as_host(server: Server, host):
    assert (await server.get("/stats", Host=host))[0] == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "0.0.0.0", "", "a:b:c", "[::1"],
)
async def test_a_name_that_was_pointed_at_this_machine_gets_nothing(server: Server, host):
    for target in ("/stats", "/"):
        status, answer = await server.get(target, Host=host, Upgrade="websocket")
        assert (status, answer["error"]) == (403, f"this server is not {host}")


async def test_the_host_of_an_allowed_origin_is_fine_too_as_behind_a_proxy(start: Start):
    server = await start("--allow-origin", "https://hub.example.org:8443")
    assert (await server.get("/stats", Host="hub.example.org"))[0] == 200
    assert (await server.get("/stats", Host="other.example.org"))[0] == 403


@pytest.mark.parametrize(
    "lines", ["", "Host: a\r\nHost: localhost\r\n", "Host: localhost\r\nOrigin: a\r\nOrigin: b\r\n"]
)
async def test_no_host_two_hosts_and_two_origins_are_refused(server: Server, lines):
    bare = await server.bare()
    await bare.send(f"GET / HTTP/1.1\r\n{lines}\r\n".encode())
    assert (await bare.answer())[0] == 400


# ---------------------------------------------------------------- heads


async def test_a_plain_request_is_told_how_to_open_a_websocket(server: Server):
    status, answer = await server.get("/echo")
    assert status == 426
    assert answer["try"] == f"python -m websockets ws://127.0.0.1:{server.port}/echo"


async def test_a_path_that_does_not_exist_is_refused_with_those_that_do(start_chat: Start):
    server = await start_chat()
    expected = {"error": "there is nothing at /nope", "try": "/chat, /echo, /stats, /login"}
    assert await server.refused("/nope") == (404, expected)


@pytest.mark.parametrize(
    "fields",
    [{}, {"Sec_WebSocket_Key": "short", "Sec_WebSocket_Version": "13"}, {"Sec_WebSocket_Version": "8"}],
)
async def test_a_handshake_that_is_none_is_refused_as_json(server: Server, fields):
    status, answer = await server.get("/", Upgrade="websocket", Connection="Upgrade", **fields)
    assert status == 400
    assert answer["error"].startswith("Failed to open a WebSocket connection")


@pytest.mark.parametrize(
    "raw", [b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx", b"\0\xff", b"SSH-2.0"]
)
async def test_what_is_no_get_is_told_so_and_the_connection_closed(server: Server, raw):
    bare = await server.bare()
    await bare.send(raw)
    assert (await bare.answer())[0] == 405
    await works(server)


@pytest.mark.parametrize(
    "flood",
    [b"X: " + b"a" * 65_536, b"\r\n".join(b"X-%d: 1" % n for n in range(5000)), b"a" * (1 << 20)],
    ids=["64 KiB field", "5 000 fields", "1 MiB"],
)
async def test_a_flood_in_the_head_is_refused_and_the_client_can_read_why(server: Server, flood):
    other = await server.connect()
    bare = await server.bare()
    sending = asyncio.create_task(bare.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n" + flood + b"\r\n\r\n"))
    status, answer = await bare.answer()
    assert (status, answer["error"]) == (431, f"the head is larger than {MAX_HEAD} bytes")
    sending.cancel()
    await other.send("unharmed")
    assert await other.recv() == "unharmed"


@pytest.mark.parametrize("parts", [1, 10])
async def test_a_line_that_is_too_long_is_refused_also_in_a_head_that_is_not(server: Server, parts):
    bare = await server.bare()
    await bare.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ")
    for _ in range(parts):
        await bare.send(b"a" * (MAX_FIELD // parts + 1))
    await bare.send(b"\r\n\r\n")
    status, answer = await bare.answer()
    assert (status, answer["error"]) == (431, f"the head has a line of more than {MAX_FIELD} bytes")


async def test_a_head_that_trickles_in_is_told_so_and_cut_off(server: Server):
    other = await server.connect()
    bare = await server.bare()
    for byte in b"GET / HTTP/1.1\r\nHos":
        await bare.send(bytes([byte]))
    await until(lambda: any(each._head_bytes == 19 for each in server.door.shared.open))
    for connection in [each for each in server.door.shared.open if each not in server.inside]:
        connection.head_is_late()
    status, answer = await bare.answer()
    assert (status, answer["try"]) == (408, "send it in one go")
    await other.send("unharmed")
    assert await other.recv() == "unharmed"
    await until(lambda: len(server.door.shared.open) == 1)


async def test_silence_is_answered_with_silence_and_does_not_last(server: Server):
    bare = await server.bare()
    await until(lambda: server.door.shared.open)
    next(iter(server.door.shared.open)).head_is_late()
    assert await bare.read() == b""
    await until(lambda: not server.door.shared.open)


async def test_the_deadline_of_a_head_is_set_for_each_connection_and_ends_with_its_head(server: Server):
    bare = await server.bare()
    await until(lambda: server.door.shared.open)
    [connection] = server.door.shared.open
    timer = connection._head_timer
    assert timer is not None
    await bare.open()
    assert timer.cancelled()


async def test_slow_heads_by_the_hundred_leave_the_others_unharmed(server: Server):
    async def slow() -> Bare:
        bare = await server.bare()
        await bare.send(b"GET / HTTP/1.1\r\nX: ")
        return bare

    crowd = await asyncio.gather(*(slow() for _ in range(300)))
    await until(lambda: sum(each._head_bytes > 0 for each in server.door.shared.open) == 300)
    await works(server)
    for connection in list(server.door.shared.open):
        connection.head_is_late()
    assert {(await bare.answer())[0] for bare in crowd} == {408}


async def test_one_connection_too_many_is_turned_away_and_may_come_back(start: Start):
    server = await start("--most-connections", "2")
    first = await server.connect()
    await server.connect()
    assert await server.refused() == (503, {"error": "there are 2 connections already", "try": "later"})
    assert (await server.get("/stats"))[0] == 200
    await first.close()
    await until(lambda: len(server.inside) == 1)
    await server.connect()


# ---------------------------------------------------------------- the end


async def test_draining_sends_all_away_with_1012_a_tenth_at_a_time(start: Start):
    server = await start()
    links = [await server.connect() for _ in range(20)]
    door, steps = server.door, []
    everybody = server.inside

    async def sleep(seconds: float) -> None:
        steps.append(sum(each.ending is not None for each in everybody))
        status, answer = await server.refused()
        assert (status, answer["error"]) == (503, "this server ends")

    door.sleep = sleep
    await door.drain()
    assert steps == [2, 4, 6, 8, 10, 12, 14, 16, 18]
    for link in links:
        await link.wait_closed()
        assert farewell(link) == (1012, REASONS[1012])


async def test_a_client_that_does_not_answer_the_close_does_not_hold_up_the_end(start: Start, monkeypatch):
    monkeypatch.setattr(websocket, "LAST_S", 0.01)
    server = await start()
    bare = await (await server.bare()).open()
    await server.bare()
    await until(lambda: len(server.door.shared.open) == 2)
    await server.door.drain()
    await until(lambda: not server.door.shared.open)
    assert (await bare.closed()).code == 1012


async def test_a_bug_in_a_handler_is_1011_and_goes_into_the_log(caplog):
    async def broken(connection: websocket.Connection) -> None:
        raise ZeroDivisionError

    options = websocket_echo.arguments().parse_args([])
    door = websocket.Door(options, sockets={"*": broken}, pages={})
    async with websocket.serving(door, lifeline.listener("127.0.0.1", 0)) as url:
        async with websockets.connect(url) as link:
            await link.wait_closed()
        assert farewell(link)[0] == 1011
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("how", ["SIGTERM", "end of stdin"])
@pytest.mark.parametrize(("name", "target"), [("websocket_echo", "/"), ("websocket_chat", "/chat")])
async def test_a_server_that_is_asked_to_end_says_1012_and_ends_by_itself(process, name, target, how):
    running = process("-m", f"servers.{name}", "--port", "0", "--drain-s", "0.1")
    async with asyncio.timeout(PATIENCE_S), websockets.connect(running.url + target) as link:
        if how == "SIGTERM":
            running.popen.send_signal(signal.SIGTERM)
        else:
            running.popen.stdin.close()
            running.popen.stdin = None
        await link.wait_closed()
    assert farewell(link) == (1012, REASONS[1012])
    assert running.ended() == (0, "")


@pytest.mark.parametrize("module", [websocket_echo, websocket_chat])
@pytest.mark.parametrize(
    "arguments", [["--max-bytes", "0"], ["--ping-interval", "x"], ["--drain-s", "1.3"], ["--host", "0.0.0.0"]]
)
def test_a_wrong_argument_ends_the_start_with_a_sentence(module, capsys, arguments):
    with pytest.raises(SystemExit):
        module.arguments().parse_args(arguments)
    error = capsys.readouterr().err
    assert "expected" in error or "--public" in error


def test_every_reason_fits_into_a_close_frame():
    assert all(len(reason.encode()) <= 123 for reason in REASONS.values())
