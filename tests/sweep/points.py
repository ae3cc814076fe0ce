"""Functions to sweep over: in a file, so that other processes can import them."""

import os
import signal
from dataclasses import dataclass

MISSED_BY = 2.0


def line(x: float, slope: float, seed: int) -> dict[str, float]:
    """y = slope·x + seed, and the process that computed it."""
    return {"y": slope * x + seed, "process": os.getpid()}


def brittle(x: int, seed: int) -> dict[str, float]:
    """Cannot take 3."""
    if x == 3:
        raise ValueError(f"cannot take {x}")
    return {"y": x + MISSED_BY * seed}


def fatal(x: int, seed: int) -> dict[str, float]:
    """Ends its own process at 3, as if memory had run out."""
    if x == 3:
        os.kill(os.getpid(), signal.SIGTERM)
    return {"y": float(x)}


@dataclass(frozen=True)
class Measured:
    calls: int
    name: str = "three"

    @property
    def half(self) -> float:
        return self.calls / 2


def measured(x: int, seed: int) -> Measured:
    return Measured(x + seed)
