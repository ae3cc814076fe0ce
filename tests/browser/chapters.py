"""Every chapter in a real browser: it runs clean, its sliders answer, its JavaScript runs, in both themes.

The tests are here; test_chapters_1.py to _4.py take every fourth chapter, so that processes can share them.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import pytest_asyncio

from tests.browser.lab import Notebook, opened

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = sorted((ROOT / "notebooks").glob("*.ipynb"))
OUTPUTS = ".jp-OutputArea-output"
PRESSES = 5  # on each slider; the first one may have to wake things up

__all__ = [  # in the order in which they run
    "pytestmark",
    "test_the_chapter_runs_without_an_unmeant_error_and_without_stderr",
    "test_each_slider_moves_by_keyboard_and_its_picture_follows",
    "test_the_browsers_own_client_starts_and_shows_rows",
    "test_no_output_has_a_serious_accessibility_finding_in_either_theme",
    "test_every_control_is_reached_by_the_tab_key",
    "test_the_page_said_nothing_on_its_console_and_asked_no_other_machine",
]
if os.environ.get("LAB_PHOTOGRAPHS"):  # for eyes: it judges nothing
    __all__ += ["test_the_whole_chapter_is_photographed_in_light_and_in_dark"]

pytestmark = pytest.mark.asyncio(loop_scope="session")


def each_of(chapters: Sequence[Path]) -> Any:
    """The fixture `chapter`: one of these, open; the tests run it, and then look at it in order."""

    @pytest_asyncio.fixture(
        scope="module", loop_scope="session", params=chapters, ids=[path.stem for path in chapters]
    )
    async def chapter(
        request: pytest.FixtureRequest, browser_lab: tuple[Any, Any]
    ) -> AsyncIterator[Notebook]:
        async with opened(*browser_lab, request.param.name) as notebook:
            yield notebook

    return chapter


async def test_the_chapter_runs_without_an_unmeant_error_and_without_stderr(chapter: Notebook) -> None:
    await chapter.run_all()
    assert await chapter.problems() == []


async def test_each_slider_moves_by_keyboard_and_its_picture_follows(
    chapter: Notebook, request: pytest.FixtureRequest, tell: Callable[[str, str], None]
) -> None:
    for handle in await chapter.sliders():
        moves = [await chapter.press(handle) for _ in range(PRESSES)]
        took_ms = [move.ms for move in moves if move.ms is not None]
        if took_ms:
            stem = request.node.callspec.params["chapter"].stem
            times = f"median {median(took_ms):4.0f} ms, most {max(took_ms):4.0f} ms"
            tell("sliders: key press to changed picture", f"{stem}  {moves[0].slider:<24} {times}")


async def test_the_browsers_own_client_starts_and_shows_rows(chapter: Notebook) -> None:
    clients = chapter.browser_clients()
    if await clients.count() == 0:
        pytest.skip("this chapter runs nothing in the browser")
    for i in range(await clients.count()):
        assert await chapter.start(clients.nth(i))
    assert await chapter.problems() == []


async def test_no_output_has_a_serious_accessibility_finding_in_either_theme(
    chapter: Notebook, axe: str
) -> None:
    await chapter.page.evaluate(axe)
    ask = "([within, rules]) => labAxe.findings(within, rules)"
    found = await chapter.page.evaluate(ask, [OUTPUTS, None])
    await chapter.dark(True)
    found += await chapter.page.evaluate(ask, [OUTPUTS, ["color-contrast"]])  # the rest is the same
    await chapter.dark(False)
    assert found == []


async def test_every_control_is_reached_by_the_tab_key(chapter: Notebook) -> None:
    assert await chapter.unreached() == []


async def test_the_whole_chapter_is_photographed_in_light_and_in_dark(
    chapter: Notebook, request: pytest.FixtureRequest
) -> None:
    stem = ROOT / "test-results" / request.node.callspec.params["chapter"].stem
    for dark, name in ((False, "light"), (True, "dark")):
        await chapter.dark(dark)
        shots = await chapter.shoot(stem.with_name(f"{stem.name}-{name}"))
        assert all(shot.stat().st_size > 10_000 for shot in shots)
    await chapter.dark(False)


async def test_the_page_said_nothing_on_its_console_and_asked_no_other_machine(chapter: Notebook) -> None:
    assert chapter.console == []
    assert chapter.outside == []
