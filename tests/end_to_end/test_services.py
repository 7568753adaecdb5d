"""A service of the hub answers the bot's questions: a real gateway, and the example as a process of its own."""

import asyncio
import itertools
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.conftest import GatewayFactory
from tests.support.clients import PipelineClient, answer, is_final
from tests.support.databases import PostgresServer
from tests.support.environment import ROOT
from tests.support.server import GatewayProcess, ServerKind, manage
from tests.support.waiting import eventually, wait_until

EXAMPLE = ROOT / "integrations" / "postoffice" / "examples" / "weather_service.py"
WEATHER = "/service/zhycit/weather_1"
QUESTION = "北京天气怎么样？"
IN_WORDS = "北京的天气：晴天，温度25°C。"
UNKNOWN = "不知道"  # what the documents say of the weather
NO_MODEL = "语言模型暂时不可用"
PATIENCE = 20.0


class WeatherService:
    """The example as an operator starts it."""

    def __init__(self, gateway: GatewayProcess, folder: Path, **environment: str) -> None:
        self._log = folder / "weather_service.log"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, EXAMPLE],
                env={**os.environ, "SOCKET_URL": f"{gateway.ws_url}/", **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def log(self) -> str:
        return self._log.read_text()

    def wait_connected(self, times: int = 1) -> None:
        """Return once it has connected so many times."""
        wait_until(
            lambda: self.log().count("connected as") >= times, timeout=PATIENCE, what="the service", detail=self.log
        )

    def interrupt(self) -> int:
        """Press Ctrl+C, and return its exit status."""
        self._process.send_signal(signal.SIGINT)
        return self.wait()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(PATIENCE)

    def wait(self) -> int:
        return self._process.wait(PATIENCE)


Begin = Callable[..., WeatherService]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """A function that starts the example at a gateway; it ends with the test."""
    services: list[WeatherService] = []

    def start(gateway: GatewayProcess, **environment: str) -> WeatherService:
        folder = tmp_path / f"service-{len(services)}"
        folder.mkdir()
        services.append(WeatherService(gateway, folder, **environment))
        services[-1].wait_connected()
        return services[-1]

    yield start
    for service in services:
        service.kill()


def start_with_route(start_gateway: GatewayFactory, timeout: int = 20, **fields: Any) -> GatewayProcess:
    """Start a gateway whose route to the example is switched on."""
    gateway = start_gateway(start=False, **fields)
    with closing(sqlite3.connect(gateway.data_dir / "gateway.sqlite3", isolation_level=None)) as database:
        changed = database.execute(
            "UPDATE conversations_route SET enabled = 1, timeout = ? WHERE kind = 'service'", (timeout,)
        )
        assert changed.rowcount == 1
    gateway.start()
    return gateway


async def connect_as(gateway: GatewayProcess, client_id: str, **query: int) -> ClientConnection:
    """Connect a client of the hub."""
    arguments = urlencode({"clientID": client_id, **query})
    return await connect(f"{gateway.ws_url}/?{arguments}", compression=None, proxy=None)


async def receive(socket: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE):
        letter = json.loads(await socket.recv())
    assert isinstance(letter, dict)
    return letter


@pytest.mark.parametrize("server", ["uvicorn", "daphne"])
async def test_the_example_answers_streamed_what_its_route_is_for(
    start_gateway: GatewayFactory, begin: Begin, server: ServerKind
) -> None:
    gateway = start_with_route(start_gateway, server=server, environment={"DELTA_INTERVAL": "0.0001"})
    begin(gateway)
    async with await PipelineClient.connect(gateway) as client:
        frames = await client.ask(QUESTION)
        responses = [frame["data"] for frame in frames if frame["type"] == "response"]
        assert [data["is_final"] for data in responses] == [False] * (len(responses) - 1) + [True]
        assert len(responses) >= 2, "streamed"
        for before, after in itertools.pairwise(responses):
            assert after["content"].startswith(before["content"]), "cumulative"
        assert answer(frames) == IN_WORDS
        assert "来源" in answer(await client.ask("服务重启以后，聊天记录还在吗？"))


async def test_a_service_answers_what_workers_that_it_is_not_connected_to_were_asked(
    start_gateway: GatewayFactory, postgres: PostgresServer, begin: Begin
) -> None:
    gateway = start_gateway(database="postgres", workers=2)
    # The gateway runs: an operator switches the route on, and every worker follows.
    assert postgres.query(
        gateway.database_url, "UPDATE conversations_route SET enabled = true WHERE kind = 'service' RETURNING id"
    )
    begin(gateway)
    clients = [await PipelineClient.connect(gateway) for _ in range(12)]
    workers = postgres.query(
        gateway.database_url,
        "SELECT DISTINCT worker FROM connections_connection WHERE ended_at IS NULL AND wire = 'langbot'",
    )
    assert len(workers) == 2, "both workers are asked"
    for client in clients:

        async def from_service(client: PipelineClient = client) -> bool:
            return answer(await client.ask(QUESTION)) == IN_WORDS

        await eventually(from_service, timeout=PATIENCE, what="the worker has the route")
        await client.close()


async def test_many_questions_at_once_all_reach_the_service(start_gateway: GatewayFactory, begin: Begin) -> None:
    gateway = start_with_route(start_gateway)
    begin(gateway)
    clients = [await PipelineClient.connect(gateway) for _ in range(200)]
    answers = await asyncio.gather(*(client.ask(QUESTION) for client in clients))
    assert {answer(frames) for frames in answers} == {IN_WORDS}
    for client in clients:
        await client.close()


async def test_when_the_service_is_gone_the_next_route_answers_at_once_until_it_is_back(
    start_gateway: GatewayFactory, begin: Begin
) -> None:
    gateway = start_with_route(start_gateway, timeout=60)
    service = begin(gateway)
    async with await PipelineClient.connect(gateway) as client:
        assert answer(await client.ask(QUESTION)) == IN_WORDS
        service.kill()

        async def from_documents() -> bool:
            text = answer(await client.ask(QUESTION, timeout=PATIENCE))
            assert NO_MODEL not in text
            return UNKNOWN in text

        await eventually(from_documents, timeout=PATIENCE, what="the gateway knows that the service is gone")
        begin(gateway)
        assert answer(await client.ask(QUESTION)) == IN_WORDS


async def test_the_example_comes_back_after_the_gateway_was_killed(start_gateway: GatewayFactory, begin: Begin) -> None:
    gateway = start_with_route(start_gateway)
    service = begin(gateway)
    gateway.restart()
    service.wait_connected(2)
    async with await PipelineClient.connect(gateway) as client:
        assert answer(await client.ask(QUESTION)) == IN_WORDS


def test_the_example_ends_at_ctrl_c_without_a_traceback(start_gateway: GatewayFactory, begin: Begin) -> None:
    service = begin(start_gateway())
    assert service.interrupt() == 0
    assert "Traceback" not in service.log()


async def test_the_example_leaves_its_name_to_who_took_it(start_gateway: GatewayFactory, begin: Begin) -> None:
    gateway = start_with_route(start_gateway)
    replaced = begin(gateway)
    begin(gateway)
    assert replaced.wait() == 0
    async with await PipelineClient.connect(gateway) as client:
        assert answer(await client.ask(QUESTION)) == IN_WORDS


async def test_a_service_that_merely_answers_the_sender_is_matched(start_gateway: GatewayFactory) -> None:
    gateway = start_with_route(start_gateway)

    async def handle(socket: ClientConnection, questions: int) -> None:
        """Do what the document's weather client does with a message."""
        for _ in range(questions):
            data = await receive(socket)
            city = data["content"].split("天气")[0]
            reply = {
                "from": WEATHER, "to": data["from"], "subject": "天气查询结果",
                "content": f"{city}的天气：晴天，温度25°C", "type": "msg",
            }  # fmt: skip
            await socket.send(json.dumps(reply))

    async def ask(city: str) -> str:
        async with await PipelineClient.connect(gateway) as client:
            return answer(await client.ask(f"{city}天气"))

    cities = ["北京", "上海", "广州", "深圳", "成都"]
    async with await connect_as(gateway, WEATHER) as socket:
        answers, _ = await asyncio.gather(asyncio.gather(*map(ask, cities)), handle(socket, len(cities)))
    assert answers == [f"{city}的天气：晴天，温度25°C" for city in cities]


async def test_a_service_that_is_too_slow_is_left_and_its_late_reply_reaches_nobody(
    start_gateway: GatewayFactory,
) -> None:
    gateway = start_with_route(start_gateway, timeout=1)
    async with await connect_as(gateway, WEATHER) as socket, await PipelineClient.connect(gateway) as client:
        first = answer(await client.ask(QUESTION))
        assert UNKNOWN in first
        assert NO_MODEL not in first
        question = await receive(socket)
        await socket.send(json.dumps({"to": question["from"], "content": "too late", "type": "msg"}))
        await client.say(QUESTION)
        question = await receive(socket)
        await socket.send(json.dumps({"to": question["from"], "content": "in time", "type": "msg"}))
        frames = await client.until(is_final)
        assert answer(frames) == "in time"


async def test_a_service_that_stalls_after_its_first_words_ends_the_answer(start_gateway: GatewayFactory) -> None:
    gateway = start_with_route(start_gateway, timeout=1)
    async with await connect_as(gateway, WEATHER) as socket, await PipelineClient.connect(gateway) as client:
        await client.say(QUESTION)
        question = await receive(socket)
        await socket.send(json.dumps({"to": question["from"], "content": "北京：", "type": "partial"}))
        frames = await client.until(is_final)
        assert answer(frames) == "北京：\n\n（回答中断，请稍后再试。）"


async def test_nobody_else_can_answer_for_the_service(start_gateway: GatewayFactory) -> None:
    gateway = start_with_route(start_gateway)
    async with (
        await connect_as(gateway, WEATHER) as service,
        await connect_as(gateway, "mallory", receipts=1) as mallory,
        await PipelineClient.connect(gateway) as client,
    ):
        await client.say(QUESTION)
        question = await receive(service)
        forged = {"from": WEATHER, "to": question["from"], "content": "forged", "type": "msg"}
        await mallory.send(json.dumps(forged))
        assert (await receive(mallory))["subject"] == "rejected"
        await service.send(json.dumps({**forged, "content": "genuine"}))
        frames = await client.until(is_final)
        assert answer(frames) == "genuine"


async def test_a_question_from_the_hub_is_answered_on_the_hub(start_gateway: GatewayFactory, begin: Begin) -> None:
    gateway = start_with_route(start_gateway)
    begin(gateway)
    async with await connect_as(gateway, "用户1") as socket:
        await socket.send(json.dumps({"to": "AI_CHATBOT", "content": QUESTION, "type": "msg", "subject": "q"}))
        letter = await receive(socket)
        assert (letter["from"], letter["content"]) == ("AI_CHATBOT", IN_WORDS)


async def test_with_a_secret_the_example_fetches_its_token(start_gateway: GatewayFactory, begin: Begin) -> None:
    gateway = start_with_route(start_gateway, environment={"ACCESS_MODE": "token"})
    printed = manage(
        "create_application", "weather", "--token", data_dir=gateway.data_dir, DATABASE_URL=gateway.database_url
    )
    fields = dict(line.split(": ", 1) for line in printed.splitlines())
    service = begin(gateway, APPID=fields["appid"], SECRET=fields["secret"])
    token = {"Authorization": f"Bearer {fields['token']}"}
    async with await PipelineClient.connect(gateway, headers=token) as client:
        assert answer(await client.ask(QUESTION)) == IN_WORDS
    assert fields["secret"] not in gateway.log() + service.log()
