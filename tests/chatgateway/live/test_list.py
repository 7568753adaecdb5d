"""The list of connections in a real browser, over two workers: who comes and goes is seen without a reload."""

import time
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.chatgateway.live.conftest import LIST, MakePeople, Person
from tests.support.admin import NO_POLLING
from tests.support.applications import change
from tests.support.clients import PipelineClient
from tests.support.server import GatewayProcess

pytestmark = pytest.mark.asyncio(loop_scope="session")  # the browser's

SOON = 10_000  # milliseconds, patient with a busy machine; what it took is in the report


@pytest.fixture(scope="module")
def viewer(make_people: MakePeople) -> Person:
    permissions = ["connections.view_connection", "connections.change_connection"]
    return make_people(closer=permissions)["closer"]


@pytest_asyncio.fixture(loop_scope="session")
async def page(viewer: Person, browser: Browser) -> AsyncIterator[Page]:
    """The list in a browser, once it is live."""
    async with await browser.new_page() as page:
        await page.add_init_script(NO_POLLING)
        await page.context.add_cookies([{"name": "sessionid", "value": viewer.key, "url": viewer.gateway.url}])
        await page.goto(f"{viewer.gateway.url}{LIST}?wire=langbot")
        await expect(page.locator("[data-live-state]")).to_have_text("live")
        yield page


def row(uuid: str) -> str:
    return f"#live-connections tr:has-text('{uuid[:8]}…')"


def worker_of(gateway: GatewayProcess, uuid: str) -> str:
    statement = "SELECT worker FROM connections_connection WHERE uuid = ?"
    return str(change(gateway, statement, uuid.replace("-", ""))[0][0])


async def test_connections_of_both_workers_come_and_go_and_ticks_stay(
    gateway: GatewayProcess, page: Page, record_property: Callable[[str, object], None]
) -> None:
    took: list[float] = []
    clients: dict[str, PipelineClient] = {}
    workers: set[str] = set()
    while len(workers) < 2 or len(clients) < 4:
        client = await PipelineClient.connect(gateway)
        began = time.monotonic()
        uuid = str(client.connected["connection_id"])
        clients[uuid] = client
        await expect(page.locator(row(uuid))).to_be_visible(timeout=SOON)
        took.append(time.monotonic() - began)
        workers.add(worker_of(gateway, uuid))
    await page.evaluate("window.loaded_once = true")
    kept, *leaving = clients
    await page.locator(f"{row(kept)} input.action-select").check()
    await expect(page.locator(".action-counter")).to_have_text(f"1 of {len(clients)} selected")

    for left, uuid in enumerate(leaving, 1):
        await clients[uuid].close()
        began = time.monotonic()
        await expect(page.locator(row(uuid))).to_have_count(0, timeout=SOON)
        took.append(time.monotonic() - began)
        await expect(page.locator(".action-counter")).to_have_text(f"1 of {len(clients) - left} selected")
    await expect(page.locator(f"{row(kept)} input.action-select")).to_be_checked()
    await expect(page.locator(".action-toggle")).to_be_checked()
    assert await page.evaluate("window.loaded_once"), "nothing was loaded again"
    await clients[kept].close()
    record_property("seconds", sorted(round(seconds, 2) for seconds in took))
