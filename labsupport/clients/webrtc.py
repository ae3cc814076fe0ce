"""Two peers that talk to each other without a server between: WebRTC data channels on this machine.

    async with Peer(signal.url, "bob") as bob, Peer(signal.url, "alice") as alice:
        channel = await alice.call("bob")             # offer, answer, ICE, DTLS, SCTP
        channel.send("hello")
        print(await bob.hear())                       # Heard(text="hello", ...)

The notes that the two must exchange first go through servers/webrtc.py. After that the server may end: what
is said goes by UDP from one socket to the other, encrypted (DTLS, RFC 8261).

aiortc does the work. It is an extra, since it brings 100 MB of codecs along: pip install -e '.[webrtc]'.
Without it, AVAILABLE is False and a Peer says what is missing. Three things are set here that a sample seldom
sets: no STUN server (aiortc's default asks a public one), candidates on 127.0.0.1 (which the library skips,
since it is no use to anybody elsewhere), and on no other address. So a Peer reaches this machine only.
"""

import asyncio
import importlib
import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from websockets.exceptions import ConnectionClosed

from labsupport.clients.websocket_link import connect

aiortc: Any
try:
    aiortc = importlib.import_module("aiortc")
except ImportError:  # the extra is not there
    aiortc = None

AVAILABLE = aiortc is not None
MISSING = "aiortc is not installed, so no peers here: pip install -e '.[webrtc]' brings it (100 MB)."
HERE = "127.0.0.1"
SIGNAL_S = 10.0  # seconds for signalling, ICE and the handshakes; 0.05 is usual


class NoWebRtc(RuntimeError):
    """There is no aiortc, or the two did not find each other."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One message of a data channel, and when it came, on the peer's clock."""

    text: str
    channel: str
    received_at_s: float


class Line:
    """The way of one peer's datagrams to the other: late by `delay_s`, and some never come.

    What is lost is lost before the network: the peer's own stack thinks it sent it, as with a real loss.
    """

    def __init__(self, send: Callable[[bytes], Any]) -> None:
        self.delay_s = 0.0
        self.lost = 0
        self._send = send
        self._lose = 0
        self._last: asyncio.Task[None] | None = None

    def lose_next(self) -> None:
        """The next datagram is lost."""
        self._lose += 1

    async def send(self, data: bytes) -> None:
        if self._lose:
            self._lose -= 1
            self.lost += 1
        elif self.delay_s or (self._last is not None and not self._last.done()):
            due_s = asyncio.get_running_loop().time() + self.delay_s
            self._last = asyncio.create_task(self._later(data, due_s, self._last))
        else:
            await self._send(data)

    async def _later(self, data: bytes, due_s: float, before: "asyncio.Task[None] | None") -> None:
        await asyncio.sleep(due_s - asyncio.get_running_loop().time())
        if before is not None and not before.done():  # one line: nothing overtakes
            await asyncio.wait([before])
        with suppress(ConnectionError, AttributeError):  # the peer has gone meanwhile
            await self._send(data)


class Peer:
    """One end of a call. `signal` is servers/webrtc.py's address, or the server itself.

    clock   of `received_at_s`; peers in one process share it, so a difference is a one-way delay
    """

    def __init__(
        self, signal: object, name: str, *, room: str = "call", clock: Callable[[], float] = time.perf_counter
    ) -> None:
        if not AVAILABLE:
            raise NoWebRtc(MISSING)
        self.name = name
        self.signalled = 0  # notes sent and received
        self._url = f"{getattr(signal, 'url', signal)}".replace("http", "ws", 1).rstrip("/") + "/signal"
        self._room, self._clock = room, clock
        self._connection = aiortc.RTCPeerConnection(aiortc.RTCConfiguration(iceServers=[]))
        self._heard: asyncio.Queue[Heard] = asyncio.Queue()
        self._answered = asyncio.Event()
        self._line: Line | None = None
        self._told: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._link = await connect(self._url)
        await self._note({"type": "join", "room": self._room, "peer": self.name})
        joined = json.loads(await self._link.recv())
        if joined["type"] != "joined":
            await self._link.close()
            await self._connection.close()
            raise NoWebRtc(f"the signalling server says: {joined.get('error', joined)}")
        self._connection.on("datachannel", self._listen)
        self._told = asyncio.create_task(self._be_told())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._told is not None
        self._told.cancel()
        await asyncio.wait([self._told])
        await self._link.close()
        await self._connection.close()

    async def call(self, other: str, label: str = "chat", **how: Any) -> Any:
        """Make an offer to another peer; returns the channel, open.

        how: ordered=False, maxRetransmits=0 … as `createDataChannel` takes them (RFC 8831, 6.1 to 6.4).
        """
        channel = self._connection.createDataChannel(label, **how)
        opened = asyncio.Event()
        channel.on("open", opened.set)
        self._listen(channel)
        self._stay_here()
        await self._connection.setLocalDescription(await self._connection.createOffer())
        await self._note({"type": "offer", "to": other, "sdp": self._connection.localDescription.sdp})
        try:
            async with asyncio.timeout(SIGNAL_S):
                await self._answered.wait()
                await opened.wait()
        except TimeoutError:
            raise NoWebRtc(f"no channel to {other} in {SIGNAL_S:g} s: has {other} joined?") from None
        return channel

    async def channel(self, label: str, **how: Any) -> Any:
        """One more channel on a call that is up; both sides hear of it by the call itself."""
        channel = self._connection.createDataChannel(label, **how)
        self._listen(channel)
        opened = asyncio.Event()
        channel.on("open", opened.set)
        if channel.readyState != "open":
            async with asyncio.timeout(SIGNAL_S):
                await opened.wait()
        return channel

    async def hear(self, within_s: float = 10.0) -> Heard:
        """The next message on any channel. TimeoutError after `within_s`."""
        async with asyncio.timeout(within_s):
            return await self._heard.get()

    def all_heard(self) -> list[Heard]:
        """What has come and nobody has asked for."""
        return [self._heard.get_nowait() for _ in range(self._heard.qsize())]

    @property
    def line(self) -> Line:
        """Where this peer's datagrams go; make it long, or lossy. Only once the call is up."""
        if self._line is None:
            if self._connection.sctp is None or self._connection.sctp.state != "connected":
                raise NoWebRtc("no call is up yet: call somebody first")
            ice = self._connection.sctp.transport.transport
            self._line = Line(ice._send)
            ice._send = self._line.send  # aiortc has no face for it; DTLS looks it up for each datagram
        return self._line

    def route(self) -> tuple[str, str]:
        """From and to which address the datagrams of the call go."""
        pairs = self._connection.sctp.transport.transport._connection._nominated.values()
        [pair] = pairs
        return pair.local_candidate.host, pair.remote_candidate.host

    def _listen(self, channel: Any) -> None:
        def message(content: object) -> None:
            self._heard.put_nowait(Heard(str(content), channel.label, self._clock()))

        channel.on("message", message)

    async def _be_told(self) -> None:
        """Take the notes of others, until the signalling ends."""
        with suppress(ConnectionClosed):
            while True:
                note = json.loads(await self._link.recv())
                self.signalled += note["type"] in ("offer", "answer")
                if note["type"] == "offer":
                    await self._describe(note)
                    self._stay_here()
                    await self._connection.setLocalDescription(await self._connection.createAnswer())
                    sdp = self._connection.localDescription.sdp
                    await self._note({"type": "answer", "to": note["from"], "sdp": sdp})
                elif note["type"] == "answer":
                    await self._describe(note)
                    self._answered.set()

    async def _describe(self, note: dict[str, Any]) -> None:
        description = aiortc.RTCSessionDescription(sdp=note["sdp"], type=note["type"])
        await self._connection.setRemoteDescription(description)

    async def _note(self, content: dict[str, Any]) -> None:
        self.signalled += content["type"] in ("offer", "answer")
        await self._link.send(json.dumps(content))

    def _stay_here(self) -> None:
        """Let the candidates of this peer be on the loopback address, and nowhere else."""
        gatherer = self._connection.sctp.transport.transport.iceGatherer._connection
        gather = type(gatherer).get_component_candidates

        async def here(component: int, addresses: list[str], timeout: int = 5) -> Any:
            return await gather(gatherer, component, [HERE], timeout)

        gatherer.get_component_candidates = here
