"""How the owner hears of a contact request: on a real mail server, which may be away, and by a signed webhook."""

import email
import email.policy
import http.server
import json
import queue
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import Any
from uuid import UUID

import pytest
from aiosmtpd.controller import Controller
from django.test import override_settings

from conversations.contacts import Notice
from conversations.outbox import Undeliverable
from integrations.contact.notices import email_of, webhook_body
from integrations.webhooks import DELIVERY, SIGNATURE, TIMESTAMP, signature, signing_key
from tests.conftest import GatewayFactory
from tests.integrations.contact.conftest import query
from tests.support.clients import DEFAULT_PIPELINE
from tests.support.contact import ContactClient
from tests.support.server import GatewayProcess
from tests.support.waiting import free_port, wait_until

SECRET = "k" * 50
PATIENCE = 20.0  # seconds; a delivery that failed is tried again after five


def notice(**fields: Any) -> Notice:
    usual: dict[str, Any] = {
        "request": UUID(int=1), "pipeline": UUID(int=2), "pipeline_name": "我的博客", "owner_email": "me@blog.example",
        "webhook_url": "https://blog.example/hook", "session": UUID(int=3), "wire": "contact", "language": "zh-hans",
        "text": "你好，我想咨询技术问题", "user_agent": "Python客户端", "escalated": False,
        "created_at": datetime(2026, 5, 1, 12, tzinfo=UTC),
    }  # fmt: skip
    return Notice(**{**usual, **fields})


# --- What is written ---------------------------------------------------------------------------


def test_the_owner_reads_who_when_and_what_and_where_to_reply() -> None:
    written = email_of(notice(), "https://chat.example/admin/request")
    assert written.subject == "[我的博客] 新的联系请求：你好，我想咨询技术问题"
    assert written.to == ["me@blog.example"]
    for part in ("你好，我想咨询技术问题", "2026-05-01 12:00 UTC", str(UUID(int=3)), "Python客户端"):
        assert part in written.body
    assert "查看并回复：https://chat.example/admin/request" in written.body


def test_a_visitor_who_writes_english_is_told_of_in_english() -> None:
    written = email_of(notice(language="en", text="Hello", escalated=True), "")
    assert written.subject == "[我的博客] New contact request: Hello"
    assert "asked in a chat" in written.body
    assert "admin" in written.body


def test_a_visitors_words_add_no_header() -> None:
    evil = "x\r\nBcc: all@evil.example\r\n\r\nbody\u2028y\x00" + "long " * 50
    written = email_of(notice(text=evil, user_agent=evil, pipeline_name="a\nTo: b"), "")
    sent = email.message_from_bytes(written.message().as_bytes(), policy=email.policy.default)
    assert sent["Bcc"] is None
    assert sent["To"] == "me@blog.example"
    assert "\n" not in written.subject
    assert len(written.subject) < 100


def test_every_attempt_has_the_same_message_id() -> None:
    ids = {email_of(notice(), "").message()["Message-ID"] for _ in range(2)}
    assert ids == {f"<contact-{UUID(int=1)}@chatgateway.invalid>"}


def test_only_addresses_are_written_to() -> None:
    written = email_of(notice(owner_email=" a@blog.example, nonsense,b@blog.example,,x@y\nz "), "")
    assert written.to == ["a@blog.example", "b@blog.example"]
    with pytest.raises(Undeliverable):
        email_of(notice(owner_email="nonsense"), "")


def test_a_webhook_is_told_the_same() -> None:
    body = webhook_body(notice(), "")
    assert body["request_id"] == str(UUID(int=1))
    assert body["client_id"] == str(UUID(int=3))
    assert body["timestamp"] == "2026-05-01T12:00:00.000+00:00"


# --- On its way --------------------------------------------------------------------------------


class MailServer:
    """A real SMTP server on a port; what it took waits in `mails`."""

    def __init__(self, port: int) -> None:
        self.mails: queue.Queue[EmailMessage] = queue.Queue()
        self.refuses = ""
        self._controller = Controller(self, hostname="127.0.0.1", port=port)

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:  # noqa: N802
        if self.refuses:
            return self.refuses
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        self.mails.put(email.message_from_bytes(envelope.content, policy=email.policy.default))
        return "250 OK"

    def start(self) -> None:
        self._controller.start()

    def stop(self) -> None:
        if self._controller.server is not None:
            self._controller.stop()


@pytest.fixture
def mail_port() -> int:
    return free_port()


@pytest.fixture
def mail_server(mail_port: int) -> Iterator[MailServer]:
    """A mail server that is away until it is started."""
    server = MailServer(mail_port)
    yield server
    server.stop()


@pytest.fixture
def posting(start_gateway: GatewayFactory, mail_port: int) -> GatewayProcess:
    """A gateway that knows the mail server, and whose owner has an address."""
    environment = {"EMAIL_URL": f"smtp://127.0.0.1:{mail_port}", "PUBLIC_URL": "https://chat.example"}
    gateway = start_gateway(environment={**environment, "ALLOWED_HOSTS": "127.0.0.1"}, start=False)
    query(gateway, "UPDATE conversations_pipeline SET owner_email = 'me@blog.example'")
    gateway.start()
    return gateway


def state_of(gateway: GatewayProcess, request: str) -> str:
    statement = "SELECT state FROM conversations_contactrequest WHERE uuid = ?"
    return str(query(gateway, statement, UUID(request).hex)[0][0])


def entries(gateway: GatewayProcess) -> dict[str, tuple[str, int, str]]:
    rows = query(gateway, "SELECT kind, state, attempts, error FROM conversations_outboxentry")
    return {kind: (state, attempts, error) for kind, state, attempts, error in rows}


async def ask(gateway: GatewayProcess, text: str) -> str:
    async with await ContactClient.connect(gateway) as client:
        return str((await client.request(text))["request_id"])


async def test_the_owner_gets_an_e_mail(posting: GatewayProcess, mail_server: MailServer) -> None:
    mail_server.start()
    request = await ask(posting, "请联系我\r\nBcc: evil@example.com")
    sent = mail_server.mails.get(timeout=PATIENCE)
    assert (sent["To"], sent["Bcc"], sent["From"]) == ("me@blog.example", None, "chatgateway@localhost")
    assert "请联系我" in sent["Subject"]
    body = sent.get_body()
    assert body is not None
    assert f"https://chat.example/admin/conversations/contactrequest/{request}/change/" in body.get_content()
    wait_until(lambda: state_of(posting, request) == "notified", timeout=PATIENCE, what="a notified owner")
    both = {"email": ("sent", 1, ""), "webhook": ("sent", 1, "the pipeline has no webhook")}
    wait_until(lambda: entries(posting) == both, timeout=PATIENCE, what="the entries' end")
    assert "请联系我" not in posting.log()


async def test_a_mail_server_that_is_away_gets_it_when_it_is_back(
    posting: GatewayProcess, mail_server: MailServer
) -> None:
    request = await ask(posting, "请联系我")
    wait_until(lambda: entries(posting)["email"][1] == 1, timeout=PATIENCE, what="the first attempt")
    assert state_of(posting, request) == "received"
    assert entries(posting)["email"][0] == "waiting"
    mail_server.start()
    assert mail_server.mails.get(timeout=PATIENCE)["To"] == "me@blog.example"
    wait_until(lambda: state_of(posting, request) == "notified", timeout=PATIENCE, what="a notified owner")
    assert mail_server.mails.empty()


@pytest.mark.parametrize(("answer", "state"), [("550 no such user", "failed"), ("450 try later", "waiting")])
async def test_a_mail_server_that_refuses(
    posting: GatewayProcess, mail_server: MailServer, answer: str, state: str
) -> None:
    mail_server.refuses = answer
    mail_server.start()
    request = await ask(posting, "请联系我")
    wait_until(lambda: entries(posting)["email"][1] == 1, timeout=PATIENCE, what="the first attempt")
    assert entries(posting)["email"][0] == state
    assert answer[:3] in entries(posting)["email"][2]
    assert "me@blog.example" not in posting.log()
    assert state_of(posting, request) == "received"


class Hook:
    """A company's own system, which takes signed calls."""

    def __init__(self) -> None:
        self.calls: queue.Queue[tuple[dict[str, str], bytes]] = queue.Queue()
        calls = self.calls

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(204)
                self.end_headers()
                calls.put((dict(self.headers), body))

            def log_message(self, *_arguments: Any) -> None:
                """Print nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def hook() -> Iterator[Hook]:
    hook = Hook()
    yield hook
    hook.close()


async def test_a_webhook_gets_a_signed_call(start_gateway: GatewayFactory, hook: Hook) -> None:
    gateway = start_gateway(start=False, environment={"SECRET_KEY": SECRET})
    query(gateway, "UPDATE conversations_pipeline SET webhook_url = ?", hook.url)
    gateway.start()
    request = await ask(gateway, "请联系我")
    headers, body = hook.calls.get(timeout=PATIENCE)
    told = json.loads(body)
    assert (told["type"], told["request_id"], told["message"]) == ("contact_request", request, "请联系我")
    assert told["pipeline"]["uuid"] == DEFAULT_PIPELINE
    assert headers[DELIVERY] == f"contact-{request}"
    with override_settings(SECRET_KEY=SECRET):
        key = signing_key(UUID(DEFAULT_PIPELINE))
    assert headers[SIGNATURE] == signature(key, headers[TIMESTAMP], body)
    wait_until(lambda: state_of(gateway, request) == "notified", timeout=PATIENCE, what="a notified owner")


async def test_nobody_is_told_where_nobody_wants_to_be(start_gateway: GatewayFactory) -> None:
    gateway = start_gateway()
    request = await ask(gateway, "请联系我")
    wait_until(
        lambda: {state for state, _, _ in entries(gateway).values()} == {"sent"}, timeout=PATIENCE, what="the end"
    )
    reasons = {"the pipeline names no address of its owner", "the pipeline has no webhook"}
    assert {error for _, _, error in entries(gateway).values()} == reasons
    assert state_of(gateway, request) == "received"
    assert "not_delivered" not in gateway.log()
