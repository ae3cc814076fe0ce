"""What a server of the lab should weigh with N connections: the planner's memory line, to be measured."""

from dataclasses import dataclass

from labsupport import profile as profiles
from labsupport.capacity import closed_forms as forms
from labsupport.capacity import machine
from labsupport.capacity.quantities import number, size_text

SERVERS = {"gateway SSE": "sse", "gateway WebSocket": "websocket", "long polling": "long polling"}


@dataclass(frozen=True)
class Prediction:
    """Memory of one server with so many connections, in bytes; `how` is the arithmetic."""

    connections: int
    server: str
    process_bytes: float  # all its processes: without connections, and what the connections add
    kernel_bytes: float  # sockets, the server's end
    how: str

    @property
    def bytes(self) -> float:
        return self.process_bytes + self.kernel_bytes

    def __str__(self) -> str:
        return self.how


def predict_memory(
    connections: int,
    server: str = "gateway SSE",
    profile: profiles.Profile | None = None,
    *,
    processes: int = 1,
) -> Prediction:
    """M = processes·M₀ + N·(process + kernel), idle and without TLS, from the profile's figures.

    The process' part is what `bytes_of_empty_process` and `bytes_per_idle_connection` say; it is the one to
    hold against a measurement, since the kernel's slab is shared with everything else on the machine.
    """
    if server not in SERVERS:
        raise ValueError(f"server must be one of {', '.join(map(repr, SERVERS))}, got {server!r}")
    for name, value in (("connections", connections), ("processes", processes)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be a whole number from 1 up, got {value!r}")
    costs = machine.costs_of(profile or profiles.profile(), SERVERS[server])
    base, each, kernel = (costs[name].value for name in ("base", "process", "kernel"))
    process_bytes = float(forms.memory_needed(connections, base * processes, each))
    n = number(connections)
    how = (
        f"{n} connections of {server}: {size_text(base * processes)} + {n} × {size_text(each)} = "
        f"{size_text(process_bytes)} in {processes} process{'es' if processes > 1 else ''}, and {n} × "
        f"{size_text(kernel)} = {size_text(connections * kernel)} in the kernel"
    )
    return Prediction(connections, server, process_bytes, connections * kernel, how)
