"""Who is where, in a cluster: keys that end by themselves, since a server that dies cannot say goodbye.

    chat:{ROOM}:here                  the registry: a set of "SERVER USER", who is in the room by way of whom
    chat:{ROOM}:here:SERVER USER      the address of that server, with a time to live

Each server writes the keys of its own members again every `beat_s`, so that only a server that is gone lets
them end. Who is in the set without a key is gone. A goodbye in order deletes both at once, and a change is
told on the room's channel; what ended by itself each server sees when it looks, once a beat: Redis can tell
of keys that end, but when it gets to them, and by Pub/Sub, which forgets.

How long should a key live? With beats every 30 s and 60 s to live, somebody who died looks online for 30 to
60 s more. But then one lost beat is a race at exactly 60 s, the next beat against the end of the key: so
more than two beats and some slack, 75 s. To write N users costs N / beat_s commands a second.
"""

import asyncio
from collections.abc import Iterable
from contextlib import suppress

from redis.exceptions import RedisError

from servers.core.cluster import Cluster, ClusterRoom
from servers.core.log import to_json

BEAT_S = 30.0  # seconds between two beats; 1 M users are 33 333 commands a second
TTL_S = 75.0  # seconds to live: two beats, and half a one for what is late
GATHER_S = 0.02  # seconds in which changes gather, so that a crowd is one message to the broker and not 1 000
SLICE = 500  # keys in one message to the broker


class Presence:
    """This server's part of the presence keys. `url` is how clients reach it."""

    def __init__(
        self, cluster: Cluster, url: str, beat_s: float = BEAT_S, ttl_s: float = TTL_S, lose_every: int = 0
    ) -> None:
        self.cluster, self.url = cluster, url
        self.beat_s, self.ttl_ms = beat_s, max(1, round(ttl_s * 1000))
        self.lose_every = lose_every  # a fault for a lesson: every so many beats one is not sent
        self.beats = 0
        self._changed: set[tuple[str, str]] = set()  # (room, user) whose keys have to be written or deleted
        self._looks: set[str] = set()  # rooms to look at
        self._wake = asyncio.Event()
        self._due = 0.0  # when the next beat is, on the loop's clock
        cluster.online_changed = self.look_soon
        cluster.on_back = self.beat_soon

    def changed(self, room: str, user: str) -> None:
        """Somebody came or went."""
        self._changed.add((room, user))
        self._wake.set()

    def look_soon(self, room: ClusterRoom) -> None:
        self._looks.add(room.name)
        self._wake.set()

    async def beat_soon(self) -> None:
        """The broker is back, perhaps without its data: write all anew."""
        self._due = 0.0
        self._wake.set()

    async def run(self) -> None:
        """Write, beat and look, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self._due):
                    await self._wake.wait()
            self._wake.clear()
            with suppress(RedisError, OSError):  # the broker is away: when it is back, beat_soon() is called
                if loop.time() >= self._due:
                    self._due = loop.time() + self.beat_s
                    await self._beat()
                await self.flush()
                await self._look()
            await asyncio.sleep(GATHER_S)

    async def flush(self) -> None:
        """Write what has changed. Raises RedisError, OSError; then it is still to be written."""
        changed = list(self._changed)
        await self._write(changed)
        self._changed.difference_update(changed)
        for room in {room for room, _ in changed}:
            await self.cluster.redis.publish(f"chat:{{{room}}}", to_json({"type": "online"}))

    async def _beat(self) -> None:
        self.beats += 1
        if not self.lose_every or self.beats % self.lose_every:
            rooms = self.cluster.rooms.values()
            await self._write([(room.name, user) for room in rooms for user in room.users])
        self._looks.update(self.cluster.rooms)

    async def _write(self, who: list[tuple[str, str]]) -> None:
        for start in range(0, len(who), SLICE):
            async with self.cluster.redis.pipeline(transaction=False) as pipe:
                for room, user in who[start : start + SLICE]:
                    registry, name = f"chat:{{{room}}}:here", f"{self.cluster.name} {user}"
                    open_room = self.cluster.rooms.get(room)
                    if open_room is not None and user in open_room.users:
                        # Both each time: another server may have taken it out of the set a moment ago.
                        pipe.set(f"{registry}:{name}", self.url, px=self.ttl_ms)
                        pipe.sadd(registry, name)
                    else:
                        pipe.delete(f"{registry}:{name}")
                        pipe.srem(registry, name)
                await pipe.execute()

    async def _look(self) -> None:
        """See who is here by way of other servers."""
        looks, self._looks = self._looks, set()
        for name in looks:
            room = self.cluster.rooms.get(name)
            if room is not None:
                here = await self._here(name)
                others = {user for server, user, _ in here if server != self.cluster.name}
                room.now_elsewhere(sorted(others))

    async def registry(self, room: str) -> dict[str, list[str]]:
        """By user, the addresses of the servers that hold them. Raises RedisError, OSError."""
        found: dict[str, list[str]] = {}
        for _, user, url in sorted(await self._here(room)):
            found.setdefault(user, []).append(url)
        return found

    async def _here(self, room: str) -> Iterable[tuple[str, str, str]]:
        """(server, user, its address) of all whose key lives; the others are taken out of the set."""
        registry = f"chat:{{{room}}}:here"
        names = [_text(name) for name in await self.cluster.redis.smembers(registry)]
        if not names:
            return []
        urls = await self.cluster.redis.mget([f"{registry}:{name}" for name in names])
        gone = [name for name, url in zip(names, urls, strict=True) if url is None]
        if gone:
            await self.cluster.redis.srem(registry, *gone)
        return [(*_two(name), _text(url)) for name, url in zip(names, urls, strict=True) if url is not None]


def _two(name: str) -> tuple[str, str]:
    server, _, user = name.partition(" ")
    return server, user


def _text(raw: bytes | str) -> str:
    return raw if isinstance(raw, str) else raw.decode()
