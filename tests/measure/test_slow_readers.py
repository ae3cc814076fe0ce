"""Slow readers on real sockets: all that was made is accounted for, and figures are those of the arrays."""

import asyncio

import numpy as np
import pytest

from labsupport.measure import slow_readers
from labsupport.measure.slow_readers import POLICIES, SlowReading, SlowReadings, kernel_room, stopped_reader
from labsupport.measure.sockets import LoadError
from labsupport.models import slow_consumer
from servers import feed


def test_the_policies_have_the_names_of_the_server_and_of_the_model():
    assert POLICIES == slow_consumer.POLICIES
    assert set(feed.POLICIES) == {*POLICIES, "none"}


async def test_every_message_is_read_lost_or_still_on_its_way_and_a_ping_is_timed():
    runs = await slow_readers.slow_readers(
        400, 100, 5, policies=("none", "drop oldest", "disconnect"), seconds=0.5, beat_s=0.05, reconnect_s=0.1
    )
    for run in runs.runs:
        assert run.made == len(run.delays_s) + run.lost + run.unread
        assert len(run.delays_s) == len(run.read_s) > 0
        assert (run.delays_s > 0).all()
        assert len(run.pings_s) == len(run.pinged_s)
        assert (run.pings_s > 0).all()
    none, oldest, cut = runs.runs
    assert (none.lost, none.cuts) == (0, 0)
    assert oldest.lost > 0
    assert len(oldest.pings_s) > 0
    assert (oldest.unread, cut.unread) == (0, 0)
    assert oldest.queued_peak <= 5
    assert cut.cuts > 0


async def test_a_source_that_waits_makes_less_and_loses_nothing():
    run = await slow_readers.slow_reader("wait", 400, 100, 5, seconds=0.5)
    assert (run.lost, run.unread, run.cuts) == (0, 0, 0)
    assert run.made < 400 * 0.5
    assert run.made == len(run.delays_s)


async def test_what_a_stopped_reader_leaves_lies_in_the_kernel_and_then_in_the_process():
    stuck = await stopped_reader(400, 65_536, seconds=0.5)
    assert stuck.policy == "none"
    assert len(stuck.looks_s) == len(stuck.kernel_bytes) == len(stuck.queued_bytes)
    assert (np.diff(stuck.looks_s) > 0).all()
    assert stuck.kernel_peak_bytes > 65_536
    bounded = await stopped_reader(400, 65_536, policy="drop oldest", buffer=3, seconds=0.5)
    # The queue, and one message of which asyncio has not yet handed over the last part.
    assert bounded.queued_peak_bytes <= 4 * 65_600


async def test_messages_that_wait_for_several_readers_are_counted_for_each_of_them():
    one, three = [
        await stopped_reader(
            1_000, policy="drop oldest", buffer=5, seconds=0.3, readers=n, small_buffers=True
        )
        for n in (1, 3)
    ]
    assert (one.queued_peak, three.queued_peak) == (5, 15)


def test_the_kernel_takes_a_bounded_number_of_bytes_and_less_where_less_is_asked_for():
    small, alone = kernel_room(16_384, 16_384), kernel_room()
    assert 16_384 < small.taken < alone.taken < slow_readers.ROOM_BYTES
    if small.sending is not None and small.unread is not None:
        assert small.sending + small.unread == small.taken


async def test_what_makes_no_sense_is_refused_with_what_is_possible():
    for arguments, named in (
        ({"in_per_s": 0, "out_per_s": 1}, "5000 messages/s"),
        ({"in_per_s": 10, "out_per_s": 1, "seconds": 1000}, "60 seconds"),
        ({"in_per_s": 5000, "out_per_s": 1, "message_bytes": 1 << 20}, "256 MiB"),
    ):
        with pytest.raises(LoadError, match=named):
            await slow_readers.slow_reader("wait", **arguments)
    with pytest.raises(LoadError, match="1 to 500 readers"):
        await stopped_reader(readers=501)


async def test_a_measurement_that_is_interrupted_leaves_no_server_behind():
    started = []

    class Noted(slow_readers.Server):
        def __init__(self, *arguments: str) -> None:
            super().__init__(*arguments)
            started.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slow_readers, "Server", Noted)
        running = asyncio.create_task(slow_readers.slow_reader("wait", 100, 50, seconds=30))
        while not started:  # noqa: ASYNC110 - a thread starts it
            await asyncio.sleep(0.01)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert [server.alive for server in started] == [False]


def made_up(policy: str, **more: object) -> SlowReading:
    fixed = {
        "policy": policy, "in_per_s": 100.0, "out_per_s": 50.0, "buffer": 2, "message_bytes": 1_024,
        "seconds": 2.0, "made": 200, "lost": 50, "unread": 0, "cuts": 0, "between": 3,
        "delays_s": np.array([0.1, 0.2, 0.3]), "read_s": np.arange(3.0), "pings_s": np.array([1.0, 3.0, 2.0]),
        "pinged_s": np.arange(3.0), "looks_s": np.arange(2.0), "queued": np.array([0, 2]),
        "queued_bytes": np.array([0, 2_048]), "resident_bytes": np.array([1e6, 3e6]),
        "kernel_bytes": np.array([0, 3_072]),
    }  # fmt: skip
    return SlowReading(**{**fixed, **more})  # type: ignore[arg-type]


def test_the_figures_are_those_of_the_arrays():
    run = made_up("drop oldest")
    assert (run.loss_share, run.made_per_s) == (0.25, 100.0)
    assert run.delay_mean_s == pytest.approx(0.2)
    assert (run.ping_s, run.ping_peak_s) == (2.0, 3.0)
    assert (run.queued_peak, run.queued_peak_bytes, run.kernel_peak_bytes) == (2, 2_048, 3_072)
    assert run.grown_bytes == 2e6
    assert str(run) == (
        "drop oldest: 200 made, 25% lost; what was read was 0.20 s old on average, a ping took 2.00 s; "
        "2 KiB waited in the process at most."
    )


def test_runs_are_found_by_their_policy_and_an_unknown_one_is_told():
    runs = SlowReadings((made_up("wait"), made_up("disconnect", cuts=2)))
    assert runs["disconnect"].cuts == 2
    assert [row["policy"] for row in runs.rows()] == ["wait", "disconnect"]
    with pytest.raises(KeyError, match="wait, disconnect"):
        runs["none"]
