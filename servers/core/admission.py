"""How fast a server lets clients in: C handshakes a second, and Q that wait for theirs. The rest get a 503.

Without it, a server answers as fast as its processor can, and a crowd that comes back at once takes all of it
from those who are already inside. `--accepts-per-s C --accept-queue Q` is the knob. Each handshake is
answered when its turn comes:

    arrives      0 ms      1 ms      2 ms      3 ms              C = 400 a second, Q = 3
    answered     2.5 ms    5 ms      7.5 ms    503 at once

One number is the whole queue: `busy`, the moment at which the last one in it will have been answered. Whoever
comes at t is refused if busy - t > (Q - 1)/C, which is a queue of Q; else busy moves on by 1/C. The model of
reconnect storms has the same rule, so that the two can be laid over each other.

Who waits and goes away keeps its place: a kernel's queue does not ask whether anybody is still there, either.
Plain pages (/stats) do not queue. What is left out: the kernel's own queue in front of this one, of
lifeline.BACKLOG connections; when that is full, a client is not refused, but left without an answer.
"""

import time
from collections.abc import Callable


class Admission:
    """The queue in front of a server. `clock` gives seconds; a test has its own."""

    def __init__(
        self, accepts_per_s: float, accept_queue: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.accepts_per_s = accepts_per_s
        self.accept_queue = accept_queue
        self.clock = clock
        self.busy = clock()  # when the last one in the queue will have been answered
        self.admitted = self.refused = 0

    @property
    def is_full(self) -> bool:
        """Whether the next one would be refused."""
        return self.busy - self.clock() > (self.accept_queue - 1) / self.accepts_per_s

    def turn_at(self) -> float | None:
        """When a handshake that comes now is to be answered, on this clock; None: the queue is full."""
        now = self.clock()
        if self.busy - now > (self.accept_queue - 1) / self.accepts_per_s:
            self.refused += 1
            return None
        self.busy = max(self.busy, now) + 1 / self.accepts_per_s
        self.admitted += 1
        return self.busy

    @property
    def longest_s(self) -> float:
        """Seconds that the last in a full queue waits."""
        return self.accept_queue / self.accepts_per_s
