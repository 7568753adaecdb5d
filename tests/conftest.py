"""Fixtures that every test may ask for: real databases, real servers."""

import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import coverage
import hypothesis
import pytest
import pytest_asyncio

from tests.support.databases import PostgresServer, ValkeyServer
from tests.support.environment import MEASURED
from tests.support.server import DatabaseKind, GatewayProcess, Templates, model_settings

if TYPE_CHECKING:
    from playwright.async_api import Browser

GatewayFactory = Callable[..., GatewayProcess]
Serve = Callable[..., AbstractContextManager[GatewayProcess]]

# A machine that is busy is no fault of the code.
hypothesis.settings.register_profile("suite", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("suite")

# A suite in the background may have been told to ignore Ctrl-C, and the programs that it starts would ignore it too.
signal.signal(signal.SIGINT, signal.default_int_handler)


_MEASURED = os.environ.get(MEASURED, "")
_COVERAGE = coverage.Coverage.current()
# The packages whose coverage is held, and the folders of their tests.
_HELD = {"connections", "conversations", "integrations"}


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Measure coverage where it tells most: a line that is measured takes twice as long.

    In the tests' own process that is for the tests of the three packages, but not for the hundreds of examples of one
    test; in servers for the wires' own tests only, of those that they share: see `start_gateway`.
    """
    if not _MEASURED or _COVERAGE is None:
        return
    os.environ[MEASURED] = _MEASURED if "integrations" in item.path.parts else ""
    wanted = not _HELD.isdisjoint(item.path.parts) and item.get_closest_marker("hypothesis") is None
    if wanted != (coverage.Coverage.current() is _COVERAGE):
        (_COVERAGE.start if wanted else _COVERAGE.stop)()


@pytest.fixture(scope="session")
def django_db_keepdb() -> bool:
    """Leave the test database: it goes with its folder or server, and a thread may still be connected."""
    return True


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A running PostgreSQL; `create_database()` gives a fresh one's URL."""
    server = PostgresServer()
    server.start()
    yield server
    server.close()


@pytest.fixture(scope="session")
def valkey() -> Iterator[ValkeyServer]:
    """A running Valkey, shared by all tests; one that restarts it makes its own."""
    server = ValkeyServer()
    server.start()
    yield server
    server.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> "AsyncIterator[Browser]":
    """A browser for all tests that run in the session's loop; each opens profiles of its own, and closes them."""
    from tests.support.browser import chromium  # noqa: PLC0415  takes long to import, and few tests need it

    async with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Templates:
    """Migrated and bootstrapped databases, made on first use; those on SQLite once for all processes of the suite."""
    base = tmp_path_factory.getbasetemp()
    return Templates((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "templates")


@pytest.fixture(scope="session")
def serve(templates: Templates, tmp_path_factory: pytest.TempPathFactory) -> Serve:
    """A function that runs a gateway on SQLite which several tests share: `with serve(SETTING="value") as gateway`.

    With a `model`, its base URL, it asks that model first.
    """

    @contextmanager
    def serve(*, model: str = "", **settings: str) -> Iterator[GatewayProcess]:
        data_dir = tmp_path_factory.mktemp("gateway")
        environment = {**settings, **(model_settings(model) if model else {})}
        database_url = templates.copy_sqlite(data_dir, with_model=bool(model))
        gateway = GatewayProcess(data_dir, database_url, environment=environment)
        try:
            gateway.start()
            yield gateway
        finally:
            gateway.close()

    return serve


@pytest.fixture
def start_gateway(templates: Templates, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[GatewayFactory]:
    """A function that starts a real gateway on a database of its own; its processes end with the test.

    `start_gateway(database="sqlite" | "postgres", **fields of GatewayProcess)`; `start=False` leaves it to the test.
    With a `model`, its base URL, it asks that model first. More than one worker gets the shared Valkey, unless
    `redis_url` says otherwise.
    """
    gateways: list[GatewayProcess] = []

    def start(
        *, database: DatabaseKind = "sqlite", model: str = "", start: bool = True, **fields: Any
    ) -> GatewayProcess:
        data_dir = tmp_path / f"gateway-{len(gateways)}"
        data_dir.mkdir()
        # Measuring coverage costs a third of a start; it is for servers that many tests share.
        environment = {MEASURED: "", **fields.pop("environment", {}), **(model_settings(model) if model else {})}
        if "database_url" not in fields:
            fields["database_url"] = (
                templates.copy_sqlite(data_dir, with_model=bool(model))
                if database == "sqlite"
                else templates.copy_postgres(request.getfixturevalue("postgres"), with_model=bool(model))
            )
        if fields.get("workers", 1) > 1:
            fields.setdefault("redis_url", request.getfixturevalue("valkey").url)
        gateway = GatewayProcess(data_dir=data_dir, environment=environment, **fields)
        gateways.append(gateway)
        if start:
            gateway.start()
        return gateway

    yield start
    _close_all(gateways)


def _close_all(gateways: list[GatewayProcess]) -> None:
    """End every gateway, and only then complain about any of them."""
    failures = []
    for gateway in gateways:
        try:
            gateway.close()
        except Exception as failure:  # noqa: BLE001  raised below, together
            failures.append(failure)
    if failures:
        raise ExceptionGroup("gateways did not end as they should", failures)
