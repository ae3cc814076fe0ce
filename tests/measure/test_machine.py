"""Weighing real servers: the figures are there, of the right kind, and the servers are gone afterwards."""

import asyncio
import dataclasses
import os
import sys

import pytest

from labsupport import measure, profile
from labsupport.measure import command, machine, memory
from labsupport.measure.machine import BROWSER, poll_bytes
from labsupport.processes import middlebox, serve

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")


@pytest.fixture
def small(monkeypatch):
    """The same measurements, with less of everything."""
    for name, value in {"ROUND_TRIPS": 20, "POLLS_S": 0.1, "ACCEPTS": 100, "PARKED": 100, "AGAIN": 1}.items():
        monkeypatch.setattr(machine, name, value)


@pytest.fixture
def own(monkeypatch, tmp_path):
    monkeypatch.setenv("LAB_PROFILE_FILE", str(tmp_path / "profile.json"))
    monkeypatch.delenv("LAB_PROFILE", raising=False)
    monkeypatch.setattr(profile, "_chosen", None)
    return tmp_path / "profile.json"


async def test_a_thousand_parked_requests_are_weighed_and_woken_and_the_second_time_they_weigh_the_same():
    with serve("long_polling", instance="tests/measure weighed") as server:
        weights = [await measure.weigh_parked(server) for _ in range(2)]
    for weight in weights:
        assert (weight.clients, weight.woken.answered, weight.woken.early) == (1_000, 1_000, 0)
        assert weight.woken.broken == {}
        assert 0 < weight.woken.first_ms <= weight.woken.last_ms
        assert str(weight).startswith("1000 parked requests: ")
    first, again = (weight.process_bytes for weight in weights)
    if sys.platform == "linux":
        assert 1_000 < first < 100_000
        assert again == pytest.approx(first, rel=0.25)  # the server is fresh each time
    else:
        assert first is again is None


@LINUX
def test_memory_that_a_process_takes_is_seen_in_its_weight():
    before = memory.process_bytes(os.getpid())
    block = bytearray(b"x" * 50_000_000)
    after = memory.process_bytes(os.getpid())
    assert after - before > 40_000_000
    assert len(block) == 50_000_000


@LINUX
def test_statm_stands_in_where_smaps_rollup_is_hidden(monkeypatch):
    def hidden(path, name):
        raise PermissionError

    exact = memory.process_bytes(os.getpid())
    monkeypatch.setattr(memory, "_kilobytes", hidden)
    assert memory.process_bytes(os.getpid()) == pytest.approx(exact, rel=0.2)


def test_elsewhere_the_answer_is_that_it_is_not_told(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert (memory.process_bytes(1), memory.slab_bytes()) == (None, None)
    weight = measure.ParkedWeight(5, None, None, measure.Woken(5, [], 0))
    assert (
        str(weight)
        == "5 parked requests: (not told here) each in the process, (not told here) each in the kernel"
    )


@pytest.mark.parametrize(
    ("before", "after", "each"), [(None, 5, None), (5, None, None), (9, 9, None), (0, 50, 5.0)]
)
def test_growth_per_client_is_none_where_nothing_grew(before, after, each):
    assert memory.growth_each(before, after, 10) == each


async def test_the_bytes_of_a_poll_are_those_of_its_head_and_its_answer():
    with (
        serve("short_polling", instance="tests/measure bytes") as server,
        middlebox(server, "tests/measure") as box,
    ):
        empty = await asyncio.to_thread(poll_bytes, server.url, box.url, box.recording)
        message = await asyncio.to_thread(poll_bytes, server.url, box.url, box.recording, "x" * 100)
    assert empty.up == message.up > len("\r\n".join(BROWSER))
    assert 100 < message.down - empty.down < 200  # the message, its id, its name


@pytest.mark.usefixtures("small")
async def test_a_profile_comes_out_and_no_server_stays():
    told = []
    mine = await measure.weigh(told.append)
    assert [line[:6] for line in told] == ["1 of 5", "2 of 5", "3 of 5", "4 of 5", "5 of 5"]
    assert profile.Profile.from_dict(mine.to_dict()) == mine
    assert 0 < mine.round_trip_ms.p50 <= mine.round_trip_ms.p99
    for name, arguments in (("short_polling", ()), ("long_polling", ())):
        with serve(name, *arguments, instance=machine.INSTANCE) as server:
            assert server.log == []  # a new one: the measured one has ended


@pytest.fixture
def quick(monkeypatch):
    """A measurement that takes no time: the reference, as if it were of today."""
    fresh = dataclasses.replace(profile.Profile.load(profile.REFERENCE), measured_on="2031-01-02")

    async def weigh(progress):
        progress("1 of 5  something")
        return fresh

    async def weigh_connections(given, progress):
        progress("1 of 6  something held")
        return given

    monkeypatch.setattr(command, "weigh", weigh)
    monkeypatch.setattr(command, "weigh_connections", weigh_connections)
    return fresh


def test_the_command_writes_the_own_profile_and_shows_it_beside_the_reference(quick, own, capsys):
    assert measure.main([]) == 0
    said = capsys.readouterr()
    assert "1 of 5" in said.out
    assert [line.split() for line in said.out.splitlines() if "reference" in line] == [
        ["reference", "this", "machine"],
        ["reference", "this", "machine"],
    ]
    assert f"written to {own}" in said.out
    assert said.err == ""
    assert profile.use("mine") == quick


@pytest.mark.usefixtures("own")
def test_the_reference_is_written_only_when_it_is_asked_for(quick, monkeypatch, tmp_path, capsys):
    reference = tmp_path / "reference.json"
    monkeypatch.setattr(command, "REFERENCE", reference)
    assert measure.main(["--reference"]) == 0
    assert profile.Profile.load(reference) == quick
    assert not profile.own_path().exists()
    assert "LAB_PROFILE" not in capsys.readouterr().out


@pytest.mark.usefixtures("own")
def test_a_measurement_that_fails_says_so_and_writes_nothing(monkeypatch, capsys):
    async def fails(progress):
        raise measure.LoadError("no descriptors left")

    monkeypatch.setattr(command, "weigh", fails)
    assert measure.main([]) == 1
    assert capsys.readouterr().err == "This machine could not be measured: no descriptors left\n"
    assert not profile.own_path().exists()
