"""The bench on a page of its own: no notebook, no kernel.

    python -m labsupport bench          prints the page's address, and opens it in your browser

The page is the widget's own JavaScript over a WebSocket to this process, which starts servers and clients. It
listens on this machine only; the address holds a token, and a page of another origin is refused. Whatever
runs ends when the page is closed, or after its minute.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hmac
import json
import secrets
import webbrowser
from typing import Any

from aiohttp import WSMsgType, web

from labsupport.measure.bench_run import Bench
from labsupport.teach import theme
from labsupport.teach.bench import COUNTERS, HERE, TRANSPORTS, style
from labsupport.teach.bench_driver import FIRST, Driver

MESSAGE_BYTES = 4096  # of a button's message
PAGES_AT_MOST = 4
PAGES: web.AppKey[set[web.WebSocketResponse]] = web.AppKey("pages", set)

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>The bench · Real-Time Web Lab</title>
<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,"><style>{css}</style></head>
<body><main><h1>The bench</h1>
<p>A server, clients, a network between them, and a button for each way to break one of the three. Say who
will lose what before you press.</p><div id="bench"></div></main>
<script type="module" src="page.js"></script></body></html>
"""
LOOK = """
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;margin:0;background:Canvas;color:CanvasText}
main{max-width:720px;margin:24px auto;padding:0 16px}
"""
# The little that a widget asks of its model (get, on, off, send), over a WebSocket.
PAGE_JS = """
import bench from "./bench.js";
const values = JSON.parse(FIRST_VALUES);
const heard = {};
const socket = new WebSocket(new URL("live", location.href).href.replace(/^http/, "ws"));
const set = (name, value) => {
  values[name] = value;
  for (const listener of heard["change:" + name] ?? []) listener();
};
socket.addEventListener("message", ({ data }) => set(...JSON.parse(data)));
socket.addEventListener("close", () => set("said", "The bench has ended: start it again in your terminal."));
const model = {
  get: (name) => values[name],
  on: (what, listener) => (heard[what] ??= []).push(listener),
  off: (what, listener) => (heard[what] = heard[what].filter((one) => one !== listener)),
  send: (content) => socket.readyState === WebSocket.OPEN && socket.send(JSON.stringify(content)),
};
bench.render({ model, el: document.getElementById("bench") });
"""


def application(token: str) -> web.Application:
    """The page at /TOKEN/, its scripts, and its line."""
    app = web.Application(client_max_size=MESSAGE_BYTES)
    app[PAGES] = set()

    def known(request: web.Request) -> None:
        if not hmac.compare_digest(request.match_info["token"], token):
            raise web.HTTPNotFound
        if request.host.partition(":")[0] not in ("127.0.0.1", "localhost"):
            raise web.HTTPMisdirectedRequest  # another name that leads here: DNS rebinding

    async def page(request: web.Request) -> web.Response:
        known(request)
        dark = f"@media (prefers-color-scheme:dark){{.lab-bench{{{theme.variables(theme.DARK)}}}}}"
        return web.Response(text=PAGE.format(css=LOOK + style() + dark), content_type="text/html")

    async def script(request: web.Request) -> web.Response:
        known(request)
        first = {"transports": list(TRANSPORTS), "counters": COUNTERS, "first": FIRST, "picture": {}}
        values = json.dumps(json.dumps({**first, "said": "Press Start."}))
        own = request.match_info["name"] == "page"
        text = PAGE_JS.replace("FIRST_VALUES", values) if own else (HERE / "bench.js").read_text("utf-8")
        return web.Response(text=text, content_type="text/javascript")

    async def live(request: web.Request) -> web.StreamResponse:
        return await _live(request, known)

    app.router.add_get("/{token}/", page)
    app.router.add_get("/{token}/{name:page|bench}.js", script)
    app.router.add_get("/{token}/live", live)
    return app


async def _live(request: web.Request, known: Any) -> web.StreamResponse:
    """One page's line: its buttons in, pictures and words out."""
    known(request)
    if request.headers.get("Origin") != f"http://{request.host}":
        raise web.HTTPForbidden(text="this line is for the bench's own page")
    if len(request.app[PAGES]) >= PAGES_AT_MOST:
        raise web.HTTPServiceUnavailable(text="too many pages are open: close one")
    line = web.WebSocketResponse(max_msg_size=MESSAGE_BYTES, heartbeat=20)
    await line.prepare(request)
    waiting: dict[str, Any] = {}  # only the newest of each kind: a slow page misses pictures, and no more
    news = asyncio.Event()

    def tell(name: str, value: Any) -> None:
        waiting[name] = value
        news.set()

    async def write() -> None:
        while True:
            await news.wait()
            news.clear()
            for name in list(waiting):
                await line.send_json([name, waiting.pop(name)])

    driver, writing = Driver(Bench, tell), asyncio.create_task(write())
    request.app[PAGES].add(line)
    try:
        async for message in line:
            if message.type is WSMsgType.TEXT:
                _button(message.data, driver, tell)
    finally:
        request.app[PAGES].discard(line)
        writing.cancel()
        await driver.end()
    return line


def _button(text: str, driver: Driver, tell: Any) -> None:
    """Hand on what the page said, if it is what the page can say."""
    with contextlib.suppress(ValueError):
        content = json.loads(text)
        if isinstance(content, dict):
            return driver.told(content)
    return tell("said", "A message came that is no button's.")


async def serve(port: int, show: bool) -> None:
    """Serve the page until this is cancelled."""
    token = secrets.token_urlsafe(16)
    runner = web.AppRunner(application(token), access_log=None)  # a log would hold the token
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    address = f"{runner.addresses[0][0]}:{runner.addresses[0][1]}"
    url = f"http://{address}/{token}/"
    print(f"The bench is at {url}\nCtrl-C ends it.", flush=True)
    if show:
        webbrowser.open(url)
    try:
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


def main(arguments: list[str]) -> int:
    """The `bench` command."""
    parser = argparse.ArgumentParser(prog="python -m labsupport bench", description="The bench on a page.")
    parser.add_argument("--port", type=int, default=0, help="the port (default: any free one)")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    options = parser.parse_args(arguments)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(options.port, not options.no_browser))
    return 0
