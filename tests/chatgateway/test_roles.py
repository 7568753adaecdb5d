"""Who may see and do what on staff's pages: a viewer, an operator, an administrator."""

import re
from datetime import UTC, datetime
from html import unescape
from typing import Any
from urllib.parse import parse_qsl, urljoin, urlsplit
from uuid import uuid4

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from chatgateway.roles import ensure_roles
from connections import services
from connections.audit import Action, record
from connections.models import AccessToken, Application, Connection, HubClient, MailboxLetter, Worker
from conversations.models import (
    CannedReply,
    ChatSession,
    ContactRequest,
    Document,
    Message,
    Note,
    OutboxEntry,
    Pipeline,
    Turn,
)

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
CANARY = "canary-7c1f"
PASSWORD = "a long enough password"


@pytest.fixture(autouse=True)
def _roles() -> None:
    ensure_roles()


def member(role: str, name: str = "") -> User:
    user = User.objects.create_user(name or role.lower(), password=PASSWORD, is_staff=True)
    user.groups.add(Group.objects.get(name=role))
    return user


def client_of(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def say(session: ChatSession, role: str, seq: int) -> Message:
    components = [{"type": "Plain", "text": CANARY}] if role == "user" else None
    return Message.objects.create(
        session=session, seq=seq, role=role, text=f"{CANARY} {seq}", components=components, created_at=NOON
    )


@pytest.fixture
def session() -> ChatSession:
    """A row of everything that staff's pages show, with a canary wherever words of a conversation lie."""
    pipeline = Pipeline.objects.create(name="Shop", is_default=True)
    session = ChatSession.objects.create(
        uuid=uuid4(), pipeline=pipeline, session_type="person", wire="contact", last_seq=4, created_at=NOON,
        last_message_at=NOON, waiting_since=NOON, open_turns=1,
    )  # fmt: skip
    said = [say(session, role, seq + 1) for seq, role in enumerate(("user", "assistant", "operator", "user"))]
    Turn.objects.create(
        id=said[-1].pk + 1000, session=session, question=said[-1], state="running", partial=CANARY, prompt=CANARY,
        created_at=NOON,
    )  # fmt: skip
    Note.objects.create(session=session, author="Ann", text=CANARY, created_at=NOON)
    ContactRequest.objects.create(uuid=uuid4(), pipeline=pipeline, message=said[0], created_at=NOON)
    OutboxEntry.objects.create(kind="email", message=said[0], due_at=NOON, created_at=NOON)
    CannedReply.objects.create(title="Hello", text="Good day.")
    Document.objects.create(pipeline=pipeline, title="Returns", text="Within 30 days.", digest="1")
    services.issue_token(services.create_application("shop")[0])
    worker = Worker.objects.create(uuid=uuid4(), host="host", pid=1, started_at=NOON)
    Connection.objects.create(
        uuid=uuid4(), worker=worker.uuid, wire="contact", session=session.uuid, connected_at=NOON, last_active=NOON
    )
    hub_client = HubClient.objects.create(client_id="/user/1", last_seq=1, first_seen=NOON, last_seen=NOON)
    MailboxLetter.objects.create(client=hub_client, seq=1, text=CANARY, created_at=NOON)
    record(Action.TAKE_OVER, actor="Ann", subject=f"session {session.uuid}")
    return session


def pages_of_models() -> list[str]:
    """Return the pages of every model that the admin knows: its list, and those of one row."""
    pages = []
    for model in admin.site._registry:
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        row = model._default_manager.first()
        assert row is not None, f"there is no {model._meta.verbose_name} to look at"
        pages += [reverse(f"{name}_changelist"), reverse(f"{name}_add")]
        pages += [reverse(f"{name}_{page}", args=[row.pk]) for page in ("change", "history", "delete")]
    return pages


def pages_of_our_own() -> list[str]:
    """Return the pages that show no model's rows as the admin does."""
    session = ChatSession.objects.get().uuid
    conversation = [reverse(f"desk:{page}", args=[session]) for page in ("conversation", "view")]
    return [reverse("broadcast"), reverse("dashboard"), reverse("desk:desk"), reverse("desk:queue"), *conversation]


def walk(client: Client) -> dict[str, tuple[int, str]]:
    """Return status and text of every page of the admin that can be found, a list once with each of its filters."""
    waiting = [reverse("admin:index"), *pages_of_our_own(), *pages_of_models()]
    seen, found = set(), {}
    while waiting:
        url = waiting.pop()
        parts = urlsplit(url)
        names = [name for name, _ in parse_qsl(parts.query)]
        place = (parts.path, *names)
        if (
            place in seen
            or len(names) > 1
            or "_changelist_filters" in names
            or parts.netloc
            or not parts.path.startswith("/admin/")
            or "logout" in parts.path
        ):
            continue
        seen.add(place)
        response = client.get(url)
        text = b"".join(response) if response.streaming else response.content
        found[url] = (response.status_code, text.decode())
        waiting += [urljoin(url, unescape(link)) for link in re.findall(r'href="([^"#]+)"', found[url][1])]
    return found


def row(model: str, *args: object, page: str = "change") -> str:
    return reverse(f"admin:{model}_{page}", args=args)


def test_a_viewer_sees_nothing_of_what_was_said(session: ChatSession) -> None:
    found = walk(client_of(member("Viewer")))
    assert [url for url, (_, text) in found.items() if CANARY in text] == []
    assert {status for status, _ in found.values()} <= {200, 302, 403}
    request = ContactRequest.objects.get()
    for url in (
        row("conversations_chatsession", page="changelist"), row("conversations_chatsession", session.pk),
        row("conversations_contactrequest", page="changelist"), row("conversations_contactrequest", request.pk),
        row("connections_connection", page="changelist"), row("connections_auditentry", page="changelist"),
    ):  # fmt: skip
        assert found[url][0] == 200
    assert "to those only who may view messages" in found[row("conversations_chatsession", session.pk)][1]


def test_an_operator_reads_what_was_said(session: ChatSession) -> None:
    found = walk(client_of(member("Operator")))
    shown = {url for url, (_, text) in found.items() if CANARY in text}
    request = ContactRequest.objects.get()
    assert shown >= {
        row("conversations_chatsession", page="changelist"), row("conversations_chatsession", session.pk),
        row("conversations_contactrequest", page="changelist"), row("conversations_contactrequest", request.pk),
        reverse("desk:conversation", args=[session.uuid]),
    }  # fmt: skip
    assert [url for url in shown if "/history/" in url] == []


@pytest.mark.parametrize(("role", "hits"), [("Viewer", 0), ("Operator", 1)])
def test_words_are_searched_for_by_readers_only(session: ChatSession, role: str, hits: int) -> None:
    client, request = client_of(member(role)), ContactRequest.objects.get()
    url = row("conversations_contactrequest", page="changelist")

    def found(**query: Any) -> int:
        count: int = client.get(url, query).context["cl"].result_count
        return count

    assert found(q=CANARY) == hits
    assert found(q=str(request.uuid)) == 1
    assert client.get(url, {"message__text__contains": CANARY}).status_code == 400
    sessions = row("conversations_chatsession", page="changelist")
    assert client.get(sessions, {"messages__text__contains": CANARY}).status_code == 400


def test_an_operator_changes_neither_access_nor_accounts(session: ChatSession) -> None:
    operator, application, token = member("Operator"), Application.objects.get(), AccessToken.objects.get()
    client = client_of(operator)
    refused = [
        (row("connections_application", page="add"), {"name": "mine", "enabled": "on"}),
        (row("connections_application", application.pk), {"name": "mine"}),
        (row("connections_application", application.pk, page="delete"), {"post": "yes"}),
        (row("connections_application", application.pk, page="issue_token"), {"scopes": ["admin"]}),
        (row("connections_accesstoken", token.pk), {"label": "", "connections_accesstoken_revoke": "1"}),
        (row("auth_user", page="add"), {"username": "x", "password1": PASSWORD, "password2": PASSWORD}),
        (row("auth_user", operator.pk), {"username": "x"}),
        (row("auth_user", operator.pk, page="password_change"), {"password1": PASSWORD, "password2": PASSWORD}),
        (row("auth_group", operator.groups.get().pk), {"name": "x"}),
        (row("conversations_pipeline", session.pipeline_id), {"name": "x"}),
    ]
    assert [client.post(url, fields).status_code for url, fields in refused] == [403] * len(refused)
    client.post(
        row("connections_accesstoken", page="changelist"),
        {"action": "revoke_selected", "_selected_action": [token.pk]},
    )
    assert AccessToken.objects.get().revoked_at is None
    assert client.get(row("auth_user", page="changelist")).status_code == 403


def test_an_operator_keeps_the_canned_replies(session: ChatSession) -> None:
    client, viewer = client_of(member("Operator")), client_of(member("Viewer"))
    add, words = row("conversations_cannedreply", page="add"), {"title": "Bye", "text": "See you."}
    assert viewer.post(add, words).status_code == 403
    assert client.post(add, words).status_code == 302
    made = CannedReply.objects.get(title="Bye")
    assert client.post(row("conversations_cannedreply", made.pk), {**words, "text": "Bye!"}).status_code == 302
    assert "Bye!" in client.get(row("conversations_cannedreply", page="changelist")).content.decode()
    assert client.post(row("conversations_cannedreply", made.pk, page="delete"), {"post": "yes"}).status_code == 302
    assert not CannedReply.objects.filter(title="Bye").exists()


def test_an_administrator_changes_access_and_accounts(session: ChatSession) -> None:
    client, application = client_of(member("Administrator")), Application.objects.get()
    assert client.post(row("connections_application", page="add"), {"name": "mine"}).status_code == 200
    assert Application.objects.filter(name="mine").exists()
    issued = client.post(row("connections_application", application.pk, page="issue_token"), {"scopes": ["read"]})
    assert issued.status_code == 200
    assert AccessToken.objects.count() == 2
    fields = {"username": "bob", "usable_password": "true", "password1": PASSWORD, "password2": PASSWORD}
    assert client.post(row("auth_user", page="add"), fields).status_code == 302
    bob = User.objects.get(username="bob")
    assert client.post(row("auth_user", bob.pk), profile(bob, groups=group_ids("Operator"))).status_code == 302
    assert [group.name for group in bob.groups.all()] == ["Operator"]
    assert client.get(row("connections_auditentry", page="changelist")).status_code == 200


def profile(user: User, **fields: Any) -> dict[str, Any]:
    """Return the fields of a user's page."""
    joined = {"date_joined_0": "2026-05-01", "date_joined_1": "12:00:00"}
    return {"username": user.username, "is_active": "on", "is_staff": "on", **joined, **fields}


def group_ids(*names: str) -> list[int]:
    return list(Group.objects.filter(name__in=names).values_list("pk", flat=True))


def test_an_administrator_makes_and_changes_no_superuser() -> None:
    client = client_of(member("Administrator"))
    bob, root = member("Viewer", "bob"), User.objects.create_superuser("root", password=PASSWORD, is_active=False)
    client.post(row("auth_user", bob.pk), profile(bob, is_superuser="on", groups=group_ids("Viewer")))
    bob.refresh_from_db()
    assert not bob.is_superuser
    for url, fields in (
        (row("auth_user", root.pk), profile(root)),
        (row("auth_user", root.pk, page="delete"), {"post": "yes"}),
        (row("auth_user", root.pk, page="password_change"), {"password1": "x" * 20, "password2": "x" * 20}),
        (
            row("auth_user", page="changelist"),
            {"action": "delete_selected", "_selected_action": [root.pk], "post": "yes"},
        ),
    ):
        assert client.post(url, fields).status_code == 403
    root.refresh_from_db()
    assert root.check_password(PASSWORD)
    assert root.is_superuser


def test_an_administrator_gives_no_permission_that_he_has_not() -> None:
    client, bob = client_of(member("Administrator")), member("Viewer", "bob")
    foreign = Permission.objects.get(codename="delete_session", content_type__app_label="sessions")
    own = Permission.objects.get(codename="change_pipeline")
    powerful, humble = Group.objects.create(name="Powerful"), Group.objects.create(name="Humble")
    powerful.permissions.add(foreign)
    groups = group_ids("Viewer")
    for refused in ({"user_permissions": [foreign.pk]}, {"groups": [*groups, powerful.pk]}):
        answer = client.post(row("auth_user", bob.pk), profile(bob, **refused))
        assert "is not one of the available choices" in answer.content.decode()
    answer = client.post(row("auth_group", humble.pk), {"name": "Humble", "permissions": [foreign.pk]})
    assert "is not one of the available choices" in answer.content.decode()
    assert client.post(row("auth_group", powerful.pk), {"name": "x", "permissions": []}).status_code == 403
    assert not bob.user_permissions.exists()
    assert not humble.permissions.exists()
    given = {"user_permissions": [own.pk], "groups": [*groups, humble.pk]}
    assert client.post(row("auth_user", bob.pk), profile(bob, **given)).status_code == 302
    assert list(bob.user_permissions.all()) == [own]


@pytest.mark.parametrize("is_active", [True, False])
def test_an_administrator_does_not_take_the_account_of_somebody_who_may_more(is_active: bool) -> None:
    client, other = client_of(member("Administrator")), member("Viewer", "other")
    other.user_permissions.add(Permission.objects.get(codename="delete_session", content_type__app_label="sessions"))
    other.is_active = is_active
    other.save()
    fields = {"password1": "x" * 20, "password2": "x" * 20}
    assert client.post(row("auth_user", other.pk, page="password_change"), fields).status_code == 403
    assert client.post(row("auth_user", other.pk), profile(other)).status_code == 403


def test_pages_of_accounts_ask_little_of_the_database(django_assert_max_num_queries: DjangoAssertNumQueries) -> None:
    client, bob = client_of(member("Administrator")), member("Viewer", "bob")
    for url in (row("auth_user", bob.pk), row("auth_group", bob.groups.get().pk)):
        with django_assert_max_num_queries(15):
            assert client.get(url).status_code == 200


def test_what_no_page_asks_for_is_given_to_nobody() -> None:
    assert not Permission.objects.filter(content_type__model__in=["note", "minute"]).exists()


def test_a_start_gives_a_group_what_it_lacks_and_takes_nothing_away(
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    viewer = Group.objects.get(name="Viewer")
    lacking = Permission.objects.get(codename="view_pipeline")
    added = Permission.objects.get(codename="view_user")
    viewer.permissions.remove(lacking)
    viewer.permissions.add(added)
    before = viewer.permissions.count()
    ensure_roles()
    assert viewer.permissions.count() == before + 1
    assert viewer.permissions.filter(pk__in=[lacking.pk, added.pk]).count() == 2
    with django_assert_max_num_queries(7):
        ensure_roles()
    assert Group.objects.count() == 3
