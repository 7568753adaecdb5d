"""One gateway in open mode and one in token mode for all tests of this wire; every test brings its own client IDs."""

import itertools
from collections.abc import Callable, Iterator

import pytest

from tests.conftest import Serve
from tests.support.server import GatewayProcess, manage

Credentials = tuple[str, str]
Name = Callable[[str], str]
_NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def gateway(serve: Serve) -> Iterator[GatewayProcess]:
    """A gateway that everybody on this machine may use."""
    with serve(SCAN="0.5") as gateway:
        yield gateway


@pytest.fixture(scope="module")
def guarded(serve: Serve) -> Iterator[GatewayProcess]:
    """A gateway that wants tokens."""
    with serve(ACCESS_MODE="token", ALLOWED_ORIGINS="https://shop.example") as gateway:
        yield gateway


@pytest.fixture
def name() -> Name:
    """A function that makes a client ID which no other test has."""
    number = next(_NUMBERS)
    return lambda stem: f"{stem}_{number}"


@pytest.fixture(scope="module")
def application(guarded: GatewayProcess) -> Credentials:
    """An application's appid and secret."""
    return create_application(guarded)


def create_application(gateway: GatewayProcess, *arguments: str) -> Credentials:
    """Make an application with the command that an operator uses; return appid and secret."""
    printed = run(gateway, "create_application", "hub", *arguments)
    words = dict(line.split(": ", 1) for line in printed.splitlines() if ": " in line)
    return words["appid"].strip(), words["secret"].strip()


def run(gateway: GatewayProcess, *arguments: str) -> str:
    """Run a command of manage.py beside a gateway, and return what it printed."""
    return manage(*arguments, data_dir=gateway.data_dir, DATABASE_URL=gateway.database_url)
