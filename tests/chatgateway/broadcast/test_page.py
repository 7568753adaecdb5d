"""The page of a broadcast: what may be chosen, how many it reaches, what is recorded."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from chatgateway.broadcast.forms import TEXT
from connections.models import AuditEntry, Connection
from conversations.models import Pipeline
from tests.support.waiting import free_port

pytestmark = pytest.mark.django_db

PAGE = "/admin/broadcast/"
MOST_QUERIES = 15
WORDS = "Maintenance at ten"


@pytest.fixture
def pipeline() -> Pipeline:
    return Pipeline.objects.create(name="Support")


def connect(pipeline: UUID | None, wire: str, session_type: str = "person", **fields: Any) -> None:
    now = timezone.now()
    Connection.objects.create(
        uuid=uuid4(), worker=uuid4(), wire=wire, pipeline=pipeline, session_type=session_type, connected_at=now,
        last_active=now, **fields,
    )  # fmt: skip


@pytest.fixture
def _crowd(pipeline: Pipeline) -> None:
    other = Pipeline.objects.create(name="Sales")
    for uuid in (pipeline.uuid, other.uuid):
        connect(uuid, "langbot")
        connect(uuid, "langbot", "group")
        connect(uuid, "contact")
        connect(uuid, "wechat")
    connect(None, "postoffice")
    connect(pipeline.uuid, "langbot", ended_at=timezone.now())


def look(client: Client, **chosen: str) -> str:
    return client.post(PAGE, {"step": "look", "text": WORDS, **chosen}).content.decode()


@pytest.mark.usefixtures("_crowd")
@pytest.mark.parametrize(
    ("chosen", "reached"),
    [
        ({}, 6),
        ({"pipeline": "Support"}, 3),
        ({"session_type": "group"}, 2),
        ({"wire": "contact"}, 2),
        ({"wire": "contact", "session_type": "group"}, 0),
        ({"pipeline": "Sales", "session_type": "person", "wire": "langbot"}, 1),
    ],
)
def test_it_tells_how_many_it_reaches_before_it_is_sent(
    admin_client: Client, chosen: dict[str, str], reached: int
) -> None:
    if name := chosen.get("pipeline"):
        chosen = {**chosen, "pipeline": str(Pipeline.objects.get(name=name).uuid)}
    html = look(admin_client, **chosen)
    assert f"Send to {reached} live connection{'' if reached == 1 else 's'}" in html
    assert WORDS in html
    assert not AuditEntry.objects.exists()


@pytest.mark.usefixtures("_crowd")
def test_what_is_sent_is_told_and_recorded_without_its_words(admin_client: Client, pipeline: Pipeline) -> None:
    chosen = {"text": WORDS, "pipeline": str(pipeline.uuid), "wire": "langbot", "step": "send"}
    assert "Sent to 2 live connections." in admin_client.post(PAGE, chosen, follow=True).content.decode()
    [entry] = AuditEntry.objects.all()
    assert (entry.action, entry.actor) == ("broadcast", "admin")
    assert entry.subject == "Support · Persons and group rooms · Pipeline"
    assert entry.details == "to 2 live connections"


def test_where_the_workers_are_not_reached_it_says_so(admin_client: Client, pipeline: Pipeline, settings: Any) -> None:
    hosts = [f"redis://127.0.0.1:{free_port()}"]
    settings.CHANNEL_LAYERS = {
        "default": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": {"hosts": hosts}}
    }
    html = admin_client.post(PAGE, {"text": WORDS, "step": "send"}, follow=True).content.decode()
    assert "It may have reached some or nobody" in html
    assert "Sent to" not in html
    assert list(AuditEntry.objects.order_by("id").values_list("details", flat=True)) == [
        "to 0 live connections", "failed; some may have seen it",
    ]  # fmt: skip


def test_wires_that_cannot_are_shown_and_cannot_be_chosen(admin_client: Client) -> None:
    html = admin_client.get(PAGE).content.decode()
    for wire, name in (("wechat", "WeChat"), ("yishiting", "易事厅"), ("postoffice", "PostOffice")):
        [option] = [line for line in html.splitlines() if f'<option value="{wire}"' in line]
        assert "disabled" in option
        assert f"{name}: cannot broadcast" in option
        refused = look(admin_client, wire=wire)
        assert f"{name} cannot broadcast." in refused
        assert "Send to" not in refused


@pytest.mark.parametrize("wrong", [{"text": " "}, {"text": "x" * (TEXT + 1)}, {"pipeline": str(uuid4())}])
def test_what_is_wrong_is_told(admin_client: Client, wrong: dict[str, str]) -> None:
    html = admin_client.post(PAGE, {"text": WORDS, "step": "send", **wrong}).content.decode()
    assert "Sent to" not in html
    assert "See how many it reaches" in html
    assert not AuditEntry.objects.exists()


def test_what_was_looked_at_may_be_changed(admin_client: Client) -> None:
    html = admin_client.post(PAGE, {"text": WORDS, "wire": "contact", "step": "change"}).content.decode()
    assert WORDS in html
    assert "See how many it reaches" in html


def test_a_stranger_to_broadcasts_is_refused(client: Client, pipeline: Pipeline) -> None:
    assert client.get(PAGE).status_code == 302
    viewer = User.objects.create_user("vera", password="x", is_staff=True)
    client.force_login(viewer)
    assert client.get(PAGE).status_code == 403
    assert client.post(PAGE, {"text": WORDS, "step": "send"}).status_code == 403
    assert "/admin/broadcast/" not in client.get("/admin/").content.decode()
    viewer.user_permissions.add(Permission.objects.get(codename="broadcast_message"))
    assert client.get(PAGE).status_code == 200


def test_with_many_connections_it_takes_few_queries(
    admin_client: Client, pipeline: Pipeline, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    now = timezone.now()
    row = {"worker": uuid4(), "wire": "langbot", "session_type": "person", "connected_at": now, "last_active": now}
    Connection.objects.bulk_create(Connection(uuid=uuid4(), pipeline=pipeline.uuid, **row) for _ in range(2_000))
    for step in ("look", "send"):
        with django_assert_max_num_queries(MOST_QUERIES):
            html = admin_client.post(PAGE, {"text": WORDS, "step": step}).content.decode()
        assert step == "send" or "Send to 2,000 live connections" in html
