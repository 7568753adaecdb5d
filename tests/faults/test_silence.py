"""Peers that are gone without a word (R7), and sockets that do not say who they are (R8)."""

import asyncio
import contextlib
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest

from tests.conftest import Serve
from tests.faults.conftest import Measured
from tests.faults.measuring import at_length
from tests.faults.model import Mode, model_in_thread
from tests.faults.proxy import FaultyProxy
from tests.faults.reader import StalledCaller
from tests.support.applications import make_application
from tests.support.clients import DEFAULT_PIPELINE, PipelineClient, dial
from tests.support.contact import ContactClient
from tests.support.postoffice import HubClient
from tests.support.server import GatewayProcess
from tests.support.waiting import wait_until
from tests.support.wechat import WeChatClient
from tests.support.yishiting import question

PING = at_length("1", "20")  # the default
PATIENCE = at_length(30, 90)  # seconds, twice what is promised
GONE_WITHIN, AUTHENTICATED_WITHIN = 45, 10  # seconds, as promised
ENDED = "SELECT wire, close_code, close_reason FROM connections_connection WHERE ended_at IS NOT NULL"


def ended(gateway: GatewayProcess) -> dict[str, tuple[int, str]]:
    """Return the wires on which connections ended, with close code and reason."""
    with contextlib.closing(sqlite3.connect(gateway.database_url.removeprefix("sqlite:///"))) as database:
        return {wire: (code, reason) for wire, code, reason in database.execute(ENDED)}


# --- Gone --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gateway(serve: Serve) -> Iterator[GatewayProcess]:
    """A gateway whose model never answers."""
    settings = {"PING_INTERVAL": PING, "PING_TIMEOUT": PING, "DRAIN_TIMEOUT": "1"}
    patient = {"MODEL_FIRST_TOKEN_TIMEOUT": "100", "TURN_DEADLINE": "100"}  # nothing is said meanwhile that finds out
    with model_in_thread(Mode.SILENT) as model, serve(model=model.base_url(), **settings, **patient) as gateway:
        yield gateway


@pytest.mark.promise("R7")
async def test_a_peer_that_vanished_is_gone_on_every_socket_wire(gateway: GatewayProcess, measured: Measured) -> None:
    wires = {"langbot", "contact", "wechat", "postoffice"}
    with FaultyProxy(gateway.port) as proxy:
        async with AsyncExitStack() as stack:
            clients = [
                await PipelineClient.connect(proxy.ws_url),
                await ContactClient.connect(proxy.ws_url),
                await WeChatClient.open(proxy.ws_url, login="vanished"),
                await HubClient.connect(proxy.ws_url, "vanished"),
            ]
            for client in clients:
                stack.callback(client.socket.transport.abort)
            witness = await stack.enter_async_context(await PipelineClient.connect(gateway))
            proxy.stall()  # neither an end nor anything else comes from them
            began = time.monotonic()
            await asyncio.to_thread(
                wait_until,
                lambda: ended(gateway).keys() >= wires,
                timeout=PATIENCE,
                what="the end of those who vanished",
                detail=lambda: str(ended(gateway)),
            )
            seconds = time.monotonic() - began
            assert {ended(gateway)[wire] for wire in wires} == {(1006, "does not answer pings")}
            assert (await witness.ping())["type"] == "pong"  # who answers stays
    measured(
        "R7", on="any database", holds=seconds <= GONE_WITHIN,
        figure=f"sockets of {len(wires)} wires whose host vanished: gone after {seconds:.1f} s (pinged each {PING} s)",
    )  # fmt: skip


@pytest.mark.promise("R7")
def test_a_caller_whose_machine_vanished_is_gone_though_nothing_is_sent_to_him(
    gateway: GatewayProcess, measured: Measured
) -> None:
    with StalledCaller(gateway, "/chat", [question()]) as caller:
        wait_until(lambda: listed(gateway, "yishiting") == 1, timeout=20, what="the call among the live ones")
        try:
            caller.vanish()
        except PermissionError:
            pytest.skip("only root can close a socket without a word")
        began = time.monotonic()
        wait_until(lambda: listed(gateway, "yishiting") == 0, timeout=PATIENCE, what="the end of the call")
        seconds = time.monotonic() - began
    assert ended(gateway)["yishiting"][0] == 1006
    measured(
        "R7", on="any database", holds=seconds <= GONE_WITHIN,
        figure=f"a caller of a stream whose host vanished while the model was silent: gone after {seconds:.1f} s",
    )  # fmt: skip


def listed(gateway: GatewayProcess, wire: str) -> int:
    """Return how many connections of a wire are listed as live."""
    with contextlib.closing(sqlite3.connect(gateway.database_url.removeprefix("sqlite:///"))) as database:
        live = "SELECT count(*) FROM connections_connection WHERE wire = ? AND ended_at IS NULL"
        return int(database.execute(live, [wire]).fetchone()[0])


# --- Silent ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded(serve: Serve) -> Iterator[GatewayProcess]:
    """A gateway that wants to know who speaks."""
    limit = at_length("1", "10")
    settings = {"AUTHENTICATE_TIMEOUT": limit, "REQUEST_TIMEOUT": limit, "WECHAT_LOGIN_TIMEOUT": at_length("1", "30")}
    with serve(ACCESS_MODE="token", WECHAT_APPID="wx", WECHAT_APP_SECRET="secret", **settings) as gateway:
        yield gateway


@pytest.mark.promise("R8")
@pytest.mark.parametrize(
    ("wire", "path", "promised"),
    [
        ("langbot", f"/api/v1/pipelines/{DEFAULT_PIPELINE}/ws/connect", AUTHENTICATED_WITHIN),
        ("wechat", "/wechat/ws", 30),
    ],
)
async def test_a_socket_that_does_not_say_who_it_is_is_closed_though_it_answers_pings(
    guarded: GatewayProcess, measured: Measured, wire: str, path: str, promised: int
) -> None:
    began = time.monotonic()
    socket_ = await dial(guarded, path)
    while socket_.close_code is None and time.monotonic() - began < 3 * promised:
        with contextlib.suppress(Exception):
            await socket_.ping()
        await asyncio.wait([asyncio.create_task(socket_.wait_closed())], timeout=0.1)
    seconds = time.monotonic() - began
    assert socket_.close_code == 4001
    measured(
        "R8", on="any database", holds=seconds <= promised + 0.5,
        figure=f"{wire}: closed 4001 after {seconds:.1f} s (it has {promised} s by default)",
    )  # fmt: skip


@pytest.mark.promise("R8")
async def test_who_says_so_in_time_stays(guarded: GatewayProcess) -> None:
    token = make_application(guarded).token
    async with await PipelineClient.connect(guarded, first={"type": "authenticate", "token": token}) as client:
        assert client.connected["type"] == "connected"
        closed = asyncio.create_task(client.closed(60))
        await asyncio.wait([closed], timeout=at_length(1.5, 12))
        assert not closed.done()
        closed.cancel()


@pytest.mark.promise("R8")
def test_a_handshake_that_is_never_finished_is_dropped(guarded: GatewayProcess, measured: Measured) -> None:
    with socket.create_connection(("127.0.0.1", guarded.port), timeout=60) as half:
        began = time.monotonic()
        half.sendall(b"GET /contact HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert half.recv(1) == b""
        seconds = time.monotonic() - began
    measured(
        "R8", on="any database", figure=f"half a handshake: dropped after {seconds:.1f} s",
        holds=seconds <= AUTHENTICATED_WITHIN + 0.5,
    )  # fmt: skip
