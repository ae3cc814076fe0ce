"""Figures: refused until they can stand alone, the same bytes for the same data, words for all."""

from __future__ import annotations

import base64
import html
import re
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure

from labsupport.teach import figures, svg
from labsupport.teach.figures import FigureError, label_line, look, new, note, show, spread
from labsupport.teach.theme import DARK, LIGHT, PALETTE

SAYS = "At 5 s, 92 of 100 answers are empty."


def drawn(**names: str) -> Figure:
    """A small finished figure; `names` replaces title, x or y."""
    texts = {"title": "Most answers are empty", "x": "interval (s)", "y": "empty answers (of 100)"} | names
    fig, ax = new(texts["title"], x=texts["x"], y=texts["y"])
    ax.plot([0, 5, 30], [100, 92, 60], **look("short polling"))
    label_line(ax, 30, 60, "short polling", PALETTE["short polling"])
    return fig


def picture(page: str) -> str:
    """The SVG inside the <img> of a figure's HTML."""
    found = re.search(r'src="data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)"', page)
    assert found is not None
    return base64.b64decode(found[1]).decode()


# What is refused


def test_a_figure_without_a_title_is_refused_and_told_what_a_title_is() -> None:
    with pytest.raises(FigureError, match="no title. Say what it shows"):
        show(drawn(title=""), says=SAYS)


@pytest.mark.parametrize(("name", "axis"), [("x", "x"), ("y", "y")])
def test_an_axis_with_numbers_and_without_a_name_is_refused(name: str, axis: str) -> None:
    with pytest.raises(FigureError, match=f"The {axis} axis has numbers and no name"):
        show(drawn(**{name: ""}), says=SAYS)


def test_an_axis_without_its_unit_is_refused_and_its_name_is_quoted() -> None:
    with pytest.raises(
        FigureError, match=r"The x axis is called 'interval', without a unit.*\"interval \(s\)\""
    ):
        show(drawn(x="interval"), says=SAYS)


@pytest.mark.parametrize("says", ["", "empty", "Nine of ten are empty", "   "])
def test_a_figure_without_a_whole_sentence_is_refused(says: str) -> None:
    with pytest.raises(FigureError, match="is not a sentence yet"):
        show(drawn(), says=says)


def test_an_axis_of_words_needs_no_unit() -> None:
    fig, ax = new("Two ways to ask", x="requests (per s)")
    ax.barh(["short polling", "long polling"], [20, 3])
    figures.check(fig, SAYS)


def test_an_axis_that_is_shared_or_hidden_needs_no_name() -> None:
    fig, axes = new("Two rows, one time axis", y="requests (per s)", rows=2, sharex=True)
    for ax in axes:
        ax.plot([0, 1], [0, 1])
    axes[1].set_xlabel("time (s)")
    figures.check(fig, SAYS)


def test_an_unknown_transport_is_refused_with_the_four_that_exist() -> None:
    with pytest.raises(FigureError, match="short polling, long polling, SSE, WebSocket"):
        look("carrier pigeon")


# What is shown


def test_the_sentence_is_the_caption_and_with_the_title_the_alt_text(shown: list[dict[str, Any]]) -> None:
    show(drawn(), says=SAYS)
    [bundle] = shown
    assert f'alt="Most answers are empty. {SAYS}"' in bundle["text/html"]
    assert f">{SAYS}</figcaption>" in bundle["text/html"]
    assert bundle["text/plain"] == f"Figure: {SAYS}"


def test_signs_that_mean_something_in_html_stay_text(shown: list[dict[str, Any]]) -> None:
    says = 'Fewer than 5 % (a "<b>" share) & falling.'
    show(drawn(title="a < b & c"), says=says)
    assert html.escape(says, quote=True) in shown[0]["text/html"]
    assert "<b>" not in shown[0]["text/html"]


def test_the_same_data_gives_the_same_bytes() -> None:
    assert figures.figure_html(drawn(), SAYS) == figures.figure_html(drawn(), SAYS)


def test_showing_a_figure_twice_gives_the_same_bytes() -> None:
    fig = drawn()
    assert figures.figure_html(fig, SAYS) == figures.figure_html(fig, SAYS)


def test_the_picture_is_well_formed_and_carries_both_themes() -> None:
    page = picture(figures.figure_html(drawn(), SAYS))
    ElementTree.fromstring(page)
    light, dark = page.split("@media (prefers-color-scheme:dark)", 1)
    assert f"--lab-ink:{LIGHT['ink']}" in light
    assert f"--lab-ink:{DARK['ink']}" in dark


def test_no_colour_of_the_course_is_left_as_a_number_in_the_drawing() -> None:
    drawing = picture(figures.figure_html(drawn(), SAYS)).split("</style>")[1]
    assert not [value for value in LIGHT.values() if value in drawing]
    assert "var(--lab-vermillion," in drawing
    assert "var(--lab-vermillion-text," in drawing


def test_numbers_in_words_are_not_rounded_and_colours_in_words_are_not_replaced() -> None:
    fig = drawn(title=f"π is 3.14159265 and ink is {LIGHT['ink']}")
    page = picture(figures.figure_html(fig, SAYS))
    assert f"π is 3.14159265 and ink is {LIGHT['ink']}" in page


def test_a_dollar_sign_is_money() -> None:
    assert "from $3 to $5" in picture(figures.figure_html(drawn(title="A server costs from $3 to $5"), SAYS))


def test_a_logarithmic_axis_has_plain_numbers() -> None:
    fig, ax = new("Over five decades", x="clients (count)", y="time (s)")
    ax.loglog([1, 100_000], [0.1, 10])
    page = picture(figures.figure_html(fig, SAYS))
    assert ">10\N{NO-BREAK SPACE}000<" in page
    assert ">0.1<" in page
    assert "mathdefault" not in page


def test_large_numbers_are_written_in_full_and_grouped() -> None:
    fig, ax = new("A million", x="clients (count)", y="share (%)")
    ax.set(xlim=(0, 1_000_000), ylim=(0, 0.5))
    page = picture(figures.figure_html(fig, SAYS))
    assert ">1\N{NO-BREAK SPACE}000\N{NO-BREAK SPACE}000<" in page
    assert ">0.5<" in page
    assert ">1e6<" not in page


def test_axes_that_share_their_numbers_share_their_name() -> None:
    fig, axes = new("Two panels", x="time (s)", y="share (%)", columns=2, sharey=True)
    assert [ax.get_ylabel() for ax in axes] == ["share (%)", ""]
    assert [ax.get_xlabel() for ax in axes] == ["time (s)", "time (s)"]
    figures.check(fig, SAYS)


def test_the_name_of_a_panel_does_not_lie_on_the_name_of_its_axis() -> None:
    fig, axes = new("Two panels", x="time (s)", y="share (%)", columns=2)
    for ax in axes:
        ax.set_title("one message a minute")
    figures.settle(fig)
    for ax in axes:
        [title] = [text for text in ax.get_children() if text.__dict__.get("_text") == ax.get_title("left")]
        assert title.get_window_extent().y0 >= ax.yaxis.label.get_window_extent().y1


def test_the_grid_belongs_to_the_numbers_and_not_to_the_words() -> None:
    fig, ax = new("Two ways to ask", x="requests (per s)")
    ax.barh(["short polling", "long polling"], [20, 3])
    figures.settle(fig)
    assert not any(line.get_visible() for line in ax.get_ygridlines())
    assert all(line.get_visible() for line in ax.get_xgridlines())


def test_a_figure_is_small() -> None:
    fig, ax = new("Four transports", x="time (s)", y="delay (ms)")
    at = np.linspace(0, 60, 500)
    for n, name in enumerate(PALETTE):
        ax.plot(at, np.sin(at + n), **look(name, every=50))
        label_line(ax, 60, np.sin(60 + n), name, PALETTE[name])
    assert len(figures.figure_html(fig, SAYS)) < 60_000


def test_a_cloud_of_very_many_points_becomes_pixels_and_stays_small() -> None:
    fig, ax = new("Many polls", x="time (s)", y="delay (ms)")
    random = np.random.default_rng(20)
    ax.plot(random.random(30_000), random.random(30_000), **look("SSE", "measured"))
    page = figures.figure_html(fig, SAYS)
    assert "data:image/png" in picture(page)
    assert len(page) < 400_000


def test_a_long_title_takes_a_second_line_and_its_alt_text_stays_one() -> None:
    title = "Asking every five seconds costs twelve requests for each message, and eleven of them say nothing"
    fig = drawn(title=title)
    assert "\n" in fig.get_suptitle()
    assert f'alt="{title}. ' in figures.figure_html(fig, SAYS)


def test_theory_is_a_line_simulation_hollow_and_measurement_filled() -> None:
    theory, simulated, measured = (look("SSE", kind) for kind in ("theory", "simulated", "measured"))
    assert theory["marker"] == ""
    assert simulated["markerfacecolor"] == LIGHT["ground"]
    assert "markerfacecolor" not in measured
    assert measured["linestyle"] == simulated["linestyle"] == "none"


# Labels at line ends


@pytest.mark.parametrize("wanted", [[0, 0, 0], [5, 4, 3.9, 20], [0, 100], [7], []])
def test_labels_end_up_a_line_apart_and_in_their_order(wanted: list[float]) -> None:
    placed = spread(wanted, gap=10)
    by_place = sorted(placed)
    assert all(b - a >= 10 - 1e-9 for a, b in zip(by_place, by_place[1:], strict=False))
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    assert [placed[i] for i in order] == by_place


def test_labels_that_have_room_stay_where_they_are() -> None:
    assert spread([0, 50, 20], gap=10) == [0, 50, 20]


def test_labels_that_crowd_share_the_move_evenly() -> None:
    assert spread([10, 10], gap=10) == [5, 15]


def test_no_two_labels_of_a_figure_overlap() -> None:
    fig, ax = new("Crowded ends", x="time (s)", y="share (%)")
    labels = [label_line(ax, 1, 0.5 + n / 1000, name, PALETTE[name]) for n, name in enumerate(PALETTE)]
    ax.set(xlim=(0, 1), ylim=(0, 1))
    figures.settle(fig)
    boxes = sorted((label.get_window_extent() for label in labels), key=lambda box: box.y0)
    assert all(below.y1 <= above.y0 + 0.5 for below, above in zip(boxes, boxes[1:], strict=False))


def test_the_axes_leave_room_for_labels_beside_them() -> None:
    fig = drawn()
    figures.settle(fig)
    [label] = [text for text in fig.axes[0].texts if isinstance(text, figures.LineLabel)]
    assert label.get_window_extent().x1 <= fig.bbox.x1


def test_a_note_keeps_a_grid_line_from_running_through_its_words() -> None:
    fig, ax = new("A note", x="time (s)", y="share (%)")
    assert note(ax, 1, 1, "here").get_bbox_patch() is not None


def test_the_live_picture_is_an_image_with_words_and_no_style_of_its_own() -> None:
    fig = drawn()
    figures.freeze(fig)
    page = svg.inline(fig, 'ninety "two" of 100')
    root = ElementTree.fromstring(page)
    assert root.attrib["role"] == "img"
    assert root.attrib["class"] == "lab-plot"
    assert root.attrib["aria-label"] == 'ninety "two" of 100'
    assert "<style" not in page  # inside a page it would reach every other drawing
