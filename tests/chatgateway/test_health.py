"""What an operator's probes see: the process lives; it can serve, or not, and again."""

import http.client
import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tests.conftest import GatewayFactory, Serve
from tests.support.databases import PostgresServer
from tests.support.server import GatewayProcess
from tests.support.waiting import wait_until

PATIENCE = 5.0  # R11: error and recovery


def get(gateway: GatewayProcess, path: str, method: str = "GET") -> tuple[int, Any]:
    """Return status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        body = response.read()
        return response.status, json.loads(body) if body.startswith(b"{") else body
    finally:
        connection.close()


def allow_connections(url: str, allowed: bool) -> None:
    """Let a database be used, or end its connections and take no new ones."""
    server, name = url.split("?", maxsplit=1)[0].rsplit("/", 1)
    with psycopg.connect(f"{server}/postgres?{url.split('?', maxsplit=1)[1]}", autocommit=True) as connection:
        connection.execute(
            sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format(sql.Identifier(name), sql.Literal(allowed))
        )
        if not allowed:
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])


@pytest.fixture(scope="module")
def gateway(serve: Serve) -> Iterator[GatewayProcess]:
    """A gateway that everybody on this machine may use."""
    with serve() as gateway:
        yield gateway


def test_a_gateway_that_runs(gateway: GatewayProcess) -> None:
    assert get(gateway, "/healthz") == (200, {"status": "ok"})
    assert get(gateway, "/readyz") == (200, {"status": "ok", "database": "ok"})
    assert get(gateway, "/readyz", "HEAD") == (200, b"")
    assert get(gateway, "/healthz", "POST")[0] == 405


def test_probes_need_no_token(start_gateway: GatewayFactory) -> None:
    gateway = start_gateway(environment={"ACCESS_MODE": "token"})
    assert (get(gateway, "/healthz")[0], get(gateway, "/readyz")[0]) == (200, 200)


def test_a_database_that_is_away_and_comes_back(start_gateway: GatewayFactory, postgres: PostgresServer) -> None:
    gateway = start_gateway(database="postgres")
    allow_connections(gateway.database_url, allowed=False)
    wait_until(lambda: get(gateway, "/readyz")[0] == 503, timeout=PATIENCE, what="GET /readyz 503")
    assert get(gateway, "/readyz")[1]["status"] == "unavailable"
    assert get(gateway, "/healthz") == (200, {"status": "ok"})
    allow_connections(gateway.database_url, allowed=True)
    wait_until(lambda: get(gateway, "/readyz")[0] == 200, timeout=PATIENCE, what="GET /readyz 200")


@pytest.mark.parametrize("header", ["Forwarded", "X-Forwarded-For"])
def test_open_access_is_not_served_through_a_proxy(gateway: GatewayProcess, header: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
    connection.request("GET", "/api/v1/pipelines", headers={header: "10.0.0.1"})
    assert connection.getresponse().status == 403
    connection.close()
