"""Means, bands and figures of a sweep, against numbers that are known from elsewhere."""

import math
from statistics import NormalDist
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest

from labsupport.draws import draws
from labsupport.sweep import Failure, Sweep, student_t

mpl.use("Agg")

NAN = math.nan


@pytest.fixture
def small() -> Sweep:
    """Two arguments, three seeds; one number is missing, one point has none."""
    numbers = [[[1.0, 2.0, 3.0], [4.0, 4.0, 4.0]], [[5.0, NAN, 7.0], [NAN, NAN, NAN]]]
    return Sweep(
        axes={"clients": (10, 20), "policy": ("full", "none")},
        seeds=(0, 1, 2),
        values={"calls": np.array(numbers)},
        failures=(Failure({"clients": 20, "policy": "full", "seed": 1}, "ValueError: no"),),
    )


@pytest.mark.parametrize(
    ("level", "degrees", "expected"),
    [
        (0.95, 1, 12.7062),
        (0.95, 2, 4.3027),
        (0.95, 3, 3.1824),
        (0.95, 9, 2.2622),
        (0.95, 30, 2.0423),
        (0.99, 4, 4.6041),
        (0.99, 5, 4.0321),
        (0.5, 1, 1.0),
    ],
)
def test_students_t_is_that_of_the_printed_tables(level: float, degrees: int, expected: float) -> None:
    assert student_t(level, degrees) == pytest.approx(expected, abs=6e-5)


@pytest.mark.parametrize("degrees", [10_000, 10_001])
def test_with_many_seeds_students_t_becomes_the_normal_law(degrees: int) -> None:
    assert student_t(0.95, degrees) == pytest.approx(NormalDist().inv_cdf(0.975), rel=1e-3)


def test_mean_deviation_error_and_band_are_taken_over_the_seeds_that_have_a_number(small: Sweep) -> None:
    assert small.count("calls").tolist() == [[3, 3], [2, 0]]
    assert small.mean("calls")[0].tolist() == [2.0, 4.0]
    assert small.mean("calls")[1, 0] == 6.0
    assert small.sd("calls")[0].tolist() == [1.0, 0.0]
    assert small.sd("calls")[1, 0] == pytest.approx(math.sqrt(2))
    assert small.se("calls")[0, 0] == pytest.approx(1 / math.sqrt(3))
    low, high = small.band("calls")
    assert (low[0, 0], high[0, 0]) == pytest.approx(
        (2 - 4.3027 / math.sqrt(3), 2 + 4.3027 / math.sqrt(3)), abs=1e-4
    )
    assert low[0, 1] == high[0, 1] == 4.0
    assert high[1, 0] == pytest.approx(6 + 12.7062, abs=1e-3)
    assert np.isnan([small.mean("calls")[1, 1], small.sd("calls")[1, 1], low[1, 1], high[1, 1]]).all()


def test_one_seed_has_a_mean_and_no_band(recwarn: pytest.WarningsRecorder) -> None:
    one = Sweep(axes={"x": (1, 2)}, seeds=(0,), values={"y": np.array([[3.0], [NAN]])})
    assert one.mean("y")[0] == 3.0
    assert np.isnan(one.band("y")).all()
    assert list(recwarn) == []


def test_of_many_95_percent_bands_95_in_100_hold_the_true_mean() -> None:
    """Normal numbers of mean 0, 4 000 points of five seeds: 4 standard errors of the share are granted."""
    u, v = draws(20, np.arange(4000)[:, None], np.arange(10), 0).reshape(2, 4000, 5)
    normal = np.sqrt(-2 * np.log1p(-u)) * np.cos(2 * math.pi * v)
    swept = Sweep(axes={"x": tuple(range(4000))}, seeds=tuple(range(5)), values={"y": normal})
    low, high = swept.band("y")
    held = float(np.mean((low <= 0) & (high >= 0)))
    assert abs(held - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 4000)


def test_select_takes_a_part_with_its_failures(small: Sweep) -> None:
    part = small.select(policy="full")
    assert part.axes == {"clients": (10, 20)}
    assert part.mean("calls").tolist() == [2.0, 6.0]
    assert len(part.failures) == 1
    assert small.select(policy="none").failures == ()
    assert small.select(clients=10, policy="none").mean("calls") == 4.0


def test_lines_are_what_a_chapter_draws(small: Sweep) -> None:
    full, none = small.lines("calls", along="clients")
    assert (full.label, none.label) == ("policy=full", "policy=none")
    assert full.x == (10, 20)
    assert full.mean.tolist() == [2.0, 6.0]
    assert full.low.tolist() == small.select(policy="full").band("calls")[0].tolist()


def test_rows_are_a_table_with_a_row_a_point(small: Sweep) -> None:
    rows = list(small.rows())
    assert [(row["clients"], row["policy"], row["seeds"]) for row in rows] == [
        (10, "full", 3), (10, "none", 3), (20, "full", 2), (20, "none", 0),
    ]  # fmt: skip
    assert rows[0]["mean"] == 2.0
    assert rows[0]["figure"] == "calls"
    assert small.points[2] == {"clients": 20, "policy": "full"}


def test_a_plot_has_a_line_and_a_band_for_each_choice_and_units_are_the_figures_name(small: Sweep) -> None:
    from matplotlib import pyplot as plt

    ax = small.plot("calls", along="clients")
    assert [line.get_label() for line in ax.lines] == ["policy=full", "policy=none"]
    assert len(ax.collections) == 2
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("clients", "calls")
    assert "95 % band over 3 seeds" in (
        ax.get_title() or ax.get_title("left")
    )  # where the style in use puts it
    by_name = small.plot("calls", along="policy")
    assert [label.get_text() for label in by_name.get_xticklabels()] == ["full", "none"]
    plt.close("all")


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda s: s.mean("time"), "no figure 'time': there are 'calls'"),
        (lambda s: s.select(client=1), "no argument 'client' in the grid: there are 'clients', 'policy'"),
        (lambda s: s.select(clients=11), "clients=11 was not swept: there are 10, 20"),
        (lambda s: s.lines("calls", along="seed"), "no argument 'seed'"),
    ],
)
def test_what_is_not_there_is_named_with_what_is(small: Sweep, ask: Any, said: str) -> None:
    with pytest.raises(KeyError, match=said):
        ask(small)


@pytest.mark.parametrize(("level", "degrees"), [(0.0, 3), (1.0, 3), (95, 3), (0.95, 0)])
def test_a_level_that_is_no_probability_is_refused(level: float, degrees: int) -> None:
    with pytest.raises(ValueError, match="level is a probability|at least 1 degree"):
        student_t(level, degrees)


def test_a_failure_reads_as_a_sentence(small: Sweep) -> None:
    assert str(small.failures[0]) == "(clients=20, policy='full', seed=1): ValueError: no"
