"""Staff's pages for who may be here."""

import hashlib
import re
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.hashers import check_password
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from connections import services
from connections.models import AccessToken, Application
from conversations.models import Pipeline

pytestmark = pytest.mark.django_db


@pytest.fixture
def application() -> Application:
    return services.create_application("shop")[0]


@pytest.fixture
def pipeline() -> Pipeline:
    return Pipeline.objects.create(name="Support")


def path(name: str, *args: object) -> str:
    return reverse(f"admin:connections_{name}", args=args)


def shown(html: str, name: str) -> str:
    """Return the secret of that name on the page that shows it once."""
    found = re.search(rf"<dt[^>]*>{name}</dt>\s*<dd[^>]*><code>([^<]+)</code>", html)
    assert found, html
    return found[1]


def test_a_new_application_shows_its_secret_once(admin_client: Client, pipeline: Pipeline) -> None:
    response = admin_client.post(
        path("application_add"),
        {
            "name": "shop",
            "pipeline": str(pipeline.uuid),
            "origins": "https://B.test:443\nhttp://a.test",
            "enabled": "on",
        },
    )
    html = response.content.decode()
    secret = shown(html, "secret")
    assert "no-store" in response["Cache-Control"]
    application = Application.objects.get(appid=shown(html, "appid"))
    assert check_password(secret, application.secret_hash)
    assert application.pipeline == pipeline.uuid
    assert application.origins == ["http://a.test", "https://b.test"]
    later = admin_client.get(path("application_change", application.pk)).content.decode()
    assert application.appid in later
    assert secret not in later
    assert application.secret_hash not in later


def test_an_application_keeps_its_identity_through_a_change(admin_client: Client, application: Application) -> None:
    before = (application.appid, application.secret_hash, application.uuid)
    fields = {"name": "renamed", "pipeline": "", "origins": "", "tokens-TOTAL_FORMS": "0", "tokens-INITIAL_FORMS": "0"}
    assert admin_client.post(path("application_change", application.uuid), fields).status_code == 302
    application.refresh_from_db()
    assert (application.name, application.enabled) == ("renamed", False)
    assert (application.appid, application.secret_hash, application.uuid) == before


def test_what_is_no_origin_is_refused(admin_client: Client) -> None:
    response = admin_client.post(path("application_add"), {"name": "shop", "origins": "shop.test", "enabled": "on"})
    assert "shop.test is not an origin" in response.content.decode()
    assert not Application.objects.exists()


def test_a_token_is_issued_and_shown_once(admin_client: Client, application: Application) -> None:
    url = path("application_issue_token", application.pk)
    assert "Issue a token to shop" in admin_client.get(url).content.decode()
    response = admin_client.post(url, {"label": "site", "scopes": ["read", "admin"], "lifetime": "30"})
    plain = shown(response.content.decode(), "token")
    assert "no-store" in response["Cache-Control"]
    token = AccessToken.objects.get()
    assert token.digest == hashlib.sha256(plain.encode()).hexdigest()
    assert (token.label, token.scopes) == ("site", ["admin", "read"])
    assert token.expires_at is not None
    assert timedelta(days=29) < token.expires_at - timezone.now() <= timedelta(days=30)
    for later in (path("application_change", application.pk), path("accesstoken_changelist"),
                  path("accesstoken_change", token.pk)):  # fmt: skip
        html = admin_client.get(later).content.decode()
        assert "site" in html
        assert plain not in html
        assert token.digest not in html
    for entry in LogEntry.objects.all():
        assert plain not in f"{entry.object_repr}{entry.change_message}"


def test_a_token_needs_a_scope(admin_client: Client, application: Application) -> None:
    response = admin_client.post(path("application_issue_token", application.pk), {"lifetime": ""})
    assert "This field is required" in response.content.decode()
    assert not AccessToken.objects.exists()


def test_tokens_of_an_unknown_application_are_not_found(admin_client: Client) -> None:
    assert admin_client.get(path("application_issue_token", 999)).status_code == 404


def test_issuing_needs_the_permission(client: Client, application: Application) -> None:
    user = User.objects.create_user("reader", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_application"))
    client.force_login(user)
    url = path("application_issue_token", application.pk)
    assert client.post(url, {"scopes": ["admin"]}).status_code == 403
    assert not AccessToken.objects.exists()


def test_tokens_are_revoked_one_by_one_and_together(admin_client: Client, application: Application) -> None:
    first, second, third = (services.issue_token(application)[0] for _ in range(3))
    admin_client.post(path("accesstoken_change", first.pk), {"label": "", "connections_accesstoken_revoke": "1"})
    first.refresh_from_db()
    assert first.revoked_at is not None
    chosen = {"action": "revoke_selected", "_selected_action": [first.pk, second.pk]}
    html = admin_client.post(path("accesstoken_changelist"), chosen, follow=True).content.decode()
    assert "1 token revoked" in html
    second.refresh_from_db()
    third.refresh_from_db()
    assert second.revoked_at is not None
    assert third.revoked_at is None
