"""What short and long polling share: one question after the other, and what each answer means.

    GET /messages?since=POSITION  ->  200 messages, maybe none · 304 nothing new · 410 a gap, and what is left
    POST /messages                ->  201 published

Never two questions at a time: so no answer can overtake another, and none can move the position back.
"""

import asyncio
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import aiohttp

from labsupport.clients.base import Delivery, Gap, Message, Refused
from labsupport.clients.http import (
    RETRY_STATUSES,
    Attempt,
    HttpClient,
    Raw,
    Unhealthy,
    address,
    history,
    parsed,
    positive,
    retry_after_s,
    said,
    sentence,
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What one question brought. `position` is where to ask from next; `gap` is (reason, detail) or None."""

    messages: tuple[Message, ...]
    position: str | None
    received_at_s: float
    gap: tuple[str, str] | None = None
    not_modified: bool = False


class PollingClient(HttpClient):
    """A client that asks. `url` is a server's, or the server itself.

    limit_s     the dead-man timer: seconds until a question without an answer counts as failed
    The other arguments are those of HttpClient and Client.
    """

    def __init__(self, url: object, *, limit_s: float, **more: Any) -> None:
        super().__init__(address(url).rstrip("/") + "/messages", **more)
        self.limit_s = positive("limit_s", limit_s)
        self._cursor = self.position  # where to ask from next; ahead of position by the items still in _items
        self._due_s = self._clock()

    # ---- asking ----

    @abstractmethod
    def _question(self) -> tuple[dict[str, str], dict[str, str]]:
        """What this transport adds to the question: parameters, and header fields."""

    @abstractmethod
    def _schedule(self, asked_at_s: float, answer: Answer) -> None:
        """Set `_due_s` after an answer, and reset `_waits` if it was a healthy one."""

    async def _step(self) -> None:
        if (wait_s := self._due_s - self._clock()) > 0:
            await self._sleep(wait_s)
        asked_at_s = self._clock()
        try:
            answer = self._read(await self._ask())
        except Unhealthy as failure:
            self._due_s = self._clock()  # should the policy give up, an explicit next try may begin at once
            self._due_s += self._back_off(str(failure), failure.retry_after_s)
            return
        self._accept(answer)
        self._schedule(asked_at_s, answer)

    async def _ask(self) -> Raw:
        parameters, headers = self._question()
        since = {} if self._cursor is None else {"since": self._cursor}
        self.stats.requests += 1
        try:
            async with asyncio.timeout(self.limit_s):
                raw = await self._exchange(
                    "GET", Attempt(), params={**since, **parameters, **self._channel}, headers=headers
                )
        except TimeoutError:
            self.stats.timeouts += 1
            raise Unhealthy(f"no answer in {self.limit_s:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise Unhealthy(sentence(error)) from error
        self.stats.body_bytes += len(raw.body)
        return raw

    def _read(self, raw: Raw) -> Answer:
        """What the answer means. Unhealthy if it failed, Refused if asking again would not help."""
        now_s = self._clock()
        if raw.status == 200:
            messages, position = history(parsed(raw.body))
            if messages and position == self._cursor:
                raise Unhealthy(f"the server repeats what came before {position}: does it look at since?")
            return Answer(messages, position, now_s)
        if raw.status == 304:
            return Answer((), self._cursor, now_s, not_modified=True)
        if raw.status == 410:
            return self._after_gap(parsed(raw.body), now_s)
        what = f"the server answered {raw.status}: {said(raw)}"
        if 400 <= raw.status < 500 and raw.status not in RETRY_STATUSES:
            self.stats.errors += 1
            self.stats.last_error = what
            raise Refused(f"{what}. Asking the same again would not help.")
        raise Unhealthy(what, retry_after_s=retry_after_s(raw.headers))

    def _after_gap(self, body: Any, now_s: float) -> Answer:
        if not isinstance(body, dict) or not isinstance(body.get("error"), str):
            raise Unhealthy('the server answered 410, but not like {"error": "too old", "snapshot": …}')
        detail = str(body.get("detail") or "The server cannot go on from this position.")
        gap = (body["error"], detail)
        if "snapshot" not in body:
            return Answer((), None, now_s, gap)  # asks next for all that the server holds
        messages, position = history(body["snapshot"])
        return Answer(messages, position, now_s, gap)

    def _accept(self, answer: Answer) -> None:
        """Count the answer and queue what it brought."""
        self.stats.not_modified += answer.not_modified
        self.stats.empty += not answer.messages
        now_s = answer.received_at_s
        if answer.gap is not None:
            self.stats.gaps += 1
            go_on = None if answer.messages else answer.position
            self._items.append(Gap(*answer.gap, since=self._cursor, position=go_on, received_at_s=now_s))
        last = len(answer.messages) - 1
        for place, message in enumerate(answer.messages):
            position = answer.position if place == last and answer.position else message.id
            self._items.append(Delivery(message, position, now_s))
        self._cursor = answer.position
        if not self._items:
            self.position = answer.position
