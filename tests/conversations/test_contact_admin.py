"""Staff's pages for contact requests: what came, the reply, and how a request ends."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from conversations import services
from conversations.models import ChatSession, ContactRequest, Message, Pipeline
from conversations.signals import said
from conversations.types import MessageStored, Role

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def new_request(text: str = "请联系我", **fields: Any) -> ContactRequest:
    pipeline, _ = Pipeline.objects.get_or_create(name="Blog")
    times = {"created_at": NOON, "last_message_at": NOON}
    session = ChatSession.objects.create(
        uuid=uuid4(), pipeline=pipeline, session_type="person", wire="contact", last_seq=1, **times
    )
    message = Message.objects.create(session=session, seq=1, role="user", text=text, created_at=NOON)
    return ContactRequest.objects.create(
        uuid=uuid4(), pipeline=pipeline, message=message, created_at=NOON, user_agent="Browser <b>", **fields
    )


def page_of(row: ContactRequest) -> str:
    return reverse("admin:conversations_contactrequest_change", args=[row.uuid])


def state_of(row: ContactRequest) -> str:
    return ContactRequest.objects.get(pk=row.pk).state


def test_requests_are_listed_and_filtered_by_state(admin_client: Client) -> None:
    new_request("first <b>words</b>")
    new_request("second words", state="closed", escalated=True)
    url = reverse("admin:conversations_contactrequest_changelist")
    html = admin_client.get(url).content.decode()
    assert "first &lt;b&gt;words&lt;/b&gt;" in html
    assert "Blog contact, in a chat" in html
    html = admin_client.get(url, {"state__exact": "closed"}).content.decode()
    assert "second words" in html
    assert "first &lt;b&gt;" not in html


def test_a_request_shows_its_message_and_leads_to_its_session(admin_client: Client) -> None:
    row = new_request("<script>alert(1)</script>")
    html = admin_client.get(page_of(row)).content.decode()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "Browser &lt;b&gt;" in html
    assert reverse("admin:conversations_chatsession_change", args=[row.message.session.pk]) in html
    assert 'value="reply"' in html


def test_a_reply_is_said_in_the_session_and_told(admin_client: Client) -> None:
    row = new_request()
    told: list[MessageStored] = []

    def hear(event: MessageStored, **_signal: Any) -> None:
        told.append(event)

    said.connect(hear)
    try:
        answer = admin_client.post(page_of(row), {"do": "reply", "text": " 您好，我是博主 "}, follow=True)
    finally:
        said.disconnect(hear)
    assert "Your reply was sent" in answer.content.decode()
    stored = Message.objects.get(session=row.message.session, seq=2)
    assert (stored.role, stored.text, stored.sender_name) == ("operator", "您好，我是博主", "admin")
    assert (state_of(row), ChatSession.objects.get().last_seq) == ("replied", 2)
    (event,) = told
    assert (event.message.id, event.message.role, event.message.seq) == (stored.pk, Role.OPERATOR, 2)


@pytest.mark.parametrize("text", ["", "  ", "a\0b", "x" * 5001])
def test_a_reply_that_cannot_be_sent_changes_nothing(admin_client: Client, text: str) -> None:
    row = new_request()
    answer = admin_client.post(page_of(row), {"do": "reply", "text": text}, follow=True)
    assert "Your reply was sent" not in answer.content.decode()
    assert (state_of(row), Message.objects.count()) == ("received", 1)


def test_a_reply_that_is_refused_stands_in_the_form_again(admin_client: Client) -> None:
    row = new_request()
    holder = User.objects.create_user("olga")
    services.take_over(row.message.session.uuid, holder.pk, "Olga", seconds=3600)
    page = admin_client.post(page_of(row), {"do": "reply", "text": "We call you at five."}).content.decode()
    assert "Olga has this conversation." in page
    assert "We call you at five.</textarea>" in page
    assert state_of(row) == "received"


def test_a_reply_that_is_sent_twice_is_said_once(admin_client: Client) -> None:
    row = new_request()
    for _ in range(2):
        admin_client.post(page_of(row), {"do": "reply", "text": "您好", "uuid": "6f9619ff8b86d011b42d00c04fc964ff"})
    assert Message.objects.filter(role="operator").count() == 1


def test_a_request_is_marked_and_closed_on_its_page(admin_client: Client) -> None:
    row = new_request(state="notified")
    admin_client.post(page_of(row), {"do": "replied"})
    assert state_of(row) == "replied"
    admin_client.post(page_of(row), {"do": "close"})
    assert state_of(row) == "closed"
    assert 'value="reply"' not in admin_client.get(page_of(row)).content.decode()
    admin_client.post(page_of(row), {"do": "reply", "text": "too late"})
    assert Message.objects.count() == 1
    admin_client.post(page_of(row), {"do": "nonsense"})
    assert state_of(row) == "closed"


def test_requests_are_marked_and_closed_together(admin_client: Client, changes: list[object]) -> None:
    rows = [new_request(), new_request(state="notified"), new_request(state="closed")]
    url = reverse("admin:conversations_contactrequest_changelist")
    chosen = {"_selected_action": [row.pk for row in rows]}
    answer = admin_client.post(url, {"action": "mark_replied", **chosen}, follow=True)
    assert "2 requests marked as replied." in answer.content.decode()
    assert [state_of(row) for row in rows] == ["replied", "replied", "closed"]
    admin_client.post(url, {"action": "close", **chosen})
    assert {state_of(row) for row in rows} == {"closed"}
    assert len(changes) == 2


def test_who_may_only_look_changes_nothing(client: Client) -> None:
    row = new_request()
    user = User.objects.create_user("reader", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_contactrequest"))
    client.force_login(user)
    assert 'value="reply"' not in client.get(page_of(row)).content.decode()
    assert client.post(page_of(row), {"do": "reply", "text": "no"}).status_code == 404
    assert Message.objects.count() == 1


def test_a_request_that_is_not_there(admin_client: Client) -> None:
    url = reverse("admin:conversations_contactrequest_change", args=[uuid4()])
    assert admin_client.post(url, {"do": "close"}).status_code == 404


def test_the_log_of_changes_holds_no_words(admin_client: Client) -> None:
    row = new_request("secret words")
    admin_client.post(page_of(row), {"do": "reply", "text": "secret reply"})
    history = admin_client.get(reverse("admin:conversations_contactrequest_history", args=[row.pk]))
    assert "Replied." in history.content.decode()
    assert "secret" not in history.content.decode()


@pytest.mark.parametrize(("addresses", "kept"), [("a@b.example, c@d.example,", True), ("a@b.example, bob", False)])
def test_the_owners_addresses_are_set_on_the_pipeline(admin_client: Client, addresses: str, kept: bool) -> None:
    pipeline = new_request().pipeline
    url = reverse("admin:conversations_pipeline_change", args=[pipeline.pk])
    html = admin_client.get(url).content.decode()
    assert 'name="owner_email"' in html
    assert 'name="webhook_url"' in html
    fields = {
        "name": "Blog", "group_reply": "mentioned", "owner_email": addresses, "webhook_url": "https://x.test/",
        "routes-TOTAL_FORMS": "0", "routes-INITIAL_FORMS": "0",
    }  # fmt: skip
    assert admin_client.post(url, fields).status_code == (302 if kept else 200)
    pipeline.refresh_from_db()
    assert (pipeline.owner_email, pipeline.webhook_url) == ((addresses, "https://x.test/") if kept else ("", ""))
