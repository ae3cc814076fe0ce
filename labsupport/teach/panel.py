"""What every widget of the course shares: its look, its words without a browser, and its still form.

A widget is never the only way to a result. In a page without a kernel (a notebook on GitHub, a printed
handout, a clone that has not been run) `still_html` takes its place; both that and `words` are the same at
each run.
"""

from __future__ import annotations

import pathlib
from typing import Any

import anywidget
import ipywidgets as W
import traitlets as T

from labsupport.teach import theme

CSS = (
    f".lab-panel,.lab-plot{{{theme.variables(theme.LIGHT)}}}"
    + theme.on_dark_pages(":is(.lab-panel,.lab-plot)", theme.variables(theme.DARK))
    + """
.lab-panel{max-width:691px;padding:4px 0 8px 0;overflow:visible}
.lab-panel .widget-label,.lab-panel p{font-size:14px;line-height:1.5;margin:0;color:var(--lab-ink);
 white-space:normal;height:auto;overflow:visible}
.lab-panel .lab-quiet p,.lab-panel .lab-caption .widget-html-content{color:var(--lab-muted)}
.lab-panel .lab-caption .widget-html-content{font-size:14px;line-height:1.5;padding:2px 8px;min-height:42px;
 white-space:normal}
.lab-panel .widget-slider{height:36px;overflow:visible}
.lab-panel .widget-slider .widget-label{text-align:left}
.lab-panel .slider-container{margin:0 12px 0 20px}
.lab-panel .lab-unit{align-self:center;padding-left:6px}
.lab-panel .widget-slider .noUi-handle{width:24px;height:24px;top:-10px;right:-12px;border-radius:50%}
.lab-panel .widget-readout{font-size:14px;min-width:64px;width:auto;text-align:right}
.lab-panel button{min-height:32px;width:auto;padding:0 16px;border-radius:4px}
.lab-panel :is(button,input,summary,.noUi-handle):focus-visible{
 outline:3px solid var(--lab-blue-text);outline-offset:2px}
"""
)


class _Names(anywidget.AnyWidget):
    """Gives names and live regions to its neighbours in the panel (panel.js)."""

    _esm = T.Unicode((pathlib.Path(__file__).parent / "panel.js").read_text(encoding="utf-8")).tag(sync=True)


def live_text(text: str = "", css_class: str = "") -> W.HTML:
    """Text that a screen reader speaks when it changes."""
    widget = W.HTML(text)
    for name in ("lab-live", *css_class.split()):
        widget.add_class(name)
    return widget


class Panel(W.VBox):
    """A box of widgets with the course's look; subclasses say what stands for them elsewhere."""

    def __init__(self, children: list[W.Widget], **box: Any) -> None:
        style = W.HTML(f"<style>{CSS}</style>", layout=W.Layout(display="none"))
        super().__init__([style, *children, _Names()], **box)
        self.add_class("lab-panel")

    def words(self) -> str:
        """Plain text: what is compared when the notebook is checked, and read where nothing is drawn."""
        raise NotImplementedError

    def still_html(self) -> str:
        """What a page without a kernel shows instead; empty for nothing more than the words."""
        return ""

    def __repr__(self) -> str:
        return self.words()

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        view = {"version_major": 2, "version_minor": 0, "model_id": self._model_id}
        bundle = {"application/vnd.jupyter.widget-view+json": view, "text/plain": self.words()}
        still = self.still_html()
        return bundle | ({"text/html": still} if still else {})
