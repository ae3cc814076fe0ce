"""A server that stops for a moment, simulated: messages queue, the pause ends, the queue empties. SimPy.

    run = simulate([(10, 1.0)], 80, 100)                     # at 10 s, for 1 s; 80 messages/s, 100 served
    print(run.summary())                                     # some 400 late, by half a second
    run = simulate(every(0.05, 10, horizon_s=600), 80, 100, horizon_s=600)
    run.late_share, run.delay_p99_s, run.calm_p99_s
    views = simulate_views(every(1.0, 60, horizon_s=600), 10, 100, horizon_s=600)
    print(views.summary())                                   # the closed loop does not see the pause

    simulate          messages come whatever the server does (open loop): who is late, by how much?
    simulate_askers   clients that wait for each answer before they ask again (closed loop)
    simulate_views    both on the same server and the same pauses
    corrected         a closed loop's delays with those it has left out ("coordinated omission")

A pause stops the whole process: nobody is served, the work in hand goes on where it stopped, and messages
keep arriving (in the kernel's buffers). Make a real one with SIGSTOP and SIGCONT, or let a collector do it.

Distributions. Messages: Poisson, or "constant" gaps, or the times of a real run. Serving: exponential with
mean 1/served_per_s, or "constant". One server, first come, first served. Askers think for a constant time.
Each open run is made twice on the same draws, with the pauses and without ("calm"), so that "late" is exact.

Left out: several workers, time-outs and retries, a server that is slower after the pause (cold caches), and
messages that the kernel has no room for.

The same seed gives the same arrays, byte for byte. Checked against the closed forms (pauses_closed_forms.py,
whose functions can be imported from here too) within 4 standard errors over 20 runs, and by hand.
"""

import math
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import numpy as np
import simpy

from labsupport.draws import TRAVEL, draws
from labsupport.models import checks
from labsupport.models.pauses_closed_forms import (
    asker_late_share,
    caught_up_s,
    delay_quantile_s,
    late_mean_s,
    late_messages,
    late_share,
    paused_quantile_s,
)
from labsupport.models.pauses_results import AskerRun, PauseRun, Pauses, Views, corrected
from labsupport.models.traffic import Times, arrivals, given

__all__ = [
    "AskerRun",
    "PauseRun",
    "Views",
    "asker_late_share",
    "caught_up_s",
    "corrected",
    "delay_quantile_s",
    "every",
    "late_mean_s",
    "late_messages",
    "late_share",
    "paused_quantile_s",
    "simulate",
    "simulate_askers",
    "simulate_views",
]

SERVING = TRAVEL  # the lane of draws for serving times: how long a message is on its way through the server
Process = Generator[simpy.Event, Any, None]


class Job:
    """One message, and how much work it is."""

    __slots__ = ("answered", "came_s", "done_s", "work_s")

    def __init__(self, came_s: float, work_s: float, answered: simpy.Event | None = None) -> None:
        self.came_s, self.work_s, self.done_s = came_s, work_s, math.nan
        self.answered = answered  # for an asker that waits for it


class Server:
    """A queue, and one process that works it off."""

    def __init__(self, env: simpy.Environment) -> None:
        self.env = env
        self.queue: deque[Job] = deque()
        self.something = env.event()
        self.process = env.process(self.serve())

    def put(self, job: Job) -> None:
        """Take a message in."""
        self.queue.append(job)
        if not self.something.triggered:
            self.something.succeed()

    def serve(self) -> Process:
        """Do one job after the other, for ever."""
        while True:
            while not self.queue:
                self.something = self.env.event()
                try:
                    yield self.something
                except simpy.Interrupt as stop:
                    yield self.env.timeout(_length(stop))
            job = self.queue.popleft()
            yield from self.work(job.work_s)
            job.done_s = self.env.now
            if job.answered is not None:
                job.answered.succeed()

    def work(self, left_s: float) -> Process:
        """Work for so long; while the world is stopped nothing gets done."""
        while left_s > 0:
            began_s = self.env.now
            try:
                yield self.env.timeout(left_s)
                return
            except simpy.Interrupt as stop:
                left_s -= self.env.now - began_s
                yield self.env.timeout(_length(stop))


def _length(stop: simpy.Interrupt) -> float:
    """Return how long the world stands still: what stop_the_world() gave as the cause."""
    return float(stop.cause or 0.0)


def stop_the_world(env: simpy.Environment, server: Server, pauses: Pauses) -> Process:
    """Stop the server at each of these moments, for so long."""
    for starts_s, pause_s in pauses:
        yield env.timeout(starts_s - env.now)
        server.process.interrupt(pause_s)


def messages(env: simpy.Environment, server: Server, jobs: Sequence[Job]) -> Process:
    """Send each message at its time, whatever the server does."""
    for job in jobs:
        yield env.timeout(job.came_s - env.now)
        server.put(job)


def asker(
    env: simpy.Environment,
    server: Server,
    jobs: list[Job],
    works_s: Iterator[float],
    think_s: float,
    end_s: float,
) -> Process:
    """Think, ask, wait for the answer, and so on."""
    while True:
        yield env.timeout(think_s)
        if env.now >= end_s:
            return
        answered = env.event()
        jobs.append(Job(env.now, next(works_s), answered))
        server.put(jobs[-1])
        yield answered


def every(pause_s: float, period_s: float, *, horizon_s: float, first_s: float | None = None) -> Pauses:
    """Return pauses of `pause_s` each `period_s`, as (start, length) in seconds; first after half of one."""
    checks.seconds("pause_s", pause_s)
    checks.seconds("period_s", period_s, zero=False)
    checks.seconds("horizon_s", horizon_s, zero=False)
    checks.events(horizon_s / period_s, "pauses")
    start_s = period_s / 2.0 if first_s is None else first_s
    number = max(0, math.ceil((horizon_s - start_s) / period_s))
    return _checked([(start_s + n * period_s, pause_s) for n in range(number)])


def simulate(
    pauses: Sequence[tuple[float, float]],
    messages_per_s: float,
    served_per_s: float,
    *,
    arriving: str = "poisson",
    serving: str = "exponential",
    horizon_s: float = 60.0,
    arrivals_s: Sequence[float] | None = None,
    seed: int = 0,
) -> PauseRun:
    """Let messages come for `horizon_s` seconds, with the pauses and without, and see who is late.

    pauses              (start, length) in seconds, as every() makes them or as a real run had them
    arriving, serving   "poisson" or "constant"; "exponential" or "constant"
    arrivals_s          when messages come, in seconds, as a real run had it; messages_per_s is then a label
    Raises ValueError for what makes no sense, with what to try.
    """
    pauses = _checked(pauses)
    checks.rate("messages_per_s", messages_per_s, zero=False)
    checks.rate("served_per_s", served_per_s, zero=False)
    checks.choice("arriving", arriving, ("poisson", "constant"))
    checks.choice("serving", serving, ("exponential", "constant"))
    checks.seconds("horizon_s", horizon_s, zero=False)
    checks.events(messages_per_s * horizon_s, "messages")
    if arrivals_s is not None:
        came_s, arriving = given(arrivals_s, horizon_s, 1)[0], "given"
    elif arriving == "poisson":
        came_s = arrivals(messages_per_s, horizon_s, 1, seed)[0]
    else:
        came_s = np.arange(1, math.ceil(messages_per_s * horizon_s)) / messages_per_s
    return PauseRun(
        pauses=pauses, messages_per_s=float(messages_per_s), served_per_s=float(served_per_s),
        arriving=arriving, serving=serving, horizon_s=float(horizon_s), seed=seed, came_s=came_s,
        done_s=_open_loop(came_s, pauses, served_per_s, serving, seed),
        calm_done_s=_open_loop(came_s, (), served_per_s, serving, seed),
    )  # fmt: skip


def simulate_askers(
    pauses: Sequence[tuple[float, float]],
    think_s: float,
    served_per_s: float,
    *,
    askers: int = 1,
    serving: str = "exponential",
    horizon_s: float = 60.0,
    seed: int = 0,
) -> AskerRun:
    """Let `askers` clients think for `think_s`, ask, wait for the answer, and so on, until `horizon_s`."""
    pauses = _checked(pauses)
    checks.seconds("think_s", think_s)
    checks.rate("served_per_s", served_per_s, zero=False)
    checks.count("askers", askers)
    checks.choice("serving", serving, ("exponential", "constant"))
    checks.seconds("horizon_s", horizon_s, zero=False)
    checks.events(min(served_per_s, askers / (think_s + 1.0 / served_per_s)) * horizon_s, "questions")
    env = simpy.Environment()
    server, jobs = Server(env), list[Job]()
    works_s = _works(served_per_s, serving, seed)
    for _ in range(askers):
        env.process(asker(env, server, jobs, works_s, think_s, horizon_s))
    env.process(stop_the_world(env, server, pauses))
    env.run()
    return AskerRun(
        pauses=pauses, think_s=float(think_s), served_per_s=float(served_per_s), askers=askers,
        serving=serving, horizon_s=float(horizon_s), seed=seed,
        came_s=np.array([job.came_s for job in jobs], dtype=float),
        done_s=np.array([job.done_s for job in jobs], dtype=float),
    )  # fmt: skip


def simulate_views(
    pauses: Sequence[tuple[float, float]], messages_per_s: float, served_per_s: float, **options: Any
) -> Views:
    """Look at one server twice: with messages that come anyway, and as one asker who waits for each answer.

    The asker thinks just so long that without pauses it asks `messages_per_s` times a second as well.
    """
    flow = simulate(pauses, messages_per_s, served_per_s, **options)
    if messages_per_s >= served_per_s:
        raise ValueError("messages_per_s must be below served_per_s: one asker cannot ask faster than that")
    think_s = 1.0 / messages_per_s - 1.0 / served_per_s
    kept = {name: value for name, value in options.items() if name in ("serving", "horizon_s", "seed")}
    return Views(flow, simulate_askers(pauses, think_s, served_per_s, **kept))


def _open_loop(came_s: Times, pauses: Pauses, served_per_s: float, serving: str, seed: int) -> Times:
    """Return when each message is done."""
    env = simpy.Environment()
    server = Server(env)
    works_s = _works(served_per_s, serving, seed)
    jobs = [Job(at_s, next(works_s)) for at_s in came_s.tolist()]
    env.process(messages(env, server, jobs))
    env.process(stop_the_world(env, server, pauses))
    env.run()
    return np.array([job.done_s for job in jobs], dtype=float)


def _works(served_per_s: float, serving: str, seed: int) -> Iterator[float]:
    """Return one serving time after the other, for ever."""
    first, block = 0, 4096
    while True:
        if serving == "constant":
            yield 1.0 / served_per_s
            continue
        drawn = draws(seed, 0, np.arange(first, first + block), SERVING)
        yield from (-np.log1p(-drawn) / served_per_s).tolist()
        first += block


def _checked(pauses: Sequence[tuple[float, float]]) -> Pauses:
    """Return pauses as pairs of floats, or say what is wrong with them."""
    try:
        pairs = tuple((float(start_s), float(pause_s)) for start_s, pause_s in pauses)
    except (TypeError, ValueError):
        raise ValueError(
            f"pauses must be pairs (start, length) in seconds, such as [(10, 1.0)], got {pauses!r}"
        ) from None
    ends_s = 0.0
    for start_s, pause_s in pairs:
        if not (ends_s <= start_s < math.inf and 0 <= pause_s < math.inf):
            raise ValueError(
                f"pauses must ascend and not overlap, from 0 on; got {start_s:g} s for {pause_s:g} s after "
                f"one that ends at {ends_s:g} s: try a longer period_s or a shorter pause_s"
            )
        ends_s = start_s + pause_s
    return pairs
