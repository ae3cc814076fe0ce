"""A chat's bill: each figure against counting or published arithmetic, and ranges that go through it."""

from typing import Any

import numpy as np
import pytest

from labsupport.capacity import Server, UnitError, between, plan
from labsupport.capacity import chat as chats
from labsupport.capacity.chat import ChatBill, chat


def bill(*, users: float = 1_000_000, connections: float = 100_000, spare: int = 1, **more: Any) -> ChatBill:
    made = plan(
        users, messages_per_user="1/min", members=20, message="300 B", transport="websocket",
        heartbeat="25 s",
        server=Server(memory="32 GB", cores=16, connections=connections), use=1.0, spare=spare, samples=400,
    )  # fmt: skip
    return chat(made, **more)


def test_subscriptions_and_what_a_loss_adds_agree_with_members_thrown_at_gateways() -> None:
    rng = np.random.default_rng(20)
    rooms, gateways, members = 4_000, 7, 6
    at = rng.integers(gateways, size=(rooms, members))
    moved = np.where(at == 0, rng.integers(1, gateways, size=at.shape), at)  # gateway 0 dies

    def held(places: Any) -> Any:
        return np.array([[(row == one).any() for one in range(gateways)] for row in places])

    before, after = held(at), held(moved)
    assert before.sum() == pytest.approx(chats.subscriptions(rooms, gateways, members), rel=0.02)
    assert (after & ~before).sum() == pytest.approx(
        chats.new_subscriptions(rooms, gateways, members), rel=0.03
    )


def test_two_gateways_leave_one_that_lacks_only_the_rooms_of_the_other_alone() -> None:
    assert chats.new_subscriptions(1_000, 2, 1) == pytest.approx(500)
    assert chats.new_subscriptions(1_000, 2, 3) == pytest.approx(1_000 / 8)


def test_where_nobody_survives_nothing_is_subscribed_and_nobody_comes_back() -> None:
    assert chats.new_subscriptions(1_000, 1, 5) == 0
    made = plan(1_000, messages_per_user="1/min", members=20, spare=0, reconnect_within=None, samples=100)
    alone = chat(made)
    assert alone["gateways"].value == 1
    assert alone["new subscriptions"].value == 0
    assert np.isinf(alone["back at best after"].value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gateways", 11), ("messages written", 1e6 / 60), ("messages pushed", 1e6 / 60 * 20),
        ("rooms", 250_000), ("presence writes", 1e6 / 30 + 1e4 / 6), ("presence pushes", 1e5 / 3),
        ("ghosts look online", 60), ("stored a day", 1e6 / 60 * 0.4 * 86_400 * 400 * 3),
        ("a room's day", 1e6 / 60 * 0.4 * 86_400 * 400 / 250_000), ("clients of a lost gateway", 1e6 / 11),
        ("rejoins", 5e6 / 11),
    ],
)  # fmt: skip
def test_a_million_users_in_round_numbers(name: str, value: float) -> None:
    assert bill()[name].value == pytest.approx(value)


def test_beats_alone_are_33_333_writes_a_second_for_a_million() -> None:
    assert bill(session="100000 h")["presence writes"].value == pytest.approx(33_333, abs=1)


def test_a_dead_user_looks_online_for_45_s_with_60_s_to_live_and_60_s_with_75() -> None:
    assert bill(lives="60 s")["ghosts look online"].value == 45
    assert bill()["ghosts look online"].value == 60


def test_the_brokers_figure_and_the_gateways_are_the_plans() -> None:
    one = bill()
    assert one["gateways"].value == one.plan.servers
    assert one["broker sends on"].value == pytest.approx(one.plan.broker_per_s)
    assert one["back at best after"].value == pytest.approx(one.plan.take_over_s)


def test_a_range_of_the_plan_and_one_of_the_chat_both_reach_the_figures_they_belong_to() -> None:
    made = plan(1_000_000, messages_per_user=between("0.5/min", "4/min"), members=20, transport="websocket",
                server=Server(memory="32 GB", cores=16), samples=2_000)  # fmt: skip
    one = chat(made, session=between("10 min", "60 min"))
    written, told, ghosts = one["messages written"], one["presence pushes"], one["ghosts look online"]
    assert (written.low, written.high) == pytest.approx((1e6 / 120, 4e6 / 60), rel=0.1)
    assert told.high / told.low == pytest.approx(6, rel=0.1)
    assert ghosts.low == ghosts.value == ghosts.high
    assert ghosts.text == "60\N{NO-BREAK SPACE}s"
    assert "(" in written.text


def test_the_same_seed_gives_the_same_bill() -> None:
    one, other = (bill(session=between("10 min", "60 min")) for _ in range(2))
    assert one.table() == other.table()


def test_each_line_names_its_arithmetic_with_the_numbers_put_in() -> None:
    said = str(bill()["new subscriptions"]).replace("\N{NO-BREAK SPACE}", " ")
    assert said.startswith("new subscriptions: 250 000 × 10 × ((1 − 1/11)^20 − (1 − 1/10)^20) = ")
    assert len(bill().table()) == len(bill().middle)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"beat": "75 s"}, "must live longer than the time between two beats: expected lives above 75"),
        ({"beat": 30}, "beat must say its unit"),
        ({"copies": 0}, "copies .* must be above 0"),
        ({"row": "1 KiB"}, "is decimal .* is binary"),
        ({"mean": 40}, "a share from 0 to 1"),
    ],
)
def test_an_input_that_cannot_be_is_refused_with_what_to_write(given: dict[str, Any], words: str) -> None:
    with pytest.raises((ValueError, UnitError), match=words):
        bill(**given)


def test_an_unknown_input_and_a_plan_without_rooms_are_refused() -> None:
    with pytest.raises(TypeError, match="knows nothing of 'roms'; it takes rooms, beat"):
        bill(roms=3)
    with pytest.raises(ValueError, match="give the plan members"):
        chat(plan(1_000, members="all"))


def test_a_figure_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(KeyError, match="gateways, messages written"):
        bill()["money"]
