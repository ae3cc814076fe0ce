"""The message log and its followers: nothing lost, nothing twice, nothing out of order, or it says so."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from servers.core.log import (
    POLICIES,
    BadPosition,
    Entry,
    Follower,
    MessageLog,
    OtherEpoch,
    PositionError,
    SlowFollower,
    TooOld,
    to_json,
)


def filled(count: int, keep: int = 1000, epoch: str = "e") -> MessageLog:
    log = MessageLog(keep=keep, epoch=epoch)
    for number in range(1, count + 1):
        log.append("message", number)
    return log


def data(entries: list[Entry]) -> list[int]:
    return [entry.data for entry in entries]


async def turns(count: int = 5) -> None:
    """Let every task run until it waits for something that only the test can bring about."""
    for _ in range(count):
        await asyncio.sleep(0)


async def unread(follower: Follower) -> list[int]:
    """All that the follower would hand over now, without waiting."""
    found = []
    while True:
        read = asyncio.ensure_future(anext(follower))
        await turns(2)
        if not read.done():
            read.cancel()
            return found
        found.append(read.result().data)


# ---------------------------------------------------------------- positions


def test_offsets_rise_by_one_from_one_and_an_id_is_epoch_and_offset():
    log = MessageLog(epoch="abc")
    assert log.position == "abc-0"
    assert [log.append("message", None).id for _ in range(3)] == ["abc-1", "abc-2", "abc-3"]
    assert log.position == "abc-3"


def test_two_logs_never_share_an_epoch_by_chance_and_it_holds_no_dash():
    epochs = {MessageLog().epoch for _ in range(100)}
    assert len(epochs) == 100
    assert not any("-" in epoch for epoch in epochs)


def test_after_a_position_comes_all_that_is_newer_in_order():
    log = filled(5)
    assert data(log.after("e-2")) == [3, 4, 5]
    assert log.after("e-5") == []
    assert data(log.after("e-0")) == data(log.after(None)) == [1, 2, 3, 4, 5]


def test_the_history_is_bounded_and_a_position_before_it_is_too_old():
    log = filled(10, keep=4)
    assert data(log.after(None)) == [7, 8, 9, 10]
    assert log.oldest == "e-6"
    assert data(log.after(log.oldest)) == [7, 8, 9, 10]
    with pytest.raises(TooOld, match="begins after e-6"):
        log.after("e-5")


def test_the_history_is_bounded_in_bytes_and_the_newest_message_always_stays():
    log = MessageLog(epoch="e", keep_bytes=100)
    for letter in "abc":
        log.append("message", letter * 38)  # 40 bytes as JSON
    assert [entry.data[0] for entry in log.after(None)] == ["b", "c"]
    log.append("message", "d" * 1000)
    assert [entry.data[0] for entry in log.after(None)] == ["d"]
    with pytest.raises(TooOld):
        log.after("e-2")


def test_a_smaller_history_takes_effect_at_once():
    log = filled(10)
    log.resize(keep_bytes=3)  # "9" and "10"
    assert data(log.after(None)) == [9, 10]


@pytest.mark.parametrize(
    "position",
    [
        "",
        "e",
        "e-",
        "-1",
        "e-01",
        "e--1",
        "e-1 ",
        "e-1\n",
        "e-٣",
        "e-1.0",
        "é-1",
        "e-" + "9" * 400,
        "x" * 70 + "-1",
    ],
)
def test_what_is_no_position_is_a_bad_position(position):
    with pytest.raises(BadPosition):
        filled(3).after(position)


def test_a_position_ahead_of_the_newest_message_is_a_bad_position():
    with pytest.raises(BadPosition, match="ahead of the newest message, e-3"):
        filled(3).after("e-4")


def test_a_position_of_another_log_is_of_another_epoch_whatever_its_offset():
    for position in ("f-1", "f-99"):
        with pytest.raises(OtherEpoch, match="belongs to another log"):
            filled(3).after(position)


def test_each_error_has_a_short_name_for_programs():
    assert (BadPosition.name, OtherEpoch.name, TooOld.name) == ("bad position", "other epoch", "too old")


@pytest.mark.parametrize("wrong", [{"keep": 0}, {"epoch": "a-b"}, {"epoch": "x" * 65}])
def test_a_log_refuses_what_would_make_its_positions_ambiguous(wrong):
    with pytest.raises(ValueError, match="expected"):
        MessageLog(**wrong)


# ---------------------------------------------------------------- what is stored


def test_what_was_appended_cannot_be_changed_through_the_object_or_a_reader():
    log = MessageLog()
    mine = {"list": [1]}
    entry = log.append("message", mine)
    mine["list"].append(2)
    entry.data["list"].append(3)
    assert log.after(None)[0].data == {"list": [1]}


def test_a_message_is_compact_json_in_utf_8():
    entry = MessageLog(epoch="e").append("message", {"text": "héllo 🎈"})
    assert entry.message().decode() == '{"id":"e-1","event":"message","data":{"text":"héllo 🎈"}}'


@pytest.mark.parametrize("data", [float("nan"), float("inf"), {1, 2}, "\ud800", object()])
def test_what_json_cannot_say_is_refused_and_leaves_the_log_as_it_was(data):
    log = filled(1)
    with pytest.raises((TypeError, ValueError)):
        log.append("message", data)
    assert log.position == "e-1"
    assert len(log) == 1


# ---------------------------------------------------------------- waiting


async def test_waiting_ends_with_the_next_message():
    log = filled(3)
    reader = asyncio.create_task(log.wait_after("e-3", 3600))
    await turns()
    assert log.waiting == 1
    log.append("message", 4)
    assert log.waiting == 0
    assert data(await reader) == [4]


async def test_what_arrives_before_the_readers_turn_comes_as_one_batch():
    log = filled(0)
    reader = asyncio.create_task(log.wait_after("e-0", 3600))
    await turns()
    for number in (1, 2, 3):
        log.append("message", number)
    assert data(await reader) == [1, 2, 3]


async def test_a_reader_that_lacks_something_does_not_wait():
    assert data(await filled(3).wait_after("e-1", 3600)) == [2, 3]


@pytest.mark.parametrize("seconds", [0, -1, 0.001, float("nan")])
async def test_when_the_time_is_over_the_answer_is_empty(seconds):
    log = filled(3)
    assert await log.wait_after("e-3", seconds) == []
    assert log.waiting == 0


async def test_a_cancelled_reader_frees_its_slot_at_once():
    log = filled(0)
    readers = [asyncio.create_task(log.wait_after(None, 3600)) for _ in range(3)]
    await turns()
    readers[1].cancel()
    await turns()
    assert log.waiting == 2
    log.append("message", 1)
    assert [data(entries) for entries in await asyncio.gather(readers[0], readers[2])] == [[1], [1]]


async def test_thousands_wait_and_one_message_answers_all():
    log = filled(0)
    readers = [asyncio.create_task(log.wait_after("e-0", 3600)) for _ in range(5000)]
    await turns()
    assert log.waiting == 5000
    log.append("message", 1)
    assert all(data(entries) == [1] for entries in await asyncio.gather(*readers))


async def test_a_reader_that_the_history_has_passed_while_it_waited_is_told():
    log = filled(0, keep=2)
    reader = asyncio.create_task(log.wait_after("e-0", 3600))
    await turns()
    for number in range(3):
        log.append("message", number)
    with pytest.raises(TooOld):
        await reader


async def test_a_wrong_position_does_not_wait():
    log = filled(3)
    with pytest.raises(BadPosition):
        await log.wait_after("e-9", 3600)
    with pytest.raises(OtherEpoch):
        await log.wait_after("f-0", 3600)


async def test_closing_lets_every_reader_go():
    log = filled(1)
    waiting = asyncio.create_task(log.wait_after("e-1", 3600))
    following = asyncio.create_task(anext(log.follow("e-1"), None))
    await turns()
    log.close()
    assert await waiting == []
    assert await following is None
    assert await log.wait_after("e-1", 3600) == []
    assert data([entry async for entry in log.follow()]) == [1]


# ---------------------------------------------------------------- following


async def test_a_follower_gets_the_history_and_then_each_message_once():
    log = filled(3)
    async with log.follow("e-1") as follower:
        assert await unread(follower) == [2, 3]
        reading = asyncio.create_task(anext(follower))
        await turns()
        log.append("message", 4)
        log.append("message", 5)
        assert (await reading).data == 4
        assert await unread(follower) == [5]
    assert log.followers == 0


async def test_without_a_position_a_follower_starts_with_all_of_the_history():
    assert await unread(filled(5, keep=3).follow()) == [3, 4, 5]


async def test_from_the_newest_position_a_follower_gets_only_what_comes():
    log = filled(3)
    follower = log.follow(log.position)
    log.append("message", 4)
    assert await unread(follower) == [4]


async def test_following_from_a_wrong_position_raises_before_anything_is_read():
    log = filled(5, keep=2)
    for position, error in (("e-9", BadPosition), ("f-1", OtherEpoch), ("e-1", TooOld)):
        with pytest.raises(error):
            log.follow(position)
    assert log.followers == 0


def test_an_unknown_policy_is_refused_with_the_known_ones():
    with pytest.raises(
        ValueError, match="disconnect, drop oldest, drop newest, keep latest, wait; got 'drop'"
    ):
        filled(0).follow(policy="drop")
    with pytest.raises(ValueError, match="at least 1"):
        filled(0).follow(limit=0)


async def test_disconnect_ends_a_slow_follower_and_the_others_do_not_notice():
    log = filled(0)
    cut = []
    slow = log.follow(limit=3, on_slow=lambda: cut.append("slow"))
    quick = log.follow(limit=3)
    seen = []
    for number in range(1, 7):
        log.append("message", number)
        seen += await unread(quick)
        assert cut == (["slow"] if number > 3 else [])
    assert seen == [1, 2, 3, 4, 5, 6]
    assert log.followers == 1
    for _ in range(2):
        with pytest.raises(SlowFollower, match="more than 3 messages unread after e-0"):
            await anext(slow)


async def test_history_does_not_count_against_the_limit():
    log = filled(50)
    follower = log.follow(limit=3)
    for number in (51, 52, 53):
        log.append("message", number)
    assert await unread(follower) == list(range(1, 54))


async def test_drop_oldest_keeps_the_newest():
    log = filled(0)
    follower = log.follow(limit=3, policy="drop oldest")
    for number in range(1, 11):
        log.append("message", number)
    assert follower.dropped == 7
    assert await unread(follower) == [8, 9, 10]


async def test_drop_newest_keeps_the_oldest_and_takes_new_ones_when_there_is_room():
    log = filled(2)
    follower = log.follow(limit=3, policy="drop newest")
    for number in range(3, 11):
        log.append("message", number)
    assert follower.dropped == 5
    assert (await anext(follower)).data == 1  # history takes no room in the queue
    log.append("message", 11)
    assert follower.dropped == 6
    assert await unread(follower) == [2, 3, 4, 5]
    log.append("message", 12)
    assert await unread(follower) == [12]
    assert follower.position == "e-12"


async def test_keep_latest_hands_over_nothing_but_the_newest():
    log = filled(5)
    follower = log.follow(policy="keep latest")
    assert await unread(follower) == [5]
    for number in (6, 7, 8):
        log.append("message", number)
    assert await unread(follower) == [8]
    assert follower.dropped == 6


async def test_wait_catches_up_from_the_history_without_a_queue():
    log = filled(0)
    follower = log.follow(limit=1, policy="wait")
    for number in range(1, 501):
        log.append("message", number)
    assert await unread(follower) == list(range(1, 501))
    assert follower.dropped == 0


async def test_wait_ends_with_too_old_once_the_history_has_moved_past_it():
    log = filled(0, keep=3)
    follower = log.follow(policy="wait")
    log.append("message", 1)
    assert await unread(follower) == [1]
    for number in range(2, 6):
        log.append("message", number)
    for _ in range(2):
        with pytest.raises(TooOld):
            await anext(follower)
    assert follower.position == "e-1"


async def test_a_policy_that_drops_counts_what_the_history_lost():
    log = filled(5)
    follower = log.follow(policy="drop newest")
    log.resize(keep_bytes=2)  # of the history only 4 and 5 are left
    assert await unread(follower) == [4, 5]
    assert follower.dropped == 3


async def test_a_batch_is_all_that_is_unread_up_to_the_limit():
    log = filled(7)
    follower = log.follow(limit=4)
    assert [data(await follower.batch()) for _ in range(2)] == [[1, 2, 3, 4], [5, 6, 7]]
    waiting = asyncio.create_task(follower.batch())
    await turns()
    assert not waiting.done()
    follower.close()
    assert await waiting == []


async def test_closing_a_follower_lets_its_reader_go_and_is_allowed_twice():
    log = filled(0)
    follower = log.follow()
    reading = asyncio.create_task(anext(follower, "end"))
    await turns()
    follower.close()
    follower.close()
    assert await reading == "end"
    log.append("message", 1)
    assert [entry async for entry in follower] == []


async def test_a_cancelled_read_loses_nothing():
    log = filled(0)
    follower = log.follow()
    reading = asyncio.create_task(anext(follower))
    await turns()
    log.append("message", 1)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert await unread(follower) == [1]


async def test_a_second_reader_of_one_follower_is_refused():
    follower = filled(0).follow()
    first = asyncio.create_task(anext(follower))
    await turns()
    with pytest.raises(RuntimeError, match="each its own"):
        await anext(follower)
    first.cancel()


# ---------------------------------------------------------------- any order of things

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 4)),
        st.tuples(st.just("read"), st.integers(0, 5)),
        st.tuples(st.just("batch"), st.integers(0, 5)),
        st.tuples(st.just("follow"), st.sampled_from(POLICIES), st.integers(1, 4), st.integers(0, 8)),
        st.tuples(st.just("wait"), st.integers(0, 8)),
        st.tuples(st.just("shrink"), st.integers(1, 12)),
        st.just(("cancel",)),
        st.just(("turn",)),
    ),
    max_size=60,
)


class Witness:
    """One reader, and what it has been handed. The steps drive it: it may be behind, waiting or cancelled."""

    def __init__(self, log: MessageLog, policy: str, limit: int, back: int) -> None:
        self.began = max(int(log.oldest.split("-")[1]), int(log.position.split("-")[1]) - back)
        self.policy = policy
        self.limit = limit
        self.follower = log.follow(f"e-{self.began}", limit=limit, policy=policy)
        self.offsets: list[int] = []
        self.error: Exception | None = None
        self.ended = False
        self.task: asyncio.Task[None] | None = None

    def start(self, how: str) -> None:
        if self.error is None and (self.task is None or self.task.done()):
            self.task = asyncio.create_task(self.read(how))

    async def read(self, how: str) -> None:
        try:
            entries = await self.follower.batch() if how == "batch" else [await anext(self.follower)]
        except StopAsyncIteration:
            self.ended = True
            return
        except (SlowFollower, TooOld) as error:
            self.error = error
            return
        for entry in entries:
            assert entry.data == entry.offset  # the steps append each offset as data
            self.offsets.append(entry.offset)

    def cancel(self) -> None:
        if self.task is not None:
            self.task.cancel()

    def check(self, newest: int) -> None:
        """To be called when all has been read."""
        assert self.offsets == sorted(set(self.offsets)), "twice, or out of order"
        assert all(offset > self.began for offset in self.offsets)
        if self.policy in ("disconnect", "wait"):
            assert self.follower.dropped == 0
            assert self.offsets == list(range(self.began + 1, self.began + 1 + len(self.offsets))), (
                "a silent gap"
            )
        if self.error is None:
            assert len(self.offsets) + self.follower.dropped == newest - self.began, "lost, and not said"
            # A drop of the newest may come after the last message handed over.
            assert self.follower.position == f"e-{newest}" or self.policy == "drop newest"
        else:
            assert self.policy in ("disconnect", "wait")


async def play(steps: list[tuple], keep: int) -> None:
    log = MessageLog(keep=keep, epoch="e")
    newest = 0
    witnesses: list[Witness] = []
    waiting: list[tuple[int, asyncio.Task]] = []
    for step in steps:
        match step:
            case ("append", count):
                for _ in range(count):
                    newest += 1
                    assert log.append("message", newest).offset == newest
            case ("read" | "batch" as how, number) if witnesses:
                witnesses[number % len(witnesses)].start(how)
            case ("follow", policy, limit, back):
                witnesses.append(Witness(log, policy, limit, back))
            case ("wait", back):
                offset = max(newest - len(log), newest - back)
                waiting.append((offset, asyncio.create_task(log.wait_after(f"e-{offset}", 3600))))
            case ("shrink", keep_bytes):
                log.resize(keep_bytes)
            case ("cancel",):
                for witness in witnesses:
                    witness.cancel()
            case ("turn",):
                await turns(1)
        assert [entry.offset for entry in log.after(None)] == list(range(newest - len(log) + 1, newest + 1))

    await turns()
    for offset, task in waiting:
        if not task.done():
            assert offset == newest or log.waiting == 0
    log.close()
    for offset, task in waiting:
        try:
            got = [entry.offset for entry in await task]
        except TooOld:
            assert offset < newest - len(log)
        else:
            assert got == list(range(offset + 1, offset + 1 + len(got)))
            assert got or offset == newest
    for witness in witnesses:
        if witness.task is not None:
            await asyncio.gather(witness.task, return_exceptions=True)
            if not witness.task.cancelled():
                witness.task.result()
        while witness.error is None and not witness.ended:
            await witness.read("read")
        witness.check(newest)


@settings(max_examples=300, deadline=None)
@given(STEPS, st.integers(1, 12))
def test_in_any_order_of_appends_follows_and_reads_nothing_is_lost_twice_or_out_of_order_unless_it_is_said(
    steps, keep
):
    asyncio.run(play(steps, keep))


@given(st.text(max_size=30) | st.builds("{}-{}".format, st.sampled_from(["e", "f", "E"]), st.integers()))
def test_any_text_is_a_position_or_an_error_with_a_sentence(text):
    log = filled(5, keep=3)
    if text in {"e-2", "e-3", "e-4", "e-5"}:
        assert data(log.after(text)) == list(range(int(text[2:]) + 1, 6))
    else:
        with pytest.raises(PositionError, match=r"\w+ \w+ \w+ \w+"):
            log.after(text)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(codec="utf-8")),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    )
)
def test_any_json_value_comes_back_as_it_went_in_on_one_line(value):
    entry = MessageLog().append("message", value)
    assert entry.data == value
    assert b"\n" not in entry.message()
    assert entry.size == len(entry.message())
    assert entry.json == to_json(value)


# ---------------------------------------------------------------- a copy of a log


def test_a_copy_that_begins_later_has_the_same_positions_and_says_what_it_lacks():
    log = filled(3)
    copy = MessageLog(epoch=log.epoch, newest=2)
    (last,) = log.after("e-2")
    assert copy.append_json(last.event, last.json) == last
    assert copy.position == log.position
    assert copy.after("e-2") == [last]
    with pytest.raises(TooOld):
        copy.after("e-1")
