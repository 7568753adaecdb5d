"""Staff's page of the hub's clients."""

from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from connections.audit import COMMAND_LINE
from connections.claims import ClaimClient, ReleaseClient
from connections.jobs import Register
from connections.mail import Deliver, Outcome
from connections.models import HubClient, MailboxLetter
from connections.services import create_application, forget_clients
from tests.connections.test_mail import LIMITS, away, claim, claimed, deliver, new_worker

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


def test_who_is_away_is_forgotten_with_its_letters_by_who_may(admin_client: Client, client: Client) -> None:
    gone, kept = away("<b>squatter</b>").client, away("kept").client
    deliver("canary", "<b>squatter</b>")
    deliver("stays", "kept")
    page = reverse("admin:connections_hubclient_changelist")
    asked = {"action": "delete_selected", "_selected_action": [gone]}
    watcher = User.objects.create_user("watcher", is_staff=True)
    watcher.user_permissions.add(Permission.objects.get(codename="view_hubclient"))
    client.force_login(watcher)
    client.post(page, asked | {"post": "yes"})
    assert client.get(reverse("admin:connections_hubclient_delete", args=[gone])).status_code == 403
    assert HubClient.objects.count() == 2

    confirmation = admin_client.post(page, asked).content.decode()
    assert "&lt;b&gt;squatter&lt;/b&gt;, waiting letters: 1" in confirmation
    assert "canary" not in confirmation
    assert HubClient.objects.count() == 2
    admin_client.post(page, asked | {"post": "yes"})
    assert MailboxLetter.objects.get().text == "stays"
    assert deliver("x", "<b>squatter</b>") == (Outcome.UNKNOWN,)
    admin_client.post(reverse("admin:connections_hubclient_delete", args=[kept]), {"post": "yes"})
    assert not HubClient.objects.exists()


def test_who_is_connected_is_not_forgotten(admin_client: Client) -> None:
    _, here = claimed("here", new_worker())
    page = reverse("admin:connections_hubclient_delete", args=[here.client])
    for answer in (admin_client.get(page), admin_client.post(page, {"post": "yes"})):
        assert "here, which is connected" in answer.content.decode()
    # It came while staff looked at the page.
    assert forget_clients([here.client, here.client + 1], by=COMMAND_LINE) == 0
    assert HubClient.objects.get().pk == here.client
