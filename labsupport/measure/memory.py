"""What a parked request weighs: in the server's process, and in the kernel."""

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path

from labsupport.measure.fleet import Woken
from labsupport.measure.load import park
from labsupport.measure.sockets import LoadError
from labsupport.processes import Server

FIRST = (
    20  # requests parked before weighing begins: they pay for what is made once, and stay until it has ended
)


@dataclass(frozen=True)
class ParkedWeight:
    """Growth per parked request. None stands for what this system does not tell: both need Linux' /proc."""

    clients: int
    process_bytes: float | None  # resident memory of the server process
    kernel_bytes: float | None  # slab of the whole machine: sockets, descriptors and buffers of both ends
    woken: Woken  # what one publish did afterwards

    def __str__(self) -> str:
        process, kernel = (_text(size) for size in (self.process_bytes, self.kernel_bytes))
        return f"{self.clients} parked requests: {process} each in the process, {kernel} each in the kernel"


async def weigh_parked(server: Server, clients: int = 1_000) -> ParkedWeight:
    """Park `clients` requests at a long-polling server, weigh them, and wake them with one publish.

    The server is restarted first, and loses what it knew: memory that earlier requests left behind would be
    used again, and hide the cost. Weighed is the growth between FIRST and FIRST + `clients` parked
    requests, so that what the server makes only once does not count.

    The kernel's figure is the growth of the slab (/proc/meminfo), which belongs to the whole machine: it
    holds both ends of each connection, and whatever else went on meanwhile. With 1 000 clients that is a
    few per cent on a quiet machine; where it came out at nothing or less, it is None.
    """
    await asyncio.to_thread(server.restart)
    async with park(server.url, FIRST) as first:
        process_before, kernel_before = process_bytes(server.pid), slab_bytes()
        async with park(server.url, clients) as parked:
            if parked.broken:
                raise LoadError(f"not all requests could be parked: {parked}")
            process_after, kernel_after = process_bytes(server.pid), slab_bytes()
            first.close()
            woken = await parked.wake("the weighing is over")
    return ParkedWeight(
        clients,
        growth_each(process_before, process_after, clients),
        growth_each(kernel_before, kernel_after, clients),
        woken,
    )


def process_bytes(pid: int) -> int | None:
    """Resident memory of a process, or None where there is no /proc."""
    if sys.platform != "linux":
        return None
    try:
        return _kilobytes(Path(f"/proc/{pid}/smaps_rollup"), "Rss")
    except OSError:  # some containers hide it; statm counts the same pages a little less exactly
        pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * _page_bytes()


def slab_bytes() -> int | None:
    """Memory in the kernel's small-object caches, of the whole machine, or None where there is no /proc."""
    return _kilobytes(Path("/proc/meminfo"), "Slab") if sys.platform == "linux" else None


def _kilobytes(path: Path, name: str) -> int:
    for line in path.read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise LoadError(f"{path} does not tell {name}")


def _page_bytes() -> int:
    import resource  # not on Windows

    return resource.getpagesize()


def growth_each(before: int | None, after: int | None, clients: int) -> float | None:
    if before is None or after is None or after <= before:
        return None
    return (after - before) / clients


def _text(size: float | None) -> str:
    return "(not told here)" if size is None else f"{size / 1000:.1f} kB"
