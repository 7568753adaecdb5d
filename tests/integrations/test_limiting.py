"""What is too much on a real server: messages, bytes, questions, calls and connections, of whom and in which words."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from connections.limits import PAUSE
from integrations.consumer import LIMITED
from integrations.limiting import TURNS_OF_VISITOR
from tests.conftest import GatewayFactory, Serve
from tests.faults.model import Mode, model_in_thread
from tests.support.applications import change, make_application
from tests.support.clients import Frame, PipelineClient, SocketClient, is_type
from tests.support.contact import ContactClient
from tests.support.databases import ValkeyServer
from tests.support.postoffice import HubClient
from tests.support.server import GatewayProcess
from tests.support.waiting import eventually
from tests.support.wechat import WeChatClient
from tests.support.yishiting import caller, question

PROXIED = {"TRUSTED_PROXIES": "127.0.0.1", "ALLOW_OPEN_ACCESS": "true"}


def of(address: str) -> dict[str, str]:
    """Return the header of a request that a proxy hands on for `address`."""
    return {"X-Forwarded-For": address}


async def refused(gateway: GatewayProcess, **headers: str) -> tuple[int, int]:
    """Try to connect, and return the refusal's status and its Retry-After."""
    with pytest.raises(InvalidStatus) as caught:
        await PipelineClient.connect(gateway, headers=headers)
    response = caught.value.response
    return response.status_code, int(response.headers["Retry-After"])


# --- Connections -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def crowded(serve: Serve) -> Iterator[GatewayProcess]:
    """A gateway behind a proxy, with two places an address, whose model never answers."""
    with (
        model_in_thread(Mode.SILENT) as model,
        serve(model=model.base_url(), MAX_CONNECTIONS_PER_ADDRESS="2", DRAIN_TIMEOUT="1", **PROXIED) as gateway,
    ):
        yield gateway


async def socket_of_each_wire(gateway: GatewayProcess, address: str, stack: AsyncExitStack) -> list[Any]:
    """Return the ways to open a socket from `address`."""

    async def pipeline() -> Any:
        return await stack.enter_async_context(await PipelineClient.connect(gateway, headers=of(address)))

    async def contact() -> Any:
        return await stack.enter_async_context(await ContactClient.connect(gateway, headers=of(address)))

    async def hub() -> Any:
        return await stack.enter_async_context(await HubClient.connect(gateway, uuid4().hex, headers=of(address)))

    return [pipeline, contact, hub]


async def test_an_address_has_so_many_places_on_all_wires_together(crowded: GatewayProcess) -> None:
    async with AsyncExitStack() as stack:
        pipeline, contact, hub = await socket_of_each_wire(crowded, "192.0.2.1", stack)
        await contact()
        last = await hub()
        for connect in (pipeline, contact, hub):
            with pytest.raises(InvalidStatus) as caught:
                await connect()
            assert caught.value.response.status_code == 503
            assert caught.value.response.headers["Retry-After"] == "5"
            assert (caught.value.response.body or b"") == b"Too many connections from this address"
        async with await PipelineClient.connect(crowded, headers=of("192.0.2.2")) as other:
            assert other.connected["type"] == "connected"
        await last.close()

        async def has_place() -> bool:
            try:
                await pipeline()
            except InvalidStatus:
                return False
            return True

        await eventually(has_place, timeout=10, what="the place of who left")


async def test_all_addresses_of_one_ipv6_network_share_its_places(crowded: GatewayProcess) -> None:
    async with AsyncExitStack() as stack:
        for host in ("1", "2"):
            headers = of(f"2001:db8::{host}")
            await stack.enter_async_context(await PipelineClient.connect(crowded, headers=headers))
        assert await refused(crowded, **of("2001:db8::ffff:3")) == (503, 5)
        async with await PipelineClient.connect(crowded, headers=of("2001:db8:0:1::1")) as other:
            assert other.connected["type"] == "connected"


@pytest.mark.parametrize("path", ["/chat", "/chat/sync", "/wechat/chat"])
async def test_a_call_that_waits_for_its_answer_takes_a_place(crowded: GatewayProcess, path: str) -> None:
    address = f"198.51.100.{len(path)}"
    body = {"query": "?", "openid": uuid4().hex} if "wechat" in path else question()
    async with caller(crowded, **of(address)) as http, AsyncExitStack() as stack, asking(http, path, body):

        async def is_counted() -> bool:
            try:
                await stack.enter_async_context(await PipelineClient.connect(crowded, headers=of(address)))
            except InvalidStatus:
                return True
            return False

        # The first socket is let in beside it, and the next is not.
        await eventually(is_counted, timeout=10, what="an address without a place")
        answer = await http.post(path, json=body)
        if "wechat" in path:
            assert (answer.status_code, answer.json()["code"]) == (200, 500)
            assert "该地址的连接过多" in answer.json()["message"]
        else:
            assert answer.status_code == 503
            assert answer.headers["Retry-After"] == "5"
            assert answer.json()["err_msg"] == "该地址的连接过多，请稍后再试。"


@asynccontextmanager
async def asking(http: httpx2.AsyncClient, path: str, body: Any) -> AsyncIterator[None]:
    """Ask, and hang up at the end of the block."""
    task = asyncio.create_task(http.post(path, json=body))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


# --- Handshakes and calls ----------------------------------------------------------------------


async def test_who_waits_for_a_refusal_keeps_no_place(serve: Serve) -> None:
    here = of("192.0.2.1")
    with serve(MAX_CALLS_PER_ADDRESS="1", MAX_CONNECTIONS_PER_ADDRESS="2", **PROXIED) as gateway:
        await (await PipelineClient.connect(gateway, headers=here)).close()
        refusals: list[asyncio.Task[tuple[int, int]]] = []

        async def are_noted() -> bool:
            async with caller(gateway) as http:
                told = (await http.get("/metrics")).text
            return f'chatgateway_refused_handshakes_total{{reason="rate"}} {len(refusals)}.0\n' in told

        for _ in range(4):  # one after another, each while those before it wait
            refusals.append(asyncio.create_task(refused(gateway, **here)))
            await eventually(are_noted, timeout=10, what="a refusal")
        assert [status for status, _ in await asyncio.gather(*refusals)] == [429] * 4
        await (await PipelineClient.connect(gateway, headers=of("192.0.2.2"))).close()
        assert (await refused(gateway, **of("192.0.2.2")))[0] == 429
        noted = [line for line in gateway.log().splitlines() if "connection.refused" in line]
        assert [("192.0.2.1" in line, "192.0.2.2" in line) for line in noted] == [(True, False), (False, True)]


async def test_an_address_may_call_so_often_by_socket_and_by_http(serve: Serve) -> None:
    with serve(MAX_CALLS_PER_ADDRESS="4", **PROXIED) as gateway:
        async with caller(gateway, **of("192.0.2.1")) as http:
            for _ in range(2):
                await (await PipelineClient.connect(gateway, headers=of("192.0.2.1"))).close()
                assert (await http.get("/api/v1/pipelines")).status_code == 200
            began = time.monotonic()
            status, wait = await refused(gateway, **of("192.0.2.1"))
            assert status == 429
            assert 0 < wait <= 60
            assert time.monotonic() - began >= PAUSE  # who does not wait by himself is made to
            answer = await http.get("/api/v1/pipelines")
            assert (answer.status_code, answer.json()["code"]) == (429, -1)
            assert 0 < int(answer.headers["Retry-After"]) <= 60
            answer = await http.post("/chat/sync", json=question())
            assert answer.status_code == 429
            assert 0 < int(answer.headers["Retry-After"]) <= 60
            answer = await http.post("/wechat/chat", json={"query": "?", "openid": "o"})
            assert (answer.status_code, answer.json()["code"]) == (200, 429)
        async with await PipelineClient.connect(gateway, headers=of("192.0.2.2")) as other:
            assert other.connected["type"] == "connected"


# --- Messages ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def narrow(serve: Serve) -> Iterator[GatewayProcess]:
    """A gateway on which a connection may send 50 messages at once, and 5 KiB of them."""
    with serve(MAX_MESSAGES="10", MAX_BYTES="1024") as gateway:
        yield gateway


async def flood(client: SocketClient, frame: Frame, times: int) -> list[Frame]:
    """Send the same frame so often that the gateway closes the socket with 4129; return what it said."""
    for _ in range(times):
        await client.send(frame)
    heard: list[Frame] = []
    with contextlib.suppress(ConnectionClosed):
        while True:
            heard.append(await client.recv())
    assert client.socket.close_code == 4129
    return heard


async def test_who_sends_too_many_messages_is_told_so_and_sent_away(narrow: GatewayProcess) -> None:
    client = await PipelineClient.connect(narrow)
    heard = await flood(client, {"type": "ping"}, 100)
    assert 40 <= sum(frame["type"] == "pong" for frame in heard) < 100
    errors = [frame for frame in heard if frame["type"] == "error"]
    assert len(errors) == LIMITED
    assert all(frame["retry_after"] == 1 for frame in errors)


async def test_who_sends_too_many_bytes_is_told_so_on_every_wire_that_answers(narrow: GatewayProcess) -> None:
    large = "x" * 900
    pipeline = await PipelineClient.connect(narrow)
    heard = await flood(pipeline, {"type": "ping", "more": large}, 30)
    assert sum(frame["type"] == "pong" for frame in heard) < 20
    contact = await ContactClient.connect(narrow)
    heard = await flood(contact, {"type": "ping", "more": large}, 30)
    assert [frame["retry_after"] for frame in heard if frame["type"] == "error"] == [1] * LIMITED
    wechat = await WeChatClient.open(narrow)
    heard = await flood(wechat, {"type": "ping", "more": large}, 30)
    refusals = [frame for frame in heard if frame["code"] == 429]
    assert [frame["data"]["retry_after"] for frame in refusals] == [1] * LIMITED


async def test_a_hub_client_that_sends_too_much_is_read_more_slowly_and_loses_nothing(narrow: GatewayProcess) -> None:
    async with (
        await HubClient.connect(narrow, "reader") as reader,
        await HubClient.connect(narrow, "writer") as writer,
    ):
        for number in range(70):
            await writer.write("reader", number)
        letters = await reader.until(lambda letter: letter["content"] == 69, 60)
        assert [letter["content"] for letter in letters] == list(range(70))
    assert "what=postoffice.message" in narrow.log()


# --- Questions ---------------------------------------------------------------------------------


async def ask_too_often(client: PipelineClient, admitted: int) -> None:
    """Ask until it is refused, which must be after `admitted` questions, and go on asking until the socket ends."""
    for _ in range(admitted):
        await client.say("How do I stop the server?")
    for _ in range(admitted):
        await client.until(is_type("user_message"))
    for _ in range(LIMITED):
        await client.say("How do I stop the server?")
    error = (await client.until(is_type("error")))[-1]
    assert 0 < error["retry_after"] <= 60
    assert await client.closed() == 4129


async def test_a_session_may_ask_so_often(serve: Serve) -> None:
    with serve(MAX_TURNS_PER_SESSION="5") as gateway:
        await ask_too_often(await PipelineClient.connect(gateway), 5)
        async with await PipelineClient.connect(gateway) as other:  # another session
            await other.ask("How do I stop the server?")


async def test_a_visitor_may_ask_less_often(serve: Serve) -> None:
    origin = "https://shop.example"
    with serve(ACCESS_MODE="token", ALLOWED_ORIGINS=origin) as gateway:
        change(gateway, "UPDATE conversations_pipeline SET public = 1")

        async def is_public() -> bool:
            async with await PipelineClient.connect(
                gateway, headers={"Origin": origin}, first={"type": "ping"}
            ) as client:
                return bool(client.connected["type"] == "connected")

        await eventually(is_public, timeout=10, what="a public pipeline")
        client = await PipelineClient.connect(gateway, headers={"Origin": origin})
        for _ in range(TURNS_OF_VISITOR.amount):
            await client.say("")  # nothing to be answered
            await client.until(is_type("user_message"))
        await client.say("")
        assert 0 < (await client.until(is_type("error")))[-1]["retry_after"] <= 60
        await client.close()


async def test_an_application_may_ask_so_often_on_all_wires_and_workers_together(
    start_gateway: GatewayFactory, valkey: ValkeyServer
) -> None:
    gateway = start_gateway(
        environment={"ACCESS_MODE": "token", "MAX_TURNS_PER_APPLICATION": "6"}, workers=2, redis_url=valkey.url
    )
    ours, theirs = make_application(gateway), make_application(gateway)

    async def asks(token: str, wire: str) -> int:
        if wire == "yishiting":
            async with caller(gateway, Authorization=f"Bearer {token}") as http:
                return (await http.post("/chat/async", json=question())).status_code
        async with await PipelineClient.connect(gateway, token=token) as client:
            await client.say("")
            frame = (await client.until(lambda frame: frame["type"] in {"user_message", "error"}))[-1]
            return 200 if frame["type"] == "user_message" else 429 if frame["retry_after"] else 0

    wires = ["yishiting", "langbot"]
    assert [await asks(ours.token, wires[number % 2]) for number in range(6)] == [200] * 6
    for _ in range(3):  # whichever worker takes it
        assert [await asks(ours.token, wire) for wire in wires] == [429, 429]
    assert await asks(theirs.token, "langbot") == 200
