"""The chapters as they are stored, each a test's parameter; after the run, how much of them was compared."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import nbformat
import pytest

from labsupport.course.notebooks import report

CHAPTERS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))


@cache
def stored(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


@pytest.fixture(params=CHAPTERS, ids=[path.stem for path in CHAPTERS])
def chapter(request: pytest.FixtureRequest) -> Any:
    """One chapter, read once for all gates."""
    return stored(request.param)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if CHAPTERS:
        terminalreporter.section("share of compared outputs", sep="-")
        terminalreporter.write_line(report(CHAPTERS))
