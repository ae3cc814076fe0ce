"""One message for many, in formulas: how many servers it touches, when the last has it, who gets hot.

The world of the formulas: n listeners (or members) of a topic sit on S servers, each on a random one, as a
load balancer puts them that knows nothing of topics. A message comes to one server and has to reach all.
Pushing it into one connection takes a server's loop c = `push_s` seconds, one after the other.

Left out: what the push costs the kernel and the network, servers of different size, members in many rooms.
Functions take numbers or numpy arrays and return the same. Each is held against the simulation or against a
real ring in tests/models.
"""

from typing import Any, TypeAlias

import numpy as np

from labsupport.models import checks
from labsupport.models.formula import plain

Numbers: TypeAlias = Any  # a float, or a numpy array of floats

ROUTINGS = ("to all", "pub/sub", "registry", "owner", "clients at the owner")


# ---- how many ----------------------------------------------------------------------------------------------


@plain
def servers_touched(listeners: Numbers, servers: Numbers) -> Numbers:
    """Mean number of servers that hold at least one listener: S(1 − (1 − 1/S)^n). 10 of 50: 9.1; 300: 49.9.

    So a broker saves work for small rooms only: a topic with some S·ln S listeners is on every server.
    """
    _placed(listeners, servers)
    s = np.asarray(servers, dtype=float)
    return s * (1.0 - (1.0 - 1.0 / s) ** np.asarray(listeners, dtype=float))


@plain
def join_notices(members: Numbers) -> Numbers:
    """Messages that tell those who are there of each who comes, until n are in: n(n − 1)/2. 10 000: 50 M.

    The same when n come back after a restart, and when they leave one by one.
    """
    checks.amount("members", members)
    n = np.asarray(members, dtype=float)
    return n * np.maximum(0.0, n - 1.0) / 2.0


@plain
def routing_messages(routing: str, members: Numbers, servers: Numbers) -> Numbers:
    """Mean messages between machines for one message that a member of a room publishes at its own server.

    T = servers_touched(n, S), the publisher's own among them, for it is a member.
        to all                 S − 1: each other server gets it, members or not
        pub/sub                1 + T: to the broker, and from there to each server that subscribed
        registry               2 + T − 1: ask a directory where the members are, and send it there
        owner                  (1 − 1/S)(1 + T): to the server that owns the room by consistent hashing, and
                               from there; one in S of these ways leads from the owner to itself
        clients at the owner   0: members connect to the owner itself, one connection for each room
    5 members on 50 servers: 49, 5.8, 5.8, 5.7 and 0. The counts hide where the load is: all of it at the
    broker, nowhere in particular with a registry, and at the owner of a hot room.
    """
    checks.choice("routing", routing, ROUTINGS)
    _placed(members, servers)
    if np.any(np.asarray(members) < 1):
        raise ValueError(f"members must be 1 or more: the publisher is one, got {members!r}")
    s = np.asarray(servers, dtype=float)
    touched = np.asarray(servers_touched(members, servers))
    if routing == "to all":
        return s - 1.0 + 0.0 * touched
    if routing == "pub/sub":
        return 1.0 + touched
    if routing == "registry":
        return 1.0 + touched
    return (1.0 - 1.0 / s) * (1.0 + touched) if routing == "owner" else 0.0 * touched


# ---- when --------------------------------------------------------------------------------------------------


@plain
def last_listener_s(
    listeners: Numbers, push_s: Numbers, processes: Numbers = 1, hop_s: Numbers = 0.0
) -> Numbers:
    """Seconds until the last of n listeners has it: n·c/P + hop, if they are spread evenly.

    10 000 listeners at 20 µs: 200 ms from one loop, 50 ms and the hop from four.
    """
    _pushed(listeners, push_s, processes, hop_s)
    return np.asarray(listeners) * np.asarray(push_s) / np.asarray(processes) + np.asarray(hop_s)


@plain
def mean_listener_s(
    listeners: Numbers, push_s: Numbers, processes: Numbers = 1, hop_s: Numbers = 0.0, *, even: bool = True
) -> Numbers:
    """Mean seconds until a listener has it: hop + c(n/P + 1)/2.

    even=False, each on a random process: hop + c(1 + (n − 1)/(2P)), as half of those beside one come before.
    """
    _pushed(listeners, push_s, processes, hop_s)
    n, p = np.asarray(listeners, dtype=float), np.asarray(processes, dtype=float)
    turns = (n / p + 1.0) / 2.0 if even else 1.0 + (n - 1.0) / (2.0 * p)
    return np.asarray(hop_s) + np.asarray(push_s) * turns


@plain
def busiest_process(listeners: Numbers, processes: Numbers) -> Numbers:
    """Listeners of the fullest of P processes, each listener on a random one: about n/P + √(2 n/P · ln P).

    An upper estimate for n/P well above ln P: at 10 000 on 4 it says 2 583, and the mean is 2 545.
    """
    _placed(listeners, processes)
    p = np.asarray(processes, dtype=float)
    mean = np.asarray(listeners) / p
    return mean + np.sqrt(2.0 * mean * np.log(p))


# ---- who owns what -----------------------------------------------------------------------------------------


@plain
def moved_share(servers: Numbers, *, ring: bool = True) -> Numbers:
    """Share of the topics that change their server when one is added to S: 1/(S + 1) on a ring.

    No way of sharing evenly can do with less. ring=False, number = hash mod S: S/(S + 1), nearly all. From 9
    to 10 servers: 10 % against 90 %.
    """
    _servers(servers)
    s = np.asarray(servers, dtype=float)
    return (1.0 if ring else s) / (s + 1.0)


@plain
def ring_spread(servers: Numbers, points: Numbers) -> Numbers:
    """Standard deviation of one server's share of a ring, as a part of the mean: √((S − 1)/(S·V + 1)).

    With V = `points` places for each server, about 1/√V: 1 place ±95 % (10 servers), 100 places ±9.5 %.
    Derivation: S·V random points cut a circle into equal laws; V of the pieces are Beta(V, (S − 1)·V).
    """
    _servers(servers)
    checks.amount("points", points)
    s = np.asarray(servers, dtype=float)
    return np.sqrt((s - 1.0) / (s * np.asarray(points) + 1.0))


@plain
def hot_share(topics: Numbers, exponent: Numbers = 1.0) -> Numbers:
    """Share of all messages that goes to the busiest of n topics, if they follow Zipf's law: 1/Σ k^(−a).

    1 000 topics, a = 1: 13 %. Its owner gets at least that, so more than 1/share servers do not help it.
    """
    checks.amount("exponent", exponent)
    counts = np.asarray(topics)
    for value in np.ravel(counts):
        checks.count("topics", value)
    sums = [
        np.sum(np.arange(1, int(n) + 1, dtype=float) ** -a)
        for n, a in np.broadcast(counts, np.asarray(exponent))
    ]
    return 1.0 / np.reshape(sums, np.broadcast_shapes(counts.shape, np.shape(exponent)))


def _servers(servers: Numbers) -> None:
    checks.amount("servers", servers)
    if np.any(np.asarray(servers) < 1):
        raise ValueError(f"servers (or processes) must be 1 or more, got {servers!r}")


def _placed(listeners: Numbers, servers: Numbers) -> None:
    checks.amount("listeners", listeners)
    _servers(servers)


def _pushed(listeners: Numbers, push_s: Numbers, processes: Numbers, hop_s: Numbers) -> None:
    _placed(listeners, processes)
    checks.seconds("push_s", push_s)
    checks.seconds("hop_s", hop_s)
