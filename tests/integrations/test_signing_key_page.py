"""Where staff find the key that calls to a company's own systems are signed with."""

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from connections.services import create_application
from conversations.models import Pipeline
from integrations.webhooks import signing_key

pytestmark = pytest.mark.django_db


def test_the_pages_of_applications_and_pipelines_show_it(admin_client: Client) -> None:
    application, _ = create_application("shop")
    pipeline = Pipeline.objects.create(name="Support")
    for owner, page in ((application, "connections_application"), (pipeline, "conversations_pipeline")):
        html = admin_client.get(reverse(f"admin:{page}_change", args=[owner.pk])).content.decode()
        assert signing_key(owner.uuid) in html


def test_who_may_only_look_does_not_see_it(client: Client) -> None:
    application, _ = create_application("shop")
    clerk = User.objects.create_user("clerk", password="long enough it is", is_staff=True)
    clerk.user_permissions.add(Permission.objects.get(codename="view_application"))
    client.force_login(clerk)
    html = client.get(reverse("admin:connections_application_change", args=[application.pk])).content.decode()
    assert application.name in html
    assert signing_key(application.uuid) not in html
