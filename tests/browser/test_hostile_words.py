"""What visitors, staff, documents and models say is shown as it was said in the chat and the widget, and never run."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from playwright.async_api import Browser, Page, Request, expect

from tests.conftest import Serve
from tests.support.browser import served
from tests.support.chatting import PATH, PIPELINE, Visitor, answering
from tests.support.server import GatewayProcess, manage

pytestmark = pytest.mark.asyncio(loop_scope="session")  # the browser's

TAGS = "<script>fired()</script>\"><img src=x onerror=fired()>'><svg onload=fired()>{{7|add:7}}<iframe srcdoc='x'>"
LINK = "javascript:fired()"
MARKDOWN = f"""{TAGS}

[a]({LINK}) [b](JaVaScRiPt:fired()) [c](data:text/html,<script>fired()</script>) [d](vbscript:fired) [e](//evil.test/)
<{LINK}> ![picture](https://evil.test/x.png) ![p]({LINK}) [f](https://evil.test/"onmouseover=fired(1)) [g][h]

<div onclick=fired() style="position:fixed;inset:0">cover</div> <a href="{LINK}" id="config">i</a>

```html" onload=fired() x="
{TAGS}
```

| {TAGS} |
|---|
| <img src=x onerror=fired()> |

[h]: {LINK} "title"
"""
ROWS = """
from datetime import timedelta
from uuid import UUID
from django.utils import timezone
from conversations.models import ChatSession, Message, Pipeline

bad, markdown, link = {bad!r}, {markdown!r}, {link!r}
Pipeline.objects.filter(uuid=UUID({pipeline!r})).update(name=bad[:100], description=bad, public=True)
session = ChatSession.objects.get(uuid=UUID({session!r}))
for role in ("user", "assistant", "operator", "notice", "user"):
    session.last_seq += 1
    is_file = session.last_seq == 7
    Message.objects.create(
        session=session, seq=session.last_seq, epoch=session.epoch, role=role, text=markdown,
        sender_name=bad[:100] if role in ("operator", "notice") else "", created_at=timezone.now(),
        components={files!r} if is_file else None,
        citations=[{{"doc_id": bad, "space_id": bad, "title": bad, "url": link, "score": 1}}],
    )
session.save()
"""
FILES = [
    {"type": "Plain", "text": TAGS},
    *({"type": kind, "path": path, "name": TAGS, "url": LINK} for kind in ("Image", "File") for path in (TAGS, "../x")),
]  # fmt: skip
INJECTED = "[onerror], [onload], [onclick], [onmouseover], [href^=javascript i], [href^=data i], [style*=fixed], iframe"


@dataclass
class Site:
    """A gateway, and a shop that has its widget."""

    gateway: GatewayProcess
    shop: str


@pytest.fixture(scope="module")
def site(serve: Serve) -> Iterator[Site]:
    pages: dict[str, str] = {}
    with ExitStack() as stack:
        shop = stack.enter_context(served(pages))
        gateway, _ = stack.enter_context(answering(serve))
        script = f'<script src="{gateway.url}/api/v1/embed/{PIPELINE}/widget.js"></script>'
        pages["/"] = f"<!DOCTYPE html><html lang=en><title>A shop</title><h1>A shop</h1>{script}</html>"
        yield Site(gateway, shop)


@pytest.mark.parametrize("where", ["chat", "widget"])
async def test_nothing_that_was_stored_runs(site: Site, browser: Browser, where: str) -> None:
    is_chat = where == "chat"
    visitor = await Visitor.arrive(browser, f"{site.gateway.url}{PATH}" if is_chat else site.shop)
    page = visitor.page
    ran: list[str] = []
    asked: list[str] = []

    def note(request: Request) -> None:
        asked.append(request.url)

    await page.add_init_script("window.fired = () => console.info('fired')")
    page.on("console", lambda message: ran.append(message.text) if message.text == "fired" else None)
    page.on("dialog", lambda dialog: ran.append(dialog.message))
    page.on("request", note)
    await open_it(visitor, is_chat=is_chat)
    await visitor.ask("Hello?")
    await say_everything(site.gateway, page)
    await page.reload()
    await open_it(visitor, is_chat=is_chat)
    await expect(visitor.chat.locator(".line:is(.user, .bot, .operator, .notice)")).to_have_count(7)
    for shown in (".user .bubble", ".bot .bubble", ".operator .bubble", ".operator .by", ".notice", ".source b"):
        await expect(visitor.chat.locator(shown).last, shown).to_contain_text("onerror=fired()>")
    assert await visitor.chat.locator(INJECTED).count() == 0
    assert await visitor.chat.locator("a.source").count() == 0
    assert [url for url in asked if "evil" in url] == []
    await page.mouse.move(300, 300)
    assert ran == []
    assert visitor.faults == []
    # The trap itself is set, and the chat's own policy would have stopped what falls into it.
    heard = "violates the following Content Security Policy" if is_chat else "fired"
    async with page.expect_console_message(lambda message: heard in message.text):
        await page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=fired()>')")
    visitor.faults.clear()
    await visitor.leave()


async def open_it(visitor: Visitor, *, is_chat: bool) -> None:
    """Open the conversation."""
    if not is_chat:
        await visitor.page.locator(".launcher").click()
    await visitor.is_live()


async def say_everything(gateway: GatewayProcess, page: Page) -> None:
    """Put the words into the visitor's own session, and everywhere else that he sees."""
    key = "Object.keys(localStorage).find((key) => key.endsWith(':session'))"
    session = await page.evaluate(f"JSON.parse(localStorage.getItem({key})).id")
    code = ROWS.format(bad=TAGS, markdown=MARKDOWN, link=LINK, pipeline=PIPELINE, session=session, files=FILES)
    manage("shell", "-v", "0", "-c", code, data_dir=gateway.data_dir, DATABASE_URL=gateway.database_url)
