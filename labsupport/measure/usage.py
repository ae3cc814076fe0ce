"""What processes take of the machine: memory, time of a CPU, and what is left. None where it is not told."""

import sys
import time
from collections.abc import Iterable
from pathlib import Path

from labsupport.measure.memory import process_bytes


def family(pid: int) -> list[int]:
    """The process and all that descend from it: a server that works in several processes is all of them."""
    if sys.platform != "linux":
        return [pid]
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name in brackets may hold anything, also brackets; the parent is the second field behind it.
            parent = int(stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1])
        except OSError:  # ended meanwhile
            continue
        children.setdefault(parent, []).append(int(stat.parent.name))
    found = [pid]
    for one in found:  # grows while it is walked
        found += sorted(children.get(one, []))
    return found


def resident_bytes(pids: Iterable[int]) -> int | None:
    """Resident memory of all these processes together. Pages that they share count for each."""
    sizes = [process_bytes(pid) for pid in pids]
    return None if None in sizes else sum(size for size in sizes if size is not None)


def cpu_s(pids: Iterable[int]) -> float | None:
    """Seconds of CPU that these processes have used, user and system, to the nanosecond."""
    if sys.platform != "linux":
        return None
    # The clock of another process, as clock_getcpuclockid(3) makes its number; it counts all its threads.
    return sum(time.clock_gettime((~pid << 3) | 2) for pid in pids)


def available_bytes() -> int | None:
    """Memory that programs may still take before the system runs short, by the kernel's own estimate."""
    if sys.platform != "linux":
        return None
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None
