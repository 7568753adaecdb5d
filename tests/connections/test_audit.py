"""The audit trail: what services write into it, with the deed or not at all, and its page."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from connections import services
from connections.audit import PURGED_AT_ONCE, Action, Actor, name_of, purge, record, record_each
from connections.models import AccessToken, Application, AuditEntry, HubClient
from conversations.store import Store
from tests.conftest import GatewayFactory
from tests.conversations.conftest import Database
from tests.support.applications import change
from tests.support.waiting import wait_until

pytestmark = pytest.mark.django_db

ANN = Actor("ann", 7)


def trail() -> list[tuple[str, str, str, str]]:
    """Return every entry, the oldest first."""
    rows = AuditEntry.objects.order_by("id")
    return [(row.action, row.actor, row.subject, row.details) for row in rows]


@pytest.fixture
def application() -> Application:
    application = services.create_application("shop")[0]
    AuditEntry.objects.all().delete()
    return application


def test_an_entry_is_cut_to_what_its_columns_take() -> None:
    record(Action.CLOSE, actor="a" * 300, subject="s" * 400, details="d" * 600)
    entry = AuditEntry.objects.get()
    assert (len(entry.actor), len(entry.subject), len(entry.details)) == (200, 300, 500)
    assert entry.subject.endswith("s…")


def test_an_application_is_named_by_its_uuid_as_it_was_called_then(application: Application) -> None:
    record(Action.RESET, actor=application.uuid)
    gone = uuid4()
    record(Action.RESET, actor=gone)
    assert [row[1] for row in trail()] == [f"application shop ({application.appid})", f"application {gone}"]


def test_a_deed_that_is_undone_leaves_no_entry(application: Application) -> None:
    with transaction.atomic():
        services.issue_token(application, by=ANN)
        transaction.set_rollback(True)
    assert trail() == []
    assert not AccessToken.objects.exists()


def test_a_token_s_life_is_recorded_without_the_token(application: Application) -> None:
    token, plain = services.issue_token(application, label="site", by=ANN)
    services.revoke_token(token, by=ANN)
    services.revoke_token(token, by=ANN)
    title = f"token {token.pk} “site” of application shop ({application.appid})"
    assert trail() == [("token issued", "ann", title, "read, write"), ("token revoked", "ann", title, "")]
    assert set(AuditEntry.objects.values_list("user", flat=True)) == {7}
    entries = str(list(AuditEntry.objects.values()))
    assert plain not in entries
    assert token.digest not in entries


def test_an_exchange_is_the_application_s_own_deed() -> None:
    application, secret = services.create_application("weather", by=ANN)
    services.exchange_secret(application.appid, secret)
    services.exchange_secret(application.appid, "wrong")
    name = f"application weather ({application.appid})"
    token = AccessToken.objects.get()
    assert trail() == [
        ("application created", "ann", name, ""),
        ("token exchanged", name, f"token {token.pk} “token service” of {name}", ""),
    ]
    assert secret not in str(trail())


def test_the_oldest_of_too_many_exchanged_tokens_is_revoked_by_the_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "EXCHANGED_TOKENS", 1)
    application, secret = services.create_application("weather")
    for _ in range(2):
        services.exchange_secret(application.appid, secret)
    assert [row[:2] for row in trail()][-1] == ("token revoked", "gateway")


def test_an_application_s_pages_record_who_did_what(admin_client: Client, application: Application) -> None:
    def change(**fields: str) -> None:
        sets = {"tokens-TOTAL_FORMS": "0", "tokens-INITIAL_FORMS": "0", "pipeline": "", "origins": ""}
        url = reverse("admin:connections_application_change", args=[application.pk])
        assert admin_client.post(url, {"name": "shop", **sets, **fields}).status_code == 302

    old, title = name_of(application), f"application stall ({application.appid})"
    change()
    change(enabled="on")
    change(enabled="on", name="stall", callback_url="https://a.test/x?key=canary")
    token, _ = services.issue_token(application, by=ANN)
    delete_token = reverse("admin:connections_accesstoken_delete", args=[token.pk])
    assert admin_client.post(delete_token, {"post": "yes"}).status_code == 302
    delete = reverse("admin:connections_application_delete", args=[application.pk])
    assert admin_client.post(delete, {"post": "yes"}).status_code == 302
    assert [row for row in trail() if row[1] == "admin"] == [
        ("application disabled", "admin", old, ""),
        ("application enabled", "admin", old, ""),
        ("application changed", "admin", title, "callback_url, name"),
        ("token revoked", "admin", f"token {token.pk} of {title}", ""),
        ("application deleted", "admin", title, ""),
    ]
    admin = User.objects.get(username="admin")
    assert AuditEntry.objects.filter(actor="admin", user=admin.pk).count() == 5
    assert "canary" not in str(trail())


def test_connections_that_are_closed_are_counted_with_code_and_reason(application: Application) -> None:
    first, second = uuid4(), uuid4()
    services.close_connections([first], 1013, "upkeep", by=ANN)
    services.close_connections([first, second], 4003, "unwanted", by=ANN, application=application)
    services.close_connections([], 4003, "nobody", by=ANN)
    assert trail() == [
        ("connections closed", "ann", f"connection {first}", "1013: upkeep"),
        (
            "connections closed", "ann", f"2 connections of {name_of(application)}",
            f"4003: unwanted; {str(first)[:8]}, {str(second)[:8]}",
        ),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("act", "action"),
    [(services.give_names_free, "name given free"), (services.forget_clients, "name forgotten")],
)
def test_each_name_that_changes_hands_is_recorded(act: Callable[..., int], action: str) -> None:
    now = timezone.now()
    owned = {"application": uuid4(), "first_seen": now, "last_seen": now}
    clients = [HubClient.objects.create(client_id=name, **owned) for name in ("/a", "/b")]
    assert act([client.pk for client in clients], by=ANN) == 2
    assert sorted(trail()) == [(action, "ann", "/a", ""), (action, "ann", "/b", "")]
    assert act([client.pk for client in clients], by=ANN) == 0
    assert len(trail()) == 2


async def test_what_is_older_than_it_goes_back_is_forgotten_piece_by_piece(real_database: Database) -> None:
    now = timezone.now()
    actor = str(uuid4())  # of this test's own
    store = Store()

    def build() -> None:
        for days, count in ((400, PURGED_AT_ONCE + 1), (300, 2)):
            at = now - timedelta(days=days)
            AuditEntry.objects.bulk_create(AuditEntry(at=at, action="reset", actor=actor) for _ in range(count))

    await store.read(build)
    await purge(store, timedelta(days=365))
    assert await store.read(AuditEntry.objects.filter(actor=actor).count) == 2
    await store.stop()


def test_a_gateway_keeps_the_trail_as_long_as_it_is_told_to(start_gateway: GatewayFactory) -> None:
    gateway = start_gateway(start=False, environment={"AUDIT_DAYS": "1"})
    for ago in ("-25 hours", "-23 hours"):
        change(
            gateway,
            "INSERT INTO connections_auditentry (at, action, actor, subject, details)"
            " VALUES (datetime('now', ?), 'reset', ?, '', '')",
            ago,
            ago,
        )
    gateway.start()

    def kept() -> list[tuple[str]]:
        return change(gateway, "SELECT actor FROM connections_auditentry")

    wait_until(lambda: kept() == [("-23 hours",)], timeout=10, what="the older one is forgotten")


def test_the_trail_is_filtered_searched_and_changed_by_nobody(admin_client: Client) -> None:
    record_each(Action.NAME_FREED, ["/service/1", "<b>/service/2</b>"], actor="bob")
    record(Action.BROADCAST, actor="ann", subject="everybody")
    AuditEntry.objects.filter(actor="ann").update(at=timezone.now() - timedelta(days=400))
    url = reverse("admin:connections_auditentry_changelist")

    def shown(**query: Any) -> int:
        count: int = admin_client.get(url, query).context["cl"].result_count
        return count

    a_year_ago = timezone.now() - timedelta(days=365)
    assert shown() == 3
    assert shown(action="broadcast") == 1
    assert shown(q="bob") == 2
    assert shown(q="service/2") == 1
    assert shown(at__gte=str(a_year_ago)) == 2
    html = admin_client.get(url).content.decode()
    assert "&lt;b&gt;/service/2&lt;/b&gt;" in html
    entry = AuditEntry.objects.all()[0]
    assert admin_client.get(reverse("admin:connections_auditentry_add")).status_code == 403
    for page in ("change", "delete"):
        there = reverse(f"admin:connections_auditentry_{page}", args=[entry.pk])
        assert admin_client.post(there, {"actor": "x", "post": "yes"}).status_code == 403
    admin_client.post(url, {"action": "delete_selected", "_selected_action": [entry.pk], "post": "yes"})
    assert AuditEntry.objects.count() == 3
