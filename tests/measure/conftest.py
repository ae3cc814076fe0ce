"""A tiny polling server, made of one coroutine, that can also be broken on purpose."""

import asyncio
import json

import pytest


class Tiny:
    """Holds every GET /messages?…wait=… until a POST comes. `mode` breaks the next answers to such a GET."""

    def __init__(self):
        self.url = ""
        self.mode = "hold"
        self.held = []
        self.requests = 0
        self.sources = set()

    async def serve(self, reader, writer):
        self.sources.add(writer.get_extra_info("peername")[0])
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.requests += 1
                length = (
                    int(head.lower().split(b"content-length:")[1].split()[0])
                    if b"ontent-Length" in head
                    else 0
                )
                await self.answer(
                    head.split(b" ")[0], head.split(b" ")[1], await reader.readexactly(length), writer
                )
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the client has gone, or the test has ended
        finally:
            writer.close()

    async def answer(self, method, path, body, writer):
        if method == b"POST":
            held, self.held = self.held, []
            for waiting in held:
                send(waiting, {"messages": [{"id": "e-1"}], "position": "e-1"})
            send(writer, {"id": "e-1"}, 201)
        elif path.startswith(b"/stats"):
            send(writer, {"waiting": len(self.held)})
        elif b"wait=" not in path:
            send(writer, {"messages": [], "position": "e-0"})
        elif self.mode == "hold":
            self.held.append(writer)
        elif self.mode == "error":
            send(writer, {"error": "broken on purpose"}, 500)
        elif self.mode == "close":
            writer.close()
        elif self.mode == "garbage":
            writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        elif self.mode == "answer":
            send(writer, {"messages": [], "position": "e-0"})


def send(writer, what, status=200):
    body = json.dumps(what).encode()
    writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))


@pytest.fixture
async def tiny():
    server = Tiny()
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, backlog=2048)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    yield server
    listener.close()
