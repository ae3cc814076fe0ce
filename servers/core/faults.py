"""What can go wrong in the middlebox: the switches, the check of a change to them, the end of an answer."""

import dataclasses
import json

NUMBERS = {  # the least and the most
    "delay_s": (0, 86_400),  # a day can stand for "never"
    "jitter_s": (0, 86_400),
    "idle_s": (0.01, 86_400),  # shorter, and no answer would be back in time
    "bytes_per_s": (1, 1e12),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong; the defaults are "off". Each connection and direction has it all for itself."""

    delay_s: float = 0.0  # every byte stays so long in the box; the line carries no less for that
    jitter_s: float = 0.0  # on top, up to so long, drawn for each piece; the order stays
    bytes_per_s: float | None = None  # a slow line
    forget: bool = False  # nothing passes, no end either; each side believes the connection open
    half_open: str | None = None  # the same in one direction, "up" or "down"
    buffer: bool = False  # a response waits until it is whole or its connection ends, as in some proxies
    split: bool = False  # one byte a write
    idle_s: float | None = None  # a connection without a byte for so long is cut
    refuse: bool = False  # nobody listens


def changed(faults: Faults, change: object) -> Faults:
    """`faults` with those in `change` set; null is "off". ValueError says what does not fit."""
    if not isinstance(change, dict):
        raise ValueError('expected an object like {"delay_s": 0.2}')
    off = dataclasses.asdict(Faults())
    for name, value in change.items():
        if name not in off:
            raise ValueError(f"no fault is called {name!r}; there are: {', '.join(off)}")
        if name in NUMBERS:
            least, most = NUMBERS[name]
            fits = type(value) in (int, float) and least <= value <= most
            wants = f"a number from {least:g} to {most:g}"
        elif name == "half_open":
            fits, wants = value in ("up", "down"), '"up" or "down"'
        else:
            fits, wants = type(value) is bool, "true or false"
        if value is not None and not fits:
            raise ValueError(f"{name}: expected {wants}, or null; got {json.dumps(value)[:80]}")
        faults = dataclasses.replace(faults, **{name: off[name] if value is None else value})
    return faults


def response_is_whole(held: bytearray) -> bool:
    """Whether these bytes, from the first of a response on, hold all of it (RFC 9112, section 6.3).

    Of the chunked coding, only the last chunk without trailers is looked for.
    """
    end = held.find(b"\r\n\r\n")
    if end < 0 or not held.startswith(b"HTTP/1."):
        return False
    status, *lines = bytes(held[:end]).lower().split(b"\r\n")
    if status[9:12] in (b"101", b"204", b"304"):
        return True
    fields = dict(line.split(b":", 1) for line in lines if b":" in line)
    if b"chunked" in fields.get(b"transfer-encoding", b""):
        return held.endswith(b"\r\n0\r\n\r\n")
    length = fields.get(b"content-length", b"").strip()
    return length.isdigit() and len(length) < 16 and len(held) - end - 4 >= int(length)
