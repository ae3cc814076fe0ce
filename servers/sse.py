"""Server-Sent Events: the client asks once, and the server goes on answering.

client -> server   GET /events[?channel=NAME][&last_event_id=POSITION], or the same with a header
                   Last-Event-ID: POSITION, which wins: the browser sends it when it connects again
server -> client   200, text/event-stream, without an end:

    retry: 4711                     wait so many milliseconds before you connect again; drawn for each client
    id: EPOCH-6                     and that is your place, although nothing has happened yet

    event: message                  or price, score: whatever was posted
    id: EPOCH-7                     where to go on from
    data: "hello"                   JSON, and so always one line

    :                               a heartbeat, after 15 s of silence

Without a position you get all that is remembered, and then each message as it comes. With one, you get what
came after it. Where that cannot be had whole, you are told, and begin again:

    event: too old                  or: other epoch, bad position
    data: {"error": "too old", "try": ..., "detail": ...}

    event: snapshot                 all that is remembered, in place of all that you have
    data: {"messages": [{"id", "event", "data"}, ...], "position": POSITION}

These are events and no 400 or 410, since any status but 200 ends an EventSource for good. That goes for "bad
position" as well: the page cannot change the header that its browser sends. Other events about the stream
itself: "dropped" {"messages": how many were skipped}, by the policies that skip, and "busy", with the end of
the stream, when too many are open.

Posting a message is the same as in the polling servers (core/board.py), and GET /messages is long_polling's.
Lessons break things with PUT /fault {"status": 503, "content_type": "text/plain", "unchunked": true,
"cut_after": 3}; what is not named stays, null or false mends it. GET /stats counts.

Run it   python -m servers.sse --port 8003
Try it   curl -N http://127.0.0.1:8003/events        and, from another terminal:
         curl -d '{"data": "hello"}' http://127.0.0.1:8003/messages
         curl -N -H 'Last-Event-ID: POSITION' http://127.0.0.1:8003/events
"""

import argparse
import re
from dataclasses import asdict, dataclass, replace
from typing import Any

from aiohttp import web

from servers.core import board, http
from servers.core.event_stream import (
    HEAD,
    STREAMS,
    OncePerEntry,
    Stream,
    Streams,
    add_arguments,
    asked_position,
    encode_event,
    encode_retry,
    head_only,
    snapshot,
    stats,
    whole,
)
from servers.core.http import Refusal
from servers.core.log import KEEP, MessageLog, PositionError, to_json

STATUSES = (204, 404, 429, 500, 503)  # each ends an EventSource, whatever Retry-After says
RESERVED = (
    "bad position",
    "other epoch",
    "too old",
    "snapshot",
    "dropped",
    "busy",
)  # about the stream itself
MOST_CUT = 1_000_000  # events; a stream that is cut later than that is not cut in a lesson

_TYPE = re.compile(r"[A-Za-z0-9.+-]{1,40}/[A-Za-z0-9.+-]{1,40}")
_PLAIN_ID = re.compile(r"[A-Za-z0-9-]{1,128}")


@dataclass(frozen=True)
class Fault:
    """What GET /events does wrong, by order of PUT /fault."""

    status: int | None = None  # answer with this, and no stream
    content_type: str | None = None  # in place of text/event-stream
    unchunked: bool = False  # no chunks: the stream ends with its connection, as from an HTTP/1.0 server
    cut_after: int | None = None  # events; then the stream ends


FAULT: web.AppKey[list[Fault]] = web.AppKey("fault", list)  # the one that holds now
ONCE: web.AppKey[OncePerEntry] = web.AppKey("once", OncePerEntry)


class _Unchunked(web.StreamResponse):
    _length_check = False  # aiohttp then adds neither Content-Length nor chunks


async def get_events(request: web.Request) -> web.StreamResponse:
    """Hold the stream open until the client leaves, is too slow, or the server ends."""
    streams, [fault] = request.app[STREAMS], request.app[FAULT]
    log = request.app[board.BOARD].log(request)
    asked = asked_position(request)
    if fault.status is not None:
        return refused(fault.status)
    if request.method == "HEAD":
        return head_only()
    if streams.full:
        # Its own place back, or none: this client has missed nothing yet, and must not lose its place here.
        return streams.turn_away(asked if asked and _PLAIN_ID.fullmatch(asked) else "")
    response = _Unchunked() if fault.unchunked else web.StreamResponse()
    response.headers["Content-Type"] = fault.content_type or HEAD["Content-Type"]
    if asked is not None:
        streams.counters.resumed += 1
    async with streams.open(request, response) as stream:
        await feed(stream, streams, log, asked, request.app[ONCE], fault.cut_after)
    return response


async def feed(
    stream: Stream,
    streams: Streams,
    log: MessageLog,
    position: str | None,
    once: OncePerEntry,
    most: int | None = None,
) -> None:
    """History after `position`, and then live. At a gap, tell it, send a snapshot, and go on behind that."""
    opened = False
    while True:
        try:
            follower = log.follow(position, streams.unread, streams.policy, stream.give_up)
            async with follower:
                if not opened:
                    opened = True
                    await stream.write(encode_retry(streams.retry_ms(), follower.position))
                return await stream.pass_on(follower, once, most)
        except PositionError as error:  # at once, or later on: of a reader that the history has overtaken
            streams.counters.gaps += 1
            # This place is older than all that is remembered: should the stream be cut before the snapshot
            # has arrived, the client is told again.
            before = f"{log.epoch}-0"
            problem = {"error": error.name, "try": "begin again with the snapshot", "detail": str(error)}
            told = encode_event(to_json(problem), error.name, before)
            # In one block: cut between two, the client would have the new place and not know of the gap.
            await stream.write(told if opened else encode_retry(streams.retry_ms()) + told)
            opened = True
            entries, position = log.after(None), log.position
            await stream.write_pieces(snapshot(entries, position))


def refused(status: int) -> web.Response:
    """The planned answer instead of a stream."""
    if status == 204:
        return web.Response(status=204)
    more = {"Retry-After": "1"} if status in (429, 503) else {}
    raise Refusal(status, "planned failure", 'PUT /fault {"status": null}', more)


async def get_fault(request: web.Request) -> web.Response:
    return http.reply(asdict(request.app[FAULT][0]))


async def put_fault(request: web.Request) -> web.Response:
    """Change what is named, for streams that open from now on. Those that are open go on."""
    change = parse_fault(await http.read_json(request))
    request.app[FAULT][:] = [replace(request.app[FAULT][0], **change)]
    return await get_fault(request)


def parse_fault(value: Any) -> dict[str, Any]:
    """The named changes of a PUT /fault. Raises Refusal."""
    advice = '{"status": 503}, {"content_type": "text/plain"}, {"unchunked": true} or {"cut_after": 3}'
    if not isinstance(value, dict) or not value.keys() <= set(asdict(Fault())):
        raise Refusal(400, f"expected an object with {', '.join(asdict(Fault()))}", advice)
    status = value.get("status")
    if status is not None and (type(status) is not int or status not in STATUSES):
        raise Refusal(400, f"expected as status null or one of {', '.join(map(str, STATUSES))}", advice)
    kind = value.get("content_type")
    if kind is not None and not (isinstance(kind, str) and _TYPE.fullmatch(kind)):
        raise Refusal(400, "expected as content_type null or a type like text/plain", advice)
    if type(value.get("unchunked", False)) is not bool:
        raise Refusal(400, "expected as unchunked true or false", advice)
    most = value.get("cut_after")
    if most is not None and (type(most) is not int or not 0 <= most <= MOST_CUT):
        raise Refusal(400, f"expected as cut_after null or a number from 0 to {MOST_CUT}", advice)
    return value


async def get_stats(request: web.Request) -> web.Response:
    this = request.app[board.BOARD]
    polls = {**asdict(this.counters), "channels": len(this.channels)}
    return http.reply({**polls, **stats(request.app[STREAMS])})


async def get_messages(request: web.Request) -> web.StreamResponse:
    """The same log for those who ask: at once, or held for `wait` seconds, as long polling does."""
    this = request.app[board.BOARD]
    since = request.query.get("since")
    with this.poll():
        wait_s = board.wait_seconds(request.query.get("wait"), since is not None)
        log = this.log(request)
        try:
            entries = await log.wait_after(since, wait_s)
        except PositionError as error:
            return this.position_error(request, log, error)
        return this.answer(request, log, since, entries)


def arguments() -> argparse.ArgumentParser:
    parser = http.arguments(__doc__)
    keep = "messages each channel remembers (%(default)s)"
    parser.add_argument("--keep", type=whole(1, 1_000_000), default=KEEP, help=keep)
    add_arguments(parser)
    return parser


def application(options: argparse.Namespace) -> web.Application:
    this = board.Board(board.Channels(options.keep))
    this.reserved = RESERVED
    app = http.application(options)
    app[board.BOARD], app[STREAMS], app[FAULT], app[ONCE] = this, Streams(options), [Fault()], OncePerEntry()
    app.add_routes(
        [
            web.get("/events", get_events),
            web.get("/messages", get_messages),
            web.post("/messages", this.post_message),
            web.get("/stats", get_stats),
            web.get("/fault", get_fault),
            web.put("/fault", put_fault),
        ]
    )

    async def let_go(app: web.Application) -> None:
        this.channels.close()

    app.on_shutdown.append(let_go)
    return app


def main() -> None:
    options = arguments().parse_args()
    http.run(application(options), options)


if __name__ == "__main__":
    main()
