"""Short polling over real sockets: what a poll brings, what it costs, and what is said when it cannot."""

import asyncio
import json

import pytest

from servers import long_polling, short_polling
from servers.core.log import KEEP_BYTES
from tests.servers.conftest import Running, Start, until


async def test_a_poll_brings_what_is_new_and_the_position_to_ask_from_next(short: Running):
    first = await short.say("one")
    last = await short.say("two", "three")
    status, answer = await short.get(since=first)
    assert status == 200
    assert [message["data"] for message in answer["messages"]] == ["two", "three"]
    assert answer["messages"][-1] == {"id": last, "event": "message", "data": "three"}
    assert answer["position"] == last
    assert await short.get(since=last) == (200, {"messages": [], "position": last})


async def test_without_a_position_comes_all_that_is_remembered(start: Start):
    server = await start(short_polling, "--keep", "2")
    status, empty = await server.get()
    assert (status, empty["messages"]) == (200, [])
    await server.say("one", "two", "three")
    assert [message["data"] for message in (await server.get())[1]["messages"]] == ["two", "three"]
    status, gap = await server.get(since=empty["position"])  # "one" came after it, and is forgotten
    assert (status, gap["error"]) == (410, "too old")


async def test_reading_on_from_the_empty_logs_position_loses_nothing(short: Running):
    position = (await short.get())[1]["position"]
    await short.say("one")
    assert [message["data"] for message in (await short.get(since=position))[1]["messages"]] == ["one"]


async def test_any_json_value_is_passed_on_as_it_came(short: Running):
    for value in (None, 0, -1.5, "", "h\u00e9llo \U0001f388 \u2028", [], {"a": [{}, "b"]}, True):
        position = (await short.get())[1]["position"]
        status, _ = await short.post({"event": "any thing", "data": value})
        assert status == 201
        message = (await short.get(since=position))[1]["messages"][0]
        assert (message["event"], message["data"]) == ("any thing", value)


@pytest.mark.parametrize("module", [short_polling, long_polling])
async def test_a_position_that_is_too_old_is_gone_and_a_snapshot_comes_with_the_news(start: Start, module):
    server = await start(module, "--keep", "2")
    old = await server.say("one")
    newest = await server.say("two", "three", "four")
    status, answer = await server.get(since=old)
    assert (status, answer["error"]) == (410, "too old")
    assert old in answer["detail"]
    assert [message["data"] for message in answer["snapshot"]["messages"]] == ["three", "four"]
    assert answer["snapshot"]["position"] == newest


@pytest.mark.parametrize("module", [short_polling, long_polling])
async def test_a_position_from_before_a_restart_is_of_another_epoch(start: Start, module):
    before, after = await start(module), await start(module)
    position = await before.say("one")
    await after.say("one")
    status, answer = await after.get(since=position)
    assert (status, answer["error"]) == (410, "other epoch")
    assert [message["data"] for message in answer["snapshot"]["messages"]] == ["one"]


@pytest.mark.parametrize("module", [short_polling, long_polling])
async def test_a_position_of_another_channel_is_of_another_epoch(start: Start, module):
    server = await start(module)
    await server.say("one", "two", channel="a")
    position = await server.say("one", channel="b")
    status, answer = await server.get(since=position, channel="a")
    assert (status, answer["error"]) == (410, "other epoch")
    assert len(answer["snapshot"]["messages"]) == 2


@pytest.mark.parametrize("module", [short_polling, long_polling])
@pytest.mark.parametrize("since", ["", "x", "-1", "%00", "x" * 5000, "'; drop", "a-1-2"])
async def test_what_is_no_position_is_refused_with_a_sentence(start: Start, module, since):
    status, answer = await (await start(module)).get(since=since)
    assert (status, answer["error"]) == (400, "bad position")
    assert "expected a position like" in answer["detail"]


async def test_a_position_ahead_of_the_newest_is_refused(short: Running):
    position = await short.say("one")
    status, answer = await short.get(since=position + "0")
    assert (status, answer["error"]) == (400, "bad position")
    assert "ahead" in answer["detail"]


# ---------------------------------------------------------------- ETag and 304 (RFC 9110, 13.1.2 and 15.4.5)


async def etag(server: Running, target: str = "/messages") -> str:
    async with server.session.get(server.url + target) as response:
        return response.headers["ETag"]


async def conditional(server: Running, value: str, target: str = "/messages", method: str = "GET"):
    headers = {"If-None-Match": value}
    async with server.session.request(method, server.url + target, headers=headers) as response:
        return response.status, response.headers, await response.read()


async def test_with_the_etag_of_the_last_answer_comes_304_until_there_is_something_new(short: Running):
    await short.say("one")
    tag = await etag(short)
    status, headers, body = await conditional(short, tag)
    assert (status, body) == (304, b"")
    assert headers["ETag"] == tag
    assert headers["Cache-Control"] == "no-cache"
    assert "Content-Length" not in headers
    await short.say("two")
    status, headers, _ = await conditional(short, tag)
    assert status == 200
    assert headers["ETag"] != tag


async def test_a_304_carries_the_fields_that_the_200_would_have_carried(short: Running):
    async with short.session.get(short.url + "/messages") as response:
        full = response.headers
    _, short_of_body, _ = await conditional(short, full["ETag"])
    for name in ("ETag", "Cache-Control", "Vary", "Date"):
        assert name in full
        assert name in short_of_body


@pytest.mark.parametrize("form", ["{}", "W/{}", '"other", {}', '"other",W/{} , "more"', "*"])
async def test_any_form_of_if_none_match_that_names_the_answer_gives_304(short: Running, form):
    assert (await conditional(short, form.format(await etag(short))))[0] == 304


@pytest.mark.parametrize("form", ['"other"', "", "nonsense", "{unquoted}"])
async def test_an_etag_that_is_not_this_one_gives_the_whole_answer(short: Running, form):
    unquoted = (await etag(short)).strip('"')
    assert (await conditional(short, form.format(unquoted=unquoted)))[0] == 200


async def test_a_head_request_is_conditional_too(short: Running):
    assert (await conditional(short, await etag(short), method="HEAD"))[0] == 304


async def test_the_answer_after_a_position_has_an_etag_of_its_own(short: Running):
    position = await short.say("one")
    target = f"/messages?since={position}"
    tag = await etag(short, target)
    assert (await conditional(short, tag, target))[0] == 304
    await short.say("two")
    assert (await conditional(short, tag, target))[0] == 200


async def test_the_etag_of_all_there_is_changes_when_the_history_gets_shorter(short: Running):
    await short.say("one", "two")
    tag = await etag(short)
    short.board.channels.log("main").resize(1)
    assert (await conditional(short, tag))[0] == 200


# ---------------------------------------------------------------- channels


async def test_channels_are_apart_from_each_other(short: Running):
    await short.say("in a", channel="a")
    await short.say("in main")
    assert [message["data"] for message in (await short.get(channel="a"))[1]["messages"]] == ["in a"]
    assert [message["data"] for message in (await short.get(channel="main"))[1]["messages"]] == ["in main"]


@pytest.mark.parametrize("name", ["", "a b", "a/b", "ä", "x" * 65, "a\n"])
async def test_a_name_that_is_no_channel_is_refused(short: Running, name):
    for status, answer in (await short.get(channel=name), await short.post({"data": 1}, channel=name)):
        assert status == 400
        assert "is no channel" in answer["error"]


async def test_the_channels_are_bounded_and_the_old_ones_go_on_when_there_are_too_many(short: Running):
    for number in range(1000):
        short.board.channels.log(f"channel-{number}").append("message", number)
    status, answer = await short.post({"data": 1}, channel="one-more")
    assert status == 429
    assert "1000 channels" in answer["error"]
    assert (await short.get(channel="another"))[0] == 429
    assert await short.say("still here", channel="channel-7")


async def test_channels_that_nobody_wrote_to_make_room_and_come_back_with_their_position(short: Running):
    position = (await short.get(channel="early"))[1]["position"]
    for number in range(1200):
        assert (await short.get(channel=f"reader-{number}"))[0] == 200
    assert len(short.board.channels) <= 1000
    assert await short.get(channel="early", since=position) == (200, {"messages": [], "position": position})


async def test_all_channels_together_keep_a_bounded_number_of_bytes(short: Running):
    text = "x" * 60_000
    for number in range(100):
        log = short.board.channels.log(f"channel-{number}")
        for _ in range(KEEP_BYTES // len(text) // 4):
            log.append("message", text)
    kept = sum(
        len(entry.json)
        for number in range(100)
        for entry in short.board.channels.log(f"channel-{number}").after(None)
    )
    assert kept <= 64 << 20


# ---------------------------------------------------------------- counters and planned failures


async def test_the_counters_tell_polls_empty_answers_and_messages(short: Running):
    position = await short.say("one", "two")
    await short.get()
    await short.get(since=position)
    await short.get(since="x")
    await conditional(short, await etag(short))
    assert await short.get("/stats") == (
        200,
        {
            "requests": 5,
            "empty": 1,
            "not_modified": 1,
            "errors": 1,
            "waiting": 0,
            "most_waiting": 1,
            "messages": 2,
            "channels": 1,
        },
    )


@pytest.mark.parametrize("module", [short_polling, long_polling])
async def test_the_planned_error_strikes_polls_alone_and_can_be_switched_off(start: Start, module):
    server = await start(module, "--fault", "error")
    position = await server.say("one")
    status, answer = await server.get()
    assert (status, answer["error"]) == (500, "planned failure")
    assert await server.put_fault({"fault": None}) == (200, {"fault": None, "delay_s": 0})
    assert (await server.get())[1]["position"] == position


@pytest.mark.parametrize("module", [short_polling, long_polling])
async def test_the_planned_empty_answer_comes_at_once_and_keeps_the_position(start: Start, module):
    server = await start(module)
    position = (await server.get())[1]["position"]
    newest = await server.say("one")
    await server.put_fault({"fault": "empty"})
    assert await server.get(since=position) == (200, {"messages": [], "position": position})
    assert await server.get(since=newest) == (200, {"messages": [], "position": newest})
    resumed = (await server.get())[1]["position"]
    await server.put_fault({"fault": None})
    assert len((await server.get(since=resumed))[1]["messages"]) == 1


async def test_the_planned_delay_makes_polls_overlap_and_the_counters_show_how_many(start: Start):
    server = await start(short_polling, "--delay", "30")
    polls = [asyncio.create_task(server.get()) for _ in range(4)]
    await until(lambda: server.waiting == 4)
    for poll in polls:
        poll.cancel()
    await until(lambda: server.waiting == 0)
    await server.put_fault({"delay_s": 0})
    assert (await server.get())[0] == 200
    assert server.board.counters.most_waiting == 4


@pytest.mark.parametrize(
    "change",
    [
        [],
        "error",
        {"fault": "no"},
        {"fault": []},
        {"delay": 1},
        {"delay_s": -1},
        {"delay_s": True},
        {"delay_s": 31},
    ],
)
async def test_a_fault_that_does_not_exist_is_refused_and_changes_nothing(short: Running, change):
    status, answer = await short.put_fault(change)
    assert status == 400
    assert answer["error"].startswith("expected")
    assert await short.get("/fault") == (200, {"fault": None, "delay_s": 0})


@pytest.mark.parametrize(
    "arguments", [["--keep", "0"], ["--keep", "x"], ["--delay", "nan"], ["--fault", "no"]]
)
async def test_a_wrong_argument_ends_the_start_with_a_sentence(start: Start, capsys, arguments):
    with pytest.raises(SystemExit):
        await start(short_polling, *arguments)
    assert "error: argument --" in capsys.readouterr().err


# ---------------------------------------------------------------- large answers


@pytest.mark.parametrize(("count", "size"), [(100, 60_000), (1000, 200), (1, 70_000)])
async def test_a_large_history_comes_whole_and_in_order(short: Running, count, size):
    texts = [f"{number}" + "x" * size for number in range(count)]
    log = short.board.channels.log("main")
    for text in texts:
        log.append("message", text)
    async with short.session.get(short.url + "/messages") as response:
        raw = await response.read()
        assert int(response.headers["Content-Length"]) == len(raw)
    assert [message["data"] for message in json.loads(raw)["messages"]] == texts
    async with short.session.head(short.url + "/messages") as response:
        assert int(response.headers["Content-Length"]) == len(raw)
    status, answer = await short.get(since="abc-1")
    assert (status, answer["error"]) == (410, "other epoch")
    assert answer["snapshot"] == json.loads(raw)


async def test_the_server_runs_as_a_program(process):
    running = process("-m", "servers.short_polling", "--port", "0")
    assert list(running.ready)[:2] == ["ready", "url"]
    assert running.ready["ready"] is True
    assert running.ready["pid"] == running.popen.pid
    assert running.url.startswith("http://127.0.0.1:")
