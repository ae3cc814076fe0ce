"""Exhibit 3: a crowd in step. Socket.IO's client caps in this order (labsupport.backoff.SocketIO)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from labsupport.zoo.frame import Exhibit, Promise, variant
from labsupport.zoo.pictures import BAD, panels
from labsupport.zoo.specimens import waiting

CLIENTS, FAILURES = 300, 9  # a crowd that fell at the same moment, and tries in vain so many times
DRAWN_EACH = 3  # of the clients; more dots lie on each other
DOT = 0.012  # failures; half of a dot's length
STEP_S = 0.1  # clients within it arrive together
CAP_S, BASE_S = waiting.CAP_S, waiting.BASE_S


@dataclass(frozen=True)
class Seen:
    """Seconds waited: a row for each client, a column for each failure. And other caps and bases."""

    waits_s: np.ndarray
    small_s: list[float]  # the waits at draws 0, ¼, ½, ¾ for base 0.2 s and cap 5 s, failures 0 to 3

    @property
    def in_step(self) -> int:
        """Most clients whose last wait ends within the same STEP_S. Raises ValueError for what is no wait."""
        if not np.isfinite(self.waits_s).all():
            raise ValueError("a wait that is no number of seconds")
        return int(np.bincount((self.waits_s[:, -1] / STEP_S).round().astype(int)).max())


def scene(code: Any) -> Seen:
    """What each client waits, failure after failure; seeded."""
    clients = [code.Reconnecting(seed) for seed in range(CLIENTS)]
    waits_s = np.array([[client.next_s() for _ in range(FAILURES)] for client in clients], dtype=float)
    small_s = [code.wait_s(n, u, 0.2, 5.0) for n in range(4) for u in (0.0, 0.25, 0.5, 0.75)]
    return Seen(waits_s, small_s)


def _crowd(seen: Seen) -> str:
    if seen.in_step <= CLIENTS // 10:
        return ""
    return f"after {FAILURES - 1} failures, {seen.in_step} of {CLIENTS} clients wait the same {STEP_S:g} s"


def _cap(seen: Seen) -> str:
    longest = seen.waits_s.max()
    return "" if longest <= CAP_S + 1e-9 else f"a client waits {longest:.0f} s, and the cap is {CAP_S:g} s"


def _floor(seen: Seen) -> str:
    ceilings_s = np.minimum(CAP_S, BASE_S * 2.0 ** np.arange(FAILURES))
    short = int((seen.waits_s < ceilings_s / 2 - 1e-9).sum())
    return f"{short} waits are shorter than half of their ceiling" if short else ""


def _early(seen: Seen) -> str:
    for failures in range(4):
        mean_s, before_s = seen.waits_s[:, failures].mean(), _BEFORE.waits_s[:, failures].mean()
        if abs(mean_s - before_s) > 1e-9:
            return (
                f"far from the cap, after {failures} failures, they wait {mean_s:.2f} s, not {before_s:.2f}"
            )
    same = np.allclose(seen.small_s, _BEFORE.small_s)
    return "" if same else "with base 0.2 s and cap 5 s, the first waits are not the same as before"


def picture(before: Seen, after: Seen | None) -> tuple[Figure, str]:
    """Each wait of each client, by the number of failures."""
    failures = FAILURES - 1
    title = (
        f"After {failures} failures, {before.in_step} of {CLIENTS} clients come back in the same {STEP_S:g} s"
    )
    said = f"As found, {before.in_step} of {CLIENTS} clients wait the same time in the end."
    if after is not None:
        title = f"With the fix, {after.in_step} of {CLIENTS} clients at most come back together"
        said += f" With your fix, at most {after.in_step} do."
    fig, pairs = panels(title, before, after, height_in=2.0, x="failures so far (failures)", y="wait (s)")
    shift = np.linspace(-0.3, 0.3, CLIENTS // DRAWN_EACH)
    for ax, seen in pairs:
        waits_s = seen.waits_s[::DRAWN_EACH]
        at = np.arange(FAILURES) + shift[:, None]
        gap = np.full(at.shape, np.nan)  # all dots are one line with gaps: a tenth of the bytes of markers
        x, y = np.stack([at - DOT, at + DOT, gap], -1), np.stack([waits_s, waits_s, gap], -1)
        ax.plot(x.ravel(), y.ravel(), color=BAD, linewidth=2.5)
        ax.set_ylim(0, max(34.0, float(seen.waits_s.max()) * 1.05))
    return fig, said


def reference(attempt: int, u: float, base_s: float, cap_s: float) -> float:
    """Cap the ceiling first, then draw."""
    ceiling_s = min(base_s * 2**attempt, cap_s)
    return ceiling_s / 2 + u * ceiling_s / 2


def _on_top(attempt: int, u: float, base_s: float, cap_s: float) -> float:
    delay_s = min(base_s * 2**attempt / 2 * (1 + u), cap_s)
    return delay_s * (1 + u / 2) if base_s * 2**attempt > cap_s else delay_s


def _full(attempt: int, u: float, base_s: float, cap_s: float) -> float:
    return float(u * min(base_s * 2**attempt, cap_s))


def _no_cap(attempt: int, u: float, base_s: float, cap_s: float) -> float:
    return float(base_s * 2**attempt * (1 + u) / 2)


def _at_the_cap(attempt: int, u: float, base_s: float, cap_s: float) -> float:
    delay_s = base_s * 2**attempt * (1 + u) / 2
    return delay_s if delay_s < cap_s else u * cap_s


_BEFORE = scene(waiting)

EXHIBIT = Exhibit(
    number=3,
    title="The crowd in step",
    story=(
        "After a short outage, clients come back spread out, as they should. After a long one the server is "
        "hit by all of them at once, every 30 s, and falls again. Each wait is drawn at random."
    ),
    specimen=waiting,
    part="wait_s",
    scene=scene,
    promises=(
        Promise("spread out", _crowd, symptom=True),
        Promise("the cap", _cap),
        Promise("half for sure", _floor),
        Promise("early waits", _early),
    ),
    reference=reference,
    variants=(
        variant("jitter on top of the cap", _on_top, {"the cap"},
                "who draws high is now back later than promised.",
                lambda seen: seen.waits_s.max() <= 2 * CAP_S),
        variant("full jitter", _full, {"half for sure", "early waits"},
                "a good policy, and another one: each wait changed, not only those at the cap."),
        variant("no cap", _no_cap, {"the cap"},
                "after eight failures clients now wait for minutes.",
                lambda seen: seen.waits_s.max() > 2 * CAP_S),
        variant("drawn anew at the cap", _at_the_cap, {"half for sure"},
                "at the cap some now ask at once, and the server is still down."),
    ),
    picture=picture,
)  # fmt: skip
