"""Event streams from the server's side: the bytes of an event, and open streams that stay within bounds.

What goes over the wire is text, in UTF-8 (WHATWG HTML, 9.2.5):

    event: price                what kind, for addEventListener("price", ...)
    id: EPOCH-7                 where to go on from, should the stream be cut behind this event
    data: {"bid": 101.5}        what happened
                                the blank line delivers the event
    :                           a comment: nobody sees it, but the line is not idle any more

An EventSource connects again after a stream that ends, and after a cut. After any status but 200 it never
does. So all that a client can live with is told as an event, also that its position is of no use here.

Every block with an event carries an id, though it may be an old one. A new stream begins without any (9.2.6),
and a first event without id would make the client forget the place that it has.
"""

import argparse
import asyncio
import math
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from aiohttp import web

from servers.core import http
from servers.core.connection import Connection
from servers.core.log import POLICIES, Entry, SlowFollower, to_json

HEARTBEAT_S = 15.0  # seconds of silence before a comment; WHATWG HTML, 9.2.7: "every 15 seconds or so"
RETRY_MS = (1_000, 10_000)  # milliseconds; left alone, browsers all wait the same 3 s and come as one crowd
BUSY_RETRY_MS = (10_000, 30_000)  # milliseconds; whoever was turned away came too early
MOST_STREAMS = 10_000  # streams open at once; each takes a descriptor, and about 13 kB
UNREAD = 100  # events that a reader may be behind before its policy decides
STUCK_S = 60.0  # seconds for a reader to take anything at all, whatever the policy
SEND_BUFFER = 64 * 1024  # bytes; left alone, Linux keeps 4 MiB for a reader that never reads
PIECE = 32 * 1024  # bytes of a large event that are written at a time
TURN = 32  # events to one reader in a row; then others have their turn, although it would take more at once

HEARTBEAT = b":\n\n"  # the blank line delivers nothing, and lets parsers go on that wait for whole blocks
HEAD = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",  # nginx would collect events, and deliver them when the stream ends
}


def encode_event(data: bytes, event: str, id: str) -> bytes:
    """One event. Raises ValueError for a value that would break out of its line."""
    return b"event: %b\nid: %b\ndata: %b\n\n" % (_line(event), _line(id), _line(data))


def encode_retry(retry_ms: int, id: str | None = None) -> bytes:
    """A block without data: nothing is delivered, but the client knows its place, and how long to wait.

    Without an id no block yet, but the first line of one.
    """
    return b"retry: %d\n" % retry_ms if id is None else b"retry: %d\nid: %b\n\n" % (retry_ms, _line(id))


def encode_entry(entry: Entry) -> bytes:
    """An entry of a log as an event."""
    return encode_event(entry.json, entry.event, entry.id)


def place_before(entry: Entry) -> str:
    """The position from which this entry is the next."""
    return f"{entry.id.rpartition('-')[0]}-{entry.offset - 1}"


def _line(value: bytes | str) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    if b"\n" in raw or b"\r" in raw or b"\0" in raw:  # NUL breaks no line, but makes an id void
        raise ValueError(f"expected one line without NUL for a field of an event, got {raw[:80]!r}")
    return raw


class OncePerEntry:
    """Encodes each entry once, however many streams it goes to. Remembers the last few."""

    def __init__(self, encode: Callable[[Entry], bytes] = encode_entry, keep: int = 2 * UNREAD) -> None:
        self._encode = encode
        self._keep = keep
        self._known: dict[str, bytes] = {}  # by the entry's id, the oldest first

    def __call__(self, entry: Entry) -> bytes:
        raw = self._known.get(entry.id)
        if raw is None:
            raw = self._known[entry.id] = self._encode(entry)
            if len(self._known) > self._keep:
                del self._known[next(iter(self._known))]
        return raw


class Source(Protocol):
    """Where a stream's entries come from: a log's Follower, or what is like one."""

    dropped: int  # entries skipped so far

    def __anext__(self) -> Awaitable[Entry]: ...


@dataclass
class Counters:
    open: int = 0
    most_open: int = 0
    opened: int = 0
    resumed: int = 0  # of those opened, with a position
    busy: int = 0  # turned away
    events: int = 0  # written, to all streams together
    heartbeats: int = 0
    gaps: int = 0  # positions of no use, told to their clients
    dropped: int = 0  # events skipped by a policy
    slow: int = 0  # streams cut since their reader was too slow


class Stream:
    """One open stream: writes blocks to one client, and gives it up when it takes none."""

    def __init__(self, request: web.Request, response: web.StreamResponse, streams: "Streams") -> None:
        self.response = response
        self._transport = request.transport
        self._streams = streams

    async def write(self, raw: bytes) -> None:
        """Send these bytes at once. Waits while the client's buffers are full, for STUCK_S at most."""
        transport = self._transport
        if transport is None or transport.get_write_buffer_size() + len(raw) < http.SMALL:
            await self.response.write(raw)
            return
        try:
            async with asyncio.timeout(STUCK_S):
                await self.response.write(raw)
        except TimeoutError:
            self.give_up()
            raise ConnectionResetError("the client takes nothing") from None

    async def write_pieces(self, parts: Iterable[bytes]) -> None:
        """Send a large event as the client takes it; it never lies in memory as a whole."""
        piece = bytearray()
        for part in parts:
            piece += part
            if len(piece) >= PIECE:
                await self.write(bytes(piece))
                piece.clear()
                await asyncio.sleep(0)  # others have their turn
        await self.write(bytes(piece))

    def give_up(self) -> None:
        """Cut the connection: for a reader that is too slow. A write that waits on it fails."""
        self._streams.counters.slow += 1
        if self._transport is not None:
            self._transport.abort()

    async def pass_on(
        self,
        follower: Source,
        encode: Callable[[Entry], bytes],
        most: int | None = None,
        before: Callable[[Entry], str] = place_before,
    ) -> None:
        """Write what the follower brings, until it ends or `most` events are written.

        In silence, a heartbeat. What the policy skipped is told before the event behind the gap; `before`
        gives the id for that, the place just in front of an entry.
        """
        counters = self._streams.counters
        written = dropped = 0
        while written != most:
            try:
                async with asyncio.timeout(self._streams.heartbeat_s):
                    entry = await anext(follower)
            except StopAsyncIteration:
                return
            except TimeoutError:  # nothing is lost: an entry is taken without waiting, or not at all
                counters.heartbeats += 1
                await self.write(HEARTBEAT)
                continue
            if follower.dropped > dropped:
                missed, dropped = follower.dropped - dropped, follower.dropped
                counters.dropped += missed
                await self.write(encode_event(to_json({"messages": missed}), "dropped", before(entry)))
            counters.events += 1
            written += 1
            await self.write(encode(entry))
            if written % TURN == 0:
                await asyncio.sleep(0)


class Streams:
    """All streams of one server: at most so many, each with the same policy for slow readers."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.counters = Counters()
        self.heartbeat_s: float = options.heartbeat
        self.policy: str = options.policy
        self.unread: int = options.unread
        self._most: int = options.most_streams
        self._random = random.Random(options.seed)

    @property
    def full(self) -> bool:
        return self.counters.open >= self._most

    def retry_ms(self) -> int:
        """How long the next client shall wait before it connects again: another time for each."""
        return self._random.randint(*RETRY_MS)

    def turn_away(self, id: str) -> web.Response:
        """The answer when there are too many streams: not a 503, after which an EventSource stays away."""
        self.counters.busy += 1
        problem = {"error": "busy", "try": "later", "detail": f"there are {self._most} streams already"}
        event = encode_event(to_json(problem), "busy", id)
        retry = encode_retry(self._random.randint(*BUSY_RETRY_MS), id)
        response = web.Response(body=retry + event, headers=HEAD)
        response.force_close()
        return response

    @asynccontextmanager
    async def open(
        self, request: web.Request, response: web.StreamResponse | None = None
    ) -> AsyncIterator[Stream]:
        """Begin a stream, and count it as long as the block lasts. The client leaves: the block is cancelled.

        Raises ConnectionResetError where a SlowFollower comes out of the block.
        """
        if response is None:  # not `or`: it is a mapping, and an empty one is false
            response = web.StreamResponse()
        for name, value in HEAD.items():
            response.headers.setdefault(name, value)
        # The connection ends with its stream and says so, lest the client's next request falls into the end.
        response.force_close()
        stream = Stream(request, response, self)
        counters = self.counters
        counters.opened += 1
        counters.open += 1
        counters.most_open = max(counters.most_open, counters.open)
        try:
            _prepare(request)
            await response.prepare(request)
            yield stream
        except SlowFollower as error:
            raise ConnectionResetError(str(error)) from None
        finally:  # also when the client goes away, which cancels the handler
            counters.open -= 1


def _prepare(request: web.Request) -> None:
    if isinstance(request.protocol, Connection):
        request.protocol.stop_listening()
    if request.transport is not None and (sock := request.transport.get_extra_info("socket")):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)


def head_only() -> web.StreamResponse:
    """The answer to HEAD: what GET would begin with, and no stream."""
    response = web.StreamResponse(headers=HEAD)
    response.force_close()
    return response


def asked_position(request: web.Request) -> str | None:
    """Where the client wants to go on from: header before query, None if it says neither.

    The query is what a page knew when it made its EventSource, and stays in the URL for good. The header is
    what the browser learned since: so it is newer, whenever there is one.
    """
    return request.headers.get("Last-Event-ID") or request.query.get("last_event_id") or None


def snapshot(entries: list[Entry], position: str) -> Iterator[bytes]:
    """One event with these messages and the position to go on from, in parts."""
    yield b'event: snapshot\nid: %b\ndata: {"messages":[' % _line(position)
    for index, entry in enumerate(entries):
        yield b"," + entry.message() if index else entry.message()
    yield b'],"position":%b}\n\n' % to_json(position)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of every server with event streams."""
    add = parser.add_argument
    add("--heartbeat", type=seconds, default=HEARTBEAT_S, help="seconds of silence before a comment")
    add(
        "--policy", choices=POLICIES, default="disconnect", help="what becomes of a slow reader (%(default)s)"
    )
    add("--unread", type=whole(1, 1_000_000), default=UNREAD, help="events that make it slow (%(default)s)")
    add("--most-streams", type=whole(1, 1_000_000), default=MOST_STREAMS, help="open at once (%(default)s)")
    add("--seed", type=int, help="make everything that is drawn the same each time")


def whole(least: int, most: int) -> Callable[[str], int]:
    """The type of an argument: a whole number within these bounds."""

    def parse(text: str) -> int:
        if text.isascii() and text.isdigit() and len(text) < 16 and least <= int(text) <= most:
            return int(text)
        raise argparse.ArgumentTypeError(f"expected a number from {least} to {most}, got {text!r}")

    return parse


def seconds(text: str) -> float:
    """The type of an argument: seconds, more than none and at most a day."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if 0 < value <= 86_400:
        return value
    raise argparse.ArgumentTypeError(f"expected seconds from 0.001 to 86400, got {text!r}")


STREAMS: web.AppKey[Streams] = web.AppKey("streams", Streams)


def stats(streams: Streams) -> dict[str, Any]:
    """The counters, as GET /stats shows them."""
    return dict(vars(streams.counters))
