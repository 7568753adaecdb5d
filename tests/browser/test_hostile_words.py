"""What visitors, staff, clients, documents and models say is shown as it was said on every page, and never run."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from html import escape

import pytest
from playwright.async_api import Browser, FilePayload, Page, expect

from tests.conftest import Serve
from tests.faults.model import FakeModel
from tests.support.admin import log_in, make_staff
from tests.support.browser import served
from tests.support.chatting import PATH, PIPELINE, Visitor, answering
from tests.support.clients import PipelineClient
from tests.support.files import fetch
from tests.support.hostile import ALL, NAME, PAYLOADS, Stored, say_in_session, store_everywhere
from tests.support.rest import acall, below
from tests.support.server import GatewayProcess
from tests.support.trap import Trap
from tests.support.waiting import wait_until

pytestmark = pytest.mark.asyncio(loop_scope="session")  # the browser's

SHOWN = "onerror=fired()"
OF_STAFF = (
    "/admin/",
    "/admin/conversations/chatsession/",
    "/admin/conversations/chatsession/?q=%22%3E%3Cimg+src%3Dx+onerror%3Dfired()%3E",
    "/admin/conversations/chatsession/{main}/change/",
    "/admin/conversations/contactrequest/",
    "/admin/conversations/contactrequest/{request}/change/",
    "/admin/conversations/cannedreply/",
    "/admin/conversations/cannedreply/3/change/",
    "/admin/conversations/document/",
    "/admin/conversations/document/{document}/change/",
    "/admin/conversations/document/{document}/delete/",
    "/admin/conversations/pipeline/",
    "/admin/conversations/pipeline/1/change/",
    "/admin/connections/connection/?state=all",
    "/admin/connections/hubclient/",
    "/admin/connections/application/",
    "/admin/connections/application/{application}/change/",
    "/admin/connections/application/{application}/close/",
    "/admin/connections/auditentry/",
    "/admin/auth/user/",
    "/admin/desk/",
    "/admin/desk/?which=all",
    "/admin/desk/{main}/",
)


@dataclass
class Site:
    """A gateway in which the words are everywhere, a model that repeats them, and a shop that has its widget."""

    gateway: GatewayProcess
    model: FakeModel
    stored: Stored
    shop: str

    def trap(self) -> Trap:
        return Trap(self.gateway.url, self.shop)


@pytest.fixture(scope="module")
def site(serve: Serve) -> Iterator[Site]:
    pages: dict[str, str] = {}
    with ExitStack() as stack:
        shop = stack.enter_context(served(pages))
        gateway, model = stack.enter_context(answering(serve, RATE_LIMITS="off"))
        model.words = tuple(ALL[place : place + 7] for place in range(0, len(ALL), 7))  # no tag comes in one piece
        model.delay = 0.005
        script = f'src="{gateway.url}/api/v1/embed/{PIPELINE}/widget.js" data-title="{escape(NAME)}"'
        pages["/"] = (
            f"<!DOCTYPE html><html lang=en><title>A shop</title><h1>A shop</h1><script {script}></script></html>"
        )
        make_staff(gateway, root="")
        stored = store_everywhere(gateway, PIPELINE)
        # The gateway looks now and then for pipelines that somebody else made.
        wait_until(
            lambda: b"X-Header" in fetch(gateway, "/")[2], timeout=10, what="the last pipeline on the start page"
        )
        yield Site(gateway, model, stored, shop)


@pytest.mark.parametrize("where", ["chat", "widget"])
async def test_nothing_that_was_said_runs(site: Site, browser: Browser, where: str) -> None:
    is_chat = where == "chat"
    url = f"{site.gateway.url}{PATH}" if is_chat else f"{site.shop}/"
    profile = await browser.new_context(locale="en-US")
    trap = await site.trap().set(profile)
    visitor = Visitor(await profile.new_page())
    page = visitor.page
    await page.goto(url)
    await open_it(visitor, is_chat=is_chat)
    await visitor.chat.locator("input[type=file]").set_input_files(
        FilePayload(name=f"{NAME}.txt", mimeType="text/plain", buffer=ALL.encode())
    )
    await expect(visitor.chat.locator(".chosen li")).to_contain_text(SHOWN)
    await expect(visitor.chat.locator(".chosen progress")).to_have_count(0)
    await visitor.ask(ALL)  # what is answered grows
    await expect(visitor.asked.locator(".bubble")).to_have_text(ALL)
    await expect(visitor.asked.locator(".document")).to_contain_text(SHOWN)
    await visitor.answers.get_by_role("button", name="Helpful", exact=True).click()
    await acall(site.gateway, "POST", below("broadcast"), {"message": ALL})
    await expect(visitor.chat.locator(".everybody")).to_have_text(ALL)
    await trap.is_empty(page, url)
    key = "Object.keys(localStorage).find((key) => key.endsWith(':session'))"
    say_in_session(site.gateway, await page.evaluate(f"JSON.parse(localStorage.getItem({key})).id"))
    await page.reload()
    await open_it(visitor, is_chat=is_chat)
    for shown, count in ((".user .bubble", 2), (".operator .by", 0), (".notice span", 0), (".source b", 0)):
        await expect(visitor.chat.locator(shown)).to_have_count(len(PAYLOADS) + count)
        assert set(PAYLOADS) <= set(await visitor.chat.locator(shown).all_text_contents())
    await expect(visitor.chat.locator(".bot .bubble")).to_have_count(len(PAYLOADS) + 1)
    links = await visitor.chat.locator("a[href]").evaluate_all("(links) => links.map(({href}) => href.split('/')[0])")
    assert set(links) == {"http:", "https:"}
    await page.mouse.move(300, 300)
    await trap.is_empty(page, url)
    assert visitor.faults == []
    await trap.snaps(page)
    await profile.close()


async def open_it(visitor: Visitor, *, is_chat: bool) -> None:
    """Open the conversation."""
    if not is_chat:
        await visitor.page.locator(".launcher").click()
    await visitor.is_live()


async def test_nothing_that_was_stored_runs_on_a_page_of_staff(site: Site, browser: Browser) -> None:
    page = await log_in(browser, site.gateway, "root")
    trap = await site.trap().set(page.context)
    rooms = [await PipelineClient.connect(site.gateway, "group", session_id=words) for words in PAYLOADS]
    for path in (each.format(**vars(site.stored)) for each in OF_STAFF):
        await page.goto(path)
        await expect(page.locator("body"), path).to_contain_text(SHOWN)
        await trap.is_empty(page, site.gateway.url + path)
    await page.click(".desk-canned summary")
    await page.locator("[data-canned]", has_text=NAME).first.click()
    await expect(page.locator(".desk-composer textarea")).to_have_value(NAME)
    await page.goto("/admin/broadcast/")
    await page.fill("[name=text]", ALL[:1500])
    await page.click("button[value=look]")
    await expect(page.locator("dl")).to_contain_text(SHOWN)
    await trap.is_empty(page)
    await trap.snaps(page)
    await page.context.close()
    for room in rooms:
        await room.close()


async def test_nothing_that_was_stored_runs_on_the_pages_of_everybody(site: Site, browser: Browser) -> None:
    profile = await browser.new_context(base_url=site.gateway.url, locale="en-US")
    trap = await site.trap().set(profile)
    page = await profile.new_page()
    await page.goto("/")
    for words in PAYLOADS:
        assert await shows(page, words), words
    await trap.is_empty(page, f"{site.gateway.url}/")
    await page.goto("/playground/")
    panel = page.locator("#panel-langbot")
    await panel.locator("[data-go]").click()
    await expect(panel.locator("[data-connection]")).to_have_text("Connected")
    await acall(site.gateway, "POST", below("broadcast"), {"message": ALL})
    await expect(panel.locator(".row-received .row-text").last).to_contain_text(SHOWN)
    await trap.is_empty(page)
    await trap.snaps(page)
    await profile.close()


async def shows(page: Page, words: str) -> bool:
    """Tell whether some words stand in an open page as they are."""
    return bool(await page.evaluate("(words) => document.body.textContent.includes(words)", words))
