"""Time as a picture: every exchange has its bar, every event its place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, Rectangle

from labsupport.teach import figures
from labsupport.teach.timeline import (
    Arrow,
    Event,
    Exchange,
    Gap,
    Held,
    Mark,
    network_timeline,
    poll,
    sequence,
)

SAYS = "One exchange waits, the others do not."


def answered(sent_s: float, waited_s: float = 0.01, connection: int = 1, status: int = 200) -> Exchange:
    done_s = sent_s + waited_s
    return Exchange(connection, "GET", "/messages", sent_s, done_s, done_s + 0.01, 180, 226, status)


SILENT = Exchange(1, "GET", "/messages?since=3f9a-12&wait=25", 3.0, None, None, 190, 0, None)


def words(ax: Axes) -> list[str]:
    """Everything that is written in the axes and beside it."""
    return [text.get_text() for text in (*ax.texts, *ax.get_yticklabels())]


def bars(ax: Axes) -> list[Rectangle]:
    return [patch for patch in ax.patches if isinstance(patch, Rectangle)]


def test_each_exchange_is_a_row_with_request_status_and_bytes() -> None:
    fig, ax = network_timeline([answered(1.0), answered(0.0, waited_s=3.0)], "One waits")
    figures.check(fig, SAYS)
    assert words(ax).count("GET /messages") == 2
    assert words(ax).count("200 · 180↑ 226↓") == 2


def test_rows_are_in_the_order_of_asking_and_time_begins_with_the_first() -> None:
    _, ax = network_timeline([answered(7.0, waited_s=3.0), answered(5.0)], "One waits")
    waiting = [bar for bar in bars(ax) if bar.get_alpha()]
    assert [bar.get_x() for bar in waiting] == [0.0, 2.0]
    assert waiting[1].get_width() == pytest.approx(3.0)


def test_a_short_recording_is_in_milliseconds() -> None:
    _, ax = network_timeline([answered(0.0), answered(0.5)], "Quick")
    assert ax.get_xlabel() == "time since the first request (ms)"


def test_an_exchange_without_an_answer_is_an_open_bar_and_says_so() -> None:
    _, ax = network_timeline([answered(0.0), SILENT], "One is left without an answer")
    assert "no answer · 190↑" in words(ax)
    [open_bar] = [bar for bar in bars(ax) if not bar.get_fill()]
    assert open_bar.get_linestyle() == "--"
    assert open_bar.get_width() > 0


def test_a_refusal_is_marked_by_a_sign_and_not_by_colour_alone() -> None:
    _, ax = network_timeline([answered(0.0, status=500)], "Refused")
    assert "✗ 500 · 180↑ 226↓" in words(ax)


def test_a_long_request_is_cut_and_its_connection_shown_where_there_are_several() -> None:
    _, ax = network_timeline([SILENT, answered(0.0, connection=2)], "Two connections")
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels[0] == "GET /messages  (2)"
    assert labels[1].endswith("…  (1)")
    assert len(labels[1]) < 40


def test_of_very_many_exchanges_the_first_forty_are_drawn_and_the_rest_counted() -> None:
    _, ax = network_timeline([answered(float(n)) for n in range(100)], "Many")
    assert len(ax.get_yticklabels()) == 40
    assert "and 60 more" in words(ax)


def test_nothing_to_draw_is_said() -> None:
    with pytest.raises(ValueError, match="was anything asked while the recording ran"):
        network_timeline([], "Nothing")


def test_any_object_with_these_fields_is_an_exchange() -> None:
    @dataclass
    class FromElsewhere:
        connection: int = 1
        method: str = "POST"
        target: str = "/messages"
        status: int | None = 201
        sent_s: float = 0.0
        first_byte_s: float | None = 0.1
        done_s: float | None = 0.2
        bytes_up: int = 120
        bytes_down: int = 90

    _, ax = network_timeline([FromElsewhere()], "From elsewhere")
    assert "POST /messages" in words(ax)


# Conversations


def talk(*events: Event, **how: Any) -> tuple[Any, Axes]:
    return sequence("They talk", lanes=("Bob", "server", "Alice"), events=events, **how)


def arrows(ax: Axes) -> list[FancyArrowPatch]:
    return [patch for patch in ax.patches if isinstance(patch, FancyArrowPatch)]


def ends(arrow: FancyArrowPatch) -> tuple[tuple[float, float], tuple[float, float]]:
    (x0, y0), (x1, y1) = arrow._posA_posB  # type: ignore[attr-defined]
    return (float(x0), float(y0)), (float(x1), float(y1))


def test_the_twelve_to_fifteen_seconds_conversation_can_stand_alone() -> None:
    said = [Arrow(12, "Alice", "server", "hello"), Gap(12, 15, "3 s late"), *poll(15, carries="message")]
    fig, ax = talk(*poll(0), *poll(5), *poll(10), *said)
    figures.check(fig, "What is said at 12 s is heard at 15 s.")
    assert {"hello", "3 s late", "Bob", "server", "Alice"} <= set(words(ax))
    assert len(arrows(ax)) == 4 * 2 + 1 + 1


def test_an_answer_leaves_when_its_request_has_arrived() -> None:
    _, ax = talk(*poll(5, takes_s=1.0))
    ask, answer = map(ends, arrows(ax))
    assert ask == ((5.0, 0.0), (6.0, -1.0))
    assert answer == ((6.0, -1.0), (7.0, 0.0))


def test_an_arrow_may_be_given_by_when_it_arrives() -> None:
    _, ax = talk(Arrow(12, "Alice", "server", takes_s=2.0, when="arrives"))
    assert ends(arrows(ax)[0]) == ((10.0, -2.0), (12.0, -1.0))


def test_a_held_request_is_a_bar_that_tells_how_long() -> None:
    _, ax = talk(*poll(0, held_until_s=12.5, carries="message"))
    assert "held for 12.5 s" in words(ax)
    assert any(bar.get_alpha() for bar in bars(ax))


def test_empty_answers_are_dashed_and_messages_thick_never_colour_alone() -> None:
    _, ax = talk(*poll(0), *poll(5, carries="message"))
    _, empty, _, full = arrows(ax)
    assert empty.get_linestyle() != full.get_linestyle()
    assert full.get_linewidth() > empty.get_linewidth()


def test_a_lane_that_does_not_exist_is_answered_with_those_that_do() -> None:
    with pytest.raises(ValueError, match="no lane 'Carol'; the lanes are Bob, server, Alice"):
        talk(Mark(1, "Carol", "hm"))
    with pytest.raises(ValueError, match="no lane 'cache'"):
        talk(Held(1, 2, "cache"))


def test_the_same_conversation_gives_the_same_bytes() -> None:
    def page() -> str:
        fig, _ = talk(*poll(0), Mark(2, "server", "stored"), Held(3, 4, "server"), Gap(2, 5, "3 s"))
        return figures.figure_html(fig, SAYS)

    assert page() == page()
