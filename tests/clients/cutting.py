"""A relay inside the test's loop that cuts each connection after so many bytes: hundreds of cuts a second."""

import asyncio
import random
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

FORGET_S = 0.005  # seconds between the first byte that is lost and the cut


@dataclass(frozen=True, slots=True)
class Cut:
    """After `after` bytes in one direction ("up" is to the server) the connection ends, in one of three ways.

    close    in order (FIN), both sides; half a frame may have come
    reset    RST: what the receiver has not read yet is lost as well
    forget   what follows in this direction vanishes, and a little later all is reset: the other direction
             has gone on meanwhile, so that a message has arrived and its confirmation has not
    """

    direction: str
    after: int
    how: str


def drawn(seed: str, most: int, reach: int) -> list[Cut]:
    """1 to `most` cuts, one for each of the first connections, after 1 to `reach` bytes."""
    draws = random.Random(seed)
    kinds = [(direction, how) for direction in ("up", "down") for how in ("close", "reset", "forget")]
    return [
        Cut(direction, draws.randint(1, reach), how)
        for direction, how in draws.choices(kinds, k=draws.randint(1, most))
    ]


class Relay:
    """`cuts` are for the first connections, in turn; the others live. `done` counts those that happened."""

    def __init__(self, port: int, cuts: list[Cut]) -> None:
        self.url = ""
        self.done = 0
        self._port = port
        self._cuts: Iterator[Cut] = iter(cuts)
        self._tasks: set[asyncio.Task[None]] = set()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A plain function, since start_server() would complain of each task that is cancelled at the end.
        task = asyncio.create_task(self._relay(reader, writer, next(self._cuts, None)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _relay(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cut: Cut | None
    ) -> None:
        try:
            there = await asyncio.open_connection("127.0.0.1", self._port)
        except BaseException:
            writer.transport.abort()
            raise
        pipe = Pipe(writer, there[1], cut, self)
        try:
            await asyncio.gather(pipe.pump(reader, there[1], "up"), pipe.pump(there[0], writer, "down"))
        finally:
            pipe.end("close")

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class Pipe:
    """One relayed connection."""

    def __init__(
        self, here: asyncio.StreamWriter, there: asyncio.StreamWriter, cut: Cut | None, relay: Relay
    ) -> None:
        self._both = (here, there)
        self._cut, self._relay = cut, relay
        self._timer: asyncio.TimerHandle | None = None
        self._ended = False

    async def pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: str) -> None:
        cut = self._cut if self._cut is not None and self._cut.direction == direction else None
        left = cut.after if cut is not None else 0
        try:
            while data := await reader.read(1 << 16):
                if cut is None:
                    writer.write(data)
                elif self._timer is None:
                    writer.write(data[:left])
                    left -= len(data)
                    if left <= 0:
                        self._relay.done += 1
                        if cut.how != "forget":
                            self.end(cut.how)
                            return
                        loop = asyncio.get_running_loop()
                        self._timer = loop.call_later(FORGET_S, self.end, "reset")
        except OSError:
            pass
        if self._timer is None:
            self.end("close")

    def end(self, how: str) -> None:
        if self._ended:
            return
        self._ended = True
        for writer in self._both:
            if how == "close":
                writer.close()
                continue
            sock = writer.get_extra_info("socket")
            if sock is not None and sock.fileno() >= 0:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


@asynccontextmanager
async def cutting(port: int, cuts: list[Cut]) -> AsyncIterator[Relay]:
    """A relay to this port of 127.0.0.1, with its `url`."""
    relay = Relay(port, cuts)
    server = await asyncio.start_server(relay.accept, "127.0.0.1", 0)
    relay.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield relay
    finally:
        server.close()
        await relay.stop()
