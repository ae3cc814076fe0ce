"""The notification store: what was published, who has read it, and who does not want it, in a SQL database.

    store            one row: the store's name (its epoch), and the number of the newest notification
    notifications    one row each: number, recipient ("" is everyone), kind, data, when, idempotency key
    reads            one row for each user and notification that this user has read
    preferences      one row for each user and kind that somebody has decided on

Numbers and the order of commits. A reader asks "after number 41?" and will never ask for 41 again. With a
SEQUENCE, or AUTOINCREMENT on several connections, one writer takes 41 and is slow, another takes 42 and
commits; the reader sees 42, moves on, and never meets 41. Here each writer takes its number from the one row
of `store`, by an UPDATE, and the database keeps that row locked until the writer has committed. So whoever
takes 42 took it after 41 was there for all to see, and a writer that fails gives its number back: no holes
either. The price: one writer at a time, over all instances. Beyond some hundred publishes a second, give each
shard of users a store of its own.

A sale to everyone is one row, whoever there is, and each reader's question takes it in ("mine, or
everyone's"). A row per user would be a million writes before the last one hears of it, and needs a list of
all users. The price is paid by the readers, one more condition in each question, and read marks, which
are rows of their own. Who comes for the first time after the sale finds it as well, since nobody here knows
who is new: a shop would compare with the day that the account was made.

Preferences are looked at when one reads: what a user has muted is in no list, stream or count as long as it
is muted, and is in the list again afterwards.

"Stored" means on the disk. SQLite: write-ahead log with synchronous=FULL, an fsync for each commit. With
NORMAL, a commit survives the death of the process, but not always a power cut. PostgreSQL: its defaults.

Everything here blocks; the server calls it in threads. Left out: deleting what is old, replicas to read from
(they are behind, so a position may be ahead of them), migrations, a store that is replaced while it is open.
"""

import json
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from servers.core.log import BadPosition, Entry, OtherEpoch, to_json

EVERYONE = ""  # as recipient; no user can be called so
KINDS = ("order", "price_alert", "flash_sale")
LOCK_S = 10  # seconds to wait for other writers; each holds the lock for some milliseconds
ANSWER_S = 10  # seconds for PostgreSQL to answer a question
IDLE_S = 5  # seconds until PostgreSQL ends a transaction whose instance has frozen in the middle of it
MAKING = 0x1AB  # the advisory lock (PostgreSQL) of whoever makes the tables; any number that nobody else uses

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # SQLite's own row number, and no second index
_POSITION = re.compile(r"([A-Za-z0-9]{1,64})-(0|[1-9][0-9]{0,14})")

tables = sa.MetaData()
store = sa.Table(
    "store",
    tables,
    sa.Column("one", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("epoch", sa.String(64), nullable=False),
    sa.Column("newest", _NUMBER, nullable=False),
)
notifications = sa.Table(
    "notifications",
    tables,
    sa.Column("number", _NUMBER, primary_key=True, autoincrement=False),
    sa.Column("recipient", sa.String(64), nullable=False),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("data", sa.Text, nullable=False),  # JSON
    sa.Column("at", sa.Double, nullable=False),  # seconds since 1970
    sa.Column("key", sa.String(255), unique=True),  # NULLs do not count as equal
    sa.Index("of_recipient", "recipient", "number"),
)
reads = sa.Table(
    "reads",
    tables,
    sa.Column("user_name", sa.String(64), primary_key=True),
    sa.Column("number", sa.ForeignKey(notifications.c.number), primary_key=True),
    sa.Column("at", sa.Double, nullable=False),
)
preferences = sa.Table(
    "preferences",
    tables,
    sa.Column("user_name", sa.String(64), primary_key=True),
    sa.Column("kind", sa.String(32), primary_key=True),
    sa.Column("wanted", sa.Boolean, nullable=False),
)


class StoreError(Exception):
    """The database did not answer, or refused. Whether a change was made is not known."""


class KeyTaken(Exception):
    """This idempotency key was used for another notification."""


class TooMany(Exception):
    """This recipient has had too many notifications in the last minute."""


@dataclass(frozen=True, slots=True)
class Note:
    """One notification. `data` is JSON text; `recipient` is EVERYONE or a user."""

    number: int
    id: str
    recipient: str
    kind: str
    data: str
    at: float
    read: bool = False

    def content(self) -> dict[str, Any]:
        """What readers get to see, the read mark not among it: that changes."""
        everyone = self.recipient == EVERYONE
        data = json.loads(self.data)
        return {"id": self.id, "kind": self.kind, "everyone": everyone, "at": self.at, "data": data}

    def entry(self) -> Entry:
        """The same for a stream."""
        return Entry(self.number, self.kind, to_json(self.content()), self.id)


@dataclass(frozen=True, slots=True)
class Page:
    """Some notes of a user, oldest first. `more`: others follow; `unread`: in all, not only here."""

    notes: list[Note]
    position: str
    more: bool
    unread: int


def database_url(text: str) -> sa.URL:
    """A database's URL, or the SQLite file that this path names. Raises ValueError with a sentence."""
    try:
        url = sa.make_url(text) if "://" in text else sa.URL.create("sqlite", database=text)
    except sa.exc.ArgumentError:
        url = None
    if url is not None and url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername="postgresql+psycopg")
    if url is None or url.drivername not in ("sqlite", "postgresql+psycopg"):
        raise ValueError("expected a file, sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE")
    if url.drivername == "sqlite" and url.database in (None, "", ":memory:"):
        raise ValueError("expected a file: what lies in memory is gone with the process. Try shop.db")
    return url


class Store:
    """The notifications in one database. Any number of these, in any number of processes, may share it.

    `most_per_minute` limits what one recipient gets; `clock` gives seconds since 1970.
    """

    def __init__(
        self, url: sa.URL, most_per_minute: int = 3000, clock: Callable[[], float] = time.time
    ) -> None:
        self._engine = _engine(url)
        self._writer = self._engine.execution_options(writing=True)
        self._most = most_per_minute
        self._clock = clock
        self._insert = postgresql.insert if self.dialect == "postgresql" else sqlite.insert
        with self._begin(self._writer) as db:
            if self.dialect == "postgresql":  # CREATE TABLE IF NOT EXISTS fails when two do it at once
                db.execute(sa.select(sa.func.pg_advisory_xact_lock(MAKING)))
            tables.create_all(db)
            first = {"one": 1, "epoch": secrets.token_hex(6), "newest": 0}
            db.execute(self._insert(store).values(first).on_conflict_do_nothing())
            self.epoch: str = db.execute(sa.select(store.c.epoch)).scalar_one()

    @property
    def dialect(self) -> str:
        return self._engine.dialect.name

    def close(self) -> None:
        self._engine.dispose()

    # ---- writing ----

    def publish(self, recipient: str, kind: str, data: Any, key: str | None = None) -> tuple[Note, bool]:
        """Store a notification: (it, True); or what was stored under this key before: (that, False).

        Two who come with one key at the same time come one after the other, since both want the same lock.
        Raises KeyTaken if that was another notification, TooMany, StoreError.
        """
        text, at = to_json(data).decode(), self._clock()
        with self._begin(self._writer) as db:
            taken = sa.update(store).values(newest=store.c.newest + 1).returning(store.c.newest)
            number = db.execute(taken).scalar_one()  # from here on, no other writer until the commit
            if key is not None:
                same = sa.select(notifications).where(notifications.c.key == key)
                if (row := db.execute(same).one_or_none()) is not None:
                    db.rollback()  # the number goes back
                    if (row.recipient, row.kind, _canonical(row.data)) != (recipient, kind, _canonical(text)):
                        raise KeyTaken(key)
                    return self._note(row), False
            self._check_rate(db, recipient, at)
            new = {"number": number, "recipient": recipient, "kind": kind, "data": text, "at": at, "key": key}
            db.execute(sa.insert(notifications).values(new))
        return Note(number, self._id(number), recipient, kind, text, at), True

    def mark_read(self, user: str, number: int) -> float | None:
        """When this user first read it: now, unless it was before. None: it is none of this user's."""
        with self._begin(self._writer) as db:
            own = sa.select(notifications.c.number).where(
                notifications.c.number == number, notifications.c.recipient.in_((user, EVERYONE))
            )
            if db.execute(own).one_or_none() is None:
                return None
            mark = {"user_name": user, "number": number, "at": self._clock()}
            db.execute(self._insert(reads).values(mark).on_conflict_do_nothing())
            at = sa.select(reads.c.at).where(reads.c.user_name == user, reads.c.number == number)
            return float(db.execute(at).scalar_one())

    def prefer(self, user: str, wanted: dict[str, bool]) -> dict[str, bool]:
        """Note which kinds a user wants; kinds that are not named stay as they are. Gives all."""
        rows = [{"user_name": user, "kind": kind, "wanted": value} for kind, value in wanted.items()]
        with self._begin(self._writer) as db:
            for row in rows:
                insert = self._insert(preferences).values(row)
                db.execute(insert.on_conflict_do_update(index_elements=["user_name", "kind"], set_=row))
            return self._preferences(db, user)

    # ---- reading ----

    def preferences(self, user: str) -> dict[str, bool]:
        with self._begin() as db:
            return self._preferences(db, user)

    def newest(self) -> int:
        with self._begin() as db:
            return int(db.execute(sa.select(store.c.newest)).scalar_one())

    def page(self, user: str, after: int, limit: int, only_unread: bool = False) -> Page:
        """What this user wants to see after this number, `limit` of it at most."""
        with self._begin() as db:
            # First the number, then what is up to there: the position must not be ahead of the notes.
            newest = int(db.execute(sa.select(store.c.newest)).scalar_one())
            read = sa.exists().where(reads.c.user_name == user, reads.c.number == notifications.c.number)
            mine = (_wanted_by(user), notifications.c.number <= newest)
            more = (~read,) if only_unread else ()
            rows = sa.select(notifications, read.label("read")).where(
                *mine, *more, notifications.c.number > after
            )
            found = db.execute(rows.order_by(notifications.c.number).limit(limit + 1)).all()
            unread = db.execute(
                sa.select(sa.func.count()).select_from(notifications).where(*mine, ~read)
            ).scalar_one()
        notes = [self._note(row, row.read) for row in found[:limit]]
        full = len(found) > limit
        return Page(notes, notes[-1].id if full else self._id(newest), full, unread)

    def after(self, user: str, number: int, limit: int) -> list[Note]:
        """The same for a stream, and no more than that."""
        rows = sa.select(notifications).where(_wanted_by(user), notifications.c.number > number)
        with self._begin() as db:
            found = db.execute(rows.order_by(notifications.c.number).limit(limit)).all()
        return [self._note(row) for row in found]

    def news(self, number: int, limit: int) -> list[tuple[Note, frozenset[str]]]:
        """Whatever was published after this number, for whomever, each with those who do not want it."""
        rows = sa.select(notifications).where(notifications.c.number > number)
        with self._begin() as db:
            found = db.execute(rows.order_by(notifications.c.number).limit(limit)).all()
            if not found:
                return []
            kinds = {row.kind for row in found}
            unwanted = sa.select(preferences.c.kind, preferences.c.user_name).where(
                ~preferences.c.wanted, preferences.c.kind.in_(kinds)
            )
            if all(row.recipient != EVERYONE for row in found):  # else it concerns all who muted that kind
                unwanted = unwanted.where(preferences.c.user_name.in_({row.recipient for row in found}))
            muted: dict[str, set[str]] = {kind: set() for kind in kinds}
            for kind, user in db.execute(unwanted):
                muted[kind].add(user)
        frozen = {kind: frozenset(users) for kind, users in muted.items()}
        return [(self._note(row), frozen[row.kind]) for row in found]

    # ---- positions ----

    def number(self, position: str) -> int:
        """The number in a position of this store. Raises BadPosition, OtherEpoch."""
        match = _POSITION.fullmatch(position)
        if match is None:
            raise BadPosition(f"expected a position like {self._id(7)}, got {position[:80]!r}")
        if match[1] != self.epoch:
            raise OtherEpoch(f"position {position} belongs to another store, this one is {self.epoch}")
        return int(match[2])

    def _id(self, number: int) -> str:
        return f"{self.epoch}-{number}"

    # ---- inside ----

    def _note(self, row: Any, read: bool = False) -> Note:
        return Note(row.number, self._id(row.number), row.recipient, row.kind, row.data, row.at, bool(read))

    def _preferences(self, db: sa.Connection, user: str) -> dict[str, bool]:
        known = sa.select(preferences.c.kind, preferences.c.wanted).where(preferences.c.user_name == user)
        decided = {kind: bool(wanted) for kind, wanted in db.execute(known)}
        return {kind: decided.get(kind, True) for kind in KINDS}

    def _check_rate(self, db: sa.Connection, recipient: str, now: float) -> None:
        """Look at the one that is `most` back: the store knows of all instances' notifications."""
        earlier = sa.select(notifications.c.at).where(notifications.c.recipient == recipient)
        oldest = earlier.order_by(notifications.c.number.desc()).offset(self._most - 1).limit(1)
        at = db.execute(oldest).scalar_one_or_none()
        if at is not None and at > now - 60:
            raise TooMany(recipient)

    @contextmanager
    def _begin(self, engine: sa.Engine | None = None) -> Iterator[sa.Connection]:
        """A transaction; whatever the database says is a StoreError."""
        try:
            with (engine or self._engine).begin() as db:
                yield db
        except sa.exc.SQLAlchemyError as error:
            said = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
            raise StoreError(said) from error


def _canonical(text: str) -> str:
    """JSON in which the order of names does not matter."""
    return json.dumps(json.loads(text), sort_keys=True)


def _wanted_by(user: str) -> sa.ColumnElement[bool]:
    muted = sa.exists().where(
        preferences.c.user_name == user,
        preferences.c.kind == notifications.c.kind,
        ~preferences.c.wanted,
    )
    return notifications.c.recipient.in_((user, EVERYONE)) & ~muted


def _engine(url: sa.URL) -> sa.Engine:
    if url.drivername != "sqlite":
        limits = {"statement_timeout": ANSWER_S, "lock_timeout": LOCK_S}
        limits["idle_in_transaction_session_timeout"] = IDLE_S
        options = " ".join(f"-c {name}={1000 * value_s}" for name, value_s in limits.items())
        arguments = {"connect_timeout": ANSWER_S, "options": options}
        return sa.create_engine(url, pool_pre_ping=True, connect_args=arguments)
    engine = sa.create_engine(url, connect_args={"timeout": LOCK_S})

    @sa.event.listens_for(engine, "connect")
    def connected(raw: Any, record: Any) -> None:
        raw.isolation_level = None  # Python's own idea of when a transaction begins is not SQLite's
        raw.execute("PRAGMA journal_mode=WAL")  # readers and the writer do not wait for each other
        raw.execute("PRAGMA synchronous=FULL")
        raw.execute("PRAGMA foreign_keys=ON")

    @sa.event.listens_for(engine, "begin")
    def begun(db: sa.Connection) -> None:
        # A transaction that reads first, and then wants to write, fails at once if another wrote in between.
        writes = db.get_execution_options().get("writing")
        db.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine
