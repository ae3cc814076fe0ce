"""Exhibit 8: a list that is short, and nobody notices. A position says nothing about another log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from labsupport.wire.event_stream import EventStreamParser
from labsupport.zoo.frame import Exhibit, Promise, variant
from labsupport.zoo.loopback import dial, listening
from labsupport.zoo.pictures import BAD, GOOD, lanes_figure, mark
from labsupport.zoo.specimens import resume

STAYED, RESTARTED, SHORTER = "cut, no restart", "restart, 15 since", "restart, 4 since"


@dataclass(frozen=True)
class Visit:
    """A client that comes back: its list, what it should be, and how many events it was sent."""

    has: list[str]
    should: list[str]
    sent: int
    missed: int  # events that it lacked

    @property
    def missing(self) -> list[str]:
        """What happened, and the client does not know."""
        return [data for data in self.should if data not in self.has]


@dataclass(frozen=True)
class Seen:
    """By what happened meanwhile."""

    visits: dict[str, Visit]


class Client:
    """A list, as the stream builds it, and the last position."""

    def __init__(self) -> None:
        self.has: list[str] = []
        self.position = ""
        self.sent = 0

    async def visit(self, code: Any, log: Any) -> None:
        """Ask for what was missed, over a real connection."""

        async def handle(reader: Any, writer: Any) -> None:
            await code.serve(log, reader, writer)

        async with listening(handle) as port:
            reader, writer = await dial(port)
            last = f"Last-Event-ID: {self.position}\r\n" if self.position else ""
            writer.write(f"GET /events HTTP/1.1\r\nHost: lab\r\n{last}\r\n".encode())
            await reader.readuntil(b"\r\n\r\n")
            self.sent = 0
            parser = EventStreamParser(self.position)
            for event in parser.feed(await reader.read(-1)):
                self.has = [event.data] if event.type == "snapshot" else [*self.has, event.data]
                self.sent += 1
            self.position = parser.last_event_id
            writer.close()


def _log(code: Any, name: str, events: int) -> Any:
    log = code.Log()
    for number in range(1, events + 1):
        log.append(f"{name}{number}")
    return log


async def scene(code: Any) -> Seen:
    """A client at offset 10 of a log comes back, after a cut, restarts, or a long time; and a new client."""
    visits = {}
    for name, grown, restarted in (
        (STAYED, 15, 0),
        (RESTARTED, 0, 15),
        (SHORTER, 0, 4),
        ("away long", 90, 0),
    ):
        client, log = Client(), _log(code, "a", 10)
        await client.visit(code, log)
        for number in range(11, grown + 1):
            log.append(f"a{number}")
        log = _log(code, "b", restarted) if restarted else log
        await client.visit(code, log)
        visits[name] = _seen(client, log, missed=max(0, grown - 10) or restarted)
        log.append("one more")
        await client.visit(code, log)
        visits[f"{name}, one more"] = _seen(client, log, missed=1)
    client, log = Client(), _log(code, "a", 12)
    await client.visit(code, log)
    visits["new"] = _seen(client, log, missed=12)
    return Seen(visits)


def _seen(client: Client, log: Any, missed: int) -> Visit:
    everything = [data for _, data in log.after(0)]
    return Visit(client.has, everything, client.sent, missed)


def _short(seen: Seen) -> str:
    for name in (RESTARTED, SHORTER):
        visit = seen.visits[name]
        if visit.missing:
            lacks = f"the client lacks {len(visit.missing)} of {len(visit.should)} new events"
            return f"after a restart, {lacks}, and no one has told it"
    extra = [data for data in seen.visits[RESTARTED].has if data not in seen.visits[RESTARTED].should]
    return "after a restart the client still shows events of a log that is gone" if extra else ""


def _only_missed(seen: Seen) -> str:
    visit = seen.visits[STAYED]
    if visit.has != visit.should:
        return "after a cut without a restart, the client's list is wrong"
    return (
        "" if visit.sent <= visit.missed else f"after a cut that missed {visit.missed}, {visit.sent} are sent"
    )


def _away(seen: Seen) -> str:
    visit = seen.visits["away long"]
    return "" if visit.has == visit.should else "who was away for long no longer gets a snapshot"


def _new(seen: Seen) -> str:
    visit = seen.visits["new"]
    return "" if visit.has == visit.should else "who comes for the first time does not get everything"


def _goes_on(seen: Seen) -> str:
    bad = [name for name in (STAYED, RESTARTED) if seen.visits[f"{name}, one more"].sent != 1]
    return f"the event after that is not sent once, and alone ({bad[0]})" if bad else ""


def picture(before: Seen, after: Seen | None) -> tuple[Figure, str]:
    """For each return: which of the log's events the client has."""
    lost = sum(len(before.visits[name].missing) for name in (RESTARTED, SHORTER))
    title = f"After a restart, {lost} events are missing, and nothing says so"
    said = f"As found, {_short(before) or 'nothing is missing'}."
    if after is not None:
        left = _short(after)
        title = "With the fix, nothing is missing" if not left else "A restart still does harm"
        said += f" With your fix, {left or 'each client has all that the log has'}."
    look = {"the client has it": mark("o", GOOD, 6), "missing": mark("X", BAD, 9)}
    lanes = [_lanes(seen) for seen in (before, after) if seen is not None]
    x = "event of the server's log (number)"
    return lanes_figure(title, lanes[0], lanes[1] if after else None, look, x=x), said


def _lanes(seen: Seen) -> dict[str, list[tuple[float, str]]]:
    lanes = {}
    for name in (STAYED, RESTARTED, SHORTER):
        visit = seen.visits[name]
        lanes[name] = [
            (float(number), "the client has it" if data in visit.has else "missing")
            for number, data in enumerate(visit.should, 1)
        ]
    return lanes


def reference(log: Any, position: str) -> Any:
    """A position of another epoch says nothing about this log."""
    epoch, _, offset = position.partition("-")
    if epoch != log.epoch or int(offset) + 1 < log.oldest:
        return "snapshot", log.after(0)
    return "message", log.after(int(offset))


def _always(log: Any, position: str) -> Any:
    return "snapshot", log.after(0)


def _as_messages(log: Any, position: str) -> Any:
    if position and not position.startswith(log.epoch):
        return "message", log.after(0)
    return reference(log, position)


def _from_now(log: Any, position: str) -> Any:
    if position and not position.startswith(log.epoch):
        return "message", []
    return reference(log, position)


def _beyond_the_end(log: Any, position: str) -> Any:
    if position and int(position.partition("-")[2]) > log.newest:
        return "snapshot", log.after(0)
    return resume.resume(log, position)


EXHIBIT = Exhibit(
    number=8,
    title="The list that was short",
    story=(
        "After some deploys, some users miss messages, and their clients report nothing unusual: they came "
        "back, sent their Last-Event-ID, got a stream and are up to date. A reload shows what was missing."
    ),
    specimen=resume,
    part="resume",
    scene=scene,
    promises=(
        Promise("nothing missing after a restart", _short, symptom=True),
        Promise("after a cut only what was missed", _only_missed),
        Promise("a snapshot for who was away long", _away),
        Promise("everything for who is new", _new),
        Promise("it goes on", _goes_on),
    ),
    reference=reference,
    variants=(
        variant("always a snapshot", _always, {"after a cut only what was missed", "it goes on"},
                "right, and dear: each short cut now costs the whole log."),
        variant("the new log added to the old list", _as_messages, {"nothing missing after a restart"},
                "the client must be told that what it has is void.",
                lambda seen: not seen.visits[RESTARTED].missing),
        variant("only from now on", _from_now, {"nothing missing after a restart", "it goes on"},
                "what happened since the restart is lost for this client."),
        variant("only positions beyond the end", _beyond_the_end, {"nothing missing after a restart"},
                "a new log soon grows past the old position, and then an old one looks valid.",
                lambda seen: not seen.visits[SHORTER].missing and bool(seen.visits[RESTARTED].missing)),
    ),
    picture=picture,
)  # fmt: skip
