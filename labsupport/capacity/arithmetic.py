"""A plan's arithmetic as a person would write it: every line with its numbers put in."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labsupport.capacity import closed_forms as forms
from labsupport.capacity import load as loads
from labsupport.capacity.machine import STREAMS
from labsupport.capacity.quantities import bit_rate, number, per_second, share_text, size_text, time_text

if TYPE_CHECKING:
    from labsupport.capacity.result import Plan


EXACT = 4  # digits of a fraction of servers: 31.25


@dataclass(frozen=True)
class Line:
    """One step: what it is about, how it is computed, what comes out."""

    name: str
    arithmetic: str
    answer: str


def demand(plan: "Plan") -> list[Line]:
    """What the fleet does at the peak."""
    v, done = plan.values, plan.load
    n = number(done["connections"])
    members = number(done["members"])
    lines = [Line("connections", f"{number(v['users'])} users × {share_text(v['online'])} online", n)]
    rate = v[plan.rate_name]
    if plan.rate_name == "messages_per_room":
        published = f"{n} / {members} in a room × {per_second(rate)}"
    else:
        published = f"{n} × {per_second(rate)}"
    lines.append(Line("messages sent", published, per_second(done["published_per_s"])))
    lines.append(
        Line(
            "messages delivered",
            f"{per_second(done['published_per_s'])} × {members} members",
            per_second(done["deliveries_per_s"]),
        )
    )
    if plan.transport in STREAMS:
        twice = " × 2 (ping and pong)" if plan.transport == "websocket" else ""
        lines.append(
            Line("pings", f"{n} / {time_text(v['heartbeat'])}{twice}", per_second(done["pings_per_s"]))
        )
    elif plan.transport == "short polling":
        lines.append(Line("polls", f"{n} / {time_text(v['poll_interval'])}", per_second(done["polls_per_s"])))
    else:
        held = done["connections"] / done["polls_per_s"]
        lines.append(
            Line(
                "polls",
                f"{n} / {time_text(held)} (a round trip of {time_text(v['round_trip'])}, then until a "
                f"message or {time_text(v['hold'])})",
                per_second(done["polls_per_s"]),
            )
        )
    return [*lines, *_wire(plan)]


def _wire(plan: "Plan") -> list[Line]:
    v, done, size = plan.values, plan.load, _sizes(plan)
    published, delivered = per_second(done["published_per_s"]), per_second(done["deliveries_per_s"])
    around = size(v["overhead"])
    if plan.transport in STREAMS:
        sent = per_second(done["connections"] / v["heartbeat"])
        out = f"({delivered} × ({size(v['message'])} + {around}) + {sent} pings × {around}) × 8"
        pongs = f" + {sent} pongs × {around}" if plan.transport == "websocket" else ""
        into = f"({published} × ({size(v['message'])} + {around}){pongs}) × 8"
    else:
        polls = per_second(done["polls_per_s"])
        out = f"({delivered} × {size(v['message'])} + {polls} answers × {around}) × 8"
        asked = size(v["request"])
        into = f"({published} × ({size(v['message'])} + {asked}) + {polls} polls × {asked}) × 8"
    payload = forms.broadcast_bit_s(1.0, v["message"], done["deliveries_per_s"])
    return [
        Line("egress, messages alone", f"{delivered} × {size(v['message'])} × 8", bit_rate(float(payload))),
        Line("egress, all of it", out, bit_rate(done["out_bit_s"])),
        Line("ingress", into, bit_rate(done["in_bit_s"])),
    ]


def limits(plan: "Plan") -> list[Line]:
    """What each limit asks for: servers, before the spares."""
    v, size = plan.values, _sizes(plan)
    n, use = plan.load["connections"], share_text(plan.values["use"])
    held = {name: float(most) for name, most in loads.per_server(v).items()}
    each = float(loads.each_bytes(v)) + v["queued"]
    how = {
        "memory": (
            f"({size(v['memory'])} × {share_text(1 - v['headroom'])} − {number(v['cores'])} × "
            f"{size(v['base'])}) / {size(each)} a connection = {number(held['memory'])} a server"
        ),
        "descriptors": (
            f"({number(v['descriptors'])} − {loads.DESCRIPTORS_KEPT}) × {number(v['cores'])} processes = "
            f"{number(held['descriptors'])} a server"
        ),
        "given limit": f"{number(v.get('connections', 0))} a server",
        "CPU": _cpu(plan),
        "network": f"{bit_rate(_busier_way(plan))} / ({bit_rate(v['network'])} × {use})",
        "reconnect": _reconnect(plan),
    }
    lines = []
    for limit in plan.limits:
        text = how[limit.name]
        if limit.name in held:
            usable = math.floor(held[limit.name] * v["use"] * (1 + 1e-12))
            text += f"; {number(n)} / " + (
                number(usable) if v["use"] == 1 else f"({use} of it: {number(usable)})"
            )
        answer = f"{number(limit.exact, EXACT)} → {number(limit.servers)}"
        lines.append(
            Line(limit.name, text, number(limit.servers) if limit.exact == limit.servers else answer)
        )
    return lines


def _cpu(plan: "Plan") -> str:
    v, done = plan.values, plan.load
    if plan.transport in STREAMS:
        work = (
            f"{per_second(done['deliveries_per_s'])} × {time_text(v['push'])} + "
            f"{per_second(done['pings_per_s'])} × {time_text(v['ping'])}"
        )
    else:
        work = f"{per_second(done['polls_per_s'])} × {time_text(v['poll'])}"
    cores = float(loads.divided_cores(v, done, plan.transport))
    most = f"{number(v['cores'])} cores × {share_text(v['use'])}"
    text = f"{work} = {number(cores)} cores"
    if done["published_per_s"] * v["receive"] == 0:
        return f"{text} / ({most})"
    s = next(limit.exact for limit in plan.limits if limit.name == "CPU")
    heard = done["published_per_s"] * float(forms.servers_reached(s, done["members"])) / s
    return (
        f"{text}, shared by S; and each hears what its members do: {number(cores)} / S + "
        f"{per_second(heard)} × {time_text(v['receive'])} = {most} at S = {number(s, EXACT)}"
    )


def _reconnect(plan: "Plan") -> str:
    v = plan.values
    if "reconnect_within" not in v:
        return ""
    n = plan.load["connections"]
    pairs = n / (v["accepts"] * v["cores"] * v["reconnect_within"])
    return (
        f"S × (S − 1) ≥ {number(n)} / ({per_second(v['accepts'])} × {number(v['cores'])} cores × "
        f"{time_text(v['reconnect_within'])}) = {number(pairs)}; S counts the spares, too"
    )


def _busier_way(plan: "Plan") -> float:
    """Bits a second out or in, whichever is more: a network card does both at once."""
    return max(plan.load["out_bit_s"], plan.load["in_bit_s"])


def total(plan: "Plan") -> Line:
    """From the limits to the fleet."""
    most = max(limit.servers for limit in plan.limits if limit.name != "reconnect")
    parts = f"the most of the others, {number(most)}, + {plan.spare} spare"
    if any(limit.name == "reconnect" for limit in plan.limits):
        (reconnect,) = (limit.servers for limit in plan.limits if limit.name == "reconnect")
        parts += f"; at least the {number(reconnect)} of reconnect"
    return Line("servers to have", parts, number(plan.servers))


def checks(plan: "Plan") -> list[Line]:
    """The answer put back in: what one server carries when all are up, and after a loss."""
    v, done, size, s = plan.values, plan.load, _sizes(plan), plan.servers
    n = plan.connections_per_server
    base, each = float(loads.base_bytes(v)), float(loads.each_bytes(v)) + v["queued"]
    need = float(forms.memory_needed(n, base, each))
    memory = f"{size(base)} + {number(n)} × {size(each)} = {size(need)} of {size(v['memory'])}"
    descriptors, wire = float(loads.per_server(v)["descriptors"]), _busier_way(plan) / s
    lines = [
        _part("memory", memory, need / v["memory"]),
        _part("descriptors", f"{number(n)} of {number(descriptors)}", n / descriptors),
        _cpu_check(plan),
        _part("network", f"{bit_rate(wire)} of {bit_rate(v['network'])}", wire / v["network"]),
    ]
    if s > 1:
        accepts = v["accepts"] * v["cores"]
        lines.append(
            Line(
                "one server lost",
                f"its {number(n)} clients at {s - 1} × {per_second(accepts)}; the others then hold "
                f"{number(done['connections'] / (s - 1))} each",
                f"back in {time_text(plan.take_over_s)} at best",
            )
        )
    back = done["connections"] / (s * v["accepts"] * v["cores"])
    lines.append(
        Line(
            "all servers lost",
            f"{number(done['connections'])} / ({number(s)} × {per_second(v['accepts'] * v['cores'])})",
            f"back in {time_text(back)} at best",
        )
    )
    addresses = float(forms.source_addresses(n))
    lines.append(
        Line("ports of a proxy in front", f"{number(n)} / {number(forms.LOCAL_PORTS)}",
             f"{number(addresses)} source address{'es' if addresses > 1 else ''} towards one server")
    )  # fmt: skip
    return lines + _broker(plan)


def _cpu_check(plan: "Plan") -> Line:
    v, done, s = plan.values, plan.load, float(plan.servers)
    shared = float(loads.divided_cores(v, done, plan.transport)) / s
    heard = done["published_per_s"] * float(forms.servers_reached(s, done["members"])) / s
    busy = shared + heard * v["receive"]
    what = "pushes and pings" if plan.transport in STREAMS else "polls"
    text = (
        f"{number(shared)} for {what} + {per_second(heard)} from the broker × {time_text(v['receive'])} = "
        f"{number(busy)} of {number(v['cores'])} cores"
    )
    return _part("CPU", text, busy / v["cores"])


def _broker(plan: "Plan") -> list[Line]:
    s, done = float(plan.servers), plan.load
    if done["published_per_s"] == 0:
        return []
    reached = float(forms.servers_reached(s, done["members"]))
    text = (
        f"{per_second(done['published_per_s'])} × {number(reached)} servers reached "
        f"({number(s)} × (1 − (1 − 1/{number(s)})^{number(done['members'])}))"
    )
    answer = f"{per_second(plan.broker_per_s)} sent on"
    if plan.brokers_needed is not None:
        v = plan.values
        text += f", / ({per_second(v['broker_limit'])} × {share_text(v['use'])})"
        answer += f": {plan.brokers_needed} broker{'s' if plan.brokers_needed > 1 else ''}"
        if plan.brokers is not None:
            answer += f", {plan.brokers} there {'✗' if plan.brokers_needed > plan.brokers else '✓'}"
    return [Line("broker", text, answer)]


def _part(name: str, text: str, share: float) -> Line:
    return Line(name, text, f"{share_text(share)} full {'✓' if share <= 1 else '✗'}")


def _sizes(plan: "Plan"):  # type: ignore[no-untyped-def]
    return lambda value: size_text(value, plan.family)
