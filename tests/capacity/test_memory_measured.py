"""The planner's memory line against the gateway: 5 000 and 15 000 real connections, within a tenth."""

import dataclasses
import sys
from collections.abc import Callable

import pytest

from labsupport.capacity import predict_memory
from labsupport.measure.listening import listen
from labsupport.measure.sockets import most_connections
from labsupport.measure.usage import family, resident_bytes
from labsupport.processes import serve
from labsupport.profile import REFERENCE, ConnectionBytes, Profile

FIRST, WEIGHED = 200, 2_200  # connections: the first pay for what is made once
TOLERANCE = 0.10  # of the measured: memory comes to a process in blocks, and the figures are those of 2 000


@pytest.mark.skipif(sys.platform != "linux", reason="a process' memory is told by Linux' /proc")
@pytest.mark.parametrize("transport", ["SSE", "WebSocket"])
async def test_the_memory_of_5_000_and_15_000_connections_is_predicted_from_2_000_within_a_tenth(
    transport: str, tell: Callable[[str, str], None]
) -> None:
    crowds = [n for n in (5_000, 15_000) if n <= most_connections()]
    if not crowds:
        pytest.skip(f"a process may hold {most_connections()} connections here")
    name, at = f"gateway {transport}", {}
    with serve("gateway", instance=f"tests/capacity {transport}") as server:
        async with listen(server, FIRST, transport=transport, processes=2) as held:
            for crowd in (FIRST, WEIGHED, *crowds):
                if crowd > held.listening:
                    await held.grow(crowd - held.listening)
                assert held.listening == crowd, str(held)
                weighed = resident_bytes(family(server.pid))
                assert weighed is not None
                at[crowd] = weighed
    each = (at[WEIGHED] - at[FIRST]) / (WEIGHED - FIRST)
    measured = dataclasses.replace(
        Profile.load(REFERENCE),
        bytes_of_empty_process={name: at[FIRST] - FIRST * each},
        bytes_per_idle_connection={name: ConnectionBytes(each, None)},
    )
    for crowd in crowds:
        predicted = predict_memory(crowd, name, measured).process_bytes
        gap = predicted / at[crowd] - 1
        figures = f"{predicted / 1e6:.1f} MB planned, {at[crowd] / 1e6:.1f} MB measured ({100 * gap:+.1f} %)"
        tell("memory, planned and measured", f"{crowd:6} connections of {name}: {figures}")
        assert abs(gap) <= TOLERANCE
