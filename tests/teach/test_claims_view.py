"""The table of claims under a keyboard, in Chromium without JupyterLab."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from labsupport.teach.claims import claims_table
from tests.teach.test_claims import ROWS

pytestmark = pytest.mark.asyncio(loop_scope="module")

SCRIPT = (Path(__file__).resolve().parents[2] / "labsupport" / "teach" / "claims.js").read_text(
    encoding="utf-8"
)

# A widget's model, as anywidget hands it to a view: Python answers each change with the rows that match.
OPEN = """async (state) => {
  const url = URL.createObjectURL(new Blob([state.script], { type: "text/javascript" }));
  const { default: widget } = await import(url);
  const listeners = [];
  const model = {
    get: (name) => state[name],
    set: (name, value) => (state[name] = value),
    save_changes: async () => {
      state.seen_ids = await window.asked(state.words, state.chosen);
      for (const listener of listeners) listener();
    },
    on: (names, listener) => listeners.push(listener),
    off: (names, listener) => listeners.splice(listeners.indexOf(listener), 1),
  };
  window.end = widget.render({ model, el: document.body });
  window.listening = () => listeners.length;
}"""


@pytest_asyncio.fixture(loop_scope="module")
async def page() -> AsyncIterator[Any]:
    from tests.browser.lab import chromium, headless

    path = chromium()
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("CI must not skip the browser tests: no Chromium on the PATH")
        pytest.skip("no Chromium on the PATH: apt-get install chromium, or name yours in LAB_CHROMIUM")
    table = claims_table(ROWS)

    def asked(words: str, chosen: dict[str, str]) -> list[str]:
        table.words, table.chosen = words, chosen
        return list(table.seen_ids)

    async with headless(path) as browser:
        page = await browser.new_page()
        page.set_default_timeout(30_000)
        await page.expose_function("asked", asked)
        state = {name: getattr(table, name) for name in ("rows", "options", "words", "chosen", "seen_ids")}
        await page.evaluate(OPEN, {**state, "script": SCRIPT})
        yield page


async def test_rows_are_searched_chosen_and_scrolled_by_keyboard_and_the_count_is_told(page: Any) -> None:
    async def counts(text: str) -> None:
        await page.get_by_role("status").filter(has_text=text).wait_for()

    await counts("2 of 2 claims")
    await page.keyboard.press("Tab")
    await page.keyboard.type("walk")
    await counts("1 of 2 claims")
    assert await page.get_by_role("row").all_inner_texts() != []
    assert await page.get_by_role("rowheader").all_inner_texts() == ["A1"]  # the other row is hidden
    assert "wrong · They <walk>." in await page.inner_text("table")  # as text, not as markup

    for _ in range(4):
        await page.keyboard.press("Backspace")
    await counts("2 of 2 claims")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.labels[0].firstChild.innerText") == "verdict"
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("ArrowDown")
    await counts("1 of 2 claims")
    assert await page.get_by_role("rowheader").all_inner_texts() == ["B1"]
    link = page.get_by_role("link", name="RFC 1 §2")
    assert await link.get_attribute("href") == "https://rfc.example/1"

    await page.keyboard.press("Tab")
    await page.keyboard.press("Tab")
    assert "scroll with the arrow keys" in await page.evaluate("document.activeElement.ariaLabel")
    kept = """[...document.querySelectorAll("input, select, [tabindex]")].every(
      (each) => each.dataset.lmSuppressShortcuts)"""
    assert await page.evaluate(kept)  # or JupyterLab would take the keys for its commands

    await page.evaluate("window.end()")
    assert await page.evaluate("window.listening()") == 0
