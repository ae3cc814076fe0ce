"""Clients of event streams that others wrote, behind one face: what they hear, and how often they were cut.

curl and httpx-sse read one stream; connecting again, with the last id and after the time that `retry:` asked
for, is left to whoever uses them, and so to the code here. npm's two EventSources do that by themselves.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import NamedTuple

import httpx
from httpx_sse import aconnect_sse

from labsupport.wire.event_stream import EventStreamParser
from tests.servers.conftest import PATIENCE_S

RETRY_MS = 3000  # milliseconds before a client connects again, if the stream names none; as in browsers


class Heard(NamedTuple):
    type: str
    data: str
    id: str


class Lost:
    """The stream ended, broke off, or could not be opened. The client will try again."""


Heards = AsyncIterator[Heard | Lost]


async def by_curl(url: str, types: tuple[str, ...], folder: Path) -> Heards:
    last_id, retry_ms = "", RETRY_MS
    while True:
        resume = ["-H", f"Last-Event-ID: {last_id}"] if last_id else []
        curl = await asyncio.create_subprocess_exec(
            *("curl", "-sN", "--noproxy", "*", *resume, url), stdout=subprocess.PIPE
        )
        assert curl.stdout is not None
        parser = EventStreamParser(last_id)
        try:
            while chunk := await curl.stdout.read(1 << 16):
                for event in parser.feed(chunk):
                    yield Heard(event.type, event.data, event.last_event_id)
        finally:
            await end(curl)
        last_id, retry_ms = parser.last_event_id, parser.retry_ms or retry_ms
        yield Lost()
        await asyncio.sleep(retry_ms / 1000)


async def by_httpx_sse(url: str, types: tuple[str, ...], folder: Path) -> Heards:
    last_id, retry_ms = "", RETRY_MS
    limits = httpx.Timeout(PATIENCE_S)
    async with httpx.AsyncClient(timeout=limits, trust_env=False) as client:
        while True:
            headers = {"Last-Event-ID": last_id} if last_id else {}
            try:
                async with aconnect_sse(client, "GET", url, headers=headers) as source:
                    async for event in source.aiter_sse():
                        last_id, retry_ms = event.id or last_id, event.retry or retry_ms
                        if event.data:  # it shows blocks without data as events, too
                            yield Heard(event.event, event.data, event.id)
            except httpx.TransportError:
                pass
            yield Lost()
            await asyncio.sleep(retry_ms / 1000)


def by_npm(package: str) -> Callable[..., Heards]:
    async def listen(url: str, types: tuple[str, ...], folder: Path) -> Heards:
        node = await asyncio.create_subprocess_exec(
            *("node", "--no-warnings", "listen.mjs", package, url, *types),
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            limit=1 << 24,
        )
        assert node.stdout is not None
        try:
            while line := await node.stdout.readline():
                said = json.loads(line)
                if "type" in said:
                    yield Heard(said["type"], said["data"], said["id"])
                elif said["state"] != "open":
                    assert said["state"] == "connecting", "it gave up for good"
                    yield Lost()
        finally:
            await end(node)
        raise AssertionError(f"{package} ended")

    return listen


async def end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()


CLIENTS: dict[str, Callable[..., Heards]] = {
    "curl": by_curl,
    "httpx-sse": by_httpx_sse,
    "undici": by_npm("undici"),
    "eventsource": by_npm("eventsource"),
}
FROM_NPM = ("undici", "eventsource")


class Listener:
    """A client that listens in the background."""

    def __init__(self, name: str, url: str, types: tuple[str, ...], folder: Path) -> None:
        self.lost = 0  # how often the stream ended, broke off, or could not be opened
        self._heard: asyncio.Queue[Heard | BaseException] = asyncio.Queue()
        self._task = asyncio.create_task(self._listen(CLIENTS[name](url, types, folder)))

    async def _listen(self, heards: Heards) -> None:
        try:
            async with aclosing(heards) as items:  # type: ignore[type-var]
                async for item in items:
                    if isinstance(item, Lost):
                        self.lost += 1
                    else:
                        self._heard.put_nowait(item)
        except Exception as error:
            self._heard.put_nowait(error)

    async def next(self) -> Heard:
        async with asyncio.timeout(PATIENCE_S):
            item = await self._heard.get()
        if isinstance(item, BaseException):
            raise item
        return item

    async def take(self, number: int) -> list[Heard]:
        return [await self.next() for _ in range(number)]

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])


def missing(name: str) -> str | None:
    """Why this client cannot run here, None if it can."""
    programs = ("node", "npm") if name in FROM_NPM else ("curl",) if name == "curl" else ()
    absent = [program for program in programs if shutil.which(program) is None]
    return f"{' and '.join(absent)}: not installed" if absent else None


def stays_away_once_refused(name: str) -> bool:
    """undici 6, which stands in for 7 on Node 18: a refused connection is the last that it tries."""
    if name != "undici":
        return False
    said = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    return int(said.removeprefix("v").partition(".")[0]) < 20
