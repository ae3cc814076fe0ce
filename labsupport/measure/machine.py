"""Weigh this machine: a few seconds of real servers and real load, and a profile comes out.

    mine = await weigh()                       in a notebook
    python -m labsupport measure               from a terminal: also writes it as the reader's own profile

Client and server share the machine, as they do in every chapter: the figures say what this machine shows in
the lab, not what a server alone would reach.
"""

import asyncio
import json
import os
import platform
import statistics
import sys
from collections.abc import Callable
from datetime import date
from typing import Any

import numpy as np

from labsupport.measure.memory import ParkedWeight, weigh_parked
from labsupport.measure.rates import accepts_per_s, requests_per_s, round_trips
from labsupport.measure.sockets import LoadError, Target, ask, post
from labsupport.processes import Server, middlebox, serve
from labsupport.profile import Profile, Quantiles, WireBytes
from labsupport.wire.captures import Capture

INSTANCE = "weighed"  # servers of its own, so that no chapter's server is disturbed
ROUND_TRIPS = 2_000
POLLS_S = 2.0  # seconds of polling as fast as it goes
ACCEPTS = 3_000  # connections
PARKED = 1_000  # requests
AGAIN = 3  # of what is short, three runs are made and the middle one counts
MESSAGE = "x" * 100  # 100 bytes, what the lab compares all transports with

# What Chromium 156 adds to a fetch() of the same origin, without cookies (recorded by the middlebox).
BROWSER = (
    "Connection: keep-alive",
    'sec-ch-ua-platform: "Linux"',
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 "
    "Safari/537.36",
    'sec-ch-ua: "Not:A-Brand";v="8", "Chromium";v="156"',
    "sec-ch-ua-mobile: ?0",
    "Accept: */*",
    "Sec-Fetch-Site: same-origin",
    "Sec-Fetch-Mode: cors",
    "Sec-Fetch-Dest: empty",
    "Referer: http://127.0.0.1:8000/",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Accept-Language: en-US,en;q=0.9",
)

Progress = Callable[[str], None]


async def weigh(progress: Progress = print) -> Profile:
    """Measure this machine with servers of its own, which end with the measurement. About ten seconds.

    `progress` is told each step, in words without figures. Nothing is written: see Profile.save and own_path.
    """
    steps = iter(range(1, 6))

    def step(text: str) -> None:
        progress(f"{next(steps)} of 5  {text}")

    servers: list[Server] = []
    try:
        step("one poll after another, one connection")
        short = serve("short_polling", instance=INSTANCE)
        servers.append(short)
        polls = f"{short.url}/messages"
        times_ms = await round_trips(polls, ROUND_TRIPS)
        step("polls as fast as they are answered, 64 connections")
        polled = await requests_per_s(polls, seconds=POLLS_S)
        step(f"{ACCEPTS} new connections")
        accepted = [await accepts_per_s(polls, ACCEPTS) for _ in range(AGAIN)]
        step("the bytes of a browser's poll")
        box = middlebox(short, instance=INSTANCE)
        servers.append(box)
        empty = await asyncio.to_thread(poll_bytes, short.url, box.url, box.recording)
        message = await asyncio.to_thread(poll_bytes, short.url, box.url, box.recording, MESSAGE)
        step(f"{PARKED} parked requests")
        long = serve("long_polling", instance=INSTANCE)
        servers.append(long)
        weights = [await weigh_parked(long, PARKED) for _ in range(AGAIN)]
    finally:
        for server in servers:
            server.stop()
    return Profile(
        **about_this_machine(),
        round_trip_ms=Quantiles(*(rounded(value) for value in np.percentile(times_ms, [50, 99]))),
        polls_per_s=rounded(polled.per_s),
        accepts_per_s=rounded(statistics.median(rate.per_s for rate in accepted)),
        empty_poll_bytes=empty,
        message_poll_bytes=message,
        bytes_per_parked_request_process=_middle(weights, lambda weight: weight.process_bytes),
        bytes_per_parked_request_kernel=_middle(weights, lambda weight: weight.kernel_bytes),
        last_of_1000_parked_ms=rounded(statistics.median(weight.woken.last_ms for weight in weights)),
    )


def poll_bytes(
    server_url: str, box_url: str, recording: Callable[[], dict[str, object]], message: str | None = None
) -> WireBytes:
    """Bytes on the wire of one poll with a browser's head, recorded by the middlebox at `box_url`.

    With `message`, the server at `server_url` has one for it: a JSON string.
    """
    server, box = Target.of(server_url), Target.of(box_url)
    position = json.loads(ask(server, "/messages").body)["position"]
    if message is not None:
        post(server, "/messages", json.dumps({"data": message}).encode())
    before = Capture.from_recording(recording())
    ask(box, f"/messages?since={position}", "".join(f"{line}\r\n" for line in BROWSER).encode())
    after = Capture.from_recording(recording())
    return WireBytes(after.bytes_up - before.bytes_up, after.bytes_down - before.bytes_down)


def about_this_machine() -> dict[str, Any]:
    """The part of a profile that needs no measurement. Nothing that tells whose machine it is."""
    return {
        "measured_on": date.today().isoformat(),
        "os": _system(),
        "python": platform.python_version(),
        "cores": _cores(),
        "memory_bytes": _memory_bytes(),
        "descriptors": _descriptors(),
    }


def _system() -> str:
    if sys.platform == "darwin":
        return f"macOS {platform.mac_ver()[0]}"
    return f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}"


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # what this process may use, not what the machine has
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return None


def _descriptors() -> int | None:
    try:
        import resource  # not on Windows
    except ImportError:
        return None
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if hard == resource.RLIM_INFINITY else hard


def _middle(weights: list[ParkedWeight], read: Callable[[ParkedWeight], float | None]) -> float | None:
    known = [value for weight in weights if (value := read(weight)) is not None]
    return rounded(statistics.median(known)) if known else None


def rounded(value: float) -> float:
    """Three significant digits: two runs differ in the second."""
    if not value > 0:
        raise LoadError(f"a figure came out as {value}, which cannot be: is the machine very busy? Try again")
    return float(f"{value:.3g}")
