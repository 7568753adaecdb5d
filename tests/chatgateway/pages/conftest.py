"""Two gateways for the pages: one in open access, one that asks for tokens, each with a member of staff."""

from collections.abc import Iterator

import pytest

from tests.conftest import Serve
from tests.support.admin import make_staff
from tests.support.environment import QUICK
from tests.support.server import GatewayProcess


@pytest.fixture(scope="package")
def open_gateway(serve: Serve) -> Iterator[GatewayProcess]:
    """A gateway in open access."""
    with serve() as gateway:
        yield gateway


@pytest.fixture(scope="package")
def token_gateway(serve: Serve) -> Iterator[GatewayProcess]:
    """A gateway that asks for tokens; `ann` is of its staff, without any role."""
    with serve(ACCESS_MODE="token", **QUICK) as gateway:
        make_staff(gateway, ann="None")
        yield gateway
