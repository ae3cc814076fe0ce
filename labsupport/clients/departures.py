"""Where sseclient-py departs from the standard, and when it is late: shown by running it.

    for case in DEPARTURES:
        by_standard, by_sseclient = run(case)

    delays = delay_unchunked(server)            # a running servers.sse
    print(delays.chunked_s, delays.unchunked_s)

sseclient-py follows a draft of 2009 (W3C, WD-eventsource-20091029). What counts today is WHATWG HTML, 9.2.6.
"""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import requests
import sseclient

from labsupport.clients.http import address, positive
from labsupport.clients.sse import PlainSseClient
from labsupport.wire.event_stream import EventStreamParser

# ---- the format --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Seen:
    """One event, as a parser hands it on. `id`: sseclient-py says None where there was none."""

    type: str
    data: str
    id: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a parser made of a stream: events, the wait before a reconnect, and the error that ended it.

    `retry` is milliseconds by the standard, None if none was valid; sseclient-py hands on the text.
    """

    events: tuple[Seen, ...]
    retry: int | str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """One departure: bytes, what the standard says and makes of them, and what the library does."""

    name: str
    stream: bytes
    standard: str
    expected: Outcome
    sseclient: str


def _message(data: str, id: str = "") -> Seen:
    return Seen("message", data, id)


DEPARTURES = (
    Case(
        "an id holds for the events behind it",
        b"id: 1\ndata: a\n\ndata: b\n\n",
        "The last event ID stays until another one comes.",
        Outcome((_message("a", "1"), _message("b", "1"))),
        "The second event has no id. Who resumes from event.id believes here that the place is lost.",
    ),
    Case(
        "a block without data moves the id",
        b"id: 7\n\ndata: b\n\n",
        "Nothing is delivered, but the id counts: a silent bookmark.",
        Outcome((_message("b", "7"),)),
        "The whole block is dropped, and the bookmark with it.",
    ),
    Case(
        "an id with a NUL is void",
        b"id: a\0\ndata: x\n\n",
        "The field is ignored: no header could carry it.",
        Outcome((_message("x"),)),
        "The id is taken.",
    ),
    Case(
        "an event without its blank line is none",
        b"data: whole\n\ndata: ha",
        "At the end of the stream an unfinished event is dropped: a resume brings it whole.",
        Outcome((_message("whole"),)),
        "The half is delivered as if it were whole, at every cut.",
    ),
    Case(
        "a byte order mark is skipped",
        b"\xef\xbb\xbfdata: 1\n\ndata: 2\n\n",
        "One mark at the start of the stream is no part of the first line.",
        Outcome((_message("1"), _message("2"))),
        "The first line's field has an unknown name, so the first event is lost.",
    ),
    Case(
        "line ends may be mixed",
        b"data: a\n\r\ndata: b\n\n",
        "LF, CR and CRLF each end a line, so LF CRLF is a line end and a blank line.",
        Outcome((_message("a"), _message("b"))),
        "An event ends at CR CR, LF LF or CRLF CRLF only: two events become one.",
    ),
    Case(
        "a LF and a CR are two line ends",
        b"data: a\n\rdata: b\n\r",
        "Only CR before LF is one line end.",
        Outcome((_message("a"), _message("b"))),
        "No end of an event is seen: the two become one, delivered when the stream ends.",
    ),
    Case(
        "bytes that are not UTF-8 are replaced",
        b"data: \xff\n\ndata: next\n\n",
        "U+FFFD takes their place, and the stream goes on.",
        Outcome((_message("\ufffd"), _message("next"))),
        "An exception ends the loop.",
    ),
    Case(
        "a retry of anything but digits is void",
        b"retry: soon\ndata: x\n\n",
        "The field is ignored.",
        Outcome((_message("x"),)),
        "The text is handed on. (A number, too, is handed on as text. Nothing ever waits by it.)",
    ),
)


def run(case: Case) -> tuple[Outcome, Outcome]:
    """What the lab's parser makes of the case's bytes, by the standard, and what sseclient-py does."""
    return by_standard(case.stream), by_sseclient(case.stream)


def by_standard(*chunks: bytes) -> Outcome:
    """The events of a stream, as the lab's own parser gives them."""
    parser = EventStreamParser()
    events = [event for chunk in chunks for event in parser.feed(chunk)]
    seen = tuple(Seen(event.type, event.data, event.last_event_id) for event in events)
    return Outcome(seen, parser.retry_ms)


def by_sseclient(*chunks: bytes) -> Outcome:
    """The events of the same stream, as sseclient-py gives them."""
    seen: list[Seen] = []
    retry = error = None
    try:
        for event in sseclient.SSEClient(iter(chunks)).events():
            seen.append(Seen(event.event, event.data, event.id))
            retry = event.retry if event.retry is not None else retry
    except UnicodeDecodeError as stopped:
        error = type(stopped).__name__
    return Outcome(tuple(seen), retry, error)


# ---- the delay ---------------------------------------------------------------------------------------------

PATIENCE_S = 10.0  # seconds for an answer, or an event; a healthy server needs milliseconds
PUSHERS = 8  # messages behind the measured ones, whose bytes push the last of those out
GROUP = "delay"  # the channel; its messages are nobody else's


@dataclass(frozen=True, slots=True)
class Delays:
    """Seconds from publishing to having, per message, in order; and how many more had been published by then.

    Over chunks each message comes when it is published. Without, requests reads 128 bytes at a time
    (`Response.iter_content(128)`, by which `SSEClient(response)` reads), and urllib3 waits until it has
    them all: an event shorter than that waits for the next ones.
    """

    interval_s: float
    chunked_s: tuple[float, ...]
    unchunked_s: tuple[float, ...]
    chunked_later: tuple[int, ...]
    unchunked_later: tuple[int, ...]


def delay_unchunked(url: object, *, messages: int = 10, interval_s: float = 0.1) -> Delays:
    """Publish and follow by sseclient-py, chunked and not. `url` is of a servers.sse. Blocks for about 4 s.

    It switches the server's fault "unchunked" on, and off again.
    """
    base = address(url).rstrip("/")
    positive("interval_s", interval_s)
    if messages < 1:
        raise ValueError(f"messages: expected 1 or more, got {messages!r}")
    with _session() as session:
        chunked = _delays(session, base, messages, interval_s)
        with _unchunked(session, base):
            unchunked = _delays(session, base, messages, interval_s)
    return Delays(interval_s, chunked[0], unchunked[0], chunked[1], unchunked[1])


def _session() -> requests.Session:
    session = requests.Session()
    session.trust_env = False  # a proxy named in the environment would be asked for 127.0.0.1
    return session


@contextmanager
def _unchunked(session: requests.Session, base: str) -> Iterator[None]:
    _put(session, base, True)
    try:
        yield
    finally:
        _put(session, base, False)


def _put(session: requests.Session, base: str, unchunked: bool) -> None:
    session.put(f"{base}/fault", json={"unchunked": unchunked}, timeout=PATIENCE_S).raise_for_status()


def _delays(
    session: requests.Session, base: str, messages: int, interval_s: float
) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Delays, and how many later messages were out, of `messages` published every `interval_s`."""
    first = _publish(session, base, -1)
    client = PlainSseClient(f"{base}/events?channel={GROUP}", first)
    sent: list[float] = []
    had: dict[int, tuple[float, int]] = {}
    all_here = threading.Event()

    def read() -> None:
        try:
            for event in client.events():
                number = json.loads(event.data)
                later = len(sent) - number - 1
                had[number] = time.perf_counter(), later
                if number == messages - 1:
                    return
        finally:
            all_here.set()

    reader = threading.Thread(target=read, name="sseclient-py")
    reader.start()
    try:
        for number in range(messages + PUSHERS):
            time.sleep(interval_s)  # whatever the reader has by then: that is what is measured
            sent.append(time.perf_counter())
            _publish(session, base, number)
        all_here.wait(PATIENCE_S)
    finally:
        client.close()
        reader.join()
    if len(had) < messages:
        raise TimeoutError(f"{len(had)} of {messages} messages came; does {base} run servers.sse?")
    delays_s = tuple(had[number][0] - sent[number] for number in range(messages))
    return delays_s, tuple(had[number][1] for number in range(messages))


def _publish(session: requests.Session, base: str, number: int) -> str:
    answer = session.post(
        f"{base}/messages", params={"channel": GROUP}, json={"data": number}, timeout=PATIENCE_S
    )
    answer.raise_for_status()
    return str(answer.json()["id"])
