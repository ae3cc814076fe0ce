"""Clients that fight over one row: the study "Exponential Backoff And Jitter" (AWS, 2015), simulated.

    run = simulate(100, "full", runs=100)               # a hundred runs of a hundred clients
    print(run.summary())                                # about 800 WRITEs a run, and 5 s
    run.z_scores(PUBLISHED["full"])                     # how far from what the published program prints

What happens. N clients each want to change the same row once, all starting at time 0, under optimistic
concurrency: READ tells the row's version; WRITE(version) goes through if nobody has written since, else the
client waits by its policy, reads again and tries again.

    client ──READ──▶ server ──version──▶ client ──WRITE(version)──▶ server ──done / stale──▶ client

What is assumed. Every message travels |N(10, 2)| ms (contention_messages.py), independent of all others; the
server takes no time and refuses nothing; nobody gives up. Base 5 ms, cap 2000 ms.

What is counted, for each run: `calls`, the WRITEs that reach the server, in vain or not; `time_ms`, when the
last client has its last reply.

The study's exponent begins at 1: its first wait is drawn from 5·2¹ = 10 ms. In backoff.py a policy counts
failures from 0. So the policy is asked here with the failures *including* the one just told, 1, 2, 3 …, and
not with a base of 10 ms, which would be wrong for "decorrelated", where the base is also the shortest wait.

Left out: servers that slow down or refuse under load, time-outs, connection set-up. The study is about
contention (work that is in vain because others were first), not about overload: that is reconnect.py.

Two engines give the same arrays, bit for bit: "simpy" is the text below, one process per client; "numpy"
plays many runs at once (contention_rounds.py). Checked against PUBLISHED, all ten figures within 4 standard
errors, and by hand for one client and for two.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

import numpy as np
import simpy

from labsupport.backoff import Decorrelated, EqualJitter, Exponential, Fixed, FullJitter, Policy
from labsupport.draws import NUMPY, ONCE, RUN, WAIT, draw, draw_from, stream
from labsupport.models import checks
from labsupport.models.contention_messages import message_keys, message_ms
from labsupport.models.contention_results import PUBLISHED, Contention, Curves, Published
from labsupport.models.contention_rounds import play

__all__ = ["POLICIES", "PUBLISHED", "Contention", "Curves", "Published", "curves", "simulate"]

BASE_S, CAP_S = 0.005, 2.0

POLICIES: dict[str, Policy] = {
    "none": Fixed(0.0),
    "exponential": Exponential(BASE_S, CAP_S),
    "equal": EqualJitter(BASE_S, CAP_S),
    "full": FullJitter(BASE_S, CAP_S),
    "decorrelated": Decorrelated(BASE_S, CAP_S),
}
ENGINES = ("numpy", "simpy")
MOST_CALLS = {"numpy": 100_000_000, "simpy": 1_000_000}  # about a minute of either

Process = Generator[simpy.Event, Any, None]


class Row:
    """The server: one row and its version. It answers at once, so a call is just a look at the version."""

    def __init__(self) -> None:
        self.version = 0
        self.calls_ms: list[float] = []

    def write(self, version: int, now_ms: float) -> bool:
        """Change the row if it still has this version."""
        self.calls_ms.append(now_ms)
        if version != self.version:
            return False
        self.version += 1
        return True


def client(
    env: simpy.Environment, row: Row, travel_ms: Callable[[], float], wait_ms: Callable[[int], float]
) -> Process:
    """One client that reads and writes until its WRITE goes through."""
    failures, written = 0, False
    while not written:
        yield env.timeout(travel_ms())  # READ
        version = row.version
        yield env.timeout(travel_ms())  # its reply
        yield env.timeout(travel_ms())  # WRITE
        written = row.write(version, env.now)
        yield env.timeout(travel_ms())  # its reply
        if not written:
            failures += 1
            yield env.timeout(wait_ms(failures))


def messages(run_seed: int, number: int) -> Callable[[], float]:
    """Return a function that gives the travel times of one client's messages, one after the other."""
    key, sent = int(message_keys(run_seed, number)), -1

    def travel_ms() -> float:
        nonlocal sent
        sent += 1
        return float(message_ms(key, sent))

    return travel_ms


def waits(policy: Policy, run_seed: int, number: int) -> Callable[[int], float]:
    """Return a function that gives one client's waits in milliseconds, after 1, 2, 3 … failures."""
    key, state = stream(run_seed, number, WAIT), policy.first_state(draw(run_seed, number, 0, ONCE))

    def wait_ms(failures: int) -> float:
        nonlocal state
        wait_s, state = policy.step(failures, draw_from(key, failures - 1), state)
        return 1000.0 * float(wait_s)

    return wait_ms


def one_run(clients: int, policy: Policy, run_seed: int) -> tuple[float, list[float]]:
    """Play one run: when the last reply came, and when each WRITE reached the server, in milliseconds."""
    env, row = simpy.Environment(), Row()
    for number in range(clients):
        env.process(client(env, row, messages(run_seed, number), waits(policy, run_seed, number)))
    env.run()
    return float(env.now), row.calls_ms


def simulate(
    clients: int = 100,
    policy: Policy | str = "full",
    runs: int = 100,
    seed: int = 0,
    *,
    engine: str = "numpy",
) -> Contention:
    """Let `clients` write one row, `runs` times over, and return what that took.

    policy   a name of POLICIES, or any policy of labsupport.backoff that does not give up
    engine   "numpy" (fast) or "simpy" (the text to read); both give the same bytes. Where numpy is missing,
             SimPy answers

    Run r of a seed meets the same messages whatever the policy, and adding clients changes nothing for the
    others' messages; so two policies differ by what they do and not by luck. ValueError for what cannot be.
    """
    name, policy = _named(policy)
    checks.count("clients", clients)
    checks.count("runs", runs)
    checks.choice("engine", engine, ENGINES)
    engine = engine if NUMPY else "simpy"
    _refuse_long(clients, runs, engine)
    run_seeds = [int(stream(seed, run, RUN)) for run in range(runs)]
    if engine == "numpy":
        time_ms, calls, first_calls_ms = play(clients, policy, run_seeds)
    else:
        played = [one_run(clients, policy, run_seed) for run_seed in run_seeds]
        time_ms = np.array([last_ms for last_ms, _ in played])
        calls = np.array([len(calls_ms) for _, calls_ms in played], dtype=np.int64)
        first_calls_ms = np.array(played[0][1])
    return Contention(clients, policy, name, seed, time_ms, calls, first_calls_ms)


def curves(
    clients: Sequence[int] = (1, *range(5, 101, 5)),
    policies: Mapping[str, Policy] | Sequence[str] = tuple(POLICIES),
    runs: int = 100,
    seed: int = 0,
) -> Curves:
    """Return the study's figure as data: calls and time against the number of clients, a line per policy.

    The usual grid takes about a second. Each point is `simulate(…)` with these arguments.
    """
    if not len(clients) or not len(policies):
        raise ValueError("curves need at least one number of clients and one policy")
    chosen = policies if isinstance(policies, Mapping) else {name: _named(name)[1] for name in policies}
    lines = [[simulate(number, policy, runs, seed) for number in clients] for policy in chosen.values()]

    def table(figure: str) -> Any:
        return np.array([[getattr(point, figure) for point in line] for line in lines])

    return Curves(
        clients=np.array(clients, dtype=np.int64),
        policies=tuple(chosen),
        runs=runs,
        seed=seed,
        mean_time_ms=table("mean_time_ms"),
        se_time_ms=table("se_time_ms"),
        mean_calls=table("mean_calls"),
        se_calls=table("se_calls"),
    )


def _named(policy: Any) -> tuple[str, Policy]:
    """Return a policy and what to call it."""
    if isinstance(policy, str):
        checks.choice("policy", policy, tuple(POLICIES))
        return policy, POLICIES[policy]
    if not isinstance(policy, Policy):
        names = ", ".join(map(repr, POLICIES))
        raise TypeError(f"policy must be one of {names}, or a policy of labsupport.backoff; got {policy!r}")
    if policy.gives_up_after is not None:
        raise ValueError(f"{policy!r} gives up after a while; here every client goes on until it has written")
    known = (name for name, one in POLICIES.items() if one == policy)
    return next(known, type(policy).__name__), policy


def _refuse_long(clients: int, runs: int, engine: str) -> None:
    """Refuse what would take very long: without any wait N clients make about N²/4 calls, else fewer."""
    expected = (clients + clients * clients / 4) * runs
    if expected > MOST_CALLS[engine]:
        raise ValueError(
            f"{runs:,} runs of {clients:,} clients may take {expected:,.0f} calls, and the limit of the "
            f"{engine} engine is {MOST_CALLS[engine]:,}: try fewer runs or fewer clients"
            + (', or engine="numpy"' if engine == "simpy" else "")
        )
