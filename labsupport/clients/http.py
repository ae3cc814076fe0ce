"""What the clients that speak HTTP share: one attempt at a time, POST to publish, and an answer in words.

POST /messages {"event": "message", "data": ANY}  ->  201 {"id": POSITION}
"""

import asyncio
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import aiohttp

from labsupport.clients.base import Client, ClientError, MaybeSent, Message, NotSent

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


class HttpClient(Client):
    """A client with one HTTP session. `messages` is the address that messages are posted to.

    channel     which of the server's channels
    headers     more fields for each request, such as the cookies that a browser would send
    """

    def __init__(
        self,
        messages: str,
        *,
        channel: str | None = None,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(**more)
        self._messages = messages
        self._channel = {} if channel is None else {"channel": channel}
        self._headers = dict(headers or {})

    async def _open(self) -> None:
        self._session = aiohttp.ClientSession(
            headers=self._headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=None
            ),  # each client has one limit of its own
            trace_configs=[one_attempt()],
        )

    async def _shut(self) -> None:
        await self._session.close()

    async def _exchange(self, method: str, attempt: Attempt, **more: Any) -> Raw:
        body = bytearray()
        more.update(allow_redirects=False, trace_request_ctx=attempt)
        async with self._session.request(method, self._messages, **more) as response:
            async for piece in response.content.iter_any():
                body += piece
                if len(body) > MAX_ANSWER:
                    raise Unhealthy(f"the answer is longer than {MAX_ANSWER >> 20} MiB")
            return Raw(response.status, response.reason or "", response.headers, bytes(body))

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


def address(url: object) -> str:
    """The address of a server, from its URL or from the server itself."""
    known = getattr(url, "url", url)
    if not isinstance(known, str) or not known.startswith(("http://", "https://")):
        raise ValueError(f"expected a server, or its address such as http://127.0.0.1:8000, got {url!r}")
    return known


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
