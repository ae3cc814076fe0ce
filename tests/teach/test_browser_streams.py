"""The stream widget on Python's side: what it is told, what it refuses, what it shows without a browser.

What it does in a browser is in tests/browser/test_streams.py.
"""

from __future__ import annotations

from typing import Any

import pytest

from labsupport.teach import browser_streams
from labsupport.teach.browser import script

SSE = "http://127.0.0.1:4321"
WEBSOCKET = "ws://127.0.0.1:4321"


def test_the_result_of_the_cell_is_the_same_text_for_each_port() -> None:
    one, other = (browser_streams(f"http://127.0.0.1:{port}") for port in (4000, 5000))
    assert repr(one) == repr(other)
    assert repr(one) == "EventSource /events in your own browser: run this cell, then press Open."
    bundle = one._repr_mimebundle_()
    assert bundle["text/plain"] == repr(one)
    assert bundle["text/html"] == f"<p>{one!r}</p>"


def test_before_it_is_opened_there_is_nothing_to_follow() -> None:
    widget = browser_streams(SSE)
    assert (widget.rows, widget.state, widget.ready_state, widget.reconnects) == ([], "ready", None, 0)
    assert (widget.last_event_id, widget.close_code, widget.way) == ("", None, "")


def test_each_kind_has_its_usual_path_and_another_may_be_named() -> None:
    assert browser_streams(SSE).path == "/events"
    assert browser_streams(WEBSOCKET, kind="websocket").path == "/"
    assert browser_streams(SSE + "/", path="/v2/stream/recentchange?since=1").server == SSE


@pytest.mark.parametrize(
    ("url", "options", "said"),
    [
        ("localhost:8000", {}, r"such as http://127\.0\.0\.1:8000; got 'localhost:8000'"),
        (SSE, {"route": "tunnel"}, '"auto", "direct" or "proxy"'),
        (SSE, {"kind": "polling"}, '"sse" or "websocket"; got \'polling\''),
        (WEBSOCKET, {}, 'say kind="websocket"'),
        (SSE, {"hello": ["hi"]}, "An EventSource cannot send anything"),
        (SSE, {"types": "price"}, "names of events"),
        (SSE, {"path": "events"}, "such as /events; got 'events'"),
        (WEBSOCKET, {"kind": "websocket", "hello": "hi"}, "a list of texts or dictionaries"),
        (WEBSOCKET, {"kind": "websocket", "hello": ["hi"], "resume": "since"}, "and there is none"),
    ],
)
def test_what_cannot_be_opened_is_refused_with_an_example(
    url: str, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        browser_streams(url, **options)


def test_the_way_to_the_server_is_decided_in_one_place_for_both_widgets() -> None:
    for name in ("browser.js", "browser_streams.js"):
        assert script(name).count("function route(") == 1
        assert script(name).count("baseUrl") == 1
