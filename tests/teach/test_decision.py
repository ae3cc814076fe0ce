"""The decision tree: which answer decides, what stands for the widget elsewhere, and what it refuses."""

from __future__ import annotations

import itertools

import pytest

from labsupport.teach.decision import DEFAULTS, EXTRAS, QUESTIONS, RULES, decide, decision_tree

CASES = [
    dict(zip(DEFAULTS, combo, strict=True)) for combo in itertools.product(*(q.answers for q in QUESTIONS))
]


@pytest.mark.parametrize(
    ("needs", "transport"),
    [
        ({}, "SSE"),
        ({"content": "voice or video", "speaks": "both, often"}, "WebRTC, through a media server"),
        ({"speaks": "both, often", "age": "minutes"}, "WebSocket"),
        ({"speaks": "both, now and then"}, "SSE"),
        ({"age": "minutes"}, "short polling"),
        ({"age": "some seconds", "viewers": "many see the same"}, "cached polling"),
        ({"age": "under a second", "viewers": "many see the same"}, "SSE"),
        ({"content": "a stream of binary"}, "WebSocket"),
        ({"path": "proxies that hold back long answers"}, "long polling"),
        ({"path": "proxies that hold back long answers", "speaks": "both, often"}, "WebSocket"),
    ],
)
def test_the_first_need_that_matters_decides(needs: dict[str, str], transport: str) -> None:
    assert decide(**needs).transport == transport


def test_who_must_miss_nothing_is_not_sent_to_a_cache() -> None:
    needs = {"age": "some seconds", "viewers": "many see the same"}
    decision = decide(**needs, guarantee="nothing: each message, once")
    assert decision.transport == "SSE"
    assert "ids, a log to replay from, and a reader that drops doubles" in decision.also


def test_every_case_has_advice_and_a_short_list_of_what_else_to_build() -> None:
    for needs in CASES:
        decision = decide(**needs)
        assert decision.transport
        assert decision.because.endswith(".")
        assert 1 <= len(decision.also) <= 6, needs


def test_each_rule_and_each_extra_holds_somewhere_and_each_question_changes_something() -> None:
    decisions = [decide(**needs) for needs in CASES]
    assert {decision.because for decision in decisions} == {rule.because for rule in RULES}
    assert {line for decision in decisions for line in decision.also} == {text for _, text in EXTRAS}
    for question in QUESTIONS:
        seen = {
            (decide(**{question.name: answer}).transport, decide(**{question.name: answer}).also)
            for answer in question.answers
        }
        assert len(seen) > 1, question.name


def test_the_phone_in_a_pocket_gets_the_phones_own_push_whatever_the_transport() -> None:
    for needs in CASES:
        told = any("Web Push" in line for line in decide(**needs).also)
        assert told is (needs["where"] == "also on a phone in a pocket")


def test_the_text_of_a_case_has_every_question_with_its_answer_and_the_result() -> None:
    text = decide(speaks="both, often").explained()
    for question in QUESTIONS:
        assert question.words in text
    assert "→ WebSocket: " in text


@pytest.mark.parametrize(
    ("needs", "what"),
    [
        ({"colour": "blue"}, "There is no question 'colour'"),
        ({"age": "an hour"}, "under a second; some seconds"),
    ],
)
def test_an_unknown_question_or_answer_is_refused_with_those_there_are(
    needs: dict[str, str], what: str
) -> None:
    with pytest.raises(ValueError, match=what):
        decide(**needs)


def test_the_advice_follows_an_answer() -> None:
    tree = decision_tree()
    assert tree.advice["transport"] == tree.decision.transport == "SSE"
    tree.needs = {**tree.needs, "speaks": "both, often"}
    assert tree.advice["transport"] == tree.decision.transport == "WebSocket"


def test_without_a_kernel_the_first_case_stands_there_with_the_reason_for_each_question() -> None:
    tree = decision_tree(content="voice or video")
    tree.needs = {**tree.needs, "content": "large files"}  # what is shown later does not change the page
    bundle = tree._repr_mimebundle_()
    page = bundle["text/html"]
    assert all(question.why.replace("'", "&#x27;") in page for question in QUESTIONS)
    assert "<b>WebRTC, through a media server</b>" in page
    assert bundle["text/plain"] == repr(tree)
    assert "→ WebRTC, through a media server: " in repr(tree)


def test_the_widget_names_what_it_shows_for_those_who_hear_it() -> None:
    esm = decision_tree()._esm
    for part in ("fieldset", "legend", "aria-describedby", '"role", "status"', "lmSuppressShortcuts"):
        assert part in esm
