"""What a WebSocket client does when a connection has ended: its close code decides.

    reconnect    1001, 1005, 1006, 1011, 1012, 1014, 4200-4299, unknown ones    after a random wait
    back off     1013, 4408-4499                               the same, and LATER_S more: it was too much
    stop         1000, 1002, 1003, 1007-1010, 4400-4407        the same would happen again

1000 to 2999 belong to RFC 6455 (section 7.4), 4000 to 4999 to each application: these three ranges are the
lab's. A client needs no other knowledge of a code, so a server may add codes without breaking any client.
"""

from typing import Literal

from labsupport.wire.close import CLOSE_CODES

Verdict = Literal["reconnect", "back off", "stop"]

LATER_S = 5.0  # seconds on top of the random wait, so that a crowd that was too much is not back at once

_STOP = {1000, 1002, 1003, 1007, 1008, 1009, 1010, *range(4400, 4408)}
_BACK_OFF = {1013, *range(4408, 4500)}

_MEANINGS = {
    4400: "bad request",
    4401: "not authenticated",
    4403: "not allowed",
    4408: "slow reader: more was waiting for it than the server keeps",
    4429: "too many messages",
}
_ADVICE = {
    1000: "if the conversation should go on, make a new client with position=",
    1002: "a middlebox's recording shows which of the two broke the protocol",
    1003: "send text messages with JSON",
    1007: "send text that is UTF-8",
    1008: "the server's log or its author tells which of its rules this broke",
    1009: "send less at a time",
    1010: "ask for the extension that the server's author names",
    4400: "compare the first message with the server's own description",
    4401: "get a token at GET /login?user=NAME and give it as token=; it ends after a while and at a restart",
    4403: "ask somebody who may",
}


def verdict(code: int) -> Verdict:
    """What to do after this close code: "reconnect", "back off" or "stop"."""
    return "stop" if code in _STOP else "back off" if code in _BACK_OFF else "reconnect"


def described(code: int, reason: str = "") -> str:
    """The code in words: `1012 (service restart; it said: "back at noon")`."""
    words = _MEANINGS.get(code) or CLOSE_CODES.get(code)
    if words is None:
        words = {"stop": "refused", "back off": "too much for the server", "reconnect": "no known meaning"}[
            verdict(code)
        ]
    said = f'; it said: "{reason}"' if reason else ""
    return f"{code} ({words}{said})"


def advice(code: int) -> str:
    """What somebody whose client stopped with this code may try."""
    return _ADVICE.get(code, "read what the server says about this code")
