"""Exercises: the reference passes, and each typical wrong answer is called by its name."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from labsupport.teach.exercise import Case, Exercise, Mistake, all_exercises, case, check, exercise, same
from labsupport.teach.exercises import chapter_01


def capped(attempt: int) -> float:
    """Seconds: doubles from 1, never more than 30."""
    return min(30.0, 2.0**attempt)


def no_cap(attempt: int) -> float:
    return 2.0**attempt


DOUBLING = Exercise(
    id="99.1",
    title="Wait before you try again",
    reference=capped,
    cases=(case(0), case(3), case(10, hint="is the cap applied?"), case(50, hint="far out", hidden=True)),
    mistakes=(Mistake("forgot the cap", no_cap, "the wait doubles for ever."),),
    limit_s=30,
)


# Every exercise of the course


@pytest.mark.parametrize("one", all_exercises(), ids=lambda one: one.id)
def test_its_reference_passes_and_each_of_its_mistakes_is_caught_by_name(one: Exercise) -> None:
    assert one.problems() == []


@pytest.mark.parametrize("one", all_exercises(), ids=lambda one: one.id)
def test_it_has_a_title_cases_and_mistakes_and_is_found_by_its_number(one: Exercise) -> None:
    assert exercise(one.id) is one
    assert one.title
    assert one.cases
    assert one.mistakes


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        (lambda t, j, u: t, "no jitter"),
        (lambda t, j, u: t + t * j * u, "jitter only adds"),
        (lambda t, j, u: t - j + 2 * j * u, "jitter in seconds, not as a share"),
    ],
)
def test_a_wrong_answer_to_the_first_exercise_is_called_by_its_name(answer: Any, name: str) -> None:
    result = check("1.1", answer)
    assert not result.passed
    assert f"This looks like “{name}”: " in repr(result)


def test_a_right_answer_written_in_another_way_passes() -> None:
    result = check("1.1", lambda t, j, u: t * (1 - j) + 2 * t * j * u)
    assert repr(result) == "✓ 5 of 5 cases right"


# What a check says


def test_a_wrong_case_is_shown_as_the_call_with_what_was_expected_and_the_hint() -> None:
    said = repr(DOUBLING.check(no_cap)).splitlines()
    assert said == [
        "✗ no_cap(10): expected 30.0, got 1024.0 (is the cap applied?)",
        "→ This looks like “forgot the cap”: the wait doubles for ever.",
        "· 2 of 3 cases right",
    ]


def test_an_unknown_mistake_is_not_given_a_name() -> None:
    assert "looks like" not in repr(DOUBLING.check(lambda attempt: 7.0))


def test_a_mistake_that_shows_in_some_failing_cases_only_is_not_named() -> None:
    result = DOUBLING.check(lambda attempt: -1.0 if attempt == 3 else 2.0**attempt)
    assert len(result.failures) == 2
    assert result.looks_like is None


def stub_with_dots(attempt: int) -> float: ...  # type: ignore[empty-body]


def stub_with_docstring(attempt: int) -> float:  # type: ignore[empty-body]
    """Seconds to wait."""


def stub_that_raises(attempt: int) -> float:
    """Seconds to wait."""
    raise NotImplementedError


def stub_that_returns_dots(attempt: int) -> Any:
    return ...


async def stub_later(attempt: int) -> float: ...  # type: ignore[empty-body]


@pytest.mark.parametrize(
    "stub",
    [..., stub_with_dots, stub_with_docstring, stub_that_raises, stub_that_returns_dots, stub_later],
    ids=lambda stub: getattr(stub, "__name__", "dots"),
)
def test_a_stub_is_not_started_yet_and_not_wrong(stub: Any) -> None:
    result = DOUBLING.check(stub)
    assert repr(result) == "not started yet"
    assert not result.passed


def test_an_answer_that_forgets_to_return_is_asked_about_it() -> None:
    def forgets(attempt: int) -> None:
        min(30.0, 2.0**attempt)

    assert "got None: does your function return its result?" in repr(DOUBLING.check(forgets))


def test_a_value_instead_of_the_function_is_explained() -> None:
    assert repr(DOUBLING.check(3.0)) == (
        '✗ check("99.1", …) needs your function itself, without calling it; it got 3.0'
    )


def test_an_exception_is_shown_with_its_line() -> None:
    def divides(attempt: int) -> float:
        return 1 / (attempt - 3)

    line = divides.__code__.co_firstlineno + 1
    assert (
        f"✗ divides(3) stopped with ZeroDivisionError: division by zero, in line {line} of your cell: "
        "return 1 / (attempt - 3)"
    ) in repr(DOUBLING.check(divides))


def test_the_same_exception_in_each_case_is_told_once() -> None:
    result = DOUBLING.check(lambda: 1.0)
    assert len(result.failures) == 1
    assert "takes 0 positional arguments but 1 was given" in result.failures[0]
    assert (result.right, result.of) == (0, 3)


def test_a_hidden_case_counts_only_for_grading_and_does_not_show_itself() -> None:
    def to_ten(attempt: int) -> float:
        return min(30.0, 2.0**attempt) if attempt <= 10 else 0.0

    assert DOUBLING.check(to_ten).passed
    graded = DOUBLING.check(to_ten, hidden=True)
    assert (graded.right, graded.of) == (3, 4)
    assert graded.failures == ("a case that is not shown here does not agree (far out)",)


def test_an_answer_may_be_a_coroutine_function_also_where_a_loop_runs() -> None:
    async def later(attempt: int) -> float:
        await asyncio.sleep(0)
        return capped(attempt)

    async def in_a_notebook() -> Any:
        return DOUBLING.check(later)

    assert DOUBLING.check(later).passed
    assert asyncio.run(in_a_notebook()).passed


def test_an_answer_cannot_change_the_case_for_the_next_one() -> None:
    summing = Exercise("99.2", "Sum", sum, (Case(([1, 2, 3],)), Case(([1, 2, 3],))))
    cases = summing.cases

    def greedy(numbers: list[int]) -> int:
        total = sum(numbers)
        numbers.clear()
        return total

    assert summing.check(greedy).passed
    assert cases[0].arguments == ([1, 2, 3],)


def test_the_html_says_in_words_and_symbols_what_the_text_says() -> None:
    page = DOUBLING.check(lambda attempt: "<b>")._repr_html_()
    assert "&lt;b&gt;" in page
    assert "0 of 3 cases right" in page
    assert '<span aria-hidden="true">✗</span>' in page


def test_a_number_that_does_not_exist_is_answered_with_those_that_do() -> None:
    with pytest.raises(KeyError, match="There is no exercise '1.77'; chapter 1 has 1.1"):
        exercise("1.77")
    with pytest.raises(KeyError, match="There is no exercise 'x'"):
        exercise("x")


def test_an_exercise_whose_mistake_passes_or_is_mistaken_for_another_is_reported() -> None:
    lucky = Mistake("right by chance", capped, "it is right.")
    twin = Mistake("its twin", no_cap, "the same as the first.")
    broken = Exercise("99.3", "Broken", capped, DOUBLING.cases, (*DOUBLING.mistakes, lucky, twin))
    assert broken.problems() == [
        "99.3: 'right by chance' passes the visible cases",
        "99.3: 'its twin' is taken for forgot the cap",
    ]


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (0.1 + 0.2, 0.3, True),
        (1, 1.0, True),
        (1, True, False),
        ([0.1 + 0.2, "a"], (0.3, "a"), True),
        ([1], [1, 2], False),
        ({"a": 0.1 + 0.2}, {"a": 0.3}, True),
        ({"a": 1}, {"b": 1}, False),
        (b"x", "x", False),
        (None, 0, False),
    ],
)
def test_answers_agree_to_nine_digits_also_inside_of_lists_and_mappings(
    one: Any, other: Any, equal: bool
) -> None:
    assert same(one, other) is equal


def test_the_reference_of_the_first_exercise_stays_inside_its_share() -> None:
    waits = [chapter_01.next_wait(5.0, 0.2, u / 100) for u in range(100)]
    assert min(waits) == 4.0
    assert max(waits) < 6.0
