"""Market data in the shape of Binance's spot streams: many streams on one connection, a book kept from diffs.

client -> server   WS /stream?streams=btcusdt@trade/ethusdt@depth      or WS /ws/btcusdt@trade, or WS /ws
                   {"method": "SUBSCRIBE", "params": ["btcusdt@depth@100ms"], "id": 1}; UNSUBSCRIBE;
                   {"method": "LIST_SUBSCRIPTIONS", "id": 2}; SET_PROPERTY and GET_PROPERTY of "combined"
server -> client   {"result": null, "id": 1}, or {"code": 2, "msg": what is wrong, "id": 1}
                   on /stream   {"stream": "btcusdt@trade", "data": EVENT};    on /ws   EVENT alone

    btcusdt@trade          e "trade", E event time, s symbol, t number, p price, q quantity, T time, m: the
                           buyer's offer was there first
    btcusdt@depth[@100ms]  e "depthUpdate": what changed in 1 s (0.1 s). U, u: numbers of its first and last
                           update; b, a: [price, quantity] of bids and asks, quantity 0: nobody there any more
    btcusdt@depth5, 10, 20 the best so many of each side: lastUpdateId, bids, asks. Also @100ms
    btcusdt@bookTicker     u, s, b and B: the best bid and how much, a and A: the best ask
    btcusdt@kline_1s       e "kline": the trades of a second: o, h, l, c, v, n, and x: it is over

GET /api/v3/depth?symbol=BTCUSDT&limit=100 -> {"lastUpdateId", "bids", "asks"}. To keep a book: open @depth
and hold back what comes; get this; drop what has u <= lastUpdateId; the next must have U <= lastUpdateId + 1
<= u, and each one after it U = the u before + 1. If not, something is lost: begin again. --lose 0.01 leaves
out every hundredth event of @depth, for each client others, so that this happens.

Symbols are lower case in streams, upper case in events. One connection has at most 1024 streams and sends at
most 5 messages a second, pings and pongs included (else 1008), is pinged every 20 s, must answer within
60 s, and lives for 24 h. Who reads too slowly is cut (4408). Before a restart everybody gets
{"e": "serverShutdown", "E": TIME}, and then 1012, in batches. GET /stats counts.

Left out: user data, other intervals and tickers, "300 connections per 5 minutes and address", TLS.

Run it   python -m servers.market_streams --port 8009 --seed 7
Try it   python -m websockets 'ws://127.0.0.1:8009/stream?streams=btcusdt@trade/ethusdt@bookTicker'
         curl 'http://127.0.0.1:8009/api/v3/depth?symbol=BTCUSDT&limit=5'
"""

import argparse
import asyncio
import json
import os
import random
import re
import time
from collections import deque
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from websockets.asyncio.server import broadcast
from websockets.http11 import Request, Response

from servers.core import websocket
from servers.core.event_stream import seconds
from servers.core.log import to_json
from servers.core.markets import SECOND_MS, SPEEDS_MS, SYMBOLS, Market
from servers.core.websocket import Door, Handler
from servers.core.websocket_connection import RESTART, SLOW_READER, Connection, reply

MOST_STREAMS = 1024  # of one connection; the published limit
MESSAGES_PER_S = 5  # from one client, pings and pongs included; the published limit
PING_S, PONG_S, LIFE_S = 20.0, 60.0, 86_400.0  # seconds; the published ones
MAX_MESSAGE = 64 * 1024  # bytes; 1024 names need about 20 000
MAX_BEHIND = 1 << 20  # bytes that a client may leave unread, beyond what the kernel holds; then it is cut
STEP_S = 0.05  # seconds between two steps of a market: 20 a second, two updates in each
DEPTHS = (5, 10, 20)
LIMITS = (100, 5000)  # levels of a snapshot: when nothing is asked, and at most
POLICY = 1008  # close code: what the client did is not allowed

METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
_NAME = re.compile(r"([a-z0-9]{2,20})@(trade|bookTicker|kline_1s|depth(?:5|10|20)?(?:@100ms)?)")
_ID = re.compile(r"[A-Za-z0-9]{0,36}")


class Problem(Exception):
    """What a client is told as {"code": code, "msg": ...}. The connection goes on."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass
class Counters:
    events: int = 0  # made: each is encoded once, for all who follow it
    subscriptions: int = 0  # open now
    too_many: int = 0  # clients cut for more than MESSAGES_PER_S
    lost: int = 0  # left out on purpose


class Client(Connection):
    """One connection: the streams it follows, in the order it asked, and how fast it talks."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.streams: dict[str, None] = {}
        self.combined = False
        self.too_many = False
        self._heard: deque[float] = deque(maxlen=MESSAGES_PER_S)

    def process_event(self, event: Any) -> None:
        """Count frames of every kind, also those that the library answers by itself."""
        if self.request is not None and not isinstance(event, Request):
            now = self.loop.time()
            if len(self._heard) == MESSAGES_PER_S and now - self._heard[0] < 1:
                self.too_many = True
                self.cut(POLICY, f"more than {MESSAGES_PER_S} messages in a second")
            self._heard.append(now)
        super().process_event(event)


class Exchange(Door):
    """All markets, and who follows what."""

    scheme = "http"  # there is a page for the snapshot beside the sockets
    connection_class = Client

    def __init__(self, options: argparse.Namespace) -> None:
        pages = {"/api/v3/depth": self.depth, "/stats": self.stats}
        super().__init__(options, sockets={"/stream": self.talk, "/ws": self.talk}, pages=pages)
        self.seen = Counters()
        self.markets = {symbol: Market(symbol, options.seed) for symbol in SYMBOLS}
        self.followers: dict[str, dict[Client, None]] = {}  # by stream, in the order they came
        self._lose, self._random = options.lose, random.Random(options.seed)

    def handler_of(self, path: str) -> Handler | None:
        return self.talk if path.startswith("/ws/") else super().handler_of(path)

    # ---- one client ----------------------------------------------------------------------------------------

    async def talk(self, connection: Connection) -> None:
        """Follow what the address names, and then what the client asks for, until it leaves."""
        assert isinstance(connection, Client)
        end = connection.loop.call_later(self.options.life, connection.cut, RESTART, "24 hours are over")
        path = urlsplit(connection.request.path if connection.request else "")
        connection.combined = path.path == "/stream"
        try:
            named = parse_qs(path.query).get("streams", [""])[0] if connection.combined else path.path[4:]
            for name in unquote(named).split("/"):
                if name:
                    await self.answer(connection, [name])  # one by one: a bad name does not spoil the others
            while True:
                await self.answer(connection, await connection.receive())
        finally:
            end.cancel()
            self.seen.too_many += connection.too_many
            self.unsubscribe(connection, list(connection.streams))

    async def answer(self, client: Client, asked: str | bytes | list[str]) -> None:
        """Do what a message, or the address, asks for. Raises ConnectionClosed."""
        id = None
        try:
            if isinstance(asked, list):  # from the address: answered only if it cannot be done
                self.subscribe(client, asked)
                return
            request = parse(asked)
            id = identity(request)
            result = self.carry_out(client, request)
        except Problem as problem:
            await client.push(json.dumps({"code": problem.code, "msg": str(problem), "id": id}))
        else:
            await client.push(json.dumps({"result": result, "id": id}))

    def carry_out(self, client: Client, request: dict[str, Any]) -> Any:
        """The result of a request. Raises Problem, and then nothing has changed."""
        method, params = request["method"], request.get("params", [])
        if not isinstance(params, list):
            raise Problem(2, "Invalid request: params must be a list")
        if method == "LIST_SUBSCRIPTIONS":
            return list(client.streams)
        if method in ("SET_PROPERTY", "GET_PROPERTY"):
            if params[:1] != ["combined"]:
                raise Problem(0, "Unknown property")
            if method == "GET_PROPERTY":
                return client.combined
            if len(params) != 2 or type(params[1]) is not bool:
                raise Problem(1, "Invalid value type: expected Boolean")
            client.combined = params[1]
            return None
        if not params or not all(isinstance(name, str) for name in params):
            raise Problem(2, "Invalid request: params must be a list of streams")
        if method == "SUBSCRIBE":
            self.subscribe(client, params)
        else:
            self.unsubscribe(client, params)
        return None

    def subscribe(self, client: Client, names: list[str]) -> None:
        """Follow these streams, too. Raises Problem, and then none of them."""
        for name in names:
            check_name(name)
        if len(client.streams | dict.fromkeys(names)) > MOST_STREAMS:
            raise Problem(2, f"Invalid request: more than {MOST_STREAMS} streams on one connection")
        for name in names:
            if name not in client.streams:
                client.streams[name] = None
                self.followers.setdefault(name, {})[client] = None
                self.seen.subscriptions += 1

    def unsubscribe(self, client: Client, names: list[str]) -> None:
        for name in names:
            if name in client.streams:
                del client.streams[name]
                self.seen.subscriptions -= 1
                self.followers[name].pop(client, None)
                if not self.followers[name]:
                    del self.followers[name]

    # ---- what happens --------------------------------------------------------------------------------------

    def step(self, now_ms: int, *speeds_ms: int) -> None:
        """Let each market move, and tell it: trades and best prices at once, the rest when it is due."""
        for symbol, market in self.markets.items():
            before = market.ticker()
            for trade in market.step(now_ms):
                self.tell(f"{symbol}@trade", trade)
            if (ticker := market.ticker()) != before:
                self.tell(f"{symbol}@bookTicker", ticker)
            for speed_ms in speeds_ms:
                self._tell_book(symbol, market, speed_ms, now_ms)

    def _tell_book(self, symbol: str, market: Market, speed_ms: int, now_ms: int) -> None:
        suffix = "" if speed_ms == SECOND_MS else f"@{speed_ms}ms"
        if (diff := market.diff(speed_ms, now_ms)) is not None:
            self.tell(f"{symbol}@depth{suffix}", diff, may_be_lost=True)
        for depth in DEPTHS:
            if (name := f"{symbol}@depth{depth}{suffix}") in self.followers:
                self.tell(name, market.snapshot(depth))
        candle = market.candle(now_ms) if speed_ms == SECOND_MS else None
        if candle is not None:
            self.tell(f"{symbol}@kline_1s", candle)

    def tell(self, name: str, event: dict[str, Any], may_be_lost: bool = False) -> None:
        """Send an event to all who follow this stream, encoded once. Nobody waits for anybody."""
        followers = self.followers.get(name)
        if not followers:
            return
        self.seen.events += 1
        raw = to_json(event).decode()
        there = [client for client in followers if not (may_be_lost and self._is_lost())]
        broadcast((client for client in there if not client.combined), raw)
        if any(client.combined for client in there):
            whole_event = f'{{"stream":"{name}","data":{raw}}}'
            broadcast((client for client in there if client.combined), whole_event)
        for client in there:
            if client.behind > MAX_BEHIND:
                client.cut(SLOW_READER)

    def _is_lost(self) -> bool:
        lost = self._lose > 0 and self._random.random() < self._lose
        self.seen.lost += lost
        return lost

    async def drain(self) -> None:
        """Say that the end comes, and then send all away as every WebSocket server here does."""
        shutdown = json.dumps({"e": "serverShutdown", "E": int(time.time() * 1000)})
        broadcast((each for each in self.inside if each.ending is None), shutdown)
        await super().drain()

    # ---- pages ---------------------------------------------------------------------------------------------

    def depth(self, request: Request) -> Response:
        query = parse_qs(urlsplit(request.path).query)
        [symbol], [limit] = query.get("symbol", [""])[:1], query.get("limit", [str(LIMITS[0])])[:1]
        market = self.markets.get(symbol.lower()) if symbol == symbol.upper() else None
        if market is None:
            problem = {"code": -1121, "msg": "Invalid symbol."}
            known = ", ".join(name.upper() for name in SYMBOLS)
            return reply({**problem, "error": problem["msg"], "try": f"symbol= one of {known}"}, 400)
        if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit[:8]) <= LIMITS[1]:
            problem = {"code": -1100, "msg": "Illegal characters found in parameter 'limit'."}
            return reply({**problem, "error": problem["msg"], "try": f"1 to {LIMITS[1]}"}, 400)
        return reply(market.snapshot(int(limit)), headers={"Cache-Control": "no-store"})

    def stats(self, request: Request) -> Response:
        return reply({**asdict(self.counters), **asdict(self.seen), "pid": os.getpid()})


def parse(message: str | bytes) -> dict[str, Any]:
    """A client's request. Raises Problem."""
    try:
        value = json.loads(message)
    except (ValueError, RecursionError) as error:
        where = (
            f" at line {error.lineno} column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        )
        raise Problem(3, f"Invalid JSON: expected value{where}") from None
    if not isinstance(value, dict) or "method" not in value:
        raise Problem(2, "Invalid request: missing field `method`")
    if value["method"] not in METHODS:
        names = ", ".join(f"`{name}`" for name in METHODS)
        raise Problem(
            2, f"Invalid request: unknown variant {str(value['method'])[:40]}, expected one of {names}"
        )
    return value


def identity(request: dict[str, Any]) -> int | str | None:
    """What the answer will carry. Raises Problem."""
    id = request.get("id")
    if id is None or (type(id) is int and abs(id) < 1 << 63) or (isinstance(id, str) and _ID.fullmatch(id)):
        return id
    raise Problem(2, "Invalid request: request ID must be an integer, up to 36 letters and digits, or null")


def check_name(name: str) -> None:
    """Raises Problem for a stream that is not there. The real service just keeps silent."""
    match = _NAME.fullmatch(name)
    if match is None or match[1] not in SYMBOLS:
        hint = "symbols are lower case" if _NAME.fullmatch(name.lower()) else "for instance btcusdt@trade"
        raise Problem(2, f"Invalid request: no stream {name[:60]!r} ({hint})")


async def produce(exchange: Exchange) -> None:
    """Move the markets for ever, at a steady pace; what a pause held up is left out."""
    loop = asyncio.get_running_loop()
    due, told = loop.time(), dict.fromkeys(SPEEDS_MS, loop.time())
    while True:
        due = max(due + exchange.options.step, loop.time() - 1)
        await asyncio.sleep(due - loop.time())
        speeds = [speed for speed in SPEEDS_MS if due - told[speed] >= speed / 1000 - 1e-9]
        told.update(dict.fromkeys(speeds, due))
        exchange.step(int(time.time() * 1000), *speeds)


def arguments() -> argparse.ArgumentParser:
    parser = websocket.arguments(__doc__, MAX_MESSAGE)
    add = parser.add_argument
    add("--seed", type=int, help="make all that happens the same each time")
    add("--step", type=seconds, default=STEP_S, help="seconds between two steps of a market (%(default)g)")
    add("--life", type=seconds, default=LIFE_S, help="seconds until a connection is ended (%(default)g)")
    add("--lose", type=_share, default=0.0, help="share of @depth events to leave out (%(default)g)")
    parser.set_defaults(ping_interval=PING_S, ping_timeout=PONG_S)
    return parser


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if 0 <= value < 1:
        return value
    raise argparse.ArgumentTypeError(f"expected a share from 0 to 1, got {text!r}")


def main() -> None:
    options = arguments().parse_args()
    exchange = Exchange(options)
    websocket.run(exchange, options, beside=lambda: produce(exchange))


if __name__ == "__main__":
    main()
