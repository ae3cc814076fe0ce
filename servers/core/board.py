"""A board of messages: named logs, and the pages that short and long polling have in common.

client -> server   POST /messages[?channel=NAME] {"event": "message", "data": ANY}; event may be left out
server -> client   201 {"id": POSITION}, or 400, 403, 408, 413, 415, 429 with {"error": ..., "try": ...}
client -> server   GET /stats; GET /fault; PUT /fault {"fault": null | "error" | "empty", "delay_s": 0}
server -> client   200 {"requests": polls so far, "empty": 200s without a message, "not_modified": 304s,
                   "errors": refused polls, "waiting": polls held now, "most_waiting": at one time so far,
                   "messages": published so far, "channels": named so far}
"""

import argparse
import asyncio
import hashlib
import math
import re
import secrets
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from aiohttp import web

from servers.core import http
from servers.core.http import Refusal
from servers.core.log import KEEP, KEEP_BYTES, BadPosition, Entry, MessageLog, PositionError, to_json

MAX_CHANNELS = 1000  # logs in one process; each takes about 1.2 kB before its first message
MAX_HISTORY = 64 << 20  # bytes of history in all channels together, shared out evenly
MAX_EVENT = 64  # characters in an event's name
MAX_DELAY_S = 30.0  # seconds; a planned delay beyond a client's patience teaches nothing more
LARGE = 64 * 1024  # bytes of messages; a larger answer is written in parts
DEFAULT_WAIT_S = 25.0  # seconds a request is held; what Firestore suggests behind proxies that buffer
MAX_WAIT_S = 30.0  # seconds; RFC 6202, 5.5: longer has worked, but 30 s is safer with the proxies out there
FAULTS = (None, "error", "empty")

_CHANNEL = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def wait_seconds(text: str | None, has_position: bool) -> float:
    """How long to hold a request, from its `wait` parameter. More than MAX_WAIT_S is MAX_WAIT_S."""
    if text is None:
        return DEFAULT_WAIT_S if has_position else 0.0
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:  # false for NaN, too
        raise Refusal(400, f"wait={text[:40]} is no number of seconds", f"wait={DEFAULT_WAIT_S:g}")
    return min(seconds, MAX_WAIT_S)


def check_channel(name: str) -> None:
    """Raises Refusal for what is no name of a channel."""
    if not _CHANNEL.fullmatch(name):
        raise Refusal(400, f"{name[:80]!r} is no channel", "up to 64 of the characters A-Z a-z 0-9 _ . -")


class Channels:
    """Message logs by name, made when they are first asked for. Bounded in number and in bytes."""

    def __init__(self, keep: int = KEEP, most: int = MAX_CHANNELS) -> None:
        self._keep = keep
        self._most = most
        self._secret = secrets.token_bytes(16)
        self._logs: dict[str, MessageLog] = {}

    def __len__(self) -> int:
        return len(self._logs)

    def log(self, name: str) -> MessageLog:
        """The log of this name. Raises Refusal: 400 for what is no name, 429 when there are too many."""
        log = self._logs.get(name)
        if log is None:
            check_channel(name)
            if len(self._logs) >= self._most:
                self._forget_unused()
            if len(self._logs) >= self._most:
                raise Refusal(429, f"there are {self._most} channels already", "one that exists")
            # Made from the name, so that a channel which was forgotten unused comes back with the same epoch,
            # and from a secret, so that a restarted server has other epochs.
            epoch = hashlib.blake2b(name.encode(), key=self._secret, digest_size=6).hexdigest()
            log = self._logs[name] = MessageLog(self._keep, epoch)
            self._share_out()
        return log

    def close(self) -> None:
        for log in self._logs.values():
            log.close()

    def _forget_unused(self) -> None:
        used = {name: log for name, log in self._logs.items() if len(log) or log.waiting or log.followers}
        self._logs = used

    def _share_out(self) -> None:
        share = min(KEEP_BYTES, MAX_HISTORY // len(self._logs))
        for log in self._logs.values():
            log.resize(share)


@dataclass
class Counters:
    requests: int = 0
    empty: int = 0
    not_modified: int = 0
    errors: int = 0
    waiting: int = 0
    most_waiting: int = 0
    messages: int = 0


class Board:
    """What one polling server knows: its channels, its counters, and the failure it was asked to show."""

    reserved: Collection[str] = ()  # events that are the server's own, and that nobody may post

    def __init__(self, channels: Channels, fault: str | None = None, delay_s: float = 0.0) -> None:
        self.channels = channels
        self.counters = Counters()
        self.fault = fault
        self.delay_s = delay_s

    def log(self, request: web.Request) -> MessageLog:
        """The log of the channel that the request names, "main" if it names none."""
        return self.channels.log(request.query.get("channel", "main"))

    @contextmanager
    def poll(self) -> Iterator[None]:
        """Count one poll, as long as it is held."""
        counters = self.counters
        counters.requests += 1
        counters.waiting += 1
        counters.most_waiting = max(counters.most_waiting, counters.waiting)
        try:
            yield
        except Refusal:
            counters.errors += 1
            raise
        finally:  # also when the client goes away, which cancels the handler
            counters.waiting -= 1

    async def planned_failure(self, request: web.Request) -> web.StreamResponse | None:
        """What PUT /fault ordered for every poll: a delay, then an error or an answer without messages."""
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if self.fault == "error":
            raise Refusal(500, "planned failure", 'PUT /fault {"fault": null}')
        if self.fault == "empty":
            log = self.log(request)
            return self.answer(request, log, request.query.get("since", log.oldest), [])
        return None

    def answer(
        self, request: web.Request, log: MessageLog, since: str | None, entries: list[Entry]
    ) -> web.StreamResponse:
        """{"messages": [...], "position": where to ask from next}, with an ETag; 304 if the client has it."""
        position = entries[-1].id if entries else since or log.position
        # What comes after a position changes only with the newest message. All of the history changes with
        # its oldest message, too.
        tag = position if since is not None else f"{log.oldest}.{position}"
        response = http.with_etag(request, tag, lambda: _messages(request, entries, position))
        if response.status == 304:
            self.counters.not_modified += 1
        elif not entries:
            self.counters.empty += 1
        return response

    def position_error(
        self, request: web.Request, log: MessageLog, error: PositionError
    ) -> web.StreamResponse:
        """400 for what never was a position; 410, with a snapshot, for one that cannot be resumed from."""
        if isinstance(error, BadPosition):
            raise Refusal(400, error.name, "leave since out, to begin with all there is", detail=str(error))
        self.counters.errors += 1
        problem = {"error": error.name, "try": "begin again with the snapshot", "detail": str(error)}
        before = to_json(problem)[:-1] + b',"snapshot":'
        return _messages(request, log.after(None), log.position, 410, before, b"}")

    async def post_message(self, request: web.Request) -> web.Response:
        event, data = parse_message(await http.read_json(request))
        if event in self.reserved:
            raise Refusal(400, f"{event!r} is an event of the server's own", "another name")
        log = self.log(request)
        try:
            entry = log.append(event, data)
        except ValueError as error:  # 1e999, or half of a surrogate pair: JSON to read, but not to write
            raise Refusal(
                400, f"this data cannot be passed on: {error}", "ordinary numbers and text"
            ) from None
        self.counters.messages += 1
        return http.reply({"id": entry.id}, 201)

    async def get_stats(self, request: web.Request) -> web.Response:
        return http.reply({**asdict(self.counters), "channels": len(self.channels)})

    async def get_fault(self, request: web.Request) -> web.Response:
        return http.reply({"fault": self.fault, "delay_s": self.delay_s})

    async def put_fault(self, request: web.Request) -> web.Response:
        """Change what is named, leave the rest as it is."""
        change = parse_fault(await http.read_json(request))
        self.fault = change.get("fault", self.fault)
        self.delay_s = change.get("delay_s", self.delay_s)
        return await self.get_fault(request)


BOARD: web.AppKey[Board] = web.AppKey("board", Board)


def parse_message(value: Any) -> tuple[str, Any]:
    """(event, data) of a posted message. Raises Refusal."""
    advice = '{"event": "message", "data": "hello"}'
    if not isinstance(value, dict):
        raise Refusal(400, f"expected a JSON object, got {_kind(value)}", advice)
    if "data" not in value:
        raise Refusal(400, 'the object has no "data"', advice)
    event = value.get("event", "message")
    # Printable: in an event stream, a line break would end the field.
    if not isinstance(event, str) or not 1 <= len(event) <= MAX_EVENT or not event.isprintable():
        raise Refusal(400, f"expected as event a printable text of 1 to {MAX_EVENT} characters", advice)
    return event, value["data"]


def parse_fault(value: Any) -> dict[str, Any]:
    """The named changes of a PUT /fault. Raises Refusal."""
    advice = '{"fault": "error", "delay_s": 0}'
    if not isinstance(value, dict) or not value.keys() <= {"fault", "delay_s"}:
        raise Refusal(400, 'expected an object with "fault", "delay_s" or both', advice)
    if "fault" in value and value["fault"] not in FAULTS:
        raise Refusal(400, 'expected as fault null, "error" or "empty"', advice)
    delay_s = value.get("delay_s", 0)
    if type(delay_s) not in (int, float) or not 0 <= delay_s <= MAX_DELAY_S:
        raise Refusal(400, f"expected as delay_s a number from 0 to {MAX_DELAY_S:g}", advice)
    return value


def arguments(description: str) -> argparse.ArgumentParser:
    """The arguments of a polling server."""
    parser = http.arguments(description)
    parser.add_argument(
        "--keep", type=_keep, default=KEEP, help="messages each channel remembers (%(default)s)"
    )
    parser.add_argument("--fault", choices=FAULTS[1:], help="failure to begin with (see PUT /fault)")
    parser.add_argument(
        "--delay", type=_delay, default=0.0, help="seconds to hold each poll's answer (%(default)g)"
    )
    return parser


def application(options: argparse.Namespace, get_messages: Callable[[web.Request], Any]) -> web.Application:
    """A polling server's application: the pages above, and GET /messages as the server has it."""
    board = Board(Channels(options.keep), options.fault, options.delay)
    app = http.application(options)
    app[BOARD] = board
    app.add_routes(
        [
            web.get("/messages", get_messages),
            web.post("/messages", board.post_message),
            web.get("/stats", board.get_stats),
            web.get("/fault", board.get_fault),
            web.put("/fault", board.put_fault),
        ]
    )

    async def let_go(app: web.Application) -> None:
        board.channels.close()

    app.on_shutdown.append(let_go)
    return app


def _messages(
    request: web.Request,
    entries: list[Entry],
    position: str,
    status: int = 200,
    before: bytes = b"",
    behind: bytes = b"",
) -> web.StreamResponse:
    def parts() -> Iterator[bytes]:
        yield before + b'{"messages":['
        for index, entry in enumerate(entries):
            yield b"," + entry.message() if index else entry.message()
        yield b'],"position":%b}%b\n' % (to_json(position), behind)

    if sum(len(entry.json) for entry in entries) <= LARGE:
        return http.reply(b"".join(parts()), status)
    frame = (
        len(before) + len(b'{"messages":[],"position":') + len(to_json(position)) + len(b"}\n") + len(behind)
    )
    length = frame + sum(entry.size for entry in entries) + len(entries) - 1  # a comma between each two
    return http.Parts(() if request.method == "HEAD" else parts(), length, status)


def _kind(value: Any) -> str:
    kinds = {list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")


def _keep(text: str) -> int:
    if text.isascii() and text.isdigit() and 1 <= int(text) <= 1_000_000:
        return int(text)
    raise argparse.ArgumentTypeError(f"expected a number from 1 to 1000000, got {text!r}")


def _delay(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if 0 <= seconds <= MAX_DELAY_S:
        return seconds
    raise argparse.ArgumentTypeError(f"expected seconds from 0 to {MAX_DELAY_S:g}, got {text!r}")
