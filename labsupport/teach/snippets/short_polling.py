"""Short polling: one question at a time, none alike in time, and longer waits after each failure."""

import asyncio
import random
from collections.abc import Callable

import aiohttp


async def follow(url: str, show: Callable[[object], object], every_s: float = 5.0) -> None:
    position, failures = None, 0
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as http:
        while True:
            try:
                since: dict[str, str] = {} if position is None else {"since": position}
                async with http.get(f"{url}/messages", params=since) as answer:
                    position = None if answer.status == 410 else position  # too old: begin afresh
                    answer.raise_for_status()
                    body = await answer.json()
                for message in body["messages"]:
                    show(message["data"])
                position, failures = body["position"], 0
            except (aiohttp.ClientError, TimeoutError):
                failures += 1
            ceiling_s = min(30, 2 ** (failures - 1))
            wait_s = random.random() * ceiling_s if failures else every_s * random.uniform(0.8, 1.2)
            await asyncio.sleep(wait_s)
