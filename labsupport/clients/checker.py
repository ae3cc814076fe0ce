"""Was every message delivered, once and in order? A checker decides, not a feeling.

checker = DeliveryChecker()
checker.follower("bob")                     # also one who will get nothing
checker.published(await alice.send("hi"))
checker.received("bob", item)               # a Delivery or a Gap, or an id
report = checker.report()                   # prints as a sentence; `if report:` everything was right
"""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from html import escape

from labsupport.clients.base import Delivery, Gap

SHOWN = 5  # ids named in a sentence; more only make it unreadable


@dataclass(frozen=True, slots=True)
class FollowerReport:
    """What one follower got, compared with what was published on its channel.

    received        deliveries, doubles included
    lost            published, never came, and nobody said so
    missed          published, never came, and a Gap at that place said so
    duplicated      came more than once
    out_of_order    came after a message that was published later
    unexpected      came, but was never published (or not on this channel)
    """

    received: int
    lost: tuple[Hashable, ...]
    missed: tuple[Hashable, ...]
    duplicated: tuple[Hashable, ...]
    out_of_order: tuple[Hashable, ...]
    unexpected: tuple[Hashable, ...]

    @property
    def faults(self) -> dict[str, tuple[Hashable, ...]]:
        """What went wrong, by name; empty if nothing did."""
        names = ("lost", "missed", "duplicated", "out_of_order", "unexpected")
        return {name: value for name in names if (value := getattr(self, name))}

    def __bool__(self) -> bool:
        return not self.faults

    def __str__(self) -> str:
        words = {
            "missed": "missed and told so",
            "duplicated": "came more than once",
            "out_of_order": "out of order",
        }
        parts = [f"{len(ids)} {words.get(name, name)} ({_some(ids)})" for name, ids in self.faults.items()]
        return "; ".join(parts) or f"{self.received} received, all there, once and in order"


@dataclass(frozen=True, slots=True, repr=False)
class Report:
    """All followers. True in an `if` when each got every message, once and in order."""

    published: int
    followers: dict[str, FollowerReport]

    def __bool__(self) -> bool:
        return all(self.followers.values())

    @property
    def honest(self) -> bool:
        """Nothing went wrong in silence: what is missing was told by a Gap."""
        return all(set(report.faults) <= {"missed"} for report in self.followers.values())

    def __str__(self) -> str:
        wrong = {name: report for name, report in self.followers.items() if not report}
        well = len(self.followers) - len(wrong)
        many = f"{self.published} published, {len(self.followers)} follower{'s' * (len(self.followers) != 1)}"
        if not self.followers:
            return f"{self.published} published, and nobody followed."
        if not wrong:
            return f"{many}: nothing lost, nothing twice, all in order."
        parts = [f"{name}: {report}" for name, report in wrong.items()]
        return f"{many}, {well} without fault. " + ". ".join(parts) + "."

    __repr__ = __str__

    def _repr_html_(self) -> str:
        columns = ("follower", "received", "lost", "missed, told", "twice", "out of order", "unexpected")
        head = "".join(f'<th scope="col">{column}</th>' for column in columns)
        rows = []
        for name, report in self.followers.items():
            lists = (report.lost, report.missed, report.duplicated, report.out_of_order, report.unexpected)
            cells = "".join(f"<td>{number}</td>" for number in (report.received, *map(len, lists)))
            rows.append(f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>')
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
        return f"<div>{table}<p>{escape(str(self))}</p></div>"


@dataclass(slots=True)
class _Channel:
    """What was published, in order; `unsure` holds what may or may not have reached the log."""

    place: dict[Hashable, int] = field(default_factory=dict)
    unsure: set[Hashable] = field(default_factory=set)


@dataclass(slots=True)
class _Follower:
    channel: str
    after: Hashable | None
    got: list[Hashable] = field(default_factory=list)
    gaps: list[int] = field(default_factory=list)  # lengths of `got` when a Gap came


class DeliveryChecker:
    """Notes what was published and what each follower got, and compares at the end.

    Messages are known by an id: their position, or an id of your own in the data. Publish on a channel one
    message after the other, or note them in the order of the log: "in order" means in the order noted here.
    """

    def __init__(self) -> None:
        self._channels: dict[str, _Channel] = {}
        self._followers: dict[str, _Follower] = {}

    def published(self, id: Hashable, channel: str = "main", *, surely: bool = True) -> None:
        """Note a message. `surely=False`: sending ended in MaybeSent, so it may come, at most once."""
        known = self._channels.setdefault(channel, _Channel())
        if id in known.place:
            raise ValueError(f"{id!r} was published already: expected an id of its own for each message")
        known.place[id] = len(known.place)
        if not surely:
            known.unsure.add(id)

    def follower(self, name: str, channel: str = "main", *, after: Hashable | None = None) -> None:
        """Note who follows, before anything comes: from the first message, or from what follows `after`."""
        if name in self._followers:
            raise ValueError(f"{name!r} follows already: expected another name for another follower")
        self._followers[name] = _Follower(channel, after)

    def received(self, name: str, item: Delivery | Gap | Hashable) -> None:
        """Note what came: an item of a client, or an id. A new name begins to follow the channel "main"."""
        if name not in self._followers:
            self.follower(name)
        follower = self._followers[name]
        if isinstance(item, Gap):
            follower.gaps.append(len(follower.got))
        else:
            follower.got.append(item.message.id if isinstance(item, Delivery) else item)

    def report(self) -> Report:
        """Compare. Call it when everything had time to arrive."""
        published = sum(len(channel.place) - len(channel.unsure) for channel in self._channels.values())
        reports = {name: self._compare(follower) for name, follower in self._followers.items()}
        return Report(published, reports)

    def _compare(self, follower: _Follower) -> FollowerReport:
        channel = self._channels.get(follower.channel, _Channel())
        start = -1 if follower.after is None else channel.place.get(follower.after, -1)
        seen: set[Hashable] = set()
        twice: dict[Hashable, None] = {}
        late: list[Hashable] = []
        unexpected: list[Hashable] = []
        newest = start
        for id in follower.got:
            place = channel.place.get(id)
            if place is None or place <= start:
                unexpected.append(id)
            elif id in seen:
                twice[id] = None
            else:
                seen.add(id)
                if place < newest:
                    late.append(id)
                newest = max(newest, place)
        excused = seen | channel.unsure
        absent = [id for id, place in channel.place.items() if place > start and id not in excused]
        told = self._told(follower, channel, start)
        return FollowerReport(
            received=len(follower.got),
            lost=tuple(id for id in absent if channel.place[id] not in told),
            missed=tuple(id for id in absent if channel.place[id] in told),
            duplicated=tuple(twice),
            out_of_order=tuple(late),
            unexpected=tuple(unexpected),
        )

    @staticmethod
    def _told(follower: _Follower, channel: _Channel, start: int) -> set[int]:
        """The places that the gaps speak of: from the newest before each gap to the oldest after it."""
        places = [channel.place.get(id) for id in follower.got]
        told: set[int] = set()
        for gap in follower.gaps:
            before = max((place for place in places[:gap] if place is not None), default=start)
            after = min((place for place in places[gap:] if place is not None), default=len(channel.place))
            told.update(range(before + 1, after))
        return told


def _some(ids: Iterable[Hashable]) -> str:
    """The first few ids, and how many more there are."""
    names = [str(id) for id in ids]
    rest = f", … {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + rest
