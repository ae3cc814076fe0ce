"""What the notebooks import from.

The first import mends two things in the kernel while a cell waits in `await`: Jupyter's interrupt button ends
it, and sliders that are moved meanwhile go on moving afterwards. And where only a browser's Python is, it
puts in what the models lack there (labsupport/plain).
"""

import sys
from typing import TYPE_CHECKING, Any

from labsupport import plain

if TYPE_CHECKING:
    import asyncio

BEAT_S = 0.2  # seconds; an interrupt takes effect at the next beat, and a beat costs some microseconds

_heartbeat: "asyncio.Task[None] | None" = globals().get("_heartbeat")  # one, also after a reload


def _kernel() -> Any:
    """The kernel that this code runs in; None if it runs in none."""
    ipython = sys.modules.get("IPython")  # not imported here: without it, this is no kernel
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None)


def _start_heartbeat() -> None:
    """Wake the kernel's event loop now and then, if this is a kernel.

    An interrupt is a signal, and Python acts on signals between two steps of its own code. While a cell waits
    in `await`, the loop sleeps in the kernel's select() and takes no step, so the stop button seems dead
    (ipykernel issue 881). A beat is such a step.
    """
    global _heartbeat
    if _kernel() is None or sys.platform == "emscripten":  # a browser sends no signals
        return
    import asyncio  # here: a model alone needs no loop, and asyncio loads sockets and threads

    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return
    if _heartbeat is not None:
        _heartbeat.cancel()
    _heartbeat = loop.create_task(_beat(), name="labsupport heartbeat")  # kept: the loop holds tasks weakly


async def _beat() -> None:
    import asyncio

    while True:  # noqa: ASYNC110 - not for an event: to wake up is all that this is for
        await asyncio.sleep(BEAT_S)


def _tell_widgets_when_done() -> None:
    """Let the kernel say "idle" after a widget's message that came while a cell waits, as after every other.

    ipykernel 7.4 handles such a message at once, beside the cell, and then says nothing. But the browser
    sends a widget's next message only when it has heard "idle" for the last one (Jupyter's messaging protocol
    asks for it after each request), so that slider would never be heard again. The cell is still at work,
    hence the "busy" in its name. Kernels without that way of handling messages are left alone.
    """
    kernel = _kernel()
    handle = getattr(kernel, "dispatch_shell", None)
    if handle is None or getattr(handle, "tells", False) or not hasattr(kernel, "_publish_status"):
        return
    import inspect

    if "concurrent" not in inspect.signature(handle).parameters:
        return

    async def dispatch_shell(message: Any, /, *more: Any, concurrent: bool = False, **named: Any) -> None:
        cell = kernel.get_parent("shell")
        await handle(message, *more, concurrent=concurrent, **named)
        if concurrent:
            kernel._publish_status("idle", "shell")  # its parent is now the widget's message
            kernel._publish_status("busy", "shell", parent=cell)

    dispatch_shell.tells = True  # type: ignore[attr-defined] # once, also after a reload
    kernel.dispatch_shell = dispatch_shell


plain.prepare()
_start_heartbeat()
_tell_widgets_when_done()
