"""What held connections cost: each figure is there, of the right kind and size, and no server stays."""

import sys

import pytest

from labsupport.measure import weights
from labsupport.measure.sockets import LoadError
from labsupport.measure.weights import WAYS, HeldWeight, weigh_connections, weigh_held
from labsupport.processes import serve
from labsupport.profile import REFERENCE, ConnectionBytes, Profile, profile

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")


@pytest.fixture
def _small(monkeypatch):
    for name, value in {"FIRST": 20, "PUSHES": 2, "PINGS": 1, "POLLS_S": 0.1, "CONNECTIONS": 30}.items():
        monkeypatch.setattr(weights, name, value)


@pytest.mark.usefixtures("_small")
@LINUX
async def test_a_gateways_websocket_is_weighed_in_every_respect():
    weight = await weigh_held("gateway WebSocket", 300)
    assert 500 < weight.bytes_each.process < 6_000  # one small object each
    # The kernel's part is the whole machine's: what others do meanwhile is more than 300 connections weigh.
    assert weight.bytes_each.kernel is None or weight.bytes_each.kernel > 0
    assert 10e6 < weight.empty_bytes < 200e6
    assert weight.connects_per_s > 0
    assert all(us > 0 for us in (weight.cpu_us_per_connect, weight.cpu_us_per_push, weight.cpu_us_per_ping))
    assert 100 < weight.bytes_per_push < 200  # the message, its id, its name, its frame
    with serve("gateway", instance=weights.INSTANCE) as server:
        assert server.log == []  # a new one: the weighed one has ended


@pytest.mark.usefixtures("_small")
async def test_a_profile_gets_the_figures_of_each_way_and_keeps_its_others(monkeypatch):
    some = ("sse", "websocket_chat", "websocket_echo --compression")
    monkeypatch.setattr(weights, "WAYS", {name: WAYS[name] for name in some})
    told = []
    before = Profile.load(REFERENCE)
    mine = await weigh_connections(before, told.append)
    assert [line[:6] for line in told] == ["the CP", "1 of 3", "2 of 3", "3 of 3"]
    assert tuple(mine.bytes_per_idle_connection) == tuple(mine.connects_per_s) == some
    assert set(mine.bytes_per_push) == {"sse"}
    assert mine.polls_per_s == before.polls_per_s
    assert Profile.from_dict(mine.to_dict()) == mine


@pytest.mark.parametrize(
    ("name", "connections", "text"),
    [("carrier pigeon", 10, "expected one of 'gateway SSE'"), ("sse", 0, "connections, got 0")],
)
async def test_what_cannot_be_weighed_is_refused_before_a_server_starts(name, connections, text):
    with pytest.raises(LoadError, match=text):
        await weigh_held(name, connections)


def test_a_weight_reads_as_a_sentence_also_where_nothing_is_told():
    weight = HeldWeight(
        name="sse",
        connections=5,
        bytes_each=ConnectionBytes(12_600.0, None),
        empty_bytes=None,
        connects_per_s=1.0,
        cpu_us_per_connect=None,
        cpu_us_per_push=None,
        cpu_us_per_ping=None,
        bytes_per_push=None,
    )
    assert str(weight) == "sse: 5 idle connections, each 12.6 kB (process) + (not told here) (kernel)"


def test_the_reference_knows_every_way():
    reference = profile()
    assert set(reference.bytes_per_idle_connection) == set(WAYS)
    assert set(reference.cpu_us_per_push) == {name for name, way in WAYS.items() if way.pushes}
    assert reference.cpu_us_per_poll is not None
