"""What the example says; that it says so over a socket is tested with a process of it."""

import asyncio
import http
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_sockets
from websockets.http11 import Request, Response

from integrations.postoffice.examples.weather_service import Options, options, parts_of_answer, read, run
from tests.support.server import GatewayProcess

VARIABLES = ("SOCKET_URL", "CLIENT_ID", "APPID", "SECRET", "TOKEN_URL")

QUESTION = {"from": "AI_CHATBOT/1", "to": "/service/zhycit/weather_1", "type": "msg", "content": "北京天气"}


@pytest.mark.parametrize(
    ("question", "place"),
    [
        ("北京天气怎么样？", "北京"),
        ("请问今天上海的天气", "上海"),
        ("明天 New York 的天气", "New York"),
        ("天气", "本地"),
        ("今天天气怎么样", "本地"),
    ],
)
def test_the_place_is_what_stands_before_the_weather(question: str, place: str) -> None:
    assert list(parts_of_answer(question)) == [f"{place}的天气：", "晴天，温度25°C。"]


def test_another_question_is_answered_too() -> None:
    assert list(parts_of_answer("你好")) == ["我只知道天气，例如：北京天气。"]


def test_a_question_is_read() -> None:
    assert read(json.dumps(QUESTION)) == QUESTION


@pytest.mark.parametrize(
    "text",
    [
        "", "nonsense", "[]", b"\xff", "7",
        json.dumps({**QUESTION, "type": "receipt"}),
        json.dumps({**QUESTION, "content": {"a": 1}}),
        json.dumps({"type": "msg", "content": "北京天气"}),
        json.dumps({"from": "a", "type": "msg", "content": "北京天气"}),
    ],
)  # fmt: skip
def test_what_is_no_question_is_passed_by(text: str | bytes) -> None:
    assert read(text) is None


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment in which nothing is chosen."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_help_is_printed_and_nothing_is_started(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        options(["--help"])
    assert end.value.code == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in VARIABLES)


def test_what_is_not_chosen_has_a_default(environment: pytest.MonkeyPatch) -> None:
    token_url = "http://127.0.0.1:8000/wecom/token"
    assert options([]) == Options("ws://127.0.0.1:8000/", "/service/zhycit/weather_1", "", "", token_url)


def test_an_option_wins_over_the_environment(environment: pytest.MonkeyPatch) -> None:
    for name, value in {"SOCKET_URL": "wss://a.test/", "CLIENT_ID": "/service/a", "APPID": "i", "SECRET": "s"}.items():
        environment.setenv(name, value)
    assert options([]) == Options("wss://a.test/", "/service/a", "i", "s", "https://a.test/wecom/token")
    chosen = options(["--socket-url", "ws://b.test:1/", "--client-id", "/service/b", "--token-url", "http://t.test/"])
    assert chosen == Options("ws://b.test:1/", "/service/b", "i", "s", "http://t.test/")


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("SOCKET_URL", "http://127.0.0.1:8000/", "'http://127.0.0.1:8000/' is no address such as ws://"),
        ("SOCKET_URL", "ws://127.0.0.1:port/", "is no address such as ws://"),
        ("SOCKET_URL", "ws://127.0.0.1:99999/", "is no address such as ws://"),
        ("SOCKET_URL", "ws://", "is no address such as ws://"),
        ("SOCKET_URL", "ws://a.test/?clientID=b", "is no address such as ws://"),
        ("TOKEN_URL", "/wecom/token", "is no address such as http://"),
        ("CLIENT_ID", " ", "a name has 1 to 300 characters"),
        ("CLIENT_ID", "x" * 301, "a name has 1 to 300 characters"),
        ("SECRET", "s", "APPID and SECRET must be set together"),
        ("APPID", "i", "APPID and SECRET must be set together"),
    ],
)
def test_a_value_that_cannot_work_is_one_sentence(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str, sentence: str
) -> None:
    environment.setenv(name, value)
    with pytest.raises(SystemExit) as end:
        options([])
    assert end.value.code == 2
    usage, error = capsys.readouterr().err.splitlines()
    assert usage.startswith("usage: ")
    assert sentence in error


@asynccontextmanager
async def hub(*ends: int) -> AsyncIterator[Options]:
    """A hub that meets one connection after another with a status before the upgrade, or a close code after it."""
    left = list(ends)

    def refuse(connection: ServerConnection, request: Request) -> Response | None:
        return connection.respond(http.HTTPStatus(left.pop(0)), "a reason\n") if left[0] < 1000 else None

    async def close(connection: ServerConnection) -> None:
        await connection.close(left.pop(0), "a reason")

    async with serve_sockets(close, "127.0.0.1", 0, process_request=refuse) as server:
        port = server.sockets[0].getsockname()[1]
        yield Options(f"ws://127.0.0.1:{port}/", "/service/a", "", "", "")
    assert left == []


@pytest.mark.parametrize(
    ("ends", "sentence"),
    [
        ((401,), "The hub refuses /service/a: 401 a reason."),
        ((403,), "The hub refuses /service/a: 403 a reason."),
        ((409,), "The hub refuses /service/a: 409 a reason."),
        ((4001,), "The hub no longer takes /service/a: 4001"),
        ((4003,), "The hub no longer takes /service/a: 4003"),
        ((503, 401), "401"),
        ((1012, 401), "401"),
        ((4108, 401), "401"),
    ],
)
async def test_it_connects_again_only_where_that_can_help(ends: tuple[int, ...], sentence: str) -> None:
    async with hub(*ends) as service, asyncio.timeout(10):
        assert sentence in (await run(service) or "")


async def test_a_gateway_that_wants_a_token_ends_it_with_a_sentence(guarded: GatewayProcess) -> None:
    beside = f"{guarded.url}/wecom/token"
    stranger = Options(f"{guarded.ws_url}/", "/service/a", "", "", beside)
    wrong = Options(f"{guarded.ws_url}/", "/service/a", "app_1", "wrong", beside)
    async with asyncio.timeout(20):
        assert await run(stranger) == "The hub refuses /service/a: 401 Unauthorized."
        assert await run(wrong) == "There is no token for app_1: HTTP Error 401: Unauthorized."
