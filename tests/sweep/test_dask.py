"""The same call on a real Dask cluster of two worker processes on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import pytest

from labsupport.models import contention
from labsupport.sweep import SweepInterrupted, SweepWarning, sweep
from tests.sweep import points
from tests.sweep.running import AtOnce, press_stop

distributed = pytest.importorskip("distributed", reason="the extra 'cluster' is not installed")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=None,
            local_directory=str(tmp_path_factory.mktemp("dask")),
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture
def executor(client: Any) -> Executor:
    made: Executor = client.get_executor()
    return made


def test_the_work_is_done_by_both_workers_and_the_numbers_are_the_same(executor: Executor) -> None:
    grid = {"x": tuple(range(20)), "slope": (0.1, 3.0)}
    there = sweep(points.line, grid, seeds=range(3), executor=executor)
    here = sweep(points.line, grid, seeds=range(3), executor=AtOnce())
    assert there.values["y"].tobytes() == here.values["y"].tobytes()
    workers = set(there.values["process"].ravel().tolist())
    assert len(workers) == 2
    assert os.getpid() not in workers


def test_a_model_gives_the_same_bytes_on_the_cluster(executor: Executor) -> None:
    grid = {"clients": (5, 10), "policy": ("none", "full"), "runs": (3,)}
    there, here = (
        sweep(contention.simulate, grid, figures=("mean_time_ms",), executor=one)
        for one in (executor, AtOnce())
    )
    assert there.values["mean_time_ms"].tobytes() == here.values["mean_time_ms"].tobytes()


def test_a_function_of_the_notebook_goes_to_the_cluster_by_value(executor: Executor) -> None:
    offset = 7.0
    result = sweep(lambda x, seed: {"y": x + offset}, {"x": (1, 2)}, executor=executor)
    assert result.values["y"].ravel().tolist() == [8.0, 9.0]


def test_a_point_that_fails_there_is_told_here_and_the_rest_goes_on(executor: Executor) -> None:
    with pytest.warns(SweepWarning, match=r"1 of 3 calls failed: \(x=3, seed=0\): ValueError: cannot take 3"):
        result = sweep(points.brittle, {"x": (1, 2, 3)}, executor=executor)
    assert result.values["y"].ravel()[:2].tolist() == [1.0, 2.0]


def test_an_interrupted_sweep_resumes_and_the_cluster_goes_on_working(
    executor: Executor, tmp_path: Path
) -> None:
    grid = {"x": tuple(range(60)), "slope": (1.0,)}
    with pytest.raises(SweepInterrupted) as stopped:
        sweep(points.line, grid, executor=executor, cache=tmp_path, progress=press_stop(after=5))
    done = stopped.value.partial.computed
    assert 5 <= done <= 60
    again = sweep(points.line, grid, executor=executor, cache=tmp_path)
    assert (again.cached, again.computed) == (done, 60 - done)
    assert again.values["y"].ravel().tolist() == list(range(60))
