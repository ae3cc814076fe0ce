"""The ten exhibits, by number."""

from __future__ import annotations

import importlib
from functools import cache

from labsupport.zoo.frame import Exhibit

NUMBERS = {
    1: "heartbeat", 2: "lines", 3: "waiting", 4: "broadcast", 5: "admission",
    6: "headers", 7: "compression", 8: "resume", 9: "leaving", 10: "keep_alive",
}  # fmt: skip


@cache
def exhibit(number: int) -> Exhibit:
    """The exhibit of that number, 1 to 10."""
    if number not in NUMBERS:
        raise KeyError(f"There is no exhibit {number!r}: the zoo has 1 to {max(NUMBERS)}")
    found: Exhibit = importlib.import_module(f"labsupport.zoo.cases.{NUMBERS[number]}").EXHIBIT
    return found


def exhibits() -> list[Exhibit]:
    """All of them, in order."""
    return [exhibit(number) for number in NUMBERS]
