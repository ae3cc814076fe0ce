"""What the notebooks import from. The first import lets Jupyter's interrupt button end a waiting `await`."""

import asyncio
import sys

BEAT_S = 0.2  # seconds; an interrupt takes effect at the next beat, and a beat costs some microseconds

_heartbeat: "asyncio.Task[None] | None" = globals().get("_heartbeat")  # one, also after a reload


def _start_heartbeat() -> None:
    """Wake the kernel's event loop now and then, if this is a kernel.

    An interrupt is a signal, and Python acts on signals between two steps of its own code. While a cell waits
    in `await`, the loop sleeps in the kernel's select() and takes no step, so the stop button seems dead
    (ipykernel issue 881). A beat is such a step.
    """
    global _heartbeat
    ipython = sys.modules.get("IPython")  # not imported here: without it, this is no kernel
    shell = ipython.get_ipython() if ipython is not None else None
    if not hasattr(shell, "kernel"):
        return
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return
    if _heartbeat is not None:
        _heartbeat.cancel()
    _heartbeat = loop.create_task(_beat(), name="labsupport heartbeat")  # kept: the loop holds tasks weakly


async def _beat() -> None:
    while True:  # noqa: ASYNC110 - not for an event: to wake up is all that this is for
        await asyncio.sleep(BEAT_S)


_start_heartbeat()
