"""Document 000's weather service, unmodified: it fetches its token, connects to the hub and answers every wire."""

import asyncio
import contextlib
import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.documents.people import WIRES
from tests.support.documents import aimed, program
from tests.support.programs import Program, python, shell
from tests.support.server import GatewayProcess, Templates, manage

SERVICE = "/service/zhycit/weather_1"
QUESTION = "北京天气"
WEATHER = "北京的天气：晴天，温度25°C"
UNKNOWN = "不知道"
TIMEOUT = 3  # seconds that the route gives the service
ROUTE = """
INSERT INTO conversations_route (pipeline_id, position, kind, enabled, match, pattern, service, timeout, recall,
                                 system_prompt, model)
SELECT id, 0, 'service', 1, 'contains', '天气', ?, ?, 1, '', '' FROM conversations_pipeline WHERE is_default
"""


@pytest.fixture(scope="module")
def gateway(templates: Templates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway whose default pipeline asks the service for the weather, and its documents for the rest."""
    folder = tmp_path_factory.mktemp("weather")
    gateway = GatewayProcess(folder, templates.copy_sqlite(folder))
    with contextlib.closing(sqlite3.connect(folder / "gateway.sqlite3")) as connection, connection:
        connection.execute("UPDATE conversations_route SET position = position + 1")
        connection.execute(ROUTE, (SERVICE, TIMEOUT))
    gateway.start()
    yield gateway
    gateway.close()


@pytest.fixture(scope="module")
def credentials(gateway: GatewayProcess) -> dict[str, str]:
    """The appid and the secret of an application, from the command that an operator uses."""
    printed = manage(
        "create_application", "weather", data_dir=gateway.data_dir, DATABASE_URL=gateway.database_url
    ).splitlines()
    return {name: line.split()[1] for line in printed for name in ("appid", "secret") if line.startswith(f"{name}:")}


@pytest.fixture
def service(gateway: GatewayProcess, credentials: dict[str, str], tmp_path: Path) -> Iterator[Program]:
    """The service, connected, with the document's `.env` beside it."""
    placeholders = {"your_appid": credentials["appid"], "your_secret": credentials["secret"]}
    (tmp_path / ".env").write_text(aimed(program("000", "", "APPID="), gateway, placeholders))
    code = aimed(program("000", "python", "weather_service"), gateway)
    with python(code, folder=tmp_path, name="weather") as running:
        running.until(f"Connected to {gateway.ws_url}/?clientID={SERVICE}")
        yield running


async def answers(gateway: GatewayProcess) -> dict[str, str]:
    """Return what each wire says to the question."""
    host = f"127.0.0.1:{gateway.port}"
    said = await asyncio.gather(*(ask(host, QUESTION) for ask in WIRES.values()))
    return dict(zip(WIRES, said, strict=True))


def test_the_document_s_curl_fetches_a_token(
    gateway: GatewayProcess, credentials: dict[str, str], tmp_path: Path
) -> None:
    placeholders = {"<APPID>": credentials["appid"], "<SECRET>": credentials["secret"]}
    with shell(aimed(program("000", "", "curl"), gateway, placeholders), folder=tmp_path) as curl:
        answer = json.loads(curl.finished())
    assert set(answer) == {"expires", "token", "ttl"}
    assert answer["expires"] / 1000 - time.time() == pytest.approx(answer["ttl"], abs=5)


async def test_it_answers_a_person_on_every_wire(gateway: GatewayProcess, service: Program) -> None:
    assert await answers(gateway) == dict.fromkeys(WIRES, WEATHER)
    letters = [line for line in service.output.splitlines() if line.startswith("Received: ")]
    assert len(letters) == len(WIRES)
    assert "Error occurred" not in service.output


async def test_a_frozen_service_is_passed_over_within_the_time_out_of_its_route(
    gateway: GatewayProcess, service: Program
) -> None:
    service.freeze()
    begun = time.monotonic()
    said = await answers(gateway)
    assert TIMEOUT <= time.monotonic() - begun < TIMEOUT + 5
    assert [UNKNOWN in text for text in said.values()] == [True] * len(WIRES), said


async def test_without_the_service_the_next_route_answers_at_once(gateway: GatewayProcess, service: Program) -> None:
    service.stop()
    begun = time.monotonic()
    said = await answers(gateway)
    assert time.monotonic() - begun < TIMEOUT
    assert [UNKNOWN in text for text in said.values()] == [True] * len(WIRES), said
