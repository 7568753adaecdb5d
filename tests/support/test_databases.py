"""The harness's own servers: they answer, they come back, and databases are apart."""

import psycopg
import pytest
import redis

from tests.support.databases import PostgresServer, ValkeyServer
from tests.support.environment import ROOT


def connect(url: str) -> "psycopg.Connection[tuple[object, ...]]":
    return psycopg.connect(url, autocommit=True)


def test_postgres_gives_each_caller_an_empty_database(postgres: PostgresServer) -> None:
    first, second = postgres.create_database(), postgres.create_database()
    with connect(first) as connection:
        connection.execute("CREATE TABLE kept (id int)")
    with connect(second) as connection:
        assert connection.execute("SELECT to_regclass('kept')").fetchone() == (None,)


def test_postgres_copies_a_template(postgres: PostgresServer) -> None:
    template = postgres.create_database()
    with connect(template) as connection:
        connection.execute("CREATE TABLE kept AS SELECT '问题' AS text")
    with connect(postgres.create_database(template=template)) as connection:
        assert connection.execute("SELECT text FROM kept").fetchone() == ("问题",)


@pytest.mark.parametrize("immediately", [False, True], ids=["stopped", "crashed"])
def test_postgres_keeps_what_was_committed_over_a_restart(immediately: bool) -> None:
    server = PostgresServer()
    try:
        server.start()
        url = server.create_database()
        with connect(url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS id")
            server.stop(immediately=immediately)
        server.start()
        with connect(url) as connection:
            assert connection.execute("SELECT id FROM kept").fetchone() == (1,)
    finally:
        server.close()


def test_valkey_answers_and_keeps_its_port_over_a_restart() -> None:
    server = ValkeyServer()
    server.start()
    url = server.url
    with redis.Redis.from_url(url) as client:
        assert client.ping()
        server.restart()
        assert client.ping()
    server.stop()
    assert server.url == url
    assert not (ROOT / "dump.rdb").exists()
