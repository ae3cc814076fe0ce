"""One reader who is slower than its messages, simulated: a producer, a buffer, a policy. SimPy, to be read.

    run = simulate("drop oldest", 100, 50, 100)       # 100 messages/s, 50 read a second, 100 may wait
    print(run.summary())                              # half is lost; what is read is 1 s old
    run.age_mean_s, run.loss_share, run.held_peak
    table = simulate_policies(100, 50, 100)           # all five side by side, on the same draws
    table.rows(); table.plot()

The policies have the names of the server's followers (servers/core/log.py). More than `buffer` messages wait:

    wait          the producer stops until there is room, and makes its next message later
    drop newest   the new message is thrown away
    drop oldest   the one that has waited longest is
    keep latest   like drop oldest with a buffer of 1
    disconnect    the reader is cut off and all that it had not read is gone; `reconnect_s` later it is back
                  and reads a snapshot: one message, made at that moment, that stands for all it has missed

The log's own "wait" stops nobody: there the history is the buffer, and who falls out of it is told so. What
is modelled here is the wait that reaches back to the source, as when a handler awaits each send().

Distributions. Gaps between messages: exponential ("poisson", mean 1/in_per_s), or all the same ("constant"),
or the times of a real run (`arrivals_s`). Reading: exponential with mean 1/out_per_s, or constant. Times in
seconds. One more message than the buffer holds is being read: it counts as held, and cannot be thrown away.

`kernel` messages lie between the buffer and the reader, in the sockets' own buffers (some MB on Linux). They
fill up first, and what is in them no policy can take back: behind a large one, keep latest shows old news.

Left out: sizes of messages (count in KiB by taking one KiB as the message), the history that a cut reader
could resume from, a reader that stops for a while and comes back.

The same seed gives the same arrays, byte for byte, and all policies see the same messages and the same
reading times. Checked against the closed forms (slow_consumer_closed_forms.py, whose functions can be
imported from here too) within 4 standard errors over 20 runs, and by hand on small time-lines.
"""

import math
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import numpy as np
import simpy

from labsupport.draws import TRAVEL, draws
from labsupport.models import checks
from labsupport.models.slow_consumer_closed_forms import (
    accepted_per_s,
    disconnects_per_s,
    full_delay_mean_s,
    full_share,
    held_mean,
    latest_age_mean_s,
    latest_delay_mean_s,
    overflow_mean_s,
    overflow_s,
    overload_delay_s,
    overload_loss_share,
    ping_delay_s,
    queue_age_mean_s,
    queue_that_kills_bytes,
)
from labsupport.models.slow_consumer_results import POLICIES, Policies, SlowConsumerRun
from labsupport.models.traffic import Times, arrivals, given

__all__ = [
    "POLICIES",
    "Policies",
    "SlowConsumerRun",
    "accepted_per_s",
    "disconnects_per_s",
    "full_delay_mean_s",
    "full_share",
    "held_mean",
    "latest_age_mean_s",
    "latest_delay_mean_s",
    "overflow_mean_s",
    "overflow_s",
    "overload_delay_s",
    "overload_loss_share",
    "ping_delay_s",
    "queue_age_mean_s",
    "queue_that_kills_bytes",
    "simulate",
    "simulate_policies",
]

READING = TRAVEL  # the lane of draws for reading times: how long a message is on its way through the reader
Process = Generator[simpy.Event, Any, None]


class Message:
    """One message: made, and then either read to its end or thrown away."""

    __slots__ = ("ended_s", "is_read", "is_snapshot", "made_s")

    def __init__(self, made_s: float, *, is_snapshot: bool = False) -> None:
        self.made_s, self.ended_s = made_s, math.nan
        self.is_read, self.is_snapshot = False, is_snapshot

    def end(self, now_s: float, *, is_read: bool = False) -> None:
        """Leave the buffer, one way or the other."""
        self.ended_s, self.is_read = now_s, is_read


class Line:
    """The buffer between the producer and one reader, and what it does when it is full."""

    def __init__(self, env: simpy.Environment, policy: str, buffer: int, kernel: int) -> None:
        self.env, self.policy, self.buffer, self.kernel = env, policy, buffer, kernel
        self.messages: list[Message] = []  # all there ever were
        self.waiting: deque[Message] = deque()  # in the process, where the policy rules
        self.sent: deque[Message] = deque()  # in the kernel: on the way, and nobody's to take back
        self.reading: Message | None = None
        self.is_connected = True
        self.something = env.event()  # for a reader that waits for a message
        self.room = env.event()  # for a producer that waits for room
        self.cuts_s: list[float] = []
        self.reader: simpy.Process | None = None

    def put(self, message: Message) -> None:
        """Take a message in, or let the policy decide."""
        self.messages.append(message)
        if not self.is_connected:
            message.end(self.env.now)
            return
        self.waiting.append(message)
        self.send()
        if len(self.waiting) > self.buffer:
            self.overflow()
        elif not self.something.triggered:
            self.something.succeed()

    def send(self) -> None:
        """Hand the kernel what it has room for."""
        while self.waiting and len(self.sent) < self.kernel:
            self.sent.append(self.waiting.popleft())

    def overflow(self) -> None:
        """One message too many waits, and the policy is not to wait."""
        if self.policy == "disconnect":
            self.cut()
        elif self.policy == "drop newest":
            self.waiting.pop().end(self.env.now)
        else:
            self.waiting.popleft().end(self.env.now)

    def cut(self) -> None:
        """Throw the reader out, with all that it had not read."""
        for message in [self.reading, *self.sent, *self.waiting]:
            if message is not None:
                message.end(self.env.now)
        self.sent.clear()
        self.waiting.clear()
        self.reading, self.is_connected = None, False
        self.cuts_s.append(self.env.now)
        assert self.reader is not None
        self.reader.interrupt()

    def connect(self) -> None:
        """Let the reader in; the first that it gets is a snapshot."""
        self.is_connected = True
        self.put(Message(self.env.now, is_snapshot=True))

    def take(self) -> Message:
        """Hand the oldest message to the reader."""
        self.reading = (self.sent or self.waiting).popleft()
        self.send()
        if not self.room.triggered:
            self.room.succeed()
        return self.reading


def producer(env: simpy.Environment, line: Line, gaps_s: Sequence[float], horizon_s: float) -> Process:
    """Make a message after each gap. Only the policy "wait" makes the producer wait."""
    for gap_s in gaps_s:
        yield env.timeout(gap_s)
        message = Message(env.now)
        if message.made_s >= horizon_s:
            return
        while line.policy == "wait" and len(line.waiting) >= line.buffer:
            line.room = env.event()
            yield line.room
        line.put(message)


def reader(env: simpy.Environment, line: Line, reading_s: Iterator[float], reconnect_s: float) -> Process:
    """Read one message after the other; when cut off, come back later."""
    if line.policy == "disconnect":
        line.connect()
    while True:
        try:
            while not (line.sent or line.waiting):
                line.something = env.event()
                yield line.something
            message = line.take()
            yield env.timeout(next(reading_s))
            message.end(env.now, is_read=True)
            line.reading = None
        except simpy.Interrupt:
            yield env.timeout(reconnect_s)
            line.connect()


def simulate(
    policy: str,
    in_per_s: float,
    out_per_s: float,
    buffer: int = 100,
    *,
    producing: str = "poisson",
    reading: str = "exponential",
    kernel: int = 0,
    reconnect_s: float = 1.0,
    horizon_s: float = 60.0,
    arrivals_s: Sequence[float] | None = None,
    seed: int = 0,
) -> SlowConsumerRun:
    """Make messages for `horizon_s` seconds, and follow each until it is read or lost.

    in_per_s, out_per_s   messages made, and messages read, per second on average
    buffer                messages that can wait, besides the one being read (keep latest: 1)
    producing, reading    "poisson" or "constant"; "exponential" or "constant"
    kernel                messages that fit between the buffer and the reader, out of the policy's reach
    reconnect_s           seconds that a disconnected reader is away
    arrivals_s            when messages are made, in seconds, as a real run had it; in_per_s is then a label
    Raises ValueError for what makes no sense, with what to try.
    """
    checks.choice("policy", policy, POLICIES)
    checks.rate("in_per_s", in_per_s, zero=False)
    checks.rate("out_per_s", out_per_s, zero=False)
    checks.count("buffer", buffer)
    if kernel:
        checks.count("kernel", kernel)
    checks.choice("producing", producing, ("poisson", "constant"))
    checks.choice("reading", reading, ("exponential", "constant"))
    checks.seconds("reconnect_s", reconnect_s, zero=False)
    checks.seconds("horizon_s", horizon_s, zero=False)
    made_s, producing = _made(in_per_s, producing, horizon_s, arrivals_s, seed)
    buffer = 1 if policy == "keep latest" else int(buffer)

    env = simpy.Environment()
    line = Line(env, policy, buffer, int(kernel))
    line.reader = env.process(reader(env, line, _readings(out_per_s, reading, seed), reconnect_s))
    gaps_s = np.diff(made_s, prepend=0.0).tolist()
    env.process(producer(env, line, gaps_s, horizon_s))
    env.run()
    return SlowConsumerRun(
        policy=policy, in_per_s=float(in_per_s), out_per_s=float(out_per_s), buffer=buffer,
        producing=producing, reading=reading, kernel=int(kernel), seed=seed,
        reconnect_s=float(reconnect_s), horizon_s=float(horizon_s), **_arrays(line),
    )  # fmt: skip


def _arrays(line: Line) -> dict[str, Any]:
    """Return the arrays of a SlowConsumerRun."""
    messages = sorted(line.messages, key=lambda message: message.made_s)  # waiting producers are late
    return {
        "made_s": np.array([message.made_s for message in messages], dtype=float),
        "ended_s": np.array([message.ended_s for message in messages], dtype=float),
        "is_read": np.array([message.is_read for message in messages], dtype=bool),
        "is_snapshot": np.array([message.is_snapshot for message in messages], dtype=bool),
        "cuts_s": np.array(line.cuts_s, dtype=float),
    }


def simulate_policies(
    in_per_s: float,
    out_per_s: float,
    buffer: int = 100,
    *,
    policies: Sequence[str] = POLICIES,
    **options: Any,
) -> Policies:
    """Run several policies on the same messages and the same reading times; options as for simulate()."""
    if not policies:
        raise ValueError(f"policies must name at least one of {', '.join(POLICIES)}")
    runs = [simulate(policy, in_per_s, out_per_s, buffer, **options) for policy in policies]
    return Policies(tuple(runs))


def _made(
    in_per_s: float, producing: str, horizon_s: float, arrivals_s: Sequence[float] | None, seed: int
) -> tuple[Times, str]:
    """Return when messages would be made if nobody had to wait, and what to call it."""
    if arrivals_s is not None:
        return given(arrivals_s, horizon_s, 1)[0], "given"
    if producing == "poisson":
        return arrivals(in_per_s, horizon_s, 1, seed)[0], producing
    checks.events(in_per_s * horizon_s, "messages")
    made_s = np.arange(1, math.ceil(in_per_s * horizon_s) + 1) / in_per_s
    return made_s[made_s < horizon_s], producing


def _readings(out_per_s: float, reading: str, seed: int) -> Iterator[float]:
    """Return one reading time after the other, for ever."""
    first, block = 0, 4096
    while True:
        if reading == "constant":
            yield 1.0 / out_per_s
            continue
        drawn = draws(seed, 0, np.arange(first, first + block), READING)
        yield from (-np.log1p(-drawn) / out_per_s).tolist()
        first += block
