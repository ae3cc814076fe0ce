"""Exercises of chapter 07, heartbeats. The answer to the second is a class, and the check turns its clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from labsupport.teach.exercise import Exercise, Mistake, Result, case

# 7.1, an interval for a promise


def ping_interval(budget_s: float, timeout_s: float, idle_limit_s: float) -> float | None:
    """The longest interval that notices every death within the budget, with two pings in each idle limit."""
    interval_s = min(budget_s - timeout_s, idle_limit_s / 2)
    return interval_s if interval_s > 0 else None


def _mean_for_worst(budget_s: float, timeout_s: float, idle_limit_s: float) -> float | None:
    interval_s = min(2 * (budget_s - timeout_s), idle_limit_s / 2)
    return interval_s if interval_s > 0 else None


def _forgets_the_timeout(budget_s: float, timeout_s: float, idle_limit_s: float) -> float:
    return min(budget_s, idle_limit_s / 2)


def _one_ping_in_the_limit(budget_s: float, timeout_s: float, idle_limit_s: float) -> float | None:
    interval_s = min(budget_s - timeout_s, idle_limit_s)
    return interval_s if interval_s > 0 else None


def _forgets_the_box(budget_s: float, timeout_s: float, idle_limit_s: float) -> float | None:
    return budget_s - timeout_s if budget_s > timeout_s else None


def _never_says_no(budget_s: float, timeout_s: float, idle_limit_s: float) -> float:
    return min(budget_s - timeout_s, idle_limit_s / 2)


# 7.2, a dead-man timer

Clock = Callable[[], float]
Step = tuple[str, float]  # what happens, and when


class DeadMan:
    """Dead after `patience_s` seconds without a word, by the clock that it is given."""

    def __init__(self, patience_s: float, clock: Clock) -> None:
        self.patience_s, self.clock = patience_s, clock
        self.last_s = clock()

    def heard(self) -> None:
        """Something has come in."""
        self.last_s = self.clock()

    def is_dead(self) -> bool:
        """Whether the line counts as dead now."""
        return self.clock() - self.last_s >= self.patience_s


class _NeverWoundUp(DeadMan):
    def heard(self) -> None:
        pass


class _ClockFromZero(DeadMan):
    def __init__(self, patience_s: float, clock: Clock) -> None:
        super().__init__(patience_s, clock)
        self.last_s = 0.0


class _OwnClock(DeadMan):
    def __init__(self, patience_s: float, clock: Clock) -> None:
        super().__init__(patience_s, time.monotonic)


class _Credit(DeadMan):
    def __init__(self, patience_s: float, clock: Clock) -> None:
        super().__init__(patience_s, clock)
        self.until_s = clock() + patience_s

    def heard(self) -> None:
        self.until_s += self.patience_s

    def is_dead(self) -> bool:
        return self.clock() >= self.until_s


class _WindsUpByLooking(DeadMan):
    def is_dead(self) -> bool:
        dead = super().is_dead()
        self.last_s = self.clock()
        return dead


def played(answer: Any) -> Any:
    """The answer, a class, as a function of a script: what `is_dead()` said at each look."""
    if not callable(answer) or isinstance(answer, _Played):
        return answer
    return _Played(answer)


class _Played:
    """Turns a class's clock from step to step, and asks it when the script says so."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.__name__ = getattr(answer, "__name__", "your class")
        self.__wrapped__ = getattr(answer, "is_dead", None)  # whose file the learner's lines are in

    def __call__(self, patience_s: float, begins_s: float, script: Sequence[Step]) -> list[Any]:
        now_s = begins_s
        timer = self.answer(patience_s, lambda: now_s)
        if timer is None or timer is ...:
            raise NotImplementedError
        said = []
        for what, at_s in script:
            now_s = at_s
            if what == "heard":
                timer.heard()
            else:
                said.append(timer.is_dead())
        if all(one is None or one is ... for one in said):
            raise NotImplementedError
        return said


@dataclass(frozen=True)
class TimerExercise(Exercise):
    """An exercise whose answer is a class; each case is a script of what its clock shows meanwhile."""

    def check(self, answer: Any, *, hidden: bool = False) -> Result:
        """Try the answer on each script."""
        return super().check(played(answer), hidden=hidden)


# 7.3, presence

Beat = tuple[float, str]


def presence(beats: Sequence[Beat], ttl_s: float, now_s: float) -> tuple[list[str], int]:
    """Who is online at `now_s`, sorted, and how often somebody was taken for gone who was not."""
    until_s: dict[str, float] = {}
    mistaken = 0
    for at_s, user in beats:
        if user in until_s and at_s >= until_s[user]:
            mistaken += 1
        until_s[user] = at_s + ttl_s
    return sorted(user for user, end_s in until_s.items() if now_s < end_s), mistaken


def _never_expires(beats: Sequence[Beat], ttl_s: float, now_s: float) -> tuple[list[str], int]:
    return sorted({user for _, user in beats}), presence(beats, ttl_s, now_s)[1]


def _not_refreshed(beats: Sequence[Beat], ttl_s: float, now_s: float) -> tuple[list[str], int]:
    until_s: dict[str, float] = {}
    mistaken = 0
    for at_s, user in beats:
        if user in until_s and at_s < until_s[user]:
            continue
        mistaken += user in until_s
        until_s[user] = at_s + ttl_s
    return sorted(user for user, end_s in until_s.items() if now_s < end_s), mistaken


def _ttl_inclusive(beats: Sequence[Beat], ttl_s: float, now_s: float) -> tuple[list[str], int]:
    return presence(beats, ttl_s + 1e-6, now_s)


def _every_expiry(beats: Sequence[Beat], ttl_s: float, now_s: float) -> tuple[list[str], int]:
    online, mistaken = presence(beats, ttl_s, now_s)
    return online, mistaken + len({user for _, user in beats}) - len(online)


def _others_count(beats: Sequence[Beat], ttl_s: float, now_s: float) -> tuple[list[str], int]:
    times_s = [at_s for at_s, _ in beats]
    gaps = sum(later - earlier >= ttl_s for earlier, later in zip(times_s, times_s[1:], strict=False))
    return presence(beats, ttl_s, now_s)[0], gaps


_ALICE = [(0.0, "alice"), (30.0, "alice"), (60.0, "alice")]
_TWO = [(0.0, "alice"), (10.0, "bob"), (30.0, "alice"), (60.0, "alice"), (85.0, "bob"), (90.0, "alice")]

EXERCISES = (
    Exercise(
        id="7.1",
        title="An interval for a promise",
        reference=ping_interval,
        cases=(
            case(
                40.0, 15.0, 60.0, hint="a death right after a pong waits a whole interval, and the time-out"
            ),
            case(120.0, 20.0, 60.0, hint="how many pings must fall into a minute of silence?"),
            case(30.0, 20.0, 350.0, hint="behind a patient box, the promise alone decides"),
            case(20.0, 20.0, 60.0, hint="what if the time-out alone uses up the promise?"),
            case(15.0, 20.0, 350.0, hint="what if nothing keeps the promise?"),
            case(31.0, 1.0, 60.0, hint="both at once", hidden=True),
        ),
        mistakes=(
            Mistake(
                "the mean for the worst",
                _mean_for_worst,
                "half an interval is what it takes on average; a promise is about the unlucky one.",
            ),
            Mistake(
                "the time-out forgotten",
                _forgets_the_timeout,
                "the ping that is missed must first be waited for: the time-out comes on top.",
            ),
            Mistake(
                "one ping in the limit",
                _one_ping_in_the_limit,
                "a single ping that is lost or late, and the box cuts: two must fit.",
            ),
            Mistake(
                "the box forgotten",
                _forgets_the_box,
                "the promise is kept, but the proxy cuts the line before the next ping comes.",
            ),
            Mistake(
                "never says no",
                _never_says_no,
                "an interval of nothing, or less, is none: return None then.",
            ),
        ),
    ),
    TimerExercise(
        id="7.2",
        title="A dead-man timer",
        reference=played(DeadMan),
        cases=(
            case(3.0, 0.0, [("look", 2.9), ("look", 3.0)], hint="when the patience is over, it is over"),
            case(3.0, 20.0, [("look", 24.0)], hint="which clock says that time has passed?"),
            case(3.0, 0.0, [("heard", 2.0), ("look", 4.0), ("look", 5.0)], hint="who speaks, lives"),
            case(3.0, 1000.0, [("look", 1001.0), ("look", 1003.5)], hint="no clock begins at zero"),
            case(
                3.0,
                50.0,
                [*(("heard", 50.0 + i) for i in range(4)), ("look", 57.0)],
                hint="many words do not buy more patience than one",
            ),
            case(
                3.0,
                0.0,
                [("look", 1.0), ("look", 2.0), ("look", 3.0), ("look", 4.0)],
                hint="to look is not to hear",
            ),
            case(0.5, 7.0, [("heard", 7.4), ("look", 7.8), ("heard", 8.2), ("look", 8.6)], hidden=True),
        ),
        mistakes=(
            Mistake(
                "never wound up again",
                played(_NeverWoundUp),
                "heard() must start the patience afresh, or every line is dead after a while.",
            ),
            Mistake(
                "a clock that begins at zero",
                played(_ClockFromZero),
                "a clock may show anything at the start: ask it when the timer is made.",
            ),
            Mistake(
                "patience on credit",
                played(_Credit),
                "each word adds to the deadline, so a talkative line stays alive long after its death.",
            ),
            Mistake(
                "winds itself up by looking",
                played(_WindsUpByLooking),
                "is_dead() only asks; a timer that starts afresh at each look never fires.",
            ),
            Mistake(
                "the wall clock",
                played(_OwnClock),
                "use the clock that is given, and a test can turn it: no test should wait for an hour.",
            ),
        ),
    ),
    Exercise(
        id="7.3",
        title="Who is online?",
        reference=presence,
        cases=(
            case(_ALICE, 75.0, 100.0, hint="each beat starts the time to live afresh"),
            case(_ALICE, 75.0, 135.0, hint="at the end of the time to live, the key is gone"),
            case(_TWO, 60.0, 100.0, hint="bob was silent from 10 to 85: whom did the table lose meanwhile?"),
            case([(0.0, "bob"), (60.0, "bob")], 60.0, 61.0, hint="exactly two beats: the key goes first"),
            case(_TWO, 20.0, 120.0, hint="who never came back was rightly taken for gone"),
            case([], 60.0, 5.0, hint="nobody has said a word"),
            case([(0.0, "a"), (9.0, "b"), (18.0, "a"), (27.0, "b")], 10.0, 30.0, hidden=True),
        ),
        mistakes=(
            Mistake(
                "nobody ever leaves",
                _never_expires,
                "whoever has been silent for the time to live is offline.",
            ),
            Mistake(
                "only the first beat counts",
                _not_refreshed,
                "a beat from somebody who is online must put the end further away.",
            ),
            Mistake(
                "one moment too long",
                _ttl_inclusive,
                "a key that lives for 60 s is gone at 60 s, so a beat that comes at that moment is too late.",
            ),
            Mistake(
                "the dead counted as mistakes",
                _every_expiry,
                "a mistake is seen by the beat that comes later; without one, the user may really be gone.",
            ),
            Mistake(
                "the silence of all",
                _others_count,
                "each user has a key: look at the gap between two beats of the same user.",
            ),
        ),
    ),
)
