"""Run the chapters and store them so that the same code gives the same bytes.

    python -m labsupport notebooks [PATH …]     run, normalise, write (all of notebooks/ without a PATH)
    python -m labsupport notebooks --check      run and compare the bytes; nothing is written
    python -m labsupport notebooks --gates      what the house rules find in the stored pages; nothing is run
    python -m labsupport notebooks --report     how much of each chapter the tests compare; nothing is run

A file is written only after its whole run succeeded. Each notebook runs in its own folder and in a kernel
of this very Python; the kernel ends with the run, and the servers that a chapter started end with their
kernel.

Outputs of cells tagged `nbval-ignore-output` vary from run to run, and a page without them would be
empty: the stored ones stay for as long as the cell's source is unchanged (see normalise.py). `--fresh`
takes new ones.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nbformat
from ipykernel.kernelspec import RESOURCES, get_kernel_dict
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from labsupport.course.cells import Notebook, compared_share, where
from labsupport.course.gates import findings
from labsupport.course.normalise import normalise, to_bytes

CHAPTERS = Path(__file__).resolve().parents[2] / "notebooks"
CELL_TIMEOUT_S = 60  # the same limit as the tests' --nbval-cell-timeout
ANSI_COLOUR = re.compile(r"\x1b\[[0-9;]*m")

Progress = Callable[[int, int], None]  # cells begun, cells in all


class NotebookFailed(RuntimeError):
    """A notebook did not run to its end; the text names the cell and says what happened there."""


class _ThisPython(KernelSpecManager):  # type: ignore[misc, unused-ignore]
    """Knows one kernel, the Python that runs this: a kernel of the same name elsewhere is never picked up."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        return KernelSpec(resource_dir=RESOURCES, **get_kernel_dict())


class _KernelManager(AsyncKernelManager):  # type: ignore[misc, unused-ignore]
    def __init__(self, **settings: Any) -> None:
        super().__init__(**{**settings, "kernel_spec_manager": _ThisPython()})


def read(path: Path) -> Notebook:
    """The notebook in `path`. Raises NotebookFailed if it can't be read as one."""
    try:
        return nbformat.read(path, as_version=4)
    except (OSError, nbformat.reader.NotJSONError, nbformat.ValidationError) as error:
        raise NotebookFailed(f"{path} cannot be read as a notebook: {error}") from None


def execute(path: Path, progress: Progress | None = None, timeout_s: int = CELL_TIMEOUT_S) -> Notebook:
    """A freshly executed copy of the notebook in `path`, not yet normalised; the file is not touched.

    Raises NotebookFailed: a cell raised (and isn't tagged `raises-exception`), took longer than `timeout_s`,
    or took the kernel with it.
    """
    notebook = read(path)
    at = 0

    def begun(cell: Any, cell_index: int) -> None:
        nonlocal at
        at = cell_index
        if progress:
            progress(cell_index + 1, len(notebook.cells))

    client = NotebookClient(
        notebook,
        timeout=timeout_s,
        kernel_name="python3",
        kernel_manager_class=_KernelManager,
        resources={"metadata": {"path": str(path.parent)}},
        record_timing=False,
        extra_arguments=[
            "--log-level=ERROR"
        ],  # it warns of its own TCP ports; what a cell does wrong is shown
        on_cell_start=begun,
    )
    with tempfile.TemporaryDirectory(prefix="lab-ipython-") as ipython:
        # An own IPython folder and no MPLBACKEND: a reader's start-up files must not show up in a chapter.
        env = {key: value for key, value in os.environ.items() if key != "MPLBACKEND"} | {
            "IPYTHONDIR": ipython
        }
        try:
            client.execute(env=env)
        except CellExecutionError as error:
            reason = f"{error.ename}: {error.evalue}\n\n{_traceback(notebook.cells[at])}"
        except CellTimeoutError:
            reason = f"it was still running after {timeout_s} s. Does it wait for something that never comes?"
        except DeadKernelError:
            reason = "the kernel died while it ran. Run it in JupyterLab to see what it does to the process."
        else:
            return notebook
    raise NotebookFailed(f"{path.name}, {where(notebook, at)}: {reason}")


def run_and_normalise(path: Path | str, fresh: bool = False, progress: Progress | None = None) -> bool:
    """Run the notebook and store it normalised; True if its bytes changed.

    `fresh` also replaces the stored outputs of cells whose output is not compared. Raises NotebookFailed, and
    then the file is as it was.
    """
    path = Path(path)
    before = path.read_bytes() if path.exists() else b""
    stored = None if fresh else read(path)
    after = to_bytes(normalise(execute(path, progress), keep=stored))
    if after == before:
        return False
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(after)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return True


def check(path: Path | str, progress: Progress | None = None) -> str | None:
    """None if a run gives the stored bytes again; else a sentence on why it doesn't. Writes nothing.

    A second run then tells a page that is merely old from one that no two runs agree on.
    """
    path = Path(path)
    stored = read(path)
    first = normalise(execute(path, progress), keep=stored)
    if to_bytes(first) == path.read_bytes():
        return None
    second = normalise(execute(path, progress), keep=stored)
    if (index := _first_difference(first, second)) is not None:
        return (
            f"{path.name}, {where(first, index)}: two runs print different things. Seed it, or print the "
            "verdict and put the raw number in a cell tagged nbval-ignore-output, with the reason in its "
            "metadata, lab.reason."
        )
    index = _first_difference(first, stored)
    place = f", {where(first, index)}" if index is not None else ""
    return f"{path.name}{place}: the stored page is not what the code gives now. Run `make notebooks`."


def _first_difference(one: Notebook, other: Notebook) -> int | None:
    for index, (a, b) in enumerate(zip(one.cells, other.cells, strict=False)):
        if a != b:
            return index
    return None


def _traceback(cell: Any) -> str:
    frames = [line for output in cell.outputs if output.output_type == "error" for line in output.traceback]
    return ANSI_COLOUR.sub("", "\n".join(frames))


def report(paths: Sequence[Path]) -> str:
    """A table: for each notebook its code cells, those compared by the tests, and their share."""
    width = max([len(path.stem) for path in paths], default=7)
    lines = [f"{'chapter':<{width}}  code cells  ignored  silent  compared"]
    for path in paths:
        cells = compared_share(read(path))
        counts = f"{cells.code_cells:>10}  {cells.ignored:>7}  {cells.silent:>6}"
        lines.append(f"{path.stem:<{width}}  {counts}  {cells.share:>8.0%}")
    return "\n".join(lines)


def gate_findings(paths: Sequence[Path]) -> list[str]:
    """One line for each thing that a gate finds in a stored notebook, with the file's name and the gate's."""
    return [
        f"{path.name}  {gate}: {sentence}"
        for path in paths
        for gate, said in findings(read(path)).items()
        for sentence in said
    ]


def _find(named: Sequence[str]) -> list[Path]:
    """The notebooks meant: each file, each file of a folder, or all chapters."""
    found: list[Path] = []
    for path in map(Path, named or [str(CHAPTERS)]):
        found += sorted(path.glob("*.ipynb")) if path.is_dir() else [path]
    return found


def _progress_on_one_line(name: str) -> Progress | None:
    if not sys.stderr.isatty():
        return None
    return lambda begun, total: print(
        f"\r{name}: cell {begun} of {total} ", end="", file=sys.stderr, flush=True
    )


def _run(path: Path, options: argparse.Namespace) -> bool:
    """One notebook, one line about it; True if it is as it should be."""
    started = time.perf_counter()
    progress = _progress_on_one_line(path.stem)
    problem = None
    try:
        if options.check:
            problem = check(path, progress)
            verdict = "NOT THE SAME" if problem else "same bytes"
        else:
            changed = run_and_normalise(path, fresh=options.fresh, progress=progress)
            verdict = "written" if changed else "unchanged"
    except NotebookFailed as failure:
        problem, verdict = str(failure), "FAILED"
    if progress:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    print(f"{path.stem:<28} {time.perf_counter() - started:6.1f} s   {verdict}", flush=True)
    if problem:
        print(f"\n{problem}\n", file=sys.stderr, flush=True)
    return problem is None


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m labsupport notebooks", description="Run notebooks and store them normalised."
    )
    parser.add_argument(
        "paths", nargs="*", metavar="PATH", help="a notebook or a folder (default: all chapters)"
    )
    mode = parser.add_mutually_exclusive_group()
    for name, does in (
        ("--check", "run and compare the bytes; write nothing"),
        ("--fresh", "also replace stored outputs that are not compared"),
        ("--gates", "run nothing; print what the house rules find in the stored pages"),
        ("--report", "run nothing; print how much of each notebook the tests compare"),
    ):
        mode.add_argument(name, action="store_true", help=does)
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """The `notebooks` command; 0 if every notebook ran (--check: gave its bytes again; --gates: is clean)."""
    options = _options(arguments)
    paths = _find(options.paths)
    if not paths:
        print(f"There is no notebook in {', '.join(options.paths) or CHAPTERS}.", file=sys.stderr)
        return 1
    try:
        if options.report:
            print(report(paths))
            return 0
        if options.gates:
            found = gate_findings(paths)
            print("\n".join(found) or "Nothing found.")
            return 1 if found else 0
        as_they_should_be = [_run(path, options) for path in paths]
        return 0 if all(as_they_should_be) else 1
    except NotebookFailed as failure:
        print(failure, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped; the notebook that was running is as it was.", file=sys.stderr)
        return 130
