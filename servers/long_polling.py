"""Long polling: the client asks once, and the server answers when there is something to say.

client -> server   GET /messages?since=POSITION[&wait=SECONDS][&channel=NAME]
server -> client   200 {"messages": [{"id": POSITION, "event": "message", "data": ANY}, ...],
                        "position": POSITION}
                   as soon as one message is there, with all that are; after wait seconds with none, and
                   the same position
                   400 if since is no position of this channel, or wait no number of seconds
                   410 {"error": "too old" | "other epoch", "snapshot": {"messages": [...], "position": ...}}

Each answer ends the request: the client asks again at once, from the position in the answer. What is
published in between is not lost, it is in the log; the next request gets it without waiting.

Without since there is nothing to wait behind: you get all that is remembered, and a position to go on from.
(With wait and without since, an empty channel makes you wait for its first message.)

Posting a message, counters and planned failures are the same in all polling servers: see core/board.py.

Run it   python -m servers.long_polling --port 8002
Try it   curl http://127.0.0.1:8002/messages
         curl 'http://127.0.0.1:8002/messages?since=POSITION'        it hangs; then, from another terminal:
         curl -d '{"data": "hello"}' http://127.0.0.1:8002/messages
"""

from aiohttp import web

from servers.core import board, http
from servers.core.log import PositionError


async def get_messages(request: web.Request) -> web.StreamResponse:
    """Hold the request until there is a message for it, the time is over, or the client has gone."""
    this = request.app[board.BOARD]
    since = request.query.get("since")
    with this.poll():
        wait_s = board.wait_seconds(request.query.get("wait"), since is not None)
        failure = await this.planned_failure(request)
        if failure is not None:
            return failure
        log = this.log(request)
        try:
            entries = await log.wait_after(since, wait_s)
        except PositionError as error:
            return this.position_error(request, log, error)
        return this.answer(request, log, since, entries)


def main() -> None:
    options = board.arguments(__doc__).parse_args()
    http.run(board.application(options, get_messages), options)


if __name__ == "__main__":
    main()
