"""What drives a bench from a page: its buttons' messages come in, its pictures and words go out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol

REDRAW_S = 0.2  # seconds between two pictures
FIRST: dict[str, Any] = {"transport": "SSE", "clients": 4, "rate": 2.0, "keeps_place": True}


class Engine(Protocol):
    """What is asked of a bench (labsupport.measure.bench_run has it)."""

    state: str

    async def start(self) -> None: ...

    async def press(self, button: str) -> str: ...

    async def finish(self) -> Any: ...

    def picture(self) -> dict[str, Any]: ...


class Driver:
    """Starts, presses and ends what `make` gives. `tell("said", words)` and `tell("picture", data)` go out.

    Make it where the event loop runs; `told` may be called from any thread.
    """

    def __init__(self, make: Callable[..., Engine], tell: Callable[[str, Any], None]) -> None:
        self._make, self._tell = make, tell
        self._running: Engine | None = None
        self._task: asyncio.Task[None] | None = None
        self._drawing: asyncio.Task[None] | None = None  # kept: the loop itself holds tasks loosely
        self._loop = asyncio.get_running_loop()

    def told(self, content: Mapping[str, Any]) -> None:
        """A button of the page: {"do": "start", "transport": …}, {"do": "end"} or {"do": BUTTON}."""
        with contextlib.suppress(RuntimeError):  # the loop has ended already
            self._loop.call_soon_threadsafe(self._queue, dict(content))

    def _queue(self, content: Mapping[str, Any]) -> None:
        """One thing at a time: what comes meanwhile waits for its turn."""
        before = self._task

        async def then() -> None:
            if before is not None:
                await asyncio.wait([before])
            await self._do(str(content.get("do")), content)

        self._task = self._loop.create_task(then())

    async def _do(self, what: str, content: Mapping[str, Any]) -> None:
        try:
            if what == "start":
                await self.end()
                chosen = {name: content[name] for name in FIRST}
                engine = self._make(chosen.pop("transport"), **chosen)
                self._tell("said", "Starting…")
                await engine.start()
                self._running = engine
                self._drawing = self._loop.create_task(self._redraw(engine))
            elif what == "end":
                await self.end()
            elif self._running is None:
                self._tell("said", "Nothing runs: press Start.")
            else:
                self._tell("said", await self._running.press(what))
        except Exception as error:  # whatever it is, the page says so, and its buttons go on
            self._tell("said", f"{type(error).__name__}: {error}")

    async def end(self) -> None:
        """End what runs, when whoever is behind has caught up."""
        if self._running is not None:
            engine, self._running = self._running, None
            self._tell("said", "No more messages; whoever is behind catches up.")
            await engine.finish()
            self._show(engine)

    async def _redraw(self, engine: Engine) -> None:
        while engine.state != "ended":
            self._show(engine)
            await asyncio.sleep(REDRAW_S)
        self._show(engine)

    def _show(self, engine: Engine) -> None:
        picture = engine.picture()
        self._tell("picture", picture)
        self._tell("said", picture["said"])
