"""A chapter and its kernel take what readers do: a second kernel at the same time, restarts, an interrupt.

One chapter, with a server, a middlebox and raw sockets, stands for all; `make kernels` (LAB_ALL_CHAPTERS=1)
takes every one.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from labsupport.course.notebooks import execute
from tests.browser.chapters import CHAPTERS, each_of
from tests.browser.lab import Notebook

TAKEN = [path for path in CHAPTERS if os.environ.get("LAB_ALL_CHAPTERS") or path.name[:2] == "05"]
INTERRUPTED_AT = 1 / 3  # of its code cells

chapter = each_of(TAKEN)

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(600)]


async def test_it_runs_clean_while_a_second_kernel_runs_the_same(
    chapter: Notebook, chapters_copy: Path, request: pytest.FixtureRequest
) -> None:
    same = chapters_copy / request.node.callspec.params["chapter"].name
    _, executed = await asyncio.gather(chapter.run_all(), asyncio.to_thread(execute, same))
    assert await chapter.problems() == []
    outputs: list[Any] = [output for cell in executed.cells for output in cell.get("outputs", [])]
    assert [output.text for output in outputs if output.get("name") == "stderr"] == []


@pytest.mark.parametrize("time", ["first", "second"])
async def test_a_restarted_kernel_runs_it_clean_again(chapter: Notebook, time: str) -> None:
    await chapter.restart()
    await chapter.run_all()
    assert await chapter.problems() == [], f"after the {time} restart"


async def test_interrupted_in_the_midst_the_same_kernel_runs_it_clean(chapter: Notebook) -> None:
    await chapter.interrupted(INTERRUPTED_AT)
    await chapter.run_all()
    assert await chapter.problems() == []
