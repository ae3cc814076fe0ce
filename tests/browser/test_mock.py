"""A mock question under a keyboard in JupyterLab: type, Enter, read; or type, Tab, press the button."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from tests.browser.lab import opened

pytestmark = pytest.mark.asyncio(loop_scope="session")

ASK = 'from labsupport.teach.interview import ask\nask("pings")'


async def test_enter_answers_and_tab_leads_to_the_button_and_to_the_folded_way(
    browser_lab: tuple[Any, Any], chapters_copy: Path
) -> None:
    browser, lab = browser_lab
    python = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new_notebook(cells=[new_code_cell(ASK)], metadata=python), chapters_copy / "mock.ipynb")
    async with opened(browser, lab, "mock.ipynb") as notebook:
        await notebook.run_all()
        page = notebook.page
        field = page.get_by_role("textbox", name="per s")
        said = page.locator(".lab-live[aria-live=polite]")
        await field.focus()
        await page.keyboard.type("40 000")
        await page.keyboard.press("Enter")
        await said.filter(has_text="without the pongs").wait_for()

        await field.fill("80k")
        await page.keyboard.press("Tab")
        await page.keyboard.press("Space")
        await said.filter(has_text="Right, about 80").wait_for()

        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await page.get_by_text("Counts as right").wait_for()
        assert notebook.console == []
