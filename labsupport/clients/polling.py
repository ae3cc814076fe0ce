"""What short and long polling share: one question after the other, and what each answer means.

    GET /messages?since=POSITION  ->  200 messages, maybe none · 304 nothing new · 410 a gap, and what is left
    POST /messages                ->  201 published

Never two questions at a time: so no answer can overtake another, and none can move the position back.
"""

import asyncio
import json
import os
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import aiohttp

from labsupport.clients.base import Client, ClientError, Delivery, Gap, MaybeSent, Message, NotSent, Refused

MAX_ANSWER = 64 << 20  # bytes; a server's whole history is a few MiB
SEND_LIMIT_S = 10.0  # seconds for the answer to a POST, which a healthy server gives in milliseconds
LONGEST_RETRY_AFTER_S = (
    300.0  # seconds; a longer Retry-After is cut to this, so that no typing error lasts a day
)
CUT = "the connection was cut before the answer was complete"
MAX_SAID = 300  # characters of a server's words in an error
RETRY_STATUSES = (408, 425, 429)  # of the 4xx, those that say "later" and not "never" (RFC 9110, 8470, 6585)


class Unhealthy(ClientError):
    """This question failed, the next one may not."""

    def __init__(self, why: str, *, retry_after_s: float = 0.0) -> None:
        super().__init__(why)
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Answer:
    """What one question brought. `position` is where to ask from next; `gap` is (reason, detail) or None."""

    messages: tuple[Message, ...]
    position: str | None
    received_at_s: float
    gap: tuple[str, str] | None = None
    not_modified: bool = False


class Raw(NamedTuple):
    """An HTTP answer, read whole."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class Attempt:
    """Whether a request has left: set just before its head is written, so what failed earlier never left."""

    left: bool = False


def one_attempt() -> aiohttp.TraceConfig:
    """What keeps `Attempt` up to date, and makes a request one attempt.

    aiohttp by itself repeats a GET whose connection was cut: at once, uncounted, past every back-off.
    """
    trace = aiohttp.TraceConfig()

    async def begin(session: object, context: Any, parameters: object) -> None:
        if context.trace_request_ctx.left:
            raise Unhealthy(CUT)

    async def leave(session: object, context: Any, parameters: object) -> None:
        await begin(session, context, parameters)
        context.trace_request_ctx.left = True

    trace.on_connection_create_start.append(begin)
    trace.on_request_headers_sent.append(leave)
    return trace


class PollingClient(Client):
    """A client that asks. `url` is a server's, or the server itself.

    channel     which of the server's channels
    limit_s     the dead-man timer: seconds until a question without an answer counts as failed
    headers     more fields for each request, such as the cookies that a browser would send
    """

    def __init__(
        self,
        url: object,
        *,
        channel: str | None = None,
        limit_s: float,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(**more)
        self._url = messages_url(url)
        self._channel = {} if channel is None else {"channel": channel}
        self.limit_s = positive("limit_s", limit_s)
        self._headers = dict(headers or {})
        self._cursor = self.position  # where to ask from next; ahead of position by the items still in _items
        self._due_s = self._clock()

    async def _open(self) -> None:
        self._session = aiohttp.ClientSession(
            headers=self._headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),  # limit_s is the one limit
            trace_configs=[one_attempt()],
        )

    async def _shut(self) -> None:
        await self._session.close()

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

    async def _exchange(self, method: str, attempt: Attempt, **more: Any) -> Raw:
        body = bytearray()
        more.update(allow_redirects=False, trace_request_ctx=attempt)
        async with self._session.request(method, self._url, **more) as response:
            async for piece in response.content.iter_any():
                body += piece
                if len(body) > MAX_ANSWER:
                    raise Unhealthy(f"the answer is longer than {MAX_ANSWER >> 20} MiB")
            return Raw(response.status, response.reason or "", response.headers, bytes(body))

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

    # ---- sending ----

    async def send(self, data: object, event: str = "message", *, limit_s: float = SEND_LIMIT_S) -> str:
        """Publish; return the message's position. NotSent: surely not in the log. MaybeSent: nobody knows."""
        self._check_open()
        body = encoded(data, event)
        attempt = Attempt()
        try:
            async with asyncio.timeout(limit_s):
                raw = await self._exchange(
                    "POST",
                    attempt,
                    params=self._channel,
                    data=body,
                    headers={"Content-Type": "application/json"},
                )
        except (aiohttp.ClientError, OSError, Unhealthy) as error:  # TimeoutError is an OSError
            why = f"no answer in {limit_s:g} s" if isinstance(error, TimeoutError) else sentence(error)
            if not attempt.left:
                raise NotSent(
                    f"Not sent: {why}. The request never left, so sending again is safe."
                ) from error
            raise MaybeSent(
                f"Maybe sent: the request left, but then: {why}. The message may be in the log or not. "
                "Sending again may double it, unless the reader drops doubles by an id of yours."
            ) from error
        return self._confirmed(raw)

    def _confirmed(self, raw: Raw) -> str:
        if raw.status == 201:
            answer = parsed_or_none(raw.body)
            if isinstance(answer, dict) and isinstance(answer.get("id"), str):
                self.stats.sent += 1
                return str(answer["id"])
        what = f"the server answered {raw.status}: {said(raw)}"
        if 400 <= raw.status < 500:
            raise NotSent(f"Not sent: {what}. It is not in the log.")
        raise MaybeSent(f"Maybe sent: {what}, which does not tell whether the message is in the log.")


# ---- reading, without a connection -------------------------------------------------------------------------


def messages_url(url: object) -> str:
    """The address to ask, from a server's URL or from the server."""
    base = getattr(url, "url", url)
    if not isinstance(base, str) or not base.startswith(("http://", "https://")):
        raise ValueError(f"expected a server, or its address such as http://127.0.0.1:8000, got {url!r}")
    return base.rstrip("/") + "/messages"


def positive(name: str, value: float) -> float:
    """The value, if it is a number of seconds above 0."""
    if not 0 < value < float("inf"):
        raise ValueError(f"{name} is a number of seconds: expected more than 0, got {value!r}")
    return float(value)


def encoded(data: object, event: str) -> bytes:
    """The body of a POST. TypeError if the data has no JSON form."""
    try:
        return json.dumps({"event": event, "data": data}, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"this data has no JSON form ({error}): try numbers, text, lists and dicts") from None


def parsed(body: bytes) -> Any:
    """The answer's JSON. Unhealthy if it is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise Unhealthy(f"the answer is not JSON: {body[:60]!r}") from None


def parsed_or_none(body: bytes) -> Any:
    """The answer's JSON, None if it is none."""
    try:
        return parsed(body)
    except Unhealthy:
        return None


def history(body: Any) -> tuple[tuple[Message, ...], str]:
    """The messages and the position in an answer. Unhealthy if they are not there."""
    try:
        messages, position = body["messages"], body["position"]
        read = tuple(Message(one["id"], one.get("event", "message"), one.get("data")) for one in messages)
        if all(isinstance(text, str) for text in (position, *(m.id for m in read), *(m.event for m in read))):
            return read, position
    except (KeyError, TypeError, AttributeError):
        pass
    raise Unhealthy(f'expected {{"messages": […], "position": "…"}}, got {json.dumps(body)[:80]}')


def said(raw: Raw) -> str:
    """The server's own words about an error."""
    body = parsed_or_none(raw.body)
    if not isinstance(body, dict) or not isinstance(body.get("error"), str):
        return raw.reason[:MAX_SAID] or "no reason given"
    words = [str(body[key])[:MAX_SAID] for key in ("error", "detail") if body.get(key)]
    advice = f" (try: {str(body['try'])[:MAX_SAID]})" if body.get("try") else ""
    return ": ".join(words) + advice


def retry_after_s(headers: Mapping[str, str]) -> float:
    """Seconds that the server asks to wait, else 0 (RFC 9110 section 10.2.3; a date is not read)."""
    text = headers.get("Retry-After", "")
    return min(float(text), LONGEST_RETRY_AFTER_S) if text.isdecimal() and len(text) < 10 else 0.0


def sentence(error: BaseException) -> str:
    """Why there was no answer, in words without addresses."""
    if isinstance(error, aiohttp.ClientConnectorError):
        # asyncio's own text names the address; the number alone gives the bare reason.
        reason = os.strerror(error.errno) if error.errno else type(error.os_error).__name__
        return f"no connection ({reason})"
    if isinstance(error, aiohttp.ClientResponseError):
        return f"the answer is not HTTP ({error.message})"
    if isinstance(error, aiohttp.ClientConnectionError | aiohttp.ClientPayloadError | ConnectionError):
        return CUT
    return str(error) or type(error).__name__
