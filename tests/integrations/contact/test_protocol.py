"""The contact wire's frames: real ones as files, and everything that is not one."""

import json
import re
from datetime import datetime, timedelta, timezone
from typing import get_args

import msgspec
import pytest
from hypothesis import example, given

from integrations.contact.protocol import (
    QUESTION,
    REQUEST,
    USER_AGENT,
    Announcement,
    ChatDelta,
    ChatMessage,
    ChatReceived,
    ClientFrame,
    ContactReceived,
    ContactRequest,
    Error,
    Established,
    Ping,
    Pong,
    Resume,
    Resumed,
    Said,
    ServerFrame,
    parse,
    serialise,
    stamp,
)
from integrations.strict import ProtocolError
from tests.support.environment import ROOT
from tests.support.frames import anything, client_frames, nearly, texts

EXAMPLES = texts("contact")
README = ROOT / "integrations" / "contact" / "README.md"
NOON = "2026-05-01T12:00:00.000+00:00"
CLIENT, MESSAGE = "3f0f6d8e-31a5-4cf5-8b52-2f8f6b3a9e10", "9b2e8a54-7a0c-4f6a-9a33-1c5f0d6b7e21"
NOT_JSON = "消息格式错误，必须是有效的JSON"

FROM_CLIENTS: dict[str, ClientFrame] = {
    "client_ping": Ping(),
    "client_contact_request": ContactRequest("你好，我想咨询技术问题", "2025-01-01T12:00:00", "Python客户端"),
    "client_contact_request_short": ContactRequest("请联系我"),
    "client_chat_message": ChatMessage("你好，我想咨询一些问题", "2025-01-01T12:00:00"),
    "client_chat_message_with_a_clock": ChatMessage("Hello", 1735732800000),
    "client_resume": Resume(CLIENT, "c0ffee", 41),
}
CONTACT_RECEIVED = "联系请求已收到，博主将尽快回复您"
FROM_SERVER: dict[str, ServerFrame] = {
    "server_connection_established": Established("WebSocket连接已建立", CLIENT, NOON, "c0ffee"),
    "server_contact_request_received": ContactReceived(CONTACT_RECEIVED, MESSAGE, NOON, "received"),
    "server_chat_message_received": ChatReceived("消息已收到", MESSAGE, NOON),
    "server_chat_message_received_after_a_resume": ChatReceived("消息已收到", MESSAGE, NOON, 3),
    "server_chat_message": Said("这个博客用 Django 搭建。", "assistant", NOON),
    "server_chat_message_of_the_owner": Said("您好，我是博主", "owner", NOON),
    "server_chat_message_replayed": Said("你好", "user", NOON, MESSAGE, 1),
    "server_chat_delta": ChatDelta(MESSAGE, "这个博客"),
    "server_pong": Pong(NOON),
    "server_resumed": Resumed(resumed=True, client_id=CLIENT, last_seq=42, timestamp=NOON),
    "server_broadcast": Announcement(msgspec.Raw('"今晚维护"'.encode()), NOON),
    "server_broadcast_of_other_json": Announcement(msgspec.Raw(b'{"maintenance":true}'), NOON),
    "server_error": Error("未知的消息类型: X", NOON),
    "server_error_try_later": Error("操作过于频繁，请在30秒后再试。", NOON, 30),
}


@pytest.mark.parametrize("name", FROM_CLIENTS)
def test_a_clients_frame_is_read(name: str) -> None:
    assert parse(EXAMPLES[name]) == parse(EXAMPLES[name].encode()) == FROM_CLIENTS[name]


@pytest.mark.parametrize("name", FROM_SERVER)
def test_a_frame_of_ours_is_written(name: str) -> None:
    assert serialise(FROM_SERVER[name]).decode() == EXAMPLES[name]


def test_there_is_a_file_of_every_frame() -> None:
    assert EXAMPLES.keys() == FROM_CLIENTS.keys() | FROM_SERVER.keys()
    assert {type(frame) for frame in FROM_CLIENTS.values()} == set(get_args(ClientFrame))
    assert {type(frame) for frame in FROM_SERVER.values()} == set(get_args(ServerFrame))


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        ("nonsense", NOT_JSON),
        ("", NOT_JSON),
        ("[]", NOT_JSON),
        ('"ping"', NOT_JSON),
        ('{"type":"ping","type":"ping"}', NOT_JSON),
        ('{"type":"ping","x":NaN}', NOT_JSON),
        ('{"type":"chat_message","message":"\\u0000"}', NOT_JSON),
        ('{"type":"chat_message","message":"\\ud800"}', NOT_JSON),
        (b'{"type":"ping\xff"}', NOT_JSON),
        ("{}", "缺少必需字段: type"),
        ('{"type":null}', "缺少必需字段: type"),
        ('{"type":"X"}', "未知的消息类型: X"),
        ('{"type":7}', "未知的消息类型: 7"),
        ('{"type":{"a":["中"]}}', '未知的消息类型: {"a":["中"]}'),
        ('{"type":"chat_message"}', "缺少必需字段: message"),
        ('{"type":"chat_message","message":""}', "缺少必需字段: message"),
        ('{"type":"chat_message","message":" \\n"}', "缺少必需字段: message"),
        ('{"type":"contact_request","message":null}', "缺少必需字段: message"),
        ('{"type":"chat_message","message":["x"]}', "字段格式错误: message"),
        ('{"type":"chat_message","message":"x","timestamp":true}', "字段格式错误: timestamp"),
        ('{"type":"contact_request","message":"x","userAgent":{}}', "字段格式错误: userAgent"),
        ('{"type":"resume","client_id":"x","last_seq":1}', "缺少必需字段: resume_token"),
        ('{"type":"resume","client_id":"x","resume_token":"y"}', "缺少必需字段: last_seq"),
        ('{"type":"resume","client_id":"x","resume_token":"y","last_seq":-1}', "字段格式错误: last_seq"),
        ('{"type":"resume","client_id":"x","resume_token":"y","last_seq":""}', "字段格式错误: last_seq"),
        (
            '{"type":"resume","client_id":"x","resume_token":"y","last_seq":9223372036854775808}',
            "字段格式错误: last_seq",
        ),
        ('{"type":"resume","client_id":"x","resume_token":"y","last_seq":true}', "字段格式错误: last_seq"),
    ],
)
def test_what_is_wrong_is_told_in_the_wires_words(frame: str | bytes, says: str) -> None:
    with pytest.raises(ProtocolError) as refused:
        parse(frame)
    assert str(refused.value) == says


@pytest.mark.parametrize(("kind", "longest"), [("chat_message", QUESTION), ("contact_request", REQUEST)])
def test_a_message_is_so_long_at_most(kind: str, longest: int) -> None:
    parse(json.dumps({"type": kind, "message": "长" * longest}))
    with pytest.raises(ProtocolError, match=f"最多{longest}个字符"):
        parse(json.dumps({"type": kind, "message": "长" * (longest + 1)}))


def test_what_a_browser_calls_itself_is_cut() -> None:
    frame = parse(json.dumps({"type": "contact_request", "message": "x", "userAgent": "a" * 1000}))
    assert isinstance(frame, ContactRequest)
    assert len(frame.browser) == USER_AGENT


@given(anything(nearly(client_frames("contact"))))
@example('{"type": "chat_message", "message": "\ud800"}')
@example('{"type": "chat_message", "message": "x", "timestamp": ' + "9" * 309 + "}")
@example("[" * 200_000)
def test_nothing_but_a_protocol_error_comes_out_of_anything(data: str | bytes) -> None:
    try:
        frame = parse(data)
    except ProtocolError as error:
        str(error).encode()
        return
    assert isinstance(frame, get_args(ClientFrame))


def test_a_time_is_written_in_utc_with_its_offset() -> None:
    assert stamp(datetime(2026, 5, 1, 20, tzinfo=timezone(timedelta(hours=8)))) == NOON


# --- The README --------------------------------------------------------------------------------


def examples(heading: str) -> list[str]:
    section = README.read_text("utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"```json\n(.+?)\n```", section, re.DOTALL)


def test_the_readme_shows_every_frame_of_a_client() -> None:
    assert {type(parse(example)) for example in examples("Client to server")} == set(get_args(ClientFrame))


def test_the_readme_shows_every_frame_of_ours() -> None:
    shown = {json.loads(example)["type"] for example in examples("Server to client")}
    assert shown == {kind.__struct_config__.tag for kind in get_args(ServerFrame)}
