"""Short polling: ask, wait, ask again.

    async with ShortPollingClient(server, interval_s=2) as bob:
        async for item in bob:
            print(item.message.data)

The naive loop's four faults, and what is here instead:
    a timer that fires again while an answer is on its way  ->  one question after the other
    every answer taken for a good one                       ->  the status is looked at; failures back off
    all clients in step after a restart                     ->  each wait is the interval ± jitter
    the whole answer again when nothing is new              ->  If-None-Match, and 304 without a body
"""

from typing import Any

from labsupport.clients.polling import Answer, PollingClient, Raw, positive
from labsupport.draws import INTERVAL, draw

JITTER = 0.2  # share of the interval; enough to spread clients over it within a few polls
LIMIT_S = 10.0  # seconds; a healthy answer takes milliseconds, one over a bad phone line some seconds


class ShortPollingClient(PollingClient):
    """Asks every `interval_s` seconds, give or take; the wait begins when an answer has come.

    interval_s     T; a message waits for half of it on average
    jitter         each wait is drawn from T·(1 − jitter) to T·(1 + jitter)
    first_wait_s   seconds before the first question; a random share of T spreads a crowd at once
    revalidate     send If-None-Match, so that the server may answer 304
    The other arguments are those of PollingClient and Client.
    """

    def __init__(
        self,
        url: object,
        *,
        interval_s: float,
        jitter: float = JITTER,
        first_wait_s: float = 0.0,
        revalidate: bool = True,
        limit_s: float = LIMIT_S,
        **more: Any,
    ) -> None:
        super().__init__(url, limit_s=limit_s, **more)
        if not 0 <= jitter <= 1:
            raise ValueError(f"jitter is a share of the interval: expected 0 to 1, got {jitter!r}")
        if not 0 <= first_wait_s < float("inf"):
            raise ValueError(f"first_wait_s is a number of seconds: expected 0 or more, got {first_wait_s!r}")
        self.interval_s = positive("interval_s", interval_s)
        self.jitter = float(jitter)
        self.revalidate = revalidate
        self._due_s += first_wait_s
        self._polls = 0
        self._tag: tuple[str | None, str] | None = None  # (position asked from, ETag of that answer)

    def _question(self) -> tuple[dict[str, str], dict[str, str]]:
        # A tag belongs to one address, the position in it included (RFC 9110 section 13.1.2).
        if self.revalidate and self._tag is not None and self._tag[0] == self._cursor:
            return {}, {"If-None-Match": self._tag[1]}
        return {}, {}

    def _read(self, raw: Raw) -> Answer:
        answer = super()._read(raw)
        tag = raw.headers.get("ETag")
        if not answer.not_modified:
            self._tag = None if tag is None else (self._cursor, tag)
        return answer

    def _schedule(self, asked_at_s: float, answer: Answer) -> None:
        self._waits.reset()
        u = draw(self.seed, self.client, self._polls, INTERVAL)
        self._polls += 1
        self._due_s = self._clock() + self.interval_s * (1 + self.jitter * (2 * u - 1))
