"""A sweep calls every point with every seed, and loses nothing when some fail or somebody interrupts it."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labsupport.models import contention
from labsupport.sweep import SweepError, SweepInterrupted, SweepWarning, sweep
from tests.sweep import points
from tests.sweep.running import AtOnce, Watched, press_stop

ROOT = Path(__file__).resolve().parents[2]
GRID = {"x": (1, 2, 3), "slope": (0.0, 10.0)}


@pytest.fixture
def threads() -> Iterator[Executor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


# ---- what is called ----------------------------------------------------------------------------------------


def test_every_point_is_called_with_every_seed_and_stands_at_its_place(threads: Executor) -> None:
    result = sweep(points.line, GRID, seeds=(5, 6), executor=threads)
    expected = [[[slope * x + seed for seed in (5, 6)] for slope in (0.0, 10.0)] for x in (1, 2, 3)]
    assert result.values["y"].tolist() == expected
    assert result.figures == ("y", "process")
    assert result.summary() == "6 points × 2 seeds: 12 computed, 0 from the cache."


def test_without_an_executor_other_processes_do_the_work() -> None:
    result = sweep(points.line, GRID, seeds=range(2))
    assert result.values["y"][2, 1].tolist() == [30.0, 31.0]
    assert os.getpid() not in result.values["process"]


@pytest.mark.parametrize("make", [ThreadPoolExecutor, AtOnce], ids=["threads", "at once"])
def test_the_numbers_are_the_same_on_any_executor_which_stays_open(make: type[Executor]) -> None:
    with make() as executor:
        swept = [sweep(points.line, GRID, executor=executor).values["y"].tolist() for _ in range(2)]
    assert swept[0] == swept[1] == sweep(points.line, GRID, executor=AtOnce()).values["y"].tolist()


def test_an_object_gives_the_figures_that_are_named_also_if_they_are_properties() -> None:
    result = sweep(points.measured, {"x": (3,)}, figures=("calls", "half"), executor=AtOnce())
    assert {name: table.tolist() for name, table in result.values.items()} == {
        "calls": [[3.0]],
        "half": [[1.5]],
    }


def test_a_model_is_swept_as_it_is() -> None:
    fixed = functools.partial(contention.simulate, runs=2)
    grid = {"clients": np.array([1, 5]), "policy": ("none", "full")}
    result = sweep(fixed, grid, seeds=range(3), figures=("mean_calls",), executor=AtOnce())
    assert result.mean("mean_calls")[0].tolist() == [1.0, 1.0]
    assert result.values["mean_calls"][1, 1, 2] == contention.simulate(5, "full", 2, seed=2).mean_calls


# ---- what fails --------------------------------------------------------------------------------------------


def test_a_point_that_fails_is_told_with_its_arguments_and_the_rest_goes_on(threads: Executor) -> None:
    said = r"2 of 8 calls failed: \(x=3, seed=0\): ValueError: cannot take 3; \(x=3, seed=1\)"
    with pytest.warns(SweepWarning, match=said) as told:
        result = sweep(points.brittle, {"x": (1, 2, 3, 4)}, seeds=range(2), executor=threads)
    assert told[0].filename == __file__, "the warning points at the reader's own line"
    assert result.mean("y")[[0, 1, 3]].tolist() == [2.0, 3.0, 5.0]
    assert np.isnan(result.mean("y")[2])
    assert [one.arguments for one in result.failures] == [{"x": 3, "seed": 0}, {"x": 3, "seed": 1}]
    assert result.summary().endswith("6 computed, 0 from the cache, 2 failed.")


def test_if_every_point_fails_the_first_failure_is_the_error() -> None:
    with pytest.raises(SweepError, match=r"all 2 calls failed, the first \(x=3, seed=0\)") as caught:
        sweep(points.brittle, {"x": (3,)}, seeds=range(2), executor=AtOnce())
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_failed_point_is_tried_again_by_the_next_sweep_and_only_that_one(tmp_path: Path) -> None:
    grid = {"x": (2, 3)}
    for computed, cached in ((1, 0), (0, 1)):
        with pytest.warns(SweepWarning, match="1 of 2 calls failed"):
            result = sweep(points.brittle, grid, executor=AtOnce(), cache=tmp_path)
        assert (result.computed, result.cached, len(result.failures)) == (computed, cached, 1)


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (None, "the function returned None: return a dict of numbers"),
        ({}, "returned no figure at all"),
        ({"y": [1, 2]}, r"figure 'y' must be one number, got \[1, 2\]"),
        ({"y": "much"}, "figure 'y' must be one number, got 'much'"),
    ],
    ids=str,
)
def test_a_result_that_is_no_dict_of_numbers_is_named(returned: Any, said: str) -> None:
    with pytest.raises(SweepError, match=said):
        sweep(lambda x, seed: returned, {"x": (1,)}, executor=AtOnce())


def test_a_figure_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(SweepError, match="no figure 'third': there are 'calls', 'half', 'name'"):
        sweep(points.measured, {"x": (1,)}, figures=("third",), executor=AtOnce())


def test_a_worker_that_dies_ends_the_sweep_with_what_is_kept(tmp_path: Path) -> None:
    sweep(points.fatal, {"x": (1,)}, executor=AtOnce(), cache=tmp_path)
    with pytest.raises(SweepError, match="a worker is gone.* 1 of 2 calls are done and kept"):
        sweep(points.fatal, {"x": (1, 3)}, cache=tmp_path)


# ---- interrupts --------------------------------------------------------------------------------------------


def test_an_interrupted_sweep_keeps_what_is_done_and_resumes_with_the_rest(tmp_path: Path) -> None:
    grid = {"x": tuple(range(40)), "slope": (1.0,)}
    with ThreadPoolExecutor(1) as one, pytest.raises(SweepInterrupted) as stopped:
        sweep(points.line, grid, executor=one, cache=tmp_path, progress=press_stop(after=3))
    done = stopped.value.partial.computed
    assert 3 <= done <= 40
    assert f"interrupted: {done} of 40 calls are done and kept; the same call goes on" in str(stopped.value)
    assert stopped.value.partial.count("y").sum() == done
    again = sweep(points.line, grid, executor=AtOnce(), cache=tmp_path)
    assert (again.cached, again.computed) == (done, 40 - done)
    assert again.values["y"].ravel().tolist() == list(range(40))


def test_an_interrupt_cancels_what_has_not_started_and_takes_what_was_running() -> None:
    called, cancelled = [], threading.Event()

    def waits_after_the_first(x: int, seed: int) -> dict[str, float]:
        called.append(x)
        if x:
            assert cancelled.wait(60)
        return {"y": x}

    with Watched(cancelled) as one, pytest.raises(SweepInterrupted) as stopped:
        sweep(waits_after_the_first, {"x": range(1000)}, executor=one, progress=press_stop(after=1))
    assert len(called) < 1000
    assert stopped.value.partial.computed == len(called), "nothing that was computed is lost"
    assert "with cache=… the same call would go on from there" in str(stopped.value)


@pytest.mark.skipif(sys.platform == "win32", reason="a signal to one thread is Unix's")
def test_a_second_interrupt_does_not_wait_for_what_is_running() -> None:
    started, cancelled, end = (threading.Event() for _ in range(3))

    def hangs_after_the_first(x: int, seed: int) -> dict[str, float]:
        if x:
            started.set()
            assert cancelled.wait(60)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            assert end.wait(60)
        return {"y": x}

    def stop(settled: int, total: int) -> None:
        if settled:
            assert started.wait(60)
            signal.raise_signal(signal.SIGINT)

    with Watched(cancelled) as one:
        try:
            with pytest.raises(KeyboardInterrupt) as stopped:
                sweep(hangs_after_the_first, {"x": range(9)}, executor=one, progress=stop)
        finally:
            end.set()
    assert not isinstance(stopped.value, SweepInterrupted)


def test_an_interrupt_that_reaches_a_thread_at_work_stops_the_sweep_too() -> None:
    def interrupted_at_2(x: int, seed: int) -> dict[str, float]:
        if x == 2:
            raise KeyboardInterrupt
        return {"y": x}

    with pytest.raises(SweepInterrupted) as stopped:
        sweep(interrupted_at_2, {"x": (1, 2, 3)}, executor=AtOnce())
    assert stopped.value.partial.values["y"].ravel().tolist()[::2] == [1.0, 3.0]


SCRIPT = """
import os, signal, sys
from labsupport.sweep import SweepInterrupted, sweep
from tests.sweep import points

def everybody_gets_the_interrupt(settled, total):
    if settled == 2:
        os.killpg(0, signal.SIGINT)

if __name__ == "__main__":
    try:
        sweep(points.line, {"x": range(300), "slope": (1.0,)}, cache=sys.argv[1],
              progress=everybody_gets_the_interrupt)
    except SweepInterrupted as stopped:
        print("kept", stopped.partial.computed)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="process groups are Unix's")
def test_ctrl_c_in_a_terminal_reaches_the_workers_too_and_they_end_quietly(tmp_path: Path) -> None:
    script, cache = tmp_path / "script.py", tmp_path / "cache"
    script.write_text(SCRIPT, "utf-8")
    ended = subprocess.run(
        [sys.executable, str(script), str(cache)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.stderr == ""
    kept = int(ended.stdout.removeprefix("kept "))
    assert kept >= 2
    assert len(list(cache.glob("*.json"))) == kept


# ---- progress ----------------------------------------------------------------------------------------------


def test_progress_is_told_after_each_call_and_counts_what_the_cache_had(tmp_path: Path) -> None:
    sweep(points.line, {"x": (1, 2), "slope": (1.0,)}, executor=AtOnce(), cache=tmp_path)
    told: list[tuple[int, int]] = []
    grid = {"x": (1, 2, 3, 4), "slope": (1.0,)}
    sweep(points.line, grid, executor=AtOnce(), cache=tmp_path, progress=lambda *now: told.append(now))
    assert told == [(2, 4), (3, 4), (4, 4)]


def test_progress_is_silent_away_from_a_terminal_and_a_line_a_tenth_when_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    grid = {"x": range(50), "slope": (1.0,)}
    sweep(points.line, grid, executor=AtOnce())
    assert capsys.readouterr() == ("", "")
    sweep(points.line, grid, executor=AtOnce(), progress=True)
    assert capsys.readouterr().out == "".join(f"{5 * tenth} of 50\n" for tenth in range(1, 11))


def test_in_a_terminal_one_line_counts(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    sweep(points.line, {"x": (1, 2), "slope": (1.0,)}, executor=AtOnce())
    assert capsys.readouterr().err == "\r0 of 2\r1 of 2\r2 of 2\n"


def test_an_error_in_the_progress_function_is_the_callers_and_ends_the_sweep(threads: Executor) -> None:
    def broken(settled: int, total: int) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        sweep(points.line, GRID, executor=threads, progress=broken)


# ---- what is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"grid": {}}, "grid maps each argument to its values"),
        ({"grid": {"x": 5}}, r"grid\['x'\] must be several values, such as \(10, 100\), got 5"),
        ({"grid": {"x": "full"}}, "must be several values"),
        ({"grid": {"x": ()}}, "is empty: there is nothing to sweep"),
        ({"grid": {"x": (1, 2, 1)}}, "has 1 twice"),
        ({"grid": {"seed": (1, 2)}}, r"give seeds=range\(10\)"),
        ({"seeds": ()}, "seeds is empty"),
        ({"seeds": 10}, "seeds must be several values"),
        ({"figures": "y"}, "figures must be several values"),
    ],
    ids=str,
)
def test_a_grid_that_is_none_is_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises((ValueError, TypeError), match=said):
        sweep(points.line, **{"grid": {"x": (1,)}, "executor": AtOnce(), **arguments})


def test_a_function_that_other_processes_cannot_import_is_refused_with_a_way_out() -> None:
    def here_only(x: int, seed: int) -> dict[str, float]:
        return {"y": x}

    with pytest.raises(
        TypeError, match=r"here_only exists in this session only.*executor=ThreadPoolExecutor"
    ):
        sweep(here_only, {"x": (1,)})
    with pytest.raises(TypeError, match="put it at the top level of a file"):
        sweep(functools.partial(here_only, seed=1), {"x": (1,)})


def test_a_function_of_a_notebook_is_refused_by_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(points.line, "__module__", "__main__")
    monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)
    with pytest.raises(TypeError, match="line exists in this session only"):
        sweep(points.line, GRID)


def test_a_pool_of_ones_own_processes_is_used_and_stays_open() -> None:
    with ProcessPoolExecutor(1) as pool:
        result = sweep(points.line, GRID, executor=pool)
        assert pool.submit(abs, -1).result() == 1
    assert len(np.unique(result.values["process"])) == 1
