"""Who gets at staff's own pages and at the desk's deeds, and who is turned away without having changed anything."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from chatgateway.roles import ensure_roles
from connections.models import AuditEntry
from conversations.models import ChatSession, ContactRequest, Message, Note, OutboxEntry, Pipeline

pytestmark = pytest.mark.django_db

LOGIN = 302
TURNED_AWAY = {
    "nobody": LOGIN, "customer": LOGIN, "staff": 403, "reader": 403, "answerer": 403, "viewer": 403,
}  # fmt: skip
ADMITTED = ("operator", "administrator", "both permissions")
GROUPS = ("viewer", "operator", "administrator")
PERMISSIONS = {
    "reader": ["view_message"],
    "answerer": ["answer_session"],
    "both permissions": ["view_message", "answer_session"],
    "broadcaster": ["broadcast_message"],
}


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    cache.clear()
    ensure_roles()
    yield
    cache.clear()


def client_of(who: str) -> Client:
    """Return the browser of somebody: of a group, with single permissions, or with nothing at all."""
    client = Client()
    if who == "nobody":
        return client
    user = User.objects.create_user(who, is_staff=who != "customer")
    user.groups.set(Group.objects.filter(name=who.capitalize()))
    user.user_permissions.set(Permission.objects.filter(codename__in=PERMISSIONS.get(who, ())))
    assert user.groups.exists() == (who in GROUPS)
    client.force_login(user)
    return client


@pytest.fixture
def session() -> ChatSession:
    """A conversation whose visitor asked for a person, and of which the notification was given up."""
    now = timezone.now()
    pipeline = Pipeline.objects.create(name="Shop", is_default=True)
    session = ChatSession.objects.create(
        uuid=uuid4(), pipeline=pipeline, session_type="person", wire="contact", last_seq=1, created_at=now,
        last_message_at=now, waiting_since=now,
    )  # fmt: skip
    said = Message.objects.create(session=session, seq=1, role="user", text="Is anybody there?", created_at=now)
    ContactRequest.objects.create(uuid=uuid4(), pipeline=pipeline, message=said, created_at=now)
    OutboxEntry.objects.create(kind="email", message=said, state="failed", due_at=now, created_at=now, ended_at=now)
    return session


def deeds(session: ChatSession) -> dict[str, dict[str, Any]]:
    """Return the desk's deeds, in an order in which each can be done, with what is posted."""
    return {
        "take": {},
        "reply": {"text": "Good day."},
        "note": {"text": "He is in a hurry."},
        "back": {},
        "close-request": {"contact": ContactRequest.objects.get().uuid},
        "retry": {"delivery": OutboxEntry.objects.get(kind="email").pk},
        "done": {},
    }


def kept() -> list[Any]:
    """Return every row that a deed could change."""
    models = (ChatSession, Message, Note, ContactRequest, OutboxEntry, AuditEntry)
    return [list(model.objects.order_by("pk").values()) for model in models]


@pytest.mark.parametrize("who", TURNED_AWAY)
def test_who_does_not_work_at_the_desk_does_nothing_there(session: ChatSession, who: str) -> None:
    client, before = client_of(who), kept()
    answers = {
        deed: client.post(f"/admin/desk/{session.uuid}/{deed}/", posted) for deed, posted in deeds(session).items()
    }
    assert {deed: answer.status_code for deed, answer in answers.items()} == dict.fromkeys(answers, TURNED_AWAY[who])
    assert kept() == before


@pytest.mark.parametrize("who", ADMITTED)
def test_who_works_at_the_desk_does_everything_there(session: ChatSession, who: str) -> None:
    client = client_of(who)
    for deed, posted in deeds(session).items():
        before = kept()
        answer = client.post(f"/admin/desk/{session.uuid}/{deed}/", posted)
        assert (answer.status_code, answer.content) == (204, b""), deed
        assert kept() != before, deed


@pytest.mark.parametrize("who", [*TURNED_AWAY, *ADMITTED])
def test_the_desk_is_seen_by_those_who_work_there(session: ChatSession, who: str) -> None:
    client, secret = client_of(who), "Is anybody there?"
    for page in ("", "queue/", "canned/", f"{session.uuid}/", f"{session.uuid}/view/"):
        answer = client.get(f"/admin/desk/{page}")
        assert answer.status_code == TURNED_AWAY.get(who, 200), page
        assert who in ADMITTED or secret not in answer.content.decode(), page
    for deed in deeds(session):
        answer = client.get(f"/admin/desk/{session.uuid}/{deed}/")
        assert answer.status_code == TURNED_AWAY.get(who, 405), "a deed is posted"


@pytest.mark.parametrize(("who", "shown"), [("viewer", False), ("answerer", False), ("both permissions", True)])
def test_the_desk_s_link_is_for_those_who_work_there(who: str, shown: bool) -> None:
    assert ('href="/admin/desk/"' in client_of(who).get("/admin/").content.decode()) == shown


@pytest.mark.parametrize(("who", "taken"), [("operator", False), ("administrator", True)])
def test_only_who_may_change_sessions_takes_one_from_somebody_else(session: ChatSession, who: str, taken: bool) -> None:
    assert client_of("both permissions").post(f"/admin/desk/{session.uuid}/take/").status_code == 204
    answer = client_of(who).post(f"/admin/desk/{session.uuid}/take/", {"over": "1"})
    assert answer.status_code == (204 if taken else 409)
    session.refresh_from_db()
    assert session.held_by == (who if taken else "both permissions")


@pytest.mark.parametrize("who", [*TURNED_AWAY, "operator", "administrator", "broadcaster"])
def test_broadcasts_are_for_those_who_were_given_them(session: ChatSession, who: str) -> None:
    client = client_of(who)
    expected = 200 if who in ("administrator", "broadcaster") else TURNED_AWAY.get(who, 403)
    assert client.get("/admin/broadcast/").status_code == expected
    assert client.post("/admin/broadcast/", {"text": "Hello", "step": "look"}).status_code == expected
    sent = client.post("/admin/broadcast/", {"text": "Hello", "step": "send"})
    assert AuditEntry.objects.filter(action="broadcast").exists() == (expected == 200)
    assert sent.status_code == (302 if expected == 200 else expected)


@pytest.mark.parametrize("who", [*TURNED_AWAY, "operator", "administrator"])
def test_the_dashboard_is_for_staff(who: str) -> None:
    client = client_of(who)
    for page in ("/admin/", "/admin/dashboard/"):
        answer = client.get(page)
        assert answer.status_code == (LOGIN if TURNED_AWAY.get(who) == LOGIN else 200)
        if answer.status_code == LOGIN:
            assert answer.headers["Location"].startswith("/admin/login/")


# --- The pages that say no -------------------------------------------------------------------------


def test_a_refused_page_and_a_missing_one_say_so_and_lead_on() -> None:
    client = client_of("viewer")
    for page, status, words in (
        ("/admin/desk/", 403, "This page is not for you"),
        ("/admin/auth/user/", 403, "This page is not for you"),
        ("/admin/nonsense/", 404, "There is nothing here"),
    ):
        answer = client.get(page)
        html = answer.content.decode()
        assert answer.status_code == status
        assert words in html
        assert '<a href="/admin/">' in html
        assert "chatgateway/error.css" in html
        assert "<script" not in html


def test_the_desk_s_address_of_no_conversation_is_missing() -> None:
    answer = client_of("operator").get(f"/admin/desk/{uuid4()}/")
    assert answer.status_code == 404
    assert "There is nothing here" in answer.content.decode()
