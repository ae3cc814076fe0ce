"""One process's share of the listeners: connections that stay open and hear what the server pushes.

They open as a fleet does. What comes then is read by a poller of file descriptors, and looked through for a
marker; it is not parsed. That is what keeps a listener cheap: a client in C that does the same needs as long
for its system calls, and they are most of it.
"""

import contextlib
import select
import selectors
import socket
import sys
import threading
from array import array

from labsupport.measure.fleet import OPEN_S, Fleet, Line
from labsupport.measure.sockets import (
    DEFAULT,
    Clock,
    LoadError,
    Origin,
    Target,
    connect,
    drop,
    read_answer,
    reason,
)
from labsupport.measure.threads import LOOK_S, Stopped

MAX_HEAD = 16 * 1024  # bytes of the answer to a handshake
READ = 4096  # bytes at a time; a pushed message is a few hundred, and the poller names whoever has more
PING = 0x89  # first byte of a WebSocket ping in one frame (RFC 6455, 5.5.2)
PING_FRAME = b"\x89\x80\0\0\0\0"  # a client's: masked, with a key of zeros, and empty
PONG_FRAME = b"\x8a\x00"  # the server's answer to it


class Poller:
    """Which descriptors can be read: epoll itself where there is one, since it needs no object for each."""

    def __init__(self) -> None:
        self._epoll = select.epoll() if sys.platform == "linux" else None
        self._selector = selectors.DefaultSelector()

    def add(self, fd: int) -> None:
        if self._epoll:
            self._epoll.register(fd, select.EPOLLIN)
        else:
            self._selector.register(fd, selectors.EVENT_READ)

    def remove(self, fd: int) -> None:
        if self._epoll:
            self._epoll.unregister(fd)
        else:
            self._selector.unregister(fd)

    def ready(self, seconds: float) -> list[int]:
        """The descriptors that can be read or have ended, at the latest after `seconds`."""
        if self._epoll:
            return [fd for fd, _ in self._epoll.poll(seconds)]
        return [key.fd for key, _ in self._selector.select(seconds)]

    def close(self) -> None:
        if self._epoll:
            self._epoll.close()
        self._selector.close()


class Listeners(Fleet):
    """Connections whose handshake is `request`, and that stay. Blocking, like its base.

    Open more with grow(); hear() and publish() time one message; idle() reads and forgets.
    """

    def __init__(self, target: Target, request: bytes, *, first: int = 0, origin: Origin = DEFAULT) -> None:
        super().__init__(target, 1, request, first=first, origin=origin)
        self.clients = 0  # until it grows
        self._socks: dict[int, socket.socket] = {}  # by descriptor: those that listen
        self._tails: dict[int, bytes] = {}  # the end of what came last, where a marker may have begun
        self._poll = Poller()
        self._websocket = b"\r\nUpgrade: websocket\r\n" in request

    @property
    def listening(self) -> int:
        """Connections that are open now."""
        return len(self._socks)

    def grow(self, clients: int, stop: threading.Event, seconds: float = OPEN_S) -> None:
        """Open so many more, and wait until each has the server's answer, or is counted in `broken`."""
        self.clients += clients
        self.open(stop, seconds, answered=True)

    def watch(self, fd: int) -> None:
        """Let idle() return when this descriptor can be read."""
        self._poll.add(fd)

    def idle(self, until: int | None, seconds: float) -> None:
        """Read and forget what comes, until the descriptor `until` can be read or the time is over."""
        ends = Clock() + seconds
        while (left := ends - Clock()) > 0:
            fds = self._poll.ready(min(left, 60.0))
            for fd in fds:
                if fd != until:
                    self._read(fd)
            if until in fds:
                return

    def publish(self, post: bytes, marker: bytes, stop: threading.Event, seconds: float) -> "array[float]":
        """Send `post` on a connection of its own, and hear() what comes of it. The first stamp is that of
        the sending."""
        with connect(self.target) as publisher:
            started = Clock()
            publisher.sendall(post)
            stamps = array("d", [started]) + self.hear(marker, stop, seconds)
            answer = read_answer(publisher)
        if answer.status != 201:
            raise LoadError(f"the server did not take the message: {answer.status} {answer.body[:200]!r}")
        return stamps

    def hear(self, marker: bytes, stop: threading.Event, seconds: float) -> "array[float]":
        """Read until every open connection has brought the bytes `marker`, or the time is over.

        A stamp of the clock for each that has, in their order.
        """
        lacking, stamps, usual = set(self._socks), array("d"), 0
        socks, ready, ends = self._socks, self._poll.ready, Clock() + seconds
        while lacking and (left := ends - Clock()) > 0 and not stop.is_set():
            for fd in ready(min(LOOK_S, left)):
                sock = socks.get(fd)
                if sock is None:  # the command line: it can wait
                    continue
                try:
                    chunk = sock.recv(READ)
                except OSError as error:
                    self._lost(fd, error)
                    lacking.discard(fd)
                    continue
                if marker in chunk or (chunk and marker in self._with_tail(fd, chunk, len(marker))):
                    stamps.append(Clock())
                    lacking.discard(fd)
                    usual = usual or len(chunk)
                    if len(chunk) != usual:  # something came with it
                        self._answer_pings(fd, chunk)
                elif not chunk:
                    self._lost(fd, None)
                    lacking.discard(fd)
        if stop.is_set():
            raise Stopped
        return stamps

    def ping(self, stop: threading.Event, seconds: float) -> int:
        """Send a WebSocket ping on every connection, and wait for the pongs: how many came."""
        for sock in self._socks.values():
            with contextlib.suppress(OSError):  # reading will find out why
                sock.send(PING_FRAME)
        return len(self.hear(PONG_FRAME, stop, seconds))

    def close(self) -> None:
        for sock in self._socks.values():
            drop(sock)
        self._socks.clear()
        self._tails.clear()
        self._poll.close()
        super().close()

    def _heard(self, line: Line, now: float) -> None:
        """The head of the answer: from its end on, this connection listens."""
        end = line.buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(line.buffer) > MAX_HEAD or not line.buffer.startswith(b"HTTP/1."[: len(line.buffer)]):
                self._break(line, "no HTTP answer")
            return
        status = bytes(line.buffer[9:12]).decode("latin-1")
        if status not in ("200", "101"):
            self._break(line, f"status {status}")
            return
        self._waiting.discard(line)
        self._selector.unregister(line.sock)
        self._lines.discard(line)
        fd = line.sock.fileno()
        self._socks[fd] = line.sock
        self._poll.add(fd)

    def _read(self, fd: int) -> None:
        sock = self._socks.get(fd)
        if sock is None:
            return
        try:
            chunk = sock.recv(READ)
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(fd, error)
            return
        if not chunk:
            self._lost(fd, None)
        else:
            self._with_tail(fd, chunk, 0)

    def _with_tail(self, fd: int, chunk: bytes, keep: int) -> bytes:
        """This chunk behind the end of the last one."""
        self._answer_pings(fd, chunk)
        whole = self._tails.pop(fd, b"") + chunk
        if keep:
            self._tails[fd] = whole[-keep:]
        return whole

    def _answer_pings(self, fd: int, chunk: bytes) -> None:
        """A server takes a WebSocket whose pings stay unanswered for dead. The chunk begins with a frame."""
        at = 0
        while self._websocket and at + 1 < len(chunk):
            size = chunk[at + 1] & 0x7F
            if chunk[at] == PING:
                with contextlib.suppress(OSError):  # reading will find out why
                    self._socks[fd].send(b"\x8a%c\0\0\0\0%b" % (0x80 | size, chunk[at + 2 : at + 2 + size]))
            if size == 126:
                size = 2 + int.from_bytes(chunk[at + 2 : at + 4])
            elif size == 127:
                size = 8 + int.from_bytes(chunk[at + 2 : at + 10])
            at += 2 + size

    def _lost(self, fd: int, error: OSError | None) -> None:
        self._poll.remove(fd)
        drop(self._socks.pop(fd))
        self._tails.pop(fd, None)
        self.broken["closed by the server" if error is None else reason(error)] += 1
