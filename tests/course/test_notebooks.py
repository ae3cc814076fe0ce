"""Running and storing chapters: the same code gives the same bytes, and a failed run changes no file."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from labsupport.__main__ import COMMANDS
from labsupport.__main__ import main as labsupport
from labsupport.course.cells import compared_share
from labsupport.course.normalise import normalise, sanitize, sanitize_rules, to_bytes
from labsupport.course.notebooks import NotebookFailed, check, execute, run_and_normalise

IGNORED = {"tags": ["nbval-ignore-output"], "lab": {"reason": "a time on this machine"}}


def stored(path: Path, *cells: object) -> Path:
    """A notebook file of these cells; a string becomes a code cell."""
    nbformat.write(
        new_notebook(cells=[new_code_cell(cell) if isinstance(cell, str) else cell for cell in cells]), path
    )
    return path


def outputs(path: Path) -> list[object]:
    return [cell.get("outputs") for cell in nbformat.read(path, 4).cells]


EVERYTHING_THAT_VARIES = [
    new_markdown_cell("# Sample"),
    "import time, ipywidgets\nprint('a', flush=True)\nprint('b')",
    "print('http://127.0.0.1:54321/messages', object())",
    "ipywidgets.IntSlider(3)",
    "import matplotlib.pyplot as plt\n_ = plt.plot([1, 3, 2])",
    new_code_cell("print(time.time_ns())", metadata=IGNORED),
    new_code_cell("1 / 0", metadata={"tags": ["raises-exception"]}),
    "",
]


@pytest.fixture(scope="module")
def run_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = stored(tmp_path_factory.mktemp("sample") / "sample.ipynb", *EVERYTHING_THAT_VARIES)
    assert run_and_normalise(path) is True
    return path


def test_a_second_run_gives_the_same_bytes(run_once: Path) -> None:
    before = run_once.read_bytes()
    assert run_and_normalise(run_once) is False
    assert run_once.read_bytes() == before


def test_the_stored_page_holds_nothing_of_this_run_or_machine(run_once: Path) -> None:
    notebook = nbformat.read(run_once, 4)
    text = run_once.read_text("utf-8")
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert "widget-view" not in text
    assert "http://127.0.0.1:PORT/messages <object object at 0xADDR>" in text
    assert str(run_once.parent) not in text
    assert sys.prefix not in text
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == [1, 2, 3, 4, 5, 6, None]


def test_what_a_reader_wants_to_see_stays(run_once: Path) -> None:
    _, pieces, _, slider, figure, time, error, _ = outputs(run_once)
    assert [output.text for output in pieces] == ["a\nb\n"]
    assert slider[0].data["text/plain"].startswith("IntSlider(")
    assert len(figure[0].data["image/png"]) > 1000
    assert time[0].text.strip().isdigit()
    assert error[0].traceback == ["ZeroDivisionError: division by zero"]


def test_an_output_that_is_not_compared_stays_until_its_source_changes(run_once: Path) -> None:
    kept = normalise(nbformat.read(run_once, 4))
    old = kept.cells[5].outputs
    new = nbformat.from_dict([{"output_type": "stream", "name": "stdout", "text": "another run\n"}])

    run = normalise(kept)
    run.cells[5].outputs = new
    assert normalise(run, keep=kept).cells[5].outputs == old
    assert normalise(run, keep=None).cells[5].outputs == new

    run.cells.insert(0, new_markdown_cell("A cell put in before moves nothing."))
    assert normalise(run, keep=kept).cells[6].outputs == old

    run.cells[6].source += "  # changed"
    assert normalise(run, keep=kept).cells[6].outputs == new


def test_an_edit_changes_the_id_of_its_own_cell_alone() -> None:
    notebook = new_notebook(cells=[new_code_cell(source) for source in ("a = 1", "b = 2", "b = 2", "c = 3")])
    before = [cell.id for cell in normalise(notebook).cells]
    assert len(set(before)) == 4
    notebook.cells[0].source = "a = 10"
    notebook.cells.insert(1, new_markdown_cell("Between."))
    after = [cell.id for cell in normalise(notebook).cells]
    assert after[0] != before[0]
    assert after[2:] == before[1:]


def test_normalising_twice_changes_nothing_more(run_once: Path) -> None:
    once = normalise(nbformat.read(run_once, 4))
    assert to_bytes(normalise(once)) == to_bytes(once)


def test_what_jupyterlab_writes_into_a_cell_is_taken_out_and_the_authors_words_stay() -> None:
    cell = new_code_cell("1", metadata={"scrolled": True, "editable": True, "slideshow": {"slide_type": ""}})
    cell.metadata |= {"execution": {"iopub.execute_input": "2026"}, "tags": [], "lab": {"reason": "kept"}}
    assert normalise(new_notebook(cells=[cell])).cells[0].metadata == {"lab": {"reason": "kept"}}


def test_a_picture_is_not_mistaken_for_an_address() -> None:
    picture = '<img alt="" src="data:image/png;base64,AA0xabcdef12345678==">'
    assert sanitize(f"{picture} at 0xabcdef12", sanitize_rules()) == f"{picture} at 0xADDR"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("x = 1\n\n1 / 0", "cell 2 (x = 1): ZeroDivisionError: division by zero"),
        ("import os\nos._exit(3)", "cell 2 (import os): the kernel died"),
    ],
)
def test_a_failed_run_names_its_cell_and_leaves_the_file_alone(
    tmp_path: Path, source: str, said: str
) -> None:
    path = stored(tmp_path / "broken.ipynb", new_markdown_cell("# Broken"), source, "print('never')")
    before = path.read_bytes()
    with pytest.raises(NotebookFailed) as caught:
        run_and_normalise(path)
    assert f"broken.ipynb, {said}" in str(caught.value)
    assert "\x1b[" not in str(caught.value)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["broken.ipynb"]


def test_a_cell_that_never_ends_is_named_when_its_time_is_up(tmp_path: Path) -> None:
    path = stored(tmp_path / "waits.ipynb", "import asyncio", "await asyncio.Event().wait()")
    with pytest.raises(NotebookFailed, match=r"cell 2 \(await .*\): it was still running after 1 s"):
        execute(path, timeout_s=1)


def test_a_file_that_is_no_notebook_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.ipynb").write_text("hello")
    with pytest.raises(NotebookFailed, match=r"text\.ipynb cannot be read as a notebook"):
        execute(tmp_path / "text.ipynb")


def test_a_notebook_runs_in_its_own_folder_and_in_this_python(tmp_path: Path) -> None:
    path = stored(tmp_path / "where.ipynb", "import os, sys\nprint(os.getcwd(), sys.executable, sep='\\n')")
    folder, python = execute(path).cells[0].outputs[0].text.split()
    assert Path(folder).samefile(tmp_path)
    assert python == sys.executable


def test_what_a_notebook_started_ends_with_its_kernel(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        child = (
            f"import socket, sys; s = socket.create_connection({listener.getsockname()}); sys.stdin.read()"
        )
        started = f"p = subprocess.Popen([sys.executable, '-c', {child!r}], stdin=-1, start_new_session=True)"
        execute(stored(tmp_path / "starts.ipynb", f"import subprocess, sys\n{started}"))
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(20)
            assert connection.recv(1) == b"", "the child's connection ends only with the child"


def test_check_tells_a_page_that_is_old_from_one_that_never_settles(run_once: Path, tmp_path: Path) -> None:
    assert check(run_once) is None
    old = stored(tmp_path / "old.ipynb", new_markdown_cell("# Old"), "print(1)")
    before = old.read_bytes()
    assert "old.ipynb" in (said := check(old) or "")
    assert "make notebooks" in said
    assert old.read_bytes() == before
    restless = stored(tmp_path / "restless.ipynb", "print(1)", "import uuid; print(uuid.uuid4())")
    assert "restless.ipynb, cell 2" in (said := check(restless) or "")
    assert "two runs print different things" in said


def test_the_share_of_compared_outputs_counts_code_cells_alone(run_once: Path) -> None:
    share = compared_share(nbformat.read(run_once, 4))
    assert (share.code_cells, share.ignored, share.silent) == (6, 1, 0)
    assert share.share == pytest.approx(5 / 6)


def test_without_a_command_the_commands_that_exist_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert labsupport([]) == 0
    printed = capsys.readouterr().out
    assert all(f"python -m labsupport {name}" in printed for name in COMMANDS)
    assert labsupport(["nothing"]) == 2
    assert "There is no command 'nothing'" in capsys.readouterr().err


def test_the_notebooks_command_says_what_it_did_and_one_failure_stops_no_other(
    run_once: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert labsupport(["notebooks", "--report", str(run_once)]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["sample", "6", "1", "0", "83%"]
    assert labsupport(["notebooks", "--gates", str(run_once)]) == 1
    assert "sample.ipynb  lesson_parts: the chapter lacks a prediction" in capsys.readouterr().out
    stored(tmp_path / "1_broken.ipynb", "1 / 0")
    stored(tmp_path / "2_sound.ipynb", "1 / 2")
    assert labsupport(["notebooks", str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert [line.split()[::3] for line in out.splitlines()] == [
        ["1_broken", "FAILED"],
        ["2_sound", "written"],
    ]
    assert "1_broken.ipynb, cell 1 (1 / 0): ZeroDivisionError" in err
    empty = tmp_path / "empty"
    empty.mkdir()
    assert labsupport(["notebooks", str(empty)]) == 1
    assert "There is no notebook in" in capsys.readouterr().err


def test_a_text_cut_into_pieces_by_the_kernel_is_stored_in_one() -> None:
    cell = new_code_cell("…", outputs=[new_output("stream", name="stdout", text=t) for t in "abc"])
    cell.outputs.insert(1, new_output("stream", name="stderr", text="e"))
    normal = normalise(new_notebook(cells=[cell])).cells[0]
    assert [(o.name, o.text) for o in normal.outputs] == [("stdout", "a"), ("stderr", "e"), ("stdout", "bc")]
