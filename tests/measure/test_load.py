"""The load client opens what it is told, counts what becomes of it, and leaves nothing behind."""

import asyncio
import os
import socket
import sys

import pytest

from labsupport.measure.load import park
from labsupport.measure.rates import accepts_per_s, requests_per_s, round_trips
from labsupport.measure.sockets import LoadError, Target, allow_connections, take_answer


def descriptors():
    return len(os.listdir("/dev/fd"))


async def until(true):
    """Other ends close in their own time: look again, and fail after ten seconds."""
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - the kernel sets no event when a descriptor goes
            await asyncio.sleep(0.01)


async def test_every_parked_request_is_answered_by_one_publish(tiny):
    async with park(tiny.url, 300) as parked:
        assert (parked.opened, parked.broken, len(tiny.held)) == (300, {}, 300)
        woken = await parked.wake({"text": "hello"})
    assert woken.answered == 300
    assert 0 < woken.first_ms <= woken.last_ms
    assert str(woken) == "300 of 300 answered"


async def test_parking_can_be_awaited_and_closed_by_hand(tiny):
    parked = await park(tiny.url, 5)
    assert str(parked) == "5 of 5 requests sent"
    parked.close()
    parked.close()
    with pytest.raises(LoadError, match="park them again"):
        await parked.wake()


async def test_no_descriptor_is_left_behind(tiny):
    before = descriptors()
    async with park(tiny.url, 100) as parked:
        assert descriptors() >= before + 200  # both ends are in this process
        await parked.wake()
    await until(lambda: descriptors() <= before)


async def test_parked_requests_end_by_themselves(tiny):
    parked = await park(tiny.url, 3, seconds=0.05)
    await until(lambda: parked.closed)
    with pytest.raises(LoadError, match="park them again"):
        await parked.wake()


async def test_an_interrupt_ends_the_thread_and_drops_the_connections(tiny):
    tiny.mode = "silent"  # the server takes the request and never counts it as waiting
    before = descriptors()
    opening = asyncio.ensure_future(park(tiny.url, 20)._open())
    await until(lambda: tiny.requests >= 22)  # 20 parked, the position, the count
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await until(lambda: descriptors() <= before)


@pytest.mark.parametrize(
    ("mode", "reason"), [("error", "status 500"), ("close", "closed without an answer"), ("hold", None)]
)
async def test_what_breaks_is_counted_with_its_reason(tiny, mode, reason):
    tiny.mode = mode
    async with park(tiny.url, 40) as parked:
        woken = await parked.wake()
    assert woken.answered == (40 if reason is None else 0)
    assert woken.broken == ({} if reason is None else {reason: 40})
    if reason:
        assert str(woken) == f"0 of 40 answered, 40 {reason}"


async def test_an_answer_before_the_publish_is_not_counted_as_its_effect(tiny):
    tiny.mode = "answer"
    async with park(tiny.url, 10) as parked:
        woken = await parked.wake()
    assert (woken.answered, woken.early) == (0, 10)


async def test_something_that_is_no_http_is_told_from_an_answer(tiny):
    tiny.mode = "garbage"
    with pytest.raises(LoadError, match="expected an HTTP/1.1 answer, got b'SSH-2.0"):
        async with park(tiny.url, 2) as parked:
            await parked.wake()


async def test_without_a_server_the_error_asks_whether_it_runs():
    with socket.socket() as sock:  # bound and not listening: nobody else gets this port
        sock.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        with pytest.raises(LoadError, match="does the server run"):
            await park(url, 2)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have one loopback address")
async def test_clients_come_from_an_address_of_their_own(tiny):
    async with park(tiny.url, 2):
        assert "127.0.1.1" in tiny.sources


@pytest.mark.parametrize(
    "url", ["http://192.0.2.1:80", "http://example.org:80", "https://127.0.0.1:80", "127.0.0.1"]
)
def test_only_a_plain_http_url_of_this_machine_is_accepted(url):
    with pytest.raises(LoadError):
        Target.of(url)


@pytest.mark.parametrize("clients", [0, -1, 20_001])
async def test_the_number_of_clients_is_bounded(tiny, clients):
    with pytest.raises(LoadError, match="expected 1 to 20000 clients"):
        await park(tiny.url, clients)


@pytest.mark.parametrize("seconds", [0, -1, 121, float("nan")])
def test_the_time_is_bounded(seconds):
    with pytest.raises(LoadError, match="at most 120 seconds"):
        park("http://127.0.0.1:1", 1, seconds=seconds)


@pytest.fixture
def resource():
    module = pytest.importorskip("resource", reason="Windows has no limit on descriptors to raise")
    limits = module.getrlimit(module.RLIMIT_NOFILE)
    yield module
    module.setrlimit(module.RLIMIT_NOFILE, limits)


def test_the_soft_limit_is_raised_to_what_is_needed_and_no_further(resource):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors() + 100, hard))
    allow_connections(300)
    soft, still = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert still == hard
    assert 300 < soft < descriptors() + 300 + 100


def test_a_hard_limit_that_is_too_low_is_said_with_what_would_fit(resource, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(resource, "getrlimit", lambda which: (256, 4096))
        with pytest.raises(LoadError, match="5000 connections need .* allows a process 4096: try at most"):
            allow_connections(5_000)


async def test_rates_count_what_the_server_answered(tiny):
    tiny.mode = "answer"
    before = tiny.requests
    times_ms = await round_trips(f"{tiny.url}/messages?wait=1", 50)
    assert len(times_ms) == 50
    assert times_ms.min() > 0
    assert tiny.requests - before == 150  # the first hundred only warm up
    before = tiny.requests
    rate = await accepts_per_s(f"{tiny.url}/messages?wait=1", 200)
    assert (rate.count, tiny.requests - before) == (200, 200)
    before = tiny.requests
    rate = await requests_per_s(f"{tiny.url}/messages?wait=1", connections=8, seconds=0.1)
    assert 0 < rate.count <= tiny.requests - before
    assert rate.per_s == rate.count / rate.seconds


async def test_a_rate_is_no_rate_when_connections_broke(tiny):
    tiny.mode = "close"
    with pytest.raises(LoadError, match="closed without an answer"):
        await accepts_per_s(f"{tiny.url}/messages?wait=1", 50)


@pytest.mark.parametrize("size", range(1, 60, 7))
def test_an_answer_in_pieces_is_taken_when_it_is_whole(size):
    wire = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 304 Not Modified\r\n\r\n"
    buffer, answers = bytearray(), []
    for start in range(0, len(wire), size):
        buffer += wire[start : start + size]
        while (answer := take_answer(buffer)) is not None:
            answers.append(answer)
    assert [(a.status, a.body) for a in answers] == [(200, b"hello"), (304, b"")]
    assert sum(a.wire_bytes for a in answers) == len(wire)
    assert not buffer


def test_an_answer_without_a_length_is_refused_clearly():
    with pytest.raises(LoadError, match="needs a Content-Length"):
        take_answer(bytearray(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"))
