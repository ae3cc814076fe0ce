"""Long polling: the server holds the question; two begin a second apart at least, unless there was news."""

import asyncio
import random
from collections.abc import Callable

import aiohttp


async def follow(url: str, show: Callable[[object], object]) -> None:
    position, failures, clock = None, 0, asyncio.get_running_loop().time
    limit = aiohttp.ClientTimeout(total=40)  # longer than any hold: a dead line ends here
    async with aiohttp.ClientSession(timeout=limit) as http:
        while True:
            asked_s, wait_s = clock(), 0.0
            try:
                since = {"wait": "25"} if position is None else {"wait": "25", "since": position}
                async with http.get(f"{url}/messages", params=since) as answer:
                    position = None if answer.status == 410 else position  # too old: begin afresh
                    answer.raise_for_status()  # or it would spin
                    body = await answer.json()
                for message in body["messages"]:
                    show(message["data"])
                position, failures = body["position"], 0
                if not body["messages"]:
                    wait_s = max(0.0, 1 - (clock() - asked_s))
            except (aiohttp.ClientError, TimeoutError):
                wait_s, failures = random.random() * min(30, 2**failures), failures + 1
            await asyncio.sleep(wait_s)
