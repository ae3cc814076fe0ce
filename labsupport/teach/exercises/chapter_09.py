"""Exercises of chapter 09: a room over two terminals, what to hand on, and how long presence lives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from labsupport.teach.broker_exercise import BrokerExercise, Enter, Evening, at_terminals
from labsupport.teach.exercise import Exercise, Mistake, case

# 9.1, two terminals in a room

Typed = AsyncIterator[str]
Show = Callable[[str], None]


async def room_chat(broker: Any, room: str, name: str, typed: Typed, show: Show) -> None:
    """What is typed goes to the room; what is said in the room is shown. Ends when nothing more is typed."""
    channel = f"chat:{room}"
    async with _hearing(broker, channel, show):
        async for line in typed:
            await broker.publish(channel, f"{name}: {line}")


@asynccontextmanager
async def _hearing(
    broker: Any, channel: str, show: Show, *, plain: bool = True, all_kinds: bool = False, besides: str = ""
) -> AsyncIterator[None]:
    """Show what the channel says inside the block. The switches are for mistakes."""
    async with broker.pubsub() as ears:
        await ears.subscribe(channel)

        async def listen() -> None:
            async for message in ears.listen():
                data = message["data"]
                if not all_kinds and message["type"] != "message":
                    continue
                text = data.decode() if plain and isinstance(data, bytes) else str(data)
                if not besides or not text.startswith(besides):
                    show(text)

        listening = asyncio.create_task(listen())
        try:
            yield
        finally:
            listening.cancel()


def _unlike(**slip: Any) -> Any:
    async def answer(broker: Any, room: str, name: str, typed: Typed, show: Show) -> None:
        async with _hearing(broker, f"chat:{room}", show, **slip):
            async for line in typed:
                await broker.publish(f"chat:{room}", f"{name}: {line}")

    return answer


async def _twice(broker: Any, room: str, name: str, typed: Typed, show: Show) -> None:
    async def shown() -> Typed:
        async for line in typed:
            show(f"{name}: {line}")
            yield line

    await room_chat(broker, room, name, shown(), show)


async def _nameless(broker: Any, room: str, name: str, typed: Typed, show: Show) -> None:
    async with _hearing(broker, f"chat:{room}", show):
        async for line in typed:
            await broker.publish(f"chat:{room}", line)


async def _own_left_out(broker: Any, room: str, name: str, typed: Typed, show: Show) -> None:
    await _unlike(besides=f"{name}: ")(broker, room, name, typed, show)


async def _one_channel(broker: Any, room: str, name: str, typed: Typed, show: Show) -> None:
    async with _hearing(broker, "chat", show):
        async for line in typed:
            await broker.publish("chat", f"{name}: {line}")


async def _in_turns(broker: Any, room: str, name: str, typed: Typed, show: Show) -> None:
    async with broker.pubsub(ignore_subscribe_messages=True) as ears:
        await ears.subscribe(f"chat:{room}")
        async for line in typed:
            await broker.publish(f"chat:{room}", f"{name}: {line}")
            while (message := await ears.get_message(timeout=None)) is None:
                pass
            show(message["data"].decode())


async def _never_ends(broker: Any, room: str, name: str, typed: Typed, show: Show) -> None:
    async with _hearing(broker, f"chat:{room}", show):
        async for line in typed:
            await broker.publish(f"chat:{room}", f"{name}: {line}")
        await asyncio.Event().wait()


async def _two(enter: Enter) -> list[Any]:
    alice, bob = await enter("tea", "alice"), await enter("tea", "bob")
    alice.types("hello, Bob")
    seen: list[Any] = [await bob.sees(), await alice.sees()]
    alice.types("grüße")
    return [*seen, await bob.sees(), await alice.sees()]


async def _two_rooms(enter: Enter) -> list[Any]:
    alice, carol = await enter("tea", "alice"), await enter("coffee", "carol")
    carol.types("black, please")
    seen = [await carol.sees()]
    alice.types("with milk")
    return [*seen, await alice.sees()]


async def _late_comer(enter: Enter) -> list[Any]:
    alice = await enter("tea", "alice")
    alice.types("is anybody here?")
    seen = [await alice.sees()]
    bob = await enter("tea", "bob")
    bob.types("I am")
    return [*seen, await bob.sees(), await alice.sees()]


async def _three(enter: Enter) -> list[Any]:
    friends = [await enter("a room, with a comma", name) for name in ("alice", "bob", "carol")]
    for friend in friends:
        friend.types("::tea: at four?::")  # colons of the speaker's own
    return [sorted([await friend.sees() for _ in friends]) for friend in friends]


async def _goodbye(enter: Enter) -> list[Any]:
    alice, bob = await enter("tea", "alice"), await enter("tea", "bob")
    seen = [await alice.leaves()]
    bob.types("are you gone?")
    return [*seen, await bob.sees()]


# 9.2, what to hand on


def hand_on(last: int, offset: int, oldest: int) -> list[int] | str:
    """The offsets to hand on when `offset` comes, with all up to `last` handed on; "gap" if some are gone."""
    if offset <= last:
        return []
    return "gap" if oldest > last + 1 else list(range(last + 1, offset + 1))


def _only_what_came(last: int, offset: int, oldest: int) -> list[int]:
    return [offset] if offset > last else []


def _whatever_comes(last: int, offset: int, oldest: int) -> list[int]:
    return [offset]


def _the_last_again(last: int, offset: int, oldest: int) -> list[int] | str:
    answer = hand_on(last, offset, oldest)
    return [last, *answer] if isinstance(answer, list) and answer else answer


def _without_the_new(last: int, offset: int, oldest: int) -> list[int] | str:
    answer = hand_on(last, offset, oldest)
    return answer[:-1] if isinstance(answer, list) else answer


def _silent_gap(last: int, offset: int, oldest: int) -> list[int]:
    return list(range(max(last + 1, oldest), offset + 1))


def _whole_stream(last: int, offset: int, oldest: int) -> list[int]:
    return list(range(oldest, offset + 1)) if offset > last else []


def _gap_at_any_hole(last: int, offset: int, oldest: int) -> list[int] | str:
    return "gap" if offset > last + 1 else hand_on(last, offset, oldest)


# 9.3, how long presence lives


def presence(beat_s: float, lost: int, late_s: float) -> tuple[float, float]:
    """The shortest time to live that bears this; how long a dead one's key lives on, on average (s)."""
    ttl_s = (lost + 1) * beat_s + late_s
    return ttl_s, ttl_s - beat_s / 2


def _at_the_race(beat_s: float, lost: int, late_s: float) -> tuple[float, float]:
    return presence(beat_s, lost, 0.0)


def _one_beat_short(beat_s: float, lost: int, late_s: float) -> tuple[float, float]:
    return presence(beat_s, lost - 1, late_s)


def _longest(beat_s: float, lost: int, late_s: float) -> tuple[float, float]:
    ttl_s, _ = presence(beat_s, lost, late_s)
    return ttl_s, ttl_s


def _half_of_it(beat_s: float, lost: int, late_s: float) -> tuple[float, float]:
    ttl_s, _ = presence(beat_s, lost, late_s)
    return ttl_s, ttl_s / 2


def _late_each_time(beat_s: float, lost: int, late_s: float) -> tuple[float, float]:
    return presence(beat_s, lost, (lost + 1) * late_s)


EXERCISES: tuple[Exercise, ...] = (
    BrokerExercise(
        id="9.1",
        title="Two terminals",
        reference=at_terminals(room_chat),
        cases=(
            case(Evening("Alice and Bob in one room", _two), hint="both see what either types, once"),
            case(Evening("two rooms", _two_rooms), hint="a room has a channel of its own"),
            case(Evening("one who comes later", _late_comer), hint="what was said before is gone"),
            case(Evening("a goodbye", _goodbye), hint="when nothing more is typed, the function ends"),
            case(Evening("three friends", _three), hidden=True),
        ),
        mistakes=(  # the slow ones last: a wrong answer is compared with each, down to the one it looks like
            Mistake(
                "one channel for all rooms",
                at_terminals(_one_channel),
                "tea and coffee would hear each other: put the room into the channel's name.",
            ),
            Mistake(
                "bytes on the screen",
                at_terminals(_unlike(plain=False)),
                "the broker carries bytes; decode them before you show them.",
            ),
            Mistake(
                "the confirmation on the screen",
                at_terminals(_unlike(all_kinds=True)),
                "the first thing that comes back is the answer to SUBSCRIBE, of type “subscribe”.",
            ),
            Mistake(
                "own words twice",
                at_terminals(_twice),
                "the room sends you your own words as well; showing them at once shows them twice.",
            ),
            Mistake(
                "nobody's words",
                at_terminals(_nameless),
                "the broker does not say who has published: write the name into the message.",
            ),
            Mistake(
                "still there after the goodbye",
                at_terminals(_never_ends),
                "listening goes on for ever; cancel it when nothing more is typed.",
            ),
            Mistake(
                "typing and hearing in turns",
                at_terminals(_in_turns),
                "who types nothing hears nothing; listen in a task of its own.",
            ),
            Mistake(
                "own words left out",
                at_terminals(_own_left_out),
                "show what comes back of your own as well: that is the order that the room has.",
            ),
        ),
    ),
    Exercise(
        id="9.2",
        title="What to hand on",
        reference=hand_on,
        cases=(
            case(7, 8, 1, hint="the next in line"),
            case(7, 11, 3, hint="8 to 10 are in the stream"),
            case(7, 7, 1, hint="it came twice"),
            case(7, 5, 1, hint="it is old"),
            case(7, 12, 10, hint="where are 8 and 9?"),
            case(7, 9, 8, hint="8 is the oldest, and that is just enough"),
            case(0, 3, 1, hint="nothing was handed on so far"),
            case(99, 250, 250, hidden=True),
        ),
        mistakes=(
            Mistake(
                "only what came",
                _only_what_came,
                "this is plain Pub/Sub; what lies between is in the stream.",
            ),
            Mistake("whatever comes", _whatever_comes, "what was handed on already would come twice."),
            Mistake("the last one again", _the_last_again, "that one was handed on: begin behind it."),
            Mistake("without the new one", _without_the_new, "the one that has just come belongs to it."),
            Mistake(
                "a gap that nobody is told of",
                _silent_gap,
                "what the stream has thrown away is lost, and the client has to know.",
            ),
            Mistake("the whole stream", _whole_stream, "what lies before `last` was handed on long ago."),
            Mistake(
                "every hole a gap",
                _gap_at_any_hole,
                "as long as the stream has what is missing, nothing is lost: read it.",
            ),
        ),
    ),
    Exercise(
        id="9.3",
        title="How long presence lives",
        reference=presence,
        cases=(
            case(30.0, 1, 15.0, hint="from one beat that came to the next that came lie two intervals"),
            case(30.0, 0, 5.0, hint="no beat may be lost: one interval, and what is late"),
            case(10.0, 2, 3.0, hint="two in a row"),
            case(20.0, 1, 0.0, hint="nothing is ever late: the race itself"),
            case(45.0, 3, 7.5, hidden=True),
        ),
        mistakes=(
            Mistake(
                "the race",
                _at_the_race,
                "a beat that is a little late loses against the end of the key: add the slack.",
            ),
            Mistake(
                "one interval short",
                _one_beat_short,
                "with one beat lost, the next comes two intervals after the last.",
            ),
            Mistake(
                "the longest, not the mean",
                _longest,
                "only who dies right after a beat leaves a key that lives for the whole time.",
            ),
            Mistake(
                "half of the time to live",
                _half_of_it,
                "the last beat lies at most one interval back, half of one on average.",
            ),
            Mistake(
                "late at every beat",
                _late_each_time,
                "only the beat that saves the key may be late; the others are lost anyway.",
            ),
        ),
    ),
)
