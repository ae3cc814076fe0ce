"""Exercises of chapter 14: replay from a store, publish once, gateways enough for a bad day."""

from __future__ import annotations

from collections.abc import Sequence

from labsupport.teach.exercise import Exercise, Mistake, case

# 14.1, what a stream begins with

Rows = Sequence[tuple[int, str, str]]  # id, user, text


def replay(rows: Rows, user: str, last_event_id: str, limit: int) -> list[int]:
    """The ids to send first: the user's, behind what the browser has, oldest first, a page at most."""
    after = int(last_event_id or 0)
    return sorted(id for id, owner, _ in rows if owner == user and id > after)[:limit]


def _the_last_one_again(rows: Rows, user: str, last_event_id: str, limit: int) -> list[int]:
    after = int(last_event_id or 0)
    return sorted(id for id, owner, _ in rows if owner == user and id >= after)[:limit]


def _as_text(rows: Rows, user: str, last_event_id: str, limit: int) -> list[int]:
    return sorted(id for id, owner, _ in rows if owner == user and str(id) > last_event_id)[:limit]


def _everybodys(rows: Rows, user: str, last_event_id: str, limit: int) -> list[int]:
    after = int(last_event_id or 0)
    return sorted(id for id, _, _ in rows if id > after)[:limit]


def _the_newest_page(rows: Rows, user: str, last_event_id: str, limit: int) -> list[int]:
    after = int(last_event_id or 0)
    return sorted(id for id, owner, _ in rows if owner == user and id > after)[-limit:]


def _nothing_at_first(rows: Rows, user: str, last_event_id: str, limit: int) -> list[int]:
    return replay(rows, user, last_event_id, limit) if last_event_id else []


def _as_they_lie(rows: Rows, user: str, last_event_id: str, limit: int) -> list[int]:
    after = int(last_event_id or 0)
    return [id for id, owner, _ in rows if owner == user and id > after][:limit]


def _no_page(rows: Rows, user: str, last_event_id: str, limit: int) -> list[int]:
    return replay(rows, user, last_event_id, len(rows))


# 14.2, publish once

Post = tuple[str, str]  # idempotency key, text


def publish(posts: Sequence[Post]) -> list[int]:
    """The id of each post's notification: one for each key, from 1 on; a repeated key gets the old one."""
    ids: dict[str, int] = {}
    return [ids.setdefault(key, len(ids) + 1) for key, _ in posts]


def _each_is_new(posts: Sequence[Post]) -> list[int]:
    return list(range(1, len(posts) + 1))


def _by_the_text(posts: Sequence[Post]) -> list[int]:
    ids: dict[str, int] = {}
    return [ids.setdefault(text, len(ids) + 1) for _, text in posts]


def _only_the_one_before(posts: Sequence[Post]) -> list[int]:
    ids: list[int] = []
    for number, (key, _) in enumerate(posts):
        again = number > 0 and posts[number - 1][0] == key
        ids.append(ids[-1] if again else max(ids, default=0) + 1)
    return ids


def _ids_with_holes(posts: Sequence[Post]) -> list[int]:
    ids: dict[str, int] = {}
    return [ids.setdefault(key, number) for number, (key, _) in enumerate(posts, 1)]


def _left_out(posts: Sequence[Post]) -> list[int]:
    return list(range(1, len({key for key, _ in posts}) + 1))


# 14.3, gateways for a bad day


def gateways(users: int, on_each: int, accepts_per_s: int, within_s: int) -> int:
    """The fewest that hold all users with one lost, and take its share back in time."""
    count = 2
    while (count - 1) * on_each < users or users > count * (count - 1) * accepts_per_s * within_s:
        count += 1
    return count


def _fewest(enough: object, users: int, on_each: int, accepts_per_s: int, within_s: int) -> int:
    count = 2
    while not enough(count, users, on_each, accepts_per_s * within_s):  # type: ignore[operator]
        count += 1
    return count


def _no_spare(users: int, on_each: int, accepts_per_s: int, within_s: int) -> int:
    return _fewest(
        lambda s, n, m, a: s * m >= n and s * (s - 1) * a >= n, users, on_each, accepts_per_s, within_s
    )


def _memory_only(users: int, on_each: int, accepts_per_s: int, within_s: int) -> int:
    return _fewest(lambda s, n, m, a: (s - 1) * m >= n, users, on_each, accepts_per_s, within_s)


def _the_dead_one_helps(users: int, on_each: int, accepts_per_s: int, within_s: int) -> int:
    return _fewest(
        lambda s, n, m, a: (s - 1) * m >= n and s * s * a >= n, users, on_each, accepts_per_s, within_s
    )


def _all_come_back(users: int, on_each: int, accepts_per_s: int, within_s: int) -> int:
    return _fewest(
        lambda s, n, m, a: (s - 1) * m >= n and (s - 1) * a >= n, users, on_each, accepts_per_s, within_s
    )


def _doors_only(users: int, on_each: int, accepts_per_s: int, within_s: int) -> int:
    return _fewest(lambda s, n, m, a: s * (s - 1) * a >= n, users, on_each, accepts_per_s, within_s)


_ROWS = [
    (8, "ann", "order 7 is packed"), (9, "bob", "tea costs 3"), (10, "ann", "order 7 is on its way"),
    (12, "ann", "sale"), (11, "bob", "sale"), (13, "bob", "tea costs 2"),
]  # fmt: skip

EXERCISES = (
    Exercise(
        id="14.1",
        title="What was missed",
        reference=replay,
        cases=(
            case(_ROWS, "ann", "8", 10, hint="behind the one that she has, and hers alone"),
            case(_ROWS, "bob", "9", 10, hint="is 10 more than 9?"),
            case(_ROWS, "bob", "", 10, hint="a first visit: no Last-Event-ID at all"),
            case(_ROWS, "ann", "", 2, hint="a page; the rest comes with the next one"),
            case([(3, "ann", "c"), (1, "ann", "a"), (2, "ann", "b")], "ann", "1", 10, hint="in which order?"),
            case(_ROWS, "ann", "12", 10, hint="there is nothing new"),
            case([(100, "x", "a"), (99, "x", "b"), (98, "x", "c")], "x", "98", 1, hidden=True),
        ),
        mistakes=(
            Mistake(
                "the last one again", _the_last_one_again, "the browser has seen that one: send what follows."
            ),
            Mistake(
                "numbers as text", _as_text, "as text “10” comes before “9”; turn ids into numbers first."
            ),
            Mistake("everybody's", _everybodys, "a stream is one user's; others' orders are not for her."),
            Mistake(
                "the newest page",
                _the_newest_page,
                "the older ones are skipped for ever: the next Last-Event-ID lies behind.",
            ),
            Mistake(
                "nothing at first",
                _nothing_at_first,
                "without a Last-Event-ID nothing has been seen: send all.",
            ),
            Mistake("as they lie in the store", _as_they_lie, "two instances write at once; sort by id."),
            Mistake("no page", _no_page, "after a month away that is a very long answer; keep to the limit."),
        ),
    ),
    Exercise(
        id="14.2",
        title="Once, however often it is sent",
        reference=publish,
        cases=(
            case([("k1", "packed"), ("k2", "sent")], hint="two keys, two notifications"),
            case([("k1", "packed"), ("k1", "packed")], hint="the shop got no answer and sent it again"),
            case([("k1", "sale"), ("k2", "sale")], hint="the same words on two days"),
            case(
                [("k1", "a"), ("k1", "a"), ("k2", "b"), ("k1", "a"), ("k3", "c")], hint="what came between?"
            ),
            case([], hint="nobody published"),
            case([("z", "a"), ("y", "b"), ("z", "a"), ("y", "b"), ("x", "c")], hidden=True),
        ),
        mistakes=(
            Mistake(
                "each is new", _each_is_new, "a retry becomes a second notification: look the key up first."
            ),
            Mistake(
                "known by its text",
                _by_the_text,
                "two sales in a week are two notifications; only a key tells a retry.",
            ),
            Mistake("only the one before", _only_the_one_before, "others publish in between: keep the keys."),
            Mistake("ids with holes", _ids_with_holes, "a retry takes no number: count what is stored."),
            Mistake("left out", _left_out, "a retry wants an answer, too: the id of the first time."),
        ),
    ),
    Exercise(
        id="14.3",
        title="Gateways for a bad day",
        reference=gateways,
        cases=(
            case(1_000_000, 100_000, 5_000, 30, hint="ten hold them; and when one is lost?"),
            case(1_000_000, 400_000, 1_000, 10, hint="do the doors or the places decide?"),
            case(200_000, 100_000, 1_000, 50, hint="count who accepts, and who comes back"),
            case(90_000, 30_000, 100, 75, hint="S·(S − 1)·A·T ≥ N"),
            case(1_000, 10_000, 100, 60, hint="even a small one may be lost"),
            case(5_000_000, 64_000, 2_000, 20, hidden=True),
        ),
        mistakes=(
            Mistake(
                "no spare", _no_spare, "it is full on a calm day; with one lost, the others cannot hold all."
            ),
            Mistake(
                "places only", _memory_only, "there is room, but the clients wait at the doors for too long."
            ),
            Mistake("the dead one helps", _the_dead_one_helps, "it accepts nobody: S − 1 doors are left."),
            Mistake("all come back", _all_come_back, "only the lost one's share N/S has to come back."),
            Mistake("doors only", _doors_only, "they are let in soon, and do not fit."),
        ),
    ),
)
