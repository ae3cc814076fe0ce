"""Hand out the points of a sweep, keep what comes back, and lose nothing on the way."""

import contextlib
import math
import os
import secrets
import sys
import warnings
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np

from labsupport.sweep.cache import Broken, Cache
from labsupport.sweep.point import Numbers, call
from labsupport.sweep.results import Failure, Sweep, values_of
from labsupport.sweep.workers import Workers, refuse_what_no_process_finds

BEAT_S = 0.2  # seconds: how late an interrupt may be

Progress = Callable[[int, int], None]  # calls that are settled, calls in all


class SweepError(RuntimeError):
    """No point came through, or the workers are gone. The text says why, and what is kept."""


class SweepInterrupted(KeyboardInterrupt):
    """Somebody pressed stop. `partial` is a Sweep of what was done by then, NaN elsewhere."""

    def __init__(self, said: str, partial: Sweep) -> None:
        super().__init__(said)
        self.partial = partial


class SweepWarning(UserWarning):
    """Something went wrong with a few points, or with the cache; the sweep went on."""


def sweep(
    function: Callable[..., Any],
    grid: Mapping[str, Iterable[Any]],
    seeds: Iterable[Any] = range(1),
    *,
    executor: Executor | None = None,
    cache: str | os.PathLike[str] | None = None,
    version: str = "",
    figures: Sequence[str] | None = None,
    progress: bool | Progress | None = None,
) -> Sweep:
    """Call `function(**point, seed=seed)` for every point of the grid and every seed.

    function   returns a dict of numbers; or any object, and `figures` names the attributes that are meant
    grid       for each argument the values to try, {"clients": (10, 100), "policy": ("full", "none")}
    executor   any concurrent.futures.Executor, left open; without one, a process per core (spawned), which
               needs a function that can be imported: one in a file, not in a notebook
    cache      a folder where each call's numbers are kept by content (see cache.py); None: nothing is kept
    version    a text that you change when code changes that the cache cannot see
    progress   True: a line for every tenth of the calls; False: nothing; None: a counter if this is a
               terminal; or a function that is called with (settled, in all) after each call

    A call that raises is told with its arguments (SweepWarning, `failures`), is tried again by the next
    sweep, and the rest goes on; only if none comes through it is a SweepError. On an interrupt what has not
    started is cancelled, what runs may end (a second interrupt does not wait), and SweepInterrupted holds
    what is done.
    """
    work = _Work(
        function,
        _axes(grid),
        _values("seeds", seeds),
        None if figures is None else _values("figures", figures),
        _shown(progress),
    )
    if cache is not None:
        work.cache = Cache.of(cache, function, work.figures, version)
    work.look_up()
    work.tell()
    if work.missing and executor is None:
        _run_on_own_processes(work)
    elif work.missing and executor is not None:
        work.run(executor)
    return work.finished()


@dataclass
class _Work:
    """A sweep under way. A call's place is its number in the grid, the seed fastest."""

    function: Callable[..., Any]
    axes: dict[str, tuple[Any, ...]]
    seeds: tuple[Any, ...]
    figures: tuple[str, ...] | None
    progress: Progress
    cache: Cache | None = None
    found: dict[int, Numbers] = field(default_factory=dict)
    failed: dict[int, Exception] = field(default_factory=dict)
    cached: int = 0
    missing: list[int] = field(default_factory=list)
    writes: bool = True
    gone: BrokenExecutor | None = None

    @property
    def total(self) -> int:
        return math.prod(map(len, self.axes.values())) * len(self.seeds)

    def arguments(self, place: int) -> dict[str, Any]:
        """Return what the call at a place is called with."""
        shape = (*map(len, self.axes.values()), len(self.seeds))
        *indices, seed = map(int, np.unravel_index(place, shape))
        point = {name: values[i] for (name, values), i in zip(self.axes.items(), indices, strict=True)}
        return {**point, "seed": self.seeds[seed]}

    def look_up(self) -> None:
        """Take what the cache has; what is broken there is told, and missing."""
        for place in range(self.total):
            kept = None
            if self.cache is not None:
                file = self.cache.place(self.arguments(place))
                try:
                    kept = self.cache.get(file)
                except Broken as error:
                    _warn(f"the cache's file {file.name} is broken ({error}): this point is computed again")
            if kept is None:
                self.missing.append(place)
            else:
                self.found[place] = kept
        self.cached = len(self.found)

    def run(self, executor: Executor) -> None:
        """Make the missing calls; on an interrupt, keep what is done."""
        futures: dict[Future[Numbers], int] = {}
        try:
            self.submit(executor, futures)
            for future in _as_they_end(futures):
                self.settle(futures[future], future)
        except KeyboardInterrupt as stopped:
            self.wind_up(futures)
            raise SweepInterrupted(f"interrupted: {self.kept()}", self.result()) from stopped
        except BaseException:
            for future in futures:
                future.cancel()
            raise
        if self.gone is not None:
            raise SweepError(
                "a worker is gone: memory may have run out, or, in a script, sweep() is called outside of "
                f"`if __name__ == '__main__':`. {self.kept()} ({self.gone})"
            ) from self.gone

    def submit(self, executor: Executor, futures: "dict[Future[Numbers], int]") -> None:
        """Hand out the missing calls, as far as there is somebody to take them."""
        # Dask names a call by its content, and cancels it by that name a moment later. With a ticket of its
        # own, a sweep that is started right after an interrupted one is not cancelled with it.
        ticket = secrets.token_hex(8)
        try:
            for place in self.missing:
                asked = (self.function, self.arguments(place), self.figures, ticket)
                futures[executor.submit(call, *asked)] = place
        except BrokenExecutor as error:
            self.gone = error

    def settle(self, place: int, future: "Future[Numbers]") -> None:
        """Take what one call brought."""
        error = _error_of(future)
        if error is None:
            self.found[place] = future.result()
            self.keep(place)
        elif isinstance(error, BrokenExecutor):  # it fails all open calls; what others brought still counts
            self.gone = error
            return
        elif isinstance(error, Exception):
            self.failed[place] = error
        else:
            raise error  # an interrupt that came to a thread at work
        self.tell()

    def wind_up(self, futures: "Mapping[Future[Numbers], int]") -> None:
        """Cancel what has not started, and take what was running or done."""
        # A cancelled future may never be told so: only wait for those that could not be cancelled.
        running = [future for future in futures if not future.cancel()]
        self.progress = _nothing
        for future in _as_they_end(running):
            place, error = futures[future], _error_of(future)
            settled = place in self.found or place in self.failed
            if not settled and (error is None or isinstance(error, Exception)):
                self.settle(place, future)

    def keep(self, place: int) -> None:
        """Write a call's numbers into the cache; a disk that is full costs the cache and not the sweep."""
        if self.cache is None or not self.writes:
            return
        arguments = self.arguments(place)
        try:
            self.cache.put(self.cache.place(arguments), arguments, self.found[place])
        except OSError as error:
            self.writes = False
            _warn(f"nothing more can be kept in {self.cache.folder} ({error}): the sweep goes on without")

    def kept(self) -> str:
        """Return in a sentence what is done, and whether it survives."""
        done = f"{len(self.found):,} of {self.total:,} calls are done"
        if self.cache is None:
            return f"{done}; with cache=… the same call would go on from there"
        return f"{done} and kept; the same call goes on from there"

    def tell(self) -> None:
        self.progress(len(self.found) + len(self.failed), self.total)

    def result(self) -> Sweep:
        return Sweep(
            axes=self.axes,
            seeds=self.seeds,
            values=values_of(self.axes, self.seeds, self.found),
            failures=tuple(
                Failure(self.arguments(place), f"{type(error).__name__}: {error}".removesuffix(": "))
                for place, error in sorted(self.failed.items())
            ),
            computed=len(self.found) - self.cached,
            cached=self.cached,
        )

    def finished(self) -> Sweep:
        """Return the result, and tell what failed."""
        result = self.result()
        if not self.failed:
            return result
        first = min(self.failed)
        if not self.found:
            said = f"all {self.total:,} calls failed, the first {result.failures[0]}"
            raise SweepError(said) from self.failed[first]
        shown = "; ".join(map(str, result.failures[:3]))
        more = f"; and {len(result.failures) - 3:,} more, see .failures" if len(result.failures) > 3 else ""
        _warn(f"{len(result.failures):,} of {self.total:,} calls failed: {shown}{more}")
        return result


# ---- what is asked -----------------------------------------------------------------------------------------


def _axes(grid: Mapping[str, Iterable[Any]]) -> dict[str, tuple[Any, ...]]:
    """Return the grid as tuples, or say what is wrong with it."""
    if not isinstance(grid, Mapping) or not grid:
        raise ValueError(f"grid maps each argument to its values, {{'clients': (10, 100)}}; got {grid!r}")
    if "seed" in grid:
        raise ValueError("the seed is not part of the grid: give seeds=range(10)")
    return {str(name): _values(f"grid[{name!r}]", values) for name, values in grid.items()}


def _values(name: str, values: Iterable[Any]) -> tuple[Any, ...]:
    """Return some values as a tuple of plain Python things."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be several values, such as (10, 100), got {values!r}")
    plain = tuple(value.item() if isinstance(value, np.generic) else value for value in values)
    if not plain:
        raise ValueError(f"{name} is empty: there is nothing to sweep")
    seen = set()
    for value in plain:
        if not isinstance(value, Hashable):
            continue
        if value in seen:
            raise ValueError(f"{name} has {value!r} twice: that would be one point counted double")
        seen.add(value)
    return plain


def _as_they_end(futures: "Collection[Future[Numbers]]") -> "Iterator[Future[Numbers]]":
    """Yield the futures in the order in which they end."""
    ended: SimpleQueue[Future[Numbers]] = SimpleQueue()
    for future in futures:
        future.add_done_callback(ended.put)
    left = len(futures)
    while left:
        # An interrupt in the instant before a wait takes effect after it: so no wait is long.
        with contextlib.suppress(Empty):
            yield ended.get(timeout=BEAT_S)
            left -= 1


def _error_of(future: "Future[Numbers]") -> BaseException | None:
    """Return what a call raised, also if somebody else cancelled it."""
    try:
        return future.exception()
    except CancelledError as error:
        return error


# ---- the default workers and what is shown -----------------------------------------------------------------


def _run_on_own_processes(work: _Work) -> None:
    """Run on a process per core, and end them."""
    refuse_what_no_process_finds(work.function)
    pool, patient = Workers(len(work.missing)), True
    try:
        work.run(pool)
    except KeyboardInterrupt as stopped:
        patient = isinstance(stopped, SweepInterrupted)  # else it came while waiting for what was running
        raise
    finally:
        pool.shutdown(wait=patient, cancel_futures=True)


def _shown(progress: bool | Progress | None) -> Progress:
    """Return the function that shows how far it is."""
    if callable(progress):
        return progress
    if progress is None:
        return _counter if sys.stderr.isatty() else _nothing
    return _tenths() if progress else _nothing


def _nothing(settled: int, total: int) -> None:
    """Show nothing."""


def _counter(settled: int, total: int) -> None:
    """Count in one line of the terminal."""
    print(f"\r{settled:,} of {total:,}", end="\n" if settled == total else "", file=sys.stderr, flush=True)


def _tenths() -> Progress:
    """Print a line for every tenth: the same lines in every run, whatever the machine."""
    printed = 0

    def tell(settled: int, total: int) -> None:
        nonlocal printed
        tenth = 10 * settled // total
        if tenth > printed:
            printed = tenth
            print(f"{settled:,} of {total:,}")

    return tell


def _warn(said: str) -> None:
    """Warn at the line outside of this room that called sweep()."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and Path(frame.f_code.co_filename).parent == Path(__file__).parent:
        frame, level = frame.f_back, level + 1
    warnings.warn(said, SweepWarning, stacklevel=level)
