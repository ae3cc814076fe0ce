"""What a profile holds, how it is read, and which one is read."""

import copy
import dataclasses
import getpass
import json
import pickle
import socket
from pathlib import Path

import pytest

import labsupport.profile as room
from labsupport.profile import (
    REFERENCE,
    ConnectionBytes,
    Profile,
    ProfileError,
    Quantiles,
    WireBytes,
    connections_table,
    own_path,
    profile,
    table,
    use,
)

A_MACHINE = Profile(
    measured_on="2025-06-30",
    os="Linux 6.1",
    python="3.12.4",
    cores=2,
    memory_bytes=24_000_000_000,
    descriptors=20_000,
    round_trip_ms=Quantiles(p50=0.2, p99=0.5),
    polls_per_s=9_000.0,
    accepts_per_s=5_000.0,
    empty_poll_bytes=WireBytes(up=500, down=240),
    message_poll_bytes=WireBytes(up=500, down=420),
    bytes_per_parked_request_process=12_000.0,
    bytes_per_parked_request_kernel=9_000.0,
    last_of_1000_parked_ms=40.0,
    bytes_of_empty_process={"gateway SSE": 30e6, "sse": None},
    bytes_per_idle_connection={
        "gateway SSE": ConnectionBytes(1_800.0, 4_000.0),
        "sse": ConnectionBytes(None, 4_100.0),
    },
    connects_per_s={"gateway SSE": 15_000.0},
    cpu_us_per_connect={"gateway SSE": 40.0},
    cpu_us_per_push={"gateway SSE": 7.5},
    cpu_us_per_ping={"gateway WebSocket": 20.0},
    cpu_us_per_poll=50.0,
    bytes_per_push={"gateway SSE": 116.0},
)


@pytest.fixture(autouse=True)
def _a_fresh_switch(monkeypatch, tmp_path):
    monkeypatch.setattr(room, "_chosen", None)
    monkeypatch.delenv("LAB_PROFILE", raising=False)
    monkeypatch.setenv("LAB_PROFILE_FILE", str(tmp_path / "own" / "profile.json"))


def changed(**fields):
    return A_MACHINE.to_dict() | fields


def test_a_profile_comes_back_from_its_file_as_it_was(tmp_path):
    path = A_MACHINE.save(tmp_path / "deep" / "profile.json")
    assert Profile.load(path) == A_MACHINE
    assert [file.name for file in path.parent.iterdir()] == ["profile.json"]


def test_the_same_profile_gives_the_same_bytes(tmp_path):
    one = A_MACHINE.save(tmp_path / "one.json").read_bytes()
    assert Profile.load(tmp_path / "one.json").save(tmp_path / "two.json").read_bytes() == one
    assert one.endswith(b"}\n")


def test_a_field_of_a_newer_lab_is_kept_and_written_back():
    newer = Profile.from_dict(changed(fan_out_ms={"sse": 12.5}))
    assert newer.more == {"fan_out_ms": {"sse": 12.5}}
    assert newer.to_dict()["fan_out_ms"] == {"sse": 12.5}
    assert Profile.from_dict(newer.to_dict()) == newer


def test_what_a_system_does_not_tell_is_none():
    elsewhere = Profile.from_dict(changed(bytes_per_parked_request_process=None, memory_bytes=None))
    assert elsewhere.bytes_per_parked_request_process is None
    assert "not told here" in str(elsewhere)


def test_the_figures_of_connections_may_be_missing_and_are_then_not_measured():
    given = A_MACHINE.to_dict()
    for name in ("bytes_per_idle_connection", "connects_per_s", "cpu_us_per_poll"):
        del given[name]
    older = Profile.from_dict(given)
    assert (older.bytes_per_idle_connection, older.connects_per_s, older.cpu_us_per_poll) == ({}, {}, None)
    assert "not measured" in connections_table({"older": older, "newer": A_MACHINE})


def test_process_and_kernel_together_are_known_when_both_are():
    sizes = A_MACHINE.bytes_per_idle_connection
    assert [sizes["gateway SSE"].both, sizes["sse"].both] == [5_800.0, None]


def test_a_table_of_connections_has_a_row_for_each_server_and_figure():
    lines = connections_table({"this machine": A_MACHINE}).splitlines()
    assert len(lines) == 11
    row = next(line for line in lines if line.startswith("process and kernel: sse"))
    assert row.split(": sse")[1].replace("\N{NO-BREAK SPACE}", " ").split() == ["?", "+", "4", "100", "B"]


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"connects_per_s": 9_000}, "connects_per_s must be a JSON object, not 9000"),
        (
            {"connects_per_s": {"sse": 0}},
            'connects_per_s["sse"] must be a number above 0, not 0',
        ),
        (
            {"bytes_per_idle_connection": {"sse": {"process": 9}}},
            'it lacks bytes_per_idle_connection["sse"].kernel',
        ),
        ({"polls_per_s": -1}, "polls_per_s must be a number above 0, not -1"),
        ({"polls_per_s": True}, "polls_per_s must be a number above 0, not true"),
        ({"polls_per_s": "9000"}, 'polls_per_s must be a number above 0, not "9000"'),
        ({"polls_per_s": float("nan")}, "polls_per_s must be a number above 0, not NaN"),
        ({"polls_per_s": float("inf")}, "polls_per_s must be a number above 0, not Infinity"),
        ({"polls_per_s": None}, "polls_per_s must be a number above 0, not null"),
        ({"cores": 1.5}, "cores must be a whole number, not 1.5"),
        ({"os": ""}, 'os must be a text, not ""'),
        ({"measured_on": "30.6.2025"}, "measured_on must be a date such as 2025-06-30"),
        ({"round_trip_ms": 0.2}, "round_trip_ms must be a JSON object, not 0.2"),
        ({"round_trip_ms": {"p50": 0.2}}, "it lacks round_trip_ms.p99"),
        ({"empty_poll_bytes": {"up": 1, "down": 0}}, "empty_poll_bytes.down must be a number above 0, not 0"),
    ],
)
def test_a_wrong_field_is_named_with_what_was_expected(fields, text):
    with pytest.raises(ProfileError) as caught:
        Profile.from_dict(changed(**fields))
    assert text in str(caught.value)


def test_missing_fields_are_all_named_and_the_remedy_too():
    given = A_MACHINE.to_dict()
    del given["cores"], given["polls_per_s"]
    with pytest.raises(
        ProfileError, match="it lacks cores, polls_per_s: run python -m labsupport measure again"
    ):
        Profile.from_dict(given)


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "null", "\ufeff{}"])
def test_a_file_that_is_no_profile_gives_one_clear_error(tmp_path, text):
    path = tmp_path / "profile.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ProfileError, match=r"profile\.json"):
        Profile.load(path)


def test_without_a_switch_the_committed_reference_is_read():
    assert profile() == Profile.load(REFERENCE)


def test_the_environment_switches_to_the_own_profile(monkeypatch):
    A_MACHINE.save(own_path())
    monkeypatch.setenv("LAB_PROFILE", "mine")
    assert profile() == A_MACHINE


def test_use_switches_and_is_stronger_than_the_environment(monkeypatch):
    A_MACHINE.save(own_path())
    assert use("mine") == A_MACHINE == profile()
    monkeypatch.setenv("LAB_PROFILE", "mine")
    assert use("reference") == Profile.load(REFERENCE) == profile()


def test_an_own_profile_that_does_not_exist_yet_says_what_to_run():
    with pytest.raises(ProfileError, match="run python -m labsupport measure first"):
        use("mine")
    assert profile() == Profile.load(REFERENCE)


@pytest.mark.parametrize("where", ["environment", "use"])
def test_a_profile_of_another_name_is_refused(monkeypatch, where):
    if where == "environment":
        monkeypatch.setenv("LAB_PROFILE", "yours")
    with pytest.raises(ProfileError, match='\'yours\': expected "reference" or "mine"'):
        use("yours") if where == "use" else profile()


def test_the_own_profile_never_lies_in_the_repository(monkeypatch):
    monkeypatch.delenv("LAB_PROFILE_FILE")
    repository = Path(__file__).resolve().parents[2]
    assert repository not in own_path().resolve().parents
    assert own_path().name == "profile.json"


def test_the_reference_names_no_host_no_user_and_no_path():
    text = REFERENCE.read_text(encoding="utf-8").lower()
    assert set(json.loads(text)) >= {field.name for field in dataclasses.fields(Profile)} - {"more"}
    assert "/" not in text
    names = {socket.gethostname().lower(), getpass.getuser().lower()} - {"vm", "root", "localhost"}
    assert not [name for name in names if name in text]


def test_a_table_has_one_row_per_figure_and_one_column_per_profile():
    lines = table({"reference": A_MACHINE, "this machine": A_MACHINE}).splitlines()
    assert lines[0].split() == ["reference", "this", "machine"]
    assert all(
        line.count("9\N{NO-BREAK SPACE}000 /s") == 2 for line in lines if line.startswith("polls answered")
    )
    assert str(A_MACHINE).count("\n") == len(lines) - 1


def test_a_profile_can_be_copied_and_sent_to_another_process():
    assert pickle.loads(pickle.dumps(A_MACHINE)) == A_MACHINE == copy.deepcopy(A_MACHINE)
    assert hash(A_MACHINE) == hash(copy.copy(A_MACHINE))
