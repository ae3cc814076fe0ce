"""The formulas of polling against their published values, their limits, and each other."""

import math

import numpy as np
import pytest

from labsupport.models import polling

RATES = np.array([0.0, 1e-9, 1 / 600, 1 / 60, 0.2, 1.0, 40.0])


def test_a_message_a_minute_asked_every_5_s_gives_92_percent_empty_and_12_polls_a_message() -> None:
    assert polling.empty_share(1 / 60, 5) == pytest.approx(0.920, abs=0.0005)
    assert polling.polls_per_message(1 / 60, 5) == pytest.approx(12)


@pytest.mark.parametrize(
    ("messages_per_s", "interval_s", "share"),
    [(0.0202, 1, 0.98), (1 / 247, 5, 0.98), (1 / 148, 3, 0.98), (1 / 10, 5, 0.61), (1 / 600, 5, 0.992)],
)
def test_98_percent_empty_is_one_message_in_about_50_polls(
    messages_per_s: float, interval_s: float, share: float
) -> None:
    assert polling.empty_share(messages_per_s, interval_s) == pytest.approx(share, abs=0.005)


def test_ten_thousand_users_every_five_minutes_are_33_requests_a_second() -> None:
    assert polling.requests_per_s(10_000, 300) == pytest.approx(33.3, abs=0.05)
    assert polling.requests_per_s(10_000, 5) == 2000
    assert polling.requests_per_s(1_000_000, 5) == 200_000


def test_rate_times_delay_is_half_the_clients_whatever_the_interval() -> None:
    intervals_s = np.linspace(0.1, 60, 50)
    product = polling.requests_per_s(800, intervals_s) * polling.staleness_mean_s(intervals_s)
    assert product == pytest.approx(np.full(50, 400.0))


def test_staleness_is_half_an_interval_95_percent_of_it_and_all_of_it() -> None:
    assert polling.staleness_mean_s(5) == 2.5
    assert polling.staleness_p95_s(5) == 4.75
    assert polling.staleness_max_s(5) == 5
    assert polling.staleness_mean_s(3) == 1.5
    assert polling.staleness_p95_s(3) == pytest.approx(2.85)


def test_jitter_and_memoryless_timers_make_messages_wait_longer() -> None:
    assert polling.staleness_mean_s(6, jitter=0.5) == pytest.approx(3 * (1 + 0.25 / 3))
    assert polling.staleness_mean_s(6, interval_law="uniform") == pytest.approx(4)
    assert polling.staleness_mean_s(6, interval_law="exponential") == 6
    assert polling.staleness_max_s(6, jitter=0.5) == 9


def test_half_a_round_trip_comes_on_top_and_a_fixed_delay_stretches_the_interval() -> None:
    assert polling.staleness_mean_s(5, round_trip_s=0.2) == 2.6
    assert polling.period_s(5, 0.2, "fixed rate") == 5
    assert polling.period_s(5, 0.2, "fixed delay") == 5.2
    assert polling.requests_per_s(52, 5, round_trip_s=0.2, schedule="fixed delay") == pytest.approx(10)


def test_empty_share_averages_e_to_the_minus_lambda_x_over_the_intervals() -> None:
    x = 5 * (1 + 0.6 * (2 * (np.arange(100_000) + 0.5) / 100_000 - 1))  # midpoints of the uniform law
    assert polling.empty_share(0.3, 5, jitter=0.6) == pytest.approx(np.exp(-0.3 * x).mean(), rel=1e-8)
    x = -5 * np.log1p(-(np.arange(1_000_000) + 0.5) / 1_000_000)
    assert polling.empty_share(0.3, 5, interval_law="exponential") == pytest.approx(
        np.exp(-0.3 * x).mean(), rel=1e-5
    )
    assert polling.empty_share(1000.0, 5, jitter=0.9) < 1e-200


def test_a_view_is_stale_for_one_minus_one_minus_e_over_lambda_t() -> None:
    assert polling.stale_share(0.2, 5) == pytest.approx(math.exp(-1))
    assert polling.stale_share(1 / 60, 5) == pytest.approx(1 - 12 * (1 - math.exp(-1 / 12)))
    ages_s = 0.25 + 5 * (np.arange(100_000) + 0.5) / 100_000  # age of what is known, with L = 0.5
    assert polling.stale_share(0.2, 5, round_trip_s=0.5) == pytest.approx(
        1 - np.exp(-0.2 * ages_s).mean(), rel=1e-8
    )


@pytest.mark.parametrize(("clients", "bins"), [(10_000, 60), (10_000, 300), (1000, 100), (200, 50)])
def test_the_busiest_bin_is_what_throwing_clients_into_bins_gives(clients: int, bins: int) -> None:
    throw = np.random.default_rng(4)
    largest = [np.bincount(throw.integers(0, bins, clients)).max() for _ in range(1000)]
    standard_error = np.std(largest) / math.sqrt(1000)
    expected = polling.busiest_bin(clients, float(bins), 1.0)
    # a fixed total makes multinomial bins a little calmer than Poisson ones: 0.1 % is granted for that
    assert np.mean(largest) == pytest.approx(expected, abs=4 * standard_error + 0.001 * expected)


def test_the_rule_of_thumb_for_the_busiest_bin_is_within_6_percent() -> None:
    for mean in (10, 33.3, 100, 1000):
        for bins in (60, 300, 3600, 86_400):
            thumb = mean + math.sqrt(2 * mean * math.log(bins))
            assert polling.busiest_bin(mean * bins, float(bins)) == pytest.approx(thumb, rel=0.06)


def test_equal_phases_flatten_the_load_and_common_phases_pile_it_up() -> None:
    assert polling.busiest_bin(10_000, 300, phases="equal") == 34
    assert polling.busiest_bin(10_000, 300, phases="together") == 10_000
    assert polling.busiest_bin(0, 300) == 0


@pytest.mark.parametrize(("rate", "requests"), [(1, 0.995), (10, 0.731), (100, 0.100)])
def test_long_polling_over_50_ms_needs_the_published_requests_per_message(
    rate: float, requests: float
) -> None:
    assert polling.long_requests_per_message(rate, round_trip_s=0.1) == pytest.approx(requests, abs=0.0005)
    x = 2 * 0.05 * rate
    assert polling.long_requests_per_message(rate, math.inf, 0.1) == pytest.approx(1 / (x + math.exp(-x)))


def test_long_polling_formulas_agree_with_each_other() -> None:
    rate, hold_s, trip_s = RATES[2:], 25.0, 0.2
    wait_s = polling.long_wait_mean_s(rate, hold_s, trip_s)
    assert wait_s == pytest.approx(np.exp(-rate * trip_s) * (1 - np.exp(-rate * hold_s)) / rate)
    assert polling.long_requests_per_s(rate, hold_s, trip_s, clients=7) == pytest.approx(
        7 / (trip_s + wait_s)
    )
    per_message = 1 / (rate * trip_s + np.exp(-rate * trip_s) * (1 - np.exp(-rate * hold_s)))
    assert polling.long_requests_per_message(rate, hold_s, trip_s) == pytest.approx(per_message)
    assert polling.long_empty_share(rate, hold_s, trip_s) == pytest.approx(np.exp(-rate * 25.2))


def test_long_polling_takes_one_transit_when_idle_and_two_when_saturated() -> None:
    assert polling.long_transits_mean(1e-6, math.inf, 0.1) == pytest.approx(1, abs=1e-6)
    assert polling.long_transits_mean(1e-6, 25, 0.1) == pytest.approx(
        1 + 0.1 / 25.1, abs=1e-6
    )  # each hold ends
    assert polling.long_transits_mean(1e4, 25, 0.1) == pytest.approx(2)
    assert polling.long_latency_mean_s(1e4, 25, 0.1) == pytest.approx(0.1)
    assert polling.long_latency_max_s(0.1) == pytest.approx(0.15)
    assert polling.long_latency_p95_s(1e-6, 25, 0.1) == pytest.approx(0.05)
    assert polling.long_latency_p95_s(1e4, 25, 0.1) == pytest.approx(0.145)


def test_without_messages_nothing_is_lost_to_division_by_zero() -> None:
    assert polling.empty_share(0, 5) == 1
    assert polling.stale_share(0, 5) == 0
    assert polling.polls_per_message(0, 5) == math.inf
    assert polling.long_wait_mean_s(0, 25, 0.1) == 25
    assert polling.long_requests_per_message(0, 25, 0.1) == math.inf
    assert polling.empty_share_error(0, 5, 500, clients=10, shared_topic=True) == 0


@pytest.mark.parametrize(
    "formula",
    [
        lambda rate: polling.empty_share(rate, 5.0, jitter=0.2),
        lambda rate: polling.polls_per_message(rate, 5.0),
        lambda rate: polling.stale_share(rate, 5.0, round_trip_s=0.1),
        lambda rate: polling.message_count_error(rate, 500.0, clients=3),
        lambda rate: polling.empty_share_error(rate, 5.0, 500.0, clients=3, shared_topic=True),
        lambda rate: polling.long_wait_mean_s(rate, 25.0, 0.1),
        lambda rate: polling.long_requests_per_s(rate, 25.0, 0.1),
        lambda rate: polling.long_requests_per_message(rate, 25.0, 0.1),
        lambda rate: polling.long_empty_share(rate, 25.0, 0.1),
        lambda rate: polling.long_transits_mean(rate, 25.0, 0.1),
        lambda rate: polling.long_latency_mean_s(rate, 25.0, 0.1),
        lambda rate: polling.long_latency_p95_s(rate, 25.0, 0.1),
        lambda rate: polling.busiest_bin(100 * rate, 60.0),
    ],
)
def test_arrays_in_give_the_same_numbers_out_as_one_by_one(formula) -> None:  # type: ignore[no-untyped-def]
    one_by_one = [formula(float(rate)) for rate in RATES]
    assert all(type(value) is float for value in one_by_one)
    assert formula(RATES).shape == RATES.shape
    assert formula(RATES) == pytest.approx(one_by_one, rel=1e-12)
    assert not np.isnan(formula(RATES)).any()


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda: polling.empty_share(-1, 5),
            "messages_per_s must be a rate per second, 0 or more and finite, got -1",
        ),
        (lambda: polling.empty_share(math.nan, 5), "messages_per_s must be a rate per second"),
        (lambda: polling.empty_share(1, 0), "interval_s must be seconds, above 0 and finite, got 0"),
        (lambda: polling.empty_share(1, np.array([1.0, math.inf])), "interval_s must be seconds"),
        (
            lambda: polling.empty_share(1, 5, jitter=1.5),
            r"jitter is a share: expected 0 to 1, got 1.5 \(0.1 means",
        ),
        (lambda: polling.empty_share(1, 5, jitter=0.1, interval_law="exponential"), "leave it at 0"),
        (
            lambda: polling.empty_share(1, 5, interval_law="gauss"),
            "interval_law must be one of 'constant', 'uniform'",
        ),
        (lambda: polling.period_s(5, -1), "round_trip_s must be seconds, 0 or more"),
        (
            lambda: polling.period_s(5, 1, "fixed"),
            "schedule must be one of 'fixed rate', 'fixed delay', got 'fixed'",
        ),
        (lambda: polling.requests_per_s(-5, 5), "clients must be a number, 0 or more"),
        (lambda: polling.busiest_bin(5, 5, 0), "bin_s must be seconds, above 0"),
        (
            lambda: polling.busiest_bin(5, 5, phases="none"),
            "phases must be one of 'random', 'equal', 'together'",
        ),
        (lambda: polling.long_wait_mean_s(1, 0), "hold_s must be seconds, above 0, got 0"),
        (lambda: polling.long_wait_mean_s(1, math.nan), "hold_s must be seconds"),
        (lambda: polling.message_count_error(1, 0), "horizon_s must be seconds, above 0"),
    ],
)
def test_formulas_refuse_what_is_no_rate_and_no_time(call, sentence: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=sentence):
        call()


def test_words_in_place_of_numbers_are_named() -> None:
    with pytest.raises(TypeError, match="interval_s must be seconds, got 'five'"):
        polling.empty_share(1, "five")
