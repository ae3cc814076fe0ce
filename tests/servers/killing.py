"""A program that publishes into a store from two processes, and kills both with SIGKILL, again and again.

python -m tests.servers.killing DATABASE ROUNDS SEED     prints {"killed": N, "acknowledged": [KEY...]}

The processes are forks of this one, so that a round costs some milliseconds and no new interpreter. A writer
that ends before it is killed ends the program: then less was killed than it would say.
"""

import json
import os
import random
import select
import signal
import sys
import time
import traceback

from servers.core.notification_store import Store, database_url

WRITERS = 2
MOST_ACKNOWLEDGED = 6  # in one round, before the kill
LONGEST_S = (
    0.003  # seconds from an acknowledgement to the kill: a publish takes 1 or 2 ms, so all its moments
)
READY = "ready"


def open_store(database: str) -> Store:
    return Store(database_url(database), most_per_minute=1_000_000)


def begin(database: str, name: str, go: int) -> tuple[int, int]:
    """(pipe, process id) of a writer: says READY, waits for a byte, then names its keys, one a line."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return reading, pid
    try:
        store = open_store(database)
        os.write(writing, f"{READY}\n".encode())
        os.read(go, 1)
        for number in range(1_000_000):
            store.publish("alice", "order", number, f"{name}-{number}")
            os.write(writing, f"{name}-{number}\n".encode())
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(1)


def hear(said: dict[int, bytes], lines: int) -> None:
    """Read until all writers together have said so many lines."""
    while sum(text.count(b"\n") for text in said.values()) < lines:
        for pipe in select.select(list(said), [], [])[0]:
            more = os.read(pipe, 1 << 16)
            if not more:
                raise SystemExit("a writer ended by itself")
            said[pipe] += more


def rest(pipe: int) -> bytes:
    text = b""
    while more := os.read(pipe, 1 << 16):
        text += more
    os.close(pipe)
    return text


def main() -> None:
    database, rounds, draw = sys.argv[1], int(sys.argv[2]), random.Random(int(sys.argv[3]))
    killed, acknowledged = 0, []
    open_store(database).close()  # what it imports, no fork needs to
    waiting, go = os.pipe()
    for each in range(rounds):
        writers = dict(begin(database, f"{each}-{number}", waiting) for number in range(WRITERS))
        said = dict.fromkeys(writers, b"")
        hear(said, WRITERS)
        os.write(go, b"." * WRITERS)  # else, on SQLite, one publishes hundreds before the other gets its turn
        hear(said, WRITERS + draw.randint(1, MOST_ACKNOWLEDGED))
        time.sleep(draw.uniform(0, LONGEST_S))
        for pid in writers.values():
            os.kill(pid, signal.SIGKILL)
        for pipe, pid in writers.items():
            lines = (said[pipe] + rest(pipe)).decode().split()
            acknowledged += [key for key in lines if key != READY]
            killed += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    print(json.dumps({"killed": killed, "acknowledged": acknowledged}))


if __name__ == "__main__":
    main()
