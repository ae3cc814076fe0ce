"""The export for nbgrader, held to nbgrader itself: one chapter goes all the way, the others are read."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from packaging.requirements import Requirement

from labsupport.course.editions import STUB, has_answer
from labsupport.course.grading import questions
from labsupport.course.nbgrader_export import main, write
from labsupport.course.notebooks import CHAPTERS, read
from tests.conformance.conftest import not_here

ROOT = Path(__file__).resolve().parents[2]
# nbgrader has pins of its own: it never meets the lab's venv
LOCK = Path(__file__).with_name("nbgrader.lock")
CHAPTER = "01_short_polling"
PROCESS_S = 150.0  # for one command; it is told then, instead of the whole run standing still
# Commands of nbgrader, one a line of the argument, in one process: importing it takes longer than its work.
ONE_BY_ONE = """
import sys
from nbgrader.apps.nbgraderapp import NbGraderApp
for words in sys.argv[1].splitlines():
    NbGraderApp.clear_instance()
    for kind in NbGraderApp.subcommands.values():
        kind[0].clear_instance()
    NbGraderApp.launch_instance(words.split())
"""
SERVERS = {"serve(", "middlebox(", "open_front("}


def run(*command: str | Path, where: Path, **environment: str) -> str:
    """Run it to its end; what it said. Fails with that, if it failed."""
    done = subprocess.run(
        list(map(str, command)),
        cwd=where,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PROCESS_S,
    )
    assert done.returncode == 0, f"{command[0]} {command[1]}: {done.stdout[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The course as it is written."""
    folder = tmp_path_factory.mktemp("course")
    write(CHAPTERS, folder)
    return folder


def source(course: Path, chapter: str) -> Any:
    return nbformat.read(course / "source" / chapter / f"{chapter}.ipynb", as_version=4)


def settings(cell: Any) -> dict[str, Any]:
    return dict(cell.metadata.get("nbgrader", {}))


# Every chapter


def test_every_exercise_that_is_checked_has_an_answer_and_a_locked_test(course: Path) -> None:
    for chapter, asked in questions().items():
        cells = source(course, chapter).cells
        ids = [question.id.replace(".", "-") for question in asked]
        assert [c.id for c in cells if settings(c).get("solution")] == [f"answer-{id}" for id in ids]
        tests = [c for c in cells if settings(c).get("grade")]
        assert [(c.id, settings(c)["points"]) for c in tests] == [(f"test-{id}", 1) for id in ids]
        assert all(settings(c)["locked"] != settings(c)["solution"] for c in cells if settings(c))


@pytest.mark.parametrize("chapter", [path.stem for path in sorted(CHAPTERS.glob("*.ipynb"))])
def test_no_solution_stands_outside_of_its_cell_and_no_server_is_started(course: Path, chapter: str) -> None:
    answers = [cell.source for cell in read(CHAPTERS / f"{chapter}.ipynb").cells if has_answer(cell)]
    made = source(course, chapter)
    graded = [answer for answer in answers if 'check("' in answer]
    assert [cell.source for cell in made.cells if settings(cell).get("solution")] == graded
    rest = "\n".join(cell.source for cell in made.cells if not settings(cell).get("solution"))
    assert "SOLUTION" not in rest
    for answer in answers:
        solution = answer.partition("### BEGIN SOLUTION\n")[2].partition("### END SOLUTION")[0]
        assert solution.strip() not in rest
    assert not any(word in rest for word in SERVERS)


def test_the_exported_cells_run_by_themselves_and_the_references_pass(course: Path) -> None:
    """In a few seconds for all of them: an AssertionError here is a cell that lacks what its answer needs."""
    for chapter in questions():
        names: dict[str, Any] = {}
        for cell in source(course, chapter).cells:
            if cell.cell_type == "code":
                exec(compile(cell.source, f"{chapter}, {cell.id}", "exec"), names)


def test_another_export_keeps_the_settings(course: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = course / "nbgrader_config.py"
    kept.write_text(mine := kept.read_text() + "# mine\n")
    assert main([str(course)]) == 0
    assert kept.read_text() == mine
    assert "exercises" in capsys.readouterr().out


def test_a_folder_without_exercises_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "to"), "--chapters", str(tmp_path)]) == 1
    assert "There is no exercise" in capsys.readouterr().err


# nbgrader itself


def pins(lock: Path) -> dict[str, set[str]]:
    """Each package's pins: more than one where Pythons or systems differ."""
    found: dict[str, set[str]] = {}
    for line in filter(None, lock.read_text("utf-8").splitlines()):
        pinned = Requirement(line)
        found.setdefault(pinned.name, set()).add(str(pinned.specifier))
    return found


def test_what_nbgrader_brings_stands_beside_the_labs_own_pins() -> None:
    here, lab = pins(LOCK), pins(ROOT / "requirements.lock")
    assert {name for name, pin in here.items() if name in lab and lab[name] != pin} == set()
    assert "nbgrader" in here
    assert "nbgrader" not in lab


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A venv with nbgrader and the lab, and an environment that knows nothing of this machine's Jupyter."""
    uv = Path(sys.executable).with_name("uv")
    if not uv.exists():
        not_here(f"uv is not installed beside {sys.executable}")
    if os.name == "nt":
        not_here("the venv is laid out as on Linux and macOS")
    folder = tmp_path_factory.mktemp("nbgrader")
    venv = folder / "venv"
    try:
        run(uv, "venv", "-q", "--python", sys.executable, venv, where=folder)
        run(uv, "pip", "install", "-q", "--no-deps", "-r", LOCK, where=folder, VIRTUAL_ENV=str(venv))
    except (AssertionError, subprocess.TimeoutExpired) as error:
        not_here(f"nbgrader can't be installed: {str(error)[-500:]}")
    [packages] = venv.glob("lib/python*/site-packages")
    (packages / "lab.pth").write_text(
        f"{ROOT}\n"
    )  # the sources by their path; nothing is built in their folder
    own = {"HOME": str(folder), "PATH": f"{venv / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    own |= {f"JUPYTER_{kind}_DIR": str(folder / kind.lower()) for kind in ("CONFIG", "DATA", "RUNTIME")}
    return venv / "bin" / "python", own | {
        "IPYTHONDIR": str(folder / "ipython"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def hand_in(course: Path, student: str, changes: dict[str, str]) -> None:
    """The release as this student fills it in: every answer right, but for the cells that are named."""
    released = nbformat.read(course / "release" / CHAPTER / f"{CHAPTER}.ipynb", as_version=4)
    right = {settings(cell).get("grade_id"): cell for cell in source(course, CHAPTER).cells}
    for cell in released.cells:
        name = settings(cell).get("grade_id", "")
        if settings(cell).get("solution"):
            cell.source = right[name].source
        cell.source = changes.get(name, cell.source)
    folder = course / "submitted" / student / CHAPTER
    folder.mkdir(parents=True)
    nbformat.write(released, folder / f"{CHAPTER}.ipynb")


def test_nbgrader_releases_grades_and_answers(course: Path, place: tuple[Path, dict[str, str]]) -> None:
    python, environment = place

    def nbgrader(*commands: str) -> str:
        return run(python, "-c", ONE_BY_ONE, "\n".join(commands), where=course, **environment)

    nbgrader(f"generate_assignment {CHAPTER}")
    released = (course / "release" / CHAPTER / f"{CHAPTER}.ipynb").read_text("utf-8")
    assert "SOLUTION" not in released
    assert "HIDDEN" not in released
    assert "hidden=True" not in released
    assert released.count(STUB) == len(questions()[CHAPTER])

    hand_in(course, "right", {})
    wrong = "def next_wait(interval_s, share, u):\n    return interval_s * (1 + share * u)"
    hand_in(course, "wrong", {"answer-1-1": wrong, "test-1-1": "assert True"})
    nbgrader(f"autograde {CHAPTER}", f"generate_feedback {CHAPTER}", "export")
    rows = {row["student_id"]: row for row in csv.DictReader((course / "grades.csv").open(encoding="utf-8"))}
    assert {who: (float(row["score"]), float(row["max_score"])) for who, row in rows.items()} == {
        "right": (3.0, 3.0),
        "wrong": (2.0, 3.0),
    }
    graded = nbformat.read(course / "autograded" / "wrong" / CHAPTER / f"{CHAPTER}.ipynb", as_version=4)
    tests = {cell.metadata.nbgrader.grade_id: cell for cell in graded.cells if settings(cell).get("grade")}
    assert "hidden=True" in tests["test-1-1"].source  # the student's own is gone
    failed = [name for name, cell in tests.items() if any(o.output_type == "error" for o in cell.outputs)]
    assert failed == ["test-1-1"]
    page = (course / "feedback" / "wrong" / CHAPTER / f"{CHAPTER}.html").read_text("utf-8")
    assert "This looks like" in page
    assert "This looks like" not in (course / "feedback" / "right" / CHAPTER / f"{CHAPTER}.html").read_text(
        "utf-8"
    )
