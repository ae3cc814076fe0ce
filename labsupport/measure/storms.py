"""Reconnect storms for real: a server is killed under thousands of clients, and they all want it back.

    server = serve("websocket_echo", "--accepts-per-s", "500", "--accept-queue", "100")
    run = await storm(server, PageSample(base_s=0.5, cap_s=4), clients=2_000, seed=20)
    print(run.summary())
    run.attempts_per_client, run.t99_s, run.connected_at_s      the names of models.reconnect's result

    async with crowd(server, 2_000) as clients:                 the same crowd for several storms
        page = await clients.storm(PageSample(0.5, 4), seed=20)
        full = await clients.storm(FullJitter(0.5, 4), seed=20)

    rate = await accept_rate(server)                            what the model needs of this machine
    simulate(Storm(2_000, rate.per_s, rate.queue, run.server_back_s), PageSample(0.5, 4), seed=20)

A policy's waits are drawn as the model draws them, client for client and attempt for attempt. Every wait
scales with its policy's seconds: base 0.5 s and cap 4 s stand for 1 s and 8 s at half the accept rate.

What the model has not, and a real storm has. The kernel takes some 50 ms to close thousands of connections
(`run.detection_s`). A refusal takes the server about 0.1 ms of its processor, so that it refuses 7 000 to
10 000 a second and no more; in a wave that is steeper, refusals wait (`run.refusal_s`), and with unjittered
policies the two part: give those a spread. The crowd leaves a little late (`run.late_s`). A new process needs
0.2 s and more to be ready: give the model `run.server_back_s` as its outage. With waves below some 3 000 a
second the curves of 2 000 clients are 1 to 3 % apart, also when another program takes one of two processors
(tests/measure/test_storms_against_model.py). Left out: gRPC's counting from the start of an attempt.
"""

import asyncio
import socket
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Self

import numpy as np

from labsupport.measure.load import MAX_SECONDS
from labsupport.measure.sockets import LoadError, Target
from labsupport.measure.storms_crowd import OPEN_S, Crowd, Policy, Records, Rules
from labsupport.measure.storms_rate import AcceptRate, accept_rate
from labsupport.measure.storms_run import StormRun
from labsupport.measure.threads import in_thread
from labsupport.processes import Server

__all__ = ["AcceptRate", "StormCrowd", "StormRun", "accept_rate", "crowd", "storm"]

MOST_ATTEMPTS = 1_000  # of one client
TELL_S = 0.2  # seconds between two calls of `progress`
IDLE_S = 120.0  # seconds after which a crowd without a storm goes away by itself

Progress = Callable[[int, float], None]  # clients that are connected again, seconds since the loss


class Restart(threading.Thread):
    """Ends a server at time 0 and starts it again on the same port, beside the crowd's own thread."""

    def __init__(
        self, server: Server, now: Callable[[], float], stop: threading.Event, outage_s: float, kill: bool
    ) -> None:
        super().__init__(name="restart", daemon=True)
        self.server, self.now, self.stop, self.outage_s, self.kill = server, now, stop, outage_s, kill
        self.gone_s = self.back_s = float("nan")
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            time.sleep(max(0.0, -self.now()))
            if self.kill:
                self.server.kill()
            else:
                self.server.stop()
            self.gone_s = self.now()
            with kept(self.server.url):
                self.stop.wait(self.outage_s)
                self.server.restart()
            self.back_s = self.now()
        except BaseException as error:
            self.error = error


class StormCrowd:
    """Connected clients for a notebook: `async with crowd(…) as clients`, or `clients = await crowd(…)`."""

    def __init__(self, server: Server, clients: int, path: str = "/") -> None:
        self.server = server
        self.clients = clients
        self.open_s = OPEN_S
        self._path = path
        self._crowd: Crowd | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._stop = threading.Event()

    def __await__(self) -> Generator[Any, None, Self]:
        return self._open().__await__()

    async def __aenter__(self) -> Self:
        return await self._open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def storm(
        self,
        policy: Policy,
        *,
        outage_s: float = 0.5,
        spread_s: float = 0.0,
        seed: int = 0,
        kill: bool = True,
        final_status: bool = False,
        seconds: float = 60.0,
        most_attempts: int = MOST_ATTEMPTS,
        progress: Progress | None = None,
    ) -> StormRun:
        """Take the server away, start it again, and wait until every client is back or has given up.

        outage_s       from the end of the old process to the start of the new one, which takes half a second
        spread_s       each attempt leaves U(0, spread_s) after its wait, drawn as the model draws it
        kill           False: it is asked to end, and drains (1012 in batches over its --drain-s)
        final_status   an HTTP answer other than 101 ends a client for good: an EventSource takes a 503 like
                       that, while it tries again when nobody listens
        seconds, most_attempts   bounds: who is not back by then is counted as unfinished
        progress       called now and then with (clients that are back, seconds since the loss)
        """
        if not 0 < seconds <= MAX_SECONDS:
            raise LoadError(f"expected at most {MAX_SECONDS:.0f} seconds, got {seconds}")
        if not (0 <= outage_s < seconds and 0 <= spread_s < seconds):
            raise LoadError(f"outage_s ({outage_s}) and spread_s ({spread_s}) must be below {seconds:g} s")
        rules = Rules(policy, seed, spread_s, final_status, most_attempts)
        loop = asyncio.get_running_loop()

        def tell(back: int, now_s: float) -> None:
            if progress is not None:
                loop.call_soon_threadsafe(progress, back, now_s)

        crowd = self._ready()
        self._pause_timer()
        try:
            return await in_thread(
                lambda stop: _storm(crowd, self.server, rules, stop, outage_s, kill, seconds, tell)
            )
        finally:
            self._start_timer()

    def close(self) -> None:
        """Drop all connections. Closing twice does no harm."""
        self._pause_timer()
        if self._crowd:
            self._crowd.close()
        self._crowd = None

    async def _open(self) -> Self:
        if self._crowd is None:
            target = Target.of(_http(self.server.url) + self._path)

            def work(stop: threading.Event) -> Crowd:
                crowd = Crowd(target, self.clients, stop)
                try:
                    crowd.open(self.open_s)
                except BaseException:
                    crowd.close()
                    raise
                return crowd

            self._crowd = await in_thread(work)
            self._start_timer()
        return self

    def _ready(self) -> Crowd:
        if self._crowd is None:
            raise LoadError("this crowd has gone: open another with `async with crowd(server) as clients`")
        return self._crowd

    def _start_timer(self) -> None:
        if self._crowd is not None:
            self._timer = asyncio.get_running_loop().call_later(IDLE_S, self.close)

    def _pause_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


def crowd(server: Server, clients: int = 2_000, *, path: str = "/") -> StormCrowd:
    """Open `clients` WebSocket connections to a server of the lab (at `path`), for storms to pass over."""
    return StormCrowd(server, clients, path)


async def storm(
    server: Server, policy: Policy, clients: int = 2_000, *, path: str = "/", **rules: Any
) -> StormRun:
    """One storm over a crowd of its own, gone after it. `rules` are those of StormCrowd.storm."""
    async with crowd(server, clients, path=path) as all_of_them:
        return await all_of_them.storm(policy, **rules)


def _storm(
    crowd: Crowd,
    server: Server,
    rules: Rules,
    stop: threading.Event,
    outage_s: float,
    kill: bool,
    seconds: float,
    tell: Progress,
) -> StormRun:
    crowd.table.stop = stop
    crowd.open()
    records = crowd.begin(rules)
    restart = Restart(server, crowd.table.now, stop, outage_s, kill)
    restart.start()
    told_s = 0.0

    def done() -> bool:
        nonlocal told_s
        now_s = crowd.table.now()
        if now_s - told_s > TELL_S:
            told_s = now_s
            tell(crowd.back, now_s)
        ended = records.unfinished == 0 or now_s > seconds
        return (ended and not restart.is_alive()) or restart.error is not None

    try:
        crowd.run(done)
    finally:
        restart.join()  # also after an interrupt: whoever comes next finds a server
    if restart.error is not None:
        raise restart.error
    tell(crowd.back, crowd.table.now())
    return _run(crowd, records, rules, restart, kill)


def _run(crowd: Crowd, records: Records, rules: Rules, restart: Restart, kill: bool) -> StormRun:
    connected_s = np.array(records.connected_at_s)
    connected_s[np.isnan(connected_s)] = np.inf
    began_s, ended_s = np.array(records.began_s), np.array(records.ended_s)
    outcomes = np.array(records.outcome, dtype=np.str_)
    order = np.argsort(began_s, kind="stable")
    answered = (outcomes == "connected") | np.char.startswith(outcomes, "status")
    by_new_s = began_s[answered & (began_s > restart.gone_s)]
    lost = crowd.lost
    return StormRun(
        clients=len(crowd.members),
        policy=rules.policy,
        seed=rules.seed,
        outage_s=restart.outage_s,
        spread_s=rules.spread_s,
        killed=kill,
        final_status=rules.final_status,
        server_gone_s=restart.gone_s,
        server_back_s=float(by_new_s.min(initial=restart.back_s)),
        connected_at_s=connected_s,
        cut_at_s=np.array(records.cut_at_s),
        cuts=dict(records.cuts),
        attempt_times_s=began_s[order],
        attempt_due_s=np.array(records.due_s)[order],
        attempt_answered_s=ended_s[order],
        attempt_client=np.array(records.client, dtype=np.int64)[order],
        attempt_outcome=outcomes[order],
        lost_clients=lost - records.out_of_attempts,
        unfinished_clients=int(np.isinf(connected_s).sum()) - lost + records.out_of_attempts,
        seconds=crowd.table.now(),
    )


@contextmanager
def kept(url: str) -> Iterator[None]:
    """Keep a port while its server is away, so that no connection of another program is given its number.

    Bound and not listening: whoever connects is refused, as if nobody were there. Both sides have set
    SO_REUSEADDR, so Linux lets the new server listen beside it; elsewhere nothing is done.
    """
    if sys.platform != "linux":
        yield
        return
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):  # taken already: then the restart says so
            target = Target.of(_http(url))
            sock.bind(target[:2])
        yield


def _http(url: str) -> str:
    return "http" + url.removeprefix("ws") if url.startswith("ws://") else url
