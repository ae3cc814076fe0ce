"""Small runs that can be followed by hand, and what every run promises: same bytes, nothing lost."""

import math

import matplotlib as mpl
import numpy as np
import pytest

from labsupport.models.polling import ShortPolling, arrivals, simulate_long, simulate_short
from labsupport.models.traffic import given

mpl.use("Agg")


def one_client(published_s: list[float], interval_s: float, **more: object) -> ShortPolling:
    return simulate_short(0.1, interval_s, clients=1, arrivals_s=[published_s], phases="together", **more)  # type: ignore[arg-type]


# ---- short polling, by hand --------------------------------------------------------------------------------


def test_a_message_at_12_s_is_seen_by_the_poll_at_15_s_and_three_polls_of_four_are_empty() -> None:
    run = one_client([12.0], 5.0, horizon_s=16.0)
    assert run.request_times_s.tolist() == [0.0, 5.0, 10.0, 15.0]
    assert run.request_empty.tolist() == [True, True, True, False]
    assert run.staleness_s.tolist() == [3.0]
    assert run.polls_per_message == 4
    assert run.stale_share == 3 / 16


def test_a_message_at_the_moment_of_a_poll_is_seen_by_it() -> None:
    assert one_client([10.0], 5.0, horizon_s=16.0).delivered_s.tolist() == [10.0]


def test_with_a_fixed_delay_the_interval_starts_when_the_answer_is_there() -> None:
    run = one_client([1.0, 6.5], 5.0, round_trip_s=2.0, schedule="fixed delay", horizon_s=15.0)
    assert run.request_times_s.tolist() == [0.0, 7.0, 14.0]
    assert run.request_empty.tolist() == [True, False, True]
    assert run.delivered_s.tolist() == [8.0, 8.0]


def test_a_timer_that_is_faster_than_the_answers_asks_again_for_what_is_on_its_way() -> None:
    """Polls reach the server at 0, 1, 2 …, leave 1.25 s earlier, and bring their answer 1.25 s later."""
    run = one_client([0.5], 1.0, round_trip_s=2.5, horizon_s=6.0)
    assert run.request_times_s.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert run.request_empty.tolist() == [True, False, False, False, True, True]
    assert run.delivered_s.tolist() == [2.25]
    assert run.repeated_deliveries == 2


def test_what_is_published_just_before_the_end_is_still_followed_to_its_delivery() -> None:
    run = one_client([15.9], 5.0, horizon_s=16.0)
    assert run.delivered_s.tolist() == [20.0]
    assert run.requests == 4, "the poll at 20 s is past the horizon"


def test_equal_phases_are_spread_over_one_interval() -> None:
    run = simulate_short(0.0, 8.0, clients=4, phases="equal", horizon_s=8.0)
    assert run.request_times_s.tolist() == [0.0, 2.0, 4.0, 6.0]
    assert run.request_client.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("interval_s", [0.1, 0.3, 1 / 3, 7.7])
def test_a_hundred_intervals_are_a_hundred_polls_however_the_times_round(interval_s: float) -> None:
    for trip_s in (0.0, interval_s / 7):
        run = simulate_short(0.0, interval_s, clients=3, phases="together", round_trip_s=trip_s)
        assert np.bincount(run.request_client).tolist() == [100, 100, 100]


def test_the_view_is_stale_from_the_first_missing_message_to_its_answer() -> None:
    run = one_client([1.0, 2.0, 11.0], 5.0, round_trip_s=1.0, horizon_s=20.0)
    assert run.delivered_s.tolist() == [5.5, 5.5, 15.5]
    assert run.stale_share == pytest.approx((4.5 + 4.5) / 20)


# ---- long polling, by hand ---------------------------------------------------------------------------------


def test_a_held_request_is_answered_by_the_message_or_by_the_end_of_the_hold() -> None:
    run = simulate_long(0.1, 10.0, clients=1, arrivals_s=[[4.0, 25.0]], horizon_s=30.0)
    assert run.request_times_s.tolist() == [
        0.0,
        4.0,
        14.0,
        24.0,
    ]  # the one parked at 25 s has no answer by 30 s
    assert run.request_empty.tolist() == [False, True, True, False]
    assert run.delivered_s.tolist() == [4.0, 25.0]


def test_messages_in_the_gap_travel_together_and_take_up_to_three_transits() -> None:
    run = simulate_long(
        1.0, 100.0, clients=1, round_trip_s=2.0, arrivals_s=[[5.0, 5.5, 6.5, 30.0]], horizon_s=40.0
    )
    assert run.delivered_s.tolist() == [6.0, 8.0, 8.0, 31.0]
    assert run.staleness_s.tolist() == [1.0, 2.5, 1.5, 1.0]
    assert run.request_empty.tolist() == [False, False, False]
    assert run.request_times_s[1:].tolist() == [7.0, 9.0]


def test_an_endless_hold_never_answers_empty() -> None:
    run = simulate_long(0.5, math.inf, round_trip_s=0.1, clients=5)
    assert run.empty_share == 0.0
    assert len(run.delivered_s) == run.messages


# ---- promises ----------------------------------------------------------------------------------------------

ARRAYS = (
    "request_times_s",
    "request_client",
    "request_empty",
    "published_s",
    "delivered_s",
    "message_client",
)
RUNS = {
    "short": lambda seed: simulate_short(0.3, 5.0, clients=30, round_trip_s=0.2, jitter=0.1, seed=seed),
    "overlapping": lambda seed: simulate_short(0.3, 1.0, clients=10, round_trip_s=2.7, seed=seed),
    "shared": lambda seed: simulate_short(0.3, 5.0, clients=30, shared_topic=True, seed=seed),
    "long": lambda seed: simulate_long(0.3, 25.0, clients=10, round_trip_s=0.2, seed=seed),
    "long shared": lambda seed: simulate_long(0.3, 25.0, clients=10, shared_topic=True, seed=seed),
}


@pytest.mark.parametrize("kind", RUNS)
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(kind: str) -> None:
    one, again, other = RUNS[kind](1), RUNS[kind](1), RUNS[kind](2)
    for name in ARRAYS:
        assert getattr(one, name).tobytes() == getattr(again, name).tobytes()
    assert one.published_s.tobytes() != other.published_s.tobytes()


@pytest.mark.parametrize("kind", RUNS)
def test_every_message_is_delivered_once_in_order_and_never_before_it_was_published(kind: str) -> None:
    run = RUNS[kind](3)
    assert len(run.delivered_s) == len(run.published_s) == len(run.message_client) > 0
    assert (run.staleness_s >= 0).all()
    for client in range(run.clients):
        mine = run.message_client == client
        assert (np.diff(run.published_s[mine]) >= 0).all()
        assert (np.diff(run.delivered_s[mine]) >= 0).all()


@pytest.mark.parametrize("kind", RUNS)
def test_requests_lie_in_order_within_the_horizon(kind: str) -> None:
    run = RUNS[kind](4)
    assert len(run.request_times_s) == len(run.request_client) == len(run.request_empty) == run.requests
    assert (np.diff(run.request_times_s) >= 0).all()
    assert run.request_times_s[0] >= 0
    assert run.request_times_s[-1] < run.horizon_s


def test_a_shared_topic_is_one_stream_for_all() -> None:
    run = RUNS["shared"](5)
    streams = run.published_s.reshape(30, -1)
    assert (streams == streams[0]).all()
    assert streams[0].tolist() == arrivals(0.3, run.horizon_s, 1, seed=5)[0].tolist()


def test_arrivals_given_are_the_arrivals_used() -> None:
    streams = arrivals(0.3, 500.0, clients=30, seed=9)
    drawn = simulate_short(0.3, 5.0, clients=30, seed=9, horizon_s=500.0)
    told = simulate_short(0.3, 5.0, clients=30, seed=9, horizon_s=500.0, arrivals_s=streams)
    assert drawn.published_s.tobytes() == told.published_s.tobytes() == np.concatenate(streams).tobytes()
    assert drawn.delivered_s.tobytes() == told.delivered_s.tobytes()


def test_a_horizon_left_open_reaches_to_the_last_given_message() -> None:
    assert simulate_short(0.1, 5.0, clients=1, arrivals_s=[[900.0]]).messages == 1
    assert simulate_long(0.1, 5.0, clients=2, shared_topic=True, arrivals_s=[3.0, 9000.0]).messages == 4


def test_more_clients_or_a_longer_horizon_change_nothing_for_those_that_were_there() -> None:
    few, many = arrivals(0.5, 100.0, 3, seed=2), arrivals(0.5, 100.0, 50, seed=2)
    longer = arrivals(0.5, 400.0, 3, seed=2)
    for client in range(3):
        assert few[client].tolist() == many[client].tolist()
        assert longer[client][: len(few[client])].tolist() == few[client].tolist()


def test_arrivals_are_poisson() -> None:
    streams = arrivals(2.0, 50.0, clients=2000, seed=6)
    counts = np.array([len(stream) for stream in streams])
    assert counts.mean() == pytest.approx(100, abs=4 * math.sqrt(100 / 2000))
    assert counts.var() == pytest.approx(100, rel=4 * math.sqrt(2 / 2000))
    gaps_s = np.concatenate([np.diff(stream, prepend=0.0) for stream in streams])
    assert np.mean(gaps_s > 0.5) == pytest.approx(math.exp(-1), abs=0.005)
    assert all(stream[0] >= 0 and stream[-1] < 50.0 for stream in streams)


def test_arrivals_are_drawn_on_where_luck_needs_more_than_was_foreseen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usual = arrivals(2.0, 50.0, clients=20, seed=6)
    monkeypatch.setattr("labsupport.models.traffic.math.sqrt", lambda value: -value / 10)
    short_of_draws = arrivals(2.0, 50.0, clients=20, seed=6)
    for one, other in zip(usual, short_of_draws, strict=True):
        assert one == pytest.approx(other)


def test_a_run_says_in_words_what_happened() -> None:
    said = one_client([12.0], 5.0, horizon_s=16.0).summary()
    assert said == (
        "1 client asking every 5 s sent 4 requests in 16 s (0.2/s); 75.0 % of the answers were empty, "
        "and one message cost 4.00 requests. "
        "Messages were seen 3.00 s late on average, 95 of 100 within 3.00 s, the last after 3.00 s."
    )
    assert (
        simulate_long(1.0, 25.0, round_trip_s=0.1, clients=1000, horizon_s=3.0)
        .summary()
        .startswith("1,000 clients held for up to 25 s sent ")
    )
    silent = simulate_short(0.0, 5.0, clients=2)
    assert "no message was published, so every answer was empty" in silent.summary()
    assert silent.empty_share == 1.0
    assert silent.requests_per_message == math.inf
    assert math.isnan(silent.staleness_mean_s)


def test_a_run_draws_itself_with_a_finding_and_units() -> None:
    axes = one_client([12.0, 13.0], 5.0, horizon_s=16.0).plot()
    title = axes.get_title(loc="left") or axes.get_title()  # where the style in use puts it
    assert title == "Half of the messages are seen within 2.50 s, the last after 3.00 s"
    assert axes.get_xlabel() == "seconds from published to seen"
    assert axes.get_ylabel() == "messages seen so far (%)"
    assert axes.lines[0].get_ydata()[-1] == 100
    assert simulate_long(0.0, 5.0, clients=1).plot(axes, color="C1") is axes


def test_gaps_put_the_formula_beside_the_run() -> None:
    run = simulate_short(1 / 60, 5.0, clients=200, seed=1)
    gaps = {gap.name: gap for gap in run.gaps()}
    assert gaps["empty_share"].closed_form == pytest.approx(0.920, abs=0.001)
    assert gaps["empty_share"].simulated == run.empty_share
    assert abs(gaps["empty_share"].relative) < 0.01
    assert gaps["requests_per_s"].relative == 0


# ---- refusals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda: simulate_short(-1, 5),
            "messages_per_s must be a rate per second, 0 or more and finite, got -1",
        ),
        (lambda: simulate_short(math.nan, 5), "messages_per_s must be a rate per second"),
        (
            lambda: simulate_short(1, 0),
            "interval_s must be seconds, above 0 and finite, got 0: without a pause",
        ),
        (lambda: simulate_short(1, math.nan), "interval_s must be seconds"),
        (lambda: simulate_short(1, 5, clients=0), "clients must be a whole number from 1 up, got 0"),
        (lambda: simulate_short(1, 5, clients=2.5), "clients must be a whole number"),
        (lambda: simulate_short(1, 5, round_trip_s=-0.1), "round_trip_s must be seconds, 0 or more"),
        (
            lambda: simulate_short(1, 5, horizon_s=math.inf),
            "horizon_s must be seconds, above 0 and finite, got inf",
        ),
        (lambda: simulate_short(1, 5, jitter=20), "jitter is a share: expected 0 to 1, got 20"),
        (
            lambda: simulate_short(1, 5, jitter=0.1, interval_law="exponential"),
            "with exponential ones leave it at 0",
        ),
        (
            lambda: simulate_short(1, 5, phases="rand"),
            "phases must be one of 'random', 'equal', 'together', got 'rand'",
        ),
        (
            lambda: simulate_short(1, 5, schedule="rate"),
            "schedule must be one of 'fixed rate', 'fixed delay'",
        ),
        (lambda: simulate_short(1, 5, interval_law="normal"), "interval_law must be one of"),
        (
            lambda: simulate_short(1, 1e-6, clients=10, horizon_s=10),
            "would hold 100,000,000 requests.*shorter horizon_s",
        ),
        (
            lambda: simulate_short(1e6, 1, horizon_s=10),
            "would hold 1,000,000,000 deliveries, and 5,000,000 is the limit",
        ),
        (
            lambda: simulate_short(1, 5, clients=2, arrivals_s=[[1.0]]),
            "arrivals_s holds 1 streams and 2 are needed",
        ),
        (
            lambda: simulate_short(1, 5, clients=1, arrivals_s=[[9.0, 1.0]]),
            "arrivals_s must ascend within the horizon",
        ),
        (
            lambda: simulate_short(1, 5, clients=1, horizon_s=9, arrivals_s=[[12.0]]),
            r"within the horizon, \[0, 9\)",
        ),
        (
            lambda: simulate_short(1, 5, clients=1, arrivals_s=[[math.nan]], horizon_s=9),
            "arrivals_s must ascend",
        ),
        (lambda: given([[[1.0]]], 9.0, 1), "one sequence of seconds per client"),
        (lambda: simulate_long(1, 0), "hold_s must be seconds, above 0, got 0"),
        (lambda: simulate_long(1, math.nan), "hold_s must be seconds"),
        (lambda: simulate_long(1, -25), "hold_s must be seconds"),
        (lambda: simulate_long(0, math.inf), "an endless hold: a run has no usual length, so give horizon_s"),
        (lambda: simulate_long(1, 25, clients=True), "clients must be a whole number"),
        (lambda: simulate_long(1e-9, 1e-6, horizon_s=100), "would hold 10,000,000,000 requests"),
        (lambda: arrivals(-1, 10), "messages_per_s must be"),
        (lambda: arrivals(1, 0), "horizon_s must be seconds, above 0"),
        (lambda: arrivals(1e9, 10), "would hold 10,000,000,000 messages"),
        (lambda: simulate_short(1, 5, clients=1).busiest_bin(0), "bin_s must be seconds, above 0"),
    ],
)
def test_a_run_that_makes_no_sense_is_refused_with_a_way_out(call, sentence: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=sentence):
        call()
