"""One address for several instances: nginx where it is, the relay anywhere, and both do what is said."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from labsupport.measure.front import Front, FrontError, answers, nginx_program, open_front

NGINX = pytest.mark.skipif(nginx_program() is None, reason="nginx is not installed")
KINDS = [pytest.param(False, id="relay"), pytest.param(True, id="nginx", marks=NGINX)]


class Instance:
    """A small server that says its name, and streams its name until it ends."""

    def __init__(self, name: str) -> None:
        self.name, self.url = name, ""
        self.more = asyncio.Event()

    async def start(self) -> None:
        app = web.Application()
        app.add_routes([web.get("/", self.whole), web.get("/stream", self.stream)])
        self.runner = web.AppRunner(app, shutdown_timeout=0)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self.runner.addresses[0][1]}"

    async def whole(self, request: web.Request) -> web.Response:
        return web.Response(text=self.name, headers={"Heard-Host": request.host})

    async def stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first")
        await self.more.wait()
        await response.write(b"second")
        return response

    async def end(self) -> None:
        await self.runner.cleanup()


@pytest.fixture(params=KINDS)
async def both(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Front, list[Instance]]]:
    instances = [Instance("one"), Instance("two")]
    async with AsyncExitStack() as stack:
        for instance in instances:
            await instance.start()
            stack.push_async_callback(instance.end)
        front = await open_front([instance.url for instance in instances], nginx=request.param)
        stack.push_async_callback(front.close)
        async with asyncio.timeout(60):
            yield front, instances


async def ask(front: Front, count: int) -> list[str]:
    found = []
    for _ in range(count):
        async with aiohttp.ClientSession() as http, http.get(front.url) as response:
            found.append(await response.text())
    return found


async def test_new_connections_go_to_the_instances_in_turn(both: Any) -> None:
    front, _ = both
    assert sorted(await ask(front, 4)) == ["one", "one", "two", "two"]


async def test_an_instance_that_is_gone_is_passed_over(both: Any) -> None:
    front, instances = both
    await instances[0].end()
    assert await ask(front, 4) == ["two"] * 4


async def test_an_instance_hears_the_address_that_the_client_asked(both: Any) -> None:
    front, _ = both
    async with aiohttp.ClientSession() as http, http.get(front.url) as response:
        assert f"http://{response.headers['Heard-Host']}" == front.url


async def test_a_stream_is_not_held_back(both: Any) -> None:
    front, instances = both
    async with aiohttp.ClientSession() as http, http.get(f"{front.url}/stream") as response:
        assert await response.content.readany() == b"first"
        for instance in instances:
            instance.more.set()
        assert await response.content.read() == b"second"


async def test_after_its_end_nobody_listens_there(both: Any) -> None:
    front, _ = both
    await front.close()
    assert not await answers("127.0.0.1", int(front.url.rpartition(":")[2]))


async def test_where_nginx_is_installed_and_does_not_start_the_relay_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "nginx"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("labsupport.measure.front.START_S", 0.2)
    front = await open_front(["http://127.0.0.1:1"])
    assert front.kind == "relay"
    await front.close()
    with pytest.raises(FrontError, match="did not listen within 0.2 s"):
        await open_front(["http://127.0.0.1:1"], nginx=True)


def test_nginx_is_found_where_only_the_path_of_root_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "sbin" / "nginx"
    program.parent.mkdir()
    program.touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("labsupport.measure.front.SBIN", str(program.parent))
    assert nginx_program() == str(program)


async def test_where_nginx_is_not_installed_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("labsupport.measure.front.SBIN", str(tmp_path))
    with pytest.raises(FrontError, match="apt-get install nginx"):
        await open_front(["http://127.0.0.1:1"], nginx=True)


async def test_an_address_for_nobody_is_refused() -> None:
    with pytest.raises(ValueError, match="the addresses of the instances"):
        await open_front([], nginx=False)


SCRIPT = """
import asyncio
from labsupport.measure.front import open_front

async def main():
    print((await open_front(["http://127.0.0.1:1"], nginx=True)).url, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@NGINX
async def test_nginx_ends_with_the_process_that_opened_it_even_if_that_is_killed() -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", SCRIPT, stdout=subprocess.PIPE)
    async with asyncio.timeout(60):
        assert process.stdout is not None
        port = int((await process.stdout.readline()).decode().rpartition(":")[2])
        assert await answers("127.0.0.1", port)
        os.kill(process.pid, signal.SIGKILL)
        await process.wait()
        while await answers("127.0.0.1", port):
            pass
