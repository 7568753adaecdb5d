"""However many connections have ended: no page and no question about who is here goes through all of them."""

import re
from collections.abc import Iterator
from datetime import timedelta
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from connections import selectors
from connections.filters import HISTORY
from connections.models import Connection
from tests.conversations.conftest import Database
from tests.conversations.test_desk import explain

LIVE, TIMES, DOUBLED = 200, 500, 6  # so many live ones, and of those that ended: 500 moments, each 64 times
ENDED = TIMES * 2**DOUBLED
LISTS = (
    "", "?o=2", "?wire=contact", "?q=visitor", "?state=ended", "?state=ended&p=3", "?state=ended&o=-7",
    "?state=ended&wire=contact", "?state=ended&q=nobody", f"?state=ended&q={uuid4()}", "?state=all", "?state=all&o=2",
)  # fmt: skip
# What EXPLAIN says where the whole table, or all of its one index with the ended ones, is read row by row.
WHOLE_TABLE = re.compile(
    r"Seq Scan on connections_connection"
    r"|SCAN connections_connection(?! USING)|SCAN connections_connection USING INDEX connection_latest"
)


@pytest.fixture
def owner(real_database: Database) -> Iterator[Client]:
    """A superuser's browser, on a deployment with a long history."""
    with transaction.atomic():
        _fill()
        client = Client()
        client.force_login(User.objects.create_superuser(f"owner-{uuid4()}"))
        yield client
        transaction.set_rollback(True)


def _fill() -> None:
    now = timezone.now()

    def row(place: int, *, live: bool) -> Connection:
        at = now - timedelta(minutes=place)
        return Connection(
            uuid=uuid4(), worker=uuid4(), wire="langbot", pipeline=uuid4(), session=uuid4(), session_type="person",
            client=f"visitor {place}", connected_at=at, last_active=at, ended_at=None if live else at,
        )  # fmt: skip

    Connection.objects.bulk_create(row(place, live=False) for place in range(TIMES))
    columns = ", ".join(field.attname for field in Connection._meta.fields if field.attname not in ("id", "uuid"))
    new = "lower(hex(randomblob(16)))" if connection.vendor == "sqlite" else "gen_random_uuid()"
    with connection.cursor() as cursor:
        for _ in range(DOUBLED):
            cursor.execute(
                f"INSERT INTO connections_connection (uuid, {columns})"  # noqa: S608  names of ours
                f" SELECT {new}, {columns} FROM connections_connection"
            )
        Connection.objects.bulk_create(row(place, live=True) for place in range(LIVE))
        if connection.vendor == "postgresql":
            cursor.execute("ANALYZE connections_connection")


def _whole_tables(captured: CaptureQueriesContext) -> list[str]:
    """Return how the database goes about those queries that read all connections there ever were."""
    about = [query["sql"] for query in captured if "connections_connection" in query["sql"]]
    assert about
    return [plan for sql in about if WHOLE_TABLE.search(plan := explain(sql))]


def test_nothing_goes_through_the_whole_history(owner: Client) -> None:
    page = reverse("admin:connections_connection_changelist")
    for query in LISTS:
        with CaptureQueriesContext(connection) as captured:
            response = owner.get(page + query)
        assert response.status_code == 200, query
        assert not _whole_tables(captured), query
    counts = {query: owner.get(page + query).context["cl"].result_count for query in ("?state=ended", "?state=all")}
    assert all(HISTORY - LIVE <= count < HISTORY + 2**DOUBLED + 2 for count in counts.values()), counts
    oldest = Connection.objects.order_by("connected_at")[0]
    found = owner.get(page, {"q": str(oldest.uuid)}).context["cl"].result_list
    assert [row.uuid for row in found] == [oldest.uuid], "a UUID is found whatever its state and age"
    for wire, index in (("contact", "connection_session"), ("postoffice", "connection_client")):
        with CaptureQueriesContext(connection) as captured:
            selectors.present_in(uuid4(), wire, "/service/weather")
        assert index in explain(captured[0]["sql"])
    with CaptureQueriesContext(connection) as captured:
        selectors.live_statistics()
        selectors.live_connections(uuid4())
        selectors.live_count([uuid4()], ["person"], ["langbot"])
    assert not _whole_tables(captured)
