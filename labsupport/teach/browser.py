"""Run the JavaScript of a notebook cell in the reader's own browser, against a server of the lab.

    run_in_browser('''
    const source = new EventSource(url + "/events");
    source.onmessage = (event) => show(event.data);
    ''', url=server.url)

The code is the body of an async function and sees
    url      the server, as this browser reaches it: directly on the machine where Jupyter runs, elsewhere
             (Binder, JupyterHub: there 127.0.0.1 is the *reader's* machine) through jupyter-server-proxy
    show(x)  adds a row: text, or an object, whose fields are shown by name
    signal   an AbortSignal that fires on Stop or when the cell's output goes away
besides the browser's own EventSource, WebSocket, fetch and timers, each of which ends with Stop by itself.

Through the proxy five things are different, and the widget says so: WebSocket close codes and reasons are
lost, a streamed `fetch` needs the header Accept: text/event-stream or is held back to its end, DELETE fails,
the server may not notice for long that a stream's reader has left, and more than three streams at once are
refused, since the browser's six connections to one origin are also JupyterLab's own. Which way is taken is
decided in one place, browser_shared.js, for this widget and for browser_streams.
"""

from __future__ import annotations

import html
import pathlib
import textwrap
from typing import Any, Literal

import anywidget
import traitlets as T

from labsupport.teach import theme

HERE = pathlib.Path(__file__).parent
MOST_ROWS = 200  # a page with more is slow, and nobody reads them
ROW_PX = 20
ROUTES = ("auto", "direct", "proxy")

Route = Literal["auto", "direct", "proxy"]


def script(name: str) -> str:
    """The JavaScript module of a widget: what all share, and then its own."""
    return "\n".join((HERE / file).read_text(encoding="utf-8") for file in ("browser_shared.js", name))


class BrowserWidget(anywidget.AnyWidget):
    """A client in the reader's browser: where its server is, how it looks, its rows."""

    _css = T.Unicode(
        f".lab-browser{{{theme.variables(theme.LIGHT)}}}"
        + theme.on_dark_pages(".lab-browser", theme.variables(theme.DARK))
        + (HERE / "browser.css").read_text(encoding="utf-8")
    ).tag(sync=True)
    server = T.Unicode().tag(sync=True)
    route = T.Unicode("auto").tag(sync=True)
    height = T.Int(10 * ROW_PX).tag(sync=True)
    most_rows = T.Int(MOST_ROWS).tag(sync=True)
    rows: Any = T.List().tag(sync=True)
    state = T.Unicode("ready").tag(sync=True)

    def words(self) -> str:
        """The same at each run: no port, no rows."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return self.words()

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:  # type: ignore[override]
        view = {"version_major": 2, "version_minor": 0, "model_id": self._model_id}
        return {
            "application/vnd.jupyter.widget-view+json": view,
            "text/plain": self.words(),
            "text/html": f"<p>{html.escape(self.words())}</p>",
        }


class BrowserRun(BrowserWidget):
    """Start and Stop, and the rows that the code shows; nothing runs before the reader presses Start.

    After a run `.rows` holds the last rows, each {"at_s": seconds since Start, "row": what was shown}, and
    `.state` is "done", "stopped" or "failed".
    """

    _esm = T.Unicode(script("browser.js")).tag(sync=True)
    code = T.Unicode().tag(sync=True)

    def words(self) -> str:
        lines = len(self.code.strip().splitlines())
        length = "1 line" if lines == 1 else f"{lines} lines"
        return f"JavaScript for your own browser ({length}): run this cell, then press Start."


def checked_server(url: str, route: str) -> str:
    """The address without a slash at its end. ValueError for what is no address, or no way to it."""
    if not url.startswith(("http://", "https://", "ws://", "wss://")):
        raise ValueError(f"url must be a server's address such as http://127.0.0.1:8000; got {url!r}")
    if route not in ROUTES:
        raise ValueError(f'route is "auto", "direct" or "proxy"; got {route!r}')
    return url.rstrip("/")


def run_in_browser(js: str, *, url: str, height: int = 10 * ROW_PX, route: Route = "auto") -> BrowserRun:
    """A widget that runs `js` in the reader's browser; put it last in a cell.

    url: the server's own address, http://127.0.0.1:PORT or ws://…, as `server.url` gives it. height: of the
    rows, in pixels. route: "auto" goes direct when the page comes from this machine, else through the proxy.
    """
    server = checked_server(url, route)
    if not js.strip():
        raise ValueError(
            'There is no JavaScript to run: give it as text, run_in_browser("""show(url)""", url=…)'
        )
    return BrowserRun(code=textwrap.dedent(js).strip("\n"), server=server, height=height, route=route)
