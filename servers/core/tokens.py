"""Tokens that say who somebody is, signed so that nobody else can make one. Nothing is stored.

    token   BODY.SIGNATURE, both in base64url; BODY is the JSON list [user, seconds since 1970 when it ends],
            SIGNATURE the HMAC-SHA256 of BODY (RFC 2104) under a secret that only this server knows

The secret is drawn when the server starts, so that a restart ends every token. A token is no secret to its
owner, and anybody who reads it along can use it until it ends: this is why it does end, and why TLS matters.
"""

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable

LIFETIME_S = 3600.0  # seconds; an hour of lesson. What was stolen is of no use after that
MAX_TOKEN = 1024  # characters; the longest real one has fewer than 400


class Tokens:
    """Issues tokens, and tells whose a token is. `clock` gives seconds since 1970."""

    def __init__(
        self,
        lifetime_s: float = LIFETIME_S,
        clock: Callable[[], float] = time.time,
        secret: bytes | None = None,
    ) -> None:
        self.lifetime_s = lifetime_s
        self._clock = clock
        self._secret = secret or secrets.token_bytes(32)

    def issue(self, user: str) -> str:
        body = _encode(json.dumps([user, self._clock() + self.lifetime_s]).encode())
        return f"{body}.{self._sign(body)}"

    def user(self, token: object) -> str | None:
        """Whose token this is; None for anything that is no token of this server, or has ended."""
        if not isinstance(token, str) or not token.isascii() or len(token) > MAX_TOKEN:
            return None
        body, _, signature = token.partition(".")
        # In a time that does not depend on where they differ, or a signature could be guessed bit by bit.
        if not hmac.compare_digest(signature, self._sign(body)):
            return None
        user, ends = json.loads(_decode(body))
        return user if self._clock() < ends else None

    def _sign(self, body: str) -> str:
        return _encode(hmac.digest(self._secret, body.encode(), hashlib.sha256))


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
