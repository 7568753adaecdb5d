"""The writes of who is here, many of a kind at once."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from pytest_django import DjangoAssertNumQueries

from connections.jobs import (
    Activity,
    Beat,
    Close,
    ConnectionRow,
    EndWorker,
    Open,
    PurgeConnections,
    Register,
    Rename,
    Reopen,
    Touch,
)
from connections.models import Connection, Worker

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(minutes=1)


def opened(worker: UUID | None = None) -> UUID:
    """Store a connection and return its id."""
    row = ConnectionRow(uuid4(), worker or uuid4(), "langbot", None, None, "person", None, "::1", "", NOON)
    Open.apply([Open(row)])
    return row.uuid


def did(uuid: UUID, messages: int = 1) -> Activity:
    return Activity(uuid, LATER, messages, messages * 2, messages * 3, messages * 4)


def test_many_connections_are_opened_in_one_statement(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    jobs = [
        Open(ConnectionRow(uuid4(), uuid4(), "langbot", uuid4(), uuid4(), "group", None, "::1", "x" * 300, NOON, "b"))
        for _ in range(50)
    ]
    with django_assert_num_queries(1):
        assert Open.apply(jobs) == [None] * 50
    row = Connection.objects.get(uuid=jobs[7].row.uuid)
    assert (row.pipeline, row.session, row.session_type) == (jobs[7].row.pipeline, jobs[7].row.session, "group")
    assert (row.client, row.last_active, row.ended_at) == ("b", NOON, None)


def test_the_latest_name_of_a_batch_stays(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    one, other, session = opened(), opened(), uuid4()
    with django_assert_num_queries(1):
        assert Rename.apply([Rename(one, "a", uuid4()), Rename(one, "b", session)]) == [None, None]
    row = Connection.objects.get(uuid=one)
    assert (row.client, row.session) == ("b", session)
    assert Connection.objects.get(uuid=other).client == ""


def test_the_latest_counters_of_a_batch_stay(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    one, two = opened(), opened()
    with django_assert_num_queries(1):
        Touch.apply([Touch((did(one, 1), did(two, 5))), Touch((did(one, 3),))])
    row = Connection.objects.get(uuid=one)
    assert (row.messages_in, row.messages_out, row.bytes_in, row.bytes_out) == (3, 6, 9, 12)
    assert row.last_active == LATER
    assert Connection.objects.get(uuid=two).messages_in == 5


def test_counters_of_a_connection_that_is_gone_from_the_table_are_left_out() -> None:
    one = opened()
    Touch.apply([Touch((did(uuid4()), did(one)))])
    assert Close.apply([Close(did(uuid4()), 1000, "")]) == [None]
    assert Connection.objects.get().messages_in == 1


def test_an_end_keeps_code_reason_and_counters() -> None:
    one, two = opened(), opened()
    Close.apply([Close(did(one, 2), 1008, "too many refused frames"), Close(did(two), 1000, "长" * 200)])
    row = Connection.objects.get(uuid=one)
    assert (row.close_code, row.close_reason, row.messages_in) == (1008, "too many refused frames", 2)
    assert row.ended_at is not None
    assert Connection.objects.get(uuid=two).close_reason == "长" * 123


def test_a_lease_counts_up_until_it_ended() -> None:
    one, two = uuid4(), uuid4()
    Register.apply([Register(one, "host", 1), Register(two, "host", 2)])
    assert Beat.apply([Beat(one), Beat(one), Beat(uuid4())]) == [True, True, False]
    EndWorker.apply([EndWorker(one)])
    assert Beat.apply([Beat(one), Beat(two)]) == [False, True]
    assert Worker.objects.get(uuid=one).beat == 2


def test_a_worker_ends_with_its_own_connections_only() -> None:
    one, two = uuid4(), uuid4()
    Register.apply([Register(one, "host", 1), Register(two, "host", 2)])
    lost, closed, others = opened(one), opened(one), opened(two)
    Close.apply([Close(did(closed), 1000, "bye")])
    assert EndWorker.apply([EndWorker(one)]) == [1]
    first_end = Worker.objects.get(uuid=one).ended_at
    assert EndWorker.apply([EndWorker(one, 1012, "server stopped")]) == [None]
    assert Worker.objects.get(uuid=one).ended_at == first_end
    assert Connection.objects.get(uuid=lost).close_code == 1006
    assert Connection.objects.get(uuid=closed).close_code == 1000
    assert Connection.objects.get(uuid=others).ended_at is None


def test_what_is_still_open_lives_on_under_a_new_lease() -> None:
    old, new = uuid4(), uuid4()
    kept, lost = opened(old), opened(old)
    EndWorker.apply([EndWorker(old)])
    Reopen.apply([Reopen(new, (kept,))])
    row = Connection.objects.get(uuid=kept)
    assert (row.worker, row.ended_at, row.close_code, row.close_reason) == (new, None, None, "")
    assert Connection.objects.get(uuid=lost).ended_at is not None


def test_what_ended_long_ago_is_forgotten_and_its_worker_with_the_last_of_it() -> None:
    now = datetime.now(UTC)
    workers = {name: uuid4() for name in ("gone", "quiet", "alive")}
    for worker in workers.values():
        Register.apply([Register(worker, "here", 1)])
    old, live = opened(workers["gone"]), opened(workers["alive"])
    late = opened(workers["quiet"])
    Close.apply([Close(did(uuid), 1000, "") for uuid in (old, late)])
    Connection.objects.filter(uuid=old).update(ended_at=LATER)
    Worker.objects.exclude(uuid=workers["alive"]).update(ended_at=LATER)
    assert PurgeConnections.apply([PurgeConnections(now - timedelta(days=30))]) == [1]
    assert set(Connection.objects.values_list("uuid", flat=True)) == {live, late}
    assert set(Worker.objects.values_list("uuid", flat=True)) == {workers["quiet"], workers["alive"]}
