"""The client's order book: whole or honest about it, whatever is lost on the way."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labsupport.clients.order_book import OrderBook
from servers.core.markets import Market


def diff(first: int, last: int, bid: str = "1", quantity: str = "5") -> dict:
    return {"e": "depthUpdate", "U": first, "u": last, "b": [[bid, quantity]], "a": []}


SNAPSHOT = {"lastUpdateId": 10, "bids": [["1", "1"], ["2", "2"]], "asks": [["3", "3"]]}


def test_without_a_snapshot_there_is_no_book_to_look_at():
    book = OrderBook()
    assert book.feed(diff(11, 12)) == "waiting"
    with pytest.raises(LookupError, match="snapshot"):
        book.best()


def test_what_came_before_the_snapshot_is_dropped_and_what_came_after_is_applied():
    book = OrderBook()
    book.feed(diff(8, 10, "1", "9"))
    book.feed(diff(11, 12, "2", "7"))
    assert book.take(SNAPSHOT) == "whole"
    assert (book.bids, book.last_update) == ({"1": "1", "2": "7"}, 12)


def test_a_difference_that_begins_inside_the_snapshot_is_applied_whole():
    book = OrderBook()
    book.feed(diff(9, 12, "2", "7"))
    assert book.take(SNAPSHOT) == "whole"
    assert book.bids["2"] == "7"


def test_quantity_zero_takes_a_price_away():
    book = OrderBook()
    book.take(SNAPSHOT)
    book.feed(diff(11, 11, "1", "0.00000000"))
    assert book.best() == ([["2", "2"]], [["3", "3"]])


def test_a_gap_is_noticed_and_the_book_is_not_shown_until_it_is_whole_again():
    book = OrderBook()
    book.take(SNAPSHOT)
    assert book.feed(diff(13, 14)) == "gap"
    with pytest.raises(LookupError, match="gap"):
        book.best()
    assert book.take({**SNAPSHOT, "lastUpdateId": 13}) == "whole"
    assert (book.gaps, book.last_update) == (1, 14)


def test_a_snapshot_older_than_the_stream_is_refused():
    book = OrderBook()
    book.feed(diff(15, 16))
    assert book.take(SNAPSHOT) == "waiting"
    assert book.too_old == 1


def test_a_difference_that_is_told_twice_changes_nothing():
    book = OrderBook()
    book.take(SNAPSHOT)
    book.feed(diff(11, 11, "1", "5"))
    book.feed(diff(12, 12, "1", "6"))
    assert book.feed(diff(11, 11, "1", "5")) == "whole"
    assert book.bids["1"] == "6"


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 1000), lost=st.lists(st.booleans(), min_size=30, max_size=60), late=st.integers(0, 5)
)
def test_after_any_loss_the_book_is_the_servers_or_says_that_it_is_not_whole(
    seed: int, lost: list[bool], late: int
):
    market, book = Market("btcusdt", seed), OrderBook()
    draw = random.Random(seed)
    for turn, is_lost in enumerate(lost):
        market.step(1_000 * turn)
        event = market.diff(100, 1_000 * turn)
        if event is not None and not is_lost:
            book.feed(event)
        if book.state != "whole" and draw.randrange(late + 1) == 0:  # the snapshot takes its time
            book.take(market.snapshot(5000))
        if book.state == "whole" and book.last_update == market.updates:
            bids, asks = market.levels(20)
            assert book.best(20) == (bids, asks)
    market.step(0)
    final = market.diff(100, 0)
    if final is not None:
        book.feed(final)
    if book.state != "whole":
        book.take(market.snapshot(5000))
    assert book.state == "whole"
    assert book.best(20) == market.levels(20)
