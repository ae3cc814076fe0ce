"""One feed for all its readers, and a choice of what becomes of a reader who does not keep up.

client -> server   WS /feed; what the client says is read and thrown away
server -> client   --rate messages a second, each of --size bytes, text (JSON), and first of all a snapshot:

    {"n": 17, "made_s": 4711.25, "kind": "message", "pad": "xxx…"}     made_s: time.perf_counter()

                   every --beat seconds a ping that says when it was made, as 8 bytes (a double, big-endian)

Between the source and a reader lie a queue of the process, and the two sockets. Where --buffer messages wait
in the queue already, --policy decides about the next one:

    none           no queue, no question: write and go on, as broadcast() and write() without drain() do.
                   What the sockets do not take piles up in this process, without a bound
    wait           the source waits, and with it everybody: one slow reader sets the pace of all
    drop newest    this message is not for this reader
    drop oldest    the one that has waited longest goes
    keep latest    the same with room for one
    disconnect     the reader is cut off (4408); back again, it begins with a snapshot

A ping overtakes the queue, but not what the sockets hold. With "none" that is all there is. With --seconds
the source ends so long after its first reader came; who has been given all is sent away with 1000. GET /stats
-> {"made", "sent", "dropped", "queued", "queued_bytes": what waits in this process, "slow", "readers", "pid"}

Run it   python -m servers.feed --policy "drop oldest" --rate 10 --size 200
Try it   python -m websockets ws://127.0.0.1:8012/feed        (with --port 8012)
"""

import argparse
import asyncio
import json
import math
import os
import struct
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field

from websockets.asyncio.server import broadcast
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from servers.core import websocket
from servers.core.event_stream import seconds, whole
from servers.core.frames import PING, encode_frame
from servers.core.websocket import Door
from servers.core.websocket_connection import SEND_BUFFER, SLOW_READER, Connection, reply

POLICIES = ("none", "wait", "drop newest", "drop oldest", "keep latest", "disconnect")
RATE, SIZE = 10.0, 1_000  # messages a second, bytes of each
MOST_PER_S, LEAST_BYTES, MOST_BYTES = 10_000, 100, 1 << 20
BUFFER = 100  # messages in a reader's queue
MOST_AHEAD = 256 << 20  # bytes that "none" piles up for one reader: a lesson must not eat the machine
DONE = 1000  # close code


@dataclass(eq=False)
class Reader:
    """One reader: its connection, and its queue."""

    connection: Connection
    policy: str
    most: int
    waiting: deque[str] = field(default_factory=deque)
    sent: int = 0
    dropped: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def give(self, message: str) -> bool:
        """Take a message in, or let the policy decide. False: this reader has to go. Never waits."""
        if self.policy == "none":
            broadcast([self.connection], message, raise_exceptions=False)
            self.sent += 1
            return self.connection.behind <= MOST_AHEAD
        if len(self.waiting) >= self.most:
            if self.policy == "disconnect":
                return False
            self.dropped += 1
            if self.policy == "drop newest":
                return True
            self.waiting.popleft()
        self.waiting.append(message)
        self.changed.set()
        return True

    async def room(self) -> None:
        """Wait until one more fits in, or the reader is gone: what only the policy "wait" asks for."""
        while len(self.waiting) >= self.most:
            self.changed.clear()
            await self.changed.wait()

    async def pass_on(self) -> None:
        """Write what waits, one message at a time: push() comes back when the kernel has taken it."""
        with suppress(ConnectionClosed):
            while True:
                while not self.waiting:
                    self.changed.clear()
                    await self.changed.wait()
                self.sent += 1
                message = self.waiting.popleft()
                self.changed.set()
                await self.connection.push(message)

    def leave(self) -> None:
        """Nothing more is for this reader, and nobody waits for it."""
        self.waiting.clear()
        self.changed.set()


class Feed(Door):
    """The source, and all who read."""

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__(options, {"/feed": self.feed}, {"/stats": self.stats})
        self.shared.send_buffer = options.send_buffer
        self.shared.most_behind = 2 * MOST_AHEAD
        self.readers: dict[Reader, None] = {}
        self.made = self.sent = self.dropped = 0  # sent, dropped: of those who have left
        self.first = asyncio.Event()
        self.over = False

    async def feed(self, connection: Connection) -> None:
        """One reader, from its snapshot to its end."""
        options = self.options
        most = 1 if options.policy == "keep latest" else options.buffer
        # push() comes back when the kernel has taken all of a message, and not when asyncio has.
        connection.transport.set_write_buffer_limits(high=0)
        reader = Reader(connection, options.policy, most)
        self.readers[reader] = None
        reader.give(self.message("snapshot"))
        self.first.set()
        tasks = [asyncio.create_task(reader.pass_on()), asyncio.create_task(self.beat(connection))]
        try:
            if self.over:
                connection.cut(DONE, "the feed is over")
            with suppress(ConnectionClosed):
                while True:  # nobody listens, but pongs and the close come in only while someone reads
                    await connection.receive()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            self.forget(reader)

    def forget(self, reader: Reader) -> None:
        if reader in self.readers:
            del self.readers[reader]
            self.sent += reader.sent
            self.dropped += reader.dropped
            reader.leave()

    def message(self, kind: str = "message") -> str:
        head = json.dumps({"n": self.made, "made_s": time.perf_counter(), "kind": kind, "pad": ""})
        return f"{head[:-2]}{'x' * (self.options.size - len(head))}{head[-2:]}"

    async def beat(self, connection: Connection) -> None:
        while True:
            await asyncio.sleep(self.options.beat)
            self.ping(connection)

    def ping(self, connection: Connection) -> None:
        """Ping past the queue. The library's own pings do not say when they were made."""
        connection.transport.write(encode_frame(PING, struct.pack(">d", time.perf_counter())))

    async def publish(self) -> None:
        """Make a message, and give it to everybody; only the policy "wait" makes this wait."""
        self.made += 1
        message = self.message()
        if self.options.policy == "wait":
            for reader in list(self.readers):
                await reader.room()
        for reader in list(self.readers):
            if not reader.give(message):
                self.forget(reader)
                reader.connection.cut(SLOW_READER)

    async def produce(self) -> None:
        """Publish at a steady pace, from the first reader on, and make up for pauses up to a second."""
        loop, options = asyncio.get_running_loop(), self.options
        await self.first.wait()
        due, end = loop.time(), loop.time() + (options.seconds or math.inf)
        while (due := max(due + 1 / options.rate, loop.time() - 1)) < end:
            await asyncio.sleep(due - loop.time())
            await self.publish()
            if options.policy == "wait":
                due = max(due, loop.time())  # what was not made while the source waited is never made
        await self.finish()

    async def finish(self) -> None:
        """Send away whoever has been given all."""
        self.over = True
        for reader in list(self.readers):
            while reader.waiting:
                reader.changed.clear()
                await reader.changed.wait()
            reader.connection.cut(DONE, "the feed is over")

    def stats(self, request: Request) -> Response:
        readers = list(self.readers)
        queued_bytes = sum(reader.connection.behind + sum(map(len, reader.waiting)) for reader in readers)
        return reply(
            {
                "made": self.made,
                "sent": self.sent + sum(reader.sent for reader in readers),
                "dropped": self.dropped + sum(reader.dropped for reader in readers),
                "queued": sum(len(reader.waiting) for reader in readers),
                "queued_bytes": queued_bytes,
                "slow": self.counters.slow,
                "readers": len(readers),
                "pid": os.getpid(),
            }
        )


def arguments() -> argparse.ArgumentParser:
    parser = websocket.arguments(__doc__)
    add = parser.add_argument
    add("--policy", choices=POLICIES, default="disconnect", help="for who is too slow (%(default)s)")
    add("--buffer", type=whole(1, 1_000_000), default=BUFFER, help="messages that may wait (%(default)s)")
    add("--rate", type=_rate, default=RATE, help="messages a second (%(default)g)")
    add("--size", type=whole(LEAST_BYTES, MOST_BYTES), default=SIZE, help="bytes of each (%(default)s)")
    add("--seconds", type=seconds, help="how long the source goes on (for ever)")
    add("--beat", type=seconds, default=20.0, help="seconds between pings (%(default)g)")
    kernel = "bytes asked for in the kernel (%(default)s); 0: leave it alone"
    add("--send-buffer", type=whole(0, 1 << 30), default=SEND_BUFFER, help=kernel)
    return parser


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if 0.1 <= value <= MOST_PER_S:
        return value
    raise argparse.ArgumentTypeError(f"expected 0.1 to {MOST_PER_S} a second, got {text!r}")


def main() -> None:
    options = arguments().parse_args()
    feed = Feed(options)
    websocket.run(feed, options, beside=feed.produce)


if __name__ == "__main__":
    main()
