"""How many clients a server really lets in a second, and how many it lets wait: by knocking faster than that.

Little's law does it: in a full queue that moves on at C a second, whoever is let in has waited Q/C. So C is
the slope of the moments at which clients came in, and Q is C times their wait.
"""

import math
import random
import threading
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labsupport.measure.sockets import LoadError, Target
from labsupport.measure.storms_crowd import Crowd, Rules, Waits
from labsupport.measure.threads import in_thread
from labsupport.processes import Server

CLIENTS = 1_000  # more than most queues hold, and two seconds' work at 500 a second
KNOCKS_PER_S = 1_500  # attempts of all who are still outside; one busy with refusing lets in in heaps
SECONDS = 10.0  # then what has come in until then must do
LEAST = 40  # clients that must come in, for a rate
CALM = 0.1  # of the time in which the queue was full is left out, at either end


@dataclass(frozen=True)
class AcceptRate:
    """What the knocking found. `queue` counts whoever is being accepted, too; None: it was never full."""

    per_s: float
    queue: int | None
    came_in: int
    refused: int

    def __str__(self) -> str:
        holds = "its queue was never full for long"
        if self.queue is not None:
            holds = f"{self.queue} may wait; {self.refused} attempts were refused meanwhile"
        return f"{self.per_s:.0f} clients a second ({self.came_in} came in); {holds}"


class Knocking:
    """Waits of those outside: random, and longer the more they are, so that together they keep a rate.

    In a rush, all come at once first; that finds the rate of a server whose queue the gentle way cannot fill.
    """

    def __init__(self, crowd: Crowd, rush: bool) -> None:
        self._crowd = crowd
        self._at_once = len(crowd.members) if rush else 0
        self._random = random.Random(0)

    def waits(self, *, seed: int | None = None, client: int = 0) -> Waits:
        return self

    def next(self) -> float:
        if self._at_once:
            self._at_once -= 1
            return 0.0
        outside = self._crowd.records.unfinished if self._crowd.records else 1
        return self._random.expovariate(KNOCKS_PER_S / outside)

    def reset(self) -> None:
        """Nothing to set back: it does not count failures."""


async def accept_rate(
    server: Server | str, clients: int = CLIENTS, *, path: str = "/", seconds: float = SECONDS
) -> AcceptRate:
    """Let `clients` knock until all are in or `seconds` are over; give the rate and the queue that showed.

    The server should have nothing else to do. Measured from the crowd's side, so that it holds for any
    server; what the knob says is not looked at. Raises LoadError when too few come in.
    """
    url = server if isinstance(server, str) else server.url
    target = Target.of("http" + url.removeprefix("ws") + path if url.startswith("ws://") else url + path)

    def work(stop: threading.Event) -> AcceptRate:
        found = _knock(target, clients, seconds, False, stop)
        return found if found.queue is not None else _knock(target, clients, seconds, True, stop)

    return await in_thread(work)


def _knock(target: Target, clients: int, seconds: float, rush: bool, stop: threading.Event) -> AcceptRate:
    crowd = Crowd(target, clients, stop)
    try:
        rules = Rules(Knocking(crowd, rush), 0, 0.0, final_status=False, most_attempts=10_000)
        records = crowd.come(rules)
        crowd.run(lambda: records.unfinished == 0 or crowd.table.now() > seconds)
    finally:
        crowd.close()
    outcomes = np.array(records.outcome)
    began_s, ended_s = np.array(records.began_s), np.array(records.ended_s)
    inside = np.flatnonzero(outcomes == "connected")
    if len(inside) < LEAST:
        odd = dict(zip(*np.unique(outcomes, return_counts=True), strict=True))
        raise LoadError(f"only {len(inside)} of {clients} came in within {seconds:g} s: {odd}")
    refused_s = began_s[np.char.startswith(outcomes, "status")]
    full = _in_the_middle(began_s[inside], refused_s)
    if full.sum() < LEAST:
        took_s = float(ended_s[inside].max() - began_s.min())
        return AcceptRate(len(inside) / took_s, None, len(inside), len(refused_s))
    per_s = slope(np.sort(ended_s[inside[full]]))
    # The lower quartile, since whatever disturbs makes waits longer. And a place that gets free is taken by
    # the next knock, not at once: three of four come within ln 4 of the mean gap, and wait so much less.
    waited_s = float(np.percentile((ended_s - began_s)[inside[full]], 25))
    unseen_s = math.log(4) / KNOCKS_PER_S
    return AcceptRate(per_s, max(1, round(per_s * (waited_s + unseen_s))), len(inside), len(refused_s))


def _in_the_middle(times_s: NDArray[np.float64], refused_s: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of these times lie well within the time in which others were refused."""
    if len(refused_s) < 2:
        return np.zeros(len(times_s), dtype=bool)
    first_s, last_s = refused_s.min(), refused_s.max()
    calm_s = CALM * (last_s - first_s)
    return (times_s > first_s + calm_s) & (times_s < last_s - calm_s)


def slope(times_s: NDArray[np.float64]) -> float:
    """Events a second, by least squares over their order: one that is late alone hardly counts."""
    order = np.arange(len(times_s))
    return float(1 / np.polyfit(order, times_s, 1)[0])
