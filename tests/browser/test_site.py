"""The static pages, as their readers have them: whole, in both themes, on a phone, without a network."""

from __future__ import annotations

import html
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from labsupport.course.notebooks import read
from labsupport.course.site import build, links

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = sorted((ROOT / "notebooks").glob("*.ipynb"))
WIDTHS_PX = {"desktop": 1280, "phone": 390}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The built pages, and what Sphinx warned of."""
    folder = tmp_path_factory.mktemp("site")
    return folder, build.build(folder)


def test_it_is_built_without_a_warning_and_every_chapter_is_there(site: tuple[Path, list[str]]) -> None:
    folder, warnings = site
    assert warnings == []
    assert {path.stem for path in CHAPTERS} <= {path.stem for path in folder.glob("*.html")}
    front = (folder / "index.html").read_text("utf-8")
    assert all(f'href="{path.stem}.html"' in front for path in CHAPTERS)


def test_every_link_leads_somewhere_and_nothing_is_loaded_from_elsewhere(
    site: tuple[Path, list[str]],
) -> None:
    assert links.broken(site[0]) == []


def test_the_search_knows_a_word_of_every_chapter(site: tuple[Path, list[str]]) -> None:
    index = (site[0] / "searchindex.js").read_text("utf-8")
    known = json.loads(index[index.index("(") + 1 : index.rindex(")")])
    assert {path.stem for path in CHAPTERS} <= set(known["docnames"])
    assert "jitter" in known["terms"]


def test_outputs_are_shown_and_answers_are_not(site: tuple[Path, list[str]]) -> None:
    text = html.unescape((site[0] / "01_short_polling.html").read_text("utf-8"))
    assert "empty share: measured lies within 2 % of theory: yes" in text
    assert "your answer here" in text
    assert "BEGIN SOLUTION" not in text
    assert "<math" in text, "formulas need no script"


def test_the_instructors_pages_keep_the_answers() -> None:
    page = build.page_of(read(CHAPTERS[1]), CHAPTERS[1].stem, answers=True)
    assert any("BEGIN SOLUTION" in cell.source for cell in page.cells)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('<a href="gone.html">x</a>', "gone.html is not there"),
        ('<a href="#gone">x</a>', "the page has no such place"),
        ('<script src="https://elsewhere.example/x.js"></script>', "from elsewhere"),
        ('<img src="page.html">', "1 pictures without a text instead"),
    ],
    ids=["page", "place", "script", "picture"],
)
def test_a_broken_page_is_told_of(tmp_path: Path, body: str, said: str) -> None:
    (tmp_path / "page.html").write_text(body)
    assert any(said in sentence for sentence in links.broken(tmp_path))


# In the browser


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=["light", "dark"])
async def page(request: pytest.FixtureRequest, browser: Any, axe: str) -> AsyncIterator[Any]:
    """A tab in this theme, with axe-core in every page that it opens."""
    context = await browser.new_context(color_scheme=request.param)
    tab = await context.new_page()
    await tab.add_init_script(axe)
    tab.theme = request.param
    yield tab
    await context.close()


@pytest.mark.asyncio(loop_scope="session")
async def test_no_page_has_a_serious_accessibility_finding(page: Any, site: tuple[Path, list[str]]) -> None:
    found = []
    for path in [*sorted(site[0].glob("*.html")), site[0] / "servers" / "sse.html"]:
        await page.goto(path.as_uri())
        await page.evaluate("() => labAxe.plainCode(5)")
        found += [f"{path.name}: {said}" for said in await page.evaluate("() => labAxe.findings()")]
    assert found == []


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("device", sorted(WIDTHS_PX))
async def test_no_page_is_wider_than_the_screen(page: Any, site: tuple[Path, list[str]], device: str) -> None:
    await page.set_viewport_size({"width": WIDTHS_PX[device], "height": 900})
    wide = []
    for path in sorted(site[0].glob("*.html")):
        await page.goto(path.as_uri())
        over_px = await page.evaluate("() => document.documentElement.scrollWidth - innerWidth")
        wide += [f"{path.name}: {over_px} px too wide"] if over_px > 0 else []
    await page.goto((site[0] / "04_websocket.html").as_uri())
    await page.screenshot(path=ROOT / "test-results" / f"site-{device}-{page.theme}.png")
    assert wide == []


@pytest.mark.asyncio(loop_scope="session")
async def test_pictures_follow_the_theme(page: Any, site: tuple[Path, list[str]]) -> None:
    await page.goto((site[0] / "01_short_polling.html").as_uri())
    scheme = "() => getComputedStyle(document.querySelector('.lab-figure img')).colorScheme"
    assert await page.evaluate(scheme) == page.theme
