"""The bench's file and table: what is stored comes back, and the peers push what is posted."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from labsupport.measure.bench import FOLDER, Row, latest, table
from labsupport.measure.fan_out import fan_out
from tests.bench.__main__ import SERVERS, Peer

ROWS = [
    Row("one write", "floor", 70.0, "ms", 1.0, ""),
    Row("one write", "gateway", 77.0, "ms", 1.1, "the floor"),
]


def stored(folder: Path, day: str, rows: list[Row]) -> None:
    content = {"machine": {"cores": 2}, "rows": [asdict(row) for row in rows]}
    (folder / f"bench-{day}.json").write_text(json.dumps(content), "utf-8")


def test_the_newest_run_comes_back_as_it_was_stored(tmp_path: Path):
    stored(tmp_path, "2026-01-02", ROWS[:1])
    stored(tmp_path, "2026-11-01", ROWS)
    found = latest(tmp_path)
    assert (found.day, found.machine, found.rows) == ("2026-11-01", {"cores": 2}, tuple(ROWS))
    assert found.ratio("gateway", "one write") == 1.1


def test_a_ratio_that_is_not_there_is_told_with_those_that_are(tmp_path: Path):
    stored(tmp_path, "2026-01-02", ROWS)
    with pytest.raises(LookupError, match="it has floor, gateway"):
        latest(tmp_path).ratio("nginx", "one write")


def test_without_a_stored_run_it_says_how_to_get_one(tmp_path: Path):
    with pytest.raises(LookupError, match="make bench"):
        latest(tmp_path)


def test_the_table_names_each_question_once_and_each_ratio_with_what_it_is_held_to():
    text = table(ROWS)
    assert text.count("one write") == 1
    assert "1.1 x the floor" in text


def test_a_run_is_stored_in_the_project_and_has_the_gateways_ratios():
    found = latest(FOLDER)
    for name in ("gateway, SSE", "gateway, WebSocket", "websockets, broadcast()"):
        assert found.ratio(name, "one write") > 0
        assert found.ratio(name, "process memory") > 0


@pytest.mark.parametrize("kind", ["websockets", "aiohttp", "starlette"])
async def test_a_peer_pushes_what_is_posted_to_all_its_listeners(kind: str):
    peer = Peer(kind)
    try:
        result = await fan_out(peer, 5, 2, "WebSocket" if kind == "websockets" else "SSE")
    finally:
        peer.stop()
    assert result.delays_ms.shape == (2, 5)


def test_importing_the_bench_starts_nothing():
    assert set(SERVERS) >= {"gateway, SSE", "gateway, WebSocket"}
    said = subprocess.run(
        [sys.executable, "-m", "tests.bench", "--help"], capture_output=True, text=True, check=True
    )
    assert "quick" in said.stdout
