"""The chat bubble on pages of other origins: allowed and refused ones, strict ones, and ones with rude styles."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from playwright.async_api import Browser, ConsoleMessage, Locator, Page, Response, expect

from tests.conftest import Serve
from tests.faults.model import FakeModel
from tests.support.axe import violations
from tests.support.browser import served
from tests.support.chatting import PIPELINE, Visitor, answering
from tests.support.server import GatewayProcess, get_status, manage
from tests.support.waiting import wait_until

pytestmark = pytest.mark.asyncio(loop_scope="session")  # the browser's

LIMIT = 30 * 1024  # bytes of everything that a page loads for it
SHOP = """<!DOCTYPE html><html lang="en"><head><title>A shop</title>{head}</head>
<body><main><h1>A shop</h1><button id="buy">Buy</button></main>{script}</body></html>"""
SCRIPT = '<script src="{base}/api/v1/embed/{pipeline}/widget.js" {data}></script>'
STRICT = """<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'none'; script-src {base};
connect-src {base} {sockets}; img-src {base}">"""
RUDE = """<style>html { font-size: 5px } * { all: revert !important; display: inline !important; margin: 9px !important;
color: red !important; font: 3px cursive !important; position: static !important; letter-spacing: 5px !important;
text-transform: uppercase !important; text-indent: 20px !important }
body > * { transform: scale(0.5) !important; opacity: 0.5 !important }
.chat, .line { opacity: 0 }</style>"""
OPEN_IT = "from conversations.models import Pipeline; Pipeline.objects.update(public=True)"
SAY_IT = """
from uuid import UUID
from conversations.jobs import OperatorSays
from conversations.store import commit
commit([OperatorSays(UUID({session!r}), "Tomorrow.", "Ann")])
"""
OURS = "[...document.querySelectorAll('body > *')].map((element) => element.localName)"


@dataclass
class Site:
    """A gateway that one origin's pages may use without a token, and that origin and another."""

    gateway: GatewayProcess
    model: FakeModel
    allowed: str
    refused: str


@pytest.fixture(scope="module")
def site(serve: Serve) -> Iterator[Site]:
    pages: dict[str, str] = {}
    with ExitStack() as stack:
        allowed, refused = (stack.enter_context(served(pages)) for _ in range(2))
        settings = {"ACCESS_MODE": "token", "ALLOWED_ORIGINS": allowed, "ALLOW_PRIVATE_UPSTREAMS": "true"}
        gateway, model = stack.enter_context(answering(serve, **settings))
        manage("shell", "-v", "0", "-c", OPEN_IT, data_dir=gateway.data_dir, DATABASE_URL=gateway.database_url)
        config = f"{gateway.url}/api/v1/embed/{PIPELINE}/config"
        wait_until(lambda: get_status(config) == 200, timeout=10, what="a public pipeline")
        _write(pages, gateway)
        yield Site(gateway, model, allowed, refused)


def _write(pages: dict[str, str], gateway: GatewayProcess) -> None:
    """Write the shop's pages: the same shop with other heads, and with other wishes for the bubble."""
    strict = STRICT.format(base=gateway.url, sockets=gateway.ws_url)
    for path, head, data in (
        ("/", "", 'data-title="Shop &amp; help"'),
        ("/strict", strict, ""),
        ("/rude", RUDE, 'data-title="Shop &amp; help"'),
        ("/chinese", "", 'data-lang="zh-hans" data-position="left" data-color="#ffd400"'),
        ("/hostile", "", 'data-title="&lt;img src=x onerror=fired()&gt;" data-color="red;}*{display:none"'),
    ):
        pages[path] = SHOP.format(head=head, script=SCRIPT.format(base=gateway.url, pipeline=PIPELINE, data=data))
    script = SCRIPT.format(base=gateway.url, pipeline=PIPELINE, data="")
    pages["/twice"] = SHOP.format(head="", script=script * 2)


async def arrive(browser: Browser, site: Site, path: str = "/", **context: object) -> Visitor:
    """Come to the shop."""
    visitor = await Visitor.arrive(browser, site.allowed + path, **context)
    await expect(launcher(visitor.page)).to_be_visible()
    return visitor


def launcher(page: Page) -> Locator:
    return page.locator(".launcher")


async def open_it(visitor: Visitor) -> None:
    await launcher(visitor.page).click()
    await visitor.is_live()


async def test_a_visitor_of_an_allowed_page_talks(site: Site, browser: Browser) -> None:
    visitor = await arrive(browser, site)
    page = visitor.page
    await open_it(visitor)
    await expect(visitor.chat.locator(".name").first).to_have_text("Shop & help")
    answer = await visitor.ask("How do I change the port?")
    await expect(answer.locator("td")).to_have_text(["PORT", "8000"])
    await answer.get_by_role("button", name="Helpful", exact=True).click()
    # He goes on to another page of the shop, and what comes meanwhile is counted.
    await visitor.say("And the host?")
    await expect(visitor.asked.nth(1).locator(".status")).to_have_text("")
    await visitor.chat.get_by_role("button", name="Close the chat").click()
    await page.goto(f"{site.allowed}/rude")
    await expect(page.locator(".badge")).to_have_text("1", timeout=30_000)
    await expect(launcher(page)).to_have_accessible_name("Open the chat, 1 unread")
    await open_it(visitor)
    await visitor.answered(2)
    await expect(page.locator(".badge")).to_be_hidden()
    thumb = visitor.answers.first.get_by_role("button", name="Helpful", exact=True)
    await expect(thumb).to_have_attribute("aria-pressed", "true")
    keys = await page.evaluate("Object.keys(localStorage).sort()")
    assert keys == [f"chatgateway:{site.gateway.url}:{PIPELINE}:{name}" for name in ("read", "session")]
    await visitor.leave()


async def test_the_panel_and_what_is_written_in_it_go_along_to_the_next_page(site: Site, browser: Browser) -> None:
    visitor = await arrive(browser, site)
    await open_it(visitor)
    height = await visitor.text.evaluate("(text) => text.offsetHeight")
    await visitor.text.fill("Half a quest")
    await visitor.page.goto(f"{site.allowed}/rude")
    await visitor.is_live()
    await expect(visitor.text).to_be_visible()
    await expect(visitor.text).to_have_value("Half a quest")
    await expect(visitor.text).not_to_be_focused()  # the page is what he came for
    await visitor.text.fill("")
    assert await visitor.text.evaluate("(text) => text.offsetHeight") == height > 20
    await visitor.chat.get_by_role("button", name="Close the chat").click()
    await visitor.page.goto(f"{site.allowed}/")
    await expect(launcher(visitor.page)).to_be_visible()
    await expect(visitor.chat).to_be_hidden()
    await visitor.leave()


async def test_what_came_while_nobody_looked_is_unread_until_it_is_seen(site: Site, browser: Browser) -> None:
    visitor = await arrive(browser, site)
    await open_it(visitor)
    await visitor.ask("How do I change the port?")
    session = await visitor.session()
    await visitor.chat.get_by_role("button", name="Close the chat").click()
    await visitor.page.goto("about:blank")
    said = SAY_IT.format(session=session)
    database = {"DATABASE_URL": site.gateway.database_url}
    await asyncio.to_thread(manage, "shell", "-v", "0", "-c", said, data_dir=site.gateway.data_dir, **database)
    for _ in range(2):
        await visitor.page.goto(f"{site.allowed}/")
        await expect(visitor.page.locator(".badge")).to_have_text("1", timeout=30_000)
    await open_it(visitor)
    await expect(visitor.chat.locator(".line.operator .bubble")).to_have_text("Tomorrow.")
    await visitor.chat.get_by_role("button", name="Close the chat").click()
    await visitor.page.reload()
    await expect(launcher(visitor.page)).to_have_accessible_name("Open the chat")
    await expect(visitor.page.locator(".badge")).to_be_hidden()
    await visitor.leave()


async def test_a_page_that_is_not_allowed_gets_no_bubble_and_one_warning(site: Site, browser: Browser) -> None:
    said: list[ConsoleMessage] = []
    profile = await browser.new_context()
    page = await profile.new_page()
    page.on("console", lambda message: said.append(message) if message.type == "warning" else None)
    async with page.expect_console_message(lambda message: message.type == "warning"):
        await page.goto(site.refused)
    assert await page.evaluate(OURS) == ["main", "script"]
    assert len(said) == 1
    assert f"Is {site.refused} one of the gateway's ALLOWED_ORIGINS?" in said[0].text
    await profile.close()


async def test_a_page_that_loads_it_twice_has_one_bubble(site: Site, browser: Browser) -> None:
    visitor = await arrive(browser, site, "/twice")
    await open_it(visitor)
    await visitor.ask("How do I change the port?")
    assert await visitor.page.evaluate(OURS) == ["main", "script", "script", "chat-gateway-widget"]
    assert visitor.faults == ["Chat gateway: a page has one chat; this one is left out."]
    visitor.faults.clear()
    await visitor.leave()


async def test_the_strictest_page_that_allows_our_origin_is_enough(site: Site, browser: Browser) -> None:
    visitor = await arrive(browser, site, "/strict")
    await open_it(visitor)
    await visitor.ask("How do I change the port?")
    assert await launcher(visitor.page).evaluate("(button) => getComputedStyle(button).position") == "fixed"
    await visitor.leave()  # without a complaint of its policy


async def test_nothing_leaks_in_or_out(site: Site, browser: Browser) -> None:
    looks = []
    for path in ("/", "/rude"):
        visitor = await arrive(browser, site, path, viewport={"width": 1000, "height": 800})
        await open_it(visitor)
        await visitor.ask("How do I change the port?")
        looks.append(
            await visitor.page.evaluate(
                """() => [...document.querySelector("chat-gateway-widget").shadowRoot.querySelectorAll(
                    ".launcher, .panel, .head, .name, .line, .bubble, .bubble td, .meta, textarea, .send")]
                .map((element) => {
                    const {font, color, display, margin, position, backgroundColor, letterSpacing, textTransform} =
                        getComputedStyle(element);
                    const {x, y, width, height} = element.getBoundingClientRect();
                    return [element.className, font, color, display, margin, position, backgroundColor,
                        letterSpacing, textTransform, element.matches(".line *, .line") ? 0 : [x, y, height], width];
                })"""
            )
        )
        assert await visitor.page.evaluate(OURS) == ["main", "script", "chat-gateway-widget"]
        assert await visitor.page.evaluate("document.styleSheets.length") == (1 if path == "/rude" else 0)
        await visitor.leave()
    assert len(looks[0]) > 10
    assert looks[0] == looks[1]


async def test_the_site_says_how_it_looks(site: Site, browser: Browser) -> None:
    visitor = await arrive(browser, site, "/chinese")
    box = await launcher(visitor.page).bounding_box()
    assert box is not None
    assert box["x"] < 100
    style = (
        "(button) => { const {backgroundColor, color} = getComputedStyle(button); return [backgroundColor, color]; }"
    )
    assert await launcher(visitor.page).evaluate(style) == ["rgb(255, 212, 0)", "rgb(0, 0, 0)"]
    await open_it(visitor)
    await expect(visitor.text).to_have_attribute("placeholder", "输入消息")
    await visitor.leave()


async def test_what_the_site_says_is_text(site: Site, browser: Browser) -> None:
    visitor = await arrive(browser, site, "/hostile")
    await open_it(visitor)
    await expect(visitor.chat.locator(".name").first).to_have_text("<img src=x onerror=fired()>")
    await expect(visitor.page.locator("#buy")).to_be_visible()
    await visitor.leave()


async def test_on_a_phone_focus_stays_inside_until_it_is_closed(site: Site, browser: Browser) -> None:
    visitor = await arrive(browser, site, viewport={"width": 390, "height": 844}, reduced_motion="reduce")
    page = visitor.page
    await open_it(visitor)
    await expect(visitor.text).to_be_focused()
    await expect(visitor.chat).to_have_attribute("aria-modal", "true")
    assert await visitor.chat.bounding_box() == {"x": 0, "y": 0, "width": 390, "height": 844}
    for key in ("Tab", "Shift+Tab"):
        for _ in range(9):
            await page.keyboard.press(key)
            assert await page.evaluate("document.activeElement.localName") == "chat-gateway-widget"
    await page.keyboard.press("Escape")
    await expect(visitor.chat).to_be_hidden()
    await expect(launcher(page)).to_be_focused()
    await visitor.leave()


async def test_on_a_desk_focus_may_leave(site: Site, browser: Browser) -> None:
    visitor = await arrive(browser, site)
    await open_it(visitor)
    await expect(visitor.chat).to_have_attribute("aria-modal", "false")
    await visitor.page.locator("#buy").focus()
    await visitor.page.keyboard.press("Escape")  # the shop's own key
    await expect(visitor.chat).to_be_visible()
    await visitor.text.focus()
    await visitor.page.keyboard.press("Escape")
    await expect(visitor.chat).to_be_hidden()
    await visitor.leave()


async def test_everything_it_loads_is_small(site: Site, browser: Browser) -> None:
    profile = await browser.new_context(locale="zh-CN")
    visitor = Visitor(await profile.new_page())
    loaded: list[Response] = []

    def note(response: Response) -> None:
        loaded.append(response)

    visitor.page.on("response", note)
    await visitor.page.goto(f"{site.allowed}/strict")
    await open_it(visitor)
    await visitor.ask("How do I change the port?")
    ours = [response for response in loaded if response.url.startswith(site.gateway.url)]
    sizes = {response.url: (await response.request.sizes())["responseBodySize"] for response in ours}
    assert {"widget.js", "config", "panel.css"} <= {url.partition("?")[0].rpartition("/")[2] for url in sizes}
    assert len(sizes) > 12, sizes
    assert min(sizes.values()) > 0, sizes
    assert sum(sizes.values()) <= LIMIT, sizes
    await visitor.leave()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_serious(site: Site, browser: Browser, scheme: str) -> None:
    visitor = await arrive(browser, site, color_scheme=scheme, reduced_motion="reduce")
    assert await violations(visitor.page) == []
    await open_it(visitor)
    await visitor.ask("How do I change the port?")
    assert await violations(visitor.page) == []
    await visitor.leave()
