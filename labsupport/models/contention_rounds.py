"""The contention study, many runs at once: the fast engine behind `contention.simulate`, exact to the bit.

What makes it fast. Take the moment S of a successful WRITE. Everyone who read before S and has not written
yet holds a stale version: that WRITE will fail, whatever else happens. Everyone who reads after S may be
next, and the earliest WRITE among them is. So a run of N clients is N rounds, played for all runs side by
side: find the next success; for all who hold a stale version now, draw the reply, the wait, the next READ
and the next WRITE in one go.

No WRITE is looked at in order of time: only the N successes are. The sums are the same as SimPy's, in the
same order, so their last bits agree as well. Two messages in the same instant would be ordered by client
here and by insertion there; times are sums of real numbers, and that has not been seen.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labsupport.backoff import Policy
from labsupport.draws import ONCE, WAIT, draw_from, stream
from labsupport.models.contention_messages import MESSAGES, message_keys, message_ms

BATCH = 100_000  # clients of all runs played side by side: some ten arrays of this length

Played = tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]


def play(clients: int, policy: Policy, run_seeds: Sequence[int]) -> Played:
    """Play the runs: last reply of each (ms), calls of each, and when the first run's WRITEs came (ms)."""
    size = max(1, BATCH // clients)
    parts = [
        _batch(clients, policy, run_seeds[first : first + size]) for first in range(0, len(run_seeds), size)
    ]
    time_ms, calls = (np.concatenate([part[n] for part in parts]) for n in (0, 1))
    return time_ms, calls, parts[0][2]


def _batch(clients: int, policy: Policy, run_seeds: Sequence[int]) -> Played:
    """Play some runs side by side. Arrays are flat: run 0's clients, then run 1's …"""
    numbers = np.arange(clients, dtype=np.uint64)
    message, wait, once = (
        np.concatenate([np.atleast_1d(key(seed)) for seed in run_seeds])
        for key in (
            lambda seed: message_keys(seed, numbers),
            lambda seed: stream(seed, numbers, WAIT),
            lambda seed: stream(seed, numbers, ONCE),
        )
    )
    state = policy.first_state(draw_from(once, np.zeros_like(once)))
    failures = np.zeros(len(message), dtype=np.int64)
    read_ms, to_client, to_server = message_ms(message, np.arange(3, dtype=np.uint64)[:, None])
    write_ms = read_ms + to_client + to_server

    table = (len(run_seeds), clients)
    first_of_run = clients * np.arange(len(run_seeds))
    time_ms = np.zeros(len(run_seeds))
    first_calls_ms: list[Any] = []
    for _ in range(clients):
        winner = first_of_run + write_ms.reshape(table).argmin(axis=1)
        success_ms = write_ms[winner]
        replied_ms = success_ms + message_ms(message[winner], _numbers(failures[winner], 3, 4)[0])
        time_ms = np.maximum(time_ms, replied_ms)
        read_ms[winner] = write_ms[winner] = np.inf  # they are done
        stale = np.flatnonzero(read_ms.reshape(table) < success_ms[:, None])
        first_calls_ms += [success_ms[:1], write_ms[stale[stale < clients]]]

        travel_ms = message_ms(message[stale], _numbers(failures[stale], 3, 7))
        failures[stale] += 1
        wait_s, state[stale] = policy.step(
            failures[stale], draw_from(wait[stale], (failures[stale] - 1).astype(np.uint64)), state[stale]
        )
        told_ms = write_ms[stale] + travel_ms[0]
        read_ms[stale] = told_ms + 1000.0 * wait_s + travel_ms[1]
        write_ms[stale] = read_ms[stale] + travel_ms[2] + travel_ms[3]
    calls = clients + failures.reshape(table).sum(axis=1)
    return time_ms, calls, np.sort(np.concatenate(first_calls_ms))


def _numbers(failures: NDArray[np.int64], first: int, end: int) -> NDArray[np.uint64]:
    """Return the numbers of the messages `first` to `end` of the attempt after these failures, a row each."""
    return (MESSAGES * failures + np.arange(first, end)[:, None]).astype(np.uint64)
