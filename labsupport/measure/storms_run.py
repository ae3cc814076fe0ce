"""What a measured reconnect storm returns, under the names that `labsupport.models` gives a simulated one."""

import collections
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Times = NDArray[np.float64]
LATE_S = 0.04  # seconds; if 1 in 100 attempts is later than this, the crowd was kept from its processor
EXPECTED = (
    "connected",
    "refused",
    "reset",
    "closed",
    "status 503",
)  # ends that are no surprise


@dataclass(frozen=True, eq=False, kw_only=True)
class StormRun:
    """One measured storm; all times in seconds after the loss (the kill, or the wish to end).

    connected_at_s   when each client was connected again; infinity: never
    cut_at_s         when each client noticed that its connection had gone
    One element per attempt, in order of attempt_times_s:
        attempt_times_s      when it left
        attempt_due_s        when it should have left
        attempt_answered_s   when its outcome was known; NaN: it never was
        attempt_client       which client, from 0
        attempt_outcome      "connected"; "refused" (nobody listens: RST); "status 503" and so on; "closed" or
                             "reset" (in the middle of the handshake)
    server_gone_s    when the old process had ended
    server_back_s    when the new one listened, by the first attempt that it answered, or by its ready line:
                     the D of a model that is to be compared
    """

    clients: int
    policy: Any
    seed: int
    outage_s: float  # asked for, from the end of the old process to the start of the new one
    spread_s: float
    killed: bool  # else it was asked to end, and sent its clients away in batches
    final_status: bool  # an HTTP refusal ended a client for good
    server_gone_s: float
    server_back_s: float
    connected_at_s: Times
    cut_at_s: Times
    cuts: dict[str, int]  # how connections ended -> how many
    attempt_times_s: Times
    attempt_due_s: Times
    attempt_answered_s: Times
    attempt_client: NDArray[np.int64]
    attempt_outcome: NDArray[np.str_]
    lost_clients: int  # gave up
    unfinished_clients: int  # were stopped by a bound of the measurement
    seconds: float

    # ---- attempts ------------------------------------------------------------------------------------------

    @cached_property
    def attempts_of_client(self) -> NDArray[np.int64]:
        """Attempts of each client."""
        return np.bincount(self.attempt_client, minlength=self.clients)

    @property
    def attempts(self) -> int:
        """Attempts of all clients."""
        return len(self.attempt_times_s)

    @property
    def attempts_per_client(self) -> float:
        """Mean attempts of a client, the successful one included."""
        return self.attempts / self.clients

    def busiest_bin(self, bin_s: float) -> int:
        """The most attempts in any of the bins [0, bin), [bin, 2·bin) …"""
        bins = (self.attempt_times_s / bin_s).astype(np.int64)
        return int(np.bincount(bins, minlength=1).max()) if len(bins) else 0

    @property
    def peak_attempts_in_100ms(self) -> int:
        """Attempts in the busiest tenth of a second."""
        return self.busiest_bin(0.1)

    @property
    def peak_attempts_in_1s(self) -> int:
        """Attempts in the busiest second."""
        return self.busiest_bin(1.0)

    @property
    def peak_attempts_per_s(self) -> float:
        """The rate in the busiest tenth of a second."""
        return 10.0 * self.peak_attempts_in_100ms

    def outcomes(self) -> dict[str, int]:
        """Count the attempts by how they ended, the most frequent first."""
        return dict(collections.Counter(self.attempt_outcome.tolist()).most_common())

    # ---- connected -----------------------------------------------------------------------------------------

    @cached_property
    def _in_order_s(self) -> Times:
        return np.sort(self.connected_at_s)

    def time_until(self, share: float) -> float:
        """Seconds until this share of the clients was connected; infinity if it never was."""
        if not 0 <= share <= 1:
            raise ValueError(f"share is a part of the clients: expected 0 to 1, got {share!r}")
        needed = math.ceil(share * self.clients - 1e-9)
        return float(self._in_order_s[needed - 1]) if needed else 0.0

    @property
    def t50_s(self) -> float:
        """Half of the clients are connected."""
        return self.time_until(0.5)

    @property
    def t90_s(self) -> float:
        """90 % are connected."""
        return self.time_until(0.9)

    @property
    def t99_s(self) -> float:
        """99 % are connected."""
        return self.time_until(0.99)

    @property
    def t100_s(self) -> float:
        """All are connected; infinity if some never were."""
        return self.time_until(1.0)

    def connected_share(self, time_s: ArrayLike) -> Any:
        """The share of the clients that is connected again at these times."""
        share = np.searchsorted(self._in_order_s, time_s, side="right") / self.clients
        return share if np.ndim(share) else float(share)

    # ---- how far to trust it -------------------------------------------------------------------------------

    @property
    def late_s(self) -> float:
        """99 of 100 attempts left at most so long after their time: the crowd's own lag."""
        return _p99(self.attempt_times_s - self.attempt_due_s)

    @property
    def refusal_s(self) -> float:
        """99 of 100 refusals by HTTP took at most so long, from the connect; the models say: no time."""
        took = (self.attempt_answered_s - self.attempt_times_s)[
            np.char.startswith(self.attempt_outcome, "status")
        ]
        return _p99(took[np.isfinite(took)])

    @property
    def accept_s(self) -> float:
        """The longest wait for a 101, from the connect: Q/C, and what the server or the crowd stood still."""
        took = (self.attempt_answered_s - self.attempt_times_s)[self.attempt_outcome == "connected"]
        return float(took.max()) if len(took) else 0.0

    @property
    def detection_s(self) -> float:
        """99 of 100 clients noticed the loss within this. If the server drains: the drain's length."""
        return _p99(self.cut_at_s[np.isfinite(self.cut_at_s)])

    @property
    def machine_was_busy(self) -> bool:
        """Whether the crowd itself came too late for its figures to be held against a model."""
        return self.late_s > LATE_S or self.refusal_s > 2 * LATE_S

    @property
    def troubles(self) -> list[str]:
        """What went wrong, a sentence each; an empty list is the best news."""
        sentences = []
        if self.unfinished_clients:
            sentences.append(
                f"{self.unfinished_clients} clients were still trying when the measurement ended "
                f"after {self.seconds:.0f} s or at its limit of attempts: give it more, or the server."
            )
        if self.machine_was_busy:
            sentences.append(
                f"The machine did not keep up: 1 attempt in 100 left {1000 * self.late_s:.0f} ms late or "
                f"more, or waited {1000 * self.refusal_s:.0f} ms for its refusal. Close what else runs; if "
                "that is not it, the wave was too steep for the server: try a spread_s, or longer waits."
            )
        for outcome, count in self.outcomes().items():
            if outcome not in EXPECTED:
                sentences.append(f"{count} attempts ended with: {outcome}.")
        again = sum(self.cuts.values()) - int(np.isfinite(self.cut_at_s).sum())
        if again:
            sentences.append(f"{again} connections were lost again after they had come back.")
        return sentences

    def summary(self) -> str:
        """The run in two or three sentences."""
        lost = f"; {self.lost_clients:,} gave up" if self.lost_clients else ""
        shares = ((0.5, "half of them"), (0.99, "99 of 100"), (1.0, "all"))
        came = [
            f"{text} by {self.time_until(s):,.1f} s" for s, text in shares if self.time_until(s) < math.inf
        ]
        return " ".join(
            [
                f"{self.clients:,} real clients made {self.attempts:,} attempts "
                f"({self.attempts_per_client:.1f} each), at worst {self.peak_attempts_in_1s:,} in a second.",
                f"Connected: {', '.join(came) or 'too few'}{lost} "
                f"(the server was back after {self.server_back_s:.1f} s).",
                *self.troubles,
            ]
        )


def _p99(values: Times) -> float:
    return float(np.percentile(values, 99)) if len(values) else 0.0
