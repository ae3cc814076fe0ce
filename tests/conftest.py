"""What the tests of all rooms share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# `pytest` alone finds what `python -m pytest` finds: the rooms, and the tests' own shared modules.
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """tell(section, line): what was measured and is not judged goes to the end of the run's report.

    By the test's own properties, which come through to the report from whichever process ran the test.
    """
    return lambda section, line: request.node.user_properties.append((f"tell {section}", line))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    sections: dict[str, list[str]] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) != "call":
                continue
            for name, line in report.user_properties:
                if name.startswith("tell "):
                    sections.setdefault(name.removeprefix("tell "), []).append(line)
    for section, lines in sorted(sections.items()):
        terminalreporter.section(section, sep="-")
        for line in sorted(lines):
            terminalreporter.line(line)
