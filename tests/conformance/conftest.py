"""What the room's tests count goes to the end of the run's report: it is seen when all is well, too."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NoReturn

import pytest


@pytest.fixture
def count(tell: Callable[[str, str], None]) -> Callable[[str], None]:
    """count(line) puts a line into the report at the end of the run."""
    return lambda line: tell("conformance", line)


def not_here(reason: str) -> NoReturn:
    """Skip, and say why. Where CI is set, fail: there everything is installed, and nothing is left out."""
    if os.environ.get("CI"):
        pytest.fail(f"CI must not skip this: {reason}")
    pytest.skip(reason)
