"""The outbox: a message stays in it until the server has confirmed it, over however many connections.

    add       it gets an id of its own, and a place at the end
    next      the next one to write on this connection
    rewind    a new connection: all that is not confirmed is written again, in the old order
    settle    confirmed: it leaves

So each message reaches the server at least once. That it is in the log only once is the server's part: it
knows the id again, and confirms without writing a second time. At least once, and an id: exactly once.
"""

import asyncio
import secrets
from collections import deque
from dataclasses import dataclass

from labsupport.clients.base import ClientError, MaybeSent, NotSent


@dataclass(eq=False, slots=True)
class Letter:
    """One message on its way. `left`: it has been on a connection, so it may have arrived."""

    id: str
    text: str
    left: bool = False
    confirmed: asyncio.Future[str] | None = None  # where somebody waits for its position

    def fail(self, error: ClientError) -> bool:
        """Tell the one who waits; False if nobody does."""
        if self.confirmed is None or self.confirmed.done():
            return False
        self.confirmed.set_exception(error)
        return True


class Outbox:
    """Letters in order. `limit`: how many may wait; `window`: how many may be under way unconfirmed."""

    def __init__(self, limit: int, window: int) -> None:
        self._limit, self._window = limit, window
        # Drawn even where all else is seeded: an id that a run before has used would count as confirmed.
        self._name = secrets.token_hex(6)
        self._numbered = 0
        self._letters: dict[str, Letter] = {}
        self._unwritten: deque[Letter] = deque()  # on this connection
        self._stopped = ""
        self._idle = asyncio.Event()  # every letter is confirmed, or the client has stopped
        self._idle.set()

    def __len__(self) -> int:
        return len(self._letters)

    def add(self, text: str) -> Letter:
        """Take a message in. NotSent when there is no room, or the client has stopped."""
        if self._stopped:
            raise NotSent(f"Not sent: {self._stopped}. It never left, so sending it again is safe.")
        if len(self) >= self._limit:
            raise NotSent(
                f"Not sent: {self._limit} messages wait to be confirmed, and the outbox holds no more. "
                "It never left, so sending it again is safe. Try `await client.drained()` first."
            )
        self._numbered += 1
        letter = Letter(f"{self._name}-{self._numbered}", text)
        self._letters[letter.id] = letter
        self._unwritten.append(letter)
        self._idle.clear()
        return letter

    def rewind(self) -> None:
        """A new connection knows nothing of what was written on the last one."""
        self._unwritten = deque(self._letters.values())

    def next(self) -> Letter | None:
        """The next letter to write; None while there is none, or as many are under way as may be."""
        under_way = len(self._letters) - len(self._unwritten)
        return self._unwritten.popleft() if self._unwritten and under_way < self._window else None

    def settle(self, id: str) -> Letter | None:
        """A letter that leaves the outbox, confirmed or refused. None if it has left before."""
        letter = self._letters.pop(id, None)
        if not self._letters:
            self._idle.set()
        return letter

    def stop(self, why: str) -> None:
        """The client has ended: each one who waits is told how things stand with their message."""
        self._stopped = why = self._stopped or why
        for letter in self._letters.values():
            letter.fail(_unconfirmed(1, letter.left, why))
        self._idle.set()

    async def drained(self) -> None:
        """Wait until nothing is left. MaybeSent or NotSent if the client stops before that."""
        while self._letters and not self._stopped:
            await self._idle.wait()  # whoever waits as well may have added something by now
        if self._letters:
            left = any(letter.left for letter in self._letters.values())
            raise _unconfirmed(len(self), left, self._stopped)


def _unconfirmed(number: int, left: bool, why: str) -> ClientError:
    one = number == 1
    if not left:
        what = "it was never" if one else f"none of {number} messages was ever"
        return NotSent(f"Not sent: {what} on a connection, and {why}. Sending again is safe.")
    what = "it was" if one else f"of {number} messages some were"
    them = "it" if one else "them"
    return MaybeSent(
        f"Maybe sent: {what} on a connection, but {why} before the server confirmed {them}. What was sent "
        "may be in the log or not. Sent again by a new client it may come twice, under another id."
    )
