"""Links from chapter to chapter lead somewhere: to a heading that is there, and to what they say is shown.

A link is written [words](NN_name.ipynb#Heading-with-hyphens "what a cell there says"). JupyterLab makes the
anchor of a heading from its text, with hyphens for spaces. The quoted words must stand in that section: in
its prose, in its code, or in an output that is compared.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest

from labsupport.course.cells import Notebook, is_ignored
from labsupport.course.gates.shape import HEADING, without_code

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
LINK = re.compile(
    r'\[[^\]]*\]\((?P<file>[^)\s#]*\.ipynb)(?:#(?P<anchor>[^)\s]*))?(?:\s+"(?P<says>[^"]*)")?\)'
)


@dataclass(frozen=True)
class Link:
    source: str
    file: str
    anchor: str
    says: str

    def __str__(self) -> str:
        return f"{self.source}-{self.file}-{self.anchor}-{self.says[:20]}"


def links() -> list[Link]:
    """All links from a chapter to a chapter, in order."""
    return [
        Link(path.stem, found["file"], unquote(found["anchor"] or ""), found["says"] or "")
        for path in sorted(NOTEBOOKS.glob("*.ipynb"))
        for cell in nbformat.read(path, as_version=4).cells
        if cell.cell_type == "markdown"
        for found in LINK.finditer(cell.source)
    ]


@cache
def sections(file: str) -> dict[str, str]:
    """The text of each section of a chapter, by its anchor; a section holds those below it."""
    open_ones: list[tuple[int, str]] = []
    found: dict[str, str] = {}
    for cell in read(file).cells:
        if cell.cell_type == "markdown":
            for hashes, title in HEADING.findall(without_code(cell.source)):
                open_ones = [(level, name) for level, name in open_ones if level < len(hashes)]
                open_ones.append((len(hashes), anchor(title)))
                found[anchor(title)] = ""
        for _, name in open_ones:
            found[name] += said(cell) + "\n"
    return found


def read(file: str) -> Notebook:
    return nbformat.read(NOTEBOOKS / file, as_version=4)


def anchor(title: str) -> str:
    """What JupyterLab makes of a heading: its text as shown, with hyphens."""
    return title.strip().replace("`", "").replace("*", "").replace(" ", "-")


def said(cell: nbformat.NotebookNode) -> str:
    """A cell's source, and its outputs if they are compared."""
    outputs = [] if cell.cell_type != "code" or is_ignored(cell) else cell.outputs
    texts = [out.get("text", "") or out.get("data", {}).get("text/plain", "") for out in outputs]
    return "\n".join([cell.source, *texts]).replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize("link", links(), ids=str)
def test_a_link_to_another_chapter_leads_to_what_it_says(link: Link) -> None:
    assert (NOTEBOOKS / link.file).is_file(), f"{link.source} links to {link.file}, which is not there"
    if link.anchor:
        there = sections(link.file)
        assert link.anchor in there, f"{link.file} has no such heading; it has {', '.join(there)}"
        assert link.says in there[link.anchor], f"that section of {link.file} does not say it"


def test_chapter_14_links_its_claims_to_what_cells_show() -> None:
    own = [link for link in links() if link.source.startswith("14_")]
    assert len({link.file for link in own}) >= 9
    assert len([link for link in own if link.says]) >= 20


def test_an_anchor_is_the_heading_as_it_is_shown() -> None:
    assert anchor("What `Origin` is not") == "What-Origin-is-not"
    assert anchor("The model, and the gap ") == "The-model,-and-the-gap"
