"""Exhibit 4: everybody waits for the slowest, in a line that looks like good manners."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from labsupport.zoo.frame import Exhibit, Promise, variant
from labsupport.zoo.loopback import HOST, listening, soon, until
from labsupport.zoo.pictures import BAD, GOOD, OTHER, lanes_figure, mark
from labsupport.zoo.specimens import broadcast

MESSAGES, SIZE = 60, 16 * 1024  # bytes each
FAST = ("Ana", "Ben")
PAUSE = {"Cleo": (10, 20), "Dan": (5, 45)}  # reads nothing while these are published
RECEIVE_BUFFER = 16 * 1024  # bytes, of each reader
PATIENCE_S = 0.6  # seconds for a message to reach the fast readers; it needs a millisecond
REST_S = 0.3  # seconds for what is still under way at the end


@dataclass(frozen=True)
class Seen:
    """Numbers of the messages that each reader got, in order. `stalled`: the first that nobody got."""

    got: dict[str, list[int]]
    left: dict[str, int]  # whose connection was ended by the server, and at which message
    stalled: int | None
    waiting_bytes: int  # most that waited for one reader


class Reader:
    """One client, which can be told to pause."""

    def __init__(self, news: asyncio.Event) -> None:
        self.got: list[int] = []
        self.ended = False
        self.port = 0
        self.may_read = asyncio.Event()
        self.may_read.set()
        self._news = news

    async def run(self, port: int, joined: asyncio.Event) -> None:
        """Read whole messages until the connection ends."""
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (HOST, port))
        self.port = sock.getsockname()[1]
        reader, writer = await asyncio.open_connection(sock=sock, limit=SIZE)
        joined.set()
        try:
            while True:
                await self.may_read.wait()
                self.got.append(int((await reader.readexactly(SIZE))[:6]))
                self._news.set()
        except (ConnectionError, EOFError):
            self.ended = True
            self._news.set()
        finally:
            writer.close()


async def scene(code: Any) -> Seen:
    """Sixty messages to two fast readers, one with a short pause and one with a long one."""
    feed, news = code.Feed(), asyncio.Event()
    readers = {name: Reader(news) for name in (*FAST, *PAUSE)}
    stalled, waiting, left = None, 0, dict[str, int]()
    async with listening(feed.join) as port:
        tasks = []
        for reader in readers.values():
            joined = asyncio.Event()
            tasks.append(asyncio.ensure_future(reader.run(port, joined)))
            await joined.wait()
        await soon(lambda: len(feed.writers) == len(readers))
        try:
            for number in range(MESSAGES):
                for name, (first, last) in PAUSE.items():
                    if number == first:
                        readers[name].may_read.clear()
                    if number == last:
                        readers[name].may_read.set()
                if not await _sent(feed, number, readers, news):
                    stalled = number
                    break
                there = {writer.get_extra_info("peername")[1] for writer in feed.writers}
                for name in [name for name, reader in readers.items() if reader.port not in there]:
                    left.setdefault(name, number)
                sizes = [writer.transport.get_write_buffer_size() for writer in feed.writers]
                waiting = max([waiting, *sizes])
            await until(lambda: _same(readers), news, REST_S)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    for name in [name for name, reader in readers.items() if reader.ended]:
        left.setdefault(name, len(readers[name].got))
    return Seen({name: reader.got for name, reader in readers.items()}, left, stalled, waiting)


async def _sent(feed: Any, number: int, readers: dict[str, Reader], news: asyncio.Event) -> bool:
    """Publish a message, and see whether the fast readers get it."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            await feed.publish(b"%06d" % number + bytes(SIZE - 6))
    except TimeoutError:
        return False
    return await until(lambda: all(readers[name].got[-1:] == [number] for name in FAST), news, PATIENCE_S)


def _same(readers: dict[str, Reader]) -> bool:
    most = len(readers[FAST[0]].got)
    return all(
        reader.ended or not reader.may_read.is_set() or len(reader.got) >= most
        for name, reader in readers.items()
    )


def _all_wait(seen: Seen) -> str:
    if seen.stalled is None:
        return ""
    return "Ana and Ben read all the time, and get nothing more while Dan pauses"


def _order(seen: Seen) -> str:
    bad = [name for name in FAST if seen.got[name] != list(range(len(seen.got[name])))]
    return f"messages come twice, out of order or not at all ({' and '.join(bad)})" if bad else ""


def _short_pause(seen: Seen) -> str:
    at_the_stall = 1  # the message that stands still may have reached some
    ended = "Cleo" in seen.left
    behind = len(seen.got["Cleo"]) < len(seen.got["Ana"]) - at_the_stall
    return "Cleo paused for ten messages only, and did not get them all" if ended or behind else ""


def _holes(seen: Seen) -> str:
    got = seen.got["Dan"]
    hole = next((n for n, number in enumerate(got) if number != n), None)
    return (
        ""
        if hole is None
        else f"Dan got message {got[hole]} after {got[hole - 1]}: a hole that nobody tells him"
    )


def _memory(seen: Seen) -> str:
    most = broadcast.MOST_BYTES + SIZE
    return (
        ""
        if seen.waiting_bytes <= most
        else f"more than {most // 1024} KiB wait for one reader, and it grows"
    )


def picture(before: Seen, after: Seen | None) -> tuple[Figure, str]:
    """What each reader got, by the message's number."""
    title = "One reader pauses, and nobody gets anything any more"
    said = f"As found, {_all_wait(before) or 'all get everything'}."
    if after is not None:
        fine = after.stalled is None
        title = (
            "With the fix, the readers that read get everything"
            if fine
            else "The readers that read still wait"
        )
        said += " With your fix, they get all messages." if fine else " They still do."
    look = {
        "got it": mark("o", GOOD, 3.5),
        "pauses": mark("|", OTHER, 6),
        "connection ended": mark("X", BAD, 9),
    }
    fig = lanes_figure(
        title, _lanes(before), None if after is None else _lanes(after), look, x="message (number)"
    )
    for ax in fig.axes:
        ax.set_xlim(-1, MESSAGES)
    return fig, said


def _lanes(seen: Seen) -> dict[str, list[tuple[float, str]]]:
    lanes = {}
    for name, got in seen.got.items():
        first, last = PAUSE.get(name, (0, 0))
        lanes[name] = [(float(number), "got it") for number in got]
        published = MESSAGES if seen.stalled is None else seen.stalled + 1
        until_number = min(last, published, seen.left.get(name, MESSAGES))
        lanes[name] += [(float(number), "pauses") for number in range(first, until_number)]
        if name in seen.left:
            lanes[name].append((float(seen.left[name]), "connection ended"))
    return lanes


async def reference(writers: Any, message: bytes, most_bytes: int) -> None:
    """Wait for nobody; who has too much waiting is let go, and comes back by itself."""
    for writer in list(writers):
        if writer.transport.get_write_buffer_size() > most_bytes:
            writers.discard(writer)
            writer.transport.abort()
        else:
            writer.write(message)


async def _without_waiting(writers: Any, message: bytes, most_bytes: int) -> None:
    for writer in list(writers):
        writer.write(message)


async def _skipping(writers: Any, message: bytes, most_bytes: int) -> None:
    for writer in list(writers):
        if writer.transport.get_write_buffer_size() <= most_bytes:
            writer.write(message)


async def _no_patience(writers: Any, message: bytes, most_bytes: int) -> None:
    await reference(writers, message, 0)


EXHIBIT = Exhibit(
    number=4,
    title="The feed that stood still",
    story=(
        "A feed stops for all of its readers at once, for minutes, and then goes on as if nothing had been. "
        "Server and network are idle meanwhile. It began on the day when the first phone subscribed."
    ),
    specimen=broadcast,
    part="broadcast",
    scene=scene,
    promises=(
        Promise("nobody waits for others", _all_wait, symptom=True),
        Promise("order", _order),
        Promise("a short pause is forgiven", _short_pause),
        Promise("no holes", _holes),
        Promise("bounded memory", _memory),
    ),
    reference=reference,
    variants=(
        variant("written without a bound", _without_waiting, {"bounded memory"},
                "now the server remembers everything for whoever does not read, until its memory is gone."),
        variant("messages skipped", _skipping, {"no holes"},
                "a reader that lost messages must learn it: by the end of its connection, for example."),
        variant("no patience", _no_patience, {"a short pause is forgiven"},
                "a phone that changes its cell is behind for a moment; most_bytes says how far it may be."),
    ),
    picture=picture,
)  # fmt: skip
