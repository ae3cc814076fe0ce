"""A program that publishes into a store from two processes, and kills both with SIGKILL, again and again.

python -m tests.servers.killing DATABASE ROUNDS SEED     prints the keys that were acknowledged, as JSON

The processes are forks of this one, so that a round costs some milliseconds and no new interpreter.
"""

import json
import os
import random
import signal
import sys
import time

from servers.core.notification_store import Store, database_url

WRITERS = 2
MOST_ACKNOWLEDGED = 12  # in one round, before the kill
LONGEST_S = 0.003  # seconds from an acknowledgement to the kill: the length of a publish, so all its moments


def begin(database: str, name: str) -> tuple[int, int]:
    """(process id, pipe of the keys that it acknowledges, one a line)."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    try:
        store = Store(database_url(database))
        for number in range(1_000_000):
            store.publish("alice", "order", number, f"{name}-{number}")
            os.write(writing, f"{name}-{number}\n".encode())
    finally:
        os._exit(1)


def main() -> None:
    database, rounds, draw = sys.argv[1], int(sys.argv[2]), random.Random(int(sys.argv[3]))
    acknowledged = []
    for each in range(rounds):
        writers = [begin(database, f"{each}-{number}") for number in range(WRITERS)]
        said = b""
        for _ in range(draw.randint(1, MOST_ACKNOWLEDGED)):
            said += os.read(writers[0][1], 16)  # it lives, and is in the midst of it
        time.sleep(draw.uniform(0, LONGEST_S))
        for pid, _ in writers:
            os.kill(pid, signal.SIGKILL)
        for pid, pipe in writers:
            while more := os.read(pipe, 1 << 16):
                said += more
            os.close(pipe)
            os.waitpid(pid, 0)
            acknowledged += said.decode().split()
            said = b""
    print(json.dumps(acknowledged))


if __name__ == "__main__":
    main()
