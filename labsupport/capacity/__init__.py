"""The capacity planner: how many servers, what decides that, how sure it is, and what it rests on.

    from labsupport.capacity import Costs, Server, between, plan

    p = plan(users=10_000_000, online=between(0.05, 0.15), messages_per_room="1/min", members=50,
             message="300 B", transport="websocket", server=Server(memory="64 GB", cores=16))
    p.summary(), p.binding, p.spread.p95, p.drivers
    p.card("chat")          chat.html and chat.png: assumption → arithmetic → check

Amounts say their unit ("50 KB", "16 GiB", "10 Gbit/s", "25 s", "2/min"), and a plan keeps to decimal or to
binary sizes. What a connection and a push cost comes from the machine's profile; what others have
published stands beside it.
"""

from labsupport.capacity.closed_forms import LOCAL_PORTS, servers_needed, servers_reached
from labsupport.capacity.inputs import Costs, Server
from labsupport.capacity.memory import Prediction, predict_memory
from labsupport.capacity.planner import plan
from labsupport.capacity.published import PUBLISHED
from labsupport.capacity.quantities import Between, Quantity, UnitError, between
from labsupport.capacity.result import Plan
from labsupport.capacity.sizes import connections_per_server

__all__ = [
    "LOCAL_PORTS", "PUBLISHED", "Between", "Costs", "Plan", "Prediction", "Quantity", "Server", "UnitError",
    "between", "connections_per_server", "plan", "predict_memory", "servers_needed", "servers_reached",
]  # fmt: skip
