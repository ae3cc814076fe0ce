"""Servers as processes: one each, ended in order or by force, and errors that say what was said.

The servers here are small scripts in a servers/ folder of the test's own, each with one trait.
"""

import contextlib
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator

import pytest

from labsupport import processes
from labsupport.processes import Middlebox, Server, ServerError, middlebox, serve, stop_all

ROOT = processes.ROOT
PATIENCE_S = 20  # seconds for what must happen; nothing here waits for it to pass

SERVER = """
import argparse, json, os, signal, socket, sys
parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int)
parser.add_argument("--word", default="hello")
options = parser.parse_args()
sock = socket.create_server(("127.0.0.1", options.port))
def announce():
    line = {"ready": True, "url": "http://127.0.0.1:%d" % sock.getsockname()[1], "word": options.word}
    print(json.dumps(line), flush=True)
"""
TRAITS = {
    "plain": "announce(); sys.stdin.read()",
    "talks": "print('before'); announce(); print('ä'); print('x' * 10_000); sys.stdin.read(); print('bye')",
    "chatty": "announce()\nfor n in range(100_000): print('line', n)\nsys.stdin.read()",
    "stubborn": "signal.signal(signal.SIGTERM, signal.SIG_IGN); announce()\nwhile True: signal.pause()",
    "deaf": "announce()\nwhile True: signal.pause()",
    "broken": "print('the cable is not plugged in'); sys.exit(3)",
    "mute": "sys.stdin.read()",
    "closes_stdout": "os.close(1); os.close(2); sys.stdin.read()",
    "odd": "print('{\"ready\"'); announce(); sys.stdin.read()",
    "echoes": """
import threading
def echo():
    while True:
        end = sock.accept()[0]
        end.sendall(end.recv(100))
        end.close()
threading.Thread(target=echo, daemon=True).start()
announce()
sys.stdin.read()""",
}


@pytest.fixture
def traits(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    folder = tmp_path / "servers"
    folder.mkdir()
    (folder / "__init__.py").touch()
    for name, trait in TRAITS.items():
        (folder / f"{name}.py").write_text(SERVER + trait, encoding="utf-8")
    monkeypatch.setattr(processes, "ROOT", tmp_path)
    monkeypatch.setattr(processes, "_RUNNING", {})  # stop_all() is not to end what other tests use
    yield
    stop_all()


def becomes(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


def listens(url: str) -> bool:
    address = urllib.parse.urlsplit(url)
    with contextlib.suppress(OSError), socket.create_connection((address.hostname, address.port), 5):
        return True
    return False


def ask(url: str, data: bytes) -> bytes:
    address = urllib.parse.urlsplit(url)
    with socket.create_connection((address.hostname, address.port), PATIENCE_S) as sock:
        sock.sendall(data)
        return sock.recv(100)


pytestmark = pytest.mark.usefixtures("traits")


def test_a_served_server_is_alive_and_listens_and_after_stop_neither() -> None:
    server = serve("plain")
    assert server.alive
    assert listens(server.url)
    assert server.info["word"] == "hello"
    server.stop()
    assert not server.alive
    assert not listens(server.url)
    server.stop()


def test_asking_again_gives_the_same_server_and_other_arguments_or_a_name_another() -> None:
    first = serve("plain")
    assert serve("plain") is first
    assert serve("plain", "--word", 5).info["word"] == "5"
    second = serve("plain", instance="second")
    assert second is not first
    assert second.pid != first.pid
    assert serve("plain", instance="second") is second


def test_asking_after_its_death_gives_a_new_one() -> None:
    first = serve("plain")
    first.kill()
    assert not first.alive
    second = serve("plain")
    assert second is not first
    assert second.alive


def test_asking_for_a_paused_one_gives_one_that_runs() -> None:
    server = serve("echoes")
    server.pause()
    assert serve("echoes") is server
    assert ask(server.url, b"hi") == b"hi"


def test_many_threads_that_ask_at_once_get_one_server() -> None:
    found: list[Server] = []
    threads = [threading.Thread(target=lambda: found.append(serve("plain"))) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 5
    assert len({id(server) for server in found}) == 1


def test_its_log_is_what_it_printed_besides_the_ready_line() -> None:
    server = serve("talks")
    server.stop()
    assert server.log[:2] == ["before", "ä"]
    assert "".join(server.log[2:-1]) == "x" * 10_000
    assert server.log[-1] == "bye"
    assert all(len(line) <= processes.LINE_BYTES for line in server.log)


def test_a_chatty_server_neither_stands_still_nor_fills_the_memory() -> None:
    server = serve("chatty")
    becomes(lambda: server.log[-1:] == ["line 99999"])
    assert len(server.log) == processes.LOG_LINES


def test_an_odd_line_before_the_ready_line_is_only_logged() -> None:
    server = serve("odd")
    assert server.url.startswith("http://127.0.0.1:")
    assert server.log == ['{"ready"']


@pytest.mark.parametrize("name", ["deaf", "stubborn"])
def test_a_server_that_does_not_listen_to_its_lifeline_is_ended_all_the_same(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "CLOSE_S", 0.1)
    monkeypatch.setattr(processes, "TERMINATE_S", 0.1)
    server = serve(name)
    server.stop()
    assert not server.alive


def test_a_paused_server_accepts_but_does_not_answer_until_it_is_resumed() -> None:
    server = serve("echoes")
    address = urllib.parse.urlsplit(server.url)
    server.pause()
    server.pause()
    assert server.alive
    assert stopped(server.pid)
    with socket.create_connection((address.hostname, address.port), PATIENCE_S) as sock:
        sock.sendall(b"hi")
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.recv(10)
        server.resume()
        server.resume()
        sock.settimeout(PATIENCE_S)
        assert sock.recv(10) == b"hi"


def stopped(pid: int) -> bool:
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


@pytest.mark.parametrize("end", [Server.stop, Server.kill])
def test_a_paused_server_can_be_ended(end: Callable[[Server], None]) -> None:
    server = serve("plain")
    server.pause()
    end(server)
    assert not server.alive
    with pytest.raises(ServerError, match=r"has ended.*Try restart\(\)"):
        server.pause()


def test_a_server_that_dies_before_it_can_be_paused_is_said_to_have_died(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = serve("plain")
    monkeypatch.setattr(signal, "SIGSTOP", signal.SIGKILL)
    with pytest.raises(ServerError, match="signal SIGKILL"):
        server.pause()
    assert not server.alive


def test_pause_says_what_to_do_where_there_is_no_sigstop(monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve("plain")
    with monkeypatch.context() as patch:
        patch.setattr(os, "name", "nt")
        with pytest.raises(ServerError, match="Windows.*forget=True"):
            server.pause()


@pytest.mark.parametrize("before", [lambda server: None, Server.kill, Server.stop, Server.pause])
def test_restart_gives_a_new_process_at_the_same_address(before: Callable[[Server], None]) -> None:
    server = serve("plain", "--word", "mine")
    url, pid = server.url, server.pid
    before(server)
    server.restart()
    assert (server.url, server.info["word"]) == (url, "mine")
    assert server.pid != pid
    assert listens(url)
    assert serve("plain", "--word", "mine") is server


def test_a_restart_onto_a_taken_port_carries_the_servers_own_words() -> None:
    server = serve("plain")
    server.stop()
    other = socket.create_server(("127.0.0.1", urllib.parse.urlsplit(server.url).port))
    with other, pytest.raises(ServerError, match="Address already in use"):
        server.restart()
    server.restart()
    assert server.alive


def test_a_server_that_ends_at_once_is_an_error_with_its_words() -> None:
    with pytest.raises(
        ServerError, match=r"(?s)servers\.broken .* ended \(exit code 3\).*cable is not plugged in"
    ):
        serve("broken")


@pytest.mark.parametrize("name", ["mute", "closes_stdout"])
def test_a_server_that_says_nothing_is_an_error_and_is_not_left_behind(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []
    start = processes._start_process
    monkeypatch.setattr(
        processes, "_start_process", lambda *words: started.append(start(*words)) or started[-1]
    )
    monkeypatch.setattr(processes, "READY_S", 0.5)
    with pytest.raises(ServerError, match="(?s)no ready line|ended.*It said:\nnothing"):
        serve(name)
    assert started[0].poll() is not None


def test_wrong_arguments_are_an_error_with_the_usage() -> None:
    with pytest.raises(
        ServerError, match=r"(?s)exit code 2.*usage: .*--word.*unrecognized arguments: --wrod"
    ):
        serve("plain", "--wrod", "x")


def test_an_unknown_name_is_an_error_with_those_that_exist() -> None:
    with pytest.raises(
        ServerError, match=r"no server called 'plane'\. Did you mean 'plain'\? There are: broken, "
    ):
        serve("plane")
    with pytest.raises(ServerError, match="no server called '__init__'"):
        serve("__init__")


def test_a_with_block_ends_the_server_also_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), serve("plain") as server:
        raise ZeroDivisionError
    assert not server.alive


def test_its_repr_is_the_same_text_each_time() -> None:
    server = serve("plain")
    assert repr(server) == "<plain: running>"
    server.pause()
    assert repr(server) == "<plain: paused>"
    server.stop()
    assert repr(server) == "<plain: ended>"


def test_stop_all_ends_every_one() -> None:
    servers = [serve("plain"), serve("plain", instance="second"), serve("talks")]
    servers[1].pause()
    stop_all()
    assert not any(server.alive for server in servers)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # the child here does next to nothing
def test_a_forked_child_leaves_the_servers_alone_and_does_not_hold_them() -> None:
    server = serve("plain")
    script_says, child_says = os.pipe()
    child = os.fork()
    if child == 0:  # the child: what atexit would do, and a look at the life-line
        stop_all()
        assert server._process.stdin is not None
        os.write(child_says, b"closed" if server._process.stdin.closed else b"held")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(script_says, 10) == b"closed"
    os.close(script_says)
    os.close(child_says)
    assert server.alive


def test_a_servers_folder_or_module_beside_the_notebook_does_not_stand_in(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside = tmp_path / "notebooks"
    (beside / "servers").mkdir(parents=True)
    (beside / "servers" / "plain.py").write_text("raise SystemExit('the wrong one')")
    (beside / "socket.py").write_text("raise SystemExit('the wrong one')")
    monkeypatch.chdir(beside)
    assert serve("plain").alive


def test_servers_end_with_a_program_that_forgets_them() -> None:
    program = (
        "from labsupport import processes; import sys, pathlib; processes.ROOT = pathlib.Path(sys.argv[1]); "
    )
    program += "print(processes.serve('plain').url)"
    done = subprocess.run(
        [sys.executable, "-c", program, str(processes.ROOT)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    assert not listens(done.stdout.strip())


class TestMiddlebox:
    """The helper against the real middlebox process, with a tiny echo server behind it."""

    @pytest.fixture
    def target(self, traits: None, monkeypatch: pytest.MonkeyPatch) -> Server:
        server = serve("echoes")
        monkeypatch.setattr(processes, "ROOT", ROOT)  # the middlebox is in the real servers folder
        return server

    def test_it_relays_and_records(self, target: Server) -> None:
        box = middlebox(target)
        assert ask(box.url, b"hi") == b"hi"
        becomes(lambda: [r for r in box.recording()["records"] if r["direction"] == "down"])
        recording = box.recording()
        assert recording["target"] == target.url
        assert [(r["direction"], r["kind"], r["data"]) for r in recording["records"][:3]] == [
            ("up", "open", ""),
            ("up", "data", "aGk="),
            ("down", "data", "aGk="),
        ]
        box.forget_recording()
        assert not [r for r in box.recording()["records"] if r["kind"] == "data"]

    def test_asking_again_gives_the_same_box_made_fresh(self, target: Server) -> None:
        box = middlebox(target)
        box.set(forget=True, delay_s=2.5)
        assert (box.faults["forget"], box.faults["delay_s"]) == (True, 2.5)
        assert middlebox(target.url) is box
        assert box.faults["forget"] is False
        assert box.recording()["records"] == []
        assert middlebox(target, instance="second") is not box

    def test_it_forgets_cuts_and_resets_what_is_open(self, target: Server) -> None:
        box = middlebox(target)
        target.pause()  # so that a connection stays open
        address = urllib.parse.urlsplit(box.url)
        with socket.create_connection((address.hostname, address.port), PATIENCE_S) as sock:
            becomes(box.connections)
            box.set(forget=True)
            sock.sendall(b"lost")
            becomes(lambda: box.connections()[0]["up"]["dropped"] == 4)
            box.clear()
            box.cut()
            assert sock.recv(1) == b""
        with socket.create_connection((address.hostname, address.port), PATIENCE_S) as sock:
            becomes(lambda: [c for c in box.connections() if not c["up"]["lost"]])
            box.reset()
            with pytest.raises(ConnectionResetError):
                sock.recv(1)

    def test_a_wrong_fault_is_an_error_with_the_names(self, target: Server) -> None:
        box = middlebox(target)
        with pytest.raises(ServerError, match="no fault is called 'delay'; there are: delay_s"):
            box.set(delay=1)
        with pytest.raises(ServerError, match="delay_s: expected a number"):
            box.set(delay_s="much")

    def test_restart_keeps_both_ports(self, target: Server) -> None:
        box = middlebox(target)
        url, control = box.url, box.info["control"]
        box.set(delay_s=5)
        box.restart()
        assert (box.url, box.info["control"]) == (url, control)
        assert box.faults["delay_s"] == 0
        assert ask(box.url, b"hi") == b"hi"

    def test_it_ends_without_a_word_whatever_is_open(self, target: Server) -> None:
        box = middlebox(target)
        address = urllib.parse.urlsplit(box.url)
        target.pause()
        with contextlib.ExitStack() as stack:
            for _ in range(20):
                stack.enter_context(socket.create_connection((address.hostname, address.port), PATIENCE_S))
            becomes(lambda: len(box.connections()) == 20)
            box.stop()
        assert box.log == []

    def test_a_buffering_box_that_splits_lets_real_polls_pass_on_one_connection(self, target: Server) -> None:
        with serve("short_polling", instance="boxed") as server:
            box = middlebox(server)
            box.set(buffer=True, split=True)
            address = urllib.parse.urlsplit(box.url)
            browser = http.client.HTTPConnection(str(address.hostname), address.port, timeout=PATIENCE_S)
            ports = set()
            with contextlib.closing(browser):
                for _ in range(3):
                    browser.request("GET", "/messages")
                    answer = browser.getresponse()
                    assert answer.status == 200
                    assert json.load(answer)["messages"] == []
                    ports.add(browser.sock.getsockname()[1])
            assert len(ports) == 1

    @pytest.mark.parametrize("end", [Middlebox.cut, Middlebox.reset])
    def test_a_parked_question_is_let_go_when_its_connection_is_ended(
        self, target: Server, end: Callable[[Middlebox], None]
    ) -> None:
        def waiting() -> int:
            with urllib.request.urlopen(f"{server.url}/stats", timeout=PATIENCE_S) as answer:
                return int(json.load(answer)["waiting"])

        with serve("long_polling", instance="boxed") as server:
            box = middlebox(server)
            address = urllib.parse.urlsplit(box.url)
            with socket.create_connection((address.hostname, address.port), PATIENCE_S) as sock:
                sock.sendall(b"GET /messages?wait=30 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                becomes(lambda: waiting() == 1)
                end(box)
                becomes(lambda: waiting() == 0)

    def test_a_box_that_has_ended_says_so(self, target: Server) -> None:
        box = middlebox(target)
        box.stop()
        with pytest.raises(ServerError, match=r"The middlebox has ended.*Try restart\(\)"):
            box.cut()

    def test_a_proxy_in_the_environment_is_not_asked(
        self, target: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        assert middlebox(target).connections() == []

    def test_a_target_beyond_this_machine_is_refused(self, target: Server) -> None:
        with pytest.raises(ServerError, match="expected an address of this machine"):
            middlebox("http://192.0.2.1:80")
