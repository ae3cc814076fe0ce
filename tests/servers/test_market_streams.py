"""market_streams over the wire, with markets that the test moves: names, requests, books, limits, the end."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
import websockets

from servers import market_streams
from servers.core import lifeline, websocket
from servers.core.markets import SYMBOLS, Market
from servers.market_streams import Exchange
from tests.servers.conftest import PATIENCE_S, Process, until

NOW_MS = 1_772_536_525_000


class Running:
    """An exchange in this loop, whose markets move only when the test says so."""

    def __init__(self, exchange: Exchange, url: str) -> None:
        self.exchange, self.url = exchange, url
        self.sockets: list[Any] = []
        self.now_ms = NOW_MS

    async def connect(self, path: str) -> Any:
        socket = await websockets.connect(self.url.replace("http", "ws") + path, proxy=None, close_timeout=1)
        self.sockets.append(socket)
        return socket

    def step(self, *speeds_ms: int, times: int = 1) -> None:
        for _ in range(times):
            self.now_ms += 50
            self.exchange.step(self.now_ms, *speeds_ms)

    async def depth(self, **query: Any) -> tuple[int, Any]:
        async with (
            aiohttp.ClientSession() as http,
            http.get(self.url + "/api/v3/depth", params=query) as answer,
        ):
            return answer.status, await answer.json()


Start = Callable[..., Any]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    ends: list[Any] = []
    started: list[Running] = []

    async def begin(*arguments: str) -> Running:
        options = market_streams.arguments().parse_args(["--seed", "7", "--drain-s", "0", *arguments])
        exchange = Exchange(options)
        serving = websocket.serving(exchange, lifeline.listener("127.0.0.1", 0))
        url = await serving.__aenter__()
        ends.append(serving)
        started.append(Running(exchange, url))
        return started[-1]

    yield begin
    for running in started:
        for socket in running.sockets:
            socket.transport.abort()
    for serving in ends:
        await serving.__aexit__(None, None, None)


async def heard(socket: Any) -> Any:
    async with asyncio.timeout(PATIENCE_S):
        return json.loads(await socket.recv())


async def ask(socket: Any, method: str, *params: Any, id: Any = 1) -> Any:
    await socket.send(json.dumps({"method": method, "params": list(params), "id": id}))
    return await heard(socket)


async def following(running: Running, name: str, number: int = 1) -> None:
    await until(lambda: len(running.exchange.followers.get(name, ())) >= number)


async def test_on_stream_events_come_wrapped_and_on_ws_as_they_are(start: Start):
    running = await start()
    wrapped = await running.connect("/stream?streams=btcusdt@trade/ethusdt@bookTicker")
    raw = await running.connect("/ws/btcusdt@trade")
    await following(running, "btcusdt@trade", 2)
    await following(running, "ethusdt@bookTicker")
    running.step(times=20)
    plain = await heard(raw)
    assert set(plain) == {"e", "E", "s", "t", "p", "q", "T", "m", "M"}
    assert (plain["e"], plain["s"], plain["t"]) == ("trade", "BTCUSDT", 1)
    first = await heard(wrapped)
    while first["stream"] != "btcusdt@trade":
        assert first["stream"] == "ethusdt@bookTicker"
        assert set(first["data"]) == {"u", "s", "b", "B", "a", "A"}
        first = await heard(wrapped)
    assert first == {"stream": "btcusdt@trade", "data": plain}


async def test_streams_are_taken_up_listed_and_left_on_the_open_connection(start: Start):
    running = await start()
    socket = await running.connect("/ws")
    assert await ask(socket, "SUBSCRIBE", "btcusdt@trade", "btcusdt@depth", id=312) == {
        "result": None,
        "id": 312,
    }
    assert await ask(socket, "LIST_SUBSCRIPTIONS", id="a") == {
        "result": ["btcusdt@trade", "btcusdt@depth"],
        "id": "a",
    }
    assert await ask(socket, "UNSUBSCRIBE", "btcusdt@trade", "never@trade") == {"result": None, "id": 1}
    running.step(1000)
    assert (await heard(socket))["e"] == "depthUpdate"
    assert list(running.exchange.followers) == ["btcusdt@depth"]


async def test_whether_events_come_wrapped_can_be_asked_and_set(start: Start):
    running = await start()
    socket = await running.connect("/stream")
    assert (await ask(socket, "GET_PROPERTY", "combined"))["result"] is True
    assert (await ask(socket, "SET_PROPERTY", "combined", False))["result"] is None
    assert (await ask(socket, "GET_PROPERTY", "combined"))["result"] is False
    assert (await ask(socket, "SET_PROPERTY", "combined", "no"))["code"] == 1


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{", 3),
        ("[1]", 2),
        ('{"id": 1}', 2),
        ('{"method": "SUBSCRIBE"}', 2),
        ('{"method": "SUBSCRIBE", "params": "btcusdt@trade"}', 2),
        ('{"method": "SUBSCRIBE", "params": [1]}', 2),
        ('{"method": "SUBSCRIBE", "params": ["BTCUSDT@trade"]}', 2),
        ('{"method": "SUBSCRIBE", "params": ["btcusdt@trade", "nothing@trade"]}', 2),
        ('{"method": "subscribe", "params": ["btcusdt@trade"]}', 2),
        ('{"method": "LIST_SUBSCRIPTIONS", "id": 1.5}', 2),
        ('{"method": "GET_PROPERTY", "params": ["colour"]}', 0),
        (b"\x00\x01", 3),
    ],
)
async def test_what_cannot_be_done_is_told_by_code_and_the_connection_goes_on(
    start: Start, message: str | bytes, code: int
):
    running = await start()
    socket = await running.connect("/ws")
    await socket.send(message)
    answer = await heard(socket)
    assert answer["code"] == code
    assert answer["msg"]
    assert (await ask(socket, "LIST_SUBSCRIPTIONS"))["result"] == []


async def test_a_bad_name_in_the_address_is_told_and_the_good_ones_count(start: Start):
    running = await start()
    socket = await running.connect("/stream?streams=BTCUSDT@trade/btcusdt@depth@100ms")
    answer = await heard(socket)
    assert answer["code"] == 2
    assert "lower case" in answer["msg"]
    await following(running, "btcusdt@depth@100ms")


async def test_no_connection_follows_more_than_1024_streams(start: Start, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(market_streams, "MOST_STREAMS", 3)
    running = await start()
    socket = await running.connect("/ws")
    names = [f"{symbol}@trade" for symbol in SYMBOLS[:4]]
    assert "more than 3 streams" in (await ask(socket, "SUBSCRIBE", *names))["msg"]
    assert (await ask(socket, "SUBSCRIBE", *names[:3], names[0]))["result"] is None
    assert "more than 3" in (await ask(socket, "SUBSCRIBE", names[3]))["msg"]


@pytest.mark.parametrize("kind", ["message", "ping", "pong"])
async def test_whoever_sends_more_than_five_frames_in_a_second_is_cut_and_the_others_are_not(
    start: Start, kind: str
):
    running = await start()
    loud, quiet = await running.connect("/ws"), await running.connect("/ws/btcusdt@depth")
    for _ in range(6):
        await {
            "message": lambda: loud.send('{"method":"LIST_SUBSCRIPTIONS"}'),
            "ping": loud.ping,
            "pong": loud.pong,
        }[kind]()
    async with asyncio.timeout(PATIENCE_S):
        await loud.wait_closed()
    assert loud.close_code == 1008
    running.step(1000)
    assert (await heard(quiet))["e"] == "depthUpdate"


async def test_a_reader_that_stops_is_cut_and_the_others_do_not_wait(
    start: Start, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(market_streams, "MAX_BEHIND", 10_000)
    running = await start()
    running.exchange.shared.close_s = 0.1  # it will not play its part in the closing handshake
    stuck = await running.connect("/ws/btcusdt@depth")
    good = await running.connect("/ws/btcusdt@trade")
    await following(running, "btcusdt@depth")
    await following(running, "btcusdt@trade")
    stuck.transport.pause_reading()
    trades = 0
    while running.exchange.counters.slow == 0:
        running.step(1000, times=20)
        trades += 1
        assert (await heard(good))["e"] == "trade"
    await until(lambda: "btcusdt@depth" not in running.exchange.followers)
    assert (await ask(good, "LIST_SUBSCRIPTIONS")) is not None


async def test_differences_follow_each_other_without_a_hole_and_add_up_to_the_snapshot(start: Start):
    running = await start()
    status, before = await running.depth(symbol="BTCUSDT", limit=5000)
    assert status == 200
    socket = await running.connect("/ws/btcusdt@depth@100ms")
    await following(running, "btcusdt@depth@100ms")
    last, book = before["lastUpdateId"], [dict(before["bids"]), dict(before["asks"])]
    for _ in range(50):
        running.step()
        running.step(100)
        event = await heard(socket)
        assert event["U"] == last + 1
        assert event["u"] >= event["U"]
        last = event["u"]
        for side, changes in zip(book, (event["b"], event["a"]), strict=True):
            side.update(dict(changes))
    after = (await running.depth(symbol="BTCUSDT", limit=5000))[1]
    kept = [{price: quantity for price, quantity in side.items() if float(quantity)} for side in book]
    assert (last, kept) == (after["lastUpdateId"], [dict(after["bids"]), dict(after["asks"])])


async def test_an_event_is_encoded_once_for_all_who_follow_it(start: Start, monkeypatch: pytest.MonkeyPatch):
    encoded: list[Any] = []
    plain = market_streams.to_json
    monkeypatch.setattr(market_streams, "to_json", lambda value: encoded.append(value) or plain(value))
    running = await start()
    sockets = [await running.connect("/ws/btcusdt@depth") for _ in range(10)]
    await following(running, "btcusdt@depth", 10)
    running.step(1000)
    assert len({json.dumps(await heard(socket)) for socket in sockets}) == 1
    assert len(encoded) == 1


async def test_what_is_lost_on_purpose_leaves_a_hole_that_shows(start: Start):
    running = await start("--lose", "0.5")
    socket = await running.connect("/ws/btcusdt@depth")
    await following(running, "btcusdt@depth")
    for _ in range(40):
        running.step(1000)
    lost = running.exchange.seen.lost
    assert 5 < lost < 35
    events = [await heard(socket) for _ in range(40 - lost)]
    assert sum(b["U"] != a["u"] + 1 for a, b in zip(events, events[1:], strict=False)) > 0


@pytest.mark.parametrize(
    ("query", "code"),
    [({}, -1121), ({"symbol": "btcusdt"}, -1121), ({"symbol": "NOPE"}, -1121)]
    + [({"symbol": "BTCUSDT", "limit": limit}, -1100) for limit in ("0", "5001", "x", "-1")],
)
async def test_a_snapshot_of_nothing_is_refused_with_the_services_own_codes(
    start: Start, query: Any, code: int
):
    running = await start()
    status, answer = await running.depth(**query)
    assert (status, answer["code"]) == (400, code)
    assert answer["try"]


async def test_before_the_end_everybody_is_told(start: Start):
    running = await start()
    socket = await running.connect("/ws/btcusdt@trade")
    await following(running, "btcusdt@trade")
    ending = asyncio.create_task(running.exchange.drain())
    assert (await heard(socket))["e"] == "serverShutdown"
    async with asyncio.timeout(PATIENCE_S):
        await socket.wait_closed()
        await ending
    assert socket.close_code == 1012


async def test_a_connection_ends_when_its_life_is_over(start: Start):
    running = await start("--life", "0.05")
    socket = await running.connect("/ws")
    async with asyncio.timeout(PATIENCE_S):
        await socket.wait_closed()
    assert socket.close_code == 1012


async def test_a_page_of_elsewhere_may_not_follow(start: Start):
    running = await start()
    with pytest.raises(websockets.InvalidStatus) as refused:
        await websockets.connect(
            running.url.replace("http", "ws") + "/ws", origin="https://evil.example", proxy=None
        )
    assert refused.value.response.status_code == 403


def test_the_same_seed_gives_the_same_markets_and_another_seed_others():
    def told(seed: int) -> str:
        market = Market("btcusdt", seed)
        events: list[Any] = [market.snapshot(5000)]
        for turn in range(500):
            events += market.step(NOW_MS + 50 * turn)
        return json.dumps([*events, market.diff(100, NOW_MS), market.candle(NOW_MS)])

    assert told(7) == told(7)
    assert told(7) != told(8)


def test_no_bid_meets_an_ask_and_a_book_stays_of_bounded_size():
    market = Market("btcusdt", 3)
    for turn in range(5_000):
        market.step(NOW_MS + 50 * turn)
        assert market.best(0) < market.best(1)
    assert all(50 < len(side) < 1_000 for side in market.sides)


def test_a_candle_holds_the_trades_of_its_second():
    market = Market("btcusdt", 5)
    trades = [trade for turn in range(20) for trade in market.step(NOW_MS + 50 * turn)]
    candle = (market.candle(NOW_MS + 1000) or {})["k"]
    prices = [float(trade["p"]) for trade in trades]
    assert (float(candle["h"]), float(candle["l"])) == (max(prices), min(prices))
    assert (float(candle["o"]), float(candle["c"])) == (prices[0], prices[-1])
    assert (candle["n"], candle["x"]) == (len(trades), True)
    assert float(candle["v"]) == pytest.approx(sum(float(trade["q"]) for trade in trades))


def test_as_a_process_it_says_where_it_is_and_ends_with_its_parent(process: Callable[..., Process]):
    server = process("-m", "servers.market_streams", "--port", "0")
    assert server.url.startswith("http://127.0.0.1:")
    assert server.popen.stdin is not None
    server.popen.stdin.close()
    server.popen.stdin = None
    assert server.ended() == (0, "")
