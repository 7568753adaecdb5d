"""One gateway on its documents, one in front of a model, one that wants tokens; every test brings its own users."""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.model import FakeModel, Mode, model_in_thread
from tests.support.server import GatewayProcess, Templates, manage

TokenMaker = Callable[..., str]
_SET = {
    "wires": "UPDATE connections_application SET wires = ? WHERE appid = ?",
    "callback_url": "UPDATE connections_application SET callback_url = ? WHERE appid = ?",
}


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
    """A function that makes an application, sets columns of it, and returns a token."""

    def make(scopes: str = "read,write", **columns: str) -> str:
        printed = manage(
            "create_application", "test", "--token", "--scopes", scopes,
            data_dir=guarded.data_dir, DATABASE_URL=guarded.database_url,
        )  # fmt: skip
        values = dict(line.split(": ", 1) for line in printed.splitlines() if ": " in line)
        for name, value in columns.items():
            change(guarded, _SET[name], value, values["appid"])
        return values["token"]

    return make


def change(gateway: GatewayProcess, statement: str, *values: str) -> None:
    """Change the database of a gateway that runs, as the admin does."""
    path = Path(gateway.database_url.removeprefix("sqlite:///"))
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement, values)


def _running(gateway: GatewayProcess) -> Iterator[GatewayProcess]:
    gateway.start()
    yield gateway
    gateway.close()
