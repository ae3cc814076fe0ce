"""The bench on its own page: by keyboard in Chromium, and closed to everybody else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp.test_utils import TestServer

from labsupport.bench_page import application

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROOT = Path(__file__).resolve().parents[2]


@pytest_asyncio.fixture(loop_scope="session")
async def url() -> AsyncIterator[str]:
    """The page's address, with its token."""
    server = TestServer(application("secret"))
    await server.start_server()
    yield f"{server.make_url('/')}secret/"
    await server.close()


async def test_it_is_driven_by_keyboard_and_counts(url: str, browser: Any, axe: str) -> None:
    for scheme in ("light", "dark"):
        context = await browser.new_context(color_scheme=scheme)
        page = await context.new_page()
        said: list[str] = []
        page.on("console", lambda message, said=said: said.append(message.text))
        await page.goto(url)
        await page.get_by_role("button", name="Start", exact=True).press("Enter")
        received = (
            "() => Number(document.querySelector('.lab-bench tbody tr:last-child td')?.textContent ?? 0)"
        )
        await page.wait_for_function(f"() => ({received})() >= 8")
        await page.get_by_role("button", name="Cut", exact=True).press("Space")
        await page.get_by_text("All connections have ended").wait_for()
        await page.screenshot(path=ROOT / "test-results" / f"bench-page-{scheme}.png")
        await page.evaluate(axe)
        assert await page.evaluate("() => labAxe.findings()") == []
        await page.get_by_role("button", name="End and count").press("Enter")
        await page.get_by_text("Counted:").wait_for()
        assert await page.locator("td.lab-wrong").count() == 0
        assert said == []
        await context.close()


async def test_without_the_token_there_is_no_page(url: str) -> None:
    async with aiohttp.ClientSession() as http, http.get(url.replace("secret", "guess")) as answer:
        assert answer.status == 404


@pytest.mark.parametrize("origin", [None, "https://elsewhere.example"], ids=["none", "another"])
async def test_a_page_of_another_origin_gets_no_line(url: str, origin: str | None) -> None:
    headers = {} if origin is None else {"Origin": origin}
    async with aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect(url + "live", headers=headers)
    assert refused.value.status == 403


async def test_another_name_for_this_machine_is_refused(url: str) -> None:
    async with aiohttp.ClientSession() as http, http.get(url, headers={"Host": "evil.example"}) as answer:
        assert answer.status == 421


async def test_what_is_no_buttons_message_is_told_so(url: str) -> None:
    origin = url.split("/secret")[0]
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(url + "live", headers={"Origin": origin}) as line,
    ):
        for text, words in (
            ("no json", "no button's"),
            ("[]", "no button's"),
            ('{"do": "cut"}', "Nothing runs"),
            (
                '{"do": "start", "transport": "pigeon", "clients": 1, "rate": 1, "keeps_place": true}',
                "pigeon",
            ),
            ('{"do": "start"}', "KeyError"),
        ):
            await line.send_str(text)
            name, said = await line.receive_json(timeout=20)
            assert name == "said"
            assert words in said
