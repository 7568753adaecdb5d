"""The start page in a browser: both languages, light and dark, wide and narrow."""

from collections.abc import Iterator

import pytest
from playwright.async_api import Browser, expect

from tests.conftest import Serve
from tests.support.axe import violations
from tests.support.server import GatewayProcess

pytestmark = pytest.mark.asyncio(loop_scope="session")  # the browser's


@pytest.fixture(scope="module")
def gateway(serve: Serve) -> Iterator[GatewayProcess]:
    with serve() as gateway:
        yield gateway


async def test_it_leads_to_the_playground_without_javascript(gateway: GatewayProcess, browser: Browser) -> None:
    context = await browser.new_context(base_url=gateway.url, locale="en-US", java_script_enabled=False)
    page = await context.new_page()
    await page.goto("/")
    await page.click("text=中文")
    await expect(page.locator("h1")).to_contain_text("聊天服务")
    await page.click("text=English")
    await expect(page.locator("h1")).to_have_text("One AI chat service for the clients that you have")
    await page.click(".wire >> text=Blog contact")
    await page.wait_for_url("**/playground/#contact")
    assert await page.locator("noscript").text_content() == "This page needs JavaScript."
    await context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("language", ["en", "zh-hans"])
async def test_everybody_can_use_it(gateway: GatewayProcess, browser: Browser, scheme: str, language: str) -> None:
    context = await browser.new_context(
        base_url=gateway.url,
        color_scheme="dark" if scheme == "dark" else "light",
        viewport={"width": 390, "height": 844},
    )
    page = await context.new_page()
    reports: list[str] = []
    page.on("console", lambda message: reports.append(message.text) if message.type == "error" else None)
    await page.goto(f"/?lang={language}")
    assert await violations(page) == []
    assert await page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, "nothing is cut off"
    assert reports == []
    await context.close()


async def test_the_keyboard_skips_to_the_content(gateway: GatewayProcess, browser: Browser) -> None:
    context = await browser.new_context(base_url=gateway.url, locale="en-US")
    page = await context.new_page()
    await page.goto("/")
    await page.keyboard.press("Tab")
    await expect(page.locator(".skip")).to_be_focused()
    await expect(page.locator(".skip")).to_be_in_viewport()
    await page.keyboard.press("Enter")
    await expect(page.locator("main")).to_be_focused()
    await context.close()
