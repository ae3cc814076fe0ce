"""Many chat servers, one broker: how a room's messages reach every server that has somebody in that room.

What the broker holds (look at it with redis-cli):

    chat:{ROOM}          the room's channel. A server subscribes while it has a member there, and no longer
    chat:{ROOM}:log      the room's stream: id 0-OFFSET, the newest `keep` messages. The shared truth
    chat:{ROOM}:epoch    the name of this stream's life: it is gone when the broker has lost its data
    chat:{ROOM}:ids      which of the clients' own ids are in the stream, and where: against doubles
    chat:{ROOM}:here     who is in the room, and by way of which server: core/presence.py
    chat:secret          signs the tokens, so that each server knows those of the others

A message is looked up among the ids, added to the stream and published in one script, so that no server sees
it half done. What is published is what clients get, encoded once for all servers. A server keeps a copy of
each of its rooms' streams and hands out from that (core/log.py). Pub/Sub forgets: who is not there does not
get it. So each message carries its offset, and a server that finds one missing, or comes back after the
broker was away, or is asked for a position that it does not have yet, reads the stream.

With streams=False there is Pub/Sub and nothing else: no stream, no ids, no catching up. It is the usual
picture of a cluster, and what it loses can be counted.
"""

import asyncio
import json
import logging
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from servers.core.log import Entry, MessageLog, to_json
from servers.core.rooms import MOST_NAMES, Room

COMMAND_S = 5.0  # seconds for the broker's answer; then it counts as away
FORGET_S = 86_400  # seconds; a room in which nothing was said for so long is forgotten, and its epoch with it
AGAIN_S = 0.05  # seconds between two tries to reach it
CONNECTIONS = 8  # to the broker, for commands; one more listens
ALL = "chat:servers"  # the channel that every server is subscribed to: PUBSUB NUMSUB counts them
SECRET = "chat:secret"

# KEYS log, ids, epoch; ARGV the epoch we know, who and id, data, keep, channel, prefix, seconds to live.
# -> {offset, 1 if it was there already, servers that heard it}, or nothing if the epoch is another one.
_WRITE = """
if redis.call('GET', KEYS[3]) ~= ARGV[1] then return false end
local known = redis.call('HGET', KEYS[2], ARGV[2])
if known then return {tonumber(known), 1, 0} end
local id = redis.call('XADD', KEYS[1], '0-*', 'by', ARGV[2], 'data', ARGV[3])
local offset = string.sub(id, 3)
redis.call('HSET', KEYS[2], ARGV[2], offset)
for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, ARGV[7]) end
while redis.call('XLEN', KEYS[1]) > tonumber(ARGV[4]) do
    local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
    redis.call('HDEL', KEYS[2], oldest[2][2])
    redis.call('XTRIM', KEYS[1], 'MAXLEN', redis.call('XLEN', KEYS[1]) - 1)
end
local frame = ARGV[6] .. ARGV[1] .. '-' .. offset .. '",' .. string.sub(ARGV[3], 2)
return {tonumber(offset), 0, redis.call('PUBLISH', ARGV[5], frame)}
"""

# KEYS log, epoch; ARGV a new epoch, the epoch we know, the newest offset we know, seconds to live.
# -> {epoch, newest offset, entries after ours (all, if the epoch is another one)}
# A broker that knows less than we do came back with old data. It must not give out an offset twice, so this
# is a new life.
_READ = """
redis.call('SET', KEYS[2], ARGV[1], 'NX', 'EX', ARGV[4])
local epoch = redis.call('GET', KEYS[2])
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local newest = last and tonumber(string.sub(last[1], 3)) or 0
if epoch == ARGV[2] and newest < tonumber(ARGV[3]) then
    redis.call('SET', KEYS[2], ARGV[1], 'EX', ARGV[4])
    epoch = ARGV[1]
end
local from = epoch == ARGV[2] and '(0-' .. ARGV[3] or '-'
return {epoch, newest, redis.call('XRANGE', KEYS[1], from, '+')}
"""

_log = logging.getLogger(__name__)

_PREFIX = b'{"type":"message","position":"'
AWAY = "the broker does not answer: what you say is kept until it is back, what others say comes later"
BACK = "the broker is back"


class ClusterRoom(Room):
    """One room, as one server of many has it: its own members, and a copy of the room's stream."""

    def __init__(self, cluster: "Cluster", name: str) -> None:
        super().__init__(MessageLog(cluster.keep))
        self.cluster, self.name = cluster, name
        self.channel = f"chat:{{{name}}}"
        self.ready = asyncio.Event()  # the copy is as good as the stream was a moment ago
        self.using = 0  # conversations that are in it, or on their way in
        self.elsewhere: list[str] = []  # who is here by way of other servers
        self._reading = asyncio.Lock()

    @property
    def newest(self) -> int:
        return offset_of(self.log.position)

    def start(self, since: str | None) -> str | None:
        """With plain Pub/Sub nobody has what was said before, nor can say that something is missing."""
        return since if self.cluster.streams else self.log.position

    def encode(self, entry: Entry) -> bytes:
        """What came from the channel is what goes to the members."""
        return entry.json

    def online(self) -> dict[str, Any]:
        own = super().online()
        names = list(dict.fromkeys([*own["users"], *self.elsewhere]))
        count = own["count"] + sum(user not in self._users for user in self.elsewhere)
        return {"users": names[:MOST_NAMES], "count": count}

    def now_elsewhere(self, users: list[str]) -> None:
        """Take in who is here by way of other servers, and tell the members if that is news."""
        if users != self.elsewhere:
            self.elsewhere = users
            self._online_changed()

    def heard(self, raw: bytes) -> None:
        """Take what was published on the room's channel."""
        content = json.loads(raw)
        if content["type"] == "message":
            self._take(content["position"], raw)
        elif content["type"] == "typing":
            here = content.get("server") == self.cluster.name
            others = (each for each in self._members if not (here and id(each) == content["member"]))
            self._signal(others, type="typing", user=content["user"])
        elif content["type"] == "online":
            self.cluster.online_changed(self)

    def _take(self, position: str, raw: bytes) -> None:
        if not self.cluster.streams or position == f"{self.log.epoch}-{self.newest + 1}":
            self.log.append_json("message", raw)
        elif position.partition("-")[0] != self.log.epoch or offset_of(position) > self.newest:
            self.cluster.start(self.catch_up())  # something is missing, or this is another life of the room

    def knows(self, since: str | None) -> bool:
        """Whether the copy reaches to where this client has been. If not, it was on a faster server."""
        if since is None or not self.cluster.streams:
            return True
        epoch, _, offset = since.rpartition("-")
        return epoch == self.log.epoch and offset.isdecimal() and int(offset[:16]) <= self.newest

    async def catch_up(self) -> bool:
        """Make the copy as good as the stream. False if the broker is away: it is done when that is back."""
        async with self._reading:
            try:
                if self.cluster.streams:
                    await self._read()
            except (RedisError, OSError):
                return False
            self.ready.set()
            return True

    async def _read(self) -> None:
        keys = [f"{self.channel}:log", f"{self.channel}:epoch"]
        known: list[str | int] = [secrets.token_hex(6), self.log.epoch, self.newest, FORGET_S]
        raw_epoch, newest, entries = await self.cluster.read(keys=keys, args=known)
        epoch = raw_epoch.decode()
        offsets = [offset_of(id.decode()) for id, _ in entries]
        first = offsets[0] if offsets else newest + 1
        old, log = self.log, self.log
        # Live messages may have come in the meantime: those are not news.
        if epoch != log.epoch or first > self.newest + 1:
            log = MessageLog(self.cluster.keep, epoch, newest=first - 1)
        for offset, (_, fields) in zip(offsets, entries, strict=True):
            if offset == offset_of(log.position) + 1:
                data = fields[fields.index(b"data") + 1]  # a script gives names and values in turn
                log.append_json("message", b'%b%b-%d",%b' % (_PREFIX, raw_epoch, offset, data[1:]))
        if log is not old:
            self.log = log
            old.close()  # its readers go on with the new one, and are told of the gap there

    def tell(self, state: str, text: str) -> None:
        self._signal(self._members, type="notice", about="broker", state=state, text=text)


class Cluster:
    """This server's place in the cluster: `async with Cluster(url, …)`, then open(), publish(), close()."""

    def __init__(self, url: str, name: str, keep: int, streams: bool = True) -> None:
        self.url, self.name, self.keep, self.streams = url, name, keep, streams
        # No retries in the library: after a failure the broker counts as away, and listen() comes back to it.
        common: dict[str, Any] = {"protocol": 2, "socket_connect_timeout": COMMAND_S}
        common["retry"] = Retry(NoBackoff(), 0)
        pool = BlockingConnectionPool.from_url(
            url, max_connections=CONNECTIONS, timeout=None, socket_timeout=COMMAND_S, **common
        )
        self.redis: Redis = Redis(connection_pool=pool)
        self._ears: Redis = Redis.from_url(url, socket_timeout=None, **common)  # silence is no failure there
        self.read = self.redis.register_script(_READ)
        self._write = self.redis.register_script(_WRITE)
        self.rooms: dict[str, ClusterRoom] = {}
        self.here = asyncio.Event()  # the broker is: set while it answers
        self.reached = 0  # servers that heard the last message
        self.losses = 0  # times that the broker went away
        self.on_back: Callable[[], Awaitable[None]] | None = None
        self.online_changed: Callable[[ClusterRoom], None] = lambda room: None
        self._told = False
        self._pubsub: PubSub | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Any) -> "asyncio.Task[Any]":
        """Run this beside all else, until it is done or the cluster is left."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("error beside the conversations", exc_info=task.exception())

    async def stop(self) -> None:
        """End what runs beside the conversations."""
        while tasks := list(self._tasks):
            for task in tasks:
                task.cancel()
            # Again and again: a cancellation that meets a time limit in the library may get lost there.
            await asyncio.wait(tasks, timeout=AGAIN_S)

    async def leave(self) -> None:
        await self.stop()
        await self._drop()
        with suppress(RedisError, OSError):
            await self.redis.connection_pool.disconnect()
            await self._ears.connection_pool.disconnect()

    # ---- rooms ----

    async def open(self, name: str, since: str | None) -> ClusterRoom:
        """The room, with all that came after `since`. Waits while the broker is away. close() it later."""
        room = self.rooms.get(name)
        if room is None:
            room = self.rooms[name] = ClusterRoom(self, name)
            self.start(self._subscribe(room))
        room.using += 1
        try:
            await room.ready.wait()
            # As long as the broker is away, the position may be right: to call it a gap would be wrong.
            while not room.knows(since) and not await room.catch_up():  # noqa: ASYNC110 - it asks each time
                await asyncio.sleep(AGAIN_S)
        except BaseException:
            self.close(room)
            raise
        return room

    def close(self, room: ClusterRoom) -> None:
        room.using -= 1
        if not room.using and self.rooms.get(room.name) is room:
            del self.rooms[room.name]
            self.start(self._unsubscribe(room))

    async def _subscribe(self, room: ClusterRoom) -> None:
        if self._pubsub is not None:
            with suppress(RedisError, OSError):  # the listener notices as well, and does it again
                await self._pubsub.subscribe(room.channel)

    async def _unsubscribe(self, room: ClusterRoom) -> None:
        if self._pubsub is not None and room.name not in self.rooms:
            with suppress(RedisError, OSError):
                await self._pubsub.unsubscribe(room.channel)

    # ---- what goes out ----

    async def publish(self, room: ClusterRoom, user: str, id: str, text: str, at: str) -> tuple[str, bool]:
        """(position, whether it was there already). Waits while the broker is away, and tries again.

        Trying again is safe: the message may have been written before the answer was lost, and its id tells.
        With plain Pub/Sub nothing does, and it may come twice.
        """
        data = to_json({"id": id, "user": user, "text": text, "at": at})
        while True:
            await self.here.wait()
            try:
                if not self.streams:
                    return await self._publish_only(room, data)
                written = await self._write_once(room, f"{user} {id}", data)
            except (RedisError, OSError):
                await asyncio.sleep(AGAIN_S)
                continue
            if written is not None:
                return written
            await room.catch_up()

    async def _write_once(self, room: ClusterRoom, by: str, data: bytes) -> tuple[str, bool] | None:
        keys = [f"{room.channel}:{what}" for what in ("log", "ids", "epoch")]
        epoch = room.log.epoch
        args: list[bytes | str | int] = [epoch, by, data, self.keep, room.channel, _PREFIX, FORGET_S]
        result = await self._write(keys=keys, args=args)
        if result is None:
            return None
        offset, duplicate, reached = result
        self.reached = self.reached if duplicate else reached
        return f"{epoch}-{offset}", bool(duplicate)

    async def _publish_only(self, room: ClusterRoom, data: bytes) -> tuple[str, bool]:
        position = f"{secrets.token_hex(6)}-1"  # a name, and no place: there is no log that it could be in
        frame = b'%b%b",%b' % (_PREFIX, position.encode(), data[1:])
        self.reached = await self.redis.publish(room.channel, frame)
        return position, False

    async def tell(self, room: ClusterRoom, **content: Any) -> None:
        """Publish what nobody needs later: lost, if the broker is away."""
        with suppress(RedisError, OSError):
            if self.here.is_set():
                await self.redis.publish(room.channel, to_json(content))

    # ---- what comes in ----

    async def secret(self) -> bytes:
        """What signs the tokens of all servers: the first one here draws it. Raises RedisError, OSError."""
        mine = secrets.token_hex(32).encode()
        await self.redis.set(SECRET, mine, nx=True)
        theirs = await self.redis.get(SECRET)
        return theirs if isinstance(theirs, bytes) else mine

    async def listen(self) -> None:
        """Hear what is published, for ever; when the broker goes away, come back to it."""
        while True:
            try:
                await self._connect()
                assert self._pubsub is not None
                async for message in self._pubsub.listen():
                    self._hear(message)
            except (RedisError, OSError):
                pass
            self._away()
            await self._drop()
            await asyncio.sleep(AGAIN_S)

    async def _connect(self) -> None:
        await self.redis.ping()
        self._pubsub = self._ears.pubsub()
        await self._pubsub.subscribe(ALL, *(room.channel for room in self.rooms.values()))
        if self.on_back is not None:
            await self.on_back()
        self.here.set()
        if self._told:
            self._told = False
            self.start(self._tell_back())

    async def _tell_back(self) -> None:
        """Not before what was missed has been read, so that a client that asks gets all."""
        for room in list(self.rooms.values()):
            await room.catch_up()
            room.tell("back", BACK)

    def _hear(self, message: dict[str, Any]) -> None:
        channel = message["channel"].decode()
        room = self.rooms.get(channel.removeprefix("chat:{").removesuffix("}"))
        if room is None or room.channel != channel:
            return
        if message["type"] == "subscribe":
            # Only now: what was published between a reading and the subscription, nobody would get.
            self.start(room.catch_up())
            self.online_changed(room)
        elif message["type"] == "message":
            with suppress(ValueError, KeyError, TypeError):  # somebody else's PUBLISH, by hand
                room.heard(message["data"])

    def _away(self) -> None:
        if self.here.is_set():
            self.here.clear()
            self.losses += 1
            self._told = True
            for room in self.rooms.values():
                room.tell("away", AWAY)

    async def _drop(self) -> None:
        pubsub, self._pubsub = self._pubsub, None
        if pubsub is not None:
            with suppress(RedisError, OSError):
                await pubsub.aclose()


def offset_of(position: str) -> int:
    return int(position.rpartition("-")[2])
