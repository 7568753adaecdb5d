"""One gateway on its documents, one in front of a model, one that wants tokens; every test brings its own users."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.faults.model import FakeModel, Mode, model_in_thread
from tests.support.applications import make_application
from tests.support.server import GatewayProcess, Templates, manage

TokenMaker = Callable[..., str]


@pytest.fixture(scope="module")
def gateway(templates: Templates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway that everybody on this machine may use, which answers from its documents."""
    folder = tmp_path_factory.mktemp("open")
    yield from _running(GatewayProcess(folder, templates.copy_sqlite(folder)))


@pytest.fixture(scope="module")
def model() -> Iterator[FakeModel]:
    """A model that every test sets as it needs it."""
    with model_in_thread() as model:
        yield model


@pytest.fixture(autouse=True)
def _model_as_it_was(request: pytest.FixtureRequest) -> None:
    if "model" in request.fixturenames:
        model: FakeModel = request.getfixturevalue("model")
        model.mode, model.delay = Mode.OK, 0.01


@pytest.fixture(scope="module")
def answering(
    templates: Templates, tmp_path_factory: pytest.TempPathFactory, model: FakeModel
) -> Iterator[GatewayProcess]:
    """A gateway that asks the model."""
    folder = tmp_path_factory.mktemp("model")
    environment = {"OPENAI_BASE_URL": model.base_url(), "OPENAI_MODEL": "stub", "TURN_DEADLINE": "4"}
    gateway = GatewayProcess(folder, templates.copy_sqlite(folder), environment=environment)
    manage("bootstrap", data_dir=folder, DATABASE_URL=gateway.database_url, **environment)
    yield from _running(gateway)


@pytest.fixture(scope="module")
def guarded(templates: Templates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway that wants tokens."""
    folder = tmp_path_factory.mktemp("token")
    environment = {"ACCESS_MODE": "token", "ALLOW_PRIVATE_UPSTREAMS": "true"}
    yield from _running(GatewayProcess(folder, templates.copy_sqlite(folder), environment=environment))


@pytest.fixture(scope="module")
def make_token(guarded: GatewayProcess) -> TokenMaker:
    """A function that makes an application and returns a token of it."""

    def make(**fields: Any) -> str:
        return make_application(guarded, **fields).token

    return make


def _running(gateway: GatewayProcess) -> Iterator[GatewayProcess]:
    gateway.start()
    yield gateway
    gateway.close()
