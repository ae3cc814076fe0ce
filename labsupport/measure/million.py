"""`python -m labsupport million`: as many connections to one gateway as this machine can hold.

Both ends of every connection are on this machine: the gateway works in several processes behind one port, and
so does the load client, for a process may have only so many descriptors. The climb ends at --most, at the
memory that is to stay free, at the time limit, or at whatever breaks first; then one message goes to all, and
everything is closed again. Nothing stays: the processes end with this one, and each connection ends with a
reset, which leaves no TIME_WAIT.
"""

import argparse
import asyncio
import math
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from labsupport.measure.climb import Climber
from labsupport.measure.listening import Listening, listen
from labsupport.measure.sockets import Clock, LoadError, Target, most_connections
from labsupport.measure.threads import in_thread
from labsupport.measure.usage import available_bytes, family, resident_bytes
from labsupport.processes import Server, ServerError

MOST = 1_000_000
SECONDS = 300.0  # for the climb; 900 000 took two minutes on two cores
SPARE_BYTES = 2_000_000_000  # of memory that stay free, whatever happens
EACH_BYTES = 12_000  # that a connection takes of this machine: 4 kB for either end in the kernel, 2 in
# the gateway's process, the rest for the processes themselves and for the client
PER_PROCESS = 17_000  # connections of a gateway's process on average: the kernel deals them out at random
MOST_PROCESSES = 64  # of the gateway
STEP = 50_000  # connections that are opened at a time
HEAR_S = 120.0  # seconds for the message to reach all
QUIET_S = 86_400  # seconds until the gateway would send a sign of life: nothing but the message shall flow
PLAIN_S = 5.0  # seconds between two lines where no terminal shows a moving one


@dataclass(frozen=True)
class Plan:
    """How far the climb can get, and with how many processes on either side."""

    most: int
    processes: int
    why: str  # what sets `most`

    @classmethod
    def of(cls, wanted: int, available: int | None, per_process: int) -> "Plan":
        """From what is wanted, the bytes of memory that are available, and what descriptors allow."""
        limits = [(wanted, "as asked for")]
        if available is not None:
            limits.append((max(0, available - SPARE_BYTES) // EACH_BYTES, "what memory allows"))
        each = min(PER_PROCESS, max(1, per_process * 9 // 10))
        limits.append((MOST_PROCESSES * each, f"what the descriptors of {MOST_PROCESSES} processes allow"))
        most, why = min(limits, key=lambda limit: limit[0])
        if most < 1:
            raise LoadError(
                f"{(available or 0) / 1e9:.1f} GB of memory are available, and {SPARE_BYTES / 1e9:.0f} are "
                f"to stay free: close something, and try again"
            )
        return cls(most, math.ceil(most / each), why)


class BigGateway(Server):
    """A gateway of many processes: they start one after another, on as many cores as there are."""

    ready_s = 120.0


class Screen:
    """A line that moves where a terminal shows it, and plain lines now and then elsewhere."""

    def __init__(self) -> None:
        self._moves = sys.stdout.isatty()
        self._began = self._told = Clock()

    def show(self, count: int) -> None:
        now = Clock()
        if now - self._told < (0.2 if self._moves else PLAIN_S):
            return
        self._told, left = now, available_bytes()
        memory = "" if left is None else f"   {left / 1e9:.1f} GB of memory left"
        text = f"{count:>9,} connections   {now - self._began:5.0f} s{memory}"
        print(f"\r{text}   " if self._moves else text, end="" if self._moves else "\n", flush=True)

    def say(self, text: str) -> None:
        print(f"\n{text}" if self._moves else text, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0, or 1 when there was nothing to climb."""
    parser = argparse.ArgumentParser(
        prog="python -m labsupport million",
        description="Hold as many connections to one gateway as this machine can, and reach all at once.",
    )
    parser.add_argument("--most", type=_count, default=MOST, help="connections, at most (%(default)s)")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for the climb (%(default)g)")
    options = parser.parse_args(argv)
    try:
        asyncio.run(climb(options.most, options.seconds))
    except (LoadError, ServerError, OSError) as error:
        print(f"The climb ended before it began: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped; everything is closed.", file=sys.stderr)
        return 130
    return 0


async def climb(most: int = MOST, seconds: float = SECONDS) -> Climber:
    """Climb, push one message from the top, come down. What it prints is the command's output."""
    screen = Screen()
    plan = Plan.of(most, available_bytes(), most_connections())
    screen.say(f"{plan.most:,} connections ({plan.why}); processes of the gateway: {plan.processes}")
    quiet = ("--heartbeat", str(QUIET_S), "--ping", str(QUIET_S))
    server = await asyncio.to_thread(BigGateway, "gateway", "--processes", str(plan.processes), *quiet)
    try:
        held = listen(server, plan.most, transport="SSE", processes=plan.processes, opened=0)
        async with held:
            climber = Climber(held, family(server.pid), SPARE_BYTES)
            await in_thread(lambda stop: _up_and_push(climber, plan.most, seconds, screen, stop))
            _weigh(climber, held, server, screen)
    finally:
        await asyncio.to_thread(server.stop)
    left = waiting_ports(server.url)
    screen.say("All closed" + ("." if left is None else f"; ports of it that wait in TIME_WAIT: {left}."))
    return climber


def _up_and_push(climber: Climber, most: int, seconds: float, screen: Screen, stop: threading.Event) -> None:
    held = climber.held
    climber.climb(most, STEP, stop, seconds, told=screen.show, patience_s=20.0, each_bytes=EACH_BYTES)
    took_s = climber.took_s
    screen.say(
        f"{held.listening:,} connections are open at once, after {took_s:.0f} s "
        f"({held.listening / took_s:,.0f} a second)."
    )
    screen.say(f"What stopped it: {climber.stopped_by or 'nothing; that is as many as it should be'}.")
    if held.listening:
        heard = held.push(stop, HEAR_S)
        first, last = heard.delays_ms[[0, -1]] / 1000 if heard.heard else (math.nan, math.nan)
        screen.say(
            f"One message to all: the first had it after {first * 1000:.1f} ms, the last after {last:.2f} s; "
            f"{heard.heard:,} of {held.listening:,} have it."
        )


def _weigh(climber: Climber, held: Listening, server: Server, screen: Screen) -> None:
    pids = family(server.pid)
    size, left = resident_bytes(pids), available_bytes()
    if size is not None and left is not None and held.listening:
        screen.say(
            f"Resident memory of the gateway: {size / 1e9:.2f} GB, pages that its processes share counted "
            f"for each. {left / 1e9:.1f} GB of the machine's memory are left."
        )


def waiting_ports(url: str) -> int | None:
    """Connections in TIME_WAIT between this server and the load client's addresses, 127.0.1.x.

    None where the system does not tell.
    """
    if sys.platform != "linux":
        return None
    port, client, time_wait = f":{Target.of(url).port:04X}", "01007F", "06"  # the address from its end
    with open("/proc/net/tcp", encoding="ascii") as file:
        ends = [(w[1], w[2]) for w in map(str.split, file) if w[3] == time_wait]
    both = ends + [(there, here) for here, there in ends]
    return sum(1 for here, there in both if here.endswith(port) and there[2:8] == client)


def _count(text: str) -> int:
    number = int(text.replace("_", ""))
    if not 1 <= number <= MOST:
        raise argparse.ArgumentTypeError(f"expected 1 to {MOST}, got {text}")
    return number
