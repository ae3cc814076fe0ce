"""What is known of a machine, as data: the profile that chapters and the planner compute with.

Two profiles exist. The *reference* is committed beside this file, so that every reader sees the same numbers.
*Mine* is the reader's own, written by `python -m labsupport measure`. One switch chooses between them:

    LAB_PROFILE=mine jupyter lab        for everything that is started so
    use("mine")                         for this kernel, from here on

The own profile lies in the reader's folder for settings (`own_path()` says where; LAB_PROFILE_FILE names
another place), never in the repository. A profile says what the machine can do, not whose it is: no host, no
user, no path.
"""

import functools
import json
import math
import os
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from datetime import date
from pathlib import Path
from typing import Any, Self

REFERENCE = Path(__file__).with_name("profiles") / "reference.json"
CHOICES = ("reference", "mine")
MEASURE = "python -m labsupport measure"

_chosen: str | None = None  # set by use(); until then the environment decides


class ProfileError(ValueError):
    """A profile that is not there, or does not say what a profile must say. The text says what to try."""


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Half of all cases were faster than p50, 99 of 100 faster than p99."""

    p50: float
    p99: float


@dataclass(frozen=True, slots=True)
class WireBytes:
    """Bytes of one exchange as TCP carried them, heads included: `up` to the server, `down` from it."""

    up: int
    down: int


@dataclass(frozen=True, slots=True)
class ConnectionBytes:
    """Memory of one idle connection on its server, in bytes. None: this system does not tell."""

    process: float | None  # growth of the server process' resident memory (smaps_rollup)
    kernel: float | None  # the server's end: half of the growth of the slab, which held both ends

    @property
    def both(self) -> float | None:
        """Process and kernel together."""
        return None if self.process is None or self.kernel is None else self.process + self.kernel


def _by_server() -> Any:
    return field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Profile:
    """One machine, as `labsupport.measure` found it. Client and server share that machine.

    None stands for what this system does not tell (memory and CPU figures need Linux), an empty mapping for
    what was not measured. Fields of a newer lab that this one does not know are kept in `more`, and written
    back.

    The mappings have a figure for each way to hold connections. Their keys name the server, and what was
    switched on: "gateway SSE", "gateway WebSocket", "sse", "websocket_chat", "websocket_echo",
    "websocket_echo --compression". "Message" is one of 100 bytes. Times of a CPU are those of the server's
    process, user and system together; over loopback they hold a part of the client's half of TCP as well,
    since the kernel delivers a segment in the time of the one who sends it.
    """

    measured_on: str  # ISO date
    os: str
    python: str
    cores: int  # that this process may use
    memory_bytes: int | None  # of the machine
    descriptors: int | None  # a process may raise itself to this many (the hard limit)
    round_trip_ms: Quantiles  # one poll after another on one open connection
    polls_per_s: float  # answered by one short_polling process, 64 connections asking all the time
    accepts_per_s: float  # new connections whose first request one process answers
    empty_poll_bytes: WireBytes  # a browser's poll that finds nothing
    message_poll_bytes: WireBytes  # the same poll when it brings one message of 100 bytes
    bytes_per_parked_request_process: float | None  # growth of the long_polling process
    bytes_per_parked_request_kernel: float | None  # growth of the kernel's slab, both ends of the connection
    last_of_1000_parked_ms: float  # from one publish to the last of 1 000 waiting clients
    bytes_of_empty_process: Mapping[str, float | None] = (
        _by_server()
    )  # resident memory besides its connections
    bytes_per_idle_connection: Mapping[str, ConnectionBytes] = _by_server()  # nothing sent, nothing queued
    connects_per_s: Mapping[str, float] = _by_server()  # new connections whose handshake one process answers
    cpu_us_per_connect: Mapping[str, float | None] = _by_server()  # to accept one, handshake included
    cpu_us_per_push: Mapping[str, float | None] = _by_server()  # a listener, for one message to many at once
    cpu_us_per_ping: Mapping[str, float | None] = (
        _by_server()
    )  # to read one ping frame and answer with a pong
    cpu_us_per_poll: float | None = None  # to answer one empty poll, by short_polling
    bytes_per_push: Mapping[str, float] = _by_server()  # that TCP carries to one listener for one message
    more: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The profile in the file `path`; ProfileError says what is wrong with it."""
        try:
            given = json.loads(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ProfileError(f"no profile at {path}: run {MEASURE} first") from None
        except (OSError, ValueError) as error:
            raise ProfileError(
                f"the profile at {path} cannot be read ({error}): run {MEASURE} again"
            ) from None
        try:
            return cls.from_dict(given)
        except ProfileError as error:
            raise ProfileError(f"the profile at {path}: {error}") from None

    @classmethod
    def from_dict(cls, given: object) -> Self:
        """The profile that a JSON object describes, each field checked."""
        return typing.cast(Self, _build(cls, given, ""))

    def to_dict(self) -> dict[str, Any]:
        """The profile as a JSON object; what `more` holds stands beside the known fields."""
        known = {f.name: _plain(getattr(self, f.name)) for f in fields(self) if f.name != "more"}
        return known | {name: value for name, value in self.more.items() if name not in known}

    def save(self, path: str | Path) -> Path:
        """Write the file whole or not at all: a reader never meets half a profile."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f"{target.name}.{os.getpid()}.new")
        draft.write_text(json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n", encoding="utf-8")
        draft.replace(target)
        return target

    def __str__(self) -> str:
        return table({"this profile": self})


def profile() -> Profile:
    """The profile that this kernel computes with: the committed reference, unless the switch says "mine"."""
    return _of(chosen())


def chosen() -> str:
    """ "reference" or "mine": what use() said, else LAB_PROFILE, else "reference"."""
    return _chosen or _checked(os.environ.get("LAB_PROFILE") or "reference", "LAB_PROFILE")


def use(which: str) -> Profile:
    """Choose "reference" or "mine" for this kernel, and return it. Nothing changes when it is not there."""
    global _chosen
    found = _of(_checked(which, "use()"))
    _chosen = which
    return found


def own_path() -> Path:
    """Where the reader's own profile lies: LAB_PROFILE_FILE, else the system's folder for settings."""
    if named := os.environ.get("LAB_PROFILE_FILE"):
        return Path(named).expanduser()
    if sys.platform == "win32":
        folder = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        folder = Path.home() / "Library" / "Application Support"
    else:
        folder = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return folder / "realtime-web-lab" / "profile.json"


def table(profiles: Mapping[str, Profile]) -> str:
    """The machine and its polling, side by side as plain text: `table({"reference": a, "this machine": b})`.

    A row per figure. What held connections cost stands in `connections_table`.
    """
    return _side_by_side(profiles, _ROWS)


def connections_table(profiles: Mapping[str, Profile]) -> str:
    """What connections that stay open cost, server by server: the other half of `table`."""
    rows: list[tuple[str, Callable[[Profile], str]]] = []
    for title, name, read in _SERVER_ROWS:
        keys = dict.fromkeys(key for one in profiles.values() for key in getattr(one, name))
        rows += [(f"{title}: {key}", functools.partial(_read_key, name, key, read)) for key in keys]
    rows.append(("CPU of one empty poll", lambda p: _amount(p.cpu_us_per_poll, "µs", 1)))
    return _side_by_side(profiles, rows)


def _read_key(name: str, key: str, read: Callable[[Any], str], one: Profile) -> str:
    measured = getattr(one, name)
    return read(measured[key]) if key in measured else "not measured"


def _side_by_side(
    profiles: Mapping[str, Profile], rows: Sequence[tuple[str, Callable[[Profile], str]]]
) -> str:
    labels = ("", *(label for label, _ in rows))
    wide = max(40, 2 + max(map(len, labels)))
    columns = [[f"{label:{wide}}" for label in labels]]
    for name, one in profiles.items():
        cells = [name, *(read(one) for _, read in rows)]
        width = max(map(len, cells)) + 2
        columns.append([f"{cell:>{width}}" for cell in cells])
    return "\n".join("".join(row).rstrip() for row in zip(*columns, strict=True))


def _of(which: str) -> Profile:
    if which == "reference":
        return Profile.load(REFERENCE)
    try:
        return Profile.load(own_path())
    except ProfileError as error:
        raise ProfileError(f'{error} (or go back with use("reference"))') from None


def _checked(which: str, where: str) -> str:
    if which not in CHOICES:
        raise ProfileError(f'{where} names the profile {which!r}: expected "reference" or "mine"')
    return which


# Reading: each field of the JSON object is checked against the type that its dataclass states.


def _build(kind: type, given: object, where: str) -> Any:
    if not isinstance(given, dict):
        raise ProfileError(f"{where.rstrip('.') or 'it'} must be a JSON object, not {_short(given)}")
    hints = typing.get_type_hints(kind)
    hints.pop("more", None)
    optional = {f.name for f in fields(kind) if f.default_factory is not MISSING or f.default is not MISSING}
    if missing := [f"{where}{name}" for name in hints if name not in given and name not in optional]:
        raise ProfileError(f"it lacks {', '.join(missing)}: run {MEASURE} again")
    values = {
        name: _value(hint, given[name], f"{where}{name}") for name, hint in hints.items() if name in given
    }
    if kind is Profile:
        values["more"] = {name: value for name, value in given.items() if name not in hints}
    return kind(**values)


def _value(hint: Any, given: object, where: str) -> Any:
    if isinstance(hint, types.UnionType):
        if given is None:
            return None
        (hint,) = (option for option in typing.get_args(hint) if option is not types.NoneType)
    if typing.get_origin(hint) is Mapping:
        return _mapping(typing.get_args(hint)[1], given, where)
    if is_dataclass(hint):
        return _build(typing.cast(type, hint), given, f"{where}.")
    if hint is str:
        return _text(given, where)
    # bool is an int in Python, and JSON's true is no measurement
    if (
        isinstance(given, bool)
        or not isinstance(given, int | float)
        or not math.isfinite(given)
        or given <= 0
    ):
        raise ProfileError(f"{where} must be a number above 0, not {_short(given)}")
    if hint is int and given != int(given):
        raise ProfileError(f"{where} must be a whole number, not {_short(given)}")
    return hint(given)


def _mapping(hint: Any, given: object, where: str) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise ProfileError(f"{where} must be a JSON object, not {_short(given)}")
    return {key: _value(hint, value, f'{where}["{key}"]') for key, value in given.items()}


def _text(given: object, where: str) -> str:
    if not isinstance(given, str) or not given.strip():
        raise ProfileError(f"{where} must be a text, not {_short(given)}")
    if where == "measured_on":
        try:
            date.fromisoformat(given)
        except ValueError:
            raise ProfileError(f"{where} must be a date such as 2025-06-30, not {_short(given)}") from None
    return given


def _short(given: object) -> str:
    text = json.dumps(given, default=repr)
    return text if len(text) <= 60 else text[:57] + "..."


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return {f.name: getattr(value, f.name) for f in fields(value)} if is_dataclass(value) else value


def _both(size: WireBytes) -> str:
    return f"{size.up} + {size.down} B"


def _plus(size: ConnectionBytes) -> str:
    parts = ("?" if part is None else _amount(part, "").strip() for part in (size.process, size.kernel))
    return " + ".join(parts)


def _amount(value: float | None, unit: str, digits: int = 0) -> str:
    return (
        "not told here" if value is None else f"{value:,.{digits}f} {unit}".replace(",", "\N{NO-BREAK SPACE}")
    )


_SERVER_ROWS: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("empty process", "bytes_of_empty_process", lambda v: _amount(v and v / 1e6, "MB", 1)),
    ("process and kernel", "bytes_per_idle_connection", lambda v: f"{_plus(v)} B"),
    ("new connections", "connects_per_s", lambda v: _amount(v, "/s")),
    ("CPU of a connect", "cpu_us_per_connect", lambda v: _amount(v, "µs", 1)),
    ("CPU of a push", "cpu_us_per_push", lambda v: _amount(v, "µs", 1)),
    ("CPU of a ping", "cpu_us_per_ping", lambda v: _amount(v, "µs", 1)),
    ("bytes of a push", "bytes_per_push", lambda v: _amount(v, "B")),
)

_ROWS: tuple[tuple[str, Callable[[Profile], str]], ...] = (
    ("measured on", lambda p: p.measured_on),
    ("system", lambda p: f"{p.os}, Python {p.python}"),
    ("cores", lambda p: str(p.cores)),
    ("memory", lambda p: _amount(p.memory_bytes and p.memory_bytes / 1e9, "GB", 1)),
    ("descriptors a process may have", lambda p: _amount(p.descriptors, "")),
    ("round trip of a poll, p50", lambda p: _amount(p.round_trip_ms.p50, "ms", 2)),
    ("round trip of a poll, p99", lambda p: _amount(p.round_trip_ms.p99, "ms", 2)),
    ("polls answered by one process", lambda p: _amount(p.polls_per_s, "/s")),
    ("new connections of one process", lambda p: _amount(p.accepts_per_s, "/s")),
    (
        "empty poll of a browser, up + down",
        lambda p: _both(p.empty_poll_bytes),
    ),
    ("the same with a 100-byte message", lambda p: _both(p.message_poll_bytes)),
    ("parked request, in the process", lambda p: _amount(p.bytes_per_parked_request_process, "B")),
    ("parked request, in the kernel", lambda p: _amount(p.bytes_per_parked_request_kernel, "B")),
    ("one publish to the last of 1000 parked", lambda p: _amount(p.last_of_1000_parked_ms, "ms", 1)),
)
