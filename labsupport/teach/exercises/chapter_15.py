"""Exercises of chapter 15: how much of a ledger runs, a sentence that claims too much, a client's review."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from labsupport.teach.exercise import Exercise, Mistake, case

# 15.1, the share that you can run

Rows = Sequence[tuple[str, str]]  # verdict, kind of evidence
RUNS = {"measured", "computed", "simulated"}


def runnable_share(rows: Rows) -> float | None:
    """Of the claims that say something to verify, the share that a run shows; None if there is none."""
    says = [evidence for verdict, evidence in rows if verdict != "open"]
    return sum(evidence in RUNS for evidence in says) / len(says) if says else None


def _counts_open_ones(rows: Rows) -> float | None:
    return sum(evidence in RUNS for _, evidence in rows) / len(rows) if rows else None


def _open_above_only(rows: Rows) -> float | None:
    says = [evidence for verdict, evidence in rows if verdict != "open"]
    return sum(evidence in RUNS for _, evidence in rows) / len(says) if says else None


def _measured_only(rows: Rows) -> float | None:
    says = [evidence for verdict, evidence in rows if verdict != "open"]
    return sum(evidence == "measured" for evidence in says) / len(says) if says else None


def _cited_runs(rows: Rows) -> float | None:
    says = [evidence for verdict, evidence in rows if verdict != "open"]
    return sum(evidence in RUNS | {"cited"} for evidence in says) / len(says) if says else None


def _nothing_is_zero(rows: Rows) -> float | None:
    return runnable_share(rows) or 0.0


# 15.2, a sentence that states what is wrong

Wrong = Mapping[str, str]  # row -> its statement
HEARSAY = ("told", "you may read", "is wrong")


def stated(sentence: str, wrong: Wrong) -> list[str]:
    """The rows whose statement the sentence makes, sorted; none if the sentence calls it hearsay."""
    text = sentence.lower()
    if any(words in text for words in HEARSAY):
        return []
    return sorted(row for row, statement in wrong.items() if statement.lower() in text)


def _case_matters(sentence: str, wrong: Wrong) -> list[str]:
    if any(words in sentence.lower() for words in HEARSAY):
        return []
    return sorted(row for row, statement in wrong.items() if statement in sentence)


def _believes_hearsay(sentence: str, wrong: Wrong) -> list[str]:
    return sorted(row for row, statement in wrong.items() if statement.lower() in sentence.lower())


def _the_first_only(sentence: str, wrong: Wrong) -> list[str]:
    return stated(sentence, wrong)[:1]


def _words_and_not_the_statement(sentence: str, wrong: Wrong) -> list[str]:
    text = sentence.lower()
    if any(words in text for words in HEARSAY):
        return []
    return sorted(
        row for row, statement in wrong.items() if all(word in text for word in statement.lower().split())
    )


def _statements(sentence: str, wrong: Wrong) -> list[str]:
    return [wrong[row] for row in stated(sentence, wrong)]


# 15.3, a client's review: what it did at each end of a connection

Log = Sequence[tuple[float, str]]  # s, "open", "end", or the number of a message


def review(log: Log) -> list[str]:
    """What is wrong with the client, sorted: "double", "lost", "order" and "spins", from its log.

    Spins: two opens within a second of each other, three times in a row or more.
    """
    numbers = [int(what) for _, what in log if what.isdigit()]
    opens_s = [at_s for at_s, what in log if what == "open"]
    first = [number for place, number in enumerate(numbers) if number not in numbers[:place]]
    found = set()
    if len(first) < len(numbers):
        found.add("double")
    if first and set(range(min(first), max(first) + 1)) - set(first):
        found.add("lost")
    if first != sorted(first):
        found.add("order")
    quick = [later - earlier < 1 for earlier, later in zip(opens_s, opens_s[1:], strict=False)]
    if any(all(quick[at : at + 3]) for at in range(len(quick) - 2)):
        found.add("spins")
    return sorted(found)


def _a_double_is_disorder(log: Log) -> list[str]:
    numbers = [int(what) for _, what in log if what.isdigit()]
    found = set(review(log)) - {"order"} | ({"order"} if numbers != sorted(numbers) else set())
    return sorted(found)


def _late_is_lost(log: Log) -> list[str]:
    numbers = [int(what) for _, what in log if what.isdigit()]
    holes = any(later > earlier + 1 for earlier, later in zip(numbers, numbers[1:], strict=False))
    return sorted(set(review(log)) | ({"lost"} if holes else set()))


def _any_quick_return_spins(log: Log) -> list[str]:
    opens_s = [at_s for at_s, what in log if what == "open"]
    quick = any(later - earlier < 1 for earlier, later in zip(opens_s, opens_s[1:], strict=False))
    return sorted(set(review(log)) | ({"spins"} if quick else set()))


def _counts_from_one(log: Log) -> list[str]:
    numbers = {int(what) for _, what in log if what.isdigit()}
    missing = numbers and set(range(1, max(numbers) + 1)) - numbers
    return sorted(set(review(log)) | ({"lost"} if missing else set()))


CLOSES = {"A1": "the connection closes", "K2": "nat drops it after 60 s"}
FISH = {"A1": "Fish talk", "B2": "Fish"}

EXERCISES = (
    Exercise(
        "15.1",
        "How much of it runs",
        runnable_share,
        (
            case([("right", "measured"), ("wrong", "cited")]),
            case(
                [("right", "measured"), ("open", "none"), ("open", "computed")],
                hint="an open row says nothing",
            ),
            case([("wrong", "computed"), ("imprecise", "simulated"), ("right", "none"), ("right", "cited")]),
            case([("open", "measured")], hint="is there anything to verify?"),
            case([("right", "cited"), ("right", "none")], hint="a share of nothing is a number, too"),
            case([], hidden=True),
        ),
        (
            Mistake(
                "counts open rows", _counts_open_ones, "a question cannot be verified: leave it out of both."
            ),
            Mistake(
                "open rows above the line", _open_above_only, "leave them out of the count of those that run."
            ),
            Mistake("only what is measured", _measured_only, "a formula and a model run as well."),
            Mistake("a source runs", _cited_runs, "a citation can be read, not run."),
            Mistake("nothing is zero", _nothing_is_zero, "no claims at all is None; none that run is 0."),
        ),
    ),
    Exercise(
        "15.2",
        "Who says so?",
        stated,
        (
            case("As soon as it answers, the connection closes.", CLOSES),
            case("The connection closes, and NAT drops it after 60 s.", CLOSES, hint="capital letters"),
            case("You may read that the connection closes.", CLOSES, hint="who says it?"),
            case("It is a tale that is often told: NAT drops it after 60 s.", CLOSES),
            case("Fish talk.", FISH, hint="can a sentence state two?"),
            case(
                "The door closes, the connection stays.", CLOSES, hint="all its words, but not the statement"
            ),
            case("That FISH talk IS WRONG.", FISH, hidden=True),
        ),
        (
            Mistake("capitals matter", _case_matters, "compare both in small letters."),
            Mistake(
                "believes hearsay", _believes_hearsay, "a sentence that calls it hearsay does not state it."
            ),
            Mistake("the first only", _the_first_only, "a sentence may state several."),
            Mistake("a bag of words", _words_and_not_the_statement, "the words have to stand together."),
            Mistake("statements, not rows", _statements, "return the rows' ids."),
        ),
    ),
    Exercise(
        "15.3",
        "Review a client",
        review,
        (
            case([(0.0, "open"), (1.0, "4"), (2.0, "5"), (3.0, "6")], hint="it may begin anywhere"),
            case([(0.0, "open"), (1.0, "1"), (2.0, "end"), (5.0, "open"), (6.0, "3")]),
            case(
                [(0.0, "open"), (1.0, "1"), (2.0, "2"), (2.5, "end"), (5.0, "open"), (6.0, "1"), (7.0, "3")]
            ),
            case([(0.0, "open"), (1.0, "1"), (2.0, "3"), (3.0, "2")], hint="late is not lost"),
            case([(0.0, "open"), (0.2, "open"), (0.4, "open"), (0.6, "open"), (9.0, "1")]),
            case(
                [
                    (0.0, "open"),
                    (1.0, "1"),
                    (1.1, "end"),
                    (1.3, "open"),
                    (1.9, "end"),
                    (2.1, "open"),
                    (9.0, "2"),
                ]
            ),
            case([(0.0, "open"), (1.0, "3"), (2.0, "1"), (3.0, "1")], hidden=True),
        ),
        (
            Mistake("a double is disorder", _a_double_is_disorder, "look at the first time that each came."),
            Mistake("late is lost", _late_is_lost, "look at the whole log before you call a number lost."),
            Mistake(
                "any quick return spins", _any_quick_return_spins, "three quick returns in a row, at least."
            ),
            Mistake("counts from one", _counts_from_one, "who comes later is owed only what follows."),
        ),
    ),
)
