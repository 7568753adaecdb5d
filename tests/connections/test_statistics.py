"""The numbers that staff sees: of live connections, of the hub, and of what the workers did."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.utils import timezone

from connections import statistics
from connections.metrics import BOUNDS
from connections.models import Connection, HubClient, Minute, Worker

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
BUCKETS = len(BOUNDS) + 1


def connect(worker: UUID, **fields: Any) -> None:
    now = timezone.now()
    row = {"wire": "langbot", "connected_at": now, "last_active": now, **fields}
    Connection.objects.create(uuid=uuid4(), worker=worker, **row)


def lease(**fields: Any) -> Worker:
    row = {"host": "here", "pid": 1, "started_at": timezone.now(), **fields}
    return Worker.objects.create(uuid=uuid4(), **row)


def did(minutes: int, worker: UUID, **fields: Any) -> None:
    Minute.objects.create(at=NOON + minutes * MINUTE, worker=worker, **fields)


def histogram(**counts: int) -> list[int]:
    return [counts.get(f"b{place}", 0) for place in range(BUCKETS)]


def test_live_connections_are_counted_by_wire_pipeline_and_worker() -> None:
    one, other, pipeline = uuid4(), uuid4(), uuid4()
    connect(one, pipeline=pipeline)
    connect(other, pipeline=pipeline, wire="contact")
    connect(other, wire="postoffice")
    connect(other, ended_at=timezone.now())
    counts = statistics.live_counts()
    assert counts.total == 3
    assert counts.by_wire == {"langbot": 1, "contact": 1, "postoffice": 1}
    assert counts.by_pipeline == {pipeline: 2, None: 1}
    assert counts.by_worker == {one: 1, other: 2}


def test_workers_that_live_come_first_and_those_that_ended_long_ago_are_left_out() -> None:
    now = timezone.now()
    ended = lease(pid=3, ended_at=now - MINUTE)
    second = lease(pid=2, beat=8)
    first = lease(pid=1, started_at=now - MINUTE)
    lease(ended_at=now - statistics.LATELY - MINUTE)
    told = statistics.workers()
    assert [worker.uuid for worker in told] == [first.uuid, second.uuid, ended.uuid]
    assert (told[1].beat, told[1].ended_at, told[2].ended_at) == (8, None, ended.ended_at)


def test_mailboxes_count_clients_and_letters_that_were_not_handed_over() -> None:
    now = timezone.now()
    for name, last, delivered in (("a", 5, 2), ("b", 4, 4), ("c", 1, 0)):
        HubClient.objects.create(client_id=name, last_seq=last, delivered_seq=delivered, first_seen=now, last_seen=now)
    assert statistics.mailboxes() == statistics.Mailboxes(clients=2, letters=4)


def test_without_letters_there_are_none() -> None:
    assert statistics.mailboxes() == statistics.Mailboxes(clients=0, letters=0)


def test_periods_add_up_what_all_workers_did() -> None:
    one, other = uuid4(), uuid4()
    did(0, one, messages=1, answers=1, errors=1, first_words=histogram(b3=2), whole_answers=histogram(b9=1))
    did(0, other, messages=10, answers=2, first_words=histogram(b3=1, b4=1))
    did(1, one, messages=100)
    did(-1, one, messages=1000)
    did(4, one, messages=1000)
    periods = statistics.periods(NOON, 2 * MINUTE, 2)
    assert [(period.at, period.messages, period.answers, period.errors) for period in periods] == [
        (NOON, 111, 3, 1),
        (NOON + 2 * MINUTE, 0, 0, 0),
    ]
    assert list(periods[0].first_words) == histogram(b3=3, b4=1)
    assert list(periods[0].whole_answers) == histogram(b9=1)


def test_a_period_tells_the_most_connections_that_were_live_at_once() -> None:
    one, other = uuid4(), uuid4()
    for minute, worker, connections in ((0, one, 5), (0, other, 6), (1, one, 7), (1, other, 1)):
        did(minute, worker, connections=connections)
    assert [period.connections for period in statistics.periods(NOON, 2 * MINUTE, 1)] == [11]


def test_histograms_of_other_buckets_are_left_out() -> None:
    did(0, uuid4(), answers=1, first_words=[1, 2])
    assert sum(statistics.periods(NOON, MINUTE, 1)[0].first_words) == 0
