"""What a polling run returns: arrays of what happened, and the figures that a chapter asks of them."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labsupport.models import checks
from labsupport.models import polling_closed_forms as closed
from labsupport.models.traffic import Times


@dataclass(frozen=True)
class Gap:
    """One figure twice: from the formula and from the run."""

    name: str  # the run's attribute, unit included
    closed_form: float
    simulated: float

    @property
    def relative(self) -> float:
        """How far the run is from the formula, as a share of the formula."""
        return self.simulated / self.closed_form - 1.0 if self.closed_form else math.nan


@dataclass(frozen=True, eq=False, kw_only=True)
class PollingRun:
    """One run: what went in, one array element per counted request, and one per delivered message.

    Requests that were answered within the horizon, in order of time:
        request_times_s   when it reached the server
        request_client    by which client, from 0
        request_empty     whether its answer brought no message
    Messages published within the horizon, by client, then by time (a shared one counts for each client):
        published_s       when it reached the server
        delivered_s       when the client first had it (may lie after the horizon: nothing is cut off)
        message_client    for which client
    """

    messages_per_s: float
    clients: int
    round_trip_s: float
    horizon_s: float
    shared_topic: bool
    seed: int
    request_times_s: Times
    request_client: NDArray[np.int64]
    request_empty: NDArray[np.bool_]
    published_s: Times
    delivered_s: Times
    message_client: NDArray[np.int64]
    repeated_deliveries: int  # messages that came a second time, because requests of one client overlapped

    @property
    def requests(self) -> int:
        """Number of requests sent within the horizon."""
        return len(self.request_times_s)

    @property
    def messages(self) -> int:
        """Number of deliveries: messages times the clients that they are for."""
        return len(self.published_s)

    @property
    def empty_share(self) -> float:
        """Share of the requests whose answer was empty."""
        return float(self.request_empty.mean()) if self.requests else math.nan

    @property
    def requests_per_message(self) -> float:
        """Requests divided by deliveries."""
        return self.requests / self.messages if self.messages else math.inf

    @property
    def requests_per_s(self) -> float:
        """Requests per second of all clients together."""
        return self.requests / self.horizon_s

    @property
    def staleness_s(self) -> Times:
        """Seconds from published to delivered, one element per delivery."""
        return self.delivered_s - self.published_s

    @property
    def staleness_mean_s(self) -> float:
        """Mean staleness; NaN without messages."""
        return float(self.staleness_s.mean()) if self.messages else math.nan

    @property
    def staleness_p95_s(self) -> float:
        """95 of 100 messages are delivered within this; NaN without messages."""
        return float(np.percentile(self.staleness_s, 95)) if self.messages else math.nan

    @property
    def staleness_max_s(self) -> float:
        """The slowest delivery; NaN without messages."""
        return float(self.staleness_s.max()) if self.messages else math.nan

    @property
    def stale_share(self) -> float:
        """Share of the time in which a client lacks a message that the server has; mean over the clients."""
        known_from = np.concatenate(([-math.inf], self.delivered_s[:-1]))
        first_of_client = np.diff(self.message_client, prepend=-1) > 0
        known_from[first_of_client] = -math.inf
        start = np.maximum(self.published_s, known_from)  # what is stale already cannot become stale again
        stale_s = np.minimum(self.delivered_s, self.horizon_s) - start
        return float(np.maximum(stale_s, 0.0).sum()) / (self.clients * self.horizon_s)

    def closed_forms(self) -> dict[str, float]:
        """Return what the formulas say of this run's averages, by the names that they have here."""
        raise NotImplementedError

    def gaps(self) -> list[Gap]:
        """Hold the run against the formulas. What luck explains: `empty_share_error`."""
        return [Gap(name, value, float(getattr(self, name))) for name, value in self.closed_forms().items()]

    def busiest_bin(self, bin_s: float = 1.0) -> int:
        """Return the most requests in any of the bins [0, bin), [bin, 2·bin) … of the run."""
        checks.seconds("bin_s", bin_s, zero=False)
        return int(np.bincount((self.request_times_s / bin_s).astype(np.int64), minlength=1).max())

    def plot(self, ax: Any = None, **line: Any) -> Any:
        """Draw how many messages had arrived after how many seconds, and return the matplotlib axes."""
        if ax is None:
            from matplotlib import pyplot as plt

            ax = plt.subplots()[1]
        waited_s = np.concatenate(([0.0], np.sort(self.staleness_s)))
        ax.step(waited_s, 100.0 * np.arange(len(waited_s)) / max(1, self.messages), where="post", **line)
        ax.set_xlabel("seconds from published to seen")
        ax.set_ylabel("messages seen so far (%)")
        ax.set_title(self._finding())
        return ax

    def _finding(self) -> str:
        if not self.messages:
            return "No message was published, so none was late"
        half, all_of_them = (
            seconds_text(float(np.median(self.staleness_s))),
            seconds_text(self.staleness_max_s),
        )
        return f"Half of the messages are seen within {half}, the last after {all_of_them}"

    def _figures(self) -> str:
        """The sentence that short and long polling share."""
        sent = f"sent {self.requests:,} requests in {self.horizon_s:,g} s ({self.requests_per_s:,.1f}/s)"
        if not self.messages:
            return f"{sent}; no message was published, so every answer was empty."
        late = (self.staleness_mean_s, self.staleness_p95_s, self.staleness_max_s)
        mean, p95, worst = (seconds_text(value_s) for value_s in late)
        return (
            f"{sent}; {100 * self.empty_share:.1f} % of the answers were empty, and one message cost "
            f"{self.requests_per_message:.2f} requests. Messages were seen {mean} late on average, 95 of 100 "
            f"within {p95}, the last after {worst}."
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class ShortPolling(PollingRun):
    """A run of clients that ask on a timer."""

    interval_s: float
    schedule: str
    phases: str
    interval_law: str
    jitter: float

    @property
    def polls_per_message(self) -> float:
        """The same as `requests_per_message`, by the name that short polling has for it."""
        return self.requests_per_message

    def closed_forms(self) -> dict[str, float]:
        """Return the formulas' values, as far as there is a formula for this schedule and law."""
        rate, trip_s = self.messages_per_s, self.round_trip_s
        every_s = closed.period_s(self.interval_s, trip_s, self.schedule)
        forms = {
            "requests_per_s": closed.requests_per_s(self.clients, every_s),
            "requests_per_message": closed.polls_per_message(rate, every_s),
        }
        exponential, timer = self.interval_law == "exponential", self.schedule == "fixed rate"
        if exponential and trip_s and not timer:
            return forms  # an exponential pause plus a constant trip is neither law
        width = self.jitter or float(self.interval_law == "uniform")
        law = {
            "jitter": width * self.interval_s / every_s,
            "interval_law": "exponential" if exponential else "constant",
        }
        shortest_s = 0.0 if exponential else self.interval_s * (1.0 - width)
        if not timer or trip_s <= shortest_s:
            forms["empty_share"] = closed.empty_share(rate, every_s, **law)
        elif (
            not exponential and not width
        ):  # overlapping polls ask with a position that is ⌈L/T⌉ intervals old
            forms["empty_share"] = closed.empty_share(rate, every_s * math.ceil(trip_s / every_s))
        forms["staleness_mean_s"] = closed.staleness_mean_s(every_s, round_trip_s=trip_s, **law)
        if not exponential and not width:
            forms["staleness_p95_s"] = closed.staleness_p95_s(every_s, round_trip_s=trip_s)
        if not exponential:
            forms["staleness_max_s"] = closed.staleness_max_s(
                every_s, round_trip_s=trip_s, jitter=law["jitter"]
            )
        forms["stale_share"] = closed.stale_share(rate, every_s, round_trip_s=trip_s, **law)
        return forms

    def summary(self) -> str:
        """Return the run in two sentences."""
        return f"{who(self.clients)} asking every {self.interval_s:g} s {self._figures()}"


@dataclass(frozen=True, eq=False, kw_only=True)
class LongPolling(PollingRun):
    """A run of clients whose requests are held until there is something to say."""

    hold_s: float

    @property
    def transits_mean(self) -> float:
        """Mean latency in one-way transits of half a round trip; NaN without messages or round trip."""
        return 2.0 * self.staleness_mean_s / self.round_trip_s if self.round_trip_s else math.nan

    def closed_forms(self) -> dict[str, float]:
        """Return the formulas' values."""
        given = (self.messages_per_s, self.hold_s, self.round_trip_s)
        forms = {
            "requests_per_s": closed.long_requests_per_s(*given, clients=self.clients),
            "requests_per_message": closed.long_requests_per_message(*given),
            "empty_share": closed.long_empty_share(*given),
            "staleness_mean_s": closed.long_latency_mean_s(*given),
            "staleness_p95_s": closed.long_latency_p95_s(*given),
            "staleness_max_s": closed.long_latency_max_s(self.round_trip_s),
        }
        return {**forms, "transits_mean": closed.long_transits_mean(*given)} if self.round_trip_s else forms

    def summary(self) -> str:
        """Return the run in two sentences."""
        return f"{who(self.clients)} held for up to {self.hold_s:g} s {self._figures()}"


def who(clients: int) -> str:
    """Return "1 client" or "1,000 clients"."""
    return f"{clients:,} client{'s' if clients > 1 else ''}"


def seconds_text(value_s: float) -> str:
    """Return a time as a reader would say it: 2.50 s, 50 ms."""
    return f"{value_s:.2f} s" if value_s >= 1 else f"{1000 * value_s:.0f} ms"
