"""Chat over WebSocket: one connection for both directions, and what the protocol itself does not give.

    async with WebSocketClient(server, room="tea", user="alice") as alice:
        position = await alice.send("hello")        # returns when the server has written it down
        async for item in alice:
            print(item.message.data["text"])

WebSocket carries messages while the connection lives. The rest is the client's own work:

    a cut loses what is under way        ->  outbox: each message has an id, and goes again until confirmed
    sent again, it could come twice      ->  the server knows the id; doubles of deliveries have one position
    a cut loses what was said meanwhile  ->  it joins with the position after which it wants the rest
    a dead link looks like a quiet one   ->  pings, and a dead-man timer
    all come back at one moment          ->  random waits that grow, and start afresh only after a link that
                                             has been healthy for a while: else a server that lets all in and
                                             closes at once would be asked without end
    the reader is slower than the room   ->  what it has not read is bounded; the rest is fetched later on

The protocol is servers/websocket_chat.py's.
"""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from labsupport.clients.base import Client, ClientError, Delivery, Gap, GaveUp, Message, NotSent, Refused
from labsupport.clients.closing import verdict
from labsupport.clients.outbox import Letter, Outbox
from labsupport.clients.polling import Unhealthy, positive
from labsupport.clients.recent import Recent
from labsupport.clients.signals import Signals
from labsupport.clients.websocket_link import (
    CLOSE_S,
    Ending,
    Link,
    Pace,
    WebSocketStats,
    chat_url,
    connect,
    open_link,
)

__all__ = ["WebSocketClient", "WebSocketStats", "connect", "verdict"]

DEAD_AFTER_S = 20.0  # seconds; proxies cut idle links from 60 s on, and a ping every 10 s is 6 bytes
HEALTHY_AFTER_S = 10.0  # seconds; a server that is overloaded closes sooner than that
OUTBOX = 1_000  # messages not confirmed yet; at 18 a second, what a cut of a minute leaves behind
RATE = 18.0  # messages a second, just under the 20 that the chat allows before it closes with 4429
BURST = 20  # messages at once, half of what the chat allows, since they may also arrive bunched
WINDOW = 16  # messages under way unconfirmed: with BURST, what can arrive at one moment
MOST_UNREAD = 1_000  # deliveries that nobody has read yet; as many as the server remembers
REMEMBERED = 1_000  # positions that a double is told by
MAX_TEXT = 60_000  # bytes of JSON; the chat closes with 1009 from 128 KiB on, which would stop the client


class WebSocketClient(Client):
    """A member of a chat room: iterate it for what is said there, one's own words included; `send` says it.

    url             ws://HOST:PORT/chat, or the server itself
    token           who this is, where the server wants it proven; origin: what a browser would send
    dead_after_s    the dead-man timer: seconds without a byte, pongs included, until a link counts as dead
    healthy_after_s seconds that a link must have lived for the waits to start afresh
    outbox          messages that may wait for a confirmation
    rate            messages a second that it sends at most, after a first BURST; None: no limit
    The other arguments are those of Client.
    """

    stats: WebSocketStats

    def __init__(
        self,
        url: object,
        *,
        room: str = "main",
        user: str = "guest",
        token: str | None = None,
        origin: str | None = None,
        dead_after_s: float = DEAD_AFTER_S,
        healthy_after_s: float = HEALTHY_AFTER_S,
        outbox: int = OUTBOX,
        rate: float | None = RATE,
        **more: Any,
    ) -> None:
        super().__init__(**more)
        self.stats = WebSocketStats()
        self._url = chat_url(url)
        self._join: dict[str, Any] = {"type": "join", "room": room, "user": user}
        if token is not None:
            self._join["token"] = token
        self._origin = origin
        self.dead_after_s = positive("dead_after_s", dead_after_s)
        self.healthy_after_s = positive("healthy_after_s", healthy_after_s)
        self._rate = None if rate is None else positive("rate", rate)
        self.online: list[str] = []
        self.signals = Signals()
        self._cursor = self.position  # after which message a new connection goes on; ahead of position
        self._seen = Recent(REMEMBERED)
        self._outbox = Outbox(outbox, WINDOW)
        self._rejected: NotSent | None = None  # the first of the posted messages that the server refused
        self._link: Link | None = None
        self._joined_at_s: float | None = None  # on this connection
        self._life: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None
        self._news = asyncio.Event()  # something for the reader
        self._in = asyncio.Event()  # joined, or never to be
        self._to_write = asyncio.Event()

    # ---- what the reader sees ----

    async def _open(self) -> None:
        self._life = asyncio.create_task(self._live())

    async def _step(self) -> None:
        if self._items:  # they came after the reader had looked
            return
        if self._failure is not None:
            self._raise_failure()
        if self._link is not None and self._link.behind:
            # All that was kept is read. A new connection brings the rest from here, as after a cut.
            self._link.drop(Ending("the reader has caught up", planned=True))
        self._news.clear()
        await self._news.wait()

    async def _shut(self) -> None:
        assert self._life is not None
        if self._link is not None:
            with suppress(TimeoutError):  # which close() alone would not keep: it first waits to be written
                async with asyncio.timeout(CLOSE_S):
                    await self._link.close()  # confirmations that are under way still count
        self._life.cancel()
        await asyncio.wait([self._life])
        self._end("the client was closed")

    async def ready(self) -> None:
        """Wait until the client is in the room, or raise why it will not be."""
        self._check_open()
        while not self.joined:
            if self._failure is not None:
                self._raise_failure()
            if self._closed:
                raise ClientError("the client was closed before it was in the room")
            self._in.clear()
            await self._in.wait()

    @property
    def joined(self) -> bool:
        """Whether it is in the room now, as far as it knows."""
        return self._link is not None and self._link.joined

    # ---- sending ----

    async def send(self, data: object, event: str = "message") -> str:
        """Say it, however many connections that takes; return its position in the room's log.

        NotSent: surely not in the log. MaybeSent: the client ended before it was confirmed. Whoever cancels
        the wait does not take the message back.
        """
        letter = self._add(data, event)
        letter.confirmed = asyncio.get_running_loop().create_future()
        return await letter.confirmed

    def post(self, text: str) -> str:
        """Put a message into the outbox and return its id, without waiting. See `unacked` and `drained`."""
        return self._add(text, "message").id

    @property
    def unacked(self) -> int:
        """Messages that the server has not confirmed yet."""
        return len(self._outbox)

    async def drained(self) -> None:
        """Wait until all is confirmed. MaybeSent or NotSent if something was not, and never will be."""
        self._check_open()
        await self._outbox.drained()
        if self._rejected is not None:
            rejected, self._rejected = self._rejected, None
            raise rejected

    async def typing(self) -> bool:
        """Tell the others that you type; False if that could not go out now (later it is worth nothing)."""
        self._check_open()
        if self._link is None or not self.joined or self._pace.wait_s() > 0:
            return False
        self._pace.take()
        with suppress(ConnectionClosed):
            await self._link.send('{"type": "typing"}')
            return True
        return False

    def _add(self, data: object, event: str) -> Letter:
        self._check_open()
        if event != "message":
            raise ValueError(
                f'expected as event "message", the chat sends no other, got {event!r}. See typing().'
            )
        if not isinstance(data, str) or not data:
            raise TypeError(f"the chat takes text, at least one character: got {data!r}. Try json.dumps(…).")
        if (size := len(json.dumps(data))) > MAX_TEXT:
            raise ValueError(f"expected at most {MAX_TEXT} bytes as JSON, got {size}: split this text")
        letter = self._outbox.add(data)
        self._to_write.set()
        return letter

    # ---- the client's life: one connection after the other ----

    async def _live(self) -> None:
        try:
            while not self._closed:
                ending = await self._one_connection()
                if self._closed or ending.planned:
                    continue
                self.stats.timeouts += ending.timed_out
                if ending.refused:
                    self.stats.errors += 1
                    self.stats.last_error = ending.why
                    raise Refused(ending.why)
                if self._was_healthy():
                    self._waits.reset()
                await self._sleep(self._back_off(ending.why) + ending.later_s)
        except Exception as failure:  # whoever waits must hear of a mistake in here, too
            self._failure = failure
            self._end(f"the client has stopped ({str(failure).rstrip('.')})")

    async def _one_connection(self) -> Ending:
        """Open it, join, live on it; return why it is no more."""
        self.stats.requests += 1
        self._joined_at_s = None
        link = await open_link(self._url, origin=self._origin, dead_after_s=self.dead_after_s)
        if isinstance(link, Ending):
            return link
        self._link, self._pace = link, Pace(self._rate, BURST)
        try:
            async with asyncio.TaskGroup() as group:
                beside = [
                    group.create_task(link.watch(self.dead_after_s)),
                    group.create_task(self._write(link)),
                ]
                ending = await self._hear(link)
                for task in beside:
                    task.cancel()
            return ending
        finally:
            self._link = None
            link.transport.abort()

    def _was_healthy(self) -> bool:
        return self._joined_at_s is not None and self._clock() - self._joined_at_s >= self.healthy_after_s

    def _end(self, why: str) -> None:
        """Tell all who wait that nothing will come any more."""
        self._outbox.stop(why)
        self.signals.end()
        self._news.set()
        self._in.set()

    def _raise_failure(self) -> None:
        """The failure, as often as somebody asks: a new one each time, so that no traceback grows."""
        failure = self._failure
        if isinstance(failure, (Refused, GaveUp)):
            raise type(failure)(str(failure)) from failure
        raise ClientError(f"this client has a bug: {failure!r}") from failure

    # ---- writing ----

    async def _write(self, link: Link) -> None:
        """The join, and as soon as that is answered whatever the outbox has, in its order."""
        with suppress(ConnectionClosed):
            since = {} if self._cursor is None else {"since": self._cursor}
            await link.send(json.dumps({**self._join, **since}))
            while True:
                letter = self._outbox.next() if link.joined else None
                if letter is None:
                    self._to_write.clear()
                    await self._to_write.wait()
                    continue
                if (wait_s := self._pace.wait_s()) > 0:
                    await asyncio.sleep(wait_s)
                if link.protocol.state is not State.OPEN:
                    return
                self._pace.take()
                self.stats.resent += letter.left
                letter.left = True
                await link.send(json.dumps({"type": "message", "id": letter.id, "text": letter.text}))

    # ---- hearing ----

    async def _hear(self, link: Link) -> Ending:
        while True:
            try:
                heard = await link.recv()
                self._understand(heard, link)
            except ConnectionClosed:
                return link.ending()
            except Refused as refused:
                return Ending(str(refused), refused=True)
            except Unhealthy as failure:
                return Ending(str(failure))

    def _understand(self, heard: str | bytes, link: Link) -> None:
        """One message of the server. Unhealthy if it is none of this protocol."""
        self.stats.body_bytes += len(heard) if isinstance(heard, bytes) else len(heard.encode())
        try:
            content = json.loads(heard)
            kind = content["type"]
            take: Callable[[dict[str, Any], Link], None] | None = {
                "joined": self._on_joined,
                "gap": self._on_gap,
                "message": self._on_message,
                "ack": self._on_ack,
                "error": self._on_error,
                "typing": self._on_signal,
                "online": self._on_signal,
            }.get(kind)
            if take is not None:  # a type that only later servers have is none of this client's business
                take(content, link)
        except (ValueError, KeyError, TypeError, RecursionError):
            raise Unhealthy(f"the server said what is no message of this chat: {heard[:60]!r}") from None

    def _on_joined(self, content: dict[str, Any], link: Link) -> None:
        link.joined = True
        self.stats.joined += 1
        self._joined_at_s = self._clock()
        self.online = list(content["online"])
        # Nothing was ever said before EPOCH-0. To go on from there, and not from nothing, lets the server
        # tell what is lost when it restarts, or forgets, before this client has heard a first message.
        link.start = content["position"] if content["position"].endswith("-0") else None
        if self._cursor is None and link.start is not None:
            self._cursor = link.start
            if not self._items:
                self.position = link.start
        self._outbox.rewind()
        self._to_write.set()
        self._in.set()

    def _on_gap(self, content: dict[str, Any], link: Link) -> None:
        reason, detail = str(content["reason"]), str(content["detail"])
        self.stats.gaps += 1
        self._cursor = link.start
        self._items.append(Gap(reason, detail, content["since"], link.start, self._clock()))
        self._news.set()

    def _on_message(self, content: dict[str, Any], link: Link) -> None:
        position = content["position"]
        data = {name: content[name] for name in ("id", "user", "text", "at")}
        link.start = None
        if link.behind or len(self._items) >= MOST_UNREAD:
            # Left out, and fetched later. Not to read the connection would keep back confirmations and pongs.
            link.behind = True
        elif self._seen.add(position):
            self._cursor = position
            self._items.append(Delivery(Message(position, "message", data), position, self._clock()))
            self._news.set()
        else:
            self.stats.repeated += 1

    def _on_ack(self, content: dict[str, Any], link: Link) -> None:
        position, duplicate = content["position"], bool(content["duplicate"])
        letter = self._outbox.settle(content["id"])
        if letter is None:
            return
        self.stats.sent += 1
        self.stats.duplicates += duplicate
        if letter.confirmed is not None and not letter.confirmed.done():
            letter.confirmed.set_result(position)
        self._to_write.set()

    def _on_error(self, content: dict[str, Any], link: Link) -> None:
        said = f"{content['error']} (try: {content['try']})"
        if not link.joined:
            raise Refused(f"the server does not let this client join: {said}. Asking again would not help.")
        self.stats.last_error = said
        if (letter := self._outbox.settle(content.get("id", ""))) is not None:
            error = NotSent(f"Not sent: the server refused it: {said}. It is not in the log.")
            if not letter.fail(error) and letter.confirmed is None and self._rejected is None:
                self._rejected = error
        self._to_write.set()

    def _on_signal(self, content: dict[str, Any], link: Link) -> None:
        if content["type"] == "online":
            self.online = list(content["users"])
        self.signals.put(content)
