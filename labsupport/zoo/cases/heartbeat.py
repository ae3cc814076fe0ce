"""Exhibit 1: a client that sits on a dead link and beats on. Seen in clients of large chat services."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from labsupport.teach.figures import BAND
from labsupport.zoo.frame import Exhibit, Promise, variant
from labsupport.zoo.pictures import BAD, GOOD, OTHER, lanes_figure, mark
from labsupport.zoo.specimens import heartbeat

LASTS_S = 120.0  # seconds of each run, on a clock of its own
SILENT_S = 45.0  # from then on the gateway is gone, without a word
SLOW_S = 9.0  # seconds for an acknowledgement over a bad link: still less than an interval


@dataclass(frozen=True)
class Seen:
    """What each link's lane shows: (seconds, "beat", "ack" or "reconnect")."""

    healthy: list[tuple[float, str]]
    slow: list[tuple[float, str]]
    silent: list[tuple[float, str]]

    @property
    def found_after_s(self) -> float:
        """Seconds from the gateway's last sign of life to the reconnect; infinity if there is none."""
        return next((at - SILENT_S for at, what in self.silent if what == "reconnect"), float("inf"))


def scene(code: Any) -> Seen:
    """Three links: healthy, slow, and one whose gateway vanishes."""
    return Seen(_link(code, 0.1), _link(code, SLOW_S), _link(code, 0.1, SILENT_S))


def _link(code: Any, ack_s: float, until_s: float = LASTS_S * 2) -> list[tuple[float, str]]:
    link, lane = code.Link(), []
    for tick in range(1, int(LASTS_S / code.INTERVAL_S) + 1):
        now_s = tick * code.INTERVAL_S
        said = code.on_tick(link)
        lane.append((now_s, said))
        if said == "reconnect":
            break
        if said == "beat" and now_s + ack_s < until_s:
            lane.append((now_s + ack_s, "ack"))
            code.on_ack(link)
    return lane


def _count(lane: list[tuple[float, str]], kind: str) -> int:
    return sum(what == kind for _, what in lane)


def _zombie(seen: Seen) -> str:
    if seen.found_after_s <= 2 * heartbeat.INTERVAL_S:
        return ""
    beats = sum(at > SILENT_S for at, what in seen.silent if what == "beat")
    return (
        f"the gateway has been silent since {SILENT_S:g} s, and the client sent {beats} beats into the void"
    )


def _dropped(seen: Seen) -> str:
    dropped = [name for name in ("healthy", "slow") if _count(getattr(seen, name), "reconnect")]
    return (
        f"a link whose beats are all acknowledged was given up ({' and '.join(dropped)})" if dropped else ""
    )


def _rhythm(seen: Seen) -> str:
    beats = _count(seen.healthy, "beat")
    cut = _count(seen.healthy, "reconnect")  # told by another promise
    wanted = int(LASTS_S / heartbeat.INTERVAL_S)
    return (
        "" if beats == wanted or cut else f"a healthy link sent {beats} beats in {LASTS_S:g} s, not {wanted}"
    )


def _eager(seen: Seen) -> str:
    first = seen.healthy[0][1]
    return "" if first == "beat" else f"a new link does not begin with a beat, but with {first!r}"


def picture(before: Seen, after: Seen | None) -> tuple[Figure, str]:
    """The three links, over time."""
    title = (
        "The gateway is gone at 45 s, and the client beats on" if before.found_after_s > LASTS_S else "Found"
    )
    said = f"As found, {_zombie(before) or 'the dead link is given up'}."
    if after is not None:
        found = after.found_after_s < LASTS_S
        title = "With the fix, the dead link is given up" if found else "The dead link is still kept"
        said += (
            f" With your fix, it reconnects {after.found_after_s:g} s later." if found else " It still does."
        )
    look = {
        "beat": mark("o", OTHER),
        "ack": mark("|", GOOD, 13, markeredgewidth=2),
        "reconnect": mark("X", BAD, 10),
    }
    fig = lanes_figure(title, _lanes(before), _lanes(after) if after else None, look, x="time (s)")
    for ax in fig.axes:
        ax.axvspan(SILENT_S, LASTS_S + 3, ymin=0, ymax=0.33, color=BAND, linewidth=0, zorder=-1)
    return fig, said


def _lanes(seen: Seen) -> dict[str, list[tuple[float, str]]]:
    return {"healthy": seen.healthy, "acks take 9 s": seen.slow, "gone at 45 s": seen.silent}


def reference(link: Any) -> str:
    """The flag belongs to the last beat: it falls with each new one."""
    if not link.acked:
        return "reconnect"
    link.acked = False
    link.sent += 1
    return "beat"


def _cleared_first(link: Any) -> str:
    link.acked = False
    return reference(link)


def _counts_beats(link: Any) -> str:
    link.sent += 1
    return "reconnect" if link.sent > 5 else "beat"


def _every_third(link: Any) -> str:
    if not link.acked:
        return "reconnect"
    link.acked = link.sent % 4 != 3
    link.sent += 1
    return "beat"


def _every_second(link: Any) -> str:
    if not link.acked:
        return "reconnect"
    link.sent += 1
    link.acked = False
    return "beat" if link.sent % 2 else _waits(link)


def _waits(link: Any) -> str:
    link.acked = True
    return "wait"


EXHIBIT = Exhibit(
    number=1,
    title="The client that would not leave",
    story=(
        "Users of a chat see no new message for hours, although the green dot is on. A restart of the app "
        "helps. The client promises to find a dead link within two heartbeat intervals."
    ),
    specimen=heartbeat,
    part="on_tick",
    scene=scene,
    promises=(
        Promise("finds the dead link", _zombie, symptom=True),
        Promise("keeps live links", _dropped),
        Promise("keeps its rhythm", _rhythm),
        Promise("begins with a beat", _eager),
    ),
    reference=reference,
    variants=(
        variant("cleared too early", _cleared_first, {"keeps live links", "begins with a beat"},
                "the question comes before the new beat; what belongs to the new beat comes after it."),
        variant("a number of beats", _counts_beats, {"keeps live links"},
                "every link is given up after some beats, answered or not. What tells dead from live?"),
        variant("asked only now and then", _every_third, {"finds the dead link"},
                "most beats are sent without a question about the one before.",
                lambda seen: seen.found_after_s < LASTS_S),
        variant("every second beat left out", _every_second, {"keeps its rhythm"},
                "the gateway's own time-out counts on the rhythm."),
    ),
    picture=picture,
)  # fmt: skip
