"""What the room's tests count goes to the end of the run's report: it is seen when all is well, too."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

COUNTS = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash.setdefault(COUNTS, [])


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config
) -> None:
    if lines := config.stash.get(COUNTS, []):
        terminalreporter.section("conformance")
        for line in lines:
            terminalreporter.line(line)


@pytest.fixture
def count(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """count(line) puts a line into the report at the end of the run."""
    return pytestconfig.stash.setdefault(COUNTS, []).append


def not_here(reason: str) -> None:
    """Skip, and say why. Where CI is set, fail: there everything is installed, and nothing is left out."""
    if os.environ.get("CI"):
        pytest.fail(f"CI must not skip the conformance tests: {reason}")
    pytest.skip(f"conformance tests: {reason}")
