"""One gateway in open mode and one in token mode for all tests of this wire; every test brings its own visitors."""

import contextlib
import sqlite3
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.support.server import GatewayProcess, Templates, manage

PASSWORD = "a password for tests"


@pytest.fixture(scope="module")
def gateway(templates: Templates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway that everybody on this machine may use."""
    folder = tmp_path_factory.mktemp("open")
    gateway = GatewayProcess(folder, templates.copy_sqlite(folder))
    gateway.start()
    yield gateway
    gateway.close()


@pytest.fixture(scope="module")
def guarded(templates: Templates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway that wants tokens."""
    folder = tmp_path_factory.mktemp("token")
    environment = {"ACCESS_MODE": "token", "ALLOWED_ORIGINS": "https://blog.example"}
    gateway = GatewayProcess(folder, templates.copy_sqlite(folder), environment=environment)
    gateway.start()
    yield gateway
    gateway.close()


def query(gateway: GatewayProcess, statement: str, *values: str) -> list[Any]:
    """Run a statement on the database of a gateway that runs, and return the rows."""
    path = gateway.database_url.removeprefix("sqlite:///")
    with contextlib.closing(sqlite3.connect(path, timeout=10)) as connection, connection:
        return connection.execute(statement, values).fetchall()


class Owner:
    """The site's owner at the admin of a running gateway."""

    def __init__(self, gateway: GatewayProcess) -> None:
        manage(
            "createsuperuser", "--noinput", "--username", "owner", "--email", "owner@blog.example",
            data_dir=gateway.data_dir, DATABASE_URL=gateway.database_url, DJANGO_SUPERUSER_PASSWORD=PASSWORD,
        )  # fmt: skip
        self._client = httpx2.Client(base_url=gateway.url, trust_env=False, timeout=30, follow_redirects=True)
        self._client.get("/admin/login/")
        self.post("/admin/login/", username="owner", password=PASSWORD)

    def post(self, path: str, **fields: str) -> str:
        """Post a form and return the page it leads to."""
        token = self._client.cookies["csrftoken"]
        answer = self._client.post(path, data={"csrfmiddlewaretoken": token, **fields})
        assert answer.status_code == 200, answer.text
        return answer.text

    def reply(self, request: str, text: str) -> None:
        """Reply to a contact request on its page."""
        page = self.post(f"/admin/conversations/contactrequest/{request}/change/", do="reply", text=text)
        assert "Your reply was sent" in page

    def close(self) -> None:
        """Leave."""
        self._client.close()


@pytest.fixture(scope="module")
def owner(gateway: GatewayProcess) -> Iterator[Owner]:
    """The owner, logged in."""
    owner = Owner(gateway)
    yield owner
    owner.close()
