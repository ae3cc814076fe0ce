"""Two peers on this machine: they find each other by the lab's signalling, and then need no server."""

import asyncio
from collections.abc import Iterator

import pytest

from labsupport.clients import webrtc
from labsupport.clients.webrtc import NoWebRtc, Peer
from labsupport.processes import Server

needs_aiortc = pytest.mark.skipif(not webrtc.AVAILABLE, reason=webrtc.MISSING)


@pytest.fixture(scope="module")
def signal() -> Iterator[Server]:
    with Server("webrtc") as server:
        yield server


@needs_aiortc
async def test_messages_go_both_ways_in_order_on_the_loopback_address_alone(signal: Server):
    async with Peer(signal, "bob") as bob, Peer(signal, "alice") as alice:
        channel = await alice.call("bob")
        for number in range(50):
            channel.send(str(number))
        assert [(await bob.hear()).text for _ in range(50)] == [str(number) for number in range(50)]
        assert alice.route() == bob.route() == ("127.0.0.1", "127.0.0.1")
        assert (alice.signalled, bob.signalled) == (2, 2)
        sdp = alice._connection.localDescription.sdp
        candidates = [line.split()[4] for line in sdp.splitlines() if line.startswith("a=candidate")]
        assert candidates == ["127.0.0.1"]


@needs_aiortc
async def test_the_call_goes_on_when_the_signalling_server_has_ended():
    with Server("webrtc") as server:
        async with Peer(server, "bob") as bob, Peer(server, "alice") as alice:
            channel = await alice.call("bob")
            await asyncio.to_thread(server.stop)
            channel.send("still here")
            assert (await bob.hear()).text == "still here"


@needs_aiortc
async def test_a_lost_datagram_is_sent_again_on_a_reliable_channel_and_gone_on_one_without_retransmits(
    signal: Server,
):
    async with Peer(signal, "bob", room="lossy") as bob, Peer(signal, "alice", room="lossy") as alice:
        reliable = await alice.call("bob", "reliable")
        loose = await alice.channel("loose", ordered=False, maxRetransmits=0)
        for channel, expected in ((reliable, ["a", "b", "c", "d", "e"]), (loose, ["b", "c", "d", "e"])):
            alice.line.lose_next()
            channel.send("a")
            await lost(alice)
            for text in "bcde":
                channel.send(text)
            assert [(await bob.hear()).text for _ in expected] == expected
        assert alice.line.lost == 2


@needs_aiortc
async def test_a_long_line_delays_and_keeps_the_order(signal: Server):
    async with Peer(signal, "bob", room="long") as bob, Peer(signal, "alice", room="long") as alice:
        channel = await alice.call("bob")
        alice.line.delay_s = 0.02
        sent_s = alice._clock()
        for number in range(20):
            channel.send(str(number))
        heard = [await bob.hear() for _ in range(20)]
        assert [each.text for each in heard] == [str(number) for number in range(20)]
        assert heard[0].received_at_s - sent_s >= 0.02


@needs_aiortc
async def test_a_name_that_is_taken_and_a_line_before_the_call_are_refused_with_a_sentence(signal: Server):
    async with Peer(signal, "alice", room="taken") as alice:
        with pytest.raises(NoWebRtc, match="the name alice is taken in this room"):
            await Peer(signal, "alice", room="taken").__aenter__()
        with pytest.raises(NoWebRtc, match="call somebody first"):
            _ = alice.line


@needs_aiortc
async def test_to_call_nobody_ends_with_a_sentence(signal: Server, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(webrtc, "SIGNAL_S", 0.05)
    async with Peer(signal, "alice", room="empty") as alice:
        with pytest.raises(NoWebRtc, match="has bob joined"):
            await alice.call("bob")


def test_without_aiortc_a_peer_says_what_is_missing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(webrtc, "AVAILABLE", False)
    with pytest.raises(NoWebRtc, match=r"pip install -e '\.\[webrtc\]'"):
        Peer("ws://127.0.0.1:1", "alice")


async def lost(peer: Peer) -> None:
    """Until the datagram that was to be lost has been."""
    async with asyncio.timeout(10):
        while peer.line._lose:  # noqa: ASYNC110 - a loss has no event: nothing comes of it
            await asyncio.sleep(0.001)
