"""Chat rooms: a message log each, who is in it, and which messages of clients it has already.

What is written in a room goes into its log, and from there to each member through a follower of its own, so
that nothing is lost or comes twice (core/log.py). Two things are not logged, since only the newest counts:

    typing   goes to whoever takes it now; a client that is behind misses it
    online   who is there: sent a moment after it has changed, so that a crowd that arrives is one change and
             not a thousand; a client that is behind gets it later, as it is then
"""

import asyncio
from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

from websockets.asyncio.server import broadcast

from servers.core.board import Channels
from servers.core.log import Entry, MessageLog, to_json
from servers.core.websocket_connection import WRITE_AHEAD, Connection

ONLINE_S = 0.05  # seconds from a change to its message: nobody sees the difference
ONLINE_MEMBER_S = 0.001  # seconds more for each member, so that a room of 10 000 is told every 10 s
MOST_NAMES = 200  # in one message; 10 000 names to 10 000 members would be a gigabyte

_PREFIX = b'{"type":"message","position":"%b",'


@dataclass(eq=False, slots=True)
class Member:
    """One connection in a room. A user may have several."""

    user: str
    connection: Connection


class Room:
    """One room. Belongs to one event loop."""

    def __init__(self, log: MessageLog) -> None:
        self.log = log
        self._members: dict[Member, None] = {}
        self._users: dict[str, int] = {}  # by name, how many connections; in the order they came
        self._known: dict[tuple[str, str], int] = {}  # (user, the client's id of a message) -> offset
        self._order: deque[tuple[int, tuple[str, str]]] = deque()  # the same, the oldest first
        self._changed = False  # since all were told who is online
        self._untold: set[Member] = set()  # who was behind then, and has yet to hear it
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_empty(self) -> bool:
        return not self._members

    @property
    def users(self) -> Collection[str]:
        """The names of those who are there, each once, in the order they came."""
        return self._users.keys()

    def start(self, since: str | None) -> str | None:
        """The place in the log from which a member who comes with `since` reads."""
        return since

    def encode(self, entry: Entry) -> bytes:
        """An entry of this room's log, as it goes to its members."""
        return encode_entry(entry)

    def publish(self, user: str, id: str, text: str, at: str) -> tuple[str, bool]:
        """(position, whether it was there already): a message that comes again is not written again.

        Never waits. Raises ValueError for text that is no Unicode.
        """
        self._forget()
        known = self._known.get((user, id))
        if known is not None:
            return f"{self.log.epoch}-{known}", True
        entry = self.log.append("message", {"id": id, "user": user, "text": text, "at": at})
        self._known[user, id] = entry.offset
        self._order.append((entry.offset, (user, id)))
        return entry.id, False

    def _forget(self) -> None:
        """Ids live as long as their messages do."""
        newest = int(self.log.position.rpartition("-")[2])
        while self._order and self._order[0][0] <= newest - len(self.log):
            del self._known[self._order.popleft()[1]]

    def enter(self, member: Member) -> None:
        self._members[member] = None
        connections = self._users.get(member.user, 0) + 1
        self._users[member.user] = connections
        if connections == 1:
            self._online_changed()

    def leave(self, member: Member) -> None:
        del self._members[member]
        self._untold.discard(member)
        self._users[member.user] -= 1
        if not self._users[member.user]:
            del self._users[member.user]
            self._online_changed()

    def online(self) -> dict[str, Any]:
        """The names of those who are there, each once, at most MOST_NAMES; and how many there are."""
        return {"users": list(islice(self._users, MOST_NAMES)), "count": len(self._users)}

    def typing(self, writer: Member) -> None:
        """Tell the others."""
        others = (member for member in self._members if member is not writer)
        self._signal(others, type="typing", user=writer.user)

    def _online_changed(self) -> None:
        self._changed = True
        self._tell_soon()

    def _tell_soon(self) -> None:
        if self._timer is None:
            wait_s = ONLINE_S + ONLINE_MEMBER_S * len(self._members)
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._tell)

    def _tell(self) -> None:
        self._timer = None
        listeners = self._members if self._changed else self._untold
        self._changed = False
        self._untold = self._signal(listeners, type="online", **self.online())
        if self._untold:
            self._tell_soon()

    def _signal(self, members: Iterable[Member], **content: Any) -> set[Member]:
        """Send this to whoever is not behind; gives those who are."""
        behind = set()
        ready = []
        for member in members:
            if member.connection.behind < WRITE_AHEAD:
                ready.append(member.connection)
            else:
                behind.add(member)
        broadcast(ready, to_json(content).decode())
        return behind


class Rooms:
    """The rooms of one server, by name. As many, and as large, as channels may be."""

    def __init__(self, keep: int) -> None:
        self._channels = Channels(keep)
        self._rooms: dict[str, Room] = {}

    def __len__(self) -> int:
        return len(self._rooms)

    def room(self, name: str) -> Room:
        """The room of this name. Raises http.Refusal for what is no name, and when there are too many."""
        room = self._rooms.get(name)
        if room is None:
            room = self._rooms[name] = Room(self._channels.log(name))
        return room

    def tidy(self, name: str) -> None:
        """Forget a room that nobody is in, and nothing was said in."""
        room = self._rooms.get(name)
        if room is not None and room.is_empty and not len(room.log):
            del self._rooms[name]


def encode_entry(entry: Entry) -> bytes:
    """A message of a room's log, as it goes to its members. Its data is JSON already."""
    return _PREFIX % entry.id.encode() + entry.json[1:]
