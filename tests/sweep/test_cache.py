"""The cache finds a point again exactly when nothing about it has changed, and no broken file is believed."""

import enum
import functools
import json
import linecache
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labsupport.backoff import FullJitter
from labsupport.models import contention
from labsupport.sweep import SweepWarning, sweep, user_cache
from labsupport.sweep.cache import content_of
from tests.sweep import points
from tests.sweep.running import AtOnce

ROOT = Path(__file__).resolve().parents[2]


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@dataclass(frozen=True)
class Pair:
    left: Any
    right: Any


# ---- content -----------------------------------------------------------------------------------------------

SAME: list[tuple[Any, Any]] = [
    (0.1 + 0.2, 0.30000000000000004),
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    ({"x", "y", "z"}, {"z", "y", "x"}),
    (np.float64(1.5), 1.5),
    (np.arange(4).reshape(2, 2), np.array([[0, 1], [2, 3]])),
    (Pair(1, (2, 3)), Pair(1, (2, 3))),
    (FullJitter(0.005, 2.0), FullJitter(0.005, 2)),
    (functools.partial(max, 1), functools.partial(max, 1)),
    (Path("a") / "b", Path("a/b")),
]
OTHER: list[tuple[Any, Any]] = [
    (1, 1.0),
    (1, True),
    (1, "1"),
    (b"1", "1"),
    (None, "None"),
    ((1, 2), [1, 2]),
    (((1,), 2), ((1, 2),)),
    (("a,", "b"), ("a", ",b")),
    (0.3, 0.1 + 0.2),
    (Colour.RED, Colour.BLUE),
    (np.zeros(4), np.zeros((2, 2))),
    (np.zeros(4), np.zeros(4, dtype=np.float32)),
    (Pair(1, 2), Pair(2, 1)),
    (FullJitter(1, 2), FullJitter(2, 1)),
    (functools.partial(max, 1), functools.partial(max, 2)),
    (points.line, points.brittle),
    (range(3), range(4)),
]


@pytest.mark.parametrize(("one", "other"), SAME, ids=lambda value: type(value).__name__)
def test_the_same_content_has_the_same_name(one: Any, other: Any) -> None:
    assert content_of(one) == content_of(other)


@pytest.mark.parametrize(("one", "other"), OTHER, ids=lambda value: type(value).__name__)
def test_other_content_has_another_name(one: Any, other: Any) -> None:
    assert content_of(one) != content_of(other)


def defined(source: str, name: str = "f") -> Callable[..., Any]:
    """A function as a notebook's cell would define it: its source is known line by line."""
    file = f"<cell {len(linecache.cache)}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    scope: dict[str, Any] = {"__name__": "cells"}
    exec(compile(source, file, "exec"), scope)
    found: Callable[..., Any] = scope[name]
    return found


CELL = """
RATE = 5
def helper(x):
    return x * RATE
class Step:
    size = 1
def f(x, seed, offset=0):
    return {"y": [helper(one) for one in (x,)][0] + offset + Step.size}
"""


def test_the_same_cell_run_twice_has_one_name() -> None:
    assert content_of(defined(CELL)) == content_of(defined(CELL))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("+ offset", "- offset"),
        ("x * RATE", "x + RATE"),
        ("RATE = 5", "RATE = 6"),
        ("size = 1", "size = 2"),
        ("offset=0", "offset=1"),
    ],
)
def test_a_change_of_the_function_or_of_what_it_uses_in_its_module_is_another_name(
    before: str, after: str
) -> None:
    assert content_of(defined(CELL)) != content_of(defined(CELL.replace(before, after)))


POLICY = """
from dataclasses import dataclass
@dataclass(frozen=True)
class Mine:
    base_s: float = 1.0
    factor = 2.0
    def wait_s(self, attempt):
        return self.base_s * self.factor**attempt
    @property
    def first_s(self):
        return self.wait_s(0)
"""


@pytest.mark.parametrize(
    ("before", "after"),
    [("self.factor**attempt", "attempt"), ("factor = 2.0", "factor = 3.0"), ("wait_s(0)", "wait_s(1)")],
)
def test_an_argument_whose_class_was_changed_in_its_cell_is_another_argument(before: str, after: str) -> None:
    mine, again, other = (defined(cell, "Mine") for cell in (POLICY, POLICY, POLICY.replace(before, after)))
    assert content_of(mine(1.0)) == content_of(again(1.0))
    assert content_of(mine(1.0)) != content_of(other(1.0))


def test_what_a_function_closes_over_counts() -> None:
    def times(factor: float) -> Callable[..., Any]:
        return lambda x, seed: {"y": factor * x}

    assert content_of(times(2.0)) == content_of(times(2.0))
    assert content_of(times(2.0)) != content_of(times(3.0))


def test_functions_that_call_each_other_come_to_an_end() -> None:
    cell = "def f(x, seed):\n    return g(x)\ndef g(x):\n    return f(x, 0)\n"
    assert content_of(defined(cell)) != content_of(defined(cell.replace("f(x, 0)", "f(x, 1)")))


def test_a_name_is_the_same_in_another_process_whatever_its_hashes_are() -> None:
    asked = (
        "from labsupport.models import contention; from labsupport.sweep.cache import content_of; "
        "print(content_of((contention.simulate, {'a', 'b', 'c'})))"
    )
    names = {
        subprocess.run(
            [sys.executable, "-c", asked],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert names == {f"{content_of((contention.simulate, {'a', 'b', 'c'}))}\n"}


def test_what_has_no_content_is_refused_as_an_argument_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="a lock cannot be named by its content.*or leave the cache out"):
        sweep(points.line, {"x": (threading.Lock(),)}, executor=AtOnce(), cache=tmp_path, version="1")


def test_a_function_over_something_without_content_needs_a_version(tmp_path: Path) -> None:
    lock = threading.Lock()

    def locked(x: int, seed: int) -> dict[str, float]:
        with lock:
            return {"y": x}

    with pytest.raises(TypeError, match="give version='1'"):
        sweep(locked, {"x": (1,)}, executor=AtOnce(), cache=tmp_path)
    assert sweep(locked, {"x": (1,)}, executor=AtOnce(), cache=tmp_path, version="1").computed == 1


def test_a_function_without_a_source_needs_a_version(tmp_path: Path) -> None:
    scope: dict[str, Any] = {"__name__": "typed in"}
    exec("def f(x, seed):\n    return {'y': x}", scope)
    with pytest.raises(TypeError, match="the source of f is not to be found.*version='1'"):
        sweep(scope["f"], {"x": (1,)}, executor=AtOnce(), cache=tmp_path)
    assert sweep(scope["f"], {"x": (1,)}, executor=AtOnce(), cache=tmp_path, version="1").computed == 1


# ---- what is found again -----------------------------------------------------------------------------------

GRID = {"x": (1, 2), "slope": (0.1,)}


def swept(folder: Path, **more: Any) -> tuple[int, int]:
    result = sweep(points.line, **{"grid": GRID, "executor": AtOnce(), "cache": folder, **more})
    return result.computed, result.cached


def test_the_second_sweep_computes_nothing_and_has_the_same_numbers_to_the_last_bit(tmp_path: Path) -> None:
    odd = lambda x, seed: {"third": x / 3, "nothing": float("nan"), "endless": float("inf")}  # noqa: E731
    first, second = (sweep(odd, {"x": (1, 2)}, executor=AtOnce(), cache=tmp_path) for _ in range(2))
    assert (second.computed, second.cached) == (0, 2)
    for figure in first.figures:
        assert first.values[figure].tobytes() == second.values[figure].tobytes()


@pytest.mark.parametrize(
    "changed",
    [{"seeds": (1,)}, {"version": "2"}, {"figures": ("y",)}, {"grid": {"x": (1, 2), "slope": (0.2,)}}],
    ids=str,
)
def test_another_seed_version_figure_or_argument_is_another_point(tmp_path: Path, changed: Any) -> None:
    assert swept(tmp_path) == (2, 0)
    assert swept(tmp_path, **changed) == (2, 0)
    assert swept(tmp_path) == (0, 2)


def test_a_wider_grid_computes_only_what_is_new(tmp_path: Path) -> None:
    swept(tmp_path)
    assert swept(tmp_path, grid={"slope": (0.1, 0.2), "x": (2, 1, 3)}, seeds=range(2)) == (10, 2)


BROKEN = {
    "empty": "",
    "cut off": '{"arguments": {}, "figu',
    "another thing": "[1, 2]",
    "no number": '{"figures": {"y": "much"}, "check": ""}',
    "no check": '{"figures": {"y": 1.0}}',
}


@pytest.mark.parametrize("kind", list(BROKEN))
def test_a_broken_file_is_told_and_computed_again(tmp_path: Path, kind: str) -> None:
    swept(tmp_path)
    victim = min(tmp_path.glob("*.json"))
    victim.write_text(BROKEN[kind], "utf-8")
    with pytest.warns(SweepWarning, match=f"file {victim.name} is broken .*: this point is computed again"):
        assert swept(tmp_path) == (1, 1)
    assert swept(tmp_path) == (0, 2)


def test_a_number_that_was_changed_by_hand_is_not_believed(tmp_path: Path) -> None:
    swept(tmp_path)
    victim = min(tmp_path.glob("*.json"))
    kept = json.loads(victim.read_text("utf-8"))
    kept["figures"]["y"] += 1
    victim.write_text(json.dumps(kept), "utf-8")
    with pytest.warns(SweepWarning, match="not those that were written"):
        assert swept(tmp_path) == (1, 1)


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: Any, target: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.warns(SweepWarning, match="nothing more can be kept in .*No space left") as told:
        assert swept(tmp_path) == (2, 0)
    assert len(told) == 1, "told once, not for every point"
    assert list(tmp_path.iterdir()) == []


def test_the_file_says_for_people_what_was_asked(tmp_path: Path) -> None:
    sweep(points.line, {"x": (7,), "slope": (0.5,)}, executor=AtOnce(), cache=tmp_path)
    kept = json.loads(next(tmp_path.glob("*.json")).read_text("utf-8"))
    assert kept["arguments"] == {"x": "7", "slope": "0.5", "seed": "0"}
    assert kept["figures"]["y"] == 3.5


def test_without_a_cache_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sweep(points.line, GRID, executor=AtOnce())
    assert list(tmp_path.iterdir()) == []


def test_the_users_folder_is_outside_the_repository_and_made_when_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not user_cache().is_relative_to(ROOT)
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / "caches"))
    assert user_cache().is_relative_to(tmp_path)
    assert swept(user_cache()) == (2, 0)
    assert swept(user_cache()) == (0, 2)
