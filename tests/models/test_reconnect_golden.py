"""Small storms, stored event by event: what a change to an engine, a policy or a draw would move.

If a change is meant to move them:  python tests/models/test_reconnect_golden.py  writes them anew; read the
difference before you keep it.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from labsupport.backoff import GRPC, Decorrelated, Fixed, FullJitter, PageSample, Policy, SignalR
from labsupport.models.reconnect import Login, Outcome, RetryAfter, Storm, StormRun, SynDrops, simulate

FOLDER = Path(__file__).parent / "golden"
TRACES: dict[str, tuple[Storm, Policy, int]] = {
    "page": (Storm(12, 4, 2), PageSample(), 1),
    "full_jitter_after_an_outage": (Storm(12, 4, 2, outage_s=1.5, spread_s=0.2), FullJitter(), 2),
    "fixed_in_step": (Storm(10, 1, 2, first_at_once=True), Fixed(2), 3),
    "signalr_gives_up": (Storm(10, 1, 1, outage_s=1), SignalR(), 4),
    "grpc_and_lost_syns": (Storm(8, 2, 1, spread_s=0.1, syn_drops=SynDrops(4)), GRPC(), 5),
    "login_and_retry_after": (
        Storm(10, 5, 3, login=Login(2, 2), admission=RetryAfter(6)),
        Decorrelated(),
        6,
    ),
}


def trace(run: StormRun) -> dict[str, Any]:
    columns = (run.arrival_times_ns, run.arrival_client, run.arrival_attempt, run.arrival_outcome)
    return {
        "storm": repr(run.storm),
        "policy": repr(run.policy),
        "seed": run.seed,
        "events": [
            [int(time_ns), int(client), int(attempt), Outcome(outcome).name]
            for time_ns, client, attempt, outcome in zip(*columns, strict=True)
        ],
        "connected_at_s": [None if at_s == float("inf") else at_s for at_s in run.connected_at_s.tolist()],
    }


@pytest.mark.parametrize("engine", ["simpy", "numpy"])
@pytest.mark.parametrize("name", TRACES)
def test_a_small_storm_goes_as_it_always_went(name: str, engine: str) -> None:
    storm, policy, seed = TRACES[name]
    stored = json.loads((FOLDER / f"reconnect_{name}.json").read_text("utf-8"))
    assert trace(simulate(storm, policy, seed, engine)) == stored


def test_the_traces_hold_every_outcome() -> None:
    seen = {
        event[3]
        for path in FOLDER.glob("reconnect_*.json")
        for event in json.loads(path.read_text())["events"]
    }
    assert seen == {outcome.name for outcome in Outcome}


if __name__ == "__main__":
    for name, (storm, policy, seed) in TRACES.items():
        stored = trace(simulate(storm, policy, seed, "simpy"))
        events = ",\n  ".join(json.dumps(event) for event in stored.pop("events"))
        head = json.dumps(stored, indent=1)[:-2]
        (FOLDER / f"reconnect_{name}.json").write_text(
            f'{head},\n "events": [\n  {events}\n ]\n}}\n', "utf-8"
        )
