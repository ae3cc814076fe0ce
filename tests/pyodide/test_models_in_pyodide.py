"""The no-install edition: the models of four chapters in a browser's Python (Pyodide, under Node; no numpy).

Pyodide is started once. It runs tests/pyodide/browser.py, and its answers are held against this Python's,
which has numpy.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.npm import install
from tests.pyodide.alike import differences
from tests.pyodide.answers import CHAPTERS, answers, page

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PAGE = ROOT / "docs" / "no-install.md"
RUN_S = 120  # seconds for Node to start Pyodide and run the models: 6 on an idle machine

pytestmark = pytest.mark.xdist_group("pyodide")


def not_here(reason: str) -> NoReturn:
    """Skip, and say why. Where CI is set, fail: there everything is installed, and nothing is left out."""
    if os.environ.get("CI"):
        pytest.fail(f"CI must not skip this: {reason}")
    pytest.skip(reason)


def lay_out(folder: Path) -> None:
    """Put into a folder what a reader of the no-install edition gets: labsupport, and SimPy."""
    no_caches = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "labsupport", folder / "labsupport", ignore=no_caches)
    shutil.copytree(ROOT / "servers", folder / "servers", ignore=no_caches)
    simpy = metadata.distribution("simpy")
    for name in {path.parts[0] for path in simpy.files or []} - {".."}:
        shutil.copytree(Path(str(simpy.locate_file(name))), folder / name, ignore=no_caches)
    for name in ("answers.py", "browser.py"):
        shutil.copy(HERE / name, folder)
    shutil.copy(PAGE, folder)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What Pyodide told."""
    npm, lab = tmp_path_factory.mktemp("npm"), tmp_path_factory.mktemp("lab")
    if (reason := install(HERE / "npm", npm)) is not None:
        not_here(reason)
    lay_out(lab)
    done = subprocess.run(
        ["node", "run.mjs", str(lab)], cwd=npm, capture_output=True, text=True, timeout=RUN_S
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    """The same from this Python."""
    return dict(json.loads(json.dumps(answers())))


def test_a_browsers_python_has_no_numpy_and_this_one_has(told: dict[str, Any]) -> None:
    import numpy as np

    assert told["platform"] == "emscripten"
    assert not told["numpy"]
    assert np.__name__ == "numpy"


@pytest.mark.parametrize("chapter", [chapter.__name__ for chapter in CHAPTERS])
def test_the_same_seed_gives_the_same_numbers_in_a_browser(
    chapter: str, told: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert list(differences(expected[chapter], told["answers"][chapter])) == []


def test_the_pages_cells_print_the_same_in_a_browser(told: dict[str, Any]) -> None:
    cells = page(PAGE.read_text("utf-8"))
    assert len(cells) == 5  # %pip, and a cell for each model
    assert all(cells[1:])
    assert told["page"] == cells


def test_a_storm_in_a_browser_is_the_fast_engines_storm_bit_for_bit(
    told: dict[str, Any], expected: dict[str, Any]
) -> None:
    storms = told["answers"]["storms"]
    for name, run in expected["storms"].items():
        arrays = (
            [one for one, value in run.items() if isinstance(value, list)] if isinstance(run, dict) else []
        )
        assert {one: storms[name][one] for one in arrays} == {one: run[one] for one in arrays}, name
    assert storms["contention"] == expected["storms"]["contention"]


def test_the_models_make_no_socket_no_thread_and_no_process(told: dict[str, Any]) -> None:
    assert told["made"] == []


@pytest.mark.parametrize(
    "name", ["labsupport.processes", "labsupport.measure", "labsupport.clients", "servers.sse", "aiohttp"]
)
def test_a_cell_that_starts_a_server_says_what_is_missing_and_what_to_do(
    name: str, told: dict[str, Any]
) -> None:
    said = told["refusals"][name]
    assert said.startswith("NeedsAMachine: ")
    for words in ("Python in a browser", "labsupport.models", "stay readable", "on a machine"):
        assert words in said


@pytest.mark.parametrize("name", ["fluid", "picture"])
def test_what_numpy_alone_can_do_says_that_it_needs_numpy(name: str, told: dict[str, Any]) -> None:
    assert "needs numpy" in told["refusals"][name]
    assert "%pip install numpy" in told["refusals"][name]


def test_a_million_clients_are_refused_before_simpy_takes_minutes(told: dict[str, Any]) -> None:
    assert told["refusals"]["million"].startswith("ValueError: 1,000,000 clients need the fast engine")
