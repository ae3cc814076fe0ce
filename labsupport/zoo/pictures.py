"""What the exhibits' figures share: one panel for the code as found, a second one for the fix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from labsupport.teach.figures import INK, PALETTE, RULE, new

FOUND, MENDED = "as found", "with your fix"
BAD, GOOD, OTHER = PALETTE["short polling"], PALETTE["SSE"], PALETTE["WebSocket"]

Lanes = Mapping[str, Sequence[tuple[float, str]]]  # lane -> (when, what)
Run = TypeVar("Run")
Look = Mapping[str, dict[str, Any]]  # what -> how it is drawn


def mark(symbol: str, color: str, size: float = 7, **more: Any) -> dict[str, Any]:
    """How one kind of dot looks: never by colour alone."""
    return {"marker": symbol, "color": color, "linestyle": "none", "markersize": size, **more}


def panels(
    title: str, before: Run, after: Run | None, *, height_in: float, **how: Any
) -> tuple[Figure, list[tuple[Axes, Run]]]:
    """The figure, and each run that there is with its axes, above each other."""
    rows = 1 if after is None else 2
    fig, axes = new(title, rows=rows, height_in=0.9 + rows * height_in, sharex=True, **how)
    listed = list(np.atleast_1d(axes))
    if after is not None:
        for ax, name in zip(listed, (FOUND, MENDED), strict=True):
            ax.set_title(name, loc="left")
    return fig, list(zip(listed, [run for run in (before, after) if run is not None], strict=True))


def draw_lanes(ax: Axes, lanes: Lanes, look: Look) -> None:
    """Each lane a row, each happening a mark; the first lane on top."""
    for row, happenings in enumerate(lanes.values()):
        ax.axhline(row, color=RULE, linewidth=0.8, zorder=0)
        for kind, style in look.items():
            when = [at for at, what in happenings if what == kind]
            if when:
                ax.plot(when, [row] * len(when), label=kind, **style)
    ax.set_yticks(range(len(lanes)), list(lanes))
    ax.set_ylim(len(lanes) - 0.4, -0.6)
    ax.tick_params(axis="y", labelcolor=INK)
    ax.grid(visible=False)


def key(fig: Figure, axes: Sequence[Axes]) -> None:
    """The kinds of marks, once, below the figure."""
    named: dict[str, Any] = {}
    for ax in axes:
        for handle, name in zip(*ax.get_legend_handles_labels(), strict=True):
            named.setdefault(name, handle)
    fig.legend(named.values(), named.keys(), loc="outside lower left", ncols=4, handletextpad=0.3)


def lanes_figure(
    title: str, before: Lanes, after: Lanes | None, look: Look, *, x: str, lane_in: float = 0.34
) -> Figure:
    """Lanes over time, as found and mended."""
    fig, pairs = panels(title, before, after, height_in=0.35 + lane_in * len(before), x=x)
    for ax, lanes in pairs:
        draw_lanes(ax, lanes, look)
    key(fig, [ax for ax, _ in pairs])
    return fig
