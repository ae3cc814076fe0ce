"""The accept queue for a whole crowd at once: `Queue.admit` for sorted arrivals, in arrays, bit for bit.

Two regimes follow each other, and each has a formula without a loop over clients.

Room for all. The j-th of the next arrivals is done at S·(j+1) + max(busy, max over i ≤ j of (t_i − S·i)), a
running maximum, until somebody comes at whom busy − t > (Q − 1)·S.

Full. A place is free at busy − (Q−1)·S, the next one S later, and so on while the server never idles. Each
place goes to the first arrival after it that has none: a binary search for each place, and a running maximum
so that two places do not find the same arrival. So the work grows with those let in, not with those refused.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from labsupport.models.reconnect_storm import Queue

Whole: TypeAlias = NDArray[np.int64]

FEW = 64  # arrivals or places to try first; doubled as long as a regime holds


def admit_all(queue: Queue, times_ns: Whole) -> tuple[Whole, Whole]:
    """Return which arrivals get in (indexes) and when each is done; the queue is as full as after the last.

    times_ns: in order; none before the queue opens.
    """
    who: list[Whole] = []
    done_ns: list[Whole] = []
    start = 0
    while start < len(times_ns):
        start = _while_there_is_room(queue, times_ns, start, who, done_ns)
        start = _while_full(queue, times_ns, start, who, done_ns)
    if not who:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    return np.concatenate(who), np.concatenate(done_ns)


def _while_there_is_room(
    queue: Queue, times_ns: Whole, start: int, who: list[Whole], done_ns: list[Whole]
) -> int:
    """Let in everybody from `start` on; return the index of the first that finds no place."""
    service_ns, some = queue.service_ns, FEW
    while start < len(times_ns):
        next_ns = times_ns[start : start + some]
        ramp_ns = service_ns * np.arange(len(next_ns))
        done = np.maximum(np.maximum.accumulate(next_ns - ramp_ns), queue.busy_ns) + ramp_ns + service_ns
        before = np.concatenate(([queue.busy_ns], done[:-1]))
        full = before - next_ns > queue.patience_ns
        fit = int(full.argmax()) if full.any() else len(next_ns)
        if fit:
            who.append(np.arange(start, start + fit))
            done_ns.append(done[:fit])
            queue.busy_ns = int(done[fit - 1])
            start += fit
        if fit < len(next_ns):
            return start
        some *= 2
    return start


def _while_full(queue: Queue, times_ns: Whole, start: int, who: list[Whole], done_ns: list[Whole]) -> int:
    """Give each free place to the first who comes after; return the first index that finds it idle."""
    service_ns, some = queue.service_ns, FEW
    while start < len(times_ns):
        free_ns = queue.busy_ns - queue.patience_ns
        fitting = (
            int(times_ns[-1]) - free_ns
        ) // service_ns + 1  # places that are free before the last comes
        if fitting <= 0:
            return len(times_ns)
        place = np.arange(min(some, fitting))
        first = np.searchsorted(times_ns[start:], free_ns + service_ns * place) - place
        taken = start + place + np.maximum.accumulate(first)
        inside = int(np.searchsorted(taken, len(times_ns)))  # `taken` grows: from here on nobody comes
        idle = times_ns[taken[:inside]] > queue.busy_ns + service_ns * place[:inside]
        fit = int(idle.argmax()) if idle.any() else inside
        who.append(taken[:fit])
        done_ns.append(queue.busy_ns + service_ns * (place[:fit] + 1))
        queue.busy_ns += fit * service_ns
        if fit < inside:
            return int(taken[fit])
        if fit < len(place):
            return len(times_ns)
        start = int(taken[-1]) + 1
        some *= 2
    return start
