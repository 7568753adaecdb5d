"""What visitors, clients and staff write is shown as it was written on every page of staff, and never run."""

from uuid import uuid4

import pytest
from playwright.async_api import Browser, Dialog, Page, expect

from tests.conftest import GatewayFactory
from tests.support.admin import log_in, make_staff
from tests.support.environment import QUICK
from tests.support.server import manage

pytestmark = pytest.mark.asyncio(loop_scope="session")  # the browser's

# Short, so that all of it fits the shortest column; `fired` is known to every page that is opened.
HOSTILE = "<script>fired()</script>\"><img src=x onerror=fired()>'><svg onload=fired()>{{7|add:7}}\u202egnp.exe"
LINK = "javascript:fired()"
SESSION = uuid4()
REQUEST = uuid4()
ROWS = """
from uuid import UUID, uuid4
from django.utils import timezone
from connections import audit, services
from connections.models import Application, Connection, HubClient, Worker
from conversations.models import CannedReply, ChatSession, ContactRequest, Message, Note, OutboxEntry, Pipeline, Turn

now, bad, link = timezone.now(), {hostile!r}, {link!r}
pipeline = Pipeline.objects.create(name=bad[:100], description=bad, failure_text=bad)
worker = Worker.objects.create(uuid=uuid4(), host=bad, pid=1, started_at=now, ended_at=now)
application = services.create_application(bad[:100])[0]
session = ChatSession.objects.create(
    uuid={session!r}, pipeline=pipeline, session_type="person", name=bad, wire="contact", created_at=now,
    last_message_at=now, waiting_since=now, held_by=bad[:100], last_seq=5, open_turns=1,
)
said = [
    Message.objects.create(
        session=session, seq=seq, role=role, text=bad + link, sender_name=bad[:100], created_at=now,
        citations=[{{"doc_id": bad, "space_id": bad, "title": bad, "url": link, "score": 1}}],
    )
    for seq, role in enumerate(("user", "assistant", "operator", "notice", "user"), 1)
]
Turn.objects.create(
    id=said[-1].pk + 1000, session=session, question=said[-1], state="running", partial=bad, created_at=now,
    worker=worker.uuid,
)
ContactRequest.objects.create(
    uuid={request!r}, pipeline=pipeline, message=said[0], user_agent=bad, created_at=now, escalated=True
)
OutboxEntry.objects.create(
    kind="email", message=said[0], state="failed", error=bad, due_at=now, ended_at=now, created_at=now
)
Note.objects.create(session=session, author=bad[:100], text=bad, created_at=now)
CannedReply.objects.create(title=bad[:100], text=bad)
for ended in (None, now):
    Connection.objects.create(
        uuid=uuid4(), worker=worker.uuid, wire="contact", pipeline=pipeline.uuid, session=session.uuid, client=bad,
        application=application.uuid, address=bad[:64], user_agent=bad, connected_at=now, last_active=now,
        ended_at=ended, close_code=ended and 4003, close_reason=bad if ended else "",
    )
HubClient.objects.create(client_id=bad, first_seen=now, last_seen=now)
audit.record(audit.Action.TAKE_OVER, actor=bad, subject=bad, details=bad)
print(application.pk)
"""
SHOWN = "onerror=fired()"
INJECTED = "[onerror], [onload^=fired], a[href^='javascript:'], script:not([src]):text('fired')"


async def assert_shown(page: Page) -> None:
    """Find the words on an open page, as words."""
    await expect(page.locator("body"), page.url).to_contain_text(SHOWN)
    assert await page.locator(INJECTED).count() == 0, page.url


async def test_nothing_that_was_stored_runs_on_a_page_of_staff(start_gateway: GatewayFactory, browser: Browser) -> None:
    gateway = start_gateway(environment=QUICK)
    make_staff(gateway, root="")
    code = ROWS.format(hostile=HOSTILE, link=LINK, session=SESSION, request=REQUEST)
    application = manage("shell", "-v", "0", "-c", code, data_dir=gateway.data_dir, DATABASE_URL=gateway.database_url)
    ran: list[str] = []

    async def opened(dialog: Dialog) -> None:
        ran.append(f"a dialog: {dialog.message}")
        await dialog.dismiss()

    # Words are words, whether the pages' policy would stop them or not.
    page = await log_in(browser, gateway, "root", bypass_csp=True)
    await page.add_init_script("window.fired = () => console.info('fired')")
    page.on("console", lambda message: ran.append(page.url) if message.text == "fired" else None)
    page.on("dialog", opened)
    for path in (
        "/admin/",
        "/admin/conversations/chatsession/",
        f"/admin/conversations/chatsession/{SESSION}/change/",
        "/admin/conversations/contactrequest/",
        f"/admin/conversations/contactrequest/{REQUEST}/change/",
        "/admin/conversations/cannedreply/",
        "/admin/connections/connection/?state=all",
        "/admin/connections/hubclient/",
        "/admin/connections/auditentry/",
        f"/admin/connections/application/{application.strip()}/close/",
        "/admin/desk/",
        f"/admin/desk/{SESSION}/",
    ):
        await page.goto(path)
        await assert_shown(page)
    await page.click(".desk-canned summary")
    await page.click("[data-canned]")
    await expect(page.locator(".desk-composer textarea")).to_have_value(HOSTILE)
    await page.goto("/admin/broadcast/")
    await page.fill("[name=text]", HOSTILE)
    await page.click("button[value=look]")
    await expect(page.locator("dl")).to_be_visible()
    await assert_shown(page)
    assert ran == []
    async with page.expect_console_message(lambda message: message.text == "fired"):  # the trap itself is set
        await page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=fired()>')")
    await page.context.close()
