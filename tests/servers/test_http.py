"""The front door: what a client may send, what it is told if it may not, and that others do not notice."""

import asyncio
import contextlib
import json
import socket
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from servers import short_polling
from servers.core import connection, http, lifeline
from tests.servers.conftest import PATIENCE_S, Running, Start, Wire, until

LARGEST = 64 * 1024


def head(method: str = "GET", target: str = "/messages", **fields: object) -> bytes:
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in {"Host": "localhost", **fields}.items()]
    return "\r\n".join([f"{method} {target} HTTP/1.1", *lines, "", ""]).encode()


def problem(body: bytes) -> str:
    answer = json.loads(body)
    assert answer["try"], "no advice"
    return str(answer["error"])


@asynccontextmanager
async def with_a_parked_reader(server: Running) -> AsyncIterator[None]:
    """Whatever is done inside must leave another client's long poll, and the next request, unharmed."""
    position = await server.say("before")
    others = await server.wire(head(target=f"/messages?since={position}&wait=30"))
    await until(lambda: server.waiting == 1)
    yield
    assert server.waiting == 1
    await server.say("after")
    status, _, body = await others.answer()
    assert (status, json.loads(body)["messages"][0]["data"]) == (200, "after")


# ---------------------------------------------------------------- bodies


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "not JSON"),
        (b"hello", "not JSON"),
        (b'{"data": 1', "not JSON"),
        (b'{"data": 1} x', "not JSON"),
        (b'\xef\xbb\xbf{"data": 1}', "not JSON"),
        (b'{"data": NaN}', "NaN"),
        (b'{"data": -Infinity}', "Infinity"),
        (b'{"data": ' + b"9" * 5000 + b"}", "not JSON"),
        (b'{"data": 1e999}', "cannot be passed on"),
        (b'{"data": "\\ud800"}', "cannot be passed on"),
        (b'{"data": "\xff"}', "not UTF-8 at byte 10"),
        ('{"data": "x"}'.encode("utf-16"), "not UTF-8"),
        (b'[{"data": 1}]', "expected a JSON object, got a list"),
        (b'"data"', "got a text"),
        (b"null", "got null"),
        (b"12", "got a number"),
        (b"true", "got true or false"),
        (b"{}", 'no "data"'),
        (b'{"Data": 1}', 'no "data"'),
        (b'{"event": "", "data": 1}', "expected as event"),
        (b'{"event": 7, "data": 1}', "expected as event"),
        (b'{"event": null, "data": 1}', "expected as event"),
        (b'{"event": "a\\nb", "data": 1}', "expected as event"),
        (b'{"event": "\\ud800", "data": 1}', "expected as event"),
        (b'{"event": "' + b"e" * 65 + b'", "data": 1}', "expected as event"),
        (b'{"data": ' + b"[" * 101 + b"]" * 101 + b"}", "nested"),
        (b"[" * 60_000, "nested"),
        (b'{"data":' * 7_000 + b"1" + b"}" * 7_000, "nested"),
        (b'{"data": ' + b"[" * 32_000 + b"]" * 32_000 + b"}", "nested"),
    ],
)
async def test_a_body_that_is_no_message_is_refused_with_what_is_wrong(long: Running, body, error):
    async with with_a_parked_reader(long):
        status, answer = await long.post(body)
        assert status == 400
        assert error in answer["error"]
        assert answer["try"]
        assert len(json.dumps(answer)) < 1000
    assert long.board.counters.messages == 2


async def test_a_body_of_64_kib_is_taken_and_one_byte_more_is_not(long: Running):
    def of(size: int) -> bytes:
        return b'{"data": "' + b"x" * (size - 12) + b'"}'

    assert (await long.post(of(LARGEST)))[0] == 201
    async with with_a_parked_reader(long):
        status, answer = await long.post(of(LARGEST + 1))
        assert (status, answer["error"]) == (413, "the body is larger than 65536 bytes")


async def test_a_body_in_chunks_without_an_end_is_cut_off_at_the_limit(long: Running):
    async with with_a_parked_reader(long):
        wire = await long.wire(head("POST", Transfer_Encoding="chunked"))
        chunk = b"1000\r\n" + b"x" * 4096 + b"\r\n"
        answer = asyncio.create_task(wire.answer())
        while not answer.done():
            wire.send(chunk)
            await asyncio.sleep(0)
        status, _, body = answer.result()
        assert (status, problem(body)) == (413, "the body is larger than 65536 bytes")


async def test_a_client_that_sends_megabytes_before_it_reads_can_still_read_why_not(long: Running):
    async with with_a_parked_reader(long):
        wire = await long.wire(head("POST", Content_Length=20_000_000))
        wire.send(b"x" * 20_000_000)
        await asyncio.wait_for(wire.writer.drain(), PATIENCE_S)
        assert (await wire.answer())[0] == 413


async def test_a_body_that_is_compressed_is_not_blown_up(long: Running):
    bomb = zlib.compress(b'{"data": "' + b"x" * 10_000_000 + b'"}')
    async with with_a_parked_reader(long):
        wire = await long.wire(head("POST", Content_Length=len(bomb), Content_Encoding="deflate") + bomb)
        status, _, body = await wire.answer()
        assert (status, problem(body)) == (415, "cannot read Content-Encoding: deflate")


async def test_chunks_that_are_none_are_refused(long: Running):
    async with with_a_parked_reader(long):
        wire = await long.wire(head("POST", Transfer_Encoding="chunked") + b"no number\r\n")
        status, _, body = await wire.answer()
        assert status == 400
        assert problem(body)


async def test_a_body_that_does_not_come_is_not_waited_for_without_end(long: Running, monkeypatch):
    async with with_a_parked_reader(long):
        monkeypatch.setattr(http, "BODY_S", 0.05)
        monkeypatch.setattr(connection, "LINGER_S", 0.05)
        wire = await long.wire(head("POST", Content_Length=100) + b'{"da')
        status, _, body = await wire.answer()
        assert (status, problem(body)) == (408, "the body took longer than 0.05 s")
        assert await wire.rest() == b""
        monkeypatch.setattr(http, "BODY_S", 60)


async def test_a_client_that_leaves_in_the_middle_of_its_body_leaves_nothing(long: Running):
    async with with_a_parked_reader(long):
        wire = await long.wire(head("POST", Content_Length=100) + b'{"da')
        await asyncio.sleep(0)
        wire.close()
    assert (await long.get())[0] == 200


# ---------------------------------------------------------------- heads


@pytest.mark.parametrize(
    ("flood", "error"),
    [
        (head(X="x" * 65_536), "a line of more than 8192 bytes"),
        (head(**{"x" * 65_536: 1}), "a line of more than 8192 bytes"),
        (head(target="/messages?since=" + "x" * 65_536), "a line of more than 8192 bytes"),
        (head(**{f"X-{number}": "x" * 80 for number in range(800)}), "more than 100 fields"),
        (head(**{f"X-{number}": "" for number in range(100)}), "more than 100 fields"),
        (head(**{f"X-{number}": "x" * 7000 for number in range(9)}), "larger than 16384 bytes together"),
        (head(Cookie="x" * 8000, Cookie2="x" * 8000, Cookie3="x" * 8000), "larger than 16384 bytes together"),
    ],
)
async def test_a_flood_of_header_fields_is_refused_and_the_client_can_read_why(long: Running, flood, error):
    async with with_a_parked_reader(long):
        wire = await long.wire(flood)
        status, _, body = await wire.answer()
        assert status == 431
        assert error in problem(body)


async def test_a_head_without_end_is_cut_off_although_the_client_never_stops_sending(long: Running):
    async with with_a_parked_reader(long):
        wire = await long.wire(b"GET /messages HTTP/1.1\r\nX: ")
        for _ in range(100):
            wire.send(b"x" * 65_536)
        assert (await wire.answer())[0] == 431
        assert await wire.rest() == b""


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 40 + b"\r\n\r\n",  # a TLS hello
        b"hello\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /messages HTTP/9.9\r\n\r\n",
        b"GET /messages HTTP/1.1\r\nno colon here\r\n\r\n",
        b"GET /messages HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",
        b"GET /messages HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        head("POST", Content_Length=5, Transfer_Encoding="chunked") + b"0\r\n\r\n",
        b"\x00" * 100_000,
        b"\r\n" * 5000 + b"x\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_told_so_and_the_connection_closed(long: Running, garbage):
    async with with_a_parked_reader(long):
        wire = await long.wire(garbage)
        status, fields, body = await wire.answer()
        assert 400 <= status < 500
        assert problem(body)
        assert await wire.rest() == b""


async def test_a_head_that_trickles_in_is_cut_off_and_one_that_is_complete_is_not(long: Running, monkeypatch):
    async with with_a_parked_reader(long):
        monkeypatch.setattr(connection, "HEAD_S", 0.05)
        wire = await long.wire(b"GET /messages HTT")
        with contextlib.suppress(
            ConnectionResetError
        ):  # on a busy machine, its bytes may not be read by then
            await wire.rest()  # comes to an end


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[connection.Connection]:
    """All connections that the server accepts from now on."""
    made: list[connection.Connection] = []

    class Watched(connection.Connection):
        def __init__(self, *given: object) -> None:
            super().__init__(*given)
            made.append(self)

    monkeypatch.setattr(http, "Connection", Watched)
    return made


async def test_a_late_head_is_told_so_and_silence_is_answered_with_silence(
    connections: list[connection.Connection], long: Running
):
    late = await long.wire(b"GET /messages HTT")
    await until(lambda: connections and connections[0].heard)
    silent = await long.wire()
    await until(lambda: len(connections) == 2)
    for each in connections:
        each.head_is_late()
    status, fields, body = await late.answer()
    assert (status, fields["connection"]) == (408, "close")
    assert problem(body) == "no complete request head in 10 s"
    assert await late.rest() == await silent.rest() == b""


async def test_many_slow_heads_leave_the_others_unharmed_and_all_end(
    connections: list[connection.Connection], long: Running
):
    async with with_a_parked_reader(long):
        before = len(connections)
        wires = [await long.wire(b"GET /messages HTTP/1.1\r\nX-") for _ in range(300)]
        await until(lambda: sum(each.heard for each in connections[before:]) == 300)
        assert (await long.get())[0] == 200
        for each in connections[before:]:
            if each.head_timer is not None:  # this one has sent no whole head
                each.head_is_late()
        for wire in wires:
            assert (await wire.answer())[0] == 408
            assert await wire.rest() == b""


# ---------------------------------------------------------------- methods, pages, connections


async def test_a_page_that_does_not_exist_is_refused_with_those_that_do(short: Running):
    for target in ("/", "/message", "/messages/", "/%2e%2e/etc/passwd"):
        status, answer = await short.get(target)
        assert (status, answer["try"]) == (404, "/fault, /messages, /stats")


@pytest.mark.parametrize(
    ("method", "target", "allowed"),
    [
        ("DELETE", "/messages", "GET, HEAD, OPTIONS, POST"),
        ("PUT", "/messages", "GET, HEAD, OPTIONS, POST"),
        ("TRACE", "/messages", "GET, HEAD, OPTIONS, POST"),
        ("POST", "/stats", "GET, HEAD, OPTIONS"),
        ("POST", "/fault", "GET, HEAD, OPTIONS, PUT"),
    ],
)
async def test_a_method_that_is_not_allowed_is_refused_with_those_that_are(
    short: Running, method, target, allowed
):
    async with short.session.request(method, short.url + target) as response:
        assert (response.status, response.headers["Allow"]) == (405, allowed)
        assert problem(await response.read()).endswith(f"does not take {method}")


async def test_options_says_what_is_allowed(short: Running):
    async with short.session.options(short.url + "/messages") as response:
        assert (response.status, response.headers["Allow"]) == (204, "GET, HEAD, OPTIONS, POST")
    async with short.session.options(short.url + "/nothing") as response:
        assert response.status == 404


async def test_head_tells_what_get_would_without_the_body(short: Running):
    await short.say("one")
    wire = await short.wire(head() + head("HEAD") + head(target="/stats"))
    _, of_get, body = await wire.answer()
    status, of_head, _ = await wire.answer("HEAD")
    for fields in (of_get, of_head):
        fields.pop("date")
    assert (status, of_head) == (200, of_get)
    assert int(of_head["content-length"]) == len(body)
    assert (await wire.answer())[0] == 200


async def test_requests_sent_together_are_answered_in_order_on_one_connection(short: Running):
    body = b'{"data": 1}'
    posts = [head("POST", f"/messages?channel={name}", Content_Length=len(body)) + body for name in "abc"]
    wire = await short.wire(b"".join(posts) + head(target="/nothing") + head(target="/stats"))
    answers = [await wire.answer() for _ in range(5)]
    assert [status for status, _, _ in answers] == [201, 201, 201, 404, 200]
    assert json.loads(answers[-1][2])["messages"] == 3


async def test_a_client_that_asks_to_close_is_answered_and_closed(short: Running):
    for request in (head(Connection="close"), b"GET /messages HTTP/1.0\r\n\r\n"):
        wire = await short.wire(request)
        assert (await wire.answer())[0] == 200
        assert await wire.rest() == b""


async def test_an_answer_that_nobody_takes_does_not_hold_its_connection(
    connections: list[connection.Connection], short: Running, monkeypatch
):
    log = short.board.channels.log("main")
    for _ in range(130):
        log.append("message", "x" * 60_000)  # 8 MB: more than the kernel keeps for one connection
    monkeypatch.setattr(http, "TAKE_S", 0.1)
    with socket.socket() as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.setblocking(False)
        await asyncio.get_running_loop().sock_connect(lazy, ("127.0.0.1", short.port))
        await asyncio.get_running_loop().sock_sendall(lazy, head())
        await until(lambda: short.board.counters.requests == 1)
        await until(lambda: connections[0].transport is None)
    assert short.waiting == 0


# ---------------------------------------------------------------- pages of other origins

LOCAL = [
    "http://localhost",
    "http://localhost:8888",
    "https://127.0.0.1:1",
    "http://127.5.5.5:80",
    "http://[::1]:9",
]
FOREIGN = [
    "https://example.org",
    "null",
    "http://localhost.example.org",
    "http://127.0.0.1.example.org",
    "http://localhost:80@example.org",
    "http://localhost:80/x",
    "ftp://localhost",
    "http://LOCALHOST.",
    "http://192.168.0.1:8888",
    "file://",
]


def cors(response: aiohttp.ClientResponse) -> str | None:
    return response.headers.get("Access-Control-Allow-Origin")


@pytest.mark.parametrize("origin", LOCAL)
async def test_a_page_of_this_machine_may_read_and_write(short: Running, origin):
    headers = {"Origin": origin}
    async with short.session.get(short.url + "/messages", headers=headers) as response:
        assert (response.status, cors(response), response.headers["Vary"]) == (200, origin, "Origin")
        assert "ETag" in response.headers["Access-Control-Expose-Headers"]
    async with short.session.post(short.url + "/messages", headers=headers, json={"data": 1}) as response:
        assert (response.status, cors(response)) == (201, origin)
    async with short.session.get(short.url + "/nothing", headers=headers) as response:
        assert (response.status, cors(response)) == (404, origin)


@pytest.mark.parametrize("origin", FOREIGN)
async def test_a_page_of_elsewhere_may_not_write_and_its_browser_will_not_let_it_read(short: Running, origin):
    headers = {"Origin": origin}
    async with short.session.get(short.url + "/messages", headers=headers) as response:
        assert (response.status, cors(response), response.headers["Vary"]) == (200, None, "Origin")
    for method, target in (("POST", "/messages"), ("PUT", "/fault"), ("OPTIONS", "/messages")):
        async with short.session.request(
            method, short.url + target, headers=headers, json={"data": 1}
        ) as response:
            assert (response.status, cors(response)) == (403, None)
            assert "may not do this" in problem(await response.read())
    assert short.board.counters.messages == 0


async def test_an_origin_that_was_named_at_the_start_may_do_what_local_ones_may(start: Start):
    server = await start(
        short_polling, "--allow-origin", "https://hub.example.org", "--allow-origin", "http://b"
    )
    for origin, status in (("https://hub.example.org", 201), ("http://b", 201), ("http://c", 403)):
        assert (await server.post({"data": 1}, headers={"Origin": origin}))[0] == status


async def test_a_browser_that_asks_first_is_told_methods_and_headers(short: Running):
    headers = {
        "Origin": "http://localhost:8888",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,if-none-match",
    }
    async with short.session.options(short.url + "/messages", headers=headers) as response:
        assert response.status == 204
        assert cors(response) == "http://localhost:8888"
        assert "POST" in response.headers["Access-Control-Allow-Methods"]
        allowed = response.headers["Access-Control-Allow-Headers"].lower()
        assert "content-type" in allowed
        assert "if-none-match" in allowed


def test_the_programs_own_origin_rule_is_the_same_for_every_server():
    assert all(http.is_allowed(origin) for origin in LOCAL)
    assert not any(http.is_allowed(origin) for origin in FOREIGN)
    assert http.is_allowed("https://example.org", ["https://example.org"])


# ---------------------------------------------------------------- a server with a bug, and the end


@pytest.mark.parametrize(
    ("value", "levels"), [(1, 0), ("[[", 0), ([], 1), ([{}], 2), ({"a": [1, {"b": []}]}, 4)]
)
def test_depth_counts_lists_and_objects_inside_each_other(value, levels):
    assert http.depth(value) == levels


@asynccontextmanager
async def serving(handler: Callable, at_the_end: Callable | None = None) -> AsyncIterator[tuple[str, Wire]]:
    app = http.application()
    app.router.add_get("/", handler)
    if at_the_end is not None:
        app.on_shutdown.append(at_the_end)
    async with http.serving(app, lifeline.listener("127.0.0.1", 0)) as url:
        host, port = url.removeprefix("http://").split(":")
        wire = Wire(*await asyncio.open_connection(host, int(port)))
        yield url, wire


async def test_a_bug_in_a_handler_is_one_answer_and_goes_into_the_log(caplog):
    async def broken(request: web.Request) -> web.Response:
        raise KeyError("a secret of the server's")

    async with serving(broken) as (_, wire):
        for _ in range(2):
            wire.send(head(target="/"))
            status, _, body = await wire.answer()
            assert (status, problem(body)) == (500, "the server has a bug")
            assert b"secret" not in body
    assert "a secret of the server's" in caplog.text


async def test_a_bug_in_the_middle_of_a_stream_closes_it_so_that_it_cannot_look_complete():
    async def broken(request: web.Request) -> web.StreamResponse:
        stream = web.StreamResponse()
        await stream.prepare(request)
        await stream.write(b"half")
        raise KeyError("a bug")

    async with serving(broken) as (_, wire):
        wire.send(head(target="/"))
        rest = await wire.rest()
        assert b"half" in rest
        assert b"500" not in rest
        assert b"\r\n0\r\n\r\n" not in rest


async def test_the_end_lets_a_held_request_finish_and_says_that_the_connection_closes():
    entered, release = asyncio.Event(), asyncio.Event()

    async def held(request: web.Request) -> web.Response:
        entered.set()
        await release.wait()
        return http.reply({"done": True})

    async def let_go(app: web.Application) -> None:
        release.set()

    async with serving(held, let_go) as (_, wire):
        wire.send(head(target="/"))
        await entered.wait()
    status, fields, body = await wire.answer()
    assert (status, json.loads(body), fields["connection"]) == (200, {"done": True}, "close")
    assert await wire.rest() == b""


async def test_the_end_cuts_off_a_request_that_does_not_finish(monkeypatch):
    entered = asyncio.Event()

    async def endless(request: web.Request) -> web.Response:
        entered.set()
        await asyncio.Event().wait()
        return http.reply({})

    monkeypatch.setattr(http, "ENDING_S", 0.05)
    async with serving(endless) as (_, wire):
        wire.send(head(target="/"))
        await entered.wait()
    assert await wire.rest() == b""


async def test_the_end_does_not_wait_for_idle_connections():
    async def hello(request: web.Request) -> web.Response:
        return http.reply({})

    async with asyncio.timeout(PATIENCE_S):
        async with serving(hello) as (_, wire):
            wire.send(head(target="/"))
            assert (await wire.answer())[0] == 200
