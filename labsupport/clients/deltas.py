"""A state that a client keeps from differences: applied only where they fit, by RFC 6902 or RFC 7396.

    state = DeltaState()
    state.take({"version": 12, "metrics": {...}})                   a snapshot, or the whole again
    state.feed("merge-patch", {"from": 12, "version": 13, "patch": {...}})
    state.metrics, state.version, state.whole                       whole is False: fetch a snapshot

A difference names the two versions that it lies between. Applied to any other version it would give a state
that looks right and is not, so it is held back, and the state says that it is not whole.
"""

from collections import deque
from typing import Any

import jsonpatch

FORMS = ("json-patch", "merge-patch")
MOST_HELD = 1_000  # differences held back while a snapshot is on its way


class DeltaState:
    """One topic's state, with its version. `metrics` holds what counts only while `whole` is true."""

    def __init__(self) -> None:
        self.metrics: Any = {}
        self.version: int | None = None
        self.whole = False
        self.gaps = 0
        self._held: deque[tuple[str, dict[str, Any]]] = deque(maxlen=MOST_HELD)

    def take(self, snapshot: dict[str, Any]) -> bool:
        """Begin again from a snapshot, and catch up with what came meanwhile; returns `whole`.

        A snapshot older than what is there already changes nothing.
        """
        if self.whole and snapshot["version"] < (self.version or 0):
            return True
        self.metrics, self.version, self.whole = snapshot["metrics"], snapshot["version"], True
        held, self._held = self._held, deque(maxlen=MOST_HELD)
        for form, delta in held:
            self.feed(form, delta)
        return self.whole

    def feed(self, form: str, delta: dict[str, Any]) -> bool:
        """Apply a difference if it fits; returns `whole`. Raises ValueError for a form that is none."""
        if form not in FORMS:
            raise ValueError(f"expected a difference as {' or '.join(FORMS)}, got {form!r}")
        if not self.whole:
            self._held.append((form, delta))
        elif delta["version"] <= (self.version or 0):
            pass  # told twice: it is in the state already
        elif delta["from"] != self.version:
            self.gaps += 1
            self.whole = False
            self._held.append((form, delta))
        else:
            patch = delta["patch"]
            if form == "json-patch":
                self.metrics = jsonpatch.apply_patch(self.metrics, patch)
            else:
                self.metrics = merge(self.metrics, patch)
            self.version = delta["version"]
        return self.whole


def merge(target: Any, patch: Any) -> Any:
    """RFC 7396, section 2: members of the patch replace those of the target, null takes one away."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merge(result.get(name), value)
    return result
