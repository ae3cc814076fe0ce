"""One async client per transport, all with one face (base.py), and the checker that judges deliveries."""

from labsupport.clients.base import (
    Client,
    ClientError,
    Delivery,
    Gap,
    GaveUp,
    Item,
    MaybeSent,
    Message,
    NotSent,
    Refused,
    Stats,
)
from labsupport.clients.checker import DeliveryChecker, FollowerReport, Report
from labsupport.clients.long_polling import LongPollingClient
from labsupport.clients.short_polling import ShortPollingClient
from labsupport.clients.sse import PlainSseClient, SseClient
from labsupport.clients.websocket import WebSocketClient, connect, verdict

__all__ = [
    "Client",
    "ClientError",
    "Delivery",
    "DeliveryChecker",
    "FollowerReport",
    "Gap",
    "GaveUp",
    "Item",
    "LongPollingClient",
    "MaybeSent",
    "Message",
    "NotSent",
    "PlainSseClient",
    "Refused",
    "Report",
    "ShortPollingClient",
    "SseClient",
    "Stats",
    "WebSocketClient",
    "connect",
    "verdict",
]
