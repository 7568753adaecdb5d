"""How the owner hears of a contact request: by e-mail and by a signed webhook, out of the outbox."""

import asyncio
import smtplib
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, Protocol

import msgspec
import structlog
from django.conf import settings
from django.core.mail import EmailMessage
from django.utils.timezone import localtime

from conversations import contacts
from conversations.contacts import Notice
from conversations.jobs import Letter
from conversations.outbox import AT_ONCE, Undeliverable, Unwanted
from conversations.types import Language

log = structlog.get_logger(__name__)

# Django's back-ends that reach nobody's mailbox.
UNREAD = {f"django.core.mail.backends.{kind}.EmailBackend" for kind in ("console", "dummy")}
SUBJECT_WORDS = 40  # characters of the visitor's words in the subject
ADMIN_PAGE = "/admin/conversations/contactrequest/{}/change/"


class Post(Protocol):
    """Posts a signed body; `Webhooks.post` does."""

    def __call__(self, url: str, body: bytes, *, owner: Any, delivery: str) -> Awaitable[None]: ...


class Notices:
    """The two deliverers. `read` runs a query in a thread; `public_url` is where staff finds the admin, or empty."""

    def __init__(self, read: Callable[..., Awaitable[Notice | None]], post: Post, *, public_url: str) -> None:
        self._read = read
        self._post = post
        self._public_url = public_url
        # Of its own: a mail server that hangs would take the threads that searches run in.
        self._threads = ThreadPoolExecutor(AT_ONCE, "mail")

    async def email(self, letter: Letter) -> None:
        """Write to the pipeline's owner."""
        notice = await self._notice(letter)
        if not notice.owner_email.strip():
            raise Unwanted("the pipeline names no address of its owner")
        message = email_of(notice, self._page(notice))
        await asyncio.get_running_loop().run_in_executor(self._threads, _send, message)
        if settings.EMAIL_BACKEND in UNREAD:
            log.warning("contact.email_not_sent", means="it was only printed; EMAIL_URL names a mail server")
            raise Unwanted("it was only printed; EMAIL_URL names a mail server")

    async def webhook(self, letter: Letter) -> None:
        """Post to the pipeline's webhook."""
        notice = await self._notice(letter)
        if not notice.webhook_url:
            raise Unwanted("the pipeline has no webhook")
        body = msgspec.json.encode(webhook_body(notice, self._page(notice)))
        await self._post(notice.webhook_url, body, owner=notice.pipeline, delivery=f"contact-{notice.request}")

    async def _notice(self, letter: Letter) -> Notice:
        notice = await self._read(contacts.notice_of, letter.message.id)
        if notice is None:
            raise Undeliverable("the contact request is gone")
        return notice

    def _page(self, notice: Notice) -> str:
        return self._public_url + ADMIN_PAGE.format(notice.request) if self._public_url else ""


def webhook_body(notice: Notice, page: str) -> dict[str, Any]:
    """Return what a webhook is told."""
    return {
        "type": "contact_request",
        "request_id": str(notice.request),
        "client_id": str(notice.session),
        "pipeline": {"uuid": str(notice.pipeline), "name": notice.pipeline_name},
        "wire": notice.wire,
        "message": notice.text,
        "escalated": notice.escalated,
        "userAgent": notice.user_agent,
        "language": notice.language,
        "timestamp": notice.created_at.isoformat(timespec="milliseconds"),
        "url": page,
    }


def email_of(notice: Notice, page: str) -> EmailMessage:
    """Return the e-mail to the owner; raise Undeliverable where none of his addresses is one."""
    recipients = contacts.addresses(notice.owner_email)
    if not recipients:
        raise Undeliverable("owner_email holds no e-mail address")
    words = _WORDS[notice.language]
    lines = [
        words.intro_escalated if notice.escalated else words.intro,
        "",
        *(f"    {line}" for line in notice.text.splitlines()),
        "",
        f"{words.when}{_local(notice.created_at)}",
        f"{words.who}{_one_line(str(notice.session))}",
    ]
    if notice.user_agent:
        lines.append(f"{words.browser}{_one_line(notice.user_agent)}")
    lines += ["", f"{words.link}{page}" if page else words.no_link]
    return EmailMessage(
        subject=f"[{_one_line(notice.pipeline_name)}] {words.subject}{_start(notice.text)}",
        body="\n".join(lines) + "\n",
        to=recipients,
        # The same in every attempt: a mail program that gets it twice shows it once.
        headers={"Message-ID": f"<contact-{notice.request}@chatgateway.invalid>", "Auto-Submitted": "auto-generated"},
    )


class _Words(msgspec.Struct, frozen=True):
    subject: str
    intro: str
    intro_escalated: str
    when: str
    who: str
    browser: str
    link: str
    no_link: str


_WORDS: dict[Language, _Words] = {
    "zh-hans": _Words(
        subject="新的联系请求：",
        intro="有访客给您留言：",
        intro_escalated="有访客在对话中希望与您本人联系：",
        when="时间：",
        who="访客：",
        browser="浏览器：",
        link="查看并回复：",
        no_link="请在管理后台的“Contact requests”页面查看并回复。",
    ),
    "en": _Words(
        subject="New contact request: ",
        intro="A visitor left you a message:",
        intro_escalated="A visitor asked in a chat to hear from you in person:",
        when="When: ",
        who="Visitor: ",
        browser="Browser: ",
        link="Read and reply: ",
        no_link="Read and reply on the admin's page “Contact requests”.",
    ),
}


def _one_line(text: str) -> str:
    """Return `text` without line ends and other control characters: it may go into a header."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())


def _start(text: str) -> str:
    line = _one_line(text)
    return line if len(line) <= SUBJECT_WORDS else f"{line[:SUBJECT_WORDS]}…"


def _local(time: datetime) -> str:
    local = localtime(time)
    return f"{local:%Y-%m-%d %H:%M} {local.tzname()}"


def _send(message: EmailMessage) -> None:
    """Send in this thread; what the server says of the message is not repeated, only its number."""
    try:
        message.send()
    except smtplib.SMTPRecipientsRefused as error:
        codes = sorted({code for code, _ in error.recipients.values()})
        if all(code >= 500 for code in codes):
            raise Undeliverable(f"the mail server refused every address ({', '.join(map(str, codes))})") from error
        raise ConnectionError(f"the mail server answered {codes[0]}") from error
    except smtplib.SMTPResponseException as error:
        raise ConnectionError(f"the mail server answered {error.smtp_code}") from error
