"""Chat over WebSocket: rooms, who is there, and nothing lost when a connection is.

All messages are JSON objects in text frames. client -> server:

    {"type": "join", "room": "tea", "user": "alice", "since": POSITION, "token": TOKEN}
                            first of all, within --auth-deadline; since and token may be left out
    {"type": "message", "id": "a-1", "text": "hello"}         the id is the client's own; the same id again is
                            the same message, so what was not acknowledged may be sent again
    {"type": "typing"}      {"type": "online"}

server -> client:

    {"type": "joined", "room", "user", "position": the newest, "since", "online": [names], "count"}
    {"type": "gap", "reason": "too old" | "other epoch" | "bad position", "detail", "since"}
                            what came after `since` cannot be had whole: all that is remembered follows
    {"type": "message", "position", "id", "user", "text", "at"}      missed ones, then live; one's own as well
    {"type": "ack", "id", "position", "duplicate"}           written; duplicate: it was there already
    {"type": "typing", "user"}                               to the others
    {"type": "online", "users": [names], "count"}            when that has changed, and to whoever asks
    {"type": "error", "error", "try", "id"}                  what could not be understood; the chat goes on

It closes with 1003 for a binary message, 4401 for a wrong token or no join in time, 4408 for a client that
leaves more than --unread messages unread, 4429 for more than --rate messages a second (a burst of twice that
is fine), 1012 when the server ends. Beside the chat: /echo, GET /stats, and a log-in without a password,
GET /login?user=NAME -> {"user", "token"} and the token as a cookie, which stands for the token in a join.

What is done with each message: core/chat.py. Rooms, and who is in them: core/rooms.py. Who may connect, and
what a client should do after each close code: core/websocket.py and core/websocket_connection.py.
--any-origin is a mistake, to be made in a lesson: no look at Origin.

Run it   python -m servers.websocket_chat --port 8766
Try it   python -m websockets ws://127.0.0.1:8766/chat      and type:
         {"type": "join", "room": "tea", "user": "alice"}
         {"type": "message", "id": "1", "text": "hello"}
"""

import argparse

from servers.core import chat, websocket
from servers.core.chat import Bucket, Chat

__all__ = ["Bucket", "Chat", "arguments", "main"]


def arguments() -> argparse.ArgumentParser:
    return chat.arguments(__doc__)


def main() -> None:
    options = arguments().parse_args()
    websocket.run(Chat(options).door, options)


if __name__ == "__main__":
    main()
