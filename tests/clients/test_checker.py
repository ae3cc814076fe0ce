"""The checker finds each kind of fault, names it, and finds none where there is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labsupport.clients import Delivery, DeliveryChecker, FollowerReport, Gap, Message

GAP = Gap("too old", "The history begins later.", "a-1", None, 0.0)


def checked(published: list[int], got: list[object], **follows: object) -> FollowerReport:
    checker = DeliveryChecker()
    checker.follower("bob", **follows)  # type: ignore[arg-type]
    for id in published:
        checker.published(id)
    for item in got:
        checker.received("bob", item)  # type: ignore[arg-type]
    return checker.report().followers["bob"]


def test_all_once_and_in_order_is_clean() -> None:
    checker = DeliveryChecker()
    for name in ("bob", "carol"):
        checker.follower(name)
    for id in "abc":
        checker.published(id)
        for name in ("bob", "carol"):
            checker.received(name, Delivery(Message(id, "message", 1), id, 0.0))
    report = checker.report()
    assert report
    assert report.honest
    assert str(report) == "3 published, 2 followers: nothing lost, nothing twice, all in order."


@pytest.mark.parametrize(
    ("got", "name", "ids"),
    [
        ([1, 3, 4], "lost", (2,)),
        ([1, 2, 3], "lost", (4,)),
        ([], "lost", (1, 2, 3, 4)),
        ([1, 2, 2, 3, 4, 2], "duplicated", (2,)),
        ([1, 3, 2, 4], "out_of_order", (2,)),
        ([4, 1, 2, 3], "out_of_order", (1, 2, 3)),
        ([1, 2, 9, 3, 4], "unexpected", (9,)),
        ([1, GAP, 4], "missed", (2, 3)),
        ([GAP, 3, 4], "missed", (1, 2)),
        ([1, 2, GAP], "missed", (3, 4)),
    ],
)
def test_each_fault_is_found_and_is_the_only_one(got: list[object], name: str, ids: tuple[int, ...]) -> None:
    report = checked([1, 2, 3, 4], got)
    assert not report
    assert report.faults == {name: ids}


def test_a_loss_beside_a_gap_stays_a_loss() -> None:
    assert checked([1, 2, 3, 4, 5, 6], [1, 3, GAP, 6]).faults == {"lost": (2,), "missed": (4, 5)}


def test_a_gap_in_which_nothing_was_lost_is_no_fault() -> None:
    assert checked([1, 2, 3], [1, GAP, 2, 3])


def test_what_was_told_is_honest_but_not_clean() -> None:
    checker = DeliveryChecker()
    checker.follower("bob")
    checker.published(1)
    checker.received("bob", GAP)
    report = checker.report()
    assert report.honest
    assert not report


def test_a_message_that_was_maybe_sent_may_be_absent_or_come_once_but_not_twice() -> None:
    for got, faults in (
        ([1], {}),
        ([1, 2], {}),
        ([1, 2, 2], {"duplicated": (2,)}),
        ([2, 1], {"out_of_order": (1,)}),
    ):
        checker = DeliveryChecker()
        checker.follower("bob")
        checker.published(1)
        checker.published(2, surely=False)
        for id in got:
            checker.received("bob", id)
        assert checker.report().followers["bob"].faults == faults


def test_order_and_loss_are_judged_per_channel() -> None:
    checker = DeliveryChecker()
    checker.follower("bob", "news")
    checker.follower("carol", "chat")
    checker.published(1, "news")
    checker.published(1, "chat")
    checker.published(2, "chat")
    checker.received("bob", 1)
    checker.received("carol", 1)
    assert checker.report().followers["bob"]
    assert checker.report().followers["carol"].lost == (2,)


def test_a_follower_who_came_later_is_owed_only_what_followed() -> None:
    assert checked([1, 2, 3], [2, 3], after=1)
    assert checked([1, 2, 3], [1, 2, 3], after=1).faults == {"unexpected": (1,)}


def test_the_sentence_names_the_follower_the_fault_and_the_first_ids() -> None:
    checker = DeliveryChecker()
    checker.follower("bob")
    checker.follower("<carol>")
    for id in range(8):
        checker.published(id)
        checker.received("bob", id)
    report = checker.report()
    assert str(report) == (
        "8 published, 2 followers, 1 without fault. <carol>: 8 lost (0, 1, 2, 3, 4, … 3 more)."
    )
    assert "&lt;carol&gt;" in report._repr_html_()
    assert "<carol>" not in report._repr_html_()
    assert str(report.followers["bob"]) == "8 received, all there, once and in order"


def test_whoever_receives_follows_and_whoever_follows_is_owed_everything() -> None:
    checker = DeliveryChecker()
    checker.follower("carol")
    checker.published(1)
    checker.received("bob", 1)
    report = checker.report()
    assert report.followers["bob"]
    assert report.followers["carol"].lost == (1,)


def test_mistakes_in_using_the_checker_are_told() -> None:
    checker = DeliveryChecker()
    checker.published(1)
    with pytest.raises(ValueError, match="published already"):
        checker.published(1)
    checker.follower("bob")
    with pytest.raises(ValueError, match="follows already"):
        checker.follower("bob")
    assert str(DeliveryChecker().report()) == "0 published, and nobody followed."


@given(st.integers(0, 30), st.data())
def test_exactly_the_messages_left_out_are_lost_and_exactly_the_repeated_ones_are_doubles(
    count: int, data: st.DataObject
) -> None:
    ids = list(range(count))
    left_out = data.draw(st.sets(st.sampled_from(ids))) if ids else set()
    kept = [id for id in ids if id not in left_out]
    repeated = data.draw(st.sets(st.sampled_from(kept))) if kept else set()
    got = [copy for id in kept for copy in [id] * (2 if id in repeated else 1)]
    report = checked(ids, list(got))
    assert set(report.lost) == left_out
    assert set(report.duplicated) == repeated
    assert report.out_of_order == report.unexpected == report.missed == ()
