"""Exercises of chapter 05, WebSocket on the wire."""

from __future__ import annotations

import base64
import hashlib

from labsupport.teach.exercise import Exercise, Mistake, case

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3


def _base64_of_sha1(data: bytes) -> str:
    return base64.b64encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode()


def accept(key: str) -> str:
    """Sec-WebSocket-Accept for a Sec-WebSocket-Key (RFC 6455, section 4.2.2)."""
    return _base64_of_sha1((key + GUID).encode())


def _key_decoded(key: str) -> str:
    return _base64_of_sha1(base64.b64decode(key) + GUID.encode())


def _hexadecimal(key: str) -> str:
    return hashlib.sha1((key + GUID).encode(), usedforsecurity=False).hexdigest()


def _hexadecimal_in_base64(key: str) -> str:
    return base64.b64encode(_hexadecimal(key).encode()).decode()


def _guid_first(key: str) -> str:
    return _base64_of_sha1((GUID + key).encode())


def _no_guid(key: str) -> str:
    return _base64_of_sha1(key.encode())


def _lower_case_guid(key: str) -> str:
    return _base64_of_sha1((key + GUID.lower()).encode())


def header_size(payload: int, masked: bool) -> int:
    """Bytes in front of a payload of that many bytes: 2, 0 or 2 or 8 of length, 4 of key if it is masked."""
    return 2 + (0 if payload <= 125 else 2 if payload <= 65_535 else 8) + 4 * masked


def _no_key(payload: int, masked: bool) -> int:
    return header_size(payload, False)


def _always_a_key(payload: int, masked: bool) -> int:
    return header_size(payload, True)


def _seven_bits_to_127(payload: int, masked: bool) -> int:
    return 2 + (0 if payload <= 127 else 2 if payload <= 65_535 else 8) + 4 * masked


def _one_early(payload: int, masked: bool) -> int:
    return 2 + (0 if payload < 125 else 2 if payload < 65_535 else 8) + 4 * masked


def _four_bytes_of_length(payload: int, masked: bool) -> int:
    return 2 + (0 if payload <= 125 else 2 if payload <= 65_535 else 4) + 4 * masked


def _the_whole_frame(payload: int, masked: bool) -> int:
    return header_size(payload, masked) + payload


Parsed = tuple[bool, int, bytes, bytes]


def parse_frame(
    data: bytes, *, order: str = "big", opcode_bits: int = 0x0F, unmask: bool = True, first_key_byte: int = 0
) -> Parsed | None:
    """The first frame in `data` as (FIN, opcode, payload, bytes behind it), None while a part is missing.

    The keywords are the ways to get it wrong; the defaults are RFC 6455, section 5.2.
    """
    if len(data) < 2:
        return None
    masked, length, at = bool(data[1] & 0x80), data[1] & 0x7F, 2
    if length >= 126:
        size = 2 if length == 126 else 8
        if len(data) < at + size:
            return None
        length = int.from_bytes(data[at : at + size], "big" if order == "big" else "little")
        at += size
    key = data[at : at + 4] if masked else b""
    at += 4 * masked
    if len(data) < at + length:
        return None
    payload = data[at : at + length]
    if masked and unmask:
        payload = bytes(byte ^ key[(i + first_key_byte) % 4] for i, byte in enumerate(payload))
    return bool(data[0] & 0x80), data[0] & opcode_bits, payload, data[at + length :]


def _still_masked(data: bytes) -> Parsed | None:
    return parse_frame(data, unmask=False)


def _little_endian(data: bytes) -> Parsed | None:
    return parse_frame(data, order="little")


def _whole_first_byte(data: bytes) -> Parsed | None:
    return parse_frame(data, opcode_bits=0xFF)


def _key_from_its_second_byte(data: bytes) -> Parsed | None:
    return parse_frame(data, first_key_byte=1)


def _nothing_behind(data: bytes) -> Parsed | None:
    parsed = parse_frame(data)
    return None if parsed is None else (*parsed[:3], b"")


def _does_not_wait(data: bytes) -> Parsed | None:
    # A frame that has begun is filled with zeros here and cut again: what a slice past the end gives.
    parsed = parse_frame(data)
    if parsed is not None or len(data) < 2 or (data[1] & 0x7F) >= 126:
        return parsed
    head = 2 + 4 * (data[1] >> 7)
    if len(data) < head:
        return None
    filled = parse_frame(data + bytes(head + (data[1] & 0x7F) - len(data)))
    return None if filled is None else (*filled[:2], filled[2][: len(data) - head], b"")


_KEY = bytes.fromhex("37fa213d")  # the key of the RFC's example
_MASKED_HELLO = bytes.fromhex("818537fa213d7f9f4d5158")  # RFC 6455, section 5.7
_HELLO = b"\x81\x05Hello"


EXERCISES = (
    Exercise(
        id="5.1",
        title="The server's answer to a key",
        reference=accept,
        cases=(
            case("dGhlIHNhbXBsZSBub25jZQ==", hint="the RFC's own example: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            case("AAAAAAAAAAAAAAAAAAAAAA==", hint="sixteen zero bytes are a key like any other"),
            case("x3JJHMbDL1EzLkh9GBhXDw==", hint="the key goes in as text, as it came"),
            case("/////////////////////w==", hint="as text: nothing is decoded", hidden=True),
        ),
        mistakes=(
            Mistake(
                "the key decoded",
                _key_decoded,
                "the 24 characters go into the hash as they came; nobody decodes them.",
            ),
            Mistake(
                "hexadecimal digits",
                _hexadecimal,
                "the header carries the 20 bytes of the hash in base64, not its 40 hexadecimal digits.",
            ),
            Mistake(
                "base64 of the hexadecimal digits",
                _hexadecimal_in_base64,
                "use .digest(), the 20 bytes; .hexdigest() is text about them, and twice as long.",
            ),
            Mistake("the GUID first", _guid_first, "the key comes first, and the GUID behind it."),
            Mistake(
                "no GUID",
                _no_guid,
                "without the constant, any program that hashes what it is sent would pass for a WebSocket.",
            ),
            Mistake("the GUID in small letters", _lower_case_guid, "it is text, so capitals matter."),
        ),
    ),
    Exercise(
        id="5.2",
        title="How long is the header",
        reference=header_size,
        cases=(
            case(0, False, hint="the shortest frame that there is"),
            case(5, True, hint="from a client: two bytes and the key"),
            case(125, False, hint="the last one whose length fits into seven bits"),
            case(126, False, hint="126 and 127 are marks, so this length needs two more bytes"),
            case(65_535, True, hint="the last one that fits into 16 bits"),
            case(65_536, False, hint="from here on the length takes 64 bits"),
            case(65_536, True, hint="the longest header that there is"),
            case(127, True, hint="is 127 a length or a mark?", hidden=True),
        ),
        mistakes=(
            Mistake("no key", _no_key, "a frame from a client carries its masking key, 4 bytes."),
            Mistake("always a key", _always_a_key, "a server does not mask, and sends no key."),
            Mistake(
                "seven bits up to 127",
                _seven_bits_to_127,
                "126 and 127 do not stand for themselves: they say that 2 or 8 bytes of length follow.",
            ),
            Mistake(
                "one byte early",
                _one_early,
                "125 still fits into the seven bits, and 65,535 into sixteen: it is ≤, not <.",
            ),
            Mistake(
                "four bytes of length",
                _four_bytes_of_length,
                "there is no 32-bit form: behind 16 bits come 64.",
            ),
            Mistake("the whole frame", _the_whole_frame, "this is header and payload together."),
        ),
    ),
    Exercise(
        id="5.3",
        title="Take a frame apart",
        reference=parse_frame,
        cases=(
            case(_HELLO, hint="from a server: FIN and opcode 1, five bytes, no key"),
            case(_MASKED_HELLO, hint="the RFC's example: the same from a client"),
            case(b"\x01\x03Hel\x80\x02lo", hint="FIN is 0, and another frame lies behind this one"),
            case(b"\x89\x00", hint="a ping without a payload is a whole frame"),
            case(_MASKED_HELLO[:9], hint="the payload has not come whole: None, and wait"),
            case(b"\x81", hint="one byte is no header yet"),
            case(_MASKED_HELLO[:4], hint="half a key"),
            case(b"\x82\x7e\x01\x00" + bytes(256), hint="126 says: the length is in the next two bytes"),
            case(b"\x82\x7e\x01", hint="half a length"),
            case(b"\x82\xfe\x00\x7e" + _KEY + bytes(126) + b"\x8a", hint="length, then key, then payload"),
            case(b"\x82\x7f" + (65_536).to_bytes(8, "big") + bytes(65_536), hidden=True, hint="127: 8 bytes"),
        ),
        mistakes=(
            Mistake("still masked", _still_masked, "XOR each byte with the key's byte, i mod 4."),
            Mistake(
                "the little end first",
                _little_endian,
                'the network\'s order is big-endian: int.from_bytes(…, "big").',
            ),
            Mistake(
                "FIN in the opcode",
                _whole_first_byte,
                "the opcode is the lower half of the first byte: data[0] & 0x0F.",
            ),
            Mistake(
                "the key's second byte first",
                _key_from_its_second_byte,
                "byte 0 of the payload goes with byte 0 of the key.",
            ),
            Mistake(
                "nothing behind the frame",
                _nothing_behind,
                "TCP knows no frames: the next one may already lie in the same bytes.",
            ),
            Mistake(
                "a frame cut short",
                _does_not_wait,
                "a slice past the end gives what is there, without an error: compare the lengths first.",
            ),
        ),
    ),
)
