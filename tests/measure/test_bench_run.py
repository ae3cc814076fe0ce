"""The bench without hands: each button does what it says, and the counters count what the checker counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from labsupport.measure.bench_clients import TRANSPORTS
from labsupport.measure.bench_run import BUTTONS, Bench
from labsupport.measure.sockets import LoadError

PATIENCE_S = 20


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - the bench tells nobody
            await asyncio.sleep(0.01)


def least(bench: Bench) -> int:
    """How many the client has that has the fewest."""
    return min(len(lane.seen) for lane in bench.lanes)


async def test_who_keeps_his_place_loses_nothing_by_a_cut() -> None:
    async def cut(transport: str) -> None:
        async with Bench(transport, clients=3, rate=10) as bench:
            await until(lambda: least(bench) >= 3)
            assert "All connections have ended" in await bench.press("cut")
            await until(lambda: least(bench) >= 8)
        assert bench.report, f"{transport}: {bench.report}"
        totals = bench.picture(None)["totals"]
        wrong = {name: totals[name] for name in ("lost", "missed", "twice", "late") if totals[name]}
        assert wrong == {}, transport

    await asyncio.gather(*(cut(transport) for transport in TRANSPORTS))


async def test_who_forgets_his_place_gets_again_what_he_had_or_misses_some() -> None:
    async def cut(transport: str) -> None:
        async with Bench(transport, clients=2, rate=10, keeps_place=False) as bench:
            await until(lambda: least(bench) >= 3)
            await bench.press("cut")
            await until(lambda: all(lane.newest >= 8 for lane in bench.lanes))
        totals = bench.picture(None)["totals"]
        assert totals["lost"] + totals["missed"] + totals["twice"] > 0, transport

    await asyncio.gather(cut("SSE"), cut("WebSocket"))


async def test_what_is_sent_again_to_a_frozen_server_comes_twice_where_it_carries_no_id() -> None:
    async def freeze(transport: str) -> Bench:
        async with Bench(transport, clients=1, rate=10, send_limit_s=0.2) as bench:
            await until(lambda: least(bench) >= 2)
            await bench.press("freeze")
            had = len(bench.sent_s)
            if transport == "SSE":
                await until(lambda: bench.resent)
            else:  # the chat's outbox waits: nothing is sent a second time under another id
                await until(lambda: len(bench.sent_s) - len(bench.confirmed) >= 1)
            await bench.press("freeze")
            await until(lambda: len(bench.confirmed) > had + 2)
        return bench

    posted, chatted = await asyncio.gather(freeze("SSE"), freeze("WebSocket"))
    assert posted.picture()["resent"] >= 1
    assert posted.picture(None)["totals"]["twice"] >= 1
    assert (posted.picture(None)["totals"]["lost"], posted.picture(None)["totals"]["late"]) == (0, 0)
    assert chatted.picture()["resent"] == 0
    assert chatted.report, str(chatted.report)


def test_what_comes_behind_a_later_one_is_counted_out_of_order_and_not_as_lost() -> None:
    bench = Bench("SSE", clients=2)
    bench.sent_s, bench.confirmed = [0.0, 0.1, 0.2, 0.3], {0, 1, 2, 3}
    for at_s, number in enumerate((0, 2, 1, 3, 3)):
        bench.lanes[0].take(float(at_s), number)
    for at_s, number in enumerate((0, 1, 2, 3)):
        bench.lanes[1].take(float(at_s), number)
    shuffled, straight = bench.counts()
    assert [kind for _, _, kind in bench.lanes[0].marks] == ["came", "came", "late", "came", "twice"]
    assert (shuffled["late"], shuffled["twice"], shuffled["lost"]) == (1, 1, 0)
    assert (straight["late"], straight["twice"], straight["lost"]) == (0, 0, 0)


async def test_a_delay_makes_messages_late_and_its_end_makes_them_quick_again() -> None:
    async with Bench("SSE", clients=1, rate=10) as bench:
        await until(lambda: least(bench) >= 2)
        await bench.press("delay")
        await until(lambda: bench.lanes[0].delay_s >= 0.4)
        await bench.press("delay")
        await until(lambda: bench.lanes[0].delay_s < 0.4)
    assert [name for name, _, _ in bench.faults] == ["delay"]
    assert bench.faults[0][2] is not None


async def test_a_frozen_server_says_nothing_and_goes_on() -> None:
    async with Bench("SSE", clients=1, rate=10) as bench:
        await until(lambda: least(bench) >= 2)
        await bench.press("freeze")
        assert bench.picture()["server"] == "frozen"
        had = len(bench.confirmed)
        await bench.press("freeze")
        await until(lambda: len(bench.confirmed) > had + 2)
    assert bench.report, str(bench.report)


async def test_a_network_that_forgets_is_noticed_by_the_dead_man_timer() -> None:
    async with Bench("SSE", clients=1, rate=10) as bench:
        await until(lambda: least(bench) >= 2)
        await bench.press("forget")
        had = least(bench)
        await until(lambda: len(bench.confirmed) > had + 5)
        assert least(bench) <= had + 1
        await bench.press("forget")
    assert bench.report, str(bench.report)


async def test_a_killed_server_is_dead_until_it_is_restarted_and_its_memory_is_gone() -> None:
    async with Bench("SSE", clients=2, rate=10) as bench:
        await until(lambda: least(bench) >= 2)
        await bench.press("kill")
        assert bench.picture()["server"] == "dead"
        assert "nothing to freeze" in await bench.press("freeze")
        await bench.press("restart")
        assert bench.picture()["server"] == "running"
        await until(lambda: any(mark[2] == "gap" for mark in bench.lanes[0].marks))
        newest = bench.lanes[0].newest
        await until(lambda: bench.lanes[0].newest > newest)


@pytest.mark.parametrize("transport", ["SSE", "WebSocket"])
async def test_a_bench_ends_by_itself_although_its_server_is_dead(
    transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labsupport.measure.bench_run.LONGEST_S", 0.6)
    bench = Bench(transport, clients=1, rate=10)
    await bench.start()
    await bench.press("kill")
    await until(lambda: bench.said.startswith("Counted:") or bench.state == "ended")
    await bench.finish()
    assert bench.picture()["server"] == "away"


async def test_clients_that_were_cut_together_do_not_come_back_together() -> None:
    async with Bench("SSE", clients=6, rate=10) as bench:
        await until(lambda: least(bench) >= 2)
        await bench.press("cut")
        cut_s = bench.faults[0][1]
        await until(lambda: least(bench) >= 8)
    back_s = [min(at_s for at_s, _, _ in lane.marks if at_s > cut_s + 0.1) for lane in bench.lanes]
    assert max(back_s) - min(back_s) > 0.1


async def test_a_slow_reader_falls_behind_alone() -> None:
    async with Bench("SSE", clients=2, rate=10) as bench:
        await until(lambda: least(bench) >= 1)
        await bench.press("slow")
        await until(lambda: len(bench.lanes[1].seen) >= len(bench.lanes[0].seen) + 3)
        rows = bench.counts()
        assert rows[0]["behind"] > rows[1]["behind"]


async def test_pressing_a_bench_that_does_not_run_says_so() -> None:
    bench = Bench("SSE", clients=1)
    assert await bench.press("cut") == "Nothing to press: the bench is ready."
    with pytest.raises(LoadError, match="expected one of"):
        await bench.press("explode")
    assert len(BUTTONS) == 7


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"transport": "pigeon"}, "transport: expected one of"),
        ({"clients": 21}, "clients: expected more than 0 and at most 20"),
        ({"rate": 0}, "rate: expected more than 0 and at most 10"),
    ],
    ids=["transport", "clients", "rate"],
)
def test_a_bench_that_cannot_be_is_refused_in_words(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(LoadError, match=said):
        Bench(**asked)
