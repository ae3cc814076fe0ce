"""An order book that a client keeps from differences, and never shows when it is not whole.

    book = OrderBook()
    book.feed(event)             each depthUpdate as it comes, from the moment the stream is open
    book.take(snapshot)          what GET /api/v3/depth answered; it catches up with what came meanwhile
    book.state                   "waiting" for a snapshot, "whole", or "gap": fetch a snapshot again

Every difference says which updates it holds: U, the first, to u, the last. So the client knows what it has
missed. The recipe is the one that Binance documents: open the stream first and hold back what comes, get the
snapshot, drop what it already holds (u <= lastUpdateId), and from there each difference must begin right
behind the one before. The other order, snapshot first, loses what happens in between, and nobody notices.
"""

from collections import deque
from typing import Any

MOST_HELD = 10_000  # differences held back while there is no snapshot; at ten a second a quarter of an hour

Levels = dict[str, str]  # price -> quantity, as text: floats would round


class OrderBook:
    """One symbol's book. `bids` and `asks` hold what counts only while `state` is "whole"."""

    def __init__(self) -> None:
        self.bids: Levels = {}
        self.asks: Levels = {}
        self.state = "waiting"
        self.last_update: int | None = None  # number of the last update that is in it
        self.gaps = 0
        self.too_old = 0  # snapshots that could not be joined to the stream
        self._held: deque[dict[str, Any]] = deque(maxlen=MOST_HELD)

    def feed(self, event: dict[str, Any]) -> str:
        """Take a depthUpdate; returns the state. Without a whole book it is held back."""
        if self.state != "whole":
            self._held.append(event)
        elif event["u"] <= (self.last_update or 0):
            pass  # told twice: it is in the book already
        elif event["U"] > (self.last_update or 0) + 1:
            self.gaps += 1
            self.state = "gap"
            self._held.clear()
            self._held.append(event)
        else:
            self._apply(event)
        return self.state

    def take(self, snapshot: dict[str, Any]) -> str:
        """Begin with a snapshot; returns the state: "whole", or "waiting" if it is older than the stream."""
        last = snapshot["lastUpdateId"]
        while self._held and self._held[0]["u"] <= last:
            self._held.popleft()
        if self._held and self._held[0]["U"] > last + 1:
            self.too_old += 1  # what happened between the two is in neither: a newer snapshot is needed
            self.state = "waiting"
            return self.state
        self.bids, self.asks = dict(snapshot["bids"]), dict(snapshot["asks"])
        self.last_update = last
        self.state = "whole"
        held, self._held = self._held, deque(maxlen=MOST_HELD)
        for event in held:
            self.feed(event)
        return self.state

    def best(self, depth: int = 5) -> tuple[list[list[str]], list[list[str]]]:
        """The best prices of both sides, best first: [price, quantity] of bids and of asks.

        Raises LookupError while the book is not whole: a book with a hole looks like any other.
        """
        if self.state != "whole":
            raise LookupError(f"the book is not whole ({self.state}): fetch a snapshot and take() it")
        bids = sorted(self.bids.items(), key=lambda level: -float(level[0]))[:depth]
        asks = sorted(self.asks.items(), key=lambda level: float(level[0]))[:depth]
        return [list(level) for level in bids], [list(level) for level in asks]

    def _apply(self, event: dict[str, Any]) -> None:
        for side, changes in ((self.bids, event["b"]), (self.asks, event["a"])):
            for price, quantity in changes:
                if float(quantity):
                    side[price] = quantity
                else:
                    side.pop(price, None)
        self.last_update = event["u"]
