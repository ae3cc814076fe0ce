"""Whether two Pythons gave the same answers, and where they did not."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

# Relative. Python's own exp, log1p and sums may differ from numpy's in the last bits, and a mean of n numbers
# carries up to n of them; a number that is wrong is far more wrong than this.
LAST_BITS = 1e-12


def differences(one: Any, other: Any, where: str = "", within: float = LAST_BITS) -> Iterator[str]:
    """Each place where the answers differ: keys, lengths, types, words, whole numbers, or too far off."""
    if type(one) is not type(other):
        yield f"{where}: {one!r} and {other!r}"
    elif isinstance(one, dict):
        if one.keys() != other.keys():
            yield f"{where}: {sorted(one)} and {sorted(other)}"
        for key in sorted(one.keys() & other.keys()):
            yield from differences(one[key], other[key], f"{where}/{key}", within)
    elif isinstance(one, list):
        if len(one) != len(other):
            yield f"{where}: {len(one)} and {len(other)} elements"
        for number, (mine, theirs) in enumerate(zip(one, other, strict=False)):
            yield from differences(mine, theirs, f"{where}[{number}]", within)
    elif isinstance(one, float):
        if not math.isclose(one, other, rel_tol=within, abs_tol=0.0):
            yield f"{where}: {one!r} and {other!r}"
    elif one != other:
        yield f"{where}: {one!r} and {other!r}"
