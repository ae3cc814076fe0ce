"""Grading: every submission gets its marks, whatever is in it, and none of them hurts another."""

from __future__ import annotations

import ast
import csv
import io
import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from labsupport.course.grading import Limits, Mark, Question, Report, find, grade, grade_class, questions
from labsupport.course.grading.command import main
from labsupport.course.grading.slicing import needed_for

CHAPTERS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))
CHAPTER = "01_short_polling"
ASKED = [Question("1.1", "next_wait"), Question("1.2", "choose_interval")]
RIGHT = "def next_wait(interval_s, share, u):\n    return interval_s * (1 + share * (2 * u - 1))"
ALSO_RIGHT = """def choose_interval(users, mean_delay_s, requests_per_s):
    longest_s, shortest_s = 2 * mean_delay_s, users / requests_per_s
    return longest_s if longest_s >= shortest_s else None"""
Hand = Callable[..., Path]


@pytest.fixture
def hand_in(tmp_path: Path) -> Hand:
    """Write a notebook with these code cells, as a student's submission."""

    def write(*cells: str, student: str = "ada", name: str = f"{CHAPTER}.ipynb") -> Path:
        path = tmp_path / student / name
        path.parent.mkdir(exist_ok=True)
        code = [{"cell_type": "code", "metadata": {}, "outputs": [], "source": source} for source in cells]
        path.write_text(json.dumps({"cells": code, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
        return path

    return write


def graded(path: Path, asked: Sequence[Question] = tuple(ASKED), **limits: Any) -> dict[str, Mark]:
    [submission] = find([path], {CHAPTER})
    return {mark.exercise: mark for mark in grade(submission, asked, Limits(**limits))}


# What an answer needs


def test_only_what_the_answer_uses_is_run() -> None:
    part = needed_for(
        [
            "import numpy as np\nserver = serve('sse')",
            "HALF = 0.5\nprint('loud')",
            "def f(x):\n    return HALF * x",
        ],
        ["f"],
    )
    assert part.source == "HALF = 0.5\ndef f(x):\n    return HALF * x"


def test_a_parameter_is_not_taken_for_the_notebooks_name() -> None:
    part = needed_for(["server = serve('sse')", "def f(server):\n    box = server\n    return box"], ["f"])
    assert "serve(" not in part.source


def test_helpers_of_helpers_come_along_in_order() -> None:
    part = needed_for(["def a():\n    return 1", "def b():\n    return a()", "c = lambda: b()"], ["c"])
    assert part.source.index("def a") < part.source.index("def b") < part.source.index("c = ")


def test_the_last_definition_counts() -> None:
    part = needed_for(["def f():\n    return 1", "def f():\n    return 2"], ["f"])
    assert part.source == "def f():\n    return 2"


def test_a_definition_that_builds_on_the_one_before_brings_it() -> None:
    part = needed_for(["def f():\n    return 1", "from functools import cache\nf = cache(f)"], ["f"])
    assert "return 1" in part.source
    assert "import cache" in part.source


def test_two_threads_never_parse_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    both, parse = threading.Barrier(2), ast.parse

    def meet(source: str) -> ast.Module:
        both.wait(0.1)  # raises if nobody else comes
        return parse(source)

    monkeypatch.setattr(ast, "parse", meet)
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(needed_for, ["def f(): pass"], ["f"]) for _ in range(2)]
    assert {type(job.exception()) for job in jobs} == {threading.BrokenBarrierError}


def test_a_cell_that_is_no_python_is_named_and_the_others_are_read() -> None:
    part = needed_for(["%matplotlib inline\nx = 1", "def broken(:", "def f():\n    return x"], ["f"])
    assert "return x" in part.source
    assert "x = 1" in part.source
    assert part.unreadable == ("code cell 2, line 1: invalid syntax",)


# One submission


def test_a_right_answer_is_right_on_the_hidden_cases_too(hand_in: Hand) -> None:
    marks = graded(hand_in(RIGHT, ALSO_RIGHT))
    assert [mark.verdict for mark in marks.values()] == ["right", "right"]
    assert marks["1.1"].right == marks["1.1"].of == 6


def test_a_wrong_answer_is_told_what_it_looks_like(hand_in: Hand) -> None:
    wrong = RIGHT.replace("2 * u - 1", "u")
    marks = graded(hand_in(wrong))
    assert marks["1.1"].verdict == "wrong"
    assert "expected" in marks["1.1"].says
    assert marks["1.2"].verdict == "not started"


def test_the_stub_is_not_started(hand_in: Hand) -> None:
    assert (
        graded(hand_in("def next_wait(a, b, c):\n    ...  # your answer here"))["1.1"].verdict
        == "not started"
    )


def test_a_check_cell_that_a_student_has_edited_counts_for_nothing(hand_in: Hand) -> None:
    cheat = "def check(*_):\n    return 'right'\n\nprint('6 of 6 cases right')"
    assert graded(hand_in("def next_wait(a, b, c):\n    return 1", cheat))["1.1"].verdict == "wrong"


def test_an_answer_that_knows_the_visible_cases_only_fails_on_a_hidden_one(hand_in: Hand) -> None:
    from labsupport.teach.exercise import exercise

    seen = {
        case.arguments: exercise("1.1").expected(case) for case in exercise("1.1").cases if not case.hidden
    }
    marks = graded(hand_in(f"KNOWN = {seen!r}\ndef next_wait(*a):\n    return KNOWN.get(a, -1)"))
    assert (marks["1.1"].verdict, marks["1.1"].right) == ("wrong", marks["1.1"].of - 1)
    assert "a case that is not shown here" in marks["1.1"].says


def test_an_endless_loop_in_one_answer_leaves_the_others_their_marks(hand_in: Hand) -> None:
    marks = graded(hand_in("def next_wait(a, b, c):\n    while True:\n        pass", ALSO_RIGHT))
    assert marks["1.1"].verdict == "wrong"
    assert "did not end within" in marks["1.1"].says
    assert marks["1.2"].verdict == "right"


def test_an_endless_loop_at_the_top_of_a_cell_is_ended_with_its_process(hand_in: Hand) -> None:
    marks = graded(hand_in("while True:\n    X = 1", f"{RIGHT} + 0 * X"), seconds=3)
    assert {mark.verdict for mark in marks.values()} == {"stopped"}
    assert marks["1.1"].says == "did not end within 3 s"


def test_an_answer_that_takes_all_memory_is_told_so(hand_in: Hand) -> None:
    marks = graded(hand_in("def next_wait(a, b, c):\n    return [0] * 10**10", ALSO_RIGHT))
    assert "memory" in marks["1.1"].says.lower()
    assert marks["1.2"].verdict == "right"


@pytest.mark.parametrize(
    ("body", "said"),
    [("return 1 / 0", "ZeroDivisionError"), ("exit()", "SystemExit"), ("return input()", "EOFError")],
    ids=["exception", "exit", "input"],
)
def test_an_answer_that_stops_is_told_why(hand_in: Hand, body: str, said: str) -> None:
    marks = graded(hand_in(f"def next_wait(a, b, c):\n    {body}", ALSO_RIGHT))
    assert said in marks["1.1"].says
    assert marks["1.2"].verdict == "right"


def test_an_answer_that_ends_its_process_has_no_mark_but_a_sentence(hand_in: Hand) -> None:
    marks = graded(hand_in("import os\ndef next_wait(a, b, c):\n    os.abort()", ALSO_RIGHT))
    assert marks["1.1"].says == "its process was ended by SIGABRT"


def test_a_syntax_error_in_the_answer_is_named(hand_in: Hand) -> None:
    marks = graded(hand_in(RIGHT.replace("):", ")"), ALSO_RIGHT))
    assert "code cell 1" in marks["1.1"].says
    assert marks["1.2"].verdict == "right"


def test_a_file_that_an_answer_writes_is_gone_afterwards(hand_in: Hand, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    path = hand_in("def next_wait(a, b, c):\n    open('left', 'w').write('x')")
    graded(path)
    assert set(tmp_path.rglob("*")) - set(before) <= {path, path.parent}


# A class


def test_every_reference_of_the_course_is_graded_right() -> None:
    submissions = find(CHAPTERS, {path.stem for path in CHAPTERS})
    report = grade_class(submissions, questions(CHAPTERS))
    assert [(mark.exercise, mark.says) for mark in report.marks if mark.verdict != "right"] == []
    assert len(report.exercises) == sum(len(asked) for asked in questions(CHAPTERS).values())


def test_a_broken_submission_gets_a_row_and_the_rest_goes_on(
    hand_in: Hand, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hand_in(RIGHT, ALSO_RIGHT)
    hand_in(student="bea").write_text("no notebook")
    hand_in(RIGHT, student="cyd", name="my work.ipynb")
    out = {name: tmp_path / f"out.{name}" for name in ("html", "csv", "json")}
    assert main([str(tmp_path), *(f"--{name}={path}" for name, path in out.items())]) == 1
    said = capsys.readouterr()
    assert "cannot be read as a notebook" in said.out
    assert "is none of the chapters" in said.out
    assert "graded 3 of 3" in said.err
    rows = {row["student"]: row for row in csv.DictReader(io.StringIO(out["csv"].read_text()))}
    assert (rows["ada"]["1.1"], rows["ada"]["right"]) == ("6/6", "2")
    assert {mark["student"] for mark in json.loads(out["json"].read_text())} == {"ada", "bea", "cyd"}
    assert "✓ right" in out["html"].read_text()


def test_folders_are_students_and_what_lies_beside_their_work_is_left_out(
    hand_in: Hand, tmp_path: Path
) -> None:
    hand_in(RIGHT)
    hand_in(RIGHT, name=f"{CHAPTER}.new.ipynb")
    hand_in(RIGHT, student="bea", name="01_mine.ipynb")
    hidden = tmp_path / "ada" / ".ipynb_checkpoints"
    hidden.mkdir()
    (hidden / "01.ipynb").write_text("{}")
    found = find([tmp_path], {CHAPTER, "02_long_polling"})
    assert [(one.student, one.chapter) for one in found] == [("ada", CHAPTER), ("bea", CHAPTER)]
    assert find([tmp_path / "ada"], {CHAPTER})[0].student == "ada"


def test_nothing_to_grade_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    assert "There is no notebook in" in capsys.readouterr().err


def test_names_and_sayings_are_data_in_the_page_and_in_the_sheet() -> None:
    report = Report((Mark("=HYPERLINK(1)", "01", "1.1", "wrong", 0, 5, "<script>alert(1)</script>"),))
    assert "<script>" not in report.to_html()
    assert "'=HYPERLINK(1)" in report.to_csv()
