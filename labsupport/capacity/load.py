"""From inputs to load, and from load to servers, one limit after the other. Floats or arrays alike."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from labsupport.capacity import closed_forms as forms
from labsupport.capacity.machine import STREAMS

Numbers = Any
Values = Mapping[str, Numbers]

# The order in which ties are told: the first of equals is named.
LIMITS = ("memory", "descriptors", "CPU", "network", "given limit", "reconnect")
BROKER = "broker"
DESCRIPTORS_KEPT = 64  # of each process: listener, event loop, log, broker


def load(v: Values, transport: str) -> dict[str, Numbers]:
    """What all servers together have to do at the peak.

    connections, members (no room is larger than those online), published_per_s, deliveries_per_s,
    polls_per_s, pings_per_s (with pongs), out_bit_s, in_bit_s.
    """
    n = np.asarray(v["users"]) * v["online"]
    members = np.minimum(v["members"], n)
    if "messages_per_room" in v:
        published = n / members * v["messages_per_room"]
    else:
        published = n * v["messages_per_user"]
    delivered = published * members
    polls = pings = np.zeros_like(n)
    if transport == "short polling":
        polls = n / v["poll_interval"]
    elif transport == "long polling":
        polls = n * forms.long_polls_per_s(delivered / n, v["hold"], v["round_trip"])
    else:
        pings = forms.pings_per_s(n, v["heartbeat"], pongs=transport == "websocket")
    out = forms.broadcast_bit_s(1.0, v["message"], delivered)
    if transport in STREAMS:
        sent = n / v["heartbeat"]
        out = out + 8.0 * v["overhead"] * (delivered + sent)
        back = sent if transport == "websocket" else 0.0
        inward = 8.0 * (published * (v["message"] + v["overhead"]) + back * v["overhead"])
    else:
        out = out + 8.0 * v["overhead"] * polls
        inward = 8.0 * (published * (v["message"] + v["request"]) + polls * v["request"])
    return {
        "connections": n,
        "members": members,
        "published_per_s": published,
        "deliveries_per_s": delivered,
        "polls_per_s": polls,
        "pings_per_s": pings,
        "out_bit_s": out,
        "in_bit_s": inward,
    }


def each_bytes(v: Values) -> Numbers:
    """Bytes of one connection on its server, without what is queued for it."""
    return v["process"] + np.asarray(v["kernel"]) + v["tls"]


def base_bytes(v: Values) -> Numbers:
    """M₀: a server's processes, one on each core, before their first connection."""
    return np.asarray(v["base"]) * v["cores"]


def divided_cores(v: Values, done: Mapping[str, Numbers], transport: str) -> Numbers:
    """CPU that all servers share: pushes and pings, or polls, in cores."""
    if transport in STREAMS:
        return done["deliveries_per_s"] * v["push"] + done["pings_per_s"] * v["ping"]
    return done["polls_per_s"] * v["poll"]


def per_server(v: Values) -> dict[str, Numbers]:
    """Connections that one server may hold by memory, by descriptors, and by the limit that was given."""
    held = {
        "memory": forms.connections_in_memory(
            v["memory"], base_bytes(v), each_bytes(v) + v["queued"], headroom=v["headroom"]
        ),
        "descriptors": np.maximum(np.asarray(v["descriptors"]) - DESCRIPTORS_KEPT, 0.0) * v["cores"],
    }
    return held | ({"given limit": np.asarray(v["connections"])} if "connections" in v else {})


def needs(v: Values, transport: str) -> dict[str, Numbers]:
    """Servers, as a fraction, that each limit asks for; ∞ where one server cannot do it at all.

    `use` of every capacity is filled, except in the reconnect limit: that is for the bad minute.
    """
    done = load(v, transport)
    n = done["connections"]
    with np.errstate(divide="ignore"):
        found = {
            name: n / np.floor(np.asarray(most) * v["use"] * (1 + 1e-12))
            for name, most in per_server(v).items()
        }
        found["CPU"] = forms.servers_for_cpu(
            divided_cores(v, done, transport),
            done["published_per_s"] * v["receive"],
            done["members"],
            np.asarray(v["cores"]) * v["use"],
        )
        found["network"] = np.maximum(done["out_bit_s"], done["in_bit_s"]) / (
            np.asarray(v["network"]) * v["use"]
        )
    if "reconnect_within" in v:
        found["reconnect"] = forms.servers_to_take_over(
            n, np.asarray(v["accepts"]) * v["cores"], v["reconnect_within"]
        )
    return {name: found[name] for name in LIMITS if name in found}


def fleet(found: Mapping[str, Numbers], spare: int) -> Numbers:
    """Servers to have: the most that a limit asks for, whole, plus spares.

    The reconnect limit counts the spares in: they are survivors, too.
    """
    whole = {name: np.maximum(forms.whole(servers), 1.0) for name, servers in found.items()}
    return most(whole, spare)


def binding(found: Mapping[str, Numbers], spare: int) -> Numbers:
    """Index into `found` of the limit that decides: the one that asks for the most servers."""
    return np.argmax(with_spares(found, spare), axis=0)


def most(found: Mapping[str, Numbers], spare: int) -> Numbers:
    """The most that a limit asks for, spares included, not made whole."""
    return np.max(with_spares(found, spare), axis=0)


def with_spares(found: Mapping[str, Numbers], spare: int) -> Numbers:
    """A row of servers for each limit, spares added; the reconnect limit counts them in already."""
    rows = [np.asarray(servers) + (0 if name == "reconnect" else spare) for name, servers in found.items()]
    return np.stack(np.broadcast_arrays(*rows))


def broker_copies_per_s(v: Values, done: Mapping[str, Numbers], servers: Numbers) -> Numbers:
    """Messages/s that the broker sends on: each one once to every server that holds a subscriber."""
    return done["published_per_s"] * forms.servers_reached(servers, done["members"])
