"""One gateway in open mode and one in token mode for all tests of this wire; every test brings its own visitors."""

import contextlib
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import Serve
from tests.support.server import GatewayProcess
from tests.support.staff import Staff


@pytest.fixture(scope="module")
def gateway(serve: Serve) -> Iterator[GatewayProcess]:
    """A gateway that everybody on this machine may use."""
    with serve() as gateway:
        yield gateway


@pytest.fixture(scope="module")
def guarded(serve: Serve) -> Iterator[GatewayProcess]:
    """A gateway that wants tokens."""
    with serve(ACCESS_MODE="token", ALLOWED_ORIGINS="https://blog.example") as gateway:
        yield gateway


def query(gateway: GatewayProcess, statement: str, *values: str) -> list[Any]:
    """Run a statement on the database of a gateway that runs, and return the rows."""
    path = gateway.database_url.removeprefix("sqlite:///")
    with contextlib.closing(sqlite3.connect(path, timeout=10)) as connection, connection:
        return connection.execute(statement, values).fetchall()


class Owner(Staff):
    """The site's owner at the admin of a running gateway."""

    def reply(self, request: str, text: str) -> None:
        """Reply to a contact request on its page."""
        page = self.post(f"/admin/conversations/contactrequest/{request}/change/", do="reply", text=text)
        assert "Your reply was sent" in page


@pytest.fixture(scope="module")
def owner(gateway: GatewayProcess) -> Iterator[Owner]:
    """The owner, logged in."""
    owner = Owner(gateway)
    yield owner
    owner.close()
