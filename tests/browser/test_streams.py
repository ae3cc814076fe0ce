"""The browser's own EventSource and WebSocket against the lab's servers, from inside a notebook.

What the browser does by itself is the lesson, and what a page can learn of it; so both are held here, with
the ids in the widget's rows against the ids in the server's log. Directly, and through Jupyter's proxy.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import nbformat
import pytest
import pytest_asyncio
from websockets.asyncio.client import connect

from labsupport.wire.captures import Capture
from labsupport.wire.frames import FrameParser, Opcode
from tests.browser.lab import Notebook, opened
from tests.browser.streams import CONTRASTS, JOIN, LIMIT_S, NAMES, QUICK, Client, Place, sheet, until

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture(scope="module")
def places() -> Iterator[dict[str, Place]]:
    with ExitStack() as stack:
        yield {
            "sse": Place(stack, "sse", *QUICK),
            "sse_proxied": Place(stack, "sse", *QUICK),
            "faulty": Place(stack, "sse"),
            "echo": Place(stack, "websocket_echo", "--ping-interval", "0.1"),
            "chat": Place(stack, "websocket_chat"),
        }


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def notebook(
    browser_lab: tuple[Any, Any], chapters_copy: Path, places: dict[str, Place]
) -> AsyncIterator[Notebook]:
    nbformat.write(sheet(places), chapters_copy / "streams.ipynb")
    browser, lab = browser_lab
    async with opened(browser, lab, "streams.ipynb") as notebook:
        await notebook.run_all()
        notebook.page.set_default_timeout(LIMIT_S * 1000)
        yield notebook


@pytest_asyncio.fixture(loop_scope="session")
async def client(notebook: Notebook, places: dict[str, Place]) -> AsyncIterator[Callable[[str], Client]]:
    """The widget with that name. What a test has opened or broken is closed and mended after it."""
    used: list[Client] = []

    def find(name: str) -> Client:
        used.append(Client(notebook, NAMES.index(name)))
        return used[-1]

    yield find
    for each in used:
        stop = each.here.locator(".lab-stop")
        if await stop.is_enabled():
            await stop.click()
    places["faulty"].box.clear()
    places["faulty"].box.reset()
    await places["faulty"].ask("PUT", "/fault", {"status": None, "content_type": None, "cut_after": None})


# Event streams


@pytest.mark.parametrize(
    ("name", "way"), [("sse", "directly at"), ("sse_proxied", "through Jupyter's proxy")]
)
async def test_a_stream_that_is_cut_goes_on_from_its_place_and_every_id_comes_once(
    name: str, way: str, client: Callable[[str], Client], places: dict[str, Place]
) -> None:
    place, page = places[name], client(name)
    await page.here.get_by_text(f"Your browser reaches the server {way}").wait_for()
    await place.post("one", "two")
    await page.press("Open")
    await page.row("two")
    await page.fact("readyState", "1 OPEN")
    for round in range(2):
        place.box.cut()
        await page.fact("readyState", "0 CONNECTING")
        await place.post(f"missed {round}", f"missed {round}, too")
        await page.fact("reconnects", str(round + 1))
        await place.post(f"live {round}")
        await page.row(f"live {round}")
    ids = await place.ids()
    assert await page.found(r"\bid (\S+)") == ids
    assert await page.fact("Last-Event-ID", ids[-1]) == ids[-1]
    assert (await place.ask("GET", "/stats"))["resumed"] == 2, "the browser sent Last-Event-ID by itself"
    await page.press("Close")
    await page.says("Closed by you, after 8 events.")
    python = await page.python("closed")
    assert [row["row"]["id"] for row in python["rows"] if "id" in row["row"]] == ids
    del python["rows"]
    assert python == {
        "state": "closed", "ready_state": 2, "events": 8, "reconnects": 2, "last_event_id": ids[-1],
        "close_code": None, "way": "direct" if name == "sse" else "proxy",
    }  # fmt: skip


async def test_named_events_are_rows_and_what_the_server_tells_of_the_stream_itself_is_too(
    client: Callable[[str], Client], places: dict[str, Place]
) -> None:
    place, page = places["sse"], client("sse")
    await page.press("Open")
    await place.ask("POST", "/messages", {"event": "price", "data": "<b>7</b>"})
    await place.ask("POST", "/messages", {"event": "unasked", "data": 8})
    await place.post("the last")
    await page.row("the last")
    rows = await page.rows()
    assert any(row.startswith("event price id ") and row.endswith('data "<b>7</b>"') for row in rows)
    assert not any("unasked" in row for row in rows)
    place.server.restart()
    await page.row("event other epoch")
    await page.row("event snapshot")
    await page.press("Close")


# text/plain ends it, too, but later: before it believes that type, Chromium waits for more of the body.
FINAL = [*({"status": status} for status in (204, 404, 429, 500, 503)), {"content_type": "application/json"}]


@pytest.mark.parametrize("fault", FINAL, ids=str)
async def test_after_this_answer_an_event_source_never_asks_again(
    fault: dict[str, Any], client: Callable[[str], Client], places: dict[str, Place]
) -> None:
    place, page = places["faulty"], client("faulty")
    await place.ask("PUT", "/fault", fault)
    await page.press("Open")
    await page.says("Ended for good")
    await page.fact("readyState", "2 CLOSED")
    await place.ask("PUT", "/fault", dict.fromkeys(fault))
    assert await page.python("ended")
    assert await page.here.get_by_role("button", name="Open").is_enabled()


@pytest.mark.parametrize("how", ["the stream ends", "cut", "reset", "reset before the answer"])
async def test_after_this_end_an_event_source_asks_again_by_itself(
    how: str, client: Callable[[str], Client], places: dict[str, Place]
) -> None:
    place, page = places["faulty"], client("faulty")
    if how == "the stream ends":
        await place.ask("PUT", "/fault", {"cut_after": 0})
    if how == "reset before the answer":
        place.box.set(forget=True)
    await page.press("Open")
    if how in ("cut", "reset"):
        await page.says("Open.")
    if how == "reset before the answer":
        await until(lambda: asyncio.to_thread(lambda: bool(place.box.connections())))
    if how == "cut":
        place.box.cut()
    elif how != "the stream ends":
        place.box.reset()
    await page.says("tries again")
    await page.fact("readyState", "0 CONNECTING")
    place.box.clear()
    await place.ask("PUT", "/fault", {"cut_after": None})
    await page.press("Close")


async def test_six_streams_of_one_origin_open_and_the_seventh_waits_for_one_of_them_to_close(
    client: Callable[[str], Client], places: dict[str, Place]
) -> None:
    place, page = places["faulty"], client("seven")
    opened_before = (await place.ask("GET", "/stats"))["opened"]
    await page.press("Start")
    await page.here.locator(".lab-row", has_text="open").nth(5).wait_for()
    await place.post("to all")
    await page.row("states 0 1 1 1 1 1 1")
    await page.here.locator(".lab-row", has_text="open").nth(6).wait_for()
    await page.press("Stop")
    assert (await place.ask("GET", "/stats"))["opened"] == opened_before + 7


async def test_a_stream_ends_with_its_view_and_the_server_hears_of_it(
    client: Callable[[str], Client], places: dict[str, Place]
) -> None:
    place, page = places["faulty"], client("faulty")

    async def nobody() -> bool:
        return (await place.ask("GET", "/stats"))["open"] == 0

    await until(nobody)
    await page.press("Open")
    await page.says("Open.")
    assert not await nobody()
    await page.run_its_cell_again()
    await until(nobody)
    await page.says("Ready")


async def test_many_events_at_once_reach_the_page_in_few_batches_and_only_the_last_rows_stay(
    client: Callable[[str], Client], places: dict[str, Place]
) -> None:
    place, page = places["faulty"], client("faulty")
    await place.post(*range(300))
    await page.here.locator(".lab-rows").evaluate(
        """box => { window.batches = 0;
        new MutationObserver(() => window.batches++).observe(box, { childList: true }); }"""
    )
    await page.press("Open")
    await page.fact("events", "301")
    await page.here.locator(".lab-row").nth(199).wait_for()
    assert await page.here.locator(".lab-row").count() == 200
    assert await page.here.page.evaluate("batches") < 30
    await page.press("Close")


async def test_a_fourth_stream_through_the_proxy_is_refused_whichever_widget_has_the_others(
    client: Callable[[str], Client], places: dict[str, Place]
) -> None:
    others, page = client("fourth"), client("sse_proxied")
    await others.press("Start")
    await others.says("Running")
    await page.press("Open")
    await page.says("more than 3 streams through Jupyter's proxy would block JupyterLab")
    await others.press("Stop")
    await page.press("Open")
    await page.says("Open.")
    await page.press("Close")


# WebSockets


async def test_a_page_cannot_ping_and_does_not_see_that_its_browser_answers_the_servers_pings(
    notebook: Notebook, client: Callable[[str], Client], places: dict[str, Place]
) -> None:
    place, page = places["echo"], client("echo")
    has = "[...Object.getOwnPropertyNames(WebSocket.prototype)]"
    assert not await notebook.page.evaluate(f"{has}.some(name => /ping|pong/i.test(name))")
    assert await notebook.page.evaluate(f'{has}.filter(name => name.startsWith("on")).sort()') == [
        "onclose", "onerror", "onmessage", "onopen",
    ]  # fmt: skip
    await page.press("Open")
    await page.row("text hello")

    def answered() -> bool:
        """Whether a ping went down and its pong came up."""
        [connection, *_] = Capture.from_recording(place.box.recording()).connections
        down, up = (
            FrameParser(role).feed(raw.partition(b"\r\n\r\n")[2])
            for role, raw in (("client", connection.down), ("server", connection.up))
        )
        pings = {frame.payload for frame in down if frame.opcode is Opcode.PING}
        return any(frame.opcode is Opcode.PONG and frame.payload in pings for frame in up)

    await until(lambda: asyncio.to_thread(answered))
    await page.here.get_by_label("Text to send").fill("after the pong")
    await page.here.page.keyboard.press("Enter")
    await page.row("text after the pong")
    assert await page.rows() == [
        "open",
        "sent hello",
        "text hello",
        "sent after the pong",
        "text after the pong",
    ]
    await page.press("Close")
    await page.fact("readyState", "3 CLOSED")


async def test_a_websocket_that_is_cut_comes_back_by_the_pages_own_code_and_goes_on_from_its_place(
    client: Callable[[str], Client], places: dict[str, Place]
) -> None:
    place, page = places["chat"], client("chat")
    async with connect(f"{place.server.url}/chat") as friend:

        async def say(*texts: str) -> None:
            for text in texts:
                await friend.send(json.dumps({"type": "message", "id": text, "text": text}))

        await friend.send(json.dumps({**JOIN, "user": "friend"}))
        await say("one", "two")
        await page.press("Open")
        await page.row('"two"')
        place.box.cut()
        await page.row("closed 1006")
        await say("missed")
        await page.says("Open again.")
        await page.row('"missed"')
        await say("live")
        await page.row('"live"')
        log = []
        while len(log) < 4:
            message = json.loads(await friend.recv())
            log += [message["position"]] if message["type"] == "message" else []
    assert await page.found(r'"type":"message","position":"([^"]+)"') == log
    assert await page.fact("reconnects", "1") == "1"
    assert await page.fact("position", log[-1]) == log[-1]
    await page.press("Close")
    python = await page.python("closed")
    assert (python["reconnects"], python["last_event_id"], python["close_code"]) == (1, log[-1], 1006)


async def test_a_close_code_is_lost_in_the_proxy_and_so_is_what_it_asks_for(
    client: Callable[[str], Client], places: dict[str, Place]
) -> None:
    page = client("chat_proxied")
    await page.press("Open")
    await page.row("closed 1005")
    await page.says("This page tries again")
    await page.press("Close")
    await page.here.locator("summary").click()
    await page.here.get_by_text("WebSocket close codes and reasons are lost").wait_for()
    # The same server, the same forged token, directly:
    code = await page.here.page.evaluate(
        """([url, join]) => new Promise((done) => { const socket = new WebSocket(url);
        socket.onopen = () => socket.send(join); socket.onclose = (event) => done(event.code); })""",
        [f"{places['chat'].server.url}/chat", json.dumps({**JOIN, "token": "forged"})],
    )
    assert code == 4401


# The keyboard, and the look


async def test_the_whole_way_can_be_gone_by_keyboard_and_jupyterlab_takes_none_of_its_keys(
    notebook: Notebook, client: Callable[[str], Client]
) -> None:
    page, keys = client("echo"), notebook.page.keyboard
    cells = await notebook.page.locator(".jp-CodeCell").count()
    await page.here.get_by_role("button", name="Open").focus()
    await keys.press("Enter")
    await page.says("Open.")
    assert await page.here.locator(":focus").inner_text() == "Close", (
        "the button that was pressed is disabled"
    )
    await keys.press("Tab")
    await keys.type("dd a b x")  # each alone is a command to JupyterLab: delete, insert, cut
    await keys.press("Enter")
    await page.row("text dd a b x")
    assert await notebook.page.locator(".jp-CodeCell").count() == cells
    await keys.press("Shift+Tab")
    await keys.press("Enter")
    await page.says("Closed by you")
    assert await page.here.locator(":focus").inner_text() == "Open"


async def test_a_screen_reader_hears_what_changes_and_is_spared_each_row(
    client: Callable[[str], Client],
) -> None:
    page = client("sse")
    assert await page.here.get_by_role("log", name="Rows").get_attribute("aria-live") == "off"
    assert await page.here.locator("[aria-live=polite]").count() == 1
    assert await page.here.get_by_role("status").count() == 1


async def test_every_word_can_be_read_in_both_themes(
    notebook: Notebook, client: Callable[[str], Client]
) -> None:
    page = client("echo")
    await page.press("Open")
    await page.row("text hello")
    for dark in (False, True):
        await notebook.dark(dark)
        low = await page.here.evaluate(CONTRASTS)
        assert low == [], "WCAG 1.4.3 asks for 4.5"
    await notebook.dark(False)
    await page.press("Close")


async def test_nothing_in_all_this_was_an_error_of_the_widgets(notebook: Notebook) -> None:
    assert await notebook.problems() == []
    # The browser itself puts each failed stream and WebSocket on the console; the widget adds nothing.
    own = [said for said in notebook.console if not re.search(r"EventSource|WebSocket|Failed to load", said)]
    assert own == []
    assert notebook.outside == []
