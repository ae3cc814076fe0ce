"""The same messages over every transport: what each costs on the wire and in the server, and how late it is.

    run = await carry("SSE", server, box, arrivals_s=…, seconds=10)
    print(run.requests_per_message, run.bytes_up_per_message, run.delay_ms(50))

Readers come through a middlebox, which counts their bytes; whoever writes goes to the server directly. Each
reader has a channel (in the chat a room) of its own, so that its luck is its own too. Everything else is
equal: the texts, the moments, the lab's clients, and one clock for both ends, since both are in this process.

Open loop: a message is due at its time, whatever became of the ones before, and its delay is counted from
there. A client that is late must not make the server look quick ("coordinated omission").
"""

import asyncio
import itertools
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from websockets.exceptions import ConnectionClosed

from labsupport.clients import (
    Client,
    Delivery,
    DeliveryChecker,
    LongPollingClient,
    Report,
    ShortPollingClient,
    SseClient,
    WebSocketClient,
    connect,
)
from labsupport.clients.websocket_link import chat_url
from labsupport.measure.load import parked_at
from labsupport.measure.sockets import Clock, LoadError, Target
from labsupport.processes import Middlebox, Server
from labsupport.wire.captures import Capture

SERVERS = {
    "short polling": "short_polling",
    "long polling": "long_polling",
    "SSE": "sse",
    "WebSocket": "websocket_chat",
}
MESSAGE_BYTES = 100
LATEST_S = 20.0  # seconds after the last message for all to arrive
OPEN_S = 20.0  # seconds for all readers to come in
QUIET_S = 60.0  # seconds until a client doubts its link: longer than any run, so that no ping is counted
Times: TypeAlias = NDArray[np.float64]
_runs = itertools.count()


@dataclass(frozen=True, kw_only=True, eq=False)
class TransportRun:
    """What one transport did with the messages. Bytes are those of TCP's payload, without TCP, IP and TLS.

    requests            HTTP requests (opened connections where one lasts) while messages came
    bytes_up, _down     on the wire meanwhile, all readers together
    opening_up, _down   before, for coming in and for one message each that is not counted
    delays_s            from the moment a message was due to its arrival, one element each
    cpu_s               seconds of processor time of the server, None where the system does not tell
    report              of the delivery checker
    """

    transport: str
    readers: int
    messages: int
    requests: int
    bytes_up: int
    bytes_down: int
    opening_up: int
    opening_down: int
    delays_s: Times
    cpu_s: float | None
    report: Report

    @property
    def requests_per_message(self) -> float:
        return self.requests / self.messages

    @property
    def bytes_up_per_message(self) -> float:
        return self.bytes_up / self.messages

    @property
    def bytes_down_per_message(self) -> float:
        return self.bytes_down / self.messages

    @property
    def cpu_ms_per_message(self) -> float | None:
        return None if self.cpu_s is None else 1000 * self.cpu_s / self.messages

    def delay_ms(self, percent: float) -> float:
        """So many per cent of the messages took at most these milliseconds: 50 for the median."""
        return 1000 * float(np.percentile(self.delays_s, percent))


def arrivals(readers: int, rate_per_s: float, seconds: float, seed: int) -> list[Times]:
    """For each reader the times (s) of its messages: Poisson, `rate_per_s` each, within `seconds`."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(rate_per_s * seconds, readers)
    return [np.sort(rng.uniform(0, seconds, count)) for count in counts]


def text(number: int) -> str:
    """Message `number`: 100 bytes of a kind that people write, the number in front."""
    words = f"{number:06d} It is raining here, and the tea is hot. Shall we meet at the usual place at five? "
    return words.ljust(MESSAGE_BYTES, "x")[:MESSAGE_BYTES]


def client(
    transport: str, place: Server, channel: str, *, interval_s: float = 1.0, seed: int = 0, **more: Any
) -> Client:
    """The lab's client for a transport, on a channel or in a room. `place` is a server or a box before it."""
    match transport:
        case "short polling":
            return ShortPollingClient(
                place, interval_s=interval_s, channel=channel, seed=seed, clock=Clock, **more
            )
        case "long polling":
            return LongPollingClient(place, channel=channel, seed=seed, clock=Clock, **more)
        case "SSE":
            return SseClient(
                place, channel=channel, seed=seed, clock=Clock, **{"dead_after_s": QUIET_S, **more}
            )
        case "WebSocket":
            more.pop("headers", None)  # of requests; here they would go out only once, with the handshake
            return WebSocketClient(
                place, room=channel, seed=seed, clock=Clock, **{"dead_after_s": QUIET_S, **more}
            )
    raise ValueError(f"expected a transport of {', '.join(SERVERS)}, got {transport!r}")


async def carry(
    transport: str,
    server: Server,
    box: Middlebox,
    *,
    arrivals_s: Sequence[Times],
    seconds: float,
    interval_s: float = 1.0,
    headers: Mapping[str, str] | None = None,
    seed: int = 0,
) -> TransportRun:
    """Carry message k of reader r at `arrivals_s[r][k]` seconds, for so many seconds, and count.

    interval_s   of short polling, give or take a fifth
    headers      that a browser would add to each request
    Raises LoadError when not all arrive; what a cut does is `through_a_cut`'s question.
    """
    run = next(_runs)
    pairs = [
        _Pair(transport, server, box, f"{run:03d}-{reader:03d}", interval_s, headers, seed + reader)
        for reader in range(len(arrivals_s))
    ]
    async with asyncio.timeout(OPEN_S + seconds + LATEST_S):
        try:
            await asyncio.gather(*(pair.open() for pair in pairs))
            if transport == "long polling":  # else its first questions would count or not, as luck has it
                await _all_parked(server, len(pairs))
            before = await _count(server, box, pairs)
            await _all_carried(pairs, arrivals_s, seconds)
            after = await _count(server, box, pairs)
        finally:
            await asyncio.gather(*(pair.close() for pair in pairs))
    return TransportRun(
        transport=transport,
        readers=len(pairs),
        messages=sum(map(len, arrivals_s)),
        requests=after.requests - before.requests,
        bytes_up=after.bytes_up - before.bytes_up,
        bytes_down=after.bytes_down - before.bytes_down,
        opening_up=before.bytes_up,
        opening_down=before.bytes_down,
        delays_s=np.concatenate([pair.delays_s for pair in pairs]),
        cpu_s=None if before.cpu_s is None or after.cpu_s is None else after.cpu_s - before.cpu_s,
        report=_report({pair.channel: pair for pair in pairs}),
    )


class _Count(NamedTuple):
    requests: int
    bytes_up: int
    bytes_down: int
    cpu_s: float | None


async def _count(server: Server, box: Middlebox, pairs: "Sequence[_Pair]") -> _Count:
    """What the readers have asked, the box has seen and the server has worked so far."""
    requests, cpu_s = sum(pair.reader.stats.requests for pair in pairs), process_cpu_s(server.pid)
    capture = Capture.from_recording(await asyncio.to_thread(box.recording))
    if capture.truncated:
        raise LoadError("the middlebox' recording is full: fewer readers, or a shorter run")
    return _Count(requests, capture.bytes_up, capture.bytes_down, cpu_s)


async def _all_carried(pairs: "Sequence[_Pair]", arrivals_s: Sequence[Times], seconds: float) -> None:
    """Until every message has arrived and the time is over."""
    start = Clock()
    work = [asyncio.create_task(p.carry(start, times)) for p, times in zip(pairs, arrivals_s, strict=True)]
    try:
        await asyncio.gather(asyncio.sleep(seconds), *work)
    finally:
        for task in work:
            task.cancel()


class _Pair:
    """One who writes and one who reads, on a channel of their own."""

    def __init__(
        self, transport: str, server: Server, box: Middlebox, channel: str, interval_s: float,
        headers: Mapping[str, str] | None, seed: int,
    ) -> None:  # fmt: skip
        self.channel = channel
        more: dict[str, Any] = {"headers": headers}
        self.reader = client(transport, box, channel, interval_s=interval_s, seed=seed, **more)
        self.writer = _writer(transport, server, channel)
        self.sent: list[int] = []
        self.got: list[int] = []
        self.arrived: list[float] = []
        self.delays_s: Times = np.empty(0)
        self._reading: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Bring both in, and let one message through, so that the reader surely listens."""
        await asyncio.gather(self.reader.__aenter__(), self.writer.__aenter__())
        if isinstance(self.reader, WebSocketClient):
            await self.reader.ready()
        await self.writer.send(text(0))
        await self.reader.take(1, within_s=OPEN_S)
        self._reading = asyncio.create_task(self._read())

    async def carry(self, start: float, due_s: Times) -> None:
        for number, due in enumerate(due_s, 1):
            await self._read_until(start + due)
            self.sent.append(number)
            await self.writer.send(text(number))
        while len(self.arrived) < len(due_s):
            await self._read_until(Clock() + 0.01)
        self.delays_s = np.array(self.arrived) - start - due_s

    async def _read_until(self, at: float) -> None:
        """Wait; an end of the reader's before that time is an error, and raised at once."""
        assert self._reading is not None
        await asyncio.wait([self._reading], timeout=max(0.0, at - Clock()))
        if self._reading.done():
            self._reading.result()
            raise LoadError("the reader was closed in the middle of its run")

    async def _read(self) -> None:
        """Note what comes and when. Goes on behind the last one: nobody knows that it was the last."""
        async for item in self.reader:
            if not isinstance(item, Delivery):
                raise LoadError(f"the server has lost messages: {item.detail}")
            self.got.append(number_of(item))
            self.arrived.append(item.received_at_s)

    async def close(self) -> None:
        await asyncio.gather(self.reader.close(), self.writer.close())
        if self._reading is not None:
            await asyncio.wait([self._reading])


def number_of(item: Delivery) -> int:
    """The number in the text of a delivery, whatever the transport wraps around it."""
    data = item.message.data
    return int(str(data["text"] if isinstance(data, dict) else data)[:6])


async def _all_parked(server: Server, count: int) -> None:
    target = Target.of(server.url)
    while (await asyncio.to_thread(parked_at, target) or 0) < count:  # noqa: ASYNC110 (only the server knows)
        await asyncio.sleep(0.01)


def _report(pairs: Mapping[str, _Pair]) -> Report:
    checker = DeliveryChecker()
    for channel, pair in pairs.items():
        checker.follower(channel, channel)
        for sent in pair.sent:
            checker.published(sent, channel)
        for got in pair.got:
            checker.received(channel, got)
    return checker.report()


@dataclass(frozen=True, slots=True)
class CutRun:
    """What a cut did to one reader: `back` says whether it came back by itself."""

    transport: str
    back: bool
    report: Report


async def through_a_cut(
    transport: str, server: Server, box: Middlebox, *, each: int = 5, faster: float = 20.0, seed: int = 0
) -> CutRun:
    """`each` messages, then a reset and no way back while as many are written, then the way is free again.

    The reader is the lab's client, but that it waits `faster` times shorter than it should; or, as "bare
    WebSocket", a connection as the library gives it, and nothing more.
    """
    channel, checker = f"cut-{next(_runs):03d}", DeliveryChecker()
    checker.follower("reader")
    if transport == "bare WebSocket":
        name, take = "WebSocket", _bare(box, channel, checker)
    else:
        name = transport
        hasty: dict[str, Any] = {"sleep": lambda seconds: asyncio.sleep(seconds / faster)}
        take = _take(client(name, box, channel, seed=seed, **hasty), checker, 3 * each)
    reading = asyncio.create_task(take)
    try:
        async with asyncio.timeout(LATEST_S), _writer(name, server, channel) as writer:
            for number in range(3 * each):
                if number == each:
                    await _until(reading, lambda: checker.report().followers["reader"].received == each)
                    await asyncio.to_thread(box.set, refuse=True)
                    await asyncio.to_thread(box.reset)
                if number == 2 * each:
                    await asyncio.to_thread(box.set, refuse=None)
                checker.published(number)
                await writer.send(text(number))
            await asyncio.wait([reading])
    finally:
        reading.cancel()
        await asyncio.to_thread(box.set, refuse=None)
    return CutRun(transport, reading.result(), checker.report())


async def _take(reader: Client, checker: DeliveryChecker, count: int) -> bool:
    async with reader:
        for _ in range(count):
            item = await anext(reader)
            checker.received("reader", number_of(item) if isinstance(item, Delivery) else item)
    return True


async def _bare(box: Middlebox, channel: str, checker: DeliveryChecker) -> bool:
    """Read a connection to its end, as the shortest example of every tutorial does."""
    async with connect(chat_url(box)) as link:
        await link.send(json.dumps({"type": "join", "room": channel, "user": "reader"}))
        with suppress(ConnectionClosed):
            while True:
                message = json.loads(await link.recv())
                if message["type"] == "message":
                    checker.received("reader", int(message["text"][:6]))
    return False


def _writer(transport: str, server: Server, channel: str) -> Client:
    """Who writes for readers of this transport, from a connection of its own."""
    if transport == "WebSocket":
        return client(transport, server, channel, user="writer", rate=None)
    return client("long polling", server, channel)  # only ever sends


async def _until(running: "asyncio.Task[bool]", true: Callable[[], bool]) -> None:
    """Until something is so that has no event of its own, or the task that should make it so has ended."""
    while not true() and not running.done():  # noqa: ASYNC110
        await asyncio.sleep(0.005)


def process_cpu_s(pid: int) -> float | None:
    """Processor time that a process has used, in seconds; None where there is no /proc.

    From schedstat, which counts nanoseconds; /proc/PID/stat counts hundredths of a second.
    """
    if sys.platform != "linux":
        return None
    try:
        tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
        return sum(int(task.read_text(encoding="ascii").split()[0]) for task in tasks) / 1e9
    except (OSError, ValueError, IndexError):  # a kernel without schedstats
        return None


__all__ = [
    "SERVERS", "CutRun", "TransportRun", "arrivals", "carry", "client", "process_cpu_s", "text",
    "through_a_cut",
]  # fmt: skip
