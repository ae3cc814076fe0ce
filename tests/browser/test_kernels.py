"""A chapter and its kernel: run again after a restart, interrupted and run on, run twice at the same time.

One chapter that starts servers stands for all; LAB_ALL_CHAPTERS=1 takes every one, which lasts half an hour.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.browser.lab import opened

CHAPTERS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))
TAKEN = [path.name for path in CHAPTERS if os.environ.get("LAB_ALL_CHAPTERS") or path.name[:2] == "05"]

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(600)]


@pytest.fixture(params=TAKEN, ids=[name[:2] for name in TAKEN])
def chapter(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_a_restarted_kernel_runs_the_chapter_again_and_again(
    browser_lab: tuple[Any, Any], chapter: str
) -> None:
    async with opened(*browser_lab, chapter) as notebook:
        for _ in range(2):
            await notebook.restart()
            await notebook.run_all()
            assert await notebook.problems() == []


async def test_an_interrupted_chapter_runs_on(browser_lab: tuple[Any, Any], chapter: str) -> None:
    async with opened(*browser_lab, chapter) as notebook:
        await notebook.clear()
        running = asyncio.ensure_future(notebook.run_all())
        await notebook.reaches(8)
        await notebook.interrupt()
        await running
        await notebook.listens()
        await notebook.run_all()
        assert await notebook.problems() == []


async def test_two_kernels_run_the_same_chapter_at_the_same_time(
    browser_lab: tuple[Any, Any], chapters_copy: Path, chapter: str
) -> None:
    other = f"again-{chapter}"
    shutil.copy(chapters_copy / chapter, chapters_copy / other)
    try:
        async with opened(*browser_lab, chapter) as one, opened(*browser_lab, other) as two:
            await asyncio.gather(one.run_all(), two.run_all())
            assert [await one.problems(), await two.problems()] == [[], []]
    finally:
        (chapters_copy / other).unlink()
