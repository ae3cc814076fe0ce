"""Exhibit 6: live on the desk, all at once in production. The proxy here decides as nginx does by default.

It collects a response until PROXY_BUFFER bytes are there or the response ends, unless the response says
"X-Accel-Buffering: no" (nginx, ngx_http_proxy_module, proxy_buffering); that field it keeps to itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from labsupport.zoo.frame import Exhibit, Promise, variant
from labsupport.zoo.loopback import dial, listening, until
from labsupport.zoo.pictures import GOOD, OTHER, lanes_figure, mark
from labsupport.zoo.specimens import headers

PROXY_BUFFER = 4096  # bytes; nginx takes one page of memory
TICK_S = 0.03  # seconds between two events
PATIENCE_S = 0.4  # seconds for the first event to arrive before the second is sent; later ones wait for none


@dataclass(frozen=True)
class Way:
    """One way to the server. Times in seconds since it began; `live`: came before the next was sent."""

    sent: list[tuple[float, str]]
    came: list[tuple[float, str]]
    live: int
    fields: dict[str, str]  # of the response, as it arrived; names in small letters
    body: bytes


@dataclass(frozen=True)
class Seen:
    """The same stream, read directly and behind the proxy."""

    direct: Way
    behind: Way


async def scene(code: Any) -> Seen:
    """Six ticks, read directly, and six behind the proxy."""
    return Seen(*await asyncio.gather(_read(code, proxied=False), _read(code, proxied=True)))


async def _read(code: Any, *, proxied: bool) -> Way:
    clock, news = asyncio.get_running_loop().time, asyncio.Event()
    began = clock()
    sent: list[tuple[float, str]] = []
    came: list[tuple[float, str]] = []
    live, body, fields = 0, b"", {}

    async def ticks() -> AsyncIterator[int]:
        nonlocal live
        patient = True
        for tick in range(1, code.TICKS + 1):
            sent.append((clock() - began, "sent"))
            yield tick
            if patient:
                patient = await until(lambda tick=tick: len(came) >= tick, news, PATIENCE_S)  # type: ignore[misc]
            live += len(came) >= tick
            await asyncio.sleep(TICK_S)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await code.stream(reader, writer, ticks())

    async with listening(serve) as upstream, listening(_proxy(upstream)) as front:
        reader, writer = await dial(front if proxied else upstream)
        writer.write(b"GET /clock HTTP/1.1\r\nHost: lab\r\n\r\n")
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        fields = {n.lower(): v for n, _, v in (line.partition(": ") for line in head.split("\r\n")[1:-2])}
        while line := await reader.readline():
            body += line
            if line == b"\n":
                came.append((clock() - began, "arrived"))
                news.set()
        writer.close()
    return Way(sent, came, live, fields, body)


def _proxy(upstream: int) -> Any:
    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        from_server, to_server = await dial(upstream)
        to_server.write(request)
        head = (await from_server.readuntil(b"\r\n\r\n")).decode("latin-1")
        lines = head.split("\r\n")[:-2]
        own = [line for line in lines if line.lower().startswith("x-accel-buffering:")]
        writer.write(("\r\n".join(line for line in lines if line not in own) + "\r\n\r\n").encode())
        buffers = not any(line.partition(":")[2].strip().lower() == "no" for line in own)
        held = b""
        while chunk := await from_server.read(PROXY_BUFFER):
            held += chunk
            if not buffers or len(held) >= PROXY_BUFFER:
                writer.write(held)
                held = b""
        writer.write(held)
        await writer.drain()
        to_server.close()

    return forward


def _late(seen: Seen) -> str:
    of = len(seen.behind.sent)
    if seen.behind.live == of:
        return ""
    return f"behind the proxy, {of - seen.behind.live} of {of} events came later than the next was sent"


def _direct(seen: Seen) -> str:
    return "" if seen.direct.live == len(seen.direct.sent) else "read directly, events now come late, too"


def _whole(seen: Seen) -> str:
    fine = len(seen.behind.came) == headers.TICKS and seen.behind.body == seen.direct.body
    return "" if fine else "behind the proxy not all events arrive as they were sent"


def _typed(seen: Seen) -> str:
    kind = seen.behind.fields.get("content-type", "nothing")
    return "" if kind.startswith("text/event-stream") else f"the type is {kind}: an EventSource ends for good"


def _uncached(seen: Seen) -> str:
    rules = seen.behind.fields.get("cache-control", "")
    return "" if "no-cache" in rules or "no-store" in rules else "a cache may now answer with old events"


def _origin(seen: Seen) -> str:
    there = seen.direct.fields.get("access-control-allow-origin")
    wanted = headers.head()["Access-Control-Allow-Origin"]
    return (
        ""
        if there == wanted
        else f"pages of {wanted} may {'all the world' if there == '*' else 'not'} read it"
    )


def picture(before: Seen, after: Seen | None) -> tuple[Figure, str]:
    """When each event was sent, and when it arrived."""
    of = len(before.behind.sent)
    title = f"Behind the proxy, {of} events arrive in one go, at the end"
    live = before.direct.live, before.behind.live
    said = f"As found, {live[0]} of {of} events are live directly, {live[1]} behind the proxy."
    if after is not None:
        through = after.behind.live
        title = (
            "With the fix, the proxy lets each event through"
            if through == of
            else "The proxy still holds events"
        )
        said += f" With your fix, {through} of {of} are live behind the proxy."
    look = {"sent": mark("|", OTHER, 13), "arrived": mark("o", GOOD)}
    lanes = [_lanes(seen) for seen in (before, after) if seen is not None]
    return lanes_figure(title, lanes[0], lanes[1] if after else None, look, x="time (s)", lane_in=0.5), said


def _lanes(seen: Seen) -> dict[str, list[tuple[float, str]]]:
    return {
        "directly": seen.direct.sent + seen.direct.came,
        "behind a proxy": seen.behind.sent + seen.behind.came,
    }


def reference() -> Any:
    """The field that nginx, and others that follow it, look at."""
    return {
        "Content-Type": "text/event-stream",
        "Cache-Control": "no-cache",
        "Access-Control-Allow-Origin": "https://shop.example",
        "X-Accel-Buffering": "no",
    }


def _off() -> Any:
    return headers.head() | {"X-Accel-Buffering": "off"}


def _no_store() -> Any:
    return headers.head() | {"Cache-Control": "no-cache, no-store, no-transform"}


def _alone() -> Any:
    return {"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}


def _binary() -> Any:
    return reference() | {"Content-Type": "application/octet-stream"}


EXHIBIT = Exhibit(
    number=6,
    title="The clock that ticked six times at once",
    story=(
        "On every developer's machine the ticks come one by one. In production nothing comes for a long "
        "time, and then all of it. The server's log shows each tick sent on time."
    ),
    specimen=headers,
    part="head",
    scene=scene,
    promises=(
        Promise("live behind a proxy", _late, symptom=True),
        Promise("live directly", _direct),
        Promise("whole and in order", _whole),
        Promise("an event stream", _typed),
        Promise("not cached", _uncached),
        Promise("for the shop's pages", _origin),
    ),
    reference=reference,
    variants=(
        variant("off in place of no", _off, {"live behind a proxy"},
                "nginx knows two values of this field, and no others: yes and no.",
                lambda seen: "x-accel-buffering" in seen.direct.fields),
        variant("a rule for caches", _no_store, {"live behind a proxy"},
                "a cache keeps answers for others; this proxy only collects bytes. Which field speaks to it?",
                lambda seen: "no-store" in seen.direct.fields.get("cache-control", "")),
        variant("the other fields gone", _alone, {"not cached", "for the shop's pages"},
                "add a field to those that are there."),
        variant("another type", _binary, {"an event stream"},
                "an EventSource takes text/event-stream, and nothing else."),
    ),
    picture=picture,
)  # fmt: skip
