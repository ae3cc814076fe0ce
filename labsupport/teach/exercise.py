"""Exercises that answer back: what was expected, what came, and which well-known mistake it looks like.

    check("1.1", next_wait)

shows one of: "not started yet" · "next_wait(5, 0.2, 0.0): expected 4.0, got 5.0 (…)" · "5 of 5 cases right".
An exercise lives in labsupport/teach/exercises/chapter_NN.py, together with wrong answers that learners
really give: each is a function, so that a test can prove that it is caught, and by its name.
"""

from __future__ import annotations

import html
import importlib
import math
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from labsupport.teach import exercises, running

REFERENCE_LIMIT_S = 60.0  # it ends; a machine that stands still for a while is not the learner's mistake
SHOWN_FAILURES = 3  # more of the same teach nothing
SHOWN_CHARS = 90  # of a value


@dataclass(frozen=True)
class Case:
    """One call of the answer. `hint`: what to ask oneself when it fails; `hidden`: only for grading."""

    arguments: tuple[Any, ...]
    hint: str = ""
    hidden: bool = False


def case(*arguments: Any, hint: str = "", hidden: bool = False) -> Case:
    """A case, written like the call: case(5, 0.2, 0.0, hint="…"); the reference says what to expect."""
    return Case(arguments, hint, hidden)


@dataclass(frozen=True)
class Mistake:
    """A wrong answer that learners give. `says` completes "This looks like NAME: …"."""

    name: str
    answer: Callable[..., Any]
    says: str


def same(one: Any, other: Any) -> bool:
    """Equal, and for numbers equal to nine digits; inside lists, tuples and mappings, too."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return bool(one == other)


@dataclass(frozen=True)
class Exercise:
    """A question with cases that decide. `reference` answers it; `limit_s`: seconds that a case may take."""

    id: str
    title: str
    reference: Callable[..., Any]
    cases: tuple[Case, ...]
    mistakes: tuple[Mistake, ...] = ()
    limit_s: float = 2.0
    agree: Callable[[Any, Any], bool] = same

    def expected(self, case: Case) -> Any:
        """What the reference gives."""
        outcome = running.call(self.reference, case.arguments, REFERENCE_LIMIT_S)
        if outcome.problem:
            raise RuntimeError(f"The reference of exercise {self.id} {outcome.problem}")
        return outcome.value

    def check(self, answer: Any, *, hidden: bool = False) -> Result:
        """Try the answer on each case; with `hidden`, also on those kept for grading."""
        if answer is ...:
            return Result(self, not_started=True)
        if not callable(answer):
            wanted = f'check("{self.id}", …) needs your function itself, without calling it'
            return Result(self, failures=(f"{wanted}; it got {_short(answer)}",))
        return self._try(answer, [case for case in self.cases if hidden or not case.hidden])

    def _try(self, answer: Callable[..., Any], cases: list[Case]) -> Result:
        failures: list[str] = []
        problems: set[str] = set()
        wrong: list[tuple[Case, Any]] = []
        right = 0
        for case in cases:
            outcome = running.call(answer, case.arguments, self.limit_s)
            if outcome.not_started:
                return Result(self, not_started=True)
            expected = self.expected(case)
            if outcome.problem:
                if outcome.problem not in problems:  # the same exception in each case is one thing to mend
                    failures.append(self._tell(answer, case, outcome.problem, outcome.printed))
                problems.add(outcome.problem)
                if outcome.too_long:
                    break  # the other cases would only cost the same time again
            elif self.agree(outcome.value, expected):
                right += 1
            else:
                wrong.append((case, outcome.value))
                got = f"expected {_short(expected)}, got {_short(outcome.value)}"
                failures.append(self._tell(answer, case, got + _no_return(outcome.value)))
        looks_like = self.recognise(wrong) if wrong and not problems else None
        return Result(self, tuple(failures), right, len(cases), looks_like=looks_like)

    def _tell(self, answer: Callable[..., Any], case: Case, what: str, printed: str = "") -> str:
        hint = f" ({case.hint})" if case.hint else ""
        if case.hidden:
            return f"a case that is not shown here does not agree{hint}"
        called = f"{getattr(answer, '__name__', 'your function')}({', '.join(map(_short, case.arguments))})"
        if what.startswith("expected"):
            return f"{called}: {what}{hint}"
        return f"{called} {what}" + (f" It had printed: {printed[:40].strip()!r}." if printed.strip() else "")

    def recognise(self, wrong: list[tuple[Case, Any]]) -> Mistake | None:
        """The known mistake that gives the same wrong values in every failing case, if there is one."""
        for mistake in self.mistakes:
            outcomes = [running.call(mistake.answer, case.arguments, self.limit_s) for case, _ in wrong]
            if all(
                not outcome.problem and self.agree(outcome.value, got)
                for outcome, (_, got) in zip(outcomes, wrong, strict=True)
            ):
                return mistake
        return None

    def problems(self) -> list[str]:
        """What is wrong with the exercise itself: for the tests, before learners meet it."""
        found = []
        if not self.check(self.reference, hidden=True).passed:
            found.append(f"{self.id}: the reference fails its own cases")
        for mistake in self.mistakes:
            result = self.check(mistake.answer)
            if result.passed:
                found.append(f"{self.id}: {mistake.name!r} passes the visible cases")
            elif result.looks_like is not mistake:
                named = result.looks_like.name if result.looks_like else "nothing"
                found.append(f"{self.id}: {mistake.name!r} is taken for {named}")
        return found


@dataclass(frozen=True)
class Result:
    """What a check found; it shows itself as text or as a list, in symbols and words, never colour alone."""

    exercise: Exercise = field(repr=False)
    failures: tuple[str, ...] = ()
    right: int = 0
    of: int = 0
    not_started: bool = False
    looks_like: Mistake | None = None

    @property
    def passed(self) -> bool:
        """Whether every case is right."""
        return not self.not_started and self.of > 0 and not self.failures

    def _lines(self) -> list[tuple[str, str]]:
        """Symbol and sentence of each line."""
        if self.not_started:
            return [("○", "not started yet")]
        lines = [("✗", failure) for failure in self.failures[:SHOWN_FAILURES]]
        if len(self.failures) > SHOWN_FAILURES:
            lines.append(("✗", f"and {len(self.failures) - SHOWN_FAILURES} more"))
        if self.looks_like:
            lines.append(("→", f"This looks like “{self.looks_like.name}”: {self.looks_like.says}"))
        if self.of:
            lines.append(("✓" if self.passed else "·", f"{self.right} of {self.of} cases right"))
        return lines

    def __repr__(self) -> str:
        return "\n".join(text if self.not_started else f"{symbol} {text}" for symbol, text in self._lines())

    def _repr_html_(self) -> str:
        items = "".join(
            f'<li style="list-style:none"><span aria-hidden="true">{symbol}</span> {html.escape(text)}</li>'
            for symbol, text in self._lines()
        )
        name = f"Exercise {html.escape(self.exercise.id)}"
        return f'<ul style="margin:0;padding:0" aria-label="{name}">{items}</ul>'


def exercise(id: str) -> Exercise:
    """The exercise of that number: "1.2" is the second of chapter 01."""
    chapter = id.partition(".")[0]
    known: tuple[Exercise, ...] = ()
    if chapter.isdigit():
        name = f"{exercises.__name__}.chapter_{int(chapter):02d}"
        try:
            known = importlib.import_module(name).EXERCISES
        except ModuleNotFoundError as error:
            if error.name != name:  # the chapter is there, and lacks something itself
                raise
    for one in known:
        if one.id == id:
            return one
    there = ", ".join(one.id for one in known)
    raise KeyError(f"There is no exercise {id!r}" + (f"; chapter {chapter} has {there}" if there else ""))


def check(id: str, answer: Any) -> Result:
    """Check an answer. Pass the function itself: check("1.1", next_wait). Coroutine functions are welcome."""
    return exercise(id).check(answer)


def all_exercises() -> list[Exercise]:
    """Every exercise of the course, in order."""
    chapters = sorted(module.name for module in pkgutil.iter_modules(exercises.__path__))
    modules = [importlib.import_module(f"{exercises.__name__}.{name}") for name in chapters]
    return [one for module in modules for one in module.EXERCISES]


def _short(value: Any) -> str:
    """The value as it would be typed, floats without their rounding noise, and not too long."""
    rounded = float(f"{value:.10g}") if isinstance(value, float) else value
    text = repr(rounded)
    return text if len(text) <= SHOWN_CHARS else text[: SHOWN_CHARS - 1] + "…"


def _no_return(value: Any) -> str:
    return ": does your function return its result?" if value is None else ""
