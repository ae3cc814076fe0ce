"""Notifications for the users of a shop: orders, price alerts, a flash sale. Stored, pushed, read, replayed.

POST /notifications {"user": "alice", "kind": "order", "data": ANY}     and, better, Idempotency-Key: KEY
                    {"kind": "flash_sale", "data": ANY}                 no user: it goes to everyone
    201 {"id": NID, "kind", "everyone": false, "at": seconds since 1970, "data"}: it is on the disk
    The same key and the same notification again: the same answer, and nothing is stored twice. The same key
    with another one: 422. The key may be in the body instead, as "idempotency_key".
GET /users/ID/notifications[?since=POSITION][&limit=N][&unread=true]    oldest first, and at most N
    200 {"notifications": [{"id", "kind", "everyone", "at", "data", "read"}...], "position": POSITION,
         "more": whether to ask again with since=POSITION, "unread": how many in all}
GET /users/ID/events[?last_event_id=POSITION], or with the header       text/event-stream; header before query

    event: order                    or price_alert, flash_sale
    id: NID                         a notification's id is its place in the stream, and a POSITION
    data: {"id", "kind", ...}       as in the list, without "read"

    event: other epoch              or: bad position. This place is of no use here: all that there is follows
POST /users/ID/notifications/NID/read       200 {"id", "read": true, "at": when first}; as often as you like
GET, PUT /users/ID/preferences {"flash_sale": false}    mute a kind for this user: 200, all kinds
GET /stats                                  counters of this instance

A page asks for the list, and opens the stream with ?last_event_id= the list's position: nothing falls between
the two. Without a position, a stream begins with all that is stored. Whoever was away sends the last id that
it saw, and gets what came since, from the store, in pages. Ids come from the store, so that any instance
over the same store takes the reconnect, also after a restart, and no load balancer needs sticky sessions.

Start as many instances as you like with one --database. That is a file (SQLite, all on one machine) or
postgresql+psycopg://USER@HOST/DATABASE. Without, the store is a temporary file that ends with the server.
Kill any of them at any moment: what was answered with 201 is there, and there once; what was not may be there
or not, so send it again with its key. How this comes about: core/notification_store.py, and the live part in
core/notification_feed.py. Errors are JSON, {"error", "try"}. 429: this recipient has had its share for this
minute. 503: the store does not answer, or too many want to write.

Left out: log-in (whoever names a user reads its list), quiet hours, mobile push and mail, an end of the sale,
deleting what is old, telling a user's other devices what was read.

Run it   python -m servers.notifications --port 8010 --database shop.db
Try it   curl -N http://127.0.0.1:8010/users/alice/events        and, from another terminal:
         curl -H 'Idempotency-Key: 1' -d '{"user": "alice", "kind": "order", "data": "on its way"}' \\
              http://127.0.0.1:8010/notifications
"""

import argparse
import asyncio
import re
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from aiohttp import web

from servers.core import http
from servers.core.event_stream import (
    HEARTBEAT_S,
    MOST_STREAMS,
    STREAMS,
    UNREAD,
    OncePerEntry,
    Stream,
    Streams,
    asked_position,
    encode_event,
    encode_retry,
    head_only,
    seconds,
    stats,
    whole,
)
from servers.core.http import Refusal
from servers.core.log import BadPosition, PositionError, to_json

try:
    from sqlalchemy import URL

    from servers.core import notification_store
    from servers.core.notification_feed import Feed, Threads
    from servers.core.notification_store import EVERYONE, KINDS, KeyTaken, Note, Store, StoreError, TooMany
except ModuleNotFoundError as error:
    raise SystemExit(f"This server needs the package {error.name}. Try: pip install sqlalchemy") from None

MAX_DATA = 4096  # bytes of JSON; what Apple and Google take as the payload of a push message
MOST_AT_ONCE = 1000  # notifications in one answer; four megabytes at worst
MOST_PER_MINUTE = 3000  # for one recipient, and for everyone; more is a loop gone wild
MOST_WRITING = 200  # writes that wait for their turn; at some milliseconds each, a second's worth

_USER = re.compile(r"[A-Za-z0-9_.@+-]{1,64}")
_KEY = re.compile(r"[!#-\[\]-~]{1,255}")  # what is seen of ASCII, without " and \
_PLAIN_ID = re.compile(r"[A-Za-z0-9-]{1,128}")
_FIELDS = ("user", "kind", "data", "idempotency_key")
_EXAMPLE = '{"user": "alice", "kind": "order", "data": {"order": 7, "state": "sent"}}'


class Shop:
    """One instance: its store, its feed, its counters."""

    def __init__(self, store: Store, options: argparse.Namespace) -> None:
        self.store = store
        self.threads = Threads()
        self.feed = Feed(store, self.threads, options.unread)
        self.once = OncePerEntry()
        self.counters: Counter[str] = Counter()


SHOP: web.AppKey[Shop] = web.AppKey("shop", Shop)


@contextmanager
def answering(advice: str = "the same again") -> Iterator[None]:
    """Turn the store's errors, and its positions', into answers."""
    try:
        yield
    except StoreError as error:
        raise Refusal(503, f"the store does not answer: {error}", advice, {"Retry-After": "1"}) from error
    except PositionError as error:
        raise Refusal(400, f"{error.name}: {error}", "begin again without since") from error


async def write(request: web.Request, call: Any, *arguments: Any) -> Any:
    """Change the store, in turn. Raises Refusal, or what the store raises besides StoreError."""
    threads = request.app[SHOP].threads
    if threads.writing >= MOST_WRITING:
        raise Refusal(503, f"{MOST_WRITING} writes wait already", "later", {"Retry-After": "1"})
    with answering("the same again, with the same Idempotency-Key: it may be stored, or not"):
        return await threads.write(call, *arguments)


# ---- publishing ----


async def post_notification(request: web.Request) -> web.Response:
    shop = request.app[SHOP]
    recipient, kind, data, key = parse_notification(await http.read_json(request), key_in_head(request))
    try:
        note, new = await write(request, shop.store.publish, recipient, kind, data, key)
    except KeyTaken:
        shop.counters["conflicts"] += 1
        text = f"the Idempotency-Key {key} was used for another notification"
        raise Refusal(422, text, "a new key for what is new, the same body for what is sent again") from None
    except TooMany:
        shop.counters["limited"] += 1
        whom = f"user {recipient}" if recipient else "everyone"
        text = f"{whom} had as many notifications in the last minute as anybody may get"
        raise Refusal(429, text, "later", {"Retry-After": "10"}) from None
    shop.counters["published" if new else "repeated"] += 1
    if new:
        shop.feed.look()
    return http.reply(note.content(), 201)


def key_in_head(request: web.Request) -> str | None:
    """The Idempotency-Key, in quotes as the IETF's draft has it (RFC 9651, 3.3.3), or bare as usual."""
    fields = request.headers.getall("Idempotency-Key", [])
    if len(fields) > 1:
        raise Refusal(
            400, f"expected one Idempotency-Key, got {len(fields)}", "one key for each notification"
        )
    key = fields[0].strip() if fields else None
    return key[1:-1] if key and len(key) > 1 and key[0] == key[-1] == '"' else key


def parse_notification(value: Any, key: str | None) -> tuple[str, str, Any, str | None]:
    """(recipient, kind, data, key) of a POST /notifications. Raises Refusal."""
    if not isinstance(value, dict) or not value.keys() <= set(_FIELDS) or "data" not in value:
        raise Refusal(400, f"expected an object with data, kind and, perhaps, {', '.join(_FIELDS)}", _EXAMPLE)
    kind, user, named = value.get("kind"), value.get("user"), value.get("idempotency_key")
    if kind not in KINDS:
        raise Refusal(400, f"expected as kind one of {', '.join(KINDS)}", _EXAMPLE)
    if user is None and kind != "flash_sale":
        raise Refusal(400, f"whose {kind}? Only a flash_sale may be without user, for everyone", _EXAMPLE)
    if user is not None:
        check_user(user)
    try:
        size = len(to_json(value["data"]))
    except UnicodeEncodeError:  # JSON can spell half of a surrogate pair, UTF-8 cannot
        raise Refusal(400, "data has half a character in it, like \\ud83d", "send text in UTF-8") from None
    if size > MAX_DATA:
        raise Refusal(413, f"data has {size} bytes as JSON, {MAX_DATA} is the limit", "send a link to it")
    if named is not None and key is not None and named != key:
        raise Refusal(400, "the Idempotency-Key and idempotency_key differ", "one of them")
    key = named if key is None else key
    if key is not None and not (isinstance(key, str) and _KEY.fullmatch(key)):
        raise Refusal(400, "expected as key 1 to 255 visible characters of ASCII", "a UUID")
    return user or EVERYONE, kind, value["data"], key


def check_user(name: Any) -> str:
    if isinstance(name, str) and _USER.fullmatch(name):
        return name
    raise Refusal(400, f"{str(name)[:80]!r} is no user", "up to 64 of the characters A-Z a-z 0-9 _ . @ + -")


# ---- reading ----


async def get_notifications(request: web.Request) -> web.Response:
    shop, user, query = request.app[SHOP], check_user(request.match_info["user"]), request.query
    unread = query.get("unread", "false")
    if unread not in ("true", "false"):
        raise Refusal(400, f"unread={unread[:40]} is neither true nor false", "unread=true")
    try:
        limit = whole(1, MOST_AT_ONCE)(query.get("limit", str(MOST_AT_ONCE)))
    except argparse.ArgumentTypeError as error:
        raise Refusal(400, f"limit: {error}", "limit=100") from None
    with answering():
        after = shop.store.number(query["since"]) if query.get("since") else 0
        page = await shop.threads.read(shop.store.page, user, after, limit, unread == "true")
    notes = [listed(note) for note in page.notes]
    answer = {"notifications": notes, "position": page.position, "more": page.more, "unread": page.unread}
    return http.reply(answer, headers={"Cache-Control": "no-store"})


def listed(note: Note) -> dict[str, Any]:
    return {**note.content(), "read": note.read}


async def post_read(request: web.Request) -> web.Response:
    shop, user, nid = request.app[SHOP], check_user(request.match_info["user"]), request.match_info["nid"]
    at = None
    with suppress(PositionError):  # an id from elsewhere is the id of nothing here
        at = await write(request, shop.store.mark_read, user, shop.store.number(nid))
    if at is None:
        raise Refusal(404, f"{user} has no notification {nid[:80]}", f"GET /users/{user}/notifications")
    return http.reply({"id": nid, "read": True, "at": at})


async def get_preferences(request: web.Request) -> web.Response:
    shop, user = request.app[SHOP], check_user(request.match_info["user"])
    with answering():
        return http.reply(await shop.threads.read(shop.store.preferences, user))


async def put_preferences(request: web.Request) -> web.Response:
    """Change what is named. It holds at once, and on every instance."""
    shop, user = request.app[SHOP], check_user(request.match_info["user"])
    wanted = await http.read_json(request)
    fits = isinstance(wanted, dict) and all(type(value) is bool for value in wanted.values())
    if not fits or not wanted.keys() <= set(KINDS):
        raise Refusal(
            400, f"expected an object with {', '.join(KINDS)}: true or false", '{"flash_sale": false}'
        )
    return http.reply(await write(request, shop.store.prefer, user, wanted))


# ---- the stream ----


async def get_events(request: web.Request) -> web.StreamResponse:
    """Hold the stream open until the client leaves, the store fails, or the server ends."""
    shop, streams, user = request.app[SHOP], request.app[STREAMS], check_user(request.match_info["user"])
    asked = asked_position(request)
    if request.method == "HEAD":
        return head_only()
    busy = asked if asked and _PLAIN_ID.fullmatch(asked) else ""  # its own place back: it has missed nothing
    if streams.full:
        return streams.turn_away(busy)
    try:
        # Not this instance's own idea of the newest: the client may come from one that is further on.
        newest = await shop.threads.read(shop.store.newest)
    except StoreError:
        return streams.turn_away(busy)
    streams.counters.resumed += asked is not None
    async with streams.open(request) as stream:
        with suppress(StoreError):  # the stream ends, and its client comes again
            await feed(stream, streams, shop, user, asked, newest)
    return stream.response


async def feed(
    stream: Stream, streams: Streams, shop: Shop, user: str, asked: str | None, newest: int
) -> None:
    """What this user missed since `asked`, and then live."""
    after, start = 0, f"{shop.store.epoch}-0"
    told = b""
    try:
        if asked is not None and (after := shop.store.number(asked)) > newest:
            raise BadPosition(f"position {asked} is ahead of the newest, {shop.store.epoch}-{newest}")
    except PositionError as error:
        # An event and no 400, after which an EventSource would stay away for good.
        streams.counters.gaps += 1
        after = 0
        problem = {"error": error.name, "try": "begin again with what follows", "detail": str(error)}
        told = encode_event(to_json(problem), error.name, start)
    follower = shop.feed.follow(user, after)
    try:
        await stream.write(encode_retry(streams.retry_ms(), f"{shop.store.epoch}-{after}") + told)
        await stream.pass_on(follower, shop.once)
    finally:
        follower.close()


async def get_stats(request: web.Request) -> web.Response:
    shop = request.app[SHOP]
    counted = {name: shop.counters[name] for name in ("published", "repeated", "conflicts", "limited")}
    about = {"store": shop.store.dialect, "looks": shop.feed.looks, "writing": shop.threads.writing}
    return http.reply({**counted, **about, **stats(request.app[STREAMS])})


# ---- start and end ----


def url_of_database(text: str) -> URL:
    """The type of --database."""
    try:
        return notification_store.database_url(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def arguments() -> argparse.ArgumentParser:
    parser = http.arguments(__doc__)
    add = parser.add_argument
    add("--database", type=url_of_database, help="a file for SQLite, or a URL (a temporary file)")
    add("--heartbeat", type=seconds, default=HEARTBEAT_S, help="seconds of silence before a comment")
    add(
        "--unread", type=whole(1, 100_000), default=UNREAD, help="events held for a slow reader (%(default)s)"
    )
    add("--most-streams", type=whole(1, 1_000_000), default=MOST_STREAMS, help="open at once (%(default)s)")
    rate = "for one recipient (%(default)s)"
    add("--most-per-minute", type=whole(1, 1_000_000), default=MOST_PER_MINUTE, help=rate)
    add("--seed", type=int, help="make everything that is drawn the same each time")
    parser.set_defaults(policy="wait")  # the store is every reader's queue
    return parser


def application(options: argparse.Namespace, store: Store) -> web.Application:
    app = http.application(options)
    shop = app[SHOP] = Shop(store, options)
    app[STREAMS] = Streams(options)
    app.add_routes(
        [
            web.post("/notifications", post_notification),
            web.get("/users/{user}/notifications", get_notifications),
            web.post("/users/{user}/notifications/{nid}/read", post_read),
            web.get("/users/{user}/preferences", get_preferences),
            web.put("/users/{user}/preferences", put_preferences),
            web.get("/users/{user}/events", get_events),
            web.get("/stats", get_stats),
        ]
    )

    async def running(app: web.Application) -> AsyncIterator[None]:
        newest = await shop.threads.read(store.newest)  # before anybody can ask: see Feed
        looking = asyncio.create_task(shop.feed.run(newest))
        yield
        looking.cancel()
        shop.threads.close()

    async def let_go(app: web.Application) -> None:
        shop.feed.close()

    app.cleanup_ctx.append(running)
    app.on_shutdown.append(let_go)
    return app


def main() -> None:
    options = arguments().parse_args()
    with ExitStack() as stack:
        url = options.database
        if url is None:
            own = tempfile.TemporaryDirectory(prefix="notifications-", ignore_cleanup_errors=True)
            url = url_of_database(str(Path(stack.enter_context(own), "store.db")))
        try:
            store = Store(url, options.most_per_minute)
        except StoreError as error:
            raise SystemExit(
                f"Cannot open the store {url!r}: {error}. Is its server up, its folder there?"
            ) from error
        except ModuleNotFoundError as error:
            raise SystemExit(
                f"PostgreSQL needs the package {error.name}. Try: pip install 'psycopg[binary]'"
            ) from error
        stack.callback(store.close)
        http.run(application(options, store), options)


if __name__ == "__main__":
    main()
