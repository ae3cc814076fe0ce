"""A deploy, rehearsed: all servers of a chat are replaced under its clients, in one of three ways.

    runs = await rehearse_all(FullJitter(base_s=0.5, cap_s=4), clients=300, seed=20)     a run for each way
    run = await rehearse("drain", FullJitter(base_s=0.5, cap_s=4))                       or one way alone
    print(run.summary())
    run.peak_attempts_in_100ms, run.away_s, run.lost_without_resume, run.lost_with_resume
    simulate(Roll(**run.roll()), FullJitter(0.5, 4), seed=20)      labsupport.models.rehearsal

    "at once"   every server is killed, and started again where it was. The list of addresses does not know
    "drain"     one server after the other: off the list, its clients are sent away (1012) in ten batches over
                `drain_s`, it ends, it is started again, on the list
    "rotate"    new servers are started beside, and take the list over. Each connection has a bounded life, of
                which U(0, `life_s`) is left: at its end its client leaves, and goes at once to a new server.
                The old ones are stopped when they are empty

Everything is real: `servers` processes of servers/chat_cluster.py and a broker, one more that is not rolled
and takes the messages of a publisher (a steady `messages_per_s`), and lean WebSocket clients in one room. The
even clients resume (`since`: the position of their newest message), the odd ones begin with what is said from
then on; the delivery checker counts for both. Each server lets `accepts_per_s` handshakes in, `accept_queue`
wait, the rest get a 503. A client waits by its policy after each loss and each failure, afresh once it is
back in its room, and draws its server from the list for each attempt.

Left out: TLS, a balancer in between (it would refuse like the servers), a client that opens the new
connection before it leaves the old one (with positions it need not), and health checks that take their time.
"""

import itertools
import secrets
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from labsupport.measure.rehearsal_crowd import Publisher, RollCrowd
from labsupport.measure.rehearsal_run import Event, RehearsalRun
from labsupport.measure.sockets import LoadError, Target
from labsupport.measure.storms import kept
from labsupport.measure.storms_crowd import Policy, Records, Rules
from labsupport.measure.threads import LOOK_S, in_thread
from labsupport.processes import Server

__all__ = ["WAYS", "RehearsalRun", "rehearse", "rehearse_all"]

WAYS = ("at once", "drain", "rotate")
MOST_CLIENTS = 1_000
BEFORE_S = 0.2  # seconds of messages before the roll, so that everybody has a position
AFTER_S = 0.2  # seconds of messages after it: whoever lost some is seen to get the next ones
SECONDS = 40.0  # for one rehearsal; then it has gone wrong
MOST_ATTEMPTS = 1_000  # of one client


class Cluster:
    """A broker, the servers that are rolled, and one that is not."""

    def __init__(self, servers: int, knobs: list[str]) -> None:
        self._stack = ExitStack()
        self._knobs = knobs
        try:
            self._broker = self._stack.enter_context(Server("broker"))
            self.office, *self.servers = self._start([["--rate", "1000"], *[self._knobs] * servers])
        except BaseException:
            self._stack.close()
            raise

    def more(self, count: int) -> list[Server]:
        """So many further servers to be rolled to."""
        return self._start([self._knobs] * count)

    def close(self) -> None:
        """End all servers side by side, and then the broker."""
        stop_all([self.office, *self.servers])
        self._stack.close()

    def _start(self, arguments: list[list[str]]) -> list[Server]:
        """A server for each of these arguments, started side by side."""
        broker = ["--broker", self._broker.url]
        with ThreadPoolExecutor(len(arguments)) as pool:
            starts = [pool.submit(Server, "chat_cluster", *broker, *more) for more in arguments]
        started = [start.result() for start in starts if start.exception() is None]
        for server in started:
            self._stack.enter_context(server)
        if len(started) < len(arguments):
            raise next(error for start in starts if (error := start.exception()))
        return started


class Operator(threading.Thread):
    """Rolls the servers at time 0, beside the crowd's own thread."""

    def __init__(self, way: str, cluster: Cluster, crowd: RollCrowd) -> None:
        super().__init__(name="operator", daemon=True)
        self.way, self.cluster, self.crowd = way, cluster, crowd
        self.events: list[Event] = []
        self.error: BaseException | None = None
        self.emptied = threading.Event()  # by the crowd: nobody is left on an old server

    def run(self) -> None:
        try:
            time.sleep(max(0.0, -self.crowd.table.now()))
            {"at once": self._at_once, "drain": self._drain, "rotate": self._rotate}[self.way]()
        except BaseException as error:
            self.error = error

    def note(self, what: str, server: int) -> None:
        self.events.append((self.crowd.table.now(), what, server))

    def _at_once(self) -> None:
        with ExitStack() as ports:
            for number, server in enumerate(self.cluster.servers):
                self.note("ends", number)
                server.kill()
                self.note("gone", number)
                ports.enter_context(kept(server.url))
            with ThreadPoolExecutor(len(self.cluster.servers)) as pool:
                list(pool.map(self._start_again, itertools.count(), self.cluster.servers))

    def _drain(self) -> None:
        everybody = self.crowd.targets
        for number, server in enumerate(self.cluster.servers):
            self.crowd.targets = tuple(each for each in everybody if each != everybody[number])
            self.note("ends", number)
            server.stop()
            self.note("gone", number)
            with kept(server.url):
                self._start_again(number, server)
            self.crowd.targets = everybody

    def _rotate(self) -> None:
        for number in range(len(self.cluster.servers)):
            self.note("ends", number)
        while not self.emptied.wait(LOOK_S):
            if self.crowd.table.stop.is_set():
                return
        stop_all(self.cluster.servers)

    def _start_again(self, number: int, server: Server) -> None:
        server.restart()
        self.note("listed", number)


@dataclass(frozen=True)
class Plan:
    """What all ways of one rehearsal have in common."""

    policy: Policy
    clients: int = 300
    servers: int = 3
    accepts_per_s: float = 100.0
    accept_queue: int = 30
    messages_per_s: float = 10.0
    drain_s: float = 0.6
    life_s: float = 3.0
    seed: int = 0

    def __post_init__(self) -> None:
        most = {"clients": MOST_CLIENTS, "servers": 6, "messages_per_s": 100, "drain_s": 1.2, "life_s": 20}
        for name, limit in most.items():
            value = getattr(self, name)
            if not 0 < value <= limit:
                raise LoadError(f"{name}: expected more than 0 and at most {limit}, got {value!r}")
        if self.clients < self.servers:
            raise LoadError(f"expected a client for each of the {self.servers} servers, got {self.clients}")

    @property
    def knobs(self) -> list[str]:
        """The servers' arguments."""
        knobs = ("--accepts-per-s", self.accepts_per_s, "--accept-queue", self.accept_queue)
        return [str(knob) for knob in (*knobs, "--drain-s", self.drain_s)]


async def rehearse(way: str, policy: Policy, **plan: Any) -> RehearsalRun:
    """Roll all servers in one of WAYS under connected clients; see above. `plan` is what a Plan has.

    Takes six seconds with three servers and 300 clients. Raises LoadError for what cannot run here,
    ServerError where a server or the broker does not start.
    """
    return (await rehearse_all(policy, (way,), **plan))[way]


async def rehearse_all(policy: Policy, ways: Sequence[str] = WAYS, **plan: Any) -> dict[str, RehearsalRun]:
    """The ways one after the other, on the same servers, each with clients of its own."""
    for way in ways:
        if way not in WAYS:
            raise LoadError(f"way: expected one of {', '.join(WAYS)}, got {way!r}")
    made = Plan(policy, **plan)

    def work(stop: threading.Event) -> dict[str, RehearsalRun]:
        with closing(Cluster(made.servers, made.knobs)) as cluster:
            return {way: _rehearse(way, cluster, made, stop) for way in ways}

    return await in_thread(work)


def _rehearse(way: str, cluster: Cluster, plan: Plan, stop: threading.Event) -> RehearsalRun:
    targets = [_target(server) for server in cluster.servers]
    with closing(RollCrowd(targets, plan.clients, f"roll-{secrets.token_hex(3)}", stop)) as crowd:
        crowd.join_all()
        with closing(Publisher(crowd, _target(cluster.office), plan.messages_per_s)) as publisher:
            rules = Rules(plan.policy, plan.seed, 0.0, final_status=False, most_attempts=MOST_ATTEMPTS)
            return _run(plan, crowd, *_roll(way, cluster, crowd, publisher, rules, plan.life_s))


def _roll(
    way: str, cluster: Cluster, crowd: RollCrowd, publisher: Publisher, rules: Rules, life_s: float
) -> tuple[Records, Operator, float]:
    """Publish, roll, and wait until all are back, and whoever is back has the last message."""
    beside = cluster.more(len(cluster.servers)) if way == "rotate" else []
    publisher.start()
    _run_for(crowd, BEFORE_S)
    records = crowd.begin(rules)
    publisher.start()
    operator = Operator(way, cluster, crowd)
    if beside:
        crowd.targets = tuple(_target(server) for server in beside)
        crowd.move_within(life_s)
    operator.start()

    def rolled() -> bool:
        if operator.error is not None:
            return True
        everybody = crowd.joined == len(crowd.members)
        if everybody and all(client.target in crowd.targets for client in crowd.members):
            operator.emptied.set()
        return everybody and not operator.is_alive()

    try:
        crowd.table.run(rolled, SECONDS)
        seconds = crowd.table.now()
    except LoadError:
        crowd.table.stop.set()
        raise LoadError(f"{crowd.joined} of {len(crowd.members)} were back after {SECONDS:g} s") from None
    finally:
        operator.emptied.set()
        operator.join()
    if operator.error is not None:
        raise operator.error
    cluster.servers = beside or cluster.servers
    _run_for(crowd, AFTER_S)
    publisher.end()
    crowd.table.run(lambda: _all_have_the_last(crowd, publisher), SECONDS)
    return records, operator, seconds


def _all_have_the_last(crowd: RollCrowd, publisher: Publisher) -> bool:
    return publisher.all_stored and all(life.position == publisher.stored[-1] for life in crowd.lives)


def _run_for(crowd: RollCrowd, seconds: float) -> None:
    ends = crowd.table.now() + seconds
    crowd.table.at(ends, lambda: None)  # so that the loop is awake then
    crowd.run(lambda: crowd.table.now() >= ends)


def _run(plan: Plan, crowd: RollCrowd, records: Records, operator: Operator, seconds: float) -> RehearsalRun:
    began_s = np.array(records.began_s)
    order = np.argsort(began_s, kind="stable")
    away = [(number, *span) for number, life in enumerate(crowd.lives) for span in life.away]
    return RehearsalRun(
        **{field.name: getattr(plan, field.name) for field in fields(plan)},
        way=operator.way,
        attempt_times_s=began_s[order],
        attempt_due_s=np.array(records.due_s)[order],
        attempt_outcome=np.array(records.outcome, dtype=np.str_)[order],
        away=tuple(sorted(away, key=lambda each: each[1])),
        cuts=dict(records.cuts),
        checked_with=crowd.checkers[True].report(),
        checked_without=crowd.checkers[False].report(),
        events=tuple(operator.events),
        seconds=seconds,
    )


def stop_all(servers: list[Server]) -> None:
    """Side by side: each takes its time to say goodbye."""
    with ThreadPoolExecutor(len(servers)) as pool:
        list(pool.map(Server.stop, servers))


def _target(server: Server) -> Target:
    return Target.of(server.url.replace("ws://", "http://") + "/chat")
