"""Every policy against waits worked out by hand from its published formula."""

import math
from itertools import islice

import pytest

from labsupport.backoff import (
    GRPC,
    NAMED_CLIENTS,
    ActionCable,
    Centrifuge,
    Decorrelated,
    EqualJitter,
    Exponential,
    Fixed,
    FullJitter,
    PageSample,
    Phoenix,
    Policy,
    Polly,
    RandomFirst,
    ReconnectingWebsocket,
    SignalR,
    SocketIO,
    Stamina,
    UniformWindow,
    Websockets,
)

# (policy, [(attempt, u, seconds), …]); the comments show the arithmetic where it is not obvious
BY_HAND: list[tuple[Policy, list[tuple[int, float, float]]]] = [
    (Fixed(3), [(0, 0.0, 3.0), (0, 0.9, 3.0), (7, 0.5, 3.0)]),
    (Exponential(1, 30), [(0, 0.7, 1.0), (1, 0.7, 2.0), (4, 0.7, 16.0), (5, 0.7, 30.0), (50, 0.7, 30.0)]),
    (Exponential(0.005, 2), [(1, 0.0, 0.01), (8, 0.0, 1.28), (9, 0.0, 2.0)]),
    (Exponential(1, math.inf), [(20, 0.0, 1048576.0)]),
    # b + U(0, 0.5 b): 1 to 1.5, 16 to 24, and from attempt 5 on 30 to 45
    (PageSample(), [(0, 0.0, 1.0), (0, 0.5, 1.25), (4, 1.0, 24.0), (5, 0.0, 30.0), (9, 1.0, 45.0)]),
    (EqualJitter(1, 30), [(0, 0.0, 0.5), (0, 0.5, 0.75), (3, 0.25, 5.0), (9, 0.5, 22.5), (9, 1.0, 30.0)]),
    (FullJitter(1, 30), [(0, 0.5, 0.5), (3, 0.5, 4.0), (4, 0.25, 4.0), (10, 1.0, 30.0), (10, 0.0, 0.0)]),
    # s = 1: 1 + u(3·1 − 1); with u = 0.5 always: 2, then 1 + (6 − 1)/2 = 3.5, then 1 + (10.5 − 1)/2 = 5.75
    (Decorrelated(1, 30), [(0, 0.0, 1.0), (0, 0.5, 2.0), (1, 0.5, 3.5), (2, 0.5, 5.75), (9, 1.0, 30.0)]),
    (RandomFirst(1, 30, first_s=5), [(0, 0.5, 2.5), (1, 0.5, 1.0), (2, 0.5, 2.0), (8, 0.5, 15.0)]),
    (UniformWindow(50), [(0, 0.5, 25.0), (6, 0.1, 5.0)]),
    # 1 exactly; 1.6 ± 20 %: 1.28 to 1.92; 2.56·1.1; 1.6^11 = 175.9 → 120 ± 24
    (
        GRPC(),
        [(0, 0.9, 1.0), (1, 0.0, 1.28), (1, 1.0, 1.92), (2, 0.75, 2.816), (11, 0.0, 96.0), (11, 1.0, 144.0)],
    ),
    # ⌊0.25·0.5·1000⌋ = 125 and ⌊2.5⌋ even: 875; ⌊0.35·500⌋ = 175 and ⌊3.5⌋ odd: 1175; 4000 − ⌊901⌋ = 3099;
    # attempt 3, u = 0.85: 8000 − 3400 = 4600; attempt 4, u = 0.85: 16 000 − 6 800, over the cap
    (
        SocketIO(),
        [
            (0, 0.25, 0.875),
            (0, 0.35, 1.175),
            (2, 0.4505, 3.099),
            (3, 0.85, 4.6),
            (3, 0.95, 5.0),
            (4, 0.85, 5.0),
            (600, 0.85, 5.0),
        ],
    ),
    (
        Phoenix(),
        [(0, 0.3, 0.01), (1, 0.3, 0.05), (5, 0.3, 0.25), (8, 0.3, 2.0), (9, 0.3, 5.0), (99, 0.3, 5.0)],
    ),
    (SignalR(), [(0, 0.3, 0.0), (1, 0.3, 2.0), (2, 0.3, 10.0), (3, 0.3, 30.0), (4, 0.3, math.inf)]),
    # 6·(1 + u); 6·1.15·(1 + 0.15·0.5) = 7.4175; 6·1.15^10 = 24.27335; then no further growth
    (
        ActionCable(),
        [(0, 0.0, 6.0), (0, 1.0, 12.0), (1, 0.5, 7.4175), (10, 0.0, 24.273346), (30, 0.0, 24.273346)],
    ),
    # 3.1·1.618 = 5.0158; 3.1·1.618^6 = 55.6206; times 1.618: 89.9935, then the cap of 90
    (Websockets(), [(0, 0.4, 2.0), (1, 0.4, 3.1), (2, 0.4, 5.0158), (8, 0.4, 89.993536), (9, 0.4, 90.0)]),
    # u stands for u_once here: (1 + 4·0.25) = 2, times 1.3, 1.69 …; 2·1.3^7 = 12.5 → 10
    (
        ReconnectingWebsocket(),
        [(0, 0.25, 2.0), (1, 0.25, 2.6), (2, 0.25, 3.38), (7, 0.25, 10.0), (0, 0.0, 1.0)],
    ),
    # 0.5 + u·min(20, 0.5·2^a), then the cap
    (Centrifuge(), [(0, 0.0, 0.5), (0, 0.5, 0.75), (3, 0.5, 2.5), (6, 0.9, 18.5), (9, 1.0, 20.0)]),
    # t = 0.5: √2·tanh(√2) = 1.256366 → /1.4 = 0.897404; t = 1.5: 2.786571 → 1.530205/1.4 = 1.093004
    (Polly(median_s=1, cap_s=30), [(0, 0.0, 0.0), (0, 0.5, 0.897405), (1, 0.5, 1.093004), (12, 0.5, 30.0)]),
    # 0.1·2^a + u, cap 5
    (Stamina(), [(0, 0.5, 0.6), (3, 0.25, 1.05), (5, 0.9, 4.1), (6, 0.0, 5.0)]),
]


@pytest.mark.parametrize(("policy", "cases"), BY_HAND, ids=lambda value: type(value).__name__)
def test_waits_are_those_of_the_formula(policy: Policy, cases: list[tuple[int, float, float]]) -> None:
    for attempt, u, seconds in cases:
        got = policy.wait_s(attempt, u)
        assert got == pytest.approx(seconds, rel=1e-6, abs=1e-12), f"attempt {attempt}, u = {u}"
        assert type(got) is float


def test_polly_follows_its_formula_with_the_library_functions_within_a_few_bits() -> None:
    previous = 0.0
    waits, state = Polly(median_s=2, cap_s=math.inf), 0.0
    for attempt in range(40):
        u = (attempt * 0.37) % 1
        n = 2 ** (attempt + u) * math.tanh(math.sqrt(4 * (attempt + u)))
        wait, state = waits.step(attempt, u, state)
        assert wait == pytest.approx(max(0.0, (n - previous) / 1.4 * 2), rel=1e-12)
        previous = n


def test_polly_waits_the_cap_after_a_thousand_failures() -> None:
    assert Polly(cap_s=30).wait_s(5000, 0.5) == 30.0


def test_python_websockets_waits_as_the_installed_library_does(monkeypatch: pytest.MonkeyPatch) -> None:
    client = pytest.importorskip("websockets.client")
    monkeypatch.setattr("random.random", lambda: 0.4)
    theirs = list(islice(client.backoff(5.0, 3.1, 90.0, 1.618), 15))
    assert [Websockets().wait_s(attempt, 0.4) for attempt in range(15)] == theirs


def test_socket_io_loses_its_jitter_at_the_cap() -> None:
    draws = [k / 100 for k in range(100)]
    assert len({SocketIO().wait_s(2, u) for u in draws}) > 50
    assert {SocketIO().wait_s(4, u) for u in draws} == {5.0}


def test_the_page_sample_waits_up_to_45_s_although_its_cap_says_30() -> None:
    assert max(PageSample().wait_s(9, k / 1000) for k in range(1001)) == 45.0


def test_all_named_clients_are_there_under_the_names_of_the_field() -> None:
    assert set(NAMED_CLIENTS) == {
        "EventSource (Chromium)",
        "EventSource (Firefox)",
        "gRPC",
        "Socket.IO 4",
        "Phoenix.js 1.8",
        "SignalR",
        "ActionCable",
        "Python websockets",
        "reconnecting-websocket",
        "centrifuge-js",
        "Polly V2",
        "stamina",
    }
    assert NAMED_CLIENTS["EventSource (Chromium)"].wait_s(0, 0.1) == 3.0
    assert NAMED_CLIENTS["EventSource (Firefox)"].wait_s(0, 0.1) == 5.0
