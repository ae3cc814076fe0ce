"""Silent death: the formulas at their known values, the simulation by hand and against the formulas."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from labsupport.models import liveness
from labsupport.models.liveness import (
    simulate_detection,
    simulate_expiry,
    simulate_ghosts,
    simulate_presence,
)

SEEDS = range(20)


def assert_close(values: list[float], expected: float, granted: float = 0.0) -> None:
    standard_error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    assert abs(float(np.mean(values)) - expected) <= 4 * standard_error + granted, (np.mean(values), expected)


def spread_evenly(values: np.ndarray, low: float, high: float) -> bool:
    """Kolmogorov–Smirnov at 0.1 % against the uniform law."""
    scaled = np.sort((values - low) / (high - low))
    distance = np.max(np.abs(scaled - (np.arange(len(scaled)) + 0.5) / len(scaled)))
    return bool(distance < 1.95 / math.sqrt(len(scaled)))


# ---- formulas ----------------------------------------------------------------------------------------------


def test_pings_of_20_and_20_s_and_a_close_of_10_know_after_40_s_and_after_50_at_the_latest() -> None:
    assert liveness.detection_mean_s(20, 20, 10) == 40
    assert liveness.detection_p95_s(20, 20, 10) == 49
    assert liveness.detection_max_s(20, 20, 10) == 50


def test_a_million_connections_at_25_s_are_40_000_pings_a_second_and_twice_that_with_pongs() -> None:
    assert liveness.pings_per_s(1_000_000, 25) == 40_000
    assert liveness.pings_per_s(1_000_000, 25, pongs=True) == 80_000


def test_a_beat_of_30_s_kept_for_60_leaves_a_ghost_for_30_to_60_s() -> None:
    assert (liveness.ghost_min_s(30, 60), liveness.ghost_mean_s(30, 60), liveness.ghost_max_s(30, 60)) == (
        30,
        45,
        60,
    )


def test_exactly_two_beats_are_a_race_and_half_a_beat_more_is_none() -> None:
    p = 0.01
    assert liveness.false_offline_share(30, 75, p) == pytest.approx((1 - p) * p**2)
    assert liveness.false_offline_share(30, 60, p) == pytest.approx((1 - p) * p * (p + (1 - p) / 2))
    assert liveness.false_offline_share(30, 60, p) > 50 * liveness.false_offline_share(30, 75, p)
    assert liveness.false_offline_share(30, 75, 0) == 0
    assert liveness.false_offline_share(30, 30, 0) == 0.5


def test_with_a_spread_of_delays_the_race_fades_as_the_slack_grows_to_the_spread() -> None:
    shares = liveness.false_offline_share(30, np.array([60, 60.5, 60.99, 61, 62]), 0.01, delay_spread_s=1.0)
    assert shares[0] == pytest.approx(liveness.false_offline_share(30, 60, 0.01))
    assert np.all(np.diff(shares[:4]) < 0)
    assert shares[3] == shares[4] == pytest.approx(liveness.false_offline_share(30, 75, 0.01))


def test_tcp_gives_up_after_924_6_s_and_sooner_with_fewer_retries() -> None:
    assert liveness.tcp_gives_up_s() == pytest.approx(924.6)
    assert liveness.tcp_gives_up_s(retries=0) == 0.2
    assert liveness.tcp_gives_up_s(8) == pytest.approx(0.2 * (2**9 - 1))


def test_a_packet_a_minute_keeps_a_box_of_60_s_for_103_s_and_one_of_350_s_for_hours() -> None:
    assert liveness.first_expiry_mean_s(1 / 60, 60) == pytest.approx(60 * (math.e - 1))
    assert liveness.first_expiry_mean_s(1 / 60, 350) / 3600 == pytest.approx(5.67, abs=0.01)
    assert liveness.first_expiry_mean_s(0, 60) == 60
    assert liveness.first_expiry_mean_s(1e-12, 60) == pytest.approx(60)
    assert liveness.first_expiry_mean_s(1.0, 1000.0) == math.inf


def test_formulas_take_arrays_and_give_plain_floats_for_numbers() -> None:
    intervals_s = np.array([10.0, 20.0])
    assert liveness.detection_max_s(intervals_s, 5).tolist() == [15, 25]
    assert liveness.ghost_mean_s(intervals_s, 60).tolist() == [55, 50]
    assert type(liveness.ghosts(2, 45)) is float


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: liveness.detection_mean_s(0, 1), "interval_s must be seconds, above 0"),
        (lambda: liveness.ghost_mean_s(60, 30), "ttl_s is shorter than the beat"),
        (lambda: liveness.false_offline_share(30, 75, 1.5), "loss is a share"),
        (lambda: liveness.false_offline_share(30, 75, 0.1, delay_spread_s=20), "try simulate_presence"),
        (lambda: liveness.tcp_gives_up_s(-1), "retries must be 0 or more"),
        (lambda: simulate_detection(20, 20, opened_s=[1.0]), "moments before the common death"),
        (lambda: simulate_detection(20, 20, opened_s=[]), "moments before the common death"),
        (lambda: simulate_expiry(1.0, 100.0), "this run would hold"),
        (lambda: simulate_ghosts(0.001, 1, connections=1_000), "this run would hold"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(call: Callable[[], Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


# ---- by hand -----------------------------------------------------------------------------------------------


def test_the_first_ping_after_the_death_is_the_one_that_is_missed() -> None:
    run = simulate_detection(20, 15, close_wait_s=10, opened_s=[-0.5, -19.0, -45.0])
    assert run.noticed_s.tolist() == [19.5 + 25, 1 + 25, 15 + 25]
    assert run.pings.tolist() == [1, 1, 3]
    assert run.detection_mean_s == pytest.approx((44.5 + 26 + 40) / 3)


def test_a_ping_at_the_very_moment_of_death_was_still_answered() -> None:
    assert simulate_detection(20, 15, opened_s=[-20.0]).noticed_s.tolist() == [20 + 15]


def test_a_ghost_is_shown_from_its_last_beat_for_the_time_to_live() -> None:
    run = simulate_presence(30, 60, beats=3, phases_s=[0.0, 10.0, 29.0])
    assert run.died_s.tolist() == [60, 70, 89]
    assert run.gone_s.tolist() == [120, 120, 120]
    assert run.vanished.tolist() == [0, 0, 0]


def test_a_user_whose_every_beat_is_lost_is_never_shown() -> None:
    run = simulate_presence(30, 60, beats=4, loss=1.0, users=3)
    assert run.ghost_s.tolist() == [0, 0, 0]
    assert run.false_offline_share == 0


def test_without_traffic_a_box_forgets_after_its_limit() -> None:
    run = simulate_expiry(0.0, 60.0, connections=3)
    assert run.forgotten_s.tolist() == [60, 60, 60]
    assert run.packets.tolist() == [0, 0, 0]


# ---- against the formulas: 4 standard errors over 20 runs; fixed seeds, so a pass stays a pass ------


@pytest.mark.parametrize("timers", [(20, 20, 10), (25, 5, 0), (1, 0, 0)])
def test_detection_agrees_with_its_formulas(timers: tuple[float, float, float]) -> None:
    interval_s, timeout_s, close_s = timers
    runs = [
        simulate_detection(interval_s, timeout_s, close_wait_s=close_s, connections=100, seed=seed)
        for seed in SEEDS
    ]
    assert_close([run.detection_mean_s for run in runs], liveness.detection_mean_s(*timers))
    late_s = np.concatenate([run.detection_s for run in runs])
    assert spread_evenly(late_s, timeout_s + close_s, interval_s + timeout_s + close_s)
    assert max(run.detection_max_s for run in runs) <= liveness.detection_max_s(*timers) + 1e-9


def test_ghosts_are_the_rate_of_deaths_times_the_time_until_they_are_known() -> None:
    runs = [simulate_ghosts(20, 20, close_wait_s=10, lifetime_s=60, horizon_s=400, seed=s) for s in SEEDS]
    known_s = liveness.detection_mean_s(20, 20, 10, lifetime_s=60)
    assert known_s == pytest.approx(40.55, abs=0.01)
    assert_close([run.deaths_per_s for run in runs], 100 / 60)
    assert_close([run.detection_mean_s for run in runs], known_s)
    assert_close([run.ghosts for run in runs], liveness.ghosts(100 / 60, known_s))


def test_the_longer_connections_live_the_nearer_is_the_next_ping_to_half_an_interval() -> None:
    waits_s = liveness.detection_mean_s(20, 0, lifetime_s=np.array([1e-3, 20, 300, 1e5, 1e12, math.inf]))
    assert waits_s[0] == pytest.approx(20, abs=0.01)
    assert waits_s[2] == pytest.approx(10 * (1 + 20 / 300 / 6), rel=1e-4)
    assert np.all(np.diff(waits_s) <= 0)
    assert waits_s[-1] == 10


@pytest.mark.parametrize(("ttl_s", "delay_spread_s"), [(60, 0.0), (75, 2.0), (90, 5.0)])
def test_ghosts_of_presence_agree_with_their_formula(ttl_s: float, delay_spread_s: float) -> None:
    runs = [
        simulate_presence(30, ttl_s, users=100, delay_spread_s=delay_spread_s, beats=3, seed=seed)
        for seed in SEEDS
    ]
    expected = runs[0].closed_forms()["ghost_mean_s"]
    assert expected == liveness.ghost_mean_s(30, ttl_s) + delay_spread_s / 2
    assert_close([run.ghost_mean_s for run in runs], expected)
    if not delay_spread_s:
        assert spread_evenly(np.concatenate([run.ghost_s for run in runs]), ttl_s - 30, ttl_s)


@pytest.mark.parametrize(
    ("ttl_s", "loss", "delay_spread_s"), [(60, 0.1, 1.0), (75, 0.2, 1.0), (60.5, 0.1, 1.0), (30, 0.0, 3.0)]
)
def test_living_users_taken_for_gone_agree_with_their_formula(
    ttl_s: float, loss: float, delay_spread_s: float
) -> None:
    beats = 100
    runs = [
        simulate_presence(
            30, ttl_s, users=20, beats=beats, loss=loss, delay_spread_s=delay_spread_s, seed=seed
        )
        for seed in SEEDS
    ]
    expected = runs[0].closed_forms()["false_offline_share"]
    first_beats = (math.floor(ttl_s / 30) + 1) / beats  # they have nobody to bring back
    assert_close([run.false_offline_share for run in runs], expected, granted=expected * first_beats)


def test_a_tie_has_no_formula_without_a_spread_of_delays() -> None:
    assert list(simulate_presence(30, 60, users=5).closed_forms()) == ["ghost_mean_s"]


@pytest.mark.parametrize(("packets_per_s", "idle_limit_s"), [(1 / 60, 60), (0.1, 30), (1 / 600, 60)])
def test_the_first_expiry_agrees_with_its_formula(packets_per_s: float, idle_limit_s: float) -> None:
    runs = [simulate_expiry(packets_per_s, idle_limit_s, connections=100, seed=seed) for seed in SEEDS]
    assert_close([run.first_expiry_mean_s for run in runs], runs[0].closed_forms()["first_expiry_mean_s"])


# ---- what runs give ----------------------------------------------------------------------------------------

RUNS: list[Callable[[int], Any]] = [
    lambda seed: simulate_detection(20, 20, connections=30, seed=seed),
    lambda seed: simulate_ghosts(20, 20, connections=5, horizon_s=1_000, seed=seed),
    lambda seed: simulate_presence(30, 60, users=30, loss=0.1, seed=seed),
    lambda seed: simulate_expiry(1 / 60, 60, connections=30, seed=seed),
]


@pytest.mark.parametrize("make", RUNS)
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(make: Callable[[int], Any]) -> None:
    def arrays(run: Any) -> bytes:
        return b"".join(value.tobytes() for value in vars(run).values() if isinstance(value, np.ndarray))

    assert arrays(make(1)) == arrays(make(1))
    assert arrays(make(1)) != arrays(make(2))


@pytest.mark.parametrize("make", RUNS)
def test_a_run_says_and_draws_what_happened(make: Callable[[int], Any]) -> None:
    run = make(1)
    assert run.summary().endswith(".")
    assert [gap.name for gap in run.gaps()] == list(run.closed_forms())
    ax = run.plot()
    assert any(ax.get_title(loc) for loc in ("left", "center"))  # the course's look puts it to the left
    assert ax.get_xlabel().startswith("seconds")
    import matplotlib.pyplot as plt

    plt.close(ax.figure)


def test_a_run_in_which_nobody_died_says_so() -> None:
    run = simulate_ghosts(20, 20, connections=1, lifetime_s=1e9, horizon_s=10)
    assert run.summary().endswith("none died.")
    assert math.isnan(run.detection_mean_s)
    assert run.ghosts == 0


def test_more_users_change_nothing_for_the_others() -> None:
    few, many = (simulate_presence(30, 75, users=n, loss=0.2, delay_spread_s=1.0) for n in (5, 50))
    assert few.gone_s.tolist() == many.gone_s[:5].tolist()
    assert few.vanished.tolist() == many.vanished[:5].tolist()
