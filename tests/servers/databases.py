"""What tests of the notifications need: a PostgreSQL of their own, and its end."""

import importlib.util
import itertools
import os
import pwd
import random
import secrets
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.conformance.conftest import not_here

ACCOUNTS = ("postgres", "nobody")  # PostgreSQL refuses to run as root
PATIENCE_S = 60
PORTS = range(20_000, 32_768)  # below those that systems give to clients: a restart finds its port free
TRIES = 20  # ports


def programs() -> Path:
    """The folder of PostgreSQL's programs: Debian's newest, or on the PATH. Skips where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    on_path = shutil.which("initdb")
    if not found and not on_path:
        not_here("no PostgreSQL here: initdb is neither in /usr/lib/postgresql nor on the PATH")
    return (found[-1] if found else Path(str(on_path))).parent


def account() -> dict[str, object]:
    """Arguments for subprocess: run as somebody who is not root."""
    if os.getuid() != 0:
        return {}
    for name in ACCOUNTS:
        with suppress(KeyError):
            one = pwd.getpwnam(name)
            return {"user": one.pw_uid, "group": one.pw_gid, "extra_groups": []}
    return not_here(
        f"PostgreSQL refuses to run as root, and there is none of the accounts {', '.join(ACCOUNTS)}"
    )


class PostgreSQL:
    """A PostgreSQL of the test's own: in a temporary folder, on a free port of 127.0.0.1.

    Its password is in a file, where libpq looks it up (PGPASSFILE), and so in no URL, command line or log.
    """

    def __init__(self, folder: str) -> None:
        self._programs, self._account = programs(), account()
        self.folder, self.port = folder, 0
        self._numbers = itertools.count()
        if user := self._account.get("user"):
            os.chown(folder, int(str(user)), int(str(self._account["group"])))
        self._secret = secrets.token_urlsafe()
        self.passwords = self._private("passwords", f"*:*:*:*:{self._secret}\n", own=False)
        make = [
            f"--pgdata={folder}/data",
            "--username=lab",
            "--auth=password",  # as it is: what is sent to oneself need not be hashed 4096 times
            f"--pwfile={self._private('first', self._secret)}",
            "--no-sync",
            "--encoding=UTF8",
        ]
        made = subprocess.run([self._programs / "initdb", *make], **self._options(), check=False)
        assert made.returncode == 0, made.stderr
        self._process: subprocess.Popen[str] | None = None
        self.start()

    def _private(self, name: str, text: str, own: bool = True) -> Path:
        """A file for one pair of eyes: PostgreSQL's own, or the test's."""
        path = Path(self.folder, name)
        path.touch(mode=0o600)
        path.write_text(text)
        if own and (user := self._account.get("user")):
            os.chown(path, int(str(user)), -1)
        return path

    def _options(self) -> dict:
        """The environment's language would change the words of the log."""
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return {**pipes, "text": True, "cwd": self.folder, "env": {"LC_ALL": "C.UTF-8"}, **self._account}

    def start(self, ports: Sequence[int] = ()) -> None:
        """On the first of these that is free; by default on its own, or at first on any."""
        ports = ports or ([self.port] if self.port else random.SystemRandom().sample(PORTS, TRIES))
        for port in ports:
            said = self._start(port)
            if not said:
                self.port = port
                return
            if "could not bind" not in said:
                break
        pytest.fail(f"PostgreSQL did not start: {said}")

    def _start(self, port: int) -> str:
        """What it said if it did not start, else nothing."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": "",
            "fsync": "off",  # the machine does not lose its power in a test
            "shared_buffers": "16MB",
            "autovacuum": "off",
        }
        arguments = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        self._process = process = subprocess.Popen(
            [self._programs / "postgres", "-D", f"{self.folder}/data", *arguments],
            **{**self._options(), "stdout": subprocess.DEVNULL},
        )
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if "ready to accept connections" in line:
                # Nobody needs the rest; but a full pipe would hold PostgreSQL up.
                self._reading = threading.Thread(target=process.stderr.read, daemon=True)
                self._reading.start()
                return ""
        process.stderr.close()
        process.wait(PATIENCE_S)
        self._process = None
        return "".join(lines) or "nothing"

    def crash(self) -> None:
        """End it at once, with all that it has in hand, as a power cut would but for the disk."""
        self._end(signal.SIGQUIT)  # "immediate shutdown"

    def stop(self) -> None:
        if self._process is not None:
            self._end(signal.SIGINT)  # "fast shutdown"

    def _end(self, how: signal.Signals) -> None:
        assert self._process is not None
        assert self._process.stderr is not None
        self._process.send_signal(how)
        self._process.wait(PATIENCE_S)
        self._reading.join()
        self._process.stderr.close()
        self._process = None

    def database(self) -> str:
        """The URL of an empty database: in truth a user with a schema, which costs a tenth of one."""
        import psycopg

        name = f"shop{next(self._numbers)}"
        where = f"host=127.0.0.1 port={self.port} user=lab dbname=postgres"
        with psycopg.connect(where, autocommit=True) as db:
            for make in (f"ROLE {name} LOGIN PASSWORD '{self._secret}'", f"SCHEMA AUTHORIZATION {name}"):
                db.execute(f"CREATE {make}".encode())
        return f"postgresql+psycopg://{name}@127.0.0.1:{self.port}/postgres"


@contextmanager
def postgresql() -> Iterator[PostgreSQL]:
    if importlib.util.find_spec("psycopg") is None:
        not_here("psycopg is not installed: pip install -e '.[postgres]'")
    with (
        tempfile.TemporaryDirectory(prefix="lab-pg-") as folder,
        pytest.MonkeyPatch.context() as environment,
    ):
        server = PostgreSQL(folder)
        environment.setenv("PGPASSFILE", str(server.passwords))
        try:
            yield server
        finally:
            server.stop()
