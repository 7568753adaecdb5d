"""The pipeline wire's frames: real ones as files, and everything that is not one."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from integrations.langbot.components import At, AtAll, File, Image, Other, Plain, Quote, Voice, text_of
from integrations.langbot.protocol import (
    CACHED_LENGTH,
    Announcement,
    Authenticate,
    ChatMessage,
    ClientFrame,
    Connected,
    Disconnect,
    Error,
    MessageData,
    Ping,
    Pong,
    Reset,
    Response,
    Resume,
    Resumed,
    ServerFrame,
    Source,
    Speaker,
    Stop,
    Unknown,
    UserMessage,
    answer_chain,
    parse,
    serialise,
    stamp,
)
from integrations.strict import ProtocolError
from tests.support.frames import anything, client_frames, nearly, texts

EXAMPLES = texts("langbot")
PICTURE = json.loads(EXAMPLES["client_message_with_a_picture"])["message"][1]["base64"]
NOON, ONE_PAST, TWO_PAST = (f"2026-05-01T12:00:0{second}.000+00:00" for second in range(3))


def message(
    name: str, *components: Any, stream: bool = True, client_msg_id: str | None = None, contact: bool = False
) -> ChatMessage:
    chain = json.dumps(json.loads(EXAMPLES[name])["message"], ensure_ascii=False, separators=(",", ":"))
    return ChatMessage(components, chain, stream, client_msg_id, contact)


def told(**fields: Any) -> MessageData:
    """Return a bot's message of plain text; `fields` differ."""
    said = {"role": "assistant", "connection_id": "", "is_final": True, "timestamp": ONE_PAST, **fields}
    said.setdefault("message_chain", [Plain(said["content"])])
    return MessageData(**said)


# --- Real frames -------------------------------------------------------------------------------

FROM_CLIENTS: dict[str, ClientFrame] = {
    "client_ping": Ping(),
    "client_message_plain": message("client_message_plain", Plain("你好，这个产品能做什么？")),
    "client_message_without_type": message("client_message_without_type", Plain("Hello"), stream=False),
    "client_message_with_id": message("client_message_with_id", Plain("Hello"), client_msg_id="0190f3d2-7c1e"),
    "client_message_for_a_person": message(
        "client_message_for_a_person", Plain("Please call me back."), client_msg_id="0190f3d2-7c1f", contact=True
    ),
    "client_message_to_the_bot_in_a_group": message(
        "client_message_to_the_bot_in_a_group", At("websocketbot", "websocketbot"), Plain(" 今天几号？")
    ),
    "client_message_of_every_component": message(
        "client_message_of_every_component",
        Plain("see "),
        At(10001, "Li"),
        AtAll(),
        Quote([{"type": "Plain", "text": "earlier"}, {"type": "Image", "url": "https://example.com/a.png"}], 7),
        Image(image_id="i1", url="https://example.com/a.png", base64=""),
        Voice(voice_id="v1", url="https://example.com/a.ogg", length=2.5),
        File(id="f1", name="说明书.pdf", url="https://example.com/a.pdf", size=1024),
        Other(),
    ),
    "client_message_with_a_picture": message(
        "client_message_with_a_picture", Plain("What is this? "), Image(base64=PICTURE), client_msg_id="0190f3d2-7c20"
    ),
    "client_message_empty": message("client_message_empty"),
    "client_stop": Stop(),
    "client_disconnect": Disconnect(),
    "client_authenticate": Authenticate("lbk_0123456789"),
    "client_resume": Resume(41),
    "client_unknown": Unknown(),
}
FROM_SERVER: dict[str, ServerFrame] = {
    "server_connected": Connected(
        connection_id="3f0f6d8e-31a5-4cf5-8b52-2f8f6b3a9e10",
        pipeline_uuid="00000000-0000-4000-8000-000000000001",
        session_type="person",
        timestamp=NOON,
        session_id="9b2e8a54-7a0c-4f6a-9a33-1c5f0d6b7e21",
        resume_token="c0ffee",
        last_seq=0,
    ),
    "server_connected_rich": Connected(
        connection_id="3f0f6d8e-31a5-4cf5-8b52-2f8f6b3a9e10",
        pipeline_uuid="00000000-0000-4000-8000-000000000001",
        session_type="person",
        timestamp=NOON,
        session_id="9b2e8a54-7a0c-4f6a-9a33-1c5f0d6b7e21",
        resume_token="c0ffee",
        last_seq=0,
        language="zh-hans",
    ),
    "server_pong": Pong(NOON),
    "server_user_message_with_a_picture": UserMessage(
        "person",
        MessageData(
            id=103,
            role="user",
            content="What is this? [Image]",
            message_chain=json.loads(EXAMPLES["server_user_message_with_a_picture"])["data"]["message_chain"],
            timestamp=NOON,
            is_final=True,
            connection_id="3f0f6d8e-31a5-4cf5-8b52-2f8f6b3a9e10",
            seq=3,
        ),
    ),
    "server_reset": Reset(first_id=103),
    "server_resumed": Resumed(resumed=True, last_seq=42),
    "server_resume_refused": Resumed(resumed=False, last_seq=42),
    "server_user_message": UserMessage(
        "person",
        MessageData(
            id=101,
            role="user",
            content="你好",
            message_chain=msgspec.Raw('[{"type":"Plain","text":"你好"}]'.encode()),
            timestamp=NOON,
            is_final=True,
            connection_id="3f0f6d8e-31a5-4cf5-8b52-2f8f6b3a9e10",
            seq=1,
        ),
    ),
    "server_user_message_rich": UserMessage(
        "person",
        MessageData(
            id=101,
            role="user",
            content="你好",
            message_chain=msgspec.Raw('[{"type":"Plain","text":"你好"}]'.encode()),
            timestamp=NOON,
            is_final=True,
            connection_id="3f0f6d8e-31a5-4cf5-8b52-2f8f6b3a9e10",
            seq=1,
            client_msg_id="0190f3d2-7c1e",
        ),
    ),
    "server_response_rich": Response(
        "person",
        told(
            id=102,
            content="这个产品是**聊天网关**。",
            seq=2,
            html="<p>这个产品是<strong>聊天网关</strong>。</p>\n",
            outcome="answered",
        ),
    ),
    "server_response_growing": Response("person", told(id=102, content="这个产品", is_final=False)),
    "server_response_final": Response(
        "person",
        told(
            id=102,
            content="这个产品是聊天网关。",
            seq=2,
            citations=(Source("7", "product-zh", "概述", "https://example.com/overview", 3.5),),
        ),
    ),
    "server_response_in_a_group": Response(
        "group",
        told(
            id=103,
            content="@websocket_c1 今天是五月一日。",
            message_chain=answer_chain("group", "c1", "今天是五月一日。"),
            is_final=False,
        ),
    ),
    "server_response_of_an_operator": Response(
        "person",
        told(
            id=104,
            content="我来帮您。",
            timestamp=TWO_PAST,
            seq=3,
            citations=(),
            sender=Speaker("operator", "小王"),
        ),
    ),
    "server_response_of_an_operator_with_files": Response(
        "person",
        told(
            id=105,
            content="请看价目表。[Image][File]",
            message_chain=json.loads(EXAMPLES["server_response_of_an_operator_with_files"])["data"]["message_chain"],
            timestamp="2026-05-01T12:00:03.000+00:00",
            seq=4,
            citations=(),
            sender=Speaker("operator", "小王"),
        ),
    ),
    "server_broadcast": Announcement(msgspec.Raw('{"text":"维护将于十点开始","level":1}'.encode()), NOON),
    "server_error": Error("Invalid JSON format"),
    "server_error_try_later": Error("The server is busy, please try again in a moment.", 1),
}


def test_every_file_is_tested_and_every_type_has_a_file() -> None:
    assert set(EXAMPLES) == set(FROM_CLIENTS) | set(FROM_SERVER)
    assert {type(frame) for frame in FROM_CLIENTS.values()} == set(get_args(ClientFrame))
    assert {type(frame) for frame in FROM_SERVER.values()} == set(get_args(ServerFrame))


@pytest.mark.parametrize("name", FROM_CLIENTS)
def test_a_clients_frame_is_understood_as_text_and_as_bytes(name: str) -> None:
    for data in (EXAMPLES[name], EXAMPLES[name].encode(), json.dumps(json.loads(EXAMPLES[name]))):
        assert parse(data) == FROM_CLIENTS[name]


@pytest.mark.parametrize("name", FROM_SERVER)
def test_a_servers_frame_is_written_like_this(name: str) -> None:
    assert json.loads(serialise(FROM_SERVER[name])) == json.loads(EXAMPLES[name])


def test_a_servers_frame_is_compact_utf_8() -> None:
    assert serialise(Error("忙")) == '{"type":"error","message":"忙"}'.encode()


# --- What is refused, and how it is named ------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("", "Invalid JSON format"),
        ("nonsense", "Invalid JSON format"),
        (b"\xff", "Invalid JSON format"),
        ('{"type": "ping", "type": "ping"}', "Invalid JSON format"),
        ("[]", "a frame must be a JSON object"),
        ('"ping"', "a frame must be a JSON object"),
        ("null", "a frame must be a JSON object"),
        ('{"type": null}', "type must be a string"),
        ('{"type": ["ping"]}', "type must be a string"),
        ('{"message": "hello"}', "message must be a list"),
        ('{"message": null}', "message must be a list"),
        ('{"message": [], "stream": 1}', "stream must be true or false"),
        ('{"message": [], "client_msg_id": 7}', "client_msg_id must be a string"),
        ('{"message": [], "client_msg_id": ""}', "client_msg_id must have 1 to 128 characters"),
        ('{"message": [], "client_msg_id": "' + "x" * 129 + '"}', "client_msg_id must have 1 to 128 characters"),
        (json.dumps({"message": [{"type": "AtAll"}] * 201}), "message must have at most 200 components"),
        ('{"message": ["hello"]}', "message[0] must be an object"),
        ('{"message": [{}]}', "message[0].type is required"),
        ('{"message": [{"type": 5}]}', "message[0].type is required"),
        ('{"message": [{"type": "AtAll"}, {"type": "Plain"}]}', "message[1].text is required"),
        ('{"message": [{"type": "Plain", "text": 5}]}', "message[0].text must be a string"),
        ('{"message": [{"type": "Plain", "text": null}]}', "message[0].text must be a string"),
        ('{"message": [{"type": "At"}]}', "message[0].target is required"),
        ('{"message": [{"type": "At", "target": 1.5}]}', "message[0].target must be a whole number or a string"),
        ('{"message": [{"type": "At", "target": "a", "display": 1}]}', "message[0].display must be a string"),
        ('{"message": [{"type": "Quote"}]}', "message[0].origin is required"),
        ('{"message": [{"type": "Quote", "origin": "x"}]}', "message[0].origin must be a list"),
        ('{"message": [{"type": "Image", "url": 5}]}', "message[0].url must be a string"),
        ('{"message": [{"type": "Voice", "length": "2 s"}]}', "message[0].length must be a number"),
        ('{"message": [{"type": "File", "size": 1.5}]}', "message[0].size must be a whole number"),
        ('{"type": "authenticate", "token": 5}', "token must be a string"),
        ('{"type": "resume"}', "last_seq is required"),
        ('{"type": "resume", "last_seq": "4"}', "last_seq must be a whole number"),
        ('{"type": "resume", "last_seq": -1}', "last_seq must be a whole number, not below 0"),
        ('{"type": "resume", "last_seq": 9223372036854775808}', "last_seq must be a whole number, not below 0"),
    ],
)
def test_a_refusal_names_the_field(data: str | bytes, reason: str) -> None:
    with pytest.raises(ProtocolError) as refusal:
        parse(data)
    assert str(refusal.value) == reason


def test_a_number_that_no_float_holds_is_refused_by_its_field() -> None:
    with pytest.raises(ProtocolError, match="length"):
        parse('{"message": [{"type": "Voice", "length": ' + "9" * 309 + "}]}")


def test_a_recording_inside_a_frame_is_refused_by_its_field() -> None:
    with pytest.raises(ProtocolError, match=r"message\[0\]\.base64"):
        parse(json.dumps({"message": [{"type": "Voice", "base64": "aGk="}]}))


@pytest.mark.parametrize("kind", ["Image", "File"])
def test_a_picture_or_a_file_inside_a_frame_is_taken(kind: str) -> None:
    frame = parse(json.dumps({"message": [{"type": kind, "base64": "aGk="}]}))
    assert isinstance(frame, ChatMessage)
    (component,) = frame.components
    assert isinstance(component, Image | File)
    assert component.base64 == "aGk="


def test_a_missing_or_null_stream_streams() -> None:
    for frame in (parse('{"message": []}'), parse('{"message": [], "stream": null}')):
        assert isinstance(frame, ChatMessage)
        assert frame.stream


def test_a_component_of_another_kind_is_kept_as_it_came() -> None:
    odd = [{"type": "Forward", "deep": {"er": [1, 2.5, None, "中"]}, "big": 2**70}]
    frame = parse(json.dumps({"message": odd}))
    assert isinstance(frame, ChatMessage)
    assert frame.components == (Other(),)
    assert json.loads(frame.chain) == odd


def test_a_refused_short_frame_is_refused_again() -> None:
    for _ in range(2):
        with pytest.raises(ProtocolError):
            parse('{"message": 1}')


COMPONENTS = [component for frame in client_frames("langbot") for component in frame.get("message", [])]


@given(anything(nearly(client_frames("langbot"), message=st.lists(nearly(COMPONENTS, path=st.text()), max_size=3))))
@example('{"message": [{"type": "Plain", "text": "\\ud800"}]}')
@example('{"message": [{"type": "Plain", "text": "\ud800"}]}')
@example('{"message": [{"type": "File", "size": 1e999}]}')
@example('{"message": [{"type": "X", "n": ' + "9" * 5000 + "}]}")
@example("[" * 200_000)
@example("x" * CACHED_LENGTH)
def test_nothing_but_a_protocol_error_comes_out_of_anything(data: str | bytes) -> None:
    try:
        frame = parse(data)
    except ProtocolError:
        return
    if isinstance(frame, ChatMessage):
        # What was taken can be answered: as text, and as the list that is echoed.
        text_of(frame.components).encode()
        assert isinstance(json.loads(frame.chain), list)


@given(st.lists(st.builds(lambda said: {"type": "Plain", "text": said}, st.text(st.characters(codec="utf-8")))))
def test_a_message_comes_back_word_for_word(chain: list[dict[str, str]]) -> None:
    try:
        frame = parse(json.dumps({"message": chain}))
    except ProtocolError:
        assert any("\0" in component["text"] for component in chain)
        return
    assert isinstance(frame, ChatMessage)
    assert json.loads(frame.chain) == chain
    assert text_of(frame.components) == "".join(component["text"] for component in chain)


def test_an_answer_begins_with_whom_it_answers_in_a_group_only() -> None:
    assert answer_chain("group", "c1", "yes") == [At("websocket_c1"), Plain(" yes")]
    assert answer_chain("group", "", "yes") == [Plain("yes")]
    assert answer_chain("person", "c1", "yes") == [Plain("yes")]


def test_a_time_is_written_in_utc_with_its_offset() -> None:
    shanghai = timezone(timedelta(hours=8))
    assert stamp(datetime(2026, 5, 1, 20, 0, 0, 123456, shanghai)) == "2026-05-01T12:00:00.123+00:00"
    assert stamp(datetime(2026, 5, 1, 12, tzinfo=UTC)) == NOON
