"""The simulation held against the formulas, in standard errors over independent runs.

Tolerance: 4 standard errors of the mean over 20 seeds, plus the start-up that polling.py names: of n polls a
client, the first has no messages before it. Seeds are fixed, so a pass stays a pass.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from labsupport.models import polling
from labsupport.models.polling import PollingRun, simulate_long, simulate_short

SEEDS = range(20)

SHORT: list[dict[str, Any]] = [
    {"messages_per_s": 1 / 60, "interval_s": 5.0},
    {"messages_per_s": 1.0, "interval_s": 1.0},
    {"messages_per_s": 4.0, "interval_s": 1.0},
    {"messages_per_s": 0.2, "interval_s": 5.0, "round_trip_s": 0.5},
    {"messages_per_s": 0.2, "interval_s": 5.0, "round_trip_s": 1.0, "schedule": "fixed delay"},
    {"messages_per_s": 0.2, "interval_s": 5.0, "jitter": 0.5},
    {"messages_per_s": 0.2, "interval_s": 5.0, "jitter": 0.5, "round_trip_s": 1.0, "schedule": "fixed delay"},
    {"messages_per_s": 0.2, "interval_s": 5.0, "interval_law": "uniform"},
    {"messages_per_s": 0.2, "interval_s": 5.0, "interval_law": "exponential"},
    {"messages_per_s": 0.2, "interval_s": 5.0, "interval_law": "exponential", "round_trip_s": 1.0},
    {"messages_per_s": 0.2, "interval_s": 5.0, "round_trip_s": 12.0},
    {"messages_per_s": 0.2, "interval_s": 5.0, "phases": "equal"},
]
LONG: list[dict[str, Any]] = [
    {"messages_per_s": 1 / 60, "hold_s": 25.0, "round_trip_s": 0.1},
    {"messages_per_s": 1.0, "hold_s": 25.0, "round_trip_s": 0.1},
    {"messages_per_s": 10.0, "hold_s": 25.0, "round_trip_s": 0.1},
    {"messages_per_s": 100.0, "hold_s": 25.0, "round_trip_s": 0.1},
    {"messages_per_s": 0.5, "hold_s": 1.0, "round_trip_s": 1.0},
    {"messages_per_s": 0.5, "hold_s": 1.0},
    {"messages_per_s": 2.0, "hold_s": math.inf, "round_trip_s": 0.3},
]


def named(case: dict[str, Any]) -> str:
    return ", ".join(str(value) for value in case.values())


def runs_of(simulate: Callable[..., PollingRun], case: dict[str, Any], **more: Any) -> list[PollingRun]:
    return [simulate(**case, **more, seed=seed) for seed in SEEDS]


def assert_close(name: str, values: list[float], expected: float, granted: float) -> None:
    standard_error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    gap = abs(float(np.mean(values)) - expected)
    assert gap <= 4 * standard_error + granted, f"{name}: {np.mean(values)} against {expected}"


def hold_against_formulas(runs: list[PollingRun], polls_per_client: float) -> None:
    forms = runs[0].closed_forms()
    for name, expected in forms.items():
        values = [float(getattr(run, name)) for run in runs]
        if name == "staleness_max_s":
            assert max(values) <= expected * (1 + 1e-9), "the worst case is a bound"
        elif (
            name == "requests_per_message"
        ):  # as a difference, because a ratio's mean is not the ratio of means
            surplus = [run.requests / expected - run.messages for run in runs]
            assert_close(name, surplus, 0.0, granted=runs[0].clients / expected)
        elif name == "empty_share":
            assert_close(name, values, expected, granted=(1 - expected) / polls_per_client)
        elif name == "stale_share":
            first_answer_s = runs[0].horizon_s / polls_per_client + runs[0].round_trip_s
            assert_close(name, values, expected, granted=expected * first_answer_s / runs[0].horizon_s)
        elif name == "requests_per_s":
            assert_close(name, values, expected, granted=expected / polls_per_client)
        else:
            assert_close(name, values, expected, granted=1e-9)


@pytest.mark.parametrize("case", SHORT, ids=named)
def test_short_polling_agrees_with_its_formulas(case: dict[str, Any]) -> None:
    hold_against_formulas(runs_of(simulate_short, case, clients=20), polls_per_client=100)


@pytest.mark.parametrize("case", LONG, ids=named)
def test_long_polling_agrees_with_its_formulas(case: dict[str, Any]) -> None:
    cycle_s = 1 / polling.long_requests_per_s(
        case["messages_per_s"], case["hold_s"], case.get("round_trip_s", 0.0)
    )
    hold_against_formulas(
        runs_of(simulate_long, case, clients=5, horizon_s=200 * cycle_s), polls_per_client=200
    )


def test_without_the_first_polls_the_empty_share_needs_no_grant_for_the_start() -> None:
    shares = []
    for run in runs_of(simulate_short, SHORT[1], clients=20):
        first = np.unique(run.request_client, return_index=True)[1]
        shares.append(float(np.delete(run.request_empty, first).mean()))
    assert_close("empty_share", shares, polling.empty_share(1.0, 1.0), granted=0.0)


def test_staleness_is_uniform_between_half_a_round_trip_and_an_interval_more() -> None:
    run = simulate_short(1.0, 5.0, clients=200, round_trip_s=0.4, seed=3)
    scaled = np.sort((run.staleness_s - 0.2) / 5.0)
    distance = np.max(np.abs(scaled - (np.arange(len(scaled)) + 0.5) / len(scaled)))
    assert distance < 1.95 / math.sqrt(len(scaled))  # Kolmogorov–Smirnov at 0.1 %


@pytest.mark.parametrize("phases", ["random", "equal", "together"])
def test_the_busiest_second_depends_on_the_phases_as_the_formula_says(phases: str) -> None:
    peaks = [
        simulate_short(0.0, 60.0, clients=600, horizon_s=60.0, phases=phases, seed=seed).busiest_bin(1.0)
        for seed in SEEDS
    ]
    assert_close(
        phases, [float(peak) for peak in peaks], polling.busiest_bin(600, 60.0, phases=phases), granted=1e-9
    )


# ---- one shared topic --------------------------------------------------------------------------------------


def spread_of_empty_shares(clients: int, *, shared_topic: bool) -> float:
    runs = [
        simulate_short(0.1, 5.0, clients=clients, horizon_s=250.0, shared_topic=shared_topic, seed=seed)
        for seed in range(100)
    ]
    return float(np.std([run.empty_share for run in runs], ddof=1))


@pytest.mark.parametrize("shared_topic", [True, False])
@pytest.mark.parametrize("clients", [1, 30])
def test_the_luck_of_one_run_is_as_large_as_the_formula_says(clients: int, shared_topic: bool) -> None:
    expected = polling.empty_share_error(0.1, 5.0, 250.0, clients=clients, shared_topic=shared_topic)
    # a standard deviation from 100 runs is itself uncertain by 1/√(2·99) = 7 %
    assert spread_of_empty_shares(clients, shared_topic=shared_topic) == pytest.approx(expected, rel=4 * 0.07)


def test_thirty_times_the_pollers_average_out_own_streams_but_not_a_shared_topic() -> None:
    own = spread_of_empty_shares(1, shared_topic=False) / spread_of_empty_shares(30, shared_topic=False)
    shared = spread_of_empty_shares(1, shared_topic=True) / spread_of_empty_shares(30, shared_topic=True)
    assert own > 4.0  # √30 = 5.5
    assert shared < 1.6


def test_ten_thousand_pollers_of_one_topic_are_no_surer_than_a_hundred() -> None:
    many = polling.empty_share_error(1 / 60, 5, 500, clients=10_000, shared_topic=True)
    few = polling.empty_share_error(1 / 60, 5, 500, clients=100, shared_topic=True)
    longer = polling.empty_share_error(1 / 60, 5, 50_000, clients=100, shared_topic=True)
    assert many == pytest.approx(few, rel=0.01)
    assert longer == pytest.approx(few / 10)
    assert polling.message_count_error(1 / 60, 500, clients=10_000, shared_topic=True) == pytest.approx(
        0.346, abs=0.001
    )
