"""A question of an interview whose answer is a number: a range is right, and a wrong number has a reason.

    pings = Mock(
        "A million connections, a ping every 25 s. How many frames a second?", "/s",
        solve=lambda users, every_s, ways: users * ways / every_s,
        given={"users": 1e6, "every_s": 25, "ways": 2},
        slips=(Slip("the pongs", {"ways": 1}, "each ping is answered, and the answer is a frame, too."),),
        way="1 000 000 connections / 25 s × 2 = 80 000/s",
    )
    pings.say("40 000")       “✗ … That is what comes without the pongs: …”

Each number comes from `solve`: the right one with what is given, that of a slip with what the slip changes.
An estimate is right inside a range: that of `spread` (inputs that one may take differently), and `within` of
it.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations, product

import ipywidgets as W
from IPython.display import display

from labsupport.teach.amounts import NBSP, AmountError, parse, write
from labsupport.teach.panel import Panel, live_text

RIGHT, WRONG, TRY = "✓", "✗", "○"
EXACT = 0.02  # a question within less has one right number, give or take its last digit
WITHIN = 0.1  # of the right number: who estimates rounds
CLEARLY = 0.01  # one slip explains a number better than two, unless two come this much closer
NEAR = 0.04  # a wrong number this close to what a slip gives has that reason

# What is wrong with a number that is off by one of these, where no slip of the question explains it.
USUAL = {
    8.0: "eight times too {much}: bits and bytes",
    60.0: "sixty times too {much}: minutes and seconds",
    1000.0: "a thousand times too {much}: look at the prefix of the unit",
    1e6: "a million times too {much}: look at the prefix of the unit",
}


@dataclass(frozen=True)
class Slip:
    """A factor that is easily forgotten. `name` completes "what comes without …"; `says` tells why it counts.

    changes: the inputs as they are for whoever forgets it. instead: for a slip that is no omission, the whole
    phrase ("what comes when …").
    """

    name: str
    changes: Mapping[str, float]
    says: str
    instead: str = ""

    @property
    def phrase(self) -> str:
        return self.instead or f"what comes without {self.name}"


@dataclass(frozen=True)
class Verdict:
    """What a number is worth: right or not, the sentence, and the slips that explain it."""

    right: bool
    text: str
    slips: tuple[Slip, ...] = ()

    def __str__(self) -> str:
        return f"{RIGHT if self.right else WRONG} {self.text}"


@dataclass(frozen=True)
class Mock:
    """A question, what its number is computed from, and the numbers that slips lead to.

    spread: inputs that one may well take differently, as (low, high); the range comes from their ends.
    way: the way to the right number, in one line.
    """

    question: str
    unit: str
    solve: Callable[..., float]
    given: Mapping[str, float]
    slips: tuple[Slip, ...]
    way: str
    why: str = ""
    within: float = WITHIN
    spread: Mapping[str, tuple[float, float]] | None = None

    def value(self, *slips: Slip) -> float:
        """The right number, or the one that these slips lead to."""
        changed = {name: value for slip in slips for name, value in slip.changes.items()}
        return float(self.solve(**{**self.given, **changed}))

    def range(self, *slips: Slip) -> tuple[float, float]:
        """From where to where a number counts as right (or as this slip's)."""
        changed = {**self.given, **{name: value for slip in slips for name, value in slip.changes.items()}}
        free = {name: ends for name, ends in (self.spread or {}).items() if changed[name] == self.given[name]}
        found = [
            float(self.solve(**{**changed, **dict(zip(free, ends, strict=True))}))
            for ends in product(*free.values())
        ]
        margin = NEAR if slips else self.within
        return min(found) / (1 + margin), max(found) * (1 + margin)

    def judge(self, number: float) -> Verdict:
        """Compare a number, in the question's unit, with the right one and with the slips'."""
        low, high = self.range()
        if low <= number <= high:
            return Verdict(True, f"Right, {self._about(self.value())}: {self.way}. {self.why}".strip())
        said = f"Not {write(number, self.unit)}."
        slips = self.explained(number)
        if slips:
            names = " and ".join(slip.phrase if i == 0 else slip.name for i, slip in enumerate(slips))
            reasons = " ".join(slip.says[:1].upper() + slip.says[1:] for slip in slips)
            return Verdict(False, f"{said} That is {names}. {reasons}", slips)
        off = number / self.value()
        usual = next((words for by, words in USUAL.items() if self._is(max(off, 1 / off), by)), "")
        much = "much" if off > 1 else "little"
        hint = usual.format(much=much) if usual else f"too {much}: write down each factor, with its unit"
        return Verdict(False, f"{said} {hint[0].upper()}{hint[1:]}.")

    def explained(self, number: float) -> tuple[Slip, ...]:
        """The slip whose number this is, or two together if they fit clearly better; else none."""
        near = []
        for count in (1, 2):
            for slips in combinations(self.slips, count):
                low, high = self.range(*slips)
                if low <= number <= high:
                    apart = abs(math.log(number / self.value(*slips)))
                    near.append((apart + (count - 1) * CLEARLY, slips))
        return min(near, key=lambda found: found[0])[1] if near else ()

    def problems(self) -> list[str]:
        """What is wrong with the question itself: for its test, before a reader meets it."""
        found = []
        low, high = self.range()
        for slip in self.slips:
            number = self.value(slip)
            if low <= number <= high:
                found.append(f"without {slip.name} the number is still accepted: {number:g}")
            elif self.explained(number) != (slip,):
                found.append(f"the number without {slip.name} is taken for another slip's: {number:g}")
        return found

    def sheet(self) -> str:
        """The answer, its range, and what each slip leads to, as lines of text."""
        lines = [self.question, f"  {self.way}", f"  counts as right: {self.span()}"]
        return "\n".join(
            lines + [f"  {slip.phrase}: {write(self.value(slip), self.unit)}" for slip in self.slips]
        )

    def span(self) -> str:
        """What counts as right, in words; one number where nothing else does."""
        low, high = (write(end, self.unit) for end in self.range())
        return (
            write(self.value(), self.unit) if self.within < EXACT and not self.spread else f"{low} to {high}"
        )

    def _about(self, value: float) -> str:
        return f"anything from {self.span()}" if self.spread else f"about {write(value, self.unit)}"

    @staticmethod
    def _is(one: float, other: float) -> bool:
        return abs(math.log(one / other)) <= NEAR


class MockPanel(Panel):
    """The question with a field to type in; Enter or the button answers. `.verdict` is the last, or None."""

    def __init__(self, mock: Mock) -> None:
        self.mock = mock
        self.verdict: Verdict | None = None
        ask = W.HTML(f"<p><b>{html.escape(mock.question)}</b></p>")
        self._field = W.Text(
            description=(f"per {mock.unit[1:]}" if mock.unit.startswith("/") else f"in {mock.unit}")
            + 2 * NBSP,
            placeholder="a number, then Enter",
            continuous_update=False,
            layout=W.Layout(width="320px"),
            style={"description_width": "auto"},
        )
        button = W.Button(
            description="My answer",
            tooltip="Compare this number; you may answer again",
            layout=W.Layout(width="auto", min_width="112px"),
        )
        self._feedback = live_text("<p>No answer yet. Estimate; a range counts as right.</p>", "lab-quiet")
        # Enter changes the value, and so does leaving the field: the value is what counts, and no key.
        self._field.observe(lambda change: change["new"].strip() and self.say(change["new"]), names="value")
        button.on_click(lambda _: self.say(self._field.value))
        row = W.HBox([self._field, button], layout=W.Layout(flex_flow="row wrap", align_items="center"))
        super().__init__([ask, row, self._feedback, W.HTML(self._folded())])

    def say(self, typed: object) -> str:
        """Answer, and get what is said about it (what the button does; also for who prefers a cell)."""
        try:
            self.verdict = self.mock.judge(parse(typed, self.mock.unit))
            text = str(self.verdict)
        except AmountError as error:
            text = f"{TRY} {error}"
        self._feedback.remove_class("lab-quiet")
        self._feedback.value = f"<p>{html.escape(text)}</p>"
        return text

    def _folded(self) -> str:
        mock = self.mock
        slips = "".join(
            f"<li>{html.escape(slip.phrase)}: {html.escape(write(mock.value(slip), mock.unit))}. "
            f"{html.escape(slip.says[:1].upper() + slip.says[1:])}</li>"
            for slip in mock.slips
        )
        return (
            f"<details><summary>Answer</summary><p><b>{html.escape(mock.way)}</b></p>"
            f"<p>{html.escape(mock.why)} Counts as right: {mock.span()}.</p><ul>{slips}</ul></details>"
        )

    def words(self) -> str:
        return f"Question: {self.mock.question}\n  (a number, {self.mock.unit or 'plain'})"

    def still_html(self) -> str:
        return f"<p><b>{html.escape(self.mock.question)}</b></p>{self._folded()}"


def mock(question: Mock) -> None:
    """Show a question with its field; the answer is folded below it."""
    display(MockPanel(question))
