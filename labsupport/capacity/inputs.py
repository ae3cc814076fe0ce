"""What goes into a plan: each input with its unit, its range, and where it is from."""

import math
import zlib
from dataclasses import dataclass, fields
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from labsupport.capacity import quantities as q
from labsupport.capacity.quantities import Between, Dimension, Family, Quantity

Kind = Dimension | Literal["count", "share"]

Z95 = NormalDist().inv_cdf(0.95)
SHARE_TOP = 1.0


@dataclass(frozen=True)
class Server:
    """One server of the fleet. Each field a value or `between(…)`.

    memory and network say their unit; `cores` run one process each; `descriptors` is what one process may
    have (ulimit -n; systemd lets a service go up to 524 288). `connections`: a limit that you know or choose.
    """

    memory: Any = None  # 16 GB
    cores: Any = None  # 8
    network: Any = None  # 10 Gbit/s, each way
    descriptors: Any = None  # 524 288 a process
    connections: Any = None


@dataclass(frozen=True)
class Costs:
    """What one connection and one message cost. None: the profile says. Each a value or `between(…)`.

    `connection` is everything that one connection takes, where process, kernel and TLS are not told apart.
    """

    connection: Any = None  # bytes
    process: Any = None  # bytes
    kernel: Any = None  # bytes, the server's end
    tls: Any = None  # bytes
    queued: Any = None  # bytes waiting for slow readers, mean over all connections
    base: Any = None  # bytes of one process that holds no connection
    overhead: Any = None  # bytes around one message (or one empty answer) to the client
    request: Any = None  # bytes of one poll from the client
    push: Any = None  # seconds of CPU to write one message to one connection
    ping: Any = None  # seconds of CPU
    poll: Any = None  # seconds of CPU to answer a poll
    receive: Any = None  # seconds of CPU to take one message from the broker
    accepts: Any = None  # new connections a second, by one core


@dataclass(frozen=True)
class Spec:
    """How an input is read: its words on the card, its unit, and its bounds."""

    label: str
    kind: Kind
    zero: bool = False  # whether 0 is allowed


SPECS: dict[str, Spec] = {
    "users": Spec("users", "count"),
    "online": Spec("share online at the peak", "share"),
    "messages_per_user": Spec("messages that one online user sends", "1/s", zero=True),
    "messages_per_room": Spec("messages in one room", "1/s", zero=True),
    "members": Spec("online members that one message goes to", "count"),
    "message": Spec("one message", "bytes"),
    "heartbeat": Spec("time between two pings of a connection", "s"),
    "poll_interval": Spec("time between two polls of a client", "s"),
    "hold": Spec("time that a poll is held", "s"),
    "round_trip": Spec("round trip to a client", "s", zero=True),
    "memory": Spec("memory of a server", "bytes"),
    "cores": Spec("cores of a server, a process on each", "count"),
    "network": Spec("network of a server, each way", "bit/s"),
    "descriptors": Spec("descriptors of a process", "count"),
    "connections": Spec("connections that a server may hold", "count"),
    "process": Spec("process memory of a connection", "bytes", zero=True),
    "kernel": Spec("kernel memory of a connection", "bytes", zero=True),
    "tls": Spec("TLS memory of a connection", "bytes", zero=True),
    "queued": Spec("bytes queued for a connection, mean", "bytes", zero=True),
    "base": Spec("a process without connections", "bytes", zero=True),
    "overhead": Spec("bytes around a message", "bytes", zero=True),
    "request": Spec("bytes of a poll", "bytes", zero=True),
    "push": Spec("CPU time of a push", "s", zero=True),
    "ping": Spec("CPU time of a ping", "s", zero=True),
    "poll": Spec("CPU time of a poll", "s", zero=True),
    "receive": Spec("CPU time of a message from the broker", "s", zero=True),
    "accepts": Spec("new connections that a core accepts", "1/s"),
    "use": Spec("how full a server may be", "share"),
    "headroom": Spec("memory kept free for the system", "share", zero=True),
    "reconnect_within": Spec("time in which a lost server's clients must be back", "s"),
    "broker_limit": Spec("messages that one broker sends on", "1/s"),
    # What a chat keeps besides its connections: chat.py.
    "rooms": Spec("rooms that an online user is in", "count"),
    "beat": Spec("time between two writes of a presence key", "s"),
    "lives": Spec("time that a presence key lives", "s"),
    "session": Spec("time that a user stays online", "s"),
    "watchers": Spec("online people who are told when somebody comes or goes", "count"),
    "mean": Spec("mean of a day, as a share of the peak", "share"),
    "row": Spec("bytes of a stored message besides its text", "bytes", zero=True),
    "copies": Spec("copies of each stored message", "count"),
    "busiest": Spec("the busiest room, in ordinary ones", "count"),
}


@dataclass(frozen=True)
class Input:
    """One assumption. `mid` is used for the plan itself; low and high are the 5 % and 95 % quantiles."""

    name: str
    label: str
    kind: Kind
    mid: float
    low: float
    high: float
    source: str
    family: Family | None = None

    @property
    def ranged(self) -> bool:
        return self.high > self.low

    def draw(self, seed: int, samples: int) -> NDArray[np.float64]:
        """`samples` draws; each input has its own stream, so that one more range moves no other's draws."""
        rng = np.random.default_rng([seed, zlib.crc32(self.name.encode())])
        low, high = (_logit(x) if self.kind == "share" else math.log(x) for x in (self.low, self.high))
        z = (low + high) / 2 + (high - low) / 2 / Z95 * rng.standard_normal(samples)
        return 1.0 / (1.0 + np.exp(-z)) if self.kind == "share" else np.exp(z)

    def write(self, value: float, family: Family | None = None) -> str:
        """A value of this input as a person reads it."""
        if value == math.inf:
            return "all who are online"
        if self.kind == "bytes":
            return q.size_text(value, family)
        writers = {"bit/s": q.bit_rate, "s": q.time_text, "1/s": q.per_second, "share": q.share_text}
        return writers.get(self.kind, q.number)(value)

    def text(self, family: Family | None = None) -> str:
        """The value, and its range if it has one."""
        if not self.ranged:
            return self.write(self.mid, family)
        low, mid, high = (self.write(value, family) for value in (self.low, self.mid, self.high))
        return f"{mid} ({low} to {high})"


def read(name: str, given: object, source: str = "given", label: str = "") -> Input:
    """An input from what was given: a value, or a range of it. Refuses what its Spec does not allow."""
    spec = SPECS[name]
    if not isinstance(given, Between):
        value, family = _value(name, given, spec)
        return Input(name, label or spec.label, spec.kind, value, value, value, source, family)
    (low, one), (high, other) = (_value(name, end, spec) for end in (given.low, given.high))
    if not low < high:
        raise ValueError(f"{name}: between() takes the lower end first, got {given.low!r} and {given.high!r}")
    if low <= 0 or (spec.kind == "share" and high >= SHARE_TOP):
        edge = "above 0 and below 1" if spec.kind == "share" else "above 0"
        raise ValueError(
            f"{name}: the ends of a range must lie {edge} (one in twenty lies beyond each), "
            f"got {given.low!r} and {given.high!r}"
        )
    if spec.kind == "share":
        mid = 1.0 / (1.0 + math.exp(-(_logit(low) + _logit(high)) / 2))
    else:
        mid = math.sqrt(low * high)
    if one and other and one != other:
        q.one_family([(f"{name}'s low end", _size(given.low)), (f"{name}'s high end", _size(given.high))])
    words = f"{source}: {given.why}" if given.why and source == "given" else source
    return Input(name, label or spec.label, spec.kind, mid, low, high, words, one or other)


def known(name: str, value: float, source: str) -> Input:
    """An input in base units, from the profile or assumed."""
    return Input(name, SPECS[name].label, SPECS[name].kind, value, value, value, source)


def _value(name: str, given: object, spec: Spec) -> tuple[float, Family | None]:
    if spec.kind in q.UNITS:
        quantity = Quantity.parse(name, given, spec.kind)
        value, family = quantity.value, quantity.family
    else:
        expected = (
            "a share from 0 to 1 (0.1 means 10 %)"
            if spec.kind == "share"
            else "a plain number such as 10_000_000"
        )
        if isinstance(given, bool) or not isinstance(given, int | float | np.number):
            raise TypeError(f"{name} must be {expected}, got {given!r}")
        value, family = float(given), None
        if not math.isfinite(value) or value < 0 or (spec.kind == "share" and value > 1):
            raise ValueError(f"{name} ({spec.label}) must be {expected}, got {given!r}")
    if value == 0 and not spec.zero:
        raise ValueError(f"{name} ({spec.label}) must be above 0, got {given!r}")
    return value, family


def _size(given: object) -> Quantity:
    return Quantity.parse("an end", given, "bytes")


def _logit(share: float) -> float:
    return math.log(share / (1.0 - share))


def given_fields(group: Server | Costs) -> dict[str, Any]:
    """What was set in a group of inputs."""
    return {f.name: value for f in fields(group) if (value := getattr(group, f.name)) is not None}


def family_of(inputs: dict[str, Input]) -> Family | None:
    """The family of all sizes; UnitError when two of them differ."""
    sizes = [
        (one.name, Quantity(one.mid, "bytes", one.text(one.family), one.family))
        for one in inputs.values()
        if one.kind == "bytes"
    ]
    return q.one_family(sizes)
