"""Events as frames, messages as history, and who is asked what."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from conversations.markdown import render
from conversations.responders.base import PipelineConfig
from conversations.types import (
    Broadcast,
    Citation,
    Event,
    MessageStored,
    ReplyDelta,
    Role,
    Sender,
    StopRequested,
    StoredMessage,
    Upload,
)
from conversations.uploads.words import readable
from integrations.langbot.protocol import ChatMessage, parse
from integrations.langbot.rich import rich_data
from integrations.langbot.translate import encode, history_row, prompt

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
STAMP = "2026-05-01T12:00:00.000+00:00"


def stored(role: Role, text: str, **fields: Any) -> StoredMessage:
    base = {"id": 7, "session": uuid4(), "session_type": "person", "seq": 3, "timestamp": NOON, **fields}
    return StoredMessage(role=role, text=text, **base)


def frame_of(event: Event) -> dict[str, Any]:
    frame = encode(event)
    assert frame is not None
    value: dict[str, Any] = json.loads(frame.payload)
    return value


def test_a_question_is_echoed_as_it_came() -> None:
    chain = '[{"type":"Plain","text":"hi"},{"type":"Face","face_id":12}]'
    message = stored(Role.USER, "hi", components=chain, connection_id="c1")
    assert frame_of(MessageStored(message)) == {
        "type": "user_message",
        "session_type": "person",
        "data": {
            "id": 7,
            "role": "user",
            "content": "hi",
            "message_chain": json.loads(chain),
            "timestamp": STAMP,
            "is_final": True,
            "connection_id": "c1",
            "seq": 3,
        },
    }


def test_a_question_of_another_wire_becomes_a_chain_of_its_text() -> None:
    data = frame_of(MessageStored(stored(Role.USER, "hi")))["data"]
    assert data["message_chain"] == [{"type": "Plain", "text": "hi"}]


def test_an_answer_carries_its_sources_and_nobodys_connection() -> None:
    source = Citation("d", "s", "Title", "https://example.com", 1.5)
    message = stored(Role.ASSISTANT, "yes", citations=(source,), connection_id="c1", reply_to="c1")
    assert frame_of(MessageStored(message)) == {
        "type": "response",
        "session_type": "person",
        "data": {
            "id": 7,
            "role": "assistant",
            "content": "yes",
            "message_chain": [{"type": "Plain", "text": "yes"}],
            "timestamp": STAMP,
            "is_final": True,
            "connection_id": "",
            "seq": 3,
            "citations": [
                {"doc_id": "d", "space_id": "s", "title": "Title", "url": "https://example.com", "score": 1.5}
            ],
        },
    }


def test_an_operators_words_are_a_response_with_its_sender() -> None:
    frame = frame_of(MessageStored(stored(Role.OPERATOR, "I am here", sender=Sender("operator", "Wang"))))
    assert (frame["type"], frame["data"]["role"]) == ("response", "assistant")
    assert frame["data"]["sender"] == {"kind": "operator", "name": "Wang"}


def test_a_group_answer_begins_with_whom_it_answers() -> None:
    data = frame_of(MessageStored(stored(Role.ASSISTANT, "yes", session_type="group", reply_to="c1")))["data"]
    assert data["message_chain"] == [
        {"type": "At", "target": "websocket_c1"},
        {"type": "Plain", "text": " yes"},
    ]
    assert data["content"] == "@websocket_c1 yes"


@pytest.mark.parametrize("session_type", ["person", "group"])
def test_a_growing_answer_looks_like_its_end(session_type: Any) -> None:
    growing = frame_of(ReplyDelta(7, session_type, "yes", NOON, "c1"))
    final = frame_of(MessageStored(stored(Role.ASSISTANT, "yes", session_type=session_type, reply_to="c1")))
    assert growing["data"].pop("is_final") is False
    assert final["data"].pop("is_final") is True
    del final["data"]["seq"], final["data"]["citations"]
    assert growing == final


def test_states_of_one_answer_replace_one_another_and_nothing_else_is_replaced() -> None:
    growing, final = encode(ReplyDelta(7, "person", "y", NOON)), encode(MessageStored(stored(Role.ASSISTANT, "yes")))
    question, words = encode(MessageStored(stored(Role.USER, "hi"))), encode(Broadcast(msgspec.Raw(b"1"), NOON))
    assert growing is not None
    assert final is not None
    assert question is not None
    assert words is not None
    assert growing.key == final.key == 7
    assert question.key is words.key is None


@pytest.mark.parametrize("words", ['"hello"', '{"a":[1,null]}', "5", "null"])
def test_a_broadcast_carries_any_json(words: str) -> None:
    frame = frame_of(Broadcast(msgspec.Raw(words.encode()), NOON))
    assert frame == {"type": "broadcast", "message": json.loads(words), "timestamp": STAMP}


def test_a_request_to_stop_is_not_told() -> None:
    assert encode(StopRequested(uuid4())) is None


def test_history_shows_what_the_frames_showed() -> None:
    chain = '[{"type":"Plain","text":"hi"},{"type":"AtAll"}]'
    for message in (stored(Role.USER, "hi@All", components=chain), stored(Role.ASSISTANT, "yes")):
        assert history_row(message) == frame_of(MessageStored(message))["data"]


# --- Who is asked ------------------------------------------------------------------------------


def asked(*chain: Any, group: bool = True, reply: Any = "mentioned", prefix: str = "ai") -> str | None:
    components = [{"type": "Plain", "text": part} if isinstance(part, str) else part for part in chain]
    frame = parse(json.dumps({"message": components}))
    assert isinstance(frame, ChatMessage)
    pipeline = PipelineConfig(
        id=1,
        uuid=UUID(int=1),
        name="p",
        description="",
        is_default=True,
        failure_text="",
        group_reply=reply,
        group_prefix=prefix,
        public=False,
        routes=(),
    )
    return prompt(frame, pipeline, group=group)


BOT = {"type": "At", "target": "websocketbot"}


def test_a_person_asks_whatever_is_said() -> None:
    assert asked("  hi ", group=False) == "hi"
    assert asked("ai hi", group=False) == "ai hi"


@pytest.mark.parametrize("chain", [(), ("  \n",), (BOT,), (BOT, " ")])
def test_nothing_said_is_not_answered(chain: tuple[Any, ...]) -> None:
    assert asked(*chain) is None
    assert asked(*chain, group=False) is None


def test_a_group_asks_by_mentioning_the_bot() -> None:
    assert asked(BOT, " what time?") == "what time?"
    assert asked("what time?") is None
    assert asked({"type": "At", "target": "u1"}, "what time?") is None


@pytest.mark.parametrize(
    ("said", "question"),
    [
        ("ai what time?", "what time?"),
        ("AI, what time?", "what time?"),
        ("ai：几点了", "几点了"),
        ("ai几点了", "几点了"),
        ("aim high", None),
        ("air", None),
        ("ai2", None),
        ("ai", None),
        ("ai ,", None),
        ("say ai", None),
    ],
)
def test_a_group_asks_with_the_prefix_as_a_word_of_its_own(said: str, question: str | None) -> None:
    assert asked(said) == question


def test_a_chinese_prefix_needs_no_space() -> None:
    assert asked("小助手几点了", prefix="小助手") == "几点了"


def test_without_a_prefix_only_a_mention_counts() -> None:
    assert asked("ai hi", prefix="") is None
    assert asked(BOT, "hi", prefix="") == "hi"


def test_a_pipeline_may_answer_everything_in_a_group() -> None:
    assert asked("what time?", reply="always") == "what time?"


def test_a_broadcast_to_another_wire_is_not_told() -> None:
    assert encode(Broadcast(msgspec.Raw(b"1"), NOON, "contact")) is None
    assert encode(Broadcast(msgspec.Raw(b"1"), NOON, "langbot")) is not None


SHOP = Upload("k" * 43, "image", "shop.png", "image/png", 5_000, 640, 320)
NOTES = Upload("d" * 43, "document", "notes.txt", "text/plain", 20)


@pytest.mark.parametrize("words", ["Look **here**", ""])
def test_an_operators_files_follow_his_words(words: str) -> None:
    message = stored(
        Role.OPERATOR, readable(words, [SHOP, NOTES]), sender=Sender("operator", "Li"), files=(SHOP, NOTES)
    )
    data = frame_of(MessageStored(message))["data"]
    plain = [{"type": "Plain", "text": words}] if words else []
    assert data["message_chain"] == [
        *plain,
        {
            "type": "Image",
            "path": "k" * 43,
            "url": f"/api/v1/files/{'k' * 43}",
            "name": "shop.png",
            "size": 5_000,
            "width": 640,
            "height": 320,
        },
        {"type": "File", "path": "d" * 43, "url": f"/api/v1/files/{'d' * 43}", "name": "notes.txt", "size": 20},
    ]
    assert (data["content"], data["role"]) == (f"{words}[Image][File]", "assistant")
    assert rich_data(message).html == render(words)
