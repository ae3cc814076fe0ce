"""Exercises of chapter 10, a million open connections: arithmetic, a diagnosis, and a slope."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from labsupport.teach.exercise import Exercise, Mistake, case

# 10.1, servers for so many users


def servers_needed(users: int, memory_bytes: float, connection_bytes: float, use: float) -> int:
    """Servers for `users` connections, when each server may fill the share `use` of its memory with them."""
    return math.ceil(users / math.floor(memory_bytes * use / connection_bytes))


def _rounds_down(users: int, memory_bytes: float, connection_bytes: float, use: float) -> int:
    return users // math.floor(memory_bytes * use / connection_bytes)


def _fills_it_up(users: int, memory_bytes: float, connection_bytes: float, use: float) -> int:
    return math.ceil(users / math.floor(memory_bytes / connection_bytes))


def _divides_by_use_twice(users: int, memory_bytes: float, connection_bytes: float, use: float) -> int:
    return math.ceil(users / math.floor(memory_bytes * use * use / connection_bytes))


def _not_whole(users: int, memory_bytes: float, connection_bytes: float, use: float) -> float:
    return users / math.floor(memory_bytes * use / connection_bytes)


# 10.2, what broke first

SERVER, CLIENT, PORTS, REFUSED = (
    "the server's descriptors",
    "the client's descriptors",
    "the client's ports",
    "nobody listens",
)


def what_broke(seen: Mapping[str, int], server_open: int, server_may: int) -> str | None:
    """What clients saw, and the server's open and allowed descriptors: what ran out? None: nothing did."""
    if seen.get("no local port left"):
        return PORTS
    if seen.get("no descriptor left"):
        return CLIENT
    if seen.get("no answer in time") and server_open >= server_may - 1:
        return SERVER
    if seen.get("refused"):
        return REFUSED
    return None


def _expects_a_refusal(seen: Mapping[str, int], server_open: int, server_may: int) -> str | None:
    if seen.get("no local port left"):
        return PORTS
    if seen.get("no descriptor left"):
        return CLIENT
    return SERVER if seen.get("refused") else None


def _any_silence(seen: Mapping[str, int], server_open: int, server_may: int) -> str | None:
    if seen.get("no answer in time"):
        return SERVER
    return what_broke(seen, server_open, server_may)


def _all_are_the_servers(seen: Mapping[str, int], server_open: int, server_may: int) -> str | None:
    if seen.get("no local port left") or seen.get("no descriptor left"):
        return SERVER
    return what_broke(seen, server_open, server_may)


# 10.3, bytes per connection from a load test

Sample = tuple[int, float]  # connections open, bytes of the server's process


def bytes_each(samples: Sequence[Sample]) -> float:
    """Bytes that one more connection costs: the slope of the straight line through the samples."""
    n = len(samples)
    mean_x = sum(count for count, _ in samples) / n
    mean_y = sum(size for _, size in samples) / n
    above = sum((count - mean_x) * (size - mean_y) for count, size in samples)
    return above / sum((count - mean_x) ** 2 for count, _ in samples)


def _counts_the_empty_process(samples: Sequence[Sample]) -> float:
    count, size = samples[-1]
    return size / count


def _ends_only(samples: Sequence[Sample]) -> float:
    (first, small), (last, large) = samples[0], samples[-1]
    return (large - small) / (last - first)


def _divides_by_all(samples: Sequence[Sample]) -> float:
    (_, small), (last, large) = samples[0], samples[-1]
    return (large - small) / last


STEADY = ((1_000, 41.9e6), (2_000, 43.8e6), (3_000, 45.7e6))
BUMPY = ((500, 48.1e6), (1_000, 55.6e6), (1_500, 64.9e6), (2_000, 71.2e6))
ONCE = ((100, 40.0e6), (1_000, 52.0e6), (2_000, 53.6e6), (3_000, 56.0e6))

EXERCISES = (
    Exercise(
        id="10.1",
        title="Servers for ten million",
        reference=servers_needed,
        cases=(
            case(10_000_000, 16e9, 50e3, 1.0, hint="320 000 on a server: 31.25 servers do not exist"),
            case(10_000_000, 16 * 2**30, 50 * 2**10, 1.0, hint="335 544 on a server, in binary units"),
            case(10_000_000, 16e9, 50e3, 0.5, hint="half of the memory is for the reconnects of others"),
            case(320_000, 16e9, 50e3, 1.0, hint="it just fits on one"),
            case(1_000_000, 64e9, 6.1e3, 0.6, hidden=True),
        ),
        mistakes=(
            Mistake("rounding down", _rounds_down, "the last users have no server: round up."),
            Mistake(
                "the memory filled up",
                _fills_it_up,
                "`use` is missing: a server that is full on a normal day cannot take anybody over.",
            ),
            Mistake(
                "use counted twice",
                _divides_by_use_twice,
                "the share of memory is taken once, and not again.",
            ),
            Mistake("a part of a server", _not_whole, "servers come whole: round up."),
        ),
    ),
    Exercise(
        id="10.2",
        title="What broke first?",
        reference=what_broke,
        cases=(
            case({"no answer in time": 145}, 64, 64, hint="they hang, and the server has no descriptor left"),
            case({"no local port left": 104}, 505, 20_000, hint="the client could not even knock"),
            case({"no descriptor left": 30}, 300, 20_000, hint="whose process was full?"),
            case({"no answer in time": 12}, 900, 20_000, hint="it hangs with descriptors to spare: not this"),
            case({"refused": 400}, 9, 1_024, hint="a refusal is an answer of the kernel: no listener"),
            case({}, 1_000, 20_000, hint="nothing broke"),
            case({"no answer in time": 3, "no local port left": 50}, 64, 64, hidden=True),
        ),
        mistakes=(
            Mistake(
                "waiting for a refusal",
                _expects_a_refusal,
                "out of descriptors, a server on Linux refuses nobody: clients connect, and hang.",
            ),
            Mistake(
                "every silence is descriptors",
                _any_silence,
                "a server may be slow or stopped as well: look at its open and its allowed descriptors.",
            ),
            Mistake(
                "always the server",
                _all_are_the_servers,
                "ports and descriptors of the load client run out, too, and first of all.",
            ),
        ),
    ),
    Exercise(
        id="10.3",
        title="Bytes per connection, from a load test",
        reference=bytes_each,
        cases=(
            case(STEADY, hint="1.9 MB for each thousand, whatever the empty process weighs"),
            case(BUMPY, hint="memory grows in steps: use all of the samples, not the two ends"),
            case(((0, 5.0), (10, 5.0)), hint="what does not grow costs nothing"),
            case(ONCE, hidden=True),
        ),
        mistakes=(
            Mistake(
                "the empty process counted in",
                _counts_the_empty_process,
                "it divides all memory by the connections; take what grows.",
            ),
            Mistake(
                "only two samples",
                _ends_only,
                "the ends carry all the noise; fit a line through all samples (least squares).",
            ),
            Mistake(
                "growth divided by all",
                _divides_by_all,
                "the growth belongs to the connections that came in between, not to all.",
            ),
        ),
    ),
)
