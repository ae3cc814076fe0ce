"""Start, stop, kill, pause and restart the lab's servers from a notebook.

    server = serve("short_polling")     run the cell again: the same server, not a second one
    box = middlebox(server)             a box between client and server; clients use box.url
    box.set(delay_s=0.2)                … and this is what goes wrong in it

Each server is a process of its own, and its standard input is a pipe from this process: its life-line. When
this process ends, by whatever death, the pipe ends, and so does the server. It also sits in a session of its
own, so that the notebook's interrupt button, a signal to the kernel's whole process group, does not reach it.
"""

import atexit
import collections
import contextlib
import difflib
import json
import os
import pathlib
import queue
import signal
import subprocess
import sys
import threading
import types
import urllib.error
import urllib.parse
import urllib.request
from typing import Any, Self, TypeVar

ROOT = pathlib.Path(__file__).resolve().parents[1]  # the folder that holds servers/
READY_S = 20.0  # seconds until the ready line; a fifth of one is usual, but not on a machine that is full
CLOSE_S = 3.0  # seconds to end after its life-line has ended; a server's own limit is 2
TERMINATE_S = 1.0  # seconds to end after SIGTERM; what still runs then is killed
LOG_LINES = 500  # lines kept of what a server prints
LINE_BYTES = 4096  # bytes; a longer line is kept in pieces, so that one that never ends fills no memory
CONTROL_S = 10.0  # seconds for the middlebox to answer; it needs a millisecond, for a full recording a second


class ServerError(RuntimeError):
    """A server did not do what was asked. The text says what it said, and what to try."""


class Server:
    """A server of the lab in a process of its own. `serve` makes one.

    url    where it listens, the same after restart()
    info   its whole ready line, as a dictionary
    log    what it printed besides, the last LOG_LINES lines
    """

    ready_s: float | None = None  # seconds until its ready line; None: READY_S

    def __init__(self, name: str, *arguments: str) -> None:
        self.name = name
        self.arguments = arguments
        self.info: dict[str, Any] = {}
        self._lines: collections.deque[str] = collections.deque(maxlen=LOG_LINES)
        self._paused = False
        self._start()

    def _start(self, *ports: str) -> None:
        """Start the process and wait for its ready line. ServerError carries its log if none comes."""
        begun = threading.Event()
        ready: queue.SimpleQueue[dict[str, Any] | OSError | None] = queue.SimpleQueue()
        arguments = ["--port", "0", *self.arguments, *ports]
        self._pump = threading.Thread(target=self._run, args=(arguments, begun, ready), daemon=True)
        self._paused = late = False
        try:
            self._pump.start()
            info = ready.get(timeout=self.ready_s or READY_S)
        except queue.Empty:
            info, late = None, True
        except BaseException:  # the interrupt button: leave no half-started server behind
            if begun.wait(READY_S):
                self.stop()
            raise
        if isinstance(info, OSError):
            raise info
        if info is None:
            begun.wait()
            self.stop()
            end = f"ended ({_how(self._process.returncode)})"
            what = f"printed no ready line in {self.ready_s or READY_S:g} s" if late else end
            said = "\n".join(self.log[-40:]) or "nothing"
            raise ServerError(f"servers.{self.name} was started, but it {what}. It said:\n{said}")
        self.info = info

    def _run(
        self,
        arguments: list[str],
        begun: threading.Event,
        ready: "queue.SimpleQueue[dict[str, Any] | OSError | None]",
    ) -> None:
        """Start the process, and read its output for all its life: a full pipe that nobody reads stops it.

        In a thread of its own from the start: an interrupt, which comes to the main thread alone, would else
        fall between the process and the name for it.
        """
        try:
            self._process = process = _start_process(f"servers.{self.name}", *arguments)
        except OSError as error:
            ready.put(error)
            return
        begun.set()
        assert process.stdout is not None
        with process.stdout as stdout:
            for line in iter(lambda: stdout.readline(LINE_BYTES), b""):
                if line.startswith(b'{"ready"'):
                    with contextlib.suppress(ValueError):
                        ready.put(json.loads(line))
                        continue
                self._lines.append(line.decode("utf-8", "replace").rstrip("\r\n"))
        ready.put(None)

    @property
    def url(self) -> str:
        return str(self.info["url"])

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process is there; a paused one is."""
        return self._process.poll() is None

    @property
    def log(self) -> list[str]:
        return list(self._lines)

    def stop(self) -> None:
        """End it in order: cut its life-line, and insist if need be. Quiet if it has ended already."""
        self._cut_lifeline()
        steps = ((None, CLOSE_S), (self._process.terminate, TERMINATE_S), (self._process.kill, None))
        for insist, limit_s in steps:
            if insist is not None:
                insist()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(limit_s)
                break
        self._pump.join(1.0)  # the log is whole then; with a limit, since a grandchild may hold the pipe

    def kill(self) -> None:
        """End it as a power cut would (SIGKILL): it closes nothing and says nothing."""
        self._process.kill()
        self._process.wait()
        self._cut_lifeline()
        self._pump.join(1.0)

    def pause(self) -> None:
        """Freeze it (SIGSTOP). Its connections stay open, and the kernel still accepts new ones for it."""
        if os.name != "posix":
            raise ServerError(
                "pause() needs SIGSTOP, which Windows does not have. "
                "Try a middlebox in front of the server: middlebox(server).set(forget=True)."
            )
        if not self.alive:
            raise ServerError(f"{self.name} has ended, so there is nothing to pause. Try restart().")
        if self._paused:
            return
        self._process.send_signal(signal.SIGSTOP)
        _, status = os.waitpid(self.pid, os.WUNTRACED)  # a signal is only a wish: wait until it stands
        if os.WIFSTOPPED(status):
            self._paused = True
        else:  # it died in between, and the call above has collected it
            self._process.returncode = code = os.waitstatus_to_exitcode(status)
            raise ServerError(f"{self.name} ended ({_how(code)}) before it could be paused.")

    def resume(self) -> None:
        """Let a paused server go on. Quiet if it is not paused."""
        if self._paused:
            self._paused = False
            self._process.send_signal(signal.SIGCONT)

    def restart(self) -> None:
        """End it in order and start it again, on the same port and with nothing of its old memory."""
        ports = self._ports()
        self.stop()
        self._start(*ports)

    def _ports(self) -> list[str]:
        return ["--port", _port(self.url)]

    def _cut_lifeline(self) -> None:
        self.resume()  # a frozen process would not notice
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:  # without port and pid, so that a notebook shows the same text each time
        return f"<{self.name}: {'paused' if self._paused else 'running' if self.alive else 'ended'}>"


class Middlebox(Server):
    """A middlebox process and its control port. `middlebox` makes one; clients use its `url`.

    Every call is one short request that waits for its answer: when it returns, the fault is on. It blocks the
    notebook's loop for about a millisecond, and cannot lock up, since the box is a process of its own.
    """

    def set(self, **faults: object) -> None:
        """Switch faults, on open connections too. None switches one off; what is not named stays as it is.

        delay_s, jitter_s       seconds that bytes wait, each way; jitter is drawn on top
        bytes_per_s             throttle, for each connection and direction
        forget                  True: drop everything both ways, and keep the connections open
        half_open               "up" (to the server) or "down": drop one direction
        buffer                  True: hold a response until it has ended, as some proxies do
        split                   True: one byte a write
        idle_s                  seconds of silence after which a connection is closed
        refuse                  True: new connections are refused
        """
        self._ask("PUT", "/faults", faults)

    def clear(self) -> None:
        """Switch every fault off. What was dropped stays lost, and so does a connection that lost it."""
        self._ask("DELETE", "/faults")

    @property
    def faults(self) -> dict[str, Any]:
        """What is switched on now, by the names that `set` takes."""
        return dict(self._ask("GET", "/faults"))

    def cut(self) -> None:
        """End all connections in order (FIN to both sides)."""
        self._ask("POST", "/cut")

    def reset(self) -> None:
        """End all connections at once (RST to both sides)."""
        self._ask("POST", "/reset")

    def connections(self) -> list[dict[str, Any]]:
        """The connections that are open now, oldest first."""
        return list(self._ask("GET", "/connections")["connections"])

    def recording(self) -> dict[str, Any]:
        """Every byte since the last forget_recording(): {"target", "truncated", "records": […]}."""
        return dict(self._ask("GET", "/recording"))

    def forget_recording(self) -> None:
        """Begin a new recording, at t = 0."""
        self._ask("DELETE", "/recording")

    def _ports(self) -> list[str]:
        return [*super()._ports(), "--control-port", _port(str(self.info["control"]))]

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.info["control"] + path, data, method=method)
        request.add_header("Content-Type", "application/json")
        # Without this, a proxy named in the environment would be asked for 127.0.0.1.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=CONTROL_S) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                raise ServerError(_sentence(error)) from None
        except OSError as error:
            state = "has been paused" if self._paused else "does not answer" if self.alive else "has ended"
            raise ServerError(f"The middlebox {state} ({error}). Try restart() or resume().") from error


_RUNNING: dict[tuple[str, tuple[str, ...], str], Server] = globals().get("_RUNNING", {})  # survives a reload
_LOCK = threading.Lock()
S = TypeVar("S", bound=Server)


def serve(name: str, *arguments: object, instance: str = "") -> Server:
    """The running server `name` (servers/NAME.py) with these command-line arguments, started if need be.

    Asking again gives the same one. To have a second, name it: instance="second".
    """
    return _have(Server, name, arguments, instance)


def middlebox(target: Server | str, instance: str = "") -> Middlebox:
    """A middlebox in front of `target` (a server or its URL), with no fault on and an empty recording.

    Asking again gives the same one, made fresh.
    """
    url = target if isinstance(target, str) else target.url
    box = _have(Middlebox, "middlebox", ("--target", url), instance)
    box.clear()
    box.forget_recording()
    return box


def stop_all() -> None:
    """Stop every server that was started from here."""
    servers = list(_RUNNING.values())
    _RUNNING.clear()
    for server in servers:  # all first, so that they end side by side
        server._cut_lifeline()
    for server in servers:
        server.stop()


def _have(kind: type[S], name: str, arguments: tuple[object, ...], instance: str) -> S:
    key = (name, tuple(str(argument) for argument in arguments), instance)
    _check_name(name)
    with _LOCK:
        server = _RUNNING.get(key)
        if not isinstance(server, kind) or not server.alive:
            server = _RUNNING[key] = kind(name, *key[1])
        server.resume()
        return server


def _check_name(name: str) -> None:
    # From the file names, since importing servers is not this module's business.
    names = sorted(path.stem for path in (ROOT / "servers").glob("*.py") if not path.stem.startswith("_"))
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"Did you mean {close[0]!r}? " if close else ""
        raise ServerError(f"There is no server called {name!r}. {hint}There are: {', '.join(names)}.")


def _start_process(module: str, *arguments: str) -> "subprocess.Popen[bytes]":
    options: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        options = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        # -P: a random.py or servers/ in the notebook's own folder must not stand in for the real one.
        [sys.executable, "-P", "-u", "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": path, "PYTHONIOENCODING": "utf-8"},
        **options,
    )


def _port(url: str) -> str:
    return str(urllib.parse.urlsplit(url).port)


def _how(returncode: int | None) -> str:
    if returncode is not None and returncode < 0:
        return f"signal {signal.Signals(-returncode).name}"
    return f"exit code {returncode}"


def _sentence(error: urllib.error.HTTPError) -> str:
    """What a refusal of the control port says: its JSON's "error" and "try", or the status line."""
    try:
        answer = json.load(error)
        return " ".join(str(answer[key]) for key in ("error", "try") if key in answer)
    except (ValueError, TypeError):
        return f"The middlebox answered {error.code} {error.reason}."


def _after_fork_in_child() -> None:
    """Leave the servers to the process that started them: let go of their life-lines, and never stop them."""
    global _LOCK
    _LOCK = threading.Lock()
    for server in _RUNNING.values():
        if server._process.stdin is not None:
            with contextlib.suppress(OSError):
                server._process.stdin.close()
    _RUNNING.clear()


atexit.register(stop_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
