"""Where there is more than it shows, no page of staff's takes many queries; `make bench` counts them with much more."""

from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoDbBlocker

from tests.support import crowd

pytestmark = pytest.mark.django_db

MOST_QUERIES = 15


@pytest.fixture(scope="module")
def owner(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Client]:
    """A superuser's browser, on a deployment with much in it that goes with the module."""
    with django_db_blocker.unblock(), transaction.atomic():
        crowd.build(crowd.SOME)
        client = Client()
        client.force_login(User.objects.create_superuser("owner"))
        yield client
        transaction.set_rollback(True)


def test_no_page_takes_many_queries(owner: Client) -> None:
    statuses, queries = {}, {}
    for page in crowd.pages():
        cache.clear()
        with CaptureQueriesContext(connection) as captured:
            statuses[page] = owner.get(page).status_code
        queries[page] = len(captured)
    assert {page: status for page, status in statuses.items() if status != 200} == {}
    assert {page: count for page, count in queries.items() if count > MOST_QUERIES} == {}
    assert len(queries) > 20
