"""Event streams: bytes of `text/event-stream` to events, and events to bytes.

Follows the WHATWG HTML standard, sections 9.2.5 (the format) and 9.2.6 (the algorithm), at every
possible chunk boundary: TCP and HTTP cut where they like, so a parser may never rely on where a chunk ends.

    parser = EventStreamParser()
    for chunk in response:
        for event in parser.feed(chunk):
            print(event.type, event.data, event.last_event_id)

There is no "end": what stands behind the last blank line when the stream ends is no event. Drop the parser.
"""

from __future__ import annotations

from dataclasses import dataclass

BOM = b"\xef\xbb\xbf"

# bytes; the standard has no limit, and a server that never ends a line would otherwise fill the memory
MAX_EVENT_BYTES = 16 << 20

# Python refuses int(text) above a limit that users may lower to 640 digits, and no timer waits 10^640 ms
MAX_RETRY_DIGITS = 640


@dataclass(frozen=True, slots=True)
class Event:
    """One dispatched event: what an EventSource hands to a listener.

    type           the `event:` field, "message" when there was none
    data           the `data:` lines, joined by a newline
    last_event_id  the newest `id:` so far on this stream, "" when there was none
    """

    type: str
    data: str
    last_event_id: str


class EventTooLong(ValueError):
    """One event, or one line, passed the limit. `.events` holds what the same chunk completed before it."""

    def __init__(self, message: str, events: list[Event] | None = None) -> None:
        super().__init__(message)
        self.events = events or []


class EventStreamParser:
    """Incremental parser of one event stream, that is, of one response body.

    last_event_id    what the connection before this one ended with. Chromium begins each new stream with it.
                     To the letter each stream begins with an empty buffer (9.2.6), so that a first event
                     without an id would forget the place; leave the argument out for that.
    max_event_bytes  limit for the lines of one event that must be kept, bytes.

    After each feed: `.last_event_id` is what a reconnect would send as Last-Event-ID, and `.retry_ms` is the
    newest valid `retry:` in milliseconds, None before the first.
    """

    def __init__(self, last_event_id: str = "", *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self.last_event_id = last_event_id
        self.retry_ms: int | None = None
        self._max_event_bytes = max_event_bytes
        self._too_long = False
        # Lines are cut as bytes and decoded whole: CR and LF never stand inside a UTF-8 sequence, so that
        # decoding line by line gives the same text as decoding the stream.
        self._line = bytearray()
        self._after_cr = False
        self._first_line = True
        # The three buffers of section 9.2.6.
        self._data = bytearray()
        self._event_type = ""
        self._last_event_id_buffer = last_event_id

    def feed(self, chunk: bytes) -> list[Event]:
        """Take the next bytes (any number, also none) and return the events that they complete, in order.

        Raises EventTooLong when an event passes the limit; the parser is then of no further use.
        """
        if not isinstance(chunk, (bytes, bytearray, memoryview)):
            raise TypeError(
                f"feed() expected bytes, got {type(chunk).__name__}. The parser decodes UTF-8 itself: "
                "hand it the body as it came from the network."
            )
        if self._too_long:
            raise EventTooLong("This stream already passed the limit. Close it and start a new parser.")
        events: list[Event] = []
        # bytes.splitlines ends lines at LF, CR and CRLF only; str.splitlines knows seven more.
        for piece in bytes(chunk).splitlines(keepends=True):
            if self._after_cr:
                self._after_cr = False
                if piece == b"\n":  # the second half of a CRLF whose CR ended the line already
                    continue
            self._take(piece, events)
        return events

    def _take(self, piece: bytes, events: list[Event]) -> None:
        """Add a piece of a line; at its end process the line."""
        # A lone CR ends a line too, so nothing waits for the byte behind it.
        self._after_cr = piece.endswith(b"\r")
        content = piece.rstrip(b"\r\n")
        self._line += content
        if len(self._line) + len(self._data) > self._max_event_bytes:
            self._too_long = True
            raise EventTooLong(
                f"An event grew past {self._max_event_bytes} bytes without a blank line. Either the server "
                "forgot to end its events, or raise the limit: EventStreamParser(max_event_bytes=…).",
                events,
            )
        if len(content) == len(piece):
            return
        line = bytes(self._line)
        self._line.clear()
        if self._first_line:
            self._first_line = False
            line = line.removeprefix(BOM)
        if line:
            self._process_field(line)
        else:
            self._dispatch(events)

    def _process_field(self, line: bytes) -> None:
        # A comment starts with the colon: its field name is empty, and so unknown.
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data += value
            self._data += b"\n"
        elif name == b"event":
            self._event_type = value.decode("utf-8", "replace")
        elif name == b"id":
            if b"\0" not in value:
                self._last_event_id_buffer = value.decode("utf-8", "replace")
        # bytes.isdigit knows ASCII digits only, str.isdigit also those of other scripts.
        elif name == b"retry" and value.isdigit():
            digits = value.lstrip(b"0") or b"0"
            if len(digits) <= MAX_RETRY_DIGITS:
                self.retry_ms = int(digits)

    def _dispatch(self, events: list[Event]) -> None:
        """Section 9.2.6, "dispatch the event": the id moves even when there is no data to deliver."""
        self.last_event_id = self._last_event_id_buffer
        if self._data:
            data = self._data[:-1].decode("utf-8", "replace")
            events.append(Event(self._event_type or "message", data, self.last_event_id))
        self._data.clear()
        self._event_type = ""


def encode_event(
    data: str | None = None,
    *,
    event: str | None = None,
    id: str | None = None,
    retry_ms: int | None = None,
) -> bytes:
    """One block of an event stream, its blank line included.

    Each line of `data` gets its own `data:` line. The format can't carry a CR: CR and CRLF in `data` arrive
    as LF. Without `data` nothing is delivered, but id and retry take effect: a silent bookmark.
    Raises ValueError where a field could not arrive as it was given.
    """
    fields: list[tuple[str, str]] = []
    if id is not None:
        _refuse(id, "\r\n\0", "id")
        fields.append(("id", id))
    if event is not None:
        _refuse(event, "\r\n", "event")
        fields.append(("event", event))
    if retry_ms is not None:
        if not isinstance(retry_ms, int) or retry_ms < 0:
            raise ValueError(f"retry_ms={retry_ms!r}: expected whole milliseconds from 0 up, such as 3000.")
        fields.append(("retry", str(int(retry_ms))))
    if data is not None:
        lines = data.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        fields += [("data", line) for line in lines]
    if not fields:
        raise ValueError(
            "Nothing to send: give data, event, id or retry_ms. A heartbeat is encode_comment()."
        )
    # The space is what the parser takes off again; without it a value that starts with a space would lose it.
    return _utf8("".join(f"{name}: {value}\n" for name, value in fields) + "\n")


def encode_comment(text: str = "") -> bytes:
    """A comment line: keeps the connection from looking idle, and no client sees an event."""
    _refuse(text, "\r\n", "comment")
    return _utf8(f": {text}\n" if text else ":\n")


def _refuse(value: str, forbidden: str, field: str) -> None:
    for character in forbidden:
        if character in value:
            raise ValueError(
                f"The {field} field holds {character!r}, which ends the line or voids the field on the wire. "
                f"Remove it from {value!r}."
            )


def _utf8(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"An event stream is UTF-8, and {text[error.start]!r}, half of a surrogate pair, has none."
        ) from error
