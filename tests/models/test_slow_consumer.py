"""A slow reader: the formulas at known values, the policies by hand, the simulation against the formulas."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from labsupport.models import slow_consumer
from labsupport.models.slow_consumer import POLICIES, SlowConsumerRun, simulate, simulate_policies
from servers.core import log

SEEDS = range(20)
CLOCKWORK = {"producing": "constant", "reading": "constant"}


def assert_close(values: list[float], expected: float, granted: float = 0.0) -> None:
    standard_error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    assert abs(float(np.mean(values)) - expected) <= 4 * standard_error + granted, (np.mean(values), expected)


def by_hand(policy: str, times_s: list[float], buffer: int = 2, **options: Any) -> SlowConsumerRun:
    """A reader that needs 10 s for each message."""
    world = {"horizon_s": 100.0, "reading": "constant", **options}
    return simulate(policy, 1.0, 0.1, buffer, arrivals_s=times_s, **world)


# ---- formulas ----------------------------------------------------------------------------------------------


def test_a_megabyte_is_full_after_10_s_when_100_kB_a_second_more_come_than_are_read() -> None:
    assert slow_consumer.overflow_s(1_000_000, 150_000, 50_000) == 10
    assert slow_consumer.overflow_s(1_000_000, 50_000, 50_000) == math.inf


def test_a_ping_behind_the_kernels_4_megabytes_comes_too_late_for_a_time_out_of_20_s() -> None:
    assert slow_consumer.ping_delay_s(4_291_584, 100_000) == pytest.approx(42.9, abs=0.02)
    assert slow_consumer.queue_that_kills_bytes(100_000, 20) == 2_000_000


def test_a_full_queue_loses_1_of_K_plus_1_when_as_much_comes_as_is_read() -> None:
    assert slow_consumer.full_share(50, 50, 4) == pytest.approx(0.2)
    assert slow_consumer.full_share(80, 100, 10) == pytest.approx(0.2 * 0.8**10 / (1 - 0.8**11))
    assert slow_consumer.full_share(80, 100, 10) == pytest.approx(0.0235, abs=1e-4)
    assert slow_consumer.full_share(200, 100, 10_000) == pytest.approx(0.5)  # no overflow of the powers


@pytest.mark.parametrize("in_per_s", [80.0, 99.9999, 100.0, 125.0, 400.0])
def test_the_queues_formulas_are_sums_over_its_states(in_per_s: float) -> None:
    weights = (in_per_s / 100.0) ** np.arange(11)
    states = weights / weights.sum()
    assert slow_consumer.full_share(in_per_s, 100, 10) == pytest.approx(states[-1], rel=1e-4)
    assert slow_consumer.held_mean(in_per_s, 100, 10) == pytest.approx(states @ np.arange(11), rel=1e-4)
    taken_per_s = in_per_s * (1 - states[-1])
    assert slow_consumer.accepted_per_s(in_per_s, 100, 10) == pytest.approx(taken_per_s, rel=1e-4)
    assert slow_consumer.full_delay_mean_s(in_per_s, 100, 10) == pytest.approx(
        states @ np.arange(11) / taken_per_s, rel=1e-4
    )


@pytest.mark.parametrize("in_per_s", [80.0, 100.0, 150.0])
def test_the_time_to_overflow_is_the_sum_of_the_steps_up(in_per_s: float) -> None:
    step_s, total_s = 0.0, 0.0
    for level in range(21):
        step_s = (1.0 + (100.0 * step_s if level else 0.0)) / in_per_s
        total_s += step_s
    assert slow_consumer.overflow_mean_s(in_per_s, 100, 21) == pytest.approx(total_s)


def test_with_overload_drop_oldest_is_twice_as_fresh_and_keep_latest_sixty_times() -> None:
    delays_s = {
        policy: slow_consumer.overload_delay_s(policy, 100, 50, 100)
        for policy in ("drop newest", "wait", "drop oldest", "keep latest")
    }
    assert delays_s == pytest.approx(
        {"drop newest": 2.02, "wait": 2.04, "drop oldest": 1.02, "keep latest": 0.03}
    )
    assert slow_consumer.overload_loss_share(np.array([50, 100, 200]), 100).tolist() == [0, 0, 0.5]


def test_keep_latest_is_never_younger_than_two_readings_and_more_messages_help_it() -> None:
    ages_s = slow_consumer.latest_age_mean_s(np.array([1, 10, 100, 1e6]), 10)
    assert np.all(np.diff(ages_s) < 0)
    assert ages_s[-1] == pytest.approx(2 / 10, rel=1e-4)
    assert slow_consumer.latest_age_mean_s(1, 1) == pytest.approx(2 + 5 / 12)


def test_where_all_wait_their_turn_more_messages_make_the_view_older_from_half_the_load_on() -> None:
    loads = np.linspace(0.3, 0.95, 651)
    assert loads[np.argmin(slow_consumer.queue_age_mean_s(loads, 1))] == pytest.approx(0.531, abs=0.002)
    assert slow_consumer.queue_age_mean_s(1, 1) == math.inf


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: simulate("keep all", 1, 1), "policy must be one of 'wait', 'drop newest'"),
        (lambda: simulate("wait", 0, 1), "in_per_s must be a rate per second, above 0"),
        (lambda: simulate("wait", 1, 1, 0), "buffer must be a whole number from 1 up"),
        (lambda: simulate("wait", 1, 1, reading="fast"), "reading must be one of"),
        (lambda: simulate("disconnect", 1, 1, reconnect_s=0), "reconnect_s must be seconds, above 0"),
        (lambda: simulate("wait", 1e6, 1, **CLOCKWORK), "this run would hold"),
        (lambda: simulate("wait", 1, 1, arrivals_s=[3, 2]), "arrivals_s must ascend"),
        (lambda: simulate_policies(1, 1, policies=()), "policies must name at least one"),
        (lambda: slow_consumer.overload_delay_s("wait", 50, 100, 10), "try full_delay_mean_s"),
        (lambda: slow_consumer.full_share(1, 1, 0), "places must be 1 or more"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(call: Callable[[], Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


def test_the_policies_are_those_of_the_servers_log() -> None:
    assert set(POLICIES) == set(log.POLICIES)


# ---- by hand -----------------------------------------------------------------------------------------------


def test_drop_newest_keeps_what_came_first() -> None:
    run = by_hand("drop newest", [1, 2, 3, 4, 5])
    assert run.is_read.tolist() == [True, True, True, False, False]
    assert run.ended_s.tolist() == [11, 21, 31, 4, 5]
    assert (run.held_peak, run.lost, run.overflow_s) == (3, 2, 4)


def test_drop_oldest_keeps_what_came_last_but_not_from_under_the_readers_eyes() -> None:
    run = by_hand("drop oldest", [1, 2, 3, 4, 5])
    assert run.is_read.tolist() == [True, False, False, True, True]
    assert run.ended_s.tolist() == [11, 4, 5, 21, 31]
    assert run.held_peak == 3


def test_keep_latest_lets_one_wait_whatever_buffer_it_is_given() -> None:
    run = by_hand("keep latest", [1, 2, 3, 4, 5], buffer=50)
    assert run.is_read.tolist() == [True, False, False, False, True]
    assert run.ended_s.tolist() == [11, 3, 4, 5, 21]
    assert run.held_peak == 2


def test_what_the_kernel_has_taken_no_policy_can_take_back() -> None:
    run = by_hand("keep latest", [1, 2, 3, 4, 5, 6], kernel=2)
    assert run.is_read.tolist() == [True, True, True, False, False, True]
    assert run.ended_s.tolist() == [11, 21, 31, 5, 6, 41]
    assert run.held_peak == 4


def test_a_cut_throws_away_what_the_kernel_held_as_well() -> None:
    run = by_hand("disconnect", [1, 2, 3], buffer=1, kernel=1, reconnect_s=5.0)
    assert run.cuts_s.tolist() == [3]
    assert run.ended_s.tolist() == [3, 3, 3, 3, 18]


def test_wait_stops_the_producer_who_then_makes_the_next_one_later() -> None:
    run = by_hand("wait", [1, 2, 3, 4, 5])
    assert run.made_s.tolist() == [1, 2, 3, 4, 12]  # 4 was in its hand until 11, and the next takes it 1 s
    assert run.ended_s.tolist() == [11, 21, 31, 41, 51]
    assert (run.lost, run.held_peak) == (0, 4)


def test_disconnect_throws_away_what_was_unread_and_a_snapshot_makes_up_for_it() -> None:
    run = by_hand("disconnect", [1, 2, 3, 15, 30], reconnect_s=5.0)
    assert run.cuts_s.tolist() == [3]  # the snapshot of the first connection is being read until 10
    assert run.made_s[run.is_snapshot].tolist() == [0, 8]
    assert run.ended_s[run.is_snapshot].tolist() == [3, 18]
    assert run.is_read[~run.is_snapshot].tolist() == [False, False, False, True, True]
    assert run.ended_s[~run.is_snapshot].tolist() == [3, 3, 3, 28, 40]


def test_a_message_for_a_reader_who_is_away_is_lost_at_once_and_held_by_nobody() -> None:
    run = by_hand("disconnect", [1, 2, 3, 4, 5], reconnect_s=5.0)
    assert run.ended_s[~run.is_snapshot].tolist() == [3, 3, 3, 4, 5]
    assert run.held_peak == 3
    assert run.cuts == 1


def test_the_age_of_the_view_grows_by_the_second_and_falls_when_something_newer_was_read() -> None:
    run = by_hand("drop newest", [1, 2])
    ages_s = run.age_at([5, 11, 20, 21, 30])
    assert math.isnan(ages_s[0])
    assert ages_s[1:].tolist() == [10, 19, 19, 28]


def test_a_ping_that_is_put_behind_data_is_read_when_the_data_is() -> None:
    run = simulate("drop newest", 1, 10, 100, arrivals_s=[1.0] * 50 + [1.0001], reading="constant")
    assert run.delay_s[-1] == pytest.approx(slow_consumer.ping_delay_s(51, 10), abs=0.001)


@pytest.mark.parametrize("policy", ["drop newest", "drop oldest", "keep latest", "disconnect"])
def test_by_clockwork_the_buffer_is_full_when_the_formula_says_it(policy: str) -> None:
    run = simulate(policy, 100, 50, 20, horizon_s=5, **CLOCKWORK)
    one_message_s = 1 / 100 + 1 / 50
    assert run.overflow_s == pytest.approx(run.closed_forms()["overflow_s"], abs=one_message_s)


def test_a_reader_who_keeps_up_loses_nothing_under_any_policy() -> None:
    for run in simulate_policies(50, 100, 2, horizon_s=5, **CLOCKWORK).runs:
        assert (run.lost, run.cuts, run.overflow_s) == (0, 0, math.inf)


# ---- against the formulas: 4 standard errors over 20 runs; fixed seeds, so a pass stays a pass ------


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(("in_per_s", "buffer", "kernel"), [(80, 9, 0), (150, 9, 0), (120, 3, 4)])
def test_every_policy_agrees_with_its_formulas(
    policy: str, in_per_s: float, buffer: int, kernel: int
) -> None:
    horizon_s = 10
    runs = [
        simulate(policy, in_per_s, 100, buffer, kernel=kernel, horizon_s=horizon_s, seed=seed)
        for seed in SEEDS
    ]
    forms = runs[0].closed_forms()
    assert forms
    for name, expected in forms.items():
        granted = 0.5 / horizon_s if name == "cuts_per_s" else 0.0  # the last connection is half a one
        assert_close([getattr(run, name) for run in runs], expected, granted)


@pytest.mark.parametrize(("in_per_s", "kernel"), [(80, 0), (150, 2)])
def test_a_short_buffer_disconnects_as_often_as_the_formula_says(in_per_s: float, kernel: int) -> None:
    world = {"kernel": kernel, "reconnect_s": 0.05, "horizon_s": 10}
    runs = [simulate("disconnect", in_per_s, 100, 3, seed=seed, **world) for seed in SEEDS]
    assert_close([run.cuts_per_s for run in runs], runs[0].closed_forms()["cuts_per_s"], granted=0.05)


@pytest.mark.parametrize("policy", ["wait", "drop newest", "drop oldest", "keep latest"])
def test_with_overload_and_full_buffers_what_is_read_is_as_old_as_the_large_picture_says(policy: str) -> None:
    runs = [simulate(policy, 200, 50, 20, kernel=10, horizon_s=20, seed=seed) for seed in SEEDS]
    expected = slow_consumer.overload_delay_s(policy, 200, 50, 20, 10)
    assert_close([run.delay_mean_s for run in runs], expected, granted=0.05 * expected)


def test_behind_a_large_kernel_buffer_keep_latest_shows_old_news() -> None:
    young, old = (simulate("keep latest", 100, 50, kernel=kernel, horizon_s=30) for kernel in (0, 100))
    assert young.age_mean_s < 0.05
    assert old.age_mean_s > 1.5
    assert old.held_peak == 102


def test_drop_oldest_loses_as_many_as_drop_newest_and_shows_what_is_younger() -> None:
    table = simulate_policies(150, 100, 9, horizon_s=10, seed=3)
    oldest, newest, latest = (table[policy] for policy in ("drop oldest", "drop newest", "keep latest"))
    assert oldest.lost == newest.lost < latest.lost
    assert oldest.held_mean == pytest.approx(newest.held_mean)
    assert newest.age_mean_s > oldest.age_mean_s > latest.age_mean_s
    assert table["wait"].made_per_s < newest.made_per_s


# ---- what runs give ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", POLICIES)
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(policy: str) -> None:
    def arrays(seed: int) -> bytes:
        run = simulate(policy, 60, 50, 5, horizon_s=3, seed=seed)
        return b"".join(value.tobytes() for value in vars(run).values() if isinstance(value, np.ndarray))

    assert arrays(1) == arrays(1)
    assert arrays(1) != arrays(2)


def test_runs_say_and_draw_what_happened() -> None:
    import matplotlib.pyplot as plt

    table = simulate_policies(60, 50, 5, horizon_s=3)
    assert [row["policy"] for row in table.rows()] == list(POLICIES)
    assert set(table.gaps()) == set(POLICIES)
    for shown in (table, *table.runs):
        assert shown.summary().endswith(".")
        ax = shown.plot()
        assert any(ax.get_title(loc) for loc in ("left", "center"))
        assert ax.get_ylabel().endswith("(s)")
        plt.close(ax.figure)
    axes = table.plot_costs()
    assert [label.get_text() for label in axes[0].get_yticklabels()] == list(POLICIES)
    plt.close(axes[0].figure)
    with pytest.raises(KeyError, match="expected one of wait"):
        table["lossy"]


def test_a_run_without_messages_says_so() -> None:
    run = simulate("wait", 1, 1, arrivals_s=[])
    assert run.summary().endswith("nothing was read.")
    assert math.isnan(run.loss_share)
    assert math.isnan(run.age_mean_s)
    assert (run.held_peak, run.held_mean) == (0, 0)
