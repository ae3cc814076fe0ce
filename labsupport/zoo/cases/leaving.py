"""Exhibit 9: a polite stop that hurts the others: all clients come to them in the same moment."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from labsupport.zoo.frame import Exhibit, Promise, variant
from labsupport.zoo.loopback import dial, listening, soon, until
from labsupport.zoo.pictures import BAD, panels
from labsupport.zoo.specimens import leaving

CLIENTS, PARTS = 60, 10  # the grace period is looked at in so many parts
MOST_IN_A_PART = CLIENTS // 3  # even would be a tenth; a busy machine may bunch some
OVER = 3  # grace periods after which the platform's patience ends here; a laptop may be late
ARRIVE_S = 0.5  # seconds for the last one to arrive


@dataclass(frozen=True)
class Seen:
    """Seconds since the stop began: when links were closed, and when clients arrived elsewhere."""

    told_s: list[float]
    arrived_s: list[float]
    codes: Counter[str]
    finished: bool  # drain came to its end in time

    @property
    def most(self) -> int:
        """Most links that were closed within a PART of the grace period, wherever it begins."""
        part_s = leaving.GRACE_S / PARTS
        return max((sum(at <= each < at + part_s for each in self.told_s) for at in self.told_s), default=0)


async def scene(code: Any) -> Seen:
    """Sixty clients on one instance, which stops; they connect to the other at once."""
    clock, changed = asyncio.get_running_loop().time, asyncio.Event()
    gateway = code.Gateway()
    told: list[float] = []
    arrived: list[float] = []
    codes: Counter[str] = Counter()

    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.append(clock())
        changed.set()
        await reader.read()

    async with listening(other) as elsewhere, listening(gateway.handle) as port:
        clients = [asyncio.ensure_future(_client(port, elsewhere, codes)) for _ in range(CLIENTS)]
        try:
            await soon(lambda: len(gateway.links) == CLIENTS)
            for link in gateway.links:
                _note(link, told, clock)
            began, finished = clock(), True
            try:
                async with asyncio.timeout(OVER * code.GRACE_S):
                    await gateway.stop()
            except TimeoutError:
                finished = False
            await until(lambda: len(arrived) >= len(told), changed, ARRIVE_S)
        finally:
            for client in clients:
                client.cancel()
            await asyncio.gather(*clients, return_exceptions=True)
    return Seen([at - began for at in told], [at - began for at in arrived], codes, finished)


def _note(link: Any, told: list[float], clock: Any) -> None:
    close = link.close

    async def noted(code: int) -> None:
        told.append(clock())
        await close(code)

    link.close = noted


async def _client(port: int, elsewhere: int, codes: Counter[str]) -> None:
    reader, writer = await dial(port)
    word = (await reader.readline()).decode().strip()
    codes[word.partition(" ")[2]] += 1
    writer.close()
    _, writer = await dial(elsewhere)
    try:
        await asyncio.Event().wait()
    finally:
        writer.close()


def _herd(seen: Seen) -> str:
    if seen.most <= MOST_IN_A_PART:
        return ""
    return (
        f"more than a third of the {CLIENTS} clients are sent away within a tenth of the time that there is"
    )


def _everybody(seen: Seen) -> str:
    missing = CLIENTS - len(seen.arrived_s)
    return (
        f"{missing} of {CLIENTS} clients were not asked to move before the process ended"
        if missing > 0
        else ""
    )


def _in_time(seen: Seen) -> str:
    return (
        ""
        if seen.finished
        else f"it was not done within {OVER} × {leaving.GRACE_S:g} s; the platform waits for none"
    )


def _code(seen: Seen) -> str:
    others = {code for code in seen.codes if code != str(leaving.RESTARTS)}
    return f"clients are told {' and '.join(sorted(others))} in place of {leaving.RESTARTS}" if others else ""


def picture(before: Seen, after: Seen | None) -> tuple[Figure, str]:
    """Clients that arrive at the other instance, in each twentieth of a second."""
    title = "One instance stops, and its clients come to the other all at once"
    said = f"As found, {_herd(before) or 'the clients are spread out'}."
    if after is not None:
        left = _herd(after)
        title = (
            "With the fix, they arrive all along the time that there is"
            if not left
            else "They still come at once"
        )
        said += f" With your fix, {left or 'no tenth sees more than a third of them'}."
    fig, pairs = panels(
        title, before, after, height_in=1.7, x="since the stop began (s)", y="arrive elsewhere (clients)"
    )
    part_s = leaving.GRACE_S / PARTS
    last_s = max(leaving.GRACE_S, *(max(seen.arrived_s, default=0) for _, seen in pairs))
    bins = np.arange(0, last_s + 2 * part_s, part_s)
    for ax, seen in pairs:
        counts, _ = np.histogram(seen.arrived_s, bins)
        ax.bar(bins[:-1], counts, width=part_s * 0.85, align="edge", color=BAD)
        ax.set_ylim(0, CLIENTS * 1.05)
    return fig, said


async def reference(links: Any, grace_s: float) -> None:
    """One after the other, all along the time that there is; a rest of it is kept for the last ones."""
    for link in list(links):
        await link.close(1012)
        await asyncio.sleep(0.8 * grace_s / len(links))


async def _waits_first(links: Any, grace_s: float) -> None:
    await asyncio.sleep(grace_s / 2)
    await leaving.drain(links, grace_s)


async def _a_second_each(links: Any, grace_s: float) -> None:
    for link in list(links):
        await link.close(leaving.RESTARTS)
        await asyncio.sleep(1.0)


async def _goes_away(links: Any, grace_s: float) -> None:
    for link in list(links):
        await link.close(1001)
        await asyncio.sleep(0.8 * grace_s / len(links))


EXHIBIT = Exhibit(
    number=9,
    title="The stop that broke the others",
    story=(
        "Each deploy replaces one instance after the other, in good order: no client loses its connection "
        "without a word. And with each deploy, an instance that was not touched falls over."
    ),
    specimen=leaving,
    part="drain",
    scene=scene,
    promises=(
        Promise("no herd", _herd, symptom=True),
        Promise("everybody is told", _everybody),
        Promise("in time", _in_time),
        Promise("the right code", _code),
    ),
    reference=reference,
    variants=(
        variant("first a wait, then all", _waits_first, {"no herd"},
                "the herd comes later, and is as large.",
                lambda seen: min(seen.told_s) > leaving.GRACE_S / 4),
        variant("a fixed pause", _a_second_each, {"everybody is told", "in time"},
                "the pause must come from the time and the number of links; the platform does not wait."),
        variant("another code", _goes_away, {"the right code"},
                "1001 says that the endpoint goes away; clients take 1012 as a call to come back at once."),
    ),
    picture=picture,
)  # fmt: skip
