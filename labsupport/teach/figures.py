"""Figures that say what they found: one look for the whole course.

    fig, ax = new("Half of the wait is spent not knowing", x="interval (s)", y="mean delay (s)")
    ax.plot(interval_s, delay_s, **look("short polling"))
    label_line(ax, interval_s[-1], delay_s[-1], "short polling", PALETTE["short polling"])
    show(fig, says="The mean delay is half of the interval: 15 s when asking every 30 s.")

`show` refuses a figure without a title, without units on its axes or without the sentence: a picture that
needs someone beside it to explain it is not finished, and some readers only have the sentence.
"""

from __future__ import annotations

import html
import re
import sys
import textwrap
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.category import StrCategoryFormatter
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.ticker import FuncFormatter, LogFormatter, NullFormatter, ScalarFormatter
from matplotlib.transforms import blended_transform_factory

from labsupport.teach import svg, theme
from labsupport.teach.readable import readable
from labsupport.teach.theme import BAND, GROUND, INK, MARK, MUTED, PALETTE, RULE

__all__ = [
    "BAND", "GROUND", "INK", "MARK", "MUTED", "PALETTE", "RULE",
    "FigureError", "figure_html", "freeze", "label_line", "look", "new", "note", "show",
]  # fmt: skip

Kind = Literal["theory", "simulated", "measured"]

theme.use()

EDGE = 0.0125  # of the figure's width: where title and vertical axis' name begin
PANEL_PAD_PT = 26.0  # room for the axis' name between a panel and its title
LINE_HEIGHT_PT = 13.0  # two labels closer than this would touch
TITLE_CHARS_PER_IN = 9.0  # bold 12 pt in DejaVu, the widest font that a browser may use


class FigureError(ValueError):
    """The figure lacks something that a reader needs; the message says what to add."""


def new(
    title: str = "",
    *,
    x: str = "",
    y: str = "",
    rows: int = 1,
    columns: int = 1,
    height_in: float = 3.6,
    **subplots: Any,
) -> tuple[Figure, Any]:
    """A figure in the course's look, and its axes (an array of them when there are several).

    `title` is the finding, as a sentence; `x` and `y` name the axes with their units: "interval (s)".
    `subplots` goes to matplotlib (sharex=True, width_ratios=[2, 1] …).
    """
    fig = Figure(figsize=(theme.WIDTH_IN, height_in))
    axes = fig.subplots(rows, columns, **subplots)
    if title:
        set_title(fig, title)
    for ax in np.atleast_1d(axes).flat:
        place = ax.get_subplotspec()  # axes that share their numbers share their name, too
        ax.set_xlabel(x if place.is_last_row() or not subplots.get("sharex") else "")
        ax.set_ylabel(y if place.is_first_col() or not subplots.get("sharey") else "")
        for axis, most in ((ax.xaxis, 7), (ax.yaxis, 5)):  # few round numbers: calm, and quick to redraw
            axis.get_major_locator().set_params(nbins=most, steps=[1, 2, 5, 10])
    return fig, axes


def set_title(fig: Figure, title: str) -> None:
    """The finding, left-aligned, in as many lines as it needs."""
    chars = round(TITLE_CHARS_PER_IN * fig.get_size_inches()[0])
    fig.suptitle(textwrap.fill(title, chars), x=EDGE, ha="left", color=INK, linespacing=1.25)


def look(
    transport: str = "", kind: Kind | None = None, *, every: int | float | None = None
) -> dict[str, Any]:
    """Arguments for `ax.plot`: the transport's colour and marker, and how it was found.

    theory is a plain line, simulated hollow markers, measured filled ones; without `kind`, a line with
    markers (`every`: a marker at each n-th point). Without a transport the colour is ink.
    """
    if transport and transport not in PALETTE:
        raise FigureError(f"{transport!r} has no colour of its own: use one of {', '.join(PALETTE)}, or none")
    color, marker = PALETTE.get(transport, INK), MARK.get(transport, "o")
    if kind == "theory":
        return {"color": color, "marker": "", "linewidth": 1.6}
    if kind == "simulated":
        return {
            "color": color,
            "marker": marker,
            "linestyle": "none",
            "markerfacecolor": GROUND,
            "markersize": 7,
        }
    if kind == "measured":
        return {"color": color, "marker": marker, "linestyle": "none", "markersize": 7}
    return {"color": color, "marker": marker, "markevery": every}


class LineLabel(Annotation):
    """A name beside the end of its line; `settle` moves it up or down so that no two touch."""


def label_line(ax: Axes, x: float, y: float, text: str, color: str = INK) -> LineLabel:
    """Write `text` to the right of the point (x, y), in a readable shade of the line's colour.

    Labels of one axes never lie on each other: they give way vertically when the figure is shown.
    To move one in a live figure, set its `.xy`.
    """
    label = LineLabel(
        text, xy=(float(x), float(y)), xytext=(8, 0), textcoords="offset points",
        ha="left", va="center_baseline", color=theme.text_color(color), fontsize=theme.TEXT_PT,
        annotation_clip=False,
    )  # fmt: skip
    ax.add_artist(label)
    label.set_clip_on(False)
    return label


def note(
    ax: Axes, x: float, y: float, text: str, *, dx_pt: float = 0, dy_pt: float = 10, **text_style: Any
) -> Any:
    """A quiet remark at a point of the figure, `dx_pt` and `dy_pt` points away from it."""
    style: dict[str, Any] = {"color": MUTED, "fontsize": theme.SMALL_PT, "ha": "center", "va": "center"}
    style["bbox"] = {
        "facecolor": GROUND,
        "edgecolor": "none",
        "pad": 1.5,
    }  # so that no grid line runs through words
    return ax.annotate(
        text,
        (x, y),
        xytext=(dx_pt, dy_pt),
        textcoords="offset points",
        annotation_clip=False,
        **(style | text_style),
    )


def show(fig: Figure, says: str) -> None:
    """Show a finished figure with `says`: one sentence, its caption and its text for who cannot see it.

    Raises FigureError when title, axis names with units, or the sentence is missing.
    """
    display_html(figure_html(fig, says), says)
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:
        pyplot.close(fig)  # or the notebook would show it a second time


def display_html(picture: str, says: str) -> None:
    """Display what `figure_html` made, with the sentence as its plain text."""
    display({"text/html": picture, "text/plain": f"Figure: {says}"}, raw=True)


def figure_html(fig: Figure, says: str) -> str:
    """The figure as HTML: an <img> with its words (JupyterLab drops <svg> from what is not trusted)."""
    check(fig, says)
    freeze(fig)
    alt = html.escape(f"{title_of(fig)}. {says}", quote=True)
    by_page = ".lab-figure img{color-scheme:light}" + theme.on_dark_pages(
        ".lab-figure img", "color-scheme:dark"
    )
    return (
        f"<style>{by_page}</style>"
        f'<figure class="lab-figure" style="margin:8px 0 12px 0">'
        f'<img alt="{alt}" style="max-width:100%;height:auto" src="{svg.data_uri(svg.standalone(fig))}">'
        f'<figcaption style="max-width:672px;padding:2px 8px">{html.escape(says)}</figcaption></figure>'
    )


# What a figure must have

_UNIT = re.compile(r"\([^()]+\)\s*$")
_NUMBER = re.compile(r"^[-−+]?[\d.,\s]*\d[\d.,\s]*(?:e[-−+]?\d+)?\s*%?$|^$|^\$", re.IGNORECASE)


def title_of(fig: Figure) -> str:
    """The figure's finding: its own title, or that of its first axes."""
    titles = [fig.get_suptitle(), *(ax.get_title(loc) for ax in fig.axes for loc in ("left", "center"))]
    return next((" ".join(title.split()).rstrip(".") for title in titles if title.strip()), "")


def _needs_name(axis: Axis) -> bool:
    """Whether an axis shows numbers: categories explain themselves, a hidden or shared axis has none."""
    if not axis.get_visible() or not axis.axes.axison:
        return False
    shown = [tick.get_text() for tick in axis.get_ticklabels() if tick.get_visible()]
    return bool(shown) and all(_NUMBER.match(text.strip()) for text in shown)


def check(fig: Figure, says: str) -> None:
    """Raise FigureError, saying what is missing and what to write, unless the figure can stand alone."""
    check_names(fig)
    if len(says.split()) < 3 or not says.strip().endswith((".", "!", "?", ")")):
        raise FigureError(
            f"says={says!r} is not a sentence yet. Say in words what the eye would see, for someone who "
            'cannot see it, and end with a full stop: says="At 5 s, 92 of 100 answers are empty."'
        )


def check_names(fig: Figure) -> None:
    """Raise FigureError when the title or an axis' name or unit is missing."""
    if not title_of(fig):
        raise FigureError(
            "This figure has no title. Say what it shows, as a finding: "
            'new("Nine of ten answers are empty", …) or ax.set_title("…").'
        )
    for ax in fig.axes:
        _plain_numbers(ax)  # before the first layout, which makes room for the labels that it finds
    fig.draw_without_rendering()  # tick labels exist only once the figure has been laid out
    for ax in fig.axes:
        for name, axis, label in (("x", ax.xaxis, ax.get_xlabel()), ("y", ax.yaxis, ax.get_ylabel())):
            if not label.strip() and _needs_name(axis):
                raise FigureError(
                    f"The {name} axis has numbers and no name. Add it with its unit in parentheses: "
                    f'ax.set_{name}label("interval (s)").'
                )
            if label.strip() and _needs_name(axis) and not _UNIT.search(label):
                raise FigureError(
                    f"The {name} axis is called {label!r}, without a unit. Add it in parentheses, for "
                    f'example "{label} (s)"; for plain numbers say what is counted: "{label} (requests)".'
                )


# Where things go


def settle(fig: Figure) -> None:
    """Lay the figure out: vertical axes' names lie flat above them, labels at line ends give way."""
    fig.patch.set_visible(False)  # the page's ground, or the card that svg.standalone draws
    panels = [ax for ax in fig.axes if ax.get_title("left")]
    if any(ax.get_ylabel() for ax in panels):  # the name of a panel goes above the name of its axis
        for ax in panels:
            ax.set_title(ax.get_title("left"), loc="left", pad=PANEL_PAD_PT)
    for ax in fig.axes:
        ax.patch.set_visible(False)
        _plain_numbers(ax)
        _flatten_name(ax)
    fig.draw_without_rendering()
    spread_labels(fig)


def freeze(fig: Figure) -> None:
    """Settle once and keep the layout: shown again it is the same, and live it does not breathe."""
    settle(fig)
    fig.set_layout_engine("none")


class _Plain(ScalarFormatter):
    """1 000 000 instead of 1.0 with "1e6" in a corner."""

    def __call__(self, value: float, position: int | None = None) -> str:
        text = super().__call__(value, position)
        return re.sub(r"(?<=\d)(?=(?:\d{3})+$)", "\N{NO-BREAK SPACE}", text) if "." not in text else text


def _plain_numbers(ax: Axes) -> None:
    """Write 0.1, 10, 1 000 on logarithmic axes, too: powers would be formulas, which are not set here.

    An axis of words gets no grid: the lines belong to the numbers beside it.
    """
    for axis in (ax.xaxis, ax.yaxis):
        formatter = axis.get_major_formatter()
        if isinstance(formatter, LogFormatter):
            axis.set_major_formatter(FuncFormatter(lambda value, _: readable(value)))
            axis.set_minor_formatter(NullFormatter())
        elif type(formatter) is ScalarFormatter:
            axis.set_major_formatter(_Plain())
        elif isinstance(formatter, StrCategoryFormatter):
            axis.grid(visible=False)
            (ax.yaxis if axis is ax.xaxis else ax.xaxis).grid(visible=True)


def _flatten_name(ax: Axes) -> None:
    """Put the vertical axis' name above it, level, so that nobody has to tilt the head."""
    spec = ax.get_subplotspec()
    across = ax.get_figure().transFigure if spec is None or spec.is_first_col() else ax.transAxes  # type: ignore[union-attr]
    ax.yaxis.label.set(rotation=0, horizontalalignment="left", verticalalignment="bottom")
    ax.yaxis.set_label_coords(
        EDGE if across is not ax.transAxes else 0.0,
        1.035,
        transform=blended_transform_factory(across, ax.transAxes),
    )


def spread_labels(fig: Figure) -> None:
    """Move the labels at line ends apart, each axes for itself, as little as needed."""
    for ax in fig.axes:
        labels = [text for text in ax.texts if isinstance(text, LineLabel) and text.get_visible()]
        if not labels:
            continue
        wanted = [float(ax.transData.transform(label.xy)[1]) for label in labels]
        gap = LINE_HEIGHT_PT * fig.dpi / 72
        for label, at, now in zip(labels, wanted, spread(wanted, gap), strict=True):
            label.set_position((8, (now - at) * 72 / fig.dpi))


def spread(wanted: Sequence[float], gap: float) -> list[float]:
    """Positions at least `gap` apart, in the same order, with the least sum of squared moves.

    Neighbours that are too close become a block around the mean of what its members wanted (pool adjacent
    violators; Barlow et al. 1972), until no two blocks touch.
    """
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    blocks: list[list[float]] = []  # each: sum of (wanted - offset inside the block), members
    for rank, i in enumerate(order):
        blocks.append([wanted[i] - rank * gap, 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            total, members = blocks.pop()
            blocks[-1][0] += total
            blocks[-1][1] += members
    placed, rank = [0.0] * len(wanted), 0
    for total, members in blocks:
        for _ in range(int(members)):
            placed[order[rank]] = total / members + rank * gap
            rank += 1
    return placed
