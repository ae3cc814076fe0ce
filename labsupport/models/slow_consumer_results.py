"""What a run with a slow reader returns: what became of each message, and the figures to ask for."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labsupport.models import slow_consumer_closed_forms as closed
from labsupport.models.polling_results import Gap
from labsupport.models.traffic import Times

POLICIES = ("wait", "drop newest", "drop oldest", "keep latest", "disconnect")
LOOKS = 20_000  # moments at which the reader's view is looked at, for its percentiles


@dataclass(frozen=True, eq=False, kw_only=True)
class SlowConsumerRun:
    """One policy, one reader. One element per message, in the order of making, snapshots included:

    made_s        when it was made; the producer may have had to wait before it was taken in
    ended_s       when it was read to its end, or thrown away (may lie after the horizon: nothing is cut off)
    is_read       whether it was read
    is_snapshot   whether it is no message but what a reader gets when it (re)connects
    And one element per disconnection: cuts_s, when.
    """

    policy: str
    in_per_s: float
    out_per_s: float
    buffer: int
    producing: str
    reading: str
    kernel: int
    reconnect_s: float
    horizon_s: float
    seed: int
    made_s: Times
    ended_s: Times
    is_read: NDArray[np.bool_]
    is_snapshot: NDArray[np.bool_]
    cuts_s: Times

    @property
    def made(self) -> int:
        """Messages made, snapshots not counted."""
        return int(np.count_nonzero(~self.is_snapshot))

    @property
    def lost(self) -> int:
        """Messages thrown away, snapshots not counted."""
        return int(np.count_nonzero(~self.is_read & ~self.is_snapshot))

    @property
    def loss_share(self) -> float:
        """Share of the messages that were never read; NaN without messages."""
        return self.lost / self.made if self.made else math.nan

    @property
    def made_per_s(self) -> float:
        """Messages made per second: less than in_per_s where the producer has to wait."""
        return self.made / self.horizon_s

    @property
    def delay_s(self) -> Times:
        """Seconds from the making until it was read, of each message that was (snapshots not counted)."""
        wanted = self.is_read & ~self.is_snapshot
        return self.ended_s[wanted] - self.made_s[wanted]

    @property
    def delay_mean_s(self) -> float:
        """Mean delay of what was read; NaN when nothing was."""
        return float(self.delay_s.mean()) if len(self.delay_s) else math.nan

    def delay_quantile_s(self, share: float) -> float:
        """Delay within which this share of what was read had been read; NaN when nothing was."""
        return float(np.quantile(self.delay_s, share)) if len(self.delay_s) else math.nan

    @property
    def delay_p95_s(self) -> float:
        """95 of 100 that were read were read within this time."""
        return self.delay_quantile_s(0.95)

    @property
    def delay_p99_s(self) -> float:
        """99 of 100 that were read were read within this time."""
        return self.delay_quantile_s(0.99)

    def age_at(self, times_s: Any) -> Times:
        """Return how old what the reader sees is at these moments; NaN before it has seen anything."""
        order = np.argsort(self.ended_s[self.is_read], kind="stable")
        seen_s = self.ended_s[self.is_read][order]
        newest_s = np.maximum.accumulate(self.made_s[self.is_read][order])
        times = np.asarray(times_s, dtype=float)
        at = np.searchsorted(seen_s, times, side="right")
        return times - np.concatenate(([math.nan], newest_s))[at]

    @property
    def ages_s(self) -> Times:
        """Age of the reader's view at many moments, evenly spread from the first view to the horizon."""
        first_s = float(np.min(self.ended_s[self.is_read], initial=math.inf))
        if first_s >= self.horizon_s:
            return np.empty(0)
        steps = (np.arange(LOOKS) + 0.5) / LOOKS
        return self.age_at(first_s + (self.horizon_s - first_s) * steps)

    @property
    def age_mean_s(self) -> float:
        """Mean age of what the reader sees, over time; NaN when it never saw anything."""
        return float(self.ages_s.mean()) if len(self.ages_s) else math.nan

    @property
    def age_p99_s(self) -> float:
        """For 99 % of the time what the reader sees is younger than this."""
        return float(np.quantile(self.ages_s, 0.99)) if len(self.ages_s) else math.nan

    @property
    def held_mean(self) -> float:
        """Mean number of messages in memory within the horizon, the one being read included."""
        stays_s = np.minimum(self.ended_s, self.horizon_s) - np.minimum(self.made_s, self.horizon_s)
        return float(stays_s.sum() / self.horizon_s)

    @property
    def held_peak(self) -> int:
        """The most messages in memory at a time."""
        return int(np.max(self.held()[1], initial=0))

    def held(self) -> tuple[Times, NDArray[np.int64]]:
        """Return the moments of change, and how many messages are in memory from each on."""
        times_s = np.concatenate((self.ended_s, self.made_s))  # who leaves makes room for who comes
        steps = np.concatenate((np.full(len(self.ended_s), -1), np.full(len(self.made_s), 1)))
        order = np.argsort(times_s, kind="stable")
        return times_s[order], np.cumsum(steps[order])

    @property
    def overflow_s(self) -> float:
        """When the first message was lost, or the reader cut off; infinite if that never happened."""
        return float(np.min(self.ended_s[~self.is_read], initial=math.inf))

    @property
    def cuts(self) -> int:
        """Number of disconnections."""
        return len(self.cuts_s)

    @property
    def cuts_per_s(self) -> float:
        """Disconnections per second within the horizon."""
        return int(np.count_nonzero(self.cuts_s < self.horizon_s)) / self.horizon_s

    def closed_forms(self) -> dict[str, float]:
        """Return what the formulas say, by the names that the figures have here; only where one is exact.

        They are averages over a long time; a run begins with an empty buffer, so a short one is below them.
        """
        rates = (self.in_per_s, self.out_per_s)
        if (self.producing, self.reading) == ("constant", "constant"):
            if self.in_per_s <= self.out_per_s or self.policy == "wait":
                return {}
            return {
                "overflow_s": closed.overflow_s(self.buffer + self.kernel + 1, *rates)
            }  # to one message more or less
        if (self.producing, self.reading) != ("poisson", "exponential"):
            return {}
        places = self.buffer + self.kernel + (2 if self.policy == "wait" else 1)
        if self.policy == "disconnect":
            return {"cuts_per_s": closed.disconnects_per_s(*rates, places - 1, self.reconnect_s)}
        forms = {"held_mean": closed.held_mean(*rates, places)}
        if self.policy == "wait":
            forms["made_per_s"] = closed.accepted_per_s(*rates, places)
        else:
            forms["loss_share"] = closed.full_share(*rates, places)
        if self.policy in ("wait", "drop newest"):
            forms["delay_mean_s"] = closed.full_delay_mean_s(*rates, places)
        elif self.policy == "keep latest" and not self.kernel:
            forms["delay_mean_s"] = closed.latest_delay_mean_s(*rates)
            forms["age_mean_s"] = closed.latest_age_mean_s(*rates)
        return forms

    def gaps(self) -> list[Gap]:
        """Hold the run against the formulas."""
        return [Gap(name, value, float(getattr(self, name))) for name, value in self.closed_forms().items()]

    def summary(self) -> str:
        """Return the run in two sentences."""
        who = (
            f"{self.policy}, {self.in_per_s:g} messages/s for a reader of {self.out_per_s:g}/s with "
            f"{self.buffer} waiting at most"
        ) + (f" and {self.kernel} in the kernel" if self.kernel else "")
        if not len(self.delay_s):
            return f"{who}: nothing was read."
        cut = f", {self.cuts} disconnections" if self.policy == "disconnect" else ""
        return (
            f"{who}: {self.loss_share:.1%} of {self.made:,} lost{cut}; what was read was "
            f"{self.delay_mean_s:.3g} s old on average, p99 {self.delay_p99_s:.3g} s. "
            f"{self.held_mean:.3g} messages in memory on average, {self.held_peak:,} at most."
        )

    def plot(self, ax: Any = None, **line: Any) -> Any:
        """Draw how old what the reader sees is, over time, and return the matplotlib axes."""
        if ax is None:
            from matplotlib import pyplot as plt

            ax = plt.subplots()[1]
        times_s = np.linspace(0.0, self.horizon_s, 1_000)
        ax.plot(times_s, self.age_at(times_s), **{"label": self.policy, **line})
        ax.set_xlabel("time (s)")
        ax.set_ylabel("age of what the reader sees (s)")
        ax.set_title(f"With {self.policy}, a reader sees what is {self.age_mean_s:.2g} s old on average")
        return ax


@dataclass(frozen=True, eq=False)
class Policies:
    """The same messages and the same reader under several policies."""

    runs: tuple[SlowConsumerRun, ...]

    def __getitem__(self, policy: str) -> SlowConsumerRun:
        """Return the run of one policy."""
        for run in self.runs:
            if run.policy == policy:
                return run
        raise KeyError(f"no run of {policy!r} here: expected one of {', '.join(r.policy for r in self.runs)}")

    def rows(self) -> list[dict[str, Any]]:
        """Return one row of figures per policy, for a table: units in the names."""
        return [
            {
                "policy": run.policy,
                "delay_mean_s": run.delay_mean_s,
                "delay_p95_s": run.delay_p95_s,
                "delay_p99_s": run.delay_p99_s,
                "age_mean_s": run.age_mean_s,
                "loss_share": run.loss_share,
                "held_mean": run.held_mean,
                "held_peak": run.held_peak,
                "cuts": run.cuts,
                "made_per_s": run.made_per_s,
            }
            for run in self.runs
        ]

    def gaps(self) -> dict[str, list[Gap]]:
        """Hold each policy against its formulas."""
        return {run.policy: run.gaps() for run in self.runs}

    def summary(self) -> str:
        """Return what sets the policies apart, in a sentence."""
        said = [
            f"{run.policy} loses {run.loss_share:.0%} and shows what is {run.age_mean_s:.2g} s old"
            for run in self.runs
        ]
        return "; ".join(said) + "."

    def plot(self, ax: Any = None, **line: Any) -> Any:
        """Draw the age of the reader's view over time, a line for each policy; return the matplotlib axes."""
        for number, run in enumerate(self.runs):
            style: dict[str, Any] = {"linestyle": ("-", "--", "-.", ":", "-")[number % 5]}
            if number % 5 == 4:  # the course has four colours
                style |= {"color": "grey", "linewidth": 1}
            ax = run.plot(ax, **{**style, **line})
        youngest = min(self.runs, key=lambda run: run.age_mean_s)
        oldest = max(self.runs, key=lambda run: run.age_mean_s)
        ax.set_title(
            f"{youngest.policy.capitalize()} shows what is {youngest.age_mean_s:.2g} s old, "
            f"{oldest.policy} {oldest.age_mean_s:.2g} s"
        )
        ax.set_ylim(top=1.35 * max(float(np.max(run.ages_s, initial=0.0)) for run in self.runs))
        ax.legend(loc="upper center", ncols=3)  # above the lines
        return ax

    def plot_costs(self, axes: Any = None, **bars: Any) -> Any:
        """Draw age, loss and memory of each policy side by side, and return the three matplotlib axes."""
        if axes is None:
            from matplotlib import pyplot as plt

            axes = plt.subplots(1, 3, sharey=True, layout="constrained")[1]
        figures = (
            ("Age of the view", "mean (s)", [run.age_mean_s for run in self.runs]),
            ("Lost", "of the messages (%)", [100.0 * run.loss_share for run in self.runs]),
            ("In memory", "mean (messages)", [run.held_mean for run in self.runs]),
        )
        for ax, (title, name, values) in zip(axes, figures, strict=True):
            ax.barh(range(len(values)), values, **bars)
            ax.set_title(title)
            ax.set_xlabel(name)
        axes[0].set_yticks(range(len(self.runs)), [run.policy for run in self.runs])
        axes[0].set_ylim(len(self.runs) - 0.5, -0.5)  # in the order of the table
        return axes
