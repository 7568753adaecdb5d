"""One gateway for all programs of the documents, as `make run` starts it: open, and with its own documents."""

from collections.abc import Iterator

import pytest

from tests.conftest import Serve
from tests.support.server import GatewayProcess


@pytest.fixture(scope="session")
def gateway(serve: Serve) -> Iterator[GatewayProcess]:
    """A gateway that everybody on this machine may use."""
    with serve() as gateway:
        yield gateway
