"""Lean connections: what a load client needs of a socket and of HTTP, and nothing more.

A load client must be leaner than the server that it measures, or it measures itself. So: non-blocking
sockets, one selector, the request's bytes made once, and of an answer only the status and the length are
read (RFC 9112; the body must be delimited by Content-Length, as the lab's polling servers do).
"""

import contextlib
import errno
import os
import re
import selectors
import socket
import struct
import sys
import time
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import urlsplit

SPARE_DESCRIPTORS = 64  # left for what the notebook opens meanwhile
MAX_PER_PROCESS = 19_000  # sockets; more than that, and one process reads for too long
OPEN_MAX = 10_000  # descriptors that macOS gives to a process at most are 10 240
SELECT_LIMIT = 500  # sockets: Windows' select() watches 512 at most
CLIENTS_PER_SOURCE = 10_000  # connections: well under the 28 232 local ports that Linux gives one address
SOURCES = 200  # addresses 127.0.1.1 … 127.0.1.200
IP_BIND_ADDRESS_NO_PORT = 24  # Linux, <linux/in.h>; Python names it from 3.12 on
IP_LOCAL_PORT_RANGE = 51  # Linux 6.3
MAX_ANSWER = 16 << 20  # bytes; a server remembers half of that, and may be asked for all of it
Clock = time.perf_counter  # the one clock of all measurements: monotonic, and fine on every system
_UPGRADE = (
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
_RESET_AT_CLOSE = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)  # linger for 0 seconds
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,12})[ \t]*\r\n", re.IGNORECASE)


class LoadError(RuntimeError):
    """This measurement cannot run here, or what came back makes no sense; the text says what to try."""


class Target(NamedTuple):
    """A server's address, and its path with the query."""

    host: str
    port: int
    path: str

    @classmethod
    def of(cls, url: str) -> "Target":
        """Read an http or ws URL. Loopback only: a load client must not be pointed at another's machine."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "ws") or not parts.hostname or not parts.port:
            raise LoadError(f"expected a URL such as http://127.0.0.1:8080, got {url!r}")
        host = "127.0.0.1" if parts.hostname == "localhost" else parts.hostname
        if not host.startswith("127."):
            raise LoadError(
                f"the load client speaks to this machine only (127.0.0.1), not to {parts.hostname}"
            )
        path = parts.path or "/"
        return cls(host, parts.port, f"{path}?{parts.query}" if parts.query else path)

    def get(self, path: str, extra: bytes = b"") -> bytes:
        """The bytes of a GET; `extra` are further header lines, each ending in CRLF."""
        return b"GET %s HTTP/1.1\r\nHost: %s:%d\r\n%s\r\n" % (
            path.encode(),
            self.host.encode(),
            self.port,
            extra,
        )

    def upgrade(self, path: str, extra: bytes = b"") -> bytes:
        """The bytes of a WebSocket's handshake (RFC 6455, 4.1), with the sample key of its section 1.3."""
        return self.get(path, _UPGRADE + extra)

    def post(self, path: str, body: bytes, kind: str = "application/json") -> bytes:
        """The bytes of a POST with a body, which is JSON unless `kind` says otherwise."""
        head = b"POST %s HTTP/1.1\r\nHost: %s:%d\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n"
        return head % (path.encode(), self.host.encode(), self.port, kind.encode(), len(body)) + body


class Answer(NamedTuple):
    """One response: its status, its body, and all its bytes on the wire."""

    status: int
    body: bytes
    wire_bytes: int


def take_answer(buffer: bytearray) -> Answer | None:
    """Cut the first whole response off the buffer; None while it is incomplete."""
    end_of_head = buffer.find(b"\r\n\r\n")
    if end_of_head < 0:
        if len(buffer) > MAX_ANSWER or not buffer.startswith(b"HTTP/1."[: len(buffer)]):
            raise LoadError(f"expected an HTTP/1.1 answer, got {bytes(buffer[:40])!r}")
        return None
    status = int(buffer[9:12])
    length = _LENGTH.search(buffer, 0, end_of_head + 2)
    if length is None and status not in (204, 304):
        raise LoadError(
            f"the load client needs a Content-Length, and the answer with status {status} has none"
        )
    body_starts = end_of_head + 4
    size = 0 if length is None or status in (204, 304) else int(length[1])
    if size > MAX_ANSWER:
        raise LoadError(f"an answer of {size} bytes is longer than a poll's answer should be (16 MiB)")
    if len(buffer) < body_starts + size:
        return None
    answer = Answer(status, bytes(buffer[body_starts : body_starts + size]), body_starts + size)
    del buffer[: body_starts + size]
    return answer


class Origin(NamedTuple):
    """Where connections come from. A source address has 28 232 ports for each server, or those of `ports`."""

    sources: int = SOURCES  # addresses 127.0.1.1 … that the client numbers are spread over
    ports: tuple[int, int] | None = None  # only these, from … to; Linux 6.3


DEFAULT = Origin()


def lean_socket(number: int, host: str = "127.0.0.1", origin: Origin = DEFAULT) -> socket.socket:
    """A non-blocking socket for client `number`, on Linux from its own source address.

    Bound without a port (IP_BIND_ADDRESS_NO_PORT), the kernel picks one at connect, when it knows both ends:
    so each source address has all its ports for each server. However it ends, also with its process, it ends
    with a reset, so that no TIME_WAIT holds a port for a minute.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
        if sys.platform == "linux" and host == "127.0.0.1":
            sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            if origin.ports:
                first, last = origin.ports
                sock.setsockopt(socket.IPPROTO_IP, IP_LOCAL_PORT_RANGE, struct.pack("=I", last << 16 | first))
            turn = number if origin.ports else number // CLIENTS_PER_SOURCE  # few ports: in turn from each
            sock.bind((f"127.0.1.{1 + turn % origin.sources}", 0))
    except BaseException:
        sock.close()
        raise
    return sock


def connect(target: Target) -> socket.socket:
    """A blocking connection without Nagle's algorithm, which also ends with a reset."""
    sock = socket.create_connection(target[:2], timeout=5)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
    return sock


def drop(sock: socket.socket) -> None:
    """Close with a reset, so that no TIME_WAIT holds the port for a minute."""
    with contextlib.suppress(OSError):  # already gone: closing is all that is left
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
    sock.close()


def allow_connections(count: int) -> None:
    """Make room for `count` more sockets in this process, or say clearly that there is none."""
    if not hasattr(selectors, "PollSelector"):  # Windows
        if count > SELECT_LIMIT:
            raise LoadError(f"this system's select() watches at most {SELECT_LIMIT} connections, not {count}")
        return
    import resource  # not on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    others = len(os.listdir("/dev/fd")) + SPARE_DESCRIPTORS
    needed = count + others
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise LoadError(
            f"{count} connections need {needed} descriptors, and this system allows a process {hard}: "
            f"try at most {max(0, hard - others)} (`ulimit -Hn` shows the limit)"
        )
    if soft != resource.RLIM_INFINITY and needed > soft:
        # only what is needed: macOS calls its hard limit infinite, and refuses more than OPEN_MAX
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
        except (OSError, ValueError):
            text = f"{count} connections need {needed} descriptors, and the limit of {soft} cannot be raised"
            raise LoadError(text) from None


def most_connections() -> int:
    """How many sockets one process of the load may hold: what the hard limit leaves, or MAX_PER_PROCESS."""
    if not hasattr(selectors, "PollSelector"):  # Windows
        return SELECT_LIMIT - SPARE_DESCRIPTORS
    import resource  # not on Windows

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # what is allowed is not what is possible: macOS calls its limit infinite, and refuses more than OPEN_MAX
    known = MAX_PER_PROCESS if hard == resource.RLIM_INFINITY else hard - 2 * SPARE_DESCRIPTORS
    return max(1, min(known, MAX_PER_PROCESS if sys.platform == "linux" else OPEN_MAX))


def allow_all_connections() -> None:
    """Raise the limit on descriptors of this process as far as most_connections() counts on."""
    allow_connections(most_connections())


def ask(target: Target, path: str, extra: bytes = b"") -> Answer:
    """One GET on a connection of its own, and its answer; LoadError unless its status is 2xx."""
    return exchange(target, [target.get(path, extra)])[0]


def post(target: Target, path: str, body: bytes) -> Answer:
    """One POST on a connection of its own, and its answer; LoadError unless its status is 2xx."""
    return exchange(target, [target.post(path, body)])[0]


def exchange(target: Target, requests: Iterable[bytes]) -> list[Answer]:
    """Requests one after another on one connection, and their answers; LoadError unless each is 2xx."""
    answers = []
    try:
        with connect(target) as sock:
            for request in requests:
                sock.sendall(request)
                answers.append(read_answer(sock))
                if not 200 <= answers[-1].status < 300:
                    text = answers[-1].body[:200].decode(errors="replace")
                    line = request.split(b" HTTP/", 1)[0].decode()
                    raise LoadError(f"{line} was answered with {answers[-1].status}: {text}")
    except OSError as error:
        where = f"{target.host}:{target.port}"
        raise LoadError(f"no answer from {where} ({error}): does the server run?") from None
    return answers


def read_answer(sock: socket.socket) -> Answer:
    """The next answer on a blocking socket."""
    buffer = bytearray()
    while (answer := take_answer(buffer)) is None:
        chunk = sock.recv(65536)
        if not chunk:
            raise LoadError("the server closed the connection in the middle of an answer")
        buffer += chunk
    return answer


def reason(code: int | OSError) -> str:
    """Why a connection broke, in a word or two; `code` is an errno or an error that has one."""
    code = (code.errno or 0) if isinstance(code, OSError) else code
    known = {
        errno.ECONNREFUSED: "refused",
        errno.ECONNRESET: "reset",
        errno.EPIPE: "reset",
        errno.ETIMEDOUT: "timed out",
        errno.EADDRNOTAVAIL: "no local port left",
        errno.EMFILE: "no descriptor left",
    }
    return known.get(code, errno.errorcode.get(code, "unknown error"))
