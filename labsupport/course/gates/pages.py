"""Gates on what a chapter shows: pictures in words too, errors that are meant, nothing of one machine.

Each gate is a function from a notebook to a list of findings, empty if all is well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

from labsupport.course.cells import (
    IGNORE_TAGS,
    Notebook,
    code_cells,
    is_ignored,
    lab,
    markdown_cells,
    tags,
    where,
)
from labsupport.course.gates.shape import without_code
from labsupport.course.normalise import DATA_URI

CODE_CELLS_PER_IGNORED = 5  # at most one cell in so many goes uncompared
WORDS_IN_A_REASON = 3  # fewer say nothing

MARKER = re.compile(r"#\s*(NBVAL_\w+|PYTEST_VALIDATE_\w+)")
MARKDOWN_IMAGE = re.compile(r"!\[([^\]]*)\]\([^)]*\)")
# Folders of a machine, as absolute paths; a path of an address (http://…/tmp/x) doesn't count.
MACHINE_PATH = re.compile(
    r"(?<![\w.:/])/(?:home|Users|root|tmp|work|var|opt|usr|mnt|private|proc/\d+)/[\w.-]+|\b[A-Z]:\\\\?[\w.]+"
)
PORT = re.compile(r"(?:127\.0\.0\.1|localhost|\[::1\])[:, ']{1,4}\d{2,5}\b|\bports?\b\W{0,3}\d{5}\b")
OBJECT_ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}")


class _Pictures(HTMLParser):
    """Collects what an <img> or <svg> lacks to be read aloud."""

    def __init__(self) -> None:
        super().__init__()
        self.problems: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "img" and not (given.get("alt") or "").strip():
            self.problems.append("an <img> without alt text")
        named = given.get("role") == "img" and (given.get("aria-label") or "").strip()
        if tag == "svg" and not named and given.get("aria-hidden") != "true":
            self.problems.append("an <svg> without role='img' and aria-label")


def alt_text(notebook: Notebook) -> list[str]:
    """Every picture is there in words too.

    JupyterLab drops the alt text of plain image outputs, so a picture is shown as text/html with <img alt=…>;
    an output with an image and no such text is a finding.
    """
    findings = []
    for index, output in _outputs(notebook):
        data = output.get("data", {})
        problems = _picture_problems(data.get("text/html", ""))
        if any(kind.startswith("image/") for kind in data) and "<img" not in data.get("text/html", ""):
            problems.append("a plain image output, whose alt text JupyterLab drops")
        findings += [
            f"{where(notebook, index)} shows {what}: use figures.show(fig, says=…)." for what in problems
        ]
    for index, cell in markdown_cells(notebook):
        text = without_code(cell.source)
        problems = _picture_problems(text)
        problems += [
            "an image ![]() without alt text" for alt in MARKDOWN_IMAGE.findall(text) if not alt.strip()
        ]
        findings += [f"{where(notebook, index)} shows {what}: say what is to be seen." for what in problems]
    return findings


def _picture_problems(html: str) -> list[str]:
    pictures = _Pictures()
    pictures.feed(html)
    return pictures.problems


def _outputs(notebook: Notebook) -> Iterator[tuple[int, Any]]:
    for index, cell in code_cells(notebook):
        for output in cell.outputs:
            yield index, output


def reasons_for_ignoring(notebook: Notebook) -> list[str]:
    """An output that isn't compared says why (metadata lab.reason), and at most one cell in five is such."""
    findings = []
    ignored = [index for index, cell in code_cells(notebook) if is_ignored(cell)]
    for index in ignored:
        if len(lab(notebook.cells[index], "reason").split()) < WORDS_IN_A_REASON:
            tag = "/".join(sorted(IGNORE_TAGS & tags(notebook.cells[index])))
            findings.append(
                f"{where(notebook, index)} is tagged {tag} without a reason: put a sentence into its "
                "metadata, lab.reason."
            )
    for index, cell in code_cells(notebook):
        if found := MARKER.search(cell.source):
            findings.append(
                f"{where(notebook, index)}: the comment {found[1]} hides from counting: use a tag."
            )
    total = sum(1 for _ in code_cells(notebook))
    allowed = total // CODE_CELLS_PER_IGNORED
    if len(ignored) > allowed:
        findings.append(
            f"{len(ignored)} of {total} code cells go uncompared, and {allowed} may: print the verdict, "
            f"which is the same every time, in {', '.join(where(notebook, index) for index in ignored)}."
        )
    return findings


def errors_are_meant(notebook: Notebook) -> list[str]:
    """An error stands only in a cell tagged `raises-exception`, and such a cell does raise."""
    findings = []
    for index, cell in code_cells(notebook):
        raised = [output for output in cell.outputs if output.output_type == "error"]
        meant = "raises-exception" in tags(cell)
        if raised and not meant:
            findings.append(
                f"{where(notebook, index)} ends in {raised[0].ename}: mend it, or tag it raises-exception "
                "if that is the lesson."
            )
        if meant and not raised:
            findings.append(
                f"{where(notebook, index)} is tagged raises-exception and raises nothing: drop the tag."
            )
    return findings


def nothing_on_stderr(notebook: Notebook) -> list[str]:
    """No warning and no log line stands on the page."""
    return [
        f"{where(notebook, index)} prints to stderr: '{output.text.strip().splitlines()[-1][:60]}'. "
        "Mend its cause; what is meant to be read goes to stdout."
        for index, output in _outputs(notebook)
        if output.output_type == "stream" and output.name == "stderr" and output.text.strip()
    ]


def nothing_of_one_machine(notebook: Notebook) -> list[str]:
    """No folder, port or memory address of the machine that ran the chapter stands in an output."""
    findings = []
    for index, output in _outputs(notebook):
        for text in printed_texts(output):
            for pattern, what in (
                (MACHINE_PATH, "a folder of one machine"),
                (PORT, "a port of one run"),
                (OBJECT_ADDRESS, "a memory address of one run"),
            ):
                if found := pattern.search(text):
                    findings.append(
                        f"{where(notebook, index)} shows {what}, '{found[0]}': leave it out, or store the "
                        "chapter with `make notebooks`, which replaces ports and addresses."
                    )
    return findings


def printed_texts(output: Any) -> list[str]:
    """What an output lets a reader read: streams, text and html without embedded pictures, an error's
    text.
    """
    if output.output_type == "stream":
        return [output.text]
    if output.output_type == "error":
        return [output.evalue, *output.traceback]
    texts = [
        value for kind, value in output.data.items() if kind.startswith("text/") and isinstance(value, str)
    ]
    return [DATA_URI.sub("", text) for text in texts]
