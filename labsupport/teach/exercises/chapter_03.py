"""Exercises of chapter 03, Server-Sent Events."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from labsupport.teach.exercise import Exercise, Mistake, case

Change = dict[str, Any]
Event = tuple[str, str, str]  # type, data, last event id

# 3.1, live edits

VERBS = {"edit": "edited", "new": "created"}


def headline(change: Change) -> str | None:
    """A sentence for an edit or a new page, None for all else that the stream carries."""
    if change["meta"].get("domain") == "canary" or change.get("type") not in VERBS:
        return None
    return f"{change.get('user', 'someone')} {VERBS[change['type']]} {change.get('title', 'a page')}"


def _all_edited(change: Change) -> str | None:
    if change["meta"].get("domain") == "canary":
        return None
    return f"{change.get('user', 'someone')} edited {change.get('title', 'a page')}"


def _canary_sings(change: Change) -> str | None:
    if change["meta"].get("domain") == "canary":
        return "someone edited a page"
    return headline(change)


def _new_is_edited(change: Change) -> str | None:
    said = headline(change)
    return said and said.replace(" created ", " edited ")


def _no_new(change: Change) -> str | None:
    return headline(change) if change.get("type") == "edit" else None


def _none_edited(change: Change) -> str | None:
    if headline(change) is None:
        return None
    return f"{change.get('user')} {VERBS[change['type']]} {change.get('title')}"


def _change(type: str | None = None, domain: str = "en.wikipedia.org", **more: Any) -> Change:
    change = {"$schema": "/mediawiki/recentchange/1.0.0", "meta": {"domain": domain}, **more}
    return change if type is None else change | {"type": type}


# 3.2, a small parser


def parse(chunks: list[bytes]) -> list[Event]:
    """The events in a stream whose lines end in LF, wherever the chunks were cut."""
    return _parse(chunks)


def _parse(
    chunks: list[bytes],
    *,
    value: Callable[[str], str] = lambda text: text.removeprefix(" "),
    glue: str = "\n",
    keep_id: bool = True,
    keep_type: bool = False,
    finish: bool = False,
    silent: bool = False,
    comments: bool = False,
    bookmark: bool = True,
) -> list[Event]:
    """The parser, with a switch for each mistake that is made in one."""
    events: list[Event] = []
    kind, lines, id = "", list[str](), ""
    # What stands behind the last line end is no line yet, and behind the last blank line no event.
    text = b"".join(chunks).decode()
    for line in (text + "\n\n" * finish).split("\n")[:-1]:
        name, _, rest = line.partition(":")
        if comments and not name and line:
            lines.append(value(rest))
        if name == "data":
            lines.append(value(rest))
        elif name == "event":
            kind = value(rest)
        elif name == "id":
            id = value(rest)
        elif not line:
            if lines or silent:
                events.append((kind or "message", glue.join(lines), id))
            elif not bookmark:
                id = ""
            lines, kind, id = [], kind if keep_type else "", id if keep_id else ""
    return events


def _each_chunk(chunks: list[bytes]) -> list[Event]:
    return [event for chunk in chunks for event in _parse([chunk.decode(errors="replace").encode()])]


def _each_chunk_ends(chunks: list[bytes]) -> list[Event]:
    finished = [chunk.decode(errors="replace").encode() for chunk in chunks]
    return [event for chunk in finished for event in _parse([chunk], finish=True)]


def _strips(chunks: list[bytes]) -> list[Event]:
    return _parse(chunks, value=str.strip)


def _space_stays(chunks: list[bytes]) -> list[Event]:
    return _parse(chunks, value=str)


def _finishes(chunks: list[bytes]) -> list[Event]:
    return _parse(chunks, finish=True)


def _forgets_id(chunks: list[bytes]) -> list[Event]:
    return _parse(chunks, keep_id=False)


def _keeps_type(chunks: list[bytes]) -> list[Event]:
    return _parse(chunks, keep_type=True)


def _no_newline(chunks: list[bytes]) -> list[Event]:
    return _parse(chunks, glue="")


def _empty_events(chunks: list[bytes]) -> list[Event]:
    return _parse(chunks, silent=True)


def _comments_too(chunks: list[bytes]) -> list[Event]:
    return _parse(chunks, comments=True)


def _no_bookmark(chunks: list[bytes]) -> list[Event]:
    return _parse(chunks, bookmark=False)


_TEA = "event: tea\nid: 1\ndata: grün\n\n".encode()

# 3.3, edits a minute

WINDOW_S = 60


def edits_per_minute(changes: list[Change], now: str) -> int:
    """Edits and new pages of people, among enwiki's articles, in the minute up to `now`."""
    return sum(_counts(change) and 0 <= _age_s(change, now) < WINDOW_S for change in changes)


def _age_s(change: Change, now: str) -> float:
    then = datetime.fromisoformat(change["meta"]["dt"])
    return (datetime.fromisoformat(now) - then).total_seconds()


def _counts(
    change: Change, *, types: bool = True, bots: bool = False, spaces: bool = False, wikis: bool = False
) -> bool:
    """Whether it is one to count; each switch lets in what a mistake lets in."""
    return (
        change["meta"].get("domain") != "canary"
        and (wikis or change.get("wiki") == "enwiki")
        and (spaces or change.get("namespace") == 0)
        and (bots or change.get("bot") is False)
        and (not types or change.get("type") in VERBS)
    )


def _windowed(**slip: bool) -> Callable[[list[Change], str], int]:
    def answer(changes: list[Change], now: str) -> int:
        return sum(_counts(change, **slip) and 0 <= _age_s(change, now) < WINDOW_S for change in changes)

    return answer


def _tumbling(changes: list[Change], now: str) -> int:
    return sum(_counts(change) and change["meta"]["dt"][:16] == now[:16] for change in changes)


def _no_window(changes: list[Change], now: str) -> int:
    return sum(_counts(change) for change in changes)


def _future(changes: list[Change], now: str) -> int:
    return sum(_counts(change) and _age_s(change, now) < WINDOW_S for change in changes)


def _at(dt: str, **more: Any) -> Change:
    usual = {"wiki": "enwiki", "namespace": 0, "bot": False, "type": "edit"}
    change = {"meta": {"dt": f"2026-03-03T{dt}Z", "domain": "en.wikipedia.org"}, **usual, **more}
    return {name: value for name, value in change.items() if value is not None}


def _canary(dt: str) -> Change:
    return {"meta": {"dt": f"2026-03-03T{dt}Z", "domain": "canary"}}


_NOW = "2026-03-03T11:15:30Z"

EXERCISES = (
    Exercise(
        id="3.1",
        title="Live edits",
        reference=headline,
        cases=(
            case(_change("edit", user="Ada", title="Granite"), hint="the plain case"),
            case(_change("new", user="Bo", title="Delta"), hint="a new page is created"),
            case(
                _change("categorize", user="CatBot", title="Category:Rocks"),
                hint="a page was put into a category",
            ),
            case(_change("log", user="Eva", title="User:Bo"), hint="a block, or a move"),
            case(_change(domain="canary"), hint="is this a change at all? look at meta.domain"),
            case(
                _change("edit", domain="canary", user="Ada", title="Granite"),
                hint="a canary stays a canary, whatever it carries",
                hidden=True,
            ),
            case(
                _change("edit", title="Chess"),
                hint="the schema requires $schema and meta: the rest may be missing",
            ),
        ),
        mistakes=(
            Mistake("new pages are edited", _new_is_edited, "a change of type new creates its page."),
            Mistake(
                "everything is an edit",
                _all_edited,
                "the stream carries far more than edits: look at type before you say what was done.",
            ),
            Mistake(
                "the canary sings",
                _canary_sings,
                "events of the domain canary are made by the pipeline to test itself; no person did them.",
            ),
            Mistake("no new pages", _no_new, "a change of type new belongs to the edits, too."),
            Mistake(
                "None edited something",
                _none_edited,
                "a field that is missing comes out of .get() as None, and onto the page as a word.",
            ),
        ),
    ),
    Exercise(
        id="3.2",
        title="A small parser of event streams",
        reference=parse,
        cases=(
            case([b"data: hello\n\n"], hint="one line, one blank line, one event"),
            case([b"data: a\ndata: b\n\n"], hint="several data lines are joined, by what?"),
            case([b"event: price\ndata: 3\n\ndata: hi\n\n"], hint="whose type is price?"),
            case([b"id: 7\ndata: a\n\ndata: b\n\n"], hint="which id has the second event?"),
            case([b"data:a\n\ndata:  two spaces\n\n"], hint="exactly one space is dropped, if there is one"),
            case([b": still here\n\ndata: x\n\n"], hint="a comment is no event"),
            case([b"id: 8\n\ndata: x\n\n"], hint="a block without data delivers nothing, but moves the id"),
            case([b"data: whole\n\ndata: half\n"], hint="what has no blank line behind it is not an event"),
            case([_TEA[:9], _TEA[9:26], _TEA[26:]], hint="chunks are cut anywhere, also inside a letter"),
            case([bytes([byte]) for byte in _TEA * 2], hint="byte by byte", hidden=True),
        ),
        mistakes=(
            Mistake(
                "the rest delivered",
                _finishes,
                "an event without its blank line was cut off: delivering it hands on half of a message.",
            ),
            Mistake(
                "no silent bookmark", _no_bookmark, "an id counts also in a block that delivers nothing."
            ),
            Mistake(
                "each chunk for itself",
                _each_chunk,
                "a chunk ends where the network likes; what is unfinished has to wait for the next one.",
            ),
            Mistake(
                "each chunk is an event",
                _each_chunk_ends,
                "that one chunk brings one event is luck; only the blank line ends an event.",
            ),
            Mistake("all spaces stripped", _strips, "only the first space behind the colon is dropped."),
            Mistake("the space stays", _space_stays, "one space behind the colon belongs to the format."),
            Mistake(
                "the id forgotten", _forgets_id, "the last id stays until another one comes; it is the place."
            ),
            Mistake("the type kept", _keeps_type, "the type belongs to one event, unlike the id."),
            Mistake("lines glued together", _no_newline, "data lines are joined by a newline."),
            Mistake("empty events", _empty_events, "a block without a data line delivers nothing."),
            Mistake("comments are data", _comments_too, "a line that begins with a colon is for nobody."),
        ),
    ),
    Exercise(
        id="3.3",
        title="Edits a minute",
        reference=edits_per_minute,
        cases=(
            case([_at("11:15:29"), _at("11:15:01"), _at("11:14:40")], _NOW, hint="all three are in it"),
            case([_at("11:15:10"), _at("11:14:29"), _at("11:02:00")], _NOW, hint="how old may one be?"),
            case([_at("11:15:10"), _at("11:15:12", bot=True)], _NOW, hint="no bots"),
            case([_at("11:15:10"), _at("11:15:12", namespace=1)], _NOW, hint="a talk page is no article"),
            case(
                [_at("11:15:10", wiki="dewiki"), _at("11:15:12", type="new")],
                _NOW,
                hint="one wiki",
            ),
            case(
                [_at("11:15:10", type="log"), _at("11:15:11", type="categorize"), _at("11:15:12")],
                _NOW,
                hint="a log event can carry the page's own namespace",
            ),
            case([_canary("11:15:10"), _at("11:15:10")], _NOW, hint="a canary has meta, and nothing else"),
            case(
                [_at("11:15:31"), _at("11:15:30"), _at("11:14:30"), _at("11:14:31")],
                _NOW,
                hint="exactly now is in, exactly a minute ago is out, and the future is not yet here",
            ),
            case(
                [_at("11:14:30.001"), _at("11:15:29.999"), _at("11:15:00", bot=None)],
                _NOW,
                hint="no word about bots is no word that it was none",
                hidden=True,
            ),
        ),
        mistakes=(
            Mistake(
                "the tumbling counter",
                _tumbling,
                "it falls to 0 at each full minute; a window that slides looks back from now.",
            ),
            Mistake("no window", _no_window, "this counts since the beginning of the stream."),
            Mistake(
                "the future counts", _future, "a clock that runs ahead puts changes behind now: leave them."
            ),
            Mistake("bots counted", _windowed(bots=True), "bots make a large part of all changes."),
            Mistake("all pages", _windowed(spaces=True), "articles are in namespace 0."),
            Mistake("all wikis", _windowed(wikis=True), "the stream carries every wiki of Wikimedia."),
            Mistake("all types", _windowed(types=False), "log and categorize are changes, but no edits."),
        ),
    ),
)
