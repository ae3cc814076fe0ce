"""A plan against published arithmetic, each limit where it decides, what must never fall, and refusals."""

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labsupport.capacity import Costs, Plan, Server, plan
from labsupport.capacity.quantities import NBSP
from labsupport.profile import REFERENCE, ConnectionBytes, Profile

REFERENCE_PROFILE = Profile.load(REFERENCE)
# the classic exercise: memory alone, no reserve of any kind
BARE: dict[str, Any] = {"use": 1.0, "headroom": 0.0, "spare": 0, "reconnect_within": None}


def slack(memory: str, connection: str) -> Plan:
    costs = Costs(connection=connection, base="0 B")
    return plan(10_000_000, server=Server(memory=memory), costs=costs, profile=REFERENCE_PROFILE, **BARE)


def limit(made: Plan, name: str) -> float:
    return next(one.exact for one in made.limits if one.name == name)


# Published arithmetic


def test_ten_million_sockets_of_50_kb_in_16_gb_take_31_25_servers_so_32() -> None:
    made = slack("16 GB", "50 KB")
    assert limit(made, "memory") == 31.25
    assert (made.servers, made.binding) == (32, "memory")
    assert "10 000 000 / 320 000" in made.table()[0]["arithmetic"].replace(NBSP, " ")


def test_in_binary_sizes_it_is_30() -> None:
    made = slack("16 GiB", "50 KiB")
    assert (made.servers, made.binding) == (30, "memory")
    assert "10 000 000 / 335 544" in made.table()[0]["arithmetic"].replace(NBSP, " ")


def test_a_limit_of_100_000_a_server_makes_it_100() -> None:
    server = Server(memory="16 GB", connections=100_000)
    costs = Costs(connection="50 KB", base="0 B")
    made = plan(10_000_000, server=server, costs=costs, **BARE)
    assert (made.servers, made.binding) == (100, "given limit")


def test_reserves_take_the_classic_answer_from_32_to_59() -> None:
    costs = Costs(connection="50 KB", base="0 B")
    made = plan(10_000_000, server=Server(memory="16 GB"), costs=costs)
    # 16 GB · 0.9 / 50 KB · 0.6 = 172 800 a server: 57.9 → 58, and a spare
    assert [(one.name, one.servers) for one in made.limits][0] == ("memory", 58)
    assert made.servers == 59


def test_cricket_for_ten_million_viewers_is_16_gbit_per_second_of_messages() -> None:
    made = plan(
        10_000_000, messages_per_room="1/s", members="all", message="200 B", costs=Costs(overhead="0 B")
    )
    assert made.load["deliveries_per_s"] == 10_000_000
    assert made.load["published_per_s"] == 1
    assert made.load["out_bit_s"] == 16e9


def test_a_dashboard_of_25_kb_a_second_to_10_000_is_2_gbit_per_second() -> None:
    made = plan(10_000, messages_per_room="1/s", members="all", message="25 KB", costs=Costs(overhead="0 B"))
    assert made.load["out_bit_s"] == 2e9


def test_a_million_connections_pinged_every_25_s_are_40_000_pings_and_with_pongs_80_000() -> None:
    for transport, per_s in (("sse", 40_000), ("websocket", 80_000)):
        assert plan(1_000_000, transport=transport, heartbeat="25 s").load["pings_per_s"] == per_s


def test_ten_thousand_users_asking_every_5_s_are_2_000_polls_and_a_million_200_000() -> None:
    for users, per_s in ((10_000, 2_000), (1_000_000, 200_000)):
        made = plan(users, transport="short polling", poll_interval="5 s", costs=Costs(request="800 B"))
        assert made.load["polls_per_s"] == per_s
    assert made.load["in_bit_s"] == pytest.approx(1.28e9)  # of request heads alone


def test_messages_per_user_and_per_room_tell_the_same_load_two_ways() -> None:
    by_user = plan(60_000, messages_per_user="1/min", members=50)
    by_room = plan(60_000, messages_per_room="50/min", members=50)
    for made in (by_user, by_room):
        assert made.load["published_per_s"] == pytest.approx(1_000)
        assert made.load["deliveries_per_s"] == pytest.approx(50_000)


def test_a_room_is_never_larger_than_those_who_are_online() -> None:
    made = plan(100, online=0.1, messages_per_user="1/s", members=5_000)
    assert made.load["members"] == 10


# Each limit decides somewhere

DECIDES: dict[str, dict[str, Any]] = {
    "memory": {"costs": Costs(process="500 KB")},
    "descriptors": {"server": Server(memory="64 GB", cores=2, descriptors=1_024)},
    "CPU": {"messages_per_room": "1/s", "members": 1_000, "costs": Costs(push="50 us")},
    "network": {"messages_per_room": "1/s", "members": 1_000, "message": "20 KB"},
    "given limit": {"server": Server(connections=50_000)},
    "reconnect": {"reconnect_within": "100 ms"},
    "broker": {"messages_per_user": "1/s", "broker_limit": "100000/s", "brokers": 3},
}


@pytest.mark.parametrize("name", DECIDES)
def test_each_limit_can_be_the_one_that_decides_and_is_named(name: str) -> None:
    made = plan(1_000_000, profile=REFERENCE_PROFILE, **DECIDES[name])
    assert made.binding == name
    assert f"{'the broker' if name == 'broker' else name} decides" in made.summary()


def test_more_servers_only_mean_more_copies_for_a_broker() -> None:
    given: dict[str, Any] = {"messages_per_user": "1/min", "members": 100, "broker_limit": "100000/s"}
    few, many = (plan(1_000_000, spare=k, **given) for k in (1, 50))
    assert few.broker_per_s < many.broker_per_s
    assert few.brokers_needed is not None
    assert many.brokers_needed is not None
    assert few.brokers_needed <= many.brokers_needed
    assert f"{few.brokers_needed} broker" in few.summary()


def test_the_reconnect_limit_counts_the_spares_as_survivors() -> None:
    made = plan(
        1_000_000, reconnect_within="1 s", spare=3, server=Server(cores=2), costs=Costs(accepts="8000/s")
    )
    # S(S − 1) ≥ 1 000 000/(16 000 · 1 s) = 62.5: 9 · 8 = 72
    assert next(one.with_spare for one in made.limits if one.name == "reconnect") == 9
    assert made.take_over_s <= 1


def test_survivors_take_over_in_the_tolerated_time_and_one_server_less_would_not() -> None:
    made = plan(1_000_000, reconnect_within="500 ms", server=Server(cores=2), costs=Costs(accepts="8000/s"))
    assert made.binding == "reconnect"
    n, s = made.load["connections"], made.servers
    assert made.take_over_s <= 0.5 < n / ((s - 1) * (s - 2) * 16_000)


def test_each_server_hears_every_message_of_a_room_that_all_are_in() -> None:
    quiet = plan(10_000, messages_per_room="1/s", members="all", costs=Costs(push="0 us", receive="0 us"))
    loud = plan(
        10_000, messages_per_room="30000/s", members="all", costs=Costs(push="0 us", receive="100 us")
    )
    assert limit(quiet, "CPU") < 1
    # 30 000/s · 100 µs are 3 cores of each server's 8 · 0.6, whatever their number
    assert limit(loud, "CPU") < 1
    drowned = plan(
        10_000, messages_per_room="60000/s", members="all", costs=Costs(push="0 us", receive="100 us")
    )
    assert limit(drowned, "CPU") > 1_000


# What must never fall

AMOUNTS = st.integers(1, 50_000_000)


def servers(**given: Any) -> int:
    changed = {
        "users": 500_000,
        "messages_per_room": "1/s",
        "members": 50,
        "profile": REFERENCE_PROFILE,
    } | given
    return plan(**changed).servers


@settings(derandomize=True, max_examples=60, deadline=None)
@given(AMOUNTS, AMOUNTS)
def test_more_users_never_need_fewer_servers(a: int, b: int) -> None:
    few, many = sorted((a, b))
    assert servers(users=few) <= servers(users=many)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.sampled_from(["message", "rate", "members", "process", "push", "heartbeat"]), st.data())
def test_more_work_or_weight_never_needs_fewer_servers(what: str, data: st.DataObject) -> None:
    low, high = sorted(data.draw(st.tuples(st.integers(1, 2_000), st.integers(1, 2_000))))
    make: dict[str, Any] = {
        "message": lambda x: {"message": f"{x} KB"},
        "rate": lambda x: {"messages_per_room": f"{x}/s"},
        "members": lambda x: {"messages_per_room": None, "messages_per_user": "1/s", "members": x},
        "process": lambda x: {"costs": Costs(process=f"{x} KB")},
        "push": lambda x: {"costs": Costs(push=f"{x} us")},
        "heartbeat": lambda x: {"heartbeat": f"{2_001 - x} s"},
    }
    assert servers(**make[what](low)) <= servers(**make[what](high))


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.sampled_from(["memory", "cores", "use", "headroom", "reconnect"]), st.data())
def test_a_better_server_or_more_patience_never_needs_more_servers(what: str, data: st.DataObject) -> None:
    low, high = sorted(data.draw(st.tuples(st.integers(1, 100), st.integers(1, 100))))
    make: dict[str, Any] = {
        "memory": lambda x: {"server": Server(memory=f"{x + 1} GB")},
        "cores": lambda x: {"server": Server(memory="64 GB", cores=x)},
        "use": lambda x: {"use": x / 100},
        "headroom": lambda x: {"headroom": (100 - x) / 110},
        "reconnect": lambda x: {"reconnect_within": f"{x * 10} ms"},
    }
    assert servers(**make[what](low)) >= servers(**make[what](high))


@settings(derandomize=True, max_examples=40, deadline=None)
@given(st.integers(0, 20), st.sampled_from(["sse", "websocket", "long polling", "short polling"]))
def test_spares_come_on_top_of_what_the_work_needs(spare: int, transport: str) -> None:
    given: dict[str, Any] = {"messages_per_room": "1/s", "transport": transport, "reconnect_within": None}
    assert plan(500_000, spare=spare, **given).servers == plan(500_000, spare=0, **given).servers + spare


# The profile


def test_the_profile_of_a_machine_comes_through_to_the_plan() -> None:
    measured = dataclasses.replace(
        REFERENCE_PROFILE,
        bytes_of_empty_process={"gateway SSE": 20e6},
        bytes_per_idle_connection={
            "gateway SSE": ConnectionBytes(1_800.0, 4_000.0),
            "websocket_chat": ConnectionBytes(14_400.0, None),
        },
        connects_per_s={"gateway SSE": 15_000.0},
        cpu_us_per_push={"gateway SSE": 7.5},
        cpu_us_per_ping={"gateway WebSocket": 20.0},
        cpu_us_per_poll=50.0,
        bytes_per_push={"gateway SSE": 116.0},
    )
    made = plan(1_000_000, profile=measured)
    v = made.values
    assert (v["process"], v["kernel"], v["base"], v["accepts"]) == (1_800, 4_000, 20e6, 15_000)
    assert v["push"] == pytest.approx(7.5e-6)
    assert v["overhead"] == 16 + 62
    assert made.inputs["process"].source.startswith("profile: ")
    chat = plan(1_000_000, transport="websocket", like="websocket_chat", profile=measured)
    assert chat.values["process"] == 14_400
    assert plan(10, transport="websocket", profile=measured).values["ping"] == pytest.approx(10e-6)
    assert plan(10, transport="short polling", profile=measured).values["poll"] == pytest.approx(50e-6)
    with pytest.raises(ValueError, match=r"like must be one of 'gateway SSE', 'websocket_chat'"):
        plan(10, like="apache", profile=measured)


def test_what_a_profile_does_not_tell_is_called_assumed() -> None:
    silent = dataclasses.replace(
        REFERENCE_PROFILE,
        bytes_per_parked_request_process=None,
        bytes_per_parked_request_kernel=None,
        bytes_per_idle_connection={},
        bytes_of_empty_process={},
        cpu_us_per_push={},
    )
    for transport in ("sse", "long polling"):
        made = plan(1_000, transport=transport, profile=silent)
        assert all(
            made.inputs[name].source.startswith("assumed: ")
            for name in ("process", "kernel", "base", "receive")
        )


# Refusals that speak to a learner


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"users": -1}, "users (users) must be a plain number"),
        ({"users": 0}, "users (users) must be above 0"),
        ({"users": "10 M"}, "users must be a plain number such as 10_000_000, got '10 M'"),
        ({"users": math.inf}, "users (users) must be a plain number"),
        ({"online": 1.5}, "online (share online at the peak) must be a share from 0 to 1"),
        ({"online": 10}, "(0.1 means 10 %), got 10"),
        ({"reconnect_within": "0 s"}, "(time in which a lost server's clients must be back) must be above"),
        ({"reconnect_within": 30}, 'reconnect_within must say its unit: expected a time such as "25 s"'),
        ({"transport": "carrier pigeon"}, "transport must be one of 'sse', 'websocket', 'long"),
        ({"poll_interval": "5 s"}, 'poll_interval belongs to transport="short polling"'),
        ({"transport": "long polling", "heartbeat": "5 s"}, "heartbeat belongs to 'sse' and 'websocket'"),
        ({"messages_per_user": "1/s", "messages_per_room": "1/s"}, "not both"),
        ({"members": 0}, "members (online members that one message goes to) must be above 0"),
        ({"members": 0.5}, "members counts whoever gets a message: at least 1"),
        ({"headroom": 1.0}, "headroom is the share of the memory that stays free: below 1"),
        ({"use": 0.0}, "use (how full a server may be) must be above 0"),
        ({"spare": -1}, "spare must be a whole number from 0 up"),
        ({"brokers": 0}, "brokers must be a whole number from 1 up"),
        ({"server": Server(memory="1 MB")}, "by its memory, one server holds no connection at all"),
        ({"server": Server(memory="16 GB", descriptors=64)}, "by its descriptors, one server holds no"),
        ({"costs": Costs(connection="1 KB", tls="1 KB")}, "leave out tls"),
        ({"costs": Costs(poll="1 us")}, "costs.poll plays no part with transport='sse'"),
        ({"message": "200"}, 'message must be a size in bytes such as "50 KB"'),
        ({"like": "gateway SSE", "transport": "long polling"}, "'long polling' has one, long_polling"),
    ],
)  # fmt: skip
def test_what_cannot_be_planned_is_refused_in_a_sentence(given: dict[str, Any], said: str) -> None:
    with pytest.raises((ValueError, TypeError)) as refused:
        plan(**{"users": 1_000, **given})
    assert said in str(refused.value)


# In words


def test_a_summary_names_servers_spares_and_what_decides_and_what_comes_next() -> None:
    text = plan(2_000_000, server=Server(memory="16 GB"), costs=Costs(process="50 KB")).summary()
    assert text.replace(NBSP, " ").startswith("2 000 000 connections over sse need ")
    assert "1 of them spare; memory decides (next is " in text


def test_the_table_has_a_row_for_each_limit_with_its_numbers_put_in() -> None:
    made = plan(
        1_000_000, messages_per_room="1/s", members=20, server=Server(memory="16 GB", connections=80_000)
    )
    rows = made.table()
    assert [row["limit"] for row in rows] == [one.name for one in made.limits]
    for row, one in zip(rows, made.limits, strict=True):
        assert any(letter.isdigit() for letter in row["arithmetic"])
        assert row["servers"].replace(NBSP, " ").endswith(str(one.servers))


def test_a_plan_draws_its_limits_and_marks_the_one_that_decides() -> None:
    made = plan(1_000_000, costs=Costs(process="50 KB"))
    axes = made.plot()
    titles = [axes.get_title(place) for place in ("left", "center")]  # where depends on the style in use
    assert f"Memory decides: {made.servers} servers" in titles
    assert [bar.get_width() for bar in axes.patches] == [one.with_spare for one in made.limits]
    assert [bar.get_fill() for bar in axes.patches] == [one.name == "memory" for one in made.limits]
