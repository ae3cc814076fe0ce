"""The bench's four transports: which server, which client, and how a number is published by each.

The clients are the lab's own, with shorter times. One that does not keep its place forgets, at each failure,
where it was: the rest of it is unchanged.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from labsupport.clients import Client, LongPollingClient, ShortPollingClient, SseClient, WebSocketClient
from labsupport.clients.recent import Recent
from labsupport.clients.websocket import REMEMBERED
from labsupport.processes import Middlebox, Server

INTERVAL_S = 0.5  # seconds between short polls
HOLD_S = 1.5  # seconds that the server holds a long poll
DEAD_S = 2.5  # seconds of silence until a link counts as dead
HEARTBEAT_S = 0.8  # seconds
AS_DRAWN_S = 1.0  # seconds of a wait that last as long as they are; servers ask for up to 10 (`retry:`)
SHORTENED = 0.1  # share of what is longer
ROOM = "bench"


class _ForgetfulShort(ShortPollingClient):
    def _back_off(self, why: str, at_least_s: float = 0.0) -> float:
        self._cursor = None
        return super()._back_off(why, at_least_s)


class _ForgetfulLong(LongPollingClient):
    def _back_off(self, why: str, at_least_s: float = 0.0) -> float:
        self._cursor = None
        return super()._back_off(why, at_least_s)


class _ForgetfulSse(SseClient):
    def _back_off(self, why: str, at_least_s: float = 0.0) -> float:
        self._cursor = None
        return super()._back_off(why, at_least_s)


class _ForgetfulChat(WebSocketClient):
    def _back_off(self, why: str, at_least_s: float = 0.0) -> float:
        self._cursor = None
        self._seen = Recent(REMEMBERED)
        return super()._back_off(why, at_least_s)


Make = Callable[..., Client]


@dataclass(frozen=True)
class Kind:
    """One transport: its server with its options, and who follows it: with a good memory, and with none."""

    server: str
    options: tuple[str, ...]
    remembers: Make
    forgets: Make
    settings: Mapping[str, Any]

    def client(self, box: Middlebox, *, keeps_place: bool, seed: int, client: int) -> Client:
        """Somebody who follows, through the middlebox."""
        make = self.remembers if keeps_place else self.forgets
        return make(box, seed=seed, client=client, sleep=_not_for_long, **self.settings)

    def publisher(self, server: Server) -> Client:
        """Who publishes, on the server's own side of the network."""
        if self.server == "websocket_chat":
            return WebSocketClient(
                server, room=ROOM, user="publisher", dead_after_s=DEAD_S, sleep=_not_for_long
            )
        return ShortPollingClient(server, interval_s=60)

    def send(self, publisher: Client, number: int, limit_s: float) -> Awaitable[object]:
        """Publish a number. NotSent or MaybeSent if it was not confirmed; a chat's outbox repeats it."""
        if isinstance(publisher, ShortPollingClient):
            return publisher.send({"n": number}, limit_s=limit_s)
        return publisher.send(json.dumps({"n": number}))


async def _not_for_long(seconds: float) -> None:
    """Shortened, and not cut at a limit: behind one limit, all would come back at the same moment."""
    await asyncio.sleep(min(seconds, AS_DRAWN_S) + SHORTENED * max(0.0, seconds - AS_DRAWN_S))


def number_in(data: Any) -> int | None:
    """The number that a message carries; None for a message of somebody else."""
    if isinstance(data, dict) and isinstance(data.get("text"), str):
        data = data["text"]
    if isinstance(data, str):
        try:
            data = json.loads(data)
        except ValueError:
            return None
    number = data.get("n") if isinstance(data, dict) else None
    return number if isinstance(number, int) else None


TRANSPORTS: Mapping[str, Kind] = MappingProxyType(
    {
        "short polling": Kind(
            "short_polling",
            (),
            ShortPollingClient,
            _ForgetfulShort,
            {"interval_s": INTERVAL_S, "limit_s": DEAD_S},
        ),
        "long polling": Kind(
            "long_polling", (), LongPollingClient, _ForgetfulLong, {"wait_s": HOLD_S, "margin_s": 1.0}
        ),
        "SSE": Kind(
            "sse", ("--heartbeat", str(HEARTBEAT_S)), SseClient, _ForgetfulSse, {"dead_after_s": DEAD_S}
        ),
        "WebSocket": Kind(
            "websocket_chat",
            ("--ping-interval", str(HEARTBEAT_S), "--ping-timeout", "3"),
            WebSocketClient,
            _ForgetfulChat,
            {"room": ROOM, "dead_after_s": DEAD_S},
        ),
    }
)
