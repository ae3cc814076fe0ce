"""Servers and the notebook's kernel: a real ipykernel dies every death, and leaves no server behind.

The server here is a middlebox without anything behind it: it needs nothing else, and ends like every other.
"""

import os
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.kernelspec import NATIVE_KERNEL_NAME
from jupyter_client.manager import KernelManager

PATIENCE_S = 30  # seconds for what must happen; nothing here waits for it to pass
SERVE = (
    "from labsupport.processes import serve; server = serve('middlebox', '--target', 'http://127.0.0.1:9')"
)


class Notebook:
    """A kernel with its client: runs cells and gives their text."""

    def __init__(self, folder: pathlib.Path) -> None:
        folders = ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")
        env = {**os.environ, **{name: str(folder / name.lower()) for name in folders}}
        # Not TCP: its ports are chosen first and bound later, and another server may take one meanwhile.
        self.manager = KernelManager(
            kernel_name=NATIVE_KERNEL_NAME,
            connection_file=str(folder / "kernel.json"),
            transport="ipc",
            ip=str(folder / "kernel"),
        )
        self.manager.start_kernel(env=env, cwd=str(folder))
        self.client: BlockingKernelClient = self.manager.client()
        self.connect()

    def connect(self) -> None:
        self.client.start_channels()
        self.client.wait_for_ready(timeout=PATIENCE_S)

    def run(self, code: str) -> str:
        """The text that the cell printed, or its error."""
        return self.result(self.client.execute(code))

    def result(self, cell: str) -> str:
        text, deadline = "", time.monotonic() + PATIENCE_S
        while True:
            message = self.client.get_iopub_msg(timeout=deadline - time.monotonic())
            if message["parent_header"].get("msg_id") != cell:
                continue
            content: dict[str, Any] = message["content"]
            if message["msg_type"] == "stream" and content["name"] == "stdout":
                text += content["text"]
            elif message["msg_type"] == "error":
                text += f"{content['ename']}: {content['evalue']}"
            elif message["msg_type"] == "status" and content["execution_state"] == "idle":
                return text.strip()

    def start(self, code: str) -> str:
        """Begin a cell, and return its id once it has printed something."""
        cell = self.client.execute(code)
        deadline = time.monotonic() + PATIENCE_S
        while True:
            message = self.client.get_iopub_msg(timeout=deadline - time.monotonic())
            if message["parent_header"].get("msg_id") == cell and message["msg_type"] == "stream":
                return cell

    def interrupt(self) -> None:
        self.manager.interrupt_kernel()

    def kernel(self) -> psutil.Process:
        return psutil.Process(int(self.run("import os; print(os.getpid())")))

    def server(self) -> psutil.Process:
        return psutil.Process(int(self.run(f"{SERVE}; print(server.pid)")))

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture
def notebook(tmp_path: pathlib.Path) -> Iterator[Notebook]:
    notebook = Notebook(tmp_path)
    yield notebook
    notebook.close()


def runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def becomes(true: Callable[[], object]) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)
    return True


def ends(process: psutil.Process) -> bool:
    return becomes(lambda: not runs(process))


def last_words(code: str) -> Callable[[Notebook], None]:
    def say(notebook: Notebook) -> None:
        notebook.client.execute(code)

    return say


DEATHS: dict[str, Callable[[Notebook], None]] = {
    "restart": lambda notebook: notebook.manager.restart_kernel(now=False),
    "restart now": lambda notebook: notebook.manager.restart_kernel(now=True),
    "shutdown": lambda notebook: notebook.manager.shutdown_kernel(now=False),
    "SIGKILL": lambda notebook: notebook.kernel().kill(),
    "os._exit": last_words("import os; os._exit(1)"),
    "segfault": last_words("import ctypes; ctypes.string_at(0)"),
}


@pytest.mark.parametrize("death", DEATHS)
def test_no_server_outlives_its_kernel(notebook: Notebook, death: str) -> None:
    kernel, server = notebook.kernel(), notebook.server()
    assert runs(server)
    DEATHS[death](notebook)
    assert ends(server)
    assert ends(kernel)


def test_an_interrupt_ends_a_waiting_await_and_no_server_and_the_next_cell_runs(notebook: Notebook) -> None:
    server = notebook.server()
    for wait in ("await asyncio.Event().wait()", "await asyncio.sleep(1000)", "time.sleep(1000)"):
        cell = notebook.start(f"import asyncio, time; print('waiting', flush=True); {wait}")
        notebook.interrupt()
        assert notebook.result(cell).startswith(("CancelledError", "KeyboardInterrupt")), wait
        assert notebook.run("print(server.alive)") == "True"
    assert runs(server)


def test_an_interrupt_while_a_server_starts_leaves_none_behind(
    notebook: Notebook, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "servers").mkdir()
    (tmp_path / "servers" / "__init__.py").touch()
    says_its_pid = "open('pid', 'w').write(str(os.getpid())); os.rename('pid', 'mute')"
    (tmp_path / "servers" / "mute.py").write_text(f"import os, time; {says_its_pid}; time.sleep(1000)")
    notebook.run("from labsupport import processes; import pathlib")
    notebook.run("processes.ROOT, processes.CLOSE_S = pathlib.Path(), 0.1")
    cell = notebook.client.execute("processes.serve('mute')")
    becomes((tmp_path / "mute").exists)
    process = psutil.Process(int((tmp_path / "mute").read_text()))
    notebook.interrupt()
    assert notebook.result(cell).startswith("KeyboardInterrupt")
    assert ends(process)


def test_the_heart_beats_once_and_only_in_a_kernel(notebook: Notebook) -> None:
    beats = "[task.get_name() for task in asyncio.all_tasks()].count('labsupport heartbeat')"
    assert notebook.run(f"import asyncio, labsupport.wire, labsupport; print({beats})") == "1"
    notebook.run("import importlib; importlib.reload(labsupport)")
    assert notebook.run(f"print({beats})") == "1"


def test_a_forked_child_of_the_kernel_keeps_no_server_alive(notebook: Notebook) -> None:
    server = notebook.server()
    kernel = notebook.kernel()
    child = psutil.Process(
        int(notebook.run("import os, signal; child = os.fork() or signal.pause() or 0; print(child)"))
    )
    try:
        kernel.kill()
        assert ends(server)
        assert runs(child)
    finally:
        child.kill()


def test_a_widget_that_is_moved_while_a_cell_waits_hears_that_the_kernel_is_done_with_it(
    notebook: Notebook,
) -> None:
    """The browser holds a widget's next message back until it hears so (ipywidgets' message throttle)."""
    comm = notebook.run(
        "import asyncio, labsupport; from comm import create_comm\n"
        "moved = asyncio.Event(); comm = create_comm('a slider')\n"
        "comm.on_msg(lambda _: moved.set()); print(comm.comm_id)"
    )
    cell = notebook.start(
        f"print('waiting', flush=True)\nasync with asyncio.timeout({PATIENCE_S}): await moved.wait()"
    )
    client = notebook.client
    move = client.session.msg("comm_msg", {"comm_id": comm, "data": {}})
    client.shell_channel.send(move)
    states, deadline = [], time.monotonic() + PATIENCE_S
    while ("cell", "idle") not in states or ("move", "idle") not in states:
        message = client.get_iopub_msg(timeout=deadline - time.monotonic())
        who = {cell: "cell", move["header"]["msg_id"]: "move"}.get(message["parent_header"].get("msg_id"))
        if who and message["msg_type"] == "status":
            states.append((who, message["content"]["execution_state"]))
    assert states.index(("move", "idle")) < states.index(("cell", "idle"))
    assert ("cell", "busy") in states[states.index(("move", "idle")) :], "the waiting cell is shown as done"
