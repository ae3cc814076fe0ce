"""What the contention study returns: calls and time of each run, the figures, and the published ones."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labsupport.backoff import Policy

SLICE_MS = 100.0  # width of a bar in the figure: five round trips


@dataclass(frozen=True)
class Published:
    """What the study's own program prints at 100 clients: mean and standard deviation of single runs."""

    mean_time_ms: float
    sd_time_ms: float
    mean_calls: float
    sd_calls: float
    runs: int = 100  # that the program averages


# Source: aws-samples/aws-arch-backoff-simulator, run as it is published, at 100 clients.
PUBLISHED: dict[str, Published] = {
    "none": Published(2026, 44, 2422, 31),
    "exponential": Published(63331, 3529, 1853, 58),
    "equal": Published(6641, 666, 813, 7.8),
    "full": Published(4917, 535, 796, 6.8),
    "decorrelated": Published(4568, 662, 1004, 27),
}


@dataclass(frozen=True, eq=False)
class Contention:
    """Many runs of one policy: what went in, and one array element per run.

    time_ms          when the last client had its last reply
    calls            WRITEs that reached the server
    first_calls_ms   when they did in the first run, ascending: a picture of how they bunch
    """

    clients: int
    policy: Policy
    name: str
    seed: int
    time_ms: NDArray[np.float64]
    calls: NDArray[np.int64]
    first_calls_ms: NDArray[np.float64]

    @property
    def runs(self) -> int:
        """Number of runs."""
        return len(self.calls)

    @property
    def mean_time_ms(self) -> float:
        """Mean over the runs of the last reply."""
        return float(self.time_ms.mean())

    @property
    def sd_time_ms(self) -> float:
        """Standard deviation from run to run; NaN for a single run."""
        return _sd(self.time_ms)

    @property
    def se_time_ms(self) -> float:
        """Standard error of the mean time."""
        return self.sd_time_ms / math.sqrt(self.runs)

    @property
    def mean_calls(self) -> float:
        """Mean over the runs of the number of WRITEs."""
        return float(self.calls.mean())

    @property
    def sd_calls(self) -> float:
        """Standard deviation from run to run; NaN for a single run."""
        return _sd(self.calls)

    @property
    def se_calls(self) -> float:
        """Standard error of the mean number of calls."""
        return self.sd_calls / math.sqrt(self.runs)

    @property
    def wasted_share(self) -> float:
        """Share of the calls that were in vain."""
        return 1.0 - self.clients / self.mean_calls

    def z_scores(self, published: Published) -> dict[str, float]:
        """Return how far the two means are from the published ones, in standard errors of the difference.

        Both sides are means of independent runs, so their squared standard errors add up; the published one
        is its standard deviation over √runs. Its rounding to whole units is not granted anything.
        """
        sides = {
            "mean_time_ms": (
                self.mean_time_ms,
                self.se_time_ms,
                published.mean_time_ms,
                published.sd_time_ms,
            ),
            "mean_calls": (self.mean_calls, self.se_calls, published.mean_calls, published.sd_calls),
        }
        return {
            name: (ours - theirs) / math.hypot(our_error, their_sd / math.sqrt(published.runs))
            for name, (ours, our_error, theirs, their_sd) in sides.items()
        }

    def summary(self) -> str:
        """Return the study in two sentences."""
        who = f"{self.clients:,} client{'s' if self.clients > 1 else ''}"
        over = "in one run" if self.runs == 1 else f"on average over {self.runs:,} runs"
        return (
            f"{who} with back-off {self.name!r} needed {self.mean_calls:,.0f} calls and "
            f"{self.mean_time_ms:,.0f} ms {over}. {100 * self.wasted_share:.0f} % of the calls were in vain."
        )

    def plot(self, ax: Any = None, **bars: Any) -> Any:
        """Draw when the first run's calls reached the server, a bar per 100 ms; return matplotlib's axes."""
        if ax is None:
            from matplotlib import pyplot as plt

            ax = plt.subplots()[1]
        counts = np.bincount((self.first_calls_ms / SLICE_MS).astype(np.int64))
        from_s = SLICE_MS / 1000 * np.arange(len(counts))
        ax.bar(from_s, counts, width=SLICE_MS / 1000, align="edge", **bars)
        ax.set_xlabel("time (s)")
        ax.set_ylabel(f"calls in {SLICE_MS:.0f} ms")
        ax.set_title(
            f"Back-off {self.name!r}: {len(self.first_calls_ms):,} calls for {self.clients:,} writes"
        )
        return ax


@dataclass(frozen=True, eq=False, kw_only=True)
class Curves:
    """The study's figure as data: two means and their errors, by policy (row) and clients (column)."""

    clients: NDArray[np.int64]
    policies: tuple[str, ...]
    runs: int
    seed: int
    mean_time_ms: NDArray[np.float64]
    se_time_ms: NDArray[np.float64]
    mean_calls: NDArray[np.float64]
    se_calls: NDArray[np.float64]

    def of(self, policy: str) -> dict[str, NDArray[np.float64]]:
        """Return one policy's two lines by name."""
        if policy not in self.policies:
            raise KeyError(f"no curve of {policy!r}: there are {', '.join(self.policies)}")
        row = self.policies.index(policy)
        return {"mean_time_ms": self.mean_time_ms[row], "mean_calls": self.mean_calls[row]}

    def summary(self) -> str:
        """Return who is best at the right end, in a sentence."""
        most = int(self.clients[-1])
        fewest, fastest = (
            self.policies[int(table[:, -1].argmin())] for table in (self.mean_calls, self.mean_time_ms)
        )
        calls, time_ms = self.mean_calls[:, -1].min(), self.mean_time_ms[:, -1].min()
        return (
            f"At {most:,} clients {fewest!r} needs the fewest calls ({calls:,.0f}) and {fastest!r} the least "
            f"time ({time_ms:,.0f} ms)."
        )

    def plot(self, axes: Any = None) -> Any:
        """Draw the two panels, calls and time against clients, and return the matplotlib axes."""
        if axes is None:
            from matplotlib import pyplot as plt

            axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")[1]
        panels = (
            (self.mean_calls, "calls of all clients", 1.0),
            (self.mean_time_ms, "time to the last reply (s)", 1e3),
        )
        for ax, (table, label, unit) in zip(axes, panels, strict=True):
            for name, line in zip(self.policies, table, strict=True):
                ax.plot(self.clients, line / unit, label=name)
            ax.set_xlabel("clients")
            ax.set_ylabel(label)
        axes[0].legend()
        return axes


def _sd(values: NDArray[Any]) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else math.nan
