"""Staff closes connections: those chosen in the list, and all of an application."""

import asyncio
import re
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from connections import services, signals
from connections.events import EndConnections
from connections.models import Application, AuditEntry, Connection, Worker
from tests.conftest import Serve
from tests.support.applications import make_application
from tests.support.clients import PipelineClient
from tests.support.postoffice import HubClient
from tests.support.staff import Staff
from tests.support.waiting import free_port

pytestmark = pytest.mark.django_db

MOST_QUERIES = 15
MANY = 2_000
CLOSING = {"code": "1013", "reason": "closed by the operator"}


def connect(**fields: Any) -> Connection:
    now = timezone.now()
    row = {"worker": uuid4(), "wire": "langbot", "connected_at": now, "last_active": now, **fields}
    return Connection.objects.create(uuid=uuid4(), **row)


def path(name: str, *args: object) -> str:
    return reverse(f"admin:connections_{name}", args=args)


@pytest.fixture
def application() -> Application:
    return services.create_application("shop")[0]


@pytest.fixture
def asked() -> Iterator[list[EndConnections]]:
    """What was asked of the processes."""
    events: list[EndConnections] = []

    def note(event: EndConnections, **_signal: Any) -> bool:
        events.append(event)
        return True

    signals.asked.connect(note)
    yield events
    signals.asked.disconnect(note)


def many(application: Application) -> None:
    now = timezone.now()
    worker = Worker.objects.create(uuid=uuid4(), host="here", pid=1, started_at=now)
    row = {"worker": worker.uuid, "wire": "langbot", "connected_at": now, "last_active": now}
    Connection.objects.bulk_create(
        Connection(uuid=uuid4(), application=application.uuid, client=f"visitor {number}", **row)
        for number in range(MANY)
    )


def test_all_pages_of_the_list_are_closed_at_once(
    admin_client: Client,
    application: Application,
    asked: list[EndConnections],
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    many(application)
    first = Connection.objects.first()
    assert first is not None
    chosen = {"action": "close_selected", "_selected_action": str(first.pk), "select_across": "1"}
    with django_assert_max_num_queries(MOST_QUERIES):
        html = admin_client.post(path("connection_changelist"), chosen).content.decode()
    assert "Close 2,000 connections" in html
    posted = dict(re.findall(r'<input type="hidden" name="(\w+)" value="(\w+)">', html))
    assert chosen.items() <= posted.items(), "what was chosen is posted again"
    with django_assert_max_num_queries(MOST_QUERIES):
        html = admin_client.post(path("connection_changelist"), {**posted, **CLOSING}, follow=True).content.decode()
    assert "2,000 connections asked to close with 1013" in html
    assert sum(len(event.connections) for event in asked) == MANY
    assert {(event.code, event.reason) for event in asked} == {(1013, "closed by the operator")}
    [entry] = AuditEntry.objects.filter(action="connections closed")
    assert entry.subject == "2000 connections"
    named = re.fullmatch(r"1013: closed by the operator; ((?:\w{8}, ){9}\w{8}) and 1990 more", entry.details)
    assert named is not None
    assert {*named[1].split(", ")} <= {str(uuid)[:8] for event in asked for uuid in event.connections}


def test_all_connections_of_an_application_are_closed_from_its_page(
    admin_client: Client,
    application: Application,
    asked: list[EndConnections],
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    many(application)
    other = connect(application=services.create_application("other")[0].uuid)
    connect(application=application.uuid, ended_at=timezone.now())
    page = path("application_close_its_connections", application.pk)
    with django_assert_max_num_queries(MOST_QUERIES):
        assert "Close 2,000 connections of shop" in admin_client.get(page).content.decode()
    assert not asked
    html = admin_client.post(page, {**CLOSING, "code": "4003"}, follow=True).content.decode()
    assert "2,000 connections asked to close with 4003" in html
    closed = [uuid for event in asked for uuid in event.connections]
    assert len(closed) == MANY
    assert other.uuid not in closed
    [entry] = AuditEntry.objects.filter(action="connections closed")
    assert entry.subject == f"2000 connections of application shop ({application.appid})"
    assert entry.actor == "admin"
    assert entry.details.startswith("4003: closed by the operator; ")


def test_the_page_names_the_first_ten_and_leads_back(admin_client: Client, application: Application) -> None:
    rows = [connect(wire="wechat", client=f"visitor {number}", address=f"192.0.2.{number}") for number in range(12)]
    list_ = f"{path('connection_changelist')}?wire=wechat"
    chosen = {"action": "close_selected", "_selected_action": [row.pk for row in rows]}
    html = admin_client.post(list_, chosen).content.decode()
    named = re.findall(r">WeChat · <bdi>(visitor \d+)</bdi> · 192\.0\.2\.\d+<", html)
    assert len(set(named)) == len(named) == 10
    assert "and 2 more" in html
    assert re.search(rf'href="{re.escape(list_)}"[^>]*>\s*Cancel', html)
    assert "At most 123 bytes" in html
    connect(application=application.uuid, address="198.51.100.7")
    html = admin_client.get(path("application_close_its_connections", application.pk)).content.decode()
    assert ">Pipeline · 198.51.100.7<" in html
    assert re.search(rf'href="{path("application_change", application.pk)}"[^>]*>\s*Cancel', html)
    assert "more</li>" not in html


def test_connections_of_several_applications_are_closed_from_their_list(
    admin_client: Client, application: Application, asked: list[EndConnections]
) -> None:
    other = services.create_application("desk")[0]
    mine = {connect(application=owner.uuid).uuid for owner in (application, other)}
    connect()
    chosen = {"action": "close_connections_of", "_selected_action": [application.pk, other.pk]}
    html = admin_client.post(path("application_changelist"), chosen).content.decode()
    assert "Close 2 connections of shop, desk" in html or "Close 2 connections of desk, shop" in html
    admin_client.post(path("application_changelist"), {**chosen, **CLOSING})
    assert {uuid for event in asked for uuid in event.connections} == mine


def test_where_none_is_live_there_is_nothing_to_close(admin_client: Client, application: Application) -> None:
    page = path("application_close_its_connections", application.pk)
    assert "none is live" in admin_client.get(page, follow=True).content.decode()


def test_where_the_workers_are_not_reached_the_page_and_the_trail_say_so(
    admin_client: Client, application: Application, settings: Any
) -> None:
    many(application)
    hosts = [f"redis://127.0.0.1:{free_port()}"]
    settings.CHANNEL_LAYERS = {
        "default": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": {"hosts": hosts}}
    }
    page = path("application_close_its_connections", application.pk)
    html = admin_client.post(page, CLOSING, follow=True).content.decode()
    assert "The workers cannot be reached: 2,000 connections may stay open; please try again." in html
    assert "asked to close" not in html
    entries = AuditEntry.objects.filter(action="connections closed").order_by("id")
    assert [entry.details[:6] for entry in entries] == ["1013: ", "failed"]


@pytest.mark.parametrize("wrong", [{"code": "1000"}, {"reason": ""}, {"reason": "长" * 42}])
def test_an_unknown_code_or_a_reason_that_no_frame_can_carry_closes_nothing(
    admin_client: Client, application: Application, asked: list[EndConnections], wrong: dict[str, str]
) -> None:
    connect(application=application.uuid)
    page = path("application_close_its_connections", application.pk)
    assert "Close 1 connection of shop" in admin_client.post(page, {**CLOSING, **wrong}).content.decode()
    assert not asked


def test_who_may_only_look_closes_nothing(
    client: Client, application: Application, asked: list[EndConnections]
) -> None:
    viewer = User.objects.create_user("vera", password="x", is_staff=True)
    viewer.user_permissions.set(Permission.objects.filter(codename__in=["view_connection", "view_application"]))
    client.force_login(viewer)
    row = connect(application=application.uuid)
    assert client.post(path("application_close_its_connections", application.pk), CLOSING).status_code == 403
    assert "close_selected" not in client.get(path("connection_changelist")).content.decode()
    chosen = {"action": "close_selected", "_selected_action": row.pk}
    assert "Close 1" not in client.post(path("connection_changelist"), {**chosen, **CLOSING}).content.decode()
    assert not asked


async def test_its_sockets_get_the_code_and_the_reason_of_the_page_and_others_stay(serve: Serve) -> None:
    with serve(ACCESS_MODE="token") as gateway:
        mine, other = make_application(gateway), make_application(gateway)
        sockets = [
            await PipelineClient.connect(gateway, headers={"Authorization": f"Bearer {mine.token}"}),
            await HubClient.connect(gateway, "mine", headers={"Authorization": f"Bearer {mine.token}"}),
        ]
        staff = await asyncio.to_thread(Staff, gateway)
        async with await PipelineClient.connect(gateway, headers={"Authorization": f"Bearer {other.token}"}) as stays:
            page = f"/admin/connections/application/{mine.uuid}/close/"
            assert "No, it is not wanted (4003)" in await asyncio.to_thread(staff.get, page)
            longest = "搬" * 41
            done = await asyncio.to_thread(staff.post, page, code="4003", reason=longest)
            assert "2 connections asked to close with 4003" in done
            for socket in sockets:
                assert await socket.closed() == 4003
                assert socket.socket.close_reason == longest
            assert (await stays.ping())["type"] == "pong"
        staff.close()
