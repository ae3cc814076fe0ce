"""The card: every assumption, arithmetic with its numbers, checks; as HTML and as PNG."""

from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from labsupport.capacity import Costs, Plan, Server, between, card_html, plan
from labsupport.capacity import card as cards
from labsupport.capacity.quantities import NBSP

VOID = {"meta", "col", "br", "link"}


class Page(HTMLParser):
    """Tables of a page as rows of cells; complains about tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: list[str] = []
        self.scopes: list[str | None] = []
        self.heads: list[str] = []
        self.feed(text)
        assert self.tags == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")
        if tag == "th":
            self.scopes.append(dict(attrs).get("scope"))
        if tag in ("h1", "caption"):
            self.heads.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.tags.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] in ("th", "td"):
            self.rows[-1][-1] += data.replace(NBSP, " ")
        if self.tags and self.tags[-1] in ("h1", "caption"):
            self.heads[-1] += data.replace(NBSP, " ")


def assumptions(page: Path) -> dict[str, list[str]]:
    """The card's first table: what → value, and where it is from."""
    rows = Page(page.read_text("utf-8")).rows
    ends = next(i for i, row in enumerate(rows) if row[1] == "arithmetic")
    return {row[0]: row[1:] for row in rows[:ends]}


def html_of(made: Plan) -> str:
    return card_html.page(cards.of(made))


def chat() -> Plan:
    return plan(
        1_000_000,
        messages_per_room="10/min",
        members=between(20, 200, "rooms <at> work"),
        transport="websocket",
        server=Server(memory="32 GB", cores=8),
        costs=Costs(process=between("10 KB", "60 KB", "published")),
        broker_limit="100000/s",
        brokers=4,
        question="A chat for a million?",
    )


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Path, Path]:
    made = chat()
    page, picture = made.card(tmp_path_factory.mktemp("cards") / "deep" / "chat")
    return made, page, picture


def test_a_card_is_saved_as_a_page_and_as_a_picture(card: tuple[Plan, Path, Path]) -> None:
    _, page, picture = card
    assert (page.name, picture.name) == ("chat.html", "chat.png")
    with Image.open(picture) as image:
        width, height = image.size
        assert width == 1216
        assert 1_000 < height < 4_000


def test_the_card_contains_every_assumption_with_its_value_and_where_it_is_from(
    card: tuple[Plan, Path, Path],
) -> None:
    made, page, _ = card
    rows = assumptions(page)
    for one in made.inputs.values():
        value, source = rows[one.label]
        assert value == one.text(made.family).replace(NBSP, " ")
        assert source.startswith(one.source)
    assert rows["brokers"][0] == "4"
    assert rows["spare servers: the k of N + k"][0] == "1"


def test_published_figures_stand_beside_the_profiles(card: tuple[Plan, Path, Path]) -> None:
    made, page, _ = card
    rows = assumptions(page)
    beside = rows[made.inputs["process"].label][1]
    for who in ("Centrifugo 2026: 11 KB to 27 KB", "WhatsApp 2012", "Phoenix 2015: 64 KB", "websockets docs"):
        assert who in beside
    binary = plan(1_000, server=Server(memory="16 GiB"))
    assert "websockets docs: 14 KiB to 64 KiB" in html_of(binary).replace(NBSP, " ")


def test_the_card_contains_each_limit_marks_the_one_that_decides_and_adds_up(
    card: tuple[Plan, Path, Path],
) -> None:
    made, page, _ = card
    rows = [row for row in Page(page.read_text("utf-8")).rows if len(row) == 3]
    for row in made.table():
        name = row["limit"] + (" (decides)" if row["limit"] == made.binding else "")
        assert [name, row["arithmetic"].replace(NBSP, " "), row["servers"].replace(NBSP, " ")] in rows
    (total,) = (row for row in rows if row[0] == "servers to have")
    assert total[2] == str(made.servers)


def test_the_check_puts_the_answer_back_in_and_nothing_is_over_full(card: tuple[Plan, Path, Path]) -> None:
    _, page, _ = card
    text = page.read_text("utf-8")
    assert "✗" not in text
    assert text.count("full ✓") == 4
    over = plan(1_000_000, messages_per_user="1/s", broker_limit="1000/s", brokers=1)
    assert "1 there ✗" in html_of(over)


def test_the_page_needs_nothing_else_and_reads_in_both_themes_and_by_ear(
    card: tuple[Plan, Path, Path],
) -> None:
    made, page, _ = card
    text = page.read_text("utf-8")
    parsed = Page(text)
    assert "http" not in text
    assert "prefers-color-scheme:dark" in text
    assert '<html lang="en">' in text
    assert set(parsed.scopes) == {"col", "row"}
    assert parsed.heads[0].startswith("A chat for a million? ")
    assert len(parsed.heads) == 1 + 5  # a caption for each table
    assert "rooms &lt;at&gt; work" in text  # what a reader wrote is text and not markup
    assert f"{made.samples:,}".replace(",", " ") + " draws, seed 20" in " ".join(parsed.heads)


def test_the_same_plan_gives_the_same_bytes(card: tuple[Plan, Path, Path], tmp_path: Path) -> None:
    _, page, picture = card
    again, drawn = chat().card(tmp_path / "chat.html")
    assert again.read_bytes() == page.read_bytes()
    assert drawn.read_bytes() == picture.read_bytes()


@pytest.mark.parametrize("transport", ["sse", "long polling", "short polling"])
def test_every_transport_has_a_card(transport: str) -> None:
    made = plan(100_000, transport=transport, messages_per_room="1/s", members=10)
    names = [row[0] for row in Page(html_of(made)).rows]
    assert ("pings" if transport == "sse" else "polls") in names


def test_a_card_with_an_ending_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"saved as \.html and \.png"):
        plan(1_000).card(tmp_path / "card.pdf")
