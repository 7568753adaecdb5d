"""易事厅's calls and answers: real ones as files, and everything that is not one."""

import json
from typing import Any, get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from integrations.strict import ProtocolError
from integrations.yishiting.protocol import (
    Answer,
    Call,
    Delta,
    Failed,
    GlobalOutput,
    Pending,
    RecalledDoc,
    ServerFrame,
    StreamedCall,
    StreamedDoc,
    WholeCall,
    parse,
    serialise,
)
from tests.support.frames import anything, client_frames, nearly, texts

EXAMPLES = texts("yishiting")
TRACE = "00000000-0002-88a0-a47c-8a17558238a7"
DOC = {
    "doc_id": "4010230492",
    "space_id": "632685097",
    "title": "易事厅使用指南",
    "url": "http://iwiki.woa.com/p/4010230492",
    "score": 0.881664,
}


@pytest.mark.parametrize(
    ("name", "kind", "call"),
    [
        ("client_chat", StreamedCall, Call("你好", "test_user", "test_123", "session_456")),
        ("client_chat_sync", WholeCall, Call("你好", "test_user")),
        ("client_chat_sync_bare", WholeCall, Call("你好")),
        ("client_chat_async", WholeCall, Call("你好", "test_user", "test_124")),
    ],
)
def test_a_real_call_is_read(name: str, kind: type[WholeCall | StreamedCall], call: Call) -> None:
    assert parse(EXAMPLES[name].encode(), kind) == call


SERVER_FRAMES: list[tuple[str, ServerFrame]] = [
    ("server_delta", Delta("流")),
    (
        "server_delta_last",
        Delta("", finished=True, global_output=GlobalOutput(answer_success=1, docs=(StreamedDoc(**DOC),))),  # type: ignore[arg-type]
    ),
    ("server_delta_fault", Delta("服务器内部错误", finished=True)),
    (
        "server_answer",
        Answer(
            is_recall_success=1,
            recall_docs=(RecalledDoc(**DOC),),  # type: ignore[arg-type]
            msg_content="机器人回复内容",
            third_party_trace_id=TRACE,
        ),
    ),
    (
        "server_answer_without_docs",
        Answer(is_recall_success=0, msg_content="你好！", third_party_trace_id=TRACE),
    ),
    ("server_pending", Pending(third_party_trace_id=TRACE)),
    ("server_refusal", Failed("请求格式错误，需要JSON格式")),
    ("server_failed", Failed("服务器内部错误", TRACE)),
]


@pytest.mark.parametrize(("name", "frame"), SERVER_FRAMES)
def test_a_frame_is_sent_byte_for_byte(name: str, frame: ServerFrame) -> None:
    assert serialise(frame) == EXAMPLES[name].encode()


def test_every_kind_of_frame_has_a_file() -> None:
    assert {type(frame) for _, frame in SERVER_FRAMES} == set(get_args(ServerFrame))


@given(st.text())
@example("a\u2028b\u2029c\x85d\r\ne\x1ef")
def test_an_event_is_one_line_to_every_reader(text: str) -> None:
    try:
        event = serialise(Delta(text)).decode()
    except UnicodeEncodeError:  # half of a surrogate pair, which nothing stored can hold
        return
    name, data = event.removesuffix("\n\n").splitlines()
    assert name == "event:delta"
    assert json.loads(data.removeprefix("data:"))["response"] == text


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({}, "缺少必要字段: user"),
        ({"user": "u"}, "缺少必要字段: msg_type"),
        ({"user": "u", "msg_type": "text"}, "缺少必要字段: content"),
        ({"user": "u", "msg_type": "text", "content": " \n"}, "缺少必要字段: content"),
        ({"user": "", "msg_type": "text", "content": "x"}, "缺少必要字段: user"),
        ({"user": "u", "msg_type": "image"}, "缺少必要字段: content"),
        ({"user": "u", "msg_type": "event", "content": "x"}, "暂不支持消息类型: event"),
        ({"user": "u", "msg_type": 1, "content": "x"}, "暂不支持消息类型: 1"),
        ({"user": {}, "msg_type": "text", "content": "x"}, "字段类型错误: user"),
        ({"user": True, "msg_type": "text", "content": "x"}, "字段类型错误: user"),
        ({"user": "u", "msg_type": "text", "content": ["x"]}, "字段类型错误: content"),
    ],
)
def test_a_call_that_lacks_something_is_told_what(value: Any, words: str) -> None:
    with pytest.raises(ProtocolError) as refusal:
        parse(json.dumps(value), StreamedCall)
    assert str(refusal.value) == words


@given(anything(nearly(client_frames("yishiting"))), st.sampled_from((StreamedCall, WholeCall)))
def test_whatever_comes_is_a_call_or_refused_in_words(data: str | bytes, kind: type[WholeCall | StreamedCall]) -> None:
    try:
        call = parse(data, kind)
    except ProtocolError as refusal:
        words = str(refusal).encode()
        assert words
    else:
        assert call.content.strip()
        json.dumps([call.user, call.msg_id, call.session_id], ensure_ascii=False).encode()
