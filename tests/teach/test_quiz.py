"""Quizzes: each choice says why; the answer is in the page without the widget."""

from __future__ import annotations

import pytest

from labsupport.teach.quiz import Quiz, quiz

OPTIONS = {
    "It stays closed": "That is a WebSocket.",
    "It reconnects": "After the retry time, about 3 s.",
    "It asks for a <page>": "Nothing is loaded again.",
}


def question() -> Quiz:
    return Quiz("What does an EventSource do?", OPTIONS, "It reconnects", "Without jitter.")


def test_each_wrong_choice_says_why_it_is_wrong() -> None:
    assert question().choose("It stays closed") == "✗ Not this one. That is a WebSocket."


def test_the_right_choice_says_why_it_is_right() -> None:
    assert question().choose("It reconnects") == "✓ Right. After the retry time, about 3 s. Without jitter."


def test_the_choice_is_told_on_the_page() -> None:
    asked = question()
    asked._radio.value = "It stays closed"
    assert "✗ Not this one. That is a WebSocket." in asked._feedback.value
    assert asked.chosen == "It stays closed"


def test_nothing_is_chosen_at_first() -> None:
    assert question().chosen is None


def test_the_page_without_a_kernel_has_the_question_and_the_folded_answer() -> None:
    bundle = question()._repr_mimebundle_()
    page = bundle["text/html"]
    assert "<details><summary>Answer</summary><p><b>It reconnects</b>" in page
    assert "<li>It asks for a &lt;page&gt;</li>" in page
    assert page.index("It stays closed") < page.index("<details>")


def test_the_plain_text_asks_and_does_not_give_the_answer_away() -> None:
    assert repr(question()) == (
        "Question: What does an EventSource do?\n"
        "  ( ) It stays closed\n  ( ) It reconnects\n  ( ) It asks for a <page>"
    )


def test_an_unknown_choice_is_refused() -> None:
    with pytest.raises(ValueError, match="none of the answers"):
        question().choose("It sleeps")


@pytest.mark.parametrize(
    ("options", "answer", "what"),
    [
        (OPTIONS, "It sleeps", "not among the options"),
        ({"yes": "because"}, "yes", "at least two answers"),
        ({"yes": "because", "no": " "}, "yes", "'no' has no sentence"),
    ],
)
def test_an_unfinished_question_is_refused(options: dict[str, str], answer: str, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        quiz("Well?", options, answer)
