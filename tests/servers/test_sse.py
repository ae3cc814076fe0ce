"""Server-Sent Events over real sockets: what a stream brings, how it resumes, and what cannot break it."""

import asyncio
import json
import re
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
import requests
import sseclient

from servers import sse
from servers.core import connection
from tests.servers.conftest import PATIENCE_S, Running, until
from tests.servers.streams import Chunks, Reader, counters, listen, request, run

Start = Callable[..., Awaitable[Running]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """start("--keep", "3", …) runs the server in this loop until the test ends."""
    async with AsyncExitStack() as stack:

        async def begin(*arguments: str) -> Running:
            return (await run(stack, sse, *arguments))[0]

        yield begin


@pytest.fixture
async def server(start: Start) -> Running:
    return await start()


def problem(event) -> str:
    answer = json.loads(event.data)
    assert answer["try"], "no advice"
    return f"{answer['error']}: {answer['detail']}"


# ---------------------------------------------------------------- what a stream brings


async def test_an_event_reaches_the_listener_while_the_stream_stays_open(server: Running):
    reader = await listen(server)
    position = await server.say("hello")
    event = await reader.next()
    assert (event.type, event.data, event.last_event_id) == ("message", '"hello"', position)
    assert counters(server).open == 1


async def test_the_head_says_what_browsers_and_proxies_need(server: Running):
    wire = await server.wire(request(Origin="http://localhost:8888"))
    chunks = Chunks(wire)
    await chunks.next()
    lines = chunks.head.decode().lower().split("\r\n")
    assert lines[0] == "http/1.1 200 ok"
    for line in (
        "content-type: text/event-stream",
        "cache-control: no-cache",
        "x-accel-buffering: no",
        "transfer-encoding: chunked",
        "access-control-allow-origin: http://localhost:8888",
    ):
        assert line in lines
    assert not any(line.startswith(("content-length", "content-encoding")) for line in lines)


async def test_a_page_of_elsewhere_is_not_let_in_by_its_browser(server: Running):
    async with server.session.get(
        server.url + "/events", headers={"Origin": "https://example.org"}
    ) as response:
        assert "Access-Control-Allow-Origin" not in response.headers


async def test_each_event_is_one_chunk_that_leaves_at_once(server: Running):
    chunks = Chunks(await server.wire(request()))
    assert re.fullmatch(rb"retry: \d+\nid: \w+-0\n\n", await chunks.next())
    for text in ("one", "two", "three"):
        position = await server.say(text)
        assert await chunks.next() == f'event: message\nid: {position}\ndata: "{text}"\n\n'.encode()


async def test_without_a_position_comes_all_that_is_remembered_and_then_what_is_new(start: Start):
    server = await start("--keep", "2")
    await server.say("one", "two", "three")
    reader = await listen(server)
    await server.say("four")
    assert [json.loads(event.data) for event in await reader.take(3)] == ["two", "three", "four"]


async def test_each_event_has_its_type(server: Running):
    reader = await listen(server)
    for name in ("price", "score", "two words", "Ünïcode"):
        assert (await server.post({"event": name, "data": {"n": 1}}))[0] == 201
        assert (await reader.next()).type == name


async def test_no_value_can_break_out_of_its_line(server: Running):
    reader = await listen(server)
    nasty = "a\nb\rc\r\nd\0e\u2028f\u0085g\x7f\n\nid: 1\n\nevent: x\ndata: y\n\n: \ud83d\ude00"
    nasty = nasty.encode("utf-16", "surrogatepass").decode("utf-16")
    for value in (nasty, {nasty: [nasty]}, "", "\n\n", None, 1e100):
        position = await server.say(value)
        event = await reader.next()
        assert (event.type, json.loads(event.data), event.last_event_id) == ("message", value, position)


@pytest.mark.parametrize("name", ["a\nb", "a\rb", "a\0b", "\n", "\u2028", "", " " * 65, 7, None])
async def test_an_event_name_that_could_break_the_stream_is_refused(server: Running, name):
    status, answer = await server.post({"event": name, "data": 1})
    assert (status, answer["try"]) == (400, '{"event": "message", "data": "hello"}')


@pytest.mark.parametrize("name", sse.RESERVED)
async def test_nobody_can_post_what_only_the_server_may_say(server: Running, name):
    status, answer = await server.post({"event": name, "data": 1})
    assert status == 400
    assert "server's own" in answer["error"]


async def test_a_thousand_streams_all_get_one_message(server: Running):
    readers = await asyncio.gather(*(listen(server) for _ in range(1000)))
    assert counters(server).open == 1000
    position = await server.say("to all")
    events = await asyncio.gather(*(reader.next() for reader in readers))
    assert {(event.data, event.last_event_id) for event in events} == {('"to all"', position)}
    for reader in readers:
        reader.close()
    await until(lambda: counters(server).open == 0)


async def test_channels_are_apart_from_each_other(server: Running):
    reader = await listen(server, channel="a")
    await server.say("elsewhere")
    position = await server.say("here", channel="a")
    event = await reader.next()
    assert (event.data, event.last_event_id) == ('"here"', position)


async def test_the_messages_can_be_polled_as_well(server: Running):
    first = await server.say("one")
    parked = asyncio.create_task(server.get(since=first, wait=30))
    await until(lambda: server.waiting == 1)
    second = await server.say("two")
    status, answer = await parked
    assert (status, answer["position"]) == (200, second)
    reader = await listen(server, last_event_id=first)
    assert (await reader.next()).last_event_id == second


# ---------------------------------------------------------------- how long to wait, and signs of life


async def test_each_client_is_told_another_time_to_wait_between_1_and_10_s(start: Start):
    def waits(server: Running) -> Awaitable[list[int]]:
        async def one() -> int:
            reader = await listen(server)
            reader.close()
            assert reader.parser.retry_ms is not None
            return reader.parser.retry_ms

        return asyncio.gather(*(one() for _ in range(50)))

    drawn = await waits(await start("--seed", "7"))
    assert all(1000 <= wait <= 10_000 for wait in drawn)
    assert len(set(drawn)) > 40
    assert min(drawn) < 3000 < 8000 < max(drawn)
    assert sorted(await waits(await start("--seed", "7"))) == sorted(drawn)
    assert sorted(await waits(await start("--seed", "8"))) != sorted(drawn)


async def test_in_silence_comments_come_that_no_listener_sees(start: Start):
    server = await start("--heartbeat", "0.01")
    reader = await listen(server)
    while reader.raw.count(b":\n\n") < 3:
        await reader.more()
    position = await server.say("one")
    assert (await reader.next()).last_event_id == position
    assert counters(server).heartbeats >= 3


def test_the_heartbeat_is_15_s_if_not_told_otherwise():
    assert sse.arguments().parse_args([]).heartbeat == 15


# ---------------------------------------------------------------- resume


@pytest.mark.parametrize("by", ["header", "query"])
async def test_a_client_that_comes_back_gets_what_it_missed_and_nothing_twice(server: Running, by):
    first = await listen(server)
    await server.say("one", "two")
    place = (await first.take(2))[-1].last_event_id
    first.close()
    await until(lambda: counters(server).open == 0)
    await server.say("three", "four")
    if by == "header":
        second = await listen(server, last_event_id=place)
    else:
        second = await listen(server, f"/events?last_event_id={place}")
    await server.say("five")
    assert [json.loads(event.data) for event in await second.take(3)] == ["three", "four", "five"]
    assert counters(server).resumed == 1


async def test_the_header_wins_over_the_query_since_it_is_newer(server: Running):
    old = await server.say("one")
    new = await server.say("two")
    await server.say("three")
    response = await server.session.get(
        server.url + "/events", params={"last_event_id": old}, headers={"Last-Event-ID": new}
    )
    reader = await Reader(response).opened()
    assert json.loads((await reader.next()).data) == "three"


async def test_an_empty_position_is_none(server: Running):
    await server.say("one")
    reader = await listen(server, "/events?last_event_id=", last_event_id="")
    assert (await reader.next()).type == "message"


async def test_a_client_knows_its_place_before_anything_has_happened(server: Running):
    reader = await listen(server)
    place = reader.parser.last_event_id
    assert place == (await server.get())[1]["position"]
    reader.close()
    await server.say("while it was away")
    again = await listen(server, last_event_id=place)
    assert f"id: {place}\n\n".encode() in again.raw.partition(b"event:")[0]
    assert json.loads((await again.next()).data) == "while it was away"


async def test_cut_anywhere_and_resumed_again_and_again_it_loses_nothing(server: Running):
    seen: list[int] = []
    place = None

    async def follow() -> None:
        nonlocal place
        while len(seen) < 300:
            reader = await listen(server, last_event_id=place)
            for _ in range(1 + len(seen) % 7):
                event = await reader.next()
                place = event.last_event_id
                seen.append(json.loads(event.data))
                if len(seen) == 300:
                    break
            reader.close()

    follower = asyncio.create_task(follow())
    for number in range(300):
        await server.say(number)
    await follower
    assert seen == list(range(300))


async def test_a_position_that_is_too_old_is_told_as_an_event_then_comes_a_snapshot_then_live(start: Start):
    server = await start("--keep", "2")
    old = await server.say("one")
    newest = await server.say("two", "three", "four")
    reader = await listen(server, last_event_id=old)
    told, snapshot = await reader.take(2)
    assert told.type == "too old"
    assert problem(told).startswith("too old: the history begins after")
    assert (snapshot.type, snapshot.last_event_id) == ("snapshot", newest)
    content = json.loads(snapshot.data)
    assert content == (await server.get())[1]
    assert [message["data"] for message in content["messages"]] == ["three", "four"]
    live = await server.say("five")
    assert (await reader.next()).last_event_id == live
    assert counters(server).gaps == 1


async def test_a_client_that_is_cut_before_its_snapshot_came_is_told_again(start: Start):
    server = await start("--keep", "2")
    old = await server.say("one")
    await server.say("two", "three", "four")
    told = await (await listen(server, last_event_id=old)).next()
    again = await (await listen(server, last_event_id=told.last_event_id)).take(2)
    assert [event.type for event in again] == ["too old", "snapshot"]


async def test_a_position_from_before_a_restart_is_of_another_epoch(start: Start):
    before, after = await start(), await start()
    position = await before.say("one", "two")
    await after.say("new")
    reader = await listen(after, last_event_id=position)
    told, snapshot = await reader.take(2)
    assert told.type == "other epoch"
    assert "restarted" in problem(told)
    assert [message["data"] for message in json.loads(snapshot.data)["messages"]] == ["new"]
    live = await after.say("newer")
    assert (await reader.next()).last_event_id == live


async def test_after_a_restart_without_messages_the_snapshot_is_empty_and_can_be_resumed_from(start: Start):
    server = await start()
    reader = await listen(server, last_event_id="abc-7")
    _, snapshot = await reader.take(2)
    assert json.loads(snapshot.data)["messages"] == []
    reader.close()
    await server.say("one")
    again = await listen(server, last_event_id=snapshot.last_event_id)
    assert (await again.next()).type == "message"


@pytest.mark.parametrize(
    "position", ["x", "-1", "1", "a-b", "e-1-2", "'; drop", "x" * 5000, "e-99999999999999999999", "é-1", "🙂"]
)
async def test_what_is_no_position_is_told_as_an_event_too_for_the_page_cannot_change_it(
    server: Running, position
):
    await server.say("one")
    reader = await listen(server, last_event_id=position)
    told, snapshot = await reader.take(2)
    assert (told.type, snapshot.type) == ("bad position", "snapshot")
    assert "expected a position like" in problem(told)
    assert len(told.data) < 500
    live = await server.say("two")
    assert (await reader.next()).last_event_id == live


@pytest.mark.parametrize("text", ["a%0Adata: x%0A%0A", "a%0D%0A%0D%0A", "%00", "%FF%FE", "%E2%80%A8"])
async def test_a_position_in_the_query_cannot_break_out_of_its_line(server: Running, text):
    chunks = Chunks(await server.wire(request(f"/events?last_event_id={text}".replace(" ", "%20"))))
    blocks = [await chunks.next() for _ in range(2)]
    assert all(
        block.count(b"\n\n") == 1 and block.endswith(b"\n\n") and b"\r" not in block for block in blocks
    )
    assert b"event: bad position\n" in blocks[0]


async def test_bytes_in_the_header_that_are_not_utf_8_are_no_position(server: Running):
    chunks = Chunks(await server.wire(request().replace(b"\r\n\r\n", b"\r\nLast-Event-ID: \xff\xfe\r\n\r\n")))
    blocks = [await chunks.next() for _ in range(2)]
    assert b"event: bad position\n" in blocks[0]


async def test_a_position_ahead_of_the_newest_is_bad(server: Running):
    position = await server.say("one")
    told = await (await listen(server, last_event_id=position + "0")).next()
    assert told.type == "bad position"
    assert "ahead of the newest" in problem(told)


async def test_a_position_of_another_channel_is_of_another_epoch(server: Running):
    position = await server.say("one", channel="b")
    told = await (await listen(server, last_event_id=position, channel="a")).next()
    assert told.type == "other epoch"


async def test_a_large_snapshot_comes_whole_and_in_pieces(server: Running):
    texts = [f"{number}" + "x" * 60_000 for number in range(100)]
    log = server.board.channels.log("main")
    for text in texts:
        log.append("message", text)
    reader = await listen(server, last_event_id="old-1")
    _, snapshot = await reader.take(2)
    assert [message["data"] for message in json.loads(snapshot.data)["messages"]] == texts


# ---------------------------------------------------------------- limits, methods, bad input


async def test_when_too_many_streams_are_open_the_next_is_told_to_come_back_and_not_shut_out(start: Start):
    server = await start("--most-streams", "2")
    first, second = await listen(server), await listen(server)
    place = await server.say("one")
    third = await listen(server, last_event_id=place)
    (busy,) = await third.rest()
    assert (busy.type, busy.last_event_id) == ("busy", place)
    assert problem(busy) == "busy: there are 2 streams already"
    assert third.parser.retry_ms >= 10_000
    fresh = await listen(server, last_event_id="what\tever")
    assert [event.last_event_id for event in await fresh.rest()] == [""]
    first.close()
    await until(lambda: counters(server).open == 1)
    assert (await listen(server)).response.headers["Content-Type"] == "text/event-stream"
    assert (await second.next()).last_event_id == place
    assert (counters(server).busy, counters(server).most_open) == (2, 2)


async def test_head_tells_what_get_would_and_opens_nothing(server: Running):
    async with server.session.head(server.url + "/events") as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/event-stream"
        assert response.headers["Cache-Control"] == "no-cache"
        assert await response.read() == b""
    assert counters(server).opened == 0


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_a_method_that_is_not_allowed_is_refused_with_those_that_are(server: Running, method):
    async with server.session.request(method, server.url + "/events") as response:
        assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")


async def test_a_browser_that_asks_first_may_send_last_event_id(server: Running):
    headers = {
        "Origin": "http://localhost:1",
        "Access-Control-Request-Headers": "last-event-id,cache-control",
    }
    async with server.session.options(server.url + "/events", headers=headers) as response:
        assert (response.status, response.headers["Allow"]) == (204, "GET, HEAD, OPTIONS")
        allowed = response.headers["Access-Control-Allow-Headers"].lower()
        assert "last-event-id" in allowed
        assert "cache-control" in allowed


async def test_an_http_1_0_client_gets_the_stream_without_chunks(server: Running):
    wire = await server.wire(b"GET /events HTTP/1.0\r\n\r\n")
    head = await wire.reader.readuntil(b"\r\n\r\n")
    assert b"chunked" not in head
    assert (await wire.reader.readuntil(b"\n\n")).startswith(b"retry: ")
    position = await server.say("one")
    assert f"id: {position}\n".encode() in await wire.reader.readuntil(b"\n\n")


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        (b'{"data": "' + b"x" * 65_536 + b'"}', 413, "larger than 65536 bytes"),
        (b'{"data": "\xff"}', 400, "not UTF-8"),
        (b"hello", 400, "not JSON"),
        (b"[1]", 400, "expected a JSON object"),
        (b'{"event": 1, "data": 1}', 400, "expected as event"),
    ],
)
async def test_a_bad_message_is_refused_and_no_listener_notices(server: Running, body, status, error):
    reader = await listen(server)
    answer = await server.post(body)
    assert answer[0] == status
    assert error in answer[1]["error"]
    position = await server.say("good")
    assert (await reader.next()).last_event_id == position


async def test_a_flood_in_the_head_is_refused_and_no_listener_notices(server: Running):
    reader = await listen(server)
    for fields in (
        {"X": "x" * 65_536},
        {"Last_Event_ID": "1" * 65_536},
        {f"X-{n}": "x" * 4000 for n in range(16)},
    ):
        wire = await server.wire(request(**fields))
        status, _, body = await wire.answer()
        assert status == 431
        assert json.loads(body)["try"]
    position = await server.say("good")
    assert (await reader.next()).last_event_id == position


async def test_a_head_that_trickles_in_is_cut_off_and_no_listener_notices(server: Running, monkeypatch):
    reader = await listen(server)
    monkeypatch.setattr(connection, "HEAD_S", 0.05)
    slow = await server.wire(request()[:-2])
    assert b"408" in await slow.rest()
    monkeypatch.undo()
    position = await server.say("good")
    assert (await reader.next()).last_event_id == position


async def test_a_name_that_is_no_channel_is_refused(server: Running):
    status, answer = await server.get("/events", channel="a b")
    assert status == 400
    assert "is no channel" in answer["error"]


@pytest.mark.parametrize("how", ["end", "reset", "half"])
async def test_a_client_that_goes_away_frees_its_stream_at_once(server: Running, how):
    wire = await server.wire(request())
    await Chunks(wire).next()
    if how == "reset":
        sock = wire.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        wire.close()
    elif how == "half":
        wire.writer.write_eof()
    else:
        wire.writer.close()
    await until(lambda: counters(server).open == 0)
    assert server.board.channels.log("main").followers == 0


@pytest.mark.parametrize(
    "arguments",
    [["--keep", "0"], ["--heartbeat", "0"], ["--heartbeat", "nan"], ["--policy", "no"], ["--unread", "-1"]],
)
async def test_a_wrong_argument_ends_the_start_with_a_sentence(start: Start, capsys, arguments):
    with pytest.raises(SystemExit):
        await start(*arguments)
    assert "error: argument --" in capsys.readouterr().err


# ---------------------------------------------------------------- planned failures


@pytest.mark.parametrize("status", sse.STATUSES)
async def test_the_planned_status_comes_in_place_of_a_stream_until_it_is_taken_back(server: Running, status):
    assert (await server.put_fault({"status": status}))[1]["status"] == status
    async with server.session.get(server.url + "/events") as response:
        assert response.status == status
        assert ("Retry-After" in response.headers) == (status in (429, 503))
        assert "text/event-stream" not in response.headers.get("Content-Type", "")
    assert (await server.get())[0] == 200
    await server.put_fault({"status": None})
    (await listen(server)).close()


async def test_the_planned_content_type_is_the_only_thing_that_is_wrong(server: Running):
    await server.put_fault({"content_type": "text/plain"})
    reader = await listen(server)
    assert reader.response.headers["Content-Type"] == "text/plain"
    await server.say("one")
    assert (await reader.next()).data == '"one"'


async def test_an_unchunked_stream_ends_with_its_connection(server: Running):
    await server.put_fault({"unchunked": True, "cut_after": 1})
    wire = await server.wire(request())
    head = (await wire.reader.readuntil(b"\r\n\r\n")).lower()
    assert b"transfer-encoding" not in head
    assert b"content-length" not in head
    assert b"connection: close" in head
    await server.say("one")
    assert (await wire.rest()).endswith(b'data: "one"\n\n')


async def test_a_stream_is_cut_after_as_many_events_as_planned_and_can_be_resumed(server: Running):
    await server.put_fault({"cut_after": 2})
    await server.say(*range(5))
    place, seen = None, []
    for _ in range(3):
        reader = await listen(server, last_event_id=place)
        if len(seen) == 4:
            seen += [json.loads((await reader.next()).data)]
            break
        events = await reader.rest()
        assert len(events) == 2
        place = events[-1].last_event_id
        seen += [json.loads(event.data) for event in events]
    assert seen == list(range(5))


async def test_a_fault_changes_what_it_names_and_leaves_the_rest(server: Running):
    await server.put_fault({"cut_after": 2})
    assert await server.put_fault({"status": 404}) == (
        200,
        {"status": 404, "content_type": None, "unchunked": False, "cut_after": 2},
    )
    assert (await server.get("/fault"))[1]["cut_after"] == 2


@pytest.mark.parametrize(
    "change",
    [
        [],
        {"fault": "error"},
        {"status": 200},
        {"status": True},
        {"status": 404.0},
        {"status": "404"},
        {"content_type": "a/b\r\nX: y"},
        {"content_type": 1},
        {"unchunked": 1},
        {"unchunked": None},
        {"cut_after": -1},
        {"cut_after": True},
        {"cut_after": 1.5},
    ],
)
async def test_a_fault_that_does_not_exist_is_refused_and_changes_nothing(server: Running, change):
    status, answer = await server.put_fault(change)
    assert status == 400
    assert answer["error"].startswith("expected")
    assert set((await server.get("/fault"))[1].values()) == {None, False}


async def test_the_counters_tell_streams_and_messages(server: Running):
    reader = await listen(server)
    await server.say("one")
    await reader.next()
    stats = (await server.get("/stats"))[1]
    assert (stats["open"], stats["opened"], stats["events"], stats["messages"]) == (1, 1, 1, 1)


# ---------------------------------------------------------------- the end, and clients of others


async def test_at_the_end_of_the_server_streams_end_in_order(server: Running):
    chunks = Chunks(await server.wire(request()))
    await chunks.next()
    position = await server.say("last")
    server.board.channels.close()
    assert position.encode() in await chunks.next()
    assert await chunks.next() == b""
    await chunks.wire.rest()


@pytest.mark.parametrize("how", ["SIGTERM", "end of stdin"])
def test_a_server_that_is_asked_to_end_ends_its_streams_first(process, how):
    running = process("-m", "servers.sse", "--port", "0")
    assert list(running.ready)[:2] == ["ready", "url"]
    with requests.get(f"{running.url}/events", stream=True, timeout=PATIENCE_S) as response:
        body = response.iter_content(chunk_size=None)
        next(body)
        if how == "SIGTERM":
            running.popen.send_signal(signal.SIGTERM)
        else:
            running.popen.stdin.close()
            running.popen.stdin = None
        assert list(body) == []  # a last chunk came: requests would raise otherwise
    assert running.ended() == (0, "")


def test_sseclient_over_requests_reads_the_stream_and_resumes(process):
    url = process("-m", "servers.sse").url

    def say(text: str) -> str:
        return requests.post(f"{url}/messages", json={"data": text, "event": "price"}, timeout=60).json()[
            "id"
        ]

    with requests.get(f"{url}/events", stream=True, timeout=PATIENCE_S) as response:
        events = sseclient.SSEClient(response).events()
        position = say("one")
        event = next(events)
        assert (event.id, event.event, event.data) == (position, "price", '"one"')
    say("two")
    headers = {"Last-Event-ID": position}
    with requests.get(f"{url}/events", stream=True, headers=headers, timeout=PATIENCE_S) as response:
        assert next(sseclient.SSEClient(response).events()).data == '"two"'


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_shows_each_event_as_it_comes_and_resumes_by_header(process):
    url = process("-m", "servers.sse").url

    def curl(*more: str) -> subprocess.Popen:
        command = ["curl", "-sN", "--noproxy", "*", *more, f"{url}/events"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def post(text: str) -> str:
        return requests.post(f"{url}/messages", json={"data": text}, timeout=PATIENCE_S).json()["id"]

    def block(client: subprocess.Popen) -> list[str]:
        guard = threading.Timer(PATIENCE_S, client.kill)
        guard.start()
        try:
            return list(iter(lambda: client.stdout.readline().rstrip("\n"), ""))
        finally:
            guard.cancel()

    clients = [curl()]
    try:
        assert block(clients[0])[0].startswith("retry: ")
        position = post("one")
        assert block(clients[0]) == ["event: message", f"id: {position}", 'data: "one"']
        post("two")
        clients.append(curl("-H", f"Last-Event-ID: {position}"))
        block(clients[1])
        assert block(clients[1])[-1] == 'data: "two"'
    finally:
        for client in clients:
            client.kill()
            client.communicate()
