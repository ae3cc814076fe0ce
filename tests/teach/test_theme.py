"""The course's colours stand out from their grounds, by computation (WCAG 2.2, sections 1.4.3 and 1.4.11)."""

from __future__ import annotations

import matplotlib as mpl
import pytest

from labsupport.teach import theme
from labsupport.teach.theme import DARK, LIGHT, MARK, PALETTE, TOKENS

SHAPES = ["vermillion", "purple", "green", "blue"]
WORDS = ["ink", "muted", *(f"{name}-text" for name in SHAPES)]
THEMES = [pytest.param(LIGHT, id="light"), pytest.param(DARK, id="dark")]


def luminance(color: str) -> float:
    """WCAG 2.2's relative luminance of #rrggbb."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(one: str, other: str) -> float:
    """WCAG 2.2's contrast ratio, 1 to 21."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_the_contrast_formula_gives_21_for_black_on_white() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


@pytest.mark.parametrize("values", THEMES)
@pytest.mark.parametrize("name", SHAPES)
def test_each_transport_stands_out_from_the_ground_by_three_to_one(values: dict[str, str], name: str) -> None:
    assert contrast(values[name], values["ground"]) >= 3


@pytest.mark.parametrize("values", THEMES)
@pytest.mark.parametrize("name", WORDS)
@pytest.mark.parametrize("ground", ["ground", "band"])
def test_words_stand_out_from_the_ground_by_four_and_a_half_to_one(
    values: dict[str, str], name: str, ground: str
) -> None:
    assert contrast(values[name], values[ground]) >= 4.5


def test_a_transport_has_the_same_colour_in_both_themes() -> None:
    assert all(LIGHT[name] == DARK[name] for name in SHAPES)


def test_no_two_transports_share_a_colour_or_a_marker() -> None:
    assert len(set(PALETTE.values())) == len(set(MARK.values())) == len(PALETTE) == 4
    assert PALETTE.keys() == MARK.keys()


def test_each_token_is_found_by_its_light_value_alone() -> None:
    assert len(set(LIGHT.values())) == len(TOKENS)


def test_words_beside_a_line_are_in_a_readable_shade_of_its_colour() -> None:
    assert theme.text_color(PALETTE["long polling"]) == LIGHT["purple-text"]
    assert theme.text_color("#123456") == LIGHT["ink"]


def test_the_style_holds_for_every_figure_and_not_only_for_the_courses_own() -> None:
    import labsupport.teach  # noqa: F401

    assert mpl.rcParams["svg.fonttype"] == "none"
    assert mpl.rcParams["text.color"] == LIGHT["ink"]
