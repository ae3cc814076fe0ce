"""The bench: a server, some clients, a network between them, and buttons that break each of the three.

    async with Bench("SSE", clients=4, rate=2) as bench:
        print(await bench.press("cut"))            and so on: what is in BUTTONS
        bench.picture()                            the last seconds, as data: lanes, counters, what is broken
    print(bench.report)                            the delivery checker's: lost, twice, out of order

    run = await Bench("WebSocket", rate=8).play({0.8: "cut"}, seconds=2)      the same without hands

All of it is real: a server process (servers/), the lab's clients, a middlebox between them, and a publisher
on the server's own side, which sends a number `rate` times a second and sends it again until it is confirmed.
So what goes wrong is what the buttons do:

    delay      half a second on each way of every connection, until it is pressed again
    cut        every connection ends, now
    forget     the network swallows all, and tells nobody, until it is pressed again
    freeze     the server stands still (SIGSTOP), until it is pressed again
    kill       the server dies (SIGKILL), and its memory with it
    restart    it is started again, with an empty memory
    slow       the first client takes its time for each message, until it is pressed again

A client that keeps its place (`keeps_place`) goes on behind the last message that it has; one that does not
asks for all that the server remembers, after each failure. Shorter than elsewhere in the lab, so that one
minute shows something: heartbeats, dead-man timers (2.5 s), and of what a wait (full jitter, a server's
`retry:`) is longer than 1 s only a tenth. A bench ends by itself after a minute.

Counted is what the delivery checker counts. While it runs, a message that has not come is `behind`; it counts
as lost, or missed, only once a later one has come. One without an answer in `send_limit_s` is sent again.
Over POST it carries no id, so the server may hold it twice (`resent`): at least once. A chat's has an id.
Out of order is not to be expected: one publisher that waits, one log, one connection at a time per client.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

from labsupport.clients import Client, ClientError, DeliveryChecker, Gap, MaybeSent, NotSent, Report
from labsupport.measure.bench_clients import TRANSPORTS, Kind, number_in
from labsupport.measure.sockets import LoadError
from labsupport.processes import Middlebox, Server, ServerError

BUTTONS = ("delay", "cut", "forget", "freeze", "kill", "restart", "slow")
TOGGLES = ("delay", "forget", "freeze", "slow")
MOST_CLIENTS = 20
MOST_RATE = 10.0  # messages a second: as many as an eye can tell apart
LONGEST_S = 60.0  # seconds; then it ends by itself
DELAY_S = 0.5  # seconds, each way
SEND_LIMIT_S = 3.0  # seconds for a confirmation; then the publisher sends again
AGAIN_S = 0.2  # seconds until it tries a server again that is not there
SETTLE_S = 6.0  # seconds that whoever is behind has at the end: a dead-man timer and a wait
REMEMBERED = 100  # messages that the server remembers
WINDOW_S = 12.0  # seconds that a picture shows
TICK_S = 0.05  # seconds between looks whether all have come


@dataclass
class Lane:
    """What one client got: (seconds, number, kind), where kind is "came", "twice", "late" or "gap"."""

    marks: list[tuple[float, int, str]] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)
    newest: int = -1
    delay_s: float = 0.0  # of the last message, from its first sending
    ended: str = ""  # why the client gave up

    def take(self, now_s: float, number: int) -> None:
        kind = "twice" if number in self.seen else "late" if number < self.newest else "came"
        self.marks.append((now_s, number, kind))
        self.seen.add(number)
        self.newest = max(self.newest, number)


class Bench:
    """See above. `clock` gives seconds; `on_change` is called after each press and at the end."""

    def __init__(
        self,
        transport: str = "SSE",
        clients: int = 4,
        rate: float = 2.0,
        *,
        keeps_place: bool = True,
        seed: int = 20,
        send_limit_s: float = SEND_LIMIT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        names = {name.lower(): name for name in TRANSPORTS}
        if str(transport).lower() not in names:
            raise LoadError(f"transport: expected one of {', '.join(TRANSPORTS)}, got {transport!r}")
        for name, value, most in (("clients", clients, MOST_CLIENTS), ("rate", rate, MOST_RATE)):
            if not 0 < value <= most:
                raise LoadError(f"{name}: expected more than 0 and at most {most:g}, got {value!r}")
        self.transport = names[str(transport).lower()]
        self.kind: Kind = TRANSPORTS[self.transport]
        self.clients, self.rate, self.keeps_place, self.seed = int(clients), float(rate), keeps_place, seed
        self.state = "ready"
        self.said = ""
        self.on: dict[str, bool] = dict.fromkeys(TOGGLES, False)
        self.faults: list[tuple[str, float, float | None]] = []
        self.sent_s: list[float] = []  # by number: when it was sent first
        self.confirmed: set[int] = set()
        self.resent: set[int] = set()  # sent again, although nobody knows whether the first is stored
        self.send_limit_s = send_limit_s
        self.lanes = [Lane() for _ in range(self.clients)]
        self._clock, self._began_s = clock, clock()
        self._ended_s: float | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._publishing: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ending: asyncio.Task[Report] | None = None  # kept: the loop itself holds tasks loosely
        self._box: Middlebox | None = None
        self._server: Server | None = None
        self._one_at_a_time = asyncio.Lock()

    # ---- from its start to its end ----

    async def start(self) -> None:
        """Start the server, the network and the clients; then the publisher."""
        if self.state != "ready":
            raise LoadError(f"this bench is {self.state}: make another for another run")
        self.state = "starting"
        try:
            options = (*self.kind.options, "--keep", str(REMEMBERED))
            self._server = await asyncio.to_thread(Server, self.kind.server, *options)
            self._box = await asyncio.to_thread(Middlebox, "middlebox", "--target", self._server.url)
        except BaseException:
            await self.close()
            raise
        self._began_s = self._clock()
        self.state = "running"
        self._say(f"{self.clients} clients follow a server by {self.transport}.")
        for number in range(self.clients):
            self._tasks.append(asyncio.create_task(self._follow(number)))
        self._publishing = asyncio.create_task(self._publish())
        # Not the publisher's business: it waits for a confirmation, and a dead server gives none.
        self._timer = asyncio.get_running_loop().call_later(LONGEST_S, self._end_by_itself)

    async def finish(self) -> Report:
        """Publish no more, mend everything, wait for those who are behind; then end, and count."""
        async with self._one_at_a_time:
            if self.state == "running":
                self.state = "settling"
                self._say("No more messages. All faults are mended, and whoever is behind catches up.")
                await self._mend()
                await self._all_came()
                self.state, self._ended_s = "ended", self.now_s
                self._say(f"Counted: {self.report}")
        await self.close()
        return self.report

    async def close(self) -> None:
        """End everything, at once. Closing twice does no harm."""
        if self.state != "ended":
            self.state, self._ended_s = "ended", self.now_s
        if self._timer is not None:
            self._timer.cancel()
        tasks = [*self._tasks, *([self._publishing] if self._publishing else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._tasks, self._publishing = [], None
        ends = [each for each in (self._box, self._server) if each is not None]
        self._box = self._server = None
        await asyncio.gather(*(asyncio.to_thread(each.stop) for each in ends))

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.finish()

    async def play(self, presses: Mapping[float, str], seconds: float) -> Self:
        """Run for so many seconds and press buttons at their time; returns itself, ended."""
        async with self:
            for at_s, button in sorted(presses.items()):
                await asyncio.sleep(max(0.0, at_s - self.now_s))
                await self.press(button)
            await asyncio.sleep(max(0.0, seconds - self.now_s))
        return self

    @property
    def now_s(self) -> float:
        """Seconds since its start; it stands still once it has ended."""
        return self._clock() - self._began_s if self._ended_s is None else self._ended_s

    # ---- buttons ----

    async def press(self, button: str) -> str:
        """Press a button of BUTTONS; returns what happened, in words."""
        if button not in BUTTONS:
            raise LoadError(f"expected one of {', '.join(BUTTONS)}, got {button!r}")
        async with self._one_at_a_time:
            if self.state != "running":
                return f"Nothing to press: the bench is {self.state}."
            assert self._server is not None
            assert self._box is not None
            try:
                words = await asyncio.to_thread(self._do, button, self._server, self._box)
            except ServerError as error:
                words = str(error)
        self._say(words)
        return words

    def _do(self, button: str, server: Server, box: Middlebox) -> str:
        on = not self.on.get(button, False)
        if button == "freeze":
            if not server.alive:
                return "The server has ended: there is nothing to freeze. Press restart."
            server.pause() if on else server.resume()
        elif button == "delay":
            box.set(delay_s=DELAY_S if on else None)
        elif button == "forget":
            box.set(forget=on)
        elif button == "cut":
            box.cut()
        elif button == "kill":
            server.kill()
            self._over("freeze")
        elif button == "restart":
            server.restart()
            self._over("freeze")
        if button in TOGGLES:
            self.on[button] = on
            self._over(button) if not on else self.faults.append((button, self.now_s, None))
            return f"{button}: {'on' if on else 'off'}. {WORDS[button][not on]}"
        self.faults.append((button, self.now_s, self.now_s))
        return f"{button}. {WORDS[button][0]}"

    def _over(self, button: str) -> None:
        """Note the end of what went on."""
        self.on[button] = False
        self.faults = [
            (name, begin_s, self.now_s if name == button and end_s is None else end_s)
            for name, begin_s, end_s in self.faults
        ]

    async def _mend(self) -> None:
        assert self._server is not None
        assert self._box is not None
        self._server.resume()
        with suppress(ServerError):
            await asyncio.to_thread(self._box.clear)
        for button in TOGGLES:
            self._over(button)

    # ---- clients and publisher ----

    async def _follow(self, number: int) -> None:
        assert self._box is not None
        lane = self.lanes[number]
        client = self.kind.client(self._box, keeps_place=self.keeps_place, seed=self.seed, client=number)
        try:
            async with client:
                async for item in client:
                    if isinstance(item, Gap):
                        lane.marks.append((self.now_s, lane.newest, "gap"))
                    elif (sent := number_in(item.message.data)) is not None:
                        lane.take(self.now_s, sent)
                        lane.delay_s = self.now_s - self.sent_s[sent]
                    if number == 0 and self.on["slow"]:
                        await asyncio.sleep(2 / self.rate)  # two come while it takes one
        except ClientError as error:
            lane.ended = str(error)

    async def _publish(self) -> None:
        """Send 0, 1, 2 … `rate` times a second, each until it is confirmed."""
        assert self._server is not None
        publisher = self.kind.publisher(self._server)
        async with publisher:
            while self.state == "running":
                number = len(self.sent_s)
                self.sent_s.append(self.now_s)
                while not await self._sent(publisher, number):  # noqa: ASYNC110 - it sends each time
                    await asyncio.sleep(AGAIN_S)
                due_s = max(self.now_s, (number + 1) / self.rate)
                await asyncio.sleep(due_s - self.now_s)

    async def _sent(self, publisher: Client, number: int) -> bool:
        try:
            await self.kind.send(publisher, number, self.send_limit_s)
        except (MaybeSent, NotSent) as error:
            if isinstance(error, MaybeSent):
                self.resent.add(number)
            return False
        self.confirmed.add(number)
        return True

    def _end_by_itself(self) -> None:
        self._ending = asyncio.create_task(self.finish())

    async def _all_came(self) -> None:
        """Until nobody is behind, or SETTLE_S are over; a dead server has nothing more to give."""
        ends_s = self.now_s + SETTLE_S
        while self.now_s < ends_s and self._server is not None and self._server.alive:
            published = self._publishing is None or self._publishing.done()
            last = max(self.confirmed, default=-1)
            if published and all(lane.newest >= last or lane.ended for lane in self.lanes):
                return
            await asyncio.sleep(TICK_S)

    # ---- what is to be seen ----

    @property
    def report(self) -> Report:
        """What the delivery checker says of all that has been sent until now."""
        checker = DeliveryChecker()
        for number in range(len(self.sent_s)):
            checker.published(number, surely=number in self.confirmed)
        for index, lane in enumerate(self.lanes):
            name = f"client {index + 1}"
            checker.follower(name)
            for at_s, number, kind in lane.marks:
                checker.received(name, Gap("", "", None, None, at_s) if kind == "gap" else number)
        return checker.report()

    def counts(self) -> list[dict[str, int]]:
        """For each client: received, behind, lost, missed (and told so), twice, late (out of order)."""
        rows = []
        for lane, found in zip(self.lanes, self.report.followers.values(), strict=True):
            absent = [*found.lost, *found.missed]
            behind = [n for n in absent if isinstance(n, int) and n > lane.newest]
            over = self.state == "ended"
            lost = [n for n in found.lost if over or n not in behind]
            rows.append(
                {
                    "received": found.received,
                    "behind": 0 if over else len(behind),
                    "lost": len(lost),
                    "missed": len([n for n in found.missed if over or n not in behind]),
                    "twice": sum(kind == "twice" for _, _, kind in lane.marks),
                    "late": len(found.out_of_order),
                }
            )
        return rows

    def picture(self, window_s: float | None = WINDOW_S) -> dict[str, Any]:
        """The last seconds (None: all of them) as plain data, for a page, a widget or a figure."""
        now_s = self.now_s
        since_s = 0.0 if window_s is None else max(0.0, now_s - window_s)
        counts = self.counts()
        lanes = []
        for lane, row in zip(self.lanes, counts, strict=True):
            marks = [[round(at_s, 3), number, kind] for at_s, number, kind in lane.marks if at_s >= since_s]
            delay_ms = round(1000 * lane.delay_s)
            lanes.append({"marks": marks, **row, "delay_ms": delay_ms, "ended": lane.ended})
        totals = {name: sum(row[name] for row in counts) for name in counts[0]}
        server = "away" if self._server is None else "running" if self._server.alive else "dead"
        return {
            "state": self.state,
            "transport": self.transport,
            "clients": self.clients,
            "rate": self.rate,
            "keeps_place": self.keeps_place,
            "now_s": round(now_s, 3),
            "since_s": round(since_s, 3),
            "published": [round(at_s, 3) for at_s in self.sent_s if at_s >= since_s],
            "sent": len(self.confirmed),
            "resent": len(self.resent),
            "lanes": lanes,
            "totals": totals,
            "faults": [
                [name, round(begin_s, 3), None if end_s is None else round(end_s, 3)]
                for name, begin_s, end_s in self.faults
                if end_s is None or end_s >= since_s
            ],
            "on": dict(self.on),
            "server": "frozen" if self.on["freeze"] and server == "running" else server,
            "said": self.said,
        }

    def _say(self, words: str) -> None:
        self.said = words


# For each button: what is true when it is pressed, and when it is pressed again.
WORDS: dict[str, tuple[str, ...]] = {
    "delay": (f"All bytes take {DELAY_S:g} s longer, each way.", "Bytes pass at once."),
    "forget": (
        "The network drops all bytes, and tells nobody.",
        "Bytes pass again; a connection that has lost some stays mute until its client gives it up.",
    ),
    "freeze": ("The server stands still; its connections stay open.", "The server goes on."),
    "slow": ("Client 1 takes half as many messages as come.", "Client 1 keeps up again."),
    "cut": ("All connections have ended; each client comes back when its wait is over.",),
    "kill": ("The server is dead, and so is what it remembered.",),
    "restart": ("The server begins anew, with an empty memory.",),
}
