"""Ranges: their laws, their draws, what they do to the answer, and which of them moves it."""

import numpy as np
import pytest

from labsupport.capacity import Costs, Plan, Server, between, plan
from labsupport.capacity.inputs import read


def ranged(seed: int = 20, samples: int = 4_000) -> Plan:
    return plan(
        1_000_000,
        online=between(0.2, 0.6, "last year's peaks"),
        messages_per_room="10/min",
        members=between(20, 200),
        message=between("200 B", "2 KB"),
        server=Server(memory="8 GB", cores=4),
        costs=Costs(process=between("10 KB", "60 KB", "published"), push=between("5 us", "80 us")),
        seed=seed,
        samples=samples,
    )


def test_the_ends_of_a_range_are_its_5_and_95_percent_quantiles_and_its_middle_the_median() -> None:
    one = read("message", between("200 B", "2 KB"))
    drawn = one.draw(20, 200_000)
    assert np.percentile(drawn, [5, 50, 95]) == pytest.approx([200, 200 * 10**0.5, 2_000], rel=0.02)
    assert one.mid == pytest.approx(200 * 10**0.5)
    assert np.log(drawn).mean() == pytest.approx(
        np.log(one.mid), abs=0.01
    )  # lognormal: symmetric in the logarithm


def test_a_share_stays_a_share() -> None:
    one = read("online", between(0.5, 0.99))
    drawn = one.draw(20, 200_000)
    assert 0 < drawn.min() < drawn.max() < 1
    assert np.percentile(drawn, [5, 95]) == pytest.approx([0.5, 0.99], rel=0.01)


def test_the_same_seed_gives_the_same_bytes_and_another_one_does_not() -> None:
    a, b, other = ranged(), ranged(), ranged(seed=21)
    assert a.spread.servers.tobytes() == b.spread.servers.tobytes()
    assert a.summary() == b.summary()
    assert a.spread.servers.tobytes() != other.spread.servers.tobytes()


def test_one_more_range_moves_no_other_inputs_draws() -> None:
    alone = read("message", between("200 B", "2 KB")).draw(20, 100)
    made = plan(1_000, message=between("200 B", "2 KB"), online=between(0.1, 0.2), samples=100)
    assert (made.inputs["message"].draw(20, 100) == alone).all()


def test_the_spread_holds_the_quantiles_of_its_draws_and_how_often_each_limit_decides() -> None:
    spread = ranged().spread
    assert len(spread.servers) == 4_000
    assert spread.p5 <= spread.p50 <= spread.p95
    assert np.mean(spread.servers <= spread.p95) >= 0.95 > np.mean(spread.servers < spread.p95)
    assert sum(spread.binds.values()) == pytest.approx(1)
    assert {"memory", "CPU"} <= set(spread.binds)  # which of them decides is not sure here


def test_the_spread_is_that_of_plans_made_one_by_one() -> None:
    made = ranged(samples=100)
    drawn = {one.name: one.draw(20, 100) for one in made.ranged}
    for i in (0, 41, 99):
        alone = plan(
            1_000_000,
            online=float(drawn["online"][i]),
            messages_per_room="10/min",
            members=float(drawn["members"][i]),
            message=f"{drawn['message'][i]:.15f} B",
            server=Server(memory="8 GB", cores=4),
            costs=Costs(process=f"{drawn['process'][i]:.12f} B", push=f"{drawn['push'][i]:.18f} s"),
        )
        assert alone.servers == made.spread.servers[i]


def test_a_plan_without_ranges_has_a_spread_of_one() -> None:
    made = plan(1_000_000)
    assert (made.spread.p5, made.spread.p95) == (made.servers, made.servers)
    assert made.drivers == ()
    assert made.spread.binds == {made.binding: 1.0}
    assert "draws" not in made.summary()


def test_the_driver_that_moves_the_plan_most_comes_first_and_is_named_in_the_summary() -> None:
    made = ranged()
    first, *others = made.drivers
    assert first.name == "process"
    assert first.swing == max(d.swing for d in made.drivers)
    assert first.rank_correlation > max(abs(d.rank_correlation) for d in others)
    assert f"What moves it most is {first.label}: {first.servers_low} servers" in made.summary()


def test_a_drivers_ends_are_the_plans_with_that_input_at_its_ends() -> None:
    made = plan(3_000_000, costs=Costs(process=between("10 KB", "40 KB")), server=Server(memory="8 GB"))
    (driver,) = made.drivers
    low, high = (
        plan(3_000_000, costs=Costs(process=end), server=Server(memory="8 GB")).servers
        for end in ("10 KB", "40 KB")
    )
    assert (driver.servers_low, driver.servers_high) == (low, high)
    assert low < made.servers < high
    assert driver.rank_correlation == pytest.approx(
        1, abs=1e-3
    )  # but for draws in which another limit decides


def test_a_longer_pause_between_pings_ranks_against_the_servers() -> None:
    made = plan(3_000_000, heartbeat=between("1 s", "30 s"), costs=Costs(ping="50 us"))
    (driver,) = made.drivers
    assert driver.servers_low > driver.servers_high
    assert driver.rank_correlation < -0.9


def test_ranges_that_change_nothing_are_said_to_change_nothing() -> None:
    made = plan(1_000, message=between("100 B", "200 B"))
    assert "Anywhere in the ranges it is 2 servers." in made.summary()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"message": between("2 KB", "200 B")}, "takes the lower end first"),
        ({"message": between("2 KB", "2 KB")}, "takes the lower end first"),
        ({"costs": Costs(tls=between("0 B", "40 KB"))}, "must lie above 0"),
        ({"online": between(0.5, 1.0)}, "must lie above 0 and below 1"),
        ({"message": between("200", "2 KB")}, "the unit is missing"),
        ({"members": between(0.2, 5)}, "at least 1"),
    ],
)
def test_a_range_that_is_none_is_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        plan(1_000, **given)  # type: ignore[arg-type]


def test_a_curve_says_what_decides_along_the_way_and_passes_through_the_plan() -> None:
    made = plan(1_000_000, messages_per_room="1/s", members=100)
    curve = made.curve()
    assert (np.diff(curve.servers) >= 0).all()
    assert curve.binding[0] == "reconnect"
    assert curve.binding[-1] == made.binding == "CPU"
    assert made.curve([1_000_000]).servers[0] == made.servers


def test_a_region_is_enough_where_plans_made_one_by_one_need_no_more() -> None:
    made = plan(1_000_000, messages_per_room="1/s", members=100)
    region = made.region(users=[100_000, 1_000_000, 20_000_000], per_s=[0.01, 1.0, 5.0])
    for row, rate in enumerate(("0.01/s", "1/s", "5/s")):
        for column, users in enumerate((100_000, 1_000_000, 20_000_000)):
            alone = plan(users, messages_per_room=rate, members=100)
            assert (region.exact[row, column] <= made.servers) == (alone.servers <= made.servers)
            positive = [name for name, margin in region.margins.items() if margin[row, column] > 0]
            assert positive == [alone.binding]
