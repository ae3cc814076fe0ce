"""What others have published, to stand beside the profile's figures: in bytes, seconds and plain numbers.

Each says when, with what, and where it is told. They are not comparable one to one: other languages, other
machines, and some count what the whole machine used. That is the point of showing a range.
"""

from collections.abc import Callable
from dataclasses import dataclass

from labsupport.capacity.quantities import number, size_text, time_text


@dataclass(frozen=True)
class Published:
    """One published range of one figure. `low` and `high` are equal where one number was told."""

    figure: str  # the input's name in a plan: "process", "heartbeat" …
    who: str  # and when
    low: float
    high: float
    how: str  # what was counted
    where: str


PUBLISHED = (
    Published(
        "process", "Centrifugo 2026", 11e3, 27e3,
        "Go, 200 000 idle connections, tuned and before; about 4 KB in the kernel on top",
        "centrifugal.dev blog, 2026-08-17, Tuning idle connections",
    ),
    Published(
        "process", "websockets docs", 14 * 1024, 64 * 1024, "Python, without and with default compression",
        "websockets documentation, topics: memory, compression",
    ),
    Published(
        "process", "WhatsApp 2012", 24 * 1024, 44 * 1024,
        "Erlang on FreeBSD, 2 277 845 connections in 103 GB: active and wired memory, and all of it",
        "blog.whatsapp.com, 1 million is so 2011",
    ),
    Published(
        "process", "Phoenix 2015", 64e3, 64e3,
        "Elixir, 2 million WebSockets on a machine of 128 GB and 40 cores: at most, all memory divided",
        "phoenixframework.org, The road to 2 million WebSocket connections, 2015-11-03",
    ),
    Published(
        "kernel", "Centrifugo 2026", 4e3, 4e3, "a socket, on the server's side",
        "centrifugal.dev blog, 2026-08-17, Tuning idle connections",
    ),
    Published(
        "heartbeat", "Uber, Binance, Socket.IO, Phoenix, Discord", 4.0, 41.0,
        "4 s, 20 s, 25 s, 30 s and about 41 s between heartbeats", "their documentation and blogs",
    ),
    Published(
        "connections", "WhatsApp 2012, Phoenix 2015, Centrifugo 2026", 1e6, 2_277_845,
        "connections on one machine: 2 277 845, 2 million and 1 million", "as above",
    ),
)  # fmt: skip

_WRITTEN: dict[str, Callable[[float], str]] = {"heartbeat": time_text, "connections": number}


def beside(figure: str, family: str | None = None) -> str:
    """The published range of one figure in words, sizes in the plan's family; "" if nothing is known here."""
    found = [p for p in PUBLISHED if p.figure == figure]
    parts = []
    for p in found:
        write = _WRITTEN.get(figure) or (
            lambda value: size_text(value, "binary" if family == "binary" else None)
        )
        low, high = write(p.low), write(p.high)
        parts.append(f"{p.who}: {low if p.low == p.high else f'{low} to {high}'}")
    return "; ".join(parts)
