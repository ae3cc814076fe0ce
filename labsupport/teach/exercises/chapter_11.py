"""Exercises of chapter 11: a queue with a place for each key, a difference that fits or not, a late ping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from labsupport.teach.exercise import Exercise, Mistake, case

# 11.1, keep the latest of each key

Queue = Sequence[tuple[str, Any]]  # (key, value), the next to be sent first


def put(waiting: Queue, key: str, value: Any) -> list[tuple[str, Any]]:
    """The queue after a new value: in the place where its key waits already, else at the end."""
    if any(name == key for name, _ in waiting):
        return [(name, value if name == key else old) for name, old in waiting]
    return [*waiting, (key, value)]


def _a_plain_queue(waiting: Queue, key: str, value: Any) -> list[tuple[str, Any]]:
    return [*waiting, (key, value)]


def _to_the_end(waiting: Queue, key: str, value: Any) -> list[tuple[str, Any]]:
    return [*(one for one in waiting if one[0] != key), (key, value)]


def _to_the_front(waiting: Queue, key: str, value: Any) -> list[tuple[str, Any]]:
    return [(key, value), *(one for one in waiting if one[0] != key)]


def _keeps_the_old_one(waiting: Queue, key: str, value: Any) -> list[tuple[str, Any]]:
    return list(waiting) if any(name == key for name, _ in waiting) else [*waiting, (key, value)]


def _one_for_all_keys(waiting: Queue, key: str, value: Any) -> list[tuple[str, Any]]:
    return [(key, value)]


# 11.2, apply a difference or ask for a snapshot

State = Mapping[str, Any]
Difference = Mapping[str, Any]  # from, version, patch (RFC 7396)


def apply(state: State, version: int, difference: Difference) -> tuple[State, int] | str:
    """State and version after a difference; "resync" if it does not begin where the state ends."""
    if difference["version"] <= version:
        return state, version
    if difference["from"] != version:
        return "resync"
    return merge(state, difference["patch"]), difference["version"]


def merge(target: Any, patch: Any) -> Any:
    """RFC 7396, section 2."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merge(result.get(name), value)
    return result


def _by(change: Any, state: State, version: int, difference: Difference) -> tuple[State, int] | str:
    """The right answer about versions, with another way to merge."""
    answer = apply(state, version, difference)
    if isinstance(answer, str) or answer[1] == version:
        return answer
    return change(state, difference["patch"]), answer[1]


def _flat(target: State, patch: State) -> State:
    """As dict.update() merges, but for null."""
    return {name: value for name, value in {**target, **patch}.items() if value is not None}


def _with_nulls(target: Any, patch: Any) -> Any:
    if not isinstance(patch, Mapping):
        return patch
    there = target if isinstance(target, Mapping) else {}
    return {**there, **{name: _with_nulls(there.get(name), value) for name, value in patch.items()}}


def _never_looks(state: State, version: int, difference: Difference) -> tuple[State, int]:
    return merge(state, difference["patch"]), difference["version"]


def _keeps_nulls(state: State, version: int, difference: Difference) -> tuple[State, int] | str:
    return _by(_with_nulls, state, version, difference)


def _one_level(state: State, version: int, difference: Difference) -> tuple[State, int] | str:
    return _by(_flat, state, version, difference)


def _replaces_all(state: State, version: int, difference: Difference) -> tuple[State, int] | str:
    return _by(lambda _, patch: merge({}, patch), state, version, difference)


def _old_is_a_gap(state: State, version: int, difference: Difference) -> tuple[State, int] | str:
    return apply(state, version, difference) if difference["from"] == version else "resync"


def _counts_by_one(state: State, version: int, difference: Difference) -> tuple[State, int] | str:
    if version < difference["version"] != version + 1:
        return "resync"
    return apply(state, version, {**difference, "from": version})


# 11.3, when a living reader is taken for dead


def declared_dead_s(in_per_s: float, out_per_s: float, timeout_s: float) -> float | None:
    """Seconds until a ping behind all that waits comes too late; None: never."""
    surplus = in_per_s - out_per_s
    return timeout_s * out_per_s / surplus if surplus > 0 else None


def _forgets_the_reading(in_per_s: float, out_per_s: float, timeout_s: float) -> float | None:
    return timeout_s * out_per_s / in_per_s if in_per_s > out_per_s else None


def _by_the_source(in_per_s: float, out_per_s: float, timeout_s: float) -> float | None:
    return timeout_s * in_per_s / (in_per_s - out_per_s) if in_per_s > out_per_s else None


def _upside_down(in_per_s: float, out_per_s: float, timeout_s: float) -> float | None:
    return timeout_s * (in_per_s - out_per_s) / out_per_s if in_per_s > out_per_s else None


def _always(in_per_s: float, out_per_s: float, timeout_s: float) -> float | None:
    return timeout_s * out_per_s / abs(in_per_s - out_per_s) if in_per_s != out_per_s else None


EXERCISES = (
    Exercise(
        id="11.1",
        title="A place for each key",
        reference=put,
        cases=(
            case([], "BTC", 101, hint="nobody waits: it is the next"),
            case([("BTC", 101)], "ETH", 7, hint="another key is other news: nothing of it is out of date"),
            case([("BTC", 101), ("ETH", 7)], "BTC", 102, hint="whose turn is it, and with which value?"),
            case([("BTC", 101), ("ETH", 7), ("SOL", 3)], "ETH", 8, hint="the other keys stay as they are"),
            case([("SOL", 3), ("BTC", 101)], "BTC", 0, hint="0 is a value as good as any other"),
            case([("a", 1), ("b", 2), ("c", 3), ("d", 4)], "c", None, hidden=True),
        ),
        mistakes=(
            Mistake(
                "a plain queue",
                _a_plain_queue,
                "it grows with every value, and the reader gets prices that nobody asks any more.",
            ),
            Mistake(
                "sent to the end",
                _to_the_end,
                "a key that changes faster than the reader reads would lose its turn for ever.",
            ),
            Mistake(
                "sent to the front",
                _to_the_front,
                "a key that changes often would be read again and again, and the others never.",
            ),
            Mistake("the old value stays", _keeps_the_old_one, "of one key, only the newest value counts."),
            Mistake(
                "one place for all keys",
                _one_for_all_keys,
                "a new price of one says nothing about the others; they would be lost.",
            ),
        ),
    ),
    Exercise(
        id="11.2",
        title="Apply it, or ask for all",
        reference=apply,
        cases=(
            case(
                {"cpu": 41, "disk": 7}, 12, {"from": 12, "version": 13, "patch": {"cpu": 42}},
                hint="what the patch does not name stays",
            ),
            case(
                {"cpu": 41, "disk": 7}, 12, {"from": 12, "version": 13, "patch": {"disk": None}},
                hint="in a merge patch, null takes a member away (RFC 7396)",
            ),
            case(
                {"cpu": 41}, 12, {"from": 13, "version": 14, "patch": {"cpu": 43}},
                hint="where is the difference from 12 to 13?",
            ),
            case(
                {"cpu": 41}, 12, {"from": 10, "version": 11, "patch": {"cpu": 9}},
                hint="told twice: that is in the state already",
            ),
            case(
                {"host": {"cpu": 41, "disk": 7}}, 3, {"from": 3, "version": 4, "patch": {"host": {"cpu": 1}}},
                hint="an object inside is merged by the same rule",
            ),
            case(
                {"cpu": 41}, 12, {"from": 12, "version": 15, "patch": {"cpu": 44}},
                hint="one difference may stand for several versions; nothing is missing",
            ),
            case(
                {"cpu": 41}, 5, {"from": 7, "version": 9, "patch": {"cpu": 44}}, hidden=True,
            ),
        ),
        mistakes=(
            Mistake(
                "never looks at the versions",
                _never_looks,
                "it applies whatever comes; a state with a hole looks like any other.",
            ),
            Mistake(
                "null kept as a value", _keeps_nulls, "RFC 7396: null in a patch takes the member away."
            ),
            Mistake(
                "merged one level deep",
                _one_level,
                "an object inside is a patch, too: only what it names is changed.",
            ),
            Mistake(
                "the patch instead of the state",
                _replaces_all,
                "a difference says what is different; all the rest is still there.",
            ),
            Mistake(
                "what is old taken for a gap",
                _old_is_a_gap,
                "a version that is in the state already is no loss, and needs no snapshot.",
            ),
            Mistake(
                "only ever one version further",
                _counts_by_one,
                "a difference says between which two versions it lies: compare its “from”.",
            ),
        ),
    ),
    Exercise(
        id="11.3",
        title="Taken for dead",
        reference=declared_dead_s,
        cases=(
            case(200, 100, 20, hint="after t seconds (in − out)·t wait, and each takes 1/out to read"),
            case(110, 100, 20, hint="a small surplus takes its time"),
            case(500, 100, 20, hint="a large one does not"),
            case(100, 100, 20, hint="who keeps up has no queue"),
            case(50, 100, 20, hint="who is faster than the source, neither"),
            case(300, 200, 45, hidden=True),
        ),
        mistakes=(
            Mistake(
                "what was read counted as waiting",
                _forgets_the_reading,
                "only the surplus waits: the reader takes some of it all the while.",
            ),
            Mistake(
                "the pace of the source",
                _by_the_source,
                "a ping waits as long as the *reader* needs for all that lies before it.",
            ),
            Mistake("upside down", _upside_down, "the larger the surplus, the sooner it comes too late."),
            Mistake("a queue that shrinks", _always, "a reader who is faster has no queue at all: None."),
        ),
    ),
)  # fmt: skip
