"""The peers that the gateway is measured against: each one pushes as its own documentation shows.

A peer has the gateway's face, as far as fan-out needs it: POST /messages, GET /messages, and GET /events or a
WebSocket on /ws. It prints its address, and ends with its standard input.

    python -m tests.bench.peers websockets|websockets-compressed|aiohttp|starlette
"""

import asyncio
import json
import os
import resource
import socket
import sys
import threading
from collections.abc import AsyncIterator
from typing import Any

BACKLOG = 4096
NEWEST = json.dumps({"messages": [], "position": "peer-0"}).encode()
CREATED = json.dumps({"id": "peer-1"}).encode()


def listener() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    sock.listen(BACKLOG)
    return sock


def announce(sock: socket.socket) -> None:
    print(json.dumps({"ready": True, "url": f"http://127.0.0.1:{sock.getsockname()[1]}"}), flush=True)


async def until_stdin_ends() -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def read() -> None:
        sys.stdin.buffer.read()
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=read, daemon=True).start()
    await ended.wait()
    os._exit(0)  # thousands of open streams need no farewell


async def run_websockets(compression: str | None) -> None:
    """websockets: one broadcast() for each message, as its documentation advises for a crowd."""
    from websockets.asyncio.server import ServerConnection, broadcast, serve

    clients: set[ServerConnection] = set()

    class Connection(ServerConnection):
        def data_received(self, data: bytes) -> None:
            if self.request is None and data.startswith((b"POST ", b"GET /messages")):
                status, body = b"200 OK", NEWEST
                if data.startswith(b"POST "):
                    message = json.loads(data.partition(b"\r\n\r\n")[2])
                    broadcast(clients, json.dumps({"id": "peer-1", **message}))
                    status, body = b"201 Created", CREATED
                head = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
                self.transport.write(head % (status, len(body)) + body)
                return
            super().data_received(data)

    async def handle(connection: ServerConnection) -> None:
        clients.add(connection)
        try:
            await connection.wait_closed()
        finally:
            clients.discard(connection)

    sock = listener()
    async with serve(
        handle, sock=sock, backlog=BACKLOG, compression=compression, create_connection=Connection
    ):
        announce(sock)
        await until_stdin_ends()


async def run_aiohttp() -> None:
    """aiohttp: a StreamResponse for each reader, and `await write` in a loop."""
    from aiohttp import web

    streams: set[web.StreamResponse] = set()

    async def events(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b":ok\n\n")
        streams.add(response)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            streams.discard(response)
        return response

    async def publish(request: web.Request) -> web.Response:
        message = await request.json()
        raw = b"event: message\nid: peer-1\ndata: %b\n\n" % json.dumps(message["data"]).encode()
        for response in tuple(streams):
            await response.write(raw)
        return web.Response(body=CREATED, status=201)

    async def newest(request: web.Request) -> web.Response:
        return web.Response(body=NEWEST)

    app = web.Application()
    app.add_routes([web.get("/events", events), web.post("/messages", publish), web.get("/messages", newest)])
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    sock = listener()
    await web.SockSite(runner, sock, backlog=BACKLOG).start()
    announce(sock)
    await until_stdin_ends()


async def run_starlette() -> None:
    """Starlette on uvicorn with sse-starlette: a queue and a generator for each reader."""
    import uvicorn
    from sse_starlette import EventSourceResponse
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    queues: set[asyncio.Queue[dict[str, Any]]] = set()

    async def events(request: Request) -> EventSourceResponse:
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(1000)

        async def stream() -> AsyncIterator[dict[str, Any]]:
            queues.add(queue)
            try:
                yield {"comment": "ok"}
                while True:
                    yield await queue.get()
            finally:
                queues.discard(queue)

        return EventSourceResponse(stream())

    async def publish(request: Request) -> Response:
        message = await request.json()
        event = {"event": "message", "id": "peer-1", "data": json.dumps(message["data"])}
        for queue in tuple(queues):
            queue.put_nowait(event)
        return Response(CREATED, 201)

    async def newest(request: Request) -> Response:
        return Response(NEWEST)

    app = Starlette(
        routes=[
            Route("/events", events),
            Route("/messages", publish, methods=["POST"]),
            Route("/messages", newest),
        ]
    )
    sock = listener()
    config = uvicorn.Config(app, log_level="error", backlog=BACKLOG, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    _serving = asyncio.create_task(server.serve(sockets=[sock]))
    while not server.started:  # noqa: ASYNC110 - it tells by no event
        await asyncio.sleep(0.01)
    announce(sock)
    await until_stdin_ends()


PEERS = {
    "websockets": lambda: run_websockets(None),
    "websockets-compressed": lambda: run_websockets("deflate"),
    "aiohttp": run_aiohttp,
    "starlette": run_starlette,
}


def main() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(PEERS[sys.argv[1]]())


if __name__ == "__main__":
    main()
