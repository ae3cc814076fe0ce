"""What the models of the four chapters answer, as plain numbers: asked of Pyodide, and of CPython.

The calls are those of the chapters' cells, smaller. Only what a browser has is imported, so that one file
asks the same of every Python.
"""

from __future__ import annotations

import inspect
import io
import math
import re
from contextlib import redirect_stdout
from typing import Any

SEED = 20


def plain(value: Any) -> Any:
    """Arrays as lists, numbers as Python's own; ∞ and NaN by name, since JSON has none."""
    if isinstance(value, dict):
        return {str(name): plain(one) for name, one in value.items()}
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    return value


def fields(made: Any, *names: str) -> dict[str, Any]:
    return {name: getattr(made, name) for name in names}


def polling() -> dict[str, Any]:
    from labsupport.models import polling as p

    arrivals_s = p.arrivals(1 / 3, 10.0, clients=30, seed=SEED)
    runs = {
        "chapter 01": p.simulate_short(
            1 / 3, 0.25, clients=30, horizon_s=10, arrivals_s=arrivals_s, seed=SEED
        ),
        "jitter": p.simulate_short(1 / 9, 5.0, clients=20, horizon_s=100, jitter=0.2, seed=SEED),
        "no memory": p.simulate_short(
            0.2,
            2.0,
            clients=10,
            horizon_s=60,
            interval_law="exponential",
            schedule="fixed delay",
            round_trip_s=0.3,
            seed=SEED,
        ),  # fmt: skip
        "overlap": p.simulate_short(0.5, 1.0, clients=5, horizon_s=40, round_trip_s=3.5, seed=SEED),
        "shared": p.simulate_short(1 / 6, 5, clients=40, horizon_s=100, shared_topic=True, seed=SEED),
        "chapter 02": p.simulate_long(1 / 3, 0.5, clients=30, horizon_s=10, arrivals_s=arrivals_s, seed=SEED),
        "busy": p.simulate_long(5, 2, round_trip_s=0.2, clients=10, horizon_s=3, seed=SEED),
        "silent": p.simulate_short(0, 30, clients=10, horizon_s=240, phases="together", seed=SEED),
    }
    shown = (
        "request_times_s", "request_client", "request_empty", "published_s", "delivered_s", "message_client",
        "empty_share", "requests_per_message", "staleness_mean_s", "staleness_p95_s", "staleness_max_s",
        "stale_share",
    )  # fmt: skip
    found: dict[str, Any] = {
        name: fields(run, *shown) | {"said": run.summary(), "busiest": run.busiest_bin()}
        for name, run in runs.items()
    }
    gaps = {
        name: [[gap.name, gap.closed_form] for gap in run.gaps()]
        for name, run in runs.items()
        if run.messages
    }
    rates = [0.01, 0.1, 0.5, 1.0, 5.0]
    return found | {
        "gaps": gaps,
        "curve": p.empty_share(rates, 1.0),
        "busiest bin": p.busiest_bin(10_000, 300.0),
        "error": p.empty_share_error(1 / 60, 5, clients=10, horizon_s=600, shared_topic=True),
        "never": p.polls_per_message(0.0, 5.0),
        "long": [p.long_requests_per_message(rate, 25.0, 0.1) for rate in rates],
    }


def storms() -> dict[str, Any]:
    from labsupport import backoff
    from labsupport.models import contention
    from labsupport.models import reconnect_closed_forms as forms
    from labsupport.models.reconnect import Login, RetryAfter, Storm, SynDrops, gap, simulate

    storm = Storm(150, 25, 10, outage_s=0.5, spread_s=0.1)
    policies = {
        "page": backoff.PageSample(),
        "full": backoff.FullJitter(),
        "window": backoff.UniformWindow(6),
        **backoff.NAMED_CLIENTS,
    }
    runs = {name: simulate(storm, policy, seed=SEED) for name, policy in policies.items()}
    for name, ways in {
        "told": {"admission": RetryAfter(5)},
        "login": {"login": Login(25, 10)},
        "dropped": {"syn_drops": SynDrops(10)},
    }.items():
        runs[name] = simulate(Storm(150, 25, 10, **ways), backoff.FullJitter(), seed=SEED)
    shown = (
        "connected_at_s", "arrival_times_ns", "arrival_client", "arrival_attempt", "arrival_outcome",
        "accepted_ns", "attempts_per_client", "peak_attempts_per_s", "peak_attempts_in_1s", "lost_clients",
        "t50_s", "t99_s", "t100_s",
    )  # fmt: skip
    found: dict[str, Any] = {
        name: fields(run, *shown)
        | {"said": run.summary(), "outcomes": run.outcomes(), "used": run.utilisation()}
        for name, run in runs.items()
    }
    apart = gap(runs["page"], runs["full"].connected_at_s, runs["full"].attempts_of_client)
    share = runs["page"].connected_share
    return found | {
        "gap": apart.summary(),
        "shares": [share(1.0), share([1.0, 5.0, 10.0])],
        "bounds": [forms.lower_bound_s(10_000, 200), forms.window_refused([100, 200], 10, 5, 3.0)],
        "contention": {
            name: fields(
                contention.simulate(20, name, runs=3, seed=SEED), "time_ms", "calls", "first_calls_ms"
            )
            for name in contention.POLICIES
        },
    }


def liveness() -> dict[str, Any]:
    from labsupport.models import liveness as lives

    runs = {
        "detection": (
            lives.simulate_detection(20, 20, close_wait_s=10, connections=200, seed=SEED),
            ("opened_s", "died_s", "noticed_s", "pings", "detection_mean_s", "detection_max_s"),
        ),
        "ghosts": (
            lives.simulate_ghosts(20, 20, connections=20, lifetime_s=300, horizon_s=1_000, seed=SEED),
            ("died_s", "noticed_s", "ghosts", "deaths_per_s"),
        ),
        "presence": (
            lives.simulate_presence(30, 65, users=50, beats=20, loss=0.1, delay_spread_s=1.0, seed=SEED),
            ("died_s", "gone_s", "beats", "vanished", "ghost_mean_s", "ghost_max_s", "false_offline_share"),
        ),
        "expiry": (
            lives.simulate_expiry(1 / 60, 60, connections=200, seed=SEED),
            ("forgotten_s", "packets", "first_expiry_mean_s"),
        ),
    }
    found: dict[str, Any] = {
        name: fields(run, *shown)
        | {"said": run.summary(), "gaps": [[gap.name, gap.closed_form] for gap in run.gaps()]}
        for name, (run, shown) in runs.items()
    }
    return found | {
        "curve": lives.ghost_mean_s(30, [60.0, 90.0]),
        "forgotten": lives.first_expiry_mean_s([0.0, 1 / 60, 100.0], 600),
    }


def capacity() -> dict[str, Any]:
    from labsupport.capacity import (
        Costs,
        Server,
        between,
        closed_forms,
        connections_per_server,
        plan,
        predict_memory,
    )
    from labsupport.capacity import chat as chats

    everyone = plan(
        users=10_000_000, online=between(0.6, 0.98, "at night it is fewer"),
        messages_per_room=between("6/min", "1/s", "quiet and busy rooms"), members=between(10, 60),
        message="300 B", transport="websocket", heartbeat="25 s",
        server=Server(memory="16 GB", cores=8, network="10 Gbit/s"), reconnect_within="30 s", seed=SEED,
        samples=400,
    )  # fmt: skip
    million = plan(
        users=1_000_000, messages_per_user=between("1/min", "10/min"), members=between(5, 50),
        message="300 B", transport="websocket", heartbeat="25 s",
        server=Server(memory="16 GB", cores=4, connections=between(50_000, 200_000, "what one dares lose")),
        costs=Costs(push=between("10 us", "80 us"), accepts=between("300/s", "1500/s")),
        broker_limit="200000/s", brokers=2, seed=SEED, samples=400,
    )  # fmt: skip
    asked = [
        plan(users=100_000, messages_per_user="1/min", transport=way, seed=SEED)
        for way in ("sse", "short polling", "long polling")
    ]
    bill = chats.chat(million, rooms=between(3, 12), session=between("10 min", "60 min"))
    curve = everyone.curve([1e4, 1e6, 1e8])
    return {
        "plans": [
            [one.servers, one.binding, one.summary(), one.table(), dict(one.load), one.take_over_s]
            for one in (everyone, million, *asked)
        ],
        "spreads": [[list(map(int, p.spread.servers)), dict(p.spread.binds)] for p in (everyone, million)],
        "drivers": [
            [d.name, d.low_text, d.high_text, d.servers_low, d.servers_high, d.rank_correlation]
            for d in (*everyone.drivers, *million.drivers)
        ],
        "curve": [curve.servers, curve.binding],
        "bill": [[line.text, line.value, line.low, line.high] for line in bill.lines],
        "memory": [predict_memory(5_000, processes=2).bytes, str(predict_memory(5_000))],
        "forms": [closed_forms.source_addresses(1_000_000), connections_per_server("16 GB", "50 KB")],
    }


# A value for each argument of the formulas that has no sensible usual one.
GIVEN: dict[str, float] = {
    "messages_per_s": 0.3, "interval_s": 5.0, "horizon_s": 600.0, "clients": 300, "hold_s": 25.0,
    "round_trip_s": 0.2, "timeout_s": 20.0, "connections": 5_000, "deaths_per_s": 0.5, "detection_s": 40.0,
    "ttl_s": 32.5, "loss": 0.1, "packets_per_s": 1 / 60, "idle_limit_s": 120.0, "accepts_per_s": 50.0,
    "accept_queue": 20, "window_s": 3.0, "delay_s": 2.0, "number": 3,
}  # fmt: skip
ONE_AT_A_TIME = {"synchronised_rounds", "page_wave", "tcp_gives_up_s"}  # these take numbers only


def formulas() -> dict[str, Any]:
    """Every formula beside the models: for numbers, and for an array in its first argument."""
    from labsupport.models import liveness_closed_forms, polling_closed_forms, reconnect_closed_forms

    import numpy as np  # isort: skip - after labsupport, which knows what to do where there is none

    found: dict[str, Any] = {}
    for module in (polling_closed_forms, liveness_closed_forms, reconnect_closed_forms):
        for name, formula in inspect.getmembers(module, inspect.isfunction):
            if name.startswith("_") or formula.__module__ != module.__name__:
                continue
            values = {one: GIVEN[one] for one in inspect.signature(formula).parameters if one in GIVEN}
            found[name] = [formula(**values)]
            if name not in ONE_AT_A_TIME:
                first, value = next(iter(values.items()))
                found[name].append(formula(**{**values, first: np.asarray([value, 0.5 * value])}))
    return found


def page(text: str) -> list[str]:
    """What each Python cell of a page prints, in order; lines for the notebook (%pip) are left out."""
    printed, world = [], {"__name__": "page"}
    for cell in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        out = io.StringIO()
        with redirect_stdout(out):
            exec(re.sub(r"^%.*$", "", cell, flags=re.MULTILINE), world)
        printed.append(out.getvalue())
    return printed


CHAPTERS = (polling, storms, liveness, capacity, formulas)


def answers() -> dict[str, Any]:
    """All of them, as JSON could hold them."""
    return {chapter.__name__: plain(chapter()) for chapter in CHAPTERS}
