"""What tests of the notifications need: a PostgreSQL of their own, and its end."""

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.conformance.conftest import not_here

ACCOUNTS = ("postgres", "nobody")  # PostgreSQL refuses to run as root
PATIENCE_S = 60


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
    """A PostgreSQL of the test's own, in a temporary folder. It listens on a socket in there, and so on no
    port that somebody else may have."""

    def __init__(self, folder: str) -> None:
        self._programs, self._account = programs(), account()
        self.folder = folder
        if user := self._account.get("user"):
            os.chown(folder, int(str(user)), int(str(self._account["group"])))
        make = [
            "--pgdata",
            f"{folder}/data",
            "--username=lab",
            "--auth=trust",
            "--no-sync",
            "--encoding=UTF8",
        ]
        made = subprocess.run([self._programs / "initdb", *make], **self._options(), check=False)
        assert made.returncode == 0, made.stderr
        self._process: subprocess.Popen[str] | None = None
        self.start()

    def _options(self) -> dict:
        """The environment's language would change the words of the log."""
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return {**pipes, "text": True, "cwd": self.folder, "env": {"LC_ALL": "C.UTF-8"}, **self._account}

    def start(self) -> None:
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": self.folder,
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
                return
        pytest.fail(f"PostgreSQL did not start: {''.join(lines)}")

    def crash(self) -> None:
        """End it at once, with all that it has in hand, as a power cut would but for the disk."""
        assert self._process is not None
        self._process.send_signal(3)  # SIGQUIT: "immediate shutdown"
        self._end()

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(2)  # SIGINT: "fast shutdown"
            self._end()

    def _end(self) -> None:
        assert self._process is not None
        self._process.communicate(timeout=PATIENCE_S)
        self._process = None

    def database(self, name: str) -> str:
        """The URL of a new, empty database."""
        import psycopg

        with psycopg.connect(f"host={self.folder} user=lab dbname=postgres", autocommit=True) as db:
            db.execute(f'CREATE DATABASE "{name}"'.encode())
        return f"postgresql+psycopg://lab@/{name}?host={self.folder}"


@contextmanager
def postgresql() -> Iterator[PostgreSQL]:
    if importlib.util.find_spec("psycopg") is None:
        not_here("psycopg is not installed: pip install -e '.[postgres]'")
    with tempfile.TemporaryDirectory(prefix="lab-pg-") as folder:
        server = PostgreSQL(folder)
        try:
            yield server
        finally:
            server.stop()
