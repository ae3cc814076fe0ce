"""When messages are published: Poisson streams for the models, or the very times that a real run used."""

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from labsupport.draws import ARRIVAL, draws
from labsupport.models import checks

Times: TypeAlias = NDArray[np.float64]  # seconds from the start of the run, ascending


def arrivals(messages_per_s: float, horizon_s: float, clients: int = 1, seed: int = 0) -> list[Times]:
    """Return when messages reach the server: for each client one sorted array of seconds within [0, horizon).

    Poisson streams: the gaps are exponential with mean 1/λ and independent, −ln(1 − u)/λ. A client's stream
    depends on the seed and its number only, so adding clients changes nothing for the others. Publish the
    same arrays to a real server and give them to the model (`arrivals_s`), and both see the same messages.
    """
    checks.rate("messages_per_s", messages_per_s)
    checks.seconds("horizon_s", horizon_s, zero=False)
    checks.count("clients", clients)
    expected = messages_per_s * horizon_s
    checks.events(expected * clients, "messages")
    if expected == 0:
        return [np.empty(0) for _ in range(clients)]
    numbers = np.arange(math.ceil(expected + 8 * math.sqrt(expected) + 10))  # more are hardly ever needed
    streams = []
    for client in range(clients):
        times_s = np.cumsum(-np.log1p(-draws(seed, client, numbers, ARRIVAL)) / messages_per_s)
        while times_s[-1] < horizon_s:
            more = np.arange(len(times_s), 2 * len(times_s))
            gaps_s = -np.log1p(-draws(seed, client, more, ARRIVAL)) / messages_per_s
            times_s = np.concatenate((times_s, times_s[-1] + np.cumsum(gaps_s)))
        streams.append(times_s[times_s < horizon_s])
    return streams


def given(arrivals_s: Sequence[Any], horizon_s: float, streams: int) -> list[Times]:
    """Return given arrivals as arrays, or say what is wrong with them. One stream needs no outer list."""
    alone = streams == 1 and all(np.ndim(one) == 0 for one in arrivals_s)
    times = [_ascending(one, horizon_s) for one in ([arrivals_s] if alone else arrivals_s)]
    if len(times) != streams:
        raise ValueError(
            f"arrivals_s holds {len(times)} streams and {streams} are needed: give one sequence of "
            "seconds for each client, or a single one with shared_topic=True"
        )
    return times


def _ascending(times_s: Any, horizon_s: float) -> Times:
    """Return one stream as an array of seconds, if it is one."""
    times = np.asarray(times_s, dtype=float)
    if times.ndim != 1:
        raise ValueError(
            "arrivals_s must hold one sequence of seconds per client, such as [[12.0], [3.5, 40.0]]"
        )
    if not np.all((times >= 0) & (times < horizon_s)) or np.any(np.diff(times) < 0):
        raise ValueError(
            f"arrivals_s must ascend within the horizon, [0, {horizon_s:g}) seconds; got {times_s!r}"
        )
    return times
