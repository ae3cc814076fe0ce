"""A dashboard's 200 gauges, of which 3 or 4 change each second: told whole, or as differences.

client -> server   GET /stream?form=full, json-patch or merge-patch; Last-Event-ID (or ?last_event_id=)
                   GET /metrics: all gauges now, for whoever begins or has missed something (with an ETag)
server -> client   200, text/event-stream. First, and after a gap:

    event: snapshot
    id: EPOCH-12
    data: {"version":12,"metrics":{"host-01.cpu":41.7, ...}}          4 250 bytes

    and then, each second, in the form that was asked for:

    event: full                                                      the same again
    event: json-patch      RFC 6902: a list of operations
    data: {"from":12,"version":13,"patch":[{"op":"replace","path":"/host-01.cpu","value":42.1}, ...]}
    event: merge-patch     RFC 7396: an object with what is different
    data: {"from":12,"version":13,"patch":{"host-01.cpu":42.1, ...}}

A difference says between which two versions it lies. A client that has another one than "from" has missed
something, must not apply it, and asks GET /metrics for all. Versions belong to the topic, not to the reader:
each difference is made once for all, and the server keeps no last state of anybody. Slow readers: --policy.
Where an id is of no use, "too old" or "other epoch" says so, and a snapshot follows (as in servers/sse.py).
POST /step lets the next change happen now, which is all that does where the server runs with --still.

Run it   python -m servers.metrics --port 8010 --seed 7
Try it   curl -N 'http://127.0.0.1:8010/stream?form=merge-patch'
         curl http://127.0.0.1:8010/metrics
"""

import argparse
import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

from servers.core import http
from servers.core.event_stream import (
    STREAMS,
    OncePerEntry,
    Stream,
    Streams,
    add_arguments,
    asked_position,
    encode_event,
    encode_retry,
    head_only,
    seconds,
    stats,
    whole,
)
from servers.core.http import Refusal
from servers.core.log import Entry, MessageLog, PositionError, to_json

GAUGES, CHANGES = 200, (3, 4)  # how many there are, and how many change in a step
STEP_S = 1.0  # seconds between two steps
KEEP = 600  # versions that are remembered: ten minutes
FORMS = ("full", "json-patch", "merge-patch")
KINDS = ("cpu", "memory", "disk", "network", "errors")  # of each host


class Gauges:
    """All gauges, and the log of what changed: its offset is the version."""

    def __init__(self, seed: int | None = None, gauges: int = GAUGES, keep: int = KEEP) -> None:
        self._random = random.Random(seed)
        names = [f"host-{1 + index // len(KINDS):02d}.{KINDS[index % len(KINDS)]}" for index in range(gauges)]
        self.metrics = {name: self._random.randrange(1000) / 10 for name in names}
        self.log = MessageLog(keep)
        self.once = {form: OncePerEntry(getattr(self, f"as_{form.replace('-', '_')}")) for form in FORMS}

    @property
    def version(self) -> int:
        return int(self.log.position.rpartition("-")[2])

    def step(self) -> Entry:
        """Let a few gauges change, each to another value than it had."""
        draw = self._random
        changed = {}
        for name in draw.sample(sorted(self.metrics), min(draw.randint(*CHANGES), len(self.metrics))):
            tenths = draw.randrange(999)
            changed[name] = (tenths + (tenths >= round(10 * self.metrics[name]))) / 10
        self.metrics |= changed
        return self.log.append("changed", changed)

    def snapshot(self) -> dict[str, Any]:
        return {"version": self.version, "metrics": self.metrics}

    # Each of these is called once for a version; see OncePerEntry.

    def as_full(self, entry: Entry) -> bytes:
        """All gauges. Only the newest version is ever told so: the whole makes those before it worthless."""
        return encode_event(to_json(self.snapshot()), "full", self.log.position)

    def as_json_patch(self, entry: Entry) -> bytes:
        patch = [{"op": "replace", "path": f"/{name}", "value": value} for name, value in entry.data.items()]
        return encode_event(to_json({**_between(entry), "patch": patch}), "json-patch", entry.id)

    def as_merge_patch(self, entry: Entry) -> bytes:
        return encode_event(to_json({**_between(entry), "patch": entry.data}), "merge-patch", entry.id)


def _between(entry: Entry) -> dict[str, int]:
    return {"from": entry.offset - 1, "version": entry.offset}


THE_GAUGES: web.AppKey[Gauges] = web.AppKey("gauges", Gauges)


async def get_metrics(request: web.Request) -> web.StreamResponse:
    gauges = request.app[THE_GAUGES]
    return http.with_etag(request, gauges.log.position, lambda: http.reply(gauges.snapshot()))


async def get_stream(request: web.Request) -> web.StreamResponse:
    """Hold the stream open until the client leaves, is too slow, or the server ends."""
    streams, gauges = request.app[STREAMS], request.app[THE_GAUGES]
    form = request.query.get("form", "full")
    if form not in FORMS:
        raise Refusal(400, f"there is no form {form[:40]!r}", f"/stream?form= one of {', '.join(FORMS)}")
    if request.method == "HEAD":
        return head_only()
    if streams.full:
        return streams.turn_away("")
    position = asked_position(request)
    streams.counters.resumed += position is not None
    async with streams.open(request) as stream:
        await feed(stream, streams, gauges, form, position)
    return stream.response


async def feed(stream: Stream, streams: Streams, gauges: Gauges, form: str, position: str | None) -> None:
    """A snapshot where the client has no place yet, or none of use; and then all that changes."""
    log = gauges.log
    policy = "keep latest" if form == "full" else streams.policy
    first, told = encode_retry(streams.retry_ms()), b""
    while True:
        try:
            start = log.position if position is None else position
            async with log.follow(start, streams.unread, policy, stream.give_up) as follower:
                place = b"id: %b\n\n" % start.encode()
                if position is None:
                    place = encode_event(to_json(gauges.snapshot()), "snapshot", start)
                # In one block: cut between two, the client would have the new place and not know of the gap.
                await stream.write(first + told + place)
                first = told = b""
                await stream.pass_on(follower, gauges.once[form])
                return
        except PositionError as error:
            streams.counters.gaps += 1
            problem = {"error": error.name, "try": "begin again with the snapshot", "detail": str(error)}
            told = encode_event(to_json(problem), error.name, f"{log.epoch}-0")
            position = None


async def get_stats(request: web.Request) -> web.StreamResponse:
    gauges = request.app[THE_GAUGES]
    return http.reply({"version": gauges.version, **stats(request.app[STREAMS])})


async def produce(gauges: Gauges, step_s: float) -> None:
    """Change the gauges for ever, at a steady pace; what a pause held up is left out."""
    loop = asyncio.get_running_loop()
    due = loop.time()
    while True:
        due = max(due + step_s, loop.time())
        await asyncio.sleep(due - loop.time())
        gauges.step()


def arguments() -> argparse.ArgumentParser:
    parser = http.arguments(__doc__)
    add = parser.add_argument
    add("--gauges", type=whole(1, 10_000), default=GAUGES, help="how many there are (%(default)s)")
    add("--step", type=seconds, default=STEP_S, help="seconds between two changes (%(default)g)")
    add("--still", action="store_true", help="nothing changes by itself: POST /step does it")
    add("--keep", type=whole(1, 1_000_000), default=KEEP, help="versions that are remembered (%(default)s)")
    add_arguments(parser)
    return parser


async def post_step(request: web.Request) -> web.StreamResponse:
    """Let one step happen now: for measuring, where a clock would be in the way."""
    entry = request.app[THE_GAUGES].step()
    return http.reply({"version": entry.offset, "id": entry.id}, 201)


def application(options: argparse.Namespace) -> web.Application:
    app = http.application(options)
    gauges = app[THE_GAUGES] = Gauges(options.seed, options.gauges, options.keep)
    app[STREAMS] = Streams(options)
    app.add_routes(
        [
            web.get("/stream", get_stream),
            web.get("/metrics", get_metrics),
            web.post("/step", post_step),
            web.get("/stats", get_stats),
        ]
    )

    async def producing(app: web.Application) -> AsyncIterator[None]:
        task = None if options.still else asyncio.create_task(produce(gauges, options.step))
        yield
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def let_go(app: web.Application) -> None:
        gauges.log.close()

    app.cleanup_ctx.append(producing)
    app.on_shutdown.append(let_go)
    return app


def main() -> None:
    options = arguments().parse_args()
    http.run(application(options), options)


if __name__ == "__main__":
    main()
