"""The cheat sheet's snippets, as they stand in the files: on a bad day each gets all messages once, in order.

JavaScript runs in Chromium, since Node 20 has neither EventSource nor WebSocket; Python here. The bad day is
what the usual snippet does not survive: errors with a JSON body, a status that ends an EventSource, a cut.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from websockets import connect

from labsupport.processes import Middlebox, Server, middlebox, serve
from labsupport.teach.snippets import NAMES, snippet

pytestmark = pytest.mark.asyncio(loop_scope="module")

# The page's function around a snippet. Its timers run 20 times as fast, so that no test waits for them.
RUN = """([code, url]) => {
  const AsyncFunction = (async () => {}).constructor;
  const soon = (act, ms) => { window.waits += 1; return setTimeout(act, ms / 20); };
  Object.assign(window, { rows: [], waits: 0, stop: new AbortController() });
  const body = new AsyncFunction("url", "show", "signal", "setTimeout", code);
  window.over = body(url, (row) => window.rows.push(row), window.stop.signal, soon)
    .catch((error) => window.rows.push(`${error}`));
}"""
TEXTS = ["one", "two", "three"]
said: dict[str, list[str]] = {}  # server -> what its log holds: who comes without a position gets all of it
SEED = 139  # of the stream server: by its draws a browser waits for 1.0 s before it first comes back


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def page() -> AsyncIterator[Any]:
    from tests.browser.lab import chromium, headless

    path = chromium()
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("CI must not skip the browser tests: no Chromium on the PATH")
        pytest.skip("no Chromium on the PATH: apt-get install chromium, or name yours in LAB_CHROMIUM")
    async with headless(path) as browser:
        page = await browser.new_page()
        page.set_default_timeout(30_000)
        yield page


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, Server]]:
    """A server for each snippet; one board of messages for the two ways of polling."""
    board, chat = serve("long_polling", instance="snippets"), serve("websocket_chat", instance="snippets")
    stream = serve("sse", "--seed", SEED, instance="snippets")
    yield {"short_polling": board, "long_polling": board, "sse": stream, "websocket": chat}
    for server in (board, chat, stream):
        server.stop()


class Run:
    """A snippet that runs: what it has shown, and how often it has waited before it asked again."""

    def __init__(
        self, look: Callable[[], Awaitable[tuple[list[Any], int]]], by_event_source: bool = False
    ) -> None:
        self._look, self.by_event_source = look, by_event_source

    async def shows(self, texts: list[str]) -> None:
        """Return as soon as these rows are there; a wrong one ends it."""
        rows: list[Any] = []
        async with asyncio.timeout(25):
            while len(rows) < len(texts):
                rows, _ = await self._look()
                assert rows == texts[: len(rows)]
                await asyncio.sleep(0.01)

    async def waits_again(self) -> None:
        """Return as soon as it has waited once more."""
        _, before = await self._look()
        async with asyncio.timeout(25):
            while (await self._look())[1] == before:  # noqa: ASYNC110 (a page has no event for us)
                await asyncio.sleep(0.01)


@asynccontextmanager
async def in_chromium(page: Any, name: str, url: str) -> AsyncIterator[Run]:
    await page.goto(url.replace("ws:", "http:") + "/stats")  # a page of the server's own origin
    await page.evaluate(RUN, [snippet(name, "js"), url])

    async def look() -> tuple[list[Any], int]:
        rows, waits = await page.evaluate("[window.rows, window.waits]")
        return rows, waits

    yield Run(look, by_event_source=name == "sse")
    await page.evaluate("window.stop.abort()")


@asynccontextmanager
async def in_python(patch: pytest.MonkeyPatch, name: str, url: str) -> AsyncIterator[Run]:
    module = importlib.import_module(f"labsupport.teach.snippets.{name}")
    rows: list[Any] = []
    waits = 0

    def short(*_: float) -> float:
        nonlocal waits
        waits += 1
        return 0.01

    async def look() -> tuple[list[Any], int]:
        return list(rows), waits

    patch.setattr(module, "random", SimpleNamespace(random=short, uniform=short))
    follow = (
        module.chat(url, ["hello"], rows.append) if name == "websocket" else module.follow(url, rows.append)
    )
    running = asyncio.create_task(follow)
    yield Run(look)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def ask(method: str, url: str, body: Any = None) -> Any:
    async with aiohttp.ClientSession() as http, http.request(method, url, json=body) as answer:
        assert answer.status < 300, await answer.text()
        return await answer.json()


async def publish(server: Server, text: str) -> None:
    await ask("POST", f"{server.url}/messages", {"data": text})


async def over_errors(server: Server, run: Run, before: list[str]) -> None:
    """Each question is answered by status 500 and a JSON body, for a while in which a message comes."""
    await publish(server, TEXTS[0])
    await run.shows([*before, *TEXTS[:1]])
    errors = (await ask("GET", f"{server.url}/stats"))["errors"]
    await ask("PUT", f"{server.url}/fault", {"fault": "error"})
    await publish(server, TEXTS[1])
    async with asyncio.timeout(25):
        while (await ask("GET", f"{server.url}/stats"))["errors"] < errors + 2:  # noqa: ASYNC110 (nor has the server)
            await asyncio.sleep(0.01)
    await ask("PUT", f"{server.url}/fault", {"fault": None})
    await publish(server, TEXTS[2])


async def over_a_final_status(server: Server, run: Run, before: list[str]) -> None:
    """The stream is cut behind its first new message, and who comes back is told 503."""
    await ask("PUT", f"{server.url}/fault", {"status": 503})
    await run.waits_again()
    await ask("PUT", f"{server.url}/fault", {"status": None, "cut_after": 1 + len(before)})
    await publish(server, TEXTS[0])
    await run.shows([*before, *TEXTS[:1]])
    await ask("PUT", f"{server.url}/fault", {"status": 503, "cut_after": None})
    await publish(server, TEXTS[1])
    if run.by_event_source:  # it waits before it comes back, and so meets the 503; Python may be back already
        await run.waits_again()
    await ask("PUT", f"{server.url}/fault", {"status": None})
    await publish(server, TEXTS[2])


async def over_cuts(server: Server, run: Run, before: list[str], box: Middlebox) -> None:
    """Two cuts, and a message while nobody is there."""
    async with connect(server.url.replace("http", "ws") + "/chat") as alice:

        async def say(number: int) -> None:
            await alice.send(
                json.dumps({"type": "message", "id": f"{len(before)}-{number}", "text": TEXTS[number]})
            )

        await alice.send(json.dumps({"type": "join", "room": "tea", "user": "alice"}))
        await run.shows([*before, "hello"])
        await say(0)
        await run.shows([*before, "hello", *TEXTS[:1]])
        for number in (1, 2):
            await asyncio.to_thread(box.cut)
            await say(number)
        await run.shows([*before, "hello", *TEXTS])


async def over_a_bad_day(name: str, server: Server, started: Callable[[str], Any]) -> None:
    """Run the snippet that `started` starts, through the day that is bad for its transport."""
    box = middlebox(server, instance="snippets") if name == "websocket" else None
    before = said.setdefault(server.url, [])
    if name == "sse":
        await ask("PUT", f"{server.url}/fault", {"status": 503})
    async with started((box or server).url) as run:
        if box:
            await over_cuts(server, run, before, box)
        elif name == "sse":
            await over_a_final_status(server, run, before)
        else:
            await over_errors(server, run, before)
        new = ["hello", *TEXTS] if box else TEXTS
        await run.shows([*before, *new])
    before += new


@pytest.mark.parametrize("name", NAMES)
async def test_in_javascript_each_gets_every_message_once_and_in_order_over_a_bad_day(
    name: str, servers: dict[str, Server], page: Any
) -> None:
    await over_a_bad_day(name, servers[name], lambda url: in_chromium(page, name, url))


@pytest.mark.parametrize("name", NAMES)
async def test_in_python_each_gets_every_message_once_and_in_order_over_a_bad_day(
    name: str, servers: dict[str, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    await over_a_bad_day(name, servers[name], lambda url: in_python(monkeypatch, name, url))


async def test_what_there_is_no_snippet_of_is_named() -> None:
    with pytest.raises(ValueError, match="snippets are short_polling"):
        snippet("webrtc", "js")


# What the snippets replace


async def test_a_timer_that_is_given_fetch_itself_asks_for_no_address_and_fails(page: Any) -> None:
    js = """() => new Promise((done) => {
      addEventListener("unhandledrejection", (event) => done(event.reason.name));
      setTimeout(fetch, 1);
    })"""
    assert await page.evaluate(js) == "TypeError"


async def test_a_chain_of_promises_without_a_catch_ends_with_its_first_error(page: Any) -> None:
    js = """() => new Promise((done) => {
      let asked = 0;
      const ask = () => { asked += 1; return fetch("http://127.0.0.1:1/").then(ask); };
      addEventListener("unhandledrejection", () => setTimeout(() => done(asked), 100));
      ask();
    })"""
    assert await page.evaluate(js) == 1


async def test_a_send_in_the_line_behind_new_websocket_throws(page: Any, servers: dict[str, Server]) -> None:
    js = """(url) => {
      const socket = new WebSocket(url);
      try { socket.send("hello"); return "sent"; }
      catch (error) { return error.name; }
      finally { socket.close(); }
    }"""
    url = servers["websocket"].url.replace("http", "ws") + "/chat"
    assert await page.evaluate(js, url) == "InvalidStateError"


async def test_who_keeps_the_socket_that_a_function_returned_holds_a_closed_one_after_a_cut(
    page: Any, servers: dict[str, Server]
) -> None:
    box = middlebox(servers["websocket"], instance="snippets")
    js = """(url) => new Promise((done) => {
      let opened = 0;
      function connect() {
        const socket = new WebSocket(url);
        socket.onopen = () => (opened += 1) === 1 ? done("open") : window.again(window.kept.readyState);
        socket.onclose = () => setTimeout(connect, 10);
        return socket;
      }
      window.kept = connect();
      window.state = new Promise((again) => (window.again = again));
    })"""
    assert await page.evaluate(js, box.url + "/chat") == "open"
    await asyncio.to_thread(box.cut)
    assert await page.evaluate("window.state") == 3  # CLOSED, while the function has a new one that is open
