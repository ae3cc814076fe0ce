"""Every chapter passes every gate of labsupport/course/gates; tests/course proves that each can go red."""

from __future__ import annotations

from typing import Any

import pytest

from labsupport.course.gates import GATES


@pytest.mark.parametrize("gate", GATES)
def test_the_chapter_passes(gate: str, chapter: Any) -> None:
    found = GATES[gate](chapter)
    assert not found, "\n".join(["", *found])
