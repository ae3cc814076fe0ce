"""The colours and type of every figure in the course, for a light and for a dark page.

A figure is drawn with the *light* value of each token. On its way out (svg.py) each such value becomes a CSS
variable, so that the same file shows ink on white or chalk on black, whichever the page asks for.
"""

from __future__ import annotations

import re
from typing import Any, Final

import matplotlib as mpl
from cycler import cycler

# token -> (light, dark). The light values must differ from each other: they are what svg.py looks for.
TOKENS: Final[dict[str, tuple[str, str]]] = {
    "ground": ("#ffffff", "#111111"),  # JupyterLab's own grounds, so that no card stands out
    "ink": ("#1f2328", "#e6e8eb"),  # text and theory: 4.5:1 on its ground, as WCAG 2.2 asks of text (1.4.3)
    "muted": ("#59616b", "#a4acb6"),  # axis numbers, notes: also text, so also 4.5:1
    "rule": ("#dde1e6", "#33383e"),  # grid and frames: decoration, no contrast asked
    "band": ("#eff1f4", "#1d2024"),  # lanes and other large quiet surfaces
    # The four of Okabe and Ito's eight colours with 3:1 on white *and* on #111 (WCAG 1.4.11).
    "vermillion": ("#d55e00", "#d55e00"),
    "purple": ("#cc79a7", "#cc79a7"),
    "green": ("#009e73", "#009e73"),
    "blue": ("#0072b2", "#0072b2"),
    # The same hues for words: 3:1 is too little for text, so darker on white and lighter on black.
    "vermillion-text": ("#b04e00", "#ee7d25"),
    "purple-text": ("#a2477c", "#dc9cbf"),
    "green-text": ("#007a59", "#25b88c"),
    "blue-text": ("#006aa6", "#4aa3dc"),
}
LIGHT: Final = {name: light for name, (light, _) in TOKENS.items()}
DARK: Final = {name: dark for name, (_, dark) in TOKENS.items()}

INK: Final = LIGHT["ink"]
MUTED: Final = LIGHT["muted"]
RULE: Final = LIGHT["rule"]
BAND: Final = LIGHT["band"]
GROUND: Final = LIGHT["ground"]

# One colour and one marker per transport, in every chapter: never colour alone.
PALETTE: Final = {
    "short polling": LIGHT["vermillion"],
    "long polling": LIGHT["purple"],
    "SSE": LIGHT["green"],
    "WebSocket": LIGHT["blue"],
}
MARK: Final = {"short polling": "o", "long polling": "s", "SSE": "^", "WebSocket": "D"}

# What a browser has at hand; DejaVu, which matplotlib measures with, is wider than each of them, so all fits.
FONTS: Final = "system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,'DejaVu Sans',sans-serif"

# Points; 1 pt is 1.33 pixels on the page, so that 10 pt reads like JupyterLab's own 13 px text.
TEXT_PT: Final = 10.0
SMALL_PT: Final = 9.0
TITLE_PT: Final = 12.0
WIDTH_IN: Final = 7.2  # 691 px: the width of a notebook's output beside a sidebar

STYLE: Final[dict[Any, Any]] = {
    "figure.figsize": (WIDTH_IN, 3.6),
    "figure.dpi": 72,  # a point is a pixel: what is laid out is what is written
    "figure.facecolor": GROUND,
    "figure.titlesize": TITLE_PT,
    "figure.titleweight": "bold",
    "font.size": TEXT_PT,
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that layouts are equal on every machine
    "text.color": INK,
    "text.parse_math": False,  # a "$" is money here; formulas are plain Unicode: e^(−λT)
    "axes.prop_cycle": cycler(color=list(PALETTE.values())),
    "axes.facecolor": "none",
    "axes.edgecolor": RULE,
    "axes.linewidth": 0.8,
    "axes.labelcolor": MUTED,
    "axes.labelsize": TEXT_PT,
    "axes.labelpad": 6,
    "axes.titlelocation": "left",
    "axes.titlesize": TEXT_PT,
    "axes.titleweight": "bold",
    "axes.titlecolor": INK,
    "axes.titlepad": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.formatter.useoffset": False,
    "axes.formatter.limits": (-5, 12),  # powers of ten: within, numbers are written in full
    "axes.xmargin": 0.015,  # a line ends where its name begins
    "grid.color": RULE,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": SMALL_PT,
    "ytick.labelsize": SMALL_PT,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "xtick.major.pad": 6,
    "ytick.major.pad": 6,
    "lines.linewidth": 2.0,
    "lines.markersize": 6.0,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.09,
    "figure.constrained_layout.w_pad": 0.09,
    "svg.fonttype": "none",  # words stay words: a tenth of the bytes, sharp at any zoom, selectable
    "svg.hashsalt": "lab",  # the same figure gives the same bytes
}


def use() -> None:
    """Make this the style of every figure from now on: a legend made outside `new` must see it too."""
    mpl.rcParams.update(STYLE)


def text_color(color: str) -> str:
    """The shade of `color` in which words can be read (4.5:1); a colour of someone else's gives ink."""
    for name, light in LIGHT.items():
        if color.lower() == light:
            return LIGHT.get(f"{name}-text", light)
    return INK


def variables(values: dict[str, str]) -> str:
    """CSS declarations, as `--lab-ink:#1f2328;…`."""
    return "".join(f"--lab-{name}:{value};" for name, value in values.items())


_LIGHT_TO_NAME: Final = {light: name for name, light in LIGHT.items()}
_ANY_TOKEN: Final = re.compile("|".join(map(re.escape, _LIGHT_TO_NAME)))


def to_variables(svg: str) -> str:
    """The colours of an SVG as CSS variables; a page that lacks their values draws all in its own ink."""
    return _ANY_TOKEN.sub(lambda found: f"var(--lab-{_LIGHT_TO_NAME[found[0]]},currentColor)", svg)


# JupyterLab, VS Code and Colab each say in their own way that the page is dark.
DARK_PAGE: Final = ('body[data-jp-theme-light="false"]', "body.vscode-dark", "html[theme=dark]")


def on_dark_pages(selector: str, rules: str) -> str:
    """CSS that holds only where the page around it is dark."""
    return ",".join(f"{page} {selector}" for page in DARK_PAGE) + "{" + rules + "}"
