"""What is told to one visitor's socket, and what is kept of what he said."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from conversations.phrases import BROKEN_OFF, CUT, FAILURE
from conversations.types import Outcome, ReplyDelta, Role, Sender, StoredMessage
from integrations.contact.protocol import ChatDelta
from integrations.contact.translate import FAILED, Receiver, components, message_uuid

SESSION = uuid4()
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def message(role: Role, text: str = "words", **fields: Any) -> StoredMessage:
    return StoredMessage(
        id=7, session=SESSION, session_type="person", seq=3, role=role, text=text, timestamp=NOON, **fields
    )


def delta(text: str, answer: int = 8) -> ReplyDelta:
    return ReplyDelta(answer, "person", text, NOON, question_id=7)


def test_increments_are_told_to_those_who_asked() -> None:
    receiver = Receiver(SESSION, stream=True)
    told = [receiver.increment(delta(text)) for text in ("ab", "ab", "abcd")]
    uuid = message_uuid(SESSION, 7)
    assert told == [ChatDelta(uuid, "ab"), None, ChatDelta(uuid, "cd")]
    assert receiver.increment(delta("x", answer=9)) == ChatDelta(uuid, "x")
    assert Receiver(SESSION).increment(delta("ab")) is None


def test_an_answer_that_begins_anew_is_not_told_twice() -> None:
    receiver = Receiver(SESSION, stream=True)
    receiver.increment(delta("the first words"))
    assert receiver.increment(delta("another")) is None
    assert receiver.increment(delta("another beginning than before")) is None


@pytest.mark.parametrize(
    ("role", "sender"), [(Role.USER, "user"), (Role.ASSISTANT, "assistant"), (Role.OPERATOR, "owner")]
)
def test_who_spoke_is_told(role: Role, sender: str) -> None:
    said = Receiver(SESSION).said(message(role, sender=Sender("operator", "Li")))
    assert (said.sender, said.message) == (sender, "words")
    assert said.message_id is said.seq is msgspec.UNSET


def test_a_message_has_its_place_for_those_who_resumed() -> None:
    receiver = Receiver(SESSION, resumed=True)
    said = receiver.said(message(Role.ASSISTANT, question_id=5))
    assert (said.message_id, said.seq) == (message_uuid(SESSION, 5), 3)
    received = receiver.chat_received(message(Role.USER))
    assert (received.message_id, received.seq) == (message_uuid(SESSION, 7), 3)


def test_a_contact_request_is_acknowledged_with_its_id() -> None:
    request = str(uuid4())
    received = Receiver(SESSION).contact_received(message(Role.USER, request_id=request))
    assert (received.request_id, received.status) == (request, "received")


@pytest.mark.parametrize("text", [*FAILURE.values(), *CUT.values(), *BROKEN_OFF.values()])
def test_an_answer_that_failed_is_told_in_the_wires_words(text: str) -> None:
    assert Receiver(SESSION).said(message(Role.ASSISTANT, text, outcome=Outcome.FAILED)).message == FAILED


def test_what_was_said_of_a_failed_answer_stays_and_so_do_the_pipelines_own_words() -> None:
    for text in (f"Half of it.\n\n{BROKEN_OFF['en']}", "请拨打客服电话"):
        assert Receiver(SESSION).said(message(Role.ASSISTANT, text, outcome=Outcome.FAILED)).message == text


def test_the_clients_clock_is_kept_as_its_claim() -> None:
    assert json.loads(components("你好", "yesterday")) == [{"type": "Plain", "text": "你好", "timestamp": "yesterday"}]
    assert components("你好", "") == ""
