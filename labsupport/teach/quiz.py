"""A question with a few answers, each of which says why it is right or wrong.

    quiz(
        "The server restarts. What does an EventSource do?",
        {
            "It fires onerror and stays closed": "That is a WebSocket. An EventSource tries again by itself.",
            "It reconnects and sends Last-Event-ID": "Yes: after the retry time, about 3 s, without jitter.",
        },
        answer="It reconnects and sends Last-Event-ID",
    )

The folded answer stays in the page, so that nothing depends on the widget.
"""

from __future__ import annotations

import html
from collections.abc import Mapping

import ipywidgets as W
from IPython.display import display

from labsupport.teach.panel import Panel, live_text

RIGHT, WRONG = "✓", "✗"


class Quiz(Panel):
    """A multiple-choice question; `.chosen` is what the learner picked last, or None."""

    def __init__(self, question: str, options: Mapping[str, str], answer: str, why: str = "") -> None:
        self.question, self.options, self.answer, self.why = question, dict(options), answer, why
        ask = W.HTML(f"<p><b>{html.escape(question)}</b></p>")
        ask.add_class("lab-question")
        self._radio = W.RadioButtons(
            options=list(self.options), value=None, layout=W.Layout(width="100%", max_width="691px")
        )
        self._radio.add_class("lab-choices")
        self._feedback = live_text("<p>Choose one; each choice tells you why.</p>", "lab-quiet")
        self._radio.observe(lambda change: self._tell(change["new"]), names="value")
        super().__init__([ask, self._radio, self._feedback, W.HTML(self._folded())])

    @property
    def chosen(self) -> str | None:
        """The option chosen last."""
        choice: str | None = self._radio.value
        return choice

    def choose(self, option: str) -> str:
        """Choose an option, and get what is said about it."""
        if option not in self.options:
            raise ValueError(f"{option!r} is none of the answers: {'; '.join(self.options)}")
        self._radio.value = option
        return self.feedback(option)

    def feedback(self, option: str) -> str:
        """Right or wrong, in a symbol and in words, and why."""
        if option == self.answer:
            return " ".join(f"{RIGHT} Right. {self.options[option]} {self.why}".split())
        return f"{WRONG} Not this one. {self.options[option]}"

    def _tell(self, option: str | None) -> None:
        if option is not None:
            self._feedback.remove_class("lab-quiet")
            self._feedback.value = f"<p>{html.escape(self.feedback(option))}</p>"

    def _folded(self) -> str:
        others = "".join(
            f"<li><b>{html.escape(option)}</b>: {html.escape(why)}</li>"
            for option, why in self.options.items()
            if option != self.answer
        )
        reason = " ".join(f"{self.options[self.answer]} {self.why}".split())
        return (
            f"<details><summary>Answer</summary>"
            f"<p><b>{html.escape(self.answer)}</b>: {html.escape(reason)}</p>"
            f"<p>Why not the others:</p><ul>{others}</ul></details>"
        )

    def words(self) -> str:
        return f"Question: {self.question}\n" + "\n".join(f"  ( ) {option}" for option in self.options)

    def still_html(self) -> str:
        listed = "".join(f"<li>{html.escape(option)}</li>" for option in self.options)
        return f"<p><b>{html.escape(self.question)}</b></p><ul>{listed}</ul>{self._folded()}"


def quiz(question: str, options: Mapping[str, str], answer: str, why: str = "") -> None:
    """Show a question. options: each answer and the sentence that says why it is right or wrong.

    answer: the right one, word for word. why: more about the right one, where one sentence is not enough.
    """
    if answer not in options:
        raise ValueError(f"The right answer {answer!r} is not among the options: {'; '.join(options)}")
    if len(options) < 2:
        raise ValueError("A question needs at least two answers to choose from")
    silent = [option for option, reason in options.items() if not reason.strip()]
    if silent:
        raise ValueError(f"Say why this answer is right or wrong: {silent[0]!r} has no sentence")
    display(Quiz(question, options, answer, why))
