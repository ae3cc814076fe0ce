"""Two editions, one source: no answer in the student's, else the same; and no work is ever written over."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from labsupport.course import editions
from labsupport.course.handing_out import hand_out
from labsupport.teach import check

CHAPTERS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))
ANSWER = """def twice(x):
    ### BEGIN SOLUTION
    return 2 * x
    ### END SOLUTION


check("0.1", twice)"""


def page(*sources: str) -> Any:
    printed = new_output("stream", text="1 of 1 cases right\n")
    cells = [new_code_cell(source, outputs=[printed]) for source in sources]
    return new_notebook(cells=[new_markdown_cell("# A page"), *cells])


def test_an_answer_is_cut_and_what_it_printed_goes_with_it() -> None:
    derived = editions.student_edition(page(ANSWER, "print(1)"))
    assert derived.cells[1].source == 'def twice(x):\n    ...  # your answer here\n\n\ncheck("0.1", twice)'
    assert derived.cells[1].outputs == []
    assert derived.cells[1].execution_count is None


def test_everything_else_is_kept() -> None:
    source = page(ANSWER, "print(1)")
    derived = editions.student_edition(source)
    assert [derived.cells[0], derived.cells[2]] == [source.cells[0], source.cells[2]]
    assert source.cells[1].outputs, "the instructor's own page is not touched"


def test_a_class_loses_the_body_of_each_marked_method() -> None:
    source = (
        "class A:\n    def b(self):\n        ### BEGIN SOLUTION\n        return 1\n        ### END SOLUTION\n"
    )
    assert editions.cut(source + source.replace("b(", "c(")).count("        ...  # your answer here") == 2


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("### BEGIN SOLUTION\nx = 1", "line 1: '### BEGIN SOLUTION' without an end"),
        ("x = 1\n### END SOLUTION", "line 2: '### END SOLUTION' without a beginning"),
        ("### BEGIN SOLUTION\n### BEGIN SOLUTION\n### END SOLUTION", "the one in line 1 has no end yet"),
    ],
    ids=["no end", "no beginning", "twice"],
)
def test_marks_that_do_not_come_in_pairs_are_named(source: str, said: str) -> None:
    with pytest.raises(editions.BadMarks) as raised:
        editions.student_edition(page("print(1)", source))
    assert "cell 3" in str(raised.value)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda page: page.cells.pop(), "2 cells, where the instructor's edition has 3"),
        (lambda page: page.cells[2].update(source="print(2)"), "is not the same in both editions"),
        (
            lambda page: page.cells[1].update(source=ANSWER),
            "is not the instructor's cell with its answer cut",
        ),
        (
            lambda page: page.cells[1].update(outputs=[new_output("stream", text="3")]),
            "shows what the answer printed",
        ),
        (lambda page: page.cells[0].update(id="another"), "not the same cell"),
    ],
    ids=["a cell less", "other code", "answer left in", "output left in", "another cell"],
)
def test_drift_between_the_editions_is_named(change: Any, said: str) -> None:
    source = page(ANSWER, "print(1)")
    derived = editions.student_edition(source)
    assert editions.drift(source, derived) == []
    change(derived)
    assert any(said in sentence for sentence in editions.drift(source, derived))


# Each chapter


@pytest.fixture(params=CHAPTERS, ids=[path.stem for path in CHAPTERS])
def both(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    instructor = nbformat.read(request.param, as_version=4)
    return instructor, editions.student_edition(instructor, request.param.stem)


def checks(notebook: Any) -> list[tuple[str, str, str]]:
    """(source before the check, exercise, name of the answer) for each cell with a marked answer."""
    found = []
    for cell in notebook.cells:
        if cell.cell_type == "code" and 'check("' in cell.source:
            for node in ast.walk(ast.parse(cell.source)):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "check":
                    number, name = node.args[0].value, node.args[1].id  # type: ignore[attr-defined]
                    found.append((cell.source.partition("\n\n\ncheck(")[0], number, name))
    return found


def test_the_student_reads_no_answer(both: tuple[Any, Any]) -> None:
    instructor, student = both
    assert editions.drift(instructor, student) == []
    for one, other in zip(instructor.cells, student.cells, strict=True):
        for mark in (editions.BEGIN, editions.END):
            assert mark not in other.source
        if editions.has_answer(one):
            assert other.source.count("your answer here") == one.source.count(editions.BEGIN)


def test_every_check_says_not_started_to_the_stub(both: tuple[Any, Any]) -> None:
    _, student = both
    there = checks(student)
    assert there, "a chapter has an exercise"
    for source, number, name in there:
        names: dict[str, Any] = {}
        exec(source, names)
        assert repr(check(number, names[name])) == "not started yet"


def test_the_instructors_page_shows_every_check_right(both: tuple[Any, Any]) -> None:
    instructor, _ = both
    for cell in filter(editions.has_answer, instructor.cells):
        shown = "".join(str(output.get("data", {}).get("text/plain", "")) for output in cell.outputs)
        mended = "✓ the symptom is gone" in shown and "other behaviours as before" in shown  # an exhibit's
        assert "cases right" in shown or mended
        assert "✗" not in shown


# Handing out


def test_a_new_folder_gets_everything_and_a_second_time_changes_nothing(tmp_path: Path) -> None:
    files = {"00.ipynb": b"zero", "01.ipynb": b"one"}
    assert hand_out(files, tmp_path / "work").new == ("00.ipynb", "01.ipynb")
    again = hand_out(files, tmp_path / "work")
    assert again.same == ("00.ipynb", "01.ipynb")
    assert (tmp_path / "work" / "01.ipynb").read_bytes() == b"one"


def test_an_update_replaces_what_the_student_has_not_touched(tmp_path: Path) -> None:
    hand_out({"00.ipynb": b"zero"}, tmp_path)
    assert hand_out({"00.ipynb": b"newer"}, tmp_path).updated == ("00.ipynb",)
    assert (tmp_path / "00.ipynb").read_bytes() == b"newer"


def test_an_update_never_meets_the_students_edits(tmp_path: Path) -> None:
    hand_out({"00.ipynb": b"zero"}, tmp_path)
    (tmp_path / "00.ipynb").write_bytes(b"my work")
    report = hand_out({"00.ipynb": b"newer"}, tmp_path)
    assert (tmp_path / "00.ipynb").read_bytes() == b"my work"
    assert (tmp_path / "00.new.ipynb").read_bytes() == b"newer"
    assert "00.ipynb has your own work in it and stays; the new one is 00.new.ipynb" in str(report)


def test_work_on_the_newest_edition_is_left_alone_without_a_second_file(tmp_path: Path) -> None:
    hand_out({"00.ipynb": b"zero"}, tmp_path)
    (tmp_path / "00.ipynb").write_bytes(b"my work")
    assert hand_out({"00.ipynb": b"zero"}, tmp_path).beside == ()
    assert not (tmp_path / "00.new.ipynb").exists()


def test_without_its_list_every_file_that_differs_is_the_students(tmp_path: Path) -> None:
    hand_out({"00.ipynb": b"zero"}, tmp_path)
    (tmp_path / ".lab-given.json").write_text("no list")
    assert hand_out({"00.ipynb": b"newer"}, tmp_path).beside == ("00.ipynb",)
    assert (tmp_path / "00.ipynb").read_bytes() == b"zero"


def test_the_commands_write_the_chapters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert editions.main([str(tmp_path / "out")]) == 0
    assert editions.start([str(tmp_path / "work")]) == 0
    names = [path.name for path in CHAPTERS]
    for folder in ("out", "work"):
        assert sorted(path.name for path in (tmp_path / folder).glob("*.ipynb")) == names
    assert f"{len(names)} new" in capsys.readouterr().out


def test_a_folder_without_chapters_is_said_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert editions.main([str(tmp_path / "out"), "--chapters", str(tmp_path)]) == 1
    assert "There is no notebook in" in capsys.readouterr().err
