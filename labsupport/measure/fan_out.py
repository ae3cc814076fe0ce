"""Fan-out: one write, thousands of readers. How long until the first, the middle one and the last has it?

result = await fan_out(server, listeners=10_000, writes=20)
print(result)
async with Floor() as floor:
    print(result.times(await fan_out(floor, listeners=10_000)))     how many times a plain loop of send()
"""

from dataclasses import dataclass, field

import numpy as np

from labsupport.measure.listening import Running, listen
from labsupport.measure.sockets import LoadError
from labsupport.measure.usage import cpu_s, family

WARM_UP = 2  # writes that are not counted: the first ones pay for memory that stays
MAX_WRITES = 1_000


@dataclass(frozen=True, eq=False, kw_only=True)
class FanOut:
    """What writes of one 100-byte message each did. `delays_ms[w]`: of write w, sorted, one per listener.

    Delays begin when the POST is sent and end when the listener's process has read the message. They hold
    the load client's own work; it runs beside the server, and shares the machine with it.
    """

    server: str
    transport: str
    listeners: int
    delays_ms: np.ndarray
    opened_per_s: float  # new connections whose handshake was answered
    cpu_us_per_push: float | None  # of the server, for one listener and one message; None: not told here
    broken: dict[str, int] = field(default_factory=dict)

    @property
    def last_ms(self) -> np.ndarray:
        """Until the last listener had it, one element for each write."""
        return self.delays_ms[:, -1]

    @property
    def first_ms(self) -> float:
        """The median write's first listener."""
        return float(np.median(self.delays_ms[:, 0]))

    @property
    def p50_ms(self) -> float:
        return float(np.median(self.delays_ms))

    @property
    def p99_ms(self) -> float:
        return float(np.percentile(self.delays_ms, 99))

    @property
    def p99_last_ms(self) -> float:
        """The last listener, in 99 of 100 writes."""
        return float(np.percentile(self.last_ms, 99))

    def times(self, floor: "FanOut") -> float:
        """How many times as long as with `floor`, until the last listener has it (median writes)."""
        return float(np.median(self.last_ms) / np.median(floor.last_ms))

    def __str__(self) -> str:
        writes = len(self.delays_ms)
        return (
            f"{self.server}, {self.listeners} listeners ({self.transport}), {writes} writes: first after "
            f"{self.first_ms:.1f} ms, half after {self.p50_ms:.1f} ms, the last after "
            f"{np.median(self.last_ms):.1f} ms (in 99 of 100 writes within {self.p99_last_ms:.1f} ms)"
        )


async def fan_out(
    server: Running | str,
    listeners: int = 10_000,
    writes: int = 20,
    transport: str = "SSE",
    processes: int | None = None,
) -> FanOut:
    """Write `writes` messages of 100 bytes, one after another, to `listeners` listeners.

    `processes` hold the listeners: one by default, up to 19 000 of them. LoadError if a listener is lost or
    misses a message: then there is no "last".
    """
    if not 1 <= writes <= MAX_WRITES:
        raise LoadError(f"expected 1 to {MAX_WRITES} writes, got {writes}")
    pid = getattr(server, "pid", None)
    async with listen(server, listeners, transport=transport, processes=processes) as heard_by:
        if heard_by.broken:
            raise LoadError(f"not all listeners came in: {heard_by}")
        rows = []
        for number in range(-WARM_UP, writes):
            if number == 0:
                pids = [] if pid is None else family(pid)
                cpu_before = cpu_s(pids)
            heard = await heard_by.write()
            if heard.heard < listeners:
                raise LoadError(f"a message did not reach everybody: {heard}")
            if number >= 0:
                rows.append(heard.delays_ms)
        cpu_after = cpu_s(pids)
    spent = None if not pids or cpu_before is None or cpu_after is None else cpu_after - cpu_before
    return FanOut(
        server=getattr(server, "name", "server"),
        transport=transport,
        listeners=listeners,
        delays_ms=np.stack(rows),
        opened_per_s=heard_by.opened_per_s,
        cpu_us_per_push=None if spent is None else spent / (writes * listeners) * 1e6,
        broken=heard_by.broken,
    )
