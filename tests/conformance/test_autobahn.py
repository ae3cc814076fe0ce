"""The Autobahn cases for WebSocket, by kosoku: 247 of them against each server and each client of the lab.

Left out are the groups that measure speed (9) and compression (12, 13), which the lab's servers leave off.
What fails is named here, with the reason; a case that fails besides, or no longer, makes its test fail.
Cases that pass "non-strictly" leave out what the RFC only recommends, and count as passed, as in Autobahn.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import kosoku
import pytest
from websockets.exceptions import ConnectionClosed

from labsupport.clients.websocket import connect
from labsupport.processes import Server
from tests.conformance import own_peer

LEFT_OUT = ["9.*", "12.*", "13.*"]
CASES = 247
AT_ONCE = 16  # cases: most of their time is waiting, and each has a second or two of it to end in
PASSED = {"OK", "NON-STRICT", "INFORMATIONAL"}

# Fragment, close, fragment: the websockets library counts the first fragment as a message that was broken
# off and answers 1002, where the case wants the 1000 of the close frame back.
AN_UNFINISHED_MESSAGE = {"7.1.5": "The close code should have been 1000 or empty"}


def judge(name: str, results: list[Any], known: dict[str, str], count: Callable[[str], None]) -> None:
    """All cases were run, and those that failed are the known ones, for the known reason."""
    verdicts = Counter(result.behavior.value for result in results)
    failed = {
        result.case_id: result.result
        for result in results
        if result.behavior.value not in PASSED
        or result.behavior_close.value not in {"OK", "INFORMATIONAL", "NON-STRICT"}
    }
    said = ", ".join(f"{number} {verdict.lower()}" for verdict, number in verdicts.most_common())
    names = "; ".join(f"{case}: {why}" for case, why in failed.items()) or "none"
    count(f"{name}: {len(results) - len(failed)} of {len(results)} cases passed ({said}). Failed: {names}")
    assert len(results) == CASES
    assert len(known) <= 1
    assert failed == known


async def results_of(run: Awaitable[list[Any]]) -> list[Any]:
    """The result of each case, whether or not one failed."""
    try:
        return await run
    except kosoku.FailureError as failure:
        return failure.results


# ---------------------------------------------------------------- servers


@asynccontextmanager
async def program(name: str, path: str) -> AsyncIterator[str]:
    with Server(name) as server:
        yield server.url + path


SERVERS: dict[str, tuple[Callable[[], Any], dict[str, str]]] = {
    "websocket_echo /": (lambda: program("websocket_echo", "/"), AN_UNFINISHED_MESSAGE),
    "websocket_chat /echo": (lambda: program("websocket_chat", "/echo"), AN_UNFINISHED_MESSAGE),
    "an echo on labsupport.wire": (own_peer.server, {}),
    "an echo on the gateway's followers": (own_peer.gateway, {}),
}


@pytest.mark.parametrize("name", SERVERS)
async def test_a_server_passes_all_cases_but_the_one_that_is_named(name: str, count: Callable[[str], None]):
    running, known = SERVERS[name]
    async with running() as url:
        run = kosoku.run_fuzzingclient(url, exclude_cases=LEFT_OUT, concurrency=AT_ONCE)
        judge(name, await results_of(run), known, count)


# ---------------------------------------------------------------- clients


async def run_all(visit: Callable[..., Awaitable[list[Any]]]) -> list[Any]:
    """Visit every case of a test server, as Autobahn's clients do; the server's verdicts."""
    async with kosoku.run_fuzzingserver(exclude_cases=LEFT_OUT, port=0) as server:
        url = f"ws://{server.address}:{server.port}"
        (number,) = await visit(f"{url}/getCaseCount", echo=False)
        room = asyncio.Semaphore(AT_ONCE)

        async def run(case: int) -> None:
            async with room:
                await visit(f"{url}/runCase?case={case}&agent=lab")

        await asyncio.gather(*(run(case) for case in range(1, int(number) + 1)))
        await visit(f"{url}/updateReports?agent=lab", echo=False)
        return await results_of(server.get_result())


async def echo(url: str, *, echo: bool = True) -> list[Any]:
    """Connect with the lab's client, send each message back until the server ends; all that came."""
    messages: list[Any] = []
    async with connect(url) as connection:
        with suppress(ConnectionClosed):  # most cases end with a mistake of the server's
            while True:
                messages.append(message := await connection.recv())
                if echo:
                    await connection.send(message)
    return messages


CLIENTS: dict[str, tuple[Callable[..., Awaitable[list[Any]]], dict[str, str]]] = {
    "labsupport.clients.websocket": (echo, AN_UNFINISHED_MESSAGE),
    "a client on labsupport.wire": (own_peer.visit, {}),
}


@pytest.mark.parametrize("name", CLIENTS)
async def test_a_client_passes_all_cases_but_the_one_that_is_named(name: str, count: Callable[[str], None]):
    visit, known = CLIENTS[name]
    judge(name, await run_all(visit), known, count)


# ---------------------------------------------------------------- the judge itself


class Verdict:
    def __init__(self, value: str) -> None:
        self.value = value


class Result:
    def __init__(self, case_id: str, behavior: str = "OK", close: str = "OK") -> None:
        self.case_id, self.result = case_id, "why"
        self.behavior, self.behavior_close = Verdict(behavior), Verdict(close)


@pytest.mark.parametrize(
    ("results", "known"),
    [
        ([Result("1"), Result("2", "FAILED")], {}),
        ([Result("1"), Result("2", close="UNCLEAN")], {}),
        ([Result("1"), Result("2", "UNIMPLEMENTED")], {}),
        ([Result("1"), Result("2", "FAILED")], {"1": "why"}),
        ([Result("1"), Result("2")], {"2": "why"}),
        ([Result("1"), Result("2", "FAILED")], {"2": "another reason"}),
        ([Result("1")], {}),
    ],
)
def test_a_case_that_fails_besides_or_no_longer_or_is_not_run_is_noticed(monkeypatch, results, known):
    monkeypatch.setattr(f"{__name__}.CASES", 2)
    with pytest.raises(AssertionError):
        judge("a test", results, known, lambda line: None)
