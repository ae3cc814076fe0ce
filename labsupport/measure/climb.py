"""How many connections can be open at once, and what breaks first? Open them step by step, and look.

    climb = await open_connections(server, most=10_000)
    print(climb)                        reached, and why no more

    limit_descriptors(server, 64)       the server may have 64: clients connect and hang, none is refused
    print(await open_connections(server, most=400, step=400))
    limit_descriptors(server, None)     as many again as it may have

    ports = Origin(sources=1, ports=(40_000, 40_499))
    print(await open_connections(server, most=600, origin=ports))       500, and no local port is left

Bounded in number, time and memory; whatever was opened is closed again at the end.
"""

import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from labsupport.measure.listening import MAX_LISTENERS, Heard, Listening, Running, listen
from labsupport.measure.memory import slab_bytes
from labsupport.measure.sockets import DEFAULT, Clock, LoadError, Origin
from labsupport.measure.threads import in_thread
from labsupport.measure.usage import available_bytes, family, resident_bytes

MOST = 10_000
STEP = 1_000
SECONDS = 60.0  # for the whole climb
PATIENCE_S = 3.0  # seconds that the connections of one step may take beyond what their number needs
SLOWEST = 500.0  # connections a second that the slowest server of the lab answers on a slow machine
SPARE_BYTES = 2_000_000_000  # of the machine's memory that are left alone
EACH_BYTES = 100_000  # that one more connection may cost at worst, both ends, process and kernel

SETTLE_S = 0.3  # seconds for a server that has begun to close connections

HANGING = ("no answer in time", "no connection in time")


@dataclass(frozen=True, kw_only=True)
class Climb:
    """What became of the attempt. Bytes are growth per connection; None: not told here, or too few."""

    most: int  # wanted
    reached: int  # open at the same time
    stopped_by: str  # what broke first, in words; "" if nothing did
    broken: dict[str, int]  # reason -> connections
    took_s: float
    process_bytes_each: float | None  # in the server's process
    kernel_bytes_each: float | None  # both ends of the connection, which are on this machine
    heard: Heard | None = None  # what one message to all did at the top

    def __str__(self) -> str:
        broken = "".join(f", {count} {why}" for why, count in sorted(self.broken.items()))
        why = self.stopped_by or f"nothing broke: all {self.most} are open"
        return f"{self.reached} of {self.most} open at once after {self.took_s:.1f} s{broken}\n{why}"


class Climber:
    """Opens connections until something breaks. Blocking; open_connections() and the million use it."""

    def __init__(self, held: Listening, pids: list[int], spare_bytes: int = SPARE_BYTES) -> None:
        self.held = held
        self.pids = pids
        self.spare_bytes = spare_bytes
        self.stopped_by = ""
        self.took_s = 0.0  # until the last step's end
        self._began = Clock()

    @property
    def since_s(self) -> float:
        """Seconds since the climb began."""
        return Clock() - self._began

    def climb(
        self,
        most: int,
        step: int,
        stop: threading.Event,
        seconds: float,
        *,
        told: Callable[[int], None] = lambda count: None,
        stepped: Callable[[int], None] = lambda count: None,
        patience_s: float = PATIENCE_S,
        each_bytes: int = EACH_BYTES,
    ) -> None:
        """Open `most`, a step at a time. `stopped_by` says afterwards what ended it, if something did.

        `told` hears now and then how many are open, `stepped` at the end of each step.
        """
        while self.held.listening < most and not self.stopped_by:
            more = min(step, most - self.held.listening)
            left = available_bytes()
            if left is not None and left - more * each_bytes < self.spare_bytes:
                spare = self.spare_bytes / 1e9
                self.stopped_by = f"memory: {left / 1e9:.1f} GB are left, and {spare:.1f} GB are to stay free"
            elif self.since_s > seconds:
                self.stopped_by = f"time: {seconds:g} s are over"
            else:
                try:
                    self.held.open(more, stop, told, patience_s + more / SLOWEST)
                    self.took_s = self.since_s
                    stepped(self.held.listening)
                except LoadError as error:
                    self.stopped_by = f"the client: {error}"
                else:
                    self._look(stop, at_top=self.held.listening >= most)

    def _look(self, stop: threading.Event, *, at_top: bool) -> None:
        """See what broke. A server that is full may accept first, and close a moment later."""
        if self.held.broken or at_top:
            stop.wait(SETTLE_S)
            self.held.look(stop)
        if self.held.broken:
            self.stopped_by = explanation(self.held.broken, self.pids)


async def open_connections(
    server: Running | str,
    most: int = MOST,
    *,
    step: int = STEP,
    seconds: float = SECONDS,
    transport: str | None = None,
    handshake: bytes | None = None,
    origin: Origin = DEFAULT,
    patience_s: float = PATIENCE_S,
    progress: Callable[[str], None] = print,
) -> Climb:
    """Open up to `most` idle connections to `server`, `step` at a time, until something breaks.

    `progress` is told each step. `patience_s`: how long an answer may take before it counts as hanging.
    """
    if not 1 <= most <= MAX_LISTENERS or step < 1:
        raise LoadError(f"expected 1 to {MAX_LISTENERS} connections, and a step of at least 1")
    pid = getattr(server, "pid", None)
    held = listen(server, most, transport=transport, handshake=handshake, origin=origin, opened=0)
    async with held:
        climber = Climber(held, [] if pid is None else family(pid))
        marks: list[tuple[int, int | None, int | None]] = []

        def stepped(count: int) -> None:
            marks.append((count, resident_bytes(climber.pids), slab_bytes()))
            progress(f"{count} open after {climber.since_s:.1f} s")

        await in_thread(
            lambda stop: climber.climb(most, step, stop, seconds, stepped=stepped, patience_s=patience_s)
        )
        took_s, reached, broken = climber.took_s, held.listening, held.broken
    whole = marks if not broken else marks[:-1]  # what hangs costs memory, and is not counted as open
    return Climb(
        most=most,
        reached=reached,
        stopped_by=climber.stopped_by,
        broken=broken,
        took_s=took_s,
        process_bytes_each=_each([(count, process) for count, process, _ in whole]) if pid else None,
        kernel_bytes_each=_each([(count, kernel) for count, _, kernel in whole]),
    )


def explanation(broken: dict[str, int], pids: list[int]) -> str:
    """What the reasons of broken connections mean, in words."""
    if any(why in broken for why in HANGING):
        full = [pid for pid in pids if (d := descriptors(pid)) is not None and d[0] >= d[1] - 1]
        if full:
            limit = descriptors(full[0])
            used = f"the server has used all of its {limit[1] if limit else ''} descriptors"
            refused = "" if "refused" in broken else ", and nobody is refused"
            return f"{used}: accept() fails, so the kernel connects clients that then hang{refused}"
        return "the server does not answer any more: it is too busy, or stopped"
    known = {
        "no local port left": "the client's local ports: its source addresses have none left for this server",
        "no descriptor left": "the client's descriptors: its process may not open more sockets",
        "refused": "the server refuses: nobody listens there any more, or its accept queue says no",
        "status 503": "the server turns clients away (503): it counts them, and has a limit of its own",
        "closed by the server": "the server closes what it has accepted: it is full, or has ended",
        "reset": "the server, or the kernel for it, resets connections",
    }
    return next((text for why, text in known.items() if why in broken), f"connections broke: {broken}")


def descriptors(pid: int) -> tuple[int, int] | None:
    """(open, allowed) descriptors of a process; None where the system does not tell."""
    if sys.platform != "linux":
        return None
    import resource

    soft, _ = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()), soft


def limit_descriptors(server: Running, count: int | None) -> None:
    """Let a running server open `count` descriptors and no more; None: as many as it may have at most.

    It is the soft limit that changes, as `ulimit -Sn` would change it before a start. Needs Linux (prlimit).
    """
    if sys.platform != "linux":
        raise LoadError("the limit of a running process can be changed on Linux only (prlimit)")
    import resource

    for pid in family(getattr(server, "pid", 0)):
        _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        soft = hard if count is None else count
        if not 1 <= soft <= hard != resource.RLIM_INFINITY:
            raise LoadError(f"expected 1 to {hard} descriptors, got {count}")
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


def _each(marks: list[tuple[int, int | None]]) -> float | None:
    """Growth from the first mark to the last, per connection."""
    if len(marks) < 2:
        return None
    (first, before), (last, after) = marks[0], marks[-1]
    if before is None or after is None or after <= before or last - first < STEP / 2:
        return None
    return (after - before) / (last - first)
