"""Consistent hashing: which server owns a topic, and how few topics move when a server comes or goes.

    ring = Ring(["a", "b", "c"], points=100)
    ring.owner("room 42")                      # the same on every machine that knows the same servers
    ring.moved_share(ring.add("d"))            # about 1/4, measured on the ring itself
    ring.shares()                              # how evenly: about ± 1/√points

Names are hashed to a place on a circle of 2^64 (Karger and others, 1997). A topic belongs to the first server
point at or after its place. Each server has many points ("virtual nodes"), or the pieces are very uneven. The
shares are lengths of arcs, so they are exact and need no sample of topics.

Left out: weights for servers of different size, bounded loads, and copies of a topic on the next servers.
"""

import bisect
import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labsupport.models import checks

_CIRCLE = 1 << 64


def place(name: str, seed: int = 0) -> int:
    """Return where a name lies on the circle: 64 bits of BLAKE2b, the same on every machine."""
    key = (seed % _CIRCLE).to_bytes(8, "big")
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8, key=key).digest(), "big")


class Ring:
    """Servers on a circle. A ring does not change: add() and remove() return another one."""

    def __init__(self, servers: Iterable[str], points: int = 100, seed: int = 0) -> None:
        self.servers = tuple(servers)
        if not self.servers or len(set(self.servers)) < len(self.servers):
            raise ValueError(f"expected at least one server, each name once, got {list(self.servers)!r}")
        checks.count("points", points)
        self.points, self.seed = points, seed
        pairs = sorted(
            (place(f"{server}/{point}", seed), server) for server in self.servers for point in range(points)
        )
        self._places = [at for at, _ in pairs]
        self._owners = [server for _, server in pairs]

    def owner(self, topic: str) -> str:
        """Return the server that owns a topic."""
        return self._owner_at(place(topic, self.seed))

    def _owner_at(self, at: int) -> str:
        """Return the owner of a place: the first point at or after it; behind the last, the first of all."""
        return self._owners[bisect.bisect_left(self._places, at) % len(self._owners)]

    def add(self, server: str) -> "Ring":
        """Return the ring with one server more."""
        return Ring([*self.servers, server], self.points, self.seed)

    def remove(self, server: str) -> "Ring":
        """Return the ring without this server, whose topics go to all the others."""
        if server not in self.servers:
            raise ValueError(f"no server {server!r} on this ring: expected one of {', '.join(self.servers)}")
        return Ring([one for one in self.servers if one != server], self.points, self.seed)

    def shares(self) -> dict[str, float]:
        """Return the share of the circle, so of all possible topics, that each server owns."""
        lengths = dict.fromkeys(self.servers, 0)
        before = self._places[-1] - _CIRCLE
        for at, server in zip(self._places, self._owners, strict=True):
            lengths[server] += at - before
            before = at
        return {server: length / _CIRCLE for server, length in lengths.items()}

    @property
    def spread(self) -> float:
        """Standard deviation of the shares, as a part of their mean; 0 for one server."""
        shares = np.array(list(self.shares().values()))
        return float(shares.std() / shares.mean())

    def moved_share(self, other: "Ring") -> float:
        """Return the share of all possible topics that the other ring gives to another server."""
        ends = sorted({*self._places, *other._places})
        moved, before = 0, ends[-1] - _CIRCLE
        for at in ends:  # between two ends each ring has one owner, the one at the end
            if self._owner_at(at) != other._owner_at(at):
                moved += at - before
            before = at
        return moved / _CIRCLE

    def load(self, topics: Sequence[str], messages_per_s: Any) -> NDArray[np.float64]:
        """Return messages/s at each server, in the order of `servers`, for topics with these rates."""
        rates = np.broadcast_to(np.asarray(messages_per_s, dtype=float), (len(topics),))
        number = {server: index for index, server in enumerate(self.servers)}
        owners = [number[self.owner(topic)] for topic in topics]
        load = np.zeros(len(self.servers))
        np.add.at(load, owners, rates)
        return load

    def plot(self, ax: Any = None, **bars: Any) -> Any:
        """Draw each server's share of the topics, and return the matplotlib axes."""
        if ax is None:
            from matplotlib import pyplot as plt

            ax = plt.subplots()[1]
        percent = [100.0 * share for share in self.shares().values()]
        ax.bar(range(len(percent)), percent, **bars)
        ax.axhline(100.0 / len(percent), color="grey", linewidth=1)
        ax.set_xlabel("server (number)")
        ax.set_ylabel("share of the topics (%)")
        ax.set_title(
            f"With {self.points} points each, the fullest server owns {max(percent):.3g} % of the topics"
        )
        return ax


def moved_by_modulo(topics: Iterable[str], servers: int, seed: int = 0) -> float:
    """Return the share of these topics that move from S to S + 1 servers where number = hash mod S."""
    checks.count("servers", servers)
    places = [place(topic, seed) for topic in topics]
    if not places:
        raise ValueError("topics must hold at least one name")
    return sum(at % servers != at % (servers + 1) for at in places) / len(places)
