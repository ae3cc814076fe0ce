"""The hop over a broker: how long a message takes from one server, through the broker, to another.

    hop = await broker_hop(broker.url)          redis://127.0.0.1:PORT
    print(hop)                                  half within 0.06 ms, 99 of 100 within 0.2 ms

Two plain sockets, as two servers would have them: one publishes (PUBLISH), the other is subscribed to the
channel. Timed is from the first byte that leaves the one to the last that comes in at the other. Both are
read in one thread with one clock, and no client library is in between: what a library and an event loop add
is the server's own. The next message goes when the last has been heard, so none waits for another: this is
a broker at rest, and a busy one is slower.

The bytes are RESP, the protocol of Redis and Valkey.
"""

import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from labsupport.measure.sockets import Clock, LoadError, Target
from labsupport.measure.threads import Stopped, in_thread

WARM_UP = 100  # messages that are not counted: the first ones pay for buffers
MAX_MESSAGES = 100_000
MAX_BYTES = 1 << 16
ANSWER_S = 10.0  # seconds for one message; it needs less than a millisecond
CHANNEL = b"lab:hop"


@dataclass(frozen=True, eq=False)
class Hop:
    """One element of `hop_ms` for each message, in the order of their going."""

    message_bytes: int
    hop_ms: np.ndarray

    @property
    def p50_ms(self) -> float:
        return float(np.percentile(self.hop_ms, 50))

    @property
    def p99_ms(self) -> float:
        return float(np.percentile(self.hop_ms, 99))

    def __str__(self) -> str:
        return (
            f"{len(self.hop_ms):,} messages of {self.message_bytes} bytes through the broker: half of them "
            f"within {self.p50_ms:.2f} ms, 99 of 100 within {self.p99_ms:.2f} ms."
        )


async def broker_hop(url: str, messages: int = 2_000, *, message_bytes: int = 200) -> Hop:
    """Publish `messages` times, one after the other, and time each until it is heard.

    LoadError if that is no broker, or if a message does not arrive.
    """
    if not 1 <= messages <= MAX_MESSAGES or not 1 <= message_bytes <= MAX_BYTES:
        raise LoadError(f"expected 1 to {MAX_MESSAGES:,} messages of 1 to {MAX_BYTES:,} bytes")
    if not url.startswith("redis://"):
        raise LoadError(f"expected a broker's address such as redis://127.0.0.1:6379, got {url!r}")
    target = Target.of(url.replace("redis", "http", 1))
    return await in_thread(lambda stop: _hops(target, messages, message_bytes, stop))


def _hops(target: Target, messages: int, message_bytes: int, stop: threading.Event) -> Hop:
    hop_ms = np.empty(messages)
    payload = b"x" * message_bytes
    publish = _command(b"PUBLISH", CHANNEL, payload)
    try:
        with _dial(target) as mouth, _dial(target) as ear:
            says, hears = _answers(mouth), _answers(ear)
            ear.sendall(_command(b"SUBSCRIBE", CHANNEL))
            _expect(next(hears), [b"subscribe", CHANNEL, 1])
            for number in range(-WARM_UP, messages):
                started = Clock()
                mouth.sendall(publish)
                heard = next(hears)
                if number >= 0:
                    hop_ms[number] = (Clock() - started) * 1000
                _expect(heard, [b"message", CHANNEL, payload])
                next(says)  # how many heard it
                if stop.is_set():
                    raise Stopped
    except (OSError, ValueError) as error:
        raise LoadError(
            f"nothing came back from the broker at {target.host}:{target.port}: {error}"
        ) from None
    return Hop(message_bytes, hop_ms)


def _dial(target: Target) -> socket.socket:
    sock = socket.create_connection(target[:2], timeout=ANSWER_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _command(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def _answers(sock: socket.socket) -> Iterator[object]:
    """What the broker says, one answer after the other. ValueError for what is no RESP."""
    with sock.makefile("rb") as stream:
        while line := stream.readline():
            yield _value(line, stream)
    raise ConnectionError("the connection was closed")


def _value(line: bytes, stream: BinaryIO) -> object:
    """The answer that begins with this line: a number, a string, or an array of them."""
    kind, rest = line[:1], line[1:].strip()
    if kind == b":":
        return int(rest)
    if kind == b"$":
        return stream.read(int(rest) + 2)[:-2]
    if kind == b"*":
        return [_value(stream.readline(), stream) for _ in range(int(rest))]
    raise ValueError(f"it said {line[:60]!r}")


def _expect(heard: object, wanted: object) -> None:
    if heard != wanted:
        raise ValueError(f"expected {str(wanted)[:60]}, got {str(heard)[:60]}")
