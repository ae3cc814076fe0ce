"""Several processes of the gateway behind one port.

    parent     has the log, and holds no client. It makes a listening socket for each worker, all on the same
               port: the kernel deals new connections out to them (SO_REUSEPORT, Linux 3.9; elsewhere they
               share one). Should a worker die, its socket stays, and the next one goes on with it.
    worker     holds clients. What is posted at a worker goes to the parent, which puts it into the one order,
               and sends it to all; each has a copy of the history, and can resume whoever comes.

Between them is a pair of sockets, with records of a length, a kind, and an event's name in front. A worker
ends with its standard input, which is a pipe from the parent, and when the parent's socket ends.
"""

import asyncio
import collections
import json
import os
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from typing import Any, cast

from servers.core import lifeline
from servers.core.http import Refusal
from servers.core.log import MessageLog

HELLO, BEGIN, POST, ENTRY, POSTED, ASK, FIGURES, TOTAL = range(8)
MOST_BEHIND = 32 << 20  # bytes that the parent keeps for a worker that does not read; then it is ended
MOST_DEATHS = 5  # of workers, within DEATHS_S; then something is wrong that another start does not mend
DEATHS_S = 10.0
AGAIN_S = 0.2  # seconds before a dead worker is started again
READY_S = 15.0  # seconds for the workers to start, and WORKER_S more for each: it needs a third of a second
WORKER_S = 1.0  # of one core, and sixty of them on a full machine more than a quarter of a minute

_RECORD = struct.Struct("!IBH")  # bytes behind this; kind; bytes of the event's name, which come first

Record = Callable[["Channel", int, str, bytes], None]


class Channel(asyncio.Protocol):
    """One end of the line between parent and worker: records in, records out, in order."""

    def __init__(self, on_record: Record, on_end: Callable[["Channel"], None]) -> None:
        self._on_record, self._on_end = on_record, on_end
        self._buffer = bytearray()
        self._out: list[bytes] = []
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def send(self, kind: int, event: str = "", payload: bytes = b"") -> None:
        """Send a record. All that are sent in one turn of the loop go out in one write."""
        if not self._out:
            asyncio.get_running_loop().call_soon(self._write)
        name = event.encode()
        self._out.append(_RECORD.pack(len(name) + len(payload), kind, len(name)) + name + payload)

    def _write(self) -> None:
        raw, self._out = b"".join(self._out), []
        if self.transport.is_closing():
            return
        self.transport.write(raw)
        if self.transport.get_write_buffer_size() > MOST_BEHIND:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        start = 0
        while len(self._buffer) >= start + _RECORD.size:
            size, kind, name = _RECORD.unpack_from(self._buffer, start)
            body = start + _RECORD.size
            if len(self._buffer) < body + size:
                break
            start = body + size
            event = self._buffer[body : body + name].decode()
            self._on_record(self, kind, event, bytes(self._buffer[body + name : start]))
        del self._buffer[:start]

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_end(self)


# ---------------------------------------------------------------- a worker's end


class Member:
    """A worker's place among the others: it publishes through the parent, and gets what all publish.

    `on_entry` takes each message, its own ones too; `figures` gives this worker's counters.
    """

    def __init__(self, gone: Callable[[], None]) -> None:
        self.log: MessageLog
        self.on_entry: Callable[[str, bytes], str] = lambda event, raw: self.log.append_json(event, raw).id
        self.figures: Callable[[], dict[str, Any]] = dict
        self._gone = gone
        self._begun = asyncio.get_running_loop().create_future()
        self._posted: collections.deque[asyncio.Future[str]] = collections.deque()
        self._asked: list[asyncio.Future[dict[str, Any]]] = []
        self._keep = 0

    async def connect(self, sock: socket.socket, keep: int) -> None:
        """Come up to date: get the history, as far as the parent remembers it."""
        self._keep = keep
        loop = asyncio.get_running_loop()
        _, self._line = await loop.create_unix_connection(lambda: Channel(self._record, self._end), sock=sock)
        await self._begun

    def ready(self) -> None:
        self._line.send(BEGIN)

    async def publish(self, messages: Sequence[tuple[str, bytes]]) -> str:
        """The position that the last of these messages got."""
        for event, raw in messages:
            answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            self._posted.append(answer)
            self._line.send(POST, event, raw)
        return await answer

    async def total(self) -> dict[str, Any]:
        """The counters of all workers together."""
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._asked.append(answer)
        self._line.send(ASK)
        return await answer

    def _record(self, line: Channel, kind: int, event: str, payload: bytes) -> None:
        if kind == HELLO:
            self.log = MessageLog(self._keep, **json.loads(payload))
        elif kind == BEGIN:
            self._begun.set_result(None)
        elif kind == ENTRY:
            self.on_entry(event, payload)
        elif kind == POSTED:
            _settle(self._posted.popleft(), payload.decode())
        elif kind == ASK:
            line.send(FIGURES, "", json.dumps(self.figures()).encode())
        elif kind == TOTAL:
            asked, self._asked = self._asked, []
            for answer in asked:
                _settle(answer, json.loads(payload))

    def _end(self, line: Channel) -> None:
        waiting: list[asyncio.Future[Any]] = [*self._posted, *self._asked]
        for answer in waiting:
            if not answer.done():
                answer.set_exception(Refusal(503, "this process of the gateway ends", "again"))
        self._gone()


def _settle(answer: "asyncio.Future[Any]", value: Any) -> None:
    if not answer.done():  # the client that waited may have gone
        answer.set_result(value)


# ---------------------------------------------------------------- the parent's end


class Parent:
    """Starts the workers, keeps them going, and puts what they publish into one order."""

    def __init__(self, log: MessageLog, command: Sequence[str], listeners: Sequence[socket.socket]) -> None:
        self.failed = asyncio.Event()
        self._log, self._command, self._listeners = log, command, listeners
        self._members: dict[Channel, bool] = {}  # whether it serves already
        self._serving = asyncio.Event()
        self._ending = asyncio.Event()
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._deaths: collections.deque[float] = collections.deque(maxlen=MOST_DEATHS)
        self._posted: list[tuple[Channel, bytes]] = []  # in this turn of the loop: from whom, and its place
        self._askers: list[Channel] = []
        self._figures: dict[Channel, dict[str, Any] | None] = {}  # of those who were asked
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start all workers; returns when each serves."""
        self._tasks = [asyncio.create_task(self._keep(number)) for number in range(len(self._listeners))]
        failed = asyncio.create_task(self.failed.wait())
        serving = asyncio.create_task(self._serving.wait())
        limit_s = READY_S + WORKER_S * len(self._listeners)
        await asyncio.wait([failed, serving], timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        failed.cancel()
        if not serving.done():
            serving.cancel()
            if not self.failed.is_set():
                print(f"not all workers served after {limit_s:g} s: try fewer --processes", file=sys.stderr)
            self.failed.set()

    async def end(self) -> None:
        """Let every worker drain; returns when all have ended. lifeline.CLOSING_S bounds them, and this."""
        self._ending.set()
        for sock in set(self._listeners):
            sock.close()
        for process in self._processes.values():
            assert process.stdin is not None
            process.stdin.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _keep(self, number: int) -> None:
        """Run the worker with this number, again and again."""
        loop = asyncio.get_running_loop()
        while not self._ending.is_set():
            ours, theirs = socket.socketpair()
            fds = theirs.fileno(), self._listeners[number].fileno()
            process = await asyncio.create_subprocess_exec(
                *self._command, f"--worker={fds[0]},{fds[1]}", stdin=asyncio.subprocess.PIPE, pass_fds=fds
            )
            theirs.close()
            self._processes[number] = process
            _, line = await loop.create_unix_connection(lambda: Channel(self._record, self._left), sock=ours)
            self._welcome(line)
            code = await process.wait()
            line.transport.abort()
            if self._ending.is_set():
                return
            _say(f"worker {process.pid} ended ({code}); another one takes its place")
            self._deaths.append(loop.time())
            if len(self._deaths) == MOST_DEATHS and self._deaths[-1] - self._deaths[0] < DEATHS_S:
                _say(f"{MOST_DEATHS} workers have died within {DEATHS_S:g} s: the gateway ends")
                self.failed.set()
                return
            await asyncio.sleep(AGAIN_S)

    def _welcome(self, line: Channel) -> None:
        epoch, _, oldest = self._log.oldest.rpartition("-")
        line.send(HELLO, "", json.dumps({"epoch": epoch, "newest": int(oldest)}).encode())
        for entry in self._log.after(None):
            line.send(ENTRY, entry.event, entry.json)
        line.send(BEGIN)
        self._members[line] = False

    def _record(self, line: Channel, kind: int, event: str, payload: bytes) -> None:
        if kind == POST:
            entry = self._log.append_json(event, payload)
            for member in self._members:
                member.send(ENTRY, event, payload)
            if not self._posted:
                asyncio.get_running_loop().call_soon(self._confirm)
            self._posted.append((line, entry.id.encode()))
        elif kind == BEGIN:
            self._members[line] = True
            if sum(self._members.values()) == len(self._listeners):
                self._serving.set()
        elif kind == ASK:
            self._askers.append(line)
            if not self._figures:
                self._figures = {member: None for member, serves in self._members.items() if serves}
                for member in self._figures:
                    member.send(ASK)
        elif kind == FIGURES and line in self._figures:
            self._figures[line] = json.loads(payload)
            self._answer()

    def _confirm(self) -> None:
        """Tell who posted where it went. All have been sent it by then: whichever is asked next has it."""
        posted, self._posted = self._posted, []
        for line, position in posted:
            line.send(POSTED, "", position)

    def _answer(self) -> None:
        """Tell the sum to those who asked, once all have said theirs."""
        if self._figures and None not in self._figures.values():
            figures = [each for each in self._figures.values() if each is not None]
            total = json.dumps(add_up(figures)).encode()
            askers, self._askers, self._figures = self._askers, [], {}
            for line in askers:
                line.send(TOTAL, "", total)

    def _left(self, line: Channel) -> None:
        self._members.pop(line, None)
        self._askers = [asker for asker in self._askers if asker is not line]
        if self._figures.pop(line, None) is None:
            self._answer()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def add_up(figures: list[Any]) -> Any:
    """The sum of counters of the same shape: numbers are added, lists joined."""
    first = figures[0]
    if isinstance(first, dict):
        return {name: add_up([each[name] for each in figures]) for name in first}
    return sum(figures[1:], first)


def listeners(host: str, port: int, number: int) -> list[socket.socket]:
    """A listening socket for each of `number` workers, all on one port."""
    first = lifeline.listener(host, port)
    if not hasattr(socket, "SO_REUSEPORT") or sys.platform != "linux":
        return [first] * number
    # With SO_REUSEPORT a second gateway could join in on this port unnoticed. So the port is first taken the
    # ordinary way, which fails if it is not free.
    address = first.getsockname()
    first.close()
    made = []
    for _ in range(number):
        sock = socket.socket(first.family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            sock.bind(address)
        except OSError as error:
            raise SystemExit(
                f"Cannot listen on port {address[1]} of {host}: {error}. Try --port 0."
            ) from error
        sock.listen(lifeline.BACKLOG)
        sock.setblocking(False)
        made.append(sock)
    return made


def inherited(numbers: str) -> tuple[socket.socket, socket.socket]:
    """The worker's end of the line, and its listening socket, from the argument that its parent gave it."""
    line, listening = (socket.socket(fileno=int(number)) for number in numbers.split(","))
    for sock in (line, listening):
        os.set_inheritable(sock.fileno(), False)
        sock.setblocking(False)
    return line, listening
