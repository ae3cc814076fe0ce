"""One address in front of several instances, as clients of a real service have it: nginx, or a small relay.

    door = await open_front([one.url, two.url])      # door.url; door.kind is "nginx" or "relay"
    …
    await door.close()

nginx is taken where it is installed, and set as streams need it: nothing held back, no cut after a minute of
silence, an instance that does not answer is left out for a second. Elsewhere a relay in this process does the
part that matters here: each new connection goes to the next instance that can be reached, as bytes.

Left out: TLS, weights, health checks, sticky sessions (nothing here needs them), draining.
"""

import asyncio
import contextlib
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

START_S = 10.0  # seconds for nginx to listen; a fifth of one is usual
STOP_S = 5.0  # seconds for it to end
CHUNK = 1 << 16  # bytes
SBIN = "/usr/sbin:/usr/local/sbin"  # where Debian puts nginx, and only root's PATH looks

NGINX = """
daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
  uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  upstream instances {{ {servers} }}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location / {{
      proxy_pass http://instances;
      proxy_http_version 1.1;          # 1.0 knows no chunks, and a stream is made of them
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;  # else the instance hears the upstream's name, which is not its own
      proxy_buffering off;             # else events wait until four kilobytes have come together
      proxy_read_timeout 1h;           # else a stream is cut after a minute of silence
    }}
  }}
}}
"""

# Ends nginx when this process does, by whatever death: then the shell's standard input ends.
LIFELINE = '"$2" -e "$1/error.log" -p "$1" -c "$1/nginx.conf" & pid=$!; read _; kill $pid; wait $pid'


class FrontError(RuntimeError):
    """nginx did not start. The text says what it said."""


class Front:
    """An address for many. `kind` says who answers there."""

    kind = ""

    def __init__(self, addresses: Sequence[str]) -> None:
        if not addresses:
            raise ValueError("expected the addresses of the instances, got none: try [one.url, two.url]")
        self.places = [(str(urlsplit(one).hostname), int(urlsplit(one).port or 80)) for one in addresses]
        self.url = ""

    async def open(self) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        """End it, and every connection through it."""
        raise NotImplementedError


class Nginx(Front):
    kind = "nginx"

    async def open(self) -> None:
        program, port = nginx_program(), free_port()
        if program is None:
            raise FrontError(f"nginx is neither on the PATH nor in {SBIN}. Try: apt-get install nginx-light")
        self._start(program, port)
        self.url = f"http://127.0.0.1:{port}"
        try:
            async with asyncio.timeout(START_S):
                while not await answers("127.0.0.1", port):  # noqa: ASYNC110 - it asks each time
                    await asyncio.sleep(0.02)
        except TimeoutError:
            said = self._said()
            await self.close()
            raise FrontError(f"nginx did not listen within {START_S:g} s. It said: {said}") from None

    def _start(self, program: str, port: int) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="front-", ignore_cleanup_errors=True)
        servers = " ".join(f"server {host}:{at} max_fails=1 fail_timeout=1s;" for host, at in self.places)
        config = NGINX.format(folder=self._folder.name, servers=servers, port=port)
        Path(self._folder.name, "nginx.conf").write_text(config)
        command = ["sh", "-c", LIFELINE, "front", self._folder.name, program]
        self._shell = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)

    def _said(self) -> str:
        log = Path(self._folder.name, "error.log")
        return log.read_text() if log.exists() else "nothing"

    async def close(self) -> None:
        assert self._shell.stdin is not None
        with contextlib.suppress(OSError):
            self._shell.stdin.close()
        try:
            await asyncio.to_thread(self._shell.wait, STOP_S)
        except subprocess.TimeoutExpired:
            self._shell.kill()
            self._shell.wait()
        self._folder.cleanup()


class Relay(Front):
    kind = "relay"

    async def open(self) -> None:
        self._turn = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, backlog=1024)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._carry_both(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry_both(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            for _ in self.places:
                host, port = self.places[self._turn % len(self.places)]
                self._turn += 1
                with contextlib.suppress(OSError):
                    there = await asyncio.open_connection(host, port)
                    await _both_ways((reader, writer), there)
                    return
        finally:
            writer.close()


Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _both_ways(here: Ends, there: Ends) -> None:
    """Carry bytes until both sides have said all they have to say."""
    try:
        await asyncio.gather(_carry(here[0], there[1]), _carry(there[0], here[1]))
    finally:
        there[1].close()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError, RuntimeError):
        writer.write_eof()


async def open_front(addresses: Sequence[str], *, nginx: bool | None = None) -> Front:
    """Open one. `nginx`: True or False to insist; by default it is taken where it is installed and starts."""
    if nginx or (nginx is None and nginx_program()):
        front: Front = Nginx(addresses)
        try:
            await front.open()
            return front
        except FrontError:
            if nginx:
                raise
    front = Relay(addresses)
    await front.open()
    return front


def nginx_program() -> str | None:
    """The path of nginx, or None where it is not installed."""
    return shutil.which("nginx") or shutil.which("nginx", path=SBIN)


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def answers(host: str, port: int) -> bool:
    """Whether somebody listens there."""
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True
