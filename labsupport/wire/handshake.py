"""The opening handshake of WebSocket: one HTTP/1.1 request, one 101. RFC 6455, sections 1.3 and 4.

    key = new_key()
    send(build_request("127.0.0.1:8765", "/chat", key))           # the client
    upgrade = check_request(head)                                 # the server; refuses with a status
    send(build_response(upgrade))
    check_response(head, key)                                     # the client again

What it proves: the other end speaks WebSocket, and no cache answered in its place. It proves nothing about
*who* is there; a server looks at `upgrade.origin` for that, or asks for a token.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from labsupport.wire.http import HttpError, RequestHead, ResponseHead, parse_request_head, parse_response_head

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # section 1.3: a constant that no other protocol would add
VERSION = "13"  # the only one since 2011
NONCE_BYTES = 16  # section 4.1

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 section 5.6.2
_VALUE = re.compile(r"[\t -~\x80-\xff]*")  # RFC 9110 section 5.5

Field = tuple[str, str]


class HandshakeError(ValueError):
    """A request that may not be upgraded. It deserves the HTTP status `.status`, sent with `.fields`."""

    def __init__(self, message: str, status: int = 400, fields: Sequence[Field] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.fields = tuple(fields)


class UpgradeRefused(ValueError):
    """The server's answer does not open a WebSocket. `.status` is what it said, None if it is not HTTP."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class UpgradeRequest:
    """What a valid request asks for. `origin` is the page's, None when no browser page stands behind it."""

    host: str
    target: str
    key: str
    origin: str | None = None
    subprotocols: tuple[str, ...] = ()
    extensions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UpgradeResponse:
    """What the server agreed to: one of the subprotocols that were offered, or None."""

    subprotocol: str | None = None


def new_key(random_bytes: Callable[[int], bytes] = os.urandom) -> str:
    """A fresh Sec-WebSocket-Key: 16 random bytes as 24 characters. For a test: Random(1).randbytes."""
    return base64.b64encode(random_bytes(NONCE_BYTES)).decode("ascii")


def accept_key(key: str) -> str:
    """Sec-WebSocket-Accept for a key: base64 of SHA-1 over key and GUID, both as text (section 4.2.2)."""
    # SHA-1 is broken for signatures; here nothing is signed, and the RFC fixes it.
    digest = hashlib.sha1((key + GUID).encode("ascii"), usedforsecurity=False).digest()
    return base64.b64encode(digest).decode("ascii")


def build_request(
    host: str,
    target: str = "/",
    key: str | None = None,
    *,
    origin: str | None = None,
    subprotocols: Sequence[str] = (),
    fields: Sequence[Field] = (),
) -> bytes:
    """The client's request. host: with its port unless that is 80. key: from new_key(), fresh by default."""
    if not re.fullmatch(r"/[!-~]*", target):
        raise ValueError(f"A target is a path of ASCII characters such as /chat?room=1; got {target!r}.")
    head: list[Field] = [
        ("Host", host),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", new_key() if key is None else key),
        ("Sec-WebSocket-Version", VERSION),
    ]
    if origin is not None:
        head.append(("Origin", origin))
    if subprotocols:
        head.append(("Sec-WebSocket-Protocol", ", ".join(subprotocols)))
    return _head(f"GET {target} HTTP/1.1", [*head, *fields])


def check_request(
    data: bytes | RequestHead, *, allowed_origins: Collection[str | None] | None = None
) -> UpgradeRequest:
    """Read a request head as section 4.2.1 asks. HandshakeError says what is wrong, and with which status.

    allowed_origins   None lets every page in: a page of any site then talks to this server with the reader's
                      cookies. A collection is compared exactly; None in it stands for "no Origin field".
    """
    head = _request_head(data)
    if head.method != "GET":
        raise HandshakeError(f"The method is GET, not {head.method}.", 405, [("Allow", "GET")])
    if head.version != "1.1":
        raise HandshakeError(f"The upgrade needs HTTP/1.1; the request says HTTP/{head.version}.", 505)
    host = _only(head, "Host")
    if not host:
        raise HandshakeError("The Host field is missing or empty; it says which server is meant.")
    _check_asks_for_websocket(head)
    key = _check_key(_only(head, "Sec-WebSocket-Key"))
    origin = _only(head, "Origin")
    if allowed_origins is not None and origin not in allowed_origins:
        raise HandshakeError(f"Origin {origin or 'missing'}: a page from there may not connect here.", 403)
    subprotocols = _tokens(head, "Sec-WebSocket-Protocol")
    for name in subprotocols:
        if not _TOKEN.fullmatch(name) or subprotocols.count(name) > 1:
            raise HandshakeError(
                f"Sec-WebSocket-Protocol lists names, each once; {name!r} is not one of those."
            )
    extensions = tuple(_tokens(head, "Sec-WebSocket-Extensions"))
    return UpgradeRequest(host, head.target, key, origin, tuple(subprotocols), extensions)


def build_response(
    request: UpgradeRequest, *, subprotocol: str | None = None, fields: Sequence[Field] = ()
) -> bytes:
    """The 101 that opens the WebSocket. subprotocol: one that the client offered, or None."""
    if subprotocol is not None and subprotocol not in request.subprotocols:
        offered = ", ".join(request.subprotocols) or "none"
        raise ValueError(f"The client did not offer the subprotocol {subprotocol!r} (offered: {offered}).")
    head: list[Field] = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", accept_key(request.key)),
    ]
    if subprotocol is not None:
        head.append(("Sec-WebSocket-Protocol", subprotocol))
    return _head("HTTP/1.1 101 Switching Protocols", [*head, *fields])


def build_refusal(error: HandshakeError) -> bytes:
    """The whole answer to a request that was refused; close the connection behind it."""
    body = f"{error}\n".encode()
    head: list[Field] = [
        *error.fields,
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(body))),
        # 426 must name the protocol, and a field so named must stand in Connection (RFC 9110 section 7.8).
        ("Connection", "Upgrade, close" if error.status == 426 else "close"),
    ]
    return _head(f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}", head) + body


def check_response(
    data: bytes | ResponseHead, key: str, *, subprotocols: Collection[str] = ()
) -> UpgradeResponse:
    """Read the server's answer as section 4.1 asks. UpgradeRefused says why this is no WebSocket.

    key, subprotocols   what the request carried. No extension is ever asked for here, so none may be agreed.
    """
    try:
        head = parse_response_head(data) if isinstance(data, bytes) else data
    except HttpError as error:
        raise UpgradeRefused(f"The answer is not HTTP: {error}.") from error
    if head.status != 101:
        raise UpgradeRefused(f"The server answered {head.status} {head.reason} instead of 101.", head.status)
    upgrade = head.get("Upgrade") or "nothing"
    if upgrade.lower() != "websocket":
        raise UpgradeRefused(f"The Upgrade field says {upgrade}; expected websocket.", 101)
    if "upgrade" not in _lower_tokens(head, "Connection"):
        raise UpgradeRefused(
            "The Connection field does not list Upgrade: a proxy may have taken it off.", 101
        )
    accepts = head.get_all("Sec-WebSocket-Accept")
    if accepts != [accept_key(key)]:
        raise UpgradeRefused(
            f"Sec-WebSocket-Accept is {', '.join(accepts) or 'missing'}; expected {accept_key(key)}. "
            "The answer was not made for this key.",
            101,
        )
    if head.get("Sec-WebSocket-Extensions") is not None:
        raise UpgradeRefused("The server agreed to an extension that was never offered.", 101)
    chosen = head.get_all("Sec-WebSocket-Protocol")
    if len(chosen) > 1 or (chosen and chosen[0] not in subprotocols):
        raise UpgradeRefused(
            f"The server chose the subprotocol {', '.join(chosen)}: not one that was offered.", 101
        )
    return UpgradeResponse(chosen[0] if chosen else None)


def _request_head(data: bytes | RequestHead) -> RequestHead:
    try:
        return parse_request_head(data) if isinstance(data, bytes) else data
    except HttpError as error:
        raise HandshakeError(f"The request can't be read: {error}.") from error


def _check_asks_for_websocket(head: RequestHead) -> None:
    upgrade: list[Field] = [("Upgrade", "websocket")]
    if "websocket" not in _lower_tokens(head, "Upgrade"):
        raise HandshakeError(
            "This address speaks WebSocket; the request lacks Upgrade: websocket. Open it with ws://.",
            426,
            upgrade,
        )
    if "upgrade" not in _lower_tokens(head, "Connection"):
        raise HandshakeError(
            "The Connection field does not list Upgrade: a proxy may have taken it off.", 426, upgrade
        )
    version = _only(head, "Sec-WebSocket-Version")
    if version is None:
        raise HandshakeError(f"Sec-WebSocket-Version is missing; send {VERSION}.")
    if version != VERSION:
        raise HandshakeError(
            f"Version {version} of the protocol is not spoken here; {VERSION} is.",
            426,
            [*upgrade, ("Sec-WebSocket-Version", VERSION)],
        )


def _check_key(key: str | None) -> str:
    if key is None:
        raise HandshakeError("Sec-WebSocket-Key is missing.")
    try:
        nonce = base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError):
        nonce = b""
    if len(nonce) != NONCE_BYTES:
        raise HandshakeError(
            f"Sec-WebSocket-Key is base64 of {NONCE_BYTES} bytes, 24 characters; got {key!r}."
        )
    return key


def _only(head: RequestHead, name: str) -> str | None:
    """The value of a field that may stand once at most."""
    values = head.get_all(name)
    if len(values) > 1:
        raise HandshakeError(f"The field {name} came {len(values)} times, and at most one is allowed.")
    return values[0] if values else None


def _tokens(head: RequestHead | ResponseHead, name: str) -> list[str]:
    """The members of a comma-separated field over all of its lines; empty members don't count."""
    parts = (part.strip(" \t") for value in head.get_all(name) for part in value.split(","))
    return [part for part in parts if part]


def _lower_tokens(head: RequestHead | ResponseHead, name: str) -> list[str]:
    return [token.lower() for token in _tokens(head, name)]


def _head(start: str, fields: Sequence[Field]) -> bytes:
    for name, value in fields:
        # A line break in a value would start a field of its own: header injection.
        if not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ValueError(f"Not a field that HTTP can carry on one line: {name!r}: {value!r}.")
    lines = [start, *(f"{name}: {value}" for name, value in fields), "", ""]
    return "\r\n".join(lines).encode("latin-1")
