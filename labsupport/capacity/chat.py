"""A chat around a plan: what broker, presence and store have to do, and what the loss of a gateway costs.

    p = plan(users=1_000_000, messages_per_user="1/min", members=between(5, 50), transport="websocket")
    bill = chat(p, rooms=between(3, 20), session="20 min")
    for line in bill.lines: print(line)
    bill["new subscriptions"].value, .low, .high

The plan says how many gateways there are, and holds users, messages and members; its ranges go on in here,
draw for draw. All figures are means at the peak, but for what is stored: that is counted by the day.

Members of a room sit on gateways at random, independently of each other. Left out: rooms of very different
sizes (a mean of members hides them), bursts, history that is read, and search.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from labsupport.capacity import closed_forms as forms
from labsupport.capacity import load as loads
from labsupport.capacity import quantities as q
from labsupport.capacity.inputs import Input, family_of, read
from labsupport.capacity.result import Plan

DAY_S = 86_400.0
Numbers = Any

# What a chat takes when it is not told.
DEFAULTS: dict[str, Any] = {
    "rooms": 5,
    "beat": "30 s",
    "lives": "75 s",
    "session": "20 min",
    "watchers": 20,
    "mean": 0.4,
    "row": "100 B",
    "copies": 3,
    "busiest": 100,
}


def subscriptions(rooms: Numbers, gateways: Numbers, members: Numbers) -> Numbers:
    """R·S·(1 − (1 − 1/S)^m): pairs of a gateway and a room that it has a member of."""
    return np.asarray(rooms) * forms.servers_reached(gateways, members)


def new_subscriptions(rooms: Numbers, gateways: Numbers, members: Numbers) -> Numbers:
    """R·(S − 1)·((1 − 1/S)^m − (1 − 1/(S − 1))^m): what the survivors must subscribe to after a loss.

    One of S gateways is gone, and its clients come to the others at random. A survivor has to subscribe to a
    room if it held no member before and holds one now. 0 where nobody survives.
    """
    s = np.asarray(gateways, dtype=float)
    m = np.asarray(members, dtype=float)
    survivors = np.maximum(s - 1.0, 1.0)
    without = np.where(s > 1, (1.0 - 1.0 / np.maximum(s, 1.0)) ** m, 0.0)
    still_without = (1.0 - 1.0 / survivors) ** m
    return np.where(s > 1, np.asarray(rooms) * survivors * (without - still_without), 0.0)


def stored_bytes_a_day(
    peak_per_s: Numbers, mean: Numbers, message: Numbers, row: Numbers, copies: Numbers
) -> Numbers:
    """Peak rate · mean · 86 400 s · (text + row) · copies: peaks buy servers, means fill disks."""
    return np.asarray(peak_per_s) * mean * DAY_S * (np.asarray(message) + row) * copies


def ghost_s(lives_s: Numbers, beat_s: Numbers) -> Numbers:
    """TTL − P/2: how long someone who died still looks online, on average."""
    return np.asarray(lives_s) - np.asarray(beat_s) / 2.0


@dataclass(frozen=True)
class Line:
    """One figure: how it is computed, its middle, and where nine of ten draws lie. Base units."""

    name: str
    arithmetic: str
    value: float
    low: float
    high: float
    write: Callable[[float], str]

    @property
    def text(self) -> str:
        """The middle, and the range if there is one."""
        if self.low == self.high:
            return self.write(self.value)
        return f"{self.write(self.value)} ({self.write(self.low)} to {self.write(self.high)})"

    def __str__(self) -> str:
        return f"{self.name}: {self.arithmetic} = {self.text}"


@dataclass(frozen=True, eq=False)
class ChatBill:
    """What a chat costs besides holding its connections. Made by `chat(…)`."""

    plan: Plan
    inputs: Mapping[str, Input]

    @cached_property
    def _values(self) -> dict[str, float]:
        return self.plan.values | {name: one.mid for name, one in self.inputs.items()}

    @cached_property
    def _draws(self) -> dict[str, Numbers]:
        ranged = [one for one in [*self.plan.inputs.values(), *self.inputs.values()] if one.ranged]
        return {one.name: one.draw(self.plan.seed, self.plan.samples) for one in ranged}

    @cached_property
    def middle(self) -> dict[str, float]:
        """Every figure with each input in its middle."""
        return {name: float(value) for name, value in figures(self._values, self.plan).items()}

    @cached_property
    def lines(self) -> tuple[Line, ...]:
        """Every figure with its arithmetic and its range, in the order in which one would ask."""
        drawn = figures(self._values | self._draws, self.plan)
        words = arithmetic(self._values, self.middle, self.plan)
        found = []
        for name, (text, write) in words.items():
            low, high = np.percentile(drawn[name], [5, 95], method="nearest")  # ∞ is no mean of others
            found.append(Line(name, text, self.middle[name], float(low), float(high), write))
        return tuple(found)

    def __getitem__(self, name: str) -> Line:
        for line in self.lines:
            if line.name == name:
                return line
        raise KeyError(
            f"There is no figure {name!r}. There are: {', '.join(line.name for line in self.lines)}"
        )

    def table(self) -> list[dict[str, str]]:
        """A row for each figure: what, the arithmetic with numbers put in, and the result with its range."""
        return [{"what": one.name, "arithmetic": one.arithmetic, "result": one.text} for one in self.lines]


def chat(made: Plan, **given: Any) -> ChatBill:
    """The bill of a chat whose gateways `made` has planned.

    rooms: that an online user is in; beat, lives: a presence key is written so often, and lives so long;
    session: how long somebody stays online; watchers: online people who are told about it; mean: of a day, as
    a share of the peak; row: bytes stored around a message's text; copies: of each; busiest: the fullest
    room's messages, in those of an ordinary one. Each a value or `between(…)`; amounts say their units.
    """
    if unknown := sorted(given.keys() - DEFAULTS.keys()):
        raise TypeError(f"chat() knows nothing of {unknown[0]!r}; it takes {', '.join(DEFAULTS)}")
    if made.values.get("members", np.inf) == np.inf:
        raise ValueError('a chat has rooms: give the plan members, such as members=20, and not "all"')
    found = {name: read(name, given.get(name, usual), "given" if name in given else "default")
             for name, usual in DEFAULTS.items()}  # fmt: skip
    family_of({**made.inputs, **found})
    if found["lives"].low <= found["beat"].high:
        raise ValueError(
            f"a presence key must live longer than the time between two beats: expected lives above "
            f"{found['beat'].write(found['beat'].high)}, got {found['lives'].text()}"
        )
    return ChatBill(made, found)


def figures(v: Mapping[str, Numbers], made: Plan) -> dict[str, Numbers]:
    """All figures in base units, from values or arrays of draws."""
    done = loads.load(v, made.transport)
    gateways = loads.fleet(loads.needs(v, made.transport), made.spare)
    n, members, published = done["connections"], done["members"], done["published_per_s"]
    rooms = n * v["rooms"] / members
    rows = published * v["mean"] * DAY_S
    each = np.asarray(v["message"]) + v["row"]
    lost = n / gateways
    return {
        "gateways": gateways,
        "messages written": published,
        "messages pushed": done["deliveries_per_s"],
        "broker sends on": loads.broker_copies_per_s(v, done, gateways),
        "rooms": rooms,
        "subscriptions": subscriptions(rooms, gateways, members),
        "presence writes": n / np.asarray(v["beat"]) + 2.0 * n / np.asarray(v["session"]),
        "presence pushes": 2.0 * n / np.asarray(v["session"]) * v["watchers"],
        "ghosts look online": ghost_s(v["lives"], v["beat"]),
        "stored a day": rows * each * v["copies"],
        "a room's day": rows * each / rooms,
        "the busiest room's day": rows * each / rooms * v["busiest"],
        "clients of a lost gateway": lost,
        "back at best after": forms.take_over_s(n, gateways, np.asarray(v["accepts"]) * v["cores"]),
        "rejoins": lost * v["rooms"],
        "new subscriptions": new_subscriptions(rooms, gateways, members),
    }


def arithmetic(
    v: Mapping[str, float], f: Mapping[str, float], made: Plan
) -> dict[str, tuple[str, Callable[[float], str]]]:
    """Each figure's computation with the numbers put in, and how its result is written."""
    family = family_of(dict(made.inputs))
    size = lambda value: q.size_text(value, family)  # noqa: E731 - one short name for a long one
    num, per, sec = q.number, q.per_second, q.time_text
    n, m, s = num(made.load["connections"]), num(made.load["members"]), num(f["gateways"])
    total, ordinary = num(f["gateways"] - 1), size(f["a room's day"])
    return {
        "gateways": (f"the plan's, {made.binding} decides", num),
        "messages written": (f"{n} users, {_rate(v)}", per),
        "messages pushed": (f"{per(f['messages written'])} × {m} members", per),
        "broker sends on": (f"{per(f['messages written'])} × {s} × (1 − (1 − 1/{s})^{m})", per),
        "rooms": (f"{n} × {num(v['rooms'])} rooms each / {m} members", num),
        "subscriptions": (f"{num(f['rooms'])} × {s} × (1 − (1 − 1/{s})^{m})", num),
        "presence writes": (f"{n} / {sec(v['beat'])} + 2 × {n} / {sec(v['session'])}", per),
        "presence pushes": (f"2 × {n} / {sec(v['session'])} × {num(v['watchers'])} watchers", per),
        "ghosts look online": (f"{sec(v['lives'])} − {sec(v['beat'])} / 2", sec),
        "stored a day": (
            f"{per(f['messages written'])} × {q.share_text(v['mean'])} × 86 400 s × "
            f"({size(v['message'])} + {size(v['row'])}) × {num(v['copies'])} copies", size,
        ),
        "a room's day": (f"that / {num(v['copies'])} copies / {num(f['rooms'])} rooms", size),
        "the busiest room's day": (f"{ordinary} × {num(v['busiest'])}", size),
        "clients of a lost gateway": (f"{n} / {s}", num),
        "back at best after": (
            f"{num(f['clients of a lost gateway'])} / ({total} × {per(v['accepts'] * v['cores'])})", sec,
        ),
        "rejoins": (f"{num(f['clients of a lost gateway'])} × {num(v['rooms'])} rooms", num),
        "new subscriptions": (
            f"{num(f['rooms'])} × {total} × ((1 − 1/{s})^{m} − (1 − 1/{total})^{m})", num,
        ),
    }  # fmt: skip


def _rate(v: Mapping[str, float]) -> str:
    if "messages_per_room" in v:
        return f"{q.per_second(v['messages_per_room'])} in each room of theirs"
    return f"{q.per_second(v['messages_per_user'])} each"
