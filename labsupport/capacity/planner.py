"""`plan(…)`: how many servers hold these users, what decides that, and how sure it is."""

from typing import Any

import numpy as np

from labsupport import profile as profiles
from labsupport.capacity import load as loads
from labsupport.capacity import machine
from labsupport.capacity.inputs import Costs, Input, Server, family_of, given_fields, known, read
from labsupport.capacity.quantities import Between
from labsupport.capacity.result import Plan

SAMPLES = 4_000  # draws: the 5 % and 95 % quantiles then stray by about 2 %
EVERYBODY = "all"

# What a server is, where nothing else is said. In plain bytes, so that it fits a plan of either family.
DEFAULT_SERVER = {"memory": 16e9, "cores": 8.0, "network": 10e9, "descriptors": 524_288.0}

# What a plan takes when it is not told; the card calls it so.
DEFAULTS = {
    "online": 1.0,
    "members": 1,
    "message": "200 B",
    "use": 0.6,
    "headroom": 0.1,
    "reconnect_within": "30 s",
}

_OWN = {"poll_interval": "short polling", "hold": "long polling", "round_trip": "long polling"}


def plan(
    users: Any, *, online: Any = 1.0, messages_per_user: Any = None, messages_per_room: Any = None,
    members: Any = 1, message: Any = "200 B", transport: str = "sse", like: str | None = None,
    heartbeat: Any = None, poll_interval: Any = None, hold: Any = None, round_trip: Any = None,
    server: Server | None = None, costs: Costs | None = None, use: Any = 0.6, headroom: Any = 0.1,
    spare: int = 1, reconnect_within: Any = "30 s", broker_limit: Any = None, brokers: int | None = None,
    profile: profiles.Profile | None = None, question: str = "", seed: int = 20, samples: int = SAMPLES,
) -> Plan:  # fmt: skip
    """Servers for `users` people, N = users · online of them connected at the peak.

    messages_per_user: what each one online sends, "1/min"; or messages_per_room: what one room sees, "5/s".
    members: how many online people one message goes to (the room's, sender included); "all": one room.
    transport: "sse", "websocket", "long polling" or "short polling"; `poll_interval`, `hold` and
    `round_trip` belong to the last two. use: how full a server may be on a normal day; headroom: memory that
    is never planned with; spare: the k of N+k; reconnect_within: after one server of S is lost, its N/S
    clients are accepted by the others in that time (None: whenever). broker_limit: messages/s that one
    broker sends on; brokers: how many there are (None: as many as it takes).

    Every input is one value, or `between(low, high, "why")`: its 5 % and 95 % quantiles. Amounts say their
    units. What is not given comes from `profile` (default: the lab's chosen one; `like` names the server in
    it, else the gateway) or is assumed, and says so.

    The model is of averages at the peak: no bursts, no clumsy balancer, servers alike. Checked against
    published arithmetic in tests/capacity, and its memory against the measured gateway.
    """
    _timing(transport, poll_interval=poll_interval, hold=hold, round_trip=round_trip, heartbeat=heartbeat)
    _whole("spare", spare, 0)
    if brokers is not None:
        _whole("brokers", brokers, 1)
    _whole("samples", samples, 100)
    workload = {
        "users": users, "online": online, **_rate(messages_per_user, messages_per_room),
        "members": np.inf if members == EVERYBODY else members, "message": message, "heartbeat": heartbeat,
        "poll_interval": poll_interval, "hold": hold, "round_trip": round_trip, "use": use,
        "headroom": headroom, "reconnect_within": reconnect_within, "broker_limit": broker_limit,
    }  # fmt: skip
    found = _workload(workload, transport)
    found |= _server(server or Server()) | _costs(
        costs or Costs(), machine.costs_of(profile or profiles.profile(), transport, like), transport
    )
    made = Plan(
        transport=transport, inputs=found, family=family_of(found), spare=spare, brokers=brokers, seed=seed,
        samples=samples, question=question,
    )  # fmt: skip
    _possible(made)
    return made


def _timing(transport: str, **timing: Any) -> None:
    """Refuse a transport that is not known, and a timing that belongs to another one."""
    if transport not in machine.TRANSPORTS:
        raise ValueError(
            f"transport must be one of {', '.join(map(repr, machine.TRANSPORTS))}, got {transport!r}"
        )
    for name, value in timing.items():
        if value is None:
            continue
        if name in _OWN and transport != _OWN[name]:
            raise ValueError(
                f'{name} belongs to transport="{_OWN[name]}", and this plan is for {transport!r}'
            )
        if name == "heartbeat" and transport not in machine.STREAMS:
            raise ValueError(
                f"heartbeat belongs to 'sse' and 'websocket': with {transport!r} each poll is one"
            )


def _rate(per_user: Any, per_room: Any) -> dict[str, Any]:
    if per_user is not None and per_room is not None:
        raise ValueError("give messages_per_user or messages_per_room, not both: one follows from the other")
    return {"messages_per_room": per_room} if per_room is not None else {"messages_per_user": per_user}


def _workload(given: dict[str, Any], transport: str) -> dict[str, Input]:
    """The inputs that were given, and what the transport needs besides."""
    usual = {
        "sse": {"heartbeat": (machine.HEARTBEAT_S["sse"], "HTML standard's advice")},
        "websocket": {"heartbeat": (machine.HEARTBEAT_S["websocket"], "what most libraries do")},
        "short polling": {"poll_interval": (machine.POLL_INTERVAL_S, "what chapter 01 takes")},
        "long polling": {
            "hold": (machine.HOLD_S, "25 to 30 s are usual"),
            "round_trip": (machine.ROUND_TRIP_S, "within a continent"),
        },
    }[transport] | {"messages_per_user": (0.0, "nobody sends anything")}
    found = {}
    for name, value in given.items():
        if value is None:
            if name in usual and not (name == "messages_per_user" and given.get("messages_per_room")):
                found[name] = known(name, usual[name][0], f"assumed: {usual[name][1]}")
        elif name == "members" and not isinstance(value, Between) and value == np.inf:
            found[name] = known(name, np.inf, "given: one room")
        else:
            found[name] = read(
                name, value, "default" if name in DEFAULTS and value == DEFAULTS[name] else "given"
            )
    if (members := found["members"].low) < 1:
        raise ValueError(f"members counts whoever gets a message: at least 1, got {members!r}")
    if found["headroom"].high >= 1:
        raise ValueError("headroom is the share of the memory that stays free: below 1, or nothing is left")
    return found


def _server(server: Server) -> dict[str, Input]:
    given = given_fields(server)
    return {
        name: known(name, value, "assumed: a middling server") for name, value in DEFAULT_SERVER.items()
    } | {name: read(name, value) for name, value in given.items()}


def _costs(costs: Costs, usual: dict[str, machine.Known], transport: str) -> dict[str, Input]:
    given = given_fields(costs)
    found = {name: known(name, one.value, one.source) for name, one in usual.items()}
    if whole := given.pop("connection", None):
        if also := sorted(given.keys() & {"process", "kernel", "tls"}):
            raise ValueError(
                f"costs.connection is everything a connection takes: leave out {', '.join(also)}"
            )
        found["process"] = read("process", whole, label="memory of a connection, all of it")
        found |= {part: known(part, 0.0, "given: counted in the connection") for part in ("kernel", "tls")}
    if foreign := sorted(given.keys() - found.keys()):
        raise ValueError(
            f"costs.{foreign[0]} plays no part with transport={transport!r}: it takes {', '.join(found)}"
        )
    return found | {name: read(name, value) for name, value in given.items()}


def _whole(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name} must be a whole number from {least} up, got {value!r}")


def _possible(made: Plan) -> None:
    """Refuse a server that cannot hold a single connection, and say which limit it is."""
    rows = [made.values] + [
        made.values | {one.name: end} for one in made.ranged for end in (one.low, one.high)
    ]
    for values in rows:
        for name, servers in loads.needs(values, made.transport).items():
            if not np.isfinite(servers):
                raise ValueError(
                    f"no number of servers is enough: by its {name}, one server holds no connection at all. "
                    f"Give it more, or a smaller base, headroom or cost of a connection"
                )
