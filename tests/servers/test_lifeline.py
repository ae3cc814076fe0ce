"""A server's life: it says when it is ready, and ends with its parent, however that one dies."""

import asyncio
import os
import signal
import socket
import subprocess
import sys

import pytest

from servers.core import lifeline
from tests.servers.conftest import PATIENCE_S, ROOT

ENDS_IN_ORDER = """
import asyncio
from servers.core.lifeline import announce, watch

async def main():
    stop = asyncio.Event()
    watch(stop)
    announce("http://here", colour="blue")
    await stop.wait()
    print("in order")

asyncio.run(main())
"""
NEVER_CLOSES = ENDS_IN_ORDER.replace('print("in order")', "await asyncio.Event().wait()").replace(
    "async def main", "import servers.core.lifeline\nservers.core.lifeline.CLOSING_S = 0.05\n\nasync def main"
)
BLOCKS = NEVER_CLOSES.replace("await stop.wait()", "while True: pass")


def test_the_ready_line_is_one_line_of_json_with_all_that_is_asked_for(process):
    ready = process("-c", ENDS_IN_ORDER).ready
    assert ready == {"ready": True, "url": "http://here", "pid": ready["pid"], "colour": "blue"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_in_order(process, number):
    running = process("-c", ENDS_IN_ORDER, stdin=subprocess.DEVNULL)  # or its end would do it
    running.popen.send_signal(number)
    assert running.popen.communicate(timeout=PATIENCE_S) == ("in order\n", "")
    assert running.popen.returncode == 0


@pytest.mark.skipif(os.name != "posix", reason="Windows has no signal masks")
def test_a_signal_that_does_not_wake_the_main_thread_ends_the_server_all_the_same(process):
    # The kernel gives it to another thread, as it may; the main thread sleeps on in its wait for events. The
    # same happens, seldom, to a signal that comes just before the main thread begins to wait.
    masked = "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})"
    running = process(
        "-c", ENDS_IN_ORDER.replace("    announce", f"    {masked}\n    announce"), stdin=subprocess.DEVNULL
    )
    running.popen.send_signal(signal.SIGTERM)
    assert running.popen.communicate(timeout=PATIENCE_S) == ("in order\n", "")


def test_the_end_of_stdin_ends_the_server_in_order_and_what_is_written_there_does_not(process):
    running = process("-c", ENDS_IN_ORDER)
    assert running.popen.communicate("a line\n" * 3000, timeout=PATIENCE_S) == ("in order\n", "")
    assert running.popen.returncode == 0


def test_a_socket_as_stdin_is_a_lifeline_too(process):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        running = process("-c", ENDS_IN_ORDER, stdin=theirs)
        theirs.close()
        ours.close()
        assert running.ended() == (0, "")


@pytest.mark.parametrize("stdin", ["null", "file", "closed"])
def test_a_stdin_that_says_nothing_about_the_parent_does_not_end_the_server(process, tmp_path, stdin):
    (tmp_path / "empty").touch()
    # The program itself tells which threads watch: no waiting for an end that must not come.
    program = ENDS_IN_ORDER.replace(
        'colour="blue"', "watching=[each.name for each in __import__('threading').enumerate()]"
    )
    if stdin == "closed":
        program = (
            "import os, sys; " + f"os.close(0); os.execv(sys.executable, [sys.executable, '-c', {program!r}])"
        )
    with open(os.devnull if stdin == "null" else tmp_path / "empty") as file:
        running = process("-c", program, stdin=file)
    assert "life-line" not in running.ready["watching"]
    running.popen.send_signal(signal.SIGTERM)
    assert running.ended() == (0, "")


def test_a_pipe_as_stdin_is_watched(process):
    program = ENDS_IN_ORDER.replace(
        'colour="blue"', "watching=[each.name for each in __import__('threading').enumerate()]"
    )
    assert "life-line" in process("-c", program).ready["watching"]


@pytest.mark.parametrize("program", [NEVER_CLOSES, BLOCKS], ids=["never closes", "blocks its loop"])
def test_a_server_that_does_not_close_is_ended_all_the_same(process, program):
    running = process("-c", program, stdin=subprocess.DEVNULL)
    running.popen.send_signal(signal.SIGTERM)
    code, error = running.ended()
    assert code == 1
    assert error == "closing took more than 0.05 s, so the server was ended\n"


def test_a_signal_that_the_shell_had_ignored_stays_ignored(process):
    program = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + ENDS_IN_ORDER.replace(
        'colour="blue"', "ignored=__import__('signal').getsignal(2) == 1"
    )
    assert process("-c", program).ready["ignored"] is True


PARENT = """
import os, subprocess, sys
server = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdin=subprocess.PIPE)   # its stdout is ours
if sys.argv[2] == "with a fork" and os.fork() == 0:
    os.close(1)
    os.read(0, 1)   # holds the server's stdin open after our death, until the test ends it
    os._exit(0)
os.read(0, 1)
"""


@pytest.mark.skipif(os.name != "posix", reason="Windows has neither SIGKILL nor fork")
@pytest.mark.parametrize("how", ["alone", "with a fork"])
def test_a_server_does_not_outlive_a_parent_that_is_killed(process, how):
    parent = process("-c", PARENT, ENDS_IN_ORDER, how)
    os.kill(parent.popen.pid, signal.SIGKILL)
    # The pipe ends when the last process that can write to it has ended: the server.
    assert parent.popen.stdout.read() == "in order\n"


# ---------------------------------------------------------------- arguments, sockets, limits


def test_without_arguments_a_server_is_for_this_machine_on_any_free_port():
    options = lifeline.arguments("a test").parse_args([])
    assert (options.host, options.port, options.public) == ("127.0.0.1", 0, False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org", "", "127.0.0.1.example.org"])
def test_a_host_that_others_can_reach_needs_a_second_word(capsys, host):
    with pytest.raises(SystemExit):
        lifeline.arguments("a test").parse_args(["--host", host])
    assert "add --public if you mean it" in capsys.readouterr().err
    assert lifeline.arguments("a test").parse_args(["--host", host, "--public"]).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "LOCALHOST", "::1", "[::1]"])
def test_a_host_of_this_machine_alone_needs_none(host):
    assert lifeline.arguments("a test").parse_args(["--host", host]).host == host


@pytest.mark.parametrize("port", ["-1", "65536", "http", "80.0", "", "٣"])
def test_what_is_no_port_is_refused_with_a_sentence(capsys, port):
    with pytest.raises(SystemExit):
        lifeline.arguments("a test").parse_args([f"--port={port}"])
    assert "expected a number from 0 to 65535" in capsys.readouterr().err


def test_a_port_in_use_ends_the_start_with_advice():
    with lifeline.listener("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(SystemExit, match=f"port {port} of 127.0.0.1.*Try --port 0"):
            lifeline.listener("127.0.0.1", port)


def test_a_host_that_does_not_exist_ends_the_start_with_advice():
    with pytest.raises(SystemExit, match="Try --host 127.0.0.1"):
        lifeline.listener("no such host", 0)


def test_a_restarted_server_has_its_port_back_at_once():
    with lifeline.listener("127.0.0.1", 0) as first:
        address = first.getsockname()
        with socket.create_connection(address):
            served, _ = first.accept()
            served.close()  # closed on this side first: the address stays in TIME_WAIT
    lifeline.listener(*address).close()


def test_the_url_is_one_that_a_client_on_this_machine_can_use():
    with lifeline.listener("127.0.0.1", 0) as sock:
        port = sock.getsockname()[1]
        assert lifeline.url_of(sock) == f"http://127.0.0.1:{port}"
        assert lifeline.url_of(sock, "ws") == f"ws://127.0.0.1:{port}"
    with lifeline.listener("0.0.0.0", 0) as sock:
        assert lifeline.url_of(sock) == f"http://127.0.0.1:{sock.getsockname()[1]}"


def test_the_url_of_an_ipv6_listener_has_brackets():
    try:
        probe = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    probe.close()
    with lifeline.listener("::1", 0) as sock:
        assert lifeline.url_of(sock) == f"http://[::1]:{sock.getsockname()[1]}"


async def test_a_small_write_is_not_held_back_on_an_accepted_connection():
    accepted: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def look(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sock = writer.get_extra_info("socket")
        accepted.set_result(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    sock = lifeline.listener("127.0.0.1", 0)
    server = await asyncio.start_server(look, sock=sock)
    _, writer = await asyncio.open_connection(*sock.getsockname())
    assert await accepted == 1
    writer.close()
    server.close()


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such limit")
def test_the_descriptor_limit_is_raised_to_what_the_system_allows():
    program = (
        "import resource as r; from servers.core.lifeline import raise_descriptor_limit\n"
        "hard = r.getrlimit(r.RLIMIT_NOFILE)[1]; r.setrlimit(r.RLIMIT_NOFILE, (64, hard))\n"
        "raise_descriptor_limit(); soft, now = r.getrlimit(r.RLIMIT_NOFILE)\n"
        "print(now == hard and (soft == hard or soft >= 10240))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout == "True\n"
