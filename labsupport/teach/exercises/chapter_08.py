"""Exercises of chapter 08, reconnect storms: write a policy, choose a window, and name one from its trace."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from labsupport.teach.exercise import Exercise, Mistake, case

# 8.1, full jitter


def full_jitter(attempt: int, u: float, base_s: float, cap_s: float) -> float:
    """U(0, v) with v = min(cap, base·2^attempt)."""
    return float(u * min(cap_s, base_s * 2**attempt))


def _no_cap(attempt: int, u: float, base_s: float, cap_s: float) -> float:
    return float(u * base_s * 2**attempt)


def _no_jitter(attempt: int, u: float, base_s: float, cap_s: float) -> float:
    return float(min(cap_s, base_s * 2**attempt))


def _jitter_before_cap(attempt: int, u: float, base_s: float, cap_s: float) -> float:
    return float(min(cap_s, u * base_s * 2**attempt))


def _jitter_on_top(attempt: int, u: float, base_s: float, cap_s: float) -> float:
    v = min(cap_s, base_s * 2**attempt)
    return float(v + u * v / 2)


def _equal_jitter(attempt: int, u: float, base_s: float, cap_s: float) -> float:
    v = min(cap_s, base_s * 2**attempt)
    return float(v / 2 + u * v / 2)


def _linear(attempt: int, u: float, base_s: float, cap_s: float) -> float:
    return float(u * min(cap_s, base_s * (attempt + 1)))


def _counts_from_one(attempt: int, u: float, base_s: float, cap_s: float) -> float:
    return float(u * min(cap_s, base_s * 2 ** (attempt + 1)))


# 8.2, a window for measured servers


def window_s(clients: int, servers: int, accepts_per_s: float, accept_queue: int) -> float:
    """(N − Q)/C of all servers together, and 0 where their queues hold everybody."""
    return max(0.0, (clients - servers * accept_queue) / (servers * accepts_per_s))


def _queue_forgotten(clients: int, servers: int, accepts_per_s: float, accept_queue: int) -> float:
    return clients / (servers * accepts_per_s)


def _queue_added(clients: int, servers: int, accepts_per_s: float, accept_queue: int) -> float:
    return (clients + servers * accept_queue) / (servers * accepts_per_s)


def _one_queue(clients: int, servers: int, accepts_per_s: float, accept_queue: int) -> float:
    return max(0.0, (clients - accept_queue) / (servers * accepts_per_s))


def _one_server(clients: int, servers: int, accepts_per_s: float, accept_queue: int) -> float:
    return max(0.0, (clients - accept_queue) / accepts_per_s)


def _upside_down(clients: int, servers: int, accepts_per_s: float, accept_queue: int) -> float:
    return servers * accepts_per_s / max(1.0, clients - servers * accept_queue)


def _before_the_loss(clients: int, servers: int, accepts_per_s: float, accept_queue: int) -> float:
    return (clients - servers * accept_queue) / (servers * accepts_per_s)


# 8.3, read a trace

Trace = Sequence[tuple[int, float]]  # (failures so far, seconds waited)
BASE_S, CAP_S = 1.0, 30.0
NEAR_S = 1e-6


def _ceiling_s(attempt: int) -> float:
    return float(min(CAP_S, BASE_S * 2**attempt))


def _name(trace: Trace, ceiling_s: Callable[[int], float], order: Sequence[str]) -> str:
    """The first policy in `order` whose range holds every wait of the trace."""
    ranges = {"none": (1.0, 1.0), "page": (1.0, 1.5), "equal": (0.5, 1.0), "full": (0.0, 1.0)}
    for policy in order:
        low, high = ranges[policy]
        if all(
            low * ceiling_s(attempt) - NEAR_S <= wait_s <= high * ceiling_s(attempt) + NEAR_S
            for attempt, wait_s in trace
        ):
            return policy
    return "unknown"


STRICTEST_FIRST = ("none", "page", "equal", "full")


def name_policy(trace: Trace) -> str:
    """The strictest policy that may have waited like this, or "unknown"."""
    return _name(trace, _ceiling_s, STRICTEST_FIRST)


def _cap_forgotten(trace: Trace) -> str:
    return _name(trace, lambda attempt: BASE_S * 2**attempt, STRICTEST_FIRST)


def _first_wait_only(trace: Trace) -> str:
    return _name(trace[:1], _ceiling_s, STRICTEST_FIRST)


def _last_wait_only(trace: Trace) -> str:
    return _name(trace[-1:], _ceiling_s, STRICTEST_FIRST)


def _loosest_first(trace: Trace) -> str:
    return _name(trace, _ceiling_s, ("full", "equal", "page", "none"))


def _full_as_the_rest(trace: Trace) -> str:
    found = name_policy(trace)
    return "full" if found == "unknown" else found


_NONE = [(0, 1.0), (1, 2.0), (2, 4.0), (3, 8.0), (4, 16.0), (5, 30.0), (6, 30.0)]
_PAGE = [(0, 1.13), (1, 2.72), (2, 4.31), (3, 11.9), (4, 17.5), (5, 44.2), (6, 33.0)]
_EQUAL = [(0, 0.81), (1, 1.15), (2, 3.02), (3, 7.9), (4, 9.6), (5, 15.8), (6, 28.4)]
_FULL = [(0, 0.92), (1, 0.21), (2, 3.76), (3, 1.4), (4, 12.9), (5, 2.2), (6, 29.1)]
_UNKNOWN = [(0, 0.74), (1, 2.9), (2, 5.0), (3, 5.0), (4, 5.0)]

EXERCISES = (
    Exercise(
        id="8.1",
        title="Full jitter",
        reference=full_jitter,
        cases=(
            case(0, 0.5, 1.0, 30.0, hint="before the first failure the ceiling is the base"),
            case(3, 0.25, 1.0, 30.0, hint="2³ is 8, and a quarter of it?"),
            case(10, 1.0, 1.0, 30.0, hint="is the cap applied?"),
            case(10, 0.5, 1.0, 30.0, hint="a draw of the capped ceiling: what is drawn from what?"),
            case(4, 0.0, 0.5, 4.0, hint="the draw may be 0, and then nobody waits"),
            case(2, 0.75, 0.5, 4.0, hint="the base is an argument, too"),
            case(6, 0.3, 0.2, 5.0, hidden=True),
        ),
        mistakes=(
            Mistake("no cap", _no_cap, "the ceiling doubles for ever: after ten failures it is 17 minutes."),
            Mistake(
                "jitter before cap",
                _jitter_before_cap,
                "once most draws lie above the cap, nearly all wait exactly the cap, in step. Cap first.",
            ),
            Mistake(
                "no jitter",
                _no_jitter,
                "the draw is not used: who fell together comes back together, each time.",
            ),
            Mistake(
                "jitter on top of the cap",
                _jitter_on_top,
                "that is the page's sample: nobody comes early, and the cap is no cap.",
            ),
            Mistake(
                "equal jitter",
                _equal_jitter,
                "half of the ceiling is kept as a wait: a good policy, and another one.",
            ),
            Mistake("not exponential", _linear, "the ceiling must double with each failure."),
            Mistake("counted from one", _counts_from_one, "2⁰ is 1: the first ceiling is the base."),
        ),
    ),
    Exercise(
        id="8.2",
        title="A window for measured servers",
        reference=window_s,
        cases=(
            case(2_000, 1, 500.0, 100, hint="100 of the 2 000 may wait in the queue"),
            case(10_000, 1, 200.0, 100, hint="the chapter's own storm"),
            case(50_000, 4, 500.0, 100, hint="how much do four servers take, and how many may wait?"),
            case(80, 1, 500.0, 100, hint="what if the queue holds them all?"),
            case(1_000_000, 20, 1_000.0, 500, hidden=True),
        ),
        mistakes=(
            Mistake("the queue forgotten", _queue_forgotten, "the last Q clients need no window: they wait."),
            Mistake("the queue added", _queue_added, "a queue makes room, so it shortens the window."),
            Mistake("one queue for all", _one_queue, "each server has a queue of its own."),
            Mistake("one server", _one_server, "the clients come back to all servers."),
            Mistake("upside down", _upside_down, "clients over clients a second gives seconds."),
            Mistake(
                "a window before the loss",
                _before_the_loss,
                "a negative window is none: if the queues hold everybody, return 0.",
            ),
        ),
    ),
    Exercise(
        id="8.3",
        title="Name the policy",
        reference=name_policy,
        cases=(
            case(_NONE, hint="every wait is the ceiling itself"),
            case(_PAGE, hint="44.2 s after five failures: who waits longer than the cap?"),
            case(_EQUAL, hint="no wait is shorter than half of its ceiling"),
            case(_FULL, hint="0.21 s after a failure: who may be so short?"),
            case(_EQUAL[:1] + _FULL[1:], hint="one wait may mislead: look at all of them"),
            case(_FULL[:6] + _EQUAL[6:], hint="and not only at the last"),
            case(_UNKNOWN, hint="the third wait is 5 s, and the ceiling was 4"),
            case([(1, 2.6), (2, 5.5)], hint="a trace need not begin at the first failure"),
            case([(7, 30.0), (9, 30.0)], hidden=True),
        ),
        mistakes=(
            Mistake(
                "the loosest first",
                _loosest_first,
                "full jitter can look like others; ask for the strictest policy first.",
            ),
            Mistake("the cap forgotten", _cap_forgotten, "from five failures on the ceiling is 30 s."),
            Mistake(
                "full jitter as the rest",
                _full_as_the_rest,
                "full jitter never waits longer than the ceiling: some traces fit none of the four.",
            ),
            Mistake("only the first wait", _first_wait_only, "each further wait can rule a policy out."),
            Mistake("only the last wait", _last_wait_only, "each earlier wait can rule a policy out."),
        ),
    ),
)
