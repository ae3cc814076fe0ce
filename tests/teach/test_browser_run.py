"""The widgets in Chromium, without JupyterLab: the reader's code runs, shows, stops and is cleaned up."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from labsupport.teach.browser import BrowserRun, run_in_browser, script

TEACH = Path(__file__).resolve().parents[2] / "labsupport" / "teach"
pytestmark = pytest.mark.asyncio(loop_scope="module")

# A widget's model, as anywidget hands it to a view: only what browser.js asks of it.
PAGE = """<!doctype html><meta charset="utf-8"><body>
<script type="module">
import widget from "/browser.js";
window.open = (state) => {
  const set = (name, value) => (state[name] = value);
  const model = { get: (name) => state[name], set, save_changes() {} };
  const el = document.createElement("div");
  document.body.append(el);
  const end = widget.render({ model, el });
  window.view = { state, end, text: () => el.querySelector(".lab-rows").innerText,
    rows: () => el.querySelectorAll(".lab-row").length };
};
window.ready = true;
</script>"""

PROXIED = PAGE.replace(
    "<body>",
    '<body><script id="jupyter-config-data" type="application/json">{"baseUrl": "/user/ann/"}</script>',
)


class Server:
    """A server that holds requests, streams and counts; `gone` is set when a held client has left."""

    def __init__(self) -> None:
        self.held, self.gone = asyncio.Event(), asyncio.Event()
        self.origin = ""

    async def hold(self, request: web.Request) -> web.StreamResponse:
        self.held.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.gone.set()
        raise AssertionError

    async def stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: hello\n\n")
        return await self.hold(request)

    def app(self) -> web.Application:
        async def js(request: web.Request) -> web.Response:
            name = request.match_info["name"]
            text = script(name) if name == "browser.js" else (TEACH / name).read_text(encoding="utf-8")
            return web.Response(text=text, content_type="text/javascript")

        def html(text: str) -> Any:
            async def page(_: web.Request) -> web.Response:
                return web.Response(text=text, content_type="text/html")

            return page

        async def messages(_: web.Request) -> web.Response:
            return web.json_response({"position": "e-1", "messages": [{"id": "e-1", "data": "<b>hi</b>"}]})

        app = web.Application()
        app.router.add_get("/", html(PAGE))
        app.router.add_get("/proxied", html(PROXIED))
        app.router.add_get("/messages", messages)
        app.router.add_get("/hold", self.hold)
        app.router.add_get("/stream", self.stream)
        app.router.add_get("/{name:[a-z]+\\.js}", js)
        return app


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator[Any]:
    from tests.browser.lab import chromium as where
    from tests.browser.lab import headless

    path = where()
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("CI must not skip the browser tests: no Chromium on the PATH")
        pytest.skip("no Chromium on the PATH: apt-get install chromium, or name yours in LAB_CHROMIUM")
    async with headless(path) as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module")
async def server() -> AsyncIterator[Server]:
    this = Server()
    runner = web.AppRunner(this.app(), handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    this.origin = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield this
    await runner.cleanup()


@pytest_asyncio.fixture(loop_scope="module")
async def page(chromium: Any, server: Server) -> AsyncIterator[Any]:
    context = await chromium.new_context()
    page = await context.new_page()
    page.set_default_timeout(30_000)
    await page.goto(server.origin)
    await page.wait_for_function("window.ready")
    yield page
    await context.close()


async def start(page: Any, js: str, server: str, **traits: Any) -> None:
    """Show the widget for `js` and press Start with the keyboard."""
    widget = run_in_browser(js, url=server, **traits)
    state = {name: getattr(widget, name) for name in ("code", "server", "route", "height", "most_rows")}
    await page.evaluate("state => window.open(state)", state)
    await page.get_by_role("button", name="Start").focus()
    await page.keyboard.press("Enter")


async def status(page: Any, text: str) -> None:
    """Wait until the status says `text`."""
    await page.get_by_role("status").filter(has_text=text).wait_for()


async def rows(page: Any) -> str:
    text: str = await page.evaluate("view.text()")
    return text


async def test_rows_of_text_and_of_fields_are_shown_as_text_and_handed_to_python(
    page: Any, server: Server
) -> None:
    await start(
        page, 'show("one"); show((await (await fetch(url + "/messages")).json()).messages[0]);', server.origin
    )
    await status(page, "Done. (2 rows)")
    shown = " ".join((await rows(page)).split())
    assert "one" in shown
    assert "id e-1 data <b>hi</b>" in shown
    state = await page.evaluate("view.state")
    assert state["state"] == "done"
    assert [row["row"] for row in state["rows"]] == ["one", {"id": "e-1", "data": "<b>hi</b>"}]


async def test_stop_ends_a_held_request_and_the_server_hears_of_it(page: Any, server: Server) -> None:
    await start(page, 'for (;;) await fetch(url + "/hold");', server.origin)
    await server.held.wait()
    await page.keyboard.press("Enter")  # the focus has moved on to Stop
    await status(page, "Stopped.")
    await server.gone.wait()
    assert await page.evaluate("view.state.state") == "stopped"


async def test_a_stream_that_nobody_closes_is_closed_when_its_view_goes_away(
    page: Any, server: Server
) -> None:
    await start(
        page, 'new EventSource(url + "/stream").onmessage = (event) => show(event.data);', server.origin
    )
    await status(page, "Running")
    await page.wait_for_function('view.text().includes("hello")')
    await page.evaluate("view.end()")
    await server.gone.wait()


async def test_a_timer_that_nobody_clears_ends_with_stop(page: Any, server: Server) -> None:
    await start(page, "let n = 0; setInterval(() => { window.ticks = n += 1; show(n); }, 5);", server.origin)
    await page.wait_for_function("window.ticks > 3")
    await page.get_by_role("button", name="Stop").click()
    await status(page, "Stopped.")
    ticks = await page.evaluate("window.ticks")
    await page.evaluate("new Promise((done) => setTimeout(done, 50))")
    assert await page.evaluate("window.ticks") == ticks


async def test_code_that_has_closed_what_it_opened_is_done(page: Any, server: Server) -> None:
    js = """
    const source = new EventSource(url + "/stream");
    source.onmessage = (event) => { show(event.data); source.close(); };
    """
    await start(page, js, server.origin)
    await status(page, "Done. (1 row)")


async def test_only_the_last_rows_stay_and_the_others_are_counted(page: Any, server: Server) -> None:
    await start(page, "for (let n = 0; n < 1000; n++) show(n);", server.origin)
    await status(page, "Done. (the last 200 of 1000 rows)")
    assert await page.evaluate("view.rows()") == 200
    assert (await rows(page)).split()[-1] == "999"


async def test_an_error_ends_the_run_and_is_said(page: Any, server: Server) -> None:
    await start(page, "nothing.like.this();", server.origin)
    await status(page, "✗ ReferenceError: nothing is not defined.")


async def test_code_that_is_not_javascript_is_said(page: Any, server: Server) -> None:
    await start(page, "this is not JavaScript", server.origin)
    await status(page, "✗ SyntaxError")


async def test_an_error_in_a_handler_is_a_row(page: Any, server: Server) -> None:
    await start(
        page, "setTimeout(() => nothing.here(), 1); setTimeout(async () => { null.x }, 2);", server.origin
    )
    await status(page, "Done.")
    await page.wait_for_function('view.text().includes("TypeError")')
    assert "✗ ReferenceError: nothing is not defined" in await rows(page)


async def test_a_server_that_is_away_is_answered_with_what_to_try(page: Any, server: Server) -> None:
    await start(page, 'await fetch(url + "/messages");', "http://127.0.0.1:1")
    await status(
        page,
        'Is the server running? If Jupyter runs on another machine, try run_in_browser(…, route="proxy")',
    )


async def test_starting_again_begins_with_an_empty_page(page: Any, server: Server) -> None:
    await start(page, "show(signal.aborted);", server.origin)
    await status(page, "Done. (1 row)")
    await page.get_by_role("button", name="Start").click()
    await page.wait_for_function('view.state.state === "done" && view.rows() === 1')
    assert "false" in await rows(page)


async def test_on_this_machine_the_browser_goes_straight_to_the_server(page: Any, server: Server) -> None:
    await page.goto(f"{server.origin}/proxied")
    await page.wait_for_function("window.ready")
    await start(page, "show(url);", server.origin)
    await status(page, "Done.")
    assert server.origin in await rows(page)
    assert (
        await page.get_by_text(f"Your browser reaches the server directly at {server.origin}.").count() == 1
    )


@pytest.mark.parametrize(("scheme", "expected"), [("http", "http"), ("ws", "ws")])
async def test_elsewhere_it_goes_through_jupyters_proxy(
    page: Any, server: Server, scheme: str, expected: str
) -> None:
    await page.goto(f"{server.origin}/proxied")
    await page.wait_for_function("window.ready")
    await start(page, "show(url);", f"{scheme}://127.0.0.1:4321/chat", route="proxy")
    await status(page, "Done.")
    host = server.origin.removeprefix("http://")
    assert f"{expected}://{host}/user/ann/proxy/4321/chat" in await rows(page)
    summary = page.get_by_text("through Jupyter's proxy, which changes five things")
    assert await page.get_by_text("close codes and reasons are lost").is_hidden()
    await summary.press("Enter")
    assert await page.get_by_role("listitem").count() == 5
    assert await page.get_by_text("close codes and reasons are lost").is_visible()


async def test_a_fourth_stream_through_the_proxy_is_refused_since_jupyterlab_needs_the_connections(
    page: Any, server: Server
) -> None:
    await page.goto(f"{server.origin}/proxied")
    await page.wait_for_function("window.ready")
    js = 'for (let n = 0; n < 4; n++) new EventSource(url + "/stream");'
    await start(page, js, "http://127.0.0.1:4321", route="proxy")
    await status(page, "✗ Error: more than 3 streams through Jupyter's proxy would block JupyterLab.")


async def test_a_slider_gets_its_name_and_says_its_value_with_its_unit(page: Any) -> None:
    await page.set_content(
        """<div class="lab-panel"><div><div class="widget-slider"><label class="widget-label">interval</label>
        <div role="slider" aria-valuetext="4.9999999" tabindex="0"></div>
        <div class="widget-readout">5.0</div></div><div class="lab-unit">s</div></div>
        <div class="lab-question">Which?</div><div class="lab-choices"></div>
        <div class="lab-live"></div></div>"""
    )
    await page.evaluate(
        """async () => { const el = document.createElement("div");
        document.querySelector(".lab-panel").append(el);
        (await import("/panel.js")).default.render({ el }); }"""
    )
    slider = page.get_by_role("slider", name="interval")
    await slider.wait_for(state="attached")
    assert await slider.get_attribute("aria-valuetext") == "5.0 s"
    await page.evaluate('document.querySelector(".widget-readout").textContent = "6.0"')
    await page.wait_for_selector('[aria-valuetext="6.0 s"]', state="attached")
    assert await page.get_by_role("radiogroup", name="Which?").count() == 1
    assert await page.locator(".lab-live[aria-live=polite]").count() == 1


# Python's side


async def test_the_result_of_the_cell_is_the_same_text_for_each_port() -> None:
    one, other = (
        run_in_browser("show(1);\nshow(2);", url=f"http://127.0.0.1:{port}") for port in (4000, 5000)
    )
    assert repr(one) == repr(other)
    assert repr(one) == "JavaScript for your own browser (2 lines): run this cell, then press Start."
    bundle = one._repr_mimebundle_()
    assert bundle["text/plain"] == repr(one)
    assert "4000" not in bundle["text/html"]


async def test_what_cannot_run_is_refused_with_an_example() -> None:
    with pytest.raises(ValueError, match=r"such as http://127\.0\.0\.1:8000; got 'localhost'"):
        run_in_browser("show(1)", url="localhost")
    with pytest.raises(ValueError, match="no JavaScript to run"):
        run_in_browser(" \n", url="http://127.0.0.1:1")
    with pytest.raises(ValueError, match='"auto", "direct" or "proxy"'):
        run_in_browser("show(1)", url="http://127.0.0.1:1", route="tunnel")  # type: ignore[arg-type]


async def test_code_is_taken_out_of_its_indentation() -> None:
    assert run_in_browser("\n    if (true)\n      show(1);\n    ", url="http://127.0.0.1:1").code == (
        "if (true)\n  show(1);"
    )
    assert isinstance(run_in_browser("show(1)", url="http://127.0.0.1:1"), BrowserRun)
