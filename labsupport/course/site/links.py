"""A look at every link of the finished pages: each leads somewhere, and nothing is loaded from elsewhere."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "video": "src"}
NOT_LOADED = {"canonical", "index", "search", "next", "prev", "author", "help"}  # these only point


class _Page(HTMLParser):
    """Its anchors, where it points, and what it loads."""

    def __init__(self) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.points_to: list[str] = []
        self.loads: list[str] = []
        self.without_alt = 0

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        self.anchors |= {str(given[key]) for key in ("id", "name") if given.get(key)}
        if tag == "a" and given.get("href"):
            self.points_to.append(str(given["href"]))
        if tag == "img" and not given.get("alt"):
            self.without_alt += given.get("aria-hidden") != "true"
        address = given.get(LOADED.get(tag, ""))
        if address and not (tag == "link" and given.get("rel") in NOT_LOADED):
            self.loads.append(address)


def _read(path: Path) -> _Page:
    page = _Page()
    page.feed(path.read_text("utf-8"))
    return page


def broken(folder: Path) -> list[str]:
    """A sentence for each link to nowhere, thing loaded from elsewhere, page with pictures without text."""
    pages = {path.resolve(): _read(path) for path in sorted(folder.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        name = path.relative_to(folder.resolve())
        if page.without_alt:
            found.append(f"{name}: {page.without_alt} pictures without a text instead")
        found += [f"{name}: loads {to}, from elsewhere" for to in page.loads if urlsplit(to).netloc]
        for to in page.points_to + page.loads:
            parts = urlsplit(to)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists():
                found.append(f"{name}: {to} is not there")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                found.append(f"{name}: {to}: the page has no such place")
    return found
