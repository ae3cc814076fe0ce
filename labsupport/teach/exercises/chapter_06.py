"""Exercises of chapter 06, choosing a transport."""

from __future__ import annotations

from labsupport.teach.exercise import Exercise, Mistake, case


def choose(media: bool, writes_per_min: float, age_s: float, same_for_all: bool) -> str:
    """A transport for these needs; the first rule that fits decides.

    media            voice or video
    writes_per_min   messages that one user sends a minute
    age_s            how old the data may be, in seconds
    same_for_all     many see the same data
    """
    if media:
        return "WebRTC"
    if writes_per_min >= 30:
        return "WebSocket"
    if age_s >= 60:
        return "polling"
    if same_for_all and age_s >= 1:
        return "cached polling"
    return "SSE"


def _any_write(media: bool, writes_per_min: float, age_s: float, same_for_all: bool) -> str:
    return "WebSocket" if writes_per_min > 0 and not media else choose(media, 0, age_s, same_for_all)


def _live_is_websocket(media: bool, writes_per_min: float, age_s: float, same_for_all: bool) -> str:
    return "WebSocket" if age_s < 1 and not media else choose(media, writes_per_min, age_s, same_for_all)


def _no_viewers(media: bool, writes_per_min: float, age_s: float, same_for_all: bool) -> str:
    return choose(media, writes_per_min, age_s, False)


def _age_first(media: bool, writes_per_min: float, age_s: float, same_for_all: bool) -> str:
    if not media and age_s >= 60:
        return "polling"
    return choose(media, writes_per_min, age_s, same_for_all)


def _always_cached(media: bool, writes_per_min: float, age_s: float, same_for_all: bool) -> str:
    quick = same_for_all and not media and writes_per_min < 30 and age_s < 60
    return "cached polling" if quick else choose(media, writes_per_min, age_s, same_for_all)


def egress_per_month(users: float, interval_s: float, down_bytes: float, price_per_gb: float) -> float:
    """What polling costs in 30 days: answers of `down_bytes` to all users, at so much for 10⁹ bytes."""
    polls = users * 30 * 86_400 / interval_s
    return polls * down_bytes / 1e9 * price_per_gb


def _gibibytes(users: float, interval_s: float, down_bytes: float, price_per_gb: float) -> float:
    return egress_per_month(users, interval_s, down_bytes, price_per_gb) * 1e9 / 2**30


def _a_day(users: float, interval_s: float, down_bytes: float, price_per_gb: float) -> float:
    return egress_per_month(users, interval_s, down_bytes, price_per_gb) / 30


def _in_bits(users: float, interval_s: float, down_bytes: float, price_per_gb: float) -> float:
    return egress_per_month(users, interval_s, down_bytes, price_per_gb) * 8


def _times_the_interval(users: float, interval_s: float, down_bytes: float, price_per_gb: float) -> float:
    return users * 30 * 86_400 * interval_s * down_bytes / 1e9 * price_per_gb


def _one_user(users: float, interval_s: float, down_bytes: float, price_per_gb: float) -> float:
    return egress_per_month(1, interval_s, down_bytes, price_per_gb)


def largest_call(up_kbps: int, down_kbps: int, stream_kbps: int) -> tuple[int, int]:
    """How many people fit in a call, oneself included: (in a mesh, with a media server).

    In a mesh each sends to every other; to a media server (SFU) each sends once. Either way each receives one
    stream of every other. A call of one is no call, but fits always.
    """
    up, down = up_kbps // stream_kbps, down_kbps // stream_kbps
    return 1 + min(up, down), 1 + (down if up >= 1 else 0)


def _not_oneself(up_kbps: int, down_kbps: int, stream_kbps: int) -> tuple[int, int]:
    mesh, sfu = largest_call(up_kbps, down_kbps, stream_kbps)
    return mesh - 1, sfu - 1


def _uplink_alone(up_kbps: int, down_kbps: int, stream_kbps: int) -> tuple[int, int]:
    mesh = 1 + up_kbps // stream_kbps
    return mesh, largest_call(up_kbps, down_kbps, stream_kbps)[1]


def _mesh_for_both(up_kbps: int, down_kbps: int, stream_kbps: int) -> tuple[int, int]:
    mesh, _ = largest_call(up_kbps, down_kbps, stream_kbps)
    return mesh, mesh


def _no_uplink_for_the_server(up_kbps: int, down_kbps: int, stream_kbps: int) -> tuple[int, int]:
    mesh, _ = largest_call(up_kbps, down_kbps, stream_kbps)
    return mesh, 1 + down_kbps // stream_kbps


EXERCISES = (
    Exercise(
        id="6.1",
        title="Choose",
        reference=choose,
        cases=(
            case(False, 0, 0.5, False, hint="an own feed, at once, one way"),
            case(False, 1, 0.5, False, hint="a word a minute goes up by POST"),
            case(False, 120, 0.1, False, hint="a game: small messages go up often"),
            case(False, 0, 600, True, hint="the weather"),
            case(False, 0, 2, True, hint="scores for millions: what can answer in your place?"),
            case(False, 0, 0.2, True, hint="for so short a time a cache is no help"),
            case(True, 0, 0.1, False, hint="voice"),
            case(False, 60, 120, False, hint="which rule stands first?"),
            case(True, 600, 0.1, True, hint="which rule stands first?", hidden=True),
        ),
        mistakes=(
            Mistake(
                "any word up is a WebSocket",
                _any_write,
                "a reply now and then is a POST beside the stream; a second direction pays when messages "
                "go up often.",
            ),
            Mistake(
                "live means WebSocket",
                _live_is_websocket,
                "an event stream is as quick downwards: one transit.",
            ),
            Mistake(
                "who else is watching was not asked",
                _no_viewers,
                "what many see in the same second a cache can answer, and your server is asked once.",
            ),
            Mistake(
                "the age of the data before the direction",
                _age_first,
                "whoever sends something every second has an open connection anyway: rule 2 comes first.",
            ),
            Mistake(
                "a cache for everything",
                _always_cached,
                "a cache holds an answer for a second or longer: what must be younger does not fit in.",
            ),
        ),
    ),
    Exercise(
        id="6.2",
        title="The bill",
        reference=egress_per_month,
        cases=(
            case(1, 2_592_000, 1e9, 1, hint="one poll a month, of one gigabyte: one gigabyte"),
            case(10_000, 5, 226, 0.09, hint="how many polls are that in 30 days?"),
            case(10_000, 300, 226, 0.09, hint="sixty times as rare, a sixtieth of the bill"),
            case(1e6, 5, 226, 0.09, hint="a hundred times the users"),
            case(50_000, 2, 500, 0.05, hidden=True),
        ),
        mistakes=(
            Mistake("gibibytes", _gibibytes, "a GB on a bill is 10⁹ bytes; 2³⁰ is a GiB."),
            Mistake("one day", _a_day, "the bill is for 30 days."),
            Mistake("bits", _in_bits, "lines are sold in bits, egress in bytes."),
            Mistake(
                "times the interval",
                _times_the_interval,
                "the longer the interval, the fewer the polls: divide by it.",
            ),
            Mistake("one user", _one_user, "all users poll."),
        ),
    ),
    Exercise(
        id="6.3",
        title="Mesh or media server",
        reference=largest_call,
        cases=(
            case(1_000, 1_000, 1_000, hint="one stream up, one down: two people"),
            case(5_000, 50_000, 1_500, hint="three streams fit up: three others"),
            case(40_000, 16_000, 1_500, hint="down fits less than up: what you cannot receive is no call"),
            case(1_000, 50_000, 1_500, hint="not even one stream fits up"),
            case(1_000, 50_000, 50, hint="voice alone is thin"),
            case(3_000, 4_500, 1_500, hidden=True),
        ),
        mistakes=(
            Mistake("you do not count yourself", _not_oneself, "n people: n − 1 streams, so n is one more."),
            Mistake(
                "the uplink alone",
                _uplink_alone,
                "in a mesh you also receive a stream of every other: the smaller of the two decides.",
            ),
            Mistake(
                "a media server changes nothing",
                _mesh_for_both,
                "to the server you send once, however many listen; only your downlink still counts people.",
            ),
            Mistake(
                "no uplink for the server",
                _no_uplink_for_the_server,
                "once is not never: your own stream must fit up.",
            ),
        ),
    ),
)
