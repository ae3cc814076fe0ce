"""One WebSocket connection of a client: how it opens, whether it lives, how it ended.

`connect` is the `websockets` library's, set up as the lab needs it:

    async with connect("ws://127.0.0.1:8765") as link:
        await link.send("hello")
        print(await link.recv())
"""

import asyncio
import inspect
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio import client as library
from websockets.exceptions import InvalidStatus, WebSocketException

from labsupport.clients.base import Stats
from labsupport.clients.closing import LATER_S, advice, described, verdict
from labsupport.clients.polling import RETRY_STATUSES, Raw, retry_after_s, said

MAX_MESSAGE = 1 << 20  # bytes of one message, as the lab's servers have it; more closes with 1009
OPEN_S = 10.0  # seconds for connection and handshake
CLOSE_S = 1.0  # seconds for the closing handshake; a dead link would not answer it at all
TICKS = 10  # looks at the link in one dead_after_s: a dead one is noticed at most a tenth late

# Since version 15 the library asks the environment for a proxy, which knows no 127.0.0.1 but its own.
_DIRECT = {"proxy": None} if "proxy" in inspect.signature(library.connect.__init__).parameters else {}


@dataclass(slots=True)
class WebSocketStats(Stats):
    """As for every client, and besides:

    requests     connections tried
    joined       connections on which the server let the client in
    resent       messages written again on a new connection
    duplicates   of these, those that the server had already
    repeated     deliveries that had come before and were dropped
    """

    joined: int = 0
    resent: int = 0
    duplicates: int = 0
    repeated: int = 0


def connect(url: str, **options: Any) -> library.connect:
    """The library's `connect`: no compression (it takes 32 KiB a connection more), no proxy, 1 MiB a message.

    `options` are the library's: origin=, additional_headers=, max_size=, ping_interval= …
    """
    return library.connect(
        url, **{"compression": None, "max_size": MAX_MESSAGE, "open_timeout": OPEN_S, **_DIRECT, **options}
    )


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a connection is no more.

    later_s     seconds to add to the wait before the next one
    refused     asking again would not help; `why` is then a whole report
    timed_out   the dead-man timer ended it
    planned     the client itself wanted another one: no failure, no wait
    """

    why: str
    later_s: float = 0.0
    refused: bool = False
    timed_out: bool = False
    planned: bool = False


class Link(library.ClientConnection):
    """A connection that knows whether anything has been heard on it, pongs included.

    joined      the server has let the client in
    start       the position at joining, while nothing was ever said in the room; else None
    behind      messages on it were left out, so that none that follow may be taken
    ended_by    why this side has dropped it; None while it has not
    """

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.joined = False
        self.start: str | None = None
        self.behind = False
        self.ended_by: Ending | None = None
        self._heard = True

    def data_received(self, data: bytes) -> None:
        self._heard = True
        super().data_received(data)

    def drop(self, ending: Ending) -> None:
        """End it at once. A closing handshake on a dead link would only add its own time-out."""
        if self.ended_by is None:
            self.ended_by = ending
        self.transport.abort()

    async def watch(self, dead_after_s: float) -> None:
        """The dead-man timer: drop the link after so long without a byte, or without an answer to the join.

        It counts looks, not seconds: a notebook cell that keeps the loop busy for a minute is one look, and
        not a minute of the server's silence.
        """
        silent = waited = 0
        while max(silent, waited) < TICKS:
            await asyncio.sleep(dead_after_s / TICKS)
            silent = 0 if self._heard else silent + 1
            waited = 0 if self.joined else waited + 1
            self._heard = False
        what = "nothing was heard" if silent >= TICKS else "the join was not answered"
        self.drop(Ending(f"{what} for {dead_after_s:g} s, so the link counts as dead", timed_out=True))

    def ending(self) -> Ending:
        """Why it ended, and what its close code asks for."""
        if self.ended_by is not None:
            return self.ended_by
        received, sent = self.protocol.close_rcvd, self.protocol.close_sent
        if received is None and sent is None:
            return Ending("the connection was cut: 1006, no close frame came")
        by_server = received is not None and (sent is None or self.protocol.close_rcvd_then_sent)
        last = received if by_server or sent is None else sent
        assert last is not None
        who = "the server closed the connection" if by_server else "this client had to close the connection"
        why = f"{who}: {described(last.code, last.reason)}"
        match verdict(last.code):
            case "stop":
                end = f"{why}. Asking the same again would not help. Try: {advice(last.code)}."
                return Ending(end, refused=True)
            case "back off":
                return Ending(why, LATER_S)
        return Ending(why)


async def open_link(url: str, *, origin: str | None, dead_after_s: float) -> Link | Ending:
    """A new connection, which pings twice in each dead_after_s; or why there is none."""
    try:
        link = await connect(
            url,
            origin=origin,
            open_timeout=dead_after_s,
            close_timeout=CLOSE_S,
            ping_interval=dead_after_s / 2,
            ping_timeout=None,  # watch() is the one who judges
            create_connection=Link,
        )
    except InvalidStatus as error:
        return _after_status(error)
    except TimeoutError:
        return Ending(f"no WebSocket was open after {dead_after_s:g} s", timed_out=True)
    except (OSError, EOFError, WebSocketException) as error:
        return Ending(_no_connection(error))
    assert isinstance(link, Link)
    return link


def _after_status(error: InvalidStatus) -> Ending:
    """The server answered the handshake as if it were a plain request."""
    response = error.response
    status = response.status_code
    raw = Raw(status, response.reason_phrase, response.headers, bytes(response.body or b""))
    what = f"the server answered {status}: {said(raw)}"
    if status < 400:
        what = f"the server answered {status} instead of opening a WebSocket (is the address right?)"
    if status < 500 and status not in RETRY_STATUSES:
        return Ending(f"{what}. Asking the same again would not help.", refused=True)
    return Ending(what, retry_after_s(response.headers))


def _no_connection(error: BaseException) -> str:
    """Why there is none, in words without addresses."""
    if isinstance(error, OSError):
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        return f"no connection ({reason})"
    return f"the opening handshake failed ({error})"


class Pace:
    """A token bucket: `burst` messages at once, and `rate` a second from then on. None: no limit."""

    def __init__(self, rate: float | None, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._left, self._since = float(burst), clock()

    def wait_s(self) -> float:
        """Seconds until the next message may go."""
        if self._rate is None:
            return 0.0
        now_s = self._clock()
        self._left = min(self._burst, self._left + (now_s - self._since) * self._rate)
        self._since = now_s
        return max(0.0, (1.0 - self._left) / self._rate)

    def take(self) -> None:
        """One message goes."""
        self._left -= 1.0


def chat_url(url: object) -> str:
    """The address to connect to, from a server's URL or from the server. Without a path, it is /chat."""
    base = getattr(url, "url", url)
    parts = urlsplit(base) if isinstance(base, str) else None
    if parts is None or parts.scheme not in ("ws", "wss", "http", "https") or not parts.hostname:
        raise ValueError(f"expected a server, or its address such as ws://127.0.0.1:8766/chat, got {url!r}")
    scheme = parts.scheme.replace("http", "ws")  # a middlebox in front of it gives its address as http://
    return parts._replace(scheme=scheme, path=parts.path.rstrip("/") or "/chat").geturl()
