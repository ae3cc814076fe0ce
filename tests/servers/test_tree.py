"""The tree behind document_listeners: what it holds, and what a write is to whoever listens elsewhere."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from servers.core import tree as trees
from servers.core.tree import Tree, TreeError, TreeFull, at, kept, parse_path, seen_from, shown


def test_a_value_lies_where_it_was_put_and_nowhere_else():
    tree = Tree()
    tree.put(("rooms", "one"), {"topic": "lunch"})
    assert tree.get(("rooms", "one", "topic")) == "lunch"
    assert tree.get(("rooms",)) == {"one": {"topic": "lunch"}}
    assert tree.get(("rooms", "two")) is None
    assert tree.get(("rooms", "one", "topic", "deeper")) is None


def test_null_takes_a_value_away_and_with_it_every_parent_left_empty():
    tree = Tree()
    tree.put(("a", "b", "c"), 1)
    tree.put(("a", "b", "c"), None)
    assert tree.root is None


def test_a_patch_leaves_the_brothers_and_may_name_a_deeper_place():
    tree = Tree()
    tree.put((), {"a": {"x": 1, "y": 2}, "b": 3})
    tree.patch((), {"a/x": 10, "b": None})
    assert tree.root == {"a": {"x": 10, "y": 2}}


def test_what_lies_below_a_plain_value_replaces_it():
    tree = Tree()
    tree.put(("a",), 1)
    tree.put(("a", "b"), 2)
    assert tree.root == {"a": {"b": 2}}


@pytest.mark.parametrize(
    ("value", "back"),
    [
        ([1, 2, 3], [1, 2, 3]),
        ({"0": "a", "1": "b"}, ["a", "b"]),
        ({"0": "a", "2": "c"}, ["a", None, "c"]),
        ({"0": "a", "3": "d"}, {"0": "a", "3": "d"}),  # two of four: no more than half
        ({"00": "a"}, {"00": "a"}),
        ([None, None], None),
        ({}, None),
        ({"a": {}, "b": 1}, {"b": 1}),
        (False, False),
        ("", ""),
    ],
)
def test_lists_and_empty_objects_come_back_as_the_database_shows_them(value: Any, back: Any):
    assert shown(kept(value)) == back


@pytest.mark.parametrize("key", ["a.b", "a$", "a#", "a[", "a]", "tab\t", "del\x7f", "x" * 769, ""])
def test_a_key_that_no_path_could_name_is_refused_and_nothing_has_changed(key: str):
    tree = Tree()
    tree.put(("safe",), 1)
    with pytest.raises(TreeError):
        tree.put((), {"safe": 2, "inside": {key: 3}})
    assert tree.root == {"safe": 1}


def test_a_tree_has_at_most_so_many_levels_and_bytes(monkeypatch):
    with pytest.raises(TreeError, match="at most 32 keys"):
        parse_path("/a" * 33)
    deep: Any = 1
    for _ in range(33):
        deep = {"a": deep}
    with pytest.raises(TreeError, match="at most 32 keys"):
        Tree().put((), deep)
    monkeypatch.setattr(trees, "MAX_TREE", 100)
    tree = Tree()
    tree.put(("a",), "x" * 60)
    with pytest.raises(TreeFull):
        tree.put(("b",), "x" * 60)
    tree.put(("a",), "y")  # what was taken away gives room
    tree.put(("b",), "x" * 60)
    assert tree.root == {"a": "y", "b": "x" * 60}


@pytest.mark.parametrize("children", [{"a": 1, "a/b": 2}, {"a/b": 1, "a": 2}, {"": 1}, {"a": 1, "/a": 2}])
def test_a_patch_that_names_a_place_twice_or_none_is_refused(children: dict[str, int]):
    with pytest.raises(TreeError):
        Tree().patch((), children)


@pytest.mark.parametrize(
    ("listener", "seen"),
    [
        ("/", ("put", "/rooms/one", {"topic": "lunch"})),
        ("/rooms", ("put", "/one", {"topic": "lunch"})),
        ("/rooms/one", ("put", "/", {"topic": "lunch"})),
        ("/rooms/one/topic", ("put", "/", "lunch")),
        ("/rooms/one/who", ("put", "/", None)),
        ("/rooms/two", None),
        ("/elsewhere", None),
    ],
)
def test_a_put_as_it_is_seen_from_above_from_its_place_and_from_below(listener: str, seen: Any):
    change = Tree().put(("rooms", "one"), {"topic": "lunch"})
    assert seen_from(change, parse_path(listener)) == seen


@pytest.mark.parametrize(
    ("listener", "seen"),
    [
        ("/", ("patch", "/rooms", {"one/topic": "lunch", "two": 2})),
        ("/rooms", ("patch", "/", {"one/topic": "lunch", "two": 2})),
        ("/rooms/one", ("patch", "/", {"topic": "lunch"})),
        ("/rooms/one/topic", ("put", "/", "lunch")),
        ("/rooms/two", ("put", "/", 2)),
        ("/rooms/two/deeper", ("put", "/", None)),
        ("/rooms/three", None),
    ],
)
def test_a_patch_as_it_is_seen_from_above_from_its_place_and_from_below(listener: str, seen: Any):
    change = Tree().patch(("rooms",), {"one/topic": "lunch", "two": 2})
    assert seen_from(change, parse_path(listener)) == seen


KEYS = st.sampled_from(["a", "b", "0", "1"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9),
    lambda inside: st.dictionaries(KEYS, inside, max_size=3) | st.lists(inside, max_size=3),
    max_leaves=6,
)
PATHS = st.lists(KEYS, max_size=3).map(tuple)
PUTS = st.tuples(st.just("put"), PATHS, VALUES)
PATCHES = st.tuples(
    st.just("patch"), PATHS, st.dictionaries(KEYS | st.just("a/b"), VALUES, min_size=1, max_size=3)
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(listener=PATHS, writes=st.lists(PUTS | PATCHES, max_size=8))
def test_whoever_applies_what_it_hears_has_what_the_server_has(listener: Any, writes: Any):
    server, copy = Tree(), Tree()
    for kind, path, data in writes:
        try:
            change = server.patch(path, data) if kind == "patch" else server.put(path, data)
        except TreeError:
            continue
        if (seen := seen_from(change, listener)) is not None:
            heard, where, what = seen
            if heard == "patch":
                copy.patch(parse_path(where), what)
            else:
                copy.put(parse_path(where), what)
        assert copy.root == at(server.root, listener)
