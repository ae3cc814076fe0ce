"""Fan-out: the formulas at known values, the ring measured on itself, the simulation against the formulas."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from labsupport.models import fan_out
from labsupport.models.fan_out import ROUTINGS, Ring, count_routing, simulate, simulate_joins

SEEDS = range(20)


def assert_close(values: list[float], expected: float, granted: float = 1e-12) -> None:
    standard_error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    assert abs(float(np.mean(values)) - expected) <= 4 * standard_error + granted, (np.mean(values), expected)


def names(servers: int) -> list[str]:
    return [f"server {number}" for number in range(servers)]


# ---- formulas ----------------------------------------------------------------------------------------------


def test_a_topic_of_10_touches_9_of_50_servers_and_one_of_300_all_of_them() -> None:
    assert fan_out.servers_touched(10, 50) == pytest.approx(9.15, abs=0.01)
    assert fan_out.servers_touched(300, 50) == pytest.approx(49.9, abs=0.05)
    assert fan_out.servers_touched(np.array([0, 1, 7]), 1).tolist() == [0, 1, 1]
    assert fan_out.servers_touched(1, 50) == pytest.approx(1)


@pytest.mark.parametrize("members", [0, 1, 2, 5, 100])
def test_joins_of_a_growing_room_are_a_sum_over_those_who_are_there(members: int) -> None:
    assert fan_out.join_notices(members) == sum(range(members))


def test_ten_thousand_joins_cost_fifty_million_notices() -> None:
    assert fan_out.join_notices(10_000) == pytest.approx(5e7, rel=1e-3)


def test_a_loop_of_20_microseconds_reaches_the_last_of_10_000_after_200_ms_and_four_after_50() -> None:
    assert fan_out.last_listener_s(10_000, 20e-6) == pytest.approx(0.2)
    assert fan_out.last_listener_s(10_000, 20e-6, 4, hop_s=0.001) == pytest.approx(0.051)
    assert fan_out.mean_listener_s(10_000, 20e-6) == pytest.approx(0.1, rel=1e-3)


def test_the_five_ways_between_servers_have_their_price_for_a_small_room() -> None:
    prices = [fan_out.routing_messages(way, 5, 50) for way in ROUTINGS]
    assert prices == pytest.approx([49, 5.80, 5.80, 5.69, 0], abs=0.005)
    assert fan_out.routing_messages("pub/sub", 1_000, 50) > fan_out.routing_messages("to all", 1_000, 50)


def test_from_nine_to_ten_servers_a_ring_moves_a_tenth_and_modulo_nine_tenths() -> None:
    assert fan_out.moved_share(9) == pytest.approx(0.1)
    assert fan_out.moved_share(9, ring=False) == pytest.approx(0.9)


def test_of_a_thousand_topics_by_zipf_the_busiest_has_13_of_100_messages() -> None:
    assert fan_out.hot_share(1_000) == pytest.approx(0.1336, abs=1e-4)
    assert fan_out.hot_share(np.array([1, 4]), 0.0).tolist() == [1, 0.25]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: fan_out.servers_touched(5, 0), "must be 1 or more"),
        (lambda: fan_out.routing_messages("by bus", 5, 5), "routing must be one of 'to all'"),
        (lambda: fan_out.routing_messages("owner", 0, 5), "the publisher is one"),
        (lambda: fan_out.last_listener_s(5, -1), "push_s must be seconds"),
        (lambda: fan_out.hot_share(0), "topics must be a whole number"),
        (lambda: simulate(0), "listeners must be a whole number"),
        (lambda: simulate(10, placing="here"), "placing must be one of"),
        (lambda: simulate(10**8), "this run would hold"),
        (lambda: Ring([]), "expected at least one server"),
        (lambda: Ring(["a", "a"]), "each name once"),
        (lambda: Ring(["a"]).remove("b"), "no server 'b' on this ring"),
        (lambda: fan_out.moved_by_modulo([], 3), "at least one name"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(call: Callable[[], Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


# ---- the ring ----------------------------------------------------------------------------------------------


def test_a_topic_has_the_same_owner_in_whatever_order_the_servers_are_named() -> None:
    topics = [f"room {number}" for number in range(200)]
    one, other = Ring(["a", "b", "c"]), Ring(["c", "a", "b"])
    assert [one.owner(topic) for topic in topics] == [other.owner(topic) for topic in topics]
    assert {one.owner(topic) for topic in topics} == {"a", "b", "c"}


def test_a_new_server_takes_topics_and_no_topic_moves_between_the_old_ones() -> None:
    before = Ring(names(5))
    after = before.add("new")
    topics = [f"room {number}" for number in range(1_000)]
    moved = [topic for topic in topics if before.owner(topic) != after.owner(topic)]
    assert {after.owner(topic) for topic in moved} == {"new"}
    assert before.moved_share(after) == pytest.approx(after.shares()["new"])
    assert len(moved) / 1_000 == pytest.approx(before.moved_share(after), abs=0.05)
    assert before.moved_share(after.remove("new")) == 0


def test_the_shares_of_a_ring_are_all_of_the_circle() -> None:
    assert math.fsum(Ring(names(7), 20).shares().values()) == pytest.approx(1)
    assert Ring(["alone"]).shares() == {"alone": 1.0}


def test_a_ring_moves_what_the_formula_says_and_is_as_uneven() -> None:
    servers, points = 9, 50
    rings = [Ring(names(servers), points, seed) for seed in SEEDS]
    assert_close([ring.moved_share(ring.add("new")) for ring in rings], fan_out.moved_share(servers))
    assert_close([ring.spread**2 for ring in rings], fan_out.ring_spread(servers, points) ** 2)


def test_modulo_moves_nearly_all() -> None:
    topics = [f"room {number}" for number in range(500)]
    moved = [fan_out.moved_by_modulo(topics, 9, seed) for seed in SEEDS]
    assert_close(moved, fan_out.moved_share(9, ring=False))


def test_no_number_of_servers_helps_the_owner_of_a_hot_topic() -> None:
    topics = [f"room {number}" for number in range(100)]
    rates = 1.0 / np.arange(1, 101)
    for servers in (2, 10, 50):
        load = Ring(names(servers)).load(topics, rates)
        assert load.sum() == pytest.approx(rates.sum())
        assert load.max() / load.sum() >= fan_out.hot_share(100) - 1e-12


# ---- by hand -----------------------------------------------------------------------------------------------


def test_listeners_are_reached_one_after_the_other_on_each_server() -> None:
    run = simulate(5, servers=2, push_s=1.0, hop_s=10.0, placing="even")
    assert run.server_of.tolist() == [0, 1, 0, 1, 0]
    assert run.reached_s.tolist() == [11, 11, 12, 12, 13]
    assert (run.last_s, run.busiest, run.servers_touched) == (13, 3, 2)


def test_by_clockwork_the_last_listener_is_reached_when_the_formula_says_it() -> None:
    run = simulate(400, servers=4, push_s=0.001, hop_s=0.002, placing="even")
    assert {gap.name for gap in run.gaps()} == {"servers_touched", "mean_s", "last_s"}
    assert all(abs(gap.relative) < 1e-9 for gap in run.gaps())


def test_more_listeners_change_nobodys_seat() -> None:
    few, many = simulate(10, servers=7, seed=5), simulate(100, servers=7, seed=5)
    assert few.server_of.tolist() == many.server_of[:10].tolist()


def test_a_room_of_one_costs_what_a_room_of_one_costs() -> None:
    run = count_routing(1, 1, messages=3)
    assert [run.mean(way) for way in ROUTINGS] == [0, 2, 2, 0, 0]


# ---- against the formulas: 4 standard errors over 20 runs; fixed seeds, so a pass stays a pass ------


@pytest.mark.parametrize(("listeners", "servers"), [(10, 50), (30, 10), (200, 4)])
def test_random_seats_agree_with_the_formulas(listeners: int, servers: int) -> None:
    runs = [
        simulate(listeners, servers=servers, push_s=1e-3, hop_s=2e-3, pushing="exponential", seed=seed)
        for seed in SEEDS
    ]
    for name, expected in runs[0].closed_forms().items():
        assert_close([getattr(run, name) for run in runs], expected)


def test_the_fullest_of_four_processes_has_a_little_less_than_its_upper_estimate() -> None:
    busiest = np.mean([simulate(2_000, servers=4, seed=seed).busiest for seed in range(10)])
    assert 500 < busiest < fan_out.busiest_process(2_000, 4) < 1.1 * busiest


@pytest.mark.parametrize(("members", "servers"), [(5, 20), (20, 8)])
def test_each_way_of_routing_sends_as_many_messages_as_its_formula_says(members: int, servers: int) -> None:
    runs = [count_routing(members, servers, messages=50, seed=seed) for seed in SEEDS]
    for way, expected in runs[0].closed_forms().items():
        assert_close([run.mean(way) for run in runs], expected)


def test_joins_at_a_rate_cost_the_square_of_their_number() -> None:
    runs = [simulate_joins(10, 20, seed=seed) for seed in SEEDS]
    assert all(run.notices == fan_out.join_notices(run.members) for run in runs)
    assert_close([run.notices for run in runs], 200**2 / 2)  # of a Poisson number: E[n(n − 1)]/2 = mean²/2


# ---- what runs give ----------------------------------------------------------------------------------------

RUNS: list[Callable[[int], Any]] = [
    lambda seed: simulate(50, servers=4, pushing="exponential", seed=seed),
    lambda seed: count_routing(5, 10, messages=20, seed=seed),
    lambda seed: simulate_joins(5, 10, seed=seed),
]


@pytest.mark.parametrize("make", RUNS)
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(make: Callable[[int], Any]) -> None:
    def arrays(run: Any) -> bytes:
        values = [*vars(run).values(), *getattr(run, "sent", {}).values()]
        return b"".join(value.tobytes() for value in values if isinstance(value, np.ndarray))

    assert arrays(make(1)) == arrays(make(1))
    assert arrays(make(1)) != arrays(make(2))


@pytest.mark.parametrize("make", [*RUNS, lambda seed: Ring(names(5), seed=seed)])
def test_a_run_says_and_draws_what_happened(make: Callable[[int], Any]) -> None:
    import matplotlib.pyplot as plt

    run = make(1)
    if not isinstance(run, Ring):
        assert run.summary().endswith(".")
        assert [gap.name for gap in run.gaps()] == list(run.closed_forms())
    ax = run.plot()
    assert any(ax.get_title(loc) for loc in ("left", "center"))
    assert ax.get_xlabel().endswith(")")
    plt.close(ax.figure)
