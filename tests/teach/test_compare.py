"""Comparisons: the table has the numbers, the verdict has none that differ from run to run."""

from __future__ import annotations

import re

import pytest

from labsupport.teach.compare import compare


def shares(measured: float = 0.93) -> object:
    return compare(theory=0.92, simulated=0.919, measured=measured, tolerance=0.05, what="empty share")


def test_the_verdict_is_the_same_for_each_measurement_inside_the_tolerance() -> None:
    assert (
        repr(shares(0.93).verdict())
        == repr(shares(0.90).verdict())
        == (  # type: ignore[attr-defined]
            "empty share: simulated lies within 5 % of theory: yes\n"
            "empty share: measured lies within 5 % of theory: yes"
        )
    )


def test_a_measurement_outside_of_its_tolerance_is_a_no() -> None:
    verdict = compare(theory=0.92, measured=0.80, tolerance=0.05).verdict()
    assert verdict == "measured lies within 5 % of theory: no"
    assert not verdict


def test_the_table_shows_value_gap_and_verdict_in_words() -> None:
    lines = repr(shares(0.80)).splitlines()
    assert re.split(r"\s{2,}", lines[3]) == ["measured", "0.8", "−0.12", "−13.0 %", "✗ no (5 %)"]
    assert re.split(r"\s{2,}", lines[1].strip()) == ["theory", "0.92"]


def test_the_table_has_heads_for_rows_and_columns() -> None:
    page = shares()._repr_html_()  # type: ignore[attr-defined]
    assert page.count('scope="col"') == 5
    assert page.count('scope="row"') == 3


def test_without_theory_the_simulation_is_the_reference() -> None:
    assert compare(simulated=10, measured=10.4, tolerance=0.05).verdict() == (
        "measured lies within 5 % of simulated: yes"
    )


def test_a_tolerance_may_be_absolute_and_one_for_each_source() -> None:
    found = compare(
        theory=0, simulated=0.001, measured=3, within={"simulated": 0.01, "measured": 2}, unit="ms"
    )
    assert [gap.inside for gap in found.gaps] == [True, False]
    assert "measured lies within 2\N{NO-BREAK SPACE}ms of theory: no" in found.verdict()
    assert found.gaps[1].relative is None


def test_the_border_of_the_tolerance_belongs_to_it() -> None:
    assert compare(theory=100, measured=105, tolerance=0.05).holds


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_measurement_that_is_no_number_never_lies_inside(value: float) -> None:
    found = compare(theory=1, measured=value, tolerance=0.5)
    assert not found.holds
    assert str(value) in repr(found)


def test_what_is_missing_is_said() -> None:
    with pytest.raises(ValueError, match="two of theory, simulated and measured; it got measured"):
        compare(measured=1, tolerance=0.1)
    with pytest.raises(ValueError, match="Say how far measured may lie"):
        compare(theory=1, measured=1)
    with pytest.raises(ValueError, match="5 % of zero is zero"):
        compare(theory=0, measured=1, tolerance=0.05)


def test_a_gap_too_small_to_see_is_shown_as_none() -> None:
    table = repr(compare(theory=0.92, simulated=0.919956, tolerance=0.02))
    assert "e−05" not in table
    assert "−0.0" not in table
    assert "0.0 %" in table
