"""What the pause simulations return: when each message came and was done, and what that says."""

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from labsupport.models import checks
from labsupport.models import pauses_closed_forms as closed
from labsupport.models.polling_results import Gap
from labsupport.models.traffic import Times

Pauses: TypeAlias = tuple[tuple[float, float], ...]  # (start, length) in seconds, ascending

LATE_S = 1e-9  # less than this is rounding


class _Delays:
    """What both kinds of run share: delays, and their percentiles."""

    came_s: Times
    done_s: Times
    pauses: Pauses
    horizon_s: float

    @property
    def delay_s(self) -> Times:
        """Seconds from the coming of each message until it was done."""
        return self.done_s - self.came_s

    @property
    def delay_mean_s(self) -> float:
        """Mean delay; NaN without messages."""
        return float(self.delay_s.mean()) if len(self.came_s) else math.nan

    @property
    def delay_p99_s(self) -> float:
        """99 of 100 were done within this time; NaN without messages."""
        return float(np.quantile(self.delay_s, 0.99)) if len(self.came_s) else math.nan

    @property
    def delay_max_s(self) -> float:
        """The longest delay; NaN without messages."""
        return float(self.delay_s.max()) if len(self.came_s) else math.nan

    @property
    def paused_s(self) -> float:
        """Seconds of all pauses together."""
        return math.fsum(length_s for _, length_s in self.pauses)

    @property
    def period_s(self) -> float:
        """Seconds of run for each pause, if there are several of one length; else NaN."""
        alike = len(self.pauses) > 1 and len({length_s for _, length_s in self.pauses}) == 1
        return self.horizon_s / len(self.pauses) if alike else math.nan

    def closed_forms(self) -> dict[str, float]:
        """Return what the formulas say of this run's figures, by the names that they have here."""
        raise NotImplementedError

    def gaps(self) -> list[Gap]:
        """Hold the run against the formulas."""
        return [Gap(name, value, float(getattr(self, name))) for name, value in self.closed_forms().items()]


@dataclass(frozen=True, eq=False, kw_only=True)
class PauseRun(_Delays):
    """Messages that came whatever the server did. One element per message, in the order of coming:

    came_s        when it came
    done_s        when it was done
    calm_done_s   when it would have been done without any pause, on the same draws
    """

    pauses: Pauses
    messages_per_s: float
    served_per_s: float
    arriving: str
    serving: str
    horizon_s: float
    seed: int
    came_s: Times
    done_s: Times
    calm_done_s: Times

    @property
    def late_s(self) -> Times:
        """Seconds by which each message was later than without the pauses."""
        return self.done_s - self.calm_done_s

    @property
    def is_late(self) -> NDArray[np.bool_]:
        """Which messages were late."""
        return self.late_s > LATE_S

    @property
    def late_messages(self) -> int:
        """Number of late messages."""
        return int(np.count_nonzero(self.is_late))

    @property
    def late_share(self) -> float:
        """Share of all messages that were late; NaN without messages."""
        return self.late_messages / len(self.came_s) if len(self.came_s) else math.nan

    @property
    def late_mean_s(self) -> float:
        """Mean seconds by which the late ones were late; NaN if none was."""
        return float(self.late_s[self.is_late].mean()) if self.late_messages else math.nan

    @property
    def calm_p99_s(self) -> float:
        """99 of 100 would have been done within this time without the pauses; NaN without messages."""
        delays_s = self.calm_done_s - self.came_s
        return float(np.quantile(delays_s, 0.99)) if len(delays_s) else math.nan

    @property
    def caught_up_s(self) -> float:
        """Seconds from the end of the first pause until the server had nothing to do for the first time."""
        if not self.pauses:
            return math.nan
        end_s = math.fsum(self.pauses[0])
        came = int(np.searchsorted(self.came_s, end_s, side="right"))
        if not came or self.done_s[came - 1] <= end_s:
            return 0.0  # nobody was there
        nobody_next = np.concatenate((self.came_s[1:], [math.inf])) > self.done_s
        first = int(np.argmax(nobody_next[came - 1 :])) + came - 1
        return float(self.done_s[first] - end_s)

    def closed_forms(self) -> dict[str, float]:
        """Return the formulas' values for one pause, or for one every period.

        For Poisson messages and exponential serving they are exact for one pause in a server that has run for
        a while; where a constant takes part they are the picture without chance, and some messages off. The
        p99 with pauses is near.
        """
        rates = (self.messages_per_s, self.served_per_s)
        if not self.pauses or self.messages_per_s >= self.served_per_s or self.arriving == "given":
            return {}
        random = {"exact": (self.arriving, self.serving) == ("poisson", "exponential")}
        pause_s = self.pauses[0][1]
        if len(self.pauses) == 1:
            return {
                "late_messages": closed.late_messages(pause_s, *rates, **random),
                "late_mean_s": closed.late_mean_s(pause_s, *rates, **random),
                "caught_up_s": closed.caught_up_s(pause_s, *rates, **random),
            }
        share = closed.late_share(pause_s, self.period_s, *rates, **random) if self.period_s > 0 else 1.0
        if share >= 1:
            return {}
        forms = {"late_share": share}
        if random["exact"]:
            forms["calm_p99_s"] = closed.delay_quantile_s(0.99, *rates)
            forms["delay_p99_s"] = closed.paused_quantile_s(0.99, pause_s, self.period_s, *rates)
        return forms

    def summary(self) -> str:
        """Return the run in two sentences."""
        number = len(self.pauses)
        stopped = f"{self.paused_s:.3g} s in {number} pause{'' if number == 1 else 's'}"
        who = (
            f"{self.messages_per_s:g} messages/s at a server of {self.served_per_s:g}/s that stood still for "
            f"{stopped}"
        )
        if not self.late_messages:
            return f"{who}: nobody was late."
        return (
            f"{who}: {self.late_messages:,} messages ({self.late_share:.1%}) were late, by "
            f"{1e3 * self.late_mean_s:.3g} ms on average. p99 {1e3 * self.delay_p99_s:.3g} ms, and "
            f"{1e3 * self.calm_p99_s:.3g} ms without pauses."
        )

    def plot(self, ax: Any = None, **dots: Any) -> Any:
        """Draw each message's delay over time, the pauses shaded, and return the matplotlib axes."""
        ax = _axes(ax)
        for start_s, length_s in self.pauses:
            ax.axvspan(start_s, start_s + length_s, color="grey", alpha=0.3, linewidth=0)
        ax.plot(self.came_s, self.delay_s, **{"linestyle": "", "marker": ".", "markersize": 2, **dots})
        ax.set_xlabel("time at which the message came (s)")
        ax.set_ylabel("delay (s)")
        ax.set_title(f"{self.paused_s:.3g} s of pause make {self.late_messages:,} messages late")
        return ax


@dataclass(frozen=True, eq=False, kw_only=True)
class AskerRun(_Delays):
    """Clients that wait for each answer. One element per question, in the order of asking: came_s, done_s."""

    pauses: Pauses
    think_s: float
    served_per_s: float
    askers: int
    serving: str
    horizon_s: float
    seed: int
    came_s: Times
    done_s: Times

    @property
    def is_late(self) -> NDArray[np.bool_]:
        """Which questions a pause has held up: it was over after the asking, and began before the answer."""
        late = np.zeros(len(self.came_s), dtype=bool)
        for start_s, length_s in self.pauses:
            late |= (self.came_s < start_s + length_s) & (self.done_s > start_s)
        return late

    @property
    def late_share(self) -> float:
        """Share of the answers that a pause has held up; NaN without questions."""
        return float(self.is_late.mean()) if len(self.came_s) else math.nan

    @property
    def asked_per_s(self) -> float:
        """Questions per second of all askers together."""
        return len(self.came_s) / self.horizon_s

    def corrected_s(self) -> Times:
        """Return the delays, and those of the questions that were not asked because the asker waited.

        An asker means to ask every think_s + 1/served_per_s.
        """
        return corrected(self.delay_s, self.think_s + 1.0 / self.served_per_s)

    def closed_forms(self) -> dict[str, float]:
        """Return the formula's value: for one asker, and a pause every period."""
        if self.askers > 1 or not self.period_s > 0:
            return {}
        world = (self.pauses[0][1], self.period_s, self.think_s, 1.0 / self.served_per_s)
        return {"late_share": closed.asker_late_share(*world)}

    def summary(self) -> str:
        """Return the run in a sentence."""
        return (
            f"{self.askers:,} asker{'' if self.askers == 1 else 's'} got {len(self.came_s):,} answers, "
            f"{int(self.is_late.sum()):,} of them held up by a pause: p99 {1e3 * self.delay_p99_s:.3g} ms, "
            f"the longest {1e3 * self.delay_max_s:.3g} ms."
        )

    def plot(self, ax: Any = None, **line: Any) -> Any:
        """Draw the delay of each share of the answers, and return the matplotlib axes."""
        ax = _quantiles(_axes(ax), self.delay_s, line)
        ax.set_title(f"An asker who waits sees a p99 of {1e3 * self.delay_p99_s:.3g} ms")
        return ax


@dataclass(frozen=True, eq=False)
class Views:
    """One server and its pauses, seen by messages that come anyway, and by one asker that waits."""

    open_loop: PauseRun
    closed_loop: AskerRun

    @property
    def corrected_p99_s(self) -> float:
        """The asker's p99 once the questions that it did not ask are put back."""
        return float(np.quantile(self.closed_loop.corrected_s(), 0.99))

    def gaps(self) -> list[Gap]:
        """Hold both runs against their formulas, the open loop first."""
        return self.open_loop.gaps() + self.closed_loop.gaps()

    def summary(self) -> str:
        """Return the difference in a sentence."""
        return (
            f"p99 as the messages had it {1e3 * self.open_loop.delay_p99_s:.3g} ms, as an asker that waits "
            f"measured it {1e3 * self.closed_loop.delay_p99_s:.3g} ms, corrected "
            f"{1e3 * self.corrected_p99_s:.3g} ms."
        )

    def plot(self, ax: Any = None, **line: Any) -> Any:
        """Draw the delays of both, and the corrected ones, and return the matplotlib axes."""
        ax = _axes(ax)
        _quantiles(ax, self.open_loop.delay_s, {"label": "open loop", **line})
        _quantiles(ax, self.closed_loop.delay_s, {"label": "closed loop", "linestyle": "--", **line})
        _quantiles(ax, self.closed_loop.corrected_s(), {"label": "corrected", "linestyle": ":", **line})
        ax.legend(title="seen by")
        ax.set_title(
            f"p99 is {1e3 * self.open_loop.delay_p99_s:.3g} ms, and an asker who waits measures "
            f"{1e3 * self.closed_loop.delay_p99_s:.3g} ms"
        )
        return ax


def corrected(delays_s: Any, interval_s: float) -> Times:
    """Return delays with those added that a closed loop has left out (HdrHistogram's way, G. Tene).

    Who means to ask every `interval_s` and waits d for an answer has not asked d/interval_s − 1 times; these
    would have waited d − interval_s, d − 2·interval_s, and so on down to one interval.
    """
    checks.seconds("interval_s", interval_s, zero=False)
    checks.seconds("delays_s", delays_s)
    delays = np.asarray(delays_s, dtype=float)
    left_out = [
        one - interval_s * np.arange(1, math.floor(one / interval_s))
        for one in delays[delays >= 2 * interval_s]
    ]
    return np.concatenate((delays, *left_out))


def _quantiles(ax: Any, delays_s: Times, line: dict[str, Any]) -> Any:
    """Draw the share of delays above each delay, both scales logarithmic."""
    ordered_ms = 1e3 * np.sort(delays_s)
    percent = 100.0 * (1.0 - (np.arange(len(ordered_ms)) + 0.5) / len(ordered_ms))
    ax.loglog(ordered_ms, percent, **line)
    ax.set_xlabel("delay (ms)")
    ax.set_ylabel("messages that wait longer (%)")
    return ax


def _axes(ax: Any) -> Any:
    """Return these axes, or new ones."""
    if ax is None:
        from matplotlib import pyplot as plt

        ax = plt.subplots()[1]
    return ax
