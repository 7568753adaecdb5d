"""SIGTERM while answers are on their way: they end, on every wire, and their peers are told; nothing is lost (R14)."""

import asyncio
import http.client
import os
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from websockets.exceptions import ConnectionClosed

from conversations import phrases
from tests.conftest import GatewayFactory
from tests.faults import truth
from tests.faults.conftest import Measured
from tests.faults.measuring import Place, at_length
from tests.faults.model import WORDS, FakeModel, Mode, model_in_thread
from tests.faults.proxy import FaultyProxy
from tests.support.clients import Frame, PipelineClient, SocketClient, answer, is_final, is_type
from tests.support.contact import ContactClient
from tests.support.databases import PostgresServer
from tests.support.postoffice import HubClient
from tests.support.server import GatewayProcess, Templates
from tests.support.waiting import eventually, is_listening
from tests.support.wechat import WeChatClient
from tests.support.yishiting import caller, events, question, text_of

QUESTION = "Please go on"
WHOLE = "".join(WORDS)
DRAIN = at_length(3.0, 25.0)  # seconds for answers after SIGTERM
EXIT = DRAIN + 10  # promised: 35 s by the default
PATIENCE = 120.0  # seconds, on a machine that does much else
RESTARTING = "服务正在重启，请重新发送。"
TURNS = "SELECT count(*) FROM conversations_turn"


@dataclass
class Told:
    """What somebody heard: the words of each end of his answer, and what his socket was closed with."""

    ends: list[str]
    code: int | None = None
    again: Callable[[], Awaitable[list[str]]] | None = None  # fetches, after a restart, what he had not heard


async def _listen(client: SocketClient) -> tuple[list[Frame], int]:
    """Return all that comes until the socket is closed, and the close code."""
    frames: list[Frame] = []
    try:
        while True:
            frames.append(await client.recv(PATIENCE))
    except ConnectionClosed:
        return frames, client.socket.close_code or 0


async def _pipeline(gateway: GatewayProcess) -> Told:
    client = await PipelineClient.connect(gateway)
    await client.say(QUESTION)
    frames, code = await _listen(client)
    return Told([answer([frame]) for frame in frames if is_final(frame)], code)


async def _contact(gateway: GatewayProcess) -> Told:
    client = await ContactClient.connect(gateway)
    await client.send({"type": "chat_message", "message": QUESTION, "timestamp": ""})
    frames, code = await _listen(client)
    return Told([frame["message"] for frame in frames if frame["type"] == "chat_message"], code)


async def _wechat(gateway: GatewayProcess) -> Told:
    client = await WeChatClient.open(gateway, login=uuid4().hex)
    await client.send({"type": "chat", "query": QUESTION})
    frames, code = await _listen(client)
    return Told([frame["data"]["msg"] for frame in frames if frame["type"] == "chat_response"], code)


async def _hub(gateway: GatewayProcess) -> Told:
    name = f"/user/{uuid4().hex}"

    async def fetch() -> list[str]:
        async with await HubClient.connect(gateway, name) as client:
            return [str(letter["content"]) for letter in await client.until_silent()]

    client = await HubClient.connect(gateway, name)
    await client.write("AI_CHATBOT", QUESTION)
    frames, code = await _listen(client)
    return Told([str(frame["content"]) for frame in frames], code, again=fetch)


async def _wechat_http(gateway: GatewayProcess) -> Told:
    async with caller(gateway) as client:
        response = await client.post("/wechat/chat", json={"query": QUESTION, "openid": uuid4().hex}, timeout=PATIENCE)
    assert response.status_code == 200
    return Told([response.json()["data"]["msg"]])


async def _stream(gateway: GatewayProcess) -> Told:
    async with caller(gateway) as client:
        response = await client.post("/chat", json=question(QUESTION), timeout=PATIENCE)
    assert response.status_code == 200
    return Told([text_of(events(response.content))])


async def _sync(gateway: GatewayProcess) -> Told:
    async with caller(gateway) as client:
        response = await client.post("/chat/sync", json=question(QUESTION), timeout=PATIENCE)
    assert (response.status_code, response.json()["code"]) == (200, 0)
    return Told([response.json()["msg_content"]])


async def _async(gateway: GatewayProcess) -> Told:
    async with caller(gateway) as client:
        pending = (await client.post("/chat/async", json=question(QUESTION), timeout=PATIENCE)).json()

    async def fetch() -> list[str]:
        async with caller(gateway) as client:
            return [(await client.get(f"/chat/async/{pending['third_party_trace_id']}")).json()["msg_content"]]

    return Told([], again=fetch)


WIRES: tuple[Callable[[GatewayProcess], Awaitable[Told]], ...] = (
    _pipeline, _contact, _wechat, _hub, _wechat_http, _stream, _sync, _async,
)  # fmt: skip


async def _stop(gateway: GatewayProcess) -> float:
    """Tell a gateway to stop, see that nobody is let in while it does, and return how long it took."""
    began = time.monotonic()
    ending = asyncio.create_task(asyncio.to_thread(gateway.terminate, PATIENCE))
    await eventually(lambda: _are(is_listening(gateway.port), False), timeout=PATIENCE, what="refused connections")
    assert not ending.done(), "answers are on their way"
    await ending
    return time.monotonic() - began


class Queue:
    """Questions that wait behind another one of their session when the gateway stops."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self._gateway = gateway
        self._body = question(QUESTION)

    async def ask_first(self) -> None:
        """Ask, on a socket and by a call, what is answered first."""
        self.client = await PipelineClient.connect(self._gateway)
        await self.client.say("first")
        self._calls = [asyncio.create_task(self._call("/chat", self._body))]

    async def ask_more(self) -> None:
        """Ask what waits behind that: by the socket, and by two calls."""
        await self.client.say("second")
        await self.client.until(lambda frame: is_type("user_message")(frame) and frame["data"]["content"] == "second")
        self._heard = asyncio.create_task(_listen(self.client))  # a peer who does not read holds up the stop
        for path in ("/chat", "/chat/sync"):
            self._calls.append(asyncio.create_task(self._call(path, {**self._body, "msg_id": uuid4().hex})))

    async def _call(self, path: str, body: dict[str, Any]) -> tuple[int, bytes]:
        async with caller(self._gateway) as client:
            response = await client.post(path, json=body, timeout=PATIENCE)
            return response.status_code, response.content

    async def check_calls(self, ends_with: str) -> None:
        """Calls that wait end with the connection they came by: told so, in the wire's own shape."""
        (_, answered), (streamed, stream), (status, body) = await asyncio.gather(*self._calls)
        assert text_of(events(answered)).endswith(ends_with)
        assert (streamed, text_of(events(stream))) == (200, RESTARTING)
        assert status == 503
        assert RESTARTING in body.decode()

    async def check_socket(self, ends_with: str) -> None:
        """What waits for a socket is answered after the restart."""
        frames, code = await self._heard
        assert code == 1012
        (end,) = [answer([frame]) for frame in frames if is_final(frame)]
        assert end.endswith(ends_with)
        known = max(frame["data"]["seq"] for frame in frames if "seq" in frame.get("data", {}))
        session: dict[str, Any] = {"session_id": self.client.session_id, "resume_token": self.client.resume_token}
        async with await PipelineClient.connect(self._gateway, **session, last_seq=known) as client:
            missed = [frame for frame in await client.until(is_final, PATIENCE) if "seq" in frame.get("data", {})]
        assert [frame["data"]["seq"] for frame in missed] == list(range(known + 1, 5))
        assert answer(missed) == WHOLE


def _start(start_gateway: GatewayFactory, model: FakeModel, place: Place, **fields: Any) -> GatewayProcess:
    environment = {"DRAIN_TIMEOUT": str(DRAIN), "RATE_LIMITS": "off", **fields.pop("environment", {})}
    database = "sqlite" if place == "SQLite" else "postgres"
    return start_gateway(database=database, model=model.base_url(), environment=environment, **fields)


# Places, how long an answer takes, and with what it ends; the short version has each of either once.
IN_TIME, TOO_LATE = (DRAIN * 0.8, WHOLE), (DRAIN * 3, phrases.BROKEN_OFF["en"])
STOPS = at_length(
    [("SQLite", *IN_TIME), ("PostgreSQL + Valkey", *TOO_LATE)],
    [(place, *how) for place in ("SQLite", "PostgreSQL + Valkey") for how in (IN_TIME, TOO_LATE)],
)


@pytest.mark.promise("R14")
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("place", "answered_in", "ends_with"), STOPS)
async def test_answers_on_their_way_end(
    start_gateway: GatewayFactory, measured: Measured, place: Place, answered_in: float, ends_with: str
) -> None:
    with model_in_thread(Mode.SLOW) as model:
        model.delay = answered_in / len(model.words)
        gateway = _start(start_gateway, model, place, workers=1 if place == "SQLite" else 2)
        queue = Queue(gateway)
        asking = [asyncio.ensure_future(wire(gateway)) for wire in WIRES]
        await queue.ask_first()
        await eventually(lambda: _are(len(model.calls), len(WIRES) + 2), timeout=PATIENCE, what="questions")
        await queue.ask_more()
        asked = len(WIRES) + 5
        await eventually(lambda: _are(truth.count(gateway, TURNS), asked), timeout=PATIENCE, what="those that wait")
        seconds = await _stop(gateway)
        told = await asyncio.gather(*asking)
        model.delay = 0.01
        await asyncio.to_thread(gateway.start)
        for heard in told:
            heard.ends += await heard.again() if heard.again is not None else []
            assert len(heard.ends) == 1, "one end each"
            assert heard.ends[0].endswith(ends_with)
            assert heard.code in (None, 1012)
        await queue.check_calls(ends_with)
        await queue.check_socket(ends_with)
        await eventually(lambda: _are(truth.count(gateway, truth.OPEN), 0), timeout=PATIENCE, what="every end")
        assert truth.count(gateway, truth.UNANSWERED) == truth.count(gateway, truth.ANSWERED_TWICE) == 0
    how = "finished" if ends_with == WHOLE else f"cut after {DRAIN:g} s"
    figure = f"{asked} answers on 8 kinds of call: {how}; exit {seconds:.1f} s after SIGTERM, 1012, 0 lost"
    measured("R14", on=place, figure=figure, holds=seconds <= EXIT)


async def _are(found: int, expected: int) -> bool:
    return found == expected


@pytest.mark.promise("R14")
async def test_a_connection_that_stays_open_is_told_and_a_second_signal_ends_at_once(
    start_gateway: GatewayFactory,
) -> None:
    with model_in_thread(Mode.STALL) as model:
        gateway = _start(start_gateway, model, "SQLite", environment={"DRAIN_TIMEOUT": "60"})
        os.kill(gateway.pid, signal.SIGHUP)
        told_of = "server.not_restarted"
        await eventually(lambda: _are(told_of in gateway.log(), True), timeout=PATIENCE, what="a word of it")
        async with await PipelineClient.connect(gateway) as client:
            await client.say(QUESTION)
            await client.until(is_type("response"))
            with closing(http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=15)) as connection:
                assert _get(connection) == (200, None)
                os.kill(gateway.pid, signal.SIGTERM)
                await eventually(lambda: _are(is_listening(gateway.port), False), timeout=PATIENCE, what="refusals")
                assert _get(connection) == (200, "close"), "this answer is the last one"
            said: Frame = {}
            while "restarting" not in said.get("message", ""):  # for a moment more is still taken
                await client.say("one more")
                said = (await client.until(lambda frame: frame["type"] in {"user_message", "error"}))[-1]
            assert await client.closed() == 1012, "who wants more is sent elsewhere"
        assert gateway.terminate(timeout=15) == -signal.SIGTERM, "long before the 60 s that the answer has"
        assert truth.count(gateway, truth.OPEN) > 0


def _get(connection: http.client.HTTPConnection) -> tuple[int, str | None]:
    connection.request("GET", "/healthz")
    response = connection.getresponse()
    response.read()
    return response.status, response.headers["connection"]


@pytest.mark.promise("R14")
@pytest.mark.timeout(240)
async def test_it_ends_in_time_where_the_database_hangs(
    start_gateway: GatewayFactory, templates: Templates, postgres: PostgresServer, measured: Measured
) -> None:
    with model_in_thread(Mode.SLOW) as model, FaultyProxy(postgres.socket) as proxy:
        name = postgres.address(templates.copy_postgres(postgres, with_model=True))["dbname"]
        url = f"postgres://postgres@127.0.0.1:{proxy.port}/{name}"
        gateway = _start(start_gateway, model, "PostgreSQL", database_url=url)
        async with await PipelineClient.connect(gateway) as client:
            await client.say(QUESTION)
            await client.until(is_type("response"))
            proxy.stall()
            began = time.monotonic()
            _, code = await asyncio.gather(asyncio.to_thread(gateway.terminate, PATIENCE), client.closed(PATIENCE))
            seconds = time.monotonic() - began
        assert code == 1012
        proxy.flow()
        await asyncio.to_thread(gateway.start)
        await eventually(lambda: _are(truth.count(gateway, truth.OPEN), 0), timeout=PATIENCE, what="the answer's end")
        assert truth.count(gateway, truth.UNANSWERED) == 0
        gateway.close()  # as long as it has its database
    figure = f"the database hangs, answers have {DRAIN:g} s: 1012, exit {seconds:.1f} s after SIGTERM, 0 lost"
    measured("R14", on="PostgreSQL", figure=figure, holds=seconds <= EXIT)
