"""Exhibit 2: events that fall apart on some days. Several real parsers of event streams have had it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from labsupport.zoo.frame import Exhibit, Promise, variant
from labsupport.zoo.pictures import BAD, GOOD, mark, panels
from labsupport.zoo.specimens import lines

EVENTS = ["one\ntwo", "three", "four\nfive\nsix"]  # an event of several lines is what can fall apart
ENDS = {"LF": "\n", "CRLF": "\r\n", "CR": "\r"}


def body(end: str) -> bytes:
    """The stream, with one kind of line end; a comment comes last."""
    blocks = ["".join(f"data: {line}{end}" for line in event.split("\n")) + end for event in EVENTS]
    return "".join([*blocks, f": bye{end}"]).encode()


@dataclass(frozen=True)
class Seen:
    """By line end: the events that came, cut in two at each byte; and how many came late."""

    cut: dict[str, list[list[str]]]  # at byte 0, 1, 2 …; the last is the stream in one piece
    late: int  # cuts behind a whole event whose event came only with the next bytes
    by_bytes: dict[str, list[str]]  # each byte alone

    def wrong(self, end: str) -> int:
        """Cuts that change what is delivered."""
        return sum(events != EVENTS for events in self.cut[end])


def scene(code: Any) -> Seen:
    """The same stream in three spellings, cut at every byte."""
    cut: dict[str, list[list[str]]] = {}
    by_bytes, late = {}, 0
    for name, end in ENDS.items():
        whole = body(end)
        cut[name] = []
        for at in range(len(whole) + 1):
            stream = code.EventStream()
            before = stream.feed(whole[:at]) + stream.feed(b"")  # a read may give nothing
            cut[name].append(before + stream.feed(whole[at:]))
            complete = whole[:at].count((end * 2).encode())
            late += whole[:at].endswith((end * 2).encode()) and len(before) < complete
        stream = code.EventStream()
        by_bytes[name] = [event for byte in whole for event in stream.feed(bytes([byte]))]
    return Seen(cut, late, by_bytes)


def _falls_apart(seen: Seen) -> str:
    if wrong := seen.wrong("CRLF"):
        return f"a CRLF stream in two pieces: {wrong} of {len(seen.cut['CRLF'])} cuts change the events"
    return (
        ""
        if seen.by_bytes["CRLF"] == EVENTS
        else "a CRLF stream that arrives byte by byte gives other events"
    )


def _other_ends(seen: Seen) -> str:
    bad = [end for end in ("LF", "CR") if seen.wrong(end) or seen.by_bytes[end] != EVENTS]
    return f"streams with {' and '.join(bad)} as line ends now give other events" if bad else ""


def _in_one_piece(seen: Seen) -> str:
    return "" if seen.cut["CRLF"][-1] == EVENTS else "a CRLF stream in one piece now gives other events"


def _at_once(seen: Seen) -> str:
    return f"{seen.late} events waited for bytes that need not come: they were complete" if seen.late else ""


def picture(before: Seen, after: Seen | None) -> tuple[Figure, str]:
    """Events delivered, by the byte at which the stream is cut."""
    wrong = before.wrong("CRLF")
    title = f"{wrong} of {len(before.cut['CRLF'])} places to cut a CRLF stream change what is delivered"
    said = f"Three events were sent. As found, {wrong} cuts of the stream deliver something else."
    if after is not None:
        left = after.wrong("CRLF")
        title = "With the fix, no cut changes what is delivered" if not left else f"{left} cuts still do harm"
        said += f" With your fix, {left} do."
    fig, pairs = panels(
        title, before, after, height_in=1.7, x="where the stream is cut (bytes)", y="delivered (events)"
    )
    for ax, seen in pairs:
        for good, style in ((True, mark("o", GOOD, 4)), (False, mark("X", BAD, 9))):
            at = [i for i, events in enumerate(seen.cut["CRLF"]) if (events == EVENTS) is good]
            ax.plot(
                at,
                [len(seen.cut["CRLF"][i]) for i in at],
                label="as sent" if good else "not as sent",
                **style,
            )
        ax.set_ylim(0, 4.6)
    pairs[0][0].legend(loc="lower right", ncols=2, handletextpad=0.2)
    return fig, said


def reference(rest: bytes, chunk: bytes) -> tuple[list[bytes], bytes]:
    """A CR ends its line at once; `rest` remembers it, in case an LF follows that belongs to it."""
    if rest == b"\r":
        if not chunk:
            return [], rest
        rest, chunk = b"", chunk.removeprefix(b"\n")
    text = rest + chunk
    *complete, rest = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    return complete, b"\r" if text.endswith(b"\r") else rest


def _held_back(rest: bytes, chunk: bytes) -> tuple[list[bytes], bytes]:
    text = rest + chunk
    held = b"\r" if text.endswith(b"\r") else b""
    text = text.removesuffix(b"\r").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    *complete, rest = text.split(b"\n")
    return complete, rest + held


def _only_lf(rest: bytes, chunk: bytes) -> tuple[list[bytes], bytes]:
    *complete, rest = (rest + chunk).split(b"\n")
    return [line.removesuffix(b"\r") for line in complete], rest


def _lf_dropped(rest: bytes, chunk: bytes) -> tuple[list[bytes], bytes]:
    if not rest:
        chunk = chunk.removeprefix(b"\n")
    *complete, rest = (rest + chunk).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    return complete, rest


EXHIBIT = Exhibit(
    number=2,
    title="The message that came in halves",
    story=(
        "Once in some thousand messages, a message of several lines arrives as two. The server's log shows "
        "it whole, and the same bytes read from a file give the right events each time."
    ),
    specimen=lines,
    part="take_lines",
    scene=scene,
    promises=(
        Promise("cuts do no harm", _falls_apart, symptom=True),
        Promise("other line ends", _other_ends),
        Promise("in one piece", _in_one_piece),
        Promise("at once", _at_once),
    ),
    reference=reference,
    variants=(
        variant("held back until the next byte", _held_back, {"at once"},
                "a CR that ends the chunk ends its line now; the next byte may be minutes away."),
        variant("LF only", _only_lf, {"other line ends", "at once"},
                "a lone CR is a line end, too, in old servers."),
        variant("an LF dropped at each beginning", _lf_dropped, {"other line ends"},
                "only an LF that follows a CR is the second half of a line end."),
    ),
    picture=picture,
)  # fmt: skip
