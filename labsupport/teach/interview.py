"""The mock questions of chapter 14: numbers that interviewers ask for, and the factors that get forgotten.

    ask("pings")        shows one;  QUESTIONS["pings"].judge(40_000) is the same without a page

Plain arithmetic, so that one can read it beside the question; tests hold it against labsupport.capacity.
"""

from __future__ import annotations

import math

from labsupport.teach.mock import Mock, Slip, mock

MILLION = 1_000_000
DAY_S = 86_400
GIB_PER_GB = 2**30 / 1e9

_BITS = Slip("the eight bits of a byte", {"bits": 1}, "networks are sold in bits a second.")


def reached(gateways: int, members: int) -> float:
    """Of the gateways, how many hold at least one member of a room, members spread at random."""
    return gateways * (1 - (1 - 1 / gateways) ** members)


QUESTIONS = {
    "pings": Mock(
        "A million WebSockets, and the server pings each of them every 25 s. How many control frames "
        "a second pass through the servers?",
        "/s",
        solve=lambda users, every_s, ways: users / every_s * ways,
        given={"users": MILLION, "every_s": 25, "ways": 2},
        slips=(Slip("the pongs", {"ways": 1}, "each ping is answered, and the answer is a frame, too."),),
        way="1 000 000 / 25 s × 2 directions = 80 000/s",
        why="They are small; what they cost is processor time, and the memory that cannot be swapped out.",
    ),
    "memory": Mock(
        "A million idle connections, 14 kB each in the process and 4.5 kB in the kernel; the server's "
        "library says “14 kB a connection”. How much memory do they take?",
        "GB",
        solve=lambda users, process_kb, kernel_kb, unit: users * (process_kb + kernel_kb) / 1e6 * unit,
        given={"users": MILLION, "process_kb": 14, "kernel_kb": 4.5, "unit": 1},
        slips=(
            Slip(
                "the kernel's part",
                {"kernel_kb": 0},
                "each socket has buffers and entries of its own in the kernel, and no process shows them.",
            ),
            Slip(
                "the step from decimal to binary",
                {"unit": 1 / GIB_PER_GB},
                "1 GiB is 1.074 GB, so say which one you mean.",
                instead="the number in GiB, and GB were asked for",
            ),
        ),
        way="1 000 000 × (14 + 4.5) kB = 18.5 GB",
        within=0.03,
    ),
    "servers": Mock(
        "Ten million users at once, 50 KB a connection, servers with 16 GB for connections. A server may be "
        "60 % full, and one of them may be lost. How many servers?",
        "servers",
        solve=lambda users, memory, each, use, spare: (
            math.ceil(users / math.floor(memory / each * use + 1e-6)) + spare
        ),
        given={"users": 1e7, "memory": 16e9, "each": 50e3, "use": 0.6, "spare": 1},
        slips=(
            Slip(
                "the room that stays free",
                {"use": 1.0},
                "a server that is full on a calm day has no place for those who come back on a bad one.",
            ),
            Slip("the spare one", {"spare": 0}, "when one dies, its clients need somewhere to go."),
            Slip(
                "one family of units",
                {"memory": 16 * 2**30},
                "16 GiB over 50 KB mixes binary and decimal: 7 % too many fit.",
                instead="what comes when GB are taken for GiB and KB stay KB",
            ),
        ),
        way="16 GB / 50 KB × 0.6 = 192 000 on each; 10 000 000 / 192 000 = 52.1, so 53, and 1 spare: 54",
        why="Memory alone, without room and spare, would be 32: the answer that most people give.",
        within=0.01,
    ),
    "sale": Mock(
        "A flash sale is told to a million users within 10 s: 250 bytes each, and 78 bytes of frame, TLS, "
        "TCP and IP around them. How much does that send?",
        "Gbit/s",
        solve=lambda users, size, around, within_s, bits: users * (size + around) * bits / within_s / 1e9,
        given={"users": MILLION, "size": 250, "around": 78, "within_s": 10, "bits": 8},
        slips=(
            _BITS,
            Slip(
                "the bytes around a message",
                {"around": 0},
                "each small message is a packet of its own, with its heads.",
            ),
        ),
        way="1 000 000 × (250 + 78) B × 8 / 10 s = 0.262 Gbit/s",
        why="No problem for a network card. The writes are: 100 000 a second for ten seconds.",
    ),
    "storage": Mock(
        "At the peak a million people send one message a minute each; over the day it is 40 % of that. A "
        "message is a row of 400 bytes, 300 of them text, and the store keeps three copies. How much a day?",
        "GB",
        solve=lambda per_s, mean, row, copies: per_s * mean * DAY_S * row * copies / 1e9,
        given={"per_s": MILLION / 60, "mean": 0.4, "row": 400, "copies": 3},
        slips=(
            Slip("the copies", {"copies": 1}, "who wants to survive a lost disk keeps each row three times."),
            Slip(
                "the night",
                {"mean": 1.0},
                "servers are bought for the peak, disks for the mean: nobody sends at peak rate all day.",
            ),
            Slip("the rest of the row", {"row": 300}, "ids, times and the index are stored as well."),
        ),
        way="1 000 000 / 60 s × 0.4 × 86 400 s × 400 B × 3 = 691 GB a day",
    ),
    "loss": Mock(
        "A million connections on five gateways; each can accept 5 000 new ones a second. One gateway dies. "
        "How long until all are back, at the very least?",
        "s",
        solve=lambda users, lost, survivors, accepts: users * lost / (survivors * accepts),
        given={"users": MILLION, "lost": 1 / 5, "survivors": 4, "accepts": 5_000},
        slips=(
            Slip(
                "the loss itself",
                {"survivors": 5},
                "the dead one accepts nobody: four doors are left.",
            ),
            Slip("the share that was lost", {"lost": 1.0}, "only a fifth of the connections broke."),
            Slip(
                "the doors together",
                {"survivors": 1},
                "all survivors accept at the same time.",
                instead="what comes when one survivor takes them all",
            ),
        ),
        way="1 000 000 / 5 / (4 × 5 000/s) = 10 s",
        why="A bound: clients that come in waves need longer (chapter 08).",
    ),
    "copies": Mock(
        "20 gateways, rooms of 30 online members at random gateways, and 50 000 messages a second are "
        "written in all rooms together. How many does the broker send on?",
        "/s",
        solve=lambda messages, copies: messages * copies,
        given={"messages": 50_000, "copies": reached(20, 30)},
        slips=(
            Slip(
                "the gateways that a room is on",
                {"copies": 1},
                "each gateway with a member gets a copy of its own.",
            ),
            Slip(
                "chance",
                {"copies": 20},
                "a room of 30 leaves some of 20 gateways without a member, and those have not subscribed.",
                instead="what comes when every gateway gets every message",
            ),
            Slip(
                "the gateways' own work",
                {"copies": 30},
                "one copy goes to each gateway, however many members it holds; the rest is its fan-out.",
                instead="what comes when the broker sends to members",
            ),
        ),
        way="50 000/s × 20 × (1 − (1 − 1/20)³⁰) = 50 000/s × 15.7 = 785 000/s",
    ),
    "news": Mock(
        "A million users are online for 20 minutes at a time; whoever comes or goes is told to 50 "
        "contacts that are online. How many presence messages a second do the gateways push?",
        "/s",
        solve=lambda users, session_s, ways, contacts: users / session_s * ways * contacts,
        given={"users": MILLION, "session_s": 20 * 60, "ways": 2, "contacts": 50},
        slips=(
            Slip("the goings", {"ways": 1}, "who comes also goes, and both are news."),
            Slip("the contacts", {"contacts": 1}, "one change is one push for everybody who watches."),
        ),
        way="1 000 000 / 1 200 s × 2 × 50 = 83 300/s",
        why="More than twice the 33 300/s that beats every 30 s write: the fan-out is the cost of presence.",
    ),
    "ghost": Mock(
        "Presence is a key that lives 75 s and is written again every 30 s. Somebody's phone dies at a "
        "random moment. How long does he look online, on average?",
        "s",
        solve=lambda ttl_s, beat_s: ttl_s - beat_s / 2,
        given={"ttl_s": 75, "beat_s": 30},
        slips=(
            Slip(
                "the time since the last beat",
                {"beat_s": 0},
                "the key was written half a beat before he died, on average.",
            ),
            Slip(
                "slack",
                {"ttl_s": 60},
                "with 60 s to live, one lost beat is a race at the very end of the key.",
                instead="what comes with a key of two beats",
            ),
        ),
        way="75 s − 30 s / 2 = 60 s",
        why="Between 45 and 75 s, every value alike.",
        within=0.05,
    ),
    "polls": Mock(
        "A million users poll every 5 s, and a request has 500 to 1 200 bytes of heads. How much comes in?",
        "Gbit/s",
        solve=lambda users, every_s, heads, bits: users / every_s * heads * bits / 1e9,
        given={"users": MILLION, "every_s": 5, "heads": 800, "bits": 8},
        slips=(_BITS,),
        way="1 000 000 / 5 s × 800 B × 8 = 1.28 Gbit/s (0.8 at 500 B, 1.92 at 1 200 B)",
        why="All of it before anything has happened.",
        spread={"heads": (500, 1_200)},
    ),
}  # fmt: skip


def ask(name: str) -> None:
    """Show one of the questions; its answer is folded below it."""
    if name not in QUESTIONS:
        raise KeyError(f"There is no question {name!r}. There are: {', '.join(QUESTIONS)}.")
    mock(QUESTIONS[name])
