"""A real database of either kind as Django's default, for a store with the threads that it has in production."""

import copy
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from django.db import connections
from pytest_django import DjangoDbBlocker

from chatgateway.settings import _database as database_settings
from conversations import signals
from conversations.models import Pipeline, Route
from conversations.responders.base import Responder
from conversations.turns import TurnLimits
from tests.conversations.doubles import Audience, WatchedStore
from tests.conversations.houses import House, OpenHouse
from tests.support.server import Templates

TABLES = "conversations_pipeline, conversations_chatsession, conversations_message, conversations_turn"


class Database:
    """The database of a test, and a way to it that is none of Django's.

    Tests share one database of each kind: each has its own pipeline and sessions, and none looks at all of them.
    """

    def __init__(self, kind: str, url: str) -> None:
        self.kind = kind
        self.url = url
        self.settings = connections.configure_settings({"default": copy.deepcopy(database_settings(url))})["default"]

    def set_lock_timeout(self, seconds: float) -> None:
        """Let connections that are made from now on wait so long for a lock."""
        options = self.settings["OPTIONS"]
        if self.kind == "sqlite":
            options["timeout"] = seconds
        else:
            options["options"] = f"-c lock_timeout={int(seconds * 1000)}"

    def connect(self) -> Any:
        """Return a connection of the driver itself, which commits each statement."""
        if self.kind == "sqlite":
            return sqlite3.connect(urlsplit(self.url).path, isolation_level=None)
        return psycopg.connect(self.url, autocommit=True)

    def has_pipeline(self, name: str) -> bool:
        """Tell whether a pipeline of that name is committed."""
        mark = "?" if self.kind == "sqlite" else "%s"
        connection = self.connect()
        try:
            found = connection.execute(f"SELECT count(*) FROM conversations_pipeline WHERE name = {mark}", (name,))  # noqa: S608
            return bool(found.fetchone()[0])
        finally:
            connection.close()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep everybody else from writing meanwhile."""
        connection = self.connect()
        try:
            if self.kind == "sqlite":
                connection.execute("BEGIN IMMEDIATE")
            else:
                connection.execute("BEGIN")
                connection.execute(f"LOCK TABLE {TABLES} IN EXCLUSIVE MODE")
            yield
            connection.execute("ROLLBACK")
        finally:
            connection.close()


@pytest.fixture(scope="session")
def database_urls() -> dict[str, str]:
    """The databases made so far, by kind."""
    return {}


@pytest.fixture(params=["sqlite", "postgres"])
def database(
    request: pytest.FixtureRequest,
    templates: Templates,
    database_urls: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
    django_db_blocker: DjangoDbBlocker,
) -> Iterator[Database]:
    """A migrated database that every connection of this test's threads leads to."""
    kind: str = request.param
    if kind not in database_urls:
        database_urls[kind] = (
            templates.copy_sqlite(tmp_path_factory.mktemp("database"))
            if kind == "sqlite"
            else templates.copy_postgres(request.getfixturevalue("postgres"))
        )
    database = Database(kind, database_urls[kind])
    settings, connection = connections.settings["default"], connections["default"]
    with django_db_blocker.unblock():
        _close(connection)
        connections.settings["default"] = database.settings
        del connections["default"]
        try:
            yield database
        finally:
            _close(connections["default"])
            connections.settings["default"] = settings
            connections["default"] = connection


def _close(connection: Any) -> None:
    connection.close()
    if connection.vendor == "postgresql":
        connection.close_pool()


@pytest.fixture
def pipeline(database: Database) -> Pipeline:
    """A pipeline of this test's own, without a route."""
    return Pipeline.objects.create(name="Shop")


@pytest.fixture
async def store(database: Database) -> AsyncIterator[WatchedStore]:
    """A running store."""
    store = WatchedStore()
    yield store
    await store.stop()


@pytest.fixture
async def open_house(database: Database) -> AsyncIterator[OpenHouse]:
    """A function that opens a worker; its responders are its pipeline's routes, in order.

    `only_for` says of a route how it matches and by which pattern. `beside` another worker it shares that one's
    pipeline, routes and audience.
    """
    houses: list[House] = []

    async def open_house(
        *,
        beside: House | None = None,
        failure_text: str = "",
        deadline: float = 30.0,
        interval: float = 0.01,
        pace: float = 0.01,
        only_for: dict[str, tuple[str, str]] | None = None,
        **responders: Responder,
    ) -> House:
        uuid = beside.pipeline if beside else uuid4()
        audience = beside.audience if beside else Audience()
        house = House(uuid, responders, audience, TurnLimits(deadline, interval, pace))
        houses.append(house)

        def build() -> None:
            pipeline = Pipeline.objects.create(uuid=uuid, name="Shop", failure_text=failure_text)
            for position, kind in enumerate(responders):
                match, pattern = (only_for or {}).get(kind, ("always", ""))
                Route.objects.create(pipeline=pipeline, position=position, kind=kind, match=match, pattern=pattern)

        if beside is None:
            await house.store.read(build)
        await house.catalogue.refresh()
        return house

    yield open_house
    for house in houses:
        await house.close()


@pytest.fixture
def kind() -> str:
    """A kind of outbox entries of this test's own: others' lie in the same table."""
    return uuid4().hex[:16]


@pytest.fixture
def changes() -> Iterator[list[object]]:
    """How often pages were told that something changed."""
    told: list[object] = []

    def tell(**_signal: Any) -> None:
        told.append(None)

    signals.changed.connect(tell)
    yield told
    signals.changed.disconnect(tell)
