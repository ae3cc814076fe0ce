"""The table of claims: which rows a filter leaves, what stands for the widget elsewhere, what it refuses."""

from __future__ import annotations

import pytest

from labsupport.course.ledger import load, pages
from labsupport.course.ledger import rows as ledger_rows
from labsupport.teach.claims import claims_table, matching, still

AIR = {"text": "chapter 01, under “Air”", "href": "01_air.ipynb", "brief": "chapter 01"}
RFC = {"text": "RFC 1 §2", "href": "https://rfc.example/1", "brief": "RFC 1 §2"}
ROWS = [
    {
        "id": "A1", "section": "Cows", "claim": "Cows fly.", "verdict": "wrong", "right": "They <walk>.",
        "evidence": "measured", "shown": [AIR, AIR],
    },
    {
        "id": "B1", "section": "Grass", "claim": "Grass grows.", "verdict": "right", "right": "It does.",
        "evidence": "cited", "shown": [RFC],
    },
]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "chosen", "ids"),
    [
        ("", {}, ["A1", "B1"]),
        ("", {"verdict": "wrong"}, ["A1"]),
        ("", {"verdict": "wrong", "evidence": "cited"}, []),
        ("", {"section": "Grass", "verdict": "all"}, ["B1"]),
        ("FLY", {}, ["A1"]),
        ("they fl", {}, ["A1"]),
        ("b1", {}, ["B1"]),
        ("cows grows", {}, []),
    ],
)
def test_words_and_filters_narrow_the_rows(words: str, chosen: dict[str, str], ids: list[str]) -> None:
    assert [row["id"] for row in matching(ROWS, words, **chosen)] == ids


def test_a_filter_that_there_is_not_is_named() -> None:
    with pytest.raises(ValueError, match="no filter 'colour'; there are section, verdict, evidence"):
        matching(ROWS, colour="red")


def test_a_still_table_says_the_same_as_text_and_as_html_each_reference_once() -> None:
    table = still(ROWS)
    assert repr(table).splitlines()[0] == "A1   wrong, measured: Cows fly."
    page = table._repr_html_()
    assert page.count('<a href="01_air.ipynb">chapter 01</a>') == 1
    assert "They &lt;walk&gt;." in page
    assert page.count('scope="row"') == len(ROWS)


def test_what_is_asked_of_the_widget_is_what_it_shows() -> None:
    table = claims_table(ROWS)
    table.words = "cows"
    assert table.seen_ids == ["A1"]
    table.chosen = {**table.chosen, "verdict": "right"}
    assert table.seen_ids == []
    assert table.options["verdict"] == ["all", "wrong", "right"]
    assert repr(table).endswith("by words, or by 2 sections, 2 verdicts and 2 kinds of evidence.")


def test_the_whole_ledger_fits_into_the_table() -> None:
    rows = ledger_rows(load(), pages())
    assert len(still(rows).rows) == len(load().claims)
    assert all(row["shown"] or row["evidence"] == "none" for row in rows)
