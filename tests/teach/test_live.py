"""Sliders with a figure: kept and changed in place, with words for those who see neither."""

from __future__ import annotations

import re
from typing import Any

import ipywidgets as W
import pytest
from matplotlib.lines import Line2D

from labsupport.teach import figures, live
from labsupport.teach.figures import FigureError, new
from labsupport.teach.live import Explore, Slider, control_for, explore, slider


class Scene:
    """A figure with one point, and a count of how often it was drawn."""

    def __init__(self) -> None:
        self.fig, ax = new("A point follows", x="interval (s)", y="empty answers (of 100)")
        self.point: Line2D = ax.plot([], [], "o")[0]
        ax.set(xlim=(0, 30), ylim=(0, 100))
        self.seen: list[float] = []

    def draw(self, interval_s: float) -> str:
        self.seen.append(interval_s)
        self.point.set_data([interval_s], [100 - interval_s])
        return f"Every {interval_s:g} s the share is {100 - interval_s:g} of 100."

    def explore(self) -> Explore:
        return explore(self.draw, self.fig, interval_s=slider(1, 30, 5))


def control(shown: Explore) -> Any:
    [one] = shown._controls.values()
    return one


def picture(shown: Explore) -> str:
    return str(shown.live._picture.value)


def test_a_move_redraws_the_same_figure_with_a_new_sentence() -> None:
    scene = Scene()
    shown = scene.explore()
    before = picture(shown)
    control(shown).value = 12
    assert scene.seen[-1] == 12
    assert picture(shown) != before
    assert 'aria-label="A point follows. Every 12 s the share is 88 of 100."' in picture(shown)
    assert shown.live._caption.value == "Every 12 s the share is 88 of 100."


def test_going_back_gives_the_first_picture_again_byte_for_byte() -> None:
    shown = Scene().explore()
    before = picture(shown)
    control(shown).value = 12
    control(shown).value = 5
    assert picture(shown) == before


def test_the_axes_do_not_move_while_the_point_does() -> None:
    scene = Scene()
    shown = scene.explore()
    before = scene.fig.axes[0].get_position().bounds
    control(shown).value = 30
    assert scene.fig.axes[0].get_position().bounds == before


def test_no_output_widget_is_used_since_nbval_does_not_know_it() -> None:
    def inside(widget: W.Widget) -> list[W.Widget]:
        return [widget, *(found for child in getattr(widget, "children", ()) for found in inside(child))]

    assert not [one for one in inside(Scene().explore()) if isinstance(one, W.Output)]


def test_the_still_form_shows_the_first_position_and_leaves_the_slider_where_it_is(
    shown: list[dict[str, Any]],
) -> None:
    scene = Scene()
    moved = scene.explore()
    control(moved).value = 12
    moved.still()
    assert "Every 5 s the share is 95 of 100." in shown[0]["text/html"]
    assert moved.values == {"interval_s": 12}
    assert scene.seen[-1] == 12


def test_the_result_of_a_cell_is_the_same_text_at_each_run_and_has_a_still_picture() -> None:
    bundles = [Scene().explore()._repr_mimebundle_() for _ in range(2)]
    assert bundles[0]["text/plain"] == bundles[1]["text/plain"]
    assert bundles[0]["text/html"] == bundles[1]["text/html"]
    assert bundles[0]["text/plain"] == (
        "Figure with sliders (interval 5 s): Every 5 s the share is 95 of 100."
    )
    assert re.search(r'<img alt="A point follows\.', bundles[0]["text/html"])


def test_a_mistake_while_drawing_is_said_in_the_place_of_the_picture() -> None:
    scene = Scene()
    shown = scene.explore()
    scene.point.set_data = None  # type: ignore[method-assign, assignment]
    control(shown).value = 6
    assert picture(shown) == ""
    assert "TypeError while drawing {&#x27;interval_s&#x27;: 6}" in shown.live._caption.value


def test_a_draw_that_returns_no_sentence_is_refused() -> None:
    scene = Scene()
    with pytest.raises(FigureError, match="silent must return the sentence"):
        explore(lambda_named("silent"), scene.fig, interval_s=slider(1, 30, 5))


def lambda_named(name: str) -> Any:
    def draw(interval_s: float) -> None: ...

    draw.__name__ = name
    return draw


def test_a_live_figure_needs_title_and_units_like_any_other() -> None:
    fig, ax = new("", x="interval (s)", y="share (%)")
    ax.plot([0, 1], [0, 1])
    with pytest.raises(FigureError, match="no title"):
        live.Live(fig)
    assert issubclass(FigureError, ValueError)
    assert figures.FigureError is FigureError


# Sliders


@pytest.mark.parametrize(
    ("name", "label", "unit"),
    [
        ("interval_s", "interval", "s"),
        ("delay_ms", "delay", "ms"),
        ("rate_per_s", "rate", "per s"),
        ("messages_per_min", "messages", "per min"),
        ("clients", "clients", ""),
    ],
)
def test_an_arguments_name_tells_label_and_unit(name: str, label: str, unit: str) -> None:
    named = live._named(name, slider(1, 30, 5))
    assert (named.label, named.unit) == (label, unit)


def test_a_unit_that_is_given_stays() -> None:
    assert live._named("interval_s", slider(1, 30, 5, unit="min", label="pause")) == Slider(
        1, 30, 5, "min", None, "pause", False
    )


def test_three_numbers_are_a_slider() -> None:
    scene = Scene()
    assert explore(scene.draw, scene.fig, interval_s=(1, 30, 5)).values == {"interval_s": 5}


@pytest.mark.parametrize(
    ("spec", "kind", "step"),
    [
        (slider(0, 100, 50), W.IntSlider, 1),
        (slider(0, 10_000, 100), W.IntSlider, 100),
        (slider(0.5, 30.0, 5.0), W.FloatSlider, 0.5),
        (slider(0.0, 1.0, 0.2), W.FloatSlider, 0.01),
        (slider(0.0, 1.0, 0.2, step=0.1), W.FloatSlider, 0.1),
        (slider(1, 1_000_000, 1000, log=True), W.FloatLogSlider, 0.06),
    ],
)
def test_steps_are_round_and_whole_numbers_stay_whole(spec: Slider, kind: type, step: float) -> None:
    made = live.control_for("x", spec)
    assert type(made) is kind
    assert made.step == pytest.approx(step)
    assert made.value == spec.start


@pytest.mark.parametrize("bad", [(30, 1, 5), (1, 30, 31), (1, 1, 1)])
def test_a_slider_that_cannot_be_moved_is_refused(bad: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="low < high and a start between them"):
        slider(*bad)


def test_a_logarithmic_slider_to_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="begin above zero"):
        slider(0, 10, 1, log=True)


def test_explore_without_a_figure_or_without_sliders_says_what_is_missing() -> None:
    scene = Scene()
    with pytest.raises(TypeError, match="needs the figure that draw changes"):
        explore(scene.draw, scene.draw, interval_s=(1, 30, 5))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least one slider"):
        explore(scene.draw, scene.fig)


@pytest.mark.parametrize(
    ("spec", "stands_at"),
    [
        (slider(0, 20_000, 5_570, unit="km"), 5_600),
        (slider(0.5, 50.0, 5.0, unit="s", log=True), 5.0),
        (slider(0.5, 30.0, 5.0, unit="s", step=0.5), 5.0),
    ],
    ids=["whole", "log", "fraction"],
)
def test_a_slider_begins_on_one_of_its_own_steps(spec: Slider, stands_at: float) -> None:
    assert control_for("x", spec).value == pytest.approx(stands_at, rel=1e-9)
