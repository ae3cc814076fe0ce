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


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser_lab(chapters_copy: Path) -> AsyncIterator[tuple[Any, Any]]:
    """Chromium and JupyterLab, both running; they end with the session."""
    if (reason := _missing()) is not None:
        if os.environ.get("CI"):
            pytest.fail(f"CI must not skip the browser tests: {reason}")
        pytest.skip(f"browser tests: {reason}")
    from tests.browser.lab import chromium, headless, jupyterlab

    with jupyterlab(chapters_copy) as lab:
        async with headless(chromium() or "") as browser:
            yield browser, lab
