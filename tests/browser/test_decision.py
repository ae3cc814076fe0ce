"""The decision tree under a keyboard in JupyterLab, whose own shortcuts want the arrow keys too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from playwright.async_api import Locator, Page

from tests.browser.lab import opened

pytestmark = pytest.mark.asyncio(loop_scope="session")

TREE = "from labsupport.teach.decision import decision_tree\ntree = decision_tree()\ntree"


async def focused(page: Page) -> str:
    value: str = await page.evaluate("() => document.activeElement.value ?? ''")
    return value


async def advises(tree: Locator, words: str) -> None:
    """Wait until the advice says so."""
    await tree.get_by_role("status").filter(has_text=words).wait_for()


async def test_tab_goes_through_the_questions_and_the_arrows_through_their_answers(
    browser_lab: tuple[Any, Any], chapters_copy: Path
) -> None:
    browser, lab = browser_lab
    cells = [new_markdown_cell("before"), new_code_cell(TREE), new_markdown_cell("after")]
    python = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new_notebook(cells=cells, metadata=python), chapters_copy / "decision.ipynb")
    async with opened(browser, lab, "decision.ipynb") as notebook:
        await notebook.run_all()
        page, tree = notebook.page, notebook.page.locator(".lab-decision")
        for name in ("What travels?", "Who speaks?", "Where is the reader?"):
            await tree.get_by_role("group", name=name).wait_for()
        await advises(tree, "SSE")

        await tree.get_by_role("radio").first.focus()
        await page.keyboard.press("Tab")
        assert await focused(page) == "the server"
        await page.keyboard.press("ArrowDown")
        await page.keyboard.press("ArrowDown")
        assert await focused(page) == "both, often"
        await advises(tree, "WebSocket")

        await page.keyboard.press("Shift+Tab")
        await page.keyboard.press("ArrowUp")  # round to the last answer
        assert await focused(page) == "voice or video"
        await advises(tree, "WebRTC, through a media server")
        assert await tree.get_by_role("radio", checked=True).count() == 7
        assert notebook.console == []
