"""The exercises of chapter 09: what test_exercise.py asks of all of them, and what is true of these alone."""

from __future__ import annotations

import asyncio
import random
import socket
import subprocess
import sys
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest

from labsupport.teach import broker_exercise
from labsupport.teach.broker_exercise import NoBroker, broker_url
from labsupport.teach.exercise import check, exercise
from labsupport.teach.exercises import chapter_09

IDS = [one.id for one in chapter_09.EXERCISES]
ALONE = [
    one for one in chapter_09.EXERCISES if one.id != "9.1"
]  # 9.1's are tried, and named, in test_exercise.py


@pytest.fixture
def broker() -> None:
    try:
        broker_url()
    except NoBroker as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(
    ("id", "name"), [(one.id, mistake.name) for one in ALONE for mistake in one.mistakes]
)
def test_each_wrong_answer_is_called_by_its_name(id: str, name: str) -> None:
    [mistake] = [mistake for mistake in exercise(id).mistakes if mistake.name == name]
    assert f"looks like “{name}”" in repr(check(id, mistake.answer))


@pytest.mark.parametrize("id", ["9.2", "9.3"])
def test_an_endless_loop_is_ended_and_named(id: str) -> None:
    def endless(*arguments: Any) -> None:
        while True:
            pass

    assert "is there an endless loop" in repr(replace(exercise(id), limit_s=0.2).check(endless))


@pytest.mark.parametrize("id", ["9.2", "9.3"])
def test_a_stub_is_not_started_yet(id: str) -> None:
    def stub(*arguments: Any) -> Any: ...

    assert repr(check(id, stub)) == "not started yet"


# 9.1


async def test_at_the_terminals_the_reference_sees_just_what_was_said(broker: None) -> None:
    one = exercise("9.1")
    evenings = [case.arguments[0] for case in one.cases]
    seen = {evening.name: await one.reference(evening) for evening in evenings}
    assert seen == {
        "Alice and Bob in one room": ["alice: hello, Bob"] * 2 + ["alice: grüße"] * 2,
        "two rooms": ["carol: black, please", "alice: with milk"],
        "one who comes later": ["alice: is anybody here?", "bob: I am", "bob: I am"],
        "a goodbye": ["left", "bob: are you gone?"],
        "three friends": [[f"{name}: ::tea: at four?::" for name in ("alice", "bob", "carol")]] * 3,
    }


def test_a_right_answer_written_in_another_way_passes(broker: None) -> None:
    async def two_tasks(broker: Any, room: str, name: str, typed: Any, show: Any) -> None:
        ears = broker.pubsub(ignore_subscribe_messages=True)
        await ears.subscribe("chat:" + room)

        async def hear() -> None:
            while True:
                message = await ears.get_message(timeout=5)
                if message:
                    show(str(message["data"], "utf-8"))

        hearing = asyncio.ensure_future(hear())
        async for line in typed:
            await broker.publish("chat:" + room, (name + ": " + line).encode())
        hearing.cancel()

    assert repr(check("9.1", two_tasks)) == "✓ 4 of 4 cases right"


def test_an_error_in_a_terminal_is_told_with_its_line(broker: None) -> None:
    async def spoilt(broker: Any, room: str, name: str, typed: Any, show: Any) -> None:
        await broker.subscribe(room)

    said = repr(check("9.1", spoilt))
    assert "stopped with AttributeError" in said
    assert "await broker.subscribe(room)" in said


def test_a_terminal_that_ends_at_once_or_subscribes_to_nothing_is_told(broker: None) -> None:
    async def ends(broker: Any, room: str, name: str, typed: Any, show: Any) -> None:
        await broker.publish(f"chat:{room}", name)

    async def deaf(broker: Any, room: str, name: str, typed: Any, show: Any) -> None:
        async for line in typed:
            await broker.publish(f"chat:{room}", f"{name}: {line}")

    assert "has ended, and nobody had typed anything" in repr(check("9.1", ends))
    assert "alice's terminal is not subscribed to chat:tea; nothing else is, either" in repr(
        check("9.1", deaf)
    )


def test_a_terminal_that_never_rests_is_ended_and_named(broker: None) -> None:
    async def busy(broker: Any, room: str, name: str, typed: Any, show: Any) -> None:
        while True:
            pass

    assert "is there an endless loop" in repr(replace(exercise("9.1"), limit_s=0.2).check(busy))


def test_the_stub_of_a_terminal_is_not_started_yet(broker: None) -> None:
    async def stub(broker: Any, room: str, name: str, typed: Any, show: Any) -> None: ...

    assert repr(check("9.1", stub)) == "not started yet"


def test_without_a_broker_the_check_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_exercise, "_broker", None)
    monkeypatch.setattr(broker_exercise.importlib.util, "find_spec", lambda name: None)
    result = check("9.1", chapter_09.room_chat)
    assert not result.passed
    assert "Try: pip install" in repr(result)


def test_the_broker_of_the_checks_ends_with_the_process_that_asked(broker: None) -> None:
    code = "from labsupport.teach.broker_exercise import broker_url as url; print(url(), url(), flush=True)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    one, again = done.stdout.split()
    assert one == again
    while True:
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", urlsplit(one).port or 0)):
                break


# 9.2


@pytest.mark.parametrize("seed", range(10))
def test_whoever_hands_on_like_this_gives_everything_once_and_in_order(seed: int) -> None:
    rng = random.Random(seed)
    last, handed, told = 0, [], 0
    for offset in range(1, 200):
        if rng.random() < 0.6:
            continue  # published, and not heard
        for came in (offset, rng.randint(1, offset)):  # and something old comes again
            answer = chapter_09.hand_on(last, came, max(1, offset - 3))
            if answer == "gap":
                told += 1
                answer = list(range(max(1, offset - 3), came + 1))
            handed += answer
            last = max([last, *answer])
    assert handed == sorted(set(handed))
    missing = set(range(1, last + 1)) - set(handed)
    assert bool(missing) == bool(told)


# 9.3


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_key_that_lives_so_long_is_never_gone_and_one_that_lives_less_is_at_worst(lost: int) -> None:
    beat_s, late_s = 30.0, 5.0
    ttl_s, mean_s = chapter_09.presence(beat_s, lost, late_s)
    rng = random.Random(lost)
    waits_s = [(lost + 1) * beat_s + rng.uniform(0, late_s) for _ in range(1_000)]  # from beat to saving beat
    assert max(waits_s) <= ttl_s
    assert (lost + 1) * beat_s + late_s >= ttl_s  # the worst of them just so
    looks_s = [ttl_s - beat_s * (number + 0.5) / 1_000 for number in range(1_000)]  # died within the interval
    assert sum(looks_s) / 1_000 == pytest.approx(mean_s)


def test_the_figures_of_the_chapter_come_out() -> None:
    assert chapter_09.presence(30.0, 1, 15.0) == (75.0, 60.0)
