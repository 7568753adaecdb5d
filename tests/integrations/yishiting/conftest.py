"""One gateway on its documents, one in front of a model, one that wants tokens; every test brings its own users."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conftest import Serve
from tests.faults.model import FakeModel, Mode, model_in_thread
from tests.support.applications import make_application
from tests.support.server import GatewayProcess

TokenMaker = Callable[..., str]


@pytest.fixture(scope="module")
def gateway(serve: Serve) -> Iterator[GatewayProcess]:
    """A gateway that everybody on this machine may use, which answers from its documents."""
    with serve() as gateway:
        yield gateway


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
def answering(model: FakeModel, serve: Serve) -> Iterator[GatewayProcess]:
    """A gateway that asks the model."""
    with serve(model=model.base_url(), TURN_DEADLINE="4") as gateway:
        yield gateway


@pytest.fixture(scope="module")
def guarded(serve: Serve) -> Iterator[GatewayProcess]:
    """A gateway that wants tokens."""
    with serve(ACCESS_MODE="token", ALLOW_PRIVATE_UPSTREAMS="true") as gateway:
        yield gateway


@pytest.fixture(scope="module")
def make_token(guarded: GatewayProcess) -> TokenMaker:
    """A function that makes an application and returns a token of it."""

    def make(**fields: Any) -> str:
        return make_application(guarded, **fields).token

    return make
