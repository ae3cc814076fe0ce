"""A server that answers on bare sockets by script: each byte, and each end of a stream, is the test's."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from tests.clients.conftest import until

STREAM = ("Content-Type: text/event-stream",)


@dataclass(frozen=True)
class Reply:
    """One answer, and how it ends: "fin", "reset", or "stay" for a stream that goes on."""

    body: bytes = b""
    end: str = "fin"
    status: str = "200 OK"
    fields: tuple[str, ...] = STREAM
    chunked: bool = False

    def raw(self) -> bytes:
        more = ("Transfer-Encoding: chunked",) if self.chunked else ("Connection: close",)
        head = "\r\n".join([f"HTTP/1.1 {self.status}", *self.fields, *more, "", ""]).encode()
        if not self.chunked:
            return head + self.body
        return head + b"%x\r\n%b\r\n" % (len(self.body), self.body)  # its last chunk never comes


def refusal(status: int, *fields: str) -> Reply:
    return Reply(b'{"error": "planned"}', status=f"{status} Planned", fields=fields)


class StreamServer:
    """Answers the n-th request with the n-th entry of `script`, and all that follow with the last one."""

    def __init__(self) -> None:
        self.script: list[Reply | Callable[[dict[str, str]], Reply]] = []
        self.asked: list[dict[str, str]] = []  # header fields in lower case; the target under ""
        self.open: list[asyncio.StreamWriter] = []  # streams that stay
        self.gone = 0
        self.url = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
            named = (line.partition(": ") for line in lines)
            request = {"": first.split()[1], **{name.lower(): value for name, _, value in named}}
            self.asked.append(request)
            made = self.script[min(len(self.asked), len(self.script)) - 1]
            reply = made if isinstance(made, Reply) else made(request)
            writer.write(reply.raw())
            await writer.drain()
            if reply.end == "stay":
                self.open.append(writer)
                try:
                    await reader.read()  # until the client goes
                finally:
                    self.gone += 1
        if writer.transport.is_closing():
            return
        writer.transport.abort() if reply.end == "reset" else writer.close()

    async def stream(self, number: int = 1) -> asyncio.StreamWriter:
        """The n-th of the streams that stay, once it is open."""
        await until(lambda: len(self.open) >= number)
        return self.open[number - 1]


@contextlib.asynccontextmanager
async def scripted() -> AsyncIterator[StreamServer]:
    server = StreamServer()
    listener = await asyncio.start_server(server.answer, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    yield server
    listener.close()
    for writer in server.open:
        writer.transport.abort()
    await until(lambda: server.gone == len(server.open))
