"""Exercises of chapter 13: no secret in a log, how slowly to drain, a rate from a counter that restarts."""

from __future__ import annotations

import re
from collections.abc import Sequence

from labsupport.teach.exercise import Exercise, Mistake, case

# 13.1, no secret in a log

_SECRETS = re.compile(r"(?<=[?&])(token|ticket)=[^&\s\"]*")


def redact(line: str) -> str:
    """The line with the values of `token` and `ticket` in its address replaced by three dots."""
    return _SECRETS.sub(r"\1=...", line)


def _only_the_first(line: str) -> str:
    return _SECRETS.sub(r"\1=...", line, count=1)


def _to_the_end_of_the_line(line: str) -> str:
    return re.sub(r"(?<=[?&])(token|ticket)=.*", r"\1=...", line)


def _takes_the_name_too(line: str) -> str:
    return _SECRETS.sub("...", line)


def _also_inside_other_names(line: str) -> str:
    return re.sub(r"(token|ticket)=[^&\s\"]*", r"\1=...", line)


def _letters_and_digits_only(line: str) -> str:
    return re.sub(r"(?<=[?&])(token|ticket)=[A-Za-z0-9]*", r"\1=...", line)


def _forgets_the_ticket(line: str) -> str:
    return re.sub(r"(?<=[?&])token=[^&\s\"]*", "token=...", line)


# 13.2, how slowly to drain


def drain_s(clients: int, servers: int, accepts_per_s: float, share: float) -> float:
    """Seconds over which one server sends its clients away.

    The clients sit evenly on all servers. The others, one fewer, may spend `share` of their accept rate on
    them.
    """
    return clients / servers / ((servers - 1) * accepts_per_s * share)


def _counts_the_one_that_leaves(clients: int, servers: int, accepts_per_s: float, share: float) -> float:
    return clients / servers / (servers * accepts_per_s * share)


def _all_clients_leave(clients: int, servers: int, accepts_per_s: float, share: float) -> float:
    return clients / ((servers - 1) * accepts_per_s * share)


def _one_takes_all(clients: int, servers: int, accepts_per_s: float, share: float) -> float:
    return clients / servers / (accepts_per_s * share)


def _the_whole_rate(clients: int, servers: int, accepts_per_s: float, share: float) -> float:
    return clients / servers / ((servers - 1) * accepts_per_s)


def _the_share_upside_down(clients: int, servers: int, accepts_per_s: float, share: float) -> float:
    return clients / servers / ((servers - 1) * accepts_per_s) * share


# 13.3, a rate from a counter

Readings = Sequence[tuple[float, int]]  # (seconds, total), in order of time


def rate_per_s(readings: Readings) -> float:
    """Events per second from the first reading to the last; a total that falls began again at 0."""
    totals = [total for _, total in readings]
    rises = [after - before if after >= before else after for before, after in _pairs(totals)]
    return sum(rises) / (readings[-1][0] - readings[0][0])


def _pairs(totals: Sequence[int]) -> list[tuple[int, int]]:
    return list(zip(totals, totals[1:], strict=False))


def _last_less_first(readings: Readings) -> float:
    return (readings[-1][1] - readings[0][1]) / (readings[-1][0] - readings[0][0])


def _a_fall_is_nothing(readings: Readings) -> float:
    rises = [max(0, after - before) for before, after in _pairs([total for _, total in readings])]
    return sum(rises) / (readings[-1][0] - readings[0][0])


def _a_fall_counts_as_a_rise(readings: Readings) -> float:
    rises = [abs(after - before) for before, after in _pairs([total for _, total in readings])]
    return sum(rises) / (readings[-1][0] - readings[0][0])


def _a_reading_is_a_second(readings: Readings) -> float:
    return rate_per_s(readings) * (readings[-1][0] - readings[0][0]) / (len(readings) - 1)


def _from_time_zero(readings: Readings) -> float:
    return rate_per_s(readings) * (readings[-1][0] - readings[0][0]) / readings[-1][0]


EXERCISES = (
    Exercise(
        id="13.1",
        title="No secret in a log",
        reference=redact,
        cases=(
            case('"GET /events?token=opal HTTP/1.1" 200', hint="the value goes, its name stays"),
            case('"GET /events?token=opal&room=tea HTTP/1.1" 200', hint="what follows it is no secret"),
            case('"GET /events?ticket=agate HTTP/1.1" 401', hint="a ticket is one as well"),
            case('"GET /a?token=opal HTTP/1.1" 302 "GET /b?token=ruby HTTP/1.1"', hint="there are two in it"),
            case('"GET /events?room=tea HTTP/1.1" 200', hint="there is nothing to hide"),
            case('"GET /events?tokens=3&mytoken=4 HTTP/1.1" 200', hint="these are other names"),
            case('"GET /x?room=1&token=a.b-c_d%3D HTTP/1.1" 200', hint="a value may hold . - _ %"),
            case('"GET /x?ticket=q&token=a~b+c HTTP/1.1" 200', hidden=True),
        ),
        mistakes=(
            Mistake("only the first", _only_the_first, "the second one in the line is as good as the first."),
            Mistake(
                "the rest of the line",
                _to_the_end_of_the_line,
                "room and status are what the log is for: a value ends at &, a space or a quote.",
            ),
            Mistake(
                "the name as well",
                _takes_the_name_too,
                "that there was a token is worth knowing; keep its name.",
            ),
            Mistake(
                "inside other names",
                _also_inside_other_names,
                "a name begins behind ? or &, and `mytoken` is another one.",
            ),
            Mistake(
                "letters and digits only",
                _letters_and_digits_only,
                "the first dot or dash ends the search, and the rest of the secret stays in the log.",
            ),
            Mistake(
                "the ticket forgotten", _forgets_the_ticket, "a ticket opens a door, too: hide both names."
            ),
        ),
    ),
    Exercise(
        id="13.2",
        title="How slowly to drain",
        reference=drain_s,
        cases=(
            case(3_000, 3, 100.0, 0.5, hint="how many leave, and who takes them?"),
            case(1_000, 2, 50.0, 1.0, hint="one of two leaves, and one is left"),
            case(60_000, 6, 500.0, 0.25, hint="only a share of their rate is free"),
            case(10_000, 10, 200.0, 0.1, hidden=True),
        ),
        mistakes=(
            Mistake(
                "counts the one that leaves",
                _counts_the_one_that_leaves,
                "whoever is being emptied accepts nobody: one server fewer.",
            ),
            Mistake("all clients leave", _all_clients_leave, "only those of one server are sent away now."),
            Mistake("one takes them all", _one_takes_all, "all the others take them, not one of them."),
            Mistake(
                "the whole rate",
                _the_whole_rate,
                "ordinary visitors come as well: only `share` of the rate is free.",
            ),
            Mistake(
                "the share upside down",
                _the_share_upside_down,
                "with less of the rate to spend it takes longer, not less long.",
            ),
        ),
    ),
    Exercise(
        id="13.3",
        title="A rate from a counter",
        reference=rate_per_s,
        cases=(
            case([(0.0, 100), (10.0, 150)], hint="a difference over a time"),
            case([(60.0, 10), (120.0, 40), (180.0, 130)], hint="the time between first and last"),
            case([(0.0, 900), (10.0, 950), (20.0, 30)], hint="a restart: the total began again at 0"),
            case([(5.0, 7), (6.0, 7), (9.0, 7)], hint="nothing happened"),
            case([(2.0, 50), (12.0, 20), (22.0, 10)], hint="it restarted twice"),
            case([(1.0, 0), (3.0, 8), (4.0, 2), (6.0, 6)], hidden=True),
        ),
        mistakes=(
            Mistake(
                "last less first", _last_less_first, "over a restart that is negative, or far too little."
            ),
            Mistake(
                "a fall counts as nothing",
                _a_fall_is_nothing,
                "what was counted since the restart did happen: it is the new total.",
            ),
            Mistake(
                "a fall counts as a rise",
                _a_fall_counts_as_a_rise,
                "from 950 to 30 nothing was counted 920 times: the total began again at 0.",
            ),
            Mistake(
                "a reading is a second", _a_reading_is_a_second, "divide by the seconds, not by the readings."
            ),
            Mistake("from time zero", _from_time_zero, "the first reading has a time as well."),
        ),
    ),
)
