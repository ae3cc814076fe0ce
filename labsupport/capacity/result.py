"""What a plan returns: the servers, what decides, how sure that is, and the data of its pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labsupport.capacity import arithmetic
from labsupport.capacity import closed_forms as forms
from labsupport.capacity import load as loads
from labsupport.capacity.inputs import Input
from labsupport.capacity.quantities import Family, number, share_text

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Limit:
    """One limit of a server: how many servers it asks for, as a fraction, whole, and with the spares."""

    name: str
    exact: float
    servers: int
    with_spare: int


@dataclass(frozen=True, eq=False)
class Spread:
    """Servers of each draw from the ranges, and how often each limit decides. One draw without ranges."""

    servers: NDArray[np.int64]
    binds: Mapping[str, float]  # share of the draws

    @property
    def p5(self) -> int:
        return self._quantile(5)

    @property
    def p50(self) -> int:
        return self._quantile(50)

    @property
    def p95(self) -> int:
        """19 of 20 draws need no more servers than this."""
        return self._quantile(95)

    def _quantile(self, percent: float) -> int:
        return int(np.percentile(self.servers, percent, method="higher"))


@dataclass(frozen=True)
class Driver:
    """One ranged input at its ends, all others in their middle; and how its draws rank with the servers'.

    The ranks are those of the servers before they are made whole, which few draws share.
    """

    name: str
    label: str
    low_text: str
    high_text: str
    servers_low: int  # at the input's 5 % end
    servers_high: int  # at its 95 % end
    rank_correlation: float  # Spearman, −1 to 1; 0 where the servers never change

    @property
    def swing(self) -> int:
        return abs(self.servers_high - self.servers_low)


@dataclass(frozen=True, eq=False)
class Curve:
    """Servers against users, everything else as planned."""

    users: Floats
    servers: Floats  # whole, with spares
    asked: Mapping[str, Floats]  # by limit, as fractions
    binding: Sequence[str]  # one name for each number of users
    spare: int
    planned_users: float
    planned_servers: int


@dataclass(frozen=True, eq=False)
class Region:
    """Where so many servers are enough, over users and message rate; rows follow `per_s`, columns `users`."""

    users: Floats
    per_s: Floats
    rate_label: str
    margins: Mapping[str, Floats]  # by limit: above 0 where it decides, a logarithm of how clearly
    exact: Floats  # servers that it takes there, spares included, as a fraction
    servers: int  # that there are
    planned_users: float
    planned_per_s: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Plan:
    """An answer to "how many servers?", with everything it rests on. Made by `plan(…)`."""

    transport: str
    inputs: Mapping[str, Input]
    family: Family | None
    spare: int  # servers that may be lost without anybody noticing: the k of N+k
    brokers: int | None  # that there are; None: as many as it takes
    seed: int
    samples: int
    question: str

    # ---- the answer at the middle of every range

    @cached_property
    def values(self) -> dict[str, float]:
        """The middle of each input, in base units."""
        return {name: one.mid for name, one in self.inputs.items()}

    @cached_property
    def load(self) -> dict[str, float]:
        """What the fleet does at the peak: connections, deliveries_per_s, out_bit_s …"""
        return {name: float(value) for name, value in loads.load(self.values, self.transport).items()}

    @cached_property
    def limits(self) -> tuple[Limit, ...]:
        """Every limit, with the servers that it asks for."""
        found = []
        for name, exact in loads.needs(self.values, self.transport).items():
            servers = float(forms.whole(exact))
            more = 0 if name == "reconnect" else self.spare
            found.append(Limit(name, float(exact), int(servers), int(max(servers, 1.0)) + more))
        return tuple(found)

    @property
    def servers(self) -> int:
        """Servers to have, spares included."""
        return max(limit.with_spare for limit in self.limits)

    @property
    def binding(self) -> str:
        """The limit that decides: "memory", "CPU" … or "broker", where no number of servers would help."""
        if (
            self.brokers is not None
            and self.brokers_needed is not None
            and self.brokers_needed > self.brokers
        ):
            return loads.BROKER
        asked = {limit.name: limit.exact for limit in self.limits}
        return list(asked)[int(loads.binding(asked, self.spare))]

    @cached_property
    def broker_per_s(self) -> float:
        """Messages/s that the broker sends on to the servers, each once to every server with a subscriber."""
        return float(loads.broker_copies_per_s(self.values, self.load, float(self.servers)))

    @cached_property
    def brokers_needed(self) -> int | None:
        """Brokers that share the topics; None where no limit of a broker was given."""
        if "broker_limit" not in self.values:
            return None
        can = self.values["broker_limit"] * self.values["use"]
        return max(1, int(forms.whole(self.broker_per_s / can)))

    @property
    def connections_per_server(self) -> float:
        """Connections of one server when all are up."""
        return self.load["connections"] / self.servers

    @property
    def take_over_s(self) -> float:
        """Seconds until the survivors have accepted the clients of one lost server; ∞ for a single server."""
        accepts = self.values["accepts"] * self.values["cores"]
        return float(forms.take_over_s(self.load["connections"], float(self.servers), accepts))

    # ---- how sure it is

    @cached_property
    def ranged(self) -> tuple[Input, ...]:
        """The inputs that were given as ranges."""
        return tuple(one for one in self.inputs.values() if one.ranged)

    @cached_property
    def _draws(self) -> dict[str, Floats]:
        return {one.name: one.draw(self.seed, self.samples) for one in self.ranged}

    @cached_property
    def spread(self) -> Spread:
        """Servers over `samples` draws of all ranged inputs, each independent of the others."""
        servers, binds = (np.atleast_1d(found) for found in self._evaluate(self._draws))
        names = [*(limit.name for limit in self.limits), loads.BROKER]
        shares = {name: float(np.mean(binds == i)) for i, name in enumerate(names)}
        return Spread(servers.astype(np.int64), {name: s for name, s in shares.items() if s > 0})

    @cached_property
    def drivers(self) -> tuple[Driver, ...]:
        """The ranged inputs, the one that moves the number of servers most first."""
        found = []
        asked = loads.most(loads.needs(self.values | self._draws, self.transport), self.spare)
        for one in self.ranged:
            at = [int(self._evaluate({one.name: np.asarray(end)})[0]) for end in (one.low, one.high)]
            rank = _rank_correlation(self._draws[one.name], asked)
            low, high = (one.write(end, self.family) for end in (one.low, one.high))
            found.append(Driver(one.name, one.label, low, high, at[0], at[1], rank))
        return tuple(sorted(found, key=lambda d: (-d.swing, -abs(d.rank_correlation))))

    def _evaluate(self, changed: Mapping[str, Any]) -> tuple[Any, Any]:
        """Servers with spares, and the index of the limit that decides (last: the broker)."""
        values = self.values | dict(changed)
        asked = loads.needs(values, self.transport)
        servers, binds = loads.fleet(asked, self.spare), loads.binding(asked, self.spare)
        if self.brokers is not None and "broker_limit" in values:
            done = loads.load(values, self.transport)
            too_much = loads.broker_copies_per_s(values, done, servers) > (
                self.brokers * np.asarray(values["broker_limit"]) * values["use"] * (1 + 1e-9)
            )
            binds = np.where(too_much, len(asked), binds)
        return servers, binds

    # ---- data for pictures

    def curve(self, users: Sequence[float] | Floats | None = None) -> Curve:
        """Servers against users; by default from a thousandth of the plan's users to ten times as many."""
        at = np.asarray(users if users is not None else self._around("users", 3.0, 1.0, 201), dtype=float)
        values = self.values | {"users": at}
        asked = loads.needs(values, self.transport)
        asked = {name: np.broadcast_to(one, at.shape) for name, one in asked.items()}
        servers, binds = self._evaluate({"users": at})
        names = [*asked, loads.BROKER]
        return Curve(
            at, np.broadcast_to(servers, at.shape), asked,
            [names[i] for i in np.broadcast_to(binds, at.shape)],
            self.spare, self.values["users"], self.servers,
        )  # fmt: skip

    def region(self, users: Any = None, per_s: Any = None, servers: int | None = None) -> Region:
        """Where `servers` (default: the plan's) are enough, and what breaks first where they are not.

        Over users and the rate of messages, per user or per room as planned; everything else as planned.
        """
        rate = self.rate_name
        x = np.asarray(users if users is not None else self._around("users", 1.5, 1.5, 161), dtype=float)
        y = np.asarray(per_s if per_s is not None else self._around(rate, 2.0, 2.0, 121), dtype=float)
        values = self.values | {"users": x[None, :], rate: y[:, None]}
        asked = loads.needs(values, self.transport)
        exact = np.broadcast_to(loads.most(asked, self.spare), (len(y), len(x)))
        limit = float(servers or self.servers)
        return Region(
            x, y, self.inputs[rate].label, self._margins(values, asked, exact), exact, int(limit),
            self.values["users"], self.values[rate],
        )  # fmt: skip

    def _margins(self, values: Any, asked: Mapping[str, Any], exact: Floats) -> dict[str, Floats]:
        rows = loads.with_spares(asked, self.spare)
        logs = np.log(np.broadcast_to(rows, (len(rows), *exact.shape)))
        broker = np.full(exact.shape, -np.inf)
        if self.brokers is not None and "broker_limit" in values:
            can = self.brokers * values["broker_limit"] * values["use"]
            done = loads.load(values, self.transport)
            broker = np.log(loads.broker_copies_per_s(values, done, np.ceil(exact)) / can)
        found = {}
        for i, name in enumerate(asked):
            others = np.delete(logs, i, axis=0)
            lead = logs[i] - (np.max(others, axis=0) if len(others) else -np.inf)
            found[name] = np.minimum(lead, -broker)
        return found | {loads.BROKER: broker}

    @property
    def rate_name(self) -> str:
        """The input that holds the message rate."""
        return "messages_per_room" if "messages_per_room" in self.inputs else "messages_per_user"

    def _around(self, name: str, below: float, above: float, points: int) -> Floats:
        middle = self.values[name] or 1.0
        return middle * np.logspace(-below, above, points)

    # ---- in words

    def summary(self) -> str:
        """The answer in a few sentences."""
        n = number(self.load["connections"])
        spares = f", {self.spare} of them spare" if self.spare else ""
        servers = f"{number(self.servers)} server{'s' if self.servers > 1 else ''}"
        said = f"{n} connections over {self.transport} need {servers}{spares}; {self._decides()}."
        if self.ranged:
            said += f" {self._how_sure()}"
        if self.brokers_needed is not None and self.binding != loads.BROKER:
            said += (
                f" The broker sends on {number(self.broker_per_s)} messages/s: "
                f"{self.brokers_needed} broker{'s' if self.brokers_needed > 1 else ''}."
            )
        return said

    def _decides(self) -> str:
        if self.binding == loads.BROKER:
            return (
                f"the broker decides: it would send on {number(self.broker_per_s)} messages/s, which takes "
                f"{self.brokers_needed} brokers and not {self.brokers}; more servers only mean more copies"
            )
        asked = sorted(self.limits, key=lambda limit: (-limit.with_spare, -limit.exact))
        second = next((limit for limit in asked if limit.name != self.binding), None)
        other = f" (next is {second.name}, with {number(second.with_spare)})" if second else ""
        return f"{self.binding} decides{other}"

    def _how_sure(self) -> str:
        s, (first, *_) = self.spread, self.drivers
        often = ", ".join(
            f"{name} in {share_text(share)}"
            for name, share in sorted(s.binds.items(), key=lambda item: -item[1])
        )
        if s.p5 == s.p95 and not first.swing:
            return f"Anywhere in the ranges it is {number(s.p50)} servers."
        return (
            f"Over the ranges, 9 plans of 10 need {number(s.p5)} to {number(s.p95)} servers, half of them no "
            f"more than {number(s.p50)}; what decides is {often} of the draws. What moves it most is "
            f"{first.label}: {number(first.servers_low)} servers at {first.low_text}, "
            f"{number(first.servers_high)} at {first.high_text}."
        )

    def table(self) -> list[dict[str, str]]:
        """A row for each limit: what is computed, with the numbers put in, and the servers that it takes."""
        return [
            {"limit": line.name, "arithmetic": line.arithmetic, "servers": line.answer}
            for line in arithmetic.limits(self)
        ]

    def plot(self, ax: Any = None) -> Any:
        """Draw the servers that each limit asks for, spares included, and return the matplotlib axes."""
        if ax is None:
            from matplotlib import pyplot as plt

            ax = plt.subplots()[1]
        names = [limit.name for limit in self.limits]
        bars = ax.barh(names, [limit.with_spare for limit in self.limits])
        for bar, name in zip(bars, names, strict=True):
            bar.set(fill=name == self.binding, hatch="" if name == self.binding else "///")
        ax.bar_label(bars, [number(limit.with_spare) for limit in self.limits], padding=3)
        ax.invert_yaxis()
        ax.set_xlabel("servers, spares included (count)")
        ax.set_title(f"{self.binding[0].upper()}{self.binding[1:]} decides: {number(self.servers)} servers")
        return ax

    def card(self, path: str | Path) -> tuple[Path, Path]:
        """Save the plan on one page, as HTML and PNG: assumption → arithmetic → check. Returns both."""
        from labsupport.capacity import card  # draws with matplotlib, which a plan alone does not need

        return card.save(self, Path(path))

    def __repr__(self) -> str:
        return self.summary()


def _rank_correlation(a: Floats, b: Floats) -> float:
    """Spearman's: Pearson's of the ranks, equal values sharing their mean rank."""
    x, y = _ranks(a), _ranks(b)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    return float(np.clip(np.corrcoef(x, y)[0, 1], -1.0, 1.0))


def _ranks(x: Floats) -> Floats:
    _, where, counts = np.unique(x, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2.0)[where]
