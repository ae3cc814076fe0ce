"""How a WebSocket ends: close codes, the payload of a close frame, and the errors that deserve a code.

RFC 6455, sections 5.5.1 and 7.4, and the IANA registry of close codes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from labsupport.wire.frames import Frame

MAX_REASON = 123  # bytes of UTF-8: a control frame carries 125, and the code takes two

# The code in a close frame and what it says. 1004, 1005, 1006 and 1015 only name things inside a program.
CLOSE_CODES = {
    1000: "normal closure: the purpose is fulfilled",
    1001: "going away: the server stops or the page is left",
    1002: "protocol error",
    1003: "unsupported data: a type of message that this end can't take",
    1004: "reserved, never sent",
    1005: "no code was in the close frame; never sent",
    1006: "the connection ended without a close frame; never sent",
    1007: "invalid payload: not UTF-8 in a text message",
    1008: "policy violation",
    1009: "message too big",
    1010: "the server did not agree to an extension that the client needs",
    1011: "internal error",
    1012: "service restart",
    1013: "try again later",
    1014: "bad gateway",
    1015: "TLS handshake failed; never sent",
}


class WebSocketError(ValueError):
    """The peer broke the protocol and deserves `.close_code`; `.frames` came whole before it in the chunk."""

    close_code: ClassVar[int]

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.frames: list[Frame] = []


class ProtocolError(WebSocketError):
    """Bytes that RFC 6455 forbids."""

    close_code = 1002


class InvalidText(WebSocketError):
    """Text, or the reason in a close frame, that is not UTF-8."""

    close_code = 1007


class TooBig(WebSocketError):
    """A frame or a message over the limit."""

    close_code = 1009


@dataclass(frozen=True, slots=True)
class Close:
    """What a close frame says. Code 1005 stands for an empty one, and is never on the wire."""

    code: int
    reason: str = ""


def may_be_sent(code: int) -> bool:
    """Whether a close frame may carry this code: 1000–1003, 1007–1014, 3000–4999 (section 7.4, IANA)."""
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


def encode_close(code: int | None = None, reason: str = "") -> bytes:
    """The payload of a close frame; without a code it is empty. ValueError for what may not be sent."""
    if code is None:
        if reason:
            raise ValueError("A reason needs a code in front of it: encode_close(1000, reason).")
        return b""
    if not may_be_sent(code):
        meaning = f" ({CLOSE_CODES[code]})" if code in CLOSE_CODES else ""
        raise ValueError(f"Close code {code}{meaning} may not be sent. Your own codes go in 4000–4999.")
    text = reason.encode("utf-8")
    if len(text) > MAX_REASON:
        raise ValueError(f"A reason is at most {MAX_REASON} bytes of UTF-8; this one has {len(text)}.")
    return code.to_bytes(2, "big") + text


def parse_close(payload: bytes) -> Close:
    """Read a close frame's payload. ProtocolError for its length or code, InvalidText for the reason."""
    if not payload:
        return Close(1005)
    if len(payload) == 1:
        raise ProtocolError("A close frame carries a code of 2 bytes or nothing; this one carries 1 byte.")
    code = int.from_bytes(payload[:2], "big")
    if not may_be_sent(code):
        raise ProtocolError(f"Close code {code} ({CLOSE_CODES.get(code, 'unassigned')}) may not be sent.")
    try:
        return Close(code, payload[2:].decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InvalidText(f"The reason in a close frame is not UTF-8: {error.reason}.") from None
