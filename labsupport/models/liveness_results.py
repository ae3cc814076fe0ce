"""What the liveness simulations return: what happened, as arrays, and the figures that a chapter asks for."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labsupport.models import liveness_closed_forms as closed
from labsupport.models.polling_results import Gap
from labsupport.models.traffic import Times


class _Run:
    """What all runs share: held against the formulas, and drawn as a curve of waiting times."""

    def closed_forms(self) -> dict[str, float]:
        """Return what the formulas say of this run's averages, by the names that they have here."""
        raise NotImplementedError

    def gaps(self) -> list[Gap]:
        """Hold the run against the formulas."""
        return [Gap(name, value, float(getattr(self, name))) for name, value in self.closed_forms().items()]


@dataclass(frozen=True, eq=False, kw_only=True)
class DetectionRun(_Run):
    """Connections that were asked every `interval_s` until they died and it was known. One element each:

    opened_s    when it opened: its first ping leaves an interval later
    died_s      when packets ceased to pass; ascending within a connection that is replaced
    noticed_s   when the application heard of it
    pings       pings sent on it, the unanswered one included
    """

    interval_s: float
    timeout_s: float
    close_wait_s: float
    connections: int  # alive at any moment
    lifetime_s: float  # mean of an exponential law; infinite: all died at one moment
    horizon_s: float  # over which deaths are counted; 0: all died at one moment
    seed: int
    opened_s: Times
    died_s: Times
    noticed_s: Times
    pings: NDArray[np.int64]

    @property
    def detection_s(self) -> Times:
        """Seconds from each death until it was known."""
        return self.noticed_s - self.died_s

    @property
    def detection_mean_s(self) -> float:
        """Mean seconds from a death until it was known; NaN without deaths."""
        return float(self.detection_s.mean()) if len(self.died_s) else math.nan

    @property
    def detection_max_s(self) -> float:
        """The latest discovery; NaN without deaths."""
        return float(self.detection_s.max()) if len(self.died_s) else math.nan

    @property
    def ghosts(self) -> float:
        """Mean number of dead connections that counted as alive: their whole stay over the horizon; else NaN.

        Those who die within the horizon are followed past its end, and none is there at its beginning: the
        two ends make up for each other.
        """
        return float(self.detection_s.sum()) / self.horizon_s if self.horizon_s else math.nan

    @property
    def deaths_per_s(self) -> float:
        """Silent deaths per second within the horizon; NaN where all died at one moment."""
        return len(self.died_s) / self.horizon_s if self.horizon_s else math.nan

    def closed_forms(self) -> dict[str, float]:
        """Return the formulas' values: mean and worst case, and ghosts if deaths go on for a horizon."""
        timers = (self.interval_s, self.timeout_s, self.close_wait_s)
        mean_s = closed.detection_mean_s(*timers, lifetime_s=self.lifetime_s)
        forms = {"detection_mean_s": mean_s, "detection_max_s": closed.detection_max_s(*timers)}
        return forms | ({"ghosts": closed.ghosts(self.deaths_per_s, mean_s)} if self.horizon_s else {})

    def summary(self) -> str:
        """Return the run in a sentence or two."""
        asked = (
            f"{self.connections:,} connections, pinged every {self.interval_s:g} s with {self.timeout_s:g} s"
        )
        waited = f" and {self.close_wait_s:g} s for the close" if self.close_wait_s else ""
        if not len(self.died_s):
            return f"{asked} to answer{waited}: none died."
        late = f"{self.detection_mean_s:.1f} s later on average, {self.detection_max_s:.1f} s at the latest"
        more = f"; {self.ghosts:.1f} ghosts at a time" if self.horizon_s else ""
        return f"{asked} to answer{waited}: {len(self.died_s):,} silent deaths were known {late}{more}."

    def plot(self, ax: Any = None, **bars: Any) -> Any:
        """Draw how many deaths were known how late, and return the matplotlib axes."""
        title = f"A silent death is known {self.detection_mean_s:.3g} s later on average"
        return _histogram(ax, self.detection_s, "seconds from the death until it is known", title, bars)


@dataclass(frozen=True, eq=False, kw_only=True)
class PresenceRun(_Run):
    """Users who sent a beat every `interval_s` and then died silently. One element per user:

    died_s      when
    gone_s      when the table stopped to show the user; died_s if it did not show the user any more
    beats       beats sent before
    vanished    times that the user, alive, was taken for gone and came back with a later beat
    """

    interval_s: float
    ttl_s: float
    loss: float
    delay_spread_s: float
    users: int
    seed: int
    died_s: Times
    gone_s: Times
    beats: NDArray[np.int64]
    vanished: NDArray[np.int64]

    @property
    def ghost_s(self) -> Times:
        """Seconds that each user was shown after the death."""
        return self.gone_s - self.died_s

    @property
    def ghost_mean_s(self) -> float:
        """Mean seconds as a ghost."""
        return float(self.ghost_s.mean())

    @property
    def ghost_max_s(self) -> float:
        """The longest time as a ghost."""
        return float(self.ghost_s.max())

    @property
    def false_offline_share(self) -> float:
        """Times that a living user was taken for gone, per beat sent.

        The first beats of a user have nobody to bring back, so it is up to (k + 1)/beats short, k = ⌊Q/P⌋.
        """
        return float(self.vanished.sum() / self.beats.sum())

    def closed_forms(self) -> dict[str, float]:
        """Return the formulas' values: ghosts where no beat is lost, absences where the formula is exact."""
        timers = (self.interval_s, self.ttl_s)
        ahead_s = self.ttl_s % self.interval_s
        is_tie = (
            not ahead_s and not self.delay_spread_s
        )  # the formula gives a tie one half, a run none or all
        forms = {}
        if not is_tie and self.delay_spread_s <= self.interval_s - ahead_s:
            spread = {"delay_spread_s": self.delay_spread_s}
            forms["false_offline_share"] = closed.false_offline_share(*timers, self.loss, **spread)
        if not self.loss:  # a lost last beat shortens the stay, and no formula here says by how much
            late_s = self.delay_spread_s / 2.0  # the last beat counts from its arrival
            forms["ghost_mean_s"] = closed.ghost_mean_s(*timers) + late_s
        return forms

    def summary(self) -> str:
        """Return the run in two sentences."""
        times = int(self.vanished.sum())
        return (
            f"{self.users:,} users, a beat every {self.interval_s:g} s, kept for {self.ttl_s:g} s: after a "
            f"silent death one looked alive for {self.ghost_mean_s:.1f} s on average, "
            f"{self.ghost_max_s:.1f} s at most. Alive, they were taken for gone {times:,} "
            f"time{'' if times == 1 else 's'} in {int(self.beats.sum()):,} beats."
        )

    def plot(self, ax: Any = None, **bars: Any) -> Any:
        """Draw how many users looked alive for how long, and return the matplotlib axes."""
        title = f"A ghost is online for {self.ghost_mean_s:.3g} s on average"
        return _histogram(ax, self.ghost_s, "seconds online after the death", title, bars)


@dataclass(frozen=True, eq=False, kw_only=True)
class ExpiryRun(_Run):
    """Connections with Poisson traffic through a box that forgets. One element per connection:

    forgotten_s   when the box had heard nothing for `idle_limit_s`
    packets       packets that had passed before
    """

    packets_per_s: float
    idle_limit_s: float
    connections: int
    seed: int
    forgotten_s: Times
    packets: NDArray[np.int64]

    @property
    def first_expiry_mean_s(self) -> float:
        """Mean seconds from the opening until the box forgets."""
        return float(self.forgotten_s.mean())

    def closed_forms(self) -> dict[str, float]:
        """Return the formula's value."""
        return {"first_expiry_mean_s": closed.first_expiry_mean_s(self.packets_per_s, self.idle_limit_s)}

    def summary(self) -> str:
        """Return the run in a sentence."""
        every_s = 1.0 / self.packets_per_s if self.packets_per_s else math.inf
        last_s = float(self.forgotten_s.max())
        return (
            f"{self.connections:,} connections with a packet every {every_s:g} s on average: a box that "
            f"forgets after {self.idle_limit_s:g} s of silence forgot them after "
            f"{self.first_expiry_mean_s:.1f} s on average, the last after {last_s:.1f} s."
        )

    def plot(self, ax: Any = None, **bars: Any) -> Any:
        """Draw how many connections were forgotten after how long, and return the matplotlib axes."""
        title = f"Half of the connections are forgotten within {float(np.median(self.forgotten_s)):.3g} s"
        return _histogram(ax, self.forgotten_s, "seconds until the box forgets", title, bars)


def _histogram(ax: Any, values_s: Times, name: str, title: str, bars: dict[str, Any]) -> Any:
    """Draw how the values are spread, in 20 bins."""
    if ax is None:
        from matplotlib import pyplot as plt

        ax = plt.subplots()[1]
    ax.hist(values_s, **{"bins": 20, **bars})
    ax.set_xlabel(name)
    ax.set_ylabel("how many (1)")
    ax.set_title(title)
    return ax
