"""The bench in JupyterLab, by keyboard alone: it starts, breaks, counts, ends, in both themes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from tests.browser.lab import opened

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROOT = Path(__file__).resolve().parents[2]
SHOW = (
    "from labsupport.measure.bench_run import Bench\nfrom labsupport.teach.bench import bench\n"
    'bench(Bench, "SSE", clients=3, rate=8)'
)


async def press(page: Any, name: str) -> None:
    """Focus the button of that name, and press the space bar."""
    button = page.get_by_role("button", name=name, exact=True)
    await button.and_(page.locator(":enabled")).wait_for()
    await button.focus()
    await page.keyboard.press("Space")


async def press_the_rest(page: Any) -> None:
    """Delay off; slow reader and forget, on and off: each says what it does, and is a band in the lanes."""
    await press(page, "Delay")
    await page.get_by_role("button", name="Delay", pressed=False).wait_for()
    for button, words in (
        ("Slow reader", "Client 1 takes half"),
        ("Slow reader", "Client 1 keeps up again"),
        ("Forget", "The network drops all bytes"),
        ("Forget", "Bytes pass again"),
    ):
        await press(page, button)
        await page.get_by_role("status").get_by_text(words).wait_for()
    await page.locator(".lab-bench svg .lab-fault").nth(4).wait_for(state="attached")


async def kill_and_restart(page: Any) -> None:
    """The server dies and begins anew: each client is told of a gap."""
    await press(page, "Kill the server")
    await page.get_by_text("The server is dead").wait_for()
    await press(page, "Restart it")
    await page.get_by_text("The server begins anew").wait_for()
    await page.locator(".lab-bench svg:not([aria-hidden]) .lab-gap").first.wait_for()


async def test_it_is_driven_by_keyboard_and_its_counters_move(
    browser_lab: tuple[Any, Any], chapters_copy: Path, axe: str
) -> None:
    browser, lab = browser_lab
    python = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new_notebook(cells=[new_code_cell(SHOW)], metadata=python), chapters_copy / "bench.ipynb")
    async with opened(browser, lab, "bench.ipynb") as notebook:
        await notebook.run_all()
        page = notebook.page
        await press(page, "Start")
        await page.get_by_text("3 clients follow a server by SSE").wait_for()
        received = (
            "() => Number(document.querySelector('.lab-bench tbody tr:last-child td')?.textContent ?? 0)"
        )
        await page.wait_for_function(f"() => ({received})() >= 9")
        await press(page, "Cut")
        await page.get_by_text("All connections have ended").wait_for()
        for button in ("Freeze the server", "Delay"):  # a long look at a frozen server would make doubles
            await press(page, button)
            await page.get_by_role("button", name=button, pressed=True).wait_for()
            if button != "Delay":
                await press(page, button)
                await page.get_by_role("button", name=button, pressed=False).wait_for()
        await page.evaluate(axe)
        for dark, name in ((False, "light"), (True, "dark")):
            await notebook.dark(dark)
            await page.locator(".lab-bench").screenshot(path=ROOT / "test-results" / f"bench-{name}.png")
            assert await page.evaluate("() => labAxe.findings('.lab-bench')") == []
        assert await page.locator(".lab-legend").get_by_text("came again").is_visible()
        await press_the_rest(page)
        await press(page, "End and count")
        await page.get_by_text("Counted:").wait_for()
        wrong = await page.locator(".lab-bench td.lab-wrong").all_inner_texts()
        assert wrong == [], await page.get_by_role("status").all_inner_texts()
        await press(page, "Start")
        await page.get_by_text("3 clients follow a server by SSE").wait_for()
        await page.wait_for_function(f"() => ({received})() >= 6")
        await kill_and_restart(page)
        await press(page, "End and count")
        await page.get_by_text("Counted:").wait_for()
        assert await notebook.unreached() == []
        assert notebook.console == []
