"""What every socket has in common: how it is refused, and that nothing of it stays."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ParamSpec, TypeVar, cast
from uuid import UUID, uuid4

import pytest
from websockets.exceptions import InvalidStatus

from connections.auth import EVERYBODY
from connections.jobs import Open
from connections.limits import Places
from connections.metrics import Metrics
from connections.models import Connection
from connections.registry import LeaseLimits, Registry
from connections.writer import Writer
from conversations.store import OutcomeUnknown, Store
from integrations.consumer import LIMITED, TASKS, TASKS_RETRY, GatewayConsumer
from integrations.errors import TRY_LATER
from integrations.parts import Parts, WireOptions
from integrations.peers import Peer
from tests.chatgateway.test_health import allow_connections
from tests.conftest import GatewayFactory, Serve
from tests.faults.model import Mode, model_in_thread
from tests.support.clients import Frame, PipelineClient, SocketClient
from tests.support.contact import ContactClient
from tests.support.server import GatewayProcess
from tests.support.waiting import eventually
from tests.support.wechat import WeChatClient

P = ParamSpec("P")
R = TypeVar("R")


# --- Refusing ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("postgres")
async def test_a_handshake_that_needs_a_database_that_is_away_is_503(start_gateway: GatewayFactory) -> None:
    gateway = start_gateway(database="postgres", environment={"ACCESS_MODE": "token", "LOCK_TIMEOUT": "1"})
    allow_connections(gateway.database_url, allowed=False)
    logged = len(gateway.log())
    # A page that only its application's token can allow.
    with pytest.raises(InvalidStatus) as refused:
        await PipelineClient.connect(gateway, token="unknown", headers={"Origin": "https://shop.example"})
    assert refused.value.response.status_code == 503
    assert int(refused.value.response.headers["Retry-After"]) > 0
    assert gateway.log()[logged:].count("connection.refused") == 1
    allow_connections(gateway.database_url, allowed=True)


# --- Too much at once --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def speechless(serve: Serve) -> Iterator[GatewayProcess]:
    """A gateway whose model never answers, and which does not wait for it when it stops."""
    with (
        model_in_thread(Mode.SILENT) as model,
        serve(model=model.base_url(), RATE_LIMITS="off", DRAIN_TIMEOUT="1") as gateway,
    ):
        yield gateway


async def ask_on_contact(gateway: GatewayProcess) -> tuple[SocketClient, Frame]:
    """Ask, and return the frame that goes into another session."""
    other, client = await ContactClient.connect(gateway), await ContactClient.connect(gateway)
    await other.close()
    await client.send({"type": "chat_message", "message": "你好"})
    return client, {"type": "resume", **other.credentials, "last_seq": 0}


async def ask_on_wechat(gateway: GatewayProcess) -> tuple[SocketClient, Frame]:
    """Ask, and return the frame that goes into another session."""
    other = await WeChatClient.open(gateway, login=uuid4().hex)
    await other.close()
    client = await WeChatClient.open(gateway, login=uuid4().hex)
    await client.send({"type": "chat", "query": "你好"})
    return client, {"type": "resume", "resume_token": other.resume_token, "last_seq": 0}


@pytest.mark.parametrize("ask", [ask_on_contact, ask_on_wechat])
async def test_who_wants_too_much_at_once_is_told_when_to_come_again_and_sent_away(
    speechless: GatewayProcess, ask: Callable[[GatewayProcess], Awaitable[tuple[SocketClient, Frame]]]
) -> None:
    client, leave = await ask(speechless)
    logged = len(speechless.log())
    for _ in range(TASKS + LIMITED):  # the first waits for the answer to what was asked, and the others for the first
        await client.send(leave)
    refused = 0
    while refused < LIMITED:
        frame = await client.recv()
        if "retry_after" in (frame.get("data") or frame):  # else the question was stored meanwhile
            assert (frame.get("data") or frame)["retry_after"] == TASKS_RETRY
            assert frame.get("code", 429) == 429
            refused += 1
    assert await client.closed() == 4129
    assert speechless.log()[logged:].count("limit.reached") == 1


# --- Ending ------------------------------------------------------------------------------------


async def test_a_long_reason_is_cut_to_what_a_close_frame_carries() -> None:
    class Wordy(Silent):
        async def opened(self) -> None:
            self.end(TRY_LATER, "长" * 100)

        async def objection(self) -> None:
            return None

    async def ready() -> None: ...

    came = [{"type": "websocket.connect"}, {"type": "websocket.disconnect"}]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return came.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    options = WireOptions(open_access=True, proxied_open_access=False)
    parts = SimpleNamespace(options=options, ready=ready, places=Places(0), metrics=Metrics())
    await Wordy(parts=cast("Parts", parts))({"headers": []}, receive, send)
    assert sent[-1] == {"type": "websocket.close", "code": TRY_LATER, "reason": "长" * 41}


# --- Opening -----------------------------------------------------------------------------------


class CutOff(Writer):
    """A store whose first Open is written, and its acknowledgement lost."""

    def __init__(self, store: Store, error: type[BaseException]) -> None:
        self._store = store
        self._error = error

    def submit(self, job: Any) -> "asyncio.Future[Any]":
        written = self._store.submit(job)
        return asyncio.ensure_future(self._lose(written)) if isinstance(job, Open) else written

    async def _lose(self, written: "asyncio.Future[Any]") -> None:
        await written
        raise self._error

    def read(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Awaitable[R]:
        return self._store.read(function, *args, **kwargs)


class Silent(GatewayConsumer):
    """A wire without words."""

    wire = "silent"

    async def opened(self) -> None: ...

    async def received(self, data: str | bytes) -> None: ...

    def error_frame(self, fault: Any) -> Any: ...


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    made = Store()
    yield made
    await made.stop()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("error", [OutcomeUnknown, asyncio.CancelledError])
async def test_a_connection_that_may_have_been_stored_does_not_stay_live(
    store: Store, tmp_path: Path, error: type[BaseException]
) -> None:
    registry = Registry(CutOff(store, error), limits=LeaseLimits(), lock_dir=tmp_path)
    consumer = Silent(parts=cast("Parts", SimpleNamespace(registry=registry)))
    consumer.peer = Peer({"headers": []})
    with pytest.raises(error):
        await consumer.register(principal=EVERYBODY, pipeline=None, session=None, session_type="person")
    assert registry.live == 0

    async def ended() -> bool:
        row = await store.read(lambda: Connection.objects.get(uuid=UUID(consumer.connection_id)))
        return row.ended_at is not None and row.close_code == TRY_LATER

    await eventually(ended, timeout=5, what="the end of the connection")
