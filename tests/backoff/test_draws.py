"""Counter-based draws: uniform, apart from each other, the same everywhere; arithmetic with equal bits."""

import math

import numpy as np
import pytest

from labsupport import draws
from labsupport.draws import draw

CHI_SQUARE_999_OF_99 = 148.2  # 99.9 % quantile with 99 degrees of freedom (tables); the seeds are fixed


def chi_square(values: np.ndarray, bins: int = 100) -> float:
    counts = np.histogram(values, bins, (0.0, 1.0))[0]
    expected = len(values) / bins
    return float(((counts - expected) ** 2 / expected).sum())


def output(seed: int, n: int) -> int:
    """Output number n of SplitMix64, written again from its definition."""
    z = (seed + (n + 1) * 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


def test_known_draws_never_change() -> None:
    """Committed notebooks hold numbers that come from these."""
    assert draw(0, 0, 0) == 0.1296456182997474
    assert draw(20, 7, 3) == 0.689203346959612
    assert draw(20, 7, 3, draws.SPREAD) == 0.7276102273708904


def test_a_draw_is_splitmix64_within_splitmix64() -> None:
    nested = output(output(output(output(20, 0), draws.SPREAD), 7), 3)
    assert draw(20, 7, 3, draws.SPREAD) == (nested >> 11) / 2**53


def test_the_finaliser_is_the_published_splitmix64() -> None:
    """First outputs of SplitMix64 from seed 1234567, as published with Vigna's splitmix64.c test vectors."""
    state, outputs = 1234567, []
    for _ in range(3):
        state = (state + 0x9E3779B97F4A7C15) & (2**64 - 1)
        outputs.append(draws._mix(state))
    assert outputs == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_arrays_hold_the_same_bits_as_single_draws() -> None:
    clients, attempts = np.arange(200)[:, None], np.arange(50)
    for seed in (0, 1, 2**63, -5):
        array = draws.draws(seed, clients, attempts)
        assert array.shape == (200, 50)
        single = [[draw(seed, c, a) for a in range(50)] for c in range(200)]
        assert array.tobytes() == np.array(single).tobytes()
    assert draws.draws(3, 4, 5) == draw(3, 4, 5)


def test_a_million_draws_do_not_collide_and_stay_below_one() -> None:
    values = draws.draws(7, np.arange(1000)[:, None], np.arange(1000)).ravel()
    assert len(np.unique(values)) == 1_000_000
    assert values.min() >= 0.0
    assert values.max() < 1.0


def test_lanes_and_neighbouring_seeds_do_not_share_draws() -> None:
    blocks = [draws.draws(seed, np.arange(100_000), 0, lane) for seed in (0, 1, 2) for lane in range(3)]
    assert len(np.unique(np.concatenate(blocks))) == 900_000


@pytest.mark.parametrize("seed", [0, 1, 20, 2**40])
def test_draws_are_uniform_across_clients_across_attempts_and_across_seeds(seed: int) -> None:
    across_seeds = np.array([draw(seed + k, 3, 1) for k in range(20_000)])
    for values in (
        draws.draws(seed, np.arange(100_000), 0),
        draws.draws(seed, 0, np.arange(100_000)),
        draws.draws(seed, np.arange(300)[:, None], np.arange(300)).ravel(),
        across_seeds,
    ):
        assert chi_square(values) < CHI_SQUARE_999_OF_99


@pytest.mark.parametrize("other", ["next client", "next attempt", "next seed", "next lane"])
def test_neighbours_are_independent(other: str) -> None:
    clients = np.arange(100_000)
    here = draws.draws(11, clients, 4)
    there = {
        "next client": lambda: draws.draws(11, clients + 1, 4),
        "next attempt": lambda: draws.draws(11, clients, 5),
        "next seed": lambda: draws.draws(12, clients, 4),
        "next lane": lambda: draws.draws(11, clients, 4, draws.ONCE),
    }[other]()
    cells = np.floor(here * 10) + 10 * np.floor(there * 10)  # a 10 × 10 table of pairs
    assert chi_square((cells + 0.5) / 100) < CHI_SQUARE_999_OF_99
    assert abs(np.corrcoef(here, there)[0, 1]) < 4 / math.sqrt(100_000)  # 4 standard errors


def test_half_of_the_bits_flip_when_one_bit_of_the_address_does() -> None:
    keys = draws.stream(5, np.arange(2000, dtype=np.uint64))
    for bit in range(11):
        other = draws.stream(5, np.arange(2000, dtype=np.uint64) ^ np.uint64(1 << bit))
        flipped = np.unpackbits((keys ^ other).view(np.uint8)).mean()
        assert flipped == pytest.approx(0.5, abs=0.01)


def test_exp2_and_tanh_are_true_to_the_last_few_bits_and_alike_for_arrays() -> None:
    x = np.linspace(0.0, 60.0, 20_001)
    mine = draws.exp2(x)
    assert np.max(np.abs(mine / np.exp2(x) - 1)) < 1e-15
    assert np.max(np.abs(draws.tanh(x / 4) - np.tanh(x / 4))) < 1e-15
    assert mine.tobytes() == np.array([draws.exp2(float(v)) for v in x]).tobytes()
    assert draws.tanh(x).tobytes() == np.array([draws.tanh(float(v)) for v in x]).tobytes()


def test_growth_doubles_exactly_and_stops_at_the_cap() -> None:
    assert draws.growth(0.1, 2.0, 5.0) == (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0)
    assert draws.growth(1.0, 2.0, math.inf)[60] == 2.0**60
    assert draws.growth(7.0, 2.0, 5.0) == (5.0,)
