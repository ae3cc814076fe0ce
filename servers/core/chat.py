"""The chat's conversations: what a client says, who it is, and what it is told. Rooms are somebody else's.

The messages are those of servers/websocket_chat.py. One server with its rooms in its own memory and a cluster
of them with a broker differ in four places only, the methods of Chat that wait:

    open      a member enters a room and gets what it said so far
    publish   a message is written there, once, however often it comes
    typing    the others in the room are told
    leave     the member is gone
"""

import argparse
import asyncio
import json
import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from servers.core import http, websocket
from servers.core.event_stream import TURN, UNREAD, seconds, whole
from servers.core.log import KEEP, Follower, PositionError, SlowFollower, to_json
from servers.core.rooms import Member, Room, Rooms
from servers.core.tokens import Tokens
from servers.core.websocket import Door
from servers.core.websocket_connection import (
    NOT_AUTHENTICATED,
    SLOW_READER,
    TOO_FAST,
    UNSUPPORTED,
    Connection,
    refuse,
    reply,
)

MAX_MESSAGE = 128 * 1024  # bytes of a message; the longest that means anything here has about 24 000
MAX_TEXT = 4000  # characters of a chat message; Slack's advice, and twice what Discord takes
MAX_USER = 40  # characters of a name
JOIN_S = 10.0  # seconds from the handshake to the join; a program needs milliseconds
RATE = 20  # messages a second of one client; the fastest typist sends one
BURST_S = 2  # seconds' worth of messages that may come at once

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TYPES = ("join", "message", "typing", "online")
_COOKIE = "chat_session"


class Problem(Exception):
    """What a client is told in an error message. The chat goes on."""

    def __init__(self, error: str, advice: str) -> None:
        super().__init__(error)
        self.advice = advice


class NotAuthenticated(Exception):
    """Whoever this is, is not who they say."""


@dataclass
class Counters:
    joined: int = 0  # in a room now
    published: int = 0
    duplicates: int = 0
    gaps: int = 0  # positions of no use, told to their clients
    errors: int = 0  # messages that were not understood


class Bucket:
    """A token bucket: `rate` a second on average, and `burst` at once. `clock` gives seconds."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float]) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._left, self._since = burst, clock()

    def take(self) -> bool:
        """Take one, if there is one."""
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._since) * self._rate)
        self._since = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


def parse(message: str) -> dict[str, Any]:
    """A client's message. Raises Problem."""
    advice = '{"type": "message", "id": "1", "text": "hello"}'
    try:
        value = json.loads(message)
    except json.JSONDecodeError as error:
        raise Problem(f"this is not JSON: {error.msg} (column {error.colno})", advice) from None
    except (ValueError, RecursionError):  # a number of thousands of digits, thousands of brackets
        raise Problem("this JSON is larger than anything that is said here", advice) from None
    if not isinstance(value, dict):
        raise Problem("expected a JSON object", advice)
    if value.get("type") not in _TYPES:
        raise Problem(f"expected as type one of {', '.join(_TYPES)}", advice)
    return value


def check_user(user: object) -> str:
    """A name: 1 to MAX_USER characters that can be printed. Raises Problem."""
    if isinstance(user, str) and 1 <= len(user) <= MAX_USER and user.isprintable() and user.strip():
        return user
    raise Problem(f"expected as user 1 to {MAX_USER} printable characters", '"user": "alice"')


def check_message(request: dict[str, Any]) -> tuple[str, str]:
    """(id, text) of a message. Raises Problem."""
    id, text = request.get("id"), request.get("text")
    if not isinstance(id, str) or not _ID.fullmatch(id):
        raise Problem("expected as id 1 to 64 of the characters A-Z a-z 0-9 _ -", '"id": "1"')
    if not isinstance(text, str) or not 1 <= len(text) <= MAX_TEXT:
        raise Problem(f"expected as text 1 to {MAX_TEXT} characters", '"text": "hello"')
    return id, text


class Chat:
    """What the conversations of one server share. `rooms` are its rooms, in its own memory."""

    def __init__(self, options: argparse.Namespace, tokens: Tokens | None = None) -> None:
        self.options = options
        self.counters = Counters()
        self.rooms = Rooms(options.keep)
        self.tokens = tokens or Tokens()
        self.door = Door(
            options,
            sockets={"/chat": self.chat, "/echo": echo},
            pages={"/stats": self.stats, "/login": self.login},
            may_enter=self.may_enter,
        )

    async def chat(self, connection: Connection) -> None:
        await Conversation(self, connection).run()

    def check_room(self, name: str) -> None:
        """Raises http.Refusal for what is no name of a room, and when there are too many."""
        self.rooms.room(name)

    async def open(self, name: str, member: Member, since: str | None) -> Room:
        """The room, with this member in it and with all that came after `since`, as far as that is kept."""
        room = self.rooms.room(name)
        room.enter(member)
        return room

    async def publish(self, room: Room, member: Member, id: str, text: str, at: str) -> tuple[str, bool]:
        """(position, whether it was there already). Raises ValueError for text that is no Unicode."""
        return room.publish(member.user, id, text, at)

    async def typing(self, room: Room, member: Member) -> None:
        room.typing(member)

    async def leave(self, name: str, room: Room, member: Member) -> None:
        room.leave(member)
        self.rooms.tidy(name)

    def may_enter(self, origin: str) -> bool:
        options = self.options
        if options.any_origin:
            return True
        if options.only_origin:
            return origin in options.only_origin
        return http.is_allowed(origin, options.allow_origin)

    def stats(self, request: Request) -> Response:
        numbers = {**asdict(self.door.counters), **asdict(self.counters)}
        return reply({**numbers, "rooms": len(self.rooms), "pid": os.getpid()})

    def login(self, request: Request) -> Response:
        [user] = parse_qs(urlsplit(request.path).query).get("user", [""])[:1]
        try:
            token = self.tokens.issue(check_user(user))
        except Problem as problem:
            return refuse(400, str(problem), "/login?user=alice")
        cookie = f"{_COOKIE}={token}; HttpOnly; SameSite=Lax; Path=/"
        return reply(
            {"user": user, "token": token}, headers={"Set-Cookie": cookie, "Cache-Control": "no-store"}
        )

    def identify(self, request: dict[str, Any], cookie: str | None) -> str:
        """Who wants to join. Raises NotAuthenticated, and Problem for a name that is none.

        A token says who it is. So does a cookie, unless another name is asked for where none needs a proof.
        """
        user, token = request.get("user"), request.get("token")
        proven = self.tokens.user(cookie if token is None else token)
        if token is not None or self.options.require_token:
            if proven is None or user not in (None, proven):
                raise NotAuthenticated
            return proven
        return check_user(proven if user is None else user)


class Conversation:
    """One client's time in the chat, from the handshake to the end."""

    def __init__(self, chat: Chat, connection: Connection) -> None:
        rate = chat.options.rate
        self.chat, self.connection = chat, connection
        self.bucket = Bucket(rate, BURST_S * rate, connection.loop.time)

    async def run(self) -> None:
        try:
            async with asyncio.timeout(self.chat.options.auth_deadline):
                joined = await self.join()
        except TimeoutError:
            self.connection.cut(NOT_AUTHENTICATED, "no join in time")
            return
        if joined is None:
            return
        name, user, since = joined
        member = Member(user, self.connection)
        room = await self.chat.open(name, member, since)
        self.chat.counters.joined += 1
        try:
            await self.talk(room, name, member, since)
        finally:
            self.chat.counters.joined -= 1
            await self.chat.leave(name, room, member)

    async def talk(self, room: Room, name: str, member: Member, since: str | None) -> None:
        """Two at once: what the room says goes out, and what the client says comes in."""
        online, place = room.online(), room.start(since)  # now: what comes while it is told belongs to it
        joined = {"room": name, "user": member.user, "position": room.log.position, "since": since}
        await self.say("joined", **joined, online=online["users"], count=online["count"])
        async with asyncio.TaskGroup() as group:
            out = group.create_task(self.pass_on(room, place))
            with suppress(ConnectionClosed):
                while (request := await self.hear()) is not None:
                    try:
                        await self.answer(request, room, member)
                    except Problem as problem:
                        await self.complain(problem, request.get("id"))
            out.cancel()

    async def hear(self) -> dict[str, Any] | None:
        """The client's next message that can be understood; None when that was the last one it may send.

        Raises ConnectionClosed.
        """
        while True:
            message = await self.connection.receive()
            if not self.bucket.take():
                self.connection.cut(TOO_FAST)
                return None
            if isinstance(message, bytes):
                self.connection.cut(UNSUPPORTED)
                return None
            try:
                return parse(message)
            except Problem as problem:
                await self.complain(problem)

    async def join(self) -> tuple[str, str, str | None] | None:
        """(room, user, position to go on from); None when there will be no join. Raises ConnectionClosed."""
        example = '{"type": "join", "room": "tea", "user": "alice"}'
        cookie = _cookie(self.connection.request)
        while (request := await self.hear()) is not None:
            try:
                if request["type"] != "join":
                    raise Problem("you are in no room yet", example)
                user = self.chat.identify(request, cookie)
                name, since = request.get("room"), request.get("since")
                if not isinstance(name, str) or not isinstance(since, str | None):
                    raise Problem("expected a room, and as since a position or nothing", example)
                self.chat.check_room(name)
                # What is no position may be anything, and is told back: so many characters, and plain ones.
                return name, user, since and since.encode("ascii", "backslashreplace").decode()[:128]
            except NotAuthenticated:
                self.connection.cut(NOT_AUTHENTICATED)
                return None
            except http.Refusal as refusal:
                await self.complain(Problem(refusal.content["error"], refusal.content["try"]))
            except Problem as problem:
                await self.complain(problem, request.get("id"))
        return None

    async def answer(self, request: dict[str, Any], room: Room, member: Member) -> None:
        """Do what a member asks for. Raises Problem."""
        if request["type"] == "message":
            id, text = check_message(request)
            at = datetime.now(UTC).isoformat(timespec="milliseconds")
            try:
                position, duplicate = await self.chat.publish(room, member, id, text, at)
            except ValueError:  # half of a surrogate pair: JSON to read, but no text
                raise Problem("this text is not Unicode", '"text": "hello"') from None
            self.chat.counters.published += not duplicate
            self.chat.counters.duplicates += duplicate
            await self.say("ack", id=id, position=position, duplicate=duplicate)
        elif request["type"] == "typing":
            await self.chat.typing(room, member)
        elif request["type"] == "online":
            await self.say("online", **room.online())
        elif "token" in request and self.chat.tokens.user(request["token"]) != member.user:
            self.connection.cut(NOT_AUTHENTICATED)
        else:
            raise Problem("you have joined already", "open another connection for another room")

    async def pass_on(self, room: Room, place: str | None) -> None:
        """What comes after `place`, then live. At a gap, tell it, and go on with all that is remembered."""
        unread = self.chat.options.unread
        with suppress(ConnectionClosed, SlowFollower):  # of the latter, slow() has told the client
            while True:
                log = room.log
                try:
                    async with log.follow(place, unread, on_slow=self.slow) as follower:
                        try:
                            await self.write(room, follower)
                        finally:
                            place = follower.position
                    if room.log is log:
                        return
                except PositionError as error:  # at once, or later on: the history has overtaken this reader
                    self.chat.counters.gaps += 1
                    await self.say("gap", reason=error.name, detail=str(error), since=place)
                    place = None

    async def write(self, room: Room, follower: Follower) -> None:
        written = 0
        async for entry in follower:
            await self.connection.push(room.encode(entry), text=True)
            written += 1
            if written % TURN == 0:
                await asyncio.sleep(0)  # others have their turn, although this client would take more at once

    def slow(self) -> None:
        self.connection.cut(SLOW_READER)

    async def say(self, type: str, **content: Any) -> None:
        await self.connection.push(to_json({"type": type, **content}), text=True)

    async def complain(self, problem: Problem, id: object = None) -> None:
        self.chat.counters.errors += 1
        about = {"id": id} if isinstance(id, str) and _ID.fullmatch(id) else {}
        await self.say("error", error=str(problem), **{"try": problem.advice}, **about)


def _cookie(request: Request | None) -> str | None:
    """The token that came as a cookie with the handshake."""
    fields = request.headers.get_all("Cookie") if request else []
    pairs = [pair.strip().partition("=") for field in fields for pair in field.split(";")]
    return next((value for name, _, value in pairs if name == _COOKIE), None)


async def echo(connection: Connection) -> None:
    """What websocket_echo does, with this server's limits."""
    while True:
        await connection.push(await connection.receive())


def arguments(description: str) -> argparse.ArgumentParser:
    """The arguments of a chat server."""
    parser = websocket.arguments(description, MAX_MESSAGE)
    add, number = parser.add_argument, whole(1, 1_000_000)
    add("--keep", type=number, default=KEEP, help="messages each room remembers (%(default)s)")
    add("--unread", type=number, default=UNREAD, help="messages that make a reader slow (%(default)s)")
    add("--rate", type=number, default=RATE, help="messages a second of one client (%(default)s)")
    add("--auth-deadline", type=seconds, default=JOIN_S, help="seconds for the join (%(default)g)")
    add("--require-token", action="store_true", help="let nobody join without a token of /login")
    origin = "let in only pages of this origin, not even this machine's others; repeatable"
    add("--only-origin", action="append", default=[], metavar="ORIGIN", help=origin)
    add("--any-origin", action="store_true", help="a mistake, for a lesson: let in pages of any origin")
    return parser
