"""The arithmetic of capacity: each line of a plan's card is one of these. Numbers or numpy arrays alike.

Bytes, bits, seconds, per-second rates, numbers of things; nothing here knows KB from KiB. Expected values
only: no queue, no burst, no clumsy balancer. Left out: retransmissions, time of the kernel beyond what the
measured costs hold, and whatever the servers do besides holding connections and forwarding.
"""

import math
from typing import Any, TypeAlias

import numpy as np

Numbers: TypeAlias = Any  # a float, or a numpy array of floats

LOCAL_PORTS = 28_232  # Linux' default range, 32768 to 60999: connections of one source address to one port
_ROUNDING = 1e-12  # relative: 31.000000000001 servers are 31
_HALVINGS = 60  # of an interval, until nothing changes in a float


def whole(servers: Numbers) -> Numbers:
    """Servers come whole: ⌈x⌉, forgiving the last bits of floating point. ∞ stays ∞."""
    return np.ceil(np.asarray(servers, dtype=float) * (1.0 - _ROUNDING))


def connections_in_memory(
    memory_bytes: Numbers, base_bytes: Numbers, each_bytes: Numbers, *, headroom: Numbers = 0.0
) -> Numbers:
    """N_max = (RAM·(1 − h) − M₀)/m, whole: 16e9 B at 50e3 B each hold 320 000; 16 GiB at 50 KiB, 335 544."""
    room = np.asarray(memory_bytes) * (1.0 - np.asarray(headroom)) - base_bytes
    return np.maximum(np.floor(room / each_bytes * (1.0 + 1e-12)), 0.0)


def memory_needed(
    connections: Numbers, base_bytes: Numbers, each_bytes: Numbers, *, queued_bytes: Numbers = 0.0
) -> Numbers:
    """M = M₀ + N·m + queued, in bytes. 50 000 × 200 KB are 10 GB."""
    return base_bytes + np.asarray(connections) * (np.asarray(each_bytes) + queued_bytes)


def pings_per_s(connections: Numbers, interval_s: Numbers, *, pongs: bool = False) -> Numbers:
    """N/interval, twice with the answers: a million every 25 s are 40 000/s; every 30 s 33 333."""
    return np.asarray(connections) / interval_s * (2.0 if pongs else 1.0)


def broadcast_bit_s(receivers: Numbers, message_bytes: Numbers, per_s: Numbers) -> Numbers:
    """N·bytes·rate·8: 25 kB to 10 000 every second are 2 Gbit/s."""
    return np.asarray(receivers) * message_bytes * per_s * 8.0


def source_addresses(connections: Numbers, ports: float = LOCAL_PORTS) -> Numbers:
    """Addresses that a proxy or load client needs for so many connections to one server's port."""
    return whole(np.asarray(connections) / ports)


def servers_reached(servers: Numbers, subscribers: Numbers) -> Numbers:
    """S·(1 − (1 − 1/S)^n): of S servers, how many hold one of a topic's n subscribers, spread at random.

    The broker sends each message once to each of them. For S ≤ 1 it is S.
    """
    servers = np.asarray(servers, dtype=float)
    return servers * _reached_share(servers, subscribers)


def _reached_share(servers: Numbers, subscribers: Numbers) -> Numbers:
    more = np.asarray(servers, dtype=float) > 1.0
    misses = np.log1p(-1.0 / np.where(more, servers, 2.0))
    return np.where(more, -np.expm1(np.asarray(subscribers) * misses), 1.0)


def servers_for_cpu(divided: Numbers, repeated: Numbers, subscribers: Numbers, cores: Numbers) -> Numbers:
    """The S (a fraction) with divided/S + repeated·P(reached | S) = cores.

    `divided` is work that S servers share, `repeated` what each reached server does again for each message
    that the broker sends it; both in cores (seconds of CPU a second). Falls in S, so halving finds it.
    """
    divided, repeated, subscribers, cores = np.broadcast_arrays(
        *(np.asarray(value, dtype=float) for value in (divided, repeated, subscribers, cores))
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        alone = np.where(
            cores > repeated, divided / np.where(cores > repeated, cores - repeated, 1.0), np.inf
        )
        low = np.maximum(divided / cores, 1.0)
        high = np.maximum((divided + repeated * subscribers) / cores, low)  # since P(reached) ≤ n/S
        for _ in range(_HALVINGS):
            middle = np.sqrt(low * high)
            enough = divided / middle + repeated * _reached_share(middle, subscribers) <= cores
            low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return np.where(alone <= 1.0, alone, high)


def servers_to_take_over(connections: Numbers, accepts_per_s: Numbers, within_s: Numbers) -> Numbers:
    """The reconnect limit: the S whose S − 1 survivors accept the lost N/S within the tolerated time.

    S·(S − 1)·A·T = N, with A connections/s that one server accepts. At least 2: one server has
    no survivor.
    """
    pairs = np.asarray(connections) / (np.asarray(accepts_per_s) * within_s)
    return np.maximum((1.0 + np.sqrt(1.0 + 4.0 * pairs)) / 2.0, 2.0)


def take_over_s(connections: Numbers, servers: Numbers, accepts_per_s: Numbers) -> Numbers:
    """Seconds in which S − 1 survivors accept the N/S connections of the lost one; ∞ for one server."""
    survivors = np.maximum(np.asarray(servers, dtype=float) - 1.0, 0.0)
    with np.errstate(divide="ignore"):
        return np.where(
            survivors > 0, np.asarray(connections) / (servers * survivors * accepts_per_s), np.inf
        )


def long_polls_per_s(messages_per_s: Numbers, hold_s: Numbers, round_trip_s: Numbers) -> Numbers:
    """Requests/s of one client: 1/(L + E[W]), E[W] = e^(−λL)(1 − e^(−λH))/λ (Poisson messages, rate λ)."""
    rate = np.asarray(messages_per_s, dtype=float)
    some = rate > 0
    safe = np.where(some, rate, 1.0)
    waited = np.where(some, -np.exp(-safe * round_trip_s) * np.expm1(-safe * hold_s) / safe, hold_s)
    return 1.0 / (round_trip_s + waited)


def servers_needed(users: float, per_server: float, *, use: float = 1.0, margin: float = 1.0) -> int:
    """⌈N·c/(capacity·u)⌉: 10 M at 320 000 a server are 31.25, so 32; at 100 000 a server, 100."""
    for name, value in (("users", users), ("per_server", per_server), ("use", use), ("margin", margin)):
        if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not value > 0:
            raise ValueError(f"{name} must be a number above 0, got {value!r}")
    if use > 1:
        raise ValueError(f"use is a share: expected above 0 and at most 1, got {use!r} (0.6 means 60 %)")
    if not math.isfinite(users * margin / per_server):
        raise ValueError(f"users must be finite, got {users!r}")
    return int(whole(users * margin / (per_server * use)))
