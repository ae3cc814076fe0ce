"""A server that answers by script, and a clock that only sleeping moves: so that no test waits or races."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from labsupport.clients import LongPollingClient, ShortPollingClient

Script = Callable[[web.Request], Awaitable[web.StreamResponse]]


def answer(*ids: str, position: str | None = None, status: int = 200, **headers: str) -> web.Response:
    """An answer with these messages; the data is the id."""
    where = position or (ids[-1] if ids else "a-0")
    messages = [{"id": id, "event": "message", "data": id} for id in ids]
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return web.json_response({"messages": messages, "position": where}, status=status, headers=named)


def gap(error: str, *ids: str, position: str = "b-0") -> web.Response:
    """A 410 with a snapshot."""
    snapshot = json.loads(answer(*ids, position=ids[-1] if ids else position).body)  # type: ignore[arg-type]
    body = {"error": error, "detail": f"It is {error}.", "snapshot": snapshot}
    return web.json_response(body, status=410)


class ScriptedServer:
    """Answers the n-th GET with the n-th entry of `script`, and all that follow with the last one.

    An entry takes the request and returns a response, or is a coroutine function that does.
    """

    def __init__(self) -> None:
        self.script: list[Callable[[web.Request], Any]] = []
        self.on_post: Callable[[web.Request], Any] = lambda _: web.json_response({"id": "a-1"}, status=201)
        self.asked: list[web.Request] = []
        self.posted: list[Any] = []
        self.now = self.most = 0  # GETs under way: now, and at most so far
        self.url = ""
        self.gone: list[str] = []  # targets of GETs whose client went away
        self.one_gone = asyncio.Event()

    async def get(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            made = self.script[min(len(self.asked), len(self.script)) - 1](request)
            result: web.StreamResponse = await made if asyncio.iscoroutine(made) else made
            return result
        except asyncio.CancelledError:
            self.gone.append(request.path_qs)
            self.one_gone.set()
            raise
        finally:
            self.now -= 1

    async def post(self, request: web.Request) -> web.StreamResponse:
        self.posted.append((dict(request.query), await request.json()))
        made = self.on_post(request)
        result: web.StreamResponse = await made if asyncio.iscoroutine(made) else made
        return result


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    scripted = ScriptedServer()
    app = web.Application()
    app.router.add_get("/messages", scripted.get)
    app.router.add_post("/messages", scripted.post)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    scripted.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield scripted
    await runner.cleanup()


class Time:
    """Seconds that pass only by sleeping. `slept` keeps every sleep."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds
        await asyncio.sleep(0)

    @property
    def given(self) -> dict[str, Any]:
        """The arguments that make a client live in this time."""
        return {"clock": self.clock, "sleep": self.sleep}


@pytest.fixture
def time() -> Time:
    return Time()


async def until(ready: Callable[[], object]) -> None:
    """Let others run until something is so. The test's own limit ends it if that never happens."""
    while not ready():  # noqa: ASYNC110 (what is waited for has no event of its own)
        await asyncio.sleep(0.001)


KINDS: dict[str, Callable[..., Any]] = {
    "short": lambda url, **more: ShortPollingClient(url, **{"interval_s": 1.0, **more}),
    "long": lambda url, **more: LongPollingClient(url, **{"wait_s": 5.0, **more}),
}


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest) -> Callable[..., Any]:
    return KINDS[request.param]


def ids(items: list[Any]) -> list[str]:
    return [item.message.id for item in items]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
