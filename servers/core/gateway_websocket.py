"""The gateway's WebSockets: each event is one text frame, {"id": POSITION, "event": NAME, "data": ANY}.

A client has nothing to say but pings, pongs and a close. Messages are read, checked, and thrown away. It ends
with a code:

    1000 and others   the client closed, and gets its own code back
    1002, 1007, 1009  what it sent breaks the rules, is no UTF-8, or is too large
    1011              it left a ping unanswered
    1012              the server ends: connect again, at a random moment
    4408              too slow; resume from the last position
"""

import asyncio
import base64
import hashlib
from collections.abc import Iterator
from typing import Any

from servers.core import frames
from servers.core.crowd import Crowd, Follower, in_pieces
from servers.core.frames import ClientFrames, FrameError, encode_close, encode_frame
from servers.core.log import Entry, to_json

MOST_BYTES = 4096  # of a client's message; there is nothing it could say
MOST_BEHIND = 128 * 1024  # bytes that a client may leave unread and still be answered a ping
CLOSE_S = 5.0  # seconds for the client's part of the closing handshake
LAST_S = 1.0  # seconds for a client to read why it was closed, after bytes that broke the rules

NO_PONG, RESTART, TOO_SLOW = 1011, 1012, 4408
REASONS = {  # as in websocket_connection.py
    NO_PONG: "a ping stayed unanswered",
    RESTART: "the server restarts: connect again, at a random moment",
    TOO_SLOW: "too slow: more was waiting for you than the server keeps; resume from your position",
}
_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3

OPEN, PINGED, CLOSING, DEAF = "open", "pinged", "closing", "deaf"


class Messages:
    """The language of WebSockets."""

    name = "websocket"

    def event(self, data: bytes, event: str, id: str) -> bytes:
        return encode_frame(frames.TEXT, _before(event, id) + data + b"}")

    def snapshot(self, entries: list[Entry], position: str) -> Iterator[bytes]:
        """One message; a large one in several frames, so that a pong or a close may stand between them."""

        def parts() -> Iterator[bytes]:
            yield _before("snapshot", position) + b'{"messages":['
            for index, entry in enumerate(entries):
                yield b"," + entry.message() if index else entry.message()
            yield b'],"position":%b}}' % to_json(position)

        opcode, pieces = frames.TEXT, in_pieces(parts())
        piece = next(pieces)
        for following in pieces:
            yield encode_frame(opcode, piece, final=False)
            opcode, piece = frames.CONTINUATION, following
        yield encode_frame(opcode, piece)


def accept(key: bytes) -> bytes:
    """The answer that opens a WebSocket, for the client's Sec-WebSocket-Key (RFC 6455, 4.2.2)."""
    proof = base64.b64encode(hashlib.sha1(key + _MAGIC).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %b\r\n\r\n" % proof
    )


class SocketFollower(Follower):
    """A client on a WebSocket. Between its frames it has no reader, only these two slots more."""

    __slots__ = ("reader", "state")
    most_bytes = MOST_BYTES

    def __init__(self, transport: asyncio.Transport, crowd: Crowd[Any]) -> None:
        super().__init__(transport, crowd)
        self.reader: ClientFrames | None = None
        self.state = OPEN

    def data_received(self, data: bytes) -> None:
        if self.state is DEAF:
            return
        reader = self.reader or ClientFrames(self.most_bytes)
        try:
            for opcode, payload in reader.feed(data):
                self.heard(opcode, payload)
                if self.state is DEAF:
                    return
        except FrameError as error:
            self.reader = None
            self.fail(error.code, str(error))
        else:
            self.reader = None if reader.idle else reader

    def heard(self, opcode: int, payload: bytes) -> None:
        """A message, a ping, a pong or a close is there. Raises FrameError."""
        if opcode == frames.CLOSE:
            code = frames.close_code(payload)
            if self.state is not CLOSING:
                self.send(encode_close(code))
            self.crowd.forget(self)
            self.state = DEAF
            self.transport.close()
        elif self.state is not CLOSING:
            self.state = OPEN  # whatever it says, it is alive
            if opcode == frames.PING:
                self.send(encode_frame(frames.PONG, payload))
            elif opcode != frames.PONG:
                self.message(opcode, payload)

    def message(self, opcode: int, payload: bytes) -> None:
        """Nothing that a client says is of use here."""

    def send(self, raw: bytes) -> None:
        """Write an answer, unless the client asks and asks, and reads nothing."""
        if self.transport.get_write_buffer_size() > MOST_BEHIND:
            self.crowd.too_slow(self)
        else:
            self.transport.write(raw)

    def keep_alive(self) -> None:
        if self.state is PINGED:
            self.crowd.counters.dead += 1
            self.close(NO_PONG)
        else:
            self.state = PINGED
            self.transport.write(_PING)

    def late(self, now: float) -> None:
        if self.state in (CLOSING, DEAF):
            self.transport.abort()
        else:
            super().late(now)

    def close(self, code: int) -> None:
        """Say that this is the end, and why. The client closes as well, or is cut off."""
        self._leave(CLOSING, CLOSE_S)
        self.transport.write(encode_close(code, REASONS[code]))

    def fail(self, code: int, reason: str) -> None:
        """The same after bytes that cannot be read: nothing that follows could be."""
        if self.state is not CLOSING:
            self.transport.write(encode_close(code, reason))
        self._leave(DEAF, LAST_S)
        self.transport.write_eof()  # and no close yet: it would destroy what the client has not read

    def end(self) -> None:
        self.close(RESTART)

    def cut(self) -> None:
        self.close(TOO_SLOW)

    def _leave(self, state: str, seconds: float) -> None:
        self.crowd.forget(self)
        self.state = state
        self.due = asyncio.get_running_loop().time() + seconds


def _before(event: str, id: str) -> bytes:
    return b'{"id":%b,"event":%b,"data":' % (to_json(id), to_json(event))


_PING = encode_frame(frames.PING)
