"""What the lab's HTTP servers share: who may ask, limits on what may be sent, JSON errors, start and end.

A server builds an aiohttp application with `application()`, adds its routes, and hands it to `run()`:

    def main() -> None:
        options = arguments(__doc__).parse_args()
        app = application(options)
        app.add_routes([web.get("/messages", get_messages)])
        run(app, options)

Every error is JSON, {"error": what is wrong, "try": what to do about it}; raise `Refusal` to send one.
"""

import argparse
import asyncio
import json
import logging
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from servers.core import hosts, lifeline
from servers.core.connection import MAX_FIELDS, Connection

MAX_BODY = 64 * 1024  # bytes of a request's body; a chat message is a hundredth of that
MAX_DEPTH = 100  # levels of JSON in JSON; Python's own reader fails at about 1 000, or later, by its version
MAX_HEAD = 16 * 1024  # bytes of a request's header fields together; Node's limit, browsers stay far below
BODY_S = 10.0  # seconds for a request's body
TAKE_S = 30.0  # seconds for a client to take its answer
SMALL = 32 * 1024  # bytes; asyncio makes a writer wait only behind 64 KiB, so that less needs no watching
ENDING_S = 1.0  # seconds for requests under way when the server ends; lifeline.CLOSING_S is the hard limit

_LOCAL_ORIGIN = re.compile(r"https?://(localhost|127(\.[0-9]{1,3}){3}|\[::1\])(:[0-9]{1,5})?")
_REQUEST_HEADERS = "Content-Type, Cache-Control, If-None-Match, Last-Event-ID, Idempotency-Key"

_ORIGINS: web.AppKey[frozenset[str]] = web.AppKey("origins", frozenset)
_NAMES: web.AppKey[frozenset[str]] = web.AppKey("names", frozenset)
_ENDING: web.AppKey[asyncio.Event] = web.AppKey("ending", asyncio.Event)

_log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Refusal(Exception):
    """An answer that is an error: {"error": error, "try": advice, ...more}."""

    def __init__(
        self, status: int, error: str, advice: str, headers: dict[str, str] | None = None, **more: Any
    ) -> None:
        super().__init__(error)
        self.status = status
        self.headers = headers or {}
        self.content = {"error": error, "try": advice, **more}


def arguments(description: str) -> argparse.ArgumentParser:
    """The arguments of an HTTP server: those of every server, --allow-origin, and --allow-host."""
    parser = lifeline.arguments(description)
    parser.add_argument(
        "--allow-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="let pages of this origin use the server as well (those of this machine always may); repeatable",
    )
    hosts.add_argument(parser)
    return parser


def is_allowed(origin: str, more: Iterable[str] = ()) -> bool:
    """Whether a page of this origin may use the server: it is this machine's own, or named in `more`.

    "null", which sandboxed frames and files send, is nobody's origin and not allowed.
    """
    return _LOCAL_ORIGIN.fullmatch(origin) is not None or origin in more


def reply(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """A JSON answer. `content` is the value, or its JSON text as bytes."""
    body = content if isinstance(content, bytes) else json.dumps(content, ensure_ascii=False).encode() + b"\n"
    return web.Response(
        body=body, status=status, headers={"Content-Type": "application/json", **(headers or {})}
    )


class Parts(web.StreamResponse):
    """A JSON answer of `length` bytes, made and written piece by piece as the client takes it.

    For answers that are too large to lie in memory as a whole, once for each of many slow clients.
    """

    def __init__(self, parts: Iterable[bytes], length: int, status: int = 200) -> None:
        super().__init__(status=status, headers={"Content-Type": "application/json"})
        self.content_length = length
        self._parts = iter(parts)

    async def write_eof(self, data: bytes = b"") -> None:
        piece = bytearray()
        for part in self._parts:
            piece += part
            if len(piece) >= SMALL:
                await self.write(bytes(piece))
                piece.clear()
                await asyncio.sleep(0)  # others have their turn, although the kernel would take more at once
        await super().write_eof(bytes(piece) + data)


def depth(value: Any) -> int:
    """How many lists and objects are nested in a JSON value: 0 for a number, 2 for [{}]. Not recursive."""
    deepest = 0
    level = [value]
    while level := [item for item in level if isinstance(item, (list, dict))]:
        deepest += 1
        level = [inner for item in level for inner in (item.values() if isinstance(item, dict) else item)]
    return deepest


def parse_json(raw: bytes) -> Any:
    """The JSON value in a request's body. Raises Refusal, with 400."""
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise Refusal(400, f"the body is not UTF-8 at byte {error.start}", "send JSON in UTF-8") from None
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise Refusal(400, f"the body is not JSON: {error.msg} ({where})", '{"data": "hello"}') from None
    except ValueError as error:  # NaN, Infinity, or a number of thousands of digits
        raise Refusal(400, f"the body is not JSON: {error}", "send a number of ordinary size") from None
    except RecursionError:
        value = None
        nested = MAX_DEPTH + 1
    else:
        nested = depth(value)
    if nested > MAX_DEPTH:
        raise Refusal(400, f"the JSON is nested more than {MAX_DEPTH} levels deep", "send flatter data")
    return value


async def read_json(request: web.Request) -> Any:
    """Read and parse a request's body. Raises Refusal: 400, and what read_body() raises."""
    return parse_json(await read_body(request))


async def read_body(request: web.Request) -> bytes:
    """Read a request's body. Raises Refusal: 400, 408 (too slow), 413 (too large), 415."""
    coding = request.headers.get("Content-Encoding", "identity")
    if coding != "identity":
        raise Refusal(415, f"cannot read Content-Encoding: {coding[:40]}", "send the body as it is")
    try:
        async with asyncio.timeout(BODY_S):
            raw = await request.read()
    except web.HTTPRequestEntityTooLarge:
        raw = bytes(MAX_BODY + 1)  # more than that came, and was not kept
    except TimeoutError:
        raise Refusal(408, f"the body took longer than {BODY_S:g} s", "send it in one go") from None
    except web.RequestPayloadError as error:
        raise Refusal(400, f"the body is not what the head announced: {error}", "check its length") from None
    if len(raw) > MAX_BODY:
        raise Refusal(413, f"the body is larger than {MAX_BODY} bytes", "send smaller messages")
    return raw


def with_etag(request: web.Request, tag: str, answer: Callable[[], web.StreamResponse]) -> web.StreamResponse:
    """answer(), marked with this ETag; or 304 without a body, if the client has that one (RFC 9110, 13.1.2).

    The same headers go with both, as RFC 9110, 15.4.5 asks.
    """
    known = request.if_none_match or ()
    if any(etag.value in (tag, "*") for etag in known):  # weak comparison: W/"a" and "a" are the same
        response: web.StreamResponse = web.Response(status=304)
    else:
        response = answer()
    response.headers["ETag"] = f'"{tag}"'
    response.headers["Cache-Control"] = "no-cache"  # keep it, but ask before using it
    return response


def application(options: argparse.Namespace | None = None) -> web.Application:
    """An aiohttp application with the limits, the error pages and the rules on who may ask of this module.

    `options` are those of arguments(); without any, only this machine's own names and pages may.
    """
    app = web.Application(
        middlewares=[_front_door], client_max_size=MAX_BODY + 1
    )  # aiohttp 3.11 refuses from the limit on
    app[_ORIGINS] = frozenset(options.allow_origin if options else ())
    app[_NAMES] = hosts.names(options) if options else frozenset()
    app[_ENDING] = asyncio.Event()
    app.on_response_prepare.append(_mark_for_browsers)
    return app


def run(app: web.Application, options: argparse.Namespace) -> None:
    """Serve `app` until the process should end (see lifeline): everything after parsing the arguments.

    app.on_shutdown is the place to let go of parked requests and open streams; they have ENDING_S to end.
    """
    lifeline.raise_descriptor_limit()
    sock = lifeline.listener(options.host, options.port)
    asyncio.run(_serve_until_the_end(app, sock))


async def _serve_until_the_end(app: web.Application, sock: socket.socket) -> None:
    async with serving(app, sock) as url:
        stop = asyncio.Event()
        lifeline.watch(stop)
        lifeline.announce(url)
        await stop.wait()


@asynccontextmanager
async def serving(app: web.Application, sock: socket.socket) -> AsyncIterator[str]:
    """Serve `app` on a listening socket inside the block; gives the URL."""
    # handler_cancellation: a client that goes away ends its handler at once, and so frees what that holds
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=ENDING_S)
    await runner.setup()
    manager = runner.server
    assert manager is not None
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(manager, loop), sock=sock, backlog=lifeline.BACKLOG)
    try:
        yield lifeline.url_of(sock)
    finally:
        app[_ENDING].set()
        # Not server.wait_closed(): since Python 3.12 it waits for open connections, which cleanup() closes.
        server.close()
        await runner.cleanup()


@web.middleware
async def _front_door(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Check what every request must satisfy, turn every error into JSON, and see that the answer is taken."""
    if isinstance(request.protocol, Connection):
        request.protocol.head_arrived()
    try:
        _check_head(request)
        response = _options(request) if request.method == "OPTIONS" else await handler(request)
    except Refusal as refusal:
        response = reply(refusal.content, refusal.status, refusal.headers)
    except web.HTTPException as error:
        response = _as_json(request, error)
    except Exception as error:
        if request.writer.output_size > 0 or isinstance(error, ConnectionError):
            raise
        _log.exception("error in the handler of %s %s", request.method, request.path)
        response = reply({"error": "the server has a bug", "try": "look at its log"}, 500)
    if request.app[_ENDING].is_set():
        response.force_close()
    await response.prepare(request)
    await _see_it_taken(request, response)
    return response


async def _see_it_taken(request: web.Request, response: web.StreamResponse) -> None:
    """Write the answer. A client that does not read it within TAKE_S is cut off."""
    transport = request.transport
    if transport is None or transport.get_write_buffer_size() + (response.content_length or 0) < SMALL:
        await response.write_eof()  # fits into the transport's buffer: there is nothing to wait for
        return
    try:
        async with asyncio.timeout(TAKE_S):
            await response.write_eof()
    except TimeoutError:
        transport.abort()
        raise ConnectionResetError("the client did not take its answer") from None


def _check_head(request: web.Request) -> None:
    _check_host(request)
    if len(request.raw_headers) > MAX_FIELDS:  # older versions of aiohttp do not count them
        raise Refusal(431, f"the head has more than {MAX_FIELDS} fields", "send fewer")
    if sum(len(name) + len(value) for name, value in request.raw_headers) > MAX_HEAD:
        raise Refusal(431, f"the header fields are larger than {MAX_HEAD} bytes together", "send less")
    origin = request.headers.get("Origin", "")  # what is no page sends none
    if origin and request.method not in ("GET", "HEAD") and not _is_allowed_here(request, origin):
        raise Refusal(
            403,
            f"pages of {origin[:80]} may not do this",
            "a page of http://localhost, or start the server with --allow-origin ORIGIN",
        )


def _check_host(request: web.Request) -> None:
    """Refuse what was meant for another name: see core/hosts.py."""
    fields = request.headers.getall("Host", [])
    if not fields and request.version < (1, 1):
        return  # from before Host was invented, and so from no browser
    if len(fields) != 1:
        raise Refusal(400, f"expected one Host field, got {len(fields)}", "use an HTTP client")
    here = request.transport.get_extra_info("sockname") if request.transport else None
    names = request.app[_NAMES]
    if not hosts.is_own(fields[0], names, str(here[0]) if here else ""):
        advice = "http://127.0.0.1, or start the server with --allow-host NAME if that name is yours"
        raise Refusal(403, f"this server is not {fields[0][:80]}", advice)


def _options(request: web.Request) -> web.Response:
    """What may be done here; to a browser that asks first (CORS preflight), also with which headers."""
    missing = request.match_info.http_exception
    if not isinstance(missing, web.HTTPMethodNotAllowed):
        raise missing or web.HTTPNotFound()
    methods = _methods(missing)
    return web.Response(
        status=204,
        headers={
            "Allow": methods,
            "Access-Control-Allow-Methods": methods,
            "Access-Control-Allow-Headers": _REQUEST_HEADERS,
            "Access-Control-Max-Age": "600",
        },
    )


def _as_json(request: web.Request, error: web.HTTPException) -> web.Response:
    if isinstance(error, web.HTTPMethodNotAllowed):
        methods = _methods(error)
        text = f"{request.path} does not take {request.method[:20]}"
        return reply({"error": text, "try": f"one of {methods}"}, 405, {"Allow": methods})
    if isinstance(error, web.HTTPNotFound):
        pages = sorted({resource.canonical for resource in request.app.router.resources()})
        return reply({"error": f"there is nothing at {request.path[:80]}", "try": ", ".join(pages)}, 404)
    return reply({"error": error.reason, "try": "look at the server's docstring"}, error.status)


def _methods(error: web.HTTPMethodNotAllowed) -> str:
    return ", ".join(sorted(error.allowed_methods | {"OPTIONS"}))


async def _mark_for_browsers(request: web.Request, response: web.StreamResponse) -> None:
    """Let pages of an allowed origin read the answer. Runs just before a head is sent, for streams too."""
    response.headers["Vary"] = "Origin"
    origin = request.headers.get("Origin", "")
    if origin and _is_allowed_here(request, origin):
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Expose-Headers"] = "ETag, Retry-After"


def _is_allowed_here(request: web.Request, origin: str) -> bool:
    named, names, host = request.app[_ORIGINS], request.app[_NAMES], request.headers.get("Host", "")
    return is_allowed(origin, named) or (hosts.is_own(host, names) and hosts.is_its_page(origin, host))


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")
