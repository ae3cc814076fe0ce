"""The bench on the page: choose a transport, watch what each client gets, and press what breaks it.

    from labsupport.measure.bench_run import Bench
    from labsupport.teach.bench import bench, lanes

    bench(Bench, "SSE")                                  the widget; put it last in a cell
    run = await Bench("SSE").play({0.8: "cut"}, 2.0)     the same without hands
    lanes(run.picture(None))                             what it came to, as a figure

The widget starts and ends what it is given (`make`): this room only shows what it says of itself (`picture`).
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import anywidget
import traitlets as T
from matplotlib.figure import Figure

from labsupport.teach import figures, theme
from labsupport.teach.bench_driver import FIRST, Driver, Engine

HERE = Path(__file__).parent
TRANSPORTS = ("short polling", "long polling", "SSE", "WebSocket")
COUNTERS = {
    "received": "received",
    "behind": "behind",
    "lost": "lost",
    "missed": "missed, and told so",
    "twice": "twice",
    "late": "out of order",
}
KINDS = {
    "came": ("o", "came"),
    "twice": ("D", "came again"),
    "late": ("s", "out of order"),
    "gap": ("x", "gap"),
}


def style() -> str:
    """The CSS of the bench, for both themes."""
    return (
        f".lab-bench{{{theme.variables(theme.LIGHT)}}}"
        + theme.on_dark_pages(".lab-bench", theme.variables(theme.DARK))
        + (HERE / "bench.css").read_text(encoding="utf-8")
    )


class BenchWidget(anywidget.AnyWidget):
    """Fields, buttons, lanes and counters. `picture` is the newest one; `said` the newest words."""

    _esm = T.Unicode((HERE / "bench.js").read_text(encoding="utf-8")).tag(sync=True)
    _css = T.Unicode(style()).tag(sync=True)
    transports: Any = T.List(list(TRANSPORTS)).tag(sync=True)
    counters: Any = T.Dict(COUNTERS).tag(sync=True)
    first: Any = T.Dict(FIRST).tag(sync=True)
    picture: Any = T.Dict({}).tag(sync=True)
    said: Any = T.Unicode("Press Start.").tag(sync=True)

    def __init__(self, make: Callable[..., Engine], **first: Any) -> None:
        super().__init__(first={**FIRST, **first})
        self._driver = Driver(make, lambda name, value: setattr(self, name, value))
        self.on_msg(lambda _, content, __: self._driver.told(content))

    def words(self) -> str:
        """What stands here without a browser, the same at each run."""
        return (
            f"The bench: {self.first['clients']} clients follow a server by {self.first['transport']}, and "
            "buttons for delay, cut, forget, freeze, slow reader, kill and restart show who loses what. It "
            "needs a kernel; the next cell does the same without hands."
        )

    def __repr__(self) -> str:
        return self.words()

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:  # type: ignore[override]
        view = {"version_major": 2, "version_minor": 0, "model_id": self._model_id}
        return {
            "application/vnd.jupyter.widget-view+json": view,
            "text/plain": self.words(),
            "text/html": f"<p>{html.escape(self.words())}</p>",
        }

    def close(self) -> None:
        """The page's end is the bench's, too."""
        self._driver.told({"do": "end"})
        super().close()


def bench(make: Callable[..., Engine], transport: str = "SSE", **first: Any) -> BenchWidget:
    """The widget. `make`: labsupport.measure.bench_run.Bench; the rest is what its fields say at first."""
    return BenchWidget(make, transport=transport, **first)


def lanes(picture: Mapping[str, Any], title: str = "") -> Figure:
    """A figure of a bench's picture: a lane for each client, a mark for each message, faults as bands.

    `title` is the finding; by default, the counters. Show it with figures.show(fig, says=…).
    """
    names = [f"client {number + 1}" for number in range(len(picture["lanes"]))]
    fig, ax = figures.new(
        title or _finding(picture["totals"]), x="time (s)", y="", height_in=1.5 + 0.35 * len(names)
    )
    rows = range(len(names), 0, -1)
    for row, lane in zip(rows, picture["lanes"], strict=True):
        for kind, (marker, _) in KINDS.items():
            at_s = [mark[0] for mark in lane["marks"] if mark[2] == kind]
            ax.plot(at_s, [row] * len(at_s), marker, color=_COLOURS[kind], markersize=6, label=_LABELS[kind])
    ax.plot(picture["published"], [0] * len(picture["published"]), "|", color=theme.INK, markersize=9)
    for name, begin_s, end_s in picture["faults"]:
        ends_s = picture["now_s"] if end_s is None else end_s
        ax.axvspan(begin_s, max(ends_s, begin_s + 0.02), color=theme.MUTED, alpha=0.25, linewidth=0)
        figures.note(ax, begin_s, len(names) + 0.7, name, dy_pt=6)
    ax.set_yticks([0, *rows], ["published", *names])
    ax.set(ylim=(-0.6, len(names) + 1.3), ylabel="")
    _legend(fig, ax, picture["lanes"])
    return fig


_COLOURS = {
    "came": theme.LIGHT["green"],
    "twice": theme.LIGHT["purple"],
    "late": theme.LIGHT["vermillion"],
    "gap": theme.INK,
}
_LABELS = {kind: words for kind, (_, words) in KINDS.items()}


def _legend(fig: Figure, ax: Any, shown: Sequence[Mapping[str, Any]]) -> None:
    """Names for the marks, where more than one kind is there."""
    there = {mark[2] for lane in shown for mark in lane["marks"]}
    if len(there) > 1:
        named = {label: handle for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
        kept = [_LABELS[kind] for kind in KINDS if kind in there]
        fig.legend([named[name] for name in kept], kept, loc="outside lower left", ncols=len(kept))


def _finding(totals: Mapping[str, int]) -> str:
    wrong = [
        f"{totals[name]} {words}" for name, words in COUNTERS.items() if name not in ("received", "behind")
    ]
    return f"{totals['received']} received: " + ", ".join(wrong)
