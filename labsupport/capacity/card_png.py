"""The card as a picture, drawn with matplotlib: no browser needed, and the same bytes for the same plan."""

from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle

from labsupport.capacity.card_html import DECIDES

if TYPE_CHECKING:
    from labsupport.capacity.card import Card, Table

WIDTH_IN, DPI = 7.6, 160  # at 760 pixels wide a letter of 8 pt is 11 pixels high
MARGIN_PT, GAP_PT = 18.0, 8.0
LINE = 1.32  # of the letters' size
INK, MUTED, GROUND, RULE, BAND = "#1f2328", "#59616b", "#ffffff", "#dde1e6", "#eff1f4"


class _Page:
    """Text from top to bottom; `y` is where the next row goes, in points from the top."""

    def __init__(self, height_pt: float) -> None:
        self.height = height_pt
        self.figure = Figure(figsize=(WIDTH_IN, height_pt / 72), dpi=DPI, facecolor=GROUND)
        self.canvas = FigureCanvasAgg(self.figure)
        self.y = MARGIN_PT
        self.width = WIDTH_IN * 72 - 2 * MARGIN_PT
        self._widths: dict[tuple[str, float, str], float] = {}

    def wrap(self, words: str, width_pt: float, size: float, weight: str) -> list[str]:
        """Lines no wider than `width_pt`; a number and its unit stay together."""
        lines, line = [], ""
        for word in words.split(" "):
            longer = f"{line} {word}" if line else word
            if line and self._measure(longer, size, weight) > width_pt:
                lines.append(line)
                line = word
            else:
                line = longer
        return [*lines, line]

    def _measure(self, text: str, size: float, weight: str) -> float:
        key = (text, size, weight)
        if key not in self._widths:
            font = FontProperties(family="DejaVu Sans", size=size, weight=weight)
            pixels, _, _ = self.canvas.get_renderer().get_text_width_height_descent(text, font, False)
            self._widths[key] = pixels * 72 / DPI
        return self._widths[key]

    def row(
        self,
        cells: tuple[str, ...],
        shares: tuple[float, ...],
        *,
        size: float = 7.5,
        weight: str = "normal",
        color: str = INK,
        rule: bool = False,
        band: bool = False,
    ) -> None:
        """One row of cells, each wrapped in its share of the width, and the place below it."""
        wrapped = [
            self.wrap(cell, share * self.width - GAP_PT, size, weight)
            for cell, share in zip(cells, shares, strict=True)
        ]
        height = max(map(len, wrapped)) * size * LINE + (4.0 if rule or band else 0.0)
        if band:
            self._box(self.y, height, BAND)
        if rule:
            self._box(self.y, 0.6, RULE)
        x = MARGIN_PT
        for lines, share in zip(wrapped, shares, strict=True):
            for i, line in enumerate(lines):
                self._write(x, self.y + (2.0 if rule else 0.0) + i * size * LINE, line, size, weight, color)
            x += share * self.width
        self.y += height

    def _write(self, x: float, y: float, text: str, size: float, weight: str, color: str) -> None:
        self.figure.text(
            x / (WIDTH_IN * 72), 1 - y / self.height, text, size=size, weight=weight, color=color,
            va="top", ha="left", family="DejaVu Sans", parse_math=False,
        )  # fmt: skip

    def _box(self, y: float, height: float, color: str) -> None:
        box = Rectangle(
            (MARGIN_PT / (WIDTH_IN * 72), 1 - (y + height) / self.height),
            self.width / (WIDTH_IN * 72), height / self.height, transform=self.figure.transFigure,
            facecolor=color, edgecolor="none", zorder=0,
        )  # fmt: skip
        self.figure.add_artist(box)


def draw(card: "Card", path: Path) -> None:
    """Write the card to `path`, as high as its words need."""
    measured = _compose(card, _Page(1_000.0))
    page = _compose(card, _Page(measured.y + MARGIN_PT))
    page.figure.savefig(path, dpi=DPI, facecolor=GROUND, metadata={"Software": None, "Title": card.title})


def _compose(card: "Card", page: _Page) -> _Page:
    page.row((card.title,), (1.0,), size=12, weight="bold")
    page.y += 4
    page.row((card.answer,), (1.0,), size=8.5)
    for table in card.tables:
        page.y += 9
        _table(table, page)
    page.y += 8
    page.row((card.left_out,), (1.0,), color=MUTED)
    return page


def _table(table: "Table", page: _Page) -> None:
    page.row((table.title,), (1.0,), size=8.5, weight="bold")
    page.y += 2
    page.row(table.columns, table.widths, color=MUTED)
    for i, (first, *others) in enumerate(table.rows):
        marked = i == table.marked
        name = f"{first} ({DECIDES})" if marked else first
        weight = "bold" if marked else "normal"
        page.row((name, *others), table.widths, rule=True, band=marked, weight=weight)
