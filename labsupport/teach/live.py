"""A figure with sliders: it is drawn once, and every move of a slider changes only what has changed.

    fig, ax = new("Asking more often costs more than it helps", x="interval (s)", y="empty answers (of 100)")
    [point] = ax.plot([], [], "o")

    def draw(interval_s):
        point.set_data([interval_s], [100 * empty_share(interval_s)])
        return f"Every {interval_s:g} s: {100 * empty_share(interval_s):.0f} of 100 answers are empty."

    explore(draw, fig, interval_s=slider(0.5, 30, 5, unit="s"))

`draw` gets the sliders' values by name, changes the artists in place (`set_data`, `set_text`, a label's
`.xy`) and returns the sentence that says what is to be seen. `explore(...).still()` shows the first position
as a still figure.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ipywidgets as W
from matplotlib.figure import Figure

from labsupport.teach import figures, svg
from labsupport.teach.panel import Panel, live_text

Draw = Callable[..., str]


@dataclass(frozen=True)
class Slider:
    """A range from `low` to `high`, beginning at `start`, in `unit`; `log` for several decades."""

    low: float
    high: float
    start: float
    unit: str = ""
    step: float | None = None
    label: str = ""
    log: bool = False


def slider(
    low: float, high: float, start: float, *, unit: str = "", step: float | None = None, label: str = "",
    log: bool = False,
) -> Slider:  # fmt: skip
    """A slider from `low` to `high` that begins at `start`.

    Whole numbers for `low`, `high` and `start` give whole numbers. `step` is in the slider's unit (default:
    about a hundredth of the range, rounded); `label` is the name beside it (default: the argument's name).
    """
    if not low < high or not low <= start <= high:
        raise ValueError(f"A slider needs low < high and a start between them; got {low}, {high} and {start}")
    if log and low <= 0:
        raise ValueError(f"A logarithmic slider cannot reach {low}: begin above zero, or leave log out")
    return Slider(low, high, start, unit, step, label, log)


class Live:
    """A figure kept for its whole life and redrawn in place: no flicker, words for all, both themes.

    `.widget` shows it; `.draw(says)` redraws it with the sentence that now holds.
    """

    def __init__(self, fig: Figure) -> None:
        figures.check_names(fig)
        figures.freeze(fig)
        self.figure = fig
        self._picture, self._caption = W.HTML(), live_text(css_class="lab-caption")
        self.widget = W.VBox([self._picture, self._caption])

    def draw(self, says: str) -> None:
        """Redraw; only artists that moved have changed, and nothing is laid out anew."""
        figures.spread_labels(self.figure)
        self._picture.value = svg.inline(self.figure, f"{figures.title_of(self.figure)}. {says}")
        self._caption.value = html.escape(says)

    def fail(self, problem: str) -> None:
        """Say, in the place of the picture, why there is none."""
        self._picture.value = ""
        self._caption.value = html.escape(problem)


class Explore(Panel):
    """Sliders above their figure. `.values`: where they stand; `.still()`: the first position as a figure."""

    def __init__(self, draw: Draw, fig: Figure, sliders: dict[str, Slider]) -> None:
        self._draw, self._sliders = draw, sliders
        self._controls = {name: control_for(name, spec) for name, spec in sliders.items()}
        self._start = {name: control.value for name, control in self._controls.items()}
        self._says = self._say(
            self._start
        )  # before freezing: the first position is what the layout must hold
        self.live = Live(fig)
        self.live.draw(self._says)
        rows = [with_unit(control, sliders[name].unit) for name, control in self._controls.items()]
        super().__init__([*rows, self.live.widget])
        for control in self._controls.values():
            control.observe(self._moved, names="value")

    @property
    def values(self) -> dict[str, float]:
        """Where the sliders stand now, by name."""
        return {name: control.value for name, control in self._controls.items()}

    def _say(self, values: dict[str, float]) -> str:
        says = self._draw(**values)
        if not isinstance(says, str) or not says.strip():
            name = getattr(self._draw, "__name__", "draw")
            raise figures.FigureError(
                f"{name} must return the sentence that says what is to be seen; it returned {says!r}. "
                "Some readers only have this sentence."
            )
        return says

    def _moved(self, _: object) -> None:
        try:
            self.live.draw(self._say(self.values))
        except Exception as error:  # a traceback in a callback is seen by nobody
            self.live.fail(f"{type(error).__name__} while drawing {self.values}: {error}")

    def still(self) -> None:
        """Show the first position as a still figure, for readers without a kernel."""
        figures.display_html(self.still_html(), self._says)

    def still_html(self) -> str:
        self._draw(**self._start)
        try:
            return figures.figure_html(self.live.figure, self._says)
        finally:
            self._draw(**self.values)

    def words(self) -> str:
        names = ", ".join(_describe(name, spec) for name, spec in self._sliders.items())
        return f"Figure with sliders ({names}): {self._says}"


def explore(draw: Draw, fig: Figure, **sliders: Slider | tuple[float, float, float]) -> Explore:
    """A figure that follows its sliders; put it last in a cell, or `display` it.

    draw: called as draw(name=value, …) after each move; changes `fig` in place and returns one sentence.
    sliders: by name of draw's argument, each `slider(low, high, start, unit="s")` or the three numbers; an
    argument named like `interval_s` or `rate_per_s` tells its unit by itself.
    """
    if not isinstance(fig, Figure):
        raise TypeError(f"explore(draw, fig, …) needs the figure that draw changes; got {type(fig).__name__}")
    if not sliders:
        raise ValueError("explore needs at least one slider, for example interval_s=slider(0.5, 30, 5)")
    specs = {name: spec if isinstance(spec, Slider) else slider(*spec) for name, spec in sliders.items()}
    return Explore(draw, fig, {name: _named(name, spec) for name, spec in specs.items()})


_UNIT_ENDINGS = {"s": "s", "ms": "ms", "us": "µs", "per_s": "per s", "per_min": "per min", "per_h": "per h",
                 "bytes": "bytes", "kb": "kB", "percent": "%"}  # fmt: skip
_ENDING = re.compile(rf"^(.+?)_({'|'.join(sorted(_UNIT_ENDINGS, key=len, reverse=True))})$")


def _named(name: str, spec: Slider) -> Slider:
    """Label and unit from the argument's name, where they are not given: interval_s is "interval" in "s"."""
    found = _ENDING.match(name)
    stem, unit = (found[1], _UNIT_ENDINGS[found[2]]) if found else (name, "")
    return Slider(
        spec.low,
        spec.high,
        spec.start,
        spec.unit or unit,
        spec.step,
        spec.label or stem.replace("_", " "),
        spec.log,
    )


def _describe(name: str, spec: Slider) -> str:
    return f"{spec.label or name} {spec.start:g} {spec.unit}".rstrip()


def _nice_step(span: float) -> float:
    """About a hundredth of the span, as 1, 2 or 5 times a power of ten."""
    raw = span / 100
    power = 10 ** math.floor(math.log10(raw))
    return next(power * digit for digit in (1, 2, 5, 10) if power * digit >= raw * 0.999)


def with_unit(control: W.Widget, unit: str) -> W.HBox:
    """A slider and, behind its number, the unit."""
    label = W.Label(unit)
    label.add_class("lab-unit")
    return W.HBox([control, label])


def _on_grid(start: float, low: float, step: float) -> float:
    """The position next to `start` that the slider can stand on.

    A browser moves a slider that begins between two steps onto one of them, by itself: the figure would then
    open at another value than the sentence below it and the still figure tell of.
    """
    return low + round((start - low) / step) * step


def control_for(name: str, spec: Slider) -> W.Widget:
    """The slider itself, wide enough to be hit and to be read."""
    common: dict[str, Any] = {
        "description": spec.label or name,
        "style": {"description_width": "150px"},
        "layout": W.Layout(width="560px", max_width="100%"),
    }
    if spec.log:
        low, high = math.log10(spec.low), math.log10(spec.high)
        step = (high - low) / 100 if spec.step is None else spec.step
        written = ",.0f" if spec.low >= 1 else ".3g"
        start = 10 ** _on_grid(math.log10(spec.start), low, step)
        return W.FloatLogSlider(value=start, min=low, max=high, step=step, readout_format=written, **common)
    whole = all(isinstance(number, int) for number in (spec.low, spec.high, spec.start))
    if whole and (spec.step is None or isinstance(spec.step, int)):
        step = spec.step or max(1, round(_nice_step(spec.high - spec.low)))
        start = round(_on_grid(spec.start, spec.low, step))
        return W.IntSlider(value=start, min=spec.low, max=spec.high, step=step, **common)
    step = spec.step or _nice_step(spec.high - spec.low)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return W.FloatSlider(
        value=round(_on_grid(spec.start, spec.low, step), 12),
        min=spec.low,
        max=spec.high,
        step=step,
        readout_format=f".{digits}f",
        **common,
    )
