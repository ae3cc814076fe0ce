"""In a notebook every result of this room passes strict nbval, and shows itself without a kernel, too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

CELLS = [
    """from labsupport.teach import *""",
    """fig, ax = new("A point follows", x="interval (s)", y="empty answers (of 100)")
[point] = ax.plot([], [], **look("short polling", "measured"))
ax.set(xlim=(0, 30), ylim=(0, 100))

def draw(interval_s):
    point.set_data([interval_s], [100 - interval_s])
    return f"Every {interval_s:g} s, the share is {100 - interval_s:g} of 100."

curve = explore(draw, fig, interval_s=slider(1, 30, 5))
curve""",
    """curve.still()""",
    """guess = predict("empty answers in 100 polls", 0, 100, unit="of 100")""",
    """guess.compare(92, because="e^(−λT): messages are rare")""",
    """quiz("Which?", {"this": "It is.", "that": "It is not."}, answer="this")""",
    """compare(theory=0.92, simulated=0.919, tolerance=0.05, what="empty share").verdict()""",
    """def next_wait(interval_s, share, u):
    while True:
        pass

from dataclasses import replace
replace(exercise("1.1"), limit_s=0.2).check(next_wait)""",
    """async def next_wait(interval_s, share, u):
    return interval_s * (1 + share * (2 * u - 1))

check("1.1", next_wait)""",
    """run_in_browser("show(url);", url="http://127.0.0.1:4321")""",
    """browser_streams("ws://127.0.0.1:4321", kind="websocket")""",
    """1 + 1""",
]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A notebook with every result of this room, run and stored."""
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source) for source in CELLS],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    path = tmp_path_factory.mktemp("notebook") / "teach.ipynb"
    NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(path.parent)}}).execute()
    nbformat.write(notebook, path)
    return path


def test_run_again_it_gives_the_same_outputs_under_strict_nbval(stored: Path) -> None:
    options = ["--nbval", "--nbval-current-env", "--nbval-cell-timeout=60", "-q", "-p", "no:cacheprovider"]
    where = ["-c", "/dev/null", "--rootdir", str(stored.parent), str(stored)]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *where], capture_output=True, text=True, timeout=150
    )
    assert run.returncode == 0, run.stdout[-4000:]
    assert f"{len(CELLS)} passed" in run.stdout


def test_each_widget_has_a_still_form_for_a_page_without_a_kernel(stored: Path) -> None:
    widgets = 0
    for cell in nbformat.read(stored, 4).cells:
        for output in cell.outputs:
            data = output.get("data", {})
            if "application/vnd.jupyter.widget-view+json" in data:
                widgets += 1
                assert data["text/html"].strip()
                assert "model" not in data["text/html"]
    assert widgets == 5


def test_an_endless_answer_ends_with_a_sentence_and_the_kernel_goes_on(stored: Path) -> None:
    cells = nbformat.read(stored, 4).cells
    assert "did not end within 0.2 s" in cells[7].outputs[0].data["text/plain"]
    assert cells[-1].outputs[0].data["text/plain"] == "2"


def test_an_answer_that_awaits_is_checked_while_the_notebooks_own_loop_runs(stored: Path) -> None:
    assert nbformat.read(stored, 4).cells[8].outputs[0].data["text/plain"] == "✓ 5 of 5 cases right"
