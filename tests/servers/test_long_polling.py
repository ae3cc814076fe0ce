"""Long polling over real sockets: who waits, what ends the wait, and that nobody waits for nothing."""

import asyncio
import json
import signal
import socket
import struct
import urllib.request

import pytest

from servers import long_polling
from servers.core.board import wait_seconds
from servers.core.http import Refusal
from tests.servers.conftest import Running, Start, until


def request(target: str, method: str = "GET") -> bytes:
    return f"{method} {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


async def test_a_parked_request_is_answered_by_the_next_message(long: Running):
    position = await long.say("one")
    parked = asyncio.create_task(long.get(since=position))
    await until(lambda: long.waiting == 1)
    newest = await long.say("two")
    assert await parked == (
        200,
        {"messages": [{"id": newest, "event": "message", "data": "two"}], "position": newest},
    )
    assert long.waiting == 0


async def test_a_reader_that_is_behind_does_not_wait(long: Running):
    position = await long.say("one")
    await long.say("two", "three")
    status, answer = await long.get(since=position, wait=30)
    assert [message["data"] for message in answer["messages"]] == ["two", "three"]


@pytest.mark.parametrize("wait", ["0", "0.01", "1e-3", "0.0"])
async def test_when_the_time_is_over_the_answer_is_empty_with_the_same_position(long: Running, wait):
    position = await long.say("one")
    assert await long.get(since=position, wait=wait) == (200, {"messages": [], "position": position})


async def test_following_from_answer_to_answer_loses_nothing_however_the_messages_fall(long: Running):
    position = (await long.get())[1]["position"]
    seen = []

    async def follow() -> None:
        nonlocal position
        while len(seen) < 200:
            _, answer = await long.get(since=position, wait=30)
            seen.extend(message["data"] for message in answer["messages"])
            position = answer["position"]

    follower = asyncio.create_task(follow())
    for number in range(200):
        await long.say(number)
    await follower
    assert seen == list(range(200))


async def test_without_a_position_the_answer_is_what_there_is_at_once(long: Running):
    status, empty = await long.get()
    assert (status, empty["messages"]) == (200, [])
    await long.say("one")
    assert len((await long.get())[1]["messages"]) == 1


async def test_an_empty_channel_can_be_waited_on_without_a_position(long: Running):
    parked = asyncio.create_task(long.get(wait=30))
    await until(lambda: long.waiting == 1)
    await long.say("first")
    assert [message["data"] for message in (await parked)[1]["messages"]] == ["first"]


async def test_a_message_in_one_channel_does_not_wake_another(long: Running):
    main = asyncio.create_task(long.get(wait=30))
    other = asyncio.create_task(long.get(wait=30, channel="other"))
    await until(lambda: long.waiting == 2)
    await long.say("for the other", channel="other")
    assert len((await other)[1]["messages"]) == 1
    assert long.waiting == 1
    assert not main.done()
    main.cancel()


async def test_a_thousand_parked_requests_are_all_answered_by_one_message(long: Running):
    position = await long.say("one")
    wires = await asyncio.gather(
        *(long.wire(request(f"/messages?since={position}&wait=30")) for _ in range(1000))
    )
    await until(lambda: long.waiting == 1000)
    newest = await long.say("two")
    for wire in wires:
        status, _, body = await wire.answer()
        assert status == 200
        assert json.loads(body)["position"] == newest
    assert (await long.get("/stats"))[1]["waiting"] == 0
    assert long.board.counters.most_waiting == 1000


@pytest.mark.parametrize("how", ["end", "reset"])
async def test_a_client_that_goes_away_frees_its_slot_at_once_and_the_others_stay(long: Running, how):
    position = await long.say("one")
    going, staying = [await long.wire(request(f"/messages?since={position}&wait=30")) for _ in range(2)]
    await until(lambda: long.waiting == 2)
    if how == "reset":
        sock = going.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        going.close()
    else:
        going.writer.close()
    await until(lambda: long.waiting == 1)
    assert long.board.channels.log("main").waiting == 1
    await long.say("two")
    assert (await staying.answer())[0] == 200


async def test_one_connection_carries_poll_after_poll(long: Running):
    position = await long.say("one")
    wire = await long.wire()
    for text in ("two", "three"):
        wire.send(request(f"/messages?since={position}&wait=30"))
        await until(lambda: long.waiting == 1)
        position = await long.say(text)
        status, fields, body = await wire.answer()
        assert (status, json.loads(body)["position"]) == (200, position)
        assert "close" not in fields.get("connection", "")


@pytest.mark.parametrize(
    "wait", ["", "x", "nan", "NaN", "-1", "-0.1", "inf", "-inf", "1e999", "1,5", "0x10", "[]"]
)
async def test_a_wait_that_is_no_number_of_seconds_is_refused(long: Running, wait):
    position = await long.say("one")
    status, answer = await long.get(since=position, wait=wait)
    assert status == 400
    assert answer["error"].endswith("is no number of seconds")


def test_a_request_is_held_for_25_s_if_it_does_not_say_and_for_30_s_at_most():
    assert wait_seconds(None, has_position=True) == 25
    assert wait_seconds(None, has_position=False) == 0
    assert [wait_seconds(text, True) for text in ("0", "7.5", "30", "31", "9" * 40)] == [0, 7.5, 30, 30, 30]
    with pytest.raises(Refusal, match="no number of seconds"):
        wait_seconds("soon", True)


async def test_a_wrong_position_does_not_wait(long: Running):
    position = await long.say("one")
    assert (await long.get(since=position + "1", wait=30))[0] == 400
    assert (await long.get(since="abc-1", wait=30))[0] == 410


async def test_a_parked_head_request_is_answered_without_a_body(long: Running):
    position = await long.say("one")
    wire = await long.wire(request(f"/messages?since={position}&wait=30", "HEAD"))
    await until(lambda: long.waiting == 1)
    await long.say("two")
    status, fields, body = await wire.answer("HEAD")
    assert (status, body) == (200, b"")
    assert int(fields["content-length"]) > 0
    wire.send(request("/stats"))
    assert (await wire.answer())[0] == 200


async def test_a_reader_whom_the_history_passes_while_parked_is_told_and_gets_a_snapshot(start: Start):
    server = await start(long_polling, "--keep", "2")
    position = await server.say("one")
    parked = asyncio.create_task(server.get(since=position, wait=30))
    await until(lambda: server.waiting == 1)
    log = server.board.channels.log("main")
    for text in ("two", "three", "four"):
        log.append("message", text)  # all before the reader's turn
    status, answer = await parked
    assert (status, answer["error"]) == (410, "too old")
    assert [message["data"] for message in answer["snapshot"]["messages"]] == ["three", "four"]


async def test_the_planned_error_comes_at_once_so_that_a_naive_loop_spins(long: Running):
    position = await long.say("one")
    await long.put_fault({"fault": "error"})
    for _ in range(20):
        assert (await long.get(since=position, wait=30))[0] == 500
    counters = (await long.get("/stats"))[1]
    assert (counters["requests"], counters["errors"]) == (20, 20)


def fetch(url: str) -> dict:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return json.load(answer)


@pytest.mark.parametrize("how", ["SIGTERM", "end of stdin"])
async def test_a_server_that_is_asked_to_end_answers_its_parked_requests_first(process, how):
    running = process("-m", "servers.long_polling")
    position = (await asyncio.to_thread(fetch, f"{running.url}/messages"))["position"]
    parked = [
        asyncio.create_task(asyncio.to_thread(fetch, f"{running.url}/messages?since={position}&wait=30"))
        for _ in range(3)
    ]
    while (await asyncio.to_thread(fetch, f"{running.url}/stats"))["waiting"] < 3:
        pass
    if how == "SIGTERM":
        running.popen.send_signal(signal.SIGTERM)
    else:
        running.popen.stdin.close()
        running.popen.stdin = None
    assert [await each for each in parked] == 3 * [{"messages": [], "position": position}]
    assert running.ended() == (0, "")
