"""The browser tests' own eyes: they see what is wrong with a notebook, and nothing where all is well."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
import pytest_asyncio
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from PIL import Image

from labsupport.course.normalise import normalise
from tests.browser import lab as eyes
from tests.browser.lab import Notebook, opened

pytestmark = pytest.mark.asyncio(loop_scope="session")

FIGURE = """
from labsupport.teach import figures
from labsupport.teach.live import explore, slider

fig, ax = figures.new("A point moves", x="interval (s)", y="delay (s)")
[point] = ax.plot([], [], "o")
ax.set(xlim=(0, 30), ylim=(0, 30))

def draw(interval_s):
    point.set_data([interval_s], [interval_s / 2])
    return f"Every {interval_s:.1f} s: the mean delay is half of it."

shown = explore(draw, fig, interval_s=slider(0.5, 30, {start}, unit="s"))
shown
"""

SERVER = """
import http.server, threading

class Handler(http.server.BaseHTTPRequestHandler):
    said = []
    def do_GET(self):
        self.send_response(200)
        self.send_header("Access-Control-Allow-Origin", "*")
        self.end_headers()
        self.wfile.write(str(len(self.said)).encode())
    def log_message(self, *_): pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
"""

CLIENT = """
from labsupport.teach.browser import run_in_browser
run_in_browser('''
while (!signal.aborted) {
  if (await (await fetch(url)).text() !== "0") show("heard");
  await new Promise(done => setTimeout(done, 20));
}''', url=f"http://127.0.0.1:{server.server_port}")
"""

# Run with all others it goes on at once; run again it waits for somebody to move the slider.
WAITING = """
import asyncio

wait_s = 20 if "wait_s" in globals() else 0
moved = asyncio.Event()
shown._controls["interval_s"].observe(lambda _: moved.set(), "value")
try:
    async with asyncio.timeout(wait_s):
        await moved.wait()
except TimeoutError:
    pass
"""

SOUND = [
    FIGURE.replace("{start}", "5"),
    FIGURE.replace("{start}", "30"),
    "from labsupport.teach.predict import predict\n_ = predict('how many', 0, 100)",
    SERVER,
    CLIENT,
    "Handler.said.append('Lunch?')",
    CLIENT.replace("while (", "try { null.x } catch (error) { show(error.name); return }\nwhile ("),
    ("raises-exception", "1 / 0"),
    "import time\ntime.sleep(1)  # a test that does not wait for this cell sees that it was not run",
    WAITING,
]

PICTURE = '\'<img alt="still" src="data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA=">\''
FAULTY = [
    "import sys\nprint('oh', file=sys.stderr)",
    'from IPython.display import Javascript\nJavascript(\'console.error("oh"); fetch("http://lab.invalid/")\')',
    f"import ipywidgets as W\nW.VBox([W.IntSlider(description='stuck'), W.HTML({PICTURE})])",
    CLIENT.replace("{server.server_port}", "9").replace("await fetch(url)", "new Response(0)"),
    "import sys; sys.exit = None; {}['missing']",
    "print('never')",
]


def written(path: Path, cells: list[Any]) -> str:
    notebook = new_notebook(cells=[new_markdown_cell("# Sample")])
    for cell in cells:
        tag, source = cell if isinstance(cell, tuple) else (None, cell)
        notebook.cells.append(new_code_cell(source.strip(), metadata={"tags": [tag]} if tag else {}))
    nbformat.write(normalise(notebook), path)
    return path.name


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def sound(browser_lab: tuple[Any, Any], chapters_copy: Path) -> AsyncIterator[Notebook]:
    browser, lab = browser_lab
    async with opened(browser, lab, written(chapters_copy / "sound.ipynb", SOUND)) as notebook:
        await notebook.run_all()
        yield notebook


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def faulty(browser_lab: tuple[Any, Any], chapters_copy: Path) -> AsyncIterator[Notebook]:
    browser, lab = browser_lab
    async with opened(browser, lab, written(chapters_copy / "faulty.ipynb", FAULTY)) as notebook:
        await notebook.run_all()
        yield notebook


async def test_a_sound_notebook_has_no_problems_and_an_error_that_is_meant_is_none(sound: Notebook) -> None:
    assert await sound.problems() == []


async def test_a_slider_is_timed_to_its_picture_and_turns_back_at_its_end(sound: Notebook) -> None:
    inside, at_the_end, guess = [await sound.press(handle) for handle in await sound.sliders()]
    assert inside.slider == at_the_end.slider == "interval"
    assert (inside.ms or 0) > 0
    assert (at_the_end.ms or 0) > 0
    assert guess.ms is None, "there is no picture beside a guess"


async def test_a_slider_that_is_moved_while_a_cell_waits_moves_its_picture_afterwards_too(
    sound: Notebook,
) -> None:
    _, slider, _ = await sound.sliders()
    before_the_last = sound.page.locator(".jp-CodeCell").nth(len(SOUND) - 2)
    waits = asyncio.create_task(sound.run_next_cell(before_the_last))
    await sound.page.wait_for_function("() => labTest.busy()")
    await sound.press(slider)
    await waits
    assert await sound.problems() == []
    await sound.press(slider)


async def test_a_client_in_the_browser_gets_what_the_next_cell_makes_happen(sound: Notebook) -> None:
    clients = sound.browser_clients()
    assert await clients.count() == 2
    assert "heard" in (await sound.start(clients.nth(0)))[0]
    assert "TypeError" in (await sound.start(clients.nth(1)))[0]


async def test_pictures_show_the_whole_notebook_in_both_themes(sound: Notebook, tmp_path: Path) -> None:
    grounds = {}
    for dark in (False, True):
        await sound.dark(dark)
        (shot,) = await sound.shoot(tmp_path / f"dark {dark}")
        with Image.open(shot) as picture:
            grounds[dark] = picture.convert("L").resize((1, 1)).getpixel((0, 0))
            assert picture.height > eyes.HEIGHT_PX
    await sound.dark(False)
    assert grounds[False] > 200
    assert grounds[True] < 80


async def test_a_notebook_taller_than_a_picture_is_shown_in_parts(
    sound: Notebook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eyes, "TALLEST_PX", 1000)
    shots = await sound.shoot(tmp_path / "tall")
    assert [shot.name for shot in shots][:2] == ["tall-1.png", "tall-2.png"]
    assert shots[0].read_bytes() != shots[1].read_bytes()


async def test_a_sound_notebook_says_nothing_on_the_console_and_asks_no_other_machine(
    sound: Notebook,
) -> None:
    assert sound.console == []
    assert sound.outside == []


async def test_errors_stderr_and_cells_that_did_not_run_are_seen(faulty: Notebook) -> None:
    assert await faulty.problems() == [
        "cell 2 (import sys): stderr: oh\n",
        "cell 6 (import sys; sys.exit = None; {}['missing): KeyError: 'missing'",
        "cell 7 (print('never')) was not run",
    ]


async def test_the_console_and_requests_to_other_machines_are_seen(faulty: Notebook) -> None:
    assert "oh" in faulty.console
    assert faulty.outside == ["http://lab.invalid/"]


async def test_a_picture_that_does_not_follow_its_slider_is_seen(
    faulty: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eyes, "REDRAW_LIMIT_MS", 500)
    (handle,) = await faulty.sliders()
    with pytest.raises(AssertionError, match="ArrowRight on the slider 'stuck' .* nothing changed"):
        await faulty.press(handle)


async def test_a_client_that_shows_no_row_is_seen(faulty: Notebook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eyes, "ROW_LIMIT_MS", 500)
    with pytest.raises(AssertionError, match="no row came within 500 ms; it says: Running"):
        await faulty.start(faulty.browser_clients().first)
