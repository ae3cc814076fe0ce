"""The reading end of an event stream: bytes from the network in, events out.

    data: first line
    data: second line
                              a blank line delivers the event

A line ends with LF, CR or CRLF, as the server likes (WHATWG HTML, 9.2.5).
"""

from __future__ import annotations


class EventStream:
    """Feed it chunks as they come; it gives the data of each event that they complete."""

    def __init__(self) -> None:
        self._rest = b""  # what take_lines left for the next time
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> list[str]:
        """Take the next bytes and return the events that are now complete."""
        lines, self._rest = take_lines(self._rest, chunk)
        events = []
        for line in lines:
            if line.startswith(b"data:"):
                self._data.append(line.removeprefix(b"data:").removeprefix(b" ").decode())
            elif line == b"" and self._data:
                events.append("\n".join(self._data))
                self._data = []
        return events


def take_lines(rest: bytes, chunk: bytes) -> tuple[list[bytes], bytes]:
    """Cut `rest` (what the last call returned second, b"" at first) and `chunk` into lines.

    Returns the lines that are complete, without their ends, and what is left for the next call.
    """
    text = (rest + chunk).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    *lines, rest = text.split(b"\n")
    return lines, rest
