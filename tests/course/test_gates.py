"""Each gate lets a sound chapter through, and goes red on a chapter with the one fault that it is for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from labsupport.course.gates import GATES, findings
from labsupport.course.normalise import normalise

OPENING = """# 07 · Who is still there?

How would a server know that nobody is listening any more?

**You will** cut a connection and watch the server go on as if nothing had happened.
**Afterwards you can** say how long a silence has to be before it means something.
**You need** chapter 06 and 25 minutes. No network.

1. Cut it (5 min)  2. Notice it (12 min)
3. Exercises (8 min)
"""

CLOSING = """## What you can say now

1. Why does a send succeed? 2. What does a ping cost? 3. Who needs the timer?

*Reflect:* how long may a ghost be online before your users mind?

**Left out:** what a load balancer does.
"""

Cells = list[Any]


def text(*lines: str) -> Any:
    return new_markdown_cell("\n".join(lines))


def code(source: str, *outputs: Any, tags: str = "", **lab: str) -> Any:
    """A code cell; an output that is a string was printed."""
    cell = new_code_cell(source)
    cell.outputs = [new_output("stream", name="stdout", text=o) if isinstance(o, str) else o for o in outputs]
    if tags:
        cell.metadata["tags"] = tags.split()
    if lab:
        cell.metadata["lab"] = lab
    return cell


def html_output(html: str, **more: str) -> Any:
    return new_output("display_data", {"text/html": html, "text/plain": "Figure", **more})


def raised(name: str = "ZeroDivisionError") -> Any:
    return new_output("error", ename=name, evalue="by zero", traceback=[f"{name}: by zero"])


def sound() -> Cells:
    """A small chapter with nothing to find."""
    return [
        text(OPENING),
        text("## Cut it", "", "The imports, and one seed for every draw."),
        code(
            "import random\nfrom labsupport.teach.predict import predict\nfrom labsupport.teach import check"
        ),
        text("**Before you run the next cell.** 100 messages are sent. How many arrive?"),
        code('guess = predict("messages that arrive", 0, 100)', "Your guess\n"),
        text("The server does not notice."),
        code("SENT = 100\nprint(f'{SENT} sent, 3 arrived')", "100 sent, 3 arrived\n", tags="planned-failure"),
        code("guess.compare(3, because='silence')", "you did not guess; it was 3\n"),
        text("### Exercise 7.1 · Notice it", "", "**Return** the seconds of silence, at most 90."),
        code("def silence():\n    return 60 + 30", tags=""),
        code('check("7.1", silence)', "3 of 3 cases right\n"),
        text("Of the 100, only 3 arrived: 3 %, as the figure shows."),
        code("show(figure)", html_output('<img alt="3 of 100 arrive" src="data:image/png;base64,AAAA">')),
        text(CLOSING),
    ]


def chapter(cells: Cells) -> Any:
    return normalise(new_notebook(cells=cells))


def test_a_sound_chapter_passes_every_gate() -> None:
    assert findings(chapter(sound())) == {}


def test_every_gate_is_proven_by_a_fault_below() -> None:
    assert {fault.values[0] for fault in FAULTS} == set(GATES)  # type: ignore[union-attr]


def put(index: int, cell: Any) -> Callable[[Cells], None]:
    return lambda cells: cells.__setitem__(index, cell)


def insert(index: int, *new: Any) -> Callable[[Cells], None]:
    def change(cells: Cells) -> None:
        cells[index:index] = new

    return change


def reword(index: int, old: str, new: str) -> Callable[[Cells], None]:
    def change(cells: Cells) -> None:
        assert old in cells[index].source
        cells[index].source = cells[index].source.replace(old, new)

    return change


def says(index: int, *lines: str) -> Callable[[Cells], None]:
    return insert(index, text(*lines))


def runs(source: str, *outputs: Any, tags: str = "", **lab: str) -> Callable[[Cells], None]:
    """A cell of that source, with words before it, in the middle of the chapter."""
    return insert(5, text("Look."), code(source, *outputs, tags=tags, **lab))


def remove(index: int) -> Callable[[Cells], None]:
    return lambda cells: cells.pop(index)


PIXEL = "data:image/png;base64,AAAA"
IGNORE = "nbval-ignore-output"


def fault(gate: str, name: str, change: Callable[[Cells], None], said: str) -> Any:
    return pytest.param(gate, change, said, id=f"{gate}-{name}")


FAULTS = [
    fault("every_cell_executed", "an empty cell", insert(3, code("")), "cell 4 (empty): delete it"),
    fault(
        "stored_in_normal_form",
        "an unstable id",
        runs("x = 1"),
        "cell 4 (**Before you run the next cell.** 100 m…) is not",
    ),  # made by hand below
    fault(
        "small_file",
        "a huge print",
        runs("print(9)", "9" * 1_000_000),
        "make the output of cell 7 (print(9)) smaller",
    ),
    fault(
        "short_code_cells",
        "too long",
        runs("\n\n".join(f"a = {i}" for i in range(21))),
        "has 21 lines, and 20",
    ),
    fault("prose_before_code", "no words", insert(0, code("x = 1")), "cell 1 (x = 1) has no words before it"),
    fault(
        "prose_before_code",
        "heading only",
        put(5, text("## On")),
        "cell 7 (SENT = 100) has no words before it",
    ),
    fault("prose_before_code", "three in a row", insert(9, code("y = 1")), "cell 12 (check("),
    fault(
        "headings_in_order",
        "no title",
        reword(0, "# 07", "## 07"),
        "cell 1 must begin with the chapter's title",
    ),
    fault("headings_in_order", "two titles", says(3, "# Again"), "'Again' is a second H1"),
    fault("headings_in_order", "a jump", says(3, "#### Deep"), "'Deep' jumps from level 2 to 4"),
    fault("opening_cell", "no number", reword(0, "# 07 · ", "# "), "lacks a title like"),
    fault("opening_cell", "no question", reword(0, "any more?", "any more."), "lacks the chapter's question"),
    fault("opening_cell", "no promise", reword(0, "**You will**", "You will"), "lacks a line '**You will**"),
    fault("opening_cell", "no aim", reword(0, "**Afterwards you can**", "x"), "'**Afterwards you can**"),
    fault("opening_cell", "no needs", reword(0, "**You need**", "x"), "'**You need**"),
    fault(
        "opening_cell",
        "no minutes",
        reword(
            0,
            "25 minutes. No network.\n\n1. Cut it (5 min)  2. Notice it (12 min)\n3. Exercises (8 min)",
            "time.",
        ),
        "lacks the minutes",
    ),
    fault(
        "opening_cell",
        "no road",
        reword(0, "2. Notice it (12 min)\n3. Exercises (8 min)", ""),
        "numbered road",
    ),
    fault("opening_cell", "a step without minutes", reword(0, "(5 min)", ""), "each step of the road"),
    fault(
        "opening_cell",
        "dishonest minutes",
        reword(0, "25 min", "20 min"),
        "promises 20 minutes and the road's steps add up to 25",
    ),
    fault("closing_cell", "no heading", reword(-1, "## What", "## And what"), "lacks the heading"),
    fault("closing_cell", "two questions", reword(-1, "cost?", "cost."), "three questions before"),
    fault("closing_cell", "nothing to reflect on", reword(-1, "mind?", "mind."), "one *Reflect* question"),
    fault(
        "closing_cell",
        "nothing left out",
        reword(-1, "**Left out:**", "Left out:"),
        "what this chapter does not show",
    ),
    fault(
        "closing_cell",
        "code at the end",
        insert(14, code("x = 1")),
        "the last cell (cell 15) lacks the heading",
    ),
    fault("lesson_parts", "no prediction", put(4, code("guess = 1")), "lacks a prediction"),
    fault("lesson_parts", "no failure", lambda cells: cells[6].metadata.clear(), "lacks a planned failure"),
    fault("lesson_parts", "no check", put(10, code("pass")), "lacks a checked exercise"),
    fault("code_is_python", "a slip", runs("print('a'"), "is not Python"),
    fault(
        "seeded_randomness",
        "shared",
        runs("random.random()"),
        "random.random() draws from a generator that all",
    ),
    fault("seeded_randomness", "seeding the shared one", runs("random.seed(1)"), "random.seed() draws from"),
    fault(
        "seeded_randomness",
        "by another name",
        runs("from random import choice as c\nc([1])"),
        "random.choice()",
    ),
    fault(
        "seeded_randomness",
        "numpy's",
        runs("import numpy as np\nnp.random.normal()"),
        "numpy.random.normal()",
    ),
    fault("seeded_randomness", "no seed", runs("random.Random()"), "random.Random() has no seed"),
    fault(
        "seeded_randomness", "None", runs("import numpy as np\nnp.random.default_rng(None)"), "has no seed"
    ),
    fault(
        "seeded_randomness",
        "a clock",
        runs("import time\nrandom.Random(time.time())"),
        "is seeded from a clock",
    ),
    fault(
        "seeded_randomness",
        "a hashed clock",
        runs("import time\nhash(time.time_ns())"),
        "takes its value from a clock",
    ),
    fault("seeded_randomness", "uuid4", runs("import uuid\nuuid.uuid4()"), "uuid.uuid4() cannot be seeded"),
    fault(
        "seeded_randomness", "urandom", runs("from os import urandom\nurandom(4)"), "os.urandom() cannot be"
    ),
    fault(
        "seeded_randomness",
        "secrets",
        runs("import secrets\nsecrets.token_hex()"),
        "secrets.token_hex() cannot",
    ),
    fault("no_star_import", "all of it", runs("from math import *"), "'from math import *' hides"),
    fault("no_loop_of_its_own", "asyncio.run", runs("import asyncio\nasyncio.run(f())"), "write `await`"),
    fault("no_sleep", "time.sleep", runs("import time\ntime.sleep(1)"), "time.sleep() waits by the clock"),
    fault(
        "no_sleep",
        "asyncio.sleep",
        runs("from asyncio import sleep\nawait sleep(1)"),
        "asyncio.sleep() waits",
    ),
    fault("no_download", "%pip", runs("%pip install x"), "runs pip"),
    fault("no_download", "!curl", runs("!curl -O http://a.org/x"), "runs curl"),
    fault(
        "no_download", "requests", runs("import requests\nrequests.get('https://a.org/x')"), "goes to a.org"
    ),
    fault(
        "no_download",
        "a lab client",
        runs("from labsupport.clients import C\nC(url='wss://a.org')"),
        "goes to a.org",
    ),
    fault("no_silencing_semicolon", "at the end", runs("x = 1\nx;  # quiet"), "ends in ';'"),
    fault(
        "alt_text",
        "a plain image",
        runs("f", new_output("display_data", {"image/png": "AAAA"})),
        "a plain image output",
    ),
    fault("alt_text", "no alt", runs("f", html_output(f'<img src="{PIXEL}">')), "an <img> without alt text"),
    fault(
        "alt_text",
        "an empty alt",
        runs("f", html_output(f'<img alt=" " src="{PIXEL}">')),
        "an <img> without alt",
    ),
    fault("alt_text", "a nameless svg", runs("f", html_output("<svg></svg>")), "an <svg> without role"),
    fault("alt_text", "in markdown", says(3, "![](map.png)"), "an image ![]() without alt text"),
    fault(
        "reasons_for_ignoring",
        "no reason",
        runs("x = 1", tags=IGNORE),
        "cell 7 (x = 1) is tagged nbval-ignore-output",
    ),
    fault("reasons_for_ignoring", "a word", runs("x = 1", tags=IGNORE, reason="varies"), "without a reason"),
    fault(
        "reasons_for_ignoring",
        "a hidden marker",
        runs("# NBVAL_IGNORE_OUTPUT\nx = 1"),
        "NBVAL_IGNORE_OUTPUT hides",
    ),
    fault(
        "reasons_for_ignoring",
        "more than one in five",
        lambda cells: [
            cells[i].metadata.update(tags=[IGNORE], lab={"reason": "it is a time"}) for i in (2, 7)
        ],
        "2 of 7 code cells go uncompared, and 1 may",
    ),
    fault("errors_are_meant", "unmeant", runs("1 / 0", raised()), "ends in ZeroDivisionError"),
    fault("errors_are_meant", "untrue", runs("1 / 1", tags="raises-exception"), "raises nothing"),
    fault(
        "nothing_on_stderr",
        "a warning",
        runs("f()", new_output("stream", name="stderr", text="Old!\n")),
        "'Old!'",
    ),
    fault("nothing_of_one_machine", "a folder", runs("f()", "saved in /home/ada/lab\n"), "'/home/ada'"),
    fault("nothing_of_one_machine", "a drive", runs("f()", "saved in C:\\lab\n"), "'C:\\lab'"),
    fault("nothing_of_one_machine", "a peer", runs("f()", "('127.0.0.1', 43210)\n"), "a port of one run"),
    fault("nothing_of_one_machine", "a port", runs("f()", "listens on port 43210\n"), "'port 43210'"),
    fault("numbers_in_prose", "a number from nowhere", says(8, "So 42 arrive."), "'42' comes from nowhere"),
    fault(
        "numbers_in_prose",
        "a number of one machine",
        lambda cells: cells.extend(
            [code("t()", "took 417 ms\n", tags=IGNORE, reason="a time"), text("It took 417 ms.")]
        ),
        "'417 ms' is printed only where the output isn't compared",
    ),
]


@pytest.mark.parametrize(("gate", "change", "said"), FAULTS)
def test_a_fault_is_found_by_its_gate_and_named(
    gate: str, change: Callable[[Cells], None], said: str
) -> None:
    cells = sound()
    change(cells)
    notebook = chapter(cells)
    if gate == "stored_in_normal_form":
        notebook.cells[3].id = "random"
    found = GATES[gate](notebook)
    assert found, f"{gate} let the fault through"
    assert any(said in sentence for sentence in found), found


@pytest.mark.parametrize("spoil", ["count", "order"])
def test_a_cell_that_was_not_run_from_the_top_is_found(spoil: str) -> None:
    notebook = chapter(sound())
    notebook.cells[4].execution_count = None if spoil == "count" else 7
    (found,) = GATES["every_cell_executed"](notebook)
    assert "cell 5" in found
    assert "make notebooks" in found


def test_a_notebook_of_nothing_breaks_no_gate() -> None:
    assert set(findings(chapter([]))) == {"headings_in_order", "opening_cell", "closing_cell", "lesson_parts"}


ALLOWED = {
    "a seeded generator": runs(
        "import numpy as np\nrng = np.random.default_rng(20)\nrng.random(); random.Random(20)"
    ),
    "a variable called like a module": runs("rng = random.Random(20)\nx = rng.choice([1, 2])"),
    "a wait that is the lesson": runs("import time\ntime.sleep(1)", sleep_reason="the silence is the lesson"),
    "an address of this machine": runs("import requests\nrequests.get('http://127.0.0.1:1/')"),
    "a foreign Origin in a header": runs(
        "import requests\nrequests.get(url, headers={'Origin': 'https://evil.org'})"
    ),
    "a name that belongs to nobody": runs("import requests\nrequests.get('https://bank.example/')"),
    "a semicolon between statements": runs("x = 1; y = 2"),
    "an error that is meant": runs("1 / 0", raised(), tags="raises-exception"),
    "a syntax error that is meant": runs("print('a'", raised("SyntaxError"), tags="raises-exception"),
    "a magic": runs("%time x = 1"),
    "a path of a server": runs("f()", "GET /messages?since=4 HTTP/1.1\nhttp://127.0.0.1:PORT/tmp/x\n"),
    "an image beside its words": runs("f", html_output('<img alt="up" src="x">', **{"image/png": "AAAA"})),
    "one ignored cell in five": runs("t()", "0.1\n", tags=IGNORE, reason="a time on this machine"),
    "a hash in a code block": says(3, "```", "# not a heading", "```"),
}


@pytest.mark.parametrize("change", ALLOWED.values(), ids=ALLOWED)
def test_what_is_allowed_is_not_found(change: Callable[[Cells], None]) -> None:
    cells = sound()
    change(cells)
    assert findings(chapter(cells)) == {}
