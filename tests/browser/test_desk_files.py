"""An operator sends files from the desk, and the visitor sees them at the web chat."""

from collections.abc import Iterator

import pytest
from playwright.async_api import Browser, FilePayload, Locator, Page, Route, expect

from tests.browser.test_attachments import GIVE, NOTES, picture
from tests.conftest import Serve
from tests.support.admin import log_in, make_staff
from tests.support.axe import violations
from tests.support.chatting import Visitor, answering
from tests.support.server import GatewayProcess
from tests.support.trap import Trap

pytestmark = pytest.mark.asyncio(loop_scope="session")  # the browser's

LARGEST = 2 * 1024 * 1024
HOSTILE = "<img src=x onerror=fired()>.txt"
SVG = FilePayload(name="page.svg", mimeType="image/svg+xml", buffer=b"<svg xmlns='http://www.w3.org/2000/svg'/>")


@pytest.fixture(scope="module")
def gateway(serve: Serve) -> Iterator[GatewayProcess]:
    with answering(serve, MAX_UPLOAD_BYTES=str(LARGEST)) as (gateway, _):
        make_staff(gateway, ann="Operator", ben="Operator")
        yield gateway


class Operator:
    """Somebody of staff at a visitor's conversation, in a browser."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.text = page.locator(".desk-composer textarea")
        self.files = page.locator(".desk-composer input[type=file]")
        self.chosen = page.locator(".desk-composer .chosen li")
        self.said = page.locator(".line-operator")
        self.told = page.locator(".desk-error")

    @classmethod
    async def come(cls, browser: Browser, gateway: GatewayProcess, name: str, visitor: Visitor) -> "Operator":
        operator = cls(await log_in(browser, gateway, name))
        await operator.open(await visitor.session())
        return operator

    async def open(self, session: str) -> None:
        await self.page.goto(f"/admin/desk/{session}/")
        await expect(self.page.locator("[data-live-state]")).to_have_text("live")

    async def choose(self, *files: FilePayload) -> None:
        """Choose files, and wait until they are there."""
        before = await self.chosen.count()
        await self.files.set_input_files(list(files))
        await expect(self.chosen).to_have_count(before + len(files))
        await expect(self.page.locator("progress")).to_have_count(0)

    async def send(self) -> None:
        await self.text.press("Control+Enter")

    async def leave(self) -> None:
        await self.page.context.close()


async def visit(browser: Browser, gateway: GatewayProcess) -> Visitor:
    visitor = await Visitor.at_chat(browser, gateway)
    await visitor.ask("Where is the shop?")
    return visitor


async def size_of(image: Locator) -> list[int]:
    await expect(image).to_be_visible()
    size: list[int] = await image.evaluate(
        "(image) => image.decode().then(() => [image.naturalWidth, image.naturalHeight])"
    )
    return size


async def test_the_visitor_sees_what_an_operator_sends_and_a_reload_keeps_it(
    gateway: GatewayProcess, browser: Browser
) -> None:
    visitor = await visit(browser, gateway)
    ann = await Operator.come(browser, gateway, "ann", visitor)
    traps = [(await Trap(gateway.url).set(page.context), page) for page in (visitor.page, ann.page)]
    await ann.page.reload()
    await ann.choose(picture(), FilePayload(name=HOSTILE, mimeType="text/plain", buffer=NOTES["buffer"]))
    assert await violations(ann.page) == []
    await expect(ann.chosen.locator(".name")).to_have_text(["shop.png", HOSTILE])
    await ann.text.fill("Here it is")
    await ann.send()
    await expect(ann.chosen).to_have_count(0)
    line = visitor.chat.locator(".line.operator")
    await expect(ann.said.locator(".files li").last).to_be_in_viewport(ratio=1)
    for _ in range(2):
        assert await size_of(line.locator(".files img")) == [480, 240]
        await expect(line.locator(".bubble")).to_have_text("Here it is")
        document = line.locator(".document")
        await expect(document).to_contain_text(HOSTILE)
        answer = await visitor.page.request.get(await document.get_attribute("href") or "")
        assert await answer.body() == NOTES["buffer"]
        assert await size_of(ann.said.locator(".files img")) == [480, 240]
        await expect(ann.said.locator(".bubble")).to_have_text("Here it is")
        await expect(ann.said.locator(".files")).to_contain_text(HOSTILE)
        await visitor.page.reload()
        await visitor.is_live()
        await ann.page.reload()
    for trap, page in traps:
        await trap.is_empty(page)
    await ann.leave()
    await visitor.leave()


@pytest.mark.parametrize("how", ["paste", "drop"])
async def test_a_picture_that_is_pasted_or_dropped_says_it_all(
    gateway: GatewayProcess, browser: Browser, how: str
) -> None:
    visitor = await visit(browser, gateway)
    ann = await Operator.come(browser, gateway, "ann", visitor)
    await ann.page.locator(".desk-conversation").evaluate(GIVE, {"how": how, "bytes": list(picture()["buffer"])})
    await expect(ann.chosen).to_contain_text("screen.png")
    await expect(ann.page.locator("progress")).to_have_count(0)
    await ann.send()
    line = visitor.chat.locator(".line.operator")
    assert await size_of(line.locator(".files img")) == [480, 240]
    await expect(line.locator(".bubble")).to_have_count(0)
    await expect(ann.said.locator(".files img")).to_have_count(1)
    await expect(ann.said.locator(".bubble")).to_have_count(0)
    await expect(ann.page.locator(".desk-entry[aria-current] .desk-words")).to_have_text("Operator: [Image] screen.png")
    await ann.leave()
    await visitor.leave()


async def test_what_cannot_be_sent_says_why_and_is_no_part_of_the_reply(
    gateway: GatewayProcess, browser: Browser
) -> None:
    visitor = await visit(browser, gateway)
    ann = await Operator.come(browser, gateway, "ann", visitor)
    disguised = FilePayload(**{**SVG, "name": "page.png", "mimeType": "image/png"})
    large = FilePayload(name="large.txt", mimeType="text/plain", buffer=b"x" * (LARGEST + 1))
    await ann.choose(SVG, disguised, large, NOTES)
    await expect(ann.chosen.locator("small")).to_have_text(
        [
            "page.svg is of a kind that cannot be sent.",
            "page.png is of a kind that cannot be sent.",
            "large.txt is too large: at most 2.0 MB.",
            "1 KB",
        ]
    )
    await ann.send()
    await expect(visitor.chat.locator(".line.operator .document")).to_have_count(1)
    await expect(ann.chosen).to_have_count(0)
    await ann.leave()
    await visitor.leave()


async def test_an_upload_that_failed_holds_the_reply_back_and_is_tried_again(
    gateway: GatewayProcess, browser: Browser
) -> None:
    visitor = await visit(browser, gateway)
    ann = await Operator.come(browser, gateway, "ann", visitor)
    await ann.page.route("**/files/", lambda route: route.abort(), times=1)
    await ann.choose(NOTES)
    await expect(ann.chosen).to_contain_text("notes.txt could not be uploaded.")
    await ann.text.fill("See the notes")
    await ann.send()
    await expect(ann.told).to_have_text("Some files are not there yet: wait, try them again or remove them.")
    await ann.page.get_by_role("button", name="Try again: notes.txt").click()
    await expect(ann.chosen).to_contain_text("1 KB")
    await expect(ann.page.locator("progress")).to_have_count(0)
    await ann.send()
    await expect(visitor.chat.locator(".line.operator .document")).to_contain_text("notes.txt")
    await ann.leave()
    await visitor.leave()


async def test_what_is_chosen_outlives_a_reload_and_a_lost_answer_sends_it_once(
    gateway: GatewayProcess, browser: Browser
) -> None:
    visitor = await visit(browser, gateway)
    ann = await Operator.come(browser, gateway, "ann", visitor)
    await ann.choose(picture(), NOTES)
    await ann.text.fill("Both")

    async def lose(route: Route) -> None:
        """Let it be done, and lose what is said of it."""
        await route.fetch()
        await route.abort()

    await ann.page.route("**/reply/", lose, times=1)
    await ann.send()
    await expect(ann.told).to_contain_text("cannot be reached")
    await ann.page.reload()
    await expect(ann.text).to_have_value("Both")
    await expect(ann.chosen.locator(".name")).to_have_text(["shop.png", "notes.txt"])
    assert await size_of(ann.chosen.locator("img")) == [480, 240]
    await ann.page.reload()  # and what was tried
    await ann.send()
    await expect(ann.chosen).to_have_count(0)
    await expect(ann.said).to_have_count(1)
    lines = visitor.chat.locator(".line.operator")
    await expect(lines).to_have_count(1)
    await expect(lines.locator(".files li")).to_have_count(2)
    await ann.leave()
    await visitor.leave()


async def test_a_reply_that_did_not_go_out_takes_one_more_file(gateway: GatewayProcess, browser: Browser) -> None:
    visitor = await visit(browser, gateway)
    ann = await Operator.come(browser, gateway, "ann", visitor)
    await ann.choose(NOTES)
    await ann.text.fill("All of it")
    await ann.page.route("**/reply/", lambda route: route.abort(), times=1)
    await ann.send()
    await expect(ann.told).to_contain_text("cannot be reached")
    await ann.choose(picture())
    await expect(ann.chosen.locator(".name")).to_have_text(["notes.txt", "shop.png"])
    await ann.send()
    lines = visitor.chat.locator(".line.operator")
    await expect(lines).to_have_count(1)
    await expect(lines.locator(".files li")).to_have_count(2)
    await ann.leave()
    await visitor.leave()


async def test_a_private_note_takes_no_file_and_another_s_conversation_none(
    gateway: GatewayProcess, browser: Browser
) -> None:
    visitor = await visit(browser, gateway)
    ann = await Operator.come(browser, gateway, "ann", visitor)
    await ann.choose(NOTES)
    await ann.page.click("text=Private note")
    await expect(ann.page.locator("[data-hint]")).to_have_text("Files go with a reply, not with a note.")
    await expect(ann.page.get_by_role("button", name="Attach a file")).to_be_disabled()
    await ann.text.fill("He is a regular.")
    await ann.send()
    await expect(ann.page.locator(".line-note")).to_contain_text("He is a regular.")
    await expect(ann.chosen).to_have_count(1)  # for the reply
    await expect(ann.page.locator(".line-note .files")).to_have_count(0)
    ben = await Operator.come(browser, gateway, "ben", visitor)
    await ben.page.click("text=Take over")
    await expect(ann.page.locator(".desk-deeds")).to_contain_text("ben has it")
    await ann.page.get_by_text("Reply", exact=True).click()
    await ann.choose(picture())
    await expect(ann.told).to_have_text("ben has this conversation.")
    await expect(ann.page.get_by_role("button", name="Send", exact=True)).to_be_disabled()
    for operator in (ann, ben):
        await operator.leave()
    await visitor.leave()
