"""Helpers: processes of the load's own, which take commands a line and end with the one who started them.

    parent -> helper   {"do": "open", "clients": 100}          one JSON object a line on standard input
    helper -> parent   {"progress": 40}                        any number of these, and then
                       {"opened": 100}  or {"error": "..."}    the answer

A process may have only so many descriptors, and Python runs on one core at a time: many connections need
several processes. `Helpers` is the parent's side; `serve_commands` the helper's.
"""

import contextlib
import json
import os
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, Self

from labsupport.measure.sockets import Clock, LoadError
from labsupport.measure.threads import LOOK_S, Stopped

ROOT = Path(__file__).resolve().parents[2]
MOST_HELPERS = 100  # each has two source addresses to itself
# What a helper runs instead of `-m`: the package's own __init__ imports all of it, numpy included, and a
# helper needs four files. That saves 0.2 s of CPU time and 20 MB for each, and there may be sixty.
LEAN = """
import runpy, sys, types
package = types.ModuleType("labsupport.measure")
package.__path__ = [sys.argv.pop(1)]
sys.modules[package.__name__] = package
runpy.run_module(f"labsupport.measure.{sys.argv.pop(1)}", run_name="__main__")
"""
START_S = 30.0  # seconds until a helper answers for the first time; a tenth of one is usual
END_S = 5.0  # seconds to end after its input has ended; to close 20 000 sockets takes a tenth of one
Reply = dict[str, Any]
Commands = Mapping[str, Callable[[Reply], Reply]]


class Helper:
    """One process, running the module `module` of this package."""

    def __init__(self, module: str, *arguments: str) -> None:
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self.replies: queue.SimpleQueue[Reply | None] = queue.SimpleQueue()
        self.said: list[str] = []
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", LEAN, str(Path(__file__).parent), module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": path, "PYTHONIOENCODING": "utf-8"},
            start_new_session=True,  # the notebook's interrupt button means the measurement, not the helper
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, command: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(command).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise self.error() from None

    def receive(self, seconds: float) -> Reply | None:
        """What it says next; None if it says nothing in time."""
        try:
            reply = self.replies.get(timeout=seconds)
        except queue.Empty:
            return None
        if reply is None:
            self.replies.put(None)  # for whoever asks again
            raise self.error()
        if "error" in reply:
            raise LoadError(reply["error"])
        return reply

    def error(self) -> LoadError:
        said = " · ".join(self.said[-5:]) or "nothing"
        return LoadError(f"a process of the load client has ended; it said {said}")

    def cut(self) -> None:
        """Let it end: its input ends."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def wait(self) -> None:
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(1.0)

    def _read(self) -> None:
        stdout: IO[bytes] | None = self._process.stdout
        assert stdout is not None
        with stdout:
            for line in stdout:
                try:
                    reply = json.loads(line)
                except ValueError:
                    reply = None
                if isinstance(reply, dict):
                    self.replies.put(reply)
                else:
                    self.said.append(line.decode("utf-8", "replace").rstrip())
                    del self.said[:-20]
        self.replies.put(None)


class Helpers:
    """Several helpers of one kind, asked side by side. Blocking; end them with close()."""

    def __init__(self, module: str, count: int) -> None:
        if not 1 <= count <= MOST_HELPERS:
            raise LoadError(f"expected 1 to {MOST_HELPERS} processes, got {count}")
        self.all: list[Helper] = []
        try:
            for _ in range(count):
                self.all.append(Helper(module))
        except BaseException:
            self.close()
            raise

    def ask(
        self,
        commands: Mapping[int, Mapping[str, Any]],
        stop: threading.Event,
        seconds: float,
        progress: Callable[[int, int], None] = lambda helper, done: None,
    ) -> dict[int, Reply]:
        """Give helper number k its command, and wait for all answers. `progress(k, done)` meanwhile."""
        for number, command in commands.items():
            self.all[number].send(command)
        return self.answers(list(commands), stop, seconds, progress)

    def answers(
        self,
        numbers: list[int],
        stop: threading.Event,
        seconds: float,
        progress: Callable[[int, int], None] = lambda helper, done: None,
    ) -> dict[int, Reply]:
        """Wait for the answers of these helpers to what they were asked before."""
        ends = Clock() + seconds
        found: dict[int, Reply] = {}
        while len(found) < len(numbers):
            for number in (n for n in numbers if n not in found):
                reply = self.all[number].receive(LOOK_S / len(numbers))
                while reply is not None and "progress" in reply:
                    progress(number, reply["progress"])
                    reply = self.all[number].receive(0)
                if reply is not None:
                    found[number] = reply
            if stop.is_set():
                raise Stopped
            if Clock() > ends:
                missing = len(numbers) - len(found)
                raise LoadError(f"{missing} of {len(numbers)} load processes gave no answer in {seconds:g} s")
        return found

    def close(self) -> None:
        """End them all, side by side. Closing twice does no harm."""
        for helper in self.all:
            helper.cut()
        for helper in self.all:
            helper.wait()
        self.all = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class CommandLine:
    """The helper's side: commands come from a thread, and `fileno()` can be read when there is one.

    When the input ends, the process ends at once, whatever it does: its sockets are reset by the kernel.
    """

    def __init__(self) -> None:
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._bell, self._ring = socket.socketpair()
        threading.Thread(target=self._read, daemon=True).start()

    def fileno(self) -> int:
        return self._bell.fileno()

    def next(self) -> Reply:
        """The next command; waits for it."""
        self._bell.recv(1)
        return dict(json.loads(self._lines.get()))

    def _read(self) -> None:
        # Not sys.stdin: its lock would be held while this thread waits, and Python wants it to end.
        buffer = b""
        while chunk := os.read(0, 65536):
            *lines, buffer = (buffer + chunk).split(b"\n")
            for line in lines:
                self._lines.put(line)
                self._ring.send(b"!")
        os._exit(0)


def say(reply: Mapping[str, Any]) -> None:
    """One line to the parent."""
    print(json.dumps(reply), flush=True)


def serve_commands(line: CommandLine, commands: Commands, idle: Callable[[], None]) -> None:
    """Take commands for ever; `idle()` returns when there is one. What fails is the answer of its command."""
    while True:
        idle()
        command = line.next()
        try:
            reply = commands[command["do"]](command)
        except (LoadError, OSError) as error:
            reply = {"error": str(error)}
        say(reply)
