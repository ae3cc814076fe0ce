"""How the chat client's connections end: close codes, refused handshakes, waits, and silence."""

import asyncio
import time as wall
from collections.abc import AsyncIterator
from typing import Any

import pytest

from labsupport.backoff import Exponential, Fixed
from labsupport.clients import (
    GaveUp,
    MaybeSent,
    NotSent,
    Refused,
    WebSocketClient,
    verdict,
)
from tests.clients.chat_script import (
    QUICK,
    Peer,
    Script,
    client,
    closing,
    hanging,
    refusal,
    script,
    staying,
)
from tests.clients.conftest import Time, free_port, ids, until

__all__ = ["script"]  # the fixture


VERDICTS = {
    "reconnect": [1001, 1005, 1006, 1011, 1012, 1014, 4200, 4250, 4299, 3000, 4000, 4199, 4300, 4500, 4999],
    "back off": [1013, 4408, 4410, 4429, 4499],
    "stop": [1000, 1002, 1003, 1007, 1008, 1009, 1010, 4400, 4401, 4403, 4407],
}


@pytest.mark.parametrize(
    ("what", "code"), [(what, code) for what, codes in VERDICTS.items() for code in codes]
)
def test_each_close_code_has_its_verdict(what: str, code: int) -> None:
    assert verdict(code) == what


@pytest.mark.parametrize("code", [1001, 1011, 1012, 1014, 4200, 4500])
async def test_some_codes_mean_come_back_after_a_random_wait(script: Script, time: Time, code: int) -> None:
    script.acts = [closing(code, "see you"), staying]
    async with client(script, backoff=Fixed(2.0), **time.given) as bob:
        await until(lambda: bob.stats.joined == 2)
    assert time.slept == [2.0]
    assert f"{code} (" in bob.stats.last_error
    assert '"see you"' in bob.stats.last_error


@pytest.mark.parametrize("code", [1013, 4408, 4429])
async def test_some_codes_mean_not_within_five_seconds_and_still_not_all_at_one_moment(
    script: Script, time: Time, code: int
) -> None:
    script.acts = [closing(code), staying]
    async with client(script, backoff=Fixed(2.0), **time.given) as bob:
        await until(lambda: bob.stats.joined == 2)
    assert time.slept == [7.0]


@pytest.mark.parametrize("code", [1000, 1002, 1003, 1007, 1008, 1009, 1010, 4400, 4401, 4403])
async def test_some_codes_end_it_with_the_code_its_meaning_and_what_to_try(
    script: Script, time: Time, code: int
) -> None:
    script.acts = [closing(code, "because")]
    async with client(script, **time.given) as bob:
        for _ in range(2):  # and it stays so, however often somebody asks
            with pytest.raises(Refused, match=rf'closed the connection: {code} \(\w.*"because".*Try: \w'):
                await anext(bob)
        with pytest.raises(NotSent, match=rf"the client has stopped.*{code}.*never left"):
            await bob.send("hi")
        with pytest.raises(Refused, match=str(code)):
            await bob.ready()
    assert (script.asked, time.slept) == (1, [])
    assert bob.stats.errors == 1


async def test_what_came_before_the_end_is_handed_out_before_the_end_is_told(script: Script) -> None:
    async def act(peer: Peer) -> None:
        await peer.let_in()
        await peer.write("a-1")
        await peer.close(4401, "no")

    script.acts = [act]
    async with client(script) as bob:
        await until(lambda: bob.stats.errors)
        assert ids(await bob.take(1)) == ["a-1"]
        with pytest.raises(Refused, match=r"4401 \(not authenticated.*/login"):
            await anext(bob)


async def test_messages_on_their_way_when_the_server_says_stop_are_maybe_sent(script: Script) -> None:
    async def act(peer: Peer) -> None:
        await peer.let_in()
        await peer.hear()
        await peer.close(1008, "no swearing")

    script.acts = [act]
    async with client(script) as alice:
        with pytest.raises(MaybeSent, match=r"1008 \(policy violation.*no swearing"):
            await alice.send("hi")


async def test_a_server_that_breaks_the_protocol_is_not_asked_again(script: Script) -> None:
    async def act(peer: Peer) -> None:
        await peer.let_in()
        peer.transport.write(b"\x81\x85mask!")  # a server's frame with a mask
        await peer.stay()

    script.acts = [act]
    async with client(script) as bob:
        with pytest.raises(Refused, match="this client had to close the connection: 1002"):
            await anext(bob)


async def test_a_refused_join_stops_it_with_the_servers_words(script: Script) -> None:
    async def act(peer: Peer) -> None:
        await peer.hear()
        await peer.say("error", error="there are too many rooms", **{"try": "another one"})
        await peer.stay()

    script.acts = [act]
    async with client(script) as bob:
        with pytest.raises(Refused, match=r"too many rooms \(try: another one\)"):
            await anext(bob)


@pytest.mark.parametrize("status", [403, 404, 426, 400])
async def test_a_handshake_that_is_refused_for_good_stops_it_and_says_why(
    script: Script, status: int
) -> None:
    script.answers = [refusal(status, b'{"error": "not you", "try": "another page"}')] * 9
    async with client(script) as bob:
        with pytest.raises(Refused, match=rf"{status}: not you \(try: another page\)"):
            await anext(bob)
        with pytest.raises(NotSent, match="not you"):
            await bob.send("hi")
    assert script.asked == 1


async def test_an_answer_that_is_a_page_says_that_the_address_may_be_wrong(script: Script) -> None:
    script.answers = [refusal(200, b"<html>")]
    async with client(script) as bob:
        with pytest.raises(Refused, match="200 instead of opening a WebSocket"):
            await anext(bob)


@pytest.mark.parametrize("status", [500, 503, 429])
async def test_a_handshake_that_is_refused_for_now_is_tried_again_not_before_retry_after(
    script: Script, time: Time, status: int
) -> None:
    script.acts = [staying]
    script.answers = [refusal(status, Retry_After="7")]
    async with client(script, backoff=Fixed(2.0), **time.given) as bob:
        await bob.ready()
    assert time.slept == [9.0]
    assert f"answered {status}" in bob.stats.last_error


async def test_nobody_listening_is_a_failure_in_words_without_an_address(time: Time) -> None:
    url = f"ws://127.0.0.1:{free_port()}"
    async with WebSocketClient(url, backoff=Exponential(1, 8), **time.given) as bob:
        await until(lambda: len(time.slept) >= 5)
    assert time.slept[:5] == [1, 2, 4, 8, 8]
    assert bob.stats.last_error == "no connection (Connection refused)"


# ---- waits ----


async def test_a_server_that_lets_all_in_and_closes_at_once_is_asked_ever_less_often(
    script: Script, time: Time
) -> None:
    script.acts = [closing(1012)]
    async with client(script, backoff=Exponential(1, 30), **time.given) as bob:
        await until(lambda: len(time.slept) >= 7)
    assert time.slept[:7] == [1, 2, 4, 8, 16, 30, 30]
    assert bob.stats.joined >= 7


async def test_the_waits_start_afresh_only_after_a_healthy_link(script: Script, time: Time) -> None:
    def lasting(seconds: float) -> Any:
        async def act(peer: Peer) -> None:
            await peer.let_in()
            await until(lambda: bob.joined)
            time.now_s += seconds
            await peer.close(1012)

        return act

    script.acts = [lasting(0), lasting(9.9), lasting(0), lasting(10.0), lasting(0), staying]
    bob = client(script, backoff=Exponential(1, 30), healthy_after_s=10.0, **time.given)
    async with bob:
        await until(lambda: bob.stats.joined == 6)
    assert time.slept == [1, 2, 4, 1, 2]


async def test_a_policy_that_gives_up_ends_it(script: Script, time: Time) -> None:
    class Twice(Fixed):
        @property
        def gives_up_after(self) -> int:
            return 2

    script.acts = [closing(1012)]
    async with client(script, backoff=Twice(1.0), **time.given) as bob:
        with pytest.raises(GaveUp, match="gives up after 3 failures.*1012"):
            await anext(bob)
    assert script.asked == 3


# ---- silence ----


@pytest.fixture
async def mute() -> AsyncIterator[str]:
    """The address of a server that accepts and says nothing."""
    held = []
    server = await asyncio.start_server(lambda reader, writer: held.append(writer), "127.0.0.1", 0)
    yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    for writer in held:
        writer.transport.abort()
    server.close()


async def test_a_handshake_without_an_answer_counts_as_failed_and_is_tried_again(mute: str) -> None:
    async with WebSocketClient(mute, backoff=QUICK, dead_after_s=0.05) as bob:
        await until(lambda: bob.stats.timeouts >= 2)
    assert bob.stats.requests >= 2
    assert "no WebSocket was open after 0.05 s" in bob.stats.last_error


async def test_a_link_on_which_nothing_is_heard_is_dropped_and_a_new_one_resumes(script: Script) -> None:
    async def silent(peer: Peer) -> None:
        await peer.let_in("a-1")
        await peer.write("a-1")
        await hanging(peer)

    async def awake(peer: Peer) -> None:
        join = await peer.let_in("a-2")
        assert join["since"] == "a-1"
        await peer.write("a-2")
        await peer.stay()

    script.acts = [silent, awake]
    async with client(script, dead_after_s=0.1) as bob:
        assert ids(await bob.take(2)) == ["a-1", "a-2"]
    assert bob.stats.timeouts == 1
    assert "nothing was heard for 0.1 s" in bob.stats.last_error


async def test_messages_on_a_link_that_died_in_silence_go_again_even_if_its_buffers_are_full(
    script: Script,
) -> None:
    async def silent(peer: Peer) -> None:
        await peer.let_in()
        await hanging(peer)

    async def awake(peer: Peer) -> None:
        await peer.let_in()
        while True:
            await peer.confirm(await peer.hear(), "a-1")

    script.acts = [silent, awake]
    async with client(script, dead_after_s=0.1) as alice:
        for _ in range(40):
            alice.post("x" * 50_000)
        await alice.drained()
    assert (alice.stats.timeouts, alice.stats.sent) == (1, 40)


async def test_a_quiet_link_lives_on_as_long_as_pongs_come(script: Script) -> None:
    async def quiet(peer: Peer) -> None:
        await peer.let_in()
        await until(lambda: peer.pings >= 6)  # two of them in each dead_after_s
        await peer.write("a-1")
        await peer.stay()

    script.acts = [quiet]
    async with client(script, dead_after_s=0.3) as bob:
        await bob.take(1)
    assert (bob.stats.requests, bob.stats.timeouts) == (1, 0)


async def test_a_join_that_is_never_answered_is_noticed_although_pongs_come(script: Script) -> None:
    async def rude(peer: Peer) -> None:
        await peer.hear()
        await peer.stay()

    script.acts = [rude, staying]
    async with client(script, dead_after_s=0.2) as bob:
        await bob.ready()
    assert bob.stats.timeouts == 1
    assert "the join was not answered" in bob.stats.last_error


async def test_a_cell_that_keeps_the_loop_busy_is_not_the_servers_silence(script: Script) -> None:
    script.acts = [staying]
    async with client(script, dead_after_s=0.2) as bob:
        await bob.ready()
        for _ in range(3):
            wall.sleep(0.3)  # noqa: ASYNC251 - the loop stands still on purpose
            pings = script.peers[0].pings
            await until(lambda pings=pings: script.peers[0].pings > pings)
        assert bob.joined
    assert (bob.stats.requests, bob.stats.timeouts) == (1, 0)
