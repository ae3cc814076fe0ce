"""Sweeps: a model, a grid of arguments and some seeds, on all cores of this machine or of many.

    from labsupport.models import contention
    from labsupport.sweep import sweep

    result = sweep(
        contention.simulate,
        {"clients": (10, 50, 100), "policy": ("exponential", "full")},
        seeds=range(10),
        figures=("mean_calls", "mean_time_ms"),
    )
    result.mean("mean_calls")               # one number per point: an array of 3 × 2
    result.band("mean_calls")               # where the true means lie, with 95 % confidence
    result.plot("mean_calls", along="clients")

The same call runs on any `concurrent.futures.Executor`:

    sweep(…, executor=ThreadPoolExecutor())         # a function that is defined in the notebook
    sweep(…, executor=client.get_executor())        # a Dask cluster, client = distributed.Client(address)

With `cache=user_cache()` (or any folder) each point is kept as soon as it is done, by the content of what
was asked. So an interrupted sweep goes on where it stopped, and a second call costs nothing.

    run.py      sweep(): hands out the points, keeps what comes back
    point.py    what a worker does: one call, and the numbers of its result
    workers.py  the processes that are started when no executor is given
    cache.py    content as a name, and one small file per point
    results.py  means, bands, figures
"""

from labsupport.sweep.cache import user_cache
from labsupport.sweep.results import Failure, Line, Sweep, student_t
from labsupport.sweep.run import SweepError, SweepInterrupted, SweepWarning, sweep

__all__ = [
    "Failure",
    "Line",
    "Sweep",
    "SweepError",
    "SweepInterrupted",
    "SweepWarning",
    "student_t",
    "sweep",
    "user_cache",
]
