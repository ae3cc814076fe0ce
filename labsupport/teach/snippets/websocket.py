"""WebSocket: go on from the last position, and keep what has no ack yet."""

import asyncio
import json
import random
import uuid
from collections.abc import Callable, Iterable

import websockets

FINAL = {1000, 1002, 1003, 1007, 1008, 1009, 1010, 4400, 4401, 4407}  # to come back would not help


async def chat(url: str, texts: Iterable[str], show: Callable[[object], object]) -> None:
    outbox = {(id := str(uuid.uuid4())): {"type": "message", "id": id, "text": text} for text in texts}
    since, failures, code, clock = None, 0, None, asyncio.get_running_loop().time
    while code not in FINAL:
        begun_s = clock()
        try:
            async with websockets.connect(url.replace("http", "ws", 1) + "/chat", compression=None) as link:
                await link.send(json.dumps({"type": "join", "room": "tea", "user": "you", "since": since}))
                async for text in link:
                    message = json.loads(text)
                    if message["type"] == "joined":
                        for waiting in list(outbox.values()):
                            await link.send(json.dumps(waiting))
                    elif message["type"] == "ack":
                        outbox.pop(message["id"], None)
                    elif message["type"] == "message":
                        since = message["position"]
                        show(message["text"])
                code = link.close_code
        except (OSError, TimeoutError, websockets.WebSocketException) as error:
            code = getattr(getattr(error, "rcvd", None), "code", None)
        failures = 0 if clock() - begun_s > 10 else failures  # it was healthy, and not merely open
        await asyncio.sleep(random.random() * min(30, 2**failures))
        failures += 1
