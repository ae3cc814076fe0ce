"""The reconnect storm as a fluid: what becomes of the curve when the clients are many.

With many clients chance averages out. What is left is a flow: in each step of `dt_s` some share of the crowd
arrives, the server takes what it has room for, and what it refuses is spread over the time at which it comes
again. The work depends on the length of the storm and not on the number of clients: a theory to lay under a
simulation or a measurement, for any N.

    limit = fluid(storm, PageSample())
    limit.time_until(0.99), limit.attempts_per_client
    limit.distance_to(simulate(storm, PageSample()).connected_at_s)      # about 0.01 at N = 10 000

Classes. Who has failed a times waits differently from who has failed once, so there is one flow for each a,
until waits stop to grow. Where a policy also remembers something of its client, each a has several classes:
120 for a draw made once, 16 for what changes (the last wait). What a class will wait is taken from the policy
itself, at 120 draws u, and put on the grid; waits shorter than one step become one step. A refusal adds a
constant rate over a window of time, so only the window's ends are noted (a difference array).

Left out: chance, and that clients are whole. So the error falls like N^(−1/2). A queue of one or two places
is filled by chance even when the server has time, which a flow does not know: at Q = 1 the curve is off by a
quarter of the clients, at Q = 2 by 7 %, from Q = 5 on by less than 2 %. gRPC's waits count from the refusal
here and not from the attempt's start, so with a spread its curve is off: by 6 % of the clients at J = 1 s.
Storms with `admission`, `login` or `syn_drops` are refused with an error.

Checked against the simulation (tests/models/test_reconnect_fluid.py).
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labsupport.backoff import Policy
from labsupport.models import checks
from labsupport.models.reconnect_storm import Storm

Times = NDArray[np.float64]

CELLS = 120  # draws u at which a policy is asked; a multiple of 10, where Socket.IO's jitter turns its sign
MEMORIES = 16  # classes for what a policy remembers of a client, if that changes
MAX_FAILURES = 40  # classes for the number of failures; from there on waits no longer grow
MAX_WAIT_S = 3600.0  # a longer wait is taken as this long
NOTHING = 1e-13  # of a class: below this, a change of rate is what rounding left over


@dataclass(frozen=True, eq=False)
class FluidStorm:
    """The limit's curve: one element per step.

    time_s             end of each step, in seconds after the loss
    connected_share    share of the clients that is connected by then
    attempts_per_s     attempts of one client on average, per second, in this step (times N: the load)
    attempts_per_client  in the end; lost_share: of the clients, those that gave up
    """

    storm: Storm
    policy: Policy
    time_s: Times
    connected_share: Times
    attempts_per_s: Times
    attempts_per_client: float
    lost_share: float

    def time_until(self, share: float) -> float:
        """Return the seconds until this share is connected (all: all but half a client); infinity: never."""
        checks.share("share", share)
        wanted = min(share, 1.0 - 0.5 / self.storm.clients)
        at = int(np.searchsorted(self.connected_share, wanted))
        return float(self.time_s[at]) if at < len(self.time_s) else math.inf

    def share_at(self, time_s: ArrayLike) -> Any:
        """Return the share that is connected at these times."""
        times = np.concatenate(([0.0], self.time_s))
        share = np.interp(
            np.asarray(time_s, dtype=float), times, np.concatenate(([0.0], self.connected_share))
        )
        return share if np.ndim(share) else float(share)

    def distance_to(self, connected_at_s: ArrayLike) -> float:
        """Return the largest distance to a simulated or measured curve (infinity or NaN: never connected)."""
        times_s = np.asarray(connected_at_s, dtype=float).ravel()
        known_s = np.sort(times_s[np.isfinite(times_s)])
        here = self.share_at(known_s)
        after = np.arange(1, len(known_s) + 1) / len(times_s)
        ends = abs(float(self.connected_share[-1]) - len(known_s) / len(times_s))
        return float(max(np.max(np.abs(here - after), initial=0.0), ends))

    def plot(self, ax: Any = None, **line: Any) -> Any:
        """Draw the curve, and return the matplotlib axes."""
        if ax is None:
            from matplotlib import pyplot as plt

            ax = plt.subplots()[1]
        ax.plot(
            np.concatenate(([0.0], self.time_s)), np.concatenate(([0.0], 100 * self.connected_share)), **line
        )
        ax.set_xlabel("seconds after the loss")
        ax.set_ylabel("clients connected (%)")
        ax.set_title(f"In the limit, 99 of 100 are back after {self.time_until(0.99):,.0f} s")
        return ax


def fluid(storm: Storm, policy: Policy, *, dt_s: float = 0.01, horizon_s: float = 3600.0) -> FluidStorm:
    """Return a storm's limit for many clients, in steps of `dt_s`, for at most `horizon_s`."""
    for extra in ("admission", "login", "syn_drops"):
        if getattr(storm, extra):
            raise ValueError(f"the fluid limit knows no {extra}: use simulate(…), or a Storm without it")
    checks.seconds("dt_s", dt_s, zero=False)
    checks.seconds("horizon_s", horizon_s, zero=False)
    flows = _flows(policy, storm.spread_s, dt_s)
    connected, arrived, lost = _flow(storm, flows, dt_s, round(horizon_s / dt_s))
    return FluidStorm(
        storm=storm,
        policy=policy,
        time_s=np.arange(1, len(connected) + 1, dtype=np.float64) * dt_s,
        connected_share=np.maximum.accumulate(np.array(connected)),
        attempts_per_s=np.array(arrived) / dt_s,
        attempts_per_client=math.fsum(arrived),
        lost_share=lost,
    )


def _flow(storm: Storm, flows: "Flows", dt_s: float, steps: int) -> tuple[list[float], list[float], float]:
    """Let it flow; return the connected share and the arrivals of each step, and the share that is lost."""
    served = storm.accepts_per_s * dt_s / storm.clients  # all in shares of the crowd
    places = max(storm.accept_queue / storm.clients, served)  # a step holds what it serves, even with Q = 1
    starts, arrivals = Flow(flows), Flow(flows)
    starts.add(0, flows.at_once if storm.first_at_once else flows.first, flows.start)
    connected: list[float] = []
    arrived: list[float] = []
    taken = backlog = lost = 0.0
    for step in range(steps):
        rates = starts.at(step)
        if storm.spread_s:
            arrivals.add(step, flows.spread, rates)
            rates = arrivals.at(step)
        inflow = max(0.0, float(rates.sum()))
        is_up = (step + 1) * dt_s > storm.outage_s
        backlog = max(0.0, backlog - served)
        accepted = min(inflow, max(0.0, places - backlog)) if is_up else 0.0
        if inflow > 1e-15 and accepted < inflow:
            refused = np.maximum(rates, 0.0) * (1.0 - accepted / inflow)
            lost += float(refused[flows.last].sum())
            starts.add(step, flows.again, refused)
        taken += accepted
        backlog += accepted
        arrived.append(inflow)
        connected.append(taken - backlog)
        if 1.0 - lost - connected[-1] < 0.1 / storm.clients:
            break
    return connected, arrived, lost


class Kernel(NamedTuple):
    """Where the mass of a class goes: changes of a class's rate, some steps later."""

    source: NDArray[np.int64]
    target: NDArray[np.int64]
    offset: NDArray[np.int64]
    change: Times


class Flows(NamedTuple):
    """A policy on the grid. A class's level counts the waits taken; level 0 has just lost its server."""

    classes: int
    length: int  # steps that a change may lie ahead
    start: Times  # the crowd's shares at the loss
    at_once: Kernel  # from the loss to the start of the first attempt: without a wait,
    first: Kernel  # or with one
    again: Kernel  # from a refusal to the start of the next attempt
    spread: Kernel  # from an attempt's start to its arrival
    last: NDArray[np.int64]  # classes that give up when they are refused


class Part(NamedTuple):
    """What of one class becomes another, and the density of the time that it takes, by step."""

    source: int
    target: int
    density: Times


class Flow:
    """Rates of all classes over time, as changes by step in a ring that is used again and again."""

    def __init__(self, flows: Flows) -> None:
        self.changes = np.zeros((flows.length, flows.classes))
        self.rates = np.zeros(flows.classes)

    def add(self, step: int, kernel: Kernel, mass: Times) -> None:
        """Let mass that moves in this step come later, as the kernel says."""
        length, classes = self.changes.shape
        at = (step + kernel.offset) % length * classes + kernel.target
        np.add.at(self.changes.reshape(-1), at, mass[kernel.source] * kernel.change)

    def at(self, step: int) -> Times:
        """Go on to this step; return what comes in it, by class."""
        changes = self.changes[step % len(self.changes)]
        self.rates += changes
        changes[:] = 0.0
        return self.rates


@lru_cache(maxsize=64)
def _flows(policy: Policy, spread_s: float, dt_s: float) -> Flows:
    """Ask the policy, level by level, what it would wait, and what it would remember."""
    spread = _density(np.array([0.0]), np.array([spread_s]), dt_s)
    born = np.asarray(policy.first_state((np.arange(CELLS) + 0.5) / CELLS))
    few = CELLS if np.array_equal(_moves(policy, 0, born)[2], born) else MEMORIES  # a draw made once stays
    states = [_representatives(born, few)]
    base, parts = 0, []
    limit = policy.gives_up_after
    top = _top_level(policy) if limit is None else limit
    for level in range(top + (limit is None)):
        known = states[-1]
        moves = [_moves(policy, level, state) for state in known]
        if level < top:
            states.append(_representatives(np.concatenate([after for *_, after in moves]), few))
        target = base + (len(known) if level < top else 0)  # the top level leads to itself
        parts += _parts(moves, base, target, states[-1], dt_s)
        base = target
    classes, crowd = base + len(states[-1]), len(states[0])
    at_once = _kernel([Part(n, n, np.ones(1)) for n in range(crowd)], at_least=0)
    moves = [_moves(policy, 0, state) for state in states[0]]
    to = crowd if top else 0
    first = _kernel(_parts(moves, 0, to, states[min(top, 1)], dt_s), at_least=0)
    later = _kernel([Part(n, n, spread) for n in range(classes)], at_least=0)
    again = _kernel(parts, at_least=1)
    start = np.zeros(classes)
    start[:crowd] = 1.0 / crowd
    length = 1 + max(int(kernel.offset.max(initial=0)) for kernel in (first, again, later))
    last = np.arange(base, classes) if limit is not None else np.empty(0, dtype=np.int64)
    return Flows(classes, length, start, at_once, first, again, later, last)


def _top_level(policy: Policy) -> int:
    """Return from how many failures on the waits stay the same."""
    u = np.linspace(0.0, 1.0, 7)
    state = np.asarray(policy.first_state(u))
    waits = [np.minimum(policy.step(np.full(7, a), u, state)[0], MAX_WAIT_S) for a in range(MAX_FAILURES + 1)]
    same = [np.array_equal(wait, waits[-1]) for wait in waits]
    remembers = not np.array_equal(policy.step(np.zeros(7, dtype=np.int64), u, state)[1], state)
    return max(same.index(True), 8 if remembers else 0)


def _representatives(states: Times, few: int) -> Times:
    """Return a few states that stand for all of these: the middles of equal parts."""
    different = np.unique(states)
    if len(different) <= few:
        return different
    return np.unique(np.quantile(states, (np.arange(MEMORIES) + 0.5) / MEMORIES))


def _moves(policy: Policy, level: int, state: Any) -> tuple[Times, Times, Times]:
    """Return, for each cell of draws, the waits at its two ends, and the state after it."""
    low_u = np.arange(CELLS) / CELLS
    remembered, attempt = np.zeros(CELLS) + state, np.full(CELLS, level)
    one_s = policy.step(attempt, low_u, remembered)[0]
    two_s = policy.step(attempt, low_u + (1.0 / CELLS - 1e-12), remembered)[0]
    after = np.asarray(policy.step(attempt, low_u + 0.5 / CELLS, remembered)[1])
    return np.minimum(one_s, MAX_WAIT_S), np.minimum(two_s, MAX_WAIT_S), after


def _parts(
    moves: list[tuple[Times, Times, Times]],
    source: int,
    target: int,
    known: Times,
    dt_s: float,
) -> list[Part]:
    """Return what of each class goes to which class of the next level: the one with the nearest state."""
    parts = []
    for number, (one_s, two_s, after) in enumerate(moves):
        nearest = np.abs(after[:, None] - known[None, :]).argmin(axis=1)
        for state in np.unique(nearest):
            mine = nearest == state
            density = _density(one_s[mine], two_s[mine], dt_s) * mine.mean()
            parts.append(Part(source + number, target + int(state), density))
    return parts


def _density(one_s: Times, two_s: Times, dt_s: float) -> Times:
    """Return the share of each step (0: up to half a step) of waits that are uniform in each cell."""
    low_s, high_s = np.minimum(one_s, two_s), np.maximum(one_s, two_s)
    edges = (np.arange(round(float(high_s.max()) / dt_s) + 2) - 0.5) * dt_s
    if np.all(np.abs(one_s[1:] - two_s[:-1]) < 1e-6) and np.all(np.diff(one_s) >= 0):
        ends_s = np.append(one_s, two_s[-1])  # one growing curve
        below = np.interp(edges, ends_s, np.arange(len(ends_s)) / len(one_s))
    else:
        width = np.maximum(high_s - low_s, 1e-6 * dt_s)
        below = np.clip((edges[:, None] - low_s) / width, 0.0, 1.0).mean(axis=1)
    return np.diff(below)


def _kernel(parts: list[Part], at_least: int) -> Kernel:
    """Return the changes of rate that these densities mean; what would come too early comes at `at_least`."""
    sources, targets, offsets, changes = [], [], [], []
    for source, target, density in parts:
        late = np.pad(density, (0, max(0, at_least + 1 - len(density))))
        late[at_least] = late[: at_least + 1].sum()
        late[:at_least] = 0.0
        change = np.diff(late, prepend=0.0, append=0.0)
        at = np.flatnonzero(np.abs(change) > NOTHING)
        sources.append(np.full(len(at), source))
        targets.append(np.full(len(at), target))
        offsets.append(at)
        changes.append(change[at])
    columns = (np.concatenate(column) for column in (sources, targets, offsets, changes))
    return Kernel(*columns)
