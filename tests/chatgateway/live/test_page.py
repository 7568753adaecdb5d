"""The script of live pages in a real browser, where there is no socket: what it fetches, and what it leaves alone."""

from collections.abc import AsyncIterator, Iterator

import pytest
from playwright.async_api import Page, expect

from tests.support.browser import browser_page, served
from tests.support.environment import ROOT

SCRIPT = (ROOT / "chatgateway" / "static" / "chatgateway" / "live.js").read_text("utf-8")
SOON = 4000  # milliseconds
LIST = """
<h2>{heading}</h2>
<details id="more"{more}><summary>More</summary>Words</details>
<input type="checkbox" name="row" value="1"><input type="checkbox" name="row" value="2">
<input id="search" value="">
<div style="height: 40px; overflow: auto"><p style="height: 900px">Long</p></div>
<b data-waiting-count="{waiting}">{waiting}</b>
"""
PAGE = """<!doctype html><title>Desk</title>
<span data-live-state></span><button data-notify>Notify me</button>
<div id="list" data-live="connections" data-live-every="0.2">{first}</div>
<div id="queue" data-live="conversations" data-live-every="0.2" data-live-url="/queue">old</div>
<div id="still" data-live="connections">untouched</div>
<script type="module" src="/live.js"></script>
"""
# What a tab without a window, as under test, cannot be: hidden, and allowed to notify.
HIDDEN = """
window.told = [];
window.Notification = class { static permission = "granted"; constructor(text) { window.told.push(text); } };
window.hidden = false;
Object.defineProperty(document, "hidden", { get: () => window.hidden });
"""


def contents(heading: str = "one", waiting: int = 0, more: str = "") -> str:
    return PAGE.format(first=LIST.format(heading=heading, waiting=waiting, more=more))


@pytest.fixture
def files() -> dict[str, str]:
    """What is served, by path; a test changes it."""
    return {"/": contents(), "/queue": "<p>new</p>", "/live.js": SCRIPT}


@pytest.fixture
def address(files: dict[str, str]) -> Iterator[str]:
    with served(files) as address:
        yield address


@pytest.fixture
async def page(address: str) -> AsyncIterator[Page]:
    async with browser_page() as page:
        await page.add_init_script(HIDDEN)
        await page.goto(address)
        yield page


async def test_what_changed_is_shown_and_what_the_reader_did_stays(page: Page, files: dict[str, str]) -> None:
    await expect(page.locator("[data-live-state]")).to_have_text("reconnecting")
    await expect(page.locator("#queue p")).to_have_text("new", timeout=SOON)
    await page.locator("[value='2']").check()
    await page.locator("summary").click()
    await page.locator("#list div").evaluate("element => element.scrollTop = 300")
    await page.locator("#search").fill("half a word")
    await page.locator("#search").evaluate("element => element.setSelectionRange(2, 4)")

    files["/"] = contents("two")
    await expect(page.locator("h2")).to_have_text("two", timeout=SOON)
    await expect(page.locator("[value='2']")).to_be_checked()
    await expect(page.locator("[value='1']")).not_to_be_checked()
    await expect(page.locator("#more")).to_have_attribute("open", "")
    await expect(page.locator("#search")).to_be_focused()
    await expect(page.locator("#search")).to_have_value("half a word")
    assert await page.locator("#search").evaluate("element => [element.selectionStart, element.selectionEnd]") == [2, 4]
    assert await page.locator("#list div").evaluate("element => element.scrollTop") == 300
    await expect(page.locator("#still")).to_have_text("untouched")


async def test_what_did_not_change_is_not_replaced(page: Page, files: dict[str, str]) -> None:
    files["/"] = contents("two")
    await expect(page.locator("h2")).to_have_text("two", timeout=SOON)
    await page.locator("h2").evaluate("element => element.mine = true")
    files["/queue"] = "<p>newer</p>"
    await expect(page.locator("#queue p")).to_have_text("newer", timeout=SOON)
    files["/queue"] = "<p>newest</p>"  # the list was fetched, too, before this
    await expect(page.locator("#queue p")).to_have_text("newest", timeout=SOON)
    assert await page.locator("h2").evaluate("element => element.mine")


async def test_a_hidden_page_tells_how_many_wait_and_leaves_the_rest(page: Page, files: dict[str, str]) -> None:
    await expect(page.locator("#queue p")).to_have_text("new", timeout=SOON)
    await expect(page.locator("[data-notify]")).to_be_hidden()
    assert await page.title() == "Desk"
    await page.evaluate("window.hidden = true")
    files["/"] = contents(waiting=2)
    await expect(page).to_have_title("(2) Desk", timeout=SOON)
    assert await page.evaluate("window.told") == ["A visitor is waiting"]
    files["/"] = contents(waiting=1)
    await expect(page).to_have_title("(1) Desk", timeout=SOON)
    assert await page.evaluate("window.told.length") == 1, "one less is no news"
    files |= {"/": contents(waiting=3), "/queue": "<p>unseen</p>"}  # no round is under way that began when it was seen
    await expect(page).to_have_title("(3) Desk", timeout=SOON)
    await expect(page.locator("#queue p")).to_have_text("new")

    await page.evaluate("window.hidden = false; document.dispatchEvent(new Event('visibilitychange'))")
    await expect(page.locator("#queue p")).to_have_text("unseen", timeout=SOON)
