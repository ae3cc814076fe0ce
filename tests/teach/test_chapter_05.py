"""The exercises of chapter 05: what test_exercise.py asks of all of them, and what is true of these alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labsupport.teach.exercise import check, exercise
from labsupport.teach.exercises import chapter_05
from labsupport.wire.frames import Frame, Opcode, encode_frame
from labsupport.wire.handshake import accept_key

DATA = st.sampled_from([Opcode.CONTINUATION, Opcode.TEXT, Opcode.BINARY])
SIZES = st.sampled_from([0, 1, 5, 125, 126, 127, 128, 65_535, 65_536])
KEYS = st.none() | st.binary(min_size=4, max_size=4)
IDS = [one.id for one in chapter_05.EXERCISES]


@given(st.text("ABCxyz019+/", min_size=22, max_size=22))
def test_the_small_accept_is_the_labs_own(stem: str) -> None:
    assert chapter_05.accept(f"{stem}==") == accept_key(f"{stem}==")


@settings(max_examples=60, deadline=None)
@given(DATA, SIZES, st.booleans(), KEYS, st.binary(max_size=4))
def test_the_small_parser_undoes_the_labs_own_encoder(
    opcode: Opcode, size: int, fin: bool, key: bytes | None, behind: bytes
) -> None:
    payload = (b"0123456" * (size // 7 + 1))[:size]
    wire = encode_frame(Frame(opcode, payload, fin=fin, masking_key=key))
    assert chapter_05.parse_frame(wire + behind) == (fin, opcode, payload, behind)
    assert len(wire) == size + chapter_05.header_size(size, key is not None)


@given(KEYS, st.integers(0, 140))
def test_the_small_parser_waits_for_the_last_byte_of_a_frame(key: bytes | None, size: int) -> None:
    wire = encode_frame(Frame(Opcode.BINARY, bytes(size), masking_key=key))
    assert [chapter_05.parse_frame(wire[:end]) for end in range(len(wire))] == [None] * len(wire)


@pytest.mark.parametrize(
    ("id", "name"), [(one.id, mistake.name) for one in chapter_05.EXERCISES for mistake in one.mistakes]
)
def test_each_wrong_answer_is_called_by_its_name(id: str, name: str) -> None:
    [mistake] = [mistake for mistake in exercise(id).mistakes if mistake.name == name]
    assert f"looks like “{name}”" in repr(check(id, mistake.answer))


@pytest.mark.parametrize("id", IDS)
def test_an_endless_loop_is_ended_and_named(id: str) -> None:
    def endless(*arguments: Any) -> None:
        while True:
            pass

    assert "is there an endless loop" in repr(replace(exercise(id), limit_s=0.2).check(endless))


@pytest.mark.parametrize("id", IDS)
def test_a_stub_is_not_started_yet(id: str) -> None:
    def stub(*arguments: Any) -> Any: ...

    assert repr(check(id, stub)) == "not started yet"


def test_an_answer_that_reads_past_the_end_is_told_the_error() -> None:
    def eager(data: bytes) -> Any:
        return chapter_05.parse_frame(data) or (bool(data[0] & 0x80), data[1], b"", b"")

    assert "IndexError" in repr(check("5.3", eager))
