"""The ways to hold connections that the lab knows: which server, which arguments, how a client begins."""

import json
from collections.abc import Callable
from dataclasses import dataclass

from labsupport.measure.sockets import LoadError, Target, ask
from labsupport.wire.frames import Frame, Opcode, encode_frame

PATHS = {"SSE": "/events", "WebSocket": "/ws"}
# masked with a key of zeros, a client's frame holds its text as it stands
_JOIN = encode_frame(
    Frame(Opcode.TEXT, b'{"type": "join", "room": "main", "user": "load"}', masking_key=bytes(4))
)
_DEFLATE = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"


def at_newest(url: str, transport: str) -> bytes:
    """What a listener sends first. Without a position it would be told all that was said before."""
    if transport not in PATHS:
        raise LoadError(f"expected as transport {' or '.join(map(repr, PATHS))}, got {transport!r}")
    target = Target.of(url)
    position = json.loads(ask(target, "/messages").body)["position"]
    path = f"{PATHS[transport]}?last_event_id={position}"
    return target.get(path) if transport == "SSE" else target.upgrade(path)


def _upgrade(path: str, extra: bytes = b"", then: bytes = b"") -> Callable[[str], bytes]:
    return lambda url: Target.of(url).upgrade(path, extra) + then


@dataclass(frozen=True)
class Way:
    """One way to hold connections. `handshake(url)` is what a client sends first."""

    server: str
    transport: str
    handshake: Callable[[str], bytes]
    arguments: tuple[str, ...] = ()
    pushes: bool = False  # whether POST /messages reaches every connection


WAYS = {
    "gateway SSE": Way("gateway", "SSE", lambda url: at_newest(url, "SSE"), pushes=True),
    "gateway WebSocket": Way("gateway", "WebSocket", lambda url: at_newest(url, "WebSocket"), pushes=True),
    "sse": Way("sse", "SSE", lambda url: at_newest(url, "SSE"), pushes=True),
    "websocket_chat": Way("websocket_chat", "WebSocket", _upgrade("/chat", then=_JOIN)),
    "websocket_echo": Way("websocket_echo", "WebSocket", _upgrade("/")),
    "websocket_echo --compression": Way(
        "websocket_echo", "WebSocket", _upgrade("/", _DEFLATE), ("--compression",)
    ),
}


def handshake_for(server: object, url: str, transport: str | None) -> bytes:
    """How a client of this server begins: as `transport` says, else as the first of WAYS with its name."""
    if transport is None:
        name = getattr(server, "name", "")
        way = next((way for way in WAYS.values() if way.server == name), None)
        return way.handshake(url) if way else at_newest(url, "SSE")
    return at_newest(url, transport)
