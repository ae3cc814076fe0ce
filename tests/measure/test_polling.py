"""Measured polling: counts are exact, and the empty answers are those that the arrivals allow.

The clock of a busy machine slips, so no test asks when something happened, only in which order: what a poll
must have brought follows from when it and the messages really left and really were answered.
"""

import asyncio
import contextlib

import numpy as np
import pytest

from labsupport.measure import LoadError, long_polling, short_polling
from labsupport.processes import middlebox, serve


@pytest.fixture(scope="module")
def short():
    with serve("short_polling", instance="tests/measure") as server:
        yield server


@pytest.fixture(scope="module")
def long():
    with serve("long_polling", instance="tests/measure") as server:
        yield server


def poisson(rate_per_s, horizon_s, clients, seed):
    """Arrivals as the models draw them, from a generator of this test's own."""
    generator = np.random.default_rng(seed)
    counts = generator.poisson(rate_per_s * horizon_s, clients)
    return [np.sort(generator.uniform(0, horizon_s, count)) for count in counts]


def of_client(run, client):
    asked, got = run.request_client == client, run.message_client == client
    requests = zip(
        run.request_times_s[asked], run.request_answered_s[asked], run.request_empty[asked], strict=True
    )
    messages = zip(run.sent_s[got], run.stored_s[got], run.delivered_s[got], strict=True)
    return list(requests), list(messages)


def assert_explained(run):
    """Every answer brought what was surely there when it was asked for, and nothing that came later."""
    for client in range(run.clients):
        requests, messages = of_client(run, client)
        for asked_s, answered_s, empty in requests:
            there = [m for m in messages if m[1] <= asked_s < m[2]]  # stored before, and not delivered before
            assert not (there and empty)
            assert empty == (answered_s not in {m[2] for m in messages})
        for sent_s, _, delivered_s in messages:
            assert sent_s < delivered_s
            carriers = [asked_s for asked_s, answered_s, _ in requests if answered_s == delivered_s]
            assert len(carriers) <= 1  # none: it was fetched after the horizon


async def test_short_polling_sends_every_poll_and_delivers_every_message_once(short):
    arrivals_s = poisson(2, 2, clients=40, seed=1)
    phases_s = np.linspace(0, 0.2, 40, endpoint=False)
    run = await short_polling(
        short.url, arrivals_s=arrivals_s, phases_s=phases_s, interval_s=0.2, horizon_s=2
    )
    assert run.requests == 40 * 10
    assert run.messages == sum(map(len, arrivals_s)) == len(run.staleness_s)
    assert (run.repeated_deliveries, run.out_of_order) == (0, 0)
    assert not np.isnan(run.delivered_s).any()
    assert_explained(run)


async def test_the_measured_empty_share_is_that_of_the_arrivals_given(short):
    """Messages half-way between two polls: which polls are empty is known before the run."""
    interval_s, polls, clients = 0.4, 6, 30
    generator = np.random.default_rng(7)
    phases_s = generator.uniform(0, 0.1, clients)
    brings = generator.random((clients, polls)) < 0.3
    brings[:, 0] = False  # nothing can come before the first poll
    arrivals_s = [phases_s[c] + (np.flatnonzero(brings[c]) - 0.5) * interval_s for c in range(clients)]
    run = await short_polling(
        short.url,
        arrivals_s=arrivals_s,
        phases_s=phases_s,
        interval_s=interval_s,
        horizon_s=polls * interval_s,
    )
    assert_explained(run)
    assert run.requests == clients * polls
    if run.late_s < interval_s / 2:  # else this machine stood still for so long that the order itself slipped
        assert run.request_empty.sum() == (~brings).sum()
        assert run.empty_share == pytest.approx(1 - brings.mean())
        assert run.polls_per_message == pytest.approx(clients * polls / brings.sum())


async def test_several_messages_between_two_polls_travel_in_one_answer(short):
    run = await short_polling(
        short.url, arrivals_s=[[0.01, 0.02, 0.03, 0.04]], phases_s=[0.3], interval_s=0.3, horizon_s=0.9
    )
    assert (run.requests, run.messages) == (2, 4)
    assert_explained(run)
    if run.late_s < 0.1:
        assert len(set(run.delivered_s)) == 1


async def test_a_second_run_on_the_same_server_does_not_see_the_messages_of_the_first(short):
    for _ in range(2):
        run = await short_polling(
            short.url, arrivals_s=[[0.05]] * 3, phases_s=[0.0] * 3, interval_s=0.1, horizon_s=0.3
        )
        assert (run.messages, run.requests, run.repeated_deliveries) == (3, 9, 0)


async def test_without_messages_every_answer_is_empty(short):
    run = await short_polling(
        short.url, arrivals_s=[[]] * 5, phases_s=[0.0] * 5, interval_s=0.1, horizon_s=0.3
    )
    assert (run.empty_share, run.requests_per_message) == (1.0, float("inf"))
    assert run.summary() == (
        "5 real clients sent 15 requests, 15 of the answers were empty; "
        "0 messages delivered, 0 of them twice."
    )


async def test_a_message_after_the_last_poll_is_fetched_and_that_poll_is_not_counted(short):
    run = await short_polling(short.url, arrivals_s=[[0.25]], phases_s=[0.0], interval_s=0.2, horizon_s=0.3)
    assert (run.requests, run.messages) == (2, 1)
    assert not np.isnan(run.delivered_s).any()


async def test_long_polling_delivers_every_message_once_and_each_answer_is_explained(long):
    arrivals_s = poisson(2, 2, clients=40, seed=2)
    run = await long_polling(long.url, arrivals_s=arrivals_s, hold_s=0.4, horizon_s=2)
    assert run.messages == sum(map(len, arrivals_s))
    assert (run.repeated_deliveries, run.out_of_order) == (0, 0)
    assert set(run.request_client) <= set(range(40))
    assert_explained(run)


async def test_a_request_that_is_still_held_at_the_end_is_not_counted(long):
    run = await long_polling(long.url, arrivals_s=[[], [0.05]], hold_s=30, horizon_s=0.5)
    assert run.messages == len(run.delivered_s) == 1
    assert 0 not in run.request_client
    assert not run.request_empty.any()


async def test_the_hold_ends_a_request_that_has_no_message(long):
    run = await long_polling(long.url, arrivals_s=[[]], hold_s=0.05, horizon_s=0.5)
    assert 1 <= run.requests <= 10  # ten at most: none is answered before its hold is over
    assert run.empty_share == 1.0


async def test_polls_may_go_through_a_box_while_messages_go_straight_to_the_server(long):
    box = middlebox(long, instance="tests/measure")
    with box:
        box.set(delay_s=0.02)
        run = await long_polling(
            box.url, arrivals_s=[[0.1, 0.11]] * 3, hold_s=1, horizon_s=0.3, publish_url=long.url
        )
    assert run.messages == 6
    assert run.staleness_s.min() > 0.02  # not the machine's clock: the box holds each answer this long
    assert_explained(run)


async def test_a_server_that_dies_in_the_middle_is_an_error_and_not_a_result():
    with serve("short_polling", instance="tests/measure dies") as server:
        measuring = asyncio.ensure_future(
            short_polling(server.url, arrivals_s=[[]] * 5, phases_s=[0.0] * 5, interval_s=0.05, horizon_s=50)
        )
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(measuring), 0.3)
        server.kill()
        with pytest.raises(LoadError, match=r"the server closed|a connection broke|does the server run"):
            await measuring


async def test_an_error_answer_is_an_error_and_not_a_result():
    with (
        serve("short_polling", "--fault", "error", instance="tests/measure") as server,
        pytest.raises(LoadError, match="500"),
    ):
        await short_polling(server.url, arrivals_s=[[]], phases_s=[0.0], interval_s=0.1, horizon_s=0.2)


async def test_an_interrupt_ends_the_measurement_at_once(long):
    measuring = asyncio.ensure_future(long_polling(long.url, arrivals_s=[[]] * 5, hold_s=30, horizon_s=60))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(measuring, 0.2)  # it would take a minute, and this test's limit is 180 s


GOOD = {"arrivals_s": [[0.1]], "phases_s": [0.0], "interval_s": 0.1, "horizon_s": 1.0}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"horizon_s": 61}, "horizon_s must be above 0 and at most 60 s"),
        ({"horizon_s": float("nan")}, "horizon_s must be"),
        ({"interval_s": 0}, "interval_s must be above 0 s"),
        ({"interval_s": float("nan")}, "interval_s must be above 0 s"),
        ({"interval_s": 0.0001}, "would measure the machine's overload"),
        ({"arrivals_s": []}, "expected the arrivals of 1 to 900 clients, got 0"),
        ({"phases_s": [0.0, 0.1]}, "1 clients have arrivals and 2 a phase"),
        ({"phases_s": [1.0]}, r"the phase of client 0 must lie in \[0, horizon\)"),
        ({"arrivals_s": [[0.2, 0.1]]}, "the arrivals of client 0 must be rising seconds"),
        ({"arrivals_s": [[1.0]]}, "the arrivals of client 0 must be rising seconds"),
        ({"arrivals_s": [[float("nan")]]}, "the arrivals of client 0 must be rising seconds"),
    ],
)
async def test_what_cannot_be_measured_is_refused_before_anything_is_sent(change, text):
    with pytest.raises(LoadError, match=text):
        await short_polling("http://127.0.0.1:1", **(GOOD | change))


@pytest.mark.parametrize("hold_s", [0, -1, 31, float("nan")])
async def test_a_hold_that_no_server_allows_is_refused(hold_s):
    with pytest.raises(LoadError, match="hold_s must be above 0 and at most 30 s"):
        await long_polling("http://127.0.0.1:1", arrivals_s=[[]], hold_s=hold_s, horizon_s=1)
