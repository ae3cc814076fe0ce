"""A capacity plan as pictures: where it is enough, what moves it, and servers against users.

    show(*feasible_region(p.region()))
    show(*sensitivity(p.drivers, p.servers))
    show(*servers_against_users(p.curve()))

Each returns a figure and the sentence that says what it shows. They take results as data: anything with the
fields below will do.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import NDArray

from labsupport.teach import theme
from labsupport.teach.figures import GROUND, INK, MUTED, label_line, new, note
from labsupport.teach.readable import readable


class HasRegion(Protocol):
    """Where so many servers are enough; arrays over per_s (rows) and users (columns)."""

    users: NDArray[np.float64]
    per_s: NDArray[np.float64]
    rate_label: str
    margins: Mapping[str, NDArray[np.float64]]  # by limit: above 0 where it decides
    exact: NDArray[np.float64]  # servers that it takes
    servers: int
    planned_users: float
    planned_per_s: float


class HasDriver(Protocol):
    """One input at its two ends."""

    label: str
    low_text: str
    high_text: str
    servers_low: int
    servers_high: int


class HasCurve(Protocol):
    """Servers against users."""

    users: NDArray[np.float64]
    servers: NDArray[np.float64]
    asked: Mapping[str, NDArray[np.float64]]
    binding: Sequence[str]
    spare: int
    planned_users: float
    planned_servers: int


@dataclass(frozen=True)
class Look:
    """How a limit looks in every picture: a hue, a hatch, a line and a mark of its own."""

    color: str
    hatch: str
    line: Any
    mark: str


LOOKS = {
    "memory": Look(theme.LIGHT["green"], "//", "-", "^"),
    "CPU": Look(theme.LIGHT["vermillion"], "\\\\", (0, (5, 2)), "o"),
    "network": Look(theme.LIGHT["blue"], "--", (0, (1, 1.5)), "D"),
    "reconnect": Look(theme.LIGHT["purple"], "xx", (0, (6, 2, 1, 2)), "s"),
    "descriptors": Look(INK, "||", (0, (3, 1, 1, 1)), "v"),
    "given limit": Look(MUTED, "|", (0, (8, 2)), "P"),
    "broker": Look(MUTED, "++", (0, (2, 4)), "X"),
}
FILL = 0.16  # of the hue: words stay readable on it, on either ground
LABEL_CHARS = 26
SLANT, FITS = 4, 5  # cells: a name is about 40 wide and 8 high in a picture of 161 by 121


def feasible_region(region: HasRegion) -> tuple[Figure, str]:
    """Users across, message rate up: where the servers are enough, and what gives way first beyond."""
    enough = region.exact <= region.servers * (1 + 1e-9)
    broken = {
        name: (margin > 0) & (~enough if name != "broker" else np.True_)
        for name, margin in region.margins.items()
    }
    seen = [name for name, where in broken.items() if where.any()]
    holds = enough & ~broken.get("broker", np.zeros_like(enough))
    said = f"{_servers(region.servers)} {'are' if region.servers > 1 else 'is'} enough"
    title = f"{said} up to a border; beyond it {_gives_way(seen)}" if seen else f"{said} anywhere in here"
    fig, ax = new(title, x="users (people)", y=f"{region.rate_label} (a second)", height_in=4.2)
    _by_factors(ax)
    over = np.log(region.exact / region.servers)
    for name in seen:
        margin = region.margins[name] if name == "broker" else np.minimum(region.margins[name], over)
        _patch(ax, region, margin, LOOKS[name])
    border = over
    if "broker" in seen:
        border = np.maximum(over, region.margins["broker"])
    if holds.any() and not holds.all():
        ax.contour(region.users, region.per_s, border, levels=[0.0], colors=[INK], linewidths=2.0)
    _name_patches(ax, region, {"enough": holds} | {name: broken[name] for name in seen})
    if region.planned_per_s > 0:
        ax.plot(
            region.planned_users, region.planned_per_s, "*", color=INK, markersize=12, markeredgecolor=GROUND
        )
        note(
            ax,
            region.planned_users,
            region.planned_per_s,
            "the plan",
            dx_pt=-9,
            dy_pt=0,
            ha="right",
            color=INK,
        )
    ax.set_xlim(region.users[0], region.users[-1])
    ax.set_ylim(region.per_s[0], region.per_s[-1])
    ax.grid(visible=False)
    return fig, _region_says(region, seen, holds)


def _by_factors(ax: Any, subs: tuple[float, ...] = (1.0,)) -> None:
    """Both axes by factors, in plain numbers from the start: the first layout then has their true width."""
    ax.set(xscale="log", yscale="log")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: readable(value)))
        axis.set_minor_formatter(NullFormatter())
    ax.yaxis.set_major_locator(LogLocator(subs=subs))


def _patch(ax: Any, region: HasRegion, margin: NDArray[np.float64], look: Look) -> None:
    """Where `margin` is above 0, in the limit's hue and hatch; contour lines give it a smooth edge."""
    where = np.clip(np.nan_to_num(margin, neginf=-30.0, posinf=30.0), -30.0, 30.0)
    ax.contourf(region.users, region.per_s, where, levels=[0.0, 31.0], colors=[look.color], alpha=FILL)
    hatched = ax.contourf(region.users, region.per_s, where, levels=[0.0, 31.0], colors="none")
    hatched.set(hatch=look.hatch * 2, edgecolor=look.color, linewidth=0.0)


def _name_patches(ax: Any, region: HasRegion, patches: Mapping[str, NDArray[np.bool_]]) -> None:
    for name, where in patches.items():
        (row, column), across = _middle(where)
        (other_column, other_row), upright = _middle(where.T)
        if max(across, upright) == 0:
            continue  # too small for words: the title names it
        stands = across < FITS and upright > across
        at = (other_column, other_row) if stands else (column, row)
        text = f"{_servers(region.servers)} enough" if name == "enough" else f"{name} gives way"
        color = INK if name == "enough" else theme.text_color(LOOKS[name].color)
        note(
            ax, region.users[at[0]], region.per_s[at[1]], text, dy_pt=0, color=color,
            fontsize=theme.TEXT_PT, rotation=90 if stands else 0,
        )  # fmt: skip


def _middle(where: NDArray[np.bool_]) -> tuple[tuple[int, int], int]:
    """The cell that lies deepest inside (row, column), and how many layers were peeled off to reach it.

    The picture's edge counts as outside, so that no name runs over it. A layer is one cell high and SLANT
    wide, as words are.
    """
    layers, left = 0, np.pad(where, ((1, 1), (SLANT, SLANT)))
    while True:
        inner = np.zeros_like(left)
        inner[1:-1, SLANT:-SLANT] = (
            left[1:-1, SLANT:-SLANT]
            & left[:-2, SLANT:-SLANT]
            & left[2:, SLANT:-SLANT]
            & left[1:-1, : -2 * SLANT]
            & left[1:-1, 2 * SLANT :]
        )
        if not inner.any():
            break
        left, layers = inner, layers + 1
    rows, columns = np.nonzero(left)
    if not len(rows):
        return (0, 0), 0
    nearest = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
    return (int(rows[nearest]) - 1, int(columns[nearest]) - SLANT), layers


def _region_says(region: HasRegion, seen: Sequence[str], holds: NDArray[np.bool_]) -> str:
    servers = _servers(region.servers)
    if not seen:
        return f"Anywhere in this picture {servers} are enough."
    column = int(np.argmin(np.abs(np.log(region.users / region.planned_users))))
    able = region.per_s[holds[:, column]]
    most = (
        f"are enough up to about {readable(able.max(), 2)}/s ({region.rate_label})"
        if len(able)
        else "never are"
    )
    return (
        f"At the plan's {readable(region.planned_users)} users {servers} {most}. "
        f"Beyond the border {_gives_way(seen)}."
    )


def sensitivity(drivers: Sequence[HasDriver], servers: int) -> tuple[Figure, str]:
    """A bar for each ranged input, from the servers at its 5 % end to those at its 95 % end; widest first."""
    if not drivers:
        raise ValueError("no input of this plan is a range: give one as between(low, high), and plan again")
    first = drivers[0]
    moves = first.servers_high != first.servers_low
    title = (
        f"What moves the plan most is {first.label}: {_change(first)} servers"
        if moves
        else f"No range changes the plan: {_servers(servers)} either way"
    )
    fig, ax = new(title, x="servers (count)", height_in=1.5 + 0.5 * len(drivers))
    widest = max(abs(d.servers_high - d.servers_low) for d in drivers) or 1
    for i, driver in enumerate(drivers):
        _bar(ax, i, driver, servers)
    ax.axvline(servers, color=INK, linewidth=1.2, zorder=3)
    ends = [end for d in drivers for end in (d.servers_low, d.servers_high, servers)]
    ax.set_xlim(min(ends) - 0.3 * widest - 0.1, max(ends) + 0.3 * widest + 0.1)
    ax.set_ylim(len(drivers) - 0.4, -0.75)
    ax.set_yticks(range(len(drivers)), [textwrap.fill(d.label, LABEL_CHARS) for d in drivers])
    ax.xaxis.get_major_locator().set_params(integer=True, nbins=7)
    ax.grid(visible=False, axis="y")
    ax.grid(visible=True, axis="x")
    note(ax, servers, -0.62, f"the plan: {readable(servers)}", dy_pt=0, color=INK)
    said = "; ".join(f"{d.label} from {d.low_text} to {d.high_text}: {_change(d)}" for d in drivers)
    return fig, f"Servers when one input moves and the others stay in their middle. {_capital(said)}."


def _bar(ax: Any, row: int, driver: HasDriver, servers: int) -> None:
    """Hollow and hatched towards the 5 % end, filled towards the 95 % end, each end with its value."""
    ends = (
        (driver.servers_low, driver.low_text, GROUND, "////"),
        (driver.servers_high, driver.high_text, theme.LIGHT["blue"], ""),
    )
    level = driver.servers_low == driver.servers_high
    for end, text, fill, hatch in ends:
        ax.barh(
            row, end - servers, left=servers, height=0.5, facecolor=fill, hatch=hatch,
            edgecolor=theme.LIGHT["blue"], linewidth=1.0, zorder=2,
        )  # fmt: skip
        left = end < servers or (end == servers and end == driver.servers_low)
        if level:
            continue
        note(ax, end, row, text, dx_pt=-4 if left else 4, dy_pt=0, ha="right" if left else "left")
    if level:
        text = f"{driver.low_text} to {driver.high_text}: no change"
        note(ax, driver.servers_low, row, text, dx_pt=6, dy_pt=0, ha="left")


def servers_against_users(curve: HasCurve) -> tuple[Figure, str]:
    """Servers against users, both by factors; the line wears the look of the limit that decides there."""
    runs = _runs(curve.binding)
    order = list(dict.fromkeys(name for name, _, _ in runs))
    title = (
        f"{_capital(order[0])} decides, however many users come"
        if len(order) == 1
        else f"What decides changes with the users: {', then '.join(name for name, _, _ in runs)}"
    )
    fig, ax = new(title, x="users (people)", y="servers, spares included (count)", height_in=4.0)
    _by_factors(ax, (1.0, 2.0, 5.0))
    for name, asked in curve.asked.items():
        more = 0 if name == "reconnect" else curve.spare
        alone = np.maximum(np.ceil(asked * (1 - 1e-9)), 1.0) + more
        ax.plot(curve.users, alone, color=MUTED, linewidth=0.8, alpha=0.6, zorder=1)
        label_line(ax, curve.users[-1], alone[-1], f"{name} alone", MUTED)
    for name, first, last in runs:
        look, part = LOOKS[name], slice(first, min(last + 2, len(curve.users)))
        ax.plot(
            curve.users[part], curve.servers[part], color=look.color, linestyle=look.line, linewidth=3.0,
            marker=look.mark, markevery=max(1, (last - first) // 4), zorder=2, label=f"{name} decides",
        )  # fmt: skip
    handles, labels = ax.get_legend_handles_labels()
    by_label = dict(zip(labels, handles, strict=True))
    ax.legend(by_label.values(), by_label.keys(), loc="upper left", handlelength=3.5)
    ax.plot(curve.planned_users, curve.planned_servers, "*", color=INK, markersize=12, zorder=4)
    note(ax, curve.planned_users, curve.planned_servers, f"the plan: {readable(curve.planned_servers)}",
         dx_pt=-6, dy_pt=16, ha="right", color=INK)  # fmt: skip
    said = "; ".join(
        f"{name} from {readable(curve.users[first])} to {readable(curve.users[last])} users"
        for name, first, last in runs
    )
    ends = f"{readable(curve.servers[0])} to {readable(curve.servers[-1])}"
    return fig, (
        f"From {readable(curve.users[0])} to {readable(curve.users[-1])} users it takes {ends} servers. "
        f"What decides: {said}."
    )


def _runs(names: Sequence[str]) -> list[tuple[str, int, int]]:
    """Stretches with one name: (name, first index, last index)."""
    found: list[tuple[str, int, int]] = []
    for i, name in enumerate(names):
        if found and found[-1][0] == name:
            found[-1] = (name, found[-1][1], i)
        else:
            found.append((name, i, i))
    return found


def _change(driver: HasDriver) -> str:
    low, high = readable(driver.servers_low), readable(driver.servers_high)
    return f"{low} to {high}" if low != high else f"{low} throughout"


def _gives_way(names: Sequence[str]) -> str:
    return f"{_and(names)} {'gives' if len(names) == 1 else 'give'} way"


def _servers(count: int) -> str:
    return f"{readable(count)} server{'s' if count != 1 else ''}"


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]
