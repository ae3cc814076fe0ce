"""The reconnect storm in arrays: the same run as the SimPy text, bit for bit, for sliders and millions.

Time goes forward in windows. All arrivals that are due in one are sorted by (time, client) and go to the
server together (reconnect_admit.py). Whoever fails comes again later: after the window, or inside it. If
nobody comes again inside, and under a policy with a shortest wait a short window is enough for that, the
window is done. Else the second arrivals are put among the first, the server sees them all again, and so on
until nothing changes.

Why that is exact, and not an approximation: what happens to an arrival depends on earlier ones only. Suppose
that a window that repeats itself had a wrong event; the earliest wrong one would have a past without fault,
and so could not be wrong. And each turn gets at least one more event right, so it ends.

The window's length changes nothing but the speed: it is halved when many come again inside, and doubled when
few do. Checked: the same bytes as SimPy's run, in tests/models/test_reconnect_engines.py.
"""

import math
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from labsupport.backoff import GRPC, Policy
from labsupport.draws import ONCE, PHASE, SPREAD, WAIT, draw_from, draws, stream
from labsupport.models.reconnect_admit import admit_all
from labsupport.models.reconnect_results import StormRun
from labsupport.models.reconnect_storm import HORIZON_S, NS, Outcome, Queue, Storm, nanoseconds, too_many

MAX_ARRIVALS = 60_000_000  # about 1 GB
NEVER = np.iinfo(np.int64).max  # the next arrival of a client that is connected, or lost
MANY = 65_536  # arrivals in a window above which it is not made longer: they fit into a processor's cache
LOOK_AHEAD = 16  # windows for which the clients that are due are picked out at once

Whole: TypeAlias = NDArray[np.int64]
Batch: TypeAlias = dict[str, NDArray[Any]]  # arrivals as columns: client, time_ns, waits, and what they need


def run_in_arrays(storm: Storm, policy: Policy, seed: int) -> StormRun:
    """Run a storm; `simulate` is the face."""
    rules = Rules(storm, policy, seed)
    server = ManyAtOnce(storm)
    crowd = rules.first_arrivals()
    run = Recorder(storm)
    window_ns = rules.first_window_ns(crowd["time_ns"])
    near, near_until_ns = np.empty(0, dtype=np.int64), -1
    while True:
        if not len(near):
            now_ns = int(crowd["time_ns"].min())
            if now_ns == NEVER:
                break
            near_until_ns = now_ns + LOOK_AHEAD * window_ns
            near = np.flatnonzero(crowd["time_ns"] < near_until_ns)
        near_ns = crowd["time_ns"][near]
        now_ns = int(near_ns.min())
        end_ns = min(now_ns + window_ns, near_until_ns)
        due = near_ns < end_ns
        roots = {name: column[near[due]] for name, column in crowd.items()}
        waves, later = play(rules, server, roots, now_ns, end_ns)
        for name, column in crowd.items():
            column[later["client"]] = later[name]
        run.record(rules, server, waves)
        again = later["client"][later["time_ns"] < near_until_ns]
        near = near[~due]
        if len(again):
            near = np.sort(np.concatenate((near, again)))  # by client: ties are broken so
        inside = sum(len(wave["client"]) for wave in waves[1:]) / len(roots["client"])
        window_ns = rules.next_window_ns(window_ns, len(roots["client"]), inside)
    return run.result(policy, seed)


def play(
    rules: "Rules", server: "ManyAtOnce", roots: Batch, now_ns: int, end_ns: int
) -> tuple[list[Batch], Batch]:
    """Play one window to the end; return its arrivals (first, second … of a client) and the clients' next."""
    roots["root"] = np.arange(len(roots["client"]))
    rules.look_ahead(roots)
    waves = [roots]
    while True:
        server.serve(waves, now_ns)
        found, leaves = [roots], []
        while True:
            wave = found[-1]
            rules.what_next(wave)
            inside = wave["next_ns"] < end_ns
            leaves.append(rules.follow(wave, ~inside))
            if not inside.any():
                break
            again = rules.follow(wave, inside)
            rules.look_ahead(again)
            _guess(again, waves[len(found)] if len(found) < len(waves) else None)
            found.append(again)
        if len(found) == len(waves) and all(map(_same, found, waves)):
            return waves, _last_of_each(leaves)
        waves = found


def _guess(wave: Batch, before: Batch | None) -> None:
    """Give a wave the outcomes of the last turn, or where it is new, a refusal."""
    wave["outcome"] = np.full(len(wave["client"]), Outcome.REFUSED, dtype=np.int8)
    wave["done_ns"] = wave["time_ns"].copy()
    if before is not None and len(before["root"]):
        at = np.minimum(np.searchsorted(before["root"], wave["root"]), len(before["root"]) - 1)
        known = (before["root"][at] == wave["root"]) & (before["time_ns"][at] == wave["time_ns"])
        wave["outcome"][known] = before["outcome"][at[known]]
        wave["done_ns"][known] = before["done_ns"][at[known]]


def _same(wave: Batch, other: Batch) -> bool:
    return np.array_equal(wave["root"], other["root"]) and np.array_equal(wave["time_ns"], other["time_ns"])


def _last_of_each(leaves: list[Batch]) -> Batch:
    return {name: np.concatenate([leaf[name] for leaf in leaves]) for name in leaves[0]}


class Rules:
    """What the clients do: their policy, the spread, and what the server told them, as arrays."""

    def __init__(self, storm: Storm, policy: Policy, seed: int) -> None:
        self.storm, self.policy = storm, policy
        clients = np.arange(storm.clients, dtype=np.uint64)
        seed &= (1 << 64) - 1
        self.wait_keys = stream(seed, clients, WAIT)
        self.spread_keys = stream(seed, clients, SPREAD) if storm.spread_s else None
        self.told_keys = stream(seed, clients, PHASE) if storm.admission else None
        self.first_state = policy.first_state(draws(seed, np.arange(storm.clients), 0, ONCE))
        self.offsets_ns = np.array(storm.syn_drops.offsets_ns if storm.syn_drops else (0,))
        self.timeout_ns = storm.syn_drops.timeout_ns if storm.syn_drops else 0
        self.from_start = isinstance(policy, GRPC)
        self.limit = NEVER if policy.gives_up_after is None else policy.gives_up_after
        self.shortest_ns = self._shortest_ns()
        # Columns that most storms do not need are not carried along.
        self.columns = ["client", "time_ns", "waits"]
        self.columns += ["state"] * self._keeps_state() + ["start_ns"] * self.from_start
        self.columns += ["first_ns", "syn"] * bool(storm.syn_drops)

    def _keeps_state(self) -> bool:
        one, u = self.first_state[:1], np.array([0.37])
        return bool(one[0]) or any(self.policy.step(np.array([a]), u, one)[1] is not one for a in range(20))

    def _shortest_ns(self) -> int:
        """The time within which nobody comes again, for the shortest window."""
        instead = self.storm.admission is not None and self.storm.admission.obeyed == "instead"
        shortest_s = 0.0 if instead else self.policy.min_wait_s - self.storm.spread_s * self.from_start
        if self.storm.syn_drops:
            shortest_s = min(shortest_s, 1.0)
        return max(1, nanoseconds(shortest_s))

    def first_window_ns(self, times_ns: Whole) -> int:
        """A first guess."""
        return int(max(self.shortest_ns, min(int(times_ns.max() - times_ns.min()) // 8, 600 * NS)))

    def next_window_ns(self, window_ns: int, roots: int, inside: float) -> int:
        """Return the next window's length: so many arrivals began this one, and that share came again."""
        if inside > 0.25 or roots > 4 * MANY:
            return max(window_ns // 2, min(self.shortest_ns, window_ns))
        return min(window_ns * 2, 600 * NS) if inside < 0.1 and roots < MANY else window_ns

    def attempt(self, batch: Batch) -> NDArray[np.int32]:
        """The number of each arrival's attempt, from 0."""
        return batch["waits"] - (0 if self.storm.first_at_once else 1)

    def first_arrivals(self) -> Batch:
        """Return the crowd: one row per client, with its first arrival."""
        n = self.storm.clients
        zero = np.zeros(n, dtype=np.int64)
        crowd: Batch = {"client": np.arange(n), "time_ns": zero.copy(), "waits": np.zeros(n, dtype=np.int32)}
        crowd |= {
            "state": self.first_state,
            "start_ns": zero.copy(),
            "first_ns": zero.copy(),
            "syn": zero.copy(),
        }
        start_ns = zero
        if not self.storm.first_at_once:
            crowd["root"], crowd["outcome"], crowd["done_ns"] = zero, np.ones(n, dtype=np.int8), zero
            self.look_ahead(crowd)
            start_ns = crowd["wait_ns"]
            crowd["state"] = crowd["next_state"] + zero
            crowd["waits"] += 1
        crowd["start_ns"] = start_ns.copy()
        crowd["time_ns"] = start_ns + self._drawn_ns(
            self.spread_keys, crowd["client"], 0, self.storm.spread_s
        )
        late = (crowd["time_ns"] > HORIZON_S * NS) | (crowd["waits"] > self.limit)
        crowd["time_ns"][late] = NEVER
        crowd["first_ns"] = crowd["time_ns"].copy()
        return {name: crowd[name] for name in self.columns}

    def _drawn_ns(self, keys: Any, clients: Whole, number: Any, upper_s: float) -> Any:
        if keys is None:
            return 0
        u = draw_from(keys[clients], np.asarray(number).astype(np.uint64))
        return np.rint(u * upper_s * NS).astype(np.int64)

    def look_ahead(self, batch: Batch) -> None:
        """Add the wait of each arrival's client if it fails: it depends on draws only, not on the server."""
        waits, clients = batch["waits"], batch["client"]
        u = draw_from(self.wait_keys[clients], waits.astype(np.uint64))
        state = batch.get("state", np.zeros(1))
        wait_s, batch["next_state"] = self.policy.step(waits, u, state)
        batch["wait_ns"] = np.rint(np.minimum(wait_s, 2 * HORIZON_S) * NS).astype(np.int64)

    def what_next(self, batch: Batch) -> None:
        """Add when each arrival's client comes again, given the outcome; NEVER if it does not."""
        outcome, end_ns = batch["outcome"], batch["time_ns"]
        if self.storm.login:
            end_ns = np.where(outcome == Outcome.TURNED_AWAY, batch["done_ns"], end_ns)
        if self.storm.syn_drops:
            end_ns = np.where(outcome == Outcome.TIMED_OUT, batch["first_ns"] + self.timeout_ns, end_ns)
        start_ns = end_ns + batch["wait_ns"]
        if self.from_start:
            start_ns = np.maximum(end_ns, batch["start_ns"] + batch["wait_ns"])
        attempt = self.attempt(batch)
        if self.storm.admission:
            window_s, obeyed = self.storm.admission.window_s, self.storm.admission.obeyed
            told_ns = end_ns + self._drawn_ns(self.told_keys, batch["client"], attempt, window_s)
            told_ns = told_ns if obeyed == "instead" else np.maximum(start_ns, told_ns)
            told = (outcome == Outcome.REFUSED) | (outcome == Outcome.TURNED_AWAY)
            start_ns = np.where(told, told_ns, start_ns)
        next_ns = start_ns + self._drawn_ns(
            self.spread_keys, batch["client"], attempt + 1, self.storm.spread_s
        )
        never = (outcome == Outcome.CONNECTED) | (batch["waits"] >= self.limit) | (next_ns > HORIZON_S * NS)
        next_ns[never] = NEVER
        if self.storm.syn_drops:
            dropped = outcome == Outcome.DROPPED
            again = np.minimum(batch["syn"] + 1, len(self.offsets_ns) - 1)
            next_ns = np.where(dropped, batch["first_ns"] + self.offsets_ns[again], next_ns)
            if self.from_start:
                start_ns = np.where(dropped, batch["start_ns"], start_ns)
        batch["next_ns"], batch["next_start_ns"] = next_ns, start_ns

    def follow(self, batch: Batch, rows: NDArray[np.bool_]) -> Batch:
        """Return the next arrivals of these rows."""
        at = np.flatnonzero(rows)
        following: Batch = {"client": batch["client"][at], "root": batch["root"][at]}
        following["time_ns"] = batch["next_ns"][at]
        following["waits"] = batch["waits"][at] + 1
        if "state" in self.columns:
            following["state"] = batch["next_state"][at]
        if "start_ns" in self.columns:
            following["start_ns"] = batch["next_start_ns"][at]
        if self.storm.syn_drops:  # a repeated SYN belongs to the same attempt: nothing else moves on
            same = batch["outcome"][at] == Outcome.DROPPED
            following["waits"] -= same
            following["syn"] = np.where(same, batch["syn"][at] + 1, 0)
            following["first_ns"] = np.where(same, batch["first_ns"][at], following["time_ns"])
            if "state" in self.columns:
                following["state"] = np.where(same, batch["state"][at], following["state"])
        return following


class ManyAtOnce:
    """The server: `reconnect.Server` for a window of arrivals. Until `keep`, it forgets each trial."""

    def __init__(self, storm: Storm) -> None:
        self.storm = storm
        self.accept = Queue(storm.accepts_per_s, storm.accept_queue, nanoseconds(storm.outage_s))
        self.login = Queue(storm.login.per_s, storm.login.queue) if storm.login else None
        self.offsets = len(storm.syn_drops.offsets_ns) if storm.syn_drops else 0
        self.busy_ns = self._busy_ns()
        self.order, self.accepted_ns = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)

    def _busy_ns(self) -> tuple[int, int]:
        return self.accept.busy_ns, self.login.busy_ns if self.login else 0

    def keep(self) -> None:
        """Let the last trial count."""
        self.busy_ns = self._busy_ns()

    def serve(self, waves: list[Batch], now_ns: int) -> None:
        """Add outcome and done_ns to all arrivals of a window, in the state after the last window."""
        self.accept.busy_ns = self.busy_ns[0]
        if self.login:
            self.login.busy_ns = self.busy_ns[1]
        times_ns = waves[0]["time_ns"] if len(waves) == 1 else np.concatenate([w["time_ns"] for w in waves])
        self.order = order = in_order(waves, times_ns, now_ns)
        sorted_ns = times_ns[order]
        outcome = np.full(len(order), Outcome.REFUSED, dtype=np.int8)
        done_ns = sorted_ns.copy()
        down = int(np.searchsorted(sorted_ns, self.accept.opens_ns))
        outcome[:down] = Outcome.DOWN
        if self.offsets:
            syn = np.concatenate([wave["syn"] for wave in waves])[order][down:]
            outcome[down:] = np.where(syn + 1 < self.offsets, Outcome.DROPPED, Outcome.TIMED_OUT)
        who, self.accepted_ns = admit_all(self.accept, sorted_ns[down:])
        outcome[down + who] = Outcome.CONNECTED
        done_ns[down + who] = self.accepted_ns
        if self.login:
            outcome[down + who] = Outcome.TURNED_AWAY
            inside, logged_in_ns = admit_all(self.login, self.accepted_ns)
            outcome[down + who[inside]] = Outcome.CONNECTED
            done_ns[down + who[inside]] = logged_in_ns
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        start = 0
        for wave in waves:
            rows = back[start : start + len(wave["client"])]
            wave["outcome"], wave["done_ns"] = outcome[rows], done_ns[rows]
            start += len(rows)


def in_order(waves: list[Batch], times_ns: Whole, now_ns: int) -> Whole:
    """Return the order by (time, client, which arrival of this client); clients are in order in each wave."""
    rank = waves[0]["root"]
    if len(waves) > 1:
        rank = np.concatenate([wave["root"] * len(waves) + n for n, wave in enumerate(waves)])
    bits = int(rank.max()).bit_length()
    if int(times_ns.max() - now_ns).bit_length() + bits > 62:
        return np.lexsort((rank, times_ns))
    keys = ((times_ns - now_ns) << bits) | rank  # one number per arrival sorts faster than two
    if len(waves) == 1:
        keys.sort()
        return keys & ((1 << bits) - 1)
    return np.argsort(keys)


class Recorder:
    """What happened, window by window."""

    def __init__(self, storm: Storm) -> None:
        self.storm = storm
        self.arrivals: list[tuple[NDArray[Any], ...]] = []
        self.accepted_ns: list[Whole] = []
        self.connected_at_s = np.full(storm.clients, math.inf)
        self.count = 0

    def record(self, rules: Rules, server: ManyAtOnce, waves: list[Batch]) -> None:
        """Write down a window that is played."""
        server.keep()
        columns = [(w["time_ns"], w["client"], rules.attempt(w), w["outcome"], w["done_ns"]) for w in waves]
        together = columns[0] if len(columns) == 1 else tuple(map(np.concatenate, zip(*columns, strict=True)))
        in_order = tuple(column[server.order] for column in together)
        connected = in_order[3] == Outcome.CONNECTED
        self.connected_at_s[in_order[1][connected]] = in_order[4][connected] / NS
        self.arrivals.append((in_order[0], in_order[1].astype(np.int32), in_order[2], in_order[3]))
        self.accepted_ns.append(server.accepted_ns)
        self.count += len(in_order[0])
        if self.count > MAX_ARRIVALS:
            raise ValueError(too_many("numpy", MAX_ARRIVALS))

    def result(self, policy: Policy, seed: int) -> StormRun:
        """Return the run."""
        empty = tuple(np.empty(0, dtype) for dtype in (np.int64, np.int32, np.int32, np.int8))
        columns = [np.concatenate(parts) for parts in zip(empty, *self.arrivals, strict=True)]
        return StormRun(
            storm=self.storm,
            policy=policy,
            seed=seed,
            connected_at_s=self.connected_at_s,
            arrival_times_ns=columns[0],
            arrival_client=columns[1],
            arrival_attempt=columns[2],
            arrival_outcome=columns[3],
            accepted_ns=np.concatenate([np.empty(0, np.int64), *self.accepted_ns]),
        )
