"""Host: a server answers to its own names alone; no page can point its name at this machine, and read."""

import json
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import aiohttp
import pytest

from servers import recent_changes, short_polling, sse
from servers.core import hosts
from tests.servers.conftest import PATIENCE_S, Process, Running, Start
from tests.servers.streams import run

OWN = [
    "localhost",
    "LOCALHOST:1",
    "127.0.0.1",
    "127.0.0.1:65535",
    "127.9.9.9:5",
    "[::1]",
    "[::1]:80",
    " localhost ",
]
OTHERS = [
    "evil.example",
    "evil.example:80",
    "localhost.evil.example",
    "127.0.0.1.evil.example:80",
    "evil.example@127.0.0.1",
    "localhost@evil.example",
    "127.0.0.1/evil.example",
    "0.0.0.0",
    "192.0.2.1",
    "[::ffff:192.0.2.1]",
    "a:b:c",
    "[::1",
    "::1",
    "localhost:",
    "localhost:1:1",
    "",
]


def options(*arguments: str):
    return sse.arguments().parse_args(arguments)


@pytest.mark.parametrize("field", OWN)
def test_a_name_of_this_machine_is_its_own(field):
    assert hosts.is_own(field, frozenset())


@pytest.mark.parametrize("field", OTHERS)
def test_any_other_name_is_not(field):
    assert not hosts.is_own(field, hosts.names(options()))


def test_its_own_are_also_the_host_the_names_and_the_origins_that_were_given_at_the_start():
    names = hosts.names(
        options(
            *("--host", "lab.example", "--public", "--allow-host", "One.example"),
            *("--allow-host", "[2001:db8::1]", "--allow-origin", "https://Two.example:8443"),
        )
    )
    for field in ("lab.example:80", "one.EXAMPLE", "[2001:db8::1]:80", "two.example"):
        assert hosts.is_own(field, names)
    for field in ("three.example", "x.one.example", "one.example.x"):
        assert not hosts.is_own(field, names)


def test_its_own_is_the_address_at_which_the_connection_came_in():
    assert hosts.is_own("192.0.2.1:8000", frozenset(), here="192.0.2.1")
    assert not hosts.is_own("192.0.2.2:8000", frozenset(), here="192.0.2.1")


def test_under_a_hub_any_name_is_its_own_and_elsewhere_none_but_those_given(monkeypatch):
    monkeypatch.setenv(hosts.HUB, "/user/alice/")
    assert hosts.is_own("hub.example.org", hosts.names(options()))
    assert not hosts.is_own("", hosts.names(options()))
    monkeypatch.delenv(hosts.HUB)
    assert not hosts.is_own("hub.example.org", hosts.names(options()))


@pytest.mark.parametrize(
    ("origin", "field", "its"),
    [
        ("https://hub.example.org", "hub.example.org", True),
        ("http://hub.example.org:8000", "hub.example.org:8000", True),
        ("https://HUB.example.org", "hub.Example.org", True),
        ("https://hub.example.org:8000", "hub.example.org", False),
        ("https://evil.example", "hub.example.org", False),
        ("https://x.hub.example.org", "hub.example.org", False),
        ("null", "hub.example.org", False),
        # another program's page, maybe: --only-origin must be able to keep it out
        ("http://localhost:8888", "localhost:8888", False),
    ],
)
def test_a_page_is_a_servers_own_if_it_came_from_the_name_that_it_asks(origin, field, its):
    assert hosts.is_its_page(origin, field) is its


# ---------------------------------------------------------------- over HTTP


def head(target: str, *lines: str, version: str = "1.1", method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/{version}", *lines, "", ""]).encode()


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as open_things:
        yield open_things


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "OPTIONS"])
async def test_a_page_that_pointed_its_name_here_reads_nothing_and_changes_nothing(short: Running, method):
    await short.say("secret")
    for target in ("/messages", "/stats", "/fault", "/nothing"):
        wire = await short.wire(
            head(target, "Host: evil.example:80", "Origin: http://evil.example:80", method=method)
        )
        status, fields, body = await wire.answer()
        assert (status, json.loads(body)["error"]) == (403, "this server is not evil.example:80")
        assert "--allow-host" in json.loads(body)["try"]
        assert "access-control-allow-origin" not in fields
    assert short.board.counters.messages == 1


async def test_the_streams_of_every_server_are_closed_to_other_names_too(stack):
    for module, target in ((sse, "/events"), (recent_changes, "/v2/stream/recentchange")):
        server, _ = await run(stack, module)
        status, _, body = await (await server.wire(head(target, "Host: evil.example"))).answer()
        assert (status, json.loads(body)["error"]) == (403, "this server is not evil.example")


@pytest.mark.parametrize("field", OTHERS)
async def test_what_is_no_name_of_this_machine_is_refused_in_one_request(short: Running, field):
    status, _, body = await (await short.wire(head("/messages", f"Host: {field}"))).answer()
    assert status in (400, 403)
    assert json.loads(body)["try"]


@pytest.mark.parametrize("field", OWN)
async def test_what_is_a_name_of_this_machine_is_answered(short: Running, field):
    assert (await (await short.wire(head("/messages", f"Host: {field}"))).answer())[0] == 200


@pytest.mark.parametrize(
    "lines", [(), ("Host: localhost", "Host: evil.example"), ("Host: localhost", "Host: localhost")]
)
async def test_none_or_two_are_refused_as_the_standard_wants(short: Running, lines):
    assert (await (await short.wire(head("/messages", *lines))).answer())[0] == 400


async def test_http_1_0_knows_no_host_and_needs_none(short: Running):
    assert (await (await short.wire(head("/messages", version="1.0"))).answer())[0] == 200


async def test_under_an_allowed_name_its_pages_may_read_and_write_and_those_of_others_may_not(start: Start):
    server = await start(short_polling, "--allow-host", "hub.example.org")
    for origin, status in (("https://hub.example.org", 201), ("https://evil.example", 403)):
        headers = {"Host": "hub.example.org", "Origin": origin}
        answered = await server.post({"data": 1}, headers=headers)
        assert answered[0] == status
    async with server.session.get(
        server.url + "/messages", headers={"Host": "hub.example.org", "Origin": "https://hub.example.org"}
    ) as response:
        assert response.headers["Access-Control-Allow-Origin"] == "https://hub.example.org"
    assert (await server.get(headers={"Host": "other.example.org"}))[0] == 403


# ---------------------------------------------------------------- what stands in between


async def test_the_middlebox_passes_on_a_host_that_its_target_answers_to(process):
    target = process("-m", "servers.short_polling")
    box = process("-m", "servers.middlebox", "--target", target.url)
    async with aiohttp.ClientSession() as session:
        for url in (box.url + "/messages", box.url.replace("127.0.0.1", "localhost") + "/messages"):
            async with session.get(url) as response:
                assert response.status == 200
        async with session.get(
            box.ready["control"] + "/faults", headers={"Host": "evil.example"}
        ) as response:
            assert response.status == 403


# A Jupyter server that answers to any name, as a hub's does. It ends with its standard input.
JUPYTER = """
import json, os, signal, sys, threading
from jupyter_server.serverapp import ServerApp

def follow():
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)

class App(ServerApp):
    def start_ioloop(self):
        print(json.dumps({"ready": True, "url": f"http://127.0.0.1:{self.port}"}), flush=True)
        threading.Thread(target=follow, daemon=True).start()
        super().start_ioloop()

App.launch_instance()
"""


async def test_jupyter_server_proxy_passes_on_the_name_of_the_page_and_pages_of_a_hub_can_use_it(
    process, tmp_path
):
    own = {f"JUPYTER_{name}_DIR": str(tmp_path / name) for name in ("CONFIG", "DATA", "RUNTIME")}
    jupyter = process(
        *("-c", JUPYTER, "--no-browser", "--allow-root", "--ServerApp.port=0", "--ServerApp.log_level=ERROR"),
        *(f"--ServerApp.root_dir={tmp_path}", "--IdentityProvider.token=secret"),
        "--ServerApp.allow_remote_access=True",
        env={**os.environ, **own},
    )

    def through(server: Process) -> str:
        return f"{jupyter.url}/proxy/{server.url.rpartition(':')[2]}"

    def page(name: str) -> dict[str, str]:
        scheme = "http" if name.startswith("localhost") else "https"
        return {"Host": name, "Origin": f"{scheme}://{name}", "Authorization": "token secret"}

    hub = {**os.environ, hosts.HUB: "/user/alice/"}
    at_home = [process("-m", f"servers.{name}") for name in ("sse", "websocket_echo")]
    at_a_hub = [process("-m", f"servers.{name}", env=hub) for name in ("sse", "websocket_echo")]
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(PATIENCE_S)) as session:
        for (sse_server, echo), name in (
            (at_home, f"localhost:{jupyter.url.rpartition(':')[2]}"),
            (at_a_hub, "hub.example.org"),
        ):
            url, headers = through(sse_server), page(name)
            async with session.post(url + "/messages", json={"data": 1}, headers=headers) as response:
                assert response.status == 201
            listening = {**headers, "Accept": "text/event-stream"}
            async with session.get(url + "/events", headers=listening) as response:
                assert (response.status, response.content_type) == (200, "text/event-stream")
                assert (await response.content.readuntil(b"\n\n")).startswith(b"retry: ")
            async with session.ws_connect(through(echo), headers=headers) as socket:
                await socket.send_str("hello")
                assert await socket.receive_str() == "hello"
        async with session.get(
            through(at_home[0]) + "/messages", headers=page("hub.example.org")
        ) as response:
            assert response.status == 403
            assert (await response.json())["error"] == "this server is not hub.example.org"
