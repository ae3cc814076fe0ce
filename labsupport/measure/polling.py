"""Polling measured: real requests to a real server, with the very arrivals and phases that a model was given.

    run = await short_polling(
        server.url, arrivals_s=arrivals_s, phases_s=phases_s, interval_s=0.25, horizon_s=10
    )
    run.empty_share, run.polls_per_message, run.staleness_mean_s

The results carry the names of `labsupport.models.polling`, so that formula, simulation and measurement
stand side by side. Seconds may shrink: what the formulas hold is λT, and 40 polls at T = 0.25 s take ten
seconds instead of three minutes. Client c follows a channel of its own, so that its messages are its alone.
"""

import json
import math
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from labsupport.measure.exchange import Line, Publisher, Timetable
from labsupport.measure.polling_run import LongPollingRun, ShortPollingRun
from labsupport.measure.sockets import Answer, LoadError, Target, allow_connections, exchange
from labsupport.measure.threads import in_thread

MAX_CLIENTS = 900  # the servers keep 1 000 channels at most
MAX_HORIZON_S = 60.0
MAX_REQUESTS_PER_S = 2_000.0  # beyond this a small machine measures its own overload
GRACE_S = 15.0  # seconds past the horizon for what is still on its way
HOLD_S = 30.0  # the longest that the server holds a request
ROUNDING_S = 1e-9  # keeps 40 polls of 0.25 s in 10 s from becoming 41

Seconds: TypeAlias = Sequence[float] | np.ndarray


async def short_polling(
    url: str,
    *,
    arrivals_s: Sequence[Seconds],
    phases_s: Seconds,
    interval_s: float,
    horizon_s: float,
    publish_url: str = "",
) -> ShortPollingRun:
    """Poll the server at `url` at a fixed rate, one client per entry of `arrivals_s` and of `phases_s`.

    Client c polls at phases_s[c] + k·interval_s, in absolute time: a slow answer shifts no later poll. (A
    poll that is due before the last is answered leaves when that is.) Its messages are published at
    arrivals_s[c]. Polls after the horizon only fetch what is still missing, and are not counted.

    All times are seconds from 0 to the horizon. `publish_url` names the server itself when `url` is a box in
    front of it, so that only the polls take the longer way. LoadError says what cannot be measured, and why.
    """
    arrivals, phases = _checked(arrivals_s, phases_s, horizon_s)
    if not 0 < interval_s <= horizon_s:
        raise LoadError(f"interval_s must be above 0 s and at most the horizon, not {interval_s}")
    _bounded(len(phases) / interval_s, arrivals, horizon_s)

    def work(stop: threading.Event) -> ShortPollingRun:
        run = _Run(url, publish_url, arrivals, horizon_s, stop)
        clients = [_ShortPoller(run, c, phase, interval_s) for c, phase in enumerate(phases)]
        return ShortPollingRun(**run.results(clients, past_s=interval_s), interval_s=interval_s)

    return await in_thread(work)


async def long_polling(
    url: str,
    *,
    arrivals_s: Sequence[Seconds],
    phases_s: Seconds | None = None,
    hold_s: float,
    horizon_s: float,
    publish_url: str = "",
) -> LongPollingRun:
    """Long-poll the server at `url`: client c first asks at phases_s[c] (default 0), then after each answer.

    The server holds a request for `hold_s` at most. Counted are the requests answered before the horizon; one
    that is still held then is dropped. On loopback the round trip is about 0; for a longer one let `url` be a
    middlebox with a delay, and `publish_url` the server itself. Otherwise as `short_polling`.
    """
    first_s = np.zeros(len(arrivals_s)) if phases_s is None else phases_s
    arrivals, phases = _checked(arrivals_s, first_s, horizon_s)
    if not 0 < hold_s <= HOLD_S:
        raise LoadError(
            f"hold_s must be above 0 and at most {HOLD_S:g} s, what the server allows, not {hold_s}"
        )
    _bounded(len(phases) / hold_s, [*arrivals, *arrivals], horizon_s)  # a message also answers a request

    def work(stop: threading.Event) -> LongPollingRun:
        run = _Run(url, publish_url, arrivals, horizon_s, stop)
        clients = [_LongPoller(run, c, phase, hold_s) for c, phase in enumerate(phases)]
        return LongPollingRun(**run.results(clients, past_s=hold_s), hold_s=hold_s)

    return await in_thread(work)


class _Run:
    """What the clients of a run share: the time-table, the publisher, the addresses."""

    def __init__(
        self,
        url: str,
        publish_url: str,
        arrivals_s: list[np.ndarray],
        horizon_s: float,
        stop: threading.Event,
    ) -> None:
        self.target = Target.of(url)
        self.arrivals_s = arrivals_s
        self.horizon_s = horizon_s
        self.channels = [f"c{client}" for client in range(len(arrivals_s))]
        server = Target.of(publish_url or url)
        allow_connections(len(self.channels))
        # start where each channel stands now: an earlier run's messages are history
        answers = exchange(server, (server.get(f"/messages?channel={channel}") for channel in self.channels))
        self.positions = [str(json.loads(answer.body)["position"]) for answer in answers]
        self.table = Timetable(stop)
        self.publisher = Publisher(self.table, server, self.channels)
        self.publisher.enter(arrivals_s)

    def results(self, clients: "Sequence[_Poller]", past_s: float) -> dict[str, Any]:
        """Let everything happen; return the fields of PollingRun."""
        try:
            self.table.start()
            self.table.run(lambda: self._is_over(clients), self.horizon_s + past_s + GRACE_S)
        finally:
            self.table.close()
        sent = sorted(request for client in clients for request in client.log)
        times = np.array([request[:2] for request in sent], dtype=float).reshape(-1, 2)
        whole = np.array([request[2:] for request in sent], dtype=np.int64).reshape(-1, 3)
        messages = self.publisher.by_client()
        late_s = [client.late_s for client in clients] + list(messages["sent_s"] - messages["published_s"])
        return messages | {
            "clients": len(clients),
            "horizon_s": self.horizon_s,
            "request_times_s": times[:, 0],
            "request_answered_s": times[:, 1],
            "request_client": whole[:, 0],
            "request_empty": whole[:, 1] == 0,
            "answer_bytes": whole[:, 2],
            "delivered_s": np.concatenate([np.array(client.delivered_s, dtype=float) for client in clients]),
            "repeated_deliveries": sum(client.repeated for client in clients),
            "out_of_order": sum(client.out_of_order for client in clients),
            "late_s": float(max(late_s)),
        }

    def _is_over(self, clients: "Sequence[_Poller]") -> bool:
        return (
            self.table.now() >= self.horizon_s
            and not self.publisher.unanswered
            and not any(client.lacks_something or client.must_hear for client in clients)
        )


class _Poller:
    """One client: a connection, made when it first asks, a position, and what became of its requests."""

    def __init__(self, run: _Run, number: int, query: str = "") -> None:
        self.run = run
        self.number = number
        self.position = run.positions[number]
        self.delivered_s = [math.nan] * len(run.arrivals_s[number])
        self.missing = len(self.delivered_s)
        self.log: list[tuple[float, float, int, int, int]] = []  # sent, answered, client, messages, bytes
        self.late_s = 0.0
        self.repeated = self.out_of_order = 0
        self._newest = -1  # number of the newest message that has come
        self._asked_s: float | None = None  # when the request that is unanswered was sent
        self._due_s = math.nan  # when it was to be sent
        self._path = f"/messages?channel={run.channels[number]}{query}&since="
        self._line: Line | None = None

    @property
    def lacks_something(self) -> bool:
        return self.missing > 0

    @property
    def busy(self) -> bool:
        return self._asked_s is not None

    @property
    def must_hear(self) -> bool:
        """Whether an answer is on its way that the run has to wait for."""
        return False

    def ask(self, due_s: float) -> None:
        if self._line is None:
            self._line = Line(self.run.table, self.run.target, self.number)
        self._asked_s = self.run.table.now()
        self._due_s = due_s
        self.late_s = max(self.late_s, self._asked_s - due_s)
        self._line.send(self.run.target.get(self._path + self.position), self._answered)

    def _answered(self, answer: Answer, now: float) -> None:
        content = json.loads(answer.body)
        self.position = content["position"]
        for message in content["messages"]:
            self._received(message["data"], now)
        self._note(now, len(content["messages"]), answer.wire_bytes)
        self.then(now)

    def _received(self, number: Any, now: float) -> None:
        if not isinstance(number, int) or not 0 <= number < len(self.delivered_s):
            raise LoadError(f"a message of someone else came on channel {self.run.channels[self.number]}")
        if not math.isnan(self.delivered_s[number]):
            self.repeated += 1
            return
        self.out_of_order += number < self._newest
        self._newest = max(self._newest, number)
        self.delivered_s[number] = now
        self.missing -= 1

    def _note(self, answered_s: float, messages: int, size: int) -> None:
        assert self._asked_s is not None
        if self.counts(answered_s):
            self.log.append((self._asked_s, answered_s, self.number, messages, size))
        self._asked_s = None

    def counts(self, answered_s: float) -> bool:
        """Whether the request that has just been answered belongs to the run."""
        raise NotImplementedError

    def then(self, now: float) -> None:
        """What the client does after an answer."""
        raise NotImplementedError


class _ShortPoller(_Poller):
    """Asks on a timer that does not drift."""

    def __init__(self, run: _Run, number: int, phase_s: float, interval_s: float) -> None:
        super().__init__(run, number)
        self._phase_s = phase_s
        self._interval_s = interval_s
        self._turns = 0  # how often the timer has gone off
        self._owed: deque[float] = deque()  # polls that were due while the one before was unanswered
        run.table.at(phase_s, self._due)

    @property
    def must_hear(self) -> bool:
        return self.busy or bool(self._owed)

    def counts(self, answered_s: float) -> bool:
        return (
            self._due_s < self.run.horizon_s - ROUNDING_S
        )  # the schedule's own, so a busy machine loses none

    def _due(self) -> None:
        due_s = self._phase_s + self._turns * self._interval_s
        if due_s >= self.run.horizon_s - ROUNDING_S and not self.lacks_something:
            return
        self._turns += 1
        self.run.table.at(self._phase_s + self._turns * self._interval_s, self._due)
        if self.busy:
            self._owed.append(due_s)
        else:
            self.ask(due_s)

    def then(self, now: float) -> None:
        if self._owed:
            self.ask(self._owed.popleft())


class _LongPoller(_Poller):
    """Asks again as soon as it has an answer."""

    def __init__(self, run: _Run, number: int, phase_s: float, hold_s: float) -> None:
        super().__init__(run, number, f"&wait={hold_s:g}")
        run.table.at(phase_s, lambda: self.ask(phase_s))

    def counts(self, answered_s: float) -> bool:
        return answered_s < self.run.horizon_s

    def then(self, now: float) -> None:
        if now < self.run.horizon_s or self.lacks_something:
            self.ask(now)


def _checked(
    arrivals_s: Sequence[Seconds], phases_s: Seconds, horizon_s: float
) -> tuple[list[np.ndarray], list[float]]:
    if not 0 < horizon_s <= MAX_HORIZON_S:
        raise LoadError(f"horizon_s must be above 0 and at most {MAX_HORIZON_S:g} s, not {horizon_s}")
    if not 1 <= len(arrivals_s) <= MAX_CLIENTS:
        raise LoadError(f"expected the arrivals of 1 to {MAX_CLIENTS} clients, got {len(arrivals_s)}")
    if len(phases_s) != len(arrivals_s):
        raise LoadError(
            f"{len(arrivals_s)} clients have arrivals and {len(phases_s)} a phase: give each both"
        )
    arrivals = [np.asarray(times, dtype=float) for times in arrivals_s]
    phases = [float(phase) for phase in phases_s]
    for client, (times, phase) in enumerate(zip(arrivals, phases, strict=True)):
        if not 0 <= phase < horizon_s:
            raise LoadError(f"the phase of client {client} must lie in [0, horizon), not at {phase} s")
        if times.ndim != 1 or not np.all((times >= 0) & (times < horizon_s)) or np.any(np.diff(times) < 0):
            raise LoadError(f"the arrivals of client {client} must be rising seconds in [0, horizon)")
    return arrivals, phases


def _bounded(polls_per_s: float, arrivals_s: list[np.ndarray], horizon_s: float) -> None:
    rate = polls_per_s + sum(map(len, arrivals_s)) / horizon_s
    if rate > MAX_REQUESTS_PER_S:
        raise LoadError(
            f"this asks for {rate:.0f} requests a second; above {MAX_REQUESTS_PER_S:.0f} it would measure "
            "the machine's overload: fewer clients, rarer messages, or a longer interval?"
        )
