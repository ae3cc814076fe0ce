"""The gate on numbers in prose: what it reads as a number, and what accounts for one."""

from __future__ import annotations

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from labsupport.course.gates.numbers import all_values, figures
from labsupport.course.gates.prose import numbers_in_prose, uncited_numbers


def found(prose: str, printed: str = "", source: str = "pass") -> list[str]:
    """The findings for a paragraph beside one code cell."""
    cell = new_code_cell(source, outputs=[new_output("stream", name="stdout", text=printed)])
    return numbers_in_prose(
        new_notebook(cells=[new_markdown_cell("# 01 · T"), new_markdown_cell(prose), cell])
    )


@pytest.mark.parametrize(
    ("prose", "printed"),
    [
        ("92 % are empty", "0.92"),
        ("92 % are empty", "empty: 92%"),
        ("0.92 of all", "92.0 %"),
        ("1 000 clients", "1000"),
        ("1,000 clients", "1000"),
        ("1\u202f000 clients", "1_000"),
        ("1000 clients", "1 000"),
        ("1000 clients", "1,000"),
        ("27.3 ms one way", "27.3 ms"),
        ("27 ms one way", "27.3 ms"),
        ("27 ms one way", "0.0273 s"),
        ("0.3 s", "300 ms"),
        ("5 million requests", "5000000"),
        ("10 k requests", "10000"),
        ("64 KiB", "65536"),
        ("5 min", "300 s"),
        ("about 10⁶ clients", "1000000"),
        ("**12** polls, *4* of them full", "12 4"),
        ("25–30 s", "25000 and 30000"),
        ("a table row | 17 |", "polls    17"),
        ("3 and 4 arrive", "[3, 4]"),
    ],
)
def test_a_printed_number_accounts_for_it_in_any_spelling(prose: str, printed: str) -> None:
    assert found(prose, printed) == []
    assert found(prose) != []


@pytest.mark.parametrize(
    ("prose", "source"),
    [
        ("every 5 s", "INTERVAL_S = 5"),
        ("every 300 ms", "budget_s = 0.3"),
        ("1 000 clients", "N = 1_000"),
        ("64 KiB", "LIMIT = 1 << 16"),
        ("3 600 s", "HOUR_S = 60 * 60"),
        ("every 5 s", "run_in_browser('setInterval(poll, 5000)', url)"),
        ("30 requests", "f'waits {x} of 30'"),
    ],
)
def test_a_number_set_in_the_code_accounts_for_it(prose: str, source: str) -> None:
    assert found(prose, source=source) == []


def test_a_parameter_must_be_met_exactly_and_a_printed_number_to_its_digits() -> None:
    assert found("every 5 s", source="INTERVAL_S = 5.2") != []
    assert found("27.4 ms", "27.3 ms") != []
    assert found("28 ms", "27.3 ms") != []


@pytest.mark.parametrize(
    "prose",
    [
        "It is 100 ms ([Nielsen](https://www.nngroup.com/x)).",
        "At most 6 connections (RFC 9112 says why).",
        "At 0.1 s it feels instant (Nielsen, 1993).",
        "Published figures ([one](https://a.org), 2012):\n\n- 2 million\n- 17 GB",
        "Published figures ([one](https://a.org), 2012):\n- 2 million\n- 17 GB",
        "| 65 | [source](https://a.org) |",
    ],
)
def test_a_citation_in_the_same_paragraph_accounts_for_it(prose: str) -> None:
    assert found(prose) == []


@pytest.mark.parametrize(
    "prose",
    [
        "RFC 9112 is long.\n\nAnd 42 is the answer.",
        "| a | [source](https://a.org) |\n| 42 | none |",
        "See [chapter 01](01_short_polling.ipynb): 42 arrive.",
        "In 1993 there were 42.",
    ],
)
def test_a_citation_elsewhere_does_not(prose: str) -> None:
    assert [f.text for f in uncited_numbers(prose)] == ["42"]
    assert "'42' comes from nowhere" in found(prose)[0]


@pytest.mark.parametrize(
    "prose",
    [
        "As in chapter 02 and chapters 11, 12 and 13",
        "### Exercise 8.2 · Wait",
        "## 05 · Title",
        "p99, HTTP/1.1, HTTP/2, UTF-8, IPv4, SHA-1, 5xx, 3D, the 99th",
        "status 304, HTTP 410, 304 Not Modified, code 1009, port 8765",
        "Python 3.11 or 1.2.3, since 2008 (2015), on 2026-04-01 at 12:05",
        "1. one\n2. two\n3. three",
        "section 9.2.6 and §7.2.3",
        "0, 1 or 2 of them",
        "127.0.0.1",
        "[10 · Memory](10_connection_memory.ipynb) and https://a.org/42",
        "`retry: 3000` and `wait=25` and `304`",
        "```\n42\n```",
        "<img width=640 alt='x'> <!-- 42 -->",
        "$e^{-5/60}$ and $\\lambda T = 5/60$",
        "$$\\frac{1}{42}$$",
    ],
)
def test_a_name_is_not_a_number(prose: str) -> None:
    assert [f.text for f in uncited_numbers(prose)] == []


@pytest.mark.parametrize(
    ("prose", "number"),
    [
        ("`42`", "42"),
        ("$e^{-5/60} = 0.92$", "0.92"),
        ("$x \\approx 42\\,\\text{ms}$", "42 ms"),
        ("$$1/\\lambda T = 12$$", "12"),
        ("It costs **42** s", "42 s"),
        ("2 million", "2 million"),
        ("<details>42</details>", "42"),
        ("up to 2000 clients", "2000"),
        ("1 in 50", "50"),
    ],
)
def test_a_result_is_a_number_wherever_it_hides(prose: str, number: str) -> None:
    assert [f.text for f in uncited_numbers(prose)] == [number]


def test_a_range_shares_its_unit() -> None:
    assert [(f.value, f.unit) for f in figures("25–30 s, 3 to 4 ms")] == [
        (25, "s"),
        (30, "s"),
        (3, "ms"),
        (4, "ms"),
    ]


def test_columns_are_read_apart_as_well_as_together() -> None:
    assert {12, 345, 12345} <= all_values("12 345")


def test_the_opening_cells_minutes_need_no_source() -> None:
    opening = new_markdown_cell("# 01 · T\n\n**You need** 25 minutes.\n\n1. Cut (5 min)")
    assert numbers_in_prose(new_notebook(cells=[opening])) == []
