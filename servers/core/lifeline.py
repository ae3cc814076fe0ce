"""A server process from its arguments to its end: a port, one ready line, and no life after its parent's.

stdout   one JSON line once the server accepts: {"ready": true, "url": "http://127.0.0.1:40001", "pid": 7}
stdin    a life-line, if it is a pipe or a socket: when it ends, the process that started the server is gone
         or wants it gone. A terminal, a file and /dev/null tell of nobody's life, and are not watched.
signals  SIGTERM and SIGINT (Ctrl-C) end the server in order, like the end of stdin.

A server does, in this order:

    options = arguments("what it is").parse_args()
    raise_descriptor_limit()
    sock = listener(options.host, options.port)
    ... accept on sock ...
    stop = asyncio.Event()
    watch(stop)
    announce(url_of(sock))
    await stop.wait()
    ... close what is open ...
"""

import argparse
import asyncio
import contextlib
import ipaddress
import json
import os
import select
import signal
import socket
import stat
import sys
import threading
import time

PARENT_CHECK_S = 0.5  # seconds between looks at the parent; a look is one system call, so this costs nothing
CLOSING_S = 2.0  # seconds to close in order; then the process is ended, so that no server is left behind
BACKLOG = 2048  # connections that may wait for accept(); with asyncio's 100, 5 000 take 1.5 s instead of 0.3
SIMPLE_LIMIT = 10_240  # descriptors; macOS calls its hard limit infinite, and accepts no more than this

_END = 0  # no signal has this number
_KEPT: list[socket.socket] = []  # a socket that nothing refers to is closed
_PARENT = os.getppid()  # taken at import, so that a parent that dies while the server starts is noticed too


def arguments(description: str) -> argparse.ArgumentParser:
    """The arguments every server takes: --host, --port, --public. Add your own to the parser that comes back.

    A host beyond this machine needs --public: the lab's servers ask nobody for a password.
    """
    parser = _Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=_port, default=0, help="port to listen on (default: 0, any free one)")
    parser.add_argument("--public", action="store_true", help="allow a --host that other machines can reach")
    return parser


def is_loopback(host: str) -> bool:
    """Whether `host` (a name or an address, IPv6 with or without brackets) can only mean this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def listener(host: str, port: int, backlog: int = BACKLOG) -> socket.socket:
    """A listening, non-blocking TCP socket. Ends the program with a sentence if the address cannot be had."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # Said aloud, IPPROTO_TCP makes asyncio switch Nagle's algorithm off on each connection; with the
        # default protocol 0 it does not, and an answer in two writes waits 40 ms for a delayed ACK.
        sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except OSError as error:
        raise SystemExit(f"Cannot listen on {host}: {error}. Try --host 127.0.0.1.") from error
    try:
        if os.name == "posix":
            # A restarted server has its port back at once. On Windows this option would let two share it.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(backlog)
    except OSError as error:
        sock.close()
        raise SystemExit(
            f"Cannot listen on port {port} of {host}: {error}. Try --port 0, which takes a free one."
        ) from error
    sock.setblocking(False)
    return sock


def url_of(sock: socket.socket, scheme: str = "http") -> str:
    """The address at which a client on this machine reaches this listening socket."""
    host, port = sock.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def raise_descriptor_limit() -> None:
    """Let this process open as many descriptors as it may.

    Each connection takes one, and the usual soft limit of 1 024 is soon reached.
    """
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (hard, SIMPLE_LIMIT):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
            return


def announce(url: str, **more: object) -> None:
    """Print the ready line. `more` (JSON values) goes into the same object."""
    print(json.dumps({"ready": True, "url": url, "pid": os.getpid(), **more}), flush=True)


def parent_gone() -> bool:
    """Whether the process that started this one has died. Always False on Windows, which does not tell."""
    return os.name == "posix" and os.getppid() != _PARENT


def watch(stop: asyncio.Event) -> None:
    """Set `stop` when this server should end. Call it once, in the running loop of the main thread.

    From the moment it is set, the process has CLOSING_S seconds to end by itself.
    """
    loop = asyncio.get_running_loop()
    asked, ask = socket.socketpair()  # a byte sent into `ask` is the wish to end
    ask.setblocking(False)

    def end_when_asked() -> None:
        while asked.recv(1)[0] not in (_END, signal.SIGTERM, signal.SIGINT):
            pass
        with contextlib.suppress(RuntimeError):  # the loop is closed: nothing is left to stop
            loop.call_soon_threadsafe(stop.set)
        time.sleep(CLOSING_S)
        print(f"closing took more than {CLOSING_S:g} s, so the server was ended", file=sys.stderr, flush=True)
        os._exit(1)

    # Python sends the number of each signal into `ask` by itself, in the instant that it comes. A handler in
    # Python would run only when the main thread gets to it: not while a request keeps the loop busy, and not
    # if the signal falls into the gap between its last look at signals and its wait for the next event.
    signal.set_wakeup_fd(ask.fileno(), warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(number) is not signal.SIG_IGN:  # a shell's nohup or `&` asks to be left alone
            signal.signal(number, lambda *_: None)
    threading.Thread(target=end_when_asked, name="end", daemon=True).start()
    if _stdin_is_a_lifeline():
        threading.Thread(target=_watch_stdin, args=(ask,), name="life-line", daemon=True).start()
    _KEPT.append(ask)


def _stdin_is_a_lifeline() -> bool:
    if sys.stdin is None:  # closed from the start: descriptor 0 may be anything by now
        return False
    try:
        mode = os.fstat(0).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _watch_stdin(ask: socket.socket) -> None:
    """Ask for the end when stdin ends or the parent is gone. What is written to stdin is thrown away."""
    while not parent_gone():
        # With a time limit, since a process forked by our parent may hold the pipe open after its death.
        if os.name == "posix" and not select.select([0], [], [], PARENT_CHECK_S)[0]:
            continue
        try:
            # Not sys.stdin.read: it would wait inside a lock that Python wants when it shuts down.
            if not os.read(0, 4096):
                break
        except OSError:
            break
    ask.send(bytes([_END]))


class _Parser(argparse.ArgumentParser):
    """Checks the host as well, so that no server forgets to."""

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        options, rest = super().parse_known_args(args, namespace)
        if not is_loopback(options.host) and not options.public:
            self.error(
                f"other machines can reach --host {options.host}, and this server asks for no password. "
                "Leave --host out, or add --public if you mean it."
            )
        return options, rest


def _port(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) <= 65_535:
        return int(text)
    raise argparse.ArgumentTypeError(f"expected a number from 0 to 65535, got {text!r}")
