"""WebSocket servers inside the test's loop, and clients for them: well-behaved ones, and bare sockets."""

import asyncio
import json
import socket
from contextlib import AsyncExitStack
from typing import Any

import websockets
from websockets.asyncio.client import ClientConnection

from labsupport.wire.close import Close
from labsupport.wire.frames import Frame, FrameParser, Opcode, encode_frame, parse_close
from labsupport.wire.handshake import build_request
from servers import websocket_chat, websocket_echo
from servers.core import lifeline, websocket
from servers.core.websocket import Door
from servers.core.websocket_connection import Connection
from tests.servers.conftest import PATIENCE_S

MASK = b"\x01\x02\x03\x04"


class Bare:
    """A client's bare socket: sends any bytes, and reads as little as it is told to."""

    def __init__(self, sock: socket.socket, port: int) -> None:
        self.sock, self.port = sock, port
        self.parser = FrameParser(role="client")
        self._frames: list[Frame] = []

    async def send(self, raw: bytes) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.get_running_loop().sock_sendall(self.sock, raw)

    async def read(self, size: int = 1 << 16) -> bytes:
        """What comes next; b"" at the end."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                return await asyncio.get_running_loop().sock_recv(self.sock, size)
            except ConnectionResetError:
                return b""

    async def answer(self) -> tuple[int, Any]:
        """(status, JSON) of an answer that is no WebSocket, read to its end."""
        raw = b""
        while chunk := await self.read():
            raw += chunk
        head, _, body = raw.partition(b"\r\n\r\n")
        return int(head.split()[1]), json.loads(body)

    async def open(self, target: str = "/", **more: Any) -> "Bare":
        """Do the handshake. The head is read byte by byte, so that no frame is lost behind it."""
        await self.send(build_request(f"127.0.0.1:{self.port}", target, **more))
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = await self.read(1)
            assert byte, head
            head += byte
        assert head.startswith(b"HTTP/1.1 101 "), head
        return self

    async def frame(self, opcode: Opcode, payload: bytes = b"", fin: bool = True) -> None:
        await self.send(encode_frame(Frame(opcode, payload, fin, masking_key=MASK)))

    async def say(self, **content: Any) -> None:
        await self.frame(Opcode.TEXT, json.dumps(content).encode())

    async def next(self) -> Frame | None:
        """The next frame; None at the end."""
        while not self._frames:
            chunk = await self.read()
            if not chunk:
                return None
            self._frames += self.parser.feed(chunk)
        return self._frames.pop(0)

    async def rest(self) -> list[Frame]:
        """All frames until the connection ends."""
        frames = []
        while (frame := await self.next()) is not None:
            frames.append(frame)
        return frames

    async def until_closed(self) -> tuple[list[Frame], Close]:
        """The frames up to the server's close frame, and what that says."""
        frames = []
        while (frame := await self.next()) is not None:
            if frame.opcode is Opcode.CLOSE:
                return frames, parse_close(frame.payload)
            frames.append(frame)
        return frames, Close(1006)

    async def closed(self) -> Close:
        """What the server's close frame says; all before it is thrown away."""
        return (await self.until_closed())[1]

    def close(self) -> None:
        self.sock.close()


class Talker:
    """A well-behaved client of the chat."""

    def __init__(self, link: ClientConnection) -> None:
        self.link = link

    async def say(self, type: str, **content: Any) -> None:
        await self.link.send(json.dumps({"type": type, **content}))

    async def hear(self, type: str | None = None) -> dict[str, Any]:
        """The next message, or the next of this type."""
        while True:
            async with asyncio.timeout(PATIENCE_S):
                message = json.loads(await self.link.recv())
            if type in (None, message["type"]):
                return message

    async def hear_all(self, number: int, type: str = "message") -> list[dict[str, Any]]:
        return [await self.hear(type) for _ in range(number)]

    async def write(self, id: str, text: str = "hello") -> dict[str, Any]:
        """Say something in the room; gives the ack."""
        await self.say("message", id=id, text=text)
        return await self.hear("ack")

    async def code(self) -> int | None:
        """The close code, once the connection has ended."""
        async with asyncio.timeout(PATIENCE_S):
            await self.link.wait_closed()
        return farewell(self.link)[0]


class Server:
    """A server in this loop, and how to reach it."""

    def __init__(self, stack: AsyncExitStack, door: Door, url: str) -> None:
        self.door, self.url = door, url
        self.port = int(url.rpartition(":")[2])
        self._stack = stack

    @property
    def inside(self) -> list[Connection]:
        return list(self.door.inside)

    async def connect(self, target: str = "/", **more: Any) -> ClientConnection:
        more.setdefault("compression", None)
        return await self._stack.enter_async_context(websockets.connect(self.url + target, **more))

    async def refused(self, target: str = "/", **more: Any) -> tuple[int, Any]:
        """(status, JSON) of a handshake that is not let in."""
        try:
            await self.connect(target, **more)
        except websockets.InvalidStatus as error:
            return error.response.status_code, json.loads(error.response.body or b"null")
        raise AssertionError("the server let it in")

    async def bare(self, receive_buffer: int | None = None) -> Bare:
        sock = socket.socket()
        self._stack.callback(sock.close)
        sock.setblocking(False)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
        return Bare(sock, self.port)

    async def get(self, target: str, **fields: str) -> tuple[int, Any]:
        """(status, JSON) of a plain request."""
        bare = await self.bare()
        lines = {"Host": f"127.0.0.1:{self.port}", **{k.replace("_", "-"): v for k, v in fields.items()}}
        head = [f"GET {target} HTTP/1.1", *(f"{name}: {value}" for name, value in lines.items()), "", ""]
        await bare.send("\r\n".join(head).encode())
        return await bare.answer()

    async def talker(
        self, user: str = "alice", room: str = "tea", headers: Any = None, **more: Any
    ) -> Talker:
        """A client that has joined."""
        talker = Talker(await self.connect("/chat", additional_headers=headers))
        await talker.say("join", room=room, user=user, **more)
        return talker


def farewell(link: ClientConnection) -> tuple[int | None, str | None]:
    """(close code, reason) of a connection that has ended; websockets 14.0 has no shorter way."""
    return link.protocol.close_code, link.protocol.close_reason


async def run(stack: AsyncExitStack, door: Door) -> Server:
    """Serve in this loop until the stack ends. A closing handshake may take as long as the test does."""
    lifeline.raise_descriptor_limit()  # both ends of each connection are in this process
    door.shared.close_s = PATIENCE_S
    door.options.drain_s = 0
    url = await stack.enter_async_context(websocket.serving(door, lifeline.listener("127.0.0.1", 0)))
    return Server(stack, door, url)


async def run_echo(stack: AsyncExitStack, *arguments: str) -> Server:
    return await run(stack, websocket_echo.door(websocket_echo.arguments().parse_args(arguments)))


async def run_chat(stack: AsyncExitStack, *arguments: str, **more: Any) -> tuple[Server, websocket_chat.Chat]:
    chat = websocket_chat.Chat(websocket_chat.arguments().parse_args(arguments), **more)
    return await run(stack, chat.door), chat
