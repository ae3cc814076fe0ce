"""Invented changes to wikis, in the shape and the mix of Wikimedia's stream of recent changes.

Shape: schema mediawiki/recentchange 1.0.0. It requires `$schema` and `meta`; a reader has to live without
the rest, and here some fields are left out as well, where the real stream leaves them out.

Mix: one third-party capture of the real stream, 22 415 events long. It gives shares of types, of wikis and of
bots, each by itself; how they go together was not counted, so they are drawn independently. What else is
drawn (titles, comments, sizes, who is minor) is made up to look right, and measures nothing.
"""

import html
import itertools
import random
import uuid
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

SCHEMA = "/mediawiki/recentchange/1.0.0"
STREAM = "mediawiki.recentchange"
TOPICS = ("eqiad.mediawiki.recentchange", "codfw.mediawiki.recentchange")  # one for each data centre
CANARY_EVERY = 500  # changes; often enough to meet one in a lesson

TYPES = {"edit": 55.6, "categorize": 37.7, "log": 5.0, "new": 1.7}  # percent
BOTS = 41.1  # percent
MEASURED_WIKIS = {"commonswiki": 42.5, "wikidatawiki": 16.5, "enwiki": 9.1}  # percent
# The other wikis share what is left, the n-th of them in proportion to 1/n: an assumption.
OTHER_WIKIS = (
    *("dewiki", "frwiki", "eswiki", "jawiki", "ruwiki", "itwiki", "zhwiki", "plwiki", "ptwiki", "arwiki"),
    *("fawiki", "nlwiki", "ukwiki", "hewiki", "svwiki", "kowiki", "viwiki", "trwiki", "cswiki", "idwiki"),
    *("enwiktionary", "enwikisource", "frwiktionary", "metawiki"),
)
_HARMONIC = sum(1 / rank for rank in range(1, len(OTHER_WIKIS) + 1))
_LEFT = 100 - sum(MEASURED_WIKIS.values())
WIKIS = MEASURED_WIKIS | {
    wiki: _LEFT / rank / _HARMONIC for rank, wiki in enumerate(OTHER_WIKIS, 1)
}  # percent

_SERVERS = {
    "commonswiki": "commons.wikimedia.org",
    "wikidatawiki": "www.wikidata.org",
    "metawiki": "meta.wikimedia.org",
}
_NAMESPACES = {0: "", 1: "Talk:", 2: "User:", 3: "User talk:", 10: "Template:"}
_NAMESPACE_WEIGHTS = (80, 6, 5, 6, 3)
_LOGS = (  # type, action, namespace of the page
    ("upload", "upload", 6),
    ("delete", "delete", 0),
    ("move", "move", 0),
    ("patrol", "patrol", 0),
    ("newusers", "create", 2),
    ("block", "block", 2),
    ("abusefilter", "hit", -1),
)
_SUBJECTS = (
    *(
        "Lighthouse",
        "Granite",
        "Kafka",
        "Tidal power",
        "Blue whale",
        "Chess",
        "Rhubarb",
        "Semaphore",
        "Delta",
    ),
    *("Jean-Luc Godard", "São Paulo", "Łódź", "Ærø", "Zürich", "Ísafjörður", "C++", "AC/DC", "Rock & roll"),
    *("東京", "서울", "Київ", "القاهرة", "תל אביב", "मुंबई", "Αθήνα", "“Heroes”", "What Is Life?", "50% law"),
)
_COMMENTS = (
    *(
        "fix typo",
        "/* History */ added a source",
        "copyedit",
        "",
        "rv vandalism",
        "+cat",
        "update of 2 figures",
    ),
    *("replaced <br> by <br />", "[[Special:Diff/1|undid]] “that” & more", "/* See also */ link", "🚲 + 🚉"),
)
_BOTS = ("TidyBot", "LinkRescueBot", "InterwikiBot", "Rkbot", "CatBot", "ArchiverBot", "DatumBot")
_PEOPLE = ("Ada", "Bo_Chen", "Çelik", "Dmitri K.", "Eva Håkansson", "Fatima", "G. O'Hara", "山田", "Øystein")


class Changes:
    """A source of changes: the same seed gives the same ones, except for their times and offsets."""

    def __init__(self, seed: int | None = None) -> None:
        self._random = random.Random(seed)
        self._count = itertools.count(1)
        self._rcids = dict.fromkeys(WIKIS, 1_000_000)

    def next(self, at_ms: int, offset: int) -> dict[str, Any]:
        """The change that happens at `at_ms` (milliseconds since 1970); every so often a canary.

        `offset` is its place in the stream's topic, as Kafka counts it.
        """
        meta = self._meta(at_ms, offset)
        if next(self._count) % CANARY_EVERY == 0:
            # Made by the pipeline, to see that it works: nothing but what the schema requires.
            return {"$schema": SCHEMA, "meta": {**meta, "domain": "canary"}}
        draw = self._random
        kind = _pick(draw, TYPES)
        wiki = _pick(draw, WIKIS)
        bot = draw.random() * 100 < BOTS
        rest = {"edit": self._edit, "new": self._new, "log": self._log, "categorize": self._categorize}[kind](
            wiki
        )
        server = server_name(wiki)
        url = f"https://{server}/wiki/{quote(rest['title'].replace(' ', '_'), safe=':/')}"
        self._rcids[wiki] += 1
        return {
            "$schema": SCHEMA,
            "meta": {"uri": url, **meta, "domain": server},
            "id": self._rcids[wiki],
            "type": kind,
            "title_url": url,
            "timestamp": at_ms // 1000,
            "user": self._user(bot),
            "bot": bot,
            "server_url": f"https://{server}",
            "server_name": server,
            "server_script_path": "/w",
            "wiki": wiki,
            **rest,
            "parsedcomment": html.escape(rest["comment"]),
        }

    def _meta(self, at_ms: int, offset: int) -> dict[str, Any]:
        return {
            "request_id": self._uuid(),
            "id": self._uuid(),
            "stream": STREAM,
            "dt": iso(at_ms),
            "topic": TOPICS[0],
            "partition": 0,
            "offset": offset,
        }

    def _edit(self, wiki: str) -> dict[str, Any]:
        namespace, title = self._page(wiki)
        old, size = self._random.randrange(10**6, 10**9), self._random.randrange(200, 90_000)
        now = max(0, size + round(self._random.gauss(30, 300)))
        edit = {
            "namespace": namespace,
            "title": title,
            "comment": self._random.choice(_COMMENTS),
            "minor": self._random.random() < 0.3,
            "length": {"old": size, "new": now},
            "revision": {"old": old, "new": old + self._random.randrange(1, 10**6)},
        }
        if wiki != "enwiki":  # patrols new pages alone
            edit["patrolled"] = self._random.random() < 0.5
        return edit

    def _new(self, wiki: str) -> dict[str, Any]:
        new = {**self._edit(wiki), "patrolled": False}
        for field in ("length", "revision"):
            new[field] = {**new[field], "old": None}
        return new

    def _categorize(self, wiki: str) -> dict[str, Any]:
        _, page = self._page(wiki)
        what = self._random.choice(("added to", "removed from"))
        title = f"Category:{self._random.choice(_SUBJECTS)} in {self._random.randrange(1850, 2030)}"
        return {"namespace": 14, "title": title, "comment": f"[[:{page}]] {what} category"}

    def _log(self, wiki: str) -> dict[str, Any]:
        kind, action, namespace = self._random.choice(_LOGS)
        subject = self._random.choice(_SUBJECTS)
        title = {6: f"File:{subject}.jpg", 2: f"User:{self._user(False)}"}.get(namespace, subject)
        log = {
            "namespace": namespace,
            "title": title,
            "comment": self._random.choice(_COMMENTS),
            "log_id": self._random.randrange(10**6, 10**8),
            "log_type": kind,
            "log_action": action,
            "log_params": {"target": f"{subject} (2)", "noredir": "0"} if kind == "move" else [],
            "log_action_comment": f"{action} &quot;[[{html.escape(title)}]]&quot;",
        }
        if kind == "abusefilter":  # never becomes a line of the wiki's own list, and so has no number there
            log["id"] = None
        return log

    def _page(self, wiki: str) -> tuple[int, str]:
        draw = self._random
        if wiki == "wikidatawiki":
            return 0, f"Q{draw.randrange(1, 130_000_000)}"
        subject = draw.choice(_SUBJECTS)
        if wiki == "commonswiki":
            return 6, f"File:{subject} - {draw.randrange(1, 10_000)}.jpg"
        (namespace,) = draw.choices(tuple(_NAMESPACES), _NAMESPACE_WEIGHTS)
        return namespace, _NAMESPACES[namespace] + subject

    def _user(self, bot: bool) -> str:
        if bot:
            return self._random.choice(_BOTS)
        if self._random.random() < 0.2:  # nobody logged in: a temporary account
            return f"~2026-{self._random.randrange(10_000, 100_000)}-{self._random.randrange(10, 100)}"
        return self._random.choice(_PEOPLE)

    def _uuid(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))


def server_name(wiki: str) -> str:
    """The wiki's host: "en.wikipedia.org" for "enwiki"."""
    if wiki in _SERVERS:
        return _SERVERS[wiki]
    language, project = wiki[:2], wiki[2:]
    return f"{language}.{'wikipedia' if project == 'wiki' else project}.org"


def iso(at_ms: int) -> str:
    """ "2026-03-03T11:15:25.048Z", as in meta.dt, for milliseconds since 1970."""
    seconds, ms = divmod(at_ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{ms:03d}Z"


def time_ms(change: dict[str, Any]) -> int:
    """When a change happened, by its meta.dt: milliseconds since 1970."""
    return round(datetime.fromisoformat(change["meta"]["dt"]).timestamp() * 1000)


def _pick(draw: random.Random, shares: dict[str, float]) -> str:
    return draw.choices(tuple(shares), tuple(shares.values()))[0]
