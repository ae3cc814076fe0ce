"""How long a client waits before it tries again: half of the ceiling for sure, the other half drawn.

The ceiling doubles with each failure, so that a server that stays down is asked less and less; and no client
waits longer than the cap, so that all are back soon after the server is.
"""

from __future__ import annotations

import random

BASE_S = 1.0  # seconds; the ceiling before the first failure
CAP_S = 30.0  # seconds; no wait is longer


def wait_s(attempt: int, u: float, base_s: float, cap_s: float) -> float:
    """Seconds to wait after `attempt` failures (0, 1, 2 …), at a draw `u` in [0, 1)."""
    delay_s = base_s * 2**attempt
    delay_s = delay_s / 2 + u * delay_s / 2
    return min(delay_s, cap_s)


class Reconnecting:
    """One client's waits; `reset` it when a connection has been healthy for a while."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._failures = 0

    def next_s(self) -> float:
        """Seconds until the next attempt."""
        waits_s = wait_s(self._failures, self._random.random(), BASE_S, CAP_S)
        self._failures += 1
        return waits_s

    def reset(self) -> None:
        """Begin again with short waits."""
        self._failures = 0
