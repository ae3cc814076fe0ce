"""Signalling for WebRTC: passes notes between peers until they speak to each other without it.

Two browsers that want to talk directly must first tell each other where they are and what they can do, and
for that they need a third who knows both. That is all this server is: it understands who is in a room and
whom a note is for, and nothing of what the note says. All messages are JSON objects in text frames.
client -> server:

    {"type": "join", "room": "call", "peer": "alice"}      first of all, within --join-deadline
    {"type": "offer" | "answer" | "candidate" | "bye", "to": "bob", ...}      anything else may stand in it

server -> client:

    {"type": "joined", "room", "peer", "peers": [who was there before]}
    {"type": "here" | "gone", "peer"}                      when somebody joins or leaves
    {"type": "offer", ..., "from": "alice"}                a note, as it came, and whose it is
    {"type": "error", "error", "try"}                      what could not be understood or passed on

By custom the one who comes calls those who were there: an offer to each of "peers", and each answers. Media
and data never pass through here, so the server is idle while the call lasts. It closes with 1003 for a binary
message, 1009 for one of more than --max-bytes, 4401 for no join in time, 4408 for a peer that does not read
its notes, 1012 when the server ends.

Run it   python -m servers.webrtc --port 8770
Try it   python -m websockets ws://127.0.0.1:8770/signal      and type, in two terminals, alice and bob:
         {"type": "join", "room": "call", "peer": "alice"}
         {"type": "offer", "to": "bob", "sdp": "hello"}
"""

import argparse
import asyncio
import json
import os
from typing import Any

from websockets.asyncio.server import broadcast
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from servers.core import websocket
from servers.core.event_stream import seconds, whole
from servers.core.websocket import Door
from servers.core.websocket_connection import (
    NOT_AUTHENTICATED,
    SLOW_READER,
    UNSUPPORTED,
    Connection,
    reply,
)

MAX_MESSAGE = 64 * 1024  # bytes; a description of a call with video has 5 000 or so
MOST_UNREAD = 256 * 1024  # bytes of notes that lie unread; a peer that reads has none
MOST_PEERS = 16  # in a room; a mesh of more wants an uplink that nobody has
MAX_NAME = 40  # characters of a room or a peer
JOIN_S = 10.0  # seconds from the handshake to the join
NOTES = ("offer", "answer", "candidate", "bye")


class Problem(Exception):
    """What a client is told in an error message. The connection stays."""

    def __init__(self, error: str, advice: str) -> None:
        super().__init__(error)
        self.advice = advice


def parse(message: str) -> dict[str, Any]:
    """A client's message: an object with a type. Raises Problem."""
    try:
        value = json.loads(message)
    except (ValueError, RecursionError):
        raise Problem("this is not JSON", '{"type": "offer", "to": "bob", "sdp": "…"}') from None
    if not isinstance(value, dict) or value.get("type") not in ("join", *NOTES):
        raise Problem(f"expected an object with a type: join, {', '.join(NOTES)}", '{"type": "offer"}')
    return value


def name_of(request: dict[str, Any], field: str) -> str:
    """The room or peer that stands in a field. Raises Problem."""
    name = request.get(field)
    if isinstance(name, str) and 1 <= len(name) <= MAX_NAME and name.isprintable():
        return name
    raise Problem(f"expected as {field} 1 to {MAX_NAME} printable characters", f'"{field}": "alice"')


Room = dict[str, Connection]  # by the peers' names, in the order they came


class Signalling:
    """All rooms of one server."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.rooms: dict[str, Room] = {}
        self.passed = 0  # notes
        self.door = Door(options, sockets={"/signal": self.handle}, pages={"/stats": self.stats})

    def stats(self, request: Request) -> Response:
        peers = sum(map(len, self.rooms.values()))
        return reply({"rooms": len(self.rooms), "peers": peers, "passed": self.passed, "pid": os.getpid()})

    async def handle(self, connection: Connection) -> None:
        """One peer's connection, from its join to its end."""
        try:
            async with asyncio.timeout(self.options.join_deadline):
                joined = await self.join(connection)
        except TimeoutError:
            connection.cut(NOT_AUTHENTICATED, "no join in time")
            return
        if joined is None:
            return
        name, peer = joined
        room = self.rooms[name]
        try:
            while (request := await self.hear(connection)) is not None:
                await self.pass_on(room, peer, connection, request)
        finally:
            del room[peer]
            if not room:
                del self.rooms[name]
            self.tell(room, {"type": "gone", "peer": peer})

    async def hear(self, connection: Connection) -> dict[str, Any] | None:
        """The next message that can be understood; None after a binary one. Raises ConnectionClosed."""
        while True:
            message = await connection.receive()
            if isinstance(message, bytes):
                connection.cut(UNSUPPORTED)
                return None
            try:
                return parse(message)
            except Problem as problem:
                await complain(connection, problem)

    async def join(self, connection: Connection) -> tuple[str, str] | None:
        """(room, peer) once the peer is in; None when that will not be."""
        while (request := await self.hear(connection)) is not None:
            try:
                if request["type"] != "join":
                    raise Problem(
                        "you are in no room yet", '{"type": "join", "room": "call", "peer": "alice"}'
                    )
                name, peer = name_of(request, "room"), name_of(request, "peer")
                room = self.rooms.get(name, {})
                if peer in room:
                    raise Problem(f"the name {peer} is taken in this room", "another name")
                if len(room) >= self.options.most_peers:
                    raise Problem(f"there are {len(room)} peers in this room already", "a media server (SFU)")
            except Problem as problem:
                await complain(connection, problem)
                continue
            others = list(room)
            self.rooms.setdefault(name, room)[peer] = connection  # no await since the checks: nobody between
            try:
                await say(connection, {"type": "joined", "room": name, "peer": peer, "peers": others})
            except ConnectionClosed:
                del room[peer]
                if not room:
                    del self.rooms[name]
                raise
            self.tell(room, {"type": "here", "peer": peer}, besides=peer)
            return name, peer
        return None

    async def pass_on(self, room: Room, peer: str, connection: Connection, request: dict[str, Any]) -> None:
        """Hand a note to whom it is for, or say why not."""
        try:
            if request["type"] == "join":
                raise Problem("you have joined already", "another connection for another room")
            to = name_of(request, "to")
            if to not in room or to == peer:
                raise Problem(f"there is no other peer {to} here", ", ".join(p for p in room if p != peer))
        except Problem as problem:
            await complain(connection, problem)
            return
        self.passed += 1
        deliver(room[to], {**request, "from": peer})

    def tell(self, room: Room, content: dict[str, Any], besides: str = "") -> None:
        for peer, connection in list(room.items()):
            if peer != besides:
                deliver(connection, content)


async def say(connection: Connection, content: dict[str, Any]) -> None:
    await connection.push(json.dumps(content))


def deliver(connection: Connection, content: dict[str, Any]) -> None:
    """To somebody else's connection, without waiting for it: who does not read is sent away."""
    text = json.dumps(content)
    if connection.behind + len(text) > MOST_UNREAD:
        connection.cut(SLOW_READER)
    else:
        broadcast([connection], text)


async def complain(connection: Connection, problem: Problem) -> None:
    await say(connection, {"type": "error", "error": str(problem), "try": problem.advice})


def arguments() -> argparse.ArgumentParser:
    parser = websocket.arguments(__doc__, MAX_MESSAGE)
    most = whole(2, 1_000)
    parser.add_argument("--most-peers", type=most, default=MOST_PEERS, help="in a room (%(default)s)")
    parser.add_argument("--join-deadline", type=seconds, default=JOIN_S, help="for the join (%(default)g)")
    return parser


def main() -> None:
    options = arguments().parse_args()
    websocket.run(Signalling(options).door, options)


if __name__ == "__main__":
    main()
