"""The ledger is whole, every row leads to what shows it, and no chapter states what it calls wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from labsupport.course import ledger as ledgers
from labsupport.course.ledger import EVIDENCE, VERDICTS, Claim, Ledger, Page, Quoted, load, pages, problems
from labsupport.course.stated import sentences, stated

LEDGER = load()
CHAPTERS = pages()
WRONG = [claim for claim in LEDGER.claims if claim.verdict == "wrong"]


def markdown(text: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "id": "prose", "metadata": {}, "source": text}


def code(printed: str, *, ran: bool = True, tags: tuple[str, ...] = ()) -> dict[str, Any]:
    output = {"output_type": "stream", "name": "stdout", "text": printed}
    return {
        "cell_type": "code", "id": "code", "metadata": {"tags": list(tags)}, "source": "print()",
        "outputs": [output], "execution_count": 1 if ran else None,
    }  # fmt: skip


def book(*cells: dict[str, Any]) -> list[Page]:
    return [Page("42", "42_a_chapter", cells)]


def ledger_of(*claims: Claim, quoted: tuple[Quoted, ...] = ()) -> Ledger:
    return Ledger(claims, {"A": "About"}, {"BOOK": {"title": "A book", "seen": "original"}}, quoted)


def row(evidence: str = "measured", *shown_by: dict[str, str], **more: Any) -> Claim:
    fields = {"id": "A1", "claim": "Cows fly.", "verdict": "right", "right": "They do.", **more}
    return Claim(evidence=evidence, shown_by=shown_by, **fields)


def problem_of(claim: Claim, *cells: dict[str, Any]) -> str:
    """What is wrong with a ledger of this one row, the unused source left out."""
    found = problems(ledger_of(claim), book(*cells))
    return " ".join(sentence for sentence in found if "used by no row" not in sentence)


def test_every_row_of_the_ledger_leads_to_what_it_says() -> None:
    assert problems(LEDGER, CHAPTERS) == []


def test_no_chapter_states_what_the_ledger_calls_wrong() -> None:
    assert stated(LEDGER, CHAPTERS) == []


def test_the_ledger_holds_each_claim_of_the_field_that_the_course_looked_at() -> None:
    assert len(LEDGER.claims) == 219
    assert {claim.section for claim in LEDGER.claims} == set(LEDGER.sections)


@pytest.mark.parametrize("claim", WRONG, ids=lambda claim: claim.id)
def test_a_wrong_claim_is_found_in_its_own_words_and_what_is_right_is_not(claim: Claim) -> None:
    alone = replace(LEDGER, claims=(claim,), quoted=())
    assert len(stated(alone, book(markdown(f"Some words before. {claim.claim} And some behind.")))) == 1
    assert stated(alone, book(markdown(claim.right))) == []


@pytest.mark.parametrize(
    ("id", "text"),
    [
        ("A1", "In plain HTTP, the connection is closed after every response."),
        ("E6", "Messenger moved to MQTT around 2016."),
        ("G12", "If onerror fires, it reconnects by itself."),
        ("G13", "The browser backs off, so SSE has no thundering herd."),
        ("H10", "Slack sends all messages up a WebSocket."),
        ("H12", "Discord rewrote its voice servers from Go to Rust."),
        ("H13", "A fixed delay of 3 s is enough."),
        ("I8", "Redis Pub/Sub guarantees that each server hears of it."),
        ("I11", "Slack uses Redis Pub/Sub to fan out."),
        ("J4", "When it runs out of descriptors, new clients get a connection refused."),
        ("J4", "Without descriptors the server refuses new connections."),
        ("J9", "One connection needs about 50 kB of memory."),
        ("J11", "WhatsApp now runs on Elixir."),
        ("K2", "A NAT forgets idle connections after 60 s."),
        ("K2", "Most NATs kill an idle TCP connection within 30 seconds."),
        ("L4", "The page's sample waits at most 30 s."),
        ("L8", "Resetting the counter when the socket opens is fine."),
        ("N2", "There are more than 750,000 paying organizations on Slack."),
        ("O2", "Discord voice is peer-to-peer."),
        ("O4", "p99 went down from 50 to 10 ms."),
        ("P6", "The trade carries a field called price."),
        ("Q1", "The Firebase SDK speaks Server-Sent Events."),
        ("Q1", "Firebase listens over SSE."),
        ("R1", "SSE passes through all proxies."),
        ("R1", "Server-Sent Events work through every proxy."),
        ("R10", "setInterval(fetch, 60000) works."),
        ("R12", "From New York to London light needs about 67 ms."),
        ("R13", "It takes at least 80–150 ms across the ocean."),
        ("R19", "A WebSocket needs sticky sessions."),
        ("S14", "The kernel's send buffer grows until the memory is gone."),
        ("S14", "Its kernel buffer fills without bound."),
        ("S20", "SSE needs no special configuration of the load balancer."),
        ("S2", "SSE brings jitter by itself."),
    ],
)
def test_a_wrong_claim_is_found_in_other_words_too(id: str, text: str) -> None:
    alone = replace(LEDGER, claims=(LEDGER.claim(id),), quoted=())
    assert len(stated(alone, book(markdown(text)))) == 1


def test_what_chapters_rightly_say_in_words_like_these_is_let_pass() -> None:
    right = """Without a free descriptor a server refuses nobody. Firebase's REST interface speaks SSE.
    A device that is slow to answer makes NAT no difference. Slack's messages go up by HTTP, not by a socket.
    An HTTP/1.1 connection stays open after the response. An EventSource never backs off."""
    assert stated(replace(LEDGER, quoted=()), book(markdown(right))) == []


# The search for wrong statements can find, and knows a quotation

FLY = row("cited", {"source": "BOOK"}, verdict="wrong", said=(r"cows? (can )?fl(y|ies)",))


@pytest.mark.parametrize(
    "text",
    [
        "It rains, and cows fly.",
        "As everybody can see, **cows** can\n*fly* in spring.",
        "- grass grows\n- a `cow` flies",
        "| animal | does |\n|---|---|\n| most | eat |\n| all cows fly | yes |",
        "### Why cows fly",
        "Is it true? [Cows](https://cows.example) fly.",
    ],
)
def test_a_wrong_statement_that_is_planted_in_prose_is_found(text: str) -> None:
    [found] = stated(ledger_of(FLY), book(code("cows fly"), markdown(text)))
    assert found.startswith("chapter 42, cell prose, states what row A1 calls wrong: “")


@pytest.mark.parametrize(
    "text",
    [
        "Cows stay where they are.",
        "You may read that cows fly.",
        "It is a widely told tale that cows fly.",
        "| told | seen |\n|---|---|\n| cows fly | they stand |",
        "```\ncows fly\n```",
        "Cows. Fly!",
    ],
)
def test_what_is_called_hearsay_or_is_no_statement_is_left_alone(text: str) -> None:
    assert stated(ledger_of(FLY), book(markdown(text))) == []


def test_only_the_column_of_hearsay_is_left_alone() -> None:
    table = "| told | seen |\n|---|---|\n| they stand | cows fly |"
    assert len(stated(ledger_of(FLY), book(markdown(table)))) == 1


def test_a_quotation_that_the_ledger_lists_is_let_pass_there_and_nowhere_else() -> None:
    quoted = Quoted("A1", "42", '"Cows fly"', "said to be refuted")
    text = 'Grandfather said: "Cows fly".'
    assert stated(ledger_of(FLY, quoted=(quoted,)), book(markdown(text))) == []
    again = stated(ledger_of(FLY, quoted=(quoted,)), book(markdown(f"{text} And yet cows fly.")))
    assert len(again) == 1
    elsewhere = [Page("43", "43_another", (markdown(text),))]
    assert len(stated(ledger_of(FLY, quoted=(quoted,)), elsewhere)) == 1


def test_an_excuse_that_excuses_nothing_is_told() -> None:
    quoted = Quoted("A1", "42", "cows fly", "it was there once")
    [found] = stated(ledger_of(FLY, quoted=(quoted,)), book(markdown("Grass grows.")))
    assert "is excused in chapter 42 for row A1, and is not found there" in found


def test_a_text_is_cut_into_sentences_and_cells_without_its_markup() -> None:
    text = 'One *is* here: two.\nIt goes "on." Then\n\n1. a [link](x.ipynb) &amp; `code`\n\n| a | **b** |'
    assert [one.text for one in sentences(text)][:6] == [
        "One is here: two.", 'It goes "on.', "Then", "a link & code", "a", "b",
    ]  # fmt: skip


# A row that leads nowhere is told

SHOWN = {"chapter": "42", "prints": "a cow at 30 m"}


def test_a_row_may_lead_to_a_cell_a_test_or_a_source() -> None:
    here = {"test": "tests/course/test_ledger.py::test_a_row_may_lead_to_a_cell_a_test_or_a_source"}
    assert problem_of(row("measured", SHOWN), code("there is a cow at 30 m")) == ""
    assert problem_of(row("computed", here)) == ""
    assert problem_of(row("cited", {"source": "RFC 9110", "at": "§3.4"})) == ""
    assert problem_of(row("once", how="With a telescope.")) == ""
    assert problem_of(row("none")) == ""


@pytest.mark.parametrize(
    ("claim", "cells", "says"),
    [
        (row("measured", SHOWN), (), "0 cells of chapter 42 print 'a cow at 30 m', and it should be one"),
        (row("measured", SHOWN), (code("a cow at 30 m"), code("a cow at 30 m")), "2 cells of chapter 42"),
        (row("measured", SHOWN), (markdown("a cow at 30 m"),), "0 cells of chapter 42"),
        (row("measured", SHOWN), (code("a cow at 30 m", tags=("nbval-ignore-output",)),), "is not compared"),
        (row("measured", SHOWN), (code("a cow at 30 m", ran=False),), "was never run"),
        (row("measured", {"chapter": "43", "prints": "x"}), (), "there is no chapter 43"),
        (row("measured", {"test": "tests/cows.py::test_x"}), (), "there is no file tests/cows.py"),
        (row("measured", {"test": "tests/test_house.py::test_cows"}), (), "has no test test_cows"),
        (row("measured", {"source": "BOOK"}), (), "is called measured, and leads to no cell and no test"),
        (row("none", SHOWN), (code("a cow at 30 m"),), "leads to a cell or a test, and is called none"),
        (row("cited", SHOWN), (code("a cow at 30 m"),), "is called cited, and names no source"),
        (row("cited", {"source": "COW"}), (), "there is no source 'COW'"),
        (row("cited", {"book": "BOOK"}), (), "is no reference to a cell, a test or a source"),
        (row("once"), (), "a row that was measured once says how"),
        (row("none", verdict="wrong"), (), "has no pattern by which it would be found"),
        (row("none", verdict="true"), (), "there is no verdict 'true'"),
        (row("felt"), (), "there is no kind of evidence 'felt'"),
        (row("none", right=" "), (), "lacks its claim, or what is right"),
        (row("none", id="A2"), (), "section A should count from 1 without a hole, and has [2]"),
        (row("none", id="Q1"), (), "Q1 is no id"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_row_that_leads_nowhere_is_told(claim: Claim, cells: tuple[Any, ...], says: str) -> None:
    assert says in problem_of(claim, *cells)


def test_a_test_that_is_skipped_shows_nothing(tmp_path: Path) -> None:
    (tmp_path / "test_cows.py").write_text(
        "import pytest\n@pytest.mark.skip(reason='rain')\ndef test_fly(): ...\nasync def test_stand(): ...\n"
    )
    assert "is skipped" in str(ledgers.problem_of_test("test_cows.py::test_fly", tmp_path))
    assert ledgers.problem_of_test("test_cows.py::test_stand", tmp_path) is None


def test_an_id_may_stand_there_once() -> None:
    assert any(
        "A1 stands there 2 times" in found for found in problems(ledger_of(row("none"), row("none")), [])
    )


def test_a_file_with_an_unknown_field_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "claims.json"
    row = {"id": "A1", "claim": "", "verdict": "", "right": "", "evidence": "", "proof": ""}
    path.write_text(json.dumps({"claims": [row], "quoted": [], "sections": {}, "sources": {}}))
    with pytest.raises(ValueError, match=r"claims.json: .*'proof'"):
        load(path)


# What the chapter shows of it


def test_coverage_counts_each_row_once_and_its_table_adds_up() -> None:
    counts = ledgers.coverage(LEDGER)
    assert sum(of.total() for of in counts.values()) == len(LEDGER.claims)
    table = ledgers.coverage_table(LEDGER).splitlines()
    assert len(table) == len(VERDICTS) + 2
    for line in table[1:]:
        numbers = [0 if cell == "–" else int(cell) for cell in line.split()[-len(EVIDENCE) - 1 :]]
        assert sum(numbers[:-1]) == numbers[-1]


def test_a_place_is_the_cells_id_under_its_heading() -> None:
    place = ledgers.place_of(SHOWN, book(markdown("## Cows\n\n### In the air"), code("a cow at 30 m")))
    assert place == ledgers.Place("42", "42_a_chapter", "code", "In the air")


def test_a_standard_is_linked_by_its_number_and_section() -> None:
    assert ledgers.link("RFC 9112", "§9.3", {}) == "https://www.rfc-editor.org/rfc/rfc9112#section-9.3"
    assert ledgers.link("BOOK", "", {"BOOK": {"title": "A book"}}) == ""


def test_a_row_that_is_not_there_is_named() -> None:
    with pytest.raises(KeyError, match="no row 'Z9'"):
        LEDGER.claim("Z9")
