"""A matplotlib figure as a small SVG: quick to make, the same bytes for the same data, in the page's colours.

`savefig` lays out and draws twice; going straight to the SVG writer draws once (17 ms against 31 ms for one
line with axes on the machine where the course was made), so that a slider feels attached to its picture.
"""

from __future__ import annotations

import base64
import html
import io
import re

import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from labsupport.teach import theme

# An artist with more points than this is stored as pixels in a still figure.
MANY_POINTS = 4_000
HEAVY_BYTES = 200_000  # a chapter stays under 1 MB, and has about ten figures

_BODY = re.compile(r"<svg [^>]*>(?P<body>.*)</svg>", re.DOTALL)
_DROP = re.compile(
    r"<metadata>.*?</metadata>|<defs>\s*<style[^>]*>.*?</style>\s*</defs>|<!--.*?-->"
    r"| id=\"[a-zA-Z][\w.]*?_\d+\""  # names of groups: two figures on one page would share them
    r"|(?<=[ \"])transform=\"rotate\(-0 [^)]*\)\""
    r"|font-family: [^;\"]*;? ?",
    re.DOTALL,
)
_SHORTHAND = re.compile(r"font: (?:(\d+) )?([\d.]+px) [^;\"]*;?")
_SPACE = re.compile(r"(?:<g>\s*</g>|<g/>)?\s*\n\s*(?=<)")
_TAG = re.compile(r"<[^>]+>")  # words between tags are the author's: they are never touched
_LONG_NUMBER = re.compile(r"(\d+\.\d\d)\d+")


def _drawn(fig: Figure) -> str:
    """What stands inside the <svg> element, with every colour of the course as a variable."""
    out = io.StringIO()
    canvas = fig.canvas if isinstance(fig.canvas, FigureCanvasSVG) else FigureCanvasSVG(fig)
    canvas.print_svg(out, metadata={"Date": None, "Creator": None})
    found = _BODY.search(out.getvalue())
    if found is None:  # pragma: no cover - matplotlib always writes one
        raise RuntimeError("matplotlib wrote no <svg> element")
    body = _DROP.sub("", found["body"])
    body = _SHORTHAND.sub(
        lambda font: (f"font-weight: {font[1]}; " if font[1] else "") + f"font-size: {font[2]};", body
    )
    return _TAG.sub(lambda tag: theme.to_variables(_LONG_NUMBER.sub(r"\1", tag[0])), _SPACE.sub("", body))


def _root(fig: Figure, attributes: str) -> str:
    """The opening tag: the figure's size, and what every shape inherits."""
    width, height = (72 * float(inches) for inches in fig.get_size_inches())
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="0 0 {width:g} {height:g}" width="{width / 0.75:g}" height="{height / 0.75:g}" '
        f'stroke-linejoin="round" stroke-linecap="butt" font-family="{theme.FONTS}" {attributes}>'
    )


def inline(fig: Figure, alt: str) -> str:
    """For a live widget: takes the page's variables; `alt` is what a screen reader says.

    The figure's layout must be settled and frozen (figures.freeze): this draws once and moves nothing.
    """
    label = html.escape(alt, quote=True)
    style = "max-width:100%;height:auto;display:block"
    return (
        _root(fig, f'class="lab-plot" role="img" aria-label="{label}" style="{style}"')
        + _drawn(fig)
        + "</svg>"
    )


def standalone(fig: Figure) -> str:
    """For an <img>: carries both themes and its own ground, so that it can be read on any page.

    Inside an <img> the media query answers to the *element's* `color-scheme` (CSS Color Adjustment 1,
    section 2.3), so the page around it can switch the picture.
    """
    body = _drawn(fig)
    if len(body) > HEAVY_BYTES and _rasterize(fig):
        body = _drawn(fig)
    style = (
        f"<style>:root{{{theme.variables(theme.LIGHT)}}}"
        f"@media (prefers-color-scheme:dark){{:root{{{theme.variables(theme.DARK)}}}}}</style>"
    )
    ground = '<rect width="100%" height="100%" rx="6" style="fill:var(--lab-ground)"/>'
    return _root(fig, "") + style + ground + body + "</svg>"


def _rasterize(fig: Figure) -> bool:
    """Turn lines and clouds of very many points into pixels; True if there was something to turn."""
    turned = False
    for ax in fig.axes:
        for line in ax.lines:
            if np.shape(line.get_xdata())[0] > MANY_POINTS:
                line.set_rasterized(True)
                turned = True
        for cloud in ax.collections:
            if max(np.shape(cloud.get_offsets())[0], len(cloud.get_paths())) > MANY_POINTS:
                cloud.set_rasterized(True)
                turned = True
    return turned


def data_uri(svg: str) -> str:
    """The SVG as the address of an <img>."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
