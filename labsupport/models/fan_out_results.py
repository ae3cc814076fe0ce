"""What the fan-out simulations return: who got the message when, and what it cost."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labsupport.models import fan_out_closed_forms as closed
from labsupport.models.polling_results import Gap
from labsupport.models.traffic import Times


@dataclass(frozen=True, eq=False, kw_only=True)
class FanOutRun:
    """One message, published at time 0. One element per listener:

    server_of   number of the server that it sits on
    reached_s   when it had been pushed to
    """

    listeners: int
    servers: int
    push_s: float
    hop_s: float
    placing: str
    pushing: str
    seed: int
    server_of: NDArray[np.int64]
    reached_s: Times

    @property
    def servers_touched(self) -> int:
        """Number of servers that had somebody to push to."""
        return len(np.unique(self.server_of))

    @property
    def busiest(self) -> int:
        """Listeners of the fullest server."""
        return int(np.bincount(self.server_of).max())

    @property
    def last_s(self) -> float:
        """When the last listener had it."""
        return float(self.reached_s.max())

    @property
    def mean_s(self) -> float:
        """When the listeners had it, on average."""
        return float(self.reached_s.mean())

    @property
    def p99_s(self) -> float:
        """When 99 of 100 listeners had it."""
        return float(np.quantile(self.reached_s, 0.99))

    def closed_forms(self) -> dict[str, float]:
        """Return what the formulas say; the last one's time only where listeners are dealt out evenly."""
        world = (self.listeners, self.push_s, self.servers, self.hop_s)
        even = self.placing == "even"
        if not even:
            touched = closed.servers_touched(self.listeners, self.servers)
            return {"servers_touched": touched, "mean_s": closed.mean_listener_s(*world, even=False)}
        if self.listeners % self.servers:
            return {"servers_touched": float(min(self.servers, self.listeners))}  # some have one more
        forms = {"servers_touched": float(self.servers), "mean_s": closed.mean_listener_s(*world)}
        if self.pushing == "constant" or self.servers == 1:
            forms["last_s"] = closed.last_listener_s(*world)
        return forms

    def gaps(self) -> list[Gap]:
        """Hold the run against the formulas."""
        return [Gap(name, value, float(getattr(self, name))) for name, value in self.closed_forms().items()]

    def summary(self) -> str:
        """Return the run in a sentence."""
        return (
            f"{self.listeners:,} listeners on {self.servers_touched} of {self.servers} servers, "
            f"{1e6 * self.push_s:g} µs a push: the last had it after {1e3 * self.last_s:.3g} ms, "
            f"the mean after {1e3 * self.mean_s:.3g} ms."
        )

    def plot(self, ax: Any = None, **line: Any) -> Any:
        """Draw the share of the listeners that have it, over time, and return the matplotlib axes."""
        ax = _axes(ax)
        times_ms = np.concatenate(([0.0], 1e3 * np.sort(self.reached_s)))
        ax.step(times_ms, 100.0 * np.arange(len(times_ms)) / self.listeners, where="post", **line)
        ax.set_xlabel("time after the publishing (ms)")
        ax.set_ylabel("listeners who have it (%)")
        ax.set_title(f"The last of {self.listeners:,} listeners has it after {1e3 * self.last_s:.3g} ms")
        return ax


@dataclass(frozen=True, eq=False, kw_only=True)
class RoutingRun:
    """Messages between machines: for each way of routing one count per published message."""

    members: int
    servers: int
    seed: int
    sent: dict[str, NDArray[np.int64]]

    def mean(self, routing: str) -> float:
        """Return the mean number of messages between machines per published message."""
        if routing not in self.sent:
            raise KeyError(f"no routing {routing!r}: expected one of {', '.join(self.sent)}")
        return float(self.sent[routing].mean())

    def closed_forms(self) -> dict[str, float]:
        """Return what the formulas say, by the names of the routings."""
        return {way: closed.routing_messages(way, self.members, self.servers) for way in self.sent}

    def gaps(self) -> list[Gap]:
        """Hold the run against the formulas."""
        return [Gap(routing, value, self.mean(routing)) for routing, value in self.closed_forms().items()]

    def summary(self) -> str:
        """Return the run in a sentence."""
        figures = ", ".join(f"{routing} {self.mean(routing):.3g}" for routing in self.sent)
        return (
            f"One message for a room of {self.members:,} on {self.servers} servers takes so many messages "
            f"between machines: {figures}."
        )

    def plot(self, ax: Any = None, **bars: Any) -> Any:
        """Draw the mean number of messages for each way, and return the matplotlib axes."""
        ax = _axes(ax)
        ways = list(self.sent)
        ax.barh(range(len(ways)), [self.mean(way) for way in ways], **bars)
        ax.set_yticks(range(len(ways)), ways)
        ax.invert_yaxis()
        ax.set_xlabel("messages between machines (per published message)")
        broker, everywhere = self.mean("pub/sub"), self.mean("to all")
        ax.set_title(
            f"For a room of {self.members:,} a broker sends {broker:.3g} messages, to all {everywhere:.3g}"
        )
        return ax


@dataclass(frozen=True, eq=False, kw_only=True)
class JoinRun:
    """A room that fills up. One element per member: joined_s, when; notices_until, all notices up to then."""

    joins_per_s: float
    horizon_s: float
    seed: int
    joined_s: Times
    notices_until: NDArray[np.int64]

    @property
    def members(self) -> int:
        """How many came."""
        return len(self.joined_s)

    @property
    def notices(self) -> int:
        """Messages that told of them."""
        return int(self.notices_until[-1]) if self.members else 0

    def closed_forms(self) -> dict[str, float]:
        """Return the formula's value for as many members."""
        return {"notices": closed.join_notices(self.members)}

    def gaps(self) -> list[Gap]:
        """Hold the run against the formula."""
        return [Gap(name, value, float(getattr(self, name))) for name, value in self.closed_forms().items()]

    def summary(self) -> str:
        """Return the run in a sentence."""
        each = self.notices / self.members if self.members else math.nan
        return (
            f"{self.members:,} members came within {self.horizon_s:g} s, and it took {self.notices:,} "
            f"messages to tell those who were there: {each:,.1f} for each who came."
        )

    def plot(self, ax: Any = None, **line: Any) -> Any:
        """Draw the notices over time, and return the matplotlib axes."""
        ax = _axes(ax)
        ax.step(self.joined_s, self.notices_until, where="post", **line)
        ax.set_xlabel("time (s)")
        ax.set_ylabel("notices so far (messages)")
        ax.set_title(f"{self.members:,} joins cost {self.notices:,} notices")
        return ax


def _axes(ax: Any) -> Any:
    """Return these axes, or new ones."""
    if ax is None:
        from matplotlib import pyplot as plt

        ax = plt.subplots()[1]
    return ax
