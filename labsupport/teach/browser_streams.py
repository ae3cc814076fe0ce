"""Open the browser's own EventSource or WebSocket to a server of the lab, and watch it live.

    browser_streams(server.url)                                             an event stream, /events
    browser_streams(server.url, types=("price", "score"))                   events with these names
    browser_streams(echo.url, kind="websocket", hello=["hello"])            a WebSocket, and its first words
    browser_streams(chat.url, kind="websocket", path="/chat", resume="since",
                    hello=[{"type": "join", "room": "tea", "user": "you"}])

Open opens it, Close ends it, and so does the end of the cell's output. Shown are the rows, readyState, how
often it was open again, and Last-Event-ID: the one that came with the last event. (The browser's own may be
newer, from a block with an id and no data. The page is never told that one.)

An EventSource comes back by itself, with the place it knows, as long as the browser has not given up. A
WebSocket never does: here it is the widget that connects again, after a wait with full jitter, as its close
code asks (servers/core/websocket_connection.py), and goes on from its place only if `resume` names the field
for it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal

import traitlets as T

from labsupport.teach.browser import ROW_PX, BrowserWidget, Route, checked_server, script

API = {"sse": "EventSource", "websocket": "WebSocket"}
PATHS = {"sse": "/events", "websocket": "/"}


class BrowserStreams(BrowserWidget):
    """Open and Close, and what the page learns of the stream; nothing opens before the reader asks for it.

    Follow it in Python by `.rows` (the last ones, each {"at_s": seconds since Open, "row": what came}),
    `.state` ("ready", "connecting", "open", "waiting", "ended" or "closed"), `.ready_state` (the browser's
    number; None before Open), `.events`, `.reconnects`, `.last_event_id` (of a WebSocket: the position of the
    last message), `.close_code` and `.way` ("direct" or "proxy"). They are half a second late at most, and
    stand still while a cell runs.
    """

    _esm = T.Unicode(script("browser_streams.js")).tag(sync=True)
    kind = T.Unicode("sse").tag(sync=True)
    path = T.Unicode().tag(sync=True)
    types: Any = T.List().tag(sync=True)
    hello: Any = T.List().tag(sync=True)
    resume = T.Unicode().tag(sync=True)
    ready_state = T.Int(None, allow_none=True).tag(sync=True)
    events = T.Int(0).tag(sync=True)
    reconnects = T.Int(0).tag(sync=True)
    last_event_id = T.Unicode().tag(sync=True)
    close_code = T.Int(None, allow_none=True).tag(sync=True)
    way = T.Unicode().tag(sync=True)

    def words(self) -> str:
        return f"{API[self.kind]} {self.path} in your own browser: run this cell, then press Open."


def browser_streams(
    url: str,
    *,
    kind: Literal["sse", "websocket"] = "sse",
    path: str | None = None,
    types: Sequence[str] = ("message",),
    hello: Sequence[str | dict[str, Any]] = (),
    resume: str | None = None,
    height: int = 10 * ROW_PX,
    route: Route = "auto",
) -> BrowserStreams:
    """A widget that opens a stream in the reader's browser; put it last in a cell.

    url: the server's own address, as `server.url` gives it. path: with query; None is /events, or / for a
    WebSocket. types: names of events, besides those about the stream itself. hello: what a WebSocket sends
    each time it opens; a dictionary goes as JSON. resume: the field of the first of these for the position
    of the last message. height: of the rows, in pixels. route: as in run_in_browser.
    """
    server = checked_server(url, route)
    if kind not in API:
        raise ValueError(f'kind is "sse" or "websocket"; got {kind!r}')
    if kind == "sse" and not server.startswith("http"):
        raise ValueError(f'An event stream is plain HTTP; for {url!r} say kind="websocket".')
    if kind == "sse" and (hello or resume):
        raise ValueError('An EventSource cannot send anything: hello and resume are for kind="websocket".')
    if isinstance(types, str) or not all(isinstance(name, str) and name for name in types):
        raise ValueError(f'types are names of events such as ("price", "score"); got {types!r}')
    if isinstance(hello, str) or not all(isinstance(message, str | dict) for message in hello):
        raise ValueError(f'hello is a list of texts or dictionaries such as ["hello"]; got {hello!r}')
    if resume and not any(isinstance(message, dict) for message in hello):
        raise ValueError("resume names a field of a dictionary in hello, and there is none")
    path = PATHS[kind] if path is None else path
    if not path.startswith("/"):
        raise ValueError(f'path begins with "/", such as /events; got {path!r}')
    json.dumps(list(hello))  # TypeError says what is no JSON
    return BrowserStreams(
        kind=kind,
        path=path,
        types=list(types),
        hello=list(hello),
        resume=resume or "",
        server=server,
        height=height,
        route=route,
    )
