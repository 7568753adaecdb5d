"""The stream of /chat in the hands of three foreign readers, and every socket, straight and through nginx."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Serve
from tests.documents.people import asked, chat_events, opened, received, send
from tests.faults.model import FakeModel, Mode, model_in_thread
from tests.support.clients import PipelineClient, answer
from tests.support.nginx import nginx_before
from tests.support.node import node
from tests.support.programs import Program, tool
from tests.support.server import GatewayProcess

WORDS = "".join(f"tok{number:02d} " for number in range(20)).strip()


@pytest.fixture(scope="module")
def model() -> Iterator[FakeModel]:
    """A model that takes its time over each word."""
    with model_in_thread() as model:
        model.mode = Mode.SLOW
        model.delay = 0.1
        yield model


@pytest.fixture(scope="module")
def gateway(model: FakeModel, serve: Serve) -> Iterator[GatewayProcess]:
    """A gateway with that model, which may be proxied."""
    with serve(model=model.base_url(), ALLOW_OPEN_ACCESS="true") as gateway:
        yield gateway


@pytest.fixture(scope="module")
def proxy(gateway: GatewayProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """nginx before it, with document 001's block for the sockets."""
    with nginx_before(gateway, tmp_path_factory.mktemp("nginx")) as host:
        yield host


@pytest.fixture(params=["straight", "nginx"])
def host(request: pytest.FixtureRequest, gateway: GatewayProcess) -> str:
    """Where a client goes: to the gateway, or to nginx before it."""
    if request.param == "nginx":
        return str(request.getfixturevalue("proxy"))
    return f"127.0.0.1:{gateway.port}"


def check(events: list[dict[str, Any]]) -> None:
    """Check a whole stream: increments, and one end."""
    assert len(events) > 5, "streamed"
    assert "".join(event["response"] for event in events).strip() == WORDS
    assert [event["finished"] for event in events] == [False] * (len(events) - 1) + [True]
    assert events[-1]["global_output"]["answer_success"] == 1


def test_curl_reads_the_first_event_before_the_model_has_finished(host: str, model: FakeModel, tmp_path: Path) -> None:
    command = ["--no-buffer", "--no-progress-meter", "--json", json.dumps(asked("say it")), f"http://{host}/chat"]
    with Program(tool("curl"), *command, folder=tmp_path) as curl:
        curl.until("event:delta\n", "\n\n")
        assert not model.calls[-1].is_over
        lines = curl.finished().splitlines()
    check([json.loads(line.removeprefix("data:")) for line in lines if line.startswith("data:")])


async def test_httpx_sse_reads_the_first_event_before_the_model_has_finished(host: str, model: FakeModel) -> None:
    events: list[dict[str, Any]] = []
    async for event in chat_events(f"http://{host}/chat", "say it"):
        if not events:
            assert not model.calls[-1].is_over
        events.append(event)
    check(events)


def test_fetch_event_source_reads_the_first_event_before_the_model_has_finished(
    host: str, model: FakeModel, tmp_path: Path
) -> None:
    with node("events.js", f"http://{host}/chat", json.dumps(asked("say it")), folder=tmp_path) as reader:
        reader.until("delta {")
        assert not model.calls[-1].is_over
        lines = reader.finished().splitlines()
    check([json.loads(line.removeprefix("delta ")) for line in lines])


async def test_the_pipeline_wire_answers_through_nginx(proxy: str) -> None:
    async with await PipelineClient.connect(f"ws://{proxy}/websocket") as client:
        assert (await client.ping())["type"] == "pong"
        assert answer(await client.ask("say it")).strip() == WORDS


@pytest.mark.parametrize(
    ("path", "greeting"),
    [("contact", "connection_established"), ("wechat/ws", "connected")],
)
async def test_a_greeting_comes_through_nginx(proxy: str, path: str, greeting: str) -> None:
    async with opened(f"ws://{proxy}/websocket/{path}") as socket:
        await received(socket, greeting)
        await send(socket, type="ping")
        await received(socket, "pong")


async def test_the_hub_delivers_through_nginx(proxy: str) -> None:
    async with (
        opened(f"ws://{proxy}/websocket/?clientID=sender") as sender,
        opened(f"ws://{proxy}/websocket/?clientID=/service/a") as service,
    ):
        letter = {"from": "sender", "to": "/service/a", "subject": "s", "content": "你好"}
        await send(sender, type="msg", **letter)
        assert (await received(service, "msg")) == {"type": "msg", **letter}
