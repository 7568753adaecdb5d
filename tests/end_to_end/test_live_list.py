"""Staff's list of connections on one worker, woken alone, while clients of all five wires come and go on two."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.faults.model import FakeModel, Mode, model_in_thread
from tests.support.admin import log_in, make_staff
from tests.support.clients import PipelineClient
from tests.support.contact import ContactClient
from tests.support.databases import ValkeyServer
from tests.support.environment import QUICK
from tests.support.postoffice import HubClient
from tests.support.server import GatewayProcess, Templates, model_settings
from tests.support.wechat import WeChatClient
from tests.support.yishiting import Stream, question

pytestmark = pytest.mark.asyncio(loop_scope="session")  # the browser's

SOON = 10_000  # milliseconds, patient with a busy machine; what it took is in the report
GHOSTS = 30_000
PAGE = "/admin/connections/connection/"


@dataclass
class Workers:
    """Two workers, each with a port of its own."""

    first: GatewayProcess
    second: GatewayProcess


@pytest.fixture(scope="module")
def model() -> Iterator[FakeModel]:
    """A model that says half of its answer, and no more."""
    with model_in_thread() as model:
        model.mode = Mode.STALL
        yield model


@pytest.fixture(scope="module")
def workers(
    templates: Templates,
    tmp_path_factory: pytest.TempPathFactory,
    valkey: ValkeyServer,
    model: FakeModel,
) -> Iterator[Workers]:
    """Two gateways on one database and one Redis, as on two machines: neither sees the other's lock file."""
    settings = {
        **model_settings(model.base_url()), **QUICK, "SECRET_KEY": "the same on both machines" * 2,
        "LEASE": "6", "BEAT": "1", "DRAIN_TIMEOUT": "1",
    }  # fmt: skip
    folders = [tmp_path_factory.mktemp(name) for name in ("first", "second")]
    database = templates.copy_sqlite(folders[0], with_model=True)
    first, second = (GatewayProcess(folder, database, redis_url=valkey.url, environment=settings) for folder in folders)
    first.start()
    second.start()
    make_staff(first, owner="")
    yield Workers(first, second)
    first.close()
    second.close()


@pytest_asyncio.fixture(loop_scope="session")
async def page(workers: Workers, browser: Browser) -> AsyncIterator[Page]:
    """The list, live, in a browser at the first worker."""
    page = await log_in(browser, workers.first, "owner")
    await page.goto(PAGE)
    await expect(page.locator("[data-live-state]")).to_have_text("live")
    yield page
    await page.context.close()


def rows(page: Page) -> Any:
    return page.locator("#live-connections tbody tr")


async def pipeline(gateway: GatewayProcess) -> AbstractAsyncContextManager[Any]:
    return await PipelineClient.connect(gateway)


async def contact(gateway: GatewayProcess) -> AbstractAsyncContextManager[Any]:
    return await ContactClient.connect(gateway)


async def hub(gateway: GatewayProcess) -> AbstractAsyncContextManager[Any]:
    return await HubClient.connect(gateway, f"/agent/{gateway.port}")


async def wechat(gateway: GatewayProcess) -> AbstractAsyncContextManager[Any]:
    return await WeChatClient.open(gateway, login=str(gateway.port))


async def yishiting(gateway: GatewayProcess) -> AbstractAsyncContextManager[Any]:
    return Stream(gateway, question(f"m{time.monotonic_ns()}"))


Connect = Callable[[GatewayProcess], Awaitable[AbstractAsyncContextManager[Any]]]
WIRES: Sequence[Connect] = (pipeline, contact, hub, wechat, yishiting)


async def shows(page: Page, count: int, took: list[float], patience: int = SOON) -> None:
    """Wait until the list has so many rows, without a reload."""
    began = time.monotonic()
    await expect(rows(page)).to_have_count(count, timeout=patience)
    took.append(time.monotonic() - began)


async def test_who_comes_is_seen_and_who_leaves_is_gone(
    workers: Workers, page: Page, record_property: Callable[[str, object], None]
) -> None:
    took: list[float] = []
    for connect in WIRES:
        for gateway in (workers.first, workers.second):
            async with await connect(gateway):
                await shows(page, 1, took)
            await shows(page, 0, took)
    record_property("seconds", [round(seconds, 2) for seconds in took])


async def test_connections_of_a_killed_worker_are_gone(
    workers: Workers, page: Page, record_property: Callable[[str, object], None]
) -> None:
    took: list[float] = []
    async with AsyncExitStack() as stack:
        for connect in WIRES:
            await stack.enter_async_context(await connect(workers.first))
            await stack.enter_async_context(await connect(workers.second))
        await shows(page, 2 * len(WIRES), [])
        workers.second.kill()
        await shows(page, len(WIRES), took, GHOSTS)
    record_property("seconds", took)
    workers.second.start()


async def test_a_socket_is_closed_with_the_code_that_the_page_promised(workers: Workers, page: Page) -> None:
    async with await PipelineClient.connect(workers.second) as client:
        await shows(page, 1, [])
        await rows(page).locator("input.action-select").check()
        await page.select_option("select[name=action]", "close_selected")
        await page.click("button:has-text('Run')")
        promised = await page.locator("select[name=code] option").all_inner_texts()
        assert promised == ["Yes, in a while (1013)", "No, it is not wanted (4003)"]
        await page.select_option("select[name=code]", "4003")
        await page.fill("input[name=reason]", "Please write to us instead.")
        async with asyncio.TaskGroup() as both:
            closed = both.create_task(client.closed())
            both.create_task(page.click("main button[type=submit], #content button[type=submit]"))
        assert closed.result() == 4003
        assert client.socket.close_reason == "Please write to us instead."
        await shows(page, 0, [])
