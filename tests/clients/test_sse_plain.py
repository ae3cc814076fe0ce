"""The plain client, sseclient-py over requests: what it does, where it departs, and when it is late."""

import asyncio
import itertools
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
import requests

from labsupport.clients import PlainSseClient, SseClient
from labsupport.clients.departures import (
    DEPARTURES,
    Case,
    Outcome,
    Seen,
    by_sseclient,
    by_standard,
    delay_unchunked,
    run,
)
from labsupport.processes import Server, serve

CASES = pytest.mark.parametrize("case", DEPARTURES, ids=[case.name for case in DEPARTURES])
CHANNELS = (f"channel-{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serve("sse", instance="plain") as running:
        yield running


@pytest.fixture
def url(server: Server) -> str:
    """A stream with a log of its own."""
    return f"{server.url}/events?channel={next(CHANNELS)}"


def publish(url: str, data: object, event: str = "message") -> str:
    answer = requests.post(
        url.replace("/events", "/messages"), json={"data": data, "event": event}, timeout=9
    )
    return str(answer.json()["id"])


# ---- the client ----


def test_it_gives_events_with_type_data_and_id_up_to_the_limit(url: str) -> None:
    known = [publish(url, "hello"), publish(url, {"bid": 1.5}, "price"), publish(url, "more")]
    events = list(PlainSseClient(url).events(limit=2))
    assert [(event.event, event.id, event.data) for event in events] == [
        ("message", known[0], '"hello"'),
        ("price", known[1], '{"bid":1.5}'),
    ]


def test_it_goes_on_behind_the_id_it_is_given(url: str) -> None:
    known = [publish(url, number) for number in range(4)]
    events = list(PlainSseClient(url, last_event_id=known[1]).events(limit=2))
    assert [event.id for event in events] == known[2:]


def test_a_server_is_as_good_as_its_url(server: Server) -> None:
    requests.post(f"{server.url}/messages", json={"data": 1}, timeout=9)
    assert [event.data for event in PlainSseClient(server).events(limit=1)] == ["1"]


def test_each_event_comes_before_the_next_one_is_sent_as_long_as_there_are_chunks(url: str) -> None:
    first = publish(url, 0)
    events = PlainSseClient(url, last_event_id=first).events()
    for number in range(1, 5):
        publish(url, number)
        assert next(events).data == str(number)


def test_leaving_the_loop_closes_the_connection(server: Server, url: str) -> None:
    publish(url, 1)
    client = PlainSseClient(url)
    events = client.events()
    next(events)
    events.close()
    assert client._response.raw.closed
    assert list(client.events()) == []  # quiet, as for whoever closes it elsewhere


def test_closing_wakes_a_thread_that_reads_and_ends_its_loop_in_order(url: str) -> None:
    publish(url, "here")
    client = PlainSseClient(url)
    got: list[str] = []
    first = threading.Event()

    def read() -> None:
        for event in client.events():
            got.append(event.data)
            first.set()
        got.append("ended")

    reader = threading.Thread(target=read)
    reader.start()
    assert first.wait(20)
    client.close()
    reader.join(10)  # seconds; the next byte would be a heartbeat, after 15
    assert got == ['"here"', "ended"]


@pytest.mark.parametrize("path", ["/nowhere", "/stats/none"])
def test_a_status_that_is_an_error_raises(server: Server, path: str) -> None:
    with pytest.raises(requests.HTTPError, match="404"):
        PlainSseClient(server.url + path)


async def test_a_cut_ends_it_with_an_error_since_it_does_not_come_back() -> None:
    with serve("sse", instance="plain cut") as fragile:
        async with SseClient(fragile) as alice:
            await alice.send("before")
        events = PlainSseClient(fragile).events()
        assert next(events).data == '"before"'
        fragile.kill()
        with pytest.raises(requests.RequestException):
            await asyncio.to_thread(next, events)


# ---- the parser ----


@CASES
def test_the_labs_parser_gives_what_the_standard_says(case: Case) -> None:
    assert run(case)[0] == case.expected


@CASES
def test_so_it_does_byte_by_byte(case: Case) -> None:
    assert by_standard(*(case.stream[at : at + 1] for at in range(len(case.stream)))) == case.expected


@CASES
def test_sseclient_py_gives_something_else(case: Case) -> None:
    theirs = run(case)[1]
    # None for no id is its way to say "", and not counted as a departure.
    named = tuple(Seen(seen.type, seen.data, seen.id or "") for seen in theirs.events)
    assert replace(theirs, events=named) != case.expected


def test_they_agree_on_a_healthy_stream() -> None:
    stream = b": hi\nid: 1\nevent: price\ndata: a\ndata: b\n\nid: 2\ndata:\n\n"
    expected = (Seen("price", "a\nb", "1"), Seen("message", "", "2"))
    assert by_standard(stream) == by_sseclient(stream) == Outcome(expected)


def test_an_error_ends_the_stream_for_sseclient_py_and_is_named() -> None:
    case = next(case for case in DEPARTURES if "UTF-8" in case.name)
    assert run(case)[1] == Outcome((), error="UnicodeDecodeError")


# ---- the delay ----


def test_without_chunks_an_event_comes_only_after_others_were_sent_behind_it(server: Server) -> None:
    delays = delay_unchunked(server, messages=10, interval_s=0.02)
    assert len(delays.chunked_s) == len(delays.unchunked_s) == 10
    # By chance an event ends where a block of 128 bytes ends, and comes at once: one in 128 of one length.
    assert sum(later >= 1 for later in delays.unchunked_later) >= 8
    for later, delay_s in zip(delays.unchunked_later, delays.unchunked_s, strict=True):
        assert delay_s >= 0.02 * (later >= 1)
    assert requests.get(f"{server.url}/fault", timeout=9).json()["unchunked"] is False


def test_a_demonstration_of_nothing_is_refused_with_a_sentence(server: Server) -> None:
    with pytest.raises(ValueError, match="expected 1 or more"):
        delay_unchunked(server, messages=0)
    with pytest.raises(ValueError, match="interval_s"):
        delay_unchunked(server, interval_s=0)
