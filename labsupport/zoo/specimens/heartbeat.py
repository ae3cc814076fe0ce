"""Heartbeats of a chat client: one every INTERVAL_S, and the gateway acknowledges each.

client -> gateway   beat
gateway -> client   ack

When the gateway falls silent, the link is dead, and the client connects again.
"""

from __future__ import annotations

from dataclasses import dataclass

INTERVAL_S = 10.0  # seconds between two beats; the gateway's hello asks for it


@dataclass
class Link:
    """What the client knows of its connection."""

    acked: bool = True  # the gateway is alive
    sent: int = 0  # beats


def on_ack(link: Link) -> None:
    """The gateway has acknowledged a beat."""
    link.acked = True


def on_tick(link: Link) -> str:
    """Every INTERVAL_S: "beat" to send a heartbeat, or "reconnect" because the link is dead."""
    if not link.acked:
        return "reconnect"
    link.sent += 1
    return "beat"
