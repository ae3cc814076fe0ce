"""What the tests of streams need: a server with a box before it, and the hand and eye on one widget."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any

import aiohttp
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook
from playwright.async_api import Locator

from labsupport.processes import Middlebox, Server
from tests.browser.lab import Notebook

LIMIT_S = 20

# With it the first four clients are told to wait for less than 1.5 s before they connect again.
QUICK = ("--seed", "3082")
JOIN = {"type": "join", "room": "tea", "user": "page"}
NAMES = ("sse", "sse_proxied", "faulty", "seven", "echo", "chat", "chat_proxied", "fourth")  # of the widgets

SEVEN = """
const sources = Array.from({length: 7}, () => new EventSource(url + "/events"));
let heard = 0;
for (const [index, source] of sources.entries()) {
  source.onopen = () => show(`open ${index}`);
  source.onmessage = () => {
    if ((heard += 1) !== 6) return;
    show("states " + sources.map((each) => each.readyState).sort().join(" "));
    source.close();
  };
}
await new Promise((stopped) => signal.addEventListener("abort", stopped));
"""

# Each word's contrast with the ground below it, where that is less than 4.5 (WCAG 2.2, relative luminance).
CONTRASTS = """element => {
  const channels = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = (color) => channels(color).slice(0, 3).map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (node) => {
    const color = getComputedStyle(node).backgroundColor;
    return channels(color)[3] === 0 && node.parentElement ? ground(node.parentElement) : color;
  };
  return [...element.querySelectorAll("*")]
    .filter((node) => node.firstChild?.nodeType === Node.TEXT_NODE && !node.disabled)
    .map((node) => {
      const [a, b] = [light(getComputedStyle(node).color), light(ground(node))].sort((x, y) => y - x);
      return [node.className || node.tagName, node.textContent, (a + 0.05) / (b + 0.05)];
    }).filter(([, , contrast]) => contrast < 4.5);
}"""


class Place:
    """A server, and the box in front of it."""

    def __init__(self, stack: ExitStack, name: str, *arguments: str) -> None:
        self.server = stack.enter_context(Server(name, *arguments))
        self.box = stack.enter_context(Middlebox("middlebox", "--target", self.server.url))

    async def ask(self, method: str, path: str, body: object = None) -> Any:
        url = self.server.url.replace("ws://", "http://") + path
        async with aiohttp.request(method, url, json=body) as response:
            assert response.status < 300, await response.text()
            return await response.json()

    async def post(self, *data: object) -> None:
        for each in data:
            await self.ask("POST", "/messages", {"data": each})

    async def ids(self) -> list[str]:
        """What the server remembers."""
        return [message["id"] for message in (await self.ask("GET", "/messages"))["messages"]]


class Client:
    """One widget in the page."""

    def __init__(self, notebook: Notebook, index: int) -> None:
        self.notebook = notebook
        self.here: Locator = notebook.browser_clients().nth(index)

    async def press(self, name: str) -> None:
        await self.here.get_by_role("button", name=name, exact=True).click()

    async def says(self, text: str) -> None:
        """Wait until the status does."""
        await self.here.get_by_role("status").filter(has_text=text).wait_for()

    async def fact(self, name: str, value: str = "") -> str:
        """A fact, once it has that value."""
        pair = self.here.locator(".lab-facts div").filter(has=self.here.page.get_by_text(name, exact=True))
        await pair.filter(has=self.here.page.locator("dd", has_text=re.compile(f"^{value}"))).wait_for()
        return await pair.locator("dd").inner_text()

    async def row(self, text: str) -> None:
        """Wait for a row with that text."""
        await self.here.locator(".lab-row", has_text=text).first.wait_for()

    async def rows(self) -> list[str]:
        texts = await self.here.locator(".lab-row").all_inner_texts()
        return [" ".join(text.split()[2:]) for text in texts]  # without "0.12 s"

    async def found(self, pattern: str) -> list[str]:
        """What the pattern's group found in each row that has it."""
        return [match[1] for row in await self.rows() if (match := re.search(pattern, row))]

    async def run_its_cell_again(self) -> None:
        await self.here.evaluate(
            """element => { const { content } = labTest.notebook();
            content.activeCellIndex = content.widgets.findIndex((cell) => cell.node.contains(element));
            content.deselectAll();
            return window.jupyterapp.commands.execute("notebook:run-cell"); }"""
        )

    async def python(self, state: str) -> Any:
        """What the widget in the kernel says once it has that state: the cell below prints it."""
        output = self.here.locator(
            "xpath=ancestor::*[contains(@class, 'jp-CodeCell')]/following-sibling::*[1]"
        )
        async with asyncio.timeout(LIMIT_S):
            while True:  # the page knows first: its news and a cell's request take two ways to the kernel
                await self.notebook.run_next_cell(self.here)
                said = json.loads(await output.locator(".jp-OutputArea-output pre").first.inner_text())
                if said["state"] == state:
                    return said


async def until(what: Callable[[], Awaitable[bool]]) -> None:
    """Ask again until it is so; each question is a request, which keeps the pace."""
    async with asyncio.timeout(LIMIT_S):
        while not await what():
            pass


def stream(name: str, url: str, **options: object) -> tuple[str, str]:
    """Two cells: the widget, and what Python knows of it."""
    more = "".join(f", {option}={value!r}" for option, value in options.items())
    known = ["rows", "state", "ready_state", "events", "reconnects", "last_event_id", "close_code", "way"]
    show = f"import json\nprint(json.dumps({{each: getattr({name}, each) for each in {known}}}))"
    return f"{name} = browser_streams({url!r}{more})\n{name}", show


def sheet(places: dict[str, Place]) -> NotebookNode:
    """A notebook with the widgets of NAMES, in that order."""
    boxes = {name: place.box.url for name, place in places.items()}
    sockets = {name: boxes[name].replace("http://", "ws://") for name in ("echo", "chat")}
    chat = {"kind": "websocket", "path": "/chat", "hello": [JOIN], "resume": "since"}
    cells: list[tuple[str, ...]] = [
        ("from labsupport.teach import browser_streams, run_in_browser",),
        stream("sse", boxes["sse"], types=("message", "price")),
        stream("sse_proxied", boxes["sse_proxied"], route="proxy"),
        stream("faulty", boxes["faulty"]),
        (f"run_in_browser({SEVEN!r}, url={places['faulty'].server.url!r})", "0"),
        stream("echo", sockets["echo"], kind="websocket", hello=["hello"]),
        stream("chat", sockets["chat"], **chat),
        stream(
            "chat_proxied", sockets["chat"], **{**chat, "hello": [{**JOIN, "token": "forged"}]}, route="proxy"
        ),
        (
            "run_in_browser('for (let n = 0; n < 3; n++) new EventSource(url + \"/events\")', "
            f"url={boxes['faulty']!r}, route='proxy')",
            "0",
        ),
    ]
    sources = [source for some in cells for source in some]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return new_notebook(cells=[new_code_cell(source) for source in sources], metadata=kernel)
