"""When the chat's socket asks whether its line is alive, by a clock that the test moves; it needs no gateway."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from tests.support.browser import served
from tests.support.environment import ROOT

pytestmark = pytest.mark.asyncio(loop_scope="session")  # the browser's

MODULE = ROOT / "chatgateway" / "static" / "chatgateway" / "chat" / "socket.js"
# A line that is dead once it has greeted.
OPEN = """async () => {
    const { Socket } = await import("/socket.js");
    window.sent = [];
    window.offered = [];
    window.WebSocket = class {
        static OPEN = 1;
        readyState = 1;
        constructor(url, protocols) {
            offered.push([String(url), protocols]);
            window.line = this;
        }
        send(frame) { sent.push(JSON.parse(frame).type); }
        close() {}
    };
    window.socket = new Socket({
        urls: ["http://chat.test/ws"], query: () => ({ rich: 1 }), secret: () => "c0ffee",
        hear: () => {}, told: () => {},
    });
    socket.open();
    line.onmessage({ data: '{"type": "connected"}' });
    return socket.state;
}"""
HIDE = "Object.defineProperty(document, 'hidden', { value: true })"


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser) -> AsyncIterator[Page]:
    with served({"/": "<p>", "/socket.js": MODULE.read_text(encoding="utf-8")}) as base:
        page = await browser.new_page()
        await page.clock.install()
        await page.goto(base)
        assert await page.evaluate(OPEN) == "live"
        yield page
        await page.close()


async def test_a_hidden_page_whose_timers_are_rare_notices_a_dead_line(page: Page) -> None:
    await page.evaluate(HIDE)
    await page.clock.fast_forward(60_000)  # each timer fires once at most, as a browser has it where nobody looks
    assert await page.evaluate("sent") == ["ping"]
    await page.clock.fast_forward(60_000)
    assert await page.evaluate("socket.state") != "live"


async def test_a_page_that_wakes_asks_at_once(page: Page) -> None:
    await page.clock.fast_forward(20_000)  # less than it is silent for without a doubt
    assert await page.evaluate("sent") == ["ping"]


async def test_the_resume_token_is_not_in_the_address(page: Page) -> None:
    assert await page.evaluate("offered") == [["ws://chat.test/ws?rich=1", ["resume.c0ffee"]]]
