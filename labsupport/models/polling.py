"""Short and long polling, simulated: one SimPy process per client, the text to read beside the real clients.

    run = simulate_short(1 / 60, 5.0, clients=100)      # a message a minute for each client, asked every 5 s
    print(run.summary())                                # about 92 % of the answers are empty
    run.empty_share, empty_share(1 / 60, 5.0)           # simulation and closed form, side by side

What both models assume. Messages reach the server as a Poisson stream of λ per second, one stream for each
client (`shared_topic=True`: one stream for all). A request and its answer travel half of `round_trip_s`
each, always the same; the server takes no time, and no number of requests slows it; nothing is lost, nobody
leaves. An answer carries every message that is newer than the position that the client knew when it asked.

What is counted, by the server's clock: every request that it answers within the horizon (so not those still
parked at the end), and every message published within it, followed until it is delivered, even past the end.

Left out: connection set-up, TLS, bytes, queues, caches and 304, retries. So a measured run has more
latency, and the gap between the two is what the machine and the protocol add.

Start-up: nothing is published before time 0, so a client's first poll is empty a little too often and its
view is fresh a little too long. With n polls a client both shares are off by less than 1/n.

The same seed gives the same arrays, byte for byte. Checked against the closed forms (polling_closed_forms.py,
whose functions can be imported from here too) within 4 standard errors over 20 runs, and by hand on small
time-lines. One run strays by its own luck; with a shared topic by a lot: see `empty_share_error`.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Generator, Sequence
from typing import Any

import numpy as np
import simpy

from labsupport.draws import PHASE, draw
from labsupport.models import checks
from labsupport.models.polling_closed_forms import (
    busiest_bin,
    empty_share,
    empty_share_error,
    long_empty_share,
    long_latency_max_s,
    long_latency_mean_s,
    long_latency_p95_s,
    long_requests_per_message,
    long_requests_per_s,
    long_transits_mean,
    long_wait_mean_s,
    message_count_error,
    period_s,
    polls_per_message,
    requests_per_s,
    stale_share,
    staleness_max_s,
    staleness_mean_s,
    staleness_p95_s,
)
from labsupport.models.polling_results import LongPolling, PollingRun, ShortPolling
from labsupport.models.polling_timers import Timers
from labsupport.models.traffic import arrivals, given

__all__ = [
    "LongPolling",
    "PollingRun",
    "ShortPolling",
    "arrivals",
    "busiest_bin",
    "empty_share",
    "empty_share_error",
    "long_empty_share",
    "long_latency_max_s",
    "long_latency_mean_s",
    "long_latency_p95_s",
    "long_requests_per_message",
    "long_requests_per_s",
    "long_transits_mean",
    "long_wait_mean_s",
    "message_count_error",
    "period_s",
    "polls_per_message",
    "requests_per_s",
    "simulate_long",
    "simulate_short",
    "stale_share",
    "staleness_max_s",
    "staleness_mean_s",
    "staleness_p95_s",
]

Process = Generator[simpy.Event, Any, None]


class Client:
    """One client's side of a run: what is there for it, what it has, and what it did."""

    def __init__(self, published_s: list[float]) -> None:
        self.published_s = published_s  # when its messages reach the server, in order
        self.position = 0  # number of messages that it has
        self.delivered_s: list[float] = []
        self.repeated = 0
        self.asked_s: list[float] = []
        self.empty: list[bool] = []

    @property
    def lacks_something(self) -> bool:
        """Whether a message of this run is still to come."""
        return self.position < len(self.published_s)

    def newest_at(self, time_s: float) -> int:
        """Return the server's position: the number of messages that have reached it."""
        return bisect_right(self.published_s, time_s)

    def receive(self, since: int, newest: int, time_s: float) -> None:
        """Take an answer with the messages from `since` to `newest`."""
        self.repeated += max(0, min(self.position, newest) - since)
        if newest > self.position:
            self.delivered_s.extend([time_s] * (newest - self.position))
            self.position = newest

    def record(self, time_s: float, empty: bool) -> None:
        """Note a request that reached the server at this time and was answered within the horizon."""
        self.asked_s.append(time_s)
        self.empty.append(empty)


# ---- short polling -----------------------------------------------------------------------------------------


def ask(env: simpy.Environment, client: Client, transit_s: float, end_s: float) -> Process:
    """One poll: the request travels, the server answers at once, the answer travels back."""
    since = client.position
    if transit_s:
        yield env.timeout(transit_s)
    newest = client.newest_at(env.now)
    if env.now < end_s:
        client.record(env.now, empty=newest == since)
    if transit_s:
        yield env.timeout(transit_s)
    client.receive(since, newest, env.now)


def poller(
    env: simpy.Environment,
    client: Client,
    first_s: float,
    next_interval_s: Callable[[], float],
    transit_s: float,
    end_s: float,
    schedule: str,
) -> Process:
    """One client that asks, waits, and asks again, until the time is over and it has everything."""
    yield env.timeout(first_s)
    while env.now < end_s or client.lacks_something:
        interval_s = next_interval_s()
        if schedule == "fixed rate" and interval_s < 2 * transit_s:
            env.process(ask(env, client, transit_s, end_s))  # a timer does not wait: polls overlap
            yield env.timeout(interval_s)
        else:
            asked_s = env.now
            yield from ask(env, client, transit_s, end_s)
            spent_s = env.now - asked_s if schedule == "fixed rate" else 0.0
            yield env.timeout(max(0.0, interval_s - spent_s))


def simulate_short(
    messages_per_s: float,
    interval_s: float,
    *,
    clients: int = 100,
    round_trip_s: float = 0.0,
    horizon_s: float | None = None,
    jitter: float = 0.0,
    phases: str = "random",
    schedule: str = "fixed rate",
    interval_law: str = "constant",
    shared_topic: bool = False,
    arrivals_s: Sequence[Any] | None = None,
    seed: int = 0,
) -> ShortPolling:
    """Simulate clients that ask every `interval_s` seconds whether there is something new.

    messages_per_s  λ, per client (with shared_topic: of the one topic that all follow)
    round_trip_s    request and answer together, half each way
    horizon_s       length of the run; without it, 100 polls of a client (or up to the last of `arrivals_s`)
    jitter          0.2: each interval is uniform within ± 20 %
    phases          when first polls reach the server: "random" (as if it had gone on for ever), "equal"
                    (evenly spread over an interval) or "together" (all at time 0)
    schedule        "fixed rate": a timer that does not wait for answers, so slow answers overlap;
                    "fixed delay": the interval starts when the answer is there
    interval_law    "constant" (± jitter), "uniform" (0 to 2·interval, or ± jitter), "exponential"
    arrivals_s      publish these (see `arrivals`): one sequence of seconds per client, or a single shared one
    Raises ValueError for anything that is no rate, no time, or too large for a simulation.
    """
    checks.rate("messages_per_s", messages_per_s)
    timers = Timers(interval_s, round_trip_s, clients, phases, schedule, interval_law, jitter, seed)
    horizon_s = _horizon(horizon_s, 100 * timers.every_s, arrivals_s)
    checks.events(clients * horizon_s / timers.every_s, "requests")
    members = _members(messages_per_s, horizon_s, clients, shared_topic, arrivals_s, seed)

    transit_s = round_trip_s / 2
    env = simpy.Environment(initial_time=-transit_s)  # what is sent now reaches the server at time 0
    end_s = horizon_s - 1e-6 * timers.every_s  # a poll due at the horizon is outside, however its time rounds
    for number, client in enumerate(members):
        first_s, intervals = timers.first_s(number), timers.intervals(number)
        env.process(poller(env, client, first_s, intervals, transit_s, end_s, schedule))
    env.run()
    return ShortPolling(
        **_collected(members, messages_per_s, round_trip_s, horizon_s, shared_topic, seed),
        interval_s=float(interval_s),
        schedule=schedule,
        phases=phases,
        interval_law=interval_law,
        jitter=float(jitter),
    )


# ---- long polling ------------------------------------------------------------------------------------------


def long_poller(
    env: simpy.Environment,
    client: Client,
    first_s: float,
    hold_s: float,
    transit_s: float,
    horizon_s: float,
) -> Process:
    """One client whose request is parked until a message comes or the hold is over; then it asks again."""
    yield env.timeout(first_s)
    while env.now < horizon_s or client.lacks_something:
        since = client.position
        if transit_s:
            yield env.timeout(transit_s)
        asked_s, newest = env.now, client.newest_at(env.now)
        if newest == since:
            next_s = client.published_s[since] - env.now if client.lacks_something else math.inf
            if math.isinf(min(next_s, hold_s)):
                return  # nothing will ever answer this request
            yield env.timeout(min(next_s, hold_s))
            due = since + (next_s <= hold_s)  # a sum of times may round to just before the message
            newest = max(client.newest_at(env.now), due)
        if env.now < horizon_s:
            client.record(asked_s, empty=newest == since)
        if transit_s:
            yield env.timeout(transit_s)
        client.receive(since, newest, env.now)


def simulate_long(
    messages_per_s: float,
    hold_s: float = 25.0,
    *,
    round_trip_s: float = 0.0,
    clients: int = 100,
    horizon_s: float | None = None,
    arrivals_s: Sequence[Any] | None = None,
    shared_topic: bool = False,
    seed: int = 0,
) -> LongPolling:
    """Simulate clients whose request the server holds until a message comes, for at most `hold_s` seconds.

    The answer carries all that is new; the client asks again as soon as it has the answer, so for one round
    trip after each answer no request is parked. The hold runs from the request's arrival at the server.
    First requests leave at a random moment of the first round trip. The other arguments are those of
    `simulate_short`; without `horizon_s` a run lasts 100 requests of a client on average. The real client's
    time-out is left out.
    """
    checks.rate("messages_per_s", messages_per_s)
    checks.seconds("hold_s", hold_s, zero=False, infinite=True)
    checks.seconds("round_trip_s", round_trip_s)
    checks.count("clients", clients)
    per_client = long_requests_per_s(messages_per_s, hold_s, round_trip_s)
    horizon_s = _horizon(horizon_s, 100 / per_client if per_client else math.inf, arrivals_s)
    checks.events(clients * horizon_s * per_client, "requests")
    members = _members(messages_per_s, horizon_s, clients, shared_topic, arrivals_s, seed)

    transit_s = round_trip_s / 2
    env = simpy.Environment(initial_time=-transit_s)  # what is sent now reaches the server at time 0
    for number, client in enumerate(members):
        first_s = draw(seed, number, 0, PHASE) * round_trip_s
        env.process(long_poller(env, client, first_s, hold_s, transit_s, horizon_s))
    env.run()
    return LongPolling(
        **_collected(members, messages_per_s, round_trip_s, horizon_s, shared_topic, seed),
        hold_s=float(hold_s),
    )


# ---- what both share ---------------------------------------------------------------------------------------


def _horizon(horizon_s: float | None, usual_s: float, arrivals_s: Sequence[Any] | None) -> float:
    """Return the length of the run in seconds."""
    if horizon_s is not None:
        checks.seconds("horizon_s", horizon_s, zero=False)
        return float(horizon_s)
    if not math.isfinite(usual_s):
        raise ValueError("no messages and an endless hold: a run has no usual length, so give horizon_s")
    given_s = arrivals_s if arrivals_s is not None else ()
    last_s = max((float(np.max(one)) for one in given_s if np.size(one)), default=0.0)
    return max(usual_s, math.nextafter(last_s, math.inf))


def _members(
    messages_per_s: float,
    horizon_s: float,
    clients: int,
    shared_topic: bool,
    arrivals_s: Sequence[Any] | None,
    seed: int,
) -> list[Client]:
    """Return the clients, each with the messages that will be published for it."""
    checks.events(clients * messages_per_s * horizon_s, "deliveries")
    count = 1 if shared_topic else clients
    if arrivals_s is None:
        streams = arrivals(messages_per_s, horizon_s, count, seed)
    else:
        streams = given(arrivals_s, horizon_s, count)
    times_s = [stream_s.tolist() for stream_s in streams]
    return [Client(times_s[0 if shared_topic else number]) for number in range(clients)]


def _collected(
    members: list[Client],
    messages_per_s: float,
    round_trip_s: float,
    horizon_s: float,
    shared_topic: bool,
    seed: int,
) -> dict[str, Any]:
    """Return the fields of a PollingRun."""
    numbers = np.arange(len(members))
    asked_s = np.concatenate([np.array(client.asked_s, dtype=float) for client in members])
    order = np.argsort(asked_s, kind="stable")
    return {
        "messages_per_s": float(messages_per_s),
        "clients": len(members),
        "round_trip_s": float(round_trip_s),
        "horizon_s": horizon_s,
        "shared_topic": shared_topic,
        "seed": seed,
        "request_times_s": asked_s[order],
        "request_client": np.repeat(numbers, [len(client.asked_s) for client in members])[order],
        "request_empty": np.concatenate([np.array(client.empty, dtype=bool) for client in members])[order],
        "published_s": np.concatenate([np.array(client.published_s, dtype=float) for client in members]),
        "delivered_s": np.concatenate([np.array(client.delivered_s, dtype=float) for client in members]),
        "message_client": np.repeat(numbers, [len(client.published_s) for client in members]),
        "repeated_deliveries": sum(client.repeated for client in members),
    }
