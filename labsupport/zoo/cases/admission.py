"""Exhibit 5: pages that never come back. By WHATWG HTML, 9.2.3, any status but 200 ends an EventSource."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from matplotlib.figure import Figure

from labsupport.zoo.frame import Exhibit, Promise, variant
from labsupport.zoo.loopback import dial, listening, soon, until
from labsupport.zoo.pictures import BAD, GOOD, OTHER, lanes_figure, mark
from labsupport.zoo.specimens import admission

PAGES, ROOM = 5, 2  # and only so many may have a stream while the server is full
OWN_RETRY_S = 0.2  # seconds; a browser's own 3 s or 5 s, shortened
BACK_S = 1.5  # seconds for all to be back once there is room
SHOWN_S = 0.05  # seconds between the last stream's opening and the event, for the picture's sake
BUSY_S = 0.15  # seconds that the server is full after the last page has come


@dataclass
class Page:
    """A page's EventSource: its lane, and the answers that it got."""

    lane: list[tuple[float, str]] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    answers: list[tuple[int, str, str]] = field(default_factory=list)  # status, type, when to come back
    state: str = "new"


@dataclass(frozen=True)
class Seen:
    """The pages, how many streams were open while there was room for ROOM, and two other requests."""

    pages: list[Page]
    most_open: int
    elsewhere: tuple[int, str, str]
    without_token: tuple[int, str, str]

    @property
    def ended(self) -> int:
        """Pages that have given up for good."""
        return sum(page.state == "ended" for page in self.pages)


async def scene(code: Any) -> Seen:
    """Five pages come while there is room for two; then there is room for all, and one event."""
    streams, changed = code.Streams(ROOM), asyncio.Event()
    pages = [Page() for _ in range(PAGES)]
    began = asyncio.get_running_loop().time()
    async with listening(streams.handle) as port:
        tasks = []
        try:
            for page in pages:
                tasks.append(asyncio.ensure_future(_event_source(page, port, changed, began)))
                await until(lambda page=page: page.state != "new", changed, BACK_S)  # type: ignore[misc]
            await asyncio.sleep(BUSY_S)
            most_open = len(streams.open)
            streams.most = 2 * PAGES
            await until(lambda: all(page.state in {"open", "ended"} for page in pages), changed, BACK_S)
            await soon(lambda: len(streams.open) >= sum(page.state == "open" for page in pages))
            await asyncio.sleep(SHOWN_S)
            streams.publish("hello")
            await until(lambda: all(page.events or page.state == "ended" for page in pages), changed, BACK_S)
            others = await _once(port, "/nothing", "t"), await _once(port, "/events", "")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    return Seen(pages, most_open, *others)


async def _ask(port: int, path: str, token: str) -> tuple[Any, Any, tuple[int, str, str]]:
    reader, writer = await dial(port)
    identity = f"Authorization: {token}\r\n" if token else ""
    writer.write(f"GET {path} HTTP/1.1\r\nHost: lab\r\n{identity}\r\n".encode())
    status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return (
        reader,
        writer,
        (int(status.split()[1]), fields.get("content-type", ""), fields.get("retry-after", "")),
    )


async def _once(port: int, path: str, token: str) -> tuple[int, str, str]:
    _, writer, got = await _ask(port, path, token)
    writer.close()
    return got


async def _event_source(page: Page, port: int, changed: asyncio.Event, began: float) -> None:
    """A page, until it is cancelled. If the server fails, there is nothing more to wait for."""
    try:
        await _browser(page, port, changed, began)
    except (OSError, EOFError):
        page.state = "ended"
        changed.set()


async def _browser(page: Page, port: int, changed: asyncio.Event, began: float) -> None:
    """What a browser does with each answer."""
    clock, retry_s = asyncio.get_running_loop().time, OWN_RETRY_S

    def now(state: str, what: str) -> None:
        page.state = state
        page.lane.append((clock() - began, what))
        changed.set()

    while True:
        reader, writer, got = await _ask(port, "/events", "t")
        try:
            if got[0] != 200 or not got[1].startswith("text/event-stream"):
                page.answers.append(got)
                return now("ended", "ended for good")
            hint = got[2]
            while line := (await reader.readline()).decode().rstrip("\n"):
                if line.startswith("retry:"):
                    hint = line.partition(":")[2].strip()
                    retry_s = int(hint) / 1000
                elif line.startswith("data:"):
                    page.events.append(line.partition(":")[2].strip())
                    now("open", "event")
                elif line.startswith(": hello"):
                    now("open", "stream open")
                while line and await reader.readline() not in (b"\n", b""):
                    pass
            page.answers.append((*got[:2], hint))
        finally:
            writer.close()
        now("waiting", "will come again")
        await asyncio.sleep(retry_s)


def _gone(seen: Seen) -> str:
    if seen.ended:
        return f"there is room again, and {seen.ended} of {PAGES} pages never asked a second time"
    silent = sum(page.events != ["hello"] for page in seen.pages)
    return f"{silent} of {PAGES} pages did not get the event once" if silent else ""


def _limit(seen: Seen) -> str:
    return "" if seen.most_open <= ROOM else f"{seen.most_open} streams are open, and the limit is {ROOM}"


def _refusals(seen: Seen) -> str:
    if seen.elsewhere[0] != 404:
        return f"another path now gives {seen.elsewhere[0]}, not 404"
    return (
        ""
        if seen.without_token[0] == 401
        else f"without a token one now gets {seen.without_token[0]}, not 401"
    )


def _told_when(seen: Seen) -> str:
    turned_away = [answer for page in seen.pages for answer in page.answers]
    return (
        ""
        if all(when for _, _, when in turned_away)
        else "whoever is turned away is not told when to come again"
    )


def _served(seen: Seen) -> str:
    served = sum(page.events == ["hello"] for page in seen.pages)
    return "" if served >= ROOM else "pages that have a stream do not get the event"


def picture(before: Seen, after: Seen | None) -> tuple[Figure, str]:
    """What each page went through."""
    title = f"{before.ended} of {PAGES} pages are turned away once, and never come back"
    said = f"As found, {_gone(before) or 'all pages get the event'}."
    if after is not None:
        title = "With the fix, all pages come back" if not _gone(after) else "Pages are still missing"
        said += f" With your fix, {_gone(after) or 'all of them get the event'}."
    look = {"stream open": mark("^", GOOD), "event": mark("o", OTHER), "will come again": mark("|", GOOD, 12),
            "ended for good": mark("X", BAD, 9)}  # fmt: skip
    lanes = [
        {f"page {n}": page.lane for n, page in enumerate(seen.pages, 1)} for seen in (before, after) if seen
    ]
    return lanes_figure(title, lanes[0], lanes[1] if after else None, look, x="time (s)"), said


def reference(path: str, token: str, room: int, retry_ms: int) -> Any:
    """A stream that says when to come again, and ends: an EventSource takes that for a cut."""
    if path != "/events":
        return 404, {"Content-Type": "text/plain"}, b"no such page\n", False
    if not token:
        return 401, {"Content-Type": "text/plain"}, b"who are you?\n", False
    headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
    if room <= 0:
        return 200, headers, b"retry: %d\n\n" % retry_ms, False
    return 200, headers, b": hello\n\n", True


def _status(status: int) -> Any:
    def answer(path: str, token: str, room: int, retry_ms: int) -> Any:
        found = admission.answer(path, token, room, retry_ms)
        return (status, *found[1:]) if found[0] == 503 else found

    return answer


def _no_limit(path: str, token: str, room: int, retry_ms: int) -> Any:
    return reference(path, token, 1, retry_ms)


def _not_told(path: str, token: str, room: int, retry_ms: int) -> Any:
    found = reference(path, token, room, retry_ms)
    return found if found[3] or found[0] != 200 else (*found[:2], b"", False)


def _all_200(path: str, token: str, room: int, retry_ms: int) -> Any:
    return reference("/events", "t", room if path == "/events" and token else 0, retry_ms)


EXHIBIT = Exhibit(
    number=5,
    title="The pages that never came back",
    story=(
        "For two minutes the server had more visitors than it can hold, and turned some away politely. An "
        "hour later it is nearly idle, but those pages still show nothing, until somebody reloads them."
    ),
    specimen=admission,
    part="answer",
    scene=scene,
    promises=(
        Promise("all come back", _gone, symptom=True),
        Promise("the limit", _limit),
        Promise("other refusals", _refusals),
        Promise("told when", _told_when),
        Promise("who is in is served", _served),
    ),
    reference=reference,
    variants=(
        variant("another status: 429", _status(429), {"all come back"},
                "429 with Retry-After is right for fetch(). Which status alone keeps an EventSource alive?",
                lambda seen: any(answer[0] == 429 for page in seen.pages for answer in page.answers)),
        variant("another status: 204", _status(204), {"all come back"},
                "204 is how a server tells an EventSource to stop for good.",
                lambda seen: any(answer[0] == 204 for page in seen.pages for answer in page.answers)),
        variant("everybody let in", _no_limit, {"the limit"},
                "the limit was there to protect those who are in."),
        variant("not told when", _not_told, {"told when"},
                "they all come back after the browser's own few seconds, together; the stream can say when."),
        variant("200 for everything", _all_200, {"other refusals"},
                "who has no token, or the wrong address, should stop for good: there a status is right."),
    ),
    picture=picture,
)  # fmt: skip
