"""WebSocket frames: bytes to frames and back, frames to messages, close codes. RFC 6455, sections 5 to 8.

    parser = FrameParser(role="server")        # a server reads what clients sent: masked
    assembler = MessageAssembler()
    for frame in parser.feed(chunk):
        if frame.opcode is Opcode.PING:
            send(encode_frame(Frame(Opcode.PONG, frame.payload)))
        elif frame.opcode is Opcode.CLOSE:
            close = parse_close(frame.payload)
        elif (message := assembler.feed(frame)) is not None:
            ...                                # str from text, bytes from binary

Whatever breaks the protocol raises a WebSocketError; its `close_code` is what the connection deserves.
"""

from __future__ import annotations

import codecs
import enum
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from labsupport.wire.close import (
    CLOSE_CODES,
    Close,
    InvalidText,
    ProtocolError,
    TooBig,
    WebSocketError,
    encode_close,
    may_be_sent,
    parse_close,
)

__all__ = [
    "CLOSE_CODES",
    "Close",
    "Frame",
    "FrameParser",
    "InvalidText",
    "MessageAssembler",
    "Opcode",
    "ProtocolError",
    "TooBig",
    "WebSocketError",
    "apply_mask",
    "encode_close",
    "encode_frame",
    "may_be_sent",
    "parse_close",
]

# bytes; RFC 6455 allows 2^63 − 1, which nobody can hold. A server for small messages sets less.
MAX_MESSAGE = 16 << 20

MAX_CONTROL_PAYLOAD = 125  # bytes, section 5.5: what fits without an extended length


class Opcode(enum.IntEnum):
    """What a frame is; 3–7 and 11–15 are reserved. From 8 on it is a control frame."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA

    @property
    def is_control(self) -> bool:
        return self >= Opcode.CLOSE


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of section 5.2. `payload` is always the plain bytes; the key only tells how they travel.

    fin          True on the last frame of a message (and on a message of one frame)
    rsv1 … rsv3  reserved bits; rsv1 marks a compressed message where permessage-deflate was agreed
    masking_key  4 bytes on a frame from a client, None on one from a server
    """

    opcode: Opcode
    payload: bytes = b""
    fin: bool = True
    rsv1: bool = False
    rsv2: bool = False
    rsv3: bool = False
    masking_key: bytes | None = None

    def __post_init__(self) -> None:
        if type(self.opcode) is not Opcode:  # so that Frame(1, b"Hello") works
            object.__setattr__(self, "opcode", Opcode(self.opcode))

    @property
    def masked(self) -> bool:
        return self.masking_key is not None


def apply_mask(payload: bytes, masking_key: bytes) -> bytes:
    """Mask or unmask: byte i is XORed with byte i mod 4 of the key (section 5.3). Twice is as if never.

    One XOR of two long integers: on a megabyte some twenty times as fast as a loop over bytes.
    """
    if len(masking_key) != 4:
        raise ValueError(f"A masking key is 4 bytes; got {len(masking_key)}.")
    size = len(payload)
    keystream = (masking_key * (size // 4 + 1))[:size]
    masked = int.from_bytes(payload, "little") ^ int.from_bytes(keystream, "little")
    return masked.to_bytes(size, "little")


def encode_frame(frame: Frame) -> bytes:
    """The bytes of one frame, its length in the shortest form. ValueError for what may not be sent."""
    opcode, size = frame.opcode, len(frame.payload)
    if opcode.is_control and not frame.fin:
        raise ValueError(f"A {opcode.name} frame may not be fragmented: set fin=True.")
    if opcode.is_control and size > MAX_CONTROL_PAYLOAD:
        raise ValueError(f"A {opcode.name} frame carries at most {MAX_CONTROL_PAYLOAD} bytes, not {size}.")
    first = frame.fin << 7 | frame.rsv1 << 6 | frame.rsv2 << 5 | frame.rsv3 << 4 | opcode
    mask_bit = frame.masked << 7
    if size <= 125:
        header = bytes([first, mask_bit | size])
    elif size <= 0xFFFF:
        header = bytes([first, mask_bit | 126]) + size.to_bytes(2, "big")
    else:
        header = bytes([first, mask_bit | 127]) + size.to_bytes(8, "big")
    if frame.masking_key is None:
        return header + frame.payload
    return header + frame.masking_key + apply_mask(frame.payload, frame.masking_key)


@dataclass(frozen=True, slots=True)
class _Header:
    """A checked header, kept while its payload is still on the way."""

    first: int
    opcode: Opcode
    length: int
    masking_key: bytes | None


class FrameParser:
    """Incremental parser of one direction of a connection, behind the opening handshake.

    role          "server" reads frames from a client and insists on the mask; "client" insists that there is
                  none (section 5.1); None takes both, for captures.
    max_payload   limit for one frame in bytes; a header that announces more raises TooBig at once.
    allowed_rsv   reserved bits that an agreed extension uses: {1} for permessage-deflate.

    Checks each frame alone. The order of fragments, UTF-8 and the close payload are for MessageAssembler and
    parse_close.
    """

    def __init__(
        self,
        role: Literal["server", "client"] | None = None,
        *,
        max_payload: int = MAX_MESSAGE,
        allowed_rsv: Collection[int] = (),
    ) -> None:
        if role not in ("server", "client", None):
            raise ValueError(f'role names the side that reads, "server", "client" or None; got {role!r}.')
        self._role = role
        self._max_payload = max_payload
        self._forbidden_rsv = sum(0x80 >> n for n in (1, 2, 3) if n not in allowed_rsv)
        self._buffer = bytearray()
        self._at = 0  # where the next unread byte stands in the buffer
        self._header: _Header | None = None
        self._error: WebSocketError | None = None

    def feed(self, chunk: bytes) -> list[Frame]:
        """Take the next bytes (any number, also none) and return the frames that they complete, in order.

        Raises ProtocolError or TooBig as soon as the byte that proves it is there. From then on the place in
        the stream is lost, and each further feed raises the same kind of error.
        """
        if self._error is not None:
            raise type(self._error)(f"This connection already failed: {self._error}")
        self._buffer += chunk
        frames: list[Frame] = []
        try:
            while (frame := self._next_frame()) is not None:
                frames.append(frame)
        except WebSocketError as error:
            error.frames = frames
            self._error = error
            self._buffer.clear()
            raise
        del self._buffer[: self._at]
        self._at = 0
        return frames

    def _next_frame(self) -> Frame | None:
        if self._header is None:
            self._header = self._read_header()
            if self._header is None:
                return None
        header = self._header
        end = self._at + header.length
        if len(self._buffer) < end:
            return None
        payload = bytes(self._buffer[self._at : end])
        if header.masking_key is not None:
            payload = apply_mask(payload, header.masking_key)
        self._at = end
        self._header = None
        return Frame(
            header.opcode,
            payload,
            fin=bool(header.first & 0x80),
            rsv1=bool(header.first & 0x40),
            rsv2=bool(header.first & 0x20),
            rsv3=bool(header.first & 0x10),
            masking_key=header.masking_key,
        )

    def _read_header(self) -> _Header | None:
        """The header here, None while part of it is missing. Each byte is checked on arrival."""
        head = bytes(self._buffer[self._at : self._at + 14])  # 2 + 8 of length + 4 of key at most
        if not head:
            return None
        opcode = self._check_first(head[0])
        if len(head) < 2:
            return None
        masked, length = head[1] >> 7, head[1] & 0x7F
        self._check_second(opcode, bool(masked), length)
        size = 2
        if length >= 126:
            size += 2 if length == 126 else 8
            if len(head) < size:
                return None
            length = self._extended_length(head[2:size])
        if length > self._max_payload:
            raise TooBig(
                f"A frame announces {length} bytes, and the limit is {self._max_payload}. Send it in smaller "
                "messages, or raise the limit: FrameParser(max_payload=…)."
            )
        if len(head) < size + 4 * masked:
            return None
        self._at += size + 4 * masked
        return _Header(head[0], opcode, length, head[size : size + 4] if masked else None)

    def _check_first(self, first: int) -> Opcode:
        if first & self._forbidden_rsv:
            raise ProtocolError(
                f"The first byte {first:#010b} sets a reserved bit that no agreed extension uses. "
                "Compressed frames without permessage-deflate in the handshake look like this."
            )
        try:
            opcode = Opcode(first & 0x0F)
        except ValueError:
            raise ProtocolError(
                f"Opcode {first & 0x0F:#x} is reserved (known: 0, 1, 2, 8, 9, 0xa). If earlier frames were "
                "fine, a wrong length made payload look like a header."
            ) from None
        if opcode.is_control and not first & 0x80:
            raise ProtocolError(f"A {opcode.name} frame has FIN = 0; control frames are never fragmented.")
        return opcode

    def _check_second(self, opcode: Opcode, masked: bool, length: int) -> None:
        if self._role == "server" and not masked:
            raise ProtocolError("A client must mask each frame (section 5.1), and this one has MASK = 0.")
        if self._role == "client" and masked:
            raise ProtocolError("A server must not mask (section 5.1), and this frame has MASK = 1.")
        if opcode.is_control and length > MAX_CONTROL_PAYLOAD:
            raise ProtocolError(f"A {opcode.name} frame announces more than {MAX_CONTROL_PAYLOAD} bytes.")

    @staticmethod
    def _extended_length(digits: bytes) -> int:
        """Section 5.2: network byte order, the shortest form only, and the top bit of 64 must be 0."""
        length = int.from_bytes(digits, "big")
        if length >> 63:
            raise ProtocolError(f"A 64-bit length has its top bit set: {digits.hex(' ')}.")
        shorter = 125 if len(digits) == 2 else 0xFFFF
        if length <= shorter:
            raise ProtocolError(
                f"A length of {length} came in {8 * len(digits)} bits: not the shortest form."
            )
        return length


class MessageAssembler:
    """Frames to messages: joins fragments, checks their order and, fragment by fragment, the UTF-8 of text.

    max_message   limit for one whole message in bytes

    Undo an extension (compression) before; this takes payloads as they are.
    """

    def __init__(self, *, max_message: int = MAX_MESSAGE) -> None:
        self._max_message = max_message
        self._opcode: Opcode | None = None  # of the unfinished message
        self._data = bytearray()
        self._decoder = codecs.getincrementaldecoder("utf-8")("strict")
        self._closed = False

    def feed(self, frame: Frame) -> str | bytes | None:
        """The message that this frame completes: str for text, bytes for binary, None if there is none yet.

        Control frames may stand between fragments and complete nothing. Behind a close frame, and behind an
        error, everything is ignored (sections 1.4 and 7.1.7). Raises ProtocolError, InvalidText, TooBig.
        """
        if frame.opcode is Opcode.CLOSE:
            self._closed = True
        if self._closed or frame.opcode.is_control:
            return None
        try:
            self._add(frame)
        except WebSocketError:
            self._closed = True
            raise
        return self._finish() if frame.fin else None

    def _add(self, frame: Frame) -> None:
        if frame.opcode is not Opcode.CONTINUATION:
            if self._opcode is not None:
                raise ProtocolError(
                    f"A {frame.opcode.name} frame came inside an unfinished {self._opcode.name} message. "
                    "All fragments but the first are continuations."
                )
            self._opcode = frame.opcode
        elif self._opcode is None:
            raise ProtocolError("A continuation came, and no message is unfinished.")
        size = len(self._data) + len(frame.payload)
        if size > self._max_message:
            raise TooBig(f"A message grew to {size} bytes, and the limit is {self._max_message}.")
        if self._opcode is Opcode.TEXT:
            self._check_text(frame)
        self._data += frame.payload

    def _check_text(self, frame: Frame) -> None:
        # The decoder keeps a character that is cut by the end of a fragment, and judges it with the next.
        try:
            self._decoder.decode(frame.payload, final=frame.fin)
            kept, _ = self._decoder.getstate()
            # Python keeps the first two bytes of a surrogate as if a third could mend them; none can.
            if kept[:1] == b"\xed" and kept[1:] >= b"\xa0":
                raise UnicodeDecodeError("utf-8", kept, 0, 2, "half of a surrogate pair")
        except UnicodeDecodeError as error:
            raise InvalidText(
                f"A text message is not UTF-8: {error.reason}, in the frame behind byte {len(self._data)}. "
                "Send bytes that are not text as a binary message."
            ) from None

    def _finish(self) -> str | bytes:
        data, opcode = bytes(self._data), self._opcode
        self._data = bytearray()
        self._opcode = None
        return data.decode("utf-8") if opcode is Opcode.TEXT else data
