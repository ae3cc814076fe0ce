"""A plan on one page: assumption → arithmetic → check, as HTML for a browser and as PNG for anywhere else."""

from dataclasses import dataclass
from pathlib import Path

from labsupport.capacity import arithmetic, card_html, card_png
from labsupport.capacity.arithmetic import Line
from labsupport.capacity.published import beside
from labsupport.capacity.quantities import number, share_text
from labsupport.capacity.result import Plan

LEFT_OUT = (
    "Left out: bursts above the peak's average, servers that get more than their share, retransmissions, "
    "what the servers do besides holding connections and forwarding, and the pushes that survivors make "
    "while they take clients over."
)


@dataclass(frozen=True)
class Table:
    """One part of the card. `marked`: the row that decides, from 0."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    widths: tuple[float, ...]  # shares of the page's width
    marked: int | None = None


@dataclass(frozen=True)
class Card:
    """What both forms of the card show, in the same order."""

    title: str
    answer: str
    tables: tuple[Table, ...]
    left_out: str


def of(plan: Plan) -> Card:
    """The card of a plan."""
    servers = f"{number(plan.servers)} server{'s' if plan.servers > 1 else ''}"
    found = f"{servers}, and {plan.binding} decides"
    title = f"{plan.question} {found[0].upper()}{found[1:]}" if plan.question else found
    tables = [_assumptions(plan), _arithmetic(plan), _limits(plan), _checks(plan)]
    if plan.ranged:
        tables.append(_spread(plan))
    return Card(title, plan.summary(), tuple(tables), LEFT_OUT)


def save(plan: Plan, path: Path) -> tuple[Path, Path]:
    """Write path.html and path.png (an ending that `path` already has gives way). The folder is made."""
    if path.suffix not in ("", ".html", ".png"):
        raise ValueError(
            f"a card is saved as .html and .png: expected a path such as cards/slack, got {path}"
        )
    page, picture = (path.with_suffix(ending) for ending in (".html", ".png"))
    path.parent.mkdir(parents=True, exist_ok=True)
    card = of(plan)
    page.write_text(card_html.page(card), encoding="utf-8")
    card_png.draw(card, picture)
    return page, picture


def _assumptions(plan: Plan) -> Table:
    rows = []
    for name, one in plan.inputs.items():
        elsewhere = beside(name, plan.family)
        told = f"{one.source}. Published: {elsewhere}" if elsewhere else one.source
        rows.append((one.label, one.text(plan.family), told))
    rows.append(("spare servers: the k of N + k", str(plan.spare), "given"))
    if plan.brokers is not None:
        rows.append(("brokers", str(plan.brokers), "given"))
    columns = ("what", "value" + (" (5 % to 95 %)" if plan.ranged else ""), "where it is from")
    return Table("Assumptions", columns, tuple(rows), (0.33, 0.22, 0.45))


def _lines(title: str, lines: list[Line], answer: str, marked: int | None = None) -> Table:
    rows = tuple((line.name, line.arithmetic, line.answer) for line in lines)
    return Table(title, ("what", "arithmetic", answer), rows, (0.2, 0.55, 0.25), marked)


def _arithmetic(plan: Plan) -> Table:
    return _lines("What there is to do, at the peak", arithmetic.demand(plan), "result")


def _limits(plan: Plan) -> Table:
    names = [limit.name for limit in plan.limits]
    marked = names.index(plan.binding) if plan.binding in names else None
    title = "Servers that each limit asks for"
    return _lines(title, [*arithmetic.limits(plan), arithmetic.total(plan)], "servers", marked)


def _checks(plan: Plan) -> Table:
    return _lines(f"Check: {number(plan.servers)} servers put back in", arithmetic.checks(plan), "result")


def _spread(plan: Plan) -> Table:
    spread = plan.spread
    rows = [
        (d.label, f"{number(d.servers_low)} at {d.low_text}", f"{number(d.servers_high)} at {d.high_text}",
         _signed(d.rank_correlation))
        for d in plan.drivers
    ]  # fmt: skip
    most_often = sorted(spread.binds.items(), key=lambda item: -item[1])
    often = ", ".join(f"{name} {share_text(share)}" for name, share in most_often)
    title = (
        f"How sure: {number(spread.p5)} to {number(spread.p95)} servers in 9 of 10 draws "
        f"({number(plan.samples)} draws, seed {plan.seed}); what decides: {often}"
    )
    columns = (
        "range, others in their middle",
        "servers at its 5 %",
        "servers at its 95 %",
        "rank correlation",
    )
    return Table(title, columns, tuple(rows), (0.35, 0.23, 0.23, 0.19))


def _signed(correlation: float) -> str:
    text = f"{correlation:+.2f}".replace("-", "−")
    return "0.00" if text[1:] == "0.00" else text
