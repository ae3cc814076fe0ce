"""What holds for every exhibit of the zoo: the bug shows, the fix mends it, wrong fixes are told apart."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from functools import cache
from typing import Any

import pytest

from labsupport.teach import figures, running
from labsupport.zoo import Exhibit, exhibits
from labsupport.zoo import exhibit as exhibit_of

EXHIBITS = exhibits()
IDS = [str(one.number) for one in EXHIBITS]
VARIANTS = [(one, each.name) for one in EXHIBITS for each in one.variants]
SHORT_S = 0.1  # an endless fix need not run for as long as a learner's may
MOST_LINES = 120
MOST_LINES_OF_A_FIX = 14  # a cell has twenty, and holds the check, too


@pytest.fixture(params=EXHIBITS, ids=IDS)
def exhibit(request: pytest.FixtureRequest) -> Exhibit:
    return request.param


@cache
def seen(number: int, code: str) -> Any:
    """A run "as found" or of the "reference": each is needed by several tests, and run once."""
    one = exhibit_of(number)
    return one.run(one.reference if code == "reference" else None)


def test_the_code_as_found_breaks_what_it_promised_and_nothing_else(exhibit: Exhibit) -> None:
    verdict = exhibit.judge(seen(exhibit.number, "as found"))
    assert [each.name for each, _ in verdict.broken] == [
        each.name for each in exhibit.promises if each.symptom
    ]
    assert not verdict.looks_like
    assert "still there: " in repr(verdict)


def test_the_reference_mends_it_and_changes_nothing_else(exhibit: Exhibit) -> None:
    verdict = exhibit.judge(seen(exhibit.number, "reference"))
    assert verdict.passed, repr(verdict)
    assert repr(verdict).startswith("✓ the symptom is gone")


@pytest.mark.parametrize(
    ("exhibit", "name"), VARIANTS, ids=[f"{one.number}-{name}" for one, name in VARIANTS]
)
def test_each_wrong_fix_is_called_by_its_name(exhibit: Exhibit, name: str) -> None:
    [wrong] = [each for each in exhibit.variants if each.name == name]
    verdict = exhibit.check(wrong.fix)
    assert not verdict.passed
    assert f"looks like “{name}”" in repr(verdict)


def test_two_wrong_fixes_at_least_and_three_things_that_must_stay(exhibit: Exhibit) -> None:
    assert len(exhibit.variants) >= 2
    assert sum(not each.symptom for each in exhibit.promises) >= 3


def test_an_endless_fix_is_ended_and_told_so(exhibit: Exhibit, monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(*_: Any) -> Any:
        while True:
            pass

    async def endless_later(*_: Any) -> Any:
        while True:
            pass

    fix = endless_later if inspect.iscoroutinefunction(exhibit.found) else endless
    monkeypatch.setattr(running, "GRACE_S", SHORT_S)
    verdict = dataclasses.replace(exhibit, limit_s=SHORT_S).check(fix)
    assert not verdict.passed
    assert "did not end within" in repr(verdict)


def test_a_fix_that_raises_is_told_what_and_where(exhibit: Exhibit) -> None:
    def broken(*_: Any) -> Any:
        raise LookupError("no such thing")

    async def broken_later(*_: Any) -> Any:
        raise LookupError("no such thing")

    verdict = exhibit.check(broken_later if inspect.iscoroutinefunction(exhibit.found) else broken)
    assert not verdict.passed
    assert "LookupError: no such thing, in line" in repr(verdict)


def test_a_fix_that_returns_nothing_is_no_pass_and_no_crash(exhibit: Exhibit) -> None:
    def silent(*_: Any) -> Any:
        return None

    async def silent_later(*_: Any) -> Any:
        return None

    asynchronous = inspect.iscoroutinefunction(exhibit.found)
    assert not exhibit.check(silent_later if asynchronous else silent).passed


def test_a_stub_is_not_started_yet(exhibit: Exhibit) -> None:
    def stub(*_: Any) -> Any: ...

    async def stub_later(*_: Any) -> Any: ...

    for nothing in (stub, stub_later, ...):
        assert repr(exhibit.check(nothing)) == "not started yet"


@pytest.mark.parametrize("number", [1, 8])
def test_the_next_fix_is_checked_as_if_nothing_had_been(number: int) -> None:
    one = exhibit_of(number)
    for _ in range(2):
        assert one.check(one.reference).passed
        assert not one.check(one.found).passed
        assert getattr(one.specimen, one.part) is one.found


def test_the_figure_says_its_finding_before_and_after(exhibit: Exhibit) -> None:
    before, after = (seen(exhibit.number, code) for code in ("as found", "reference"))
    alone, both = exhibit.picture(before, None), exhibit.picture(before, after)
    figures.check(*both)  # title, units, a sentence
    assert len(both[0].axes) == 2 * len(alone[0].axes)
    assert both[1].startswith(alone[1])
    assert len(both[1]) > len(alone[1])
    assert figures.title_of(alone[0]) != figures.title_of(both[0])


@pytest.mark.parametrize(
    ("fix", "told"),
    [("stub", "not started yet"), ("broken", "LookupError"), ("other", "cannot be drawn"), ("reference", "")],
)
def test_a_figure_of_a_fix_that_cannot_be_run_is_that_of_the_code_as_found(
    fix: str, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stub(*_: Any) -> Any: ...

    def broken(*_: Any) -> Any:
        raise LookupError("no such thing")

    def other(*_: Any) -> Any:
        return float("nan")

    one, shown = exhibit_of(3), list[dict[str, Any]]()
    fixes = {"stub": stub, "broken": broken, "other": other, "reference": one.reference}
    monkeypatch.setattr(figures, "display", lambda bundle, raw: shown.append(bundle))
    one.show(fixes[fix])
    assert told in capsys.readouterr().out
    assert len(shown) == 1
    assert ("With your fix" in shown[0]["text/plain"]) is (fix == "reference")


def test_what_is_no_function_is_told_what_is_wanted() -> None:
    assert "needs your function on_tick itself" in repr(exhibit_of(1).check("beat"))


def test_a_number_without_an_exhibit_is_told_which_there_are() -> None:
    with pytest.raises(KeyError, match="1 to 10"):
        exhibit_of(11)


def test_what_is_read_is_short_and_names_its_parts(exhibit: Exhibit) -> None:
    assert len(exhibit.source.splitlines()) <= MOST_LINES
    names = {node.name for node in ast.walk(ast.parse(exhibit.source)) if hasattr(node, "name")}
    assert exhibit.part in names
    assert ast.get_docstring(ast.parse(exhibit.source))


def test_a_fix_fits_into_a_cell(exhibit: Exhibit) -> None:
    lines = [line for line in inspect.getsource(exhibit.reference).splitlines() if '"""' not in line]
    assert len(lines) <= MOST_LINES_OF_A_FIX
    wanted = list(inspect.signature(exhibit.found).parameters)
    assert list(inspect.signature(exhibit.reference).parameters) == wanted
