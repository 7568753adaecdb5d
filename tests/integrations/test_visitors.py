"""A visitor's questions that are stored late, twice or perhaps: each has one end."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from channels.layers import InMemoryChannelLayer
from django.utils import timezone

from connections.auth import EVERYBODY
from connections.hub import Hub
from conversations.store import OutcomeUnknown
from conversations.types import Accepted, MessageStored, Question, Role, SessionKey, SessionTopic, StoredMessage
from integrations.contact.consumers import ContactConsumer
from integrations.contact.translate import Receiver
from integrations.outbound import Frame
from integrations.parts import WireOptions
from integrations.visitors import NOT_KNOWN, VisitorConsumer
from integrations.wechat.consumers import WeChatConsumer
from tests.connections.doubles import Database, JsonCodec


class Visitor:
    """A visitor's socket in its session, and the frames that it was told."""

    def __init__(self, wire: str) -> None:
        stored = Database()
        hub = Hub(InMemoryChannelLayer(), JsonCodec(), shared=False, fill=stored.fill, latest=stored.latest)
        options = WireOptions(open_access=True, proxied_open_access=False)
        parts: Any = SimpleNamespace(hub=hub, turns=SimpleNamespace(ask=self._take), options=options)
        nothing: Any = None
        self.hub = hub
        self.key = SessionKey(uuid4(), uuid4(), "person")
        self.socket: VisitorConsumer
        if wire == "contact":
            self.socket = ContactConsumer(parts=parts)
            self.socket.receiver = Receiver(self.key.uuid)
        else:
            self.socket = WeChatConsumer(parts=parts, accounts=nothing)
        self.socket.principal = EVERYBODY
        self.accepting: list[asyncio.Future[Accepted]] = []
        self.told: list[Any] = []
        self._heard = asyncio.Event()
        outbound: Any = SimpleNamespace(push=self._hear)
        self.socket.outbound = outbound
        self.socket.enter(self.key).go_live(0)

    def _hear(self, frame: Frame) -> None:
        self.told.append(json.loads(frame.payload))
        self._heard.set()

    def _take(self, _question: Question) -> "asyncio.Future[Accepted]":
        self.accepting.append(asyncio.get_running_loop().create_future())
        return self.accepting[-1]

    @property
    def types(self) -> list[str]:
        return [frame["type"] for frame in self.told]

    def ask(self, name: str | None) -> None:
        """Ask; nothing becomes of it yet."""
        self.socket.ask(
            Question(
                session=self.key,
                wire=self.socket.wire,
                text="question",
                connection_id=self.socket.connection_id,
                client_msg_id=name,
            )
        )

    async def ask_and_be_cut_off(self, name: str | None) -> None:
        """Ask, and wait until the socket was told that the commit was cut off."""
        self.ask(name)
        self._heard.clear()
        self.accepting[-1].set_exception(OutcomeUnknown("It is not known."))
        async with asyncio.timeout(5):
            await self._heard.wait()

    def publish(self, seq: int, role: Role, name: str | None, **fields: Any) -> StoredMessage:
        """Tell the session of a message."""
        message = StoredMessage(
            id=seq, session=self.key.uuid, session_type="person", seq=seq, role=role, text="words",
            timestamp=timezone.now(), request_id=name or "", **fields,
        )  # fmt: skip
        self.hub.publish(SessionTopic(self.key.uuid), MessageStored(message))
        return message

    def turn_out_stored(self, name: str | None) -> Accepted:
        """Tell the session of the question and of its answer; return what a duplicate of it hears."""
        mine = self.socket.connection_id
        question = self.publish(1, Role.USER, name, connection_id=mine)
        answer = self.publish(2, Role.ASSISTANT, name, question_id=1, reply_to=mine)
        return Accepted(question, duplicate=True, answer=answer)


ENDS = {"contact": ["error", "chat_message_received", "chat_message"],
        "wechat": ["error", "chat_processing", "chat_response"]}  # fmt: skip


@pytest.mark.parametrize(("wire", "name"), [("contact", None), ("wechat", None), ("wechat", "q1")])
async def test_a_question_that_turns_out_stored_is_acknowledged_and_has_one_end(wire: str, name: str | None) -> None:
    visitor = Visitor(wire)
    await visitor.ask_and_be_cut_off(name)
    visitor.turn_out_stored(name)
    assert visitor.types == ENDS[wire]


@pytest.mark.parametrize("wire", ENDS)
async def test_who_asked_without_an_id_is_told_what_may_still_come(wire: str) -> None:
    visitor = Visitor(wire)
    await visitor.ask_and_be_cut_off(None)
    (error,) = visitor.told
    assert error["message"] == NOT_KNOWN
    assert (error.get("data") or error)["retry_after"] == 5


async def test_who_asked_with_an_id_may_send_it_again() -> None:
    visitor = Visitor("wechat")
    await visitor.ask_and_be_cut_off("q1")
    assert visitor.told == [
        {
            "type": "error",
            "code": 503,
            "message": "暂时无法确认消息是否已保存，可以用相同的ID重新发送。",
            "data": {"request_id": "q1", "retry_after": 5},
        }
    ]


@pytest.mark.parametrize("wire", ENDS)
async def test_nothing_waits_for_a_question_that_may_not_have_been_stored(wire: str) -> None:
    visitor = Visitor(wire)
    await visitor.ask_and_be_cut_off(None)
    async with asyncio.timeout(5):
        assert await visitor.socket.go_into(SessionKey(uuid4(), uuid4(), "person"))


async def test_each_frame_of_one_id_is_acknowledged_before_their_answer() -> None:
    visitor = Visitor("wechat")
    for _ in range(4):
        visitor.ask("q1")
    duplicate = visitor.turn_out_stored("q1")
    expected = ["chat_processing"] * 4 + ["chat_response"]
    assert visitor.types == expected
    for accepting in visitor.accepting[1:]:
        accepting.set_result(duplicate)
    await asyncio.gather(*visitor.accepting[1:])
    await asyncio.sleep(0)  # the callbacks of the futures
    assert visitor.types == expected


async def test_a_question_in_doubt_that_is_sent_again_is_answered_once() -> None:
    visitor = Visitor("wechat")
    await visitor.ask_and_be_cut_off("q1")
    visitor.ask("q1")
    visitor.accepting[-1].set_result(visitor.turn_out_stored("q1"))
    await visitor.accepting[-1]
    await asyncio.sleep(0)  # the callbacks of the future
    assert visitor.types == ["error", "chat_processing", "chat_processing", "chat_response"]
