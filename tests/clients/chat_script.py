"""A chat server that does what a test says, down to what no real one does on order."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.http11 import Response

from labsupport.backoff import Fixed
from labsupport.clients import WebSocketClient

QUICK = Fixed(0.0)


class Peer(ServerConnection):
    """One client's connection, at the server's end."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.pings = 0
        self.over = asyncio.Event()  # the test

    def process_event(self, event: Any) -> None:
        self.pings += isinstance(event, Frame) and event.opcode is Opcode.PING
        super().process_event(event)

    async def say(self, type: str, **content: Any) -> None:
        await self.send(json.dumps({"type": type, **content}))

    async def hear(self) -> dict[str, Any]:
        return dict(json.loads(await self.recv()))

    async def let_in(self, position: str = "a-0", **more: Any) -> dict[str, Any]:
        """Hear the join and answer it; gives the join."""
        join = await self.hear()
        given = {"room": join["room"], "user": join["user"], "since": join.get("since"), "online": []}
        await self.say("joined", **{**given, "position": position, **more})
        return join

    async def write(self, position: str, text: str = "hi", id: str = "x-1", user: str = "bob") -> None:
        await self.say("message", position=position, id=id, user=user, text=text, at="2026-01-01T00:00:00Z")

    async def confirm(self, message: dict[str, Any], position: str, duplicate: bool = False) -> None:
        await self.say("ack", id=message["id"], position=position, duplicate=duplicate)

    async def stay(self) -> None:
        """Until the client goes."""
        await self.wait_closed()


Act = Callable[[Peer], Awaitable[object]]


class Script:
    """The n-th connection gets the n-th of `acts`, and all that follow the last one. It is cut afterwards."""

    def __init__(self) -> None:
        self.acts: list[Act] = []
        self.peers: list[Peer] = []
        self.answers: list[Response] = []  # to the first handshakes, instead of letting them in
        self.asked = 0
        self.failures: list[BaseException] = []
        self.url = ""

    def answer(self, peer: ServerConnection, request: object) -> Response | None:
        self.asked += 1
        return self.answers.pop(0) if self.answers else None

    async def handle(self, peer: ServerConnection) -> None:
        assert isinstance(peer, Peer)
        self.peers.append(peer)
        try:
            await self.acts[min(len(self.peers), len(self.acts)) - 1](peer)
        except ConnectionClosed:
            pass
        except BaseException as failure:
            self.failures.append(failure)
            raise
        finally:
            peer.transport.abort()


@pytest.fixture
async def script() -> AsyncIterator[Script]:
    made = Script()
    async with serve(
        made.handle,
        "127.0.0.1",
        0,
        process_request=made.answer,
        create_connection=Peer,
        ping_interval=None,
        compression=None,
        close_timeout=0.1,
    ) as server:
        made.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield made
        for peer in made.peers:
            peer.over.set()
            peer.transport.abort()
    assert made.failures == []


def closing(code: int, reason: str = "") -> Act:
    """Let the client in, and close with this code."""

    async def act(peer: Peer) -> None:
        await peer.let_in()
        await peer.close(code, reason)

    return act


async def staying(peer: Peer) -> None:
    await peer.let_in()
    await peer.stay()


async def hanging(peer: Peer) -> None:
    """Say nothing at all, and read nothing."""
    peer.transport.pause_reading()
    await peer.over.wait()


def refusal(status: int, body: bytes = b"", **fields: str) -> Response:
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    headers = Headers({"Content-Length": str(len(body)), "Connection": "close", **named})
    return Response(status, HTTPStatus(status).phrase, headers, body)


def client(script: Script, **more: Any) -> WebSocketClient:
    return WebSocketClient(script.url, **{"backoff": QUICK, "rate": None, **more})
