"""What an event stream holds for its readers: each entry encoded once, and nothing without bound."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from labsupport.wire.event_stream import EventStreamParser
from labsupport.wire.http import HttpParser
from servers import sse
from servers.core import connection, event_stream, http
from servers.core.event_stream import OncePerEntry, encode_entry, encode_event
from servers.core.log import POLICIES, MessageLog
from tests.servers.conftest import PATIENCE_S, Running, until
from tests.servers.streams import Chunks, Lazy, counters, listen, request, run

Start = Callable[..., Awaitable[Running]]


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[connection.Connection]:
    """All connections that the server accepts from now on."""
    made: list[connection.Connection] = []

    class Watched(connection.Connection):
        def __init__(self, *given: object) -> None:
            super().__init__(*given)
            made.append(self)

    monkeypatch.setattr(http, "Connection", Watched)
    return made


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """start("--keep", "3", …) runs the server in this loop until the test ends."""
    async with AsyncExitStack() as stack:

        async def begin(*arguments: str) -> Running:
            return (await run(stack, sse, *arguments))[0]

        yield begin


@pytest.fixture
async def server(start: Start) -> Running:
    return await start()


@pytest.mark.parametrize("place", ["data", "event", "id"])
@pytest.mark.parametrize("character", ["\n", "\r", "\0"])
def test_the_encoder_refuses_what_it_cannot_carry(place, character):
    values = {"data": b"1", "event": "e", "id": "a-1"}
    value = values[place]
    values[place] = value + (character.encode() if isinstance(value, bytes) else character)
    with pytest.raises(ValueError, match="expected one line"):
        encode_event(**values)


async def test_an_entry_is_encoded_once_for_all_its_streams(server: Running):
    log = MessageLog(epoch="e")
    asked = []
    once = OncePerEntry(lambda entry: asked.append(entry.id) or encode_entry(entry), keep=2)
    entries = [log.append("message", n) for n in range(3)]
    assert {once(entry) for entry in 1000 * entries[:2]} == {encode_entry(entry) for entry in entries[:2]}
    assert asked == ["e-1", "e-2"]
    once(entries[2])
    assert len(once._known) == 2


class Greedy:
    """A response whose client takes everything at once, and the request for it."""

    transport = None

    def __init__(self) -> None:
        self.written = 0

    async def write(self, raw: bytes) -> None:
        self.written += 1


@pytest.mark.parametrize("what", ["history", "snapshot"])
async def test_a_long_replay_leaves_the_others_their_turn(server: Running, what):
    log = MessageLog()
    for number in range(1000):
        log.append("message", f"{number}" + "x" * 1000)
    greedy = Greedy()
    stream = event_stream.Stream(greedy, greedy, server.app[event_stream.STREAMS])
    if what == "history":
        replay = asyncio.create_task(stream.pass_on(log.follow(), encode_entry, 1000))
    else:
        replay = asyncio.create_task(
            stream.write_pieces(event_stream.snapshot(log.after(None), log.position))
        )
    turns = 0
    while not replay.done():
        await asyncio.sleep(0)
        turns += 1
    assert greedy.written > 30
    assert turns > 30


async def test_small_writes_are_not_held_back_by_the_kernel(connections, server: Running):
    reader = await listen(server)
    (handler,) = connections
    sock = handler.transport.get_extra_info("socket")
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    reader.close()


@pytest.fixture
async def lazy(server: Running) -> AsyncIterator[Callable[[Running], Awaitable[Lazy]]]:
    with_sockets = []

    async def begin(server: Running) -> Lazy:
        sock = socket.socket()
        with_sockets.append(sock)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        opened = counters(server).opened
        await loop.sock_connect(sock, ("127.0.0.1", server.port))
        await loop.sock_sendall(sock, request())
        await until(lambda: counters(server).opened > opened)
        return Lazy(sock)

    yield begin
    for sock in with_sockets:
        sock.close()


def held(connections: list[connection.Connection]) -> int:
    """Bytes that wait in the server's own memory for clients that do not read."""
    return sum(each.transport.get_write_buffer_size() for each in connections if each.transport)


async def test_a_reader_that_never_reads_is_dropped_and_the_others_do_not_wait(
    connections, server: Running, lazy
):
    await lazy(server)
    others = await asyncio.gather(*(listen(server) for _ in range(3)))
    most_held = 0
    for number in range(300):
        position = await server.say(f"{number}" + "x" * 10_000)
        for reader in others:
            assert (await reader.next()).last_event_id == position
        most_held = max(most_held, held(connections))
    assert counters(server).slow == 1
    assert counters(server).open == 3
    assert most_held < 4 * 64 * 1024


@pytest.mark.parametrize("policy", [policy for policy in POLICIES if policy != "disconnect"])
async def test_every_other_policy_keeps_the_slow_reader_and_tells_what_it_missed(
    connections, start: Start, lazy, policy
):
    server = await start("--policy", policy, "--unread", "10", "--keep", "50")
    slow = await lazy(server)
    other = await listen(server)
    for number in range(200):
        position = await server.say(f"{number}:" + "x" * 10_000)
        assert (await other.next()).last_event_id == position
    assert (counters(server).slow, counters(server).open) == (0, 2)
    assert held(connections) < 4 * 64 * 1024
    reading = asyncio.create_task(slow.read_all())
    await until(
        lambda: counters(server).events + counters(server).dropped >= 2 * 200 or counters(server).gaps
    )
    server.board.channels.close()
    numbers, missed, gap = _judge(await reading)
    assert numbers == sorted(set(numbers))
    if policy == "wait":
        assert gap
        assert numbers[-1] == 199
    else:
        assert missed == 200 - len(numbers) > 0
        assert policy == "drop newest" or numbers[-1] == 199


def _judge(raw: bytes) -> tuple[list[int], int, bool]:
    """The numbers that came, how many were told to be missing, and whether "too old" was told."""
    parser = HttpParser("response")
    (message,) = parser.feed(raw)
    numbers: list[int] = []
    missed, gap = 0, False
    for event in EventStreamParser().feed(message.body):
        data = json.loads(event.data)
        match event.type:
            case "message":
                numbers.append(int(data.partition(":")[0]))
            case "dropped":
                missed += data["messages"]
            case "too old":
                gap = True
            case "snapshot":
                numbers += [int(each["data"].partition(":")[0]) for each in data["messages"]]
    return numbers, missed, gap


async def test_a_reader_that_takes_nothing_is_given_up_in_the_end_whatever_the_policy(
    start: Start, lazy, monkeypatch
):
    server = await start("--policy", "wait")
    await lazy(server)
    monkeypatch.setattr(event_stream, "STUCK_S", 0.05)
    while counters(server).open:
        await server.say("x" * 60_000)
    assert counters(server).slow == 1


async def test_what_a_client_sends_behind_its_request_does_not_pile_up(connections, server: Running):
    wire = await server.wire(request() + request() * 100)
    chunks = Chunks(wire)
    await chunks.next()
    (handler,) = connections
    queued = len(handler._messages)
    wire.send(request() * 10_000)
    await asyncio.wait_for(wire.writer.drain(), PATIENCE_S)
    position = await server.say("still there")
    assert position.encode() in await chunks.next()
    assert len(handler._messages) == queued <= 100
    assert counters(server).opened == 1
