"""What the middlebox saw: every byte with its time and direction, up to a limit."""

import base64
import json
from collections.abc import Callable, Iterable
from typing import Any

MAX_RECORDING = 32 << 20  # bytes; then the recording stops, and says that it is not whole
RECORD_COST = 200  # bytes that a record takes besides its data, so that tiny ones are bounded as well


class Recording:
    """What came, when and from which side."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.begin()

    def begin(self, open_now: Iterable[int] = ()) -> None:
        """Begin anew, at t = 0, with the connections `open_now` opened then."""
        self.since, self.size, self.truncated = self.clock(), 0, False
        self.records: list[tuple[float, int, str, str, bytes, bool]] = []
        for number in open_now:
            self.add(number, "up", "open")

    def add(self, number: int, direction: str, kind: str, data: bytes = b"", dropped: bool = False) -> None:
        self.size += len(data) + RECORD_COST
        self.truncated = self.truncated or self.size > MAX_RECORDING
        if not self.truncated:
            self.records.append((self.clock() - self.since, number, direction, kind, data, dropped))

    def as_json(self, target: str) -> bytes:
        """Runs in a thread: with a full recording it takes a good second, and the bytes must not wait."""
        head = json.dumps({"target": target, "truncated": self.truncated}).encode()
        records = b",".join(json.dumps(_record(*entry)).encode() for entry in self.records.copy())
        return head[:-1] + b', "records": [' + records + b"]}"


def _record(t: float, number: int, direction: str, kind: str, data: bytes, dropped: bool) -> dict[str, Any]:
    record: dict[str, Any] = {"t": round(t, 6), "connection": number, "direction": direction, "kind": kind}
    record["data"] = base64.b64encode(data).decode()
    return {**record, "dropped": True} if dropped else record
