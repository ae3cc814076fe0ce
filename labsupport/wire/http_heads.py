"""The heads of HTTP/1.1 messages: start line and field lines, read strictly (RFC 9112 sections 2 to 5).

`labsupport.wire.http` offers all of this and reads whole messages; start there.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from labsupport.wire.http import HttpMessage

MAX_HEAD = 64 * 1024  # bytes; the usual servers refuse heads over 8 to 64 KiB

Field = tuple[str, str]

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # RFC 9110 section 5.6.2
_REQUEST_LINE = re.compile(rb"(%b) ([!-~\x80-\xff]+) HTTP/(\d)\.(\d)" % TOKEN)
_STATUS_LINE = re.compile(rb"HTTP/(\d)\.(\d) ([1-9]\d\d)(?: ([\t -~\x80-\xff]*))?")
_FIELD_LINE = re.compile(rb"(%b):[ \t]*([\t -~\x80-\xff]*)" % TOKEN)


class HttpError(ValueError):
    """The bytes are not an HTTP/1.1 message that can be read in one way only.

    `messages` holds those that were complete before the fault and that no call has returned yet.
    """

    messages: "list[HttpMessage]"

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.messages = []


class _Fields:
    """Look-up by name for both kinds of head; names do not care for case (RFC 9110 section 5.1)."""

    __slots__ = ()
    fields: list[Field]

    def get_all(self, name: str) -> list[str]:
        """The values of every field line of this name, in order."""
        return [value for given, value in self.fields if given.lower() == name.lower()]

    def get(self, name: str, default: str | None = None) -> str | None:
        """The field's value; several lines of one name are one list (RFC 9110 section 5.3)."""
        values = self.get_all(name)
        return ", ".join(values) if values else default

    def members(self, name: str) -> list[str]:
        """The members of a comma-separated field, in lower case."""
        parts = (part.strip(" \t").lower() for value in self.get_all(name) for part in value.split(","))
        return [part for part in parts if part]


@dataclass(frozen=True, slots=True)
class RequestHead(_Fields):
    """`GET /messages HTTP/1.1` and its fields, in order, with names and values as they came."""

    method: str
    target: str
    version: str
    fields: list[Field]


@dataclass(frozen=True, slots=True)
class ResponseHead(_Fields):
    """`HTTP/1.1 200 OK` and its fields, in order, with names and values as they came."""

    version: str
    status: int
    reason: str
    fields: list[Field]

    @property
    def interim(self) -> bool:
        """An answer before the answer, as 100 Continue is; 101 is HTTP's last (RFC 9110 section 15.2)."""
        return 100 <= self.status < 200 and self.status != 101


Head = RequestHead | ResponseHead


def parse_request_head(data: bytes) -> RequestHead:
    """Read the head at the start of `data`; what follows its empty line is not looked at. HttpError."""
    lines = _lines(data, "a request line such as GET / HTTP/1.1")
    head = request_line(lines[0])
    head.fields.extend(map(field_line, lines[1:]))
    return head


def parse_response_head(data: bytes) -> ResponseHead:
    """Read the head at the start of `data`; what follows its empty line is not looked at. HttpError."""
    lines = _lines(data, "a status line such as HTTP/1.1 200 OK")
    head = status_line(lines[0])
    head.fields.extend(map(field_line, lines[1:]))
    return head


def _lines(data: bytes, expected: str) -> Sequence[bytes]:
    """The lines of a head, without the empty one that ends it."""
    lines: list[bytes] = []
    at = 0
    while 0 <= (end := data.find(b"\n", at)) < MAX_HEAD:
        line = without_crlf(data[at : end + 1])
        at = end + 1
        if not line and not lines:
            raise HttpError(f"expected {expected}, got an empty line")
        if not line:
            return lines
        lines.append(line)
    if len(data) > MAX_HEAD:
        raise HttpError(f"the head is longer than {MAX_HEAD} bytes: is this the start of a message?")
    raise HttpError(r"the head does not end: expected an empty line (\r\n\r\n) behind the last field line")


def without_crlf(line: bytes) -> bytes:
    """One line without its end. A bare LF may pass for one (RFC 9112 section 2.2); refusing it is safer."""
    if not line.endswith(b"\r\n"):
        raise HttpError(rf"expected the line to end in \r\n, got a bare \n: {shown(line)}")
    if b"\r" in line[:-2]:
        raise HttpError(f"a carriage return stands inside a line: {shown(line)} (RFC 9112 section 2.2)")
    return line[:-2]


def shown(data: bytes) -> str:
    """A short, safe picture of bytes for an error message."""
    return repr(bytes(data[:60])) + ("…" if len(data) > 60 else "")


def request_line(line: bytes) -> RequestHead:
    """The first line of a request, as a head whose fields are still to come."""
    match = _REQUEST_LINE.fullmatch(line)
    if not match:
        raise HttpError(f"expected a request line such as GET / HTTP/1.1, got {shown(line)}")
    method, target, major, minor = (part.decode("latin-1") for part in match.groups())
    return RequestHead(method, target, _version(major, minor), [])


def status_line(line: bytes) -> ResponseHead:
    """The first line of a response, as a head whose fields are still to come."""
    match = _STATUS_LINE.fullmatch(line)
    if not match:
        raise HttpError(f"expected a status line such as HTTP/1.1 200 OK, got {shown(line)}")
    major, minor, status, reason = ((part or b"").decode("latin-1") for part in match.groups())
    return ResponseHead(_version(major, minor), int(status), reason, [])


def _version(major: str, minor: str) -> str:
    if major != "1":
        raise HttpError(
            f"expected HTTP/1.0 or HTTP/1.1, got HTTP/{major}.{minor}, which this reader does not know"
        )
    return f"{major}.{minor}"


def field_line(line: bytes) -> Field:
    """One field line; never a guess at a folded or misspelt one (RFC 9112 sections 5.1 and 5.2)."""
    if line[:1] in (b" ", b"\t"):
        raise HttpError(
            f"a field line starts with a space: {shown(line)}; folding is obsolete, write one line"
        )
    match = _FIELD_LINE.fullmatch(line)
    if not match:
        raise HttpError(
            f"expected a field line such as Host: lab, no space before the colon, got {shown(line)}"
        )
    return match[1].decode("latin-1"), match[2].rstrip(b" \t").decode("latin-1")
