"""Memory of one server of the lab, as the planner reckons it from a profile."""

import dataclasses

import pytest

from labsupport.capacity import predict_memory
from labsupport.capacity.quantities import NBSP
from labsupport.profile import REFERENCE, ConnectionBytes, Profile

MACHINE = dataclasses.replace(
    Profile.load(REFERENCE),
    bytes_of_empty_process={"gateway SSE": 40e6},
    bytes_per_idle_connection={"gateway SSE": ConnectionBytes(1_700.0, 4_000.0)},
)


def test_memory_is_that_of_the_processes_and_of_each_connection() -> None:
    one = predict_memory(5_000, "gateway SSE", MACHINE)
    assert one.process_bytes == 40e6 + 5_000 * 1_700
    assert one.kernel_bytes == 5_000 * 4_000
    assert one.bytes == 68.5e6
    assert predict_memory(5_000, "gateway SSE", MACHINE, processes=3).process_bytes == 128.5e6


def test_the_arithmetic_is_said_with_its_numbers() -> None:
    said = str(predict_memory(5_000, "gateway SSE", MACHINE)).replace(NBSP, " ")
    assert said == (
        "5 000 connections of gateway SSE: 40 MB + 5 000 × 1.7 KB = 48.5 MB in 1 process, "
        "and 5 000 × 4 KB = 20 MB in the kernel"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((0,), "connections must be a whole number from 1 up"),
        ((5_000, "apache"), "server must be one of 'gateway SSE', 'gateway WebSocket'"),
    ],
)
def test_what_cannot_be_reckoned_is_refused(arguments: tuple[int, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        predict_memory(*arguments, profile=MACHINE)
