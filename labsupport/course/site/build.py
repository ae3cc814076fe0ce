"""Lay out the pages for Sphinx in a folder of their own, and let it build them."""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib.util
import io
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from labsupport.course.cells import Notebook
from labsupport.course.editions import student_edition
from labsupport.course.normalise import to_bytes
from labsupport.course.notebooks import CHAPTERS, read

HERE = Path(__file__).parent
ROOT = CHAPTERS.parent
SITE = ROOT / "build" / "site"
NEEDS = ("sphinx", "myst_nb", "furo", "latex2mathml")
GONE_WITH_THE_KERNEL = "application/vnd.jupyter.widget-view+json"
CHAPTER_LINK = re.compile(r'href="([\w-]+)\.ipynb')
TITLE = "Real-Time Web Lab"

CONF = {
    "project": TITLE,
    "author": "the Real-Time Web Lab",
    "extensions": ["myst_nb", "labsupport.course.site.extension"],
    "html_theme": "furo",
    "html_title": TITLE,
    "html_math_renderer": "mathml",
    "html_static_path": ["_static"],
    "html_css_files": ["lab.css"],
    "html_js_files": [["lab.js", {"defer": "defer"}]],
    "html_show_sphinx": False,
    "html_copy_source": False,
    "html_show_copyright": False,
    "html_theme_options": {"navigation_with_keys": True},
    "nb_execution_mode": "off",
    "nb_mime_priority_overrides": [["html", "text/html", 0]],
    "myst_enable_extensions": ["dollarmath", "html_image"],
    "myst_heading_anchors": 3,
    "myst_heading_slug_func": "labsupport.course.site.extension.slug",
    "pygments_style": "a11y-light",
    "pygments_dark_style": "a11y-dark",
    "suppress_warnings": ["myst.header", "mystnb.unknown_mime_type"],
    "language": "en",
}


class NoSite(RuntimeError):
    """The pages can't be built; the text says what to do."""


def page_of(notebook: Notebook, chapter: str, answers: bool) -> Notebook:
    """The chapter as a page: outputs as they are stored, those that need a kernel left out."""
    page = notebook if answers else student_edition(notebook, chapter)
    for cell in page.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            data.pop(GONE_WITH_THE_KERNEL, None)
            if "text/html" in data:  # a link in a table that Python has made: Sphinx does not look into these
                data["text/html"] = CHAPTER_LINK.sub(r'href="\1.html', data["text/html"])
    page.metadata["language_info"] = {"name": "python", "pygments_lexer": "ipython3"}  # knows !command, too
    return page


def lay_out(folder: Path, chapters: Sequence[Path], answers: bool = False) -> None:
    """Write Sphinx's source folder: the front page, the chapters, the servers' files, the configuration."""
    (folder / "servers").mkdir(parents=True)
    (folder / "_static").mkdir()
    for name in ("lab.css", "lab.js"):
        shutil.copy(HERE / name, folder / "_static")
    titles = []
    for path in chapters:
        notebook = page_of(read(path), path.stem, answers)
        titles.append((path.stem, *_title_and_question(notebook)))
        (folder / path.name).write_bytes(to_bytes(notebook))
    servers = sorted(path for path in (ROOT / "servers").glob("*.py") if not path.name.startswith("_"))
    for path in servers:
        (folder / "servers" / f"{path.stem}.md").write_text(_source_page(path), encoding="utf-8")
    (folder / "index.md").write_text(_front(titles, servers), encoding="utf-8")
    conf = "\n".join(f"{name} = {value!r}" for name, value in CONF.items())
    (folder / "conf.py").write_text(conf + "\n", encoding="utf-8")


def _title_and_question(notebook: Notebook) -> tuple[str, str]:
    """A chapter's heading, and the first sentence under it."""
    lines = [line.strip() for line in notebook.cells[0].source.splitlines() if line.strip()]
    return lines[0].lstrip("# "), lines[1] if len(lines) > 1 else ""


def _source_page(path: Path) -> str:
    """A server's file, as it is."""
    command = f"python -m servers.{path.stem} --port 8001"
    return f"# {path.stem}.py\n\n`{command}`\n\n````python\n{path.read_text('utf-8')}````\n"


def _front(titles: Sequence[tuple[str, str, str]], servers: Sequence[Path]) -> str:
    """The front page: the story in a few lines, then what there is."""
    chapters = "\n".join(f"- [{title}]({stem}.ipynb): {question}" for stem, title, question in titles)
    toc = "\n".join(f"{title} <{stem}>" for stem, title, _ in titles)
    files = "\n".join(f"- [{path.stem}](servers/{path.stem}.md): {_says(path)}" for path in servers)
    hidden = "\n".join(f"servers/{path.stem}" for path in servers)
    return (
        f"# {TITLE}\n\n**How does the web push?** Alice sends a message, and Bob must see it at once.\n"
        "Sixteen chapters answer, and every claim in them is run: real servers, real clients, models that\n"
        "are held against what was measured. These pages show one run of each. To run them yourself, and\n"
        "to answer the exercises, take the notebooks: `make lab`.\n\n## The chapters\n\n"
        f"{chapters}\n\n```{{toctree}}\n:hidden:\n:caption: Chapters\n\n{toc}\n```\n\n## The servers\n\n"
        "Each is one file, to be read in a sitting; what they share is in `servers/core/`.\n\n"
        f"{files}\n\n```{{toctree}}\n:hidden:\n:caption: Servers\n\n{hidden}\n```\n"
    )


def _says(path: Path) -> str:
    """The first line of a file's docstring."""
    told = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    return told.partition("\n")[0].strip()


def build(folder: Path, chapters: Sequence[Path] | None = None, answers: bool = False) -> list[str]:
    """Build the pages into `folder`; returns Sphinx's warnings. Raises NoSite if they can't be built."""
    missing = [name for name in NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        raise NoSite(f"The pages need {', '.join(missing)}: pip install -e '.[site]'")
    from sphinx.application import Sphinx
    from sphinx.errors import SphinxError

    found = sorted(CHAPTERS.glob("*.ipynb")) if chapters is None else chapters
    warnings = io.StringIO()
    with tempfile.TemporaryDirectory(prefix="lab-site-") as temporary:
        source, trees = Path(temporary, "source"), Path(temporary, "trees")
        lay_out(source, found, answers)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                Sphinx(
                    str(source), str(source), str(folder), str(trees), "html",
                    status=None, warning=warnings, freshenv=True,
                ).build()  # fmt: skip
        except SphinxError as error:
            raise NoSite(f"Sphinx stopped: {error}") from error
    return [_plain(line) for line in warnings.getvalue().splitlines() if line.strip()]


def _plain(line: str) -> str:
    """A line of Sphinx's without its colours and without the folder that is gone already."""
    return re.sub(r"\x1b\[[0-9;]*m|\S*/source/", "", line)


def main(arguments: list[str]) -> int:
    """The `site` command; 1 if the pages could not be built, or if something in them is broken."""
    from labsupport.course.site.links import broken

    parser = argparse.ArgumentParser(prog="python -m labsupport site", description="Build the static pages.")
    parser.add_argument("folder", nargs="?", type=Path, default=SITE, help="where to (default: %(default)s)")
    parser.add_argument("--answers", action="store_true", help="keep the worked answers of the exercises")
    options = parser.parse_args(arguments)
    try:
        said = build(options.folder, answers=options.answers)
    except NoSite as error:
        print(error, file=sys.stderr)
        return 1
    said += broken(options.folder)
    print("\n".join(said), file=sys.stderr, end="\n" if said else "")
    pages = sum(1 for _ in options.folder.rglob("*.html"))
    size_mb = sum(path.stat().st_size for path in options.folder.rglob("*") if path.is_file()) / 1e6
    print(f"{pages} pages, {size_mb:.1f} MB, in {options.folder}: open index.html")
    return 1 if said else 0
