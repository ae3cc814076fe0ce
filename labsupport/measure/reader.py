"""Events a second to one reader: how fast a server takes messages in and hands them to a single listener.

    rate = await reader_rate(serve("gateway"), events=50_000)
    print(rate.per_s)

The messages of 100 bytes are posted 500 at a time, a JSON object a line (application/x-ndjson), from this
process; the reader is another. Timed is from the first byte sent to the last event read, so the server's
reading and parsing of what is posted counts as well.
"""

import json
import secrets
import threading

from labsupport.measure.listening import MESSAGE_BYTES, Listening, Running, listen
from labsupport.measure.rates import Rate
from labsupport.measure.sockets import Clock, LoadError, Target, exchange
from labsupport.measure.threads import in_thread

MAX_EVENTS = 1_000_000
BATCH = 500  # lines of one POST: less than 64 KiB together
SECONDS = 60.0


async def reader_rate(server: Running | str, events: int = 50_000, *, transport: str | None = None) -> Rate:
    """Post `events` messages as fast as the server takes them, and time their arrival at one reader.

    LoadError if the server cuts the reader off, or takes no lines of JSON.
    """
    if not BATCH <= events <= MAX_EVENTS:
        raise LoadError(f"expected {BATCH} to {MAX_EVENTS} events, got {events}")
    async with listen(server, 1, transport=transport) as reader:
        return await in_thread(lambda stop: _pour(reader, events, stop))


def _pour(reader: Listening, events: int, stop: threading.Event) -> Rate:
    marker = f"<{secrets.token_hex(8)}>"
    line = json.dumps({"data": "x" * MESSAGE_BYTES}).encode() + b"\n"
    last = json.dumps({"data": marker.ljust(MESSAGE_BYTES, "x")}).encode() + b"\n"
    target, full = reader.target, line * BATCH
    kind = "application/x-ndjson"
    started = 0.0

    def publish() -> None:
        nonlocal started
        bodies = [full] * ((events - 1) // BATCH) + [line * ((events - 1) % BATCH) + last]
        requests = [target.post("/messages", body, kind) for body in bodies]
        started = Clock()
        exchange(Target(*target), requests)

    stamps = reader.follow(marker, publish, stop, SECONDS)
    if not len(stamps):
        raise LoadError(f"the last of {events} events did not come in {SECONDS:g} s: {reader}")
    return Rate(events, float(stamps[0]) - started)
