"""The formulas against the values that were worked out by hand, and against brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labsupport.capacity import closed_forms as forms
from labsupport.capacity import servers_needed


def test_ten_million_at_320_000_are_32_servers_at_335_544_are_30_and_at_100_000_are_100() -> None:
    assert servers_needed(10_000_000, 320_000) == 32
    assert servers_needed(10_000_000, 335_544) == 30
    assert servers_needed(10_000_000, 100_000) == 100
    assert servers_needed(10_000_000, 320_000, use=0.5, margin=1.2) == 75


def test_a_million_every_25_s_are_40_000_pings_and_every_30_s_33_333() -> None:
    assert forms.pings_per_s(1_000_000, 25) == 40_000
    assert forms.pings_per_s(1_000_000, 25, pongs=True) == 80_000
    assert forms.pings_per_s(1_000_000, 30) == pytest.approx(33_333, abs=0.5)


def test_broadcasts_of_25_kb_to_10_000_and_200_b_to_ten_million() -> None:
    assert forms.broadcast_bit_s(10_000, 25e3, 1) == 2e9
    assert forms.broadcast_bit_s(10_000_000, 200, 1) == 16e9
    assert forms.broadcast_bit_s(10_000, 4 * 125, 1) == 40e6  # four changed gauges instead of all 200


@pytest.mark.parametrize(("each_kib", "gib"), [(14.7, 14.0), (50, 47.7), (64, 61), (248, 237)])
def test_a_million_connections_in_gib(each_kib: float, gib: float) -> None:
    needed = forms.memory_needed(1_000_000, 0, each_kib * 1024)
    assert needed / 2**30 == pytest.approx(gib, rel=0.003)


def test_50_000_states_of_200_kb_are_10_gb() -> None:
    assert forms.memory_needed(50_000, 0, 200e3) == 10e9


def test_a_proxy_needs_an_address_for_every_28_232_connections() -> None:
    assert [int(forms.source_addresses(n)) for n in (1, 28_232, 28_233, 1_000_000)] == [1, 1, 2, 36]


def test_a_topic_reaches_as_many_servers_as_throwing_its_subscribers_at_random_says() -> None:
    rng = np.random.default_rng(20)
    for servers, subscribers in ((10, 5), (32, 50), (100, 3)):
        thrown = rng.integers(servers, size=(20_000, subscribers))
        reached = np.mean([len(set(row)) for row in thrown.tolist()])
        assert forms.servers_reached(servers, subscribers) == pytest.approx(reached, rel=0.01)
    assert forms.servers_reached(1, 7) == 1
    assert forms.servers_reached(1e6, 1) == pytest.approx(1)


def test_the_cpu_search_finds_the_servers_that_just_suffice() -> None:
    divided, repeated, subscribers, cores = 40.0, 3.0, 12.0, 4.0
    servers = float(forms.servers_for_cpu(divided, repeated, subscribers, cores))
    busy = divided / servers + repeated * forms.servers_reached(servers, subscribers) / servers
    assert busy == pytest.approx(cores)
    assert forms.servers_for_cpu(3.0, 1.0, 50.0, 8.0) == pytest.approx(3 / 7)  # one server hears all


def test_without_a_broker_the_cpu_is_simply_divided() -> None:
    assert forms.servers_for_cpu(12.0, 0.0, 50.0, 8.0) == pytest.approx(1.5)


def test_the_survivors_of_the_reconnect_limit_just_make_it() -> None:
    servers = float(forms.servers_to_take_over(1_000_000, 2_000, 5))
    assert servers * (servers - 1) * 2_000 * 5 == pytest.approx(1_000_000)
    assert forms.take_over_s(1_000_000, servers, 2_000) == pytest.approx(5)


def test_a_single_server_has_no_survivor() -> None:
    assert forms.servers_to_take_over(10, 1_000, 30) == 2
    assert forms.take_over_s(10, 1, 1_000) == np.inf


def test_a_silent_long_poll_comes_once_in_a_hold_and_a_round_trip() -> None:
    assert forms.long_polls_per_s(0.0, 25, 0.05) == pytest.approx(1 / 25.05)
    assert forms.long_polls_per_s(1_000.0, 25, 0.05) == pytest.approx(1 / 0.05, rel=0.01)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.integers(1, 10**9))
def test_floating_point_never_adds_a_server(servers: int) -> None:
    assert forms.whole(servers * 0.1 / 0.1) == servers
    assert forms.whole(servers + 0.4) == servers + 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [((-1, 5), "users must be"), ((5, 0), "per_server must be"), ((True, 5), "users must be")],
)
def test_servers_needed_refuses_what_is_no_amount(arguments: tuple[float, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        servers_needed(*arguments)


def test_a_use_above_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"use is a share.*0\.6 means 60 %"):
        servers_needed(10, 5, use=60)
