"""Where numpy is missing, labsupport/plain stands in: the same functions, draws and answers."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labsupport.plain import numbers
from labsupport.plain.array import NeedsNumpy
from labsupport.plain.generator import default_rng
from tests.pyodide.alike import differences
from tests.pyodide.answers import answers, plain

ROOT = Path(__file__).parents[2]

# A process in which numpy cannot be imported: what the models answer, and what was imported on the way.
# SimPy asks for its own version, which loads socket and threading and uses neither, so it comes first.
BLOCKED = """
import json, sys
sys.modules["numpy"] = None
import simpy
before = set(sys.modules)
from tests.pyodide.answers import answers
found = answers()
loaded = {name.split(".")[0] for name in set(sys.modules) - before}
print(json.dumps([found, sorted(loaded)]))
"""


@pytest.fixture(scope="module")
def blocked() -> tuple[dict[str, Any], set[str]]:
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found, loaded = json.loads(done.stdout)
    return found, set(loaded)


def test_without_numpy_the_models_give_the_same_numbers(blocked: tuple[dict[str, Any], set[str]]) -> None:
    assert list(differences(json.loads(json.dumps(answers())), blocked[0])) == []


def test_models_import_nothing_that_opens_sockets_or_starts_threads_or_processes(
    blocked: tuple[dict[str, Any], set[str]],
) -> None:
    forbidden = {"asyncio", "socket", "ssl", "selectors", "threading", "subprocess", "multiprocessing",
                 "concurrent", "aiohttp", "websockets"}  # fmt: skip
    assert blocked[1] & forbidden == set()
    assert "labsupport" in blocked[1]


ROW = [3.0, -1.0, 2.5, 7.0, 2.5]
WHOLE = [4, 1, 1, 0, 3]
TABLE = [[1.0, 5.0, 2.0], [4.0, 0.5, 9.0]]

# Name, and a question to either numpy.
QUESTIONS: dict[str, Callable[[Any], Any]] = {
    "add a row to a column": lambda n: n.asarray(TABLE) + n.asarray([[10.0], [20.0]]),
    "subtract from the left": lambda n: 1 - n.asarray(ROW),
    "divide by zero": lambda n: n.asarray([1.0, 0.0, -1.0]) / 0.0,
    "divide whole numbers": lambda n: 1 / n.asarray(WHOLE),
    "floor division": lambda n: n.asarray(ROW) // 2,
    "rest": lambda n: n.asarray(ROW) % 2,
    "powers": lambda n: n.asarray([2.0, -2.0, 0.0, 1e300]) ** 3,
    "a root of what is negative": lambda n: n.asarray([-4.0, 4.0]) ** 0.5,
    "compare and combine": lambda n: (n.asarray(ROW) > 0) & ~(n.asarray(ROW) == 7.0) | (n.asarray(ROW) < -9),
    "exp": lambda n: n.exp([0.0, 1.0, -800.0, 800.0]),
    "expm1": lambda n: n.expm1([1e-12, 800.0]),
    "logarithms": lambda n: [n.log([0.0, 1.0, -1.0, math.inf]), n.log1p([-1.0, 0.5])],
    "floor and ceil": lambda n: [n.floor([-1.5, 2.0, math.inf]), n.ceil([-1.5, 2.1])],
    "where mixes types": lambda n: n.where(n.asarray(WHOLE) > 1, WHOLE, 0.5),
    "maximum with NaN": lambda n: n.maximum([1.0, math.nan, 3.0], [2.0, 2.0, math.nan]),
    "minimum": lambda n: n.minimum(ROW, 2.6),
    "clip": lambda n: n.clip(ROW, 0.0, 3.0),
    "whole sums": lambda n: [n.asarray(WHOLE).sum(), n.asarray([True, True, False]).mean()],
    "column by column": lambda n: [n.max(TABLE, axis=0), n.argmax(n.stack(TABLE), axis=0)],
    "percentiles": lambda n: [n.percentile(ROW, [0, 5, 37, 95, 100]), n.percentile([1.0], 95)],
    "percentiles that exist": lambda n: [n.percentile(ROW, p, method=m) for p in (5, 50, 62.5, 95)
                                         for m in ("higher", "nearest")],
    "median": lambda n: n.median([1.0, 9.0, 2.0, 4.0]),
    "sort": lambda n: [n.sort(ROW), n.argsort(n.asarray(ROW), kind="stable")],
    "unique": lambda n: list(n.unique(n.asarray(ROW), return_inverse=True, return_counts=True)),
    "bincount": lambda n: [n.bincount(n.asarray(WHOLE), minlength=7), n.bincount(n.asarray(WHOLE))],
    "search": lambda n: [n.searchsorted([1.0, 2.0, 2.0, 3.0], [2.0, 9.0], side=s) for s in ("left", "right")],
    "cumsum": lambda n: n.cumsum(n.asarray(ROW)),
    "diff": lambda n: [n.diff(ROW), n.diff(n.asarray(WHOLE), prepend=-1, append=-1)],
    "concatenate": lambda n: n.concatenate(([0], ROW)),
    "repeat": lambda n: n.repeat(n.arange(3), [2, 0, 1]),
    "flatnonzero": lambda n: n.flatnonzero(n.asarray(ROW) > 2),
    "correlation": lambda n: n.corrcoef(ROW, [1.0, 2.0, 4.0, 8.0, 16.0]),
    "spaces": lambda n: [n.linspace(0, 1, 7), n.logspace(-1, 2, 4), n.geomspace(0.01, 5, 5)],
    "turned": lambda n: n.array([(1, 2, 3), (4, 5, 6)]).reshape(2, 3).T,
    "masks and lists choose": lambda n: [n.asarray(ROW)[n.asarray(ROW) > 2], n.asarray(ROW)[[4, 0]],
                                         n.asarray(ROW)[1:-1], n.asarray(TABLE)[1]],
    "stretched": lambda n: n.broadcast_arrays(3, ROW),
    "as whole numbers": lambda n: n.asarray([1.9, -1.9]).astype(n.int64),
    "vectorize": lambda n: n.vectorize(lambda a, b: a * 2.0 + b)(ROW, 1.0),
    "nothing in it": lambda n: [n.empty(0), n.concatenate(([], [])), n.asarray([]).sum()],
    "full": lambda n: [n.full(2, 7), n.zeros(2, dtype=n.int64), n.ones(1), n.zeros_like(n.asarray(ROW))],
}  # fmt: skip


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_stand_in_answers_as_numpy_does(question: str) -> None:
    with np.errstate(all="ignore"):
        mine, theirs = (plain(QUESTIONS[question](one)) for one in (numbers, np))
    assert list(differences(theirs, mine)) == []


def test_elements_are_set_as_numpy_sets_them() -> None:
    for module in (np, numbers):
        row = module.array([1.0, 2.0, 3.0])
        row[row > 1.5] = -math.inf
        row[0] = 7
        assert plain(row) == plain([7.0, -math.inf, -math.inf])


def test_an_arrays_truth_is_refused_as_numpy_refuses_it() -> None:
    with pytest.raises(ValueError, match="all"):
        bool(numbers.asarray([1, 2]))
    assert bool(numbers.asarray(2.0))


@pytest.mark.parametrize("seeds", [[20, 123_456_789], [0, 1], [2**70, 5, 6, 7, 8], 12], ids=repr)
def test_normal_numbers_are_those_of_numpys_generator(seeds: Any) -> None:
    count = 20_000  # a tail beyond the last layer comes about five times
    theirs = np.random.default_rng(seeds).standard_normal(count)
    mine = np.array(default_rng(seeds).standard_normal(count).tolist())
    assert np.abs(mine - theirs).max() < 2e-14
    assert np.abs(theirs).max() > 3.66


@pytest.mark.parametrize(
    "ask", [lambda: numbers.fft, lambda: numbers.asarray(TABLE)[:, 0]], ids=["a function", "an index"]
)
def test_what_the_stand_in_lacks_says_what_to_do(ask: Callable[[], Any]) -> None:
    with pytest.raises(NeedsNumpy, match=r"needs numpy.*%pip install numpy"):
        ask()


def test_with_numpy_nothing_is_put_in_its_place() -> None:
    assert sys.modules["numpy"] is np
    assert np.__name__ == "numpy"


def test_a_number_that_is_off_by_more_than_its_last_bits_is_found() -> None:
    given = {"a": [1.0, "text", 7], "b": "inf"}
    assert list(differences(given, {"a": [1.0 + 2e-16, "text", 7], "b": "inf"})) == []
    assert list(differences(given, {"a": [1.0 + 1e-11, "text", 8], "b": "nan"})) == [
        "/a[0]: 1.0 and 1.00000000001", "/a[2]: 7 and 8", "/b: 'inf' and 'nan'"
    ]  # fmt: skip
    assert list(differences(given, {"a": [1.0, "text"], "b": "inf"})) == ["/a: 3 and 2 elements"]
    assert len(list(differences(given, {"a": [1, "text", 7]}))) == 2  # b is missing, and 1 is no float
