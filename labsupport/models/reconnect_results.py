"""What a reconnect storm returns: arrays of what happened, the figures that a chapter asks for, and gaps."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labsupport.backoff import Policy
from labsupport.models import checks
from labsupport.models.reconnect_storm import NS, Outcome, Storm

Times = NDArray[np.float64]


class Event(NamedTuple):
    """One arrival at the server."""

    time_ns: int
    client: int
    attempt: int  # this client's attempts, counted from 0
    outcome: Outcome


@dataclass(frozen=True, eq=False, kw_only=True)
class StormRun:
    """One run: what went in, one element per client, and one per arrival at the server.

    connected_at_s   when each client was connected, in seconds after the loss; infinity: lost (it gave up)
    One element per arrival, in order of (time, client):
        arrival_times_ns   when it reached the server
        arrival_client     which client, from 0
        arrival_attempt    which attempt of this client, from 0 (a repeated SYN has its attempt's number)
        arrival_outcome    an Outcome
    accepted_ns      when each accept was done, in order
    """

    storm: Storm
    policy: Policy
    seed: int
    connected_at_s: Times
    arrival_times_ns: NDArray[np.int64]
    arrival_client: NDArray[np.int32]
    arrival_attempt: NDArray[np.int32]
    arrival_outcome: NDArray[np.int8]
    accepted_ns: NDArray[np.int64]

    # ---- attempts ------------------------------------------------------------------------------------------

    @cached_property
    def attempts_of_client(self) -> NDArray[np.int64]:
        """Attempts of each client; the SYNs that its kernel repeats within one are not counted."""
        whole = self.arrival_outcome != Outcome.DROPPED
        return np.bincount(self.arrival_client[whole], minlength=self.storm.clients)

    @property
    def attempts(self) -> int:
        """Attempts of all clients."""
        return int(self.attempts_of_client.sum())

    @property
    def attempts_per_client(self) -> float:
        """Mean attempts of a client, the successful one included."""
        return self.attempts / self.storm.clients

    @property
    def attempt_times_s(self) -> Times:
        """When the arrivals reached the server, in order (repeated SYNs too: they are work for it)."""
        return self.arrival_times_ns / NS

    def busiest_bin(self, bin_s: float) -> int:
        """Return the most arrivals in any of the bins [0, bin), [bin, 2·bin) …"""
        checks.seconds("bin_s", bin_s, zero=False)
        width_ns = max(1, round(bin_s * NS))
        bins = self.arrival_times_ns // width_ns
        edges = np.flatnonzero(np.diff(bins, prepend=-1, append=-1))  # they are in order: count runs
        return int(np.diff(edges).max()) if len(edges) > 1 else 0

    @property
    def peak_attempts_in_100ms(self) -> int:
        """Arrivals in the busiest tenth of a second."""
        return self.busiest_bin(0.1)

    @property
    def peak_attempts_in_1s(self) -> int:
        """Arrivals in the busiest second."""
        return self.busiest_bin(1.0)

    @property
    def peak_attempts_per_s(self) -> float:
        """The rate in the busiest tenth of a second: what the server feels."""
        return 10.0 * self.peak_attempts_in_100ms

    def outcomes(self) -> dict[str, int]:
        """Count the arrivals by how they ended."""
        counts = np.bincount(self.arrival_outcome, minlength=len(Outcome))
        return {outcome.name: int(counts[outcome]) for outcome in Outcome if counts[outcome]}

    # ---- connected -----------------------------------------------------------------------------------------

    @cached_property
    def _in_order_s(self) -> Times:
        return np.sort(self.connected_at_s)

    @property
    def lost_clients(self) -> int:
        """Clients that gave up."""
        return int(np.isinf(self.connected_at_s).sum())

    def time_until(self, share: float) -> float:
        """Return the seconds until this share of the clients was connected; infinity if it never was."""
        checks.share("share", share)
        needed = math.ceil(share * self.storm.clients - 1e-9)
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
        """All are connected; infinity with lost clients."""
        return self.time_until(1.0)

    def connected_share(self, time_s: ArrayLike) -> Any:
        """Return the share of the clients that is connected at these times."""
        share = np.searchsorted(self._in_order_s, time_s, side="right") / self.storm.clients
        return share if np.ndim(share) else float(share)

    @property
    def lower_bound_s(self) -> float:
        """D + N/C: the best that any policy could do."""
        return self.storm.lower_bound_s

    # ---- the server ----------------------------------------------------------------------------------------

    def utilisation(self, start_s: float | None = None, end_s: float | None = None) -> float:
        """Return the share of the time in which the server was accepting somebody.

        Without arguments: from the end of the outage until the last accept was done; NaN if there was none.
        """
        start_s = self.storm.outage_s if start_s is None else start_s
        if end_s is None:
            end_s = float(self.accepted_ns[-1]) / NS if len(self.accepted_ns) else start_s
        if not end_s > start_s:
            return math.nan
        done_s = self.accepted_ns / NS
        begun_s = done_s - 1.0 / self.storm.accepts_per_s
        busy_s = np.minimum(done_s, end_s) - np.maximum(begun_s, start_s)
        return min(1.0, float(np.maximum(busy_s, 0.0).sum()) / (end_s - start_s))

    # ---- for people ----------------------------------------------------------------------------------------

    def summary(self) -> str:
        """Return the run in two sentences."""
        clients = self.storm.clients
        who = f"{clients:,} client{'s' if clients > 1 else ''}"
        lost = f"; {self.lost_clients:,} gave up" if self.lost_clients else ""
        shares = ((0.5, "half of them"), (0.99, "99 of 100"), (1.0, "all"))
        came = [
            f"{text} by {self.time_until(s):,.1f} s" for s, text in shares if self.time_until(s) < math.inf
        ]
        return (
            f"{who} made {self.attempts:,} attempts ({self.attempts_per_client:.1f} each), at worst "
            f"{self.peak_attempts_in_1s:,} in a second. Connected: {', '.join(came) or 'too few'}{lost} "
            f"(no policy could beat {self.lower_bound_s:,.1f} s)."
        )

    def plot(self, ax: Any = None, **line: Any) -> Any:
        """Draw the share of connected clients over time, and return the matplotlib axes."""
        if ax is None:
            from matplotlib import pyplot as plt

            ax = plt.subplots()[1]
        known_s = self._in_order_s[np.isfinite(self._in_order_s)]
        picked = np.unique(np.linspace(0, len(known_s), 2001).astype(np.int64))  # a picture needs no more
        time_s = np.concatenate(([0.0], known_s))[picked]
        ax.step(time_s, 100.0 * picked / self.storm.clients, where="post", **line)
        ax.set_xlabel("seconds after the loss")
        ax.set_ylabel("clients connected (%)")
        ax.set_title(self._finding())
        return ax

    def _finding(self) -> str:
        if self.t99_s == math.inf:
            return f"{self.lost_clients:,} of {self.storm.clients:,} clients give up"
        return (
            f"99 of 100 are back after {self.t99_s:,.0f} s; {self.lower_bound_s:,.0f} s would do for all "
            f"({self.attempts_per_client:.1f} attempts each)"
        )


def collected(
    storm: Storm,
    policy: Policy,
    seed: int,
    log: Sequence[Event],
    connected_ns: Sequence[int | None],
    accepted_ns: Sequence[int],
) -> StormRun:
    """Return the arrays of a run that was written down event by event."""
    columns = np.array(log, dtype=np.int64).reshape(len(log), 4).T
    return StormRun(
        storm=storm,
        policy=policy,
        seed=seed,
        connected_at_s=np.array([math.inf if ns is None else ns / NS for ns in connected_ns]),
        arrival_times_ns=columns[0].copy(),
        arrival_client=columns[1].astype(np.int32),
        arrival_attempt=columns[2].astype(np.int32),
        arrival_outcome=columns[3].astype(np.int8),
        accepted_ns=np.array(accepted_ns, dtype=np.int64),
    )


# ---- two curves --------------------------------------------------------------------------------------------


def sup_distance(connected_at_s_a: ArrayLike, connected_at_s_b: ArrayLike) -> float:
    """Return the largest distance between two curves of the connected share, 0 to 1.

    Each argument holds one element per client: seconds; infinity or NaN for a client that was never
    connected. The two may have different numbers of clients. Distances are looked at just before and at
    each step (the Kolmogorov–Smirnov statistic).
    """
    a, b = _known_times(connected_at_s_a), _known_times(connected_at_s_b)
    steps = np.unique(np.concatenate((a.known_s, b.known_s)))
    if not len(steps):
        return 0.0
    return float(np.abs(a.share(steps) - b.share(steps)).max())


class _Curve(NamedTuple):
    known_s: Times
    clients: int

    def share(self, time_s: Times) -> Times:
        return np.searchsorted(self.known_s, time_s, side="right") / self.clients


def _known_times(connected_at_s: ArrayLike) -> _Curve:
    times_s = np.asarray(connected_at_s, dtype=float).ravel()
    if not len(times_s):
        raise ValueError("connected_at_s is empty: expected one element per client")
    return _Curve(np.sort(times_s[np.isfinite(times_s)]), len(times_s))


@dataclass(frozen=True)
class Gap:
    """How far a measured storm is from the simulated one."""

    sup_distance: float  # of the connected shares, 0 to 1
    attempts_simulated: float  # per client
    attempts_measured: float
    t99_simulated_s: float
    t99_measured_s: float

    @property
    def attempts_error(self) -> float:
        """(measured − simulated)/simulated attempts per client."""
        return _relative(self.attempts_measured, self.attempts_simulated)

    @property
    def t99_error(self) -> float:
        """(measured − simulated)/simulated seconds until 99 % are connected; NaN if one never gets there."""
        return _relative(self.t99_measured_s, self.t99_simulated_s)

    def summary(self) -> str:
        """Return the gap in one sentence."""
        return (
            f"The curves are at most {100 * self.sup_distance:.1f} % of the clients apart; measured against "
            f"simulated: {self.attempts_measured:.2f} and {self.attempts_simulated:.2f} attempts a client "
            f"({100 * self.attempts_error:+.1f} %), 99 % connected after {self.t99_measured_s:.1f} and "
            f"{self.t99_simulated_s:.1f} s ({100 * self.t99_error:+.1f} %)."
        )


def gap(simulated: StormRun, measured_connected_at_s: ArrayLike, measured_attempts: ArrayLike) -> Gap:
    """Hold a measured storm against the simulated one.

    measured_connected_at_s   one element per client: seconds after the loss, infinity or NaN if it was lost
    measured_attempts         attempts: one element per client, or their mean
    """
    measured = _known_times(measured_connected_at_s)
    needed = math.ceil(0.99 * measured.clients - 1e-9)
    return Gap(
        sup_distance=sup_distance(simulated.connected_at_s, measured_connected_at_s),
        attempts_simulated=simulated.attempts_per_client,
        attempts_measured=float(np.asarray(measured_attempts, dtype=float).mean()),
        t99_simulated_s=simulated.t99_s,
        t99_measured_s=float(measured.known_s[needed - 1]) if needed <= len(measured.known_s) else math.inf,
    )


def _relative(measured: float, expected: float) -> float:
    if not (math.isfinite(measured) and math.isfinite(expected) and expected > 0):
        return math.nan
    return measured / expected - 1.0
