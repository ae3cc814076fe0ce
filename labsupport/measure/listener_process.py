"""A helper that holds a share of the listeners (see helper.py).

    {"do": "begin", "url", "handshake", "first", "origin"}  {"began": true}
    {"do": "grow", "clients", "seconds"}                  {"progress"}…, {"listening", "broken", "took_s"}
    {"do": "hear", "marker", "seconds"}                   {"armed"}, {"stamps", "listening", "broken"}
    {"do": "publish", "marker", "post", "seconds"}        {"stamps", …}; the first is that of the sending
    {"do": "ping", "seconds"}                             {"pongs", "took_s"}

Bytes travel as latin-1 text, stamps as base64 of doubles: seconds of the one clock that all processes of a
machine share.
"""

import base64
import threading
from array import array

from labsupport.measure.helper import CommandLine, Reply, say, serve_commands
from labsupport.measure.listeners import Listeners
from labsupport.measure.sockets import Clock, LoadError, Origin, Target

TELL_S = 0.2  # seconds between two lines of progress


class _Share(Listeners):
    """Listeners that tell how far they are."""

    _told = 0.0

    def turn(self, stop: threading.Event, ends: float) -> None:
        super().turn(stop, ends)
        if (now := Clock()) - self._told > TELL_S:
            self._told = now
            say({"progress": self.listening})


class _Program:
    def __init__(self) -> None:
        self._line = CommandLine()
        self._share: Listeners | None = None
        self._stop = threading.Event()  # never set: when it should stop, the process ends

    def run(self) -> None:
        commands = {
            name: getattr(self, f"_{name}") for name in ("begin", "grow", "hear", "publish", "ping", "status")
        }
        serve_commands(self._line, commands, self._idle)

    def _idle(self) -> None:
        if self._share is not None:
            self._share.idle(self._line.fileno(), float("inf"))

    @property
    def share(self) -> Listeners:
        if self._share is None:
            raise LoadError("a listener process must begin before it can do that")
        return self._share

    def _begin(self, command: Reply) -> Reply:
        handshake = command["handshake"].encode("latin-1")
        sources, ports = command["origin"]
        origin = Origin(sources, ports and (ports[0], ports[1]))
        self._share = _Share(Target.of(command["url"]), handshake, first=command["first"], origin=origin)
        self._share.watch(self._line.fileno())
        return {"began": True}

    def _status(self, command: Reply) -> Reply:
        return {"listening": self.share.listening, "broken": self.share.broken}

    def _grow(self, command: Reply) -> Reply:
        started = Clock()
        self.share.grow(command["clients"], self._stop, command["seconds"])
        return {**self._status(command), "took_s": Clock() - started}

    def _hear(self, command: Reply) -> Reply:
        say({"armed": True})
        return self._stamped(self.share.hear(command["marker"].encode(), self._stop, command["seconds"]))

    def _publish(self, command: Reply) -> Reply:
        post, marker = command["post"].encode("latin-1"), command["marker"].encode()
        return self._stamped(self.share.publish(post, marker, self._stop, command["seconds"]))

    def _stamped(self, stamps: "array[float]") -> Reply:
        return {**self._status({}), "stamps": base64.b64encode(stamps.tobytes()).decode()}

    def _ping(self, command: Reply) -> Reply:
        started = Clock()
        pongs = self.share.ping(self._stop, command["seconds"])
        return {"pongs": pongs, "took_s": Clock() - started}


if __name__ == "__main__":
    _Program().run()
