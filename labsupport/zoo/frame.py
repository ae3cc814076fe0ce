"""An exhibit: code with one bug, a run that shows it, and promises that a fix must keep.

A fix is one function, which takes the place of the function of the same name in the specimen. The run is the
same as before; each promise looks at what was seen. One promise at least is broken by the code as it was
found: the symptom. The code as found keeps the others, and so must the fix.
"""

from __future__ import annotations

import html
import importlib.util
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from types import ModuleType
from typing import Any

from matplotlib.figure import Figure

from labsupport.teach import figures, running

LIMIT_S = 4.0  # seconds for a run; each needs less than one


class NotObserved(RuntimeError):
    """The code did not come through its run; the text says how it ended."""


@dataclass(frozen=True)
class Promise:
    """What must hold of a run. `broken(seen)` is "" if it does, else the sentence that says what was seen."""

    name: str
    broken: Callable[[Any], str]
    symptom: bool = False  # the code as found breaks it


@dataclass(frozen=True)
class Variant:
    """A fix that learners try first: which promises it breaks, and what to say to it."""

    name: str
    fix: Callable[..., Any]
    breaks: frozenset[str]
    says: str
    sign: Callable[[Any], bool] = lambda seen: True  # where the promises alone would not tell it from others


def variant(
    name: str,
    fix: Callable[..., Any],
    breaks: set[str],
    says: str,
    sign: Callable[[Any], bool] = lambda seen: True,
) -> Variant:
    """A wrong fix, written in one line."""
    return Variant(name, fix, frozenset(breaks), says, sign)


class Source(str):
    """Code that shows itself as code."""

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return f'<pre style="margin:0;line-height:1.35">{html.escape(self)}</pre>'


@dataclass(frozen=True)
class Exhibit:
    """One animal of the zoo.

    story   what was promised, what users saw; shown, so it does not name the cause
    part    the function of `specimen` that a fix replaces
    scene   runs the specimen with a fix in place, and returns what was seen, as data
    picture draws one run, or two (before, after), and says it in words
    """

    number: int
    title: str
    story: str
    specimen: ModuleType
    part: str
    scene: Callable[[Any], Any]
    promises: tuple[Promise, ...]
    reference: Callable[..., Any]
    variants: tuple[Variant, ...]
    picture: Callable[[Any, Any], tuple[Figure, str]]
    limit_s: float = LIMIT_S

    @cached_property
    def source(self) -> Source:
        """The whole specimen."""
        return Source(inspect.getsource(self.specimen).rstrip())

    @cached_property
    def stub(self) -> Source:
        """The function to mend, as it was found."""
        return Source(inspect.getsource(self.found).rstrip())

    @property
    def found(self) -> Callable[..., Any]:
        """The function as it was found."""
        part: Callable[..., Any] = getattr(self.specimen, self.part)
        return part

    def run(self, fix: Callable[..., Any] | None = None) -> Any:
        """What is seen with the code as found, or with `fix` in its place. Raises NotObserved."""
        outcome = self._outcome(fix or self.found)
        if outcome.not_started:
            raise NotObserved("not started yet")
        if outcome.problem:
            raise NotObserved(f"{self.part} {outcome.problem}")
        return outcome.value

    def check(self, fix: Any) -> Verdict:
        """Whether the symptom is gone, and all the rest as before."""
        if fix is ...:
            return Verdict(self, not_started=True)
        if not callable(fix):
            return Verdict(
                self, problem=f"check() needs your function {self.part} itself; it got {fix!r:.60}"
            )
        outcome = self._outcome(fix)
        if outcome.not_started:
            return Verdict(self, not_started=True)
        if outcome.problem:
            return Verdict(self, problem=f"{self.part} {outcome.problem}")
        return self.judge(outcome.value)

    def judge(self, seen: Any) -> Verdict:
        """Whether what was seen keeps the promises."""
        try:
            broken = [(each, said) for each in self.promises if (said := each.broken(seen))]
        except Exception as error:  # a fix may return anything; what it did not do is judged above
            return Verdict(self, problem=f"{self.part} returned what cannot be used here ({error})")
        names = frozenset(each.name for each, _ in broken)
        looks_like = next(
            (each for each in self.variants if names and each.breaks == names and each.sign(seen)),
            None,
        )
        return Verdict(self, tuple(broken), looks_like=looks_like)

    def show(self, fix: Callable[..., Any] | None = None) -> None:
        """The trace of the code as found; with a fix, both. An unfinished fix leaves the first alone."""
        after = None
        if fix is not None:
            try:
                after = self.run(fix)
            except NotObserved as error:
                print(f"your {self.part}: {error}")
        try:
            figures.show(*self.picture(self._as_found, after))
        except (ValueError, TypeError, IndexError) as error:
            if after is None:
                raise
            print(f"your {self.part}: returned what cannot be drawn ({error})")
            figures.show(*self.picture(self._as_found, None))

    @cached_property
    def _as_found(self) -> Any:
        return self.run()

    def _outcome(self, fix: Callable[..., Any]) -> running.Outcome:
        """One run, ended when its time is up, whatever the fix does."""
        if running._is_stub(fix):
            return running.Outcome(not_started=True)

        def stage() -> Any:
            return self.scene(with_part(self.specimen, self.part, fix))

        stage.__wrapped__ = fix  # type: ignore[attr-defined]  # so that an error names the learner's own line
        return running.call(stage, (), self.limit_s)

    def __repr__(self) -> str:
        return f"Exhibit {self.number} · {self.title}\n{self.story}\nMend: {self.part}"

    def _repr_html_(self) -> str:
        return (
            f"<p><strong>Exhibit {self.number} · {html.escape(self.title)}</strong><br>"
            f"{html.escape(self.story)}<br>Mend: <code>{self.part}</code></p>"
        )


@dataclass(frozen=True)
class Verdict:
    """What a check found, in symbols and words."""

    exhibit: Exhibit = field(repr=False)
    broken: tuple[tuple[Promise, str], ...] = ()
    problem: str = ""
    not_started: bool = False
    looks_like: Variant | None = None

    @property
    def passed(self) -> bool:
        """Whether the symptom is gone and nothing else has changed."""
        return not (self.not_started or self.problem or self.broken)

    def lines(self) -> list[tuple[str, str]]:
        """Symbol and sentence of each line."""
        if self.not_started:
            return [("○", "not started yet")]
        if self.problem:
            return [("✗", self.problem)]
        symptoms = [said for each, said in self.broken if each.symptom]
        changed = [said for each, said in self.broken if not each.symptom]
        kept = sum(not each.symptom for each in self.exhibit.promises)
        found = [("✗", f"still there: {said}") for said in symptoms] or [("✓", "the symptom is gone")]
        found += [("✗", f"changed: {said}") for said in changed]
        if self.looks_like:
            found.append(("→", f"This looks like “{self.looks_like.name}”: {self.looks_like.says}"))
        found.append(("·" if changed else "✓", f"{kept - len(changed)} of {kept} other behaviours as before"))
        return found

    def __repr__(self) -> str:
        return "\n".join(text if self.not_started else f"{symbol} {text}" for symbol, text in self.lines())

    def _repr_html_(self) -> str:
        items = "".join(
            f'<li style="list-style:none"><span aria-hidden="true">{symbol}</span> {html.escape(text)}</li>'
            for symbol, text in self.lines()
        )
        return f'<ul style="margin:0;padding:0" aria-label="Exhibit {self.exhibit.number}">{items}</ul>'


def with_part(specimen: ModuleType, part: str, fix: Callable[..., Any]) -> ModuleType:
    """A fresh copy of the module with `fix` in place of its function; the module itself stays as it is."""
    spec = importlib.util.spec_from_file_location(specimen.__name__, specimen.__file__)
    if spec is None or spec.loader is None:
        raise ImportError(f"{specimen.__name__} has no file to read again")
    copy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(copy)
    if fix is not getattr(specimen, part):  # the copy has its own
        setattr(copy, part, fix)
    return copy
