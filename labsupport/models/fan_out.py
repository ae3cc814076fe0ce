"""One message for many listeners, simulated: publisher, broker, servers, each with a loop that pushes. SimPy.

    run = simulate(10_000, servers=4, push_s=20e-6, hop_s=0.001)
    print(run.summary())                       # the last has it after 52 ms
    run.servers_touched, run.last_s, run.mean_s

    simulate          one message through a broker to n listeners on S servers: when does each have it?
    count_routing     the same message on five ways between servers: how many messages does each need?
    simulate_joins    a room fills up, and each who comes is announced: how many notices?
    Ring              consistent hashing, to own topics (fan_out_ring.py)

Distributions. Each listener sits on a server that is drawn at random ("random"), or they are dealt out evenly
("even"). A push takes a server's loop `push_s`, always the same ("constant") or exponential with that mean;
pushes follow each other in the order of the listeners' numbers. The way to the broker and on to a server
takes `hop_s` in all, for every server. Joins are a Poisson stream. Times in seconds.

Left out: a broker that is busy itself, servers that share cores, pushes that block (slow_consumer.py has
them), the way from the server to the browser, and leaving.

The same seed gives the same arrays, byte for byte. Checked against the closed forms (fan_out_closed_forms.py,
whose functions can be imported from here too) within 4 standard errors over 20 runs, and by hand.
"""

from collections.abc import Generator
from typing import Any

import numpy as np
import simpy
from numpy.typing import NDArray

from labsupport.draws import PHASE, TRAVEL, draws
from labsupport.models import checks
from labsupport.models.fan_out_closed_forms import (
    ROUTINGS,
    busiest_process,
    hot_share,
    join_notices,
    last_listener_s,
    mean_listener_s,
    moved_share,
    ring_spread,
    routing_messages,
    servers_touched,
)
from labsupport.models.fan_out_results import FanOutRun, JoinRun, RoutingRun
from labsupport.models.fan_out_ring import Ring, moved_by_modulo
from labsupport.models.traffic import Times, arrivals

__all__ = [
    "ROUTINGS",
    "FanOutRun",
    "JoinRun",
    "Ring",
    "RoutingRun",
    "busiest_process",
    "count_routing",
    "hot_share",
    "join_notices",
    "last_listener_s",
    "mean_listener_s",
    "moved_by_modulo",
    "moved_share",
    "ring_spread",
    "routing_messages",
    "servers_touched",
    "simulate",
    "simulate_joins",
]

Process = Generator[simpy.Event, Any, None]
SEAT = PHASE  # the lane of draws for where a listener sits
OWNER = 1_000_000_007  # number, in that lane, of the one who draws a room's owner: no listener has it


def broker(
    env: simpy.Environment, rooms: dict[int, list[int]], hop_s: float, pushes_s: Times, reached_s: Times
) -> Process:
    """Take the message, and hand it to each server that has a listener; to no other."""
    yield env.timeout(hop_s)
    for listeners in rooms.values():
        env.process(server(env, listeners, pushes_s, reached_s))


def server(env: simpy.Environment, listeners: list[int], pushes_s: Times, reached_s: Times) -> Process:
    """Push to one's own listeners, one after the other: that is all a loop can do."""
    for listener in listeners:
        yield env.timeout(pushes_s[listener])
        reached_s[listener] = env.now


def simulate(
    listeners: int,
    *,
    servers: int = 1,
    push_s: float = 20e-6,
    hop_s: float = 0.0,
    placing: str = "random",
    pushing: str = "constant",
    seed: int = 0,
) -> FanOutRun:
    """Publish one message at time 0, and see when each listener has it.

    listeners, servers   how many; a server is one process with one loop
    push_s               seconds that one push keeps the loop busy
    hop_s                seconds from the publisher through the broker to a server
    placing, pushing     "random" or "even"; "constant" or "exponential"
    """
    checks.count("listeners", listeners)
    checks.count("servers", servers)
    checks.seconds("push_s", push_s)
    checks.seconds("hop_s", hop_s)
    checks.choice("placing", placing, ("random", "even"))
    checks.choice("pushing", pushing, ("constant", "exponential"))
    checks.events(listeners, "pushes")

    numbers = np.arange(listeners)
    server_of = _seats(listeners, servers, seed) if placing == "random" else numbers % servers
    pushes_s = np.full(listeners, float(push_s))
    if pushing == "exponential":
        pushes_s = -np.log1p(-draws(seed, numbers, 0, TRAVEL)) * push_s
    rooms: dict[int, list[int]] = {}
    for listener, number in enumerate(server_of.tolist()):
        rooms.setdefault(number, []).append(listener)

    env = simpy.Environment()
    reached_s = np.zeros(listeners)
    env.process(broker(env, rooms, hop_s, pushes_s, reached_s))
    env.run()
    return FanOutRun(
        listeners=listeners, servers=servers, push_s=float(push_s), hop_s=float(hop_s), placing=placing,
        pushing=pushing, seed=seed, server_of=server_of, reached_s=reached_s,
    )  # fmt: skip


def count_routing(members: int, servers: int, *, messages: int = 100, seed: int = 0) -> RoutingRun:
    """Count messages between machines for each way of routing, for as many rooms as messages.

    Each room has its own random places for its members, and its own random owner; member 0 publishes.
    """
    checks.count("members", members)
    checks.count("servers", servers)
    checks.count("messages", messages)
    checks.events(members * messages, "members of rooms")
    sent: dict[str, list[int]] = {routing: [] for routing in ROUTINGS}
    for room in range(messages):
        seats = _seats(members, servers, seed, room)
        here, touched = int(seats[0]), set(seats.tolist())
        owner = int(draws(seed, OWNER, room, SEAT) * servers)
        sent["to all"].append(servers - 1)
        sent["pub/sub"].append(1 + len(touched))
        sent["registry"].append(2 + len(touched - {here}))
        sent["owner"].append((here != owner) + len(touched - {owner}))
        sent["clients at the owner"].append(0)
    return RoutingRun(
        members=members, servers=servers, seed=seed,
        sent={routing: np.array(counts, dtype=np.int64) for routing, counts in sent.items()},
    )  # fmt: skip


class Room:
    """Members of a room, and what they are told."""

    def __init__(self) -> None:
        self.members = 0
        self.notices = 0

    def join(self) -> None:
        """Tell those who are there, and be one of them."""
        self.notices += self.members
        self.members += 1


def simulate_joins(joins_per_s: float, horizon_s: float, *, seed: int = 0) -> JoinRun:
    """Let a room fill up for `horizon_s` seconds, and count the notices to those who are there."""
    checks.rate("joins_per_s", joins_per_s, zero=False)
    joined_s = arrivals(joins_per_s, horizon_s, 1, seed)[0]
    env, room = simpy.Environment(), Room()
    notices: list[int] = []

    def door() -> Process:
        for gap_s in np.diff(joined_s, prepend=0.0).tolist():
            yield env.timeout(gap_s)
            room.join()
            notices.append(room.notices)

    env.process(door())
    env.run()
    return JoinRun(
        joins_per_s=float(joins_per_s), horizon_s=float(horizon_s), seed=seed, joined_s=joined_s,
        notices_until=np.array(notices, dtype=np.int64),
    )  # fmt: skip


def _seats(listeners: int, servers: int, seed: int, room: int = 0) -> NDArray[np.int64]:
    """Return a random server for each listener of a room."""
    seats: NDArray[np.int64] = (draws(seed, np.arange(listeners), room, SEAT) * servers).astype(np.int64)
    return seats
