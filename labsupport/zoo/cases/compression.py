"""Exhibit 7: memory that is kept for silent clients. What is counted is what zlib asks for, to the byte.

zlib needs 2^(window + 2) + 2^(memLevel + 9) bytes to compress, and 2^window to decompress (zconf.h); a
library that keeps the context between messages keeps them for each connection. Python's allocator sees zlib's
requests (PyMem_RawMalloc), so tracemalloc counts them, and those of the extension's own file only.
"""

from __future__ import annotations

import tracemalloc
import zlib
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from websockets.extensions import permessage_deflate

from labsupport.teach.figures import label_line
from labsupport.wire import frames, handshake
from labsupport.zoo.frame import Exhibit, Promise, variant
from labsupport.zoo.loopback import Ends, dial
from labsupport.zoo.pictures import BAD, panels
from labsupport.zoo.specimens import compression

CLIENTS, STEP = 20, 5  # real connections; memory is read after each STEP of them
MOST_KB = 30.0  # kB for the compression of one silent connection
TAIL = b"\x00\x00\xff\xff"  # RFC 7692 section 7.2.1: taken off by the sender


@dataclass(frozen=True)
class Seen:
    """Bytes that compression holds after each STEP silent clients, and what the last client got."""

    held: list[int]
    agreed: str  # what the server answers to the offer of compression
    wire_bytes: int  # of a snapshot
    text: str  # of the snapshot, as the client reads it
    text_plain: str  # the same for a client that offers no compression

    @property
    def per_client_kb(self) -> float:
        """kB of one connection."""
        return self.held[-1] / CLIENTS / 1000


async def scene(code: Any) -> Seen:
    """Twenty clients: each asks once, and then is silent."""
    server = await code.start()
    port = server.sockets[0].getsockname()[1]
    traced = tracemalloc.is_tracing()
    links: list[Ends] = []
    held: list[int] = [0]
    got = "", 0, ""
    if not traced:
        tracemalloc.start()
    try:
        before = _held()
        for number in range(1, CLIENTS + 1):
            got = await _client(port, links, offers=True)
            if number % STEP == 0:
                held.append(max(0, _held() - before))
        _, _, plain = await _client(port, links, offers=False)
    finally:
        if not traced:
            tracemalloc.stop()
        for _, writer in links:
            writer.transport.abort()
        server.close()
        await server.wait_closed()
    return Seen(held, *got, plain)


def _held() -> int:
    only = tracemalloc.Filter(True, permessage_deflate.__file__)
    return sum(one.size for one in tracemalloc.take_snapshot().filter_traces([only]).statistics("filename"))


async def _client(port: int, links: list[Ends], *, offers: bool) -> tuple[str, int, str]:
    """Connect and ask once: what was agreed on compression, bytes of the answer, the answer."""
    reader, writer = await dial(port)
    links.append((reader, writer))
    request = handshake.build_request(f"127.0.0.1:{port}", "/", handshake.new_key())
    if offers:
        offer = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
        request = request.removesuffix(b"\r\n") + offer
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    agreed = next((line for line in head.split("\r\n") if "permessage-deflate" in line), "")
    question, rsv1 = b"LSE", False
    if agreed:
        squeeze = zlib.compressobj(wbits=-9)
        question, rsv1 = (
            (squeeze.compress(question) + squeeze.flush(zlib.Z_SYNC_FLUSH)).removesuffix(TAIL),
            True,
        )
    frame = frames.Frame(frames.Opcode.TEXT, question, rsv1=rsv1, masking_key=b"lab!")
    writer.write(frames.encode_frame(frame))
    first, second = await reader.readexactly(2)
    size = int.from_bytes(await reader.readexactly(2)) if second == 126 else second
    payload = await reader.readexactly(size)
    if first & 0x40:
        payload = zlib.decompressobj(wbits=-15).decompress(payload + TAIL)
    return agreed, size, payload.decode()


def _much(seen: Seen) -> str:
    if seen.per_client_kb <= MOST_KB:
        return ""
    return (
        f"a silent client costs {seen.per_client_kb:.0f} kB for compression alone; {MOST_KB:g} kB are allowed"
    )


def _small(seen: Seen) -> str:
    share = seen.wire_bytes / len(seen.text or "?")
    return (
        ""
        if share <= 0.5
        else f"a snapshot takes {share:.0%} of its bytes on the wire, and took less than half"
    )


def _right(seen: Seen) -> str:
    return "" if seen.text == compression.snapshot("LSE") else "the snapshot arrives damaged"


def _plain(seen: Seen) -> str:
    fine = seen.text_plain == compression.snapshot("LSE")
    return "" if fine else "a client that offers no compression no longer gets its snapshot"


def picture(before: Seen, after: Seen | None) -> tuple[Figure, str]:
    """Memory over silent clients, and what it comes to for 10 000."""
    title = f"Each silent client costs {before.per_client_kb:.0f} kB, although it says nothing"
    gb = before.per_client_kb * 10_000 / 1e6
    said = f"As found, {before.per_client_kb:.0f} kB a client: {gb:.1f} GB for 10 000 silent clients."
    if after is not None:
        title = f"With the fix, a silent client costs {after.per_client_kb:.1f} kB"
        said += f" With your fix, {after.per_client_kb:.1f} kB."
    fig, pairs = panels(
        title, before, after, height_in=1.7, x="silent clients (clients)", y="held by compression (MB)"
    )
    top = max(before.held) / 1e6
    for ax, seen in pairs:
        held_mb = [each / 1e6 for each in seen.held]
        clients = list(range(0, CLIENTS + 1, STEP))
        ax.plot(clients, held_mb, color=BAD, marker="o")
        label_line(ax, clients[-1], held_mb[-1], f"{held_mb[-1]:.2g} MB", BAD)
        ax.set_ylim(-0.05 * top, 1.15 * top)
    return fig, said


def reference() -> Any:
    """Nothing is kept between two messages, at either end; a message is compressed by itself."""
    return {
        "server_no_context_takeover": True,
        "client_no_context_takeover": True,
        "server_max_window_bits": 15,
        "client_max_window_bits": 15,
        "compress_settings": {"level": 6, "memLevel": 9},
    }


def _off() -> Any:
    return {}


def _one_side() -> Any:
    return reference() | {"client_no_context_takeover": False}


def _other_side() -> Any:
    return reference() | {"server_no_context_takeover": False}


def _level() -> Any:
    return compression.deflate() | {"compress_settings": {"level": 1, "memLevel": 1}}


EXHIBIT = Exhibit(
    number=7,
    title="The silent crowd that ate the memory",
    story=(
        "Messages were made smaller, and the network bill fell. Since then a server with 10 000 clients, "
        "nearly all of them silent, is ended by the kernel for want of memory. Empty, it needs next to none."
    ),
    specimen=compression,
    part="deflate",
    scene=scene,
    promises=(
        Promise("little memory", _much, symptom=True),
        Promise("small messages", _small),
        Promise("right messages", _right),
        Promise("clients without compression", _plain),
    ),
    reference=reference,
    variants=(
        variant("compression off", _off, {"small messages"},
                "the memory is free, and the network bill is back."),
        variant("weaker compression", _level, {"little memory"},
                "level and memLevel are the smaller part; the window is kept for each client, twice.",
                lambda seen: "no_context" not in seen.agreed and 60 < seen.per_client_kb < 300),
        variant("only the server's own half", _one_side, {"little memory"},
                "what the client sends is decompressed here, too, and that context is kept.",
                lambda seen: "server_no_context" in seen.agreed),
        variant("only the client's half", _other_side, {"little memory"},
                "the larger part is what the server needs to compress.",
                lambda seen: "client_no_context" in seen.agreed),
    ),
    picture=picture,
)  # fmt: skip
