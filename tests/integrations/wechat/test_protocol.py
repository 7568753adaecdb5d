"""The WeChat wire's frames: real ones as files, and everything that is not one."""

import json
import re
from typing import Any, get_args
from uuid import UUID

import msgspec
import pytest
from django.utils import timezone
from hypothesis import example, given
from hypothesis import strategies as st

from conversations.types import Outcome, ReplyDelta, Role, StoredMessage
from integrations.errors import Limited, WireError, fault_of
from integrations.strict import ProtocolError, decode
from integrations.wechat.protocol import (
    NOT_JSON,
    Account,
    Call,
    Chat,
    ClientFrame,
    FieldError,
    Login,
    LoginRefused,
    LoginResponse,
    Ping,
    Reentered,
    Resume,
    ResumeResponse,
    ServerFrame,
    call_of,
    code_of,
    connected,
    parse,
    pong,
    processing,
    serialise,
)
from integrations.wechat.translate import answer_body, answer_frame, delta_frame, failure_body, failure_frame
from tests.support.environment import ROOT
from tests.support.frames import anything, client_frames, nearly, texts

EXAMPLES = texts("wechat")
README = ROOT / "integrations" / "wechat" / "README.md"
SESSION = "86c1a847-4e66-5d56-96c4-1dbf4148fbce"
TOKEN = "WyI4NmMxYTg0NyJd:1xUiJb:3oTc_0kD-BBR6BlR5DJrE10QRa9RoLSLRPsESTeX6Jw"


def stored(said: str, **fields: Any) -> StoredMessage:
    message = {"id": 4, "seq": 4, "role": Role.ASSISTANT, "outcome": Outcome.ANSWERED, **fields}
    return StoredMessage(session=UUID(SESSION), session_type="person", text=said, timestamp=timezone.now(), **message)


FROM_CLIENTS: dict[str, ClientFrame] = {
    "client_login": Login("test_code"),
    "client_login_without_code": Login(""),
    "client_chat": Chat("你好"),
    "client_chat_of_every_field": Chat("如何修改端口？", "q1", use_auto_rag=True, stream=True),
    "client_ping": Ping(),
    "client_resume": Resume(TOKEN, 4),
}
FROM_SERVER: dict[str, ServerFrame] = {
    "server_connected": connected(),
    "server_login_response": LoginResponse(0, "登录成功", Account("dev-3aa0041781f53f591089fa2a", SESSION, TOKEN)),
    "server_login_response_with_unionid": LoginResponse(
        0, "登录成功", Account("oLVPpjqs9BhvzwPj5A-vTYAX3GLc", SESSION, TOKEN, unionid="oAzFT0v5zQx")
    ),
    "server_login_response_refused": LoginRefused(400, "微信登录失败: invalid code, rid: 1-2-3 (错误码: 40029)"),
    "server_resume_response": ResumeResponse(0, "会话已恢复", Reentered(SESSION, resumed=True, last_seq=8)),
    "server_resume_response_refused": failure_frame(
        fault_of(WireError("会话已失效，请重新登录", status=401)), "resume_response"
    ),
    "server_chat_processing": processing(),
    "server_chat_processing_of_a_named_question": processing("q1"),
    "server_chat_delta": delta_frame(ReplyDelta(4, "person", "`PORT` 设置端口", timezone.now()), SESSION, "q1"),
    "server_chat_response": answer_frame(stored("`PORT` 设置端口，默认 8000。", request_id="q1")),
    "server_chat_response_failed": answer_frame(
        stored("抱歉，我暂时无法回答这个问题，请稍后再试。", outcome=Outcome.FAILED)
    ),
    "server_chat_response_too_many": failure_frame(fault_of(Limited(7)), "chat_response", "q1"),
    "server_pong": pong(),
    "server_error": failure_frame(fault_of(ProtocolError("未知的消息类型: dance"))),
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
    written = json.loads(serialise(FROM_SERVER[name]))
    assert written == json.loads(EXAMPLES[name])
    assert list(written) == ["type", "code", "message", "data"]


@pytest.mark.parametrize(("heading", "server"), [("Client to server", False), ("Server to client", True)])
def test_the_readme_shows_every_type(heading: str, server: bool) -> None:
    section = README.read_text("utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    examples = re.findall(r"```json\n(.+?)\n```", section, re.DOTALL)
    if server:
        shown = {json.loads(example)["type"] for example in examples}
        assert shown == {kind.__struct_config__.tag for kind in get_args(ServerFrame)}
    else:
        assert {type(parse(example)) for example in examples} == set(get_args(ClientFrame))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("", NOT_JSON),
        ("nonsense", NOT_JSON),
        (b"\xff", NOT_JSON),
        ('{"type":"ping","type":"ping"}', NOT_JSON),
        ('{"type":"chat","query":NaN}', NOT_JSON),
        ('{"type":"chat","query":"\\u0000"}', NOT_JSON),
        ("[]", NOT_JSON),
        ("null", NOT_JSON),
        ("{}", "缺少type参数"),
        ('{"type":5}', "缺少type参数"),
        ('{"type":"dance"}', "未知的消息类型: dance"),
        ('{"type":"' + "x" * 99 + '"}', "未知的消息类型: " + "x" * 50),
        ('{"type":"login","code":5}', "code必须是字符串"),
        ('{"type":"login","code":"' + "x" * 513 + '"}', "code不能超过512个字符"),
        ('{"type":"chat","query":["a"]}', "query必须是字符串"),
        ('{"type":"chat","query":"a","use_auto_rag":"yes"}', "use_auto_rag必须是true或false"),
        ('{"type":"chat","query":"a","stream":1}', "stream必须是true或false"),
        ('{"type":"chat","query":"a","id":7}', "id必须是1到128个字符的字符串"),
        ('{"type":"chat","query":"a","id":""}', "id必须是1到128个字符的字符串"),
        ('{"type":"resume","resume_token":"t","last_seq":-1}', "last_seq必须是不小于0的整数"),
        ('{"type":"resume","resume_token":"t","last_seq":true}', "last_seq必须是不小于0的整数"),
        ('{"type":"resume","resume_token":"t","last_seq":9223372036854775808}', "last_seq必须是不小于0的整数"),
    ],
)
def test_a_refusal_says_what_is_wrong(data: str | bytes, reason: str) -> None:
    with pytest.raises(ProtocolError) as refusal:
        parse(data)
    assert str(refusal.value) == reason


@pytest.mark.parametrize(
    ("data", "response", "request_id"),
    [
        ('{"type":"login","code":5}', "login_response", None),
        ('{"type":"login","code":5,"id":"a"}', "login_response", None),
        ('{"type":"resume","last_seq":"x"}', "resume_response", None),
        ('{"type":"chat","query":7}', "chat_response", None),
        ('{"type":"chat","query":7,"id":"a"}', "chat_response", "a"),
        ('{"type":"chat","query":7,"id":7}', "chat_response", None),
        ('{"type":"chat","stream":1,"id":""}', "chat_response", None),
    ],
)
def test_a_field_that_does_not_fit_is_told_in_the_frames_own_response(
    data: str, response: str, request_id: str | None
) -> None:
    with pytest.raises(FieldError) as refusal:
        parse(data)
    assert (refusal.value.response, refusal.value.request_id) == (response, request_id)


@pytest.mark.parametrize("data", ["nonsense", "[]", '{"type":"dance"}', '{"type":["chat"]}', "{}"])
def test_what_is_no_frame_of_the_wire_has_no_response_of_its_own(data: str) -> None:
    with pytest.raises(ProtocolError) as refusal:
        parse(data)
    assert not isinstance(refusal.value, FieldError)


def test_what_is_missing_is_empty() -> None:
    assert parse('{"type":"chat"}') == parse('{"type":"chat","query":null,"stream":null}') == Chat("")
    assert parse('{"type":"login","code":null}') == Login("")
    assert parse('{"type":"resume"}') == Resume("", 0)


def test_the_bodies_of_http_calls() -> None:
    assert call_of({"query": "a", "openid": "o", "use_auto_rag": True}) == Call("a", "o", use_auto_rag=True)
    assert code_of({"code": "c"}) == "c"


@pytest.mark.parametrize("body", [[], None, {"query": "a", "openid": "x" * 129}, {"query": 5}])
def test_a_body_that_is_none_of_a_chat_call(body: object) -> None:
    with pytest.raises(ProtocolError):
        call_of(body)


@given(anything(nearly(client_frames("wechat"), openid=st.text())))
@example('{"type": "chat", "query": "\\ud800"}')
@example('{"type": "chat", "query": "\ud800"}')
@example('{"type": "\\ud800"}')
@example("[" * 200_000)
def test_nothing_but_a_protocol_error_comes_out_of_anything(data: str | bytes) -> None:
    for read in (parse, lambda text: call_of(decode(text)), lambda text: code_of(decode(text))):
        try:
            read(data)
        except ProtocolError as refusal:
            # What is said of it can be sent.
            serialise(failure_frame(fault_of(refusal)))


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (Outcome.ANSWERED, 0),
        (Outcome.UNKNOWN, 0),
        (Outcome.STOPPED, 0),
        (None, 0),
        (Outcome.CUT, 500),
        (Outcome.FAILED, 500),
    ],
)
def test_only_an_answer_that_came_to_its_end_is_a_success(outcome: Outcome | None, code: int) -> None:
    body: dict[str, Any] = msgspec.to_builtins(answer_body(stored("so far", outcome=outcome)))
    assert body["code"] == code
    assert body["message"].startswith("处理失败: ") == bool(code)
    assert body["data"] == {"msg": "so far", "id": "4", "session_id": SESSION}


def test_a_mistake_of_ours_is_told_without_internals() -> None:
    body = failure_body(fault_of(RuntimeError("internals")), failed=True)
    assert (body.code, body.message) == (500, "处理失败: 服务器内部错误")
