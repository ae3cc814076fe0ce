"""Wikimedia's stream of recent changes, at home: the same address, ids and JSON, and invented changes.

client -> server   GET /v2/stream/recentchange[?since=TIME], or with a header Last-Event-ID: ID, which wins
server -> client   200, text/event-stream, for 15 minutes at most; then connect again, with the last id:

    :ok
                                    the place to begin from, and how long to wait after a cut
    retry: 4711
    id: [{"topic":"eqiad.mediawiki.recentchange","partition":0,"timestamp":1772536525049}, ...]

    event: message
    id: [{"topic":"eqiad.mediawiki.recentchange","partition":0,"timestamp":1772536526113}, ...]
    data: {"$schema":"/mediawiki/recentchange/1.0.0","meta":{...},"type":"edit","title":"Granite", ...}

All wikis come, and all types: edit, new, log, categorize, and now and then a canary (meta.domain "canary",
to drop). Without since or id the stream begins now. TIME is ISO 8601 or milliseconds since 1970; no TIME is
answered with 400. An id names a time for each topic, one millisecond behind its event, and you get what
happened from then on. Times here differ from change to change, so nothing is lost and nothing comes twice.

Where this departs from the real stream: "retry:" and the id at the start; events "too old" (this server does
not remember back to that time; all it remembers follows) and "bad position" (no id of this stream; it begins
now), where the real one begins somewhere and keeps silent, or answers with an error that ends an EventSource;
and pages of other machines may not read it. What is made up, and what is measured: core/wiki_changes.py.

A client for this server reads the real stream when it is given https://stream.wikimedia.org in place of this
server's URL. No program of this lab does that by itself. Please keep to one connection, and say who you are
in User-Agent.

Run it   python -m servers.recent_changes --port 8004 --rate 20 --seed 7
Try it   curl -N http://127.0.0.1:8004/v2/stream/recentchange
         curl -N 'http://127.0.0.1:8004/v2/stream/recentchange?since=2026-03-03T11:15:25Z'
"""

import argparse
import asyncio
import bisect
import json
import math
import random
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import UTC, datetime

from aiohttp import web

from servers.core import http
from servers.core.event_stream import (
    STREAMS,
    OncePerEntry,
    Stream,
    Streams,
    add_arguments,
    encode_event,
    encode_retry,
    head_only,
    seconds,
    stats,
    whole,
)
from servers.core.http import Refusal
from servers.core.log import BadPosition, Entry, MessageLog, PositionError, TooOld, to_json
from servers.core.wiki_changes import TOPICS, Changes, iso, time_ms

LIFE_S = 900.0  # seconds until a stream is ended; Wikimedia's own limit
RATE = 20.0  # changes a second; fast enough to fill a chart, slow enough to watch
MOST_RATE = 500.0  # changes a second; their times differ by a millisecond at least, so 1 000 is the end
KEEP = 20_000  # changes: 16 minutes at 20 a second, so that a client may miss one stream and lose nothing
KEEP_BYTES = 64 << 20  # bytes; a change takes about 0.9 kB
LATE_S = 1.0  # seconds; after a longer pause (a closed lid) the changes that were due are left out
MOST_MS = 10**14  # milliseconds since 1970: the year 5138; a larger number is a mistake

Clock = Callable[[], float]  # seconds since 1970


class Feed:
    """The changes that are remembered, and their times."""

    def __init__(self, changes: Changes, keep: int = KEEP, clock: Clock = time.time) -> None:
        self.log = MessageLog(keep, keep_bytes=KEEP_BYTES)
        self._changes = changes
        self._clock = clock
        self._began_ms = int(clock() * 1000)
        self._newest_ms = self._began_ms - 1
        self.count = 0
        self._times: deque[int] = deque(maxlen=keep + 1)  # of the newest changes; one more than the log has

    def publish(self) -> Entry:
        """Let a change happen now."""
        # A millisecond after the last one at least, also where the clock was set back.
        self._newest_ms = max(self._newest_ms + 1, int(self._clock() * 1000))
        change = self._changes.next(self._newest_ms, self._began_ms + self.count)
        self.count += 1
        self._times.append(self._newest_ms)
        return self.log.append("message", change)

    @property
    def now_ms(self) -> int:
        """The time after all that has happened so far: a stream from here on is live."""
        return self._newest_ms + 1

    @property
    def oldest_ms(self) -> int:
        """The earliest time from which on everything is remembered."""
        if len(self.log) == self.count:
            return self._began_ms
        return self._times[-len(self.log) - 1] + 1

    def position(self, at_ms: int) -> str:
        """The log's position behind which everything from this time on comes. Raises TooOld."""
        if at_ms < self.oldest_ms:
            raise TooOld(f"this server remembers from {iso(self.oldest_ms)} on, not from {iso(at_ms)}")
        later = len(self._times) - bisect.bisect_left(self._times, at_ms)
        return f"{self.log.epoch}-{self.count - later}"


def before(entry: Entry) -> str:
    """The id with which this change is the next."""
    return event_id(time_ms(entry.data))


def encode(entry: Entry) -> bytes:
    """A change as an event."""
    return encode_event(entry.json, entry.event, event_id(time_ms(entry.data) + 1))


def event_id(at_ms: int) -> str:
    """The id with which a client goes on from this time."""
    here, elsewhere = ({"topic": topic, "partition": 0} for topic in TOPICS)
    # -1 is Kafka's way to say that nothing was read from there.
    return to_json([{**here, "timestamp": at_ms}, {**elsewhere, "offset": -1}]).decode()


def parse_event_id(text: str) -> int | None:
    """The time in a Last-Event-ID; None: now, it names no time. Raises BadPosition."""
    wrong = BadPosition(f"expected an id like {event_id(1772536525049)}, got {text[:80]!r}")
    try:
        parts = json.loads(text)
    except (ValueError, RecursionError):
        raise wrong from None
    if not isinstance(parts, list) or not 1 <= len(parts) <= len(TOPICS):
        raise wrong
    times: list[int] = []
    for part in parts:
        if not isinstance(part, dict) or part.get("topic") not in TOPICS or part.get("partition") != 0:
            raise wrong
        at_ms = part.get("timestamp")
        if type(at_ms) is int and 0 <= at_ms < MOST_MS:
            times.append(at_ms)
        elif at_ms is not None or part.get("offset") != -1:
            raise wrong
    return min(times, default=None)


def parse_since(text: str) -> int:
    """Milliseconds since 1970 for ISO 8601 (in UTC, if it names no zone) or a number. Raises Refusal."""
    if re.fullmatch(r"[0-9]{1,14}", text):
        return int(text)
    with suppress(ValueError, OverflowError):
        when = datetime.fromisoformat(text)
        at_ms = math.floor((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1000)
        if 0 <= at_ms < MOST_MS:
            return at_ms
    raise Refusal(
        400,
        f"since={text[:40]!r} is no time",
        "since=2026-03-03T11:15:25Z, or milliseconds since 1970 (a + in a URL is written %2B)",
    )


FEED: web.AppKey[Feed] = web.AppKey("feed", Feed)
ONCE: web.AppKey[OncePerEntry] = web.AppKey("once", OncePerEntry)
LIFE: web.AppKey[float] = web.AppKey("life", float)


def wanted(request: web.Request, feed: Feed) -> tuple[int, PositionError | None]:
    """The time from which on the client wants the stream; and what is wrong with its id, if anything."""
    since, asked = request.query.get("since"), request.headers.get("Last-Event-ID")
    at_ms = parse_since(since) if since is not None else None
    if asked:
        try:
            at_ms = parse_event_id(asked)
            if at_ms is not None and at_ms > feed.now_ms:
                raise BadPosition(f"the id names {iso(at_ms)}, and nothing happened yet at that time")
        except BadPosition as error:
            return feed.now_ms, error
    return feed.now_ms if at_ms is None else min(at_ms, feed.now_ms), None


async def get_changes(request: web.Request) -> web.StreamResponse:
    """Hold the stream open for its time, until the client leaves, or until the server ends."""
    streams, feed = request.app[STREAMS], request.app[FEED]
    start_ms, problem = wanted(request, feed)
    if request.method == "HEAD":
        return head_only()
    if streams.full:
        return streams.turn_away(event_id(start_ms))
    if "Last-Event-ID" in request.headers:
        streams.counters.resumed += 1
    async with streams.open(request) as stream:
        await pass_on(stream, request.app, start_ms, problem)
    return stream.response


async def pass_on(stream: Stream, app: web.Application, start_ms: int, problem: PositionError | None) -> None:
    """All from this time on, and then live, for the life of a stream."""
    streams, feed, loop = app[STREAMS], app[FEED], asyncio.get_running_loop()
    ends_at = loop.time() + app[LIFE]
    opening = True
    while loop.time() < ends_at:
        try:
            position = feed.position(start_ms)
        except TooOld as error:
            start_ms, problem = feed.oldest_ms, error
            continue
        follower = feed.log.follow(position, streams.unread, streams.policy, stream.give_up)
        end = loop.call_at(ends_at, follower.close)
        try:
            async with follower:
                id, told = event_id(start_ms), problem is not None
                first = b""
                if opening:
                    first = b":ok\n\n" + encode_retry(streams.retry_ms(), None if told else id)
                if problem is not None:
                    streams.counters.gaps += 1
                    # In one block with retry: cut between two, the client would not know of the gap.
                    first += tell(problem, id)
                await stream.write(first)
                await stream.pass_on(follower, app[ONCE], before=before)
                return
        except TooOld as error:  # so slow that the history has overtaken it
            start_ms, problem, opening = feed.oldest_ms, error, False
        finally:
            end.cancel()


def tell(problem: PositionError, id: str) -> bytes:
    """The event that says why the stream does not begin where the client wanted."""
    goes_on = "from the oldest that is remembered" if isinstance(problem, TooOld) else "from now on"
    content = {"error": problem.name, "try": f"nothing: the stream goes on {goes_on}", "detail": str(problem)}
    return encode_event(to_json(content), problem.name, id)


async def produce(feed: Feed, rate: float, seed: int | None) -> None:
    """Let `rate` changes a second happen, at random times (a Poisson process)."""
    loop = asyncio.get_running_loop()
    draw = random.Random(seed)
    due = loop.time()
    while True:
        due = max(due, loop.time() - LATE_S) + draw.expovariate(rate)
        await asyncio.sleep(due - loop.time())  # in the past: others have their turn, and no more
        feed.publish()


async def get_stats(request: web.Request) -> web.Response:
    feed = request.app[FEED]
    remembered = {"changes": feed.count, "remembered": len(feed.log), "oldest": iso(feed.oldest_ms)}
    return http.reply({**remembered, **stats(request.app[STREAMS])})


def arguments() -> argparse.ArgumentParser:
    parser = http.arguments(__doc__)
    add = parser.add_argument
    add("--rate", type=_rate, default=RATE, help="changes a second; 0: none (%(default)g)")
    add("--life", type=seconds, default=LIFE_S, help="seconds until a stream is ended (%(default)g)")
    add("--keep", type=whole(1, 1_000_000), default=KEEP, help="changes that are remembered (%(default)s)")
    add_arguments(parser)
    # As behind Kafka: a slow reader is behind, and catches up from what is remembered.
    parser.set_defaults(policy="wait")
    return parser


def application(options: argparse.Namespace, clock: Clock = time.time) -> web.Application:
    app = http.application(options)
    feed = app[FEED] = Feed(Changes(options.seed), options.keep, clock)
    app[STREAMS], app[ONCE], app[LIFE] = Streams(options), OncePerEntry(encode), options.life
    app.add_routes(
        [
            web.get("/v2/stream/recentchange", get_changes),
            web.get("/v2/stream/mediawiki.recentchange", get_changes),  # its name in the schema
            web.get("/stats", get_stats),
        ]
    )

    async def producing(app: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(produce(feed, options.rate, options.seed)) if options.rate else None
        yield
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def let_go(app: web.Application) -> None:
        feed.log.close()

    app.cleanup_ctx.append(producing)
    app.on_shutdown.append(let_go)
    return app


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if 0 <= value <= MOST_RATE:
        return value
    raise argparse.ArgumentTypeError(f"expected changes a second from 0 to {MOST_RATE:g}, got {text!r}")


def main() -> None:
    options = arguments().parse_args()
    http.run(application(options), options)


if __name__ == "__main__":
    main()
