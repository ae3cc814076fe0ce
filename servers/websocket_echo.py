"""Echo over WebSocket: the smallest server that keeps a connection open.

client -> server   any message, text or binary, at most --max-bytes (1 MiB); any path will do
server -> client   the same message, of the same kind, in the same order

A longer message closes the connection with 1009, a ping that stays unanswered with 1011. The next message is
read only when the echo of the last one is written, so whoever sends and does not read is made to wait by TCP.
Compression is off: an idle connection would take 49 kB instead of 15. --compression turns it on.

--accepts-per-s 400 --accept-queue 100 lets 400 a second in; whoever finds 100 waiting gets a 503.

Who may connect, and how a connection ends: core/websocket.py and core/websocket_connection.py.
GET /stats -> {"connections": open now, "messages": and "bytes" received so far, "pid": ...}

Run it   python -m servers.websocket_echo --port 8765
Try it   python -m websockets ws://127.0.0.1:8765          and type; Ctrl-D ends it
         curl http://127.0.0.1:8765/stats
"""

import argparse
import os

from websockets.http11 import Request, Response

from servers.core import websocket
from servers.core.websocket import Door
from servers.core.websocket_connection import Connection, reply


async def echo(connection: Connection) -> None:
    """Send each message back until the client leaves: receive() raises ConnectionClosed then."""
    while True:
        await connection.push(await connection.receive())


def arguments() -> argparse.ArgumentParser:
    parser = websocket.arguments(__doc__)
    parser.add_argument(
        "--compression", action="store_true", help="offer permessage-deflate: less to send, more to hold"
    )
    return parser


def door(options: argparse.Namespace) -> Door:
    def stats(request: Request) -> Response:
        counters = this.counters
        numbers = {name: getattr(counters, name) for name in ("connections", "messages", "bytes")}
        return reply({**numbers, "pid": os.getpid()})

    compression = "deflate" if options.compression else None
    this = Door(options, sockets={"*": echo}, pages={"/stats": stats}, compression=compression)
    return this


def main() -> None:
    options = arguments().parse_args()
    websocket.run(door(options), options)


if __name__ == "__main__":
    main()
