"""The exercises of chapter 03: what test_exercise.py asks of all of them, and what is true of these alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labsupport.teach.exercise import check, exercise
from labsupport.teach.exercises import chapter_03
from labsupport.wire.event_stream import EventStreamParser

LINES = st.sampled_from(
    ["", "", "data: a", "data:b", "data:  c", "data", "event: price", "event", "id: 7", "id", ": x", "ü: y"]
)


@st.composite
def cut_streams(draw: Any) -> list[bytes]:
    """A stream with LF alone, in chunks; the last line may lack its end."""
    stream = "\n".join(draw(st.lists(LINES, max_size=20))).encode()
    places = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    return [stream[a:b] for a, b in zip([0, *places], [*places, len(stream)], strict=True)]


@settings(max_examples=300, deadline=None)
@given(cut_streams())
def test_the_small_parser_gives_what_the_labs_own_parser_gives(chunks: list[bytes]) -> None:
    parser = EventStreamParser()
    events = [event for chunk in chunks for event in parser.feed(chunk)]
    assert chapter_03.parse(chunks) == [(event.type, event.data, event.last_event_id) for event in events]


def told(id: str, name: str) -> str:
    [mistake] = [mistake for mistake in exercise(id).mistakes if mistake.name == name]
    return repr(check(id, mistake.answer))


@pytest.mark.parametrize(
    ("id", "name"), [(one.id, mistake.name) for one in chapter_03.EXERCISES for mistake in one.mistakes]
)
def test_each_wrong_answer_is_called_by_its_name(id: str, name: str) -> None:
    assert f"looks like “{name}”" in told(id, name)


@pytest.mark.parametrize("id", ["3.1", "3.2", "3.3"])
def test_an_endless_loop_is_ended_and_named(id: str) -> None:
    def endless(*arguments: Any) -> None:
        while True:
            pass

    assert "is there an endless loop" in repr(replace(exercise(id), limit_s=0.2).check(endless))


@pytest.mark.parametrize("id", ["3.1", "3.2", "3.3"])
def test_a_stub_is_not_started_yet(id: str) -> None:
    def stub(*arguments: Any) -> Any: ...

    assert repr(check(id, stub)) == "not started yet"


def test_an_answer_that_decodes_each_chunk_is_told_the_error_and_its_line() -> None:
    def decodes(chunks: list[bytes]) -> Any:
        text = "".join(chunk.decode() for chunk in chunks)
        return chapter_03.parse([text.encode()])

    assert "UnicodeDecodeError" in repr(check("3.2", decodes))


def test_a_canary_without_any_field_does_not_stop_an_answer_that_uses_get() -> None:
    canary = {"meta": {"domain": "canary", "dt": "2026-03-03T11:15:10Z"}}
    assert chapter_03.headline(canary) is None
    assert chapter_03.edits_per_minute([canary], "2026-03-03T11:15:30Z") == 0
