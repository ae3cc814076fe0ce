"""Mock questions: a range is right, each forgotten factor is named, and the numbers are the planner's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from labsupport import capacity
from labsupport.capacity import closed_forms as forms
from labsupport.teach.amounts import AmountError, parse, write
from labsupport.teach.interview import QUESTIONS, ask
from labsupport.teach.mock import Mock, MockPanel, Slip

PINGS = QUESTIONS["pings"]


@pytest.mark.parametrize("name", QUESTIONS)
def test_each_forgotten_factor_has_a_number_of_its_own_outside_of_what_is_right(name: str) -> None:
    assert QUESTIONS[name].problems() == []


@pytest.mark.parametrize(
    ("name", "slip"), [(name, slip.name) for name, q in QUESTIONS.items() for slip in q.slips]
)
def test_a_number_without_a_factor_is_told_which_one(name: str, slip: str) -> None:
    question = QUESTIONS[name]
    [one] = [each for each in question.slips if each.name == slip]
    verdict = question.judge(question.value(one))
    assert not verdict.right
    assert verdict.slips == (one,)
    assert one.phrase in verdict.text
    assert one.says[1:] in verdict.text


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_right_number_is_in_the_line_that_leads_to_it(name: str) -> None:
    question = QUESTIONS[name]
    assert question.judge(question.value()).right
    written = write(question.value(), question.unit).split("\N{NO-BREAK SPACE}")
    digits = write(question.value(), "").replace("\N{NO-BREAK SPACE}", " ")
    assert digits.removesuffix("/s") in question.way, (written, question.way)


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("pings", forms.pings_per_s(1e6, 25, pongs=True)),
        ("memory", forms.memory_needed(1e6, 0, 18.5e3) / 1e9),
        (
            "servers",
            forms.servers_needed(1e7, capacity.connections_per_server("16 GB", "50 KB"), use=0.6) + 1,
        ),
        ("sale", forms.broadcast_bit_s(1e6, 328, 0.1) / 1e9),
        ("loss", forms.take_over_s(1e6, 5, 5_000)),
        ("copies", 50_000 * forms.servers_reached(20, 30)),
        ("polls", forms.broadcast_bit_s(1e6, 800, 1 / 5) / 1e9),
    ],
)
def test_the_planner_computes_the_same(name: str, number: Any) -> None:
    assert QUESTIONS[name].value() == pytest.approx(float(number), rel=1e-6)


def test_an_estimate_inside_the_range_is_right_and_gets_the_way() -> None:
    assert str(PINGS.judge(75_000)).startswith(
        "✓ Right, about 80\N{NO-BREAK SPACE}000/s: 1 000 000 / 25 s × 2"
    )


def test_a_spread_input_widens_what_is_right() -> None:
    polls = QUESTIONS["polls"]
    assert polls.judge(0.8).right
    assert polls.judge(2.0).right
    assert "anything from" in polls.judge(1.3).text
    assert not replace(polls, spread=None).judge(0.8).right


def test_two_forgotten_factors_are_both_named() -> None:
    said = QUESTIONS["storage"].judge(QUESTIONS["storage"].value() / 3 / 0.4)
    assert [slip.name for slip in said.slips] == ["the copies", "the night"]
    assert "without the copies and the night" in said.text


def test_two_factors_are_named_where_they_fit_clearly_better_than_one() -> None:
    said = QUESTIONS["servers"].judge(32)
    assert [slip.name for slip in said.slips] == ["the room that stays free", "the spare one"]
    assert [slip.name for slip in QUESTIONS["servers"].judge(33).slips] == ["the room that stays free"]


@pytest.mark.parametrize(
    ("by", "words"),
    [(8, "Eight times too much: bits and bytes"), (1 / 1000, "A thousand times too little: look"),
     (60, "Sixty times too much: minutes and seconds"), (3.3, "Too much: write down each factor")],
)  # fmt: skip
def test_a_number_that_no_slip_explains_is_told_its_direction(by: float, words: str) -> None:
    assert words in PINGS.judge(80_000 * by).text


def test_a_question_whose_slip_would_be_accepted_reports_itself() -> None:
    faint = Slip("a hair", {"ways": 1.95}, "nearly nothing.")
    assert "still accepted" in replace(PINGS, slips=(faint,)).problems()[0]
    twin = Slip("the answers", {"ways": 1.01}, "the same again.")
    two: Mock = replace(PINGS, slips=(*PINGS.slips, twin, replace(twin, changes={"ways": 1})))
    assert any("another slip's" in problem for problem in two.problems())


@pytest.mark.parametrize(
    ("typed", "unit", "number"),
    [
        ("80 000", "/s", 80_000), ("80,000/s", "/s", 80_000), ("80k", "/s", 80_000), ("80 k/s", "/s", 80_000),
        ("4.8 million /min", "/min", 4.8e6), ("4_800_000/min", "/s", 80_000), ("~ 18.5 GB", "GB", 18.5),
        ("18500 MB", "GB", 18.5), ("17.23 GiB", "GB", 17.23 * 2**30 / 1e9), ("262 Mbit/s", "Gbit/s", 0.262),
        ("10 000 ms", "s", 10), ("54 servers", "servers", 54), (54, "servers", 54), ("1e3", "s", 1000),
    ],
)  # fmt: skip
def test_amounts_are_read_as_people_write_them(typed: Any, unit: str, number: float) -> None:
    assert parse(typed, unit) == pytest.approx(number)


@pytest.mark.parametrize("typed", ["", "many", "0", "-5", "1,5", "5 apples", "12 GB", "1e999", True])
def test_what_is_no_amount_is_refused_with_an_example(typed: Any) -> None:
    with pytest.raises(AmountError, match="such as “1\N{NO-BREAK SPACE}230/s”, got"):
        parse(typed, "/s")


def test_the_panel_answers_on_enter_and_on_the_button_and_may_be_asked_again() -> None:
    panel = MockPanel(PINGS)
    assert "No answer yet" in panel._feedback.value
    panel._field.value = "40 000"
    assert "without the pongs" in panel._feedback.value
    panel._field.value = "80k"
    assert panel.verdict is not None
    assert panel.verdict.right
    assert "✓ Right" in panel._feedback.value


def test_what_cannot_be_read_is_told_and_counts_as_no_answer() -> None:
    panel = MockPanel(PINGS)
    assert panel.say("lots").startswith("○ expected an amount")
    assert panel.verdict is None


def test_the_page_without_a_kernel_has_the_question_and_folds_the_answer() -> None:
    page = MockPanel(PINGS)._repr_mimebundle_()["text/html"]
    assert page.index("A million WebSockets") < page.index("<details>") < page.index("80 000/s")
    assert "what comes without the pongs: 40" in page


def test_the_plain_text_does_not_give_the_answer_away() -> None:
    assert "80" not in repr(MockPanel(PINGS))


def test_the_sheet_has_the_way_the_range_and_every_slip() -> None:
    sheet = QUESTIONS["storage"].sheet()
    assert "691 GB a day" in sheet
    assert "counts as right: 628" in sheet
    assert "without the copies: 230" in sheet


def test_an_unknown_question_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(KeyError, match="pings, memory"):
        ask("cheese")
