"""What a reconnect storm is made of: the clients, the server that they come back to, and its ways to say no.

Times inside a run are whole nanoseconds, so that two engines can agree to the last bit: 1/C is rounded to
one, too (C = 200/s is exact; at C = 300/s the server is faster by one part in ten million).
"""

from dataclasses import KW_ONLY, dataclass
from enum import IntEnum

from labsupport.models import checks

NS = 1_000_000_000  # nanoseconds in a second
HORIZON_S = 1_000_000.0  # eleven days: an attempt that is due later is not made, and its client is lost
MAX_SERVERS_PER_S = 1e8  # accepts per second; above, rounding 1/C to nanoseconds would show


class Outcome(IntEnum):
    """How an arrival at the server ends. All but CONNECTED and DROPPED end the attempt with a failure."""

    CONNECTED = 0
    DOWN = 1  # nobody listens: the server is not back yet
    REFUSED = 2  # its queue is full, and it says so at once
    DROPPED = 3  # its queue is full, and the SYN vanishes; the client's kernel will send another
    TIMED_OUT = 4  # the last SYN vanished, too
    TURNED_AWAY = 5  # accepted, but too many are waiting to log in


@dataclass(frozen=True)
class RetryAfter:
    """A server that tells those whom it refuses when to come back: U(0, window_s), drawn by the server.

    obeyed "at least": the client takes the longer one of this and its policy's wait (as the lab's clients
    do, and as RFC 9110 §10.2.3 reads); "instead": it forgets its policy's wait. Nobody is told anything
    while the server is down, or by a SYN that is dropped. To refuse costs the server nothing here.
    """

    window_s: float
    obeyed: str = "at least"

    def __post_init__(self) -> None:
        checks.seconds("RetryAfter: window_s", self.window_s)
        checks.choice("RetryAfter: obeyed", self.obeyed, ("at least", "instead"))


@dataclass(frozen=True)
class Login:
    """The second stage behind the accept queue: log in and fetch a snapshot, `per_s` a second, one by one.

    At most `queue` wait (whoever is being served counts); one more is turned away, after it was accepted,
    and then waits by its policy. A client is connected when both stages are done.
    """

    per_s: float
    queue: int

    def __post_init__(self) -> None:
        _rate("Login: per_s", self.per_s)
        checks.count("Login: queue", self.queue)


@dataclass(frozen=True)
class SynDrops:
    """A full queue that drops the SYN instead of refusing: silence, which costs the client time.

    The client's kernel sends the SYN again 1, 3, 7, 15, 31, 63 s after the first (Linux; RFC 6298: the
    time-out doubles), and the client gives this attempt up after `connect_timeout_s`. Then it waits by its
    policy. While the server is down, its host still answers at once (RST).
    """

    connect_timeout_s: float = 10.0

    def __post_init__(self) -> None:
        checks.seconds("SynDrops: connect_timeout_s", self.connect_timeout_s, zero=False)

    @property
    def offsets_ns(self) -> tuple[int, ...]:
        """When an attempt's SYNs come, from its first one: 0, 1 s, 3 s, 7 s … before the time-out."""
        sent_ns = [(2**n - 1) * NS for n in range(7)]
        return tuple(offset for offset in sent_ns if offset < self.timeout_ns)

    @property
    def timeout_ns(self) -> int:
        """The connect time-out in nanoseconds."""
        return max(1, round(min(self.connect_timeout_s, HORIZON_S) * NS))


@dataclass(frozen=True)
class Storm:
    """N clients lose their server at time 0 and want it back.

    clients        N
    accepts_per_s  C: the server accepts one client after the other, each in 1/C seconds
    accept_queue   Q: so many may wait (whoever is being accepted counts); more is refused at once
    outage_s       D: until then nobody listens, and every attempt fails at once
    spread_s       J: each attempt reaches the server U(0, J) after its wait is over (detection and network)

    first_at_once  the first attempt is made without a wait; else after the policy's first wait
    admission      RetryAfter(window_s): the server says when to come back
    login          Login(per_s, queue): a second stage after the accept
    syn_drops      SynDrops(connect_timeout_s): a full queue drops, and does not refuse
    """

    clients: int
    accepts_per_s: float
    accept_queue: int
    outage_s: float = 0.0
    spread_s: float = 0.0
    _: KW_ONLY
    first_at_once: bool = False
    admission: RetryAfter | None = None
    login: Login | None = None
    syn_drops: SynDrops | None = None

    def __post_init__(self) -> None:
        checks.count("clients", self.clients)
        _rate("accepts_per_s", self.accepts_per_s)
        checks.count("accept_queue", self.accept_queue)
        checks.seconds("outage_s", self.outage_s)
        checks.seconds("spread_s", self.spread_s)
        for name, value in (("outage_s", self.outage_s), ("spread_s", self.spread_s)):
            if value > HORIZON_S / 2:
                raise ValueError(f"{name} is {value:g}: a run ends at {HORIZON_S:g} s, so try less than half")

    @property
    def lower_bound_s(self) -> float:
        """D + N/C: no policy can have everybody connected earlier (with a login: at the slower stage)."""
        slowest = min(self.accepts_per_s, self.login.per_s if self.login else self.accepts_per_s)
        return self.outage_s + self.clients / slowest


def _rate(name: str, value: float) -> None:
    checks.rate(name, value, zero=False)
    if value > MAX_SERVERS_PER_S:
        raise ValueError(f"{name} must be at most {MAX_SERVERS_PER_S:g} a second, got {value!r}")


def nanoseconds(seconds: float) -> int:
    """Return whole nanoseconds, rounded half to even as numpy does; what is too long stays too long."""
    return round(min(seconds, 2 * HORIZON_S) * NS)


def too_many(engine: str, limit: int) -> str:
    """Say that a run is too long for its engine."""
    return (
        f"this storm needs more than {limit:,} attempts, the limit of engine={engine!r}: "
        "try fewer clients, longer waits, a faster server, or the fluid limit, which takes any size"
    )


class Queue:
    """A queue of Q in front of one who serves, 1/C each, as one number: when the last in it will be done.

    Whoever comes at t is refused if busy − t > (Q − 1)/C. No list of waiting clients is needed, because
    nobody overtakes and every service takes the same time.
    """

    def __init__(self, per_s: float, places: int, opens_ns: int = 0) -> None:
        self.service_ns = max(1, round(NS / per_s))
        self.patience_ns = (places - 1) * self.service_ns
        self.opens_ns = opens_ns
        self.busy_ns = opens_ns

    def admit(self, now_ns: int) -> int | None:
        """Return when whoever comes now will be done; None: the queue is full."""
        if self.busy_ns - now_ns > self.patience_ns:
            return None
        self.busy_ns = max(self.busy_ns, now_ns) + self.service_ns
        return self.busy_ns
