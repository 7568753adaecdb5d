"""Connections before they are anything: half-open, slow, too many, on a real server."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from chatgateway.http_protocol import HEAD_BYTES, PIPELINED
from tests.conftest import GatewayFactory, Serve
from tests.faults.model import model_in_thread
from tests.support.clients import DEFAULT_PIPELINE, PipelineClient
from tests.support.rest import acall
from tests.support.server import GatewayProcess
from tests.support.waiting import eventually
from tests.support.yishiting import question

LIMIT = 1.0
MARGIN = 2.0
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
POST = (
    f"POST /api/v1/pipelines/{DEFAULT_PIPELINE}/ws/broadcast HTTP/1.1\r\n"
    "Host: 127.0.0.1\r\nContent-Type: application/json\r\n"
).encode()
HANDSHAKE = (
    f"GET /api/v1/pipelines/{DEFAULT_PIPELINE}/ws/connect HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
).encode()

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture(scope="module")
def gateway(serve: Serve) -> Iterator[GatewayProcess]:
    """One gateway with little patience; its log must have no traceback at the end."""
    with serve(REQUEST_TIMEOUT=str(LIMIT)) as gateway:
        yield gateway


@asynccontextmanager
async def dial(gateway: GatewayProcess, *said: bytes) -> AsyncIterator[Streams]:
    """Open a bare connection and say something."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    try:
        for data in said:
            writer.write(data)
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def rest_of(reader: asyncio.StreamReader, timeout: float = LIMIT + MARGIN) -> bytes:
    """Return what comes until the gateway ends the connection."""
    read = b""
    with contextlib.suppress(ConnectionResetError):
        async with asyncio.timeout(timeout):
            while data := await reader.read(65536):
                read += data
    return read


def memory(gateway: GatewayProcess) -> int:
    """Return the bytes that the gateway holds in memory."""
    status = Path(f"/proc/{gateway.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


# --- Slow --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        pytest.param([], id="nothing"),
        pytest.param([b"\r\n"], id="an empty line"),
        pytest.param([HEALTH[:8]], id="half a line"),
        pytest.param([HEALTH[:-2]], id="half a head"),
        pytest.param([HANDSHAKE], id="half a handshake"),
        pytest.param([POST, b"Content-Length: 20\r\n\r\n{"], id="half a body"),
        pytest.param([POST, b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"], id="half of the chunks"),
        pytest.param([POST, b"Content-Length: 999999999\r\n\r\n{"], id="a body that was refused"),
        pytest.param([HEALTH + HEALTH[:8]], id="half a line behind a request"),
        pytest.param([HEALTH, HEALTH[:8]], id="half a line after an answer"),
    ],
)
async def test_a_request_that_does_not_end_is_dropped_in_time(gateway: GatewayProcess, said: list[bytes]) -> None:
    async with dial(gateway, *said) as (reader, _):
        await rest_of(reader)
    assert await acall(gateway, "GET", "")


async def test_a_connection_rests_between_two_requests(gateway: GatewayProcess) -> None:
    timed_out = gateway.log().count("connection.timed_out")
    async with dial(gateway, HEALTH) as (reader, writer):
        for _ in range(2):
            answer = await reader.readuntil(b"}")
            assert answer.startswith(b"HTTP/1.1 200")
            await asyncio.sleep(1.5 * LIMIT)  # as in a proxy's pool: longer than a request may take
            writer.write(HEALTH)
        assert gateway.log().count("connection.timed_out") == timed_out
        await reader.readuntil(b"}")
        writer.write(b"\r\n")
        await rest_of(reader)


async def test_a_large_body_may_take_longer_while_it_comes(gateway: GatewayProcess) -> None:
    piece = b'{"message":"' + b"x" * 20_000
    head = POST + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % (7 * len(piece))
    async with dial(gateway, head) as (reader, writer):
        answer = asyncio.create_task(rest_of(reader, 15))
        for _ in range(6):
            writer.write(piece)
            assert not (await asyncio.wait([answer], timeout=LIMIT / 4))[0]
        writer.write(piece)
        assert (await answer).startswith(b"HTTP/1.1 400")


async def test_who_does_not_read_his_answers_is_dropped(gateway: GatewayProcess) -> None:
    large = (
        b"GET /static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    )
    dropped = gateway.log().count("connection.timed_out")

    async def is_dropped() -> bool:
        return gateway.log().count("connection.timed_out") > dropped

    async with dial(gateway, large * 10):
        await eventually(is_dropped, timeout=3 * LIMIT + MARGIN, what="the end of who does not read")


# --- Slow readers of a stream ------------------------------------------------------------------

ANSWER = "😀" * 30_000
STREAMS = 10  # one after another: 1.2 MB, ten times what the small buffers between a gateway and its reader hold
READ = 2048  # bytes at once; so few in each LIMIT that the kernel takes nothing from the gateway meanwhile
SEGMENT = 536  # makes the sender's buffer small too; on the loopback it is 3 MB otherwise


@pytest.fixture(scope="module")
def talkative(serve: Serve) -> Iterator[GatewayProcess]:
    """A gateway with little patience in front of a model with much to say."""
    with model_in_thread() as model:
        model.words = (ANSWER,)
        with serve(model=model.base_url(), REQUEST_TIMEOUT=str(LIMIT)) as gateway:
            yield gateway


@asynccontextmanager
async def streaming(gateway: GatewayProcess) -> AsyncIterator[Callable[[], Awaitable[bytes]]]:
    """Ask for STREAMS over a connection with small buffers; give a function that reads the next of them."""
    loop = asyncio.get_running_loop()
    head = "POST /chat HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    bodies = [json.dumps(question()) for _ in range(STREAMS)]
    calls = [f"{head}Content-Length: {len(body)}\r\n\r\n{body}" for body in bodies]
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2 * READ)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT)
        connection.setblocking(False)
        await loop.sock_connect(connection, ("127.0.0.1", gateway.port))
        await loop.sock_sendall(connection, "".join(calls).encode())
        yield lambda: loop.sock_recv(connection, READ)


async def test_who_stops_reading_a_stream_is_dropped(talkative: GatewayProcess) -> None:
    dropped = talkative.log().count("connection.timed_out")

    async def is_dropped() -> bool:
        return talkative.log().count("connection.timed_out") > dropped

    async with streaming(talkative) as read:
        assert (await read()).startswith(b"HTTP/1.1 200")
        await eventually(is_dropped, timeout=3 * LIMIT + MARGIN, what="the end of who does not read")


async def test_who_reads_a_stream_slowly_but_steadily_gets_all_of_it(talkative: GatewayProcess) -> None:
    dropped = talkative.log().count("connection.timed_out")
    async with streaming(talkative) as read:
        stream = b""
        for _ in range(16):
            stream += await read()
            await asyncio.sleep(LIMIT / 4)  # nothing is waited for: so slowly he reads
        while stream.count(b'"answer_success":1') < STREAMS:
            data = await read()
            assert data, "the gateway hung up"
            stream += data
    assert talkative.log().count("connection.timed_out") == dropped


# --- Large -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"GET /" + b"x" * 4 * HEAD_BYTES, id="line"),
        pytest.param(b"GET / HTTP/1.1\r\n" + b"X-Many: x\r\n" * HEAD_BYTES, id="headers"),
        pytest.param(b"GET / HTTP/1.1\r\nX-Long: " + b"x" * 4 * HEAD_BYTES, id="one header"),
        pytest.param(b"\r\n" * 4 * HEAD_BYTES, id="empty lines"),
    ],
)
async def test_a_head_without_end_is_refused(gateway: GatewayProcess, head: bytes) -> None:
    timed_out = gateway.log().count("connection.timed_out")
    async with dial(gateway, head) as (reader, _):
        await rest_of(reader)  # 431, unless what is unread resets the connection
    assert gateway.log().count("connection.timed_out") == timed_out


async def test_requests_that_wait_for_one_another_are_few(gateway: GatewayProcess) -> None:
    request = b"GET /api/v1/pipelines HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    last = request.removesuffix(b"\r\n") + b"Connection: close\r\n\r\n"
    async with dial(gateway, request * 2 + last) as (reader, _):
        assert (await rest_of(reader, 15)).count(b"HTTP/1.1 200") == 3
    async with dial(gateway, request * 100 * PIPELINED) as (reader, _):
        assert (await rest_of(reader)).count(b"HTTP/1.1 200") <= PIPELINED
    async with dial(gateway, request * 3) as (_, writer):
        writer.transport.abort()  # leaves before the first answer: the log must have no traceback


# --- Many --------------------------------------------------------------------------------------


async def test_every_open_connection_counts_and_the_next_is_503_at_once(start_gateway: GatewayFactory) -> None:
    gateway = start_gateway(environment={"MAX_CONNECTIONS": "2"})
    async with dial(gateway, HANDSHAKE), await PipelineClient.connect(gateway) as client:
        for said in (HANDSHAKE, HEALTH.replace(b"healthz", b"readyz"), POST):
            async with dial(gateway, said) as (reader, _):
                answer = await rest_of(reader)
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"\r\nRetry-After: 5\r\n" in answer
        with pytest.raises(InvalidStatus):
            await PipelineClient.connect(gateway)
        async with dial(gateway, HEALTH) as (reader, _):
            assert (await rest_of(reader)).startswith(b"HTTP/1.1 200")  # who restarts a full gateway makes it worse
        async with dial(gateway) as (reader, _):
            assert await rest_of(reader) == b""
        assert (await client.ping())["type"] == "pong"


async def test_a_thousand_half_open_connections_keep_nobody_out_for_longer_than_the_limit(
    start_gateway: GatewayFactory,
) -> None:
    gateway = start_gateway(environment={"MAX_CONNECTIONS": "100", "REQUEST_TIMEOUT": str(LIMIT)})
    before = memory(gateway)

    async def may_come() -> bool:
        try:
            client = await PipelineClient.connect(gateway)
        except (InvalidStatus, OSError):
            return False
        await client.close()
        return True

    async with contextlib.AsyncExitStack() as flood:
        half_open = [await flood.enter_async_context(dial(gateway, HANDSHAKE)) for _ in range(1000)]
        await eventually(may_come, timeout=LIMIT + MARGIN, what="a good client comes in")
        assert memory(gateway) - before < 32 * 1024 * 1024
        await asyncio.gather(*(rest_of(reader) for reader, _ in half_open))


async def test_who_asked_for_its_health_is_not_let_in_beyond_the_bound(start_gateway: GatewayFactory) -> None:
    gateway = start_gateway(environment={"MAX_CONNECTIONS": "1"})
    async with dial(gateway, HANDSHAKE), dial(gateway, HEALTH) as (reader, writer):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        writer.write(HANDSHAKE + b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
        assert b"HTTP/1.1 503 " in await rest_of(reader)
