"""What a deploy rehearsal found, under the names that `labsupport.models.rehearsal` gives a simulated one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labsupport.clients.checker import Report
from labsupport.measure.storms_run import LATE_S

Times = NDArray[np.float64]
Event = tuple[float, str, int]  # seconds, what ("ends", "gone", "back", "listed"), which server


@dataclass(frozen=True, eq=False, kw_only=True)
class RehearsalRun:
    """One way to roll the servers, measured; all times in seconds after its beginning.

    attempt_times_s, attempt_due_s, attempt_outcome   one element per attempt, in order of attempt_times_s
    away          (client, from, to) of each time without a connection, until it was in its room again
    cuts          how connections ended -> how many
    checked_with, checked_without   the delivery checker's report on the clients that resume, and that do not
    events        what the operator did, and when
    """

    way: str
    clients: int
    servers: int
    policy: Any
    seed: int
    accepts_per_s: float
    accept_queue: int
    messages_per_s: float
    drain_s: float
    life_s: float
    attempt_times_s: Times
    attempt_due_s: Times
    attempt_outcome: NDArray[np.str_]
    away: tuple[tuple[int, float, float], ...]
    cuts: Mapping[str, int]
    checked_with: Report
    checked_without: Report
    events: tuple[Event, ...]
    seconds: float  # until everybody was back, and the roll was over

    @property
    def attempts(self) -> int:
        """Of all clients."""
        return len(self.attempt_times_s)

    @property
    def refused(self) -> int:
        """Attempts that failed: nobody there, or a full queue."""
        return int((self.attempt_outcome != "connected").sum())

    @property
    def peak_attempts_in_100ms(self) -> int:
        """Attempts in the busiest tenth of a second."""
        return int(self.attempts_per_bin()[1].max(initial=0))

    def attempts_per_bin(self, bin_s: float = 0.1) -> tuple[Times, NDArray[np.int64]]:
        """The left edges of the bins in seconds, and the attempts in each."""
        bins = (np.maximum(self.attempt_times_s, 0) / bin_s).astype(np.int64)
        counts = np.bincount(bins, minlength=int(np.ceil(self.seconds / bin_s))).astype(np.int64)
        return np.arange(len(counts), dtype=np.float64) * bin_s, counts

    @property
    def away_s(self) -> Times:
        """Seconds without a connection, in sum, of each client."""
        spent = np.zeros(self.clients)
        for client, begin_s, end_s in self.away:
            spent[client] += end_s - begin_s
        return spent

    @property
    def mean_away_s(self) -> float:
        return float(self.away_s.mean())

    @property
    def longest_away_s(self) -> float:
        """The longest single time without a connection."""
        return max((end_s - begin_s for _, begin_s, end_s in self.away), default=0.0)

    @property
    def moves(self) -> NDArray[np.int64]:
        """How often each client was connected anew."""
        return np.bincount([client for client, _, _ in self.away], minlength=self.clients)

    @property
    def moves_per_client(self) -> float:
        return float(self.moves.mean())

    def connected_share(self, time_s: ArrayLike) -> Any:
        """The share of the clients that is connected at these times."""
        begins = np.sort([begin_s for _, begin_s, _ in self.away])
        ends = np.sort([end_s for _, _, end_s in self.away])
        out = np.searchsorted(begins, time_s, "right") - np.searchsorted(ends, time_s, "right")
        share = 1.0 - out / self.clients
        return share if np.ndim(share) else float(share)

    @property
    def lost_without_resume(self) -> int:
        """Messages that clients lost that do not resume, in sum."""
        return sum(len(report.lost) for report in self.checked_without.followers.values())

    @property
    def lost_with_resume(self) -> int:
        """The same of clients that do."""
        return sum(len(report.lost) + len(report.missed) for report in self.checked_with.followers.values())

    @property
    def duplicated(self) -> int:
        return sum(len(report.duplicated) for report in self._reports)

    @property
    def out_of_order(self) -> int:
        return sum(len(report.out_of_order) for report in self._reports)

    @property
    def late_s(self) -> float:
        """99 of 100 attempts left at most so long after their time: the crowd's own lag."""
        late_s = self.attempt_times_s - self.attempt_due_s
        return float(np.percentile(late_s, 99)) if len(late_s) else 0.0

    @property
    def machine_was_busy(self) -> bool:
        """Whether the crowd itself came too late for its figures to be held against a model."""
        return self.late_s > LATE_S

    def roll(self) -> dict[str, Any]:
        """What labsupport.models.rehearsal.Roll takes: `Roll(**run.roll())`, with the servers' own times."""
        times = {what: [0.0] * self.servers for what in ("ends", "gone", "listed")}
        for at_s, what, server in self.events:
            if what in times and server < self.servers:
                times[what][server] = at_s
        return {
            "way": self.way,
            "clients": self.clients,
            "accepts_per_s": self.accepts_per_s,
            "accept_queue": self.accept_queue,
            "messages_per_s": self.messages_per_s,
            "drain_s": self.drain_s,
            "life_s": self.life_s,
            "ends_s": tuple(times["ends"]),
            "gone_s": tuple(times["gone"]),
            "back_s": tuple(times["listed"]),
        }

    def summary(self) -> str:
        """The run in a few sentences."""
        times, peak = f"{self.moves_per_client:.2f}", self.peak_attempts_in_100ms
        return (
            f"{self.way}: {self.clients} clients were connected anew {times} times each. "
            f"{peak} attempts came in the busiest tenth of a second, and {self.refused} of all failed. "
            f"Each was away for {self.mean_away_s:.2f} s, at most {self.longest_away_s:.2f} s. "
            f"Lost: {self.lost_without_resume} messages by the half that does not resume, "
            f"{self.lost_with_resume} by the half that does."
        )

    @property
    def _reports(self) -> list[Any]:
        return [*self.checked_with.followers.values(), *self.checked_without.followers.values()]
