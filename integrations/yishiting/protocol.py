"""易事厅's calls and answers as types, `parse` and `serialise`. Pure. The contract is in this folder's README."""

from collections.abc import Sequence
from typing import Any

import msgspec

from integrations.strict import ProtocolError, decode

NOT_JSON = "请求格式错误，需要JSON格式"
STREAMED = ("user", "msg_type", "content")  # what a call of each kind must bring
WHOLE = ("content",)

# What JSON leaves as it is and some readers take for the end of a line: an event has to stay one.
_LINE_ENDS = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"), (b"\xc2\x85", b"\\u0085"))


# --- Client to server --------------------------------------------------------------------------


class Call(msgspec.Struct, frozen=True):
    """A question; an id that was not given is empty."""

    content: str
    user: str = ""
    msg_id: str = ""
    session_id: str = ""


def parse(data: str | bytes, required: Sequence[str]) -> Call:
    """Return the question in a body; raise ProtocolError in the words of the wire."""
    try:
        value = decode(data)
    except ProtocolError as error:
        raise ProtocolError(NOT_JSON) from error
    if not isinstance(value, dict):
        raise ProtocolError(NOT_JSON)
    for name in required:
        if _is_missing(value.get(name)):
            raise ProtocolError(f"缺少必要字段: {name}")
    kind = value.get("msg_type")
    if kind not in (None, "text"):
        raise ProtocolError(f"暂不支持消息类型: {_shown(kind)}")
    content = value["content"]
    if not isinstance(content, str):
        raise ProtocolError("字段类型错误: content")
    return Call(content, _id(value, "user"), _id(value, "msg_id"), _id(value, "session_id"))


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _shown(kind: object) -> str:
    return kind[:50] if isinstance(kind, str) else str(msgspec.json.encode(kind), "utf-8")[:50]


def _id(value: dict[str, Any], name: str) -> str:
    """Return an id as text; a whole number is taken for its digits."""
    given = value.get(name)
    if given is None:
        return ""
    if isinstance(given, str):
        return given
    if isinstance(given, int) and not isinstance(given, bool):
        return str(given)
    raise ProtocolError(f"字段类型错误: {name}")


# --- Server to client --------------------------------------------------------------------------


class StreamedDoc(msgspec.Struct, frozen=True):
    """A passage that a streamed answer was made from."""

    doc_id: str
    title: str
    url: str
    space_id: str
    score: float


class RecalledDoc(msgspec.Struct, frozen=True):
    """The same beside a whole answer: the documents print another order."""

    doc_id: str
    space_id: str
    title: str
    url: str
    score: float


class GlobalOutput(msgspec.Struct, frozen=True):
    """What belongs to the answer as a whole."""

    urls: str = ""
    context: str = ""
    answer_success: int = 0
    docs: tuple[StreamedDoc, ...] = ()


class Delta(msgspec.Struct, frozen=True):
    """An increment of a streamed answer; exactly one, the last, is `finished`."""

    response: str
    finished: bool = False
    global_output: GlobalOutput = GlobalOutput()


class Answer(msgspec.Struct, frozen=True):
    """A whole answer."""

    msg_content: str
    third_party_trace_id: str
    recall_docs: tuple[RecalledDoc, ...] = ()


class Pending(msgspec.Struct, frozen=True):
    """A question that was taken and whose answer is still to come."""

    third_party_trace_id: str


class Failed(msgspec.Struct, frozen=True):
    """A refusal, or a question that found no answer; the latter has a trace."""

    err_msg: str
    third_party_trace_id: str = ""


ServerFrame = Delta | Answer | Pending | Failed


def serialise(frame: ServerFrame) -> bytes:
    """Return the bytes of an event or of a body."""
    if isinstance(frame, Delta):
        return b"event:delta\ndata:%b\n\n" % one_line(msgspec.json.encode(frame))
    return msgspec.json.encode(body(frame))


def body(frame: Answer | Pending | Failed) -> dict[str, Any]:
    """Return a body's fields, in the order that the documents print."""
    match frame:
        case Answer():
            return {
                "code": 0,
                "err_msg": "",
                "is_async_response": False,
                "is_recall_success": 1 if frame.recall_docs else 0,
                "recall_docs": [msgspec.structs.asdict(doc) for doc in frame.recall_docs],
                "msg_type": "text",
                "msg_content": frame.msg_content,
                "third_party_trace_id": frame.third_party_trace_id,
            }
        case Pending():
            return {
                "code": 0,
                "err_msg": "",
                "is_async_response": True,
                "third_party_trace_id": frame.third_party_trace_id,
            }
        case Failed():
            trace = frame.third_party_trace_id
            return {"code": 1, "err_msg": frame.err_msg, **({"third_party_trace_id": trace} if trace else {})}


def one_line(data: bytes) -> bytes:
    """Return JSON that every reader of lines takes for one line."""
    if not data.isascii():
        for character, escape in _LINE_ENDS:
            data = data.replace(character, escape)
    return data
