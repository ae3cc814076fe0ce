"""Long polling: ask, and let the server hold the question until there is something to say.

    async with LongPollingClient(server) as bob:
        async for item in bob:
            print(item.message.data)

The naive loop's faults, and what is here instead:
    an error answered at once is asked again at once    ->  failures back off, with jitter
    so is an empty answer that comes at once            ->  questions that bring nothing keep a least distance
    a dead link holds the client for ever               ->  a dead-man timer: the hold and a margin
    the place is lost with the process                  ->  `position`, to keep and to go on from
"""

from typing import Any

from labsupport.clients.polling import Answer, PollingClient, positive

WAIT_S = 25.0  # seconds; proxies cut idle connections from 30 s on (RFC 6202 section 5.5 finds 30 s safe)
MARGIN_S = 10.0  # seconds for the way there and back; slower than this counts as dead
MIN_GAP_S = 1.0  # seconds; a server that answers at once with nothing costs no more than short polling


class LongPollingClient(PollingClient):
    """Asks, and asks on as soon as an answer has come.

    wait_s      the hold: how long the server may keep a question that it has no answer to
    margin_s    the dead-man timer runs for the hold and this margin
    min_gap_s   two questions start at least so far apart when the first brought nothing and was not held
    The other arguments are those of PollingClient and Client.
    """

    def __init__(
        self,
        url: object,
        *,
        wait_s: float = WAIT_S,
        margin_s: float = MARGIN_S,
        min_gap_s: float = MIN_GAP_S,
        **more: Any,
    ) -> None:
        self.wait_s = positive("wait_s", wait_s)
        self.min_gap_s = positive("min_gap_s", min_gap_s)
        super().__init__(url, limit_s=self.wait_s + positive("margin_s", margin_s), **more)

    def _question(self) -> tuple[dict[str, str], dict[str, str]]:
        return {"wait": f"{self.wait_s:g}"}, {}

    def _schedule(self, asked_at_s: float, answer: Answer) -> None:
        now_s = self._clock()
        # A hold shorter than the gap is the user's own choice; an answer before its time is not.
        self._due_s = now_s if answer.messages else max(now_s, asked_at_s + min(self.min_gap_s, self.wait_s))
        if self._due_s == now_s:
            self._waits.reset()
