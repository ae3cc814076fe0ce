"""What a connection, a push and a poll cost on the machine that the profile describes.

Where the profile does not tell (yet: an older file, or a system without /proc), a figure measured once on the
course's machine stands in, and the plan calls it "assumed".
"""

from dataclasses import dataclass

from labsupport.profile import Profile

TRANSPORTS = ("sse", "websocket", "long polling", "short polling")
STREAMS = ("sse", "websocket")  # the server speaks first; the others are asked

# The profile's name for the server that holds the connections, unless a plan names another one.
HOLDS = {
    "sse": "gateway SSE",
    "websocket": "gateway WebSocket",
    "long polling": "long_polling",
    "short polling": "short_polling",
}
MESSAGE_BYTES = 100.0  # the profile's message

# Bytes around one message, each way. Framing: an SSE event is "id: …\ndata: …\n\n" in a chunk, a WebSocket
# frame has 2 to 10 (RFC 6455 §5.2). Every small message is also a packet of its own: 20 bytes IPv4 (RFC 791),
# 20 TCP (RFC 9293), 22 TLS 1.3 record (RFC 8446 §5.2). A long message's further packets are left out (3 %).
PACKET = 62.0
FRAMING = {"sse": 16.0, "websocket": 4.0}

HEARTBEAT_S = {"sse": 15.0, "websocket": 25.0}  # HTML standard's advice for comments; what most libraries do
POLL_INTERVAL_S, HOLD_S, ROUND_TRIP_S = 5.0, 25.0, 0.05

# Stand-ins, from the course's machine (2 cores, Python 3.11, clients on the same machine).
PUSH_S = 8.7e-6  # one write to each of 10 000 listeners took 87 ms
RECEIVE_S = 17e-6  # a message from the broker: 58 000 a second
BASE_BYTES = 40e6  # the gateway that holds nothing yet
PARKED_BYTES = 9_800.0  # a parked request of long_polling
PROCESS_BYTES = 1_720.0  # an idle event stream of the gateway
KERNEL_BYTES = 4_500.0  # a socket on the server's side


@dataclass(frozen=True)
class Known:
    """One figure in base units, and where it is from."""

    value: float
    source: str  # "profile: …", "assumed: …" or "given: …"


def costs_of(profile: Profile, transport: str, like: str | None = None) -> dict[str, Known]:
    """The figures of one connection of this transport, by the names that `Costs` has for them.

    `like`: the server of the lab that holds it, by its name in the profile ("websocket_chat").
    """
    server = server_of(profile, transport, like)
    found = _memory(profile, server, transport) | {
        "tls": Known(0.0, "assumed: TLS ends at the proxy in front"),
        "queued": Known(0.0, "assumed: everybody reads what is sent"),
        "receive": Known(RECEIVE_S, "assumed: 58 000 messages/s came from a broker on the course's machine"),
    }
    if (accepts := profile.connects_per_s.get(server)) is not None:
        found["accepts"] = Known(accepts, f"profile: new connections of {server}, one process")
    else:
        words = "profile: new connections with their first request, one process"
        found["accepts"] = Known(profile.accepts_per_s, words)
    return found | (_pushed(profile, server, transport) if transport in STREAMS else _polled(profile))


def server_of(profile: Profile, transport: str, like: str | None) -> str:
    """The profile's name of the server to compute with; ValueError names those that it knows."""
    if like is None:
        return HOLDS[transport]
    if transport not in STREAMS:
        raise ValueError(
            f'like="…" chooses among servers that push; {transport!r} has one, {HOLDS[transport]}'
        )
    if like not in (known := {*profile.bytes_per_idle_connection, HOLDS[transport]}):
        raise ValueError(f"like must be one of {', '.join(map(repr, sorted(known)))}, got {like!r}")
    return like


def _memory(profile: Profile, server: str, transport: str) -> dict[str, Known]:
    base = profile.bytes_of_empty_process.get(server)
    found = {
        "base": _told(
            base, f"{server} before its first connection", BASE_BYTES, "the gateway on the course's machine"
        )
    }
    idle = profile.bytes_per_idle_connection.get(server)
    parked, slab = profile.bytes_per_parked_request_process, profile.bytes_per_parked_request_kernel
    # Half: that figure is the slab of the whole machine, which holds both ends of the connection.
    kernel = idle.kernel if idle is not None else None if slab is None else slab / 2
    found["kernel"] = _told(
        kernel, "the server's end of a connection", KERNEL_BYTES, "Centrifugo's figure, rounded up"
    )
    if transport in STREAMS:
        words = "the gateway on the course's machine"
        found["process"] = _told(
            idle.process if idle is not None else None,
            f"an idle connection of {server}",
            PROCESS_BYTES,
            words,
        )
    else:
        told = "a parked request" + ("" if transport == "long polling" else ", for want of an idle one")
        found["process"] = _told(parked, told, PARKED_BYTES, "a parked request on the course's machine")
    return found


def _pushed(profile: Profile, server: str, transport: str) -> dict[str, Known]:
    """What a push and a ping cost where the server speaks first."""
    push_us, ping_us = profile.cpu_us_per_push.get(server), profile.cpu_us_per_ping.get(server)
    words = "87 ms for 10 000 listeners on the course's machine"
    push = _told(push_us and push_us / 1e6, f"a push by {server}", PUSH_S, words)
    ping = Known(push.value, "assumed: a ping costs what a push costs")
    if ping_us is not None and transport == "websocket":
        ping = Known(ping_us / 2e6, f"profile: half of a ping with its pong, by {server}")
    carried = profile.bytes_per_push.get(server)
    if carried is not None:
        source = "profile: around a message of 100 bytes; assumed: 62 B TCP/IP and TLS 1.3"
        overhead = Known(max(carried - MESSAGE_BYTES, 0.0) + PACKET, source)
    else:
        source = f"assumed: {FRAMING[transport]:.0f} B framing, 62 B TCP/IP and TLS 1.3"
        overhead = Known(FRAMING[transport] + PACKET, source)
    return {"push": push, "ping": ping, "overhead": overhead}


def _polled(profile: Profile) -> dict[str, Known]:
    """What a poll costs."""
    exchange, poll_us = profile.empty_poll_bytes, profile.cpu_us_per_poll
    if poll_us is not None:
        poll = Known(poll_us / 1e6, "profile: an empty poll")
    else:
        poll = Known(1.0 / profile.polls_per_s, "profile: polls answered by one process")
    return {
        "poll": poll,
        "overhead": Known(
            exchange.down + PACKET, "profile: an empty answer; assumed: 62 B TCP/IP and TLS 1.3"
        ),
        "request": Known(exchange.up + PACKET, "profile: a browser's poll; assumed: 62 B TCP/IP and TLS 1.3"),
    }


def _told(value: float | None, what: str, stand_in: float, words: str) -> Known:
    """The profile's figure, or the stand-in where it tells none."""
    return Known(stand_in, f"assumed: {words}") if value is None else Known(float(value), f"profile: {what}")
