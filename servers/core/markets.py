"""Invented markets: order books that change, trades that happen, and what a stream says of them.

    book     what people offer to pay (bids) and to take (asks): a quantity at each price
    update   one price has another quantity now; 0: nobody offers there any more. Numbered in each market
    trade    somebody took what the best offer on the other side had

A market is a seeded walk: the same seed gives the same updates and trades in the same order, whatever the
clock says. Only the times in the events come from outside. Prices move as a random walk with steps of one
tick and without memory, which real ones do not; nothing else about them is claimed.
"""

import random
from dataclasses import dataclass, field
from typing import Any

SYMBOLS = ("btcusdt", "ethusdt", "bnbbtc", "bnbusdt", "solusdt", "xrpusdt", "adausdt", "dogeusdt")
LEVELS = 200  # prices on each side that somebody offers at, more or less
TICK = 100  # of price and of quantity: hundredths
SECOND_MS = 1000
SPEEDS_MS = (100, SECOND_MS)  # how often differences are told

Level = list[str]  # [price, quantity], as text: floats would round


def number(hundredths: int) -> str:
    """As the streams write prices and quantities: eight decimals."""
    return f"{hundredths // TICK}.{hundredths % TICK:02d}000000"


@dataclass
class Diff:
    """What changed since the last time it was told."""

    first: int  # number of its first update; the one told before ended just in front of it
    sides: tuple[dict[int, int], dict[int, int]] = field(
        default_factory=lambda: ({}, {})
    )  # price -> quantity


@dataclass
class Candle:
    """The trades of one second: open, high, low, close, volume, how many."""

    start_ms: int
    open: int
    high: int
    low: int
    close: int
    first: int  # trade's number
    volume: int = 0
    trades: int = 0


class Market:
    """One symbol's book and trades."""

    def __init__(self, symbol: str, seed: int | None) -> None:
        self.symbol = symbol
        self._random = random.Random(None if seed is None else f"{seed} {symbol}")
        self._middle = self._random.randint(20_000, 60_000)  # hundredths
        self.sides: tuple[dict[int, int], dict[int, int]] = ({}, {})  # bids, asks: price -> quantity
        self.updates = self.trades = 0
        self._diffs = {speed: Diff(1) for speed in SPEEDS_MS}
        self._candle: Candle | None = None
        for distance in range(1, LEVELS + 1):
            self._set(0, self._middle - distance, self._random.randint(1, 10_000))
            self._set(1, self._middle + distance, self._random.randint(1, 10_000))
        for speed in SPEEDS_MS:
            self._diffs[speed] = Diff(self.updates + 1)

    def step(self, now_ms: int) -> list[dict[str, Any]]:
        """Let something happen: a few prices change, and now and then there is a trade. The trades."""
        draw = self._random
        for _ in range(draw.randint(1, 4)):
            side = draw.randrange(2)
            distance = 1 + min(int(draw.expovariate(0.05)), LEVELS - 1)
            price = self._middle + (distance if side else -distance)
            self._set(side, price, 0 if distance > 3 and draw.random() < 0.2 else draw.randint(1, 10_000))
        return [self._trade(now_ms)] if draw.random() < 0.3 else []

    def _set(self, side: int, price: int, quantity: int) -> None:
        book = self.sides[side]
        if quantity:
            book[price] = quantity
        elif book.pop(price, None) is None:
            return  # nobody offered there, so nothing has changed
        self.updates += 1
        for diff in self._diffs.values():
            diff.sides[side][price] = quantity

    def best(self, side: int) -> int:
        return min(self.sides[1]) if side else max(self.sides[0])

    def _trade(self, now_ms: int) -> dict[str, Any]:
        """Somebody takes a part of the best offer, or all of it: then the price moves by a tick."""
        draw = self._random
        side = draw.randrange(2)  # whose offer is taken: 0, a bid; 1, an ask
        price = self.best(side)
        there = self.sides[side][price]
        taken = there if draw.random() < 0.3 else draw.randint(1, there)
        self._set(side, price, there - taken)
        if taken == there:
            self._move(1 if side else -1)
        self.trades += 1
        self._note(now_ms, price, taken)
        return {
            "e": "trade", "E": now_ms, "s": self.symbol.upper(), "t": self.trades,
            "p": number(price), "q": number(taken), "T": now_ms, "m": side == 0, "M": True,
        }  # fmt: skip

    def _move(self, ticks: int) -> None:
        """The middle moves; no bid stays at or above it, no ask at or below it."""
        self._middle = max(2 * LEVELS, self._middle + ticks)
        for side, wrong in (
            (0, lambda price: price >= self._middle),
            (1, lambda price: price <= self._middle),
        ):
            for price in [price for price in self.sides[side] if wrong(price)]:
                self._set(side, price, 0)
            edge = self._middle + (1 if side else -1)
            if edge not in self.sides[side]:
                self._set(side, edge, self._random.randint(1, 10_000))
            far = self._middle + (2 * LEVELS if side else -2 * LEVELS)
            for price in [price for price in self.sides[side] if (price > far if side else price < far)]:
                self._set(side, price, 0)

    def _note(self, now_ms: int, price: int, quantity: int) -> None:
        start_ms = now_ms - now_ms % SECOND_MS
        candle = self._candle
        if candle is None or candle.start_ms != start_ms:
            candle = self._candle = Candle(start_ms, price, price, price, price, self.trades)
        candle.high, candle.low = max(candle.high, price), min(candle.low, price)
        candle.close = price
        candle.volume += quantity
        candle.trades += 1

    # ---- what the streams say ------------------------------------------------------------------------------

    def snapshot(self, limit: int) -> dict[str, Any]:
        """The best `limit` prices of each side, and the number of the last update that is in it."""
        bids, asks = self.levels(limit)
        return {"lastUpdateId": self.updates, "bids": bids, "asks": asks}

    def levels(self, limit: int) -> tuple[list[Level], list[Level]]:
        bids = sorted(self.sides[0].items(), reverse=True)[:limit]
        asks = sorted(self.sides[1].items())[:limit]
        return _written(bids), _written(asks)

    def diff(self, speed_ms: int, now_ms: int) -> dict[str, Any] | None:
        """All that changed since this was asked last; None: nothing."""
        diff = self._diffs[speed_ms]
        if diff.first > self.updates:
            return None
        self._diffs[speed_ms] = Diff(self.updates + 1)
        bids, asks = (_written(sorted(side.items())) for side in diff.sides)
        return {
            "e": "depthUpdate", "E": now_ms, "s": self.symbol.upper(),
            "U": diff.first, "u": self.updates, "b": bids, "a": asks,
        }  # fmt: skip

    def ticker(self) -> dict[str, Any]:
        """The best price of each side."""
        bid, ask = self.best(0), self.best(1)
        quantities = {"B": number(self.sides[0][bid]), "A": number(self.sides[1][ask])}
        return {
            "u": self.updates, "s": self.symbol.upper(), "b": number(bid), "a": number(ask), **quantities
        }  # fmt: skip

    def candle(self, now_ms: int) -> dict[str, Any] | None:
        """The candle of the last second in which there was a trade; None: not yet."""
        candle = self._candle
        if candle is None:
            return None
        symbol = self.symbol.upper()
        prices = {key: number(getattr(candle, name)) for key, name in zip("ohlc", _PRICES, strict=True)}
        inside = {
            "t": candle.start_ms, "T": candle.start_ms + SECOND_MS - 1, "s": symbol, "i": "1s",
            "f": candle.first, "L": candle.first + candle.trades - 1, **prices, "v": number(candle.volume),
            "n": candle.trades, "x": now_ms >= candle.start_ms + SECOND_MS,
        }  # fmt: skip
        return {"e": "kline", "E": now_ms, "s": symbol, "k": inside}


_PRICES = ("open", "high", "low", "close")


def _written(levels: list[tuple[int, int]]) -> list[Level]:
    return [[number(price), number(quantity)] for price, quantity in levels]
