"""Short polling: the client asks again and again, and each time is answered at once.

client -> server   GET /messages[?since=POSITION][&channel=NAME]
server -> client   200 {"messages": [{"id": POSITION, "event": "message", "data": ANY}, ...],
                        "position": POSITION}
                   304 if the client sent the ETag of this answer as If-None-Match
                   400 if since is no position of this channel
                   410 {"error": "too old" | "other epoch", "snapshot": {"messages": [...], "position": ...}}

Without since, you get all that is remembered. With the position of the last answer, you get what is new, and
mostly that is nothing: you pay for the question all the same.

A position can be too old (more messages came since than are remembered), or of another epoch (the server was
restarted). Both are said, with a snapshot to begin again from, since a list with a hole looks like any other.

Posting a message, counters and planned failures are the same in all polling servers: see core/board.py.

Run it   python -m servers.short_polling --port 8001
Try it   curl http://127.0.0.1:8001/messages
         curl -d '{"data": "hello"}' http://127.0.0.1:8001/messages
         curl -i http://127.0.0.1:8001/messages        and again, with the ETag it showed:
         curl -i -H 'If-None-Match: "ETAG"' http://127.0.0.1:8001/messages
"""

from aiohttp import web

from servers.core import board, http
from servers.core.log import PositionError


async def get_messages(request: web.Request) -> web.StreamResponse:
    """Answer with what the client does not have yet. Nothing is remembered about the client."""
    this = request.app[board.BOARD]
    since = request.query.get("since")
    with this.poll():
        failure = await this.planned_failure(request)
        if failure is not None:
            return failure
        log = this.log(request)
        try:
            entries = log.after(since)
        except PositionError as error:
            return this.position_error(request, log, error)
        return this.answer(request, log, since, entries)


def main() -> None:
    options = board.arguments(__doc__).parse_args()
    http.run(board.application(options, get_messages), options)


if __name__ == "__main__":
    main()
