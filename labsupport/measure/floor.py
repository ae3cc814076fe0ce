"""The floor under every fan-out: a process that does nothing but send() to one socket after the other.

    async with Floor() as floor:
        print(await fan_out(floor, listeners=10_000))     the same load client as for a real server

It holds connections and, for each POST, sends the same bytes to all of them in a plain loop: no framework, no
history, no policy for readers that are too slow. A server cannot be faster with one system call for each
reader from one thread, so its figure divided by this one, from the same run, says what its own work adds.
The time goes into the kernel's part of send(): the same loop in C, with epoll and measured by the same load
client, took 73.6 ms to 10 000 where this one took 78.1, so this floor lies 6 % above one of C.

Left out: everything that makes a server. What does not fit into a socket's buffer is lost.
"""

import asyncio
import contextlib
import json
import os
import socket
from types import TracebackType
from typing import Any, Self

from labsupport.measure.helper import START_S, CommandLine, Helper, say
from labsupport.measure.listeners import Poller
from labsupport.measure.sockets import LoadError, allow_all_connections

BACKLOG = 2048  # as the lab's servers have it
ACCEPTS = 256  # in a row; then those who have asked are answered
OPENING = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


class Floor:
    """A floor in a process of its own; `async with`, or close() it. Has `url` and `pid`, as servers do."""

    name = "floor"

    def __init__(self) -> None:
        self._helper = Helper("floor")
        try:
            ready = self._helper.receive(START_S)
            if ready is None:
                raise LoadError(f"the floor did not start in {START_S:g} s")
        except BaseException:
            self.close()
            raise
        self.url: str = ready["url"]

    @property
    def pid(self) -> int:
        return self._helper.pid

    def close(self) -> None:
        """End it. Closing twice does no harm."""
        self._helper.cut()
        self._helper.wait()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)


class _Loop:
    """The process' side: one poller, and a list of sockets."""

    def __init__(self) -> None:
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        if os.name == "posix":
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(BACKLOG)
        self._listener.setblocking(False)
        self._poll = Poller()
        self._poll.add(self._listener.fileno())
        self._socks: dict[int, socket.socket] = {}  # all that are open
        self._readers: dict[int, socket.socket] = {}  # those that get what is posted
        self._posted = 0

    def run(self) -> None:
        say({"url": f"http://127.0.0.1:{self._listener.getsockname()[1]}"})
        while True:
            for fd in self._poll.ready(60):
                if fd == self._listener.fileno():
                    self._accept()
                elif fd in self._socks:
                    self._read(fd)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # nobody left; or no descriptor left, and they wait
            for _ in range(ACCEPTS):
                sock, _address = self._listener.accept()
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._socks[sock.fileno()] = sock
                self._poll.add(sock.fileno())

    def _read(self, fd: int) -> None:
        sock = self._socks[fd]
        try:
            request = sock.recv(4096)
        except OSError:
            request = b""
        if request.startswith(b"GET /messages"):
            self._answer(sock, {"messages": [], "position": f"floor-{self._posted}"}, b"200 OK")
        elif request.startswith(b"GET "):
            sock.send(OPENING)
            self._readers[fd] = sock
        elif request.startswith(b"POST "):
            self._post(sock, request)
        else:
            self._poll.remove(fd)
            self._readers.pop(fd, None)
            self._socks.pop(fd).close()

    def _post(self, sock: socket.socket, request: bytes) -> None:
        self._posted += 1
        data = json.dumps(json.loads(request.partition(b"\r\n\r\n")[2])["data"]).encode()
        event = b"event: message\nid: floor-%d\ndata: %b\n\n" % (self._posted, data)
        self._send_to_all(b"%x\r\n%b\r\n" % (len(event), event))
        self._answer(sock, {"id": f"floor-{self._posted}"}, b"201 Created")

    def _send_to_all(self, raw: bytes) -> None:
        for sock in self._readers.values():
            try:  # noqa: SIM105 - contextlib.suppress would cost a tenth of the send
                sock.send(raw)
            except OSError:  # gone, as the poller will say; or full, and then it misses this one
                pass

    def _answer(self, sock: socket.socket, content: dict[str, Any], status: bytes) -> None:
        body = json.dumps(content).encode()
        with contextlib.suppress(OSError):
            sock.send(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))


if __name__ == "__main__":
    allow_all_connections()
    CommandLine()  # ends this process when its parent has gone
    _Loop().run()
