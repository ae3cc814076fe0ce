"""A JupyterLab of the tests' own, in headless Chromium: open a notebook, run it, move sliders, look at it.

Everything is asynchronous: Playwright's synchronous face holds the thread's event loop, and no other
asynchronous test could run beside it. Outputs are read from JupyterLab's model, not from the page (page.js),
so they are there as soon as the run has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import queue
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from weakref import WeakKeyDictionary

from playwright.async_api import Browser, BrowserContext, Locator, Page, async_playwright
from playwright.async_api import Error as PlaywrightError
from playwright.async_api import TimeoutError as PlaywrightTimeout

PAGE_SCRIPT = Path(__file__).with_name("page.js")

START_LIMIT_S = 60  # JupyterLab takes 3 s on a quiet machine
RUN_LIMIT_S = 120  # a chapter takes under 30 s
WAIT_MS = 60_000  # for anything in the page
ROW_LIMIT_MS = 20_000
TABS_AT_MOST = 3  # the place before may hold one that only looks like a stop
REDRAW_LIMIT_MS = 10_000  # tells a slow machine from a picture that stands still; how fast it is, is reported

WIDTH_PX, HEIGHT_PX = 1280, 1600
FRAME_PX = 140  # JupyterLab's menu, tabs, toolbar and status bar
TALLEST_PX = (
    8_000  # taller ones are hard to look at (and Chromium ends at 16 384): a long chapter comes in parts
)

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "chrome")
CHROMIUM_FLAGS = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
CHROMIUM_FLAGS += ["--disable-component-update", "--disable-sync"]

# JupyterLab ends with these tests however they end: its standard input is a pipe that only they hold open.
LAB = """
import os, signal, sys, threading
def follow():
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)
threading.Thread(target=follow, daemon=True).start()
from jupyterlab.labapp import main
main()
"""

SETTINGS = {
    # without it, news pop up and the page asks a host elsewhere
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    # without it, cells outside of the window are not drawn
    "notebook-extension/tracker": {"windowingMode": "none"},
    # nothing is written back while a test looks at the page
    "docmanager-extension/plugin": {"autosave": False},
}


def chromium() -> str | None:
    """Where Chromium is; LAB_CHROMIUM names one that is not on the PATH."""
    return os.environ.get("LAB_CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUM)), None)


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab; `log` holds its last lines."""

    url: str
    token: str
    log: deque[str]


@contextlib.contextmanager
def jupyterlab(root: Path) -> Iterator[Lab]:
    """JupyterLab on `root`, with settings and folders of its own: a developer's stay as they are."""
    token = secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="lab-browser-", ignore_cleanup_errors=True) as folder:
        process = subprocess.Popen(
            [
                *(sys.executable, "-c", LAB, "--no-browser", "--allow-root", "--expose-app-in-browser"),
                *("--ServerApp.ip=127.0.0.1", "--ServerApp.port=0", f"--ServerApp.root_dir={root}"),
                *(f"--IdentityProvider.token={token}", "--ServerApp.terminals_enabled=False"),
                "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=os.environ | _own_folders(Path(folder)),
            start_new_session=True,  # an interrupt of the tests reaches it through its life-line alone
        )
        log: deque[str] = deque(maxlen=200)
        address: queue.Queue[str | None] = queue.Queue()
        pump = threading.Thread(target=_pump, args=(process, log, address), daemon=True)
        pump.start()
        try:
            yield Lab(_address(address, log), token, log)
        finally:
            process.stdin.close()  # type: ignore[union-attr]
            try:
                process.wait(20)  # it shuts its kernels down first
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            pump.join(5)  # the kernels hold the pipe, too, until they have noticed that JupyterLab is gone


def _own_folders(folder: Path) -> dict[str, str]:
    for name, settings in SETTINGS.items():
        file = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(settings))
    names = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "IPYTHONDIR": "ipython",
    }
    return {variable: str(folder / name) for variable, name in names.items()}


def _pump(process: subprocess.Popen[str], log: deque[str], address: queue.Queue[str | None]) -> None:
    assert process.stdout is not None
    with process.stdout as lines:
        for line in lines:
            log.append(line)
            if found := re.search(r"(http://127\.0\.0\.1:\d+)/lab\?token=", line):
                address.put(found[1])
    address.put(None)


def _address(address: queue.Queue[str | None], log: deque[str]) -> str:
    try:
        found = address.get(timeout=START_LIMIT_S)
    except queue.Empty:
        found = None
    if found is None:
        raise RuntimeError("JupyterLab did not start:\n" + "".join(log))
    return found


@contextlib.asynccontextmanager
async def headless(path: str) -> AsyncIterator[Browser]:
    """Chromium without a window."""
    as_root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=[*CHROMIUM_FLAGS, *as_root])
        try:
            yield browser
        finally:
            await browser.close()


@dataclass(frozen=True)
class Move:
    """One key press on a slider: its name, and how long its picture took to change (None: it has none)."""

    slider: str
    ms: float | None


@dataclass
class Notebook:
    """A notebook that is open in the browser, and what has gone wrong in its page so far."""

    page: Page
    console: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)

    async def run_all(self) -> None:
        """Run every cell, and wait until each picture and widget that it shows has been drawn."""
        async with asyncio.timeout(RUN_LIMIT_S):
            await self.page.evaluate("() => labTest.runAll()")
        await self.page.wait_for_function("() => labTest.drawn()")

    async def restart(self) -> None:
        """Restart the kernel, and wait until the new one is idle."""
        await self.page.evaluate("() => labTest.notebook().sessionContext.session.kernel.restart()")
        await self.page.wait_for_function("() => labTest.ready()")

    async def interrupted(self, share: float) -> None:
        """Run every cell, press the interrupt button when that share has been run, wait for the kernel.

        The run is not waited for: an interrupt between the last line of a cell and its reply takes it along
        (in the message dispatch of ipykernel), and JupyterLab waits for the reply for ever.
        """
        async with asyncio.timeout(RUN_LIMIT_S):
            await self.page.evaluate("share => labTest.interrupted(share)", share)

    async def run_next_cell(self, element: Locator) -> None:
        """Run the code cell that comes after the one with that element, and wait for its end."""
        async with asyncio.timeout(RUN_LIMIT_S):
            await element.evaluate("element => labTest.runNextCell(element)")

    async def problems(self) -> list[str]:
        """What a run of all cells left behind: errors that are not meant, stderr, cells that were not run."""
        found: list[str] = await self.page.evaluate("() => labTest.problems()")
        return found

    async def sliders(self) -> list[str]:
        """A selector for each slider's handle."""
        count: int = await self.page.evaluate("() => labTest.nameSliders()")
        return [f"[data-test-slider='{i}']" for i in range(count)]

    async def press(self, handle: str) -> Move:
        """One arrow key on a slider, as a reader presses it; returns when its picture has changed.

        A slider without a picture in its cell is done when its own value has changed. Raises AssertionError
        if nothing changes.
        """
        await self.page.locator(handle).scroll_into_view_if_needed()
        key: str = await self.page.evaluate("handle => labTest.arm(handle)", handle)
        await self.page.keyboard.press(key)
        try:
            await self.page.wait_for_function("() => labTest.move !== null", timeout=REDRAW_LIMIT_MS)
        except PlaywrightTimeout:
            said = await self.page.evaluate("handle => labTest.about(handle)", handle)
            raise AssertionError(f"{key} on {said}: nothing changed within {REDRAW_LIMIT_MS} ms") from None
        return Move(**await self.page.evaluate("() => labTest.move"))

    async def unreached(self) -> list[str]:
        """The controls in outputs that the tab key does not lead to from the one before."""
        missed = []
        for name in await self.page.evaluate("() => labTest.controls()"):
            await self.page.evaluate("name => labTest.before(name)", name)
            for _ in range(TABS_AT_MOST):
                await self.page.keyboard.press("Tab")
                if await self.page.evaluate("name => labTest.isOn(name)", name):
                    break
            else:
                missed.append(name)
        return missed

    def browser_clients(self) -> Locator:
        """The clients in the reader's own browser (teach.run_in_browser and browser_streams)."""
        return self.page.locator(".lab-browser")

    async def start(self, client: Locator) -> list[str]:
        """Press Start or Open, wait for a row, press Stop or Close; the rows.

        Raises AssertionError if none comes.
        A client that is still running waits for what the next cell does: a reader would run that, too.
        """
        await client.get_by_role("button", name=re.compile("^(start|open)", re.IGNORECASE)).click()
        status = client.get_by_role("status")
        await status.filter(has_not_text="Ready").wait_for()
        if "Running" in await status.inner_text():
            await self.run_next_cell(client)
        try:
            await client.locator(".lab-row").first.wait_for(timeout=ROW_LIMIT_MS)
        except PlaywrightTimeout:
            said = await status.inner_text()
            raise AssertionError(f"no row came within {ROW_LIMIT_MS} ms; it says: {said}") from None
        stop = client.get_by_role("button", name=re.compile("^(stop|close)", re.IGNORECASE))
        if await stop.is_enabled():
            await stop.click()
        return await client.locator(".lab-row").all_inner_texts()

    async def dark(self, dark: bool) -> None:
        """Change JupyterLab's theme and wait until it is there."""
        await self.page.evaluate(
            "theme => labTest.setTheme(theme)", f"JupyterLab {'Dark' if dark else 'Light'}"
        )
        await self.page.wait_for_function("light => labTest.hasTheme(light)", arg=not dark)

    async def shoot(self, stem: Path) -> list[Path]:
        """Photograph the whole notebook: STEM.png, or STEM-1.png, STEM-2.png … for one that is very long."""
        stem.parent.mkdir(parents=True, exist_ok=True)
        total: int = await self.page.evaluate("() => labTest.height()")
        parts = math.ceil(total / TALLEST_PX)
        height = math.ceil(total / parts)
        await self.page.set_viewport_size({"width": WIDTH_PX, "height": height + FRAME_PX})
        shots = []
        for part in range(parts):
            await self.page.evaluate("top => labTest.scrollTo(top)", part * height)
            shots.append(stem.with_name(f"{stem.name}-{part + 1}.png" if parts > 1 else f"{stem.name}.png"))
            await self.page.screenshot(path=shots[-1])
        await self.page.set_viewport_size({"width": WIDTH_PX, "height": HEIGHT_PX})
        return shots


# One for all notebooks, so that JupyterLab's scripts are fetched and compiled once.
_contexts: WeakKeyDictionary[Browser, BrowserContext] = WeakKeyDictionary()


@contextlib.asynccontextmanager
async def opened(browser: Browser, lab: Lab, path: str) -> AsyncIterator[Notebook]:
    """The notebook at `path` below JupyterLab's root, its kernel idle; closed, kernel too, afterwards."""
    if browser not in _contexts:
        _contexts[browser] = await browser.new_context()
    page = await _contexts[browser].new_page()
    await page.set_viewport_size({"width": WIDTH_PX, "height": HEIGHT_PX})
    page.set_default_timeout(WAIT_MS)
    await page.add_init_script(path=PAGE_SCRIPT)
    notebook = Notebook(page)
    page.on("console", lambda said: notebook.console.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: notebook.console.append(str(error)))
    page.on("request", lambda asked: notebook.outside.append(asked.url) if _is_outside(asked.url) else None)
    try:
        await page.goto(f"{lab.url}/lab/workspaces/test-{secrets.token_hex(4)}/tree/{path}?token={lab.token}")
        try:
            await page.wait_for_function("() => labTest.ready()")
        except PlaywrightTimeout:
            shown = await page.inner_text("body")
            raise AssertionError(f"{path} did not open:\n{shown}\n{''.join(lab.log)}") from None
        await page.evaluate("() => window.jupyterapp.shell.collapseLeft()")
        yield notebook
    finally:
        with contextlib.suppress(PlaywrightError):
            await page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
        await page.close()


def _is_outside(url: str) -> bool:
    return not re.match(r"(?:https?|wss?)://(?:127\.0\.0\.1|localhost|\[::1\])[:/]|data:|blob:|about:", url)
