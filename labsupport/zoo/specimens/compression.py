"""Quotes over WebSocket: a client says which market it wants, and gets a snapshot, then changes now and then.

Messages are compressed by permessage-deflate (RFC 7692). Tens of thousands of clients are connected, and
most of them are silent most of the time.
"""

from __future__ import annotations

import contextlib
import json
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory

SYMBOLS = 60  # of a market


def deflate() -> dict[str, Any]:
    """How messages are compressed, for each connection; {} for not at all."""
    return {
        "server_no_context_takeover": False,
        "client_no_context_takeover": False,
        "server_max_window_bits": 15,
        "client_max_window_bits": 15,
        "compress_settings": {"level": 6, "memLevel": 9},
    }


def snapshot(market: str) -> str:
    """All quotes of a market, as JSON."""
    quotes = [
        {"symbol": f"{market}-{n:03d}", "bid": 100 + n * 0.37, "ask": 100 + n * 0.37 + 0.05}
        for n in range(SYMBOLS)
    ]
    return json.dumps({"market": market, "quotes": quotes})


async def handle(connection: ServerConnection) -> None:
    """One client."""
    with contextlib.suppress(ConnectionClosed):  # clients leave as they like
        async for market in connection:
            await connection.send(snapshot(str(market)))


async def start() -> Server:
    """A server on a free loopback port."""
    options = deflate()
    extensions = [ServerPerMessageDeflateFactory(**options)] if options else []
    return await serve(handle, "127.0.0.1", 0, compression=None, extensions=extensions)
