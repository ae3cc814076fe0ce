"""The storm against its closed forms, against published figures, and against what must hold of any storm."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labsupport.backoff import (
    GRPC,
    NAMED_CLIENTS,
    Decorrelated,
    EqualJitter,
    Exponential,
    Fixed,
    FullJitter,
    PageSample,
    Phoenix,
    Policy,
    RandomFirst,
    SignalR,
    UniformWindow,
)
from labsupport.models import reconnect_closed_forms as closed
from labsupport.models import reconnect_numpy
from labsupport.models.reconnect import (
    Gap,
    Login,
    Outcome,
    RetryAfter,
    Storm,
    StormRun,
    SynDrops,
    gap,
    simulate,
    sup_distance,
)

TEN_THOUSAND = Storm(10_000, 200, 100)
SEEDS = range(5)


@dataclass(frozen=True)
class OneShot(UniformWindow):
    """Tries once in its window, and not again."""

    @property
    def gives_up_after(self) -> int:
        return 1


def mean(name: str, runs: list[StormRun]) -> float:
    return float(np.mean([getattr(run, name) for run in runs]))


# ---- published figures -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "attempts", "t99_s"),
    [
        (PageSample(), 5.2, 122),
        (FullJitter(), 5.4, 58),
        (EqualJitter(), 5.2, 77),
        (Decorrelated(), 4.7, 62),
        (GRPC(), 6.6, 121),
        (Phoenix(), 54, 475),
        (NAMED_CLIENTS["EventSource (Chromium)"], 50.5, 298),
        (UniformWindow(50), 1.0, 50),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Policy) else str(value),
)
def test_ten_thousand_clients_need_what_the_reference_says(
    policy: Policy, attempts: float, t99_s: float
) -> None:
    runs = [simulate(TEN_THOUSAND, policy, seed) for seed in SEEDS]
    assert mean("attempts_per_client", runs) == pytest.approx(attempts, abs=0.051)
    assert mean("t99_s", runs) == pytest.approx(t99_s, abs=1.0)


@pytest.mark.parametrize(
    ("policy", "peak_per_s", "t50_s", "t99_s", "attempts", "t99_after_outage_s"),
    [
        (PageSample(), 201_470, 21.3, 81.0, 4.16, 85),
        (EqualJitter(), 201_260, 13.8, 50.2, 4.16, 76),
        (FullJitter(), 146_750, 10.0, 35.1, 4.11, 59),
        (Decorrelated(), 62_620, 11.0, 30.4, 3.04, 64),
        (RandomFirst(base_s=5), 28_540, 10.0, 33.2, 2.24, 58),
    ],
    ids=["page", "equal", "full", "decorrelated", "random first"],
)
def test_a_hundred_thousand_clients_agree_with_a_model_in_time_bins(
    policy: Policy, peak_per_s: float, t50_s: float, t99_s: float, attempts: float, t99_after_outage_s: float
) -> None:
    """That model had bins of 0.1 s and no queue: a bin admits 500 of 5 000/s, like a queue of about 500."""
    run = simulate(Storm(100_000, 5_000, 500), policy, seed=1)
    assert run.peak_attempts_per_s == pytest.approx(peak_per_s, rel=0.05)
    assert run.t50_s == pytest.approx(t50_s, rel=0.05)
    assert run.t99_s == pytest.approx(t99_s, rel=0.05)
    assert run.attempts_per_client == pytest.approx(attempts, rel=0.03)
    later = simulate(Storm(100_000, 5_000, 500, outage_s=30), policy, seed=1)
    assert later.t99_s == pytest.approx(t99_after_outage_s, rel=0.02)


# ---- closed forms ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("clients", "accepts_per_s", "queue", "delay_s"),
    [
        (10_000, 200, 100, 3.0),
        (1000, 20, 100, 2.0),
        (1000, 20, 7, 0.5),
        (1003, 10, 40, 1.0),
        (5, 10, 40, 1.0),
    ],
)
def test_a_fixed_delay_without_jitter_makes_exactly_the_rounds_of_the_formula(
    clients: int, accepts_per_s: float, queue: int, delay_s: float
) -> None:
    form = closed.synchronised_rounds(clients, accepts_per_s, queue, delay_s)
    run = simulate(Storm(clients, accepts_per_s, queue, first_at_once=True), Fixed(delay_s), seed=0)
    assert run.attempts == form.attempts
    assert len(np.unique(run.arrival_times_ns)) == form.rounds
    assert run.attempt_times_s[-1] == form.last_round_s


def test_the_rounds_of_chromiums_event_source_cost_half_a_million_attempts() -> None:
    assert closed.synchronised_rounds(10_000, 200, 100, 3.0) == (100, 505_000, 297.0)
    n, q, p = 10_000, 100, 100
    assert n + (n - q) ** 2 / (2 * p) + (n - q) / 2 == 505_000
    with pytest.raises(ValueError, match="whole number"):
        closed.synchronised_rounds(100, 3, 10, 0.5)


@pytest.mark.parametrize("window_s", [10.0, 20.0, 40.0])
def test_a_window_that_is_too_short_refuses_as_many_as_the_formula_says(window_s: float) -> None:
    lost = [simulate(TEN_THOUSAND, OneShot(window_s), seed).lost_clients for seed in range(20)]
    expected = closed.window_refused(10_000, 200, 100, window_s)
    assert min(lost) >= expected, "the queue has to fill first"
    assert np.mean(lost) == pytest.approx(expected, abs=12)


def test_no_draw_saves_a_window_below_the_bound_and_a_longer_one_refuses_next_to_nobody() -> None:
    bound_s = closed.window_needed_s(10_000, 200, 100)
    assert bound_s == 49.5
    assert closed.window_refused(10_000, 200, 100, bound_s) == 0
    short, just, longer = (
        np.mean([simulate(TEN_THOUSAND, OneShot(bound_s + more), seed).lost_clients for seed in range(60)])
        for more in (-1.0, 0.5, 1.5)
    )
    assert short > 200
    assert 5 < just < 40, "W = N/C: two in a thousand"
    assert longer < 5


def test_the_pages_formula_comes_in_waves_with_nobody_between_them() -> None:
    assert [closed.page_wave(k).idle_after_s for k in (1, 2, 3, 4)] == [
        0.5 * 2**k + 0.5 for k in (1, 2, 3, 4)
    ]
    times_s = simulate(TEN_THOUSAND, PageSample(), seed=3).attempt_times_s
    for number in (1, 2, 3, 4, 5):
        starts_s, ends_s, idle_s = closed.page_wave(number)
        between = (times_s > ends_s) & (times_s < ends_s + idle_s)
        assert not between.any(), f"after wave {number}"
        assert ((times_s >= starts_s) & (times_s <= ends_s)).any()


def test_under_the_pages_formula_less_than_half_of_the_server_is_used() -> None:
    run = simulate(TEN_THOUSAND, PageSample(), seed=3)
    assert run.utilisation(1, 31) < 0.5, "until the cap"
    assert run.utilisation() < 0.5
    assert simulate(TEN_THOUSAND, FullJitter(), seed=3).utilisation() > 0.7


def test_the_first_wave_is_the_crowd_over_its_window() -> None:
    storm = Storm(100_000, 1000, 10)
    for policy, window_s in ((PageSample(), 0.5), (UniformWindow(5), 5)):
        run = simulate(storm, OneShot(5) if window_s == 5 else policy, seed=1)
        first = run.arrival_times_ns[run.arrival_attempt == 0] / 1e9
        peak = 10 * np.histogram(first, np.arange(0, 20, 0.1))[0].max()
        assert peak == pytest.approx(closed.first_wave_per_s(100_000, window_s), rel=0.1)


def test_nobody_beats_the_lower_bound() -> None:
    for storm in (TEN_THOUSAND, Storm(1000, 100, 5000, 7.0), Storm(500, 100, 30, login=Login(20, 40))):
        for policy in (FullJitter(), UniformWindow(1), Fixed(0.5)):
            run = simulate(storm, policy, seed=1)
            assert run.t100_s >= run.lower_bound_s - 1e-9
    assert closed.lower_bound_s(10_000, 200, 5) == 55 == replace(TEN_THOUSAND, outage_s=5).lower_bound_s
    best = simulate(Storm(1000, 100, 5000, first_at_once=True), Fixed(1), seed=1)
    assert best.t100_s == best.lower_bound_s == 10, "who takes all into the queue reaches it"


# ---- ways to say no ----------------------------------------------------------------------------------------


def test_a_server_that_names_the_window_spares_the_crowd_half_of_its_attempts() -> None:
    plain = simulate(TEN_THOUSAND, FullJitter(), seed=2)
    told = simulate(replace(TEN_THOUSAND, admission=RetryAfter(50)), FullJitter(), seed=2)
    instead = simulate(replace(TEN_THOUSAND, admission=RetryAfter(50, "instead")), FullJitter(), seed=2)
    for run in (told, instead):
        assert run.attempts_per_client < 0.6 * plain.attempts_per_client
    assert instead.t99_s <= told.t99_s


def test_nobody_is_told_anything_while_the_server_is_down() -> None:
    down = Storm(200, 1e6, 200, outage_s=20)
    told = replace(down, admission=RetryAfter(1000))
    assert (
        sup_distance(simulate(down, FullJitter()).connected_at_s, simulate(told, FullJitter()).connected_at_s)
        == 0
    )


def test_behind_a_slow_login_the_accept_queue_does_work_that_is_thrown_away() -> None:
    run = simulate(Storm(2000, 400, 100, login=Login(50, 20)), FullJitter(), seed=1)
    outcomes = run.outcomes()
    assert outcomes["CONNECTED"] == 2000
    assert outcomes["TURNED_AWAY"] > 500
    assert len(run.accepted_ns) == outcomes["CONNECTED"] + outcomes["TURNED_AWAY"]
    assert run.lower_bound_s == 40
    assert run.t100_s > 40


def test_a_dropped_syn_costs_one_three_or_seven_seconds_where_a_refusal_costs_nothing() -> None:
    run = simulate(Storm(50, 2, 1, first_at_once=True, syn_drops=SynDrops(10)), Fixed(100), seed=0)
    mine = run.arrival_times_ns[run.arrival_client == 49] / 1e9
    assert mine[:5].tolist() == [0, 1, 3, 7, 110], "at 15 s the attempt is over; its failure counts from 10 s"
    assert run.attempts_of_client[49] < np.count_nonzero(run.arrival_client == 49)
    assert SynDrops(0.5).offsets_ns == (0,)
    assert SynDrops(200).offsets_ns[-1] == 63_000_000_000


def test_clients_whose_policy_gives_up_are_lost_and_counted() -> None:
    run = simulate(Storm(1000, 10, 10), SignalR(), seed=1)
    assert run.lost_clients == np.isinf(run.connected_at_s).sum() > 900
    assert run.outcomes()["CONNECTED"] + run.lost_clients == 1000
    assert run.attempts_of_client.max() == 4
    assert run.t99_s == math.inf
    assert "gave up" in run.summary()
    nobody = simulate(Storm(10, 10, 10, outage_s=100), SignalR(), seed=1)
    assert nobody.lost_clients == 10
    assert math.isnan(nobody.utilisation())
    assert "too few" in nobody.summary()


def test_an_attempt_that_would_come_after_eleven_days_is_not_made() -> None:
    for engine in ("simpy", "numpy"):
        run = simulate(Storm(30, 10, 2), Exponential(base_s=600_000, cap_s=math.inf), 1, engine)
        assert (run.attempts, run.lost_clients) == (30, 28)


# ---- what must hold of any storm ---------------------------------------------------------------------------


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    policy=st.sampled_from(
        [PageSample(), FullJitter(), Decorrelated(), UniformWindow(3), SignalR(), Fixed(1)]
    ),
    clients=st.integers(1, 400),
    accepts_per_s=st.sampled_from([7.0, 40.0, 1000.0]),
    accept_queue=st.integers(1, 30),
    outage_s=st.sampled_from([0.0, 2.5]),
    spread_s=st.sampled_from([0.0, 0.7]),
    login=st.sampled_from([None, Login(20.0, 3)]),
    syn_drops=st.sampled_from([None, SynDrops(4.0)]),
    seed=st.integers(0, 1000),
)
def test_what_holds_of_any_storm(policy: Policy, seed: int, **given_storm: object) -> None:
    storm = Storm(**given_storm)  # type: ignore[arg-type]
    run = simulate(storm, policy, seed)
    service_s = round(1e9 / storm.accepts_per_s) / 1e9
    # Nobody is accepted beyond capacity, in any window: accepts are at least a service apart.
    assert np.all(np.diff(run.accepted_ns / 1e9) >= service_s - 1e-9)
    assert not len(run.accepted_ns) or run.accepted_ns[0] / 1e9 >= storm.outage_s + service_s - 1e-9
    # Nobody is connected before it came, and nobody waits longer than the queues are.
    came = run.arrival_outcome == Outcome.CONNECTED
    waited_s = run.connected_at_s[run.arrival_client[came]] - run.attempt_times_s[came]
    longest_s = storm.accept_queue * service_s + (storm.login.queue / storm.login.per_s if storm.login else 0)
    assert np.all((waited_s >= service_s - 1e-9) & (waited_s <= longest_s + 1e-6))
    # Attempts conserve: each ends in one way, and each client is connected once, or lost.
    outcomes = run.outcomes()
    assert run.attempts == len(run.arrival_times_ns) - outcomes.get("DROPPED", 0)
    assert outcomes.get("CONNECTED", 0) + run.lost_clients == storm.clients
    failed = run.attempts - outcomes.get("CONNECTED", 0)
    assert failed == sum(outcomes.get(name, 0) for name in ("DOWN", "REFUSED", "TIMED_OUT", "TURNED_AWAY"))
    # Arrivals are in order, and the connected share never falls.
    order = np.lexsort((run.arrival_client, run.arrival_times_ns))
    assert np.array_equal(order, np.arange(len(order)))
    share = run.connected_share(np.linspace(0, 100, 400))
    assert np.all(np.diff(share) >= 0)
    # The same seed gives the same bytes.
    assert simulate(storm, policy, seed).arrival_times_ns.tobytes() == run.arrival_times_ns.tobytes()


def test_more_clients_do_not_change_the_draws_of_the_others() -> None:
    few, many = (simulate(Storm(n, 1e6, 1000, outage_s=9), FullJitter(), 4) for n in (50, 500))
    assert few.connected_at_s.tolist() == pytest.approx(many.connected_at_s[:50].tolist(), abs=1e-3)


def test_the_spread_helps_who_has_no_jitter_and_hardly_touches_who_has() -> None:
    def t99_s(policy: Policy, spread_s: float) -> float:
        return simulate(replace(TEN_THOUSAND, spread_s=spread_s), policy, seed=1).t99_s

    assert t99_s(Fixed(3), 1.0) < 0.25 * t99_s(Fixed(3), 0.0)
    assert t99_s(FullJitter(), 1.0) == pytest.approx(t99_s(FullJitter(), 0.0), rel=0.05)


# ---- results and their comparison --------------------------------------------------------------------------


def test_the_figures_of_a_small_storm_are_those_that_one_counts_by_hand() -> None:
    run = simulate(Storm(10, 1, 2, first_at_once=True), Fixed(2), seed=3)
    assert run.connected_at_s.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    assert (run.attempts, run.attempts_per_client) == (30, 3.0)
    assert run.attempts_of_client.tolist() == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert (run.peak_attempts_in_100ms, run.peak_attempts_in_1s, run.peak_attempts_per_s) == (10, 10, 100.0)
    assert run.busiest_bin(4.0) == 18
    assert (run.t50_s, run.t90_s, run.t99_s, run.t100_s) == (5, 9, 10, 10)
    assert (run.time_until(0), run.connected_share(4.5)) == (0.0, 0.4)
    assert (run.utilisation(), run.utilisation(5, 20)) == (1.0, pytest.approx(1 / 3))
    assert run.summary() == (
        "10 clients made 30 attempts (3.0 each), at worst 10 in a second. Connected: half of them by 5.0 s, "
        "99 of 100 by 10.0 s, all by 10.0 s (no policy could beat 10.0 s)."
    )


def test_a_run_draws_itself_with_units_and_a_finding() -> None:
    from matplotlib import pyplot as plt

    ax = simulate(Storm(100, 10, 5), FullJitter(), seed=1).plot()
    assert "seconds" in ax.get_xlabel()
    assert "%" in ax.get_ylabel()
    assert "99 of 100 are back after" in (
        ax.get_title() or ax.get_title("left")
    )  # where the style in use puts it
    assert ax.lines[0].get_ydata()[-1] == 100
    plt.close("all")


def test_the_distance_of_two_curves_is_the_largest_step_between_them() -> None:
    assert sup_distance([1, 2, 3, 4], [1, 2, 3, 4]) == 0
    assert sup_distance([1, 2, 3, 4], [1, 2, 3, math.inf]) == 0.25
    assert sup_distance([1, 2, 3, 4], [1, 2, 3, math.nan]) == 0.25
    assert sup_distance([1, 1], [2, 2, 2]) == 1.0
    assert sup_distance([1, 2, 3, 4], [1.5, 2.5]) == 0.5
    assert sup_distance([math.inf], [math.nan]) == 0.0
    with pytest.raises(ValueError, match="one element per client"):
        sup_distance([], [1.0])


def test_the_gap_names_what_a_measured_storm_does_differently() -> None:
    run = simulate(Storm(1000, 100, 20), FullJitter(), seed=1)
    nothing = gap(run, run.connected_at_s, run.attempts_of_client)
    assert (nothing.sup_distance, nothing.attempts_error, nothing.t99_error) == (0, 0, 0)
    slower = gap(run, 1.1 * run.connected_at_s, 1.2 * run.attempts_per_client)
    assert slower.attempts_error == pytest.approx(0.2)
    assert slower.t99_error == pytest.approx(0.1)
    assert 0.01 < slower.sup_distance < 0.2
    assert "+20.0 %" in slower.summary()
    lost = gap(run, [math.inf] * 10, 3.0)
    assert lost.sup_distance == 1.0
    assert math.isnan(lost.t99_error)
    assert isinstance(lost, Gap)


# ---- what is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Storm(0, 1, 1), "clients must be a whole number from 1 up"),
        (lambda: Storm(1, 0, 1), "accepts_per_s must be a rate per second"),
        (lambda: Storm(1, 1e9, 1), "at most 1e"),
        (lambda: Storm(1, 1, 0), "accept_queue must be a whole number from 1 up"),
        (lambda: Storm(1, 1, 1, -1), "outage_s must be seconds"),
        (lambda: Storm(1, 1, 1, 900_000), "less than half"),
        (lambda: SynDrops(0), "connect_timeout_s"),
        (lambda: RetryAfter(5, "never"), "one of 'at least', 'instead'"),
        (lambda: Login(10, 0), "Login: queue"),
        (lambda: simulate(Storm(1, 1, 1), Fixed(1), engine="c"), "one of 'simpy', 'numpy'"),
        (lambda: simulate(Storm(5, 1, 1), Fixed(0)), "never waits"),
        (lambda: simulate(Storm(5, 1, 1), UniformWindow(0), engine="simpy"), "never waits"),
    ],
)
def test_what_makes_no_storm_is_refused_with_a_sentence(make: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()  # type: ignore[operator]


def test_a_storm_that_would_fill_the_memory_ends_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconnect_numpy, "MAX_ARRIVALS", 1000)
    monkeypatch.setattr("labsupport.models.checks.MAX_EVENTS", 1000)
    for engine in ("numpy", "simpy"):
        with pytest.raises(ValueError, match="try fewer clients"):
            simulate(Storm(500, 1, 1), FullJitter(), engine=engine)
