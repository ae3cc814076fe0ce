"""The same messages over four transports: what is counted is what went over the wire, and nothing is lost."""

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np
import pytest

from labsupport.measure import idle, transports
from labsupport.measure.sockets import LoadError
from labsupport.measure.transports import SERVERS, TransportRun, arrivals, carry, text, through_a_cut
from labsupport.processes import Middlebox, Server
from labsupport.wire.captures import Capture
from labsupport.wire.frames import Frame, Opcode, encode_frame
from labsupport.wire.handshake import build_request

SECONDS = 1.5
HEADERS = {"X-Filler": "x" * 500}
Places = dict[str, tuple[Server, Middlebox]]


@pytest.fixture(scope="module")
def places() -> Iterator[Places]:
    with ExitStack() as stack:
        servers = {name: stack.enter_context(Server(module)) for name, module in SERVERS.items()}
        yield {
            name: (server, stack.enter_context(Middlebox("middlebox", "--target", server.url)))
            for name, server in servers.items()
        }


@pytest.fixture
async def fresh(places: Places) -> Places:
    for _, box in places.values():
        box.clear()
        box.forget_recording()
    return places


def test_every_text_has_a_hundred_bytes_and_its_own_number():
    texts = [text(number) for number in (0, 7, 999_999)]
    assert [len(each.encode()) for each in texts] == [100, 100, 100]
    assert [int(each[:6]) for each in texts] == [0, 7, 999_999]


def test_arrivals_are_the_same_for_the_same_seed_sorted_and_as_many_as_the_rate_asks_for():
    one, same, other = (arrivals(50, 4.0, 10.0, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert all((np.diff(times) >= 0).all() and (times < 10).all() for times in one)
    assert abs(sum(map(len, one)) - 2_000) < 5 * np.sqrt(2_000)


async def test_held_connections_carry_each_message_without_a_request_and_polls_ask_on(fresh: Places):
    times = arrivals(3, 4.0, SECONDS, seed=5)
    work = [
        carry(name, server, box, arrivals_s=times, seconds=SECONDS, interval_s=0.1, headers=HEADERS, seed=5)
        for name, (server, box) in fresh.items()
    ]
    runs: dict[str, TransportRun] = {run.transport: run for run in await asyncio.gather(*work)}
    for run in runs.values():
        assert run.report
        assert run.messages == len(run.delays_s) == sum(map(len, times))
        assert (run.delays_s > 0).all()
        assert run.bytes_down >= 100 * run.messages
    for name in ("SSE", "WebSocket"):
        assert (runs[name].requests, runs[name].bytes_up) == (0, 0)
    long, short = runs["long polling"], runs["short polling"]
    assert 0 < long.requests <= long.messages  # an answer may bring two
    assert short.requests > 3 * SECONDS / 0.2
    for run in (long, short):  # each question carries the 500 bytes of HEADERS, and more
        assert run.bytes_up > 500 * (run.requests - run.readers)


async def test_the_bytes_are_those_that_the_middlebox_saw_and_the_opening_counts_apart(fresh: Places):
    server, box = fresh["SSE"]
    run = await carry("SSE", server, box, arrivals_s=[np.array([0.0, 0.1])], seconds=0.2)
    seen = Capture.from_recording(box.recording())
    assert (run.opening_up, run.opening_down + run.bytes_down) == (seen.bytes_up, seen.bytes_down)
    assert run.bytes_down_per_message == run.bytes_down / 2


async def test_a_delay_is_counted_from_the_moment_a_message_was_due(fresh: Places):
    server, box = fresh["WebSocket"]
    box.set(delay_s=0.05)
    run = await carry("WebSocket", server, box, arrivals_s=[np.array([0.0, 0.0, 0.01])], seconds=0.1)
    assert run.delay_ms(0) >= 50
    assert run.delay_ms(50) <= run.delay_ms(99)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
async def test_the_servers_processor_time_grows_with_its_work(fresh: Places):
    server, box = fresh["SSE"]
    before = transports.process_cpu_s(server.pid)
    run = await carry("SSE", server, box, arrivals_s=[np.linspace(0, 0.2, 20)], seconds=0.2)
    after = transports.process_cpu_s(server.pid)
    assert before is not None
    assert after is not None
    assert run.cpu_s is not None
    assert 0 < run.cpu_s <= after - before


def test_a_process_that_is_gone_has_no_processor_time_to_tell():
    assert not transports.process_cpu_s(2**22 + os.getpid())


@pytest.mark.parametrize("name", SERVERS)
async def test_the_labs_clients_come_back_by_themselves_and_nothing_is_lost(fresh: Places, name: str):
    server, box = fresh[name]
    run = await through_a_cut(name, server, box, each=3)
    assert run.back
    assert run.report
    assert not box.faults["refuse"]


async def test_a_bare_websocket_does_not_come_back_and_the_checker_counts_what_that_costs(fresh: Places):
    server, box = fresh["WebSocket"]
    run = await through_a_cut("bare WebSocket", server, box, each=3)
    assert not run.back
    assert run.report.followers["reader"].lost == (3, 4, 5, 6, 7, 8)


async def test_a_server_that_forgets_meanwhile_is_an_error_and_no_good_figure():
    with Server("short_polling") as server, Middlebox("middlebox", "--target", server.url) as box:
        times = [np.array([0.0, 30.0])]
        running = asyncio.create_task(
            carry("short polling", server, box, arrivals_s=times, seconds=30, interval_s=0.02)
        )
        async with asyncio.timeout(20):
            while len(Capture.from_recording(box.recording()).exchanges()) < 5:  # noqa: ASYNC110 - polls have no event
                await asyncio.sleep(0.02)
            await asyncio.to_thread(server.restart)
            with pytest.raises(LoadError, match="the server has lost messages"):
                await running


def test_an_unknown_transport_is_refused_with_those_there_are(places: Places):
    with pytest.raises(ValueError, match="short polling, long polling, SSE, WebSocket"):
        transports.client("carrier pigeon", places["SSE"][0], "x")


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
async def test_an_idle_connection_of_each_kind_weighs_kilobytes(places: Places):
    requests = {
        "short polling": b"GET /messages HTTP/1.1\r\nHost: HOST\r\n\r\n",
        "SSE": b"GET /events HTTP/1.1\r\nHost: HOST\r\n\r\n",
    }
    for name, request in requests.items():
        each = await idle.idle_bytes(places[name][0], request, connections=100)
        assert each is not None
        assert 2_000 < each < 50_000


async def test_an_idle_connection_waits_for_what_follows_the_head(places: Places):
    join = json.dumps({"type": "join", "room": "tea", "user": "bob"}).encode()
    handshake = build_request("HOST", "/chat", "YY5ef0DaDtsN9iNE/n81XQ==")
    frame = encode_frame(Frame(Opcode.TEXT, join, masking_key=b"abcd"))
    each = await idle.idle_bytes(
        places["WebSocket"][0], handshake, then=frame, awaits=b'"type":"joined"', connections=40
    )
    assert each is None or each > 0
