"""A reconnect storm: everybody lost the server at the same moment, and everybody wants it back.

    storm = Storm(clients=10_000, accepts_per_s=200, accept_queue=100, outage_s=0, spread_s=0)
    run = simulate(storm, PageSample(), seed=20)
    print(run.summary())
    run.attempts_per_client, run.peak_attempts_per_s, run.t99_s, storm.lower_bound_s
    simulate(storm, FullJitter(), seed=20).plot()

What happens. At time 0 N clients lose their server. After `outage_s` it listens again, accepts C clients a
second, one by one, and holds Q in its queue; whoever comes when the queue is full is refused at once. A
client waits as its policy says (labsupport/backoff.py: the same objects drive real clients), tries, and
after a refusal waits longer. Each attempt reaches the server U(0, `spread_s`) after its wait is over, drawn
anew for each: detection and network. Units: seconds; inside, whole nanoseconds. Distributions: those of the
policy, uniform spread, and a constant 1/C for each accept. A client is connected when its accept is done.

Who comes first, if two arrive in the same nanosecond? The one with the smaller number. (SimPy alone would
take the one whose timer was set first.) So the order of all arrivals is one fact, and there are two engines:

    engine="simpy"   one process per client: the text below. About a second for 20 000 clients.
    engine="numpy"   the same run, bit for bit, in arrays: a million clients in a second or two. The default,
                     since nothing but the time it takes tells them apart (test_reconnect_engines.py);
                     where numpy is missing, SimPy answers instead.

Draws. A client's k-th wait (from 0) takes draw k of its lane WAIT, as its `Waits` do on the wire; its n-th
attempt (from 0) takes draw n of SPREAD. With `first_at_once` attempt n comes after n waits, else after n + 1.
So policies can be compared draw for draw, and adding clients does not change the draws of the others.

gRPC counts its wait from the start of the failed attempt; all others count from its end.

Left out: TLS, the processor's time for refusing, clients that lose their connection again, several servers,
a kernel's two queues (SYN and accept), and time for a refusal to travel back. Further ways to refuse
(`admission`, `login`, `syn_drops`) are described in reconnect_storm.py.

Checked against closed forms (reconnect_closed_forms.py), the fluid limit (reconnect_fluid.py; sup distance
below 2 % at N = 10 000, Q = 100), stored traces of small storms, and a real restart (labsupport.measure).
"""

from collections.abc import Generator
from itertools import count
from typing import Any

import simpy
from simpy.events import EventPriority

from labsupport.backoff import GRPC, Policy, Waits
from labsupport.draws import NUMPY, PHASE, SPREAD, draw
from labsupport.models import checks
from labsupport.models.reconnect_fluid import FluidStorm, fluid
from labsupport.models.reconnect_results import Event, Gap, StormRun, collected, gap, sup_distance
from labsupport.models.reconnect_storm import (
    HORIZON_S,
    NS,
    Login,
    Outcome,
    Queue,
    RetryAfter,
    Storm,
    SynDrops,
    nanoseconds,
    too_many,
)

__all__ = [
    "FluidStorm",
    "Gap",
    "Login",
    "Outcome",
    "RetryAfter",
    "Storm",
    "StormRun",
    "SynDrops",
    "fluid",
    "gap",
    "simulate",
    "sup_distance",
]

SIMPY_CLIENTS = 100_000  # the most that SimPy is asked for in the fast engine's place

Process = Generator[simpy.Event, Any, None]


class Arrival(simpy.Event):
    """The moment at which a client reaches the server; among several in a nanosecond, by client number."""

    def __init__(self, env: simpy.Environment, at_ns: int, client: int) -> None:
        super().__init__(env)
        self._ok, self._value = True, None  # as in simpy.Timeout, which has no priority
        env.schedule(self, priority=EventPriority(client), delay=at_ns - int(env.now))


class Server:
    """The accept queue and, where there is one, the login behind it."""

    def __init__(self, storm: Storm) -> None:
        self.accept = Queue(storm.accepts_per_s, storm.accept_queue, nanoseconds(storm.outage_s))
        self.login = Queue(storm.login.per_s, storm.login.queue) if storm.login else None
        self.accepted_ns: list[int] = []  # when each accept was done

    def arrive(self, now_ns: int) -> tuple[Outcome, int]:
        """Return how an arrival ends, and when."""
        if now_ns < self.accept.opens_ns:
            return Outcome.DOWN, now_ns
        accepted_ns = self.accept.admit(now_ns)
        if accepted_ns is None:
            return Outcome.REFUSED, now_ns
        self.accepted_ns.append(accepted_ns)
        if self.login is None:
            return Outcome.CONNECTED, accepted_ns
        logged_in_ns = self.login.admit(accepted_ns)
        if logged_in_ns is None:
            return Outcome.TURNED_AWAY, accepted_ns
        return Outcome.CONNECTED, logged_in_ns


class Client:
    """One client's life after the loss: wait, try, and after a failure wait longer."""

    def __init__(self, number: int, storm: Storm, waits: Waits, seed: int, from_start: bool) -> None:
        self.number = number
        self.storm = storm
        self.waits = waits
        self.seed = seed
        self.from_start = from_start  # gRPC: a wait is counted from the start of the failed attempt
        self.connected_ns: int | None = None

    def live(self, env: simpy.Environment, server: Server, log: list[Event]) -> Process:
        """Try until it is in, or its policy gives up."""
        started_ns = ended_ns = 0  # of the last attempt; at first: of the lost connection
        told_ns: int | None = None
        for attempt in count():
            if attempt or not self.storm.first_at_once:
                wait_s = self.waits.next()
                if wait_s is None:
                    return
                since_ns = started_ns if self.from_start else ended_ns
                started_ns = max(ended_ns, since_ns + nanoseconds(wait_s))
                started_ns = self._as_told(started_ns, ended_ns, told_ns)
            spread_ns = round(draw(self.seed, self.number, attempt, SPREAD) * self.storm.spread_s * NS)
            if started_ns + spread_ns > HORIZON_S * NS:
                return
            yield Arrival(env, started_ns + spread_ns, self.number)
            outcome, ended_ns = yield from self._attempt(env, server, attempt, log)
            if outcome == Outcome.CONNECTED:
                self.connected_ns = ended_ns
                return
            told_ns = self._told(outcome, attempt)

    def _attempt(
        self, env: simpy.Environment, server: Server, attempt: int, log: list[Event]
    ) -> Generator[simpy.Event, Any, tuple[Outcome, int]]:
        """Knock once; or, where a full queue drops SYNs, until one gets in or the time is over."""
        first_ns = int(env.now)
        drops = self.storm.syn_drops
        for offset_ns in drops.offsets_ns if drops else (0,):
            if offset_ns:
                yield Arrival(env, first_ns + offset_ns, self.number)
            now_ns = first_ns + offset_ns
            outcome, ended_ns = server.arrive(now_ns)
            if drops and outcome == Outcome.REFUSED:
                last = offset_ns == drops.offsets_ns[-1]
                outcome = Outcome.TIMED_OUT if last else Outcome.DROPPED
                ended_ns = first_ns + drops.timeout_ns
            log.append(Event(now_ns, self.number, attempt, outcome))
            if len(log) > checks.MAX_EVENTS:
                raise ValueError(too_many("simpy", checks.MAX_EVENTS))
            if outcome != Outcome.DROPPED:
                break
        return outcome, ended_ns

    def _told(self, outcome: Outcome, attempt: int) -> int | None:
        """Return the time that the server asks this client to stay away, if it says anything."""
        if self.storm.admission is None or outcome not in (Outcome.REFUSED, Outcome.TURNED_AWAY):
            return None
        return round(draw(self.seed, self.number, attempt, PHASE) * self.storm.admission.window_s * NS)

    def _as_told(self, started_ns: int, ended_ns: int, told_ns: int | None) -> int:
        """Return when the next attempt starts, given what the server said."""
        if told_ns is None or self.storm.admission is None:
            return started_ns
        instead = self.storm.admission.obeyed == "instead"
        return ended_ns + told_ns if instead else max(started_ns, ended_ns + told_ns)


def simulate(storm: Storm, policy: Policy, seed: int = 0, engine: str = "numpy") -> StormRun:
    """Simulate a storm of clients that all wait by the same policy.

    Raises ValueError for a storm that cannot end (nobody ever waits) or that would not fit into memory.
    """
    checks.choice("engine", engine, ("simpy", "numpy"))
    _refuse_to_spin(storm, policy)
    if engine == "numpy" and not NUMPY and storm.clients > SIMPY_CLIENTS:
        raise ValueError(
            f"{storm.clients:,} clients need the fast engine, and that needs numpy, which is missing here: "
            f"SimPy answers for up to {SIMPY_CLIENTS:,}; try fewer clients at as many fewer accepts_per_s"
        )
    if engine == "numpy" and NUMPY:
        from labsupport.models.reconnect_numpy import run_in_arrays  # here: it is nothing without numpy

        return run_in_arrays(storm, policy, seed)
    env = simpy.Environment(initial_time=0)
    server = Server(storm)
    log: list[Event] = []
    from_start = isinstance(policy, GRPC)
    clients = [
        Client(number, storm, policy.waits(seed=seed, client=number), seed, from_start)
        for number in range(storm.clients)
    ]
    for client in clients:
        env.process(client.live(env, server, log))
    env.run()
    return collected(
        storm, policy, seed, log, [client.connected_ns for client in clients], server.accepted_ns
    )


def _refuse_to_spin(storm: Storm, policy: Policy) -> None:
    """Refuse a policy under which no time ever passes."""
    state = policy.first_state(0.5)
    waited_s = storm.spread_s + (storm.admission.window_s if storm.admission else 0.0)
    for attempt in range(20):
        wait_s, state = policy.step(attempt, 0.5, state)
        waited_s += wait_s
    if not waited_s > 0 and policy.gives_up_after is None:
        raise ValueError(
            f"{policy} never waits, so its clients would try for ever within one nanosecond: "
            "try a longer wait, or spread_s above 0"
        )
