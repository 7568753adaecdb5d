"""Staff's pages for who is here."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.test import Client, RequestFactory
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from chatgateway.login import ATTEMPTS, LoginForm
from connections import services
from connections.models import Application, Connection, Worker
from conversations.models import ChatSession, Pipeline

pytestmark = pytest.mark.django_db

MOST_QUERIES = 15


@pytest.fixture
def application() -> Application:
    return services.create_application("shop")[0]


@pytest.fixture
def pipeline() -> Pipeline:
    return Pipeline.objects.create(name="Support")


def connect(worker: UUID, **fields: Any) -> Connection:
    now = timezone.now()
    row = {"wire": "langbot", "connected_at": now, "last_active": now, "session": uuid4(), **fields}
    return Connection.objects.create(uuid=uuid4(), worker=worker, **row)


def path(name: str, *args: object) -> str:
    return reverse(f"admin:connections_{name}", args=args)


def test_lists_take_few_queries_however_long(
    admin_client: Client,
    application: Application,
    pipeline: Pipeline,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    worker = Worker.objects.create(uuid=uuid4(), host="here", pid=1, started_at=timezone.now())
    for _ in range(30):
        services.issue_token(application)
        connect(worker.uuid, pipeline=pipeline.uuid)
    for name in ("application", "accesstoken", "connection", "worker"):
        with django_assert_max_num_queries(MOST_QUERIES):
            assert admin_client.get(path(f"{name}_changelist")).status_code == 200


def test_connections_show_the_live_ones_unless_asked_for_others(admin_client: Client, pipeline: Pipeline) -> None:
    worker = Worker.objects.create(uuid=uuid4(), host="here", pid=77, started_at=timezone.now())
    old = timezone.now() - timedelta(hours=1)
    said = {"created_at": old, "last_message_at": old}
    session = ChatSession.objects.create(uuid=uuid4(), pipeline=pipeline, session_type="person", **said)
    connect(worker.uuid, pipeline=pipeline.uuid, address="192.0.2.1", connected_at=old, session=session.uuid)
    connect(worker.uuid, address="192.0.2.2", ended_at=timezone.now())
    html = admin_client.get(path("connection_changelist")).content.decode()
    assert "192.0.2.1" in html
    assert "192.0.2.2" not in html
    assert "here:77" in html
    assert reverse("admin:conversations_chatsession_change", args=[session.uuid]) in html
    ended = admin_client.get(path("connection_changelist"), {"state": "ended"}).content.decode()
    assert "192.0.2.1" not in ended
    both = admin_client.get(path("connection_changelist"), {"state": "all"}).content.decode()
    assert both.index("192.0.2.2") < both.index("192.0.2.1"), "the newest first"


def test_connections_are_found_by_filter_and_uuid(admin_client: Client, pipeline: Pipeline) -> None:
    worker, other = (
        Worker.objects.create(uuid=uuid4(), host=host, pid=1, started_at=timezone.now()) for host in ("a", "b")
    )
    wanted = connect(worker.uuid, pipeline=pipeline.uuid, address="192.0.2.1")
    connect(other.uuid, wire="wechat", address="192.0.2.2")
    queries = (
        {"wire": "langbot"}, {"pipeline": str(pipeline.uuid)}, {"worker": str(worker.uuid)},
        {"q": str(wanted.uuid)}, {"q": str(wanted.session)}, {"q": "192.0.2.1"},
    )  # fmt: skip
    for query in queries:
        html = admin_client.get(path("connection_changelist"), query).content.decode()
        assert "192.0.2.1" in html
        assert "192.0.2.2" not in html


def test_a_session_in_which_nothing_was_said_has_no_transcript_to_open(admin_client: Client) -> None:
    row = connect(uuid4(), session=uuid4())
    html = admin_client.get(path("connection_changelist")).content.decode()
    assert str(row.session) in html
    assert reverse("admin:conversations_chatsession_change", args=[row.session]) not in html


def test_a_row_tells_who_it_is_what_it_carried_and_how_it_ended(admin_client: Client, application: Application) -> None:
    connect(uuid4(), client="/service/weather", wire="postoffice", messages_in=1234, bytes_out=12_345)
    connect(uuid4(), application=application.uuid, ended_at=timezone.now(), close_code=4003, close_reason="enough")
    html = admin_client.get(path("connection_changelist")).content.decode()
    for words in ("/service/weather", "1,234 / 0", "0 B / 12 kB", "?q=%2Fservice%2Fweather"):
        assert words in html
    assert "shop" not in html, "it has ended"
    html = admin_client.get(path("connection_changelist"), {"state": "ended"}).content.decode()
    assert "4003 enough" in html
    assert "shop" in html, "one that has no name of its own goes by its application's"


def test_what_ended_is_listed_by_its_beginning(admin_client: Client) -> None:
    now = timezone.now()
    connect(uuid4(), address="192.0.2.1", connected_at=now - timedelta(hours=2), ended_at=now)
    connect(uuid4(), address="192.0.2.2", connected_at=now - timedelta(hours=1), ended_at=now - timedelta(minutes=50))
    html = admin_client.get(path("connection_changelist"), {"state": "ended"}).content.decode()
    assert html.index("192.0.2.2") < html.index("192.0.2.1")


def test_connections_and_workers_are_read_only(admin_client: Client) -> None:
    worker = Worker.objects.create(uuid=uuid4(), host="here", pid=1, started_at=timezone.now())
    row = connect(worker.uuid)
    for name, pk in (("connection", row.pk), ("worker", worker.pk)):
        assert admin_client.get(path(f"{name}_change", pk)).status_code == 200
        assert admin_client.post(path(f"{name}_change", pk), {}).status_code == 403
        assert admin_client.get(path(f"{name}_add")).status_code == 403
        assert admin_client.post(path(f"{name}_delete", pk), {"post": "yes"}).status_code == 403


# --- Login -------------------------------------------------------------------------------------


@pytest.fixture
def _no_attempts() -> Iterator[None]:
    cache.clear()
    yield
    cache.clear()


def log_in(password: str, *, address: str = "192.0.2.1", name: str = "ann", via: str = "") -> LoginForm:
    hops: dict[str, Any] = {"REMOTE_ADDR": via, "HTTP_X_FORWARDED_FOR": address} if via else {"REMOTE_ADDR": address}
    request = RequestFactory().post("/admin/login/", **hops)
    return LoginForm(request, data={"username": name, "password": password})


@pytest.mark.usefixtures("_no_attempts")
def test_guessing_is_stopped_and_the_owner_elsewhere_is_not() -> None:
    User.objects.create_user("ann", password="right-password", is_staff=True)
    for _ in range(ATTEMPTS):
        assert "correct username and password" in str(log_in("wrong").errors)
    assert "Too many failed attempts" in str(log_in("right-password").errors)
    assert log_in("right-password", address="192.0.2.2").is_valid()


@pytest.mark.usefixtures("_no_attempts")
@pytest.mark.parametrize("trusted", [True, False])
def test_behind_a_trusted_proxy_guesses_count_by_the_clients_address(settings: Any, trusted: bool) -> None:
    settings.TRUSTED_PROXIES = ("10.0.0.0/8",) if trusted else ()
    User.objects.create_user("ann", password="right-password", is_staff=True)
    for _ in range(ATTEMPTS):
        assert not log_in("wrong", via="10.0.0.1").is_valid()
    assert not log_in("right-password", via="10.0.0.2" if trusted else "10.0.0.1").is_valid()
    assert log_in("right-password", via="10.0.0.1", address="192.0.2.2").is_valid() == trusted


@pytest.mark.usefixtures("_no_attempts")
def test_a_right_password_forgets_the_wrong_ones() -> None:
    User.objects.create_user("ann", password="right-password", is_staff=True)
    for _ in range(3):
        for _ in range(ATTEMPTS - 1):
            assert not log_in("wrong").is_valid()
        assert log_in("right-password").is_valid()
