"""A deploy, rehearsed for real and modelled: who comes back when, how often, and what he has lost."""

import asyncio
import math

import numpy as np
import pytest

from labsupport.backoff import Fixed, FullJitter, SignalR
from labsupport.measure.rehearsal import rehearse, rehearse_all
from labsupport.measure.sockets import LoadError
from labsupport.models.rehearsal import Roll, beside, moves, simulate

POLICY = FullJitter(base_s=0.1, cap_s=0.8)
SMALL = {"clients": 60, "servers": 2, "accepts_per_s": 200.0, "accept_queue": 60, "messages_per_s": 20.0}
QUICK = {"drain_s": 0.2, "life_s": 0.4, "seed": 20}


@pytest.fixture(scope="module")
def runs():
    return asyncio.run(rehearse_all(POLICY, **SMALL, **QUICK))


@pytest.fixture(scope="module")
def modelled(runs):
    return {way: simulate(Roll(**run.roll()), POLICY, seed=20) for way, run in runs.items()}


# ---------------------------------------------------------------- real servers, real clients


def test_whoever_resumes_loses_nothing_in_whatever_way_the_servers_are_rolled(runs):
    for run in runs.values():
        assert run.checked_with
        assert run.checked_with.published > 0
        assert len(run.checked_with.followers) == len(run.checked_without.followers) == 30
        assert (run.lost_with_resume, run.duplicated, run.out_of_order) == (0, 0, 0)


def test_whoever_does_not_resume_loses_most_where_all_servers_are_killed(runs):
    lost = {way: run.lost_without_resume for way, run in runs.items()}
    assert lost["at once"] > lost["rotate"]
    assert lost["drain"] > 0
    assert not runs["at once"].checked_without


def test_everybody_is_back_in_the_end_and_each_way_says_how_connections_ended(runs):
    for run in runs.values():
        assert run.connected_share(run.seconds) == 1.0
    assert runs["at once"].moves.min() == 1  # some may be back on a server that is killed a moment later
    assert runs["rotate"].moves.tolist() == [1] * 60
    assert set(runs["at once"].cuts) <= {"closed", "reset"}
    assert set(runs["drain"].cuts) == {"close 1012"}
    assert runs["rotate"].cuts == {"end of its life": 60}


def test_nobody_is_left_out_while_servers_rotate_and_nobody_is_refused(runs):
    run = runs["rotate"]
    assert run.refused == 0
    assert run.attempts == 60
    assert runs["at once"].refused > 0
    assert runs["at once"].mean_away_s > run.mean_away_s


def test_drained_one_after_the_other_many_are_sent_away_more_than_once(runs):
    assert runs["drain"].moves.max() > 1
    assert runs["drain"].moves_per_client > 1.2


def test_the_model_moves_the_same_clients_as_the_real_servers_did(runs, modelled):
    assert modelled["rotate"].moves.tolist() == runs["rotate"].moves.tolist()
    for way in ("at once", "drain"):
        assert modelled[way].moves_per_client == pytest.approx(runs[way].moves_per_client, rel=0.25)


def test_the_model_gets_the_servers_own_times_and_loses_the_rate_times_the_time_away(runs, modelled):
    for way, run in runs.items():
        model = modelled[way]
        assert model.roll.servers == 2
        assert model.lost_without_resume == pytest.approx(20.0 * model.away_s[1::2].sum())
        assert model.lost_with_resume == 0
        assert "lost, resuming" in beside(run, model)
        assert way in run.summary()
        assert way in model.summary()


async def test_what_cannot_be_rehearsed_is_refused_with_what_would_do():
    with pytest.raises(LoadError, match="expected one of at once, drain, rotate, got 'big bang'"):
        await rehearse("big bang", POLICY)
    with pytest.raises(LoadError, match="clients: expected more than 0 and at most 1000, got 5000"):
        await rehearse("drain", POLICY, clients=5_000)
    with pytest.raises(LoadError, match="life_s"):
        await rehearse("rotate", POLICY, life_s=0)
    with pytest.raises(LoadError, match="a client for each of the 3 servers"):
        await rehearse("rotate", POLICY, clients=2)


# ---------------------------------------------------------------- the model alone


def test_servers_drained_in_turn_move_everybody_e_minus_one_times_at_most():
    assert moves("drain", 3) == pytest.approx(19 / 12)
    assert moves("drain", 2) == pytest.approx(1.5)
    assert moves("drain", 10_000) == pytest.approx(math.e - 1, rel=1e-3)
    assert moves("rotate", 3) == moves("at once", 3) == moves("drain", 1) == 1.0


@pytest.mark.parametrize("servers", [2, 3, 5])
def test_the_simulated_drain_moves_as_many_as_the_closed_form_says(servers):
    ends_s = tuple(10.0 * number for number in range(servers))
    back_s = tuple(at_s + 9 for at_s in ends_s)
    roll = Roll("drain", 4_000, 1e6, 10_000, ends_s=ends_s, back_s=back_s)
    run = simulate(roll, POLICY, seed=1)
    assert run.moves_per_client == pytest.approx(moves("drain", servers), rel=0.04)
    assert run.refused == 0
    assert run.on_server[-1] == 0  # the last one is drained when nobody is left to come
    assert sum(run.on_server) == 4_000


def test_killed_at_once_without_jitter_all_knock_in_the_same_moment():
    run = simulate(Roll("at once", 300), Fixed(1.0), seed=1)
    assert run.peak_attempts_in_100ms == 300
    spread = simulate(Roll("at once", 300), FullJitter(1.0, 8.0), seed=1)
    assert spread.peak_attempts_in_100ms < 100


def test_a_rotation_is_a_steady_trickle_of_clients_by_the_length_of_their_lives():
    run = simulate(Roll("rotate", 6_000, 1e6, 10_000, life_s=30.0), POLICY, seed=1)
    assert run.peak_attempts_in_100ms == pytest.approx(6_000 * 0.1 / 30.0, rel=0.8)
    counts = run.attempts_per_bin(1.0)[1]
    assert counts[1:29] == pytest.approx(np.full(28, 200), rel=0.3)
    assert run.mean_away_s < 0.001


def test_a_full_queue_refuses_and_an_empty_one_lets_in_one_after_the_other():
    run = simulate(Roll("at once", 30, 10.0, 1, ends_s=(0.0,), back_s=(0.0,)), Fixed(0.5), seed=1)
    assert run.attempts_per_bin(0.1)[1][5] == 30
    assert run.refused > 0
    ends = np.sort([end_s for _, _, end_s in run.away])
    assert np.diff(ends).min() > 0.099


def test_the_same_seed_gives_the_same_roll():
    first, second = (simulate(Roll("drain", ends_s=(0, 1, 2), back_s=(1, 2, 3)), POLICY, 7) for _ in "ab")
    assert first.away == second.away
    other = simulate(Roll("drain", ends_s=(0, 1, 2), back_s=(1, 2, 3)), POLICY, 8)
    assert other.away != first.away


def test_a_roll_that_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="way must be one of"):
        Roll("sideways")
    with pytest.raises(ValueError, match="two or more to drain"):
        Roll("drain", ends_s=(0.0,), back_s=(1.0,))
    with pytest.raises(ValueError, match="gives up"):
        simulate(Roll("at once"), SignalR())
