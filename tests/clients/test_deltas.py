"""A state kept from differences: RFC 6902, RFC 7396, versions, and whatever is lost on the way."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labsupport.clients.deltas import DeltaState, merge
from labsupport.wire.event_stream import EventStreamParser
from servers.metrics import Gauges

# RFC 7396, appendix A: the original, the patch, the result.
APPENDIX = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("target", "patch", "result"), APPENDIX)
def test_a_merge_patch_does_what_the_rfcs_own_examples_say(target: Any, patch: Any, result: Any):
    assert merge(target, patch) == result


def told(raw: bytes) -> tuple[str, Any]:
    [event] = EventStreamParser().feed(raw)
    return event.type, json.loads(event.data)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    form=st.sampled_from(["json-patch", "merge-patch"]),
    seed=st.integers(0, 1000),
    fates=st.lists(st.sampled_from(["told", "told", "told", "lost", "twice"]), min_size=5, max_size=40),
)
def test_after_any_loss_the_state_is_the_servers_or_says_that_it_is_not_whole(
    form: str, seed: int, fates: list[str]
):
    gauges, state = Gauges(seed, gauges=20), DeltaState()
    state.take(json.loads(json.dumps(gauges.snapshot())))
    for fate in fates:
        event = told(gauges.once[form](gauges.step()))
        for _ in range({"lost": 0, "told": 1, "twice": 2}[fate]):
            state.feed(*event)
        if not state.whole:
            state.take(json.loads(json.dumps(gauges.snapshot())))
            assert state.whole
        if state.version == gauges.version:
            assert state.metrics == gauges.metrics
    assert state.gaps <= fates.count("lost")


def test_a_difference_that_does_not_fit_is_held_back_and_applied_behind_the_snapshot():
    state = DeltaState()
    state.take({"version": 1, "metrics": {"a": 1, "b": 1}})
    assert state.feed("merge-patch", {"from": 2, "version": 3, "patch": {"b": 3}}) is False
    assert state.take({"version": 2, "metrics": {"a": 2, "b": 1}}) is True
    assert (state.version, state.metrics, state.gaps) == (3, {"a": 2, "b": 3}, 1)


def test_an_old_snapshot_does_not_take_a_newer_state_back():
    state = DeltaState()
    state.take({"version": 5, "metrics": {"a": 5}})
    state.take({"version": 4, "metrics": {"a": 4}})
    assert (state.version, state.metrics) == (5, {"a": 5})


def test_a_form_that_is_none_is_named():
    with pytest.raises(ValueError, match="json-patch or merge-patch"):
        DeltaState().feed("xml", {})
