"""The script of live pages in a real browser, where there is no socket: what it fetches, and what it leaves alone."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Route, expect

from tests.support.browser import served
from tests.support.environment import ROOT

SCRIPTS = ROOT / "chatgateway" / "static" / "chatgateway"
pytestmark = pytest.mark.asyncio(loop_scope="session")  # the browser's

SOON = 10_000  # milliseconds
LIST = """
<h2>{heading}</h2>
<details id="more"{more}><summary>More</summary>Words</details>
<input type="checkbox" name="row" value="1"><input type="checkbox" name="row" value="2">
<input id="search" value="">
<div style="height: 40px; overflow: auto"><p style="height: 900px">Long</p></div>
<b data-waiting-count="{count}" data-waiting="{waiting}">{count}</b>
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
window.fetched = [];  // when and what
const fetch = window.fetch;
window.fetch = (url, options) => {
  window.fetched.push([performance.now(), new URL(url, location).pathname]);
  return fetch(url, options);
};
Object.defineProperty(document, "hidden", { get: () => window.hidden });
"""


def contents(heading: str = "one", waiting: str = "", more: str = "") -> str:
    count = len(waiting.split())
    return PAGE.format(first=LIST.format(heading=heading, waiting=waiting, count=count, more=more))


@pytest.fixture
def files() -> dict[str, str]:
    """What is served, by path; a test changes it."""
    scripts = [SCRIPTS / "live.js", *(SCRIPTS / "live").iterdir()]
    served = {f"/{script.relative_to(SCRIPTS)}": script.read_text("utf-8") for script in scripts}
    return {"/": contents(), "/queue": "<p>new</p>", **served}


@pytest.fixture
def address(files: dict[str, str]) -> Iterator[str]:
    with served(files) as address:
        yield address


@pytest_asyncio.fixture(loop_scope="session")
async def page(address: str, browser: Browser) -> AsyncIterator[Page]:
    async with await browser.new_page() as page:
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


async def test_the_longer_the_gateway_takes_the_less_it_is_asked(page: Page) -> None:
    assert min(await gaps(page)) >= 500
    took = 0.1

    async def slowly(route: Route) -> None:
        await asyncio.sleep(took)  # a gateway with much to do
        await route.continue_()

    await page.route("**/queue", slowly)
    await page.evaluate("window.fetched = []")
    assert min(await gaps(page)) >= 11 * took * 1000 * 0.95, "its own time, and ten times that"


async def gaps(page: Page) -> list[float]:
    """Return the milliseconds between fetches of the queue, once there are some."""
    times = "window.fetched.filter(([, path]) => path === '/queue').map(([time]) => time)"
    await page.wait_for_function(f"{times}.length > 3", timeout=4 * SOON)
    return distances(await page.evaluate(times))


def distances(times: list[float]) -> list[float]:
    return [after - before for before, after in pairwise(times)]


# --- In a hidden tab ---------------------------------------------------------------------------


@pytest_asyncio.fixture(loop_scope="session")
async def hidden(address: str, browser: Browser) -> AsyncIterator[Page]:
    """The page in a hidden tab, whose clock a test moves on."""
    async with await browser.new_page() as page:
        await page.clock.install()
        await page.add_init_script(HIDDEN)
        await page.goto(address)
        await expect(page.locator("#queue p")).to_have_text("new", timeout=SOON)
        await page.evaluate("window.hidden = true; window.fetched = []")
        yield page


async def test_a_hidden_page_tells_how_many_wait_and_leaves_the_rest(hidden: Page, files: dict[str, str]) -> None:
    await expect(hidden.locator("[data-notify]")).to_be_hidden()
    assert await hidden.title() == "Desk"
    files |= {"/": contents(waiting="a b"), "/queue": "<p>unseen</p>"}
    await hidden.clock.run_for(6000)
    await expect(hidden).to_have_title("(2) Desk", timeout=SOON)
    assert {path for _, path in await hidden.evaluate("window.fetched")} == {"/"}
    await expect(hidden.locator("#queue p")).to_have_text("new")

    await hidden.evaluate("window.hidden = false; document.dispatchEvent(new Event('visibilitychange'))")
    await expect(hidden.locator("#queue p")).to_have_text("unseen", timeout=SOON)  # at once: nobody moved the clock


async def test_a_hidden_page_notifies_of_each_who_comes(hidden: Page, files: dict[str, str]) -> None:
    told = 0
    for waiting, news in (("a b", 1), ("b", 0), ("c", 1), ("", 0), ("c", 1)):
        files["/"] = contents(waiting, waiting)
        await hidden.clock.run_for(6000)
        await expect(hidden.locator("h2")).to_have_text(waiting, timeout=SOON)
        told += news
        assert await hidden.evaluate("window.told") == ["A visitor is waiting"] * told, waiting
    times = [time for time, _ in await hidden.evaluate("window.fetched")]
    assert min(distances(times)) >= 5000, "seldom, though the clock ran on"
