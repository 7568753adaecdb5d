"""Staff's page of the hub's clients."""

from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from connections.jobs import Register
from connections.mail import ClaimClient, Deliver, ReleaseClient
from connections.models import HubClient
from connections.services import create_application
from tests.connections.test_mail import LIMITS, claim

pytestmark = pytest.mark.django_db


def test_the_list_shows_who_is_here_and_what_waits(admin_client: Client) -> None:
    application, _ = create_application("气象局")
    worker, away = uuid4(), uuid4()
    Register.apply([Register(worker, "host", 1)])
    ClaimClient.apply(
        [
            ClaimClient("/service/zhycit/weather_1", uuid4(), worker, LIMITS, None, application.uuid),
            ClaimClient("<b>用户</b>", away, worker, LIMITS),
        ]
    )
    ReleaseClient.apply([ReleaseClient("<b>用户</b>", away)])
    Deliver.apply([Deliver("canary", ("<b>用户</b>",), LIMITS)] * 3)
    page = admin_client.get(reverse("admin:connections_hubclient_changelist")).content.decode()
    for shown in ("/service/zhycit/weather_1", "气象局", "&lt;b&gt;用户&lt;/b&gt;"):
        assert shown in page
    for state in ("connected", "away"):
        assert state in page
    client = HubClient.objects.get(client_id="<b>用户</b>")
    detail = admin_client.get(reverse("admin:connections_hubclient_change", args=[client.pk]))
    assert detail.status_code == 200
    assert "canary" not in detail.content.decode()
    assert admin_client.get(reverse("admin:connections_hubclient_add")).status_code == 403
    assert admin_client.get(reverse("admin:connections_hubclient_changelist") + "?q=zhycit").status_code == 200


def test_a_name_is_given_free_by_who_may(admin_client: Client, client: Client) -> None:
    worker, owner = uuid4(), create_application("气象局")[0].uuid
    Register.apply([Register(worker, "host", 1)])
    claim("/service/1", worker, application=owner)
    page = reverse("admin:connections_hubclient_changelist")
    asked = {"action": "give_free", "_selected_action": [HubClient.objects.get().pk]}
    watcher = User.objects.create_user("watcher", is_staff=True)
    watcher.user_permissions.add(Permission.objects.get(codename="view_hubclient"))
    client.force_login(watcher)
    client.post(page, asked)
    assert HubClient.objects.get().application == owner
    done = admin_client.post(page, asked, follow=True)
    assert HubClient.objects.get().application is None
    assert "1 name given free." in done.content.decode()
