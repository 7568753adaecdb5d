"""Who is here, counted over every process."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from pytest_django import DjangoAssertNumQueries

from connections.models import Connection, HubClient, Worker
from connections.selectors import (
    PRESENT,
    is_connected,
    live_among,
    live_connections,
    live_count,
    live_statistics,
    live_workers,
    present_in,
)

pytestmark = pytest.mark.django_db

ONE, OTHER = UUID(int=1), UUID(int=2)
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def connect(pipeline: UUID | None = ONE, session_type: str = "person", **fields: Any) -> Connection:
    row = {"worker": uuid4(), "wire": "langbot", "connected_at": NOON, "last_active": NOON, **fields}
    return Connection.objects.create(uuid=uuid4(), pipeline=pipeline, session_type=session_type, **row)


def test_nobody_is_here() -> None:
    statistics = live_statistics()
    assert (statistics.total_connections, statistics.pipelines) == (0, 0)
    assert statistics.connections_by_pipeline == {}
    assert statistics.connections_by_session_type == {"person": 0, "group": 0}


def test_live_sockets_of_the_pipeline_wire_are_counted(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    connect()
    connect()
    connect(session_type="group")
    connect(OTHER)
    connect(ended_at=NOON)
    connect(wire="wechat")
    with django_assert_num_queries(1):
        statistics = live_statistics()
    assert statistics.total_connections == 4
    assert statistics.pipelines == 2
    assert statistics.connections_by_pipeline == {ONE: 3, OTHER: 1}
    assert statistics.connections_by_session_type == {"person": 3, "group": 1}


def test_live_connections_are_counted_by_pipeline_session_type_and_wire() -> None:
    connect()
    connect(session_type="group")
    connect(OTHER)
    connect(ended_at=NOON)
    connect(wire="contact")
    connect(wire="wechat")
    both, wires = ("person", "group"), ("langbot", "contact")
    assert live_count([ONE], both, wires) == 3
    assert live_count([ONE, OTHER], both, wires) == 4
    assert live_count([ONE], ("group",), wires) == 1
    assert live_count([ONE], both, ("contact",)) == 1
    assert live_count([uuid4()], both, wires) == 0


def test_a_pipelines_sockets_are_listed_oldest_first() -> None:
    late = connect(connected_at=NOON + timedelta(minutes=1))
    early = connect(last_active=NOON + timedelta(minutes=5))
    connect(OTHER)
    connect(ended_at=NOON)
    listed = live_connections(ONE)
    assert [row.connection_id for row in listed] == [early.uuid, late.uuid]
    assert (listed[0].session_type, listed[0].created_at) == ("person", NOON)
    assert listed[0].last_active == NOON + timedelta(minutes=5)


def test_who_is_in_a_session_is_told_oldest_first() -> None:
    session = uuid4()
    connect(session=session, client="late", connected_at=NOON + timedelta(minutes=1))
    connect(session=session, client="early")
    connect(session=session, client="gone", ended_at=NOON)
    connect(session=uuid4(), client="elsewhere")
    assert [present.client for present in present_in(session, "contact", "whoever")] == ["early", "late"]
    for _ in range(PRESENT):
        connect(session=session)
    assert len(present_in(session, "contact", "")) == PRESENT


def test_on_the_hub_a_conversation_s_client_is_there_by_its_name() -> None:
    connect(None, "", wire="postoffice", client="/service/weather", address="192.0.2.1")
    connect(None, "", wire="postoffice", client="/service/other")
    connect(wire="contact", client="/service/weather")
    connect(None, "", wire="postoffice", client="/service/weather", ended_at=NOON)
    assert [present.address for present in present_in(uuid4(), "postoffice", "/service/weather")] == ["192.0.2.1"]


def test_workers_whose_lease_has_not_ended() -> None:
    live, ended = uuid4(), uuid4()
    Worker.objects.create(uuid=live, host="a", pid=1, beat=7, started_at=NOON)
    Worker.objects.create(uuid=ended, host="a", pid=2, beat=9, started_at=NOON, ended_at=NOON)
    assert live_workers() == {live: 7}
    assert live_among({live, ended, uuid4()}) == {live}


def test_a_named_client_is_connected_while_its_worker_lives() -> None:
    worker = Worker.objects.create(uuid=uuid4(), host="here", pid=1, started_at=NOON)
    client = HubClient.objects.create(
        client_id="/service/weather", connection=uuid4(), worker=worker.uuid, first_seen=NOON, last_seen=NOON
    )
    assert is_connected("/service/weather")
    assert not is_connected("/service/weather_1")
    Worker.objects.update(ended_at=NOON)
    assert not is_connected("/service/weather")
    Worker.objects.update(ended_at=None)
    HubClient.objects.filter(pk=client.pk).update(connection=None, worker=None)
    assert not is_connected("/service/weather")
