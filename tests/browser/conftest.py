"""One JupyterLab and one Chromium for all browser tests, on a copy of the chapters, and last in the run.

Without Chromium these tests are skipped and say so; where CI is set they fail instead.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from labsupport.course.editions import derive
from labsupport.course.handing_out import hand_out
from tests.npm import install

pytest.register_assert_rewrite("tests.browser.chapters")  # no test file by its name, but it holds tests

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
RESULTS = ROOT / "test-results"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Browser tests come last: no browser stands in the way while other tests take a machine's measure."""
    items.sort(key=lambda item: item.path.is_relative_to(HERE))


def _missing() -> str | None:
    if importlib.util.find_spec("playwright") is None:
        return "Playwright is not installed: make test, or pip install playwright"
    from tests.browser.lab import chromium

    if chromium() is None:
        return "no Chromium on the PATH: apt-get install chromium, or name yours in LAB_CHROMIUM"
    return None


@pytest.fixture(scope="session")
def chapters_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The student's edition, as it is handed out: nbval runs the instructor's, so both run to their ends."""
    copy = tmp_path_factory.mktemp("lab")
    hand_out(derive(sorted((ROOT / "notebooks").glob("*.ipynb"))), copy)
    return copy


def not_here(reason: str) -> None:
    """Skip, and say why. Where CI is set, fail: there everything is installed."""
    if os.environ.get("CI"):
        pytest.fail(f"CI must not skip the browser tests: {reason}")
    pytest.skip(f"browser tests: {reason}")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Any]:
    """Chromium, without a window; it ends with the session."""
    if (reason := _missing()) is not None:
        not_here(reason)
    from tests.browser.lab import chromium, headless

    async with headless(chromium() or "") as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser_lab(chapters_copy: Path, browser: Any) -> AsyncIterator[tuple[Any, Any]]:
    """Chromium and JupyterLab, both running; they end with the session."""
    from tests.browser.lab import jupyterlab

    with jupyterlab(chapters_copy) as lab:
        yield browser, lab


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """axe-core, and how the tests ask it (axe.js): a script for a page."""
    folder = tmp_path_factory.mktemp("axe")
    if (reason := install(HERE / "npm", folder)) is not None:
        not_here(reason)
    script = folder / "node_modules" / "axe-core" / "axe.min.js"
    return script.read_text("utf-8") + (HERE / "axe.js").read_text("utf-8")
