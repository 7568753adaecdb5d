"""Our WebSocket protocol class on a real server: what is refused, and how the rest goes on."""

import asyncio
import json
import signal
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import psycopg
import pytest
import uvicorn
from uvicorn.server import ServerState
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from chatgateway.server import GatewayProtocol
from tests.benchmarks.measuring import resident_bytes
from tests.conftest import GatewayFactory, Serve
from tests.support.clients import DEFAULT_PIPELINE, PipelineClient, is_type
from tests.support.databases import ValkeyServer
from tests.support.server import GatewayProcess
from tests.support.waiting import wait_until

CONNECT = f"/api/v1/pipelines/{DEFAULT_PIPELINE}/ws/connect"
FRAME_BYTES = 4096


@pytest.fixture(scope="module")
def gateway(serve: Serve) -> Iterator[GatewayProcess]:
    """One gateway for the tests that leave it as it was; its log must have no traceback at the end."""
    with serve(MAX_FRAME_BYTES=str(FRAME_BYTES), LOG_FORMAT="json") as gateway:
        yield gateway


async def refusal(gateway: GatewayProcess, path: str, **headers: str) -> Any:
    """Return the HTTP response of a handshake that is refused."""
    with pytest.raises(InvalidStatus) as refused:
        await open_socket(gateway, path, **headers)
    return refused.value.response


async def open_socket(gateway: GatewayProcess, path: str, **headers: str) -> ClientConnection:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return await connect(gateway.ws_url + path, additional_headers=names, proxy=None)


# --- Frames ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fragments",
    [
        pytest.param([b"\xff\xfe"], id="in one frame"),
        pytest.param([b'{"type":', b'"\xed\xa0\x80"}'], id="in the second fragment"),
        pytest.param([b"\xe7\xad"], id="half a character"),
    ],
)
async def test_invalid_utf_8_closes_with_1007(gateway: GatewayProcess, fragments: list[bytes]) -> None:
    async with await PipelineClient.connect(gateway) as client:
        await client.socket.send(fragments, text=True)
        assert await client.closed() == 1007


async def test_a_character_may_lie_across_two_fragments(gateway: GatewayProcess) -> None:
    words = '{"type": "message", "message": [{"type": "Plain", "text": "答"}], "stream": false}'.encode()
    cut = words.index("答".encode()) + 1
    async with await PipelineClient.connect(gateway) as client:
        await client.socket.send([words[:cut], words[cut:]], text=True)
        assert (await client.until(is_type("user_message")))[-1]["data"]["content"] == "答"


async def test_a_frame_may_be_binary(gateway: GatewayProcess) -> None:
    async with await PipelineClient.connect(gateway) as client:
        await client.send(b'{"type": "ping"}')
        assert (await client.recv())["type"] == "pong"


async def test_a_frame_over_the_limit_closes_with_1009(gateway: GatewayProcess) -> None:
    async with await PipelineClient.connect(gateway) as client:
        await client.send(b"x" * (FRAME_BYTES + 1))
        assert await client.closed() == 1009


async def test_fragments_over_the_limit_together_close_with_1009(gateway: GatewayProcess) -> None:
    async with await PipelineClient.connect(gateway) as client:
        await client.socket.send(["x" * (FRAME_BYTES // 2 + 1)] * 2)
        assert await client.closed() == 1009


async def test_a_frame_of_the_limit_is_read(gateway: GatewayProcess) -> None:
    async with await PipelineClient.connect(gateway) as client:
        await client.send(json.dumps({"type": "ping"}).ljust(FRAME_BYTES))
        assert (await client.recv())["type"] == "pong"


async def test_nine_refused_frames_are_told_of_and_the_tenth_closes_with_1008(gateway: GatewayProcess) -> None:
    async with await PipelineClient.connect(gateway) as client:
        for _ in range(9):
            await client.send("not json")
            assert await client.recv() == {"type": "error", "message": "Invalid JSON format"}
        assert (await client.ping())["type"] == "pong"
        await client.send('{"message": [{}]}')
        assert await client.recv() == {"type": "error", "message": "message[0].type is required"}
        assert await client.closed() == 1008


async def test_more_frames_at_once_than_are_read_ahead_are_all_answered(gateway: GatewayProcess) -> None:
    async with await PipelineClient.connect(gateway) as client:
        for _ in range(500):
            await client.send({"type": "ping"})
        for _ in range(500):
            assert (await client.recv())["type"] == "pong"


async def test_frames_behind_the_one_that_closes_are_not_acted_on(gateway: GatewayProcess) -> None:
    async with await PipelineClient.connect(gateway) as client:
        await client.send({"type": "disconnect"})
        for _ in range(20):
            await client.send({"type": "ping"})
        assert await client.closed() == 1000


async def test_a_client_that_drops_its_socket_harms_nobody(gateway: GatewayProcess) -> None:
    client = await PipelineClient.connect(gateway)
    await client.say("What can you do?")
    client.socket.transport.abort()
    async with await PipelineClient.connect(gateway) as other:
        assert (await other.ping())["type"] == "pong"


@pytest.mark.usefixtures("postgres")
async def test_what_is_read_ahead_of_an_app_that_waits_is_bounded_in_bytes(start_gateway: GatewayFactory) -> None:
    size = 8 * 1024 * 1024
    environment = {"MAX_FRAME_BYTES": str(size), "MAX_BYTES": str(15 * size), "LOCK_TIMEOUT": "30"}
    gateway = start_gateway(database="postgres", environment=environment)
    frame = json.dumps({"type": "nothing"}).ljust(size)
    with psycopg.connect(gateway.database_url) as connection:
        connection.execute("LOCK TABLE connections_connection")  # the app waits until it has stored its connection
        async with await open_socket(gateway, CONNECT) as socket:
            sending = asyncio.create_task(send_all(socket, [frame] * 15))
            # Two frames are kept, and what the kernel's buffers hold.
            assert not (await asyncio.wait([sending], timeout=3))[0]
            connection.rollback()
            await sending
            await socket.send('{"type": "ping"}')
            assert [json.loads(await socket.recv())["type"] for _ in range(2)] == ["connected", "pong"]


async def test_a_message_that_was_acted_on_is_not_kept_until_the_next(start_gateway: GatewayFactory) -> None:
    gateway, size, clients = start_gateway(), 1024 * 1024, 30
    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(await open_socket(gateway, CONNECT)) for _ in range(clients)]
        for socket in sockets:
            assert json.loads(await socket.recv())["type"] == "connected"
        before = resident_bytes([gateway.pid])
        for is_text in (True, False):
            for socket in sockets:  # one after another: what was worked on at once would leave gaps
                await socket.send(json.dumps({"type": "ping"}).ljust(size).encode(), text=is_text)
                assert json.loads(await socket.recv())["type"] == "pong"
        grown = resident_bytes([gateway.pid]) - before
    assert grown < clients * size / 2


async def send_all(socket: ClientConnection, frames: list[str]) -> None:
    for frame in frames:
        await socket.send(frame)


# --- Handshakes --------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/nothing", "/postoffice", "/websocket/nothing", "/api/v1/pipelines/x/ws/"])
async def test_an_unknown_path_is_404_before_the_upgrade(gateway: GatewayProcess, path: str) -> None:
    assert (await refusal(gateway, path)).status_code == 404


async def test_the_wires_answer_below_websocket_too(gateway: GatewayProcess) -> None:
    async with await open_socket(gateway, f"/websocket{CONNECT}") as socket:
        assert json.loads(await socket.recv())["type"] == "connected"


async def test_a_strangers_page_is_refused(gateway: GatewayProcess) -> None:
    for origin in ("https://evil.example", "null"):
        assert (await refusal(gateway, CONNECT, Origin=origin)).status_code == 403


async def test_open_access_is_not_served_through_a_proxy(gateway: GatewayProcess) -> None:
    assert (await refusal(gateway, CONNECT, X_Forwarded_For="203.0.113.9")).status_code == 403


async def test_a_bearer_subprotocol_is_echoed(gateway: GatewayProcess) -> None:
    async with await PipelineClient.connect(gateway, subprotocol="bearer.abc") as client:
        assert client.socket.subprotocol == "bearer.abc"


async def test_no_query_reaches_the_log(gateway: GatewayProcess) -> None:
    async with await PipelineClient.connect(gateway, token="canary-5d1c") as client:
        await client.send(b"\xff")
        assert (await client.recv())["type"] == "error"
    await refusal(gateway, "/nothing?token=canary-5d1c")
    assert "canary-5d1c" not in gateway.log()


async def test_beyond_the_limit_of_connections_a_handshake_is_503_with_retry_after(
    start_gateway: GatewayFactory,
) -> None:
    gateway = start_gateway(environment={"MAX_CONNECTIONS": "1"})
    async with await PipelineClient.connect(gateway) as client:
        response = await refusal(gateway, CONNECT)
        assert response.status_code == 503
        assert int(response.headers["Retry-After"]) > 0
        assert (await client.ping())["type"] == "pong"


# --- Stopping ----------------------------------------------------------------------------------


async def test_sigterm_closes_sockets_with_1012_and_ends_well(start_gateway: GatewayFactory) -> None:
    gateway = start_gateway()
    async with await PipelineClient.connect(gateway) as client:
        status, code = await asyncio.gather(asyncio.to_thread(gateway.terminate), client.closed())
    assert code == 1012
    assert status in {0, -signal.SIGTERM}  # uvicorn ends by the signal it got, once all else is done


# --- Without its layer -------------------------------------------------------------------------


async def test_a_layer_that_goes_away_is_named_in_the_log_without_a_traceback(start_gateway: GatewayFactory) -> None:
    valkey = ValkeyServer()
    valkey.start()
    gateway = start_gateway(redis_url=valkey.url)
    async with await PipelineClient.connect(gateway, "group") as client:
        valkey.stop()
        await asyncio.to_thread(
            wait_until,
            lambda: "Unexpected exception in receive task: " in gateway.log(),
            timeout=15,
            what="the layer's failure in the log",
            detail=gateway.log,
        )
        assert (await client.ping())["type"] == "pong"
    assert "Traceback" not in gateway.log()


# --- Without a server --------------------------------------------------------------------------


class Impatient(GatewayProtocol):
    """Waits hardly at all for a peer that does not read, and tells when it is rid of him."""

    hang_up_patience = 0.1

    def __init__(self, *args: Any, lost: asyncio.Event, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lost = lost

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.lost.set()


async def test_who_does_not_read_the_last_frames_does_not_keep_his_place() -> None:
    async def fill(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        protocol = made[0]
        while not protocol.transport.get_write_buffer_size():
            await send({"type": "websocket.send", "bytes": bytes(1024)})

    loop, lost, made = asyncio.get_running_loop(), asyncio.Event(), []
    config = uvicorn.Config(fill, lifespan="off", log_config=None)
    config.load()

    def make() -> Impatient:
        made.append(Impatient(config=config, server_state=ServerState(), app_state={}, lost=lost))
        return made[-1]

    server = await loop.create_server(make, "127.0.0.1", 0)
    async with server:
        client = socket.create_connection(server.sockets[0].getsockname())
        with client:
            client.sendall(
                b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            )
            await asyncio.wait_for(lost.wait(), 10)
