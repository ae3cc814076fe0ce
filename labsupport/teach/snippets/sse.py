"""Server-Sent Events, read by hand: ids say where to go on, silence and every end lead to a new stream."""

import asyncio
import json
import random
from collections.abc import Callable

import aiohttp


async def follow(url: str, show: Callable[[object], object]) -> None:
    place, failures = "", 0
    limit = aiohttp.ClientTimeout(total=None, sock_read=45)  # three heartbeats of 15 s
    async with aiohttp.ClientSession(timeout=limit) as http:
        while True:
            try:
                head = {"Accept": "text/event-stream", **({"Last-Event-ID": place} if place else {})}
                async with http.get(f"{url}/events", headers=head) as answer:
                    answer.raise_for_status()
                    event = {"id": place}
                    async for line in answer.content:
                        name, _, value = line.decode().rstrip("\r\n").partition(":")
                        if name:
                            event[name] = value.removeprefix(" ")
                        elif line.isspace():  # a blank line ends the event; a comment begins with a colon
                            place, failures = event["id"], 0
                            content = json.loads(event.get("data", "null"))
                            if event.get("event") == "snapshot":
                                for message in content["messages"]:
                                    show(message["data"])
                            elif event.get("event") == "message":
                                show(content)
                            event = {"id": place}
            except (aiohttp.ClientError, TimeoutError):
                pass
            await asyncio.sleep(random.random() * min(30, 2**failures))
            failures += 1
