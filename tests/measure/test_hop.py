"""The hop over a broker: each message is timed on its way, and what is no broker is told."""

import asyncio

import numpy as np
import pytest

from labsupport.measure.hop import Hop, broker_hop
from labsupport.measure.sockets import LoadError
from servers.core.broker import Broker, BrokerError


async def test_every_message_goes_through_a_real_broker_and_is_timed():
    try:
        async with Broker() as broker:
            hop = await broker_hop(broker.url, 200, message_bytes=1_000)
    except BrokerError as error:
        pytest.skip(str(error))
    assert hop.hop_ms.shape == (200,)
    assert (hop.hop_ms > 0).all()
    assert hop.p50_ms <= hop.p99_ms
    assert str(hop).startswith("200 messages of 1000 bytes through the broker: half of them within ")


def test_the_percentiles_are_those_of_the_messages():
    hop = Hop(200, np.arange(101.0))
    assert (hop.p50_ms, hop.p99_ms) == (50, 99)


async def broken(says: bytes) -> str:
    """What the measurement says of a server that says this to everybody, and no more."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(says)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(LoadError) as caught:
            await broker_hop(f"redis://127.0.0.1:{port}", 1)
    return str(caught.value)


@pytest.mark.parametrize(
    ("says", "named"),
    [
        (b"-NOAUTH Authentication required.\r\n", "NOAUTH"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP/1.1 400"),
        (b"*3\r\n$9\r\nsubscribe\r\n$7\r\nlab:hop\r\n:1\r\n*3\r\n$7\r\nmess", "expected"),
        (b"", "closed"),
    ],
    ids=["an error", "another protocol", "half a message", "nothing"],
)
async def test_a_server_that_is_no_broker_is_told_with_what_it_said(says: bytes, named: str):
    said = await broken(says)
    assert "nothing came back from the broker" in said
    assert named in said or "reset" in said or "pipe" in said


async def test_nobody_at_the_address_is_told():
    with pytest.raises(LoadError, match="nothing came back from the broker at 127.0.0.1:1"):
        await broker_hop("redis://127.0.0.1:1")


@pytest.mark.parametrize("url", ["http://127.0.0.1:6379", "redis://example.com:6379", "tea"])
async def test_what_is_no_address_of_a_broker_here_is_refused(url: str):
    with pytest.raises(LoadError):
        await broker_hop(url)


@pytest.mark.parametrize("change", [{"messages": 0}, {"messages": 10**6}, {"message_bytes": 0}])
async def test_a_run_without_measure_or_bounds_is_refused(change: dict[str, int]):
    with pytest.raises(LoadError, match="expected 1 to 100,000 messages of 1 to 65,536 bytes"):
        await broker_hop("redis://127.0.0.1:6379", **change)
