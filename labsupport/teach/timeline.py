"""Time as a picture: who asked when, what was held, what came back.

fig, ax = network_timeline(capture.exchanges(), "The answer comes when there is something to say")
fig, ax = sequence(
    "What happens at 12 s is known at 15 s",
    lanes=("Bob", "server", "Alice"),
    events=[*poll(0), *poll(5), *poll(10), Arrow(12, "Alice", "server", "hello", carries="message"),
            Gap(12, 15, "3 s"), *poll(15, carries="message")],
)
show(fig, says="…")
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Patch, Rectangle

from labsupport.teach import theme
from labsupport.teach.figures import BAND, GROUND, INK, MUTED, PALETTE, new, note
from labsupport.teach.readable import readable

MOST_ROWS = 40  # a taller picture is not read
REQUEST_CHARS = 30
ROW_IN = 0.27


class HasExchange(Protocol):
    """What `network_timeline` needs; labsupport.wire's exchanges have it. Times in s, sizes in bytes."""

    @property
    def connection(self) -> int: ...
    @property
    def method(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def status(self) -> int | None: ...
    @property
    def sent_s(self) -> float: ...
    @property
    def first_byte_s(self) -> float | None: ...
    @property
    def done_s(self) -> float | None: ...
    @property
    def bytes_up(self) -> int: ...
    @property
    def bytes_down(self) -> int: ...


@dataclass(frozen=True)
class Exchange:
    """One request and what came back; None where nothing did."""

    connection: int
    method: str
    target: str
    sent_s: float
    first_byte_s: float | None
    done_s: float | None
    bytes_up: int
    bytes_down: int
    status: int | None


def network_timeline(
    exchanges: Iterable[HasExchange], title: str, *, transport: str = "short polling"
) -> tuple[Figure, Axes]:
    """Each exchange as a bar, as in a browser's network tab: pale while waiting, full while bytes arrive.

    Beside it: status, bytes up and down. An exchange without an answer is an open, dashed bar. The figure
    begins with the first request; of more than 40 exchanges the first 40 are drawn, and the rest counted.
    """
    rows = sorted(exchanges, key=lambda one: one.sent_s)
    if not rows:
        raise ValueError("There is no exchange to draw: was anything asked while the recording ran?")
    shown, more = rows[:MOST_ROWS], len(rows) - MOST_ROWS
    begin_s = shown[0].sent_s
    end_s = max(one.done_s or one.first_byte_s or one.sent_s for one in shown)
    if any(one.done_s is None for one in shown):
        end_s += 0.06 * (end_s - begin_s)  # the time that goes on without an answer
    unit, per_s = ("s", 1) if end_s - begin_s >= 2 else ("ms", 1000)
    span = max((end_s - begin_s) * per_s, 1e-6)
    fig, ax = new(title, x=f"time since the first request ({unit})", height_in=1.35 + ROW_IN * len(shown))
    color = PALETTE[transport]
    for row, one in enumerate(shown):
        _bar(ax, row, one, begin_s, per_s, span, color)
    names = [_request(one, several=len({one.connection for one in rows}) > 1) for one in shown]
    ax.set_yticks(range(len(shown)), names)
    ax.set(xlim=(-0.01 * span, 1.01 * span), ylim=(len(shown) - 0.4, -0.6))
    ax.grid(visible=False, axis="y")
    ax.grid(visible=True, axis="x")
    if more > 0:
        note(ax, 0, len(shown) - 0.4, f"and {more} more", dy_pt=-22, ha="left")
    key = [Patch(facecolor=color, alpha=0.35, label="waiting"), Patch(facecolor=color, label="receiving")]
    ax.annotate(
        "status · bytes ↑ ↓", (1, 1), xytext=(8, 9), xycoords="axes fraction", color=INK,
        textcoords="offset points", va="center_baseline", fontsize=theme.SMALL_PT, annotation_clip=False,
    )  # fmt: skip
    ax.legend(
        handles=key, loc="lower right", bbox_to_anchor=(1, 1), ncols=2, fontsize=theme.SMALL_PT, borderpad=0
    )
    return fig, ax


def _bar(ax: Axes, row: int, one: HasExchange, begin_s: float, per_s: float, span: float, color: str) -> None:
    """One exchange; what is too short to be seen is drawn as wide as a stroke."""
    sent = (one.sent_s - begin_s) * per_s
    least = 0.004 * span
    if one.first_byte_s is None:
        end = 1.01 * span
        ax.add_patch(
            Rectangle((sent, row - 0.28), end - sent, 0.56, fill=False, edgecolor=color, linestyle="--")
        )
        what = f"no answer · {one.bytes_up}↑"
    else:
        first = (one.first_byte_s - begin_s) * per_s
        end = max(first + least, ((one.done_s or one.first_byte_s) - begin_s) * per_s)
        ax.add_patch(
            Rectangle((sent, row - 0.28), max(first - sent, least), 0.56, facecolor=color, alpha=0.35)
        )
        ax.add_patch(Rectangle((first, row - 0.28), end - first, 0.56, facecolor=color))
        fine = one.status is not None and one.status < 400
        what = f"{'' if fine else '✗ '}{one.status} · {one.bytes_up}↑ {one.bytes_down}↓"
        what += "" if one.done_s is not None else " cut off"
    ax.annotate(
        what, (1, row), xytext=(8, 0), xycoords=ax.get_yaxis_transform(), textcoords="offset points",
        va="center_baseline", color=MUTED, fontsize=theme.SMALL_PT, annotation_clip=False,
    )  # fmt: skip


def _request(one: HasExchange, *, several: bool) -> str:
    """Method and target, shortened, and the connection's number where there are several."""
    text = f"{one.method} {one.target}"
    if len(text) > REQUEST_CHARS:
        text = text[: REQUEST_CHARS - 1] + "…"
    return f"{text}  ({one.connection})" if several else text


# A conversation

Carries = Literal["request", "empty", "message"]


@dataclass(frozen=True)
class Arrow:
    """Something sent from one lane to another. `takes_s`: its way; by default just long enough to see.

    at_s: when it `when`: "leaves" its lane or "arrives" at the other.
    carries: a "request" is thin, an "empty" answer thin and dashed, a "message" thick with a filled end.
    """

    at_s: float
    source: str
    target: str
    text: str = ""
    takes_s: float | None = None
    carries: Carries = "request"
    when: Literal["leaves", "arrives"] = "leaves"


@dataclass(frozen=True)
class Mark:
    """Something that happens on a lane at `at_s`."""

    at_s: float
    lane: str
    text: str


@dataclass(frozen=True)
class Held:
    """A lane that keeps something waiting, for example a parked request."""

    from_s: float
    to_s: float
    lane: str
    text: str = ""
    after_way: bool = False  # it is what an arrow that leaves at `from_s` brings


@dataclass(frozen=True)
class Gap:
    """A span of time worth naming, drawn under all lanes."""

    from_s: float
    to_s: float
    text: str


Event = Arrow | Mark | Held | Gap
WAY = 0.022  # of the whole span: how long an arrow takes where no one says


def poll(
    at_s: float, *, client: str = "Bob", server: str = "server", carries: Carries = "empty", text: str = "",
    held_until_s: float | None = None, takes_s: float | None = None,
) -> list[Event]:  # fmt: skip
    """A request and its answer: at once, or after the server has held it until `held_until_s`."""
    ask = Arrow(at_s, client, server, takes_s=takes_s)
    if held_until_s is not None:
        return [
            ask,
            Held(at_s, held_until_s, server, after_way=True),
            Arrow(held_until_s, server, client, text, takes_s, carries),
        ]
    return [ask, _Reply(at_s, server, client, text, takes_s, carries)]


@dataclass(frozen=True)
class _Reply(Arrow):
    """An answer that leaves when its request, sent at `at_s`, has arrived."""


def sequence(
    title: str, *, lanes: Sequence[str], events: Sequence[Event], transport: str = "short polling",
    until_s: float | None = None,
) -> tuple[Figure, Axes]:  # fmt: skip
    """A conversation along a time axis, one lane for each that takes part, the first on top.

    events: Arrow, Mark, Held, Gap, in any order; times in seconds. Unless arrows say how long they take, they
    are drawn a little aslant, so that there and back can be told apart.
    """
    ends = [end for event in events for end in (getattr(event, "at_s", 0.0), getattr(event, "to_s", 0.0))]
    span_s = until_s if until_s is not None else max(ends, default=1.0) * 1.06 + 1e-9
    gaps = [event for event in events if isinstance(event, Gap)]
    fig, ax = new(title, x="time (s)", height_in=1.25 + 0.85 * len(lanes) + 0.35 * bool(gaps))
    level = {lane: -float(row) for row, lane in enumerate(lanes)}
    bottom = -(len(lanes) - 1.0)
    for y in level.values():
        ax.add_patch(Rectangle((0, y - 0.045), span_s, 0.09, facecolor=BAND, edgecolor="none"))
    for event in events:
        if isinstance(event, Arrow):
            _arrow(ax, event, level, span_s, PALETTE[transport])
        elif isinstance(event, Mark):
            _mark(ax, event, level, bottom)
        elif isinstance(event, Held):
            _held(ax, event, level, span_s, PALETTE[transport])
    for gap in gaps:
        _gap(ax, gap, bottom - 0.62)
    ax.set_yticks(list(level.values()), list(level))
    ax.tick_params(axis="y", labelsize=theme.TEXT_PT, labelcolor=INK)
    above = 0.5 if any(isinstance(event, Mark) and event.lane == lanes[0] for event in events) else 0.2
    ax.set(xlim=(-0.01 * span_s, span_s * 1.005), ylim=(bottom - (0.95 if gaps else 0.5), above))
    ax.grid(visible=False)
    return fig, ax


def _level(level: dict[str, float], lane: str) -> float:
    if lane not in level:
        raise ValueError(f"There is no lane {lane!r}; the lanes are {', '.join(level)}")
    return level[lane]


def _arrow(ax: Axes, arrow: Arrow, level: dict[str, float], span_s: float, color: str) -> None:
    way_s = WAY * span_s if arrow.takes_s is None else arrow.takes_s
    leaves_s = arrow.at_s + way_s if isinstance(arrow, _Reply) else arrow.at_s
    leaves_s -= way_s if arrow.when == "arrives" else 0
    here, there = _level(level, arrow.source), _level(level, arrow.target)
    strong = arrow.carries == "message"
    style: dict[str, Any] = {
        "color": color if strong else MUTED,
        "linewidth": 2.2 if strong else 1.2,
        "linestyle": (0, (3, 2)) if arrow.carries == "empty" else "solid",
        "arrowstyle": "-|>,head_length=5,head_width=2.6" if strong else "->,head_length=3.5,head_width=2",
    }
    ax.add_patch(
        FancyArrowPatch(
            (leaves_s, here), (leaves_s + way_s, there), shrinkA=2, shrinkB=2, mutation_scale=1, **style
        )
    )
    if arrow.text:
        shade = theme.text_color(color) if strong else MUTED
        middle = (leaves_s + way_s / 2, (here + there) / 2)
        note(
            ax,
            *middle,
            arrow.text,
            dx_pt=8,
            dy_pt=0,
            ha="left",
            color=shade,
            fontsize=theme.TEXT_PT,
            bbox=None,
        )


def _mark(ax: Axes, mark: Mark, level: dict[str, float], bottom: float) -> None:
    y = _level(level, mark.lane)
    ax.plot([mark.at_s], [y], "D", color=INK, markeredgecolor=GROUND, markersize=8, zorder=5)
    below = y == bottom and len(level) > 1
    note(ax, mark.at_s, y, mark.text, dy_pt=-15 if below else 15, color=INK)


def _held(ax: Axes, held: Held, level: dict[str, float], span_s: float, color: str) -> None:
    y = _level(level, held.lane)
    begin_s = held.from_s + WAY * span_s * held.after_way
    pale: dict[str, Any] = {"facecolor": color, "alpha": 0.35, "edgecolor": "none"}
    ax.add_patch(Rectangle((begin_s, y - 0.1), held.to_s - begin_s, 0.2, **pale))
    text = held.text or f"held for {readable(round(held.to_s - held.from_s, 3))} s"
    note(ax, (begin_s + held.to_s) / 2, y, text, dy_pt=-15, color=theme.text_color(color))


def _gap(ax: Axes, gap: Gap, y: float) -> None:
    ends: dict[str, Any] = {"arrowstyle": "|-|,widthA=3,widthB=3", "mutation_scale": 1}
    ends |= {"shrinkA": 0, "shrinkB": 0}
    ax.add_patch(FancyArrowPatch((gap.from_s, y), (gap.to_s, y), color=INK, linewidth=1.2, **ends))
    note(ax, (gap.from_s + gap.to_s) / 2, y, gap.text, dy_pt=0, color=INK)
