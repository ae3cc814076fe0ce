"""A deploy, modelled: three ways to replace all servers under their clients, and what each way costs.

    roll = Roll("drain", clients=300, ends_s=(0, 1.1, 2.2), gone_s=(0.6, 1.7, 2.8), back_s=(1, 2.1, 3.2))
    run = simulate(roll, FullJitter(base_s=0.5, cap_s=4), seed=20)
    print(run.summary())
    simulate(Roll(**measured.roll()), policy, seed)    the same roll as one of labsupport.measure.rehearsal
    print(beside(measured, modelled))

What happens. Client i begins on server i mod S. From `ends_s[k]` to `back_s[k]` server k is away:

    "at once"   it is killed, and its clients notice at once. It stays on the list, and who tries it fails
    "drain"     it is off the list meanwhile. Its clients are sent away in ten batches, `drain_s`/10 apart, in
                the order they came; whoever waits for a handshake there is refused
    "rotate"    new servers are on the list from 0 on. Client i leaves after U(0, `life_s`), and goes at once

A client that was cut off waits by its policy (labsupport/backoff.py), draws a server from the list, each as
likely, and after a failure waits longer; once it is back it begins afresh. Each server has the queue of
models/reconnect.py: C = `accepts_per_s`, Q = `accept_queue`. Time is in whole nanoseconds, inside.

Draws. Waits: lane WAIT, as the clients' own; servers: lane PLACE, by the number of the attempt; lives: lane
LIFETIME. The real clients draw the same, so the two runs are one, until times differ.

Lost messages are computed and not drawn: with `messages_per_s` at even distances a client that does not
resume loses the rate times the time that it was away; one that does loses none. Every second client does.

Left out: the time for a handshake and for the join behind it (some milliseconds each: all that a rotation
costs), and that a server which is killed takes messages with it that it had not yet sent. Checked against the
closed form below, and against real servers (tests/measure/test_rehearsal.py).
"""

import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
import simpy
from numpy.typing import ArrayLike, NDArray

from labsupport.backoff import Policy, Waits
from labsupport.draws import LIFETIME, PLACE, draw
from labsupport.models import checks
from labsupport.models.reconnect_storm import NS, Queue, nanoseconds

WAYS = ("at once", "drain", "rotate")
BATCHES = 10  # as servers/core/websocket.py sends its clients away
MOST_CLIENTS = 100_000

Process = Generator[simpy.Event, Any, None]
Times = NDArray[np.float64]


@dataclass(frozen=True)
class Roll:
    """What is rolled, how, and when. Seconds after its beginning; one element per server in `…_s` tuples.

    ends_s   it is told to end, or killed      gone_s   its process has ended (not used by the model)
    back_s   it is on the list again, and takes clients
    """

    way: str
    clients: int = 300
    accepts_per_s: float = 100.0
    accept_queue: int = 30
    messages_per_s: float = 10.0
    drain_s: float = 0.6
    life_s: float = 3.0
    ends_s: tuple[float, ...] = (0.0, 0.0, 0.0)
    gone_s: tuple[float, ...] = (0.0, 0.0, 0.0)
    back_s: tuple[float, ...] = (0.7, 0.7, 0.7)

    def __post_init__(self) -> None:
        checks.choice("way", self.way, WAYS)
        checks.count("clients", self.clients)
        checks.count("accept_queue", self.accept_queue)
        checks.rate("accepts_per_s", self.accepts_per_s, zero=False)
        checks.rate("messages_per_s", self.messages_per_s)
        for name in ("drain_s", "life_s", "ends_s", "back_s"):
            checks.seconds(name, getattr(self, name))
        if self.clients > MOST_CLIENTS:
            raise ValueError(f"clients must be at most {MOST_CLIENTS:,}, got {self.clients:,}")
        if len(self.ends_s) != len(self.back_s) or len(self.ends_s) < 1 + (self.way == "drain"):
            raise ValueError(
                f"expected a time in ends_s and one in back_s for each server (two or more to drain), "
                f"got {len(self.ends_s)} and {len(self.back_s)}"
            )

    @property
    def servers(self) -> int:
        return len(self.ends_s)


@dataclass(frozen=True, eq=False, kw_only=True)
class RolledRun:
    """What a simulated roll gives, under the names of a measured one.

    attempt_times_s, attempt_failed   one element per attempt, in order of time
    away          (client, from, to) of each time without a connection
    on_server     how many clients each server has in the end
    """

    roll: Roll
    policy: Any
    seed: int
    attempt_times_s: Times
    attempt_failed: NDArray[np.bool_]
    away: tuple[tuple[int, float, float], ...]
    on_server: tuple[int, ...]

    @property
    def way(self) -> str:
        return self.roll.way

    @property
    def clients(self) -> int:
        return self.roll.clients

    @property
    def refused(self) -> int:
        """Attempts that failed."""
        return int(self.attempt_failed.sum())

    @property
    def peak_attempts_in_100ms(self) -> int:
        """Attempts in the busiest tenth of a second."""
        return int(self.attempts_per_bin()[1].max(initial=0))

    def attempts_per_bin(self, bin_s: float = 0.1) -> tuple[Times, NDArray[np.int64]]:
        """The left edges of the bins in seconds, and the attempts in each."""
        bins = (self.attempt_times_s / bin_s).astype(np.int64)
        counts = np.bincount(bins, minlength=int(np.ceil(self.seconds / bin_s))).astype(np.int64)
        return np.arange(len(counts), dtype=np.float64) * bin_s, counts

    @property
    def seconds(self) -> float:
        """Until everybody is back, and every server."""
        back = self.roll.back_s if self.way != "rotate" else ()
        return max([end_s for _, _, end_s in self.away] + [*back], default=0.0)

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
    def lost_without_resume(self) -> float:
        """Messages that the odd clients, which do not resume, lose on average: rate × time away."""
        return float(self.roll.messages_per_s * self.away_s[1::2].sum())

    @property
    def lost_with_resume(self) -> float:
        """The same of the even ones, which do: none."""
        return 0.0

    def summary(self) -> str:
        """The run in a few sentences."""
        times, peak = f"{self.moves_per_client:.2f}", self.peak_attempts_in_100ms
        return (
            f"{self.way}, modelled: {self.clients} clients are connected anew {times} times each. "
            f"{peak} attempts come in the busiest tenth of a second, and {self.refused} of all fail. "
            f"Each is away for {self.mean_away_s:.2f} s, at most {self.longest_away_s:.2f} s. "
            f"Lost: {self.lost_without_resume:.0f} messages by the half that does not resume, "
            "none by the half that does."
        )


class Server:
    """One server: its queue, and who is inside, in the order they came."""

    def __init__(self, roll: Roll, number: int) -> None:
        self.queue = Queue(roll.accepts_per_s, roll.accept_queue)
        self.inside: dict[Client, None] = {}
        rotates = roll.way == "rotate"
        self.ends_ns = None if rotates else nanoseconds(roll.ends_s[number])
        self.back_ns = 0 if rotates else nanoseconds(roll.back_s[number])

    def away(self, now_ns: int) -> bool:
        return self.ends_ns is not None and self.ends_ns <= now_ns < self.back_ns

    def arrive(self, now_ns: int) -> tuple[bool, int]:
        """(whether it is let in, when that is known)."""
        if self.away(now_ns):
            return False, now_ns
        done_ns = self.queue.admit(now_ns)
        if done_ns is None:
            return False, now_ns
        if self.ends_ns is not None and now_ns < self.ends_ns < done_ns:
            return False, self.ends_ns  # it was waiting for its turn when the server was told to end
        return True, done_ns


class World:
    """The servers, the list of addresses, and what is noted."""

    def __init__(self, roll: Roll, seed: int) -> None:
        self.roll, self.seed = roll, seed
        self.env = simpy.Environment(initial_time=0)
        self.servers = [Server(roll, number) for number in range(roll.servers)]
        self.attempts: list[tuple[int, bool]] = []
        self.away: list[tuple[int, int, int]] = []

    def listed(self) -> list[Server]:
        """The addresses that a client may choose from now."""
        if self.roll.way != "drain":
            return self.servers
        here = [server for server in self.servers if not server.away(int(self.env.now))]
        return here or self.servers

    def end(self, server: Server) -> Process:
        """Kill a server, or drain it."""
        assert server.ends_ns is not None
        yield self.env.timeout(server.ends_ns)
        leaving = list(server.inside)
        batches = BATCHES if self.roll.way == "drain" else 1
        size = math.ceil(len(leaving) / batches) or 1
        for first in range(0, len(leaving), size):
            if first:
                yield self.env.timeout(nanoseconds(self.roll.drain_s / batches))
            for client in leaving[first : first + size]:
                client.cut()


class Client:
    """One client: connected, cut off, on its way back, connected."""

    def __init__(self, number: int, world: World, waits: Waits) -> None:
        self.number, self.world, self.waits = number, world, waits
        self.attempts = 0
        self.lost = world.env.event()
        self.server = world.servers[number % len(world.servers)]
        if world.roll.way != "rotate":
            self.server.inside[self] = None

    def cut(self) -> None:
        self.server.inside.pop(self, None)
        self.lost.succeed()

    def live(self) -> Process:
        env = self.world.env
        while True:
            yield self.lost
            self.lost = env.event()
            yield from self._come_back(first_at_once=False)

    def move(self) -> Process:
        """A rotation: leave at the end of the connection's life, and go where the list says now."""
        left_s = draw(self.world.seed, self.number, 0, LIFETIME) * self.world.roll.life_s
        yield self.world.env.timeout(nanoseconds(left_s))
        yield from self._come_back(first_at_once=True)

    def _come_back(self, first_at_once: bool) -> Process:
        env, since_ns, at_once = self.world.env, int(self.world.env.now), first_at_once
        while True:
            if not at_once:
                wait_s = self.waits.next()
                if wait_s is None:  # its policy gives up: it is away until the end
                    self.world.away.append((self.number, since_ns, since_ns))
                    return
                yield env.timeout(nanoseconds(wait_s))
            at_once, began_ns = False, int(env.now)
            listed = self.world.listed()
            u = draw(self.world.seed, self.number, self.attempts, PLACE)
            server = listed[int(u * len(listed))]
            self.attempts += 1
            let_in, known_ns = server.arrive(began_ns)
            self.world.attempts.append((began_ns, not let_in))
            yield env.timeout(known_ns - began_ns)
            if let_in:
                break
        self.server = server
        server.inside[self] = None
        self.waits.reset()
        self.world.away.append((self.number, since_ns, int(env.now)))


def simulate(roll: Roll, policy: Policy, seed: int = 0) -> RolledRun:
    """Simulate a roll whose clients all wait by the same policy. A tenth of a second for 300 clients."""
    if policy.gives_up_after is not None:
        raise ValueError(f"{policy} gives up after a while: expected a policy whose clients all come back")
    world = World(roll, seed)
    clients = [
        Client(number, world, policy.waits(seed=seed, client=number)) for number in range(roll.clients)
    ]
    for client in clients:
        world.env.process(client.move() if roll.way == "rotate" else client.live())
    if roll.way != "rotate":
        for server in world.servers:
            world.env.process(world.end(server))
    world.env.run()
    attempts = sorted(world.attempts)
    return RolledRun(
        roll=roll,
        policy=policy,
        seed=seed,
        attempt_times_s=np.array([at_ns for at_ns, _ in attempts], dtype=np.float64) / NS,
        attempt_failed=np.array([failed for _, failed in attempts], dtype=np.bool_),
        away=tuple(
            (number, begin / NS, end / NS)
            for number, begin, end in sorted(world.away, key=lambda each: each[1])
        ),
        on_server=tuple(len(server.inside) for server in world.servers),
    )


def moves(way: str, servers: int) -> float:
    """How often a client is connected anew, on average, while S servers are rolled.

    At once and by rotation: once. Drained one after the other, each back before the next: whoever has just
    moved may sit on the next. The load of a server that is not drained yet grows by S/(S − 1) each time, so
    that the sum is ((S/(S − 1))^S − 1)·(S − 1)/S: 3/2 for two, 19/12 for three, e − 1 for many.
    """
    checks.choice("way", way, WAYS)
    checks.count("servers", servers)
    if way != "drain" or servers == 1:
        return 1.0
    grows = servers / (servers - 1)
    return float((grows**servers - 1) / grows)


def beside(measured: Any, modelled: Any) -> str:
    """Measured and modelled side by side, and the gap in per cent of the measured figure, as text."""
    rows = [
        ("attempts, busiest 0.1 s", "peak_attempts_in_100ms", "{:.0f}"),
        ("attempts that failed", "refused", "{:.0f}"),
        ("times connected anew", "moves_per_client", "{:.2f}"),
        ("seconds away, mean", "mean_away_s", "{:.2f}"),
        ("seconds away, longest", "longest_away_s", "{:.2f}"),
        ("lost, not resuming", "lost_without_resume", "{:.0f}"),
        ("lost, resuming", "lost_with_resume", "{:.0f}"),
    ]
    lines = [f"{measured.way:<26}{'measured':>10}{'modelled':>10}{'gap':>8}"]
    for text, name, form in rows:
        real, ideal = float(getattr(measured, name)), float(getattr(modelled, name))
        gap = f"{100 * (ideal - real) / real:+.0f} %" if real else "–"
        lines.append(f"{text:<26}{form.format(real):>10}{form.format(ideal):>10}{gap:>8}")
    return "\n".join(lines)
