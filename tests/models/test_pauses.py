"""A server that stops for a moment: formulas, time-lines by hand, and the simulation against the formulas."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from labsupport.models import pauses
from labsupport.models.pauses import corrected, every, simulate, simulate_askers, simulate_views

SEEDS = range(20)


def assert_close(values: list[float], expected: float, granted: float = 0.0) -> None:
    standard_error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    assert abs(float(np.mean(values)) - expected) <= 4 * standard_error + granted, (np.mean(values), expected)


# ---- formulas ----------------------------------------------------------------------------------------------


def test_a_second_at_80_of_100_makes_400_late_by_half_a_second_and_takes_4_s_to_make_up() -> None:
    assert pauses.late_messages(1, 80, 100) == pytest.approx(400)
    assert pauses.late_mean_s(1, 80, 100) == pytest.approx(0.5)
    assert pauses.caught_up_s(1, 80, 100) == pytest.approx(4)
    assert pauses.caught_up_s(1, 95, 100) == pytest.approx(19)


def test_what_is_in_the_server_when_it_stops_is_late_too() -> None:
    assert pauses.late_messages(1, 80, 100, exact=True) == pytest.approx(420)
    assert pauses.late_mean_s(1, 80, 100, exact=True) == pytest.approx(0.524, abs=0.001)
    assert pauses.caught_up_s(1, 80, 100, exact=True) == pytest.approx(4.2)


def test_no_pause_makes_nobody_late() -> None:
    assert pauses.late_messages(0, 80, 100, exact=True) == 0
    assert pauses.late_mean_s(np.array([0.0, 1.0]), 80, 100).tolist() == [0, 0.5]
    assert pauses.late_share(0, 10, 80, 100) == 0


def test_half_a_percent_of_pauses_are_two_and_a_half_percent_of_the_messages() -> None:
    assert pauses.late_share(0.05, 10, 80, 100) == pytest.approx(0.025)
    assert pauses.late_share(5, 10, 80, 100) == 1


def test_the_p99_of_a_calm_server_is_the_p99_without_pauses() -> None:
    assert pauses.delay_quantile_s(0.99, 80, 100) == pytest.approx(0.230, abs=0.001)
    assert pauses.paused_quantile_s(0.99, 0, 10, 80, 100) == pytest.approx(0.230, abs=0.001)
    assert pauses.paused_quantile_s(0.5, 0.2, 10, 80, 100) > pauses.delay_quantile_s(0.5, 80, 100)


def test_an_asker_who_waits_has_one_late_answer_a_pause() -> None:
    assert pauses.asker_late_share(1, 60, 0.09, 0.01) == pytest.approx(1 / 590, rel=0.01)
    assert pauses.asker_late_share(0.045, 60, 0.09, 0.01) == pytest.approx(0.55 / 600, rel=0.01)
    assert pauses.asker_late_share(np.array([1, 59.99]), 60, 0, 1)[1] == 1


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: pauses.late_messages(1, 100, 100), "messages_per_s must be below served_per_s"),
        (lambda: pauses.late_messages(-1, 80, 100), "pause_s must be seconds, 0 or more"),
        (lambda: pauses.paused_quantile_s(0.99, 5, 10, 80, 100), "try a longer period_s"),
        (lambda: pauses.asker_late_share(10, 5, 0, 1), "pause_s must be shorter than period_s"),
        (lambda: simulate([(5, 2), (6, 1)], 80, 100), "must ascend and not overlap"),
        (lambda: simulate([3], 80, 100), r"pairs \(start, length\)"),  # type: ignore[list-item]
        (lambda: simulate([], 80, 100, arriving="late"), "arriving must be one of"),
        (lambda: simulate([], 1e6, 2e6), "this run would hold"),
        (lambda: simulate_askers([], 0, 1e6), "this run would hold"),
        (lambda: simulate_views([], 10, 10, horizon_s=1), "one asker cannot ask faster"),
        (lambda: every(2, 1, horizon_s=5), "must ascend and not overlap"),
        (lambda: corrected([1.0], 0), "interval_s must be seconds, above 0"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(call: Callable[[], Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


# ---- by hand: a server that needs 10 s for each message ----------------------------------------------------


def served(times_s: list[float], stops: list[tuple[float, float]]) -> pauses.PauseRun:
    return simulate(stops, 0.05, 0.1, serving="constant", arrivals_s=times_s, horizon_s=1_000)


def test_work_in_hand_goes_on_where_it_stopped() -> None:
    run = served([0, 2], [(4, 3)])
    assert run.done_s.tolist() == [13, 23]
    assert run.calm_done_s.tolist() == [10, 20]
    assert run.late_s.tolist() == [3, 3]


def test_who_comes_while_an_idle_server_stands_still_is_late_by_the_rest_of_the_pause() -> None:
    run = served([0, 24, 60], [(20, 10)])
    assert run.done_s.tolist() == [10, 40, 70]
    assert run.late_s.tolist() == [0, 6, 0]
    assert (run.late_messages, run.late_mean_s, run.caught_up_s) == (1, 6, 10)


def test_two_pauses_in_one_piece_of_work_both_count() -> None:
    assert served([0], [(1, 2), (4, 5)]).done_s.tolist() == [17]


def test_a_pause_in_which_nobody_came_made_nobody_late() -> None:
    run = served([0, 60], [(20, 10)])
    assert (run.late_messages, run.caught_up_s) == (0, 0)
    assert math.isnan(run.late_mean_s)
    assert run.summary().endswith("nobody was late.")


def test_the_server_has_caught_up_when_it_has_nothing_to_do_for_the_first_time() -> None:
    run = served([0, 5, 25, 100], [(2, 10)])
    assert run.done_s.tolist() == [20, 30, 40, 110]
    assert run.caught_up_s == 40 - 12


def test_an_asker_waits_out_the_pause_and_asks_nothing_meanwhile() -> None:
    run = simulate_askers([(22, 50)], 5, 0.1, serving="constant", horizon_s=100)
    assert run.came_s.tolist() == [5, 20, 85]
    assert run.delay_s.tolist() == [10, 60, 10]
    assert run.is_late.tolist() == [False, True, False]


def test_correcting_puts_back_the_questions_that_were_not_asked() -> None:
    assert sorted(corrected([1, 35, 19], 10).tolist()) == [1, 15, 19, 25, 35]
    assert corrected([30.0], 10).tolist() == [30, 20, 10]
    assert corrected([], 10).tolist() == []


def test_pauses_come_every_period_and_fill_the_horizon() -> None:
    assert every(1, 10, horizon_s=30) == ((5, 1), (15, 1), (25, 1))
    assert every(1, 10, horizon_s=30, first_s=12) == ((12, 1), (22, 1))
    assert every(1, 10, horizon_s=4) == ()


# ---- against the formulas: 4 standard errors over 20 runs; fixed seeds, so a pass stays a pass ------


@pytest.mark.parametrize(
    ("messages_per_s", "pause_s", "horizon_s"), [(60, 0.5, 8), (80, 0.3, 14), (20, 2, 8)]
)
def test_one_pause_makes_as_many_late_by_as_much_as_the_formulas_say(
    messages_per_s: float, pause_s: float, horizon_s: float
) -> None:
    runs = [simulate([(3, pause_s)], messages_per_s, 100, horizon_s=horizon_s, seed=seed) for seed in SEEDS]
    forms = runs[0].closed_forms()
    for name in ("late_messages", "caught_up_s"):
        assert_close([getattr(run, name) for run in runs], forms[name])
    late = [run.late_messages for run in runs]
    late_s = [float(run.late_s.sum()) for run in runs]
    assert_close(late_s, forms["late_messages"] * forms["late_mean_s"])
    assert sum(late_s) / sum(late) == pytest.approx(forms["late_mean_s"], rel=0.1)


def test_by_clockwork_the_large_picture_is_right_to_a_message() -> None:
    run = simulate([(3.001, 0.5)], 60, 100, horizon_s=8, arriving="constant", serving="constant")
    assert run.late_messages == pytest.approx(pauses.late_messages(0.5, 60, 100), abs=1)
    assert run.late_mean_s == pytest.approx(0.25, abs=0.01)
    assert run.caught_up_s == pytest.approx(pauses.caught_up_s(0.5, 60, 100), abs=1 / 60)


def test_with_constant_gaps_the_large_picture_is_near() -> None:
    runs = [simulate([(3, 0.5)], 60, 100, horizon_s=8, arriving="constant", seed=seed) for seed in SEEDS]
    for name, expected in runs[0].closed_forms().items():
        assert_close([getattr(run, name) for run in runs], expected, granted=0.05 * expected)


def test_periodic_pauses_make_the_share_late_that_the_formula_says() -> None:
    pause_s, period_s = 0.1, 5
    stops = every(pause_s, period_s, horizon_s=40)
    runs = [simulate(stops, 60, 100, horizon_s=40, seed=seed) for seed in SEEDS]
    forms = runs[0].closed_forms()
    assert_close([run.late_share for run in runs], forms["late_share"])
    assert_close([run.calm_p99_s for run in runs], forms["calm_p99_s"])
    assert_close([run.delay_p99_s for run in runs], forms["delay_p99_s"], granted=0.1 * forms["delay_p99_s"])


@pytest.mark.parametrize(
    ("pause_s", "period_s", "think_s"), [(1, 20, 0.09), (0.05, 1.9, 0.09), (0.2, 2, 0.0)]
)
def test_an_askers_late_answers_agree_with_the_formula(
    pause_s: float, period_s: float, think_s: float
) -> None:
    horizon_s = (60 if pause_s < think_s else 10) * period_s  # a short pause does not always hit
    stops = every(pause_s, period_s, horizon_s=horizon_s)
    runs = [simulate_askers(stops, think_s, 100, horizon_s=horizon_s, seed=seed) for seed in SEEDS]
    assert_close([run.late_share for run in runs], runs[0].closed_forms()["late_share"])


def test_an_asker_who_waits_measures_a_p99_without_the_pause_that_every_other_message_feels() -> None:
    stops = every(1.0, 20, horizon_s=200)
    for seed in range(3):
        views = simulate_views(stops, 10, 100, horizon_s=200, seed=seed)
        assert views.open_loop.delay_p99_s > 0.5
        assert views.closed_loop.delay_p99_s < 0.1
        assert views.closed_loop.delay_max_s > 0.9
        assert views.corrected_p99_s == pytest.approx(views.open_loop.delay_p99_s, rel=0.2)


# ---- what runs give ----------------------------------------------------------------------------------------

RUNS: list[Callable[[int], Any]] = [
    lambda seed: simulate([(2, 0.5)], 60, 100, horizon_s=5, seed=seed),
    lambda seed: simulate(every(0.1, 2, horizon_s=6), 60, 100, horizon_s=6, seed=seed),
    lambda seed: simulate_askers(every(0.1, 2, horizon_s=6), 0.05, 100, horizon_s=6, seed=seed),
    lambda seed: simulate_askers(every(0.1, 2, horizon_s=6), 0.05, 100, askers=5, horizon_s=6, seed=seed),
]


@pytest.mark.parametrize("make", RUNS)
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(make: Callable[[int], Any]) -> None:
    def arrays(run: Any) -> bytes:
        return b"".join(value.tobytes() for value in vars(run).values() if isinstance(value, np.ndarray))

    assert arrays(make(1)) == arrays(make(1))
    assert arrays(make(1)) != arrays(make(2))


@pytest.mark.parametrize(
    "make", [*RUNS, lambda seed: simulate_views([(2, 0.5)], 20, 100, horizon_s=5, seed=seed)]
)
def test_a_run_says_and_draws_what_happened(make: Callable[[int], Any]) -> None:
    import matplotlib.pyplot as plt

    run = make(1)
    assert run.summary().endswith(".")
    assert isinstance(run.gaps(), list)
    ax = run.plot()
    assert any(ax.get_title(loc) for loc in ("left", "center"))
    assert ax.get_xlabel().endswith("s)")
    plt.close(ax.figure)
