"""A tree of documents that pages listen to, in the shape of the Firebase Realtime Database's REST interface.

client -> server   GET /PATH.json               the value there as JSON, null where nothing is; /.json is all
                   PUT, PATCH, POST, DELETE     set it · set these children · add a child · take it away
                   GET with Accept: text/event-stream    listen to that path
server -> client   200, text/event-stream, without an end:

    event: put                      the value now is this. Comes first, and then with each PUT, POST, DELETE
    data: {"path":"/","data":{"name":"Alice"}}

    event: patch                    these children have these values now, their brothers are as they were
    data: {"path":"/status","data":{"typing":true}}

    event: keep-alive               after 30 s of silence
    data: null

    event: cancel                   reading this path is not allowed any more, and the stream ends
    data: "permission denied"

A write reaches every listener of its path, of all paths above it and of all below, in one order for all:
"path" says where it was, seen from the listener. There are no ids: whoever comes back gets the whole value
again, which is simple, and dear where the value is large. So does a reader that falls behind, in place of the
writes that it missed: what counts here is the state, not the way there.

PUT needs no lock when it says what it has seen: ask with X-Firebase-ETag: true, and send the ETag back as
If-Match. If somebody was faster, 412 comes with the value and its new ETag. ?print=silent leaves out the
answer, ?shallow=true the children's values. PUT /fault {"deny": ["/secret"]} forbids reading there.

Left out: authentication (so `auth_revoked`, too), rules, queries, redirects to another host, server values.
One connection of the database's own SDK carries all listeners, over a WebSocket; this is its REST interface.

Run it   python -m servers.document_listeners --port 8008
Try it   curl -N -H 'Accept: text/event-stream' http://127.0.0.1:8008/rooms.json      and elsewhere:
         curl -X PUT -d '{"topic":"lunch"}' http://127.0.0.1:8008/rooms/one.json
         curl -X PATCH -d '{"topic":"dinner"}' http://127.0.0.1:8008/rooms/one.json
"""

import argparse
import asyncio
import hashlib
import secrets
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from servers.core import http
from servers.core.event_stream import STREAMS, Stream, Streams, add_arguments, head_only, stats
from servers.core.http import Refusal
from servers.core.log import Entry, Follower, MessageLog, TooOld, to_json
from servers.core.tree import Change, Path, Tree, TreeError, TreeFull, parse_path, seen_from, shown, text_of

KEEP_ALIVE_S = 30.0  # seconds; the database's own
KEEP = 10_000  # writes that a slow listener may be behind; then it gets the whole value instead
MOST_ENCODED = 1_000  # events that are kept encoded: each goes to all listeners of one path
PUSH_DIGITS = (
    "-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"  # in the order of their codes
)


class Documents:
    """The tree, the log of what was written, and the paths that nobody may read."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.tree = Tree()
        self.log = MessageLog(KEEP)
        self.denied: tuple[Path, ...] = ()
        self.writes = 0
        self._clock = clock
        self._last_push = ""
        self._encoded: dict[tuple[str, Path], bytes] = {}

    def write(self, kind: str, path: Path, value: Any) -> None:
        """Change the tree and tell it. Raises Refusal, and then nothing has changed."""
        try:
            change = self.tree.patch(path, value) if kind == "patch" else self.tree.put(path, value)
        except TreeFull as error:
            raise Refusal(413, str(error), "DELETE what is not needed") from None
        except TreeError as error:
            raise Refusal(400, str(error), '{"topic": "lunch"}') from None
        self.writes += 1
        self.log.append(change.kind, [list(change.path), change.data])

    def deny(self, paths: tuple[Path, ...]) -> None:
        """From now on these may not be read, nor anything below them; whoever listens there is told."""
        self.denied = paths
        self.log.append("cancel", [list(map(list, paths)), None])

    def may_read(self, path: Path) -> bool:
        return not any(path[: len(closed)] == closed for closed in self.denied)

    def push_id(self) -> str:
        """A new child's key: 8 digits of milliseconds and 12 of chance, each larger than the one before."""
        number, digits = int(self._clock() * 1000), ""
        for _ in range(8):
            number, digit = divmod(number, 64)
            digits = PUSH_DIGITS[digit] + digits
        made = digits + "".join(secrets.choice(PUSH_DIGITS) for _ in range(12))
        if made <= self._last_push:  # the same millisecond, or the clock was set back: count on
            made = _next(self._last_push)
        self._last_push = made
        return made

    def encode(self, entry: Entry, listener: Path) -> bytes:
        """What an entry of the log is to a listener's path, encoded once for all who listen there."""
        key = (entry.id, listener)
        raw = self._encoded.get(key)
        if raw is None:
            path, data = entry.data
            seen = seen_from(Change(entry.event, tuple(path), data), listener)
            raw = b"" if seen is None else event(seen[0], to_json({"path": seen[1], "data": seen[2]}))
            self._encoded[key] = raw
            if len(self._encoded) > MOST_ENCODED:
                del self._encoded[next(iter(self._encoded))]
        return raw


def _next(push_id: str) -> str:
    """The key behind this one, of the same length."""
    digits = list(push_id)
    for index in reversed(range(len(digits))):
        place = PUSH_DIGITS.index(digits[index]) + 1
        digits[index] = PUSH_DIGITS[place % 64]
        if place < 64:
            break
    return "".join(digits)


def event(kind: str, data: bytes) -> bytes:
    """One event, without an id: see the module."""
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)


DOCUMENTS: web.AppKey[Documents] = web.AppKey("documents", Documents)


def path_of(request: web.Request) -> Path:
    """The path that a request names. Raises Refusal."""
    raw = request.rel_url.raw_path
    if not raw.endswith(".json"):
        raise Refusal(404, f"there is nothing at {raw[:80]}", "every address ends in .json: /rooms/one.json")
    keys = [unquote(key) for key in raw.removesuffix(".json").split("/") if key]
    try:
        if any("/" in key for key in keys):
            raise TreeError("a key has no / in it, also not as %2F")
        return parse_path("/".join(keys))
    except TreeError as error:
        raise Refusal(400, str(error), "/rooms/one.json") from None


def readable_path(request: web.Request) -> Path:
    path = path_of(request)
    if not request.app[DOCUMENTS].may_read(path):
        raise Refusal(401, f"permission denied at {text_of(path)[:80]}", "another path")
    return path


def etag(value: Any) -> str:
    return "null_etag" if value is None else hashlib.sha256(to_json(value)).hexdigest()[:27]


async def get_value(request: web.Request) -> web.StreamResponse:
    """The value at a path; or, for whoever accepts an event stream, all that becomes of it."""
    path = readable_path(request)
    if "text/event-stream" in request.headers.get("Accept", ""):
        return head_only() if request.method == "HEAD" else await listen(request, path)
    kept = request.app[DOCUMENTS].tree.get(path)
    value = shown(kept)
    if request.query.get("shallow") == "true" and isinstance(kept, dict):
        value = dict.fromkeys(kept, True)
    wants_tag = request.headers.get("X-Firebase-ETag") == "true"
    return answer(request, value, {"ETag": etag(kept)} if wants_tag else None)


def answer(request: web.Request, value: Any, headers: dict[str, str] | None = None) -> web.Response:
    if request.query.get("print") == "silent":
        return web.Response(status=204, headers=headers)
    return http.reply(value, headers={"Cache-Control": "no-cache", **(headers or {})})


async def write_value(request: web.Request) -> web.StreamResponse:
    """PUT, PATCH, POST and DELETE: the answer comes when the write has happened and its place is fixed."""
    documents, path = request.app[DOCUMENTS], path_of(request)
    value = None if request.method == "DELETE" else await http.read_json(request)
    if request.method == "PATCH" and not isinstance(value, dict):
        raise Refusal(400, "a patch is an object of children", '{"topic": "dinner"}')
    if (seen := request.headers.get("If-Match")) is not None:
        if request.method not in ("PUT", "DELETE"):
            raise Refusal(400, "If-Match goes with PUT and DELETE", "leave it out, or PUT the whole value")
        kept = documents.tree.get(path)
        if seen.strip('"') != etag(kept):
            return http.reply(shown(kept), 412, {"ETag": etag(kept)})
    if request.method == "POST":
        child = documents.push_id()
        documents.write("put", (*path, child), value)
        return answer(request, {"name": child})
    documents.write("patch" if request.method == "PATCH" else "put", path, value)
    return answer(request, value)


async def listen(request: web.Request, path: Path) -> web.StreamResponse:
    """Hold the stream open until the client leaves, may not read any more, or the server ends."""
    streams, documents = request.app[STREAMS], request.app[DOCUMENTS]
    if streams.full:
        raise Refusal(503, "there are too many listeners", "later", {"Retry-After": "10"})
    async with streams.open(request) as stream:
        while True:
            # Taken in one turn of the loop: no write can fall between the value and the place to follow from.
            value, position = shown(documents.tree.get(path)), documents.log.position
            follower = documents.log.follow(position, streams.unread, streams.policy, stream.give_up)
            async with follower:
                whole = event("put", to_json({"path": "/", "data": value}))
                await stream.write_pieces(whole[i : i + 65_536] for i in range(0, len(whole), 65_536))
                if not await pass_on(stream, follower, streams, documents, path):
                    return stream.response
            streams.counters.gaps += 1


async def pass_on(
    stream: Stream, follower: Follower, streams: Streams, documents: Documents, path: Path
) -> bool:
    """Tell what is written, in order. True: some of it was skipped, so begin again with the whole value."""
    while True:
        try:
            async with asyncio.timeout(streams.heartbeat_s):
                entry = await anext(follower)
        except StopAsyncIteration:
            return False
        except TimeoutError:
            streams.counters.heartbeats += 1
            await stream.write(event("keep-alive", b"null"))
            continue
        except TooOld:
            return True
        if follower.dropped:
            streams.counters.dropped += follower.dropped
            return True
        if entry.event == "cancel":
            if not documents.may_read(path):
                await stream.write(event("cancel", b'"permission denied"'))
                return False
        elif raw := documents.encode(entry, path):
            streams.counters.events += 1
            await stream.write(raw)


async def put_fault(request: web.Request) -> web.StreamResponse:
    """Forbid reading below these paths, in place of those that were forbidden before."""
    advice = '{"deny": ["/secret"]}'
    value = await http.read_json(request)
    named = value.get("deny") if isinstance(value, dict) and value.keys() == {"deny"} else None
    if not isinstance(named, list) or len(named) > 100 or not all(isinstance(each, str) for each in named):
        raise Refusal(400, "expected an object with deny, a list of at most 100 paths", advice)
    try:
        request.app[DOCUMENTS].deny(tuple(parse_path(each) for each in named))
    except TreeError as error:
        raise Refusal(400, str(error), advice) from None
    return await get_fault(request)


async def get_fault(request: web.Request) -> web.StreamResponse:
    return http.reply({"deny": [text_of(path) for path in request.app[DOCUMENTS].denied]})


async def get_stats(request: web.Request) -> web.StreamResponse:
    return http.reply({"writes": request.app[DOCUMENTS].writes, **stats(request.app[STREAMS])})


def arguments() -> argparse.ArgumentParser:
    parser = http.arguments(__doc__)
    add_arguments(parser)
    # A listener wants the state: whoever is slow is behind, and gets the whole when it is too far behind.
    parser.set_defaults(policy="wait", heartbeat=KEEP_ALIVE_S)
    return parser


def application(options: argparse.Namespace) -> web.Application:
    app = http.application(options)
    app[DOCUMENTS], app[STREAMS] = Documents(), Streams(options)
    app.add_routes([web.get("/stats", get_stats), web.get("/fault", get_fault), web.put("/fault", put_fault)])
    app.router.add_get("/{path:.*}", get_value)
    for method in ("PUT", "PATCH", "POST", "DELETE"):
        app.router.add_route(method, "/{path:.*}", write_value)

    async def let_go(app: web.Application) -> None:
        app[DOCUMENTS].log.close()

    app.on_shutdown.append(let_go)
    return app


def main() -> None:
    options = arguments().parse_args()
    http.run(application(options), options)


if __name__ == "__main__":
    main()
