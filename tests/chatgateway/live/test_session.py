"""Live pages in a real browser whose session ends: they go on with the next one, or lead to the login."""

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.support.admin import PASSWORD, log_in, make_staff
from tests.support.server import GatewayProcess

pytestmark = pytest.mark.asyncio(loop_scope="session")  # the browser's

SOON = 15_000  # milliseconds: the gateway looks at sessions every two seconds, then the page tries again


@pytest.fixture(scope="module")
def staff(gateway: GatewayProcess) -> None:
    make_staff(gateway, changing="Operator", leaving="Operator")


@pytest_asyncio.fixture(loop_scope="session")
async def page(
    gateway: GatewayProcess, staff: None, browser: Browser, request: pytest.FixtureRequest
) -> AsyncIterator[Page]:
    """The dashboard, live, of whom the test names."""
    page = await log_in(browser, gateway, request.param)
    await is_live(page)
    yield page
    await page.context.close()


async def is_live(page: Page) -> None:
    await expect(page.locator("[data-live-state]")).to_have_text("live", timeout=SOON)


@pytest.mark.parametrize("page", ["changing"], indirect=True)
async def test_a_page_is_live_again_after_the_password_was_changed_in_another_tab(page: Page) -> None:
    other = await page.context.new_page()
    await other.goto("/admin/password_change/")
    await other.fill("[name=old_password]", PASSWORD)
    for name in ("new_password1", "new_password2"):
        await other.fill(f"[name={name}]", f"{PASSWORD}, another one")
    async with page.expect_websocket(timeout=SOON):
        await other.click("[type=submit]:visible")
    await is_live(page)


@pytest.mark.parametrize("page", ["leaving"], indirect=True)
async def test_a_page_leads_to_the_login_after_a_logout_in_another_tab_unless_it_is_kept(page: Page) -> None:
    other = await page.context.new_page()
    await other.goto("/admin/connections/connection/")
    kept = await page.context.new_page()
    await kept.goto("/admin/")
    await is_live(kept)
    await kept.evaluate(
        "document.addEventListener('live:logged-out', (event) => { event.preventDefault(); window.kept = true; })"
    )
    await other.evaluate("document.querySelector('form[action$=\"/logout/\"]').submit()")
    await expect(page).to_have_url(re.compile("/admin/login/"), timeout=SOON)
    await kept.wait_for_function("window.kept", timeout=SOON)
    assert kept.url.endswith("/admin/")
