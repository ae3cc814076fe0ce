"""A prediction before the run: whoever has guessed looks at the result with other eyes.

    guess = predict("empty answers in 100 polls", 0, 100, unit="of 100")
    …                                                       # the measurement
    guess.compare(92, because="e^(−λT), with λT of only a twelfth")

prints "you said 60, it was 92: the gap is in e^(−λT), …", or, for those who just went on, "you did not guess;
it was 92: …". Answering is optional; a notebook run from top to bottom prints the same line each time.
"""

from __future__ import annotations

import html
from dataclasses import dataclass

import ipywidgets as W
from IPython.display import display

from labsupport.teach.live import control_for, slider, with_unit
from labsupport.teach.panel import Panel, live_text
from labsupport.teach.readable import readable
from labsupport.teach.readable import with_unit as number_with_unit

NEAR = 0.05  # of the range: a guess this close leaves no gap worth explaining


@dataclass(frozen=True)
class _Outcome:
    actual: float
    because: str


class Prediction(Panel):
    """A question with a slider; `.answer` is None until the learner has said something."""

    def __init__(self, question: str, low: float, high: float, unit: str, *, log: bool = False) -> None:
        self.question, self.unit, self.low, self.high = question, unit, low, high
        self.answer: float | None = None
        self._outcome: _Outcome | None = None
        middle = (low * high) ** 0.5 if log else (low + high) / 2
        whole = isinstance(low, int) and isinstance(high, int) and not log
        spec = slider(low, high, round(middle) if whole else middle, unit=unit, label="your guess", log=log)
        self._control = control_for("guess", spec)
        self._button = W.Button(
            description="I say so",
            tooltip="Record this guess; you may change it",
            layout=W.Layout(width="auto", align_self="flex-start"),
        )
        self._note = live_text("<p>No guess yet. You may also just go on.</p>", "lab-quiet")
        self._button.on_click(lambda _: self.say(self._control.value))
        ask = W.HTML(f"<p><b>Before you run the next cell:</b> {html.escape(question)}?</p>")
        super().__init__([ask, with_unit(self._control, unit), self._button, self._note])

    def say(self, answer: float) -> None:
        """Record a guess (what the button does; also for readers who prefer a cell to a slider)."""
        if not self.low <= answer <= self.high:
            raise ValueError(
                f"{answer} is outside of {self.low} to {self.high}: guess inside the range, {self.unit}"
            )
        self.answer = answer
        noted = f"Noted: {number_with_unit(answer, self.unit)}. Now run the next cell."
        text = noted if self._outcome is None else _first_upper(self._line(self._outcome))
        self._tell(text)

    def _tell(self, text: str) -> None:
        self._note.remove_class("lab-quiet")
        self._note.value = f"<p>{html.escape(text)}</p>"

    def compare(self, actual: float, *, because: str) -> None:
        """Print one line: what was guessed, what came, and where the gap is.

        because: a phrase that completes "the gap is in …", for example "e^(−λT): messages are rare".
        """
        self._outcome = _Outcome(actual, because.rstrip("."))
        print(self._line(self._outcome))
        if self.answer is not None:
            self._tell(_first_upper(self._line(self._outcome)))

    def _line(self, outcome: _Outcome) -> str:
        was = number_with_unit(outcome.actual, self.unit)
        if self.answer is None:
            return f"you did not guess; it was {was}: {outcome.because}"
        if abs(self.answer - outcome.actual) <= NEAR * (self.high - self.low):
            return f"you said {readable(self.answer)}, it was {was}: well guessed, it is in {outcome.because}"
        return f"you said {readable(self.answer)}, it was {was}: the gap is in {outcome.because}"

    def words(self) -> str:
        span = f"{readable(self.low)} to {number_with_unit(self.high, self.unit)}"
        return f"Your guess, before you run on: {self.question}? ({span})"

    def still_html(self) -> str:
        return f"<p>{html.escape(self.words())}</p>"


def predict(question: str, low: float, high: float, unit: str = "", *, log: bool = False) -> Prediction:
    """Ask for a number between `low` and `high` and show a slider for it; answering is optional.

    question: a phrase, without its question mark: "empty answers in 100 polls".
    log: for ranges of several decades.
    """
    prediction = Prediction(question.rstrip("? "), low, high, unit, log=log)
    display(prediction)
    return prediction


def _first_upper(text: str) -> str:
    return text[:1].upper() + text[1:] + "."
