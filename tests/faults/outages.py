"""What may happen to a database: each of these breaks it, and mends it as its block ends."""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psycopg

from tests.faults.measuring import Place
from tests.faults.proxy import FaultyProxy
from tests.support.databases import PostgresServer, ValkeyServer
from tests.support.server import GatewayProcess

CONNECTIONS = 30  # that the server takes
WRITTEN = "conversations_chatsession, connections_hubclient, connections_worker"


@dataclass(frozen=True)
class Site:
    """A gateway, its database, and how to look into that past everything that is broken."""

    gateway: GatewayProcess
    stored: Callable[[], dict[str, int]]  # question → how often it is stored
    on: Place


@dataclass(frozen=True)
class PostgresSite(Site):
    """One on PostgreSQL."""

    server: PostgresServer
    proxy: FaultyProxy
    url: str


class Behind(Protocol):
    """What is reached through a proxy."""

    @property
    def proxy(self) -> FaultyProxy: ...


class Run(Protocol):
    """What is run by a server that can be stopped."""

    @property
    def server(self) -> PostgresServer | ValkeyServer: ...


# --- What happens to PostgreSQL --------------------------------------------------------------------


@contextmanager
def stopped(site: Run) -> Iterator[None]:
    """It is stopped, and started again."""
    site.server.stop()
    try:
        yield
    finally:
        site.server.start()


@contextmanager
def crashed(site: PostgresSite) -> Iterator[None]:
    """It ends as if its machine had lost power, and is started again."""
    site.server.stop(immediately=True)
    try:
        yield
    finally:
        site.server.start()


@contextmanager
def refused(site: PostgresSite) -> Iterator[None]:
    """Its connections are reset, and new ones refused."""
    site.proxy.refuse()
    site.proxy.cut()
    try:
        yield
    finally:
        site.proxy.accept()


@contextmanager
def stalled(site: Behind) -> Iterator[None]:
    """Nothing comes through, and nobody says so."""
    site.proxy.stall()
    try:
        yield
    finally:
        site.proxy.flow()


@contextmanager
def vanished(site: Behind) -> Iterator[None]:
    """Nothing comes through, and when it could again its connections are forgotten."""
    site.proxy.stall()
    try:
        yield
    finally:
        site.proxy.cut()
        site.proxy.flow()


@contextmanager
def locked(site: PostgresSite) -> Iterator[None]:
    """Another session has locked the rows that are to be written."""
    with psycopg.connect(**site.server.address(site.url)) as other:
        other.execute(f"LOCK TABLE {WRITTEN} IN EXCLUSIVE MODE")
        try:
            yield
        finally:
            other.rollback()


@contextmanager
def crowded(site: PostgresSite) -> Iterator[None]:
    """Others have all of its connections."""
    site.proxy.refuse()
    site.proxy.cut()
    with ExitStack() as others:
        with contextlib.suppress(psycopg.OperationalError):
            for _ in range(2 * CONNECTIONS):
                others.enter_context(psycopg.connect(**site.server.address(site.url)))
            raise AssertionError("it takes more connections than it was told to")
        site.proxy.accept()
        yield


@contextmanager
def read_only(site: PostgresSite) -> Iterator[None]:
    """It takes no writes, as one that is a copy of another."""
    _set_read_only(site, "on")
    try:
        yield
    finally:
        _set_read_only(site, "off")


def _set_read_only(site: PostgresSite, value: str) -> None:
    with psycopg.connect(**site.server.address(site.url), autocommit=True) as connection:
        connection.execute("SET default_transaction_read_only = off")
        connection.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
        connection.execute("SELECT pg_reload_conf()")


# --- What happens to SQLite ------------------------------------------------------------------------


@contextmanager
def held(site: Site) -> Iterator[None]:
    """Another process is writing, and does not come to an end."""
    path = site.gateway.database_url.removeprefix("sqlite:///")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")  # undone as it is closed
        yield


@contextmanager
def full(site: Site) -> Iterator[None]:
    """There is no room on its disk."""
    filler = Path(site.gateway.database_url.removeprefix("sqlite:///")).with_name("filler")
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    try:
        yield
    finally:
        filler.unlink()
