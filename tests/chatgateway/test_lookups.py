"""No list of the admin lets somebody guess at what it does not show."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission, User
from django.test import Client, RequestFactory
from django.urls import reverse

from chatgateway.roles import ensure_roles

pytestmark = pytest.mark.django_db

LISTS = sorted(admin.site._registry, key=lambda model: model._meta.label)
# What a list filters by: its values stand in its own columns, or are chosen in its filters.
FILTERED = {
    "auth.User": {"groups", "is_active", "is_staff", "is_superuser"},
    "connections.AccessToken": {"application"},
    "connections.Application": {"enabled"},
    "connections.AuditEntry": {"at", "action"},
    "connections.Connection": {"state", "wire", "pipeline", "worker"},
    "connections.Worker": {"state"},
    "conversations.ChatSession": {"pipeline", "session_type", "wire", "language"},
    "conversations.ContactRequest": {"state", "pipeline", "escalated"},
    "conversations.Document": {"pipeline"},
}


@pytest.fixture
def viewer() -> User:
    """A viewer who may view accounts too, so that every list is open to him."""
    ensure_roles()
    user = User.objects.create_user("viewer", is_staff=True)
    user.groups.add(Group.objects.get(name="Viewer"))
    user.user_permissions.set(Permission.objects.filter(codename__in=["view_user", "view_group"]))
    return user


@pytest.fixture
def client(viewer: User) -> Client:
    client = Client()
    client.force_login(viewer)
    return client


def columns(model: Any, user: User) -> Iterator[str]:
    """Give every column of a list's query, those of the rows that it leads to, and what its page adds."""
    request = RequestFactory().get("/")
    request.user = user
    yield from admin.site._registry[model].get_queryset(request).query.annotations
    for field in model._meta.get_fields():
        yield field.name
        if field.is_relation:
            yield from (f"{field.name}__{other.name}" for other in field.related_model._meta.concrete_fields)


@pytest.mark.parametrize("model", LISTS, ids=lambda model: model._meta.label)
def test_nobody_guesses_at_a_column_that_is_not_filtered_by(client: Client, viewer: User, model: Any) -> None:
    page = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    assert client.get(page).status_code == 200
    guesses = [
        f"{name}__startswith" for name in columns(model, viewer) if name not in FILTERED.get(model._meta.label, ())
    ]
    assert len(guesses) > 1
    assert [guess for guess in guesses if client.get(page, {guess: "1"}).status_code != 400] == []


def test_the_last_words_are_not_even_asked_for_by_who_may_not_read(viewer: User) -> None:
    sessions = next(model for model in LISTS if model._meta.label == "conversations.ChatSession")
    assert "last_text" not in columns(sessions, viewer)


def test_a_refused_guess_is_told_in_the_log_without_a_traceback(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    client.get("/admin/connections/application/", {"secret_hash__startswith": "p"})
    [told] = [record for record in caplog.records if record.name == "django.security.DisallowedModelAdminLookup"]
    assert "secret_hash__startswith" in told.getMessage()
    assert told.exc_info is None
