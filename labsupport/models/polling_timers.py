"""When clients ask: their first polls, and the intervals after them."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from labsupport.draws import INTERVAL, PHASE, draw_from, stream
from labsupport.models import checks
from labsupport.models.polling_closed_forms import LAWS, PHASES, period_s


@dataclass(frozen=True)
class Timers:
    """The timers of all clients of a run; every draw depends on the seed and the client's number only."""

    interval_s: float
    round_trip_s: float
    clients: int
    phases: str
    schedule: str
    interval_law: str
    jitter: float
    seed: int

    def __post_init__(self) -> None:
        hint = "without a pause, polling is a tight loop"
        checks.seconds("interval_s", self.interval_s, zero=False, hint=hint)
        checks.count("clients", self.clients)
        checks.choice("phases", self.phases, PHASES)
        checks.choice("interval_law", self.interval_law, LAWS)
        checks.share("jitter", self.jitter)
        if self.exponential and self.jitter:
            raise ValueError("jitter spreads constant intervals; with exponential ones leave it at 0")

    @property
    def every_s(self) -> float:
        """Mean seconds from one poll of a client to its next."""
        return float(period_s(self.interval_s, self.round_trip_s, self.schedule))

    @property
    def exponential(self) -> bool:
        """Whether intervals have no memory."""
        return self.interval_law == "exponential"

    @property
    def width(self) -> float:
        """Half width of uniform intervals, as a share of the interval; 0 for constant ones."""
        return self.jitter or float(self.interval_law == "uniform")

    def first_s(self, number: int) -> float:
        """Return when the first poll of client `number` reaches the server.

        "random" is the rest of an interval that began before time 0, in a run that had gone on for ever. Time
        0 lies in a long interval more often than in a short one (inspection paradox), so that interval has
        the density x·f(x)/E[X].
        """
        every_s = self.every_s
        if self.phases != "random":
            return every_s * number / self.clients if self.phases == "equal" else 0.0
        key = stream(self.seed, number, PHASE)
        u, v, w, pick = (draw_from(key, n) for n in range(4))
        if self.exponential:
            trip_s = every_s - self.interval_s  # part of the period with a fixed delay, else 0
            extra_s = -self.interval_s * math.log1p(-w) if pick * every_s >= trip_s else 0.0
            return float(u * (-self.interval_s * math.log1p(-v) + extra_s + trip_s))
        spread_s = self.width * self.interval_s
        low_s, high_s = every_s - spread_s, every_s + spread_s
        return float(u * math.sqrt(low_s**2 + v * (high_s**2 - low_s**2)))

    def intervals(self, number: int) -> Callable[[], float]:
        """Return a function that gives the intervals of client `number`, one after the other."""
        interval_s, width, exponential = self.interval_s, self.width, self.exponential
        if not exponential and not width:
            return lambda: interval_s
        key, taken = stream(self.seed, number, INTERVAL), 0

        def next_interval_s() -> float:
            nonlocal taken
            u = draw_from(key, taken)
            taken += 1
            if exponential:
                return -interval_s * math.log1p(-u)
            return float(interval_s * (1.0 - width + 2.0 * width * u))

        return next_interval_s
