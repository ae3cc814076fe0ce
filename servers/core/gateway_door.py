"""The gateway's door: a connection becomes a follower, or goes to the HTTP library for everything else.

A client that wants to follow sends a head like

    GET /events HTTP/1.1        or /ws, with Upgrade: websocket
    Host: 127.0.0.1:8007

and from then on the gateway holds no more of it than a Follower. Only heads that are right in every respect
are read here. All others, and all other requests, are handed to aiohttp as they came: it has the words for
what is wrong (core/http.py), and the pages of the gateway are written for it.
"""

import argparse
import asyncio
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, cast
from urllib.parse import parse_qs

from aiohttp import web

from servers.core import hosts, http
from servers.core.connection import HEAD_S, LINGER_S, MAX_FIELD, MAX_FIELDS, Connection
from servers.core.crowd import Follower
from servers.core.gateway_crowds import Crowds
from servers.core.gateway_sse import StreamFollower
from servers.core.gateway_websocket import SocketFollower, accept
from servers.core.http import MAX_HEAD

_REQUEST = re.compile(rb"GET (/events|/ws)(?:\?([!-~]*))? HTTP/1\.([01])")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\0\r\n]*)")
_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")  # 16 bytes in base64

SPARE = 200  # connections beyond the followers: other requests, and those who are told that it is full
RESERVE = 500  # descriptors that no follower gets: SPARE, as many again being accepted, and the process's own

_PROBLEM = b'{"error": "there are too many connections", "try": "later"}\n'
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 10\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(_PROBLEM), _PROBLEM)
)


@dataclass
class Head:
    """The head of a request to follow."""

    path: str
    query: str
    minor: int  # 1 for HTTP/1.1
    fields: dict[str, str] = field(default_factory=dict)  # names in lower case

    @property
    def position(self) -> str | None:
        """Where to go on from: header before query, as in event_stream.asked_position()."""
        asked = parse_qs(self.query, errors="surrogateescape").get("last_event_id", [""])[0]
        return self.fields.get("last-event-id") or asked or None

    @property
    def key(self) -> bytes | None:
        """The key of a WebSocket's handshake that is complete (RFC 6455, 4.2.1), else None."""
        fields = self.fields
        key = fields.get("sec-websocket-key", "").encode()
        upgrade = "websocket" in _tokens(fields.get("upgrade")) and "upgrade" in _tokens(
            fields.get("connection")
        )
        right = upgrade and self.minor == 1 and fields.get("sec-websocket-version") == "13"
        return key if right and _KEY.fullmatch(key) else None


def parse_head(raw: bytes) -> Head | None:
    """The head that ends with these bytes; None if it is not of a follower, or not right in every respect."""
    first, *lines = raw[:-4].split(b"\r\n")
    request = _REQUEST.fullmatch(first)
    if (
        request is None
        or len(raw) > MAX_HEAD
        or len(lines) > MAX_FIELDS
        or max(map(len, [first, *lines])) > MAX_FIELD
    ):
        return None
    head = Head(request[1].decode(), (request[2] or b"").decode(), int(request[3]))
    for line in lines:
        match = _FIELD.fullmatch(line)
        if match is None:
            return None
        name, value = match[1].decode().lower(), match[2].rstrip(b" \t").decode("utf-8", "surrogateescape")
        if name in head.fields:
            if name in ("host", "origin", "last-event-id") or name.startswith("sec-websocket-"):
                return None
            value = f"{head.fields[name]}, {value}"
        head.fields[name] = value
    if "transfer-encoding" in head.fields or head.fields.get("content-length", "0") != "0":
        return None
    return head


def _tokens(value: str | None) -> list[str]:
    return [token.strip().lower() for token in (value or "").split(",")]


class Plain(Connection):
    """A connection of the HTTP library's, counted among all."""

    __slots__ = ("_connections",)
    due = math.inf  # the library sees to its own deadlines

    def __init__(self, door: "Door") -> None:
        super().__init__(door.library, asyncio.get_running_loop())
        self._connections = door.connections

    def connection_lost(self, exc: BaseException | None) -> None:
        self._connections.discard(self)
        super().connection_lost(exc)

    def let_go(self) -> None:
        """Give the connection away. For the library its client has gone: it cancels the handler."""
        self.transport = None
        self.connection_lost(None)


class Visitor(asyncio.Protocol):
    """A connection whose request is not known yet."""

    __slots__ = ("_door", "_raw", "due", "transport")

    def __init__(self, door: "Door") -> None:
        self._door = door
        self._raw: bytes | None = b""  # what has come so far; None if that does not matter any more

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by name
        door, now = self._door, asyncio.get_running_loop().time()
        door.connections.add(self)
        self.due = now + HEAD_S
        excess = len(door.connections) - door.most - SPARE
        if excess > SPARE // 2:
            self.transport.abort()
        elif excess > 0:
            self._raw = None
            self.due = now + LINGER_S  # closing at once would destroy the answer, if the client still writes
            self.transport.write(_FULL)
            self.transport.write_eof()

    def data_received(self, data: bytes) -> None:
        if self._raw is None:
            return
        raw = self._raw = self._raw + data
        line, ended, _ = raw.partition(b"\r\n")
        if not ended and len(raw) < MAX_FIELD and b"\n" not in raw:
            return
        if _REQUEST.fullmatch(line) and len(raw) < MAX_HEAD:
            end = raw.find(b"\r\n\r\n") + 4
            if end < 4:
                return
            head = parse_head(raw[:end])
            if head is not None and self._door.enter(self.transport, head, raw[end:]):
                self._door.connections.discard(self)
                return
        self.hand_over()

    def hand_over(self) -> Plain:
        """From now on this is a connection of the HTTP library's."""
        plain, raw, transport = Plain(self._door), self._raw, self.transport
        self._door.connections.discard(self)
        self._door.connections.add(plain)
        transport.set_protocol(plain)
        plain.connection_made(transport)
        if raw:
            plain.data_received(raw)
        return plain

    def late(self, now: float) -> None:
        if self._raw is None:
            self.transport.abort()
        else:
            self.hand_over().head_is_late()

    def connection_lost(self, exc: Exception | None) -> None:
        self._door.connections.discard(self)


class Door:
    """Who comes in, and as what. `library` serves all that are no followers."""

    def __init__(self, options: argparse.Namespace, crowds: Crowds, library: web.Server) -> None:
        self.connections: set[Any] = crowds.connections
        self.most: int = options.most_connections
        self.library = library
        self.draining = False
        self._crowds = crowds
        self._names, self._origins = hosts.names(options), frozenset(options.allow_origin)
        self.may_read = lru_cache(1000)(self._may_read)  # thousands come with the same head
        self._is_own = lru_cache(1000)(lambda host, here: hosts.is_own(host, self._names, here))

    @property
    def full(self) -> bool:
        return self._crowds.open >= self.most

    def _may_read(self, origin: str, host: str) -> bool:
        """Whether a page of this origin may have what the gateway sends."""
        return http.is_allowed(origin, self._origins) or hosts.is_its_page(origin, host)

    def enter(self, transport: asyncio.Transport, head: Head, rest: bytes) -> bool:
        """Make a follower of this connection; False if it may not be one, or not now."""
        host, origin = head.fields.get("host", ""), head.fields.get("origin", "")
        here = str((transport.get_extra_info("sockname") or ("",))[0])
        if self.full or self.draining or not (self._is_own(host, here) or (head.minor == 0 and not host)):
            return False
        allowed = bool(origin) and self.may_read(origin, host)
        if head.path == "/events":
            streams = self._crowds.streams if head.minor else self._crowds.unchunked
            language = streams.language
            allowed_origin = origin if allowed else ""
            listener = StreamFollower(transport, streams)
            self._follow(listener, head, lambda position: language.opening(position, allowed_origin))
            return True
        key = head.key
        if key is None or (origin and not allowed):
            return False
        follower = SocketFollower(transport, self._crowds.sockets)
        self._follow(follower, head, lambda position: accept(key))
        if rest:
            follower.data_received(rest)
        return True

    def take_over(self, request: web.Request) -> bool:
        """The same for a connection of the library's: a browser asks for a page, and then follows on it."""
        fields = [b"%b: %b" % field for field in request.raw_headers]
        first = f"GET {request.raw_path} HTTP/1.{request.version.minor}".encode()
        head = parse_head(b"\r\n".join([first, *fields, b"", b""]))
        plain, transport = request.protocol, request.transport
        if head is None or transport is None or transport.is_closing() or not isinstance(plain, Plain):
            return False
        entered = self.enter(transport, head, b"")
        if entered:
            plain.let_go()
        return entered

    def _follow(self, follower: Follower, head: Head, opening: Callable[[str | None], bytes]) -> None:
        follower.transport.set_protocol(follower)
        # asyncio keeps both addresses of a connection and its socket's wrapper, 570 bytes nobody asks for
        # any more. There is no public way to give them back; where there is no such dictionary, they stay.
        getattr(follower.transport, "_extra", {}).clear()
        self.connections.add(follower)
        self._crowds.flush()  # what is in the log already comes to it as history, and not once more
        follower.crowd.join(follower, head.position, opening, asyncio.get_running_loop().time())
