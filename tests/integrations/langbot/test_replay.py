"""A resume over a real socket: long answers, slow readers, resumes and stops in a row."""

import asyncio
import json
import socket
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Self
from uuid import UUID, uuid4

import msgspec
import pytest
from channels.layers import InMemoryChannelLayer
from django.utils import timezone
from websockets.asyncio.client import connect

from connections.auth import EVERYBODY, Principal
from connections.hub import Hub
from connections.jobs import ConnectionRow
from connections.limits import Brake, Limiter, Places
from connections.metrics import REPLAYED, RESUME, Metrics
from connections.registry import End, LiveConnection
from conversations import selectors
from conversations.responders.base import PipelineConfig
from conversations.store import StoreUnavailable
from conversations.types import Accepted, MessageStored, Question, Role, SessionKey, SessionTopic, StoredMessage
from integrations import resume
from integrations.langbot.consumers import PipelineConsumer
from integrations.langbot.rich import RENDERED_AGAIN, RichEncoder
from integrations.parts import WireOptions
from integrations.sessions import RESUME_INTERVAL
from tests.conftest import GatewayFactory
from tests.connections.doubles import JsonCodec
from tests.support.clients import DEFAULT_PIPELINE, PipelineClient, is_final, is_type
from tests.support.server import GatewayProcess
from tests.support.waiting import eventually

MESSAGES = 300
TEXT = "长" * 7000  # 21 kB each: six times what may wait for one reader


async def fill(gateway: GatewayProcess, room: str, messages: int = MESSAGES, text: str = TEXT) -> None:
    """Say so many messages in a room that nobody answers in."""
    async with await PipelineClient.connect(gateway, "group", session_id=room) as talker:
        for start in range(0, messages, 20):
            for _ in range(start, min(start + 20, messages)):
                await talker.say(text)
            for _ in range(start, min(start + 20, messages)):
                await talker.until(is_type("user_message"))


async def connect_narrow(gateway: GatewayProcess, room: str, last_seq: int) -> PipelineClient:
    """Connect through a socket whose buffer in the kernel is small: what it does not read waits at the gateway."""
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
    narrow.connect(("127.0.0.1", gateway.port))
    narrow.setblocking(False)
    query = f"session_type=group&session_id={room}&last_seq={last_seq}"
    return PipelineClient(
        await connect(
            f"{gateway.ws_url}/api/v1/pipelines/{DEFAULT_PIPELINE}/ws/connect?{query}",
            sock=narrow,
            compression=None,
            max_queue=1,
            ping_interval=None,
            close_timeout=0.1,
            proxy=None,
        )
    )


@pytest.mark.parametrize("server", ["uvicorn", "daphne"])
async def test_three_hundred_long_messages_are_replayed_to_who_reads(
    start_gateway: GatewayFactory, server: str
) -> None:
    gateway, room = start_gateway(server=server), uuid4().hex
    await fill(gateway, room)
    async with await connect_narrow(gateway, room, 0) as client:
        assert (await client.recv())["type"] == "connected"
        assert await client.recv() == {"type": "resumed", "resumed": True, "last_seq": MESSAGES}
        frames = [await client.recv() for _ in range(MESSAGES)]
        assert [frame["data"]["seq"] for frame in frames] == list(range(1, MESSAGES + 1))
        assert {frame["data"]["content"] for frame in frames} == {TEXT}
        await client.say("live")
        assert (await client.recv())["data"]["seq"] == MESSAGES + 1


async def test_a_long_replay_keeps_the_socket_answering_and_is_the_only_one(start_gateway: GatewayFactory) -> None:
    gateway, room = start_gateway(), uuid4().hex
    await fill(gateway, room)
    async with await connect_narrow(gateway, room, 0) as client:
        await client.until(is_type("resumed"))
        await client.send({"type": "resume", "last_seq": 0})
        await client.send({"type": "ping"})
        frames = await client.until(lambda frame: frame.get("data", {}).get("seq") == MESSAGES)
        others = [frame for frame in frames if "data" not in frame]
        assert sorted(frame["type"] for frame in others) == ["error", "pong"]
        assert "A resume is going on already" in [frame.get("message") for frame in others]
        assert len(frames) == MESSAGES + 2


# --- In this process: a peer that stops reading, a database that fails, a client in a hurry ------


class Hasty(PipelineConsumer):
    """One that does not wait long for a slow reader."""

    replay_patience = 0.05


class Collaborators:
    """What a consumer works with, and what it did to them."""

    def __init__(self, messages: int = 0) -> None:
        self.key = SessionKey(uuid4(), UUID(DEFAULT_PIPELINE), "person")
        self.messages = [said(self.key, seq) for seq in range(1, messages + 1)]
        self.failure: Exception | None = None
        self.accepting: asyncio.Future[Accepted] | None = None
        self.replays: list[float] = []
        self.stops: list[UUID] = []
        self.worker = uuid4()
        self.live = 0
        self.closed: list[int] = []
        self.metrics = Metrics()
        parts: Any = SimpleNamespace(
            hub=Hub(InMemoryChannelLayer(), JsonCodec(), shared=False, fill=_nothing, latest=_nothing),
            store=self, turns=self, catalogue=self, registry=self, authenticator=self, ready=_nothing,
            metrics=self.metrics, limiter=Limiter(self.metrics, enabled=False), places=Places(0), brake=Brake(),
            options=WireOptions(open_access=True, proxied_open_access=False),
        )  # fmt: skip
        self.parts = parts

    async def read(self, function: Callable[..., Any], *arguments: Any) -> Any:
        if function is selectors.session_state:
            return selectors.SessionState(self.key, len(self.messages), None, "langbot")
        if function is selectors.message:
            return self.messages[arguments[0] - 1]
        if function is selectors.replay_page:
            return [message for message in self.messages if message.seq > arguments[1]][:2]
        if function is selectors.newest_within:
            assert arguments == (self.key.uuid, 0, len(self.messages), RENDERED_AGAIN)
            return len(self.messages) + 1 - RENDERED_AGAIN // len(self.messages[0].text)
        if function is selectors.was_reset_since:
            return False
        assert function is selectors.replay
        self.replays.append(time.monotonic())
        if self.failure is not None:
            raise self.failure
        return selectors.Replay(len(self.messages), complete=True)

    async def identify(self, _token: str | None) -> Principal:
        return EVERYBODY

    async def find(self, uuid: UUID) -> PipelineConfig:
        return PipelineConfig(1, uuid, "", "", True, "", "always", "", False, ())

    async def open(self, row: ConnectionRow, end: End) -> LiveConnection:
        return LiveConnection(row, end)

    def close(self, _live: LiveConnection, code: int, _reason: str) -> None:
        self.closed.append(code)

    def get(self, _uuid: UUID) -> None:
        """Know of no change to the pipeline."""

    def stop(self, session: UUID) -> None:
        self.stops.append(session)

    async def was_stopped(self) -> bool:
        return len(self.stops) >= 1

    async def was_stopped_twice(self) -> bool:
        return len(self.stops) >= 2

    def ask(self, _question: Question) -> "asyncio.Future[Accepted]":
        self.accepting = asyncio.get_running_loop().create_future()
        return self.accepting

    async def was_asked(self) -> bool:
        return self.accepting is not None


async def _nothing(*_arguments: Any) -> Any:
    return None


def said(key: SessionKey, seq: int, role: Role = Role.USER) -> StoredMessage:
    """Return a message as committed."""
    return StoredMessage(seq, key.uuid, "person", seq, role, "x" * 100, timezone.now())


class Socket:
    """A consumer's peer. It takes `reads` frames of the consumer's, and then no more."""

    def __init__(
        self, parts: Collaborators, kind: type[PipelineConsumer] = Hasty, reads: int = 10_000, query: str = ""
    ) -> None:
        self.got: list[Any] = []
        self._query = query
        self._parts = parts
        self._reads = reads
        self._heard = asyncio.Event()
        self._sent: asyncio.Queue[Any] = asyncio.Queue()
        self._consumer = kind(parts=parts.parts, rich=RichEncoder())

    async def __aenter__(self) -> Self:
        token = resume.issue(self._parts.key)
        scope = {
            "type": "websocket", "headers": [], "url_route": {"kwargs": {"pipeline_uuid": DEFAULT_PIPELINE}},
            "query_string": f"session_id={self._parts.key.uuid}&resume_token={token}{self._query}".encode(),
        }  # fmt: skip
        self._sent.put_nowait({"type": "websocket.connect"})
        self._serving = asyncio.create_task(self._consumer(scope, self._sent.get, self._send))
        await self.until(is_type("connected"))
        return self

    async def __aexit__(self, *_exception: object) -> None:
        self._sent.put_nowait({"type": "websocket.disconnect", "code": 1005})
        await self._serving

    async def _send(self, message: Any) -> None:
        if message["type"] == "websocket.send":
            while self._reads == 0:
                await asyncio.Event().wait()
            self._reads -= 1
            self.got.append(json.loads(message["text"]))
        elif message["type"] == "websocket.close":
            self.got.append({"type": "closed", "code": message["code"]})
        self._heard.set()

    def say(self, **frame: Any) -> None:
        """Send a frame to the consumer."""
        self._sent.put_nowait({"type": "websocket.receive", "text": json.dumps(frame)})

    async def until(self, predicate: Callable[[Any], bool]) -> list[Any]:
        """Return the frames up to and with the first that fits."""
        async with asyncio.timeout(10):
            while True:
                for place, frame in enumerate(self.got):
                    if predicate(frame):
                        heard, self.got = self.got[: place + 1], self.got[place + 1 :]
                        return heard
                self._heard.clear()
                await self._heard.wait()


async def test_who_does_not_read_what_is_replayed_is_too_slow() -> None:
    parts = Collaborators(messages=5)
    async with Socket(parts, reads=3) as client:  # the greeting, `resumed`, and one message
        client.say(type="resume", last_seq=0)
        await client.until(is_type("closed"))
    assert parts.closed == [4108]


@pytest.mark.parametrize("failure", [StoreUnavailable("away"), RuntimeError("ours")])
async def test_who_cannot_be_resumed_is_sent_away_and_may_come_again(failure: Exception) -> None:
    parts = Collaborators()
    parts.failure = failure
    async with Socket(parts) as client:
        client.say(type="resume", last_seq=0)
        frames = await client.until(is_type("closed"))
        assert [frame["type"] for frame in frames] == ["error", "closed"]
        assert not client._consumer.replaying
    assert parts.closed == [1013]


ANSWER = "A **word**, a [link](https://e.example/a), `code` and https://e.example/b.\n\n- one\n- two\n\n"


@pytest.mark.parametrize("kilobytes", [1, 4])
async def test_a_rich_replay_renders_its_newest_messages_only(kilobytes: int) -> None:
    parts = Collaborators()
    text = (ANSWER * 64)[: kilobytes * 1024 - 10]
    for seq in range(1, MESSAGES + 1):
        message = said(parts.key, seq, Role.ASSISTANT)
        parts.messages.append(msgspec.structs.replace(message, text=f"{text}{seq:>10}"))
    rendered = RENDERED_AGAIN // 1024 // kilobytes
    async with Socket(parts, query="&rich=1") as client:
        client.say(type="resume", last_seq=0)
        await client.until(is_type("resumed"))
        frames = await client.until(lambda frame: frame.get("data", {}).get("seq") == MESSAGES)
    assert [frame["data"]["seq"] for frame in frames] == list(range(1, MESSAGES + 1))
    assert [frame["data"]["html"].startswith("<pre>") for frame in frames].count(True) == MESSAGES - rendered
    assert all("<strong>" in frame["data"]["html"] for frame in frames[-rendered:])


async def test_resumes_in_a_row_take_their_time() -> None:
    parts = Collaborators(messages=1)
    async with Socket(parts) as client:
        for _ in range(3):
            client.say(type="resume", last_seq=0)
            assert (await client.until(is_type("resumed")))[-1]["resumed"]
            await client.until(is_type("user_message"))
    assert parts.metrics.counts[RESUME, "complete"] == parts.metrics.counts[REPLAYED, "langbot"] == 3
    first, second, third = parts.replays
    assert min(second - first, third - second) > RESUME_INTERVAL * 0.99


async def test_stops_in_a_row_are_few_and_none_is_lost() -> None:
    parts = Collaborators()
    async with Socket(parts) as client:
        for _ in range(20):
            client.say(type="stop")
        await eventually(parts.was_stopped, timeout=5, what="the first stop")
        for _ in range(20):
            client.say(type="stop")
        client.say(type="ping")
        await client.until(is_type("pong"))
        assert len(parts.stops) == 1
        await eventually(parts.was_stopped_twice, timeout=5, what="the second stop")
    assert parts.stops == [parts.key.uuid] * 2


async def test_what_is_said_after_the_greeting_is_told_whatever_the_query_claims_to_have_seen() -> None:
    parts = Collaborators(messages=1)
    async with Socket(parts, query="&last_seq=3") as client:
        for seq in (2, 3):
            parts.parts.hub.publish(SessionTopic(parts.key.uuid), MessageStored(said(parts.key, seq)))
        frames = await client.until(lambda frame: frame.get("data", {}).get("seq") == 3)
        assert [frame["type"] for frame in frames] == ["resumed", "user_message", "user_message"]


async def test_an_answer_that_ends_before_its_repeated_question_is_acknowledged_is_told_behind_that_too() -> None:
    parts = Collaborators(messages=1)
    async with Socket(parts) as client:
        client.say(type="message", message=[{"type": "Plain", "text": "x"}], client_msg_id="m")
        await eventually(parts.was_asked, timeout=5, what="the question")
        # Found stored and unanswered; before this is known here, the answer is stored and told.
        parts.messages.append(said(parts.key, 2, Role.ASSISTANT))
        parts.parts.hub.publish(SessionTopic(parts.key.uuid), MessageStored(parts.messages[1]))
        assert parts.accepting is not None
        parts.accepting.set_result(Accepted(parts.messages[0], duplicate=True, answer_id=2))
        frames = [*await client.until(is_type("user_message")), *await client.until(is_final)]
    assert [frame["type"] for frame in frames] == ["response", "user_message", "response"]
