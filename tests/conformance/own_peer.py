"""Echoes of labsupport.wire and of the gateway's followers, and nothing else, to hold these to Autobahn."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from unittest.mock import patch
from urllib.parse import urlsplit

from labsupport.wire.frames import (
    Frame,
    FrameParser,
    MessageAssembler,
    Opcode,
    WebSocketError,
    encode_close,
    encode_frame,
    parse_close,
)
from labsupport.wire.handshake import (
    build_request,
    build_response,
    check_request,
    check_response,
    new_key,
)
from servers import gateway as gateway_server
from servers.core import gateway_door, lifeline
from servers.core.frames import encode_frame as gateway_frame
from servers.core.gateway_websocket import SocketFollower

CHUNK = 1 << 16  # bytes read at once


class Peer:
    """One end of an open connection, without its socket: bytes in, bytes out."""

    def __init__(self, role: str) -> None:
        self.is_client = role == "client"
        self.parser = FrameParser("client" if self.is_client else "server")
        self.assembler = MessageAssembler()
        self.messages: list[str | bytes] = []  # all that came, for who wants to look
        self.ended = False  # a close frame was sent, and nothing may follow it

    def answer(self, chunk: bytes, *, echo: bool = True) -> bytes:
        """What to send for the bytes that came."""
        failed: WebSocketError | None = None
        try:
            frames = self.parser.feed(chunk)
        except WebSocketError as error:  # what came whole in front of the mistake still counts
            failed, frames = error, error.frames
        out = b"".join(self._reply(frame, echo) for frame in frames)
        return out if failed is None or self.ended else out + self._close(failed.close_code)

    def _reply(self, frame: Frame, echo: bool) -> bytes:
        if self.ended:
            return b""
        try:
            if frame.opcode is Opcode.PING:
                return self._encode(Opcode.PONG, frame.payload)
            if frame.opcode is Opcode.CLOSE:
                code = parse_close(frame.payload).code
                return self._close(None if code == 1005 else code)
            message = self.assembler.feed(frame)
        except WebSocketError as error:
            return self._close(error.close_code)
        if message is None:
            return b""
        self.messages.append(message)
        if not echo:
            return b""
        if isinstance(message, str):
            return self._encode(Opcode.TEXT, message.encode())
        return self._encode(Opcode.BINARY, message)

    def _close(self, code: int | None) -> bytes:
        self.ended = True
        return self._encode(Opcode.CLOSE, encode_close(code))

    def _encode(self, opcode: Opcode, payload: bytes) -> bytes:
        # A client draws a fresh key for each frame (RFC 6455, 5.3).
        return encode_frame(Frame(opcode, payload, masking_key=os.urandom(4) if self.is_client else None))


async def talk(
    peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, echo: bool = True
) -> None:
    """Answer until the connection ends. A server closes behind its close frame, a client waits for that."""
    with suppress(ConnectionError):
        while chunk := await reader.read(CHUNK):
            writer.write(peer.answer(chunk, echo=echo))
            await writer.drain()
            if peer.ended and not peer.is_client:
                break
    writer.close()


@asynccontextmanager
async def server() -> AsyncIterator[str]:
    """The echo as a server, inside the block; gives its URL."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(build_response(check_request(head)))
        await talk(Peer("server"), reader, writer)

    listening = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"ws://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"
    finally:
        listening.close()


class EchoFollower(SocketFollower):
    """A follower of the gateway's that says back what it hears. The gateway's own ones keep silent."""

    __slots__ = ()
    most_bytes = 16 << 20

    def message(self, opcode: int, payload: bytes) -> None:
        self.transport.write(gateway_frame(opcode, payload))


@asynccontextmanager
async def gateway() -> AsyncIterator[str]:
    """The gateway inside the block, on whose WebSockets the followers echo; gives their URL."""
    options = gateway_server.arguments().parse_args([])
    this = gateway_server.Gateway(options)
    async with gateway_server.serving(this, lifeline.listener("127.0.0.1", 0)) as url:
        with patch.object(gateway_door, "SocketFollower", EchoFollower):
            yield url.replace("http:", "ws:") + "/ws"


async def visit(url: str, *, echo: bool = True) -> list[str | bytes]:
    """Connect as a client, echo until the server ends, and give all messages that came."""
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    key = new_key()
    target = f"{where.path}?{where.query}" if where.query else where.path
    writer.write(build_request(where.netloc, target, key))
    check_response(await reader.readuntil(b"\r\n\r\n"), key)
    peer = Peer("client")
    await talk(peer, reader, writer, echo=echo)
    return peer.messages
