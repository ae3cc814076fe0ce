"""Server-Sent Events: the plain client that students read, and one that comes back.

    for event in PlainSseClient(server).events(limit=3):    # sseclient-py over requests, to the first cut
        print(event.event, event.data)

    async with SseClient(server) as bob:                    # resumes, waits, notices a dead link, tells gaps
        async for item in bob:
            print(item.message.data)

What an EventSource does by itself, what it does not, and what is here instead:
    it comes back with Last-Event-ID          ->  so does this client, and `position` outlives the program
    all come back after the same `retry:`     ->  that is the least wait; the back-off policy's comes on top
    any status but 200 ends it for good       ->  only one that says "never" does
    a dead link looks like a quiet one        ->  a dead-man timer, which heartbeats keep from going off
    "too old" is an event like any other      ->  a Gap, and then what the server still has
"""

import asyncio
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import Any, NoReturn, Self
from urllib.parse import urlencode, urljoin, urlsplit

import aiohttp
import requests
import sseclient

from labsupport.clients.base import Delivery, Gap, Message, Refused
from labsupport.clients.http import (
    LONGEST_RETRY_AFTER_S,
    RETRY_STATUSES,
    Attempt,
    HttpClient,
    Raw,
    Unhealthy,
    address,
    history,
    positive,
    retry_after_s,
    said,
    sentence,
)
from labsupport.wire.event_stream import Event, EventStreamParser, EventTooLong

CONNECT_S = 10.0  # seconds for the connection to open
DEAD_AFTER_S = 45.0  # seconds without a byte: three heartbeats of 15 s (WHATWG HTML, 9.2.7) did not come
HEALTHY_AFTER_S = 10.0  # seconds; an overloaded server lets go sooner than that
MAX_REDIRECTS = 5  # more of them lead in a circle
MAX_ERROR = 64 * 1024  # bytes read of an answer that is no stream
MEDIA_TYPE = "text/event-stream"
HEADERS = {
    "Accept": MEDIA_TYPE,
    "Accept-Encoding": "identity",  # what compresses a stream likes to wait for more of it
    "Cache-Control": "no-cache",
    "User-Agent": "realtime-web-lab (a course on how the web pushes)",  # Wikimedia wants to know who it is
}
GAPS = ("too old", "other epoch", "bad position")


def stream_url(url: object) -> str:
    """The stream's address: `/events` of a server's URL, or of the server; a URL with a path as it is."""
    known = address(url)
    parts = urlsplit(known)
    return known if parts.path.strip("/") else parts._replace(path="/events", fragment="").geturl()


class PlainSseClient:
    """sseclient-py over requests, as most programs have it: it blocks, and it ends with its connection.

    It does not come back by itself: keep `event.id`, and go on with last_event_id=. Where the parser departs
    from the standard, and when it is late, is shown in departures.py.
    """

    def __init__(self, url: object, last_event_id: str | None = None) -> None:
        self._closed = False
        place = {"Last-Event-ID": last_event_id} if last_event_id else {}
        with requests.Session() as session:
            session.trust_env = False  # a proxy named in the environment would be asked for 127.0.0.1
            self._response = session.get(
                stream_url(url),
                headers={**HEADERS, **place},
                stream=True,
                timeout=(CONNECT_S, DEAD_AFTER_S),  # the second is for each read: a dead-man timer
            )
        self._response.raise_for_status()

    def events(self, limit: int | None = None) -> Iterator[sseclient.Event]:
        """The next events, `limit` at most; each has .event, .data, .id and .retry. Closes at the end."""
        with self:
            try:
                yield from islice(sseclient.SSEClient(iter(self._response)).events(), limit)
            except (requests.RequestException, AttributeError, ValueError):
                if not self._closed:  # else it was closed by another thread, and this is how one hears of it
                    raise

    def close(self) -> None:
        self._closed = True
        with suppress(AttributeError, RuntimeError, ValueError):  # urllib3 before 2.3; or closed already
            self._response.raw.shutdown()  # wakes a thread that reads, for which close() would wait
        self._response.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(slots=True)
class _Link:
    """One open stream. Times on the client's clock."""

    response: aiohttp.ClientResponse
    parser: EventStreamParser
    opened_at_s: float
    heard_at_s: float  # the newest byte
    messages: int = 0
    gap: bool = False  # told on this stream, so that a snapshot may follow


class SseClient(HttpClient):
    """Follows an event stream, and comes back to it.

    url             a server, or its URL: then /events there; or the whole address of a stream
    position        the Last-Event-ID to begin with
    dead_after_s    the dead-man timer: seconds without a byte until a link counts as dead
    healthy_after_s seconds that a link must have lived for the waits to start afresh
    channel         which of the server's channels
    headers         more fields for each request, such as the cookies that a browser would send
    The other arguments are those of Client. `send` posts to /messages beside the stream.

    Data that is JSON comes as what it stands for, other data as text.
    """

    def __init__(
        self,
        url: object,
        *,
        dead_after_s: float = DEAD_AFTER_S,
        healthy_after_s: float = HEALTHY_AFTER_S,
        **more: Any,
    ) -> None:
        stream = stream_url(url)
        super().__init__(urljoin(stream, "messages"), **more)
        if self._channel:
            stream += ("&" if urlsplit(stream).query else "?") + urlencode(self._channel)
        self._stream = stream
        self.dead_after_s = positive("dead_after_s", dead_after_s)
        self.healthy_after_s = positive("healthy_after_s", healthy_after_s)
        if any(character in (self.position or "") for character in "\r\n\0"):
            raise ValueError(f"position: expected what a server gave as an id, got {self.position!r}")
        self.retry_s = 0.0  # the newest `retry:`, in seconds
        self._cursor = self.position  # the Last-Event-ID; ahead of position by the items still in _items
        self._due_s = self._clock()
        self._link: _Link | None = None
        self._since = self.position  # behind the newest item, while the cursor may follow silent bookmarks
        self._told = False  # of a gap that no delivery has followed yet
        self._failure: Refused | None = None

    @property
    def connected(self) -> bool:
        """Whether a stream is open now, as far as the client knows."""
        return self._link is not None

    async def _shut(self) -> None:
        self._drop()
        await super()._shut()

    async def _step(self) -> None:
        if self._failure is not None:
            raise self._failure
        try:
            if self._link is None:
                if (wait_s := self._due_s - self._clock()) > 0:
                    await self._sleep(wait_s)
                self._link = await self._connect()
            self._take(self._link, await self._hear(self._link))
        except Unhealthy as failure:
            self._lost(str(failure), failure.retry_after_s)

    # ---- connections ----

    async def _connect(self) -> _Link:
        self.stats.requests += 1
        try:
            async with asyncio.timeout(self.dead_after_s):
                response = await self._ask()
        except TimeoutError:
            self.stats.timeouts += 1
            raise Unhealthy(f"no answer in {self.dead_after_s:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise Unhealthy(sentence(error)) from error
        now_s = self._clock()
        return _Link(response, EventStreamParser(self._cursor or ""), now_s, now_s)

    async def _ask(self) -> aiohttp.ClientResponse:
        """Open the stream, through redirects. Unhealthy if that failed; Refused if it always will."""
        place = {"Last-Event-ID": self._cursor} if self._cursor else {}
        own = {name.lower() for name in self._headers}
        usual = {name: value for name, value in HEADERS.items() if name.lower() not in own}
        url = self._stream
        for _ in range(MAX_REDIRECTS + 1):
            response = await self._session.get(
                url,
                headers={**usual, **place},
                allow_redirects=False,  # aiohttp's own would look like a second attempt
                trace_request_ctx=Attempt(),
            )
            try:
                if response.status == 200 and response.content_type == MEDIA_TYPE:
                    return response
                target = response.headers.get("Location")
                if response.status not in (301, 302, 303, 307, 308) or target is None:
                    await self._not_a_stream(response)
                url = self._redirected(url, target or "")
            except BaseException:
                response.close()
                raise
            response.close()
        raise self._refused(f"more than {MAX_REDIRECTS} redirects from {self._stream}")

    def _redirected(self, url: str, target: str) -> str:
        there = urljoin(url, target)
        if urlsplit(there)[:2] != urlsplit(url)[:2]:
            # It may belong to somebody else, whom this client's cookies and tokens are no business of.
            raise self._refused(f"the server sends on to {there}: if you trust that, make a client for it")
        return there

    async def _not_a_stream(self, response: aiohttp.ClientResponse) -> NoReturn:
        if response.status == 204:
            raise self._refused("the server answered 204: do not come back (WHATWG HTML, 9.2.3)")
        if response.status == 200:
            kind = response.headers.get("Content-Type", "nothing")
            raise self._refused(
                f"expected a stream of the type {MEDIA_TYPE}, got {kind}: is this the right address?"
            )
        body = await response.content.read(MAX_ERROR)
        raw = Raw(response.status, response.reason or "", response.headers, body)
        what = f"the server answered {raw.status}: {said(raw)}"
        if 400 <= raw.status < 500 and raw.status not in RETRY_STATUSES:
            raise self._refused(f"{what}. Asking the same again would not help.")
        raise Unhealthy(what, retry_after_s=retry_after_s(raw.headers))

    def _refused(self, what: str) -> Refused:
        self.stats.errors += 1
        self.stats.last_error = what
        return Refused(what)

    async def _hear(self, link: _Link) -> bytes:
        """The next bytes of the stream. Unhealthy when there are none any more."""
        content = link.response.content
        try:
            try:
                async with asyncio.timeout(self.dead_after_s):
                    chunk = await content.readany()
            except TimeoutError:
                # A loop that was busy for so long finds the bytes and the time-out at one moment.
                chunk = content.read_nowait()
                if not chunk:
                    self.stats.timeouts += 1
                    words = f"not a byte in {self.dead_after_s:g} s, not even a heartbeat"
                    raise Unhealthy(words) from None
        except (aiohttp.ClientError, OSError) as error:
            raise Unhealthy(sentence(error)) from error
        if not chunk:
            raise Unhealthy("the stream ended")
        return chunk

    def _lost(self, why: str, at_least_s: float) -> None:
        link = self._link
        self._drop()
        if link is not None:
            self.stats.empty += not link.messages
            if link.heard_at_s - link.opened_at_s >= self.healthy_after_s:
                self._waits.reset()
        self._due_s = self._clock()  # should the policy give up, an explicit next try may begin at once
        # On top, and not the longer of the two: a server that gives all the same `retry:` would else have
        # them all back at the same moment.
        self._due_s += self._back_off(why) + max(self.retry_s, at_least_s)

    def _drop(self) -> None:
        if self._link is not None:
            self._link.response.close()
            self._link = None

    # ---- events ----

    def _take(self, link: _Link, chunk: bytes) -> None:
        """Queue what these bytes complete."""
        self.stats.body_bytes += len(chunk)
        link.heard_at_s = self._clock()
        try:
            events = link.parser.feed(chunk)
        except EventTooLong as error:  # it would be as long the next time
            events, self._failure = error.events, self._refused(str(error))
        if link.parser.retry_ms is not None:
            self.retry_s = min(link.parser.retry_ms, LONGEST_RETRY_AFTER_S * 1000) / 1000
        for event in events:
            self._receive(link, event)
            self._cursor = event.last_event_id or None
        self._cursor = link.parser.last_event_id or None  # also of a block that delivers nothing
        if not self._items:
            self.position = self._cursor
        if self._failure is not None:
            self._drop()

    def _receive(self, link: _Link, event: Event) -> None:
        """Tell the few events about the stream itself from those that somebody posted."""
        data = decoded(event.data)
        about = data if isinstance(data, dict) else {}
        if event.type in (*GAPS, "busy") and about.get("error") == event.type:
            detail = str(about.get("detail") or f"The server says: {event.type}.")
            if event.type == "busy":
                raise Unhealthy(f"the server is busy: {detail}")
            link.gap = True
            if not self._told:
                self._told = True
                self._gap(event.type, detail, event.last_event_id)
        elif event.type == "snapshot" and link.gap:
            messages, position = history(data)
            for message in messages[:-1]:
                self._deliver(link, message, message.id)
            for message in messages[-1:]:
                self._deliver(link, message, position)
        elif event.type == "dropped" and type(missed := about.get("messages")) is int:
            words = f"The server left out {missed} message(s), since this client was too slow for them."
            self._gap(event.type, words, event.last_event_id)
        else:
            self._deliver(link, Message(event.last_event_id, event.type, data), event.last_event_id)

    def _gap(self, reason: str, detail: str, position: str) -> None:
        self.stats.gaps += 1
        self._items.append(Gap(reason, detail, self._since, position or None, self._clock()))
        self._since = position or None

    def _deliver(self, link: _Link, message: Message, position: str) -> None:
        link.messages += 1
        self._told, self._since = False, position or None
        self._items.append(Delivery(message, position, link.heard_at_s))


def decoded(text: str) -> Any:
    """What JSON text stands for; the text itself if it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
