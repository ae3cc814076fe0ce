"""Amounts say their unit, and a plan keeps to one family of sizes."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labsupport.capacity import Quantity, Server, UnitError, between, connections_per_server, plan
from labsupport.capacity import quantities as q


@pytest.mark.parametrize(
    ("text", "dimension", "value"),
    [
        ("50 KB", "bytes", 50_000),
        ("50kB", "bytes", 50_000),
        ("16 GB", "bytes", 16e9),
        ("16 GiB", "bytes", 16 * 2**30),
        ("14.7 KiB", "bytes", 14.7 * 1024),
        ("1_000 B", "bytes", 1000),
        ("10 Gbit/s", "bit/s", 10e9),
        ("500 ms", "s", 0.5),
        ("5 min", "s", 300),
        ("8.7 us", "s", 8.7e-6),
        ("2/min", "1/s", 1 / 30),
        ("10/h", "1/s", 1 / 360),
    ],
)
def test_an_amount_is_read_with_its_unit(text: str, dimension: q.Dimension, value: float) -> None:
    assert Quantity.parse("x", text, dimension).value == pytest.approx(value)


@pytest.mark.parametrize(
    ("given", "dimension", "said"),
    [
        ("50 K", "bytes", "is K KB (1 000 B) or KiB (1 024 B)?"),
        ("16 G", "bytes", "is G GB"),
        ("50", "bytes", "the unit is missing"),
        (50, "bytes", "must say its unit"),
        ("16 Gb", "bytes", "8 bits are a byte"),
        ("10 Gbit", "bytes", "8 bits are a byte"),
        ("-5 KB", "bytes", "may not be negative"),
        ("1,5 GB", "bytes", "a point, not a comma"),
        ("5 apples", "bytes", "'apples' is none of B, KB"),
        ("25 s", "bytes", "that is a time"),
        ("fast", "bytes", "a size in bytes such as"),
        ("10 GB/s", "bit/s", "80 Gbit/s"),
        ("10 Gbit", "bit/s", '"10 Gbit/s"'),
        ("10 Gbps", "bit/s", '"10 Gbit/s"'),
        ("25", "s", "the unit is missing"),
        (25, "s", 'a time such as "25 s"'),
        ("3", "1/s", "the unit is missing"),
        ("1e999 B", "bytes", "must be finite"),
    ],
)
def test_a_wrong_unit_is_refused_with_what_was_expected(
    given: object, dimension: q.Dimension, said: str
) -> None:
    with pytest.raises(UnitError) as refused:
        Quantity.parse("memory", given, dimension)
    text = str(refused.value).replace(q.NBSP, " ")
    assert text.startswith("memory must")
    assert said in text
    assert repr(given) in text


def test_a_quantity_of_another_kind_is_refused() -> None:
    size = Quantity.parse("message", "1 KB", "bytes")
    assert Quantity.parse("message", size, "bytes") is size
    with pytest.raises(UnitError, match="a time such as"):
        Quantity.parse("heartbeat", size, "s")


def test_decimal_and_binary_in_one_plan_are_refused_and_both_ways_out_are_named() -> None:
    with pytest.raises(UnitError) as refused:
        plan(1_000, message="50 KiB", server=Server(memory="16 GB"))
    text = str(refused.value).replace(q.NBSP, " ")
    assert "memory is decimal (16 GB) and message is binary (50 KiB)" in text
    assert "write message as 51.2 KB, or memory as 14.9 GiB" in text


def test_the_ends_of_one_range_must_be_of_one_family_too() -> None:
    with pytest.raises(UnitError, match="one family"):
        plan(1_000, message=between("1 KB", "2 KiB"))


def test_plain_bytes_and_network_rates_go_with_either_family() -> None:
    for memory in ("16 GB", "16 GiB"):
        made = plan(1_000, message="200 B", server=Server(memory=memory, network="10 Gbit/s"))
        assert made.family == ("decimal" if memory == "16 GB" else "binary")


def test_a_binary_plan_is_told_in_binary_sizes_throughout() -> None:
    made = plan(1_000_000, message="1 KiB", server=Server(memory="16 GiB"))
    words = " ".join(row["arithmetic"] for row in made.table()).replace(q.NBSP, " ")
    assert "KiB" in words
    assert " KB" not in words
    assert " GB" not in words


def test_16_gb_at_50_kb_hold_320_000_and_16_gib_at_50_kib_335_544() -> None:
    assert connections_per_server("16 GB", "50 KB") == 320_000
    assert connections_per_server("16 GiB", "50 KiB") == 335_544
    assert connections_per_server("16 GB", "50 KB", base="1 GB", headroom=0.1) == 268_000
    with pytest.raises(UnitError, match="one plan keeps to one family"):
        connections_per_server("16 GB", "50 KiB")
    with pytest.raises(UnitError, match="is K KB"):
        connections_per_server("16 GB", "50 K")


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.floats(1, 9e14, allow_nan=False), st.sampled_from(["decimal", "binary"]))
def test_what_is_written_can_be_read_again_within_its_three_digits(value: float, family: q.Family) -> None:
    digits, _, unit = q.size_text(value, family).rpartition(q.NBSP)
    again = Quantity.parse("x", f"{digits.replace(q.NBSP, '_')} {unit}", "bytes")
    assert again.value == pytest.approx(value, rel=6e-3)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0/s"), (1 / 6, "10/min"), (1 / 60, "1/min"), (0.5, "0.5/s"), (2635.2, "2 635/s"), (1e-4, "0.36/h")],
)
def test_a_rate_is_written_so_that_one_can_go_on_with_it(value: float, text: str) -> None:
    assert q.per_second(value).replace(q.NBSP, " ") == text


def test_numbers_have_no_e_and_no_false_digits() -> None:
    written = [
        q.number(x).replace(q.NBSP, " ") for x in (0.0123456, 31.25, 320_000, 12_345.6, 1e-9, math.inf)
    ]
    assert written == ["0.0123", "31.2", "320 000", "12 346", "0.000000001", "∞"]
