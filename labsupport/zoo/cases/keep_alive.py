"""Exhibit 10: half of a heartbeat. The connections are real; only the link's clock is the run's own.

When the client sleeps, the run first lets everything that is under way arrive, and then moves the clock: so
a busy machine cannot make a live server look silent.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from labsupport.zoo.frame import Exhibit, Promise, variant
from labsupport.zoo.loopback import dial, listening, soon
from labsupport.zoo.pictures import BAD, GOOD, OTHER, lanes_figure, mark
from labsupport.zoo.specimens import keep_alive

LASTS_S = 150.0  # seconds of each run, on the link's clock
ANSWERS = 4  # of the server that freezes then, with its connection open
LIMIT_S = 3 * keep_alive.INTERVAL_S  # seconds of silence after which the link must be closed
ALIVE, PRICES, LATE, FROZEN = "answers", "sends prices", "answers late", "freezes"


@dataclass(frozen=True)
class Seen:
    """By server: what happened, as (seconds, "ping", "heard" or "closed")."""

    lanes: dict[str, list[tuple[float, str]]]

    def when(self, server: str, what: str) -> list[float]:
        """Seconds at which it happened."""
        return [at for at, kind in self.lanes[server] if kind == what]

    @property
    def silence_s(self) -> float:
        """Seconds from the frozen server's last line to the close; infinity if there is none."""
        closed = self.when(FROZEN, "closed")
        return closed[0] - self.when(FROZEN, "heard")[-1] if closed else float("inf")


class Clock:
    """Time that passes only while the client sleeps, and no faster than the network."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.answered = self.heard = self.arrived = self.sent = 0
        self.over = asyncio.Event()

    def now(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        """Let all lines arrive, then move on."""
        await soon(lambda: self.arrived == self.sent and self.heard == self.answered)
        self.now_s += max(0.0, seconds)
        if self.now_s >= LASTS_S:
            self.over.set()
            await asyncio.Event().wait()  # the run ends here
        await asyncio.sleep(0)


async def scene(code: Any) -> Seen:
    """The same client with four servers."""
    return Seen({name: await _run(code, name) for name in (ALIVE, PRICES, LATE, FROZEN)})


async def _run(code: Any, server: str) -> list[tuple[float, str]]:
    clock, lane = Clock(), []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            clock.arrived += 1
            silent = (server == FROZEN and clock.arrived > ANSWERS) or (server == LATE and clock.arrived % 2)
            if not silent:
                writer.write(b"price 1.25\n" if server == PRICES else b"pong\n")
                clock.answered += 1

    class Link(code.Link):
        async def send(self, line: str) -> None:
            clock.sent += 1
            lane.append((clock.now_s, "ping"))
            await super().send(line)

        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, value)
            if name == "heard_s" and "open" in self.__dict__:
                clock.heard += 1
                lane.append((clock.now_s, "heard"))

        async def close(self) -> None:
            lane.append((clock.now_s, "closed"))
            await super().close()

    async with listening(serve) as port:
        link = Link(*await dial(port), clock)
        tasks = [
            asyncio.ensure_future(each) for each in (link.listen(), code.keep_alive(link, code.INTERVAL_S))
        ]
        over = asyncio.ensure_future(clock.over.wait())
        try:
            await asyncio.wait([tasks[1], over], return_when=asyncio.FIRST_COMPLETED)
            if tasks[1].done():
                tasks[1].result()
        finally:
            for task in (*tasks, over):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    return lane


def _unnoticed(seen: Seen) -> str:
    if seen.silence_s <= LIMIT_S:
        return ""
    void = len(seen.when(FROZEN, "ping")) - ANSWERS
    return f"the server has frozen, and the client sent {void} more pings without asking for an answer"


def _dropped(seen: Seen) -> str:
    bad = [name for name in (ALIVE, LATE) if seen.when(name, "closed")]
    return f"a live link was closed (the server that {' and '.join(bad)})" if bad else ""


def _any_line(seen: Seen) -> str:
    return (
        "a server that sends prices instead of pongs was taken for dead"
        if seen.when(PRICES, "closed")
        else ""
    )


def _pings(seen: Seen) -> str:
    for name in (ALIVE, PRICES):
        at = seen.when(name, "ping")
        ends = (seen.when(name, "closed") or [LASTS_S])[0]
        gaps = [later - sooner for sooner, later in zip([0.0, *at], [*at, ends], strict=True)]
        if max(gaps) > keep_alive.INTERVAL_S + 1e-6:
            return (
                f"the client is silent for {max(gaps):g} s, and the server drops whoever is silent for long"
            )
    return ""


def _few(seen: Seen) -> str:
    pings, most = len(seen.when(ALIVE, "ping")), LASTS_S / keep_alive.INTERVAL_S
    return "" if pings <= most + 1 else f"{pings} pings in {LASTS_S:g} s, and there were {most:g}"


def picture(before: Seen, after: Seen | None) -> tuple[Figure, str]:
    """Pings and lines heard, by server."""
    title = "The server is frozen since 30 s, and the client goes on pinging"
    said = f"As found, {_unnoticed(before) or 'the dead link is closed'}."
    if after is not None:
        left = _unnoticed(after)
        title = (
            "With the fix, silence ends the link" if not left else "The frozen server still goes unnoticed"
        )
        said += f" With your fix, {left or f'the link is closed after {after.silence_s:g} s of silence'}."
    look = {"ping": mark("|", OTHER, 13), "heard": mark("o", GOOD, 6), "closed": mark("X", BAD, 10)}
    return lanes_figure(title, before.lanes, after.lanes if after else None, look, x="time (s)"), said


async def reference(link: Any, interval_s: float) -> None:
    """Two intervals without a line: whatever the kernel says, nobody is there."""
    while link.open:
        await link.send("ping")
        await link.sleep(interval_s)
        if link.now() - link.heard_s > 2 * interval_s:
            await link.close()


async def _at_once(link: Any, interval_s: float) -> None:
    while link.open:
        await link.send("ping")
        await link.sleep(interval_s)
        if link.now() - link.heard_s > interval_s:
            await link.close()


async def _pongs_only(link: Any, interval_s: float) -> None:
    silent = 0
    while link.open:
        await link.send("ping")
        heard_s = link.heard_s
        await link.sleep(interval_s)
        silent = 0 if link.last_line == "pong" and link.heard_s >= heard_s + 1e-9 else silent + 1
        if silent > 1 and (link.last_line != "pong" or link.now() - link.heard_s > 2 * interval_s):
            await link.close()


async def _only_when_silent(link: Any, interval_s: float) -> None:
    while link.open:
        if link.now() - link.heard_s >= 2 * interval_s or not link.last_line:
            await link.send("ping")
        await link.sleep(interval_s)
        if link.now() - link.heard_s > 2.5 * interval_s:
            await link.close()


async def _patient(link: Any, interval_s: float) -> None:
    while link.open:
        await link.send("ping")
        await link.sleep(interval_s)
        if link.now() - link.heard_s > 8 * interval_s:
            await link.close()


EXHIBIT = Exhibit(
    number=10,
    title="The client that only spoke",
    story=(
        "A server froze with all of its connections open. It was replaced within seconds, but most clients "
        "stayed with the frozen one for hours. They have a heartbeat, and it beats without fail."
    ),
    specimen=keep_alive,
    part="keep_alive",
    scene=scene,
    promises=(
        Promise("silence is noticed", _unnoticed, symptom=True),
        Promise("live links stay", _dropped),
        Promise("any line is a sign of life", _any_line),
        Promise("pings go on", _pings),
        Promise("not more pings", _few),
    ),
    reference=reference,
    variants=(
        variant("one late answer is enough", _at_once, {"live links stay"},
                "a pong may be late by more than an interval, on a phone for example."),
        variant("only pongs count", _pongs_only, {"any line is a sign of life"},
                "whoever sends prices is alive; heard_s counts every line."),
        variant("pings only into silence", _only_when_silent, {"pings go on", "live links stay"},
                "your silence makes the server believe that you are gone."),
        variant("too patient", _patient, {"silence is noticed"},
                "it is noticed, after 80 s and more; meanwhile the user looks at old prices.",
                lambda seen: seen.silence_s < float("inf")),
    ),
    picture=picture,
)  # fmt: skip
