"""One gateway for all programs of the documents, as `make run` starts it: open, and with its own documents."""

from collections.abc import Iterator

import pytest

from tests.support.server import GatewayProcess, Templates


@pytest.fixture(scope="session")
def gateway(templates: Templates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway that everybody on this machine may use."""
    folder = tmp_path_factory.mktemp("documents")
    gateway = GatewayProcess(folder, templates.copy_sqlite(folder))
    gateway.start()
    yield gateway
    gateway.close()
