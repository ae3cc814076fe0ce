"""How long to wait before the next attempt: the policies that clients really use, as small pure objects.

A policy answers one question: after `attempt` failures (0, 1, 2 …), at a draw `u` in [0, 1) how many seconds?

    FullJitter(base_s=1, cap_s=30).wait_s(attempt=3, u=0.5)     # 4.0: half of min(30, 1·2³)
    waits = FullJitter().waits(seed=20, client=7)               # one client's waits, one after the other
    waits.next(), waits.next(), waits.reset()

The same objects drive real clients and models, so both wait alike: u is `draw(seed, client, attempt)`.
For engines there is `step(attempt, u, state) -> (wait_s, state)`; `state` is the one float that a policy
keeps of a client. `step` also takes numpy arrays, one element per client, and then gives the same bits.

In the formulas: a is the attempt, U(x, y) = x + u·(y − x), and v = min(cap, base·2^a).
"""

import math
import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from labsupport import draws as bits
from labsupport.draws import Counts, Floats, draw

# ---- what all policies share -------------------------------------------------------------------------------


class Waits:
    """One client's waits: an iterator, with a counter of failures that a healthy connection sets back.

    Draws are numbered by waits taken, not by failures: after a reset a client does not repeat its old waits.
    """

    __slots__ = ("_key", "_policy", "_state", "_taken", "attempt")

    def __init__(self, policy: "Policy", seed: int, client: int) -> None:
        self._policy = policy
        self._key = bits.stream(seed, client)
        self._state: Floats = policy.first_state(draw(seed, client, 0, bits.ONCE))
        self._taken = 0
        self.attempt = 0  # failures since the last reset

    def next(self) -> float | None:
        """Return the seconds to wait before the next attempt; None when the policy gives up."""
        limit = self._policy.gives_up_after
        if limit is not None and self.attempt >= limit:
            return None
        u = bits.draw_from(self._key, self._taken)
        wait_s, self._state = self._policy.step(self.attempt, u, self._state)
        self.attempt += 1
        self._taken += 1
        return float(wait_s)

    def reset(self) -> None:
        """Start again at attempt 0. Call it once the link has been healthy for a while, not when it opens."""
        self.attempt = 0
        self._state = self._policy.after_reset(self._state)

    def __iter__(self) -> Iterator[float]:
        return self

    def __next__(self) -> float:
        wait_s = self.next()
        if wait_s is None:
            raise StopIteration
        return wait_s


@dataclass(frozen=True)
class Policy(ABC):
    """A rule for waiting: `step` holds the formula, fields ending in `_s` are seconds."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            several = isinstance(value, tuple)
            known = tuple(_checked(self, field.name, one) for one in (value if several else (value,)))
            object.__setattr__(self, field.name, known if several else known[0])

    @abstractmethod
    def step(self, attempt: Counts, u: Floats, state: Floats) -> tuple[Floats, Floats]:
        """Return (seconds to wait, state for the next step). Unchecked and fast; floats or arrays."""

    @property
    def min_wait_s(self) -> float:
        """No wait is shorter, whatever the draws: the smallest at u = 0, since no wait falls as u grows."""
        state = self.first_state(0.0)
        return float(min(self.step(attempt, 0.0, state)[0] for attempt in range(100)))

    @property
    def gives_up_after(self) -> int | None:
        """Number of waits after which the client stops for good (`step` does not look at it); None: never."""
        return None

    def first_state(self, u_once: Floats) -> Floats:
        """Return a client's state before its first failure; `u_once` is drawn once in its life."""
        return 0.0 * u_once

    def after_reset(self, state: Floats) -> Floats:
        """Return the state after a healthy connection."""
        return self.first_state(0.0 * state)

    def wait_s(self, attempt: int, u: float, state: float | None = None) -> float:
        """Return the seconds to wait after `attempt` failures at draw `u`; infinity once it has given up.

        Where the earlier waits matter, give the `state`; without it, all earlier draws are taken as `u` too.
        """
        if isinstance(attempt, bool) or not hasattr(attempt, "__index__") or attempt < 0:
            raise ValueError(f"attempt counts failures: expected 0, 1, 2 …, got {attempt!r}")
        if not 0.0 <= u <= 1.0:
            raise ValueError(f"u is a draw in [0, 1), got {u!r}; try draw(seed, client, attempt)")
        if self.gives_up_after is not None and attempt >= self.gives_up_after:
            return math.inf
        if state is None:
            state = self.first_state(u)
            for earlier in range(attempt if isinstance(self, (Decorrelated, Polly)) else 0):
                state = self.step(earlier, u, state)[1]
        return float(self.step(attempt, u, state)[0])

    def waits(self, *, seed: int | None = None, client: int = 0) -> Waits:
        """Return one client's waits: repeatable with a seed; without one, the operating system picks it."""
        return Waits(self, secrets.randbits(64) if seed is None else seed, client)


def _checked(policy: Policy, name: str, value: Any) -> float:
    """Return the value as a float, or say what is wrong with it."""
    where = f"{type(policy).__name__}: {name}"
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise TypeError(f"{where} must be a number, got {value!r}")
    number = float(value)
    if not number >= 0.0 or (number == math.inf and name != "cap_s"):
        raise ValueError(f"{where} must be 0 or more and finite (only cap_s may be math.inf), got {value!r}")
    if name == "jitter" and number > 1.0:
        raise ValueError(f"{where} is a share of the wait: expected 0 to 1, got {value!r}")
    return number


# ---- the textbook's policies -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fixed(Policy):
    """Always `delay_s`. EventSource: 3 s in Chromium, 5 s in Firefox, unless the server sends `retry:`."""

    delay_s: float

    def step(self, attempt: Counts, u: Floats, state: Floats) -> tuple[Floats, Floats]:
        return self.delay_s + 0.0 * u, state


@dataclass(frozen=True)
class Exponential(Policy):
    """v = min(cap, base·2^a). Without jitter: clients that fell together come back together, for ever."""

    base_s: float = 1.0
    cap_s: float = 30.0

    def ceiling_s(self, attempt: Counts) -> Floats:
        """Return v = min(cap, base·2^a)."""
        return bits.entry(bits.growth(self.base_s, 2.0, self.cap_s), attempt)

    def step(self, attempt: Counts, u: Floats, state: Floats) -> tuple[Floats, Floats]:
        return self.ceiling_s(attempt) + 0.0 * u, state


@dataclass(frozen=True)
class PageSample(Exponential):
    """v + U(0, jitter·v): the course page's sample. Jitter goes on top of the cap: 30 s really means 45 s."""

    jitter: float = 0.5

    def step(self, attempt: Counts, u: Floats, state: Floats) -> tuple[Floats, Floats]:
        v = self.ceiling_s(attempt)
        return v + u * (self.jitter * v), state


@dataclass(frozen=True)
class EqualJitter(Exponential):
    """v/2 + U(0, v/2): at least half of the ceiling. Source: AWS, "Exponential Backoff And Jitter" (2015)."""

    def step(self, attempt: Counts, u: Floats, state: Floats) -> tuple[Floats, Floats]:
        half = self.ceiling_s(attempt) / 2.0
        return half + u * half, state


@dataclass(frozen=True)
class FullJitter(Exponential):
    """U(0, v): anything up to the ceiling. Source: AWS, "Exponential Backoff And Jitter" (2015)."""

    def step(self, attempt: Counts, u: Floats, state: Floats) -> tuple[Floats, Floats]:
        return u * self.ceiling_s(attempt), state


@dataclass(frozen=True)
class Decorrelated(Policy):
    """s ← min(cap, U(base, 3·s)), s₀ = base: grows from the last wait, not from a count. Source: AWS 2015."""

    base_s: float = 1.0
    cap_s: float = 30.0

    def first_state(self, u_once: Floats) -> Floats:
        return self.base_s + 0.0 * u_once

    def step(self, attempt: Counts, u: Floats, state: Floats) -> tuple[Floats, Floats]:
        wait = bits.least(self.cap_s, self.base_s + u * (3.0 * state - self.base_s))
        return wait, wait


@dataclass(frozen=True)
class RandomFirst(Exponential):
    """First U(0, first), then U(0, v). Source: RFC 6455 §7.2.3 (first 0 to 5 s, then exponential)."""

    first_s: float = 5.0

    def step(self, attempt: Counts, u: Floats, state: Floats) -> tuple[Floats, Floats]:
        return u * bits.choose(attempt == 0, self.first_s, self.ceiling_s(attempt)), state


@dataclass(frozen=True)
class UniformWindow(Policy):
    """U(0, window), always the same window: with N clients, W = N / (accepts per second) just fits."""

    window_s: float

    def step(self, attempt: Counts, u: Floats, state: Floats) -> tuple[Floats, Floats]:
        return u * self.window_s, state


# ---- what named clients do ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class GRPC(Policy):
    """First 1 s, no jitter; then b ← min(1.6·b, 120) from b = 1, and U(0.8·b, 1.2·b).

    Counted from the start of the failed attempt. Source: grpc/grpc, doc/connection-backoff.md.
    """

    base_s: float = 1.0
    cap_s: float = 120.0
    factor: float = 1.6
    jitter: float = 0.2

    def step(self, attempt: Counts, u: Floats, state: Floats) -> tuple[Floats, Floats]:
        b = bits.entry(bits.growth(self.base_s, self.factor, self.cap_s), attempt)
        spread = (1.0 - self.jitter) + u * (2.0 * self.jitter)
        return b * bits.choose(attempt == 0, 1.0 + 0.0 * u, spread), state


@dataclass(frozen=True)
class SocketIO(Policy):
    """ms = 1000·2^a, r = u; ms ∓ ⌊r·0.5·ms⌋ (minus if ⌊10·r⌋ is even); then min(ms, 5000), whole ms.

    The cap comes after the jitter and eats it: from a = 4 on, all wait exactly 5 s.
    Source: socket.io-client 4, contrib/backo2 (its overflow after some 1 000 failures is left out).
    """

    base_s: float = 1.0
    cap_s: float = 5.0
    jitter: float = 0.5

    def step(self, attempt: Counts, u: Floats, state: Floats) -> tuple[Floats, Floats]:
        ms = bits.entry(bits.growth(1000.0 * self.base_s, 2.0, math.inf), attempt)
        deviation = bits.floor(u * self.jitter * ms)
        ms = bits.choose(bits.floor(u * 10.0) % 2.0 == 0.0, ms - deviation, ms + deviation)
        return bits.floor(bits.least(ms, 1000.0 * self.cap_s)) / 1000.0, state

    @property
    def min_wait_s(self) -> float:
        return bits.floor(min(1000.0 * self.base_s * (1.0 - self.jitter), 1000.0 * self.cap_s)) / 1000.0


@dataclass(frozen=True)
class Phoenix(Policy):
    """10, 50, 100, 150, 200, 250, 500, 1000, 2000, then 5000 ms; no jitter. Source: Phoenix.js 1.8."""

    waits_s: tuple[float, ...] = (0.01, 0.05, 0.1, 0.15, 0.2, 0.25, 0.5, 1.0, 2.0, 5.0)

    def step(self, attempt: Counts, u: Floats, state: Floats) -> tuple[Floats, Floats]:
        return bits.entry(self.waits_s, attempt) + 0.0 * u, state


@dataclass(frozen=True)
class SignalR(Phoenix):
    """0, 2, 10, 30 s, then it gives up; no jitter. Source: @microsoft/signalr, DefaultReconnectPolicy."""

    waits_s: tuple[float, ...] = (0.0, 2.0, 10.0, 30.0)

    @property
    def gives_up_after(self) -> int:
        return len(self.waits_s)


@dataclass(frozen=True)
class ActionCable(Policy):
    """6·1.15^min(a, 10)·(1 + j·u), j = 1 for a = 0, else 0.15. Source: Rails, connection_monitor.js."""

    base_s: float = 6.0
    rate: float = 0.15

    def step(self, attempt: Counts, u: Floats, state: Floats) -> tuple[Floats, Floats]:
        grown = bits.entry(bits.growth(self.base_s, 1.0 + self.rate, math.inf)[:11], attempt)
        return grown * (1.0 + bits.choose(attempt == 0, 1.0, self.rate) * u), state


@dataclass(frozen=True)
class Websockets(Policy):
    """First U(0, 5), then 3.1·1.618^(a−1) up to 90, no jitter. Source: Python websockets, client.backoff."""

    first_s: float = 5.0
    base_s: float = 3.1
    cap_s: float = 90.0
    factor: float = 1.618

    def step(self, attempt: Counts, u: Floats, state: Floats) -> tuple[Floats, Floats]:
        table = (0.0, *bits.growth(self.base_s, self.factor, self.cap_s))
        return bits.choose(attempt == 0, u * self.first_s, bits.entry(table, attempt) + 0.0 * u), state


@dataclass(frozen=True)
class ReconnectingWebsocket(Policy):
    """min(10, (1 + 4·u_once)·1.3^a): one draw for a client's life. Source: reconnecting-websocket 4."""

    base_s: float = 1.0
    spread_s: float = 4.0
    cap_s: float = 10.0
    factor: float = 1.3

    def first_state(self, u_once: Floats) -> Floats:
        return self.base_s + u_once * self.spread_s

    def after_reset(self, state: Floats) -> Floats:
        return state

    def step(self, attempt: Counts, u: Floats, state: Floats) -> tuple[Floats, Floats]:
        grown = state * bits.entry(bits.growth(1.0, self.factor, math.inf), attempt)
        return bits.least(self.cap_s, grown), state


@dataclass(frozen=True)
class Centrifuge(Exponential):
    """min(cap, base + U(0, v)). Source: centrifuge-js, utils.backoff (there in whole milliseconds)."""

    base_s: float = 0.5
    cap_s: float = 20.0

    def step(self, attempt: Counts, u: Floats, state: Floats) -> tuple[Floats, Floats]:
        return bits.least(self.cap_s, self.base_s + u * self.ceiling_s(attempt)), state


@dataclass(frozen=True)
class Polly(Policy):
    """t = a + u, n = 2^t·tanh(√(4t)); wait = min(cap, (n − prev)/1.4·median); prev ← n, first 0.

    Source: Polly, DecorrelatedJitterBackoffV2 (like it, always the cap once 2^t nears overflow).
    """

    median_s: float = 1.0
    cap_s: float = 30.0

    def step(self, attempt: Counts, u: Floats, state: Floats) -> tuple[Floats, Floats]:
        t = bits.least(attempt, 900) + u
        n = bits.exp2(t) * bits.tanh(bits.sqrt(4.0 * t))
        wait = bits.least(self.cap_s, (n - state) / 1.4 * self.median_s)
        wait = bits.choose(wait > 0.0, wait, 0.0 * u)  # n grows with t, but its last bit may not
        return bits.choose(attempt > 900, self.cap_s + 0.0 * u, wait), n


@dataclass(frozen=True)
class Stamina(Exponential):
    """min(cap, base·2^a + U(0, spread)). Source: stamina.retry (which also stops after 10 tries or 45 s)."""

    base_s: float = 0.1
    cap_s: float = 5.0
    spread_s: float = 1.0

    def step(self, attempt: Counts, u: Floats, state: Floats) -> tuple[Floats, Floats]:
        return bits.least(self.cap_s, self.ceiling_s(attempt) + u * self.spread_s), state


NAMED_CLIENTS: dict[str, Policy] = {
    "EventSource (Chromium)": Fixed(3.0),
    "EventSource (Firefox)": Fixed(5.0),
    "gRPC": GRPC(),
    "Socket.IO 4": SocketIO(),
    "Phoenix.js 1.8": Phoenix(),
    "SignalR": SignalR(),
    "ActionCable": ActionCable(),
    "Python websockets": Websockets(),
    "reconnecting-websocket": ReconnectingWebsocket(),
    "centrifuge-js": Centrifuge(),
    "Polly V2": Polly(),
    "stamina": Stamina(),
}
