"""Readers who are slower than their messages, on real sockets: what becomes of them under each policy.

    runs = await slow_readers(200, 100, 50)          five servers, a slow reader each, 3 s, side by side
    print(runs["drop oldest"]); runs.rows()          delay, loss, memory, pings; units in the names
    stuck = await stopped_reader()                   nobody reads: what the kernel takes, and what it does not
    room = kernel_room()                             the same without a server: two bare sockets

The server is servers/feed.py, one process for each policy. The reader is a socket in a thread: it takes one
frame out of the kernel, is busy with it for 1/out_per_s, and only then takes the next. A ping is answered
when it is come to, as by a page whose only thread is busy.

For slow_readers() both kernel buffers are small and fixed, so that few messages lie between the processes:
`between` says how many, and is what models/slow_consumer calls its kernel. Left alone, Linux lets each grow
to some MB, as stopped_reader() shows. Times are of perf_counter(), one clock for all processes of a machine.
"""

import asyncio
import contextlib
import json
import socket
import struct
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from labsupport.measure.memory import process_bytes
from labsupport.measure.slow_readers_results import SlowReading, SlowReadings, StoppedReading
from labsupport.measure.sockets import Clock, LoadError, Target, ask, drop
from labsupport.measure.threads import Stopped, in_thread
from labsupport.processes import Server
from labsupport.wire.frames import Frame, Opcode, encode_frame

__all__ = ["POLICIES", "KernelRoom", "SlowReading", "SlowReadings", "StoppedReading", "kernel_room",
           "slow_reader", "slow_readers", "stopped_reader"]  # fmt: skip

POLICIES = ("wait", "drop newest", "drop oldest", "keep latest", "disconnect")
MESSAGE_BYTES = 8_192
SMALL = 16_384  # bytes asked for, for each of two buffers; Linux doubles it, for its own book-keeping
MAX_PER_S, MAX_SECONDS, MAX_BYTES = 5_000, 60.0, 256 << 20
MOST_READERS = 500  # who are stopped at a time
LOOK_S = 0.1  # seconds between two looks at the server
PATIENCE_S = 20.0  # for the next frame
OVER, SLOW = 1000, 4408  # close codes of servers/feed.py
SETTLED_S = 0.2  # what the kernel passes on to the receiver a moment later makes room once more
ROOM_BYTES = 64 << 20  # bytes after which kernel_room() gives up: some systems are generous
Look = tuple[float, dict[str, int], float, int]  # when, the server's counters, resident bytes, frames taken
NOW, LATER = 0.0, PATIENCE_S  # time-outs of a socket


async def slow_readers(
    in_per_s: float, out_per_s: float, buffer: int = 50, *, policies: Sequence[str] = POLICIES, **options: Any
) -> SlowReadings:
    """Several policies at the same time, each with a server and a reader of its own; see slow_reader()."""
    several = [slow_reader(policy, in_per_s, out_per_s, buffer, **options) for policy in policies]
    return SlowReadings(tuple(await asyncio.gather(*several)))


async def slow_reader(
    policy: str,
    in_per_s: float,
    out_per_s: float,
    buffer: int = 50,
    *,
    message_bytes: int = MESSAGE_BYTES,
    seconds: float = 3.0,
    beat_s: float = 0.1,
    reconnect_s: float = 0.5,
) -> SlowReading:
    """Make messages for `seconds`, and let one reader read until it has all that it will get.

    buffer        messages that can wait in the process
    beat_s        seconds between pings;   reconnect_s: seconds that a reader who was cut off stays away
    With the policy "none" the reader leaves after `seconds`: what has piled up by then is `unread`.
    LoadError where that cannot be measured.
    """
    if not (0 < out_per_s <= MAX_PER_S and 0 < in_per_s <= MAX_PER_S):
        raise LoadError(f"expected more than 0 and at most {MAX_PER_S} messages/s, made and read")
    _check_size(in_per_s, message_bytes, seconds)
    arguments = ("--policy", policy, "--rate", in_per_s, "--buffer", buffer, "--size", message_bytes,
                 "--seconds", seconds, "--beat", beat_s, "--send-buffer", SMALL)  # fmt: skip
    reader = _Reader(out_per_s, reconnect_s, seconds if policy == "none" else PATIENCE_S + seconds)
    looks, last = await in_thread(lambda stop: _run(arguments, reader, stop))
    if not reader.delays_s:
        raise LoadError(f"nothing was read in {seconds:g} s: try a faster reader, or more seconds")
    start_s = looks[0][0]
    lost = last["dropped"] if policy != "disconnect" else last["made"] - len(reader.delays_s)
    return SlowReading(
        policy=policy, in_per_s=in_per_s, out_per_s=out_per_s, buffer=buffer, message_bytes=message_bytes,
        seconds=seconds, made=last["made"], lost=lost, unread=last["made"] - lost - len(reader.delays_s),
        cuts=reader.cuts, between=_between(looks, seconds),
        delays_s=np.array(reader.delays_s), read_s=np.array(reader.read_s) - start_s,
        pings_s=np.array(reader.pings_s), pinged_s=np.array(reader.pinged_s) - start_s,
        **_columns(looks, message_bytes),
    )  # fmt: skip


async def stopped_reader(
    in_per_s: float = 400,
    message_bytes: int = 65_536,
    *,
    policy: str = "none",
    buffer: int = 50,
    seconds: float = 2.0,
    readers: int = 1,
    small_buffers: bool = False,
) -> StoppedReading:
    """Make messages for `seconds` for readers who take none; what waits for them is counted together.

    The kernel's buffers are left alone, or small, as for slow_reader().
    """
    if not 1 <= readers <= MOST_READERS:
        raise LoadError(f"expected 1 to {MOST_READERS} readers, got {readers}")
    _check_size(in_per_s * (readers if policy == "none" else 1), message_bytes, seconds)
    buffers = SMALL if small_buffers else 0
    arguments = ("--policy", policy, "--rate", in_per_s, "--buffer", buffer, "--size", message_bytes,
                 "--send-buffer", buffers)  # fmt: skip
    stopped = _Stopped(seconds, readers, buffers)
    looks, _ = await in_thread(lambda stop: _run(arguments, stopped, stop))
    return StoppedReading(policy=policy, message_bytes=message_bytes, **_columns(looks, message_bytes))


@dataclass(frozen=True)
class KernelRoom:
    """What two connected sockets take when nobody reads: bytes, until the next would have to wait."""

    taken: int
    sending: int | None  # of these in the sender's buffer, as SIOCOUTQ has it. None: not told here
    unread: int | None  # of these in the receiver's, as FIONREAD has it

    def __str__(self) -> str:
        told = None not in (self.sending, self.unread)
        where = f": {self.sending:,} wait at the sender, {self.unread:,} at the receiver" if told else ""
        return f"the kernel took {self.taken:,} bytes{where}"


def kernel_room(send_buffer: int = 0, receive_buffer: int = 0) -> KernelRoom:
    """Write to a loopback connection that nobody reads until the kernel says EAGAIN.

    The buffers are left alone (0), or asked for in bytes (SO_SNDBUF, SO_RCVBUF).
    """
    with socket.create_server(("127.0.0.1", 0)) as door, socket.socket() as reader:
        if receive_buffer:
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        reader.connect(door.getsockname())
        writer = door.accept()[0]
        with writer:
            if send_buffer:
                writer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
            writer.settimeout(SETTLED_S)
            taken, piece = 0, bytes(65_536)
            with contextlib.suppress(TimeoutError):
                while taken < ROOM_BYTES:
                    taken += writer.send(piece)
            return KernelRoom(taken, _buffered(writer, "TIOCOUTQ"), _buffered(reader, "FIONREAD"))


def _buffered(sock: socket.socket, question: str) -> int | None:
    """Bytes in one of the socket's buffers; Linux has the same number for SIOCOUTQ and TIOCOUTQ."""
    if sys.platform != "linux":
        return None
    import fcntl
    import termios

    return int(struct.unpack("i", fcntl.ioctl(sock, getattr(termios, question), bytes(4)))[0])


def _check_size(in_per_s: float, message_bytes: int, seconds: float) -> None:
    if not 0 < seconds <= MAX_SECONDS:
        raise LoadError(f"expected more than 0 and at most {MAX_SECONDS:g} seconds, got {seconds:g}")
    if in_per_s * message_bytes * seconds > MAX_BYTES:
        raise LoadError(f"that would be more than {MAX_BYTES >> 20} MiB of messages: try smaller ones")


class _Reader:
    """One reader: a frame at a time, in its own pace, as often as it is let in."""

    def __init__(self, out_per_s: float, reconnect_s: float, patience_s: float) -> None:
        self.reading_s, self.reconnect_s, self.patience_s = 1 / out_per_s, reconnect_s, patience_s
        self.taken = self.cuts = 0  # frames with a message, snapshots included
        self.left_s = float("inf")
        self.delays_s: list[float] = []
        self.read_s: list[float] = []
        self.pings_s: list[float] = []
        self.pinged_s: list[float] = []

    def read(self, target: Target, stop: threading.Event) -> None:
        """Read until the feed is over, or for `patience_s`. Raises LoadError for an end that is not meant."""
        until_s = Clock() + self.patience_s
        while True:
            sock = _dial(target, SMALL)
            try:
                code = self._connection(sock, until_s, stop)
            finally:
                self.left_s = Clock()
                drop(sock)
            if code in (OVER, None):
                return
            if code != SLOW:
                raise LoadError(f"the server closed with {code}, and not because the reader was slow")
            self.cuts += 1
            stop.wait(self.reconnect_s)

    def _connection(self, sock: socket.socket, until_s: float, stop: threading.Event) -> int | None:
        """One connection; its close code, or None when the time is over."""
        through_s = 0.0
        while not stop.is_set():
            was_there = _has_something(sock)
            opcode, payload = _frame(sock)
            now_s = Clock()
            if now_s > until_s:
                return None
            if opcode == Opcode.CLOSE:
                sock.sendall(encode_frame(Frame(Opcode.CLOSE, payload, masking_key=b"mask")))
                return int.from_bytes(payload[:2], "big")
            if opcode == Opcode.PING:
                [made_s] = struct.unpack(">d", payload)
                self.pinged_s.append(made_s)
                self.pings_s.append(now_s - made_s)
                sock.sendall(encode_frame(Frame(Opcode.PONG, payload, masking_key=b"mask")))
                continue
            message = json.loads(payload)
            # How late a sleeping thread wakes must not make the reader slower than it says.
            began_s = max(through_s, message["made_s"]) if was_there else now_s
            through_s = began_s + self.reading_s
            self._note(message, through_s)
            stop.wait(max(0.0, through_s - Clock()))
        raise Stopped

    def _note(self, message: dict[str, Any], through_s: float) -> None:
        self.taken += 1
        if message["kind"] == "message":
            self.delays_s.append(through_s - message["made_s"])
            self.read_s.append(through_s)


class _Stopped(_Reader):
    """Readers who never read."""

    def __init__(self, seconds: float, readers: int, receive_buffer: int) -> None:
        super().__init__(1.0, 1.0, seconds)
        self._readers, self._receive_buffer = readers, receive_buffer

    def read(self, target: Target, stop: threading.Event) -> None:
        with contextlib.ExitStack() as socks:
            for _ in range(self._readers):
                socks.callback(drop, _dial(target, self._receive_buffer))
            stop.wait(self.patience_s)
            self.left_s = Clock()


def _run(
    arguments: Sequence[object], reader: _Reader, stop: threading.Event
) -> tuple[list[Look], dict[str, int]]:
    """A server from its start to its end; looks at it while this reader is there, and its last counters."""
    server = Server("feed", *map(str, arguments))
    try:
        target, problems = Target.of(server.url), []

        def read() -> None:
            try:
                reader.read(target, stop)
            except (OSError, LoadError, Stopped) as error:
                problems.append(error)

        thread = threading.Thread(target=read, daemon=True)
        looks = [_look(target, server.pid, reader)]
        thread.start()
        while thread.is_alive():
            thread.join(LOOK_S)
            looks.append(_look(target, server.pid, reader))
    finally:
        server.stop()
    for problem in problems:
        if isinstance(problem, OSError):
            raise LoadError(f"the reader's connection broke: {problem}") from None
        raise problem
    return [look for look in looks if look[0] < reader.left_s], looks[-1][1]


def _look(target: Target, pid: int, reader: _Reader) -> Look:
    taken = reader.taken  # before the server is asked: what is read meanwhile counts as on the way
    counters = json.loads(ask(target, "/stats").body)
    resident = process_bytes(pid)
    return Clock(), counters, float("nan") if resident is None else float(resident), taken


def _between(looks: list[Look], seconds: float) -> int:
    """Messages handed over and not taken, in the second half of the run: the median look."""
    start_s = looks[0][0]
    late = [counters["sent"] - taken for when, counters, _, taken in looks if when - start_s > seconds / 2]
    return round(float(np.median(late))) if late else 0


def _columns(looks: list[Look], message_bytes: int) -> dict[str, Any]:
    """The looks as the arrays of Looks."""
    times, counters, resident, taken = zip(*looks, strict=True)
    sent, queued, queued_bytes = (
        np.array([one[name] for one in counters]) for name in ("sent", "queued", "queued_bytes")
    )
    ahead = queued_bytes - queued * message_bytes  # handed to asyncio, and not yet to the kernel
    return {
        "looks_s": np.array(times) - times[0],
        "queued": queued,
        "queued_bytes": queued_bytes,
        "resident_bytes": np.array(resident),
        "kernel_bytes": np.maximum(0, (sent - np.array(taken)) * message_bytes - ahead),
    }


def _dial(target: Target, receive_buffer: int = 0) -> socket.socket:
    """A connection on which the server has said 101. The buffer is asked for before the window is told."""
    sock = socket.socket()
    try:
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(PATIENCE_S)
        sock.connect(target[:2])
        sock.sendall(target.upgrade("/feed"))
        head = b""
        while not head.endswith(b"\r\n\r\n"):  # a byte at a time: what comes behind is the reader's
            byte = sock.recv(1)
            if not byte:
                raise LoadError("the server closed the connection before it had said 101")
            head += byte
        if b" 101 " not in head.split(b"\r\n", 1)[0]:
            raise LoadError(f"the server let nobody in: {head[:80]!r}")
    except BaseException:
        sock.close()
        raise
    return sock


def _frame(sock: socket.socket) -> tuple[int, bytes]:
    """The next frame's opcode and payload: taken out of the kernel to its last byte, and none behind it."""
    first, size = _exactly(sock, 2)
    if size > 125:
        size = int.from_bytes(_exactly(sock, 2 if size == 126 else 8), "big")
    return first & 0x0F, _exactly(sock, size)


def _has_something(sock: socket.socket) -> bool:
    sock.settimeout(NOW)
    try:
        sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    finally:
        sock.settimeout(LATER)
    return True


def _exactly(sock: socket.socket, count: int) -> bytes:
    parts, missing = [], count
    while missing:
        part = sock.recv(missing)
        if not part:
            raise ConnectionError("the server closed without a word")
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)
