"""Silent death, simulated: one SimPy process per connection, the text to read beside the real timers.

    run = simulate_detection(20, 20, close_wait_s=10)      # every line dies at one moment
    print(run.summary())                                   # known 40 s later on average
    run.detection_mean_s, detection_mean_s(20, 20, 10)     # simulation and closed form, side by side

    simulate_detection   pings with a time-out: how late is a silent death known?
    simulate_ghosts      the same while connections die and are replaced: how many dead ones count as alive?
    simulate_presence    beats and a time to live: how long does a dead user look online, a living one not?
    simulate_expiry      a box that forgets idle connections: how long does traffic of its own keep one?

What all assume. Times in seconds. A death is silent: from one moment on nothing passes, either way, and the
moment has nothing to do with any timer. Clocks are exact, and the program is never busy: a real timer is some
milliseconds late, never early. Answers take no time.

Left out: round trips, lines that come back, a server that dies itself, TCP's own opinion (`tcp_gives_up_s`).

The same seed gives the same arrays, byte for byte. Checked against the closed forms
(liveness_closed_forms.py, whose functions can be imported from here too) within 4 standard errors over 20
runs, by hand on small time-lines, and in chapter 07 against real connections through a box that forgets.
"""

import math
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import Any

import numpy as np
import simpy

from labsupport.draws import ARRIVAL, LIFETIME, LOSS, PHASE, TRAVEL, draw, draws
from labsupport.models import checks
from labsupport.models.liveness_closed_forms import (
    detection_max_s,
    detection_mean_s,
    detection_p95_s,
    false_offline_share,
    first_expiry_mean_s,
    ghost_max_s,
    ghost_mean_s,
    ghost_min_s,
    ghosts,
    pings_per_s,
    tcp_gives_up_s,
)
from labsupport.models.liveness_results import DetectionRun, ExpiryRun, PresenceRun

__all__ = [
    "DetectionRun",
    "ExpiryRun",
    "PresenceRun",
    "detection_max_s",
    "detection_mean_s",
    "detection_p95_s",
    "false_offline_share",
    "first_expiry_mean_s",
    "ghost_max_s",
    "ghost_mean_s",
    "ghost_min_s",
    "ghosts",
    "pings_per_s",
    "simulate_detection",
    "simulate_expiry",
    "simulate_ghosts",
    "simulate_presence",
    "tcp_gives_up_s",
]

Process = Generator[simpy.Event, Any, None]


# ---- whoever asks ------------------------------------------------------------------------------------------


class Line:
    """One connection, from its opening to the moment when its death is known."""

    def __init__(self, opened_s: float, dies_s: float) -> None:
        self.opened_s, self.dies_s = opened_s, dies_s
        self.noticed_s = math.nan
        self.pings = 0


def keepalive(
    env: simpy.Environment, line: Line, interval_s: float, timeout_s: float, close_s: float
) -> Process:
    """Ping every interval; the first ping that a dead line swallows is missed after the time-out."""
    while True:
        yield env.timeout(interval_s)
        line.pings += 1
        if env.now > line.dies_s:
            break
    yield env.timeout(timeout_s)
    yield env.timeout(close_s)  # the library says goodbye, and waits for an answer to that as well
    line.noticed_s = env.now


def simulate_detection(
    interval_s: float,
    timeout_s: float,
    *,
    close_wait_s: float = 0.0,
    connections: int = 1_000,
    opened_s: Sequence[float] | None = None,
    seed: int = 0,
) -> DetectionRun:
    """Let every line die at time 0, and see when each death is known.

    interval_s, timeout_s   seconds between pings, and until a pong is missed (from the ping on)
    close_wait_s            seconds that the closing handshake takes on top
    opened_s                when each connection opened, in seconds up to 0, as a real run had it; without
                            it, each at a random moment of the last interval
    Raises ValueError for what is no time.
    """
    _asking(interval_s, timeout_s, close_wait_s)
    if opened_s is None:
        checks.count("connections", connections)
        opened_s = [-interval_s * draw(seed, number, 0, PHASE) for number in range(connections)]
    lines = [Line(float(one), 0.0) for one in opened_s]
    if not lines or not all(-math.inf < line.opened_s <= 0 for line in lines):
        raise ValueError("opened_s must hold moments before the common death at 0, such as [-0.4, -12.0]")
    checks.events(sum(1 - line.opened_s / interval_s for line in lines), "pings")

    env = simpy.Environment(initial_time=min(line.opened_s for line in lines))
    for line in lines:
        env.process(opens(env, line, interval_s, timeout_s, close_wait_s))
    env.run()
    return DetectionRun(
        **_noticed(lines), interval_s=float(interval_s), timeout_s=float(timeout_s),
        close_wait_s=float(close_wait_s), connections=len(lines), lifetime_s=math.inf,
        horizon_s=0.0, seed=seed,
    )  # fmt: skip


def opens(env: simpy.Environment, line: Line, interval_s: float, timeout_s: float, close_s: float) -> Process:
    """Wait for the line's opening, and ping from then on."""
    yield env.timeout(line.opened_s - env.now)
    yield from keepalive(env, line, interval_s, timeout_s, close_s)


def simulate_ghosts(
    interval_s: float,
    timeout_s: float,
    *,
    close_wait_s: float = 0.0,
    connections: int = 100,
    lifetime_s: float = 600.0,
    horizon_s: float = 3_600.0,
    seed: int = 0,
) -> DetectionRun:
    """Let connections die one by one, each replaced at once, and count the dead that count as alive.

    A connection lives for an exponential time with mean `lifetime_s`, and always dies silently; its first
    ping leaves an interval after its opening, as libraries do it. The user is back on a new one at the same
    moment, so `connections` are alive all the time, and the ghosts come on top. Deaths within `horizon_s`
    seconds count, followed until they are known.
    """
    _asking(interval_s, timeout_s, close_wait_s)
    checks.count("connections", connections)
    checks.seconds("lifetime_s", lifetime_s, zero=False)
    checks.seconds("horizon_s", horizon_s, zero=False)
    checks.events(connections * horizon_s * (1 / interval_s + 1 / lifetime_s), "pings and deaths")

    env = simpy.Environment()
    lines: list[Line] = []

    def user(number: int) -> Process:
        """One user's connections, one after the other."""
        life = 0
        while env.now < horizon_s:
            lives_s = -math.log1p(-draw(seed, number, life, LIFETIME)) * lifetime_s
            line = Line(env.now, env.now + lives_s)
            if line.dies_s >= horizon_s:
                return
            lines.append(line)
            env.process(keepalive(env, line, interval_s, timeout_s, close_wait_s))
            yield env.timeout(lives_s)
            life += 1

    for number in range(connections):
        env.process(user(number))
    env.run()
    return DetectionRun(
        **_noticed(lines), interval_s=float(interval_s), timeout_s=float(timeout_s),
        close_wait_s=float(close_wait_s), connections=connections, lifetime_s=float(lifetime_s),
        horizon_s=float(horizon_s), seed=seed,
    )  # fmt: skip


def _noticed(lines: list[Line]) -> dict[str, Any]:
    """Return the arrays of a DetectionRun."""
    return {
        "opened_s": np.array([line.opened_s for line in lines], dtype=float),
        "died_s": np.array([line.dies_s for line in lines], dtype=float),
        "noticed_s": np.array([line.noticed_s for line in lines], dtype=float),
        "pings": np.array([line.pings for line in lines], dtype=np.int64),
    }


# ---- whoever listens ---------------------------------------------------------------------------------------


class Entry:
    """One user in the presence table: shown until `until_s`, unless a beat comes before."""

    def __init__(self) -> None:
        self.until_s: float | None = None  # None before the first beat
        self.vanished = 0
        self.beats = 0

    def heard(self, now_s: float, ttl_s: float) -> None:
        """Take a beat."""
        if self.until_s is not None and now_s >= self.until_s:
            self.vanished += 1  # was off the table, and is back: it was never gone
        self.until_s = max(self.until_s or 0.0, now_s + ttl_s)


def simulate_presence(
    interval_s: float,
    ttl_s: float,
    *,
    users: int = 1_000,
    beats: int = 10,
    loss: float = 0.0,
    delay_spread_s: float = 0.0,
    phases_s: Sequence[float] | None = None,
    seed: int = 0,
) -> PresenceRun:
    """Let users send beats until each dies silently, and see how long the table shows them.

    A user sends `beats` beats, `interval_s` apart, and dies at a random moment of the interval after the last
    (`phases_s`: so many seconds after the last beat, one for each user, as a real run had it). A beat is lost
    with chance `loss`; else it arrives after a time that is uniform on [0, delay_spread_s]. Each that arrives
    puts the user on the table for `ttl_s` seconds; one that comes at the very end of them is too late.
    """
    checks.seconds("interval_s", interval_s, zero=False)
    checks.seconds("ttl_s", ttl_s, zero=False)
    checks.count("beats", beats)
    checks.share("loss", loss)
    checks.seconds("delay_spread_s", delay_spread_s)
    if phases_s is None:
        checks.count("users", users)
        phases_s = [interval_s * draw(seed, number, 0, PHASE) for number in range(users)]
    checks.events(len(phases_s) * beats, "beats")

    env = simpy.Environment()
    entries = [Entry() for _ in phases_s]
    for number, entry in enumerate(entries):
        lost = (draws(seed, number, np.arange(beats), LOSS) < loss).tolist()
        delays_s = (draws(seed, number, np.arange(beats), TRAVEL) * delay_spread_s).tolist()
        env.process(user_beats(env, entry, interval_s, ttl_s, lost, delays_s))
    env.run()
    died_s = (beats - 1) * float(interval_s) + np.array(phases_s, dtype=float)
    shown_s = np.array([entry.until_s or 0.0 for entry in entries])
    return PresenceRun(
        interval_s=float(interval_s), ttl_s=float(ttl_s), loss=float(loss), users=len(entries), seed=seed,
        delay_spread_s=float(delay_spread_s), died_s=died_s, gone_s=np.maximum(shown_s, died_s),
        beats=np.full(len(entries), beats), vanished=np.array([entry.vanished for entry in entries]),
    )  # fmt: skip


def user_beats(
    env: simpy.Environment,
    entry: Entry,
    interval_s: float,
    ttl_s: float,
    lost: list[bool],
    delays_s: list[float],
) -> Process:
    """One user: a beat at each interval, until the silent death."""

    def travel(delay_s: float) -> Process:
        yield env.timeout(delay_s)
        entry.heard(env.now, ttl_s)

    for number, (is_lost, delay_s) in enumerate(zip(lost, delays_s, strict=True)):
        if number:
            yield env.timeout(interval_s)
        entry.beats += 1
        if not is_lost:
            env.process(travel(delay_s))


# ---- whoever stands between --------------------------------------------------------------------------------


def simulate_expiry(
    packets_per_s: float, idle_limit_s: float, *, connections: int = 1_000, seed: int = 0
) -> ExpiryRun:
    """Let each connection carry Poisson traffic through a box, until the box forgets it.

    packets_per_s   λ of one connection, both directions together; the gaps are exponential
    idle_limit_s    the box forgets after so many seconds without a packet
    Without pings, that is: with one at less than the limit, the box never forgets.
    """
    checks.rate("packets_per_s", packets_per_s)
    checks.seconds("idle_limit_s", idle_limit_s, zero=False)
    checks.count("connections", connections)
    checks.events(
        connections * (packets_per_s * first_expiry_mean_s(packets_per_s, idle_limit_s) + 1), "packets"
    )

    env = simpy.Environment()
    forgotten_s, packets = np.zeros(connections), np.zeros(connections, dtype=np.int64)

    def connection(number: int, next_gap_s: Callable[[int], float]) -> Process:
        while (gap_s := next_gap_s(int(packets[number]))) <= idle_limit_s:
            yield env.timeout(gap_s)
            packets[number] += 1
        yield env.timeout(idle_limit_s)
        forgotten_s[number] = env.now

    for number in range(connections):
        env.process(connection(number, partial(_gap_s, packets_per_s, seed, number)))
    env.run()
    return ExpiryRun(
        packets_per_s=float(packets_per_s), idle_limit_s=float(idle_limit_s), connections=connections,
        seed=seed, forgotten_s=forgotten_s, packets=packets,
    )  # fmt: skip


def _gap_s(packets_per_s: float, seed: int, number: int, packet: int) -> float:
    """Return an exponential gap with mean 1/λ; endless without traffic."""
    if not packets_per_s:
        return math.inf
    return -math.log1p(-draw(seed, number, packet, ARRIVAL)) / packets_per_s


def _asking(interval_s: float, timeout_s: float, close_wait_s: float) -> None:
    checks.seconds("interval_s", interval_s, zero=False)
    checks.seconds("timeout_s", timeout_s)
    checks.seconds("close_wait_s", close_wait_s)
