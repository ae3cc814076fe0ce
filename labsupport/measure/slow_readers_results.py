"""What a measurement of slow readers returns: delays, losses, memory over time, and figures to ask for."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False, kw_only=True)
class Looks:
    """What was seen of a server while it ran, one element per look. Times in seconds since the first.

    looks_s          when;  queued: messages that waited in the process;  queued_bytes: all that waited there
    resident_bytes   of the server's process; NaN where it is not told
    kernel_bytes     handed to the kernel, and not yet taken by the reader
    """

    policy: str
    message_bytes: int
    looks_s: np.ndarray
    queued: np.ndarray
    queued_bytes: np.ndarray
    resident_bytes: np.ndarray
    kernel_bytes: np.ndarray

    @property
    def queued_peak(self) -> int:
        return int(self.queued.max(initial=0))

    @property
    def queued_peak_bytes(self) -> int:
        return int(self.queued_bytes.max(initial=0))

    @property
    def kernel_peak_bytes(self) -> int:
        return int(self.kernel_bytes.max(initial=0))

    @property
    def grown_bytes(self) -> float:
        """Resident memory of the server's process: the most there was, less the first look's."""
        return float(np.max(self.resident_bytes) - self.resident_bytes[0])


@dataclass(frozen=True, eq=False, kw_only=True)
class StoppedReading(Looks):
    """A reader who takes nothing at all."""

    def __str__(self) -> str:
        return (
            f"{self.policy}: the kernel took {self.kernel_peak_bytes / 2**20:.1f} MiB and no more, "
            f"{self.queued_peak_bytes / 2**20:.1f} MiB waited in the process at most, "
            f"which grew by {self.grown_bytes / 2**20:.1f} MiB."
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class SlowReading(Looks):
    """A reader slower than its messages. One element per message read, or per ping that was come to:

    delays_s     from the making of a message until the reader was through with it;  read_s: when that was
    pings_s      from the making of a ping until the reader came to it;  pinged_s: when it was made
    made         messages;  lost: those that will never be read;  unread: not read yet when the reader left
    cuts         how often the reader was cut off
    between      messages handed over and not taken yet while the reader was behind: the median look's
    """

    in_per_s: float
    out_per_s: float
    buffer: int
    seconds: float
    made: int
    lost: int
    unread: int
    cuts: int
    between: int
    delays_s: np.ndarray
    read_s: np.ndarray
    pings_s: np.ndarray
    pinged_s: np.ndarray

    @property
    def loss_share(self) -> float:
        """Of the messages made."""
        return self.lost / self.made

    @property
    def made_per_s(self) -> float:
        """Less than in_per_s where the source has to wait."""
        return self.made / self.seconds

    @property
    def delay_mean_s(self) -> float:
        return float(self.delays_s.mean())

    @property
    def delay_p95_s(self) -> float:
        return float(np.quantile(self.delays_s, 0.95))

    @property
    def ping_s(self) -> float:
        """The median ping's; NaN without one."""
        return float(np.median(self.pings_s)) if len(self.pings_s) else float("nan")

    @property
    def ping_peak_s(self) -> float:
        return float(self.pings_s.max()) if len(self.pings_s) else float("nan")

    def __str__(self) -> str:
        cut = f", {self.cuts} times cut off" if self.cuts else ""
        left = f", {self.unread} not read yet" if self.unread else ""
        return (
            f"{self.policy}: {self.made} made, {self.loss_share:.0%} lost{left}{cut}; what was read was "
            f"{self.delay_mean_s:.2f} s old on average, a ping took {self.ping_s:.2f} s; "
            f"{self.queued_peak_bytes / 1024:.0f} KiB waited in the process at most."
        )


@dataclass(frozen=True, eq=False)
class SlowReadings:
    """The same pace and the same reader under several policies."""

    runs: tuple[SlowReading, ...]

    def __getitem__(self, policy: str) -> SlowReading:
        for run in self.runs:
            if run.policy == policy:
                return run
        raise KeyError(f"no run of {policy!r} here: expected one of {', '.join(r.policy for r in self.runs)}")

    def rows(self) -> list[dict[str, Any]]:
        """One row of figures per policy, for a table: units in the names."""
        names = ("policy", "delay_mean_s", "delay_p95_s", "loss_share", "queued_peak", "queued_peak_bytes",
                 "ping_s", "cuts", "made_per_s", "between")  # fmt: skip
        return [{name: getattr(run, name) for name in names} for run in self.runs]
