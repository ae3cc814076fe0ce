"""What a measured polling run returns, under the names that `labsupport.models` gives a simulated one."""

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Times: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, eq=False, kw_only=True)
class PollingRun:
    """One measured run; seconds since its time 0. Two groups of arrays.

    Requests, in order of time, one element each; of short polling all that were due before the horizon, of
    long polling all that were answered before it (so not those still held at the end):
        request_times_s      when the client sent it
        request_answered_s   when its answer was complete
        request_client       by which client, from 0
        request_empty        whether its answer brought no message
        answer_bytes         head and body
    Messages, by client and then by time, one element each:
        published_s          when it was to be published: the arrival that was given
        sent_s, stored_s     when the publish left, and when the server had answered it
        delivered_s          when its client had it (may lie after the horizon: nothing is cut off)
        message_client       for which client
    """

    clients: int
    horizon_s: float
    request_times_s: Times
    request_answered_s: Times
    request_client: NDArray[np.int64]
    request_empty: NDArray[np.bool_]
    answer_bytes: NDArray[np.int64]
    published_s: Times
    sent_s: Times
    stored_s: Times
    delivered_s: Times
    message_client: NDArray[np.int64]
    repeated_deliveries: int  # messages that came a second time
    out_of_order: int  # messages that came before an older one
    late_s: float  # the latest that anything left after its time: how far to trust the schedule

    @property
    def requests(self) -> int:
        """Number of requests counted."""
        return len(self.request_times_s)

    @property
    def messages(self) -> int:
        """Number of messages, all delivered."""
        return len(self.published_s)

    @property
    def empty_share(self) -> float:
        """Share of the requests whose answer was empty."""
        return float(self.request_empty.mean()) if self.requests else math.nan

    @property
    def requests_per_message(self) -> float:
        """Requests divided by messages."""
        return self.requests / self.messages if self.messages else math.inf

    @property
    def requests_per_s(self) -> float:
        """Requests per second of all clients together."""
        return self.requests / self.horizon_s

    @property
    def staleness_s(self) -> Times:
        """Seconds from the given arrival to the delivery, one element per message.

        From the arrival that was given, not from the moment when the publish left: a measuring client that is
        late must not make the server look quick ("coordinated omission").
        """
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

    def busiest_bin(self, bin_s: float = 1.0) -> int:
        """The most requests in any of the bins [0, bin), [bin, 2·bin) … of the run."""
        return int(np.bincount((self.request_times_s / bin_s).astype(np.int64), minlength=1).max())

    def summary(self) -> str:
        """The counts of the run in one sentence; no clock reading, so the same run says the same."""
        empty = int(self.request_empty.sum())
        return (
            f"{self.clients} real clients sent {self.requests} requests, {empty} of the answers were empty; "
            f"{self.messages} messages delivered, {self.repeated_deliveries} of them twice."
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class ShortPollingRun(PollingRun):
    """A measured run of clients that ask on a timer."""

    interval_s: float

    @property
    def polls_per_message(self) -> float:
        """The same as `requests_per_message`, by the name that short polling has for it."""
        return self.requests_per_message


@dataclass(frozen=True, eq=False, kw_only=True)
class LongPollingRun(PollingRun):
    """A measured run of clients whose requests are held until there is something to say."""

    hold_s: float
