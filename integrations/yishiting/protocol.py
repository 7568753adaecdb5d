"""易事厅's calls and answers as types, `parse` and `serialise`. Pure. The contract is in this folder's README."""

from typing import Annotated, Literal

import msgspec

from integrations.fields import NOT_BLANK, Misfit, fit, misfits
from integrations.strict import ProtocolError, decode

NOT_JSON = "请求格式错误，需要JSON格式"

Words = Annotated[str, msgspec.Meta(pattern=NOT_BLANK)]
Id = str | int | None

# What JSON leaves as it is and some readers take for the end of a line: an event has to stay one.
_LINE_ENDS = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"), (b"\xc2\x85", b"\\u0085"))


# --- Client to server --------------------------------------------------------------------------


class WholeCall(msgspec.Struct, frozen=True, kw_only=True):
    """A question. The same `msg_id` is answered once in 24 hours; `session_id`, else `user`, names the conversation."""

    user: Id = None
    msg_type: Literal["text"] | None = None
    content: Words
    msg_id: Id = None
    session_id: Id = None


class StreamedCall(msgspec.Struct, frozen=True, kw_only=True):
    """A question whose answer is streamed."""

    user: Words | int
    msg_type: Literal["text"]
    content: Words
    msg_id: Id = None
    session_id: Id = None


class Call(msgspec.Struct, frozen=True):
    """A question as understood; an id that was not given is empty."""

    content: str
    user: str = ""
    msg_id: str = ""
    session_id: str = ""


Sent = WholeCall | StreamedCall


def parse(data: str | bytes, kind: type[Sent]) -> Call:
    """Return the question in a body; raise ProtocolError in the words of the wire."""
    try:
        value = decode(data)
    except ProtocolError as error:
        raise ProtocolError(NOT_JSON) from error
    if not isinstance(value, dict):
        raise ProtocolError(NOT_JSON)
    try:
        sent = fit(value, kind)
    except Misfit as misfit:
        # What is missing is told first, whatever else is wrong.
        missing = (other for other in misfits(value, kind) if other.is_empty)
        raise ProtocolError(_words(next(missing, misfit))) from misfit
    return Call(sent.content, _text(sent.user), _text(sent.msg_id), _text(sent.session_id))


def _words(misfit: Misfit) -> str:
    if misfit.is_empty:
        return f"缺少必要字段: {misfit.field}"
    if misfit.field == "msg_type":
        return f"暂不支持消息类型: {_shown(misfit.value)}"
    return f"字段类型错误: {misfit.field}"


def _shown(kind: object) -> str:
    return kind[:50] if isinstance(kind, str) else str(msgspec.json.encode(kind), "utf-8")[:50]


def _text(identifier: str | int | None) -> str:
    """Return an id as text; a whole number is taken for its digits."""
    return "" if identifier is None else str(identifier)


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


class Answer(msgspec.Struct, frozen=True, kw_only=True, tag_field="code", tag=0):
    """A whole answer, in the order that the documents print; `is_recall_success` is 1 where there are docs."""

    err_msg: Literal[""] = ""
    is_async_response: bool = False
    is_recall_success: Literal[0, 1]
    recall_docs: tuple[RecalledDoc, ...] = ()
    msg_type: Literal["text"] = "text"
    msg_content: str
    third_party_trace_id: str


class Pending(msgspec.Struct, frozen=True, kw_only=True, tag_field="code", tag=0):
    """A question that was taken and whose answer is still to come."""

    err_msg: Literal[""] = ""
    is_async_response: bool = True
    third_party_trace_id: str


class Failed(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="code", tag=1):
    """A refusal, or a question that found no answer; the latter has a trace."""

    err_msg: str
    third_party_trace_id: str = ""


ServerFrame = Delta | Answer | Pending | Failed


class Callback(Answer, frozen=True, kw_only=True):
    """A whole answer as it is posted to the caller's own address, with the question's `msg_id`."""

    msg_id: str


class FailedCallback(Failed, frozen=True, kw_only=True):
    """A question that found no answer, as it is posted there."""

    msg_id: str


def callback(answer: Answer | Failed, msg_id: str) -> Callback | FailedCallback:
    """Return what is posted of an answer."""
    kind = Callback if isinstance(answer, Answer) else FailedCallback
    return kind(**msgspec.structs.asdict(answer), msg_id=msg_id)


def serialise(frame: ServerFrame | Callback | FailedCallback) -> bytes:
    """Return the bytes of an event or of a body."""
    if isinstance(frame, Delta):
        return b"event:delta\ndata:%b\n\n" % one_line(msgspec.json.encode(frame))
    return msgspec.json.encode(frame)


def one_line(data: bytes) -> bytes:
    """Return JSON that every reader of lines takes for one line."""
    if not data.isascii():
        for character, escape in _LINE_ENDS:
            data = data.replace(character, escape)
    return data
