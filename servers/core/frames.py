"""WebSocket frames as a server needs them: its own to bytes, a client's from bytes (RFC 6455, 5 to 8).

    byte 0   FIN (the message ends here) | three reserved bits, 0 without extensions | 4 bits: what it is
    byte 1   MASK, always set by a client and never by a server | 7 bits: length, or 126, or 127
             126: the length is in the next 2 bytes; 127: in the next 8
             the mask, 4 bytes, with which the client has XORed what follows

A message may come in several frames, and a ping, a pong or a close may stand between these.
"""

import codecs
from collections.abc import Iterator

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
NORMAL, BROKEN, NO_CODE, NOT_UTF8, TOO_LARGE = 1000, 1002, 1005, 1007, 1009
MOST_CONTROL = 125  # bytes of a ping, a pong or a close


class FrameError(ValueError):
    """What the client sent breaks the rules. `code` is what the connection is to be closed with."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def encode_frame(opcode: int, payload: bytes = b"", final: bool = True) -> bytes:
    """One frame from a server."""
    first, size = final << 7 | opcode, len(payload)
    if size < 126:
        return b"%c%c%b" % (first, size, payload)
    if size < 1 << 16:
        return b"%c\x7e%b%b" % (first, size.to_bytes(2, "big"), payload)
    return b"%c\x7f%b%b" % (first, size.to_bytes(8, "big"), payload)


def encode_close(code: int, reason: str = "") -> bytes:
    """A close frame; with NO_CODE an empty one. A reason is cut where the frame would become too long."""
    text = reason.encode()[: MOST_CONTROL - 2].decode(errors="ignore").encode()
    return encode_frame(CLOSE, b"" if code == NO_CODE else code.to_bytes(2, "big") + text)


def close_code(payload: bytes) -> int:
    """The code of a client's close frame, NO_CODE if it is empty. Raises FrameError."""
    if not payload:
        return NO_CODE
    code = int.from_bytes(payload[:2], "big")
    if len(payload) == 1 or not (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999):
        raise FrameError(BROKEN, f"no close code may be {code}")
    try:
        payload[2:].decode()
    except UnicodeDecodeError:
        raise FrameError(NOT_UTF8, "the reason of the close is not UTF-8") from None
    return code


def unmask(payload: bytes, mask: bytes) -> bytes:
    """Take the mask off: byte i is XORed with byte i mod 4 of the mask. One XOR of two large numbers."""
    size = len(payload)
    stream = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(stream, "little")).to_bytes(size, "little")


class ClientFrames:
    """Reads what one client sends, in any pieces. Holds a message and a frame, each of `most` bytes at most.

    When it is `idle`, nothing is under way, and it can be thrown away until more comes.
    """

    __slots__ = ("_buffer", "_message", "_most", "_opcode", "_text")

    def __init__(self, most: int) -> None:
        self._most = most
        self._buffer = bytearray()
        self._opcode = CONTINUATION  # TEXT or BINARY while a message is under way
        self._message = bytearray()
        self._text: codecs.IncrementalDecoder | None = None

    @property
    def idle(self) -> bool:
        return not self._buffer and self._opcode == CONTINUATION

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """(opcode, payload) of each message and each ping, pong and close that is whole now.

        Raises FrameError, behind all that came before the mistake. Nothing can be read after that.
        """
        self._buffer += data
        while (frame := self._frame()) is not None:
            final, opcode, payload = frame
            if opcode >= CLOSE:
                yield opcode, payload
            elif self._grows(final, opcode, payload):
                kind, message = self._opcode, bytes(self._message)
                self._opcode, self._text = CONTINUATION, None
                self._message.clear()
                yield kind, message

    def _frame(self) -> tuple[bool, int, bytes] | None:
        """Take the next frame off the buffer; None while it is not whole. Wrong bytes are told at once."""
        buffer = self._buffer
        if buffer and (buffer[0] & 0x70 or buffer[0] & 15 not in (0, 1, 2, 8, 9, 10)):
            raise FrameError(BROKEN, f"there is no frame that begins with {buffer[0]:08b}")
        if len(buffer) < 2:
            return None
        final, opcode, size, start = bool(buffer[0] & 0x80), buffer[0] & 15, buffer[1] & 0x7F, 2
        if not buffer[1] & 0x80:
            raise FrameError(BROKEN, "a client must mask its frames")
        if opcode >= CLOSE and not (final and size <= MOST_CONTROL):
            raise FrameError(BROKEN, f"a ping, pong or close is one frame of {MOST_CONTROL} bytes at most")
        if size > MOST_CONTROL:
            start = 4 if size == 126 else 10
            if len(buffer) < start:
                return None
            size = int.from_bytes(buffer[2:start], "big")
            if size >> 63:
                raise FrameError(BROKEN, "a length of 8 bytes begins with a 0")
        if size > self._most and opcode < CLOSE:
            raise FrameError(TOO_LARGE, f"messages are {self._most} bytes at most")
        if len(buffer) < start + 4 + size:
            return None
        payload = unmask(bytes(buffer[start + 4 : start + 4 + size]), bytes(buffer[start : start + 4]))
        del buffer[: start + 4 + size]
        return final, opcode, payload

    def _grows(self, final: bool, opcode: int, payload: bytes) -> bool:
        """Add a frame to the message under way; whether that is whole now."""
        if (opcode == CONTINUATION) == (self._opcode == CONTINUATION):
            where = "without a message to go on with" if opcode == CONTINUATION else "inside of another one"
            raise FrameError(BROKEN, f"a message goes on, or begins, {where}")
        if opcode != CONTINUATION:
            self._opcode = opcode
            self._text = codecs.getincrementaldecoder("utf-8")() if opcode == TEXT else None
        if len(self._message) + len(payload) > self._most:
            raise FrameError(TOO_LARGE, f"messages are {self._most} bytes at most")
        if self._text is not None:
            try:
                self._text.decode(payload, final)
            except UnicodeDecodeError:
                raise FrameError(NOT_UTF8, "a text is not UTF-8") from None
        self._message += payload
        return final
